//! `run`: its options.

use clap::{Args, ValueEnum};
use image::build::TargetChoice;
use qemu_tests::Suite;

use super::EXIT_STATUSES;

/// The Debian release to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SuiteChoice {
    /// Debian 12: Xen 4.17, Linux 6.1.
    Bookworm,
    /// Debian 13: Xen 4.20, Linux 6.12.
    Trixie,
}

impl From<SuiteChoice> for Suite {
    fn from(choice: SuiteChoice) -> Self {
        match choice {
            SuiteChoice::Bookworm => Self::Bookworm,
            SuiteChoice::Trixie => Self::Trixie,
        }
    }
}

/// What is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scene {
    /// The firewall between two networks, and a Debian guest in its place.
    #[default]
    Firewall,
    /// netdom with the card, firewalldom behind it, and two guests, one with a stub domain; and what is left in dom0.
    House,
}

const RUN_EXAMPLES: &str = "\
Needs Debian 12, and root or sudo once: to install QEMU if it is missing. Everything else, Xen and
dom0 included, is unpacked under target/ and runs inside QEMU.

Examples:
  cargo image run                 a table of what was tried, and figures
  cargo image run house           all of examples/house, and what is left in dom0: a quarter of an hour
  cargo image run --suite trixie  on Debian 13's Xen and Linux; downloads them once
  cargo image run --json          the same for programs, on standard output
  cargo image run --keep          and then a shell in dom0: try `xl list`, `xl console firewalldom`";

#[derive(Debug, Args)]
#[command(after_help = format!("{RUN_EXAMPLES}\n\n{EXIT_STATUSES}"))]
pub(crate) struct Run {
    /// What to show.
    #[arg(value_enum, default_value_t)]
    pub(crate) scene: Scene,
    /// Prints the result as JSON to standard output; progress goes to standard error.
    #[arg(long)]
    pub(crate) json: bool,
    /// Leaves the machine up, with a dom0 shell on this terminal; `exit` ends it.
    #[arg(long, conflicts_with = "json")]
    pub(crate) keep: bool,
    /// The Debian release whose Xen, dom0 and toolstack to run on.
    #[arg(long, value_enum, default_value = "bookworm")]
    pub(crate) suite: SuiteChoice,
    /// The firewall domain's memory, in MiB. That of the house is in its files.
    #[arg(long, value_name = "MIB", default_value_t = 8, value_parser = clap::value_parser!(u32).range(4..=65_536))]
    pub(crate) memory: u32,
    /// What to compile for.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) target: TargetChoice,
}
