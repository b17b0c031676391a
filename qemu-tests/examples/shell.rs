//! Boots the lab and connects the terminal to a shell in dom0; `exit` stops
//! the machine. Without a terminal, standard input is the script to run:
//! `cargo run -p qemu-tests --example shell [DIRECTORY TO COPY INTO /share]`

use anyhow::{Result, ensure};
use qemu_tests::{Lab, Machine, Options, Suite, to_stderr};
use std::process::Command;

fn main() -> Result<()> {
    let lab = Lab::prepare_suite(Suite::current()?, &to_stderr())?;
    let machine = Machine::start(&lab, &Options::default())?;
    eprintln!("dom0 is up after {:.1} s", machine.age().as_secs_f32());
    if let Some(folder) = std::env::args_os().nth(1) {
        let copy = Command::new("cp")
            .arg("-r")
            .arg(&folder)
            .arg(machine.share())
            .status()?;
        ensure!(copy.success(), "copying {}: {copy}", folder.display());
    }
    machine.keep()
}
