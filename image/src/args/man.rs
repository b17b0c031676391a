//! `man`: its options.

use std::path::PathBuf;

use clap::Args;

use super::EXIT_STATUSES;

const EXAMPLES: &str = "\
Examples:
  cargo image man --out ~/.local/share/man/man1
  cargo image man --out /tmp/man && man -l /tmp/man/xen-image-build.1";

#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_STATUSES}"))]
pub(crate) struct Man {
    /// The folder to write to; created when missing.
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}
