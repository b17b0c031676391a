//! `build`.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use image::appliance::{self, Bare, Built};
use image::site::SitePaths;
use image::workspace::Workspace;

use super::site::{compile_site, not_yet};
use crate::args::{Appliance, Build};
use crate::terminal::print;

pub(crate) fn perform(build: &Build) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let built = match build.appliance {
        Appliance::Firewalldom => {
            let config = build.config.clone().context("--config DIR is missing")?;
            let paths = SitePaths {
                config,
                network: build.network.clone(),
            };
            let compiled = compile_site(&paths)?;
            print(&not_yet())?;
            appliance::build_firewall(&workspace, &compiled.policy, &build.out, None, build.target)?
        }
        Appliance::Netdom => bare(&workspace, Bare::Netdom, build)?,
        Appliance::Stubdom => bare(&workspace, Bare::Stubdom, build)?,
    };
    print(&written(&built))?;
    Ok(ExitCode::SUCCESS)
}

fn bare(workspace: &Workspace, appliance: Bare, build: &Build) -> Result<Built> {
    if build.config.is_some() {
        bail!(
            "{} has no configuration yet: leave --config out",
            appliance.name()
        );
    }
    appliance::build_bare(workspace, appliance, &build.out, build.target)
}

fn written(built: &Built) -> String {
    let notes = &built.image.notes;
    let mut text = format!(
        "{} bytes, built for {}, entry {:#x}",
        built.image.bytes.len(),
        built.image.target.triple(),
        notes.entry,
    );
    if let Some(bytes) = built.policy_bytes {
        text.push_str(&format!("; policy {bytes} bytes"));
    }
    format!("{text}\nxl create {}", built.config.display())
}
