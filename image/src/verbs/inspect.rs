//! `inspect`.

use std::process::ExitCode;

use anyhow::Result;
use image::findings::Findings;

use super::file::read;
use super::site::{Found, bridges_of, is_netdoms, wrong};
use crate::args::Inspect;
use crate::terminal::print;

pub(crate) fn perform(inspect: &Inspect) -> Result<ExitCode> {
    let bytes = match is_netdoms(&inspect.file) {
        true => match compiled(inspect)? {
            Some(blob) => blob,
            None => return Ok(ExitCode::FAILURE),
        },
        false => read(&inspect.file)?,
    };
    let report = image::inspect::inspect(&bytes);
    if inspect.json {
        print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        print(report.to_string().trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What netdom would be given of its file; none if that is wrong, which was said then.
fn compiled(inspect: &Inspect) -> Result<Option<Vec<u8>>> {
    let mut findings = Findings::default();
    let config = bridges_of(&inspect.file, &mut findings)?;
    let found = Found {
        report: None,
        findings: &findings,
    };
    match config {
        Some(config) => return Ok(Some(netdom::config::encode(&config)?)),
        None if inspect.json => print(&serde_json::to_string_pretty(&found.diagnostics())?)?,
        None => {
            found.show()?;
            print(&wrong(&inspect.file, found.errors()))?;
        }
    }
    Ok(None)
}
