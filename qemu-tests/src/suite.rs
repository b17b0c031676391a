//! The Debian releases a lab can be made of.

use crate::tier::Tier;
use anyhow::{Context, Result, bail};
use std::env;
use std::fmt;
use std::str::FromStr;

/// The environment variable that chooses the suite of a test run.
pub const SUITE_VARIABLE: &str = "XEN_SUITE";

/// The command-line option that does.
const OPTION: &str = "--suite";

/// The Debian release that Xen, dom0 and its guests are taken from.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Suite {
    /// Debian 12: Xen 4.17, Linux 6.1.
    #[default]
    Bookworm,
    /// Debian 13: Xen 4.20, Linux 6.12.
    Trixie,
}

impl Suite {
    /// Every suite, oldest first.
    pub const ALL: [Self; 2] = [Self::Bookworm, Self::Trixie];

    /// The suite that was asked for: by `--suite NAME`, which is taken out of
    /// `arguments`, or else by the environment variable `XEN_SUITE`.
    ///
    /// # Errors
    /// When either names no suite: a run must not prove something about another
    /// release than the one that was asked for.
    pub fn asked_for(arguments: &mut Vec<String>) -> Result<Option<Self>> {
        if let Some(name) = take_option(arguments)? {
            return Ok(Some(name.parse().context(OPTION)?));
        }
        let Some(name) = env::var_os(SUITE_VARIABLE) else {
            return Ok(None);
        };
        let suite = name.to_string_lossy().parse().context(SUITE_VARIABLE)?;
        Ok(Some(suite))
    }

    /// The suites of a test run when none was asked for: all of them in the
    /// full tier, the default one in the short tier.
    #[must_use]
    pub fn of_tier(tier: Tier) -> Vec<Self> {
        match tier {
            Tier::Short => vec![Self::default()],
            Tier::Full => Self::ALL.to_vec(),
        }
    }

    /// Debian's code name, as in a sources entry.
    #[must_use]
    pub fn code_name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
        }
    }

    /// Its Xen, as in the names of Debian's packages: major and minor version.
    #[must_use]
    pub fn xen_version(self) -> &'static str {
        match self {
            Self::Bookworm => "4.17",
            Self::Trixie => "4.20",
        }
    }
}

/// Takes `--suite NAME` or `--suite=NAME` out of `arguments`: its NAME.
fn take_option(arguments: &mut Vec<String>) -> Result<Option<String>> {
    let is_option = |argument: &String| argument.split('=').next() == Some(OPTION);
    let Some(at) = arguments.iter().position(is_option) else {
        return Ok(None);
    };
    let option = arguments.remove(at);
    match option.split_once('=') {
        Some((_, name)) => Ok(Some(name.to_owned())),
        None if at < arguments.len() => Ok(Some(arguments.remove(at))),
        None => bail!("{OPTION} wants a name: bookworm or trixie"),
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code_name())
    }
}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(name: &str) -> Result<Self, UnknownSuite> {
        let named = |suite: &Self| suite.code_name() == name;
        let unknown = || UnknownSuite(name.to_owned());
        Self::ALL.into_iter().find(named).ok_or_else(unknown)
    }
}

/// A name that is no suite's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownSuite(String);

impl fmt::Display for UnknownSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Suite::ALL.map(Suite::code_name).join(" or ");
        write!(f, "{:?} is no suite of the lab: {known}", self.0)
    }
}

impl std::error::Error for UnknownSuite {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_is_named_by_its_code_name() {
        for suite in Suite::ALL {
            assert_eq!(suite.to_string().parse(), Ok(suite));
        }
    }

    #[test]
    fn an_unknown_suite_is_refused_with_those_there_are() {
        let error = "sid".parse::<Suite>().unwrap_err().to_string();
        assert_eq!(error, "\"sid\" is no suite of the lab: bookworm or trixie");
        assert!("".parse::<Suite>().is_err());
    }

    fn asked_for(arguments: &[&str]) -> (Result<Option<String>>, Vec<String>) {
        let mut arguments = arguments.iter().map(ToString::to_string).collect();
        let name = take_option(&mut arguments);
        (name, arguments)
    }

    #[test]
    fn the_option_is_taken_out_of_the_arguments_and_nothing_else() {
        for line in [
            &["--exact", "--suite", "trixie", "name"][..],
            &["--exact", "--suite=trixie", "name"],
        ] {
            let (name, rest) = asked_for(line);
            assert_eq!(name.unwrap().as_deref(), Some("trixie"));
            assert_eq!(rest, ["--exact", "name"]);
        }
        let (name, rest) = asked_for(&["--suites", "trixie"]);
        assert_eq!(name.unwrap(), None);
        assert_eq!(rest, ["--suites", "trixie"]);
        assert!(asked_for(&["--suite"]).0.is_err());
    }

    #[test]
    fn the_full_tier_runs_every_suite_and_the_short_one_the_first() {
        assert_eq!(Suite::of_tier(Tier::Full), Suite::ALL);
        assert_eq!(Suite::of_tier(Tier::Short), [Suite::Bookworm]);
    }
}
