//! The two targets an image can be built for.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::Workspace;

/// What the caller wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "program", derive(clap::ValueEnum))]
pub enum TargetChoice {
    /// x86_64-unknown-none; the host's triple when that cannot be had.
    #[default]
    Auto,
    /// x86_64-unknown-none or fail.
    None,
    /// The host's triple, without its C library.
    Host,
}

/// What the image is built for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// `x86_64-unknown-none`: no operating system, soft-float, no red zone.
    BareMetal,
    /// `x86_64-unknown-linux-gnu`, whose `core` every toolchain has, linked without C library
    /// and start files.
    HostTriple,
}

impl Target {
    /// Rust's name of the target.
    pub fn triple(self) -> &'static str {
        match self {
            Self::BareMetal => "x86_64-unknown-none",
            Self::HostTriple => "x86_64-unknown-linux-gnu",
        }
    }

    /// The target that `choice` comes to on this machine; says so on standard error when it is
    /// not the preferred one.
    pub(super) fn choose(workspace: &Workspace, choice: TargetChoice) -> Result<Self> {
        match choice {
            TargetChoice::Host => Ok(Self::HostTriple),
            TargetChoice::None => {
                obtain(workspace, Self::BareMetal.triple())?;
                Ok(Self::BareMetal)
            }
            TargetChoice::Auto => match obtain(workspace, Self::BareMetal.triple()) {
                Ok(()) => Ok(Self::BareMetal),
                Err(why) => {
                    eprintln!(
                        "note: building for {} instead of {}: {why:#}",
                        Self::HostTriple.triple(),
                        Self::BareMetal.triple(),
                    );
                    Ok(Self::HostTriple)
                }
            },
        }
    }
}

/// Makes sure that the toolchain has `triple`'s `core`, asking rustup once when it has not.
fn obtain(workspace: &Workspace, triple: &str) -> Result<()> {
    let sysroot = rustc(workspace, &["--print", "sysroot"])?;
    let library = Path::new(&sysroot)
        .join("lib/rustlib")
        .join(triple)
        .join("lib");
    if library.is_dir() {
        return Ok(());
    }
    let output = Command::new("rustup")
        .args(["target", "add", triple])
        .current_dir(workspace.root())
        .output()
        .with_context(|| {
            format!("this toolchain lacks {triple}, and there is no rustup to add it")
        })?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        let reason = stderr
            .lines()
            .rev()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("");
        bail!("`rustup target add {triple}` failed ({})", reason.trim());
    }
    if !library.is_dir() {
        bail!("`rustup target add {triple}` added it to another toolchain than {sysroot}");
    }
    Ok(())
}

/// What `rustc` of the workspace's toolchain prints.
pub(super) fn rustc(workspace: &Workspace, arguments: &[&str]) -> Result<String> {
    let program = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(&program)
        .args(arguments)
        .current_dir(workspace.root())
        .output()
        .with_context(|| {
            format!(
                "cannot run {}: install Rust from https://rustup.rs",
                program.display()
            )
        })?;
    if !output.status.success() {
        bail!("{} {} failed", program.display(), arguments.join(" "));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
