//! `check`.

use std::process::ExitCode;

use anyhow::Result;
use image::site::{self, SitePaths};

use super::site::{not_yet, show, wrong};
use crate::args::Check;
use crate::terminal::print;

pub(crate) fn perform(check: &Check) -> Result<ExitCode> {
    let paths = SitePaths {
        config: check.config.clone(),
        network: check.network.clone(),
    };
    let site = paths.site()?;
    let compiled = shorewall::compile(&site);
    let (report, policy) = match &compiled {
        Ok(compiled) => (&compiled.warnings, Some(&compiled.policy)),
        Err(report) => (report, None),
    };
    if check.json {
        print(&serde_json::to_string_pretty(report.diagnostics())?)?;
    } else {
        show(report)?;
        match policy {
            Some(policy) => {
                let warnings = match report.warnings() {
                    0 => String::new(),
                    1 => ", with 1 warning".to_owned(),
                    many => format!(", with {many} warnings"),
                };
                let summary = site::summary(policy);
                print(&format!(
                    "{} is right{warnings}: {summary}",
                    check.config.display()
                ))?;
                print(&not_yet())?;
            }
            None => print(&wrong(&check.config, report))?,
        }
    }
    Ok(if policy.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
