//! `run`.

use std::io;
use std::process::ExitCode;

use anyhow::Result;
use image::run::{RunOptions, table};
use image::workspace::Workspace;
use serde::Serialize;

use crate::args::{Run, Scene};
use crate::terminal::{colours, print};

pub(crate) fn perform(run: &Run) -> Result<ExitCode> {
    let as_expected = match run.scene {
        Scene::Firewall => firewall(run)?,
        Scene::House => house(run)?,
    };
    Ok(if as_expected {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn tell(what: &str) {
    eprintln!("xen-image: {what}");
}

/// Whether all came out as expected.
fn firewall(run: &Run) -> Result<bool> {
    let workspace = Workspace::find()?;
    let options = RunOptions {
        memory_mib: run.memory,
        target: run.target,
    };
    let finished = image::run::perform(&workspace, run.suite.into(), options, &tell)?;
    let report = &finished.report;
    show(run, report, |style| table::render(report, style))?;
    let as_expected = report.as_expected();
    if run.keep {
        finished.keep()?;
    } else {
        finished.machine.stop()?;
    }
    Ok(as_expected)
}

/// The same.
fn house(run: &Run) -> Result<bool> {
    let workspace = Workspace::find()?;
    let finished = image::run::house::perform(&workspace, run.suite.into(), run.target, &tell)?;
    let report = &finished.report;
    show(run, report, |style| report.render(style))?;
    let as_expected = report.as_expected();
    if run.keep {
        finished.keep()?;
    } else {
        finished.stop()?;
    }
    Ok(as_expected)
}

fn show(
    run: &Run,
    report: &impl Serialize,
    render: impl FnOnce(table::Style) -> String,
) -> Result<()> {
    if run.json {
        return print(&serde_json::to_string_pretty(report)?);
    }
    let style = if colours(&io::stdout()) {
        table::Style::Colour
    } else {
        table::Style::Plain
    };
    print(&format!("\n{}", render(style)))
}
