//! A site's configuration as check and build tell of it.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use image::site::SitePaths;
use shorewall::{Compiled, Report};

use crate::terminal::colours;

/// Compiles a site; shows its warnings, or its errors and ends there.
pub(crate) fn compile_site(paths: &SitePaths) -> Result<Compiled> {
    let site = paths.site()?;
    match shorewall::compile(&site) {
        Ok(compiled) => {
            show(&compiled.warnings)?;
            Ok(compiled)
        }
        Err(report) => {
            show(&report)?;
            bail!("{}; nothing was written", wrong(&paths.config, &report))
        }
    }
}

/// What no file can change: nobody shall find out by surprise.
pub(crate) fn not_yet() -> String {
    let mut text =
        "unlike a Linux gateway with these files, firewalldom does not handle yet:".to_owned();
    for line in firewalldom::NOT_YET {
        text.push_str("\n  - ");
        text.push_str(line);
    }
    text
}

pub(crate) fn wrong(config: &Path, report: &Report) -> String {
    let config = config.display();
    match report.errors() {
        1 => format!("{config} has 1 error"),
        many => format!("{config} has {many} errors"),
    }
}

/// Diagnostics go to standard error, in colour only when that is a terminal.
pub(crate) fn show(report: &Report) -> Result<()> {
    if report.is_empty() {
        return Ok(());
    }
    let style = if colours(&io::stderr()) {
        shorewall::Style::Colour
    } else {
        shorewall::Style::Plain
    };
    io::stderr()
        .write_all(report.render(style).as_bytes())
        .context("cannot write to standard error")
}
