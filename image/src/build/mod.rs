//! From the workspace's sources to Xen-ELF images.

mod cargo;
mod target;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::elf::{self, XenNotes};
use crate::workspace::Workspace;

pub use target::{Target, TargetChoice};

/// A `no_std` program on minios-rs that becomes an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Cargo's name of the package.
    pub package: String,
    /// Name of the binary in it.
    pub binary: String,
    /// Features to switch on; the default ones are off.
    pub features: Vec<String>,
    /// The `Cargo.toml` of a workspace of its own. `None`: the package belongs to ours.
    pub manifest: Option<PathBuf>,
}

impl Program {
    /// An appliance: package and binary have its name, and the feature `xen` makes it one.
    pub fn appliance(name: &str) -> Self {
        Self {
            package: name.to_owned(),
            binary: name.to_owned(),
            features: vec!["xen".to_owned()],
            manifest: None,
        }
    }
}

/// A finished image.
#[derive(Clone, Debug)]
pub struct Image {
    /// The stripped Xen-ELF file for `kernel=`.
    pub bytes: Vec<u8>,
    /// What its notes say.
    pub notes: XenNotes,
    /// What it was built for.
    pub target: Target,
    /// The linker's output, with symbols and line tables.
    pub unstripped: PathBuf,
}

/// Compiles, links and strips `program`.
///
/// Cargo's own messages go to standard error. Nothing outside `target/appliance` is written.
///
/// # Errors
/// When neither target can be had, the program does not compile, or what was linked is no
/// Xen-ELF image.
pub fn program(workspace: &Workspace, program: &Program, choice: TargetChoice) -> Result<Image> {
    let target = Target::choose(workspace, choice)?;
    let unstripped = cargo::build(workspace, program, target)?;
    let linked = read(&unstripped)?;
    let stripped = elf::strip(&linked).with_context(|| {
        format!(
            "{} is not an image that Xen could start",
            unstripped.display()
        )
    })?;
    Ok(Image {
        bytes: stripped.bytes,
        notes: stripped.notes,
        target,
        unstripped,
    })
}

/// Builds the appliance called `name` (`firewalldom`, `netdom`, `stubdom`).
///
/// # Errors
/// As [`program`].
pub fn appliance(workspace: &Workspace, name: &str, choice: TargetChoice) -> Result<Image> {
    program(workspace, &Program::appliance(name), choice)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
