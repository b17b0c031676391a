//! `stubdom-convert`.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use image::findings::Findings;
use image::output::OutputSet;
use image::stubdom::{Change, Place, RAMDISK, convert};
use serde::Serialize;

use super::file::read;
use super::site::{Diagnostic, Found, counted, wrong};
use crate::args::StubdomConvert;
use crate::terminal::print;

/// What came of it, for programs.
#[derive(Default, Serialize)]
struct Outcome {
    /// As `check --json` prints them.
    diagnostics: Vec<Diagnostic>,
    changes: Vec<Change>,
    /// Why nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(crate) fn perform(wanted: &StubdomConvert) -> Result<ExitCode> {
    let mut outcome = Outcome::default();
    let done = convert_and_tell(wanted, &mut outcome);
    if wanted.json {
        outcome.error = done.as_ref().err().map(|error| format!("{error:#}"));
        print(&serde_json::to_string_pretty(&outcome)?)?;
    }
    done
}

fn convert_and_tell(wanted: &StubdomConvert, outcome: &mut Outcome) -> Result<ExitCode> {
    let name = wanted.guest.display().to_string();
    let text = String::from_utf8(read(&wanted.guest)?).map_err(|_| {
        anyhow::anyhow!("{name} is not UTF-8: convert it first, as with `iconv -f latin1 -t utf-8`")
    })?;
    let same = wanted.out.canonicalize().ok();
    if same.is_some() && same == wanted.guest.canonicalize().ok() {
        bail!("--out is {name} itself, which stays as it is: name another file");
    }
    if !wanted.stubdom.is_absolute() {
        bail!(
            "{} is no path from the root: --stubdom names a folder in dom0",
            wanted.stubdom.display()
        );
    }
    // The guest may be another computer's: then this one knows nothing of its files.
    let ramdisk = fs::metadata(wanted.stubdom.join(RAMDISK));
    let place = Place {
        folder: wanted.stubdom.clone(),
        ramdisk_bytes: ramdisk.map_or(0, |ramdisk| ramdisk.len()),
    };
    let mut findings = Findings::default();
    let conversion = convert(&name, &text, &place, &mut findings);
    let found = Found {
        report: None,
        findings: &findings,
    };
    outcome.diagnostics = found.diagnostics();
    if !wanted.json {
        found.show()?;
    }
    let Some(conversion) = conversion else {
        bail!(
            "{}; nothing was written",
            wrong(&wanted.guest, found.errors())
        );
    };
    write(&wanted.out, &conversion.text)?;
    if !wanted.json {
        for change in &conversion.changes {
            print(&change.to_string())?;
        }
        let changes = counted(conversion.changes.len(), "change");
        print(&format!("{}: {changes}", wanted.out.display()))?;
    }
    outcome.changes = conversion.changes;
    Ok(ExitCode::SUCCESS)
}

/// All of it or nothing.
fn write(out: &Path, text: &str) -> Result<()> {
    let name = out.file_name().context("--out names no file")?;
    let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut output = OutputSet::new(folder.unwrap_or(Path::new(".")))?;
    output.add(&name.to_string_lossy(), text.as_bytes())?;
    output.publish()
}
