//! The project's figures: measured in the lab, kept with every sample, shown as a page.
//!
//! ```text
//!   perform ─ rounds, sizes, cost ─► Record ─► docs/results/SUITE.json
//!                                      │
//!                       figure ◄───────┴─────► page, chart ─► docs/results.md, docs/results/*.svg
//! ```
//!
//! Nothing on the page is written by hand: a test makes it again from the samples and compares.

pub mod chart;
pub mod conditions;
mod cost;
pub mod figure;
mod packets;
pub mod page;
pub mod record;
mod rounds;
pub mod samples;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use qemu_tests::{Lab, Machine, Options, Suite};
use serde::{Deserialize, Serialize};

use crate::build::TargetChoice;
use crate::output::OutputSet;
use crate::run::{Firewall, RunOptions};
use crate::workspace::Workspace;
use conditions::{Conditions, Watch};
use record::Record;
use rounds::Rounds;

/// `memory=` of the firewall in every benchmark, in MiB.
pub const MEMORY_MIB: u32 = 8;

/// How often everything is repeated unless told otherwise.
pub const DEFAULT_RUNS: u32 = 5;

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Benchmark {
    /// Lengths of images.
    Sizes,
    /// The whole job in little memory.
    Memory,
    /// From `xl create` to the first packet.
    Start,
    /// One TCP stream in each direction.
    Tcp,
    /// 64-byte packets at rising rates.
    Packets,
    /// Instructions and bytes, the same on every machine.
    Cost,
}

impl Benchmark {
    /// All of them, in the order of the page.
    pub const ALL: [Self; 6] = [
        Self::Sizes,
        Self::Memory,
        Self::Start,
        Self::Tcp,
        Self::Packets,
        Self::Cost,
    ];

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sizes => "sizes",
            Self::Memory => "memory",
            Self::Start => "start",
            Self::Tcp => "tcp",
            Self::Packets => "packets",
            Self::Cost => "cost",
        }
    }
}

/// What to measure, and how thoroughly.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Which benchmarks.
    pub benchmarks: BTreeSet<Benchmark>,
    /// How often each is repeated.
    pub runs: u32,
    /// What to compile for.
    pub target: TargetChoice,
}

/// Where results lie in a checkout: the folder of the page.
pub fn results_folder(workspace: &Workspace) -> PathBuf {
    workspace.root().join("docs")
}

/// Measures, and writes `FOLDER/results/SUITE.json`, the page and the pictures. Benchmarks that
/// were not asked for keep their samples. `tell` hears what is being done, and warnings.
///
/// # Errors
/// When something could not be measured or written; then no file is touched. A target that is
/// missed is none.
pub fn perform(
    workspace: &Workspace,
    suite: Suite,
    options: &BenchOptions,
    folder: &Path,
    tell: &dyn Fn(&str),
) -> Result<Record> {
    let file = record_file(folder, suite);
    let mut record = match file.exists() {
        true => Record::load(&file)?,
        false => Record::new(suite.code_name()),
    };
    tell("building firewalldom");
    let firewall = Firewall::build(
        workspace,
        RunOptions {
            memory_mib: MEMORY_MIB,
            target: options.target,
        },
    )?;
    let wanted = |benchmark| options.benchmarks.contains(&benchmark);
    // Whatever compiles does so before anything is timed.
    let empty = match wanted(Benchmark::Sizes) {
        true => Some(crate::build::appliance(workspace, "empty", options.target)?),
        false => None,
    };
    let cost = match wanted(Benchmark::Cost) {
        true => cost::measure(workspace, tell)?,
        false => None,
    };

    let lab = Lab::prepare_suite(suite, &qemu_tests::to_stderr())?;
    tell("booting Xen and dom0 in QEMU");
    let machine = Machine::start(
        &lab,
        &Options {
            name: "bench".into(),
            ..Options::default()
        },
    )?;
    let logs = machine.folder().to_owned();
    let mut measure = || -> Result<()> {
        let mut conditions = Conditions::of(workspace, &lab, &machine, options.runs)?;
        let watch = Watch::begin(&machine)?;
        let rounds = Rounds::prepare(&lab, &machine, &firewall, tell)?;
        record.configurations = rounds.configurations()?;
        let samples = &mut record.samples;
        if let Some(empty) = &empty {
            samples.sizes = Some(rounds.sizes(empty.bytes.len() as u64)?);
        }
        if wanted(Benchmark::Memory) {
            samples.memory = Some(rounds.memory()?);
        }
        conditions.repeated = rounds.all(options, samples)?;
        conditions.load = watch.end()?;
        if !conditions.load.is_quiet() {
            tell(&format!(
                "WARNING: the machine was not quiet: others had {} %, its own host {} % of the \
                 processors. Figures of time mean little; measure again when nothing else runs",
                conditions.load.others_percent, conditions.load.steal_percent
            ));
        }
        for benchmark in &options.benchmarks {
            record.conditions.insert(*benchmark, conditions.clone());
        }
        Ok(())
    };
    measure().with_context(|| format!("consoles and logs are in {}", logs.display()))?;
    machine.stop()?;
    match cost {
        Some(cost) => record.samples.cost = Some(cost),
        // What is shown was measured before, under the conditions of then.
        None if record.samples.cost.is_none() => {
            record.conditions.remove(&Benchmark::Cost);
        }
        None => {}
    }
    write(folder, suite, &record)?;
    Ok(record)
}

fn record_file(folder: &Path, suite: Suite) -> PathBuf {
    folder.join(format!("results/{suite}.json"))
}

/// The records of all suites that were measured, in the order of the suites.
///
/// # Errors
/// When a file cannot be read.
pub fn load_all(folder: &Path) -> Result<Vec<Record>> {
    Suite::ALL
        .into_iter()
        .map(|suite| record_file(folder, suite))
        .filter(|file| file.exists())
        .map(|file| Record::load(&file))
        .collect()
}

/// The page and its pictures, as names below the folder and contents.
pub fn pages(records: &[Record]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for record in records {
        for (name, picture) in page::pictures(record) {
            files.push((format!("results/{name}"), picture));
        }
    }
    files.push(("results.md".to_owned(), page::render(records)));
    files
}

fn write(folder: &Path, suite: Suite, record: &Record) -> Result<()> {
    let mut records = load_all(folder)?;
    records.retain(|other| other.suite != record.suite);
    records.push(record.clone());
    let place = |record: &Record| {
        let named = |suite: &Suite| suite.code_name() == record.suite;
        Suite::ALL.iter().position(named)
    };
    records.sort_by_key(place);
    let (mut top, mut below) = (
        OutputSet::new(folder)?,
        OutputSet::new(&folder.join("results"))?,
    );
    below.add(&format!("{suite}.json"), record.render()?.as_bytes())?;
    for (name, text) in pages(&records) {
        match name.strip_prefix("results/") {
            Some(name) => below.add(name, text.as_bytes())?,
            None => top.add(&name, text.as_bytes())?,
        }
    }
    below.publish()?;
    top.publish()
}
