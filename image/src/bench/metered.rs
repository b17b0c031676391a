//! What a domain takes while others work.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use qemu_tests::{Command, Machine};

use crate::run::meter::METER;

const LIMIT: Duration = Duration::from_secs(180);

/// Does something, and says how many microseconds of CPU time a domain took meanwhile.
pub(super) fn metered<T>(
    machine: &Machine,
    domain: &str,
    what: impl FnOnce() -> Result<T>,
) -> Result<(T, u64)> {
    const BEGUN: &str = "/tmp/metering";
    machine.dom0(&format!("rm -f {BEGUN}"))?;
    let script = format!("{METER}\nmeter_start '{domain}'\n: >{BEGUN}\nread -r _\nmeter_end\n");
    let metering = machine.spawn(&Command::bash(script).limit(LIMIT))?;
    machine.dom0(&format!("until [ -e {BEGUN} ]; do sleep 0.1; done"))?;
    let value = what()?;
    let output = metering.wait()?;
    let text = output.text();
    let cpu_us = text.trim().parse();
    let cpu_us = cpu_us.with_context(|| format!("xentop printed {text:?}{}", output.errors()))?;
    Ok((value, cpu_us))
}

/// Lets the machine work for so long, undisturbed.
pub(super) fn let_work(seconds: u64) {
    thread::sleep(Duration::from_secs(seconds));
}
