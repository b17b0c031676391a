//! `inspect`: its options.

use std::path::PathBuf;

use clap::Args;

use super::EXIT_STATUSES;

const INSPECT_EXAMPLES: &str = "\
Examples:
  cargo image inspect out/firewalldom.xen
  cargo image inspect out/firewalldom.policy
  cargo image inspect out/netdom.policy
  cargo image inspect examples/netdom.toml --json
  cargo image inspect /boot/vmlinuz-6.1.0-18-amd64 --json

Shows what is there; whether it is good is for `verify` to say.";

#[derive(Debug, Args)]
#[command(after_help = format!("{INSPECT_EXAMPLES}\n\n{EXIT_STATUSES}"))]
pub(crate) struct Inspect {
    /// An image for `kernel=`; a policy, or netdom's configuration, for `ramdisk=`; or the file that this is made of.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Prints one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
