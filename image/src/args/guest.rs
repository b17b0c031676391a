//! `guest`: its options.

use std::path::PathBuf;

use clap::Args;
use image::build::TargetChoice;

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
    /// What to compile for.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) target: TargetChoice,
}
