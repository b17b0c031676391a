//! Boots the lab and connects the terminal to a shell in dom0; `exit` stops
//! the machine. Without a terminal, standard input is the script to run:
//! `cargo run -p qemu-tests --example shell -- [--suite NAME] [DIRECTORY]`;
//! the directory is copied into `/share`.

use anyhow::{Result, ensure};
use qemu_tests::{Lab, Machine, Options, Suite, to_stderr};
use std::process::Command;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).collect();
    let suite = Suite::asked_for(&mut arguments)?.unwrap_or_default();
    let lab = Lab::prepare_suite(suite, &to_stderr())?;
    let machine = Machine::start(&lab, &Options::default())?;
    eprintln!("dom0 is up after {:.1} s", machine.age().as_secs_f32());
    if let Some(folder) = arguments.first() {
        let copy = Command::new("cp")
            .arg("-r")
            .arg(folder)
            .arg(machine.share())
            .status()?;
        ensure!(copy.success(), "copying {folder}: {copy}");
    }
    machine.keep()
}
