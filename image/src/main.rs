//! `xen-image`: checks, builds and runs the appliances.

mod args;

use std::fs;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;
use image::build;
use image::output::OutputSet;
use image::workspace::Workspace;

use args::{Arguments, Verb};

fn main() -> ExitCode {
    match perform(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xen-image: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: Arguments) -> Result<ExitCode> {
    match arguments.verb {
        Verb::Guest(guest) => {
            let workspace = Workspace::find()?;
            let program = build::Program {
                package: guest.package,
                binary: guest.binary,
                features: guest.features,
                manifest: guest.manifest_path.map(fs::canonicalize).transpose()?,
            };
            let image = build::program(&workspace, &program, guest.target)?;
            let directory = guest
                .out
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            let mut output = OutputSet::new(directory.unwrap_or(".".as_ref()))?;
            let name = guest.out.file_name().unwrap_or_default().to_string_lossy();
            output.add(&name, &image.bytes)?;
            output.publish()?;
            println!(
                "{}: {} bytes, for {}, entry {:#x}; symbols in {}",
                guest.out.display(),
                image.bytes.len(),
                image.target.triple(),
                image.notes.entry,
                image.unstripped.display(),
            );
            Ok(ExitCode::SUCCESS)
        }
    }
}
