//! `check`.

use std::process::ExitCode;

use anyhow::Result;
use image::findings::Findings;
use image::options::find_obstacles;
use image::site::{self, SitePaths};
use shorewall::Severity;

use super::fix;
use super::site::{Found, counted, not_yet, programs, wrong};
use crate::args::Check;
use crate::terminal::print;

pub(crate) fn perform(check: &Check) -> Result<ExitCode> {
    let paths = SitePaths {
        config: check.config.clone(),
        network: check.network.clone(),
        programs: programs(check.shell),
    };
    let site = paths.site()?;
    if let Some(out) = &check.out {
        return fix::perform(&site, &check.config, out);
    }
    let compiled = shorewall::compile(&site);
    let mut findings = Findings::default();
    let (report, policy) = match &compiled {
        Ok(compiled) => (&compiled.warnings, Some(&compiled.policy)),
        Err(report) => (report, None),
    };
    if let Some(policy) = policy {
        find_obstacles(policy, &site, |_| false, Severity::Warning, &mut findings);
    }
    let found = Found {
        report: Some(report),
        findings: &findings,
    };
    if check.json {
        print(&serde_json::to_string_pretty(&found.diagnostics())?)?;
    } else {
        found.show()?;
        match policy {
            Some(policy) => {
                let warnings = match found.warnings() {
                    0 => String::new(),
                    some => format!(", with {}", counted(some, "warning")),
                };
                let summary = site::summary(policy);
                print(&format!(
                    "{} is right{warnings}: {summary}",
                    check.config.display()
                ))?;
                print(&not_yet(policy))?;
            }
            None => print(&wrong(&check.config, found.errors()))?,
        }
    }
    Ok(if policy.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
