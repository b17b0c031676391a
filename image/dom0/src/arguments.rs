//! The command line.

use lexopt::{Arg, Parser, ValueExt as _};
use std::ffi::OsString;
use std::time::Duration;

const HELP: &str = "\
What dom0 can ask of small Rust domains.

Usage: xen-image-dom0 stat DOMAIN [--json] [--watch SECONDS] [--timeout SECONDS]

stat asks a running domain what it counts: packets, drops by reason, flows,
memory, interfaces, hypercalls.

  DOMAIN             its name, or its number as `xl list` shows it
  --json             one JSON object instead of tables; with --watch one a line
  --watch SECONDS    again and again, with a pause of so long (from 0.1)
  --timeout SECONDS  how long to wait for an answer (default 5)
  --help, --version

Examples:
  xen-image-dom0 stat firewalldom
  xen-image-dom0 stat firewalldom --json | jq .firewall.dropped.by_name
  xen-image-dom0 stat 3 --watch 10

Exit status:
  0  answered
  1  no such domain, not one of these domains, no answer, or something failed
  2  the command line makes no sense
";

/// What to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Invocation {
    /// Print this.
    Help(&'static str),
    /// Ask a domain what it counts.
    Stat(Stat),
}

/// The options of `stat`.
#[derive(Debug, PartialEq)]
pub(crate) struct Stat {
    /// Its name or number.
    pub(crate) domain: String,
    pub(crate) json: bool,
    /// How long to wait before asking again; `None`: ask once.
    pub(crate) every: Option<Duration>,
    /// How long to wait for an answer.
    pub(crate) patience: Duration,
}

/// Reads a command line, the program's name first.
pub(crate) fn parse(
    arguments: impl IntoIterator<Item = OsString, IntoIter: 'static>,
) -> Result<Invocation, lexopt::Error> {
    let mut parser = Parser::from_iter(arguments);
    let mut verb = None;
    let mut stat = Stat {
        domain: String::new(),
        json: false,
        every: None,
        patience: Duration::from_secs(5),
    };
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Short('h') | Arg::Long("help") => return Ok(Invocation::Help(HELP)),
            Arg::Short('V') | Arg::Long("version") => {
                let version = concat!("xen-image-dom0 ", env!("CARGO_PKG_VERSION"), "\n");
                return Ok(Invocation::Help(version));
            }
            Arg::Value(word) if verb.is_none() => {
                let word = word.string()?;
                if word != "stat" {
                    return Err(format!("there is no command `{word}`; there is `stat`").into());
                }
                verb = Some(word);
            }
            Arg::Value(domain) if stat.domain.is_empty() => stat.domain = domain.string()?,
            Arg::Long("json") if verb.is_some() => stat.json = true,
            Arg::Long("watch") if verb.is_some() => {
                stat.every = Some(parser.value()?.parse_with(seconds)?);
            }
            Arg::Long("timeout") if verb.is_some() => {
                stat.patience = parser.value()?.parse_with(seconds)?;
            }
            _ => return Err(argument.unexpected()),
        }
    }
    match verb {
        None => Err("say what to do: `stat DOMAIN`".into()),
        Some(_) if stat.domain.is_empty() => {
            Err("say which domain: its name, or its number as `xl list` shows it".into())
        }
        Some(_) => Ok(Invocation::Stat(stat)),
    }
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=86_400.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected seconds, from 0.1 to 86400"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Invocation, String> {
        let words: Vec<OsString> = format!("xen-image-dom0 {line}")
            .split_whitespace()
            .map(OsString::from)
            .collect();
        parse(words).map_err(|error| error.to_string())
    }

    #[test]
    fn a_domain_is_enough() {
        let stat = Stat {
            domain: "firewalldom".to_owned(),
            json: false,
            every: None,
            patience: Duration::from_secs(5),
        };
        assert_eq!(read("stat firewalldom"), Ok(Invocation::Stat(stat)));
    }

    #[test]
    fn options_may_stand_anywhere_behind_the_verb() {
        let stat = Stat {
            domain: "3".to_owned(),
            json: true,
            every: Some(Duration::from_millis(500)),
            patience: Duration::from_secs(60),
        };
        let line = "stat --json 3 --watch 0.5 --timeout=60";
        assert_eq!(read(line), Ok(Invocation::Stat(stat)));
    }

    #[test]
    fn help_and_version_need_nothing_else() {
        for line in ["--help", "-h", "stat --help", "stat firewalldom -h"] {
            assert_eq!(read(line), Ok(Invocation::Help(HELP)), "{line}");
        }
        let Ok(Invocation::Help(version)) = read("--version") else {
            panic!("no version")
        };
        assert!(version.starts_with("xen-image-dom0 0."), "{version}");
    }

    #[test]
    fn nonsense_says_what_is_wrong() {
        for (line, part) in [
            ("", "say what to do"),
            ("stat", "say which domain"),
            ("start x", "no command `start`"),
            ("stat a b", "unexpected argument \"b\""),
            ("stat a --jsno", "invalid option '--jsno'"),
            ("stat a --watch", "missing argument for option '--watch'"),
            ("stat a --watch x", "from 0.1 to 86400"),
            ("stat a --watch 0", "from 0.1 to 86400"),
            ("stat a --timeout nan", "from 0.1 to 86400"),
            ("stat a --timeout -1", "from 0.1 to 86400"),
            ("--json stat a", "invalid option '--json'"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
