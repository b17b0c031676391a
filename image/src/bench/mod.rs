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
pub mod engine;
pub mod figure;
mod guests;
mod iperf;
mod metered;
mod net_guest;
pub mod netdom;
mod packets;
pub mod page;
pub mod record;
mod rounds;
pub mod samples;
pub mod stub;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use qemu_tests::{Lab, Machine, Options, Suite};
use serde::{Deserialize, Serialize};

use crate::appliance::{Bare, build_bare};
use crate::build::TargetChoice;
use crate::output::OutputSet;
use crate::run::{Firewall, RunOptions};
use crate::workspace::Workspace;
use conditions::{Conditions, Watch};
use engine::Engine;
use guests::Guests;
use record::Record;
use rounds::Rounds;
use samples::System;

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
    /// Guests behind the firewall as their backend.
    Guests,
    /// The driver domain with a card, beside Debian's with another.
    Netdom,
    /// The engine on the host, beside the host's Linux: in no suite's record.
    Engine,
    /// A guest's device model, ours beside QEMU: in a record of its own.
    Stub,
}

impl Benchmark {
    /// All of them, in the order of the page.
    pub const ALL: [Self; 10] = [
        Self::Sizes,
        Self::Memory,
        Self::Start,
        Self::Tcp,
        Self::Packets,
        Self::Cost,
        Self::Guests,
        Self::Netdom,
        Self::Engine,
        Self::Stub,
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
            Self::Guests => "guests",
            Self::Netdom => "netdom",
            Self::Engine => "engine",
            Self::Stub => "stub",
        }
    }
}

impl Benchmark {
    /// Who is measured, ours first.
    pub fn systems(self) -> [System; 2] {
        match self {
            Self::Netdom => System::DRIVERS,
            _ => System::BOTH,
        }
    }

