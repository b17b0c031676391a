//! `build`: its options.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use image::build::TargetChoice;

use super::EXIT_STATUSES;

/// What can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Appliance {
    /// A site's firewall and router.
    Firewalldom,
    /// The driver domain; so far it boots and says what it will be.
    Netdom,
    /// The device-model stub domain; so far it boots and says what it will be.
    Stubdom,
}

const BUILD_EXAMPLES: &str = "\
Examples:
  cargo image build firewalldom --config examples/two-interfaces --out out
  cargo image build firewalldom --config my-shorewall --network my-interfaces --out out
  cargo image build netdom --out out

Writes OUT/NAME.xen, for firewalldom OUT/NAME.policy, and OUT/NAME.cfg: all of them or none. Copy
the folder to a Xen host, set the bridges' names in the .cfg, and run `xl create NAME.cfg` there.";

#[derive(Debug, Args)]
#[command(after_help = format!("{BUILD_EXAMPLES}\n\n{EXIT_STATUSES}"))]
pub(crate) struct Build {
    /// What to build.
    #[arg(value_enum)]
    pub(crate) appliance: Appliance,
    /// The site: a folder laid out like /etc, or a bare Shorewall folder.
    #[arg(long, value_name = "DIR", required_if_eq("appliance", "firewalldom"))]
    pub(crate) config: Option<PathBuf>,
    /// The interfaces(5) file, when it is not DIR/network/interfaces.
    #[arg(long, value_name = "FILE", requires = "config")]
    pub(crate) network: Option<PathBuf>,
    /// The folder to write to; created when missing.
    #[arg(long, value_name = "OUT")]
    pub(crate) out: PathBuf,
    /// What to compile for.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) target: TargetChoice,
}
