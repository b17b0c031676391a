//! A site's configuration as check and build tell of it.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use firewalldom::policy::Policy;
use image::findings::Findings;
use serde::Serialize;
use shorewall::{Programs, Report, Style};

use crate::terminal::colours;

/// What `--shell` asks for.
pub(super) fn programs(shell: bool) -> Programs {
    if shell {
        Programs::Run
    } else {
        Programs::Refused
    }
}

/// All that was found: in the site's files, and in the rest.
pub(super) struct Found<'a> {
    pub(super) report: Option<&'a Report>,
    pub(super) findings: &'a Findings,
}

/// A diagnostic of either kind; both have the same fields.
#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Diagnostic {
    Site(shorewall::Diagnostic),
    Rest(image::findings::Diagnostic),
}

impl Found<'_> {
    pub(super) fn errors(&self) -> usize {
        self.report.map_or(0, Report::errors) + self.findings.errors()
    }

    pub(super) fn warnings(&self) -> usize {
        self.report.map_or(0, Report::warnings) + self.findings.warnings()
    }

    /// To standard error, in colour only when that is a terminal.
    pub(super) fn show(&self) -> Result<()> {
        let style = if colours(&io::stderr()) {
            Style::Colour
        } else {
            Style::Plain
        };
        let mut text = self.findings.render(style);
        if let Some(report) = self.report {
            text.push_str(&report.render(style));
        }
        io::stderr()
            .write_all(text.as_bytes())
            .context("cannot write to standard error")
    }

    pub(super) fn diagnostics(&self) -> Vec<Diagnostic> {
        let rest = self
            .findings
            .diagnostics()
            .into_iter()
            .map(Diagnostic::Rest);
        let site = self.report.map_or(&[][..], Report::diagnostics);
        rest.chain(site.iter().cloned().map(Diagnostic::Site))
            .collect()
    }
}

/// What no file can change: nobody shall find out by surprise.
pub(super) fn not_yet(policy: &Policy) -> String {
    let has_bridges = policy.interfaces.iter().any(|interface| interface.bridge);
    let of_bridges: &[&str] = match has_bridges {
        true => &firewalldom::NOT_YET_ON_BRIDGES,
        false => &[],
    };
    let mut text =
        "unlike a Linux gateway with these files, firewalldom does not handle yet:".to_owned();
    for line in firewalldom::NOT_YET.iter().chain(of_bridges) {
        text.push_str("\n  - ");
        text.push_str(line);
    }
    text
}

/// Whether a file is netdom's configuration, and not a site's folder or what was compiled: by its name.
pub(super) fn is_netdoms(file: &Path) -> bool {
    file.extension().is_some_and(|suffix| suffix == "toml")
}

/// What a file says of netdom's bridges; none if it is wrong.
///
/// # Errors
/// It cannot be read.
pub(super) fn bridges_of(
    file: &Path,
    findings: &mut Findings,
) -> Result<Option<netdom::config::Config>> {
    if file.is_dir() {
        bail!(
            "{} is a folder: netdom's configuration is a file, such as examples/netdom.toml",
            file.display()
        );
    }
    let text = std::fs::read_to_string(file);
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    Ok(image::netdom::read(
        &file.to_string_lossy(),
        &text,
        findings,
    ))
}

/// How many errors, and of what.
pub(super) fn wrong(config: &Path, errors: usize) -> String {
    let config = config.display();
    format!("{config} has {}", counted(errors, "error"))
}

pub(super) fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        many => format!("{many} {what}s"),
    }
}
