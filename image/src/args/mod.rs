//! The command line: one file a verb.

mod bench;
mod build;
mod check;
mod clean;
mod completions;
mod explain;
mod guest;
mod inspect;
mod man;
mod run;
mod stubdom_convert;
mod symbolize;
mod verify;

use std::sync::LazyLock;

use clap::{Parser, Subcommand};
use firewalldom::policy::blob::VERSION;

pub(crate) use bench::Bench;
pub(crate) use build::{Appliance, Build};
pub(crate) use check::Check;
pub(crate) use clean::Clean;
pub(crate) use completions::{Completions, Shell};
pub(crate) use explain::Explain;
pub(crate) use guest::Guest;
pub(crate) use inspect::Inspect;
pub(crate) use man::Man;
pub(crate) use run::{Run, Scene};
pub(crate) use stubdom_convert::StubdomConvert;
pub(crate) use symbolize::Symbolize;
pub(crate) use verify::Verify;

/// The program's own name, which `cargo image` stands for.
pub(crate) const PROGRAM: &str = "xen-image";

const EXIT_STATUSES: &str = "\
Exit status:
  0    done, and all is as it should be
  1    the configuration has errors, a case did not come out as expected, or something failed
  2    the command line makes no sense
  130  interrupted with Ctrl-C (as a shell reports it); what was being written is as it was";

const EXAMPLES: &str = "\
Examples:
  cargo image run                         the whole project at work, on this machine
  cargo image check /etc                  is this Debian firewall's configuration understood?
  cargo image build firewalldom --config /etc --out out
                                          image, policy and out/firewalldom.cfg for xl create";

/// Checks, builds and runs small Rust domains for Xen.
#[derive(Debug, Parser)]
#[command(name = PROGRAM, bin_name = "cargo image", version, long_version = LONG_VERSION.as_str())]
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
    /// Follows one packet through a site's configuration.
    Explain(Explain),
    /// Shows what Xen's loader will see in an image, or what is in a policy or in netdom's configuration.
    Inspect(Inspect),
    /// Says whether Xen starts a file, and whether it is a sound appliance.
    Verify(Verify),
    /// Puts functions, files and lines beside the addresses of a crash report.
    Symbolize(Symbolize),
    /// Changes an HVM guest's configuration so that its device model is a domain of its own.
    StubdomConvert(StubdomConvert),
    /// Boots Xen on this machine, starts the firewall in it, and sends real traffic through it.
    Run(Run),
    /// Measures the project's figures against a Debian guest's, and writes docs/results.md.
    Bench(Bench),
    /// Removes what `run` and the tests keep: the lab, its downloads, and the images.
    Clean(Clean),
    /// Prints a script that completes this tool's options in a shell.
    Completions(Completions),
    /// Writes manual pages: one for the tool, one for each verb.
    Man(Man),
    /// Builds any binary on minios-rs as a Xen-ELF image (for tests).
    #[command(hide = true)]
    Guest(Guest),
}

/// Nothing in it depends on where or when this was built.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{}\nwrites policies of version {}, for Xen 4.17 and newer on x86-64 (PV)",
        env!("CARGO_PKG_VERSION"),
        VERSION,
    )
});

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;

    use image::build::TargetChoice;
    use qemu_tests::Suite;

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
            refused("build domU --out o").kind(),
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
        for verb in [
            "",
            "check",
            "build",
            "explain",
            "run",
            "completions",
            "man",
            "bench",
            "clean",
            "stubdom-convert",
        ] {
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
        assert_eq!(run.scene, Scene::Firewall);
        assert_eq!(Suite::from(run.suite), Suite::default());
    }
}
