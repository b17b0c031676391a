//! `check`: its options.

use std::path::PathBuf;

use clap::Args;

use super::EXIT_STATUSES;

const CHECK_EXAMPLES: &str = "\
Examples:
  cargo image check examples/two-interfaces
  cargo image check /etc
  cargo image check my-shorewall --network my-interfaces

Diagnostics go to standard error, the verdict to standard output.";

#[derive(Debug, Args)]
#[command(after_help = format!("{CHECK_EXAMPLES}\n\n{EXIT_STATUSES}"))]
pub(crate) struct Check {
    /// A folder laid out like /etc (shorewall/, network/interfaces), or a bare Shorewall folder.
    #[arg(value_name = "DIR")]
    pub(crate) config: PathBuf,
    /// The interfaces(5) file, when it is not DIR/network/interfaces.
    #[arg(long, value_name = "FILE")]
    pub(crate) network: Option<PathBuf>,
    /// Prints the diagnostics as JSON to standard output.
    #[arg(long)]
    pub(crate) json: bool,
}
