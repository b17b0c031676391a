//! `verify`.

use std::process::ExitCode;

use anyhow::Result;
use image::loader::Machine;
use image::verify::{Strictness, verify};

use super::file::read;
use crate::args::Verify;
use crate::terminal::print;

pub(crate) fn perform(arguments: &Verify) -> Result<ExitCode> {
    let machine = Machine {
        memory_mib: arguments.memory,
        ..Machine::default()
    };
    let strictness = if arguments.strict {
        Strictness::Strict
    } else {
        Strictness::Lenient
    };
    let report = verify(&read(&arguments.file)?, &machine);
    let name = arguments.file.display().to_string();
    if arguments.json {
        print(&serde_json::to_string_pretty(&report.json(&name))?)?;
    } else {
        print(&report.text(&name, strictness))?;
    }
    Ok(if report.passes(strictness) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
