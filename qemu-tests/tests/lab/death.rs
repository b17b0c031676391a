//! A test that is killed takes its machine along.

use crate::bench::{LabTest, Setup, expect};
use anyhow::{Context, Result};
use qemu_tests::{Lab, Machine, Options};
use std::path::Path;
use std::process::{Child, Command, Stdio, exit};
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{env, fs};

/// Set in a process that only boots a machine, to be killed while it does.
pub(crate) const VICTIM: &str = "XEN_LAB_VICTIM";

const LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn tests() -> Vec<LabTest> {
    vec![LabTest::new(
        "death::a_killed_test_leaves_no_qemu",
        a_killed_test_leaves_no_qemu,
    )]
}

/// Boots a machine and waits for death.
pub(crate) fn be_the_victim() -> ! {
    let options = Options {
        name: "victim".to_owned(),
        memory_mib: 1024,
        ..Options::default()
    };
    let machine = Lab::prepare(&|_| {}).and_then(|lab| Machine::start(&lab, &options));
    if let Err(error) = &machine {
        eprintln!("{error:?}");
        exit(1);
    }
    loop {
        sleep(LIMIT);
    }
}

fn a_killed_test_leaves_no_qemu(_: &Setup) -> Result<()> {
    let mut victim = Command::new(env::current_exe()?)
        .env(VICTIM, "1")
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

/// The process id of the victim's QEMU, once it runs.
fn qemu_of(victim: &Child) -> Result<String> {
    let of_victim = format!("-victim-{}-", victim.id());
    let began = Instant::now();
    while began.elapsed() < LIMIT {
        for run in fs::read_dir(Lab::folder().join("runs"))? {
            let run = run?.path();
            let pid = fs::read_to_string(run.join("pid")).unwrap_or_default();
            let started = run.join("console.log").exists() && !pid.is_empty();
            if run.display().to_string().contains(&of_victim) && started {
                return Ok(pid);
            }
        }
        sleep(Duration::from_millis(20));
    }
    None.context("the victim started no QEMU")
}
