//! The appliances, and the files that `build` writes for each.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use firewalldom::policy::{Policy, blob};

use crate::build::{self, Image, TargetChoice};
use crate::config::{DomainConfig, memory_for};
use crate::output::OutputSet;
use crate::workspace::Workspace;

/// The folder's, the crate's and the domain's name of the firewall.
pub const FIREWALLDOM: &str = "firewalldom";

/// An appliance that has no configuration of its own yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bare {
    /// The driver domain.
    Netdom,
    /// The device-model stub domain.
    Stubdom,
}

impl Bare {
    /// The folder's, the crate's and the domain's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Netdom => "netdom",
            Self::Stubdom => "stubdom",
        }
    }

    fn purpose(self) -> &'static str {
        match self {
            Self::Netdom => {
                "Will be the driver domain: a network card and its backend, outside dom0."
            }
            Self::Stubdom => "Will be an HVM guest's device model, outside dom0.",
        }
    }
}

/// What was written, for the user.
#[derive(Clone, Debug)]
pub struct Built {
    /// The image.
    pub image: Image,
    /// Bytes of the policy.
    pub policy_bytes: Option<usize>,
    /// The file for `xl create`, absolute.
    pub config: PathBuf,
}

/// Writes `firewalldom.xen`, `firewalldom.policy` and `firewalldom.cfg` into `out`: all or none.
///
/// # Errors
/// When the image cannot be built, the policy not encoded, or the files not written.
pub fn build_firewall(
    workspace: &Workspace,
    policy: &Policy,
    out: &Path,
    memory_mib: Option<u32>,
    target: TargetChoice,
) -> Result<Built> {
    let blob = blob::encode(policy).context("the policy cannot be written")?;
    let image = build::appliance(workspace, FIREWALLDOM, target)?;
    let mut output = OutputSet::new(out)?;
    let out = out.canonicalize()?;
    let (kernel, ramdisk) = (out.join("firewalldom.xen"), out.join("firewalldom.policy"));
    let memory_mib = memory_mib.unwrap_or_else(|| memory_for(policy.interfaces.len()));
    let config = DomainConfig::firewall(policy, &kernel, &ramdisk, memory_mib).render();
    output.add("firewalldom.xen", &image.bytes)?;
    output.add("firewalldom.policy", &blob)?;
    output.add("firewalldom.cfg", config.as_bytes())?;
    output.publish()?;
    Ok(Built {
        image,
        policy_bytes: Some(blob.len()),
        config: out.join("firewalldom.cfg"),
    })
}

/// Writes `NAME.xen` and `NAME.cfg` into `out`: both or none.
///
/// # Errors
/// When the image cannot be built or the files not written.
pub fn build_bare(
    workspace: &Workspace,
    bare: Bare,
    out: &Path,
    target: TargetChoice,
) -> Result<Built> {
    let name = bare.name();
    let image = build::appliance(workspace, name, target)?;
    let mut output = OutputSet::new(out)?;
    let out = out.canonicalize()?;
    let kernel = out.join(format!("{name}.xen"));
    let config = DomainConfig::bare(name, bare.purpose(), &kernel).render();
    output.add(&format!("{name}.xen"), &image.bytes)?;
    output.add(&format!("{name}.cfg"), config.as_bytes())?;
    output.publish()?;
    Ok(Built {
        image,
        policy_bytes: None,
        config: out.join(format!("{name}.cfg")),
    })
}
