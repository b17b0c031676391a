//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use image::build::TargetChoice;

/// Checks, builds and runs the appliances as Xen-ELF images.
#[derive(Debug, Parser)]
#[command(name = "xen-image", version)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Builds any binary on minios-rs as a Xen-ELF image (for tests).
    #[command(hide = true)]
    Guest(Guest),
}

#[derive(Debug, Args)]
pub(crate) struct Guest {
    /// Cargo package.
    #[arg(long)]
    pub(crate) package: String,
    /// Binary in it.
    #[arg(long = "bin")]
    pub(crate) binary: String,
    /// Features to switch on.
    #[arg(long, value_delimiter = ',')]
    pub(crate) features: Vec<String>,
    /// `Cargo.toml` of a workspace of its own.
    #[arg(long)]
    pub(crate) manifest_path: Option<PathBuf>,
    /// The file to write.
    #[arg(long)]
    pub(crate) out: PathBuf,
    /// What to build for.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) target: TargetChoice,
}
