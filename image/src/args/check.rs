//! `check`: its options.

use std::path::PathBuf;

use clap::Args;

use super::EXIT_STATUSES;

const CHECK_EXAMPLES: &str = "\
Examples:
  cargo image check examples/two-interfaces
  cargo image check /etc
  cargo image check my-shorewall --network my-interfaces
  cargo image check examples/netdom.toml      what is said of netdom's bridges
  cargo image check --fix /etc --out new-etc      old spellings as Shorewall 5.2 writes them

Diagnostics go to standard error, the verdict to standard output.";

#[derive(Debug, Args)]
#[command(after_help = format!("{CHECK_EXAMPLES}\n\n{EXIT_STATUSES}"))]
pub(crate) struct Check {
    /// A folder laid out like /etc (shorewall/, network/interfaces), a bare Shorewall folder, or netdom's file.
    #[arg(value_name = "DIR")]
    pub(crate) config: PathBuf,
    /// The interfaces(5) file, when it is not DIR/network/interfaces.
    #[arg(long, value_name = "FILE")]
    pub(crate) network: Option<PathBuf>,
    /// Lets /bin/sh run `params` and `?SHELL`, in an empty environment. Without it nothing runs.
    #[arg(long)]
    pub(crate) shell: bool,
    /// Writes the site anew, to the folder that --out names, without old spellings.
    #[arg(long, requires = "out")]
    pub(crate) fix: bool,
    /// The folder that --fix makes.
    #[arg(long, value_name = "NEW", requires = "fix")]
    pub(crate) out: Option<PathBuf>,
    /// Prints the diagnostics as JSON to standard output.
    #[arg(long)]
    pub(crate) json: bool,
}
