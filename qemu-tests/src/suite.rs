//! The Debian releases a lab can be made of.

use anyhow::{Result, bail};
use std::env;
use std::fmt;
use std::str::FromStr;

/// The environment variable that chooses the suite of a test run.
const VARIABLE: &str = "XEN_SUITE";

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

    /// The suite of this process: what the environment variable `XEN_SUITE`
    /// names, or the default one.
    ///
    /// # Errors
    /// When it names no suite: a run must not prove something about another
    /// release than the one that was asked for.
    pub fn current() -> Result<Self> {
        match env::var_os(VARIABLE) {
            None => Ok(Self::default()),
            Some(name) => match name.to_string_lossy().parse() {
                Ok(suite) => Ok(suite),
                Err(error) => bail!("{VARIABLE}: {error}"),
            },
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
}
