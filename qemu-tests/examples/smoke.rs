//! Boots the lab, starts one PV kernel with `xl create` and shows what came
//! of it: `cargo run -p qemu-tests --example smoke -- [--suite NAME] KERNEL [CFG]
//! [SECONDS]`
//!
//! CFG is an xl configuration whose `kernel=` is overridden; without one the
//! guest gets 8 MiB and the name `smoke`.

use anyhow::{Context, Result};
use qemu_tests::{Command, Lab, Machine, Options, Suite, to_stderr};
use std::path::Path;
use std::time::Duration;

const MINIMAL: &str = "memory = 8\non_crash = \"preserve\"\non_reboot = \"destroy\"\n";

fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let suite = Suite::asked_for(&mut arguments)?.unwrap_or_default();
    let (numbers, files): (Vec<&String>, Vec<&String>) = arguments
        .iter()
        .partition(|argument| argument.parse::<u64>().is_ok());
    let kernel = files
        .first()
        .context("usage: smoke [--suite NAME] KERNEL [CFG] [SECONDS]")?;
    let seconds = numbers.first().map_or(Ok(5), |number| number.parse())?;
    let mut config = match files.get(1) {
        Some(file) => std::fs::read_to_string(Path::new(file))?,
        None => MINIMAL.to_owned(),
    };
    config.push_str("\nname = \"smoke\"\nkernel = \"/share/kernel\"\n");

    let lab = Lab::prepare_suite(suite, &to_stderr())?;
    let machine = Machine::start(&lab, &Options::default())?;
    println!("dom0 is up after {:.1} s", machine.age().as_secs_f32());
    std::fs::copy(kernel, machine.share().join("kernel"))?;
    machine.put("/tmp/smoke.cfg", config.as_bytes())?;
    for script in [
        "time xl create /tmp/smoke.cfg".to_owned(),
        format!("sleep {seconds}; cat /var/log/xen/guest-smoke.log"),
        "xl list".to_owned(),
        "tail -n 20 /var/log/xen/xl-smoke.log".to_owned(),
        "xl dmesg | tail -n 30".to_owned(),
    ] {
        println!("--- {script}");
        let limit = Duration::from_secs(60 + seconds);
        let output = machine.run(&Command::bash(script).limit(limit))?;
        println!("{}{}", output.text(), output.errors());
        if !output.status.is_success() {
            println!("{}", output.status);
        }
    }
    println!("--- logs in {}", machine.folder().display());
    machine.stop()
}
