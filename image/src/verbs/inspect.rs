//! `inspect`.

use std::process::ExitCode;

use anyhow::Result;

use super::file::read;
use crate::args::Inspect;
use crate::terminal::print;

pub(crate) fn perform(inspect: &Inspect) -> Result<ExitCode> {
    let report = image::inspect::inspect(&read(&inspect.file)?);
    if inspect.json {
        print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        print(report.to_string().trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}
