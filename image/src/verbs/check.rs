//! `check`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use image::findings::Findings;
use image::netdom;
use image::options::find_obstacles;
use image::site::{self, SitePaths};
use shorewall::Severity;

use super::fix;
use super::site::{Found, bridges_of, counted, is_netdoms, not_yet, programs, wrong};
use crate::args::Check;
use crate::terminal::print;

pub(crate) fn perform(check: &Check) -> Result<ExitCode> {
    if is_netdoms(&check.config) {
        return bridges(check);
    }
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

/// The same of what is said of netdom's bridges.
fn bridges(check: &Check) -> Result<ExitCode> {
    if check.network.is_some() || check.shell || check.fix {
        bail!(
            "{} is a file, and so netdom's: leave --network, --shell and --fix out",
            check.config.display()
        );
    }
    let mut findings = Findings::default();
    let config = bridges_of(&check.config, &mut findings)?;
    let found = Found {
        report: None,
        findings: &findings,
    };
    if check.json {
        print(&serde_json::to_string_pretty(&found.diagnostics())?)?;
    } else {
        found.show()?;
        print(&match &config {
            Some(config) => format!(
                "{} is right: {}",
                check.config.display(),
                netdom::summary(config)
            ),
            None => wrong(&check.config, found.errors()),
        })?;
    }
    Ok(match config {
        Some(_) => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    })
}
