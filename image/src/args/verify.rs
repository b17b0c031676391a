//! `verify`: its options.

use std::path::PathBuf;

use clap::Args;

const VERIFY_EXAMPLES: &str = "\
Examples:
  cargo image verify out/firewalldom.xen
  cargo image verify --strict --memory 8 out/firewalldom.xen
  cargo image verify --json some-kernel

Follows what Xen's domain builder does with a PV guest's `kernel=`, step by step. A file that it
would start may still be no sound appliance: each reason is a warning, by a name that stays.

Exit status:
  0  Xen loads it (with --strict: and it is a sound appliance)
  1  Xen refuses it, --strict and there are warnings, or the file cannot be read
  2  the command line makes no sense";

#[derive(Debug, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub(crate) struct Verify {
    /// The file for `kernel=`.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Warnings are errors.
    #[arg(long)]
    pub(crate) strict: bool,
    /// The domain's `memory=`, in MiB; without it, as much as the image takes.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    pub(crate) memory: Option<u32>,
    /// Prints one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}
