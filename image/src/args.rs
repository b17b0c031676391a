//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use image::build::TargetChoice;
use qemu_tests::Suite;

const EXIT_STATUSES: &str = "\
Exit status:
  0  done, and all is as it should be
  1  the configuration has errors, a case did not come out as expected, or something failed
  2  the command line makes no sense";

const EXAMPLES: &str = "\
Examples:
  cargo image run                         the whole project at work, on this machine
  cargo image check /etc                  is this Debian firewall's configuration understood?
  cargo image build firewalldom --config /etc --out out
                                          image, policy and out/firewalldom.cfg for xl create";

/// Checks, builds and runs small Rust domains for Xen.
#[derive(Debug, Parser)]
#[command(name = "xen-image", bin_name = "cargo image", version)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_STATUSES}"))]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Says whether a site's configuration is right, and if not, where and what to write.
    Check(Check),
    /// Builds an appliance: an image for `kernel=`, and a configuration for `xl create`.
    Build(Build),
    /// Boots Xen on this machine, starts the firewall in it, and sends real traffic through it.
    Run(Run),
    /// Removes what `run` and the tests keep: the lab, its downloads, and the images.
    Clean(Clean),
    /// Builds any binary on minios-rs as a Xen-ELF image (for tests).
    #[command(hide = true)]
    Guest(Guest),
}

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

const RUN_EXAMPLES: &str = "\
Needs Debian 12, and root or sudo once: to install QEMU if it is missing. Everything else, Xen and
dom0 included, is unpacked under target/ and runs inside QEMU.

Examples:
  cargo image run                 a table of what was tried, and figures
  cargo image run --suite trixie  on Debian 13's Xen and Linux; downloads them once
  cargo image run --json          the same for programs, on standard output
  cargo image run --keep          and then a shell in dom0: try `xl list`, `xl console firewalldom`";

#[derive(Debug, Args)]
#[command(after_help = format!("{RUN_EXAMPLES}\n\n{EXIT_STATUSES}"))]
pub(crate) struct Run {
    /// Prints the result as JSON to standard output; progress goes to standard error.
    #[arg(long)]
    pub(crate) json: bool,
    /// Leaves the machine up, with a dom0 shell on this terminal; `exit` ends it.
    #[arg(long, conflicts_with = "json")]
    pub(crate) keep: bool,
    /// The Debian release whose Xen, dom0 and toolstack to run on.
    #[arg(long, value_enum, default_value = "bookworm")]
    pub(crate) suite: SuiteChoice,
    /// The firewall domain's memory, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 8, value_parser = clap::value_parser!(u32).range(4..=65_536))]
    pub(crate) memory: u32,
    /// What to compile for.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) target: TargetChoice,
}

#[derive(Debug, Args)]
#[command(after_help = EXIT_STATUSES)]
pub(crate) struct Clean {}

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

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(std::iter::once("xen-image").chain(line.split_whitespace()))
    }

    fn refused(line: &str) -> clap::Error {
        parse(line).expect_err(line)
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_firewall_needs_a_site_and_the_others_do_not() {
        assert!(parse("build netdom --out o").is_ok());
        assert!(parse("build firewalldom --config c --out o").is_ok());
        assert_eq!(
            refused("build firewalldom --out o").kind(),
            ErrorKind::MissingRequiredArgument
        );
        assert_eq!(
            refused("build netdom").kind(),
            ErrorKind::MissingRequiredArgument
        );
        assert_eq!(
            refused("build dom0 --out o").kind(),
            ErrorKind::InvalidValue
        );
    }

    #[test]
    fn wrong_usage_ends_with_status_2() {
        for line in [
            "",
            "run --keep --json",
            "run --memory 1",
            "check",
            "nonsense",
        ] {
            assert_eq!(refused(line).exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn every_verb_has_help_with_exit_statuses() {
        for verb in ["", "check", "build", "run", "clean"] {
            let help = refused(&format!("{verb} --help"));
            assert_eq!(help.exit_code(), 0);
            assert!(help.to_string().contains("Exit status:"), "{verb}: {help}");
        }
    }

    #[test]
    fn every_suite_of_the_lab_can_be_chosen() {
        for suite in Suite::ALL {
            let line = format!("run --suite {suite}");
            let Verb::Run(run) = parse(&line).expect(&line).verb else {
                panic!("another verb")
            };
            assert_eq!(Suite::from(run.suite), suite);
        }
        assert_eq!(refused("run --suite sid").kind(), ErrorKind::InvalidValue);
    }

    #[test]
    fn a_run_needs_no_options() {
        let Verb::Run(run) = parse("run").unwrap().verb else {
            panic!("another verb")
        };
        assert_eq!(
            (run.memory, run.json, run.keep, run.target),
            (8, false, false, TargetChoice::Auto)
        );
        assert_eq!(Suite::from(run.suite), Suite::default());
    }
}
