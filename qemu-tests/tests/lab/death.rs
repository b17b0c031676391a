//! How machines end that were not stopped: with their test, or given up.

use crate::bench::{LabTest, Setup, expect};
use anyhow::{Context, Result, bail};
use qemu_tests::{Lab, Machine, Options, SUITE_VARIABLE, Suite};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, exit};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs};

/// Set in a process that only boots a machine, to be killed while it does.
pub(crate) const VICTIM: &str = "XEN_LAB_VICTIM";

const LIMIT: Duration = Duration::from_secs(180);

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new(
            "death::a_killed_test_leaves_no_qemu",
            a_killed_test_leaves_no_qemu,
        ),
        LabTest::new(
            "death::a_boot_that_does_not_end_is_given_up",
            a_boot_that_does_not_end_is_given_up,
        ),
    ]
}

/// Boots a machine and waits for death.
pub(crate) fn be_the_victim() -> ! {
    let options = Options {
        name: "victim".to_owned(),
        memory_mib: 1024,
        ..Options::default()
    };
    let machine = Suite::asked_for(&mut Vec::new())
        .map(Option::unwrap_or_default)
        .and_then(|suite| Lab::prepare_suite(suite, &|_| {}))
        .and_then(|lab| Machine::start(&lab, &options));
    if let Err(error) = &machine {
        eprintln!("{error:?}");
        exit(1);
    }
    loop {
        sleep(LIMIT);
    }
}

fn a_killed_test_leaves_no_qemu(setup: &Setup) -> Result<()> {
    let mut victim = Command::new(env::current_exe()?)
        .env(VICTIM, "1")
        .env(SUITE_VARIABLE, setup.lab.suite().code_name())
        .stdout(Stdio::null())
        .spawn()?;
    let qemu = qemu_of(&victim);
    // Whatever comes of it, the victim must not stay.
    victim.kill()?;
    victim.wait()?;
    let process = Path::new("/proc").join(qemu?);
    let killed = Instant::now();
    while process.exists() && killed.elapsed() < LIMIT {
        sleep(Duration::from_millis(20));
    }
    expect(!process.exists(), || {
        format!("{} outlived its test", process.display())
    })
}

fn a_boot_that_does_not_end_is_given_up(setup: &Setup) -> Result<()> {
    let name = format!("frozen-{}", setup.lab.suite());
    let options = Options {
        name: name.clone(),
        memory_mib: 1024,
        // Less than any boot takes: to the lab it looks frozen.
        boot_limit: Duration::from_millis(300),
        ..Options::default()
    };
    let error = match Machine::start(&setup.lab, &options) {
        Ok(_) => bail!("dom0 came up within {:?}", options.boot_limit),
        Err(error) => format!("{error:#}"),
    };
    expect(error.contains("3 boots froze"), || error.clone())?;
    // Their folders stay, with the console; their processes do not.
    let runs = runs_named(&format!("-{name}-{}-", std::process::id()))?;
    expect(runs.len() == 3, || format!("{runs:?}"))?;
    let alive: Vec<_> = runs.iter().filter(|run| run.join("pid").exists()).collect();
    expect(alive.is_empty(), || format!("still running: {alive:?}"))
}

fn runs_named(part: &str) -> Result<Vec<PathBuf>> {
    let mut runs = Vec::new();
    for run in fs::read_dir(Lab::folder().join("runs"))? {
        let run = run?.path();
        if run.display().to_string().contains(part) {
            runs.push(run);
        }
    }
    Ok(runs)
}

/// The process id of the victim's QEMU, once it runs.
fn qemu_of(victim: &Child) -> Result<String> {
    let of_victim = format!("-victim-{}-", victim.id());
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        for run in runs_named(&of_victim)? {
            let pid = fs::read_to_string(run.join("pid")).unwrap_or_default();
            if run.join("console.log").exists() && !pid.is_empty() {
                return Ok(pid);
            }
        }
        sleep(Duration::from_millis(20));
    }
    None.context("the victim started no QEMU")
}
