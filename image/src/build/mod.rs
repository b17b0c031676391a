//! From the workspace's sources to Xen-ELF images.

mod cargo;
mod target;

use std::ffi::OsString;
use std::fs::{self, File};
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
    /// Environment variables for the compiler, which the program's source asks for.
    pub environment: Vec<(String, OsString)>,
}

impl Program {
    /// An appliance: package and binary have its name, and the feature `xen` makes it one.
    pub fn appliance(name: &str) -> Self {
        Self {
            package: name.to_owned(),
            binary: name.to_owned(),
            features: vec!["xen".to_owned()],
            manifest: None,
            environment: Vec::new(),
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
    /// The debug file that belongs beside it: its names and line tables, and its build-id.
    pub debug: Vec<u8>,
    /// The linker's output, with symbols and line tables: cargo's, until the next build of this binary.
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
    let _turn = turn(workspace)?;
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
        debug: elf::debug_file(&linked)?,
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

/// Name of the program that runs in dom0, and of its file.
pub const DOM0_PROGRAM: &str = "xen-image-dom0";

/// Its name where it is a stub domain's helper: it goes by the name that it is started under.
pub const STUBDOM_HELPER: &str = "xen-image-stubdom-helper";

/// Builds the program that runs in a Xen host's dom0 (`xen-image-dom0 stat DOMAIN`): static, for any
/// x86-64 Linux, stripped. `dom0 --help` and the README of the crate `dom0` say what it does.
///
/// # Errors
/// When it does not compile, or the host has no static C library (`libc6-dev`).
pub fn dom0(workspace: &Workspace) -> Result<Vec<u8>> {
    let program = Program {
        package: "dom0".to_owned(),
        binary: DOM0_PROGRAM.to_owned(),
        features: Vec::new(),
        manifest: None,
        environment: Vec::new(),
    };
    let _turn = turn(workspace)?;
    read(&cargo::build_static(workspace, &program)?)
}

/// Waits until nobody else builds appliances of this workspace, and keeps them waiting while the file
/// is open: what cargo linked has the same name whatever its features and the policy inside, and stays
/// only until the next build of that name.
fn turn(workspace: &Workspace) -> Result<File> {
    let folder = cargo::directory(workspace);
    let path = folder.join("lock");
    fs::create_dir_all(&folder)
        .and_then(|()| File::create(&path))
        .and_then(|file| file.lock().map(|()| file))
        .with_context(|| format!("cannot lock {}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