    /// Whether it has a boot of its own, and a section of its own once it was measured.
    fn is_apart(self) -> bool {
        matches!(self, Self::Guests | Self::Netdom)
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

/// What was measured so far.
#[derive(Clone, Debug, Default)]
pub struct Results {
    /// Of the lab, in the order of the suites.
    pub suites: Vec<Record>,
    /// Of the engine on the host.
    pub engine: Option<Engine>,
    /// Of device models, in the order of the suites.
    pub stubs: Vec<stub::Record>,
}

/// Measures the engine on the host, and writes `FOLDER/results/engine.json`, the page and the
/// pictures.
///
/// # Errors
/// When something could not be measured or written; then no file is touched.
pub fn perform_engine(
    workspace: &Workspace,
    runs: u32,
    folder: &Path,
    tell: &dyn Fn(&str),
) -> Result<String> {
    let engine = engine::measure(workspace, runs, tell)?;
    let mut results = load_all(folder)?;
    let text = engine.text()?;
    let summary = engine::summary(&engine);
    results.engine = Some(engine);
    publish(folder, ENGINE_FILE, &text, &results)?;
    Ok(summary)
}

/// Measures device models, and writes `FOLDER/results/stubdom-SUITE.json`, the page and the pictures.
///
/// # Errors
/// When something could not be measured or written; then no file is touched.
pub fn perform_stub(
    workspace: &Workspace,
    suite: Suite,
    options: &BenchOptions,
    folder: &Path,
    tell: &dyn Fn(&str),
) -> Result<String> {
    let lab = Lab::prepare_suite(suite, &qemu_tests::to_stderr())?;
    let machine = boot(&lab, Options::default(), tell)?;
    let logs = machine.folder().to_owned();
    let record = stub::measure(workspace, &lab, &machine, options, tell)
        .with_context(|| format!("consoles and logs are in {}", logs.display()))?;
    machine.stop()?;
    warn_unless_quiet(&record.conditions, tell);
    let text = record.text()?;
    let summary = stub::summary(&record);
    let mut results = load_all(folder)?;
    results.stubs.retain(|other| other.suite != record.suite);
    results.stubs.push(record);
    results.stubs.sort_by_key(|record| place(&record.suite));
    publish(folder, &stub_file(suite), &text, &results)?;
    Ok(summary)
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
    let lab = Lab::prepare_suite(suite, &qemu_tests::to_stderr())?;
    if options
        .benchmarks
        .iter()
        .any(|benchmark| !benchmark.is_apart())
    {
        between_networks(workspace, &lab, options, &mut record, tell)?;
    }
    if options.benchmarks.contains(&Benchmark::Guests) {
        guests_behind(workspace, &lab, options, &mut record, tell)?;
    }
    if options.benchmarks.contains(&Benchmark::Netdom) {
        driver_domains(workspace, &lab, options, &mut record, tell)?;
    }
    write(folder, suite, &record)?;
    Ok(record)
}

/// Measures what has no boot of its own: the firewall between two networks of dom0's.
fn between_networks(
    workspace: &Workspace,
    lab: &Lab,
    options: &BenchOptions,
    record: &mut Record,
    tell: &dyn Fn(&str),
) -> Result<()> {
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

    let machine = boot(lab, Options::default(), tell)?;
    let logs = machine.folder().to_owned();
    let mut measure = || -> Result<()> {
        let mut conditions = Conditions::of(workspace, lab, &machine, options.runs)?;
        let watch = Watch::begin(&machine)?;
        let rounds = Rounds::prepare(lab, &machine, &firewall, tell)?;
        record.configurations.extend(rounds.configurations()?);
        let samples = &mut record.samples;
        if let Some(empty) = &empty {
            samples.sizes = Some(rounds.sizes(empty.bytes.len() as u64)?);
        }
        if wanted(Benchmark::Memory) {
            samples.memory = Some(rounds.memory()?);
        }
        conditions.repeated = rounds.all(options, samples)?;
        conditions.load = watch.end()?;
        warn_unless_quiet(&conditions, tell);
        for benchmark in &options.benchmarks {
            if !benchmark.is_apart() {
                record.conditions.insert(*benchmark, conditions.clone());
            }
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
    Ok(())
}

/// Measures [`Benchmark::Guests`], in a boot of its own.
fn guests_behind(
    workspace: &Workspace,
    lab: &Lab,
    options: &BenchOptions,
    record: &mut Record,
    tell: &dyn Fn(&str),
) -> Result<()> {
    tell("building firewalldom for guests, and a guest that counts");
    let built = RunOptions {
        memory_mib: MEMORY_MIB,
        target: options.target,
    };
    let firewall = Firewall::of(workspace, &workspace.root().join(guests::SITE), built)?;
    let net_guest = net_guest::build(workspace, options.target)?;
    let machine = boot(lab, Options::default(), tell)?;
    let logs = machine.folder().to_owned();
    let mut measure = || -> Result<()> {
        let mut conditions = Conditions::of(workspace, lab, &machine, options.runs)?;
        let watch = Watch::begin(&machine)?;
        let guests = Guests::prepare(lab, &machine, &firewall, &net_guest, tell)?;
        record.configurations.extend(guests.configurations());
        conditions.repeated = guests.all(options.runs, &mut record.samples)?;
        conditions.load = watch.end()?;
        warn_unless_quiet(&conditions, tell);
        record.conditions.insert(Benchmark::Guests, conditions);
        Ok(())
    };
    measure().with_context(|| format!("consoles and logs are in {}", logs.display()))?;
    machine.stop()
}

/// Measures [`Benchmark::Netdom`], in a boot of its own.
fn driver_domains(
    workspace: &Workspace,
    lab: &Lab,
    options: &BenchOptions,
    record: &mut Record,
    tell: &dyn Fn(&str),
) -> Result<()> {
    tell("building netdom, and a guest that counts");
    let out = workspace.target().join("image/netdom-bench");
    let words = crate::options::Options::default();
    let netdom = build_bare(workspace, Bare::Netdom, &out, &words, options.target)?;
    let net_guest = net_guest::build(workspace, options.target)?;
    let wires = netdom::Wires::new()?;
    let machine = boot(lab, wires.machine()?, tell)?;
    let logs = machine.folder().to_owned();
    let mut measure = || -> Result<()> {
        let mut conditions = Conditions::of(workspace, lab, &machine, options.runs)?;
        let watch = Watch::begin(&machine)?;
        let bench = netdom::Bench::prepare(lab, &machine, &wires, &netdom, &net_guest, tell)?;
        record.configurations.extend(bench.configurations());
        conditions.repeated = bench.all(options.runs, &mut record.samples.netdom)?;
        conditions.load = watch.end()?;
        warn_unless_quiet(&conditions, tell);
        record.conditions.insert(Benchmark::Netdom, conditions);
        Ok(())
    };
    measure().with_context(|| format!("consoles and logs are in {}", logs.display()))?;
    machine.stop()
}

fn boot(lab: &Lab, options: Options, tell: &dyn Fn(&str)) -> Result<Machine> {
    tell("booting Xen and dom0 in QEMU");
    let options = Options {
        name: "bench".into(),
        ..options
    };
    Machine::start(lab, &options)
}

fn warn_unless_quiet(conditions: &Conditions, tell: &dyn Fn(&str)) {
    let load = conditions.load;
    if !load.is_quiet() {
        tell(&format!(
            "WARNING: the machine was not quiet: others had {} %, its own host {} % of the \
             processors. Figures of time mean little; measure again when nothing else runs",
            load.others_percent, load.steal_percent
        ));
    }
}

fn record_file(folder: &Path, suite: Suite) -> PathBuf {
    folder.join(format!("results/{suite}.json"))
}

/// The engine's samples, in the folder of results.
const ENGINE_FILE: &str = "engine.json";

/// Everything that was measured so far.
///
/// # Errors
/// When a file cannot be read.
pub fn load_all(folder: &Path) -> Result<Results> {
    let suites = Suite::ALL
        .into_iter()
        .map(|suite| record_file(folder, suite))
        .filter(|file| file.exists())
        .map(|file| Record::load(&file))
        .collect::<Result<_>>()?;
    let stubs = Suite::ALL
        .into_iter()
        .map(|suite| folder.join("results").join(stub_file(suite)))
        .filter(|file| file.exists())
        .map(|file| stub::Record::load(&file))
        .collect::<Result<_>>()?;
    let engine = folder.join("results").join(ENGINE_FILE);
    let engine = engine.exists().then(|| Engine::load(&engine)).transpose()?;
    Ok(Results {
        suites,
        engine,
        stubs,
    })
}

/// The page and its pictures, as names below the folder and contents.
pub fn pages(results: &Results) -> Vec<(String, String)> {
    let suites = results.suites.iter().flat_map(page::pictures);
    let engine = results.engine.iter().flat_map(engine::pictures);
    let mut files: Vec<_> = suites
        .chain(engine)
        .map(|(name, picture)| (format!("results/{name}"), picture))
        .collect();
    let page = page::render(results);
    files.push(("results.md".to_owned(), page));
    files
}

fn write(folder: &Path, suite: Suite, record: &Record) -> Result<()> {
    let mut results = load_all(folder)?;
    results.suites.retain(|other| other.suite != record.suite);
    results.suites.push(record.clone());
    results.suites.sort_by_key(|record| place(&record.suite));
    publish(
        folder,
        &format!("{suite}.json"),
        &record.render()?,
        &results,
    )
}

/// Where a suite stands among all.
fn place(suite: &str) -> Option<usize> {
    let mut all = Suite::ALL.iter();
    all.position(|one| one.code_name() == suite)
}

/// The device models' samples, in the folder of results.
fn stub_file(suite: Suite) -> String {
    format!("stubdom-{suite}.json")
}

/// Writes a file of samples, and all that is made of samples.
fn publish(folder: &Path, name: &str, text: &str, results: &Results) -> Result<()> {
    let (mut top, mut below) = (
        OutputSet::new(folder)?,
        OutputSet::new(&folder.join("results"))?,
    );
    below.add(name, text.as_bytes())?;
    for (name, text) in pages(results) {
        match name.strip_prefix("results/") {
            Some(name) => below.add(name, text.as_bytes())?,
            None => top.add(&name, text.as_bytes())?,
        }
    }
    below.publish()?;
    top.publish()
}
