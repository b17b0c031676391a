//! Measures what a packet costs the engine and Linux, and prints a line for each sample.

use anyhow::{Context, Result};
use oracle::figures::{self, Figure, Sample};
use oracle::linux::Host;
use std::path::PathBuf;

const USAGE: &str = "\
usage: oracle-figures FOLDER ROUNDS
FOLDER is laid out like /etc, as examples/two-interfaces is. A machine that allows no namespaces has the
engine's figures alone.";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder: PathBuf = arguments.next().context(USAGE)?.into();
    let rounds: u32 = arguments.next().context(USAGE)?.parse().context(USAGE)?;
    let (configuration, policy) = figures::site(&folder)?;
    let mut has_new_flows = false;
    let mut tell = |sample: Sample| {
        has_new_flows |= sample.figure == Figure::New;
        println!("{sample}");
    };
    figures::engine::measure(&configuration, &policy, rounds, &mut tell)?;
    let program = std::env::current_exe()?.with_file_name("oracle-namespace");
    let mut warn = |words: String| eprintln!("{words}");
    let linux = Host::prepare(&program, &qemu_tests::to_stderr()).and_then(|host| {
        figures::linux::measure(&host, &configuration, &policy, rounds, &mut tell, &mut warn)
    });
    if let Err(error) = linux {
        warn(format!("Linux: not measured: {error:#}"));
    }
    if !has_new_flows {
        for _ in 0..rounds {
            println!("{}", figures::engine::new_flows(&policy)?);
        }
    }
    Ok(())
}
