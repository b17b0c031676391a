//! `run`.

use std::io;
use std::process::ExitCode;

use anyhow::Result;
use image::run::{RunOptions, table};
use image::workspace::Workspace;

use crate::args::Run;
use crate::terminal::{colours, print};

pub(crate) fn perform(run: &Run) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let options = RunOptions {
        memory_mib: run.memory,
        target: run.target,
    };
    let tell = |what: &str| eprintln!("xen-image: {what}");
    let finished = image::run::perform(&workspace, run.suite.into(), options, &tell)?;
    let report = &finished.report;
    if run.json {
        print(&serde_json::to_string_pretty(report)?)?;
    } else {
        let style = if colours(&io::stdout()) {
            table::Style::Colour
        } else {
            table::Style::Plain
        };
        print(&format!("\n{}", table::render(report, style)))?;
    }
    let as_expected = report.as_expected();
    if run.keep {
        finished.keep()?;
    } else {
        finished.machine.stop()?;
    }
    Ok(if as_expected {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
