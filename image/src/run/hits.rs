//! Which line of the configuration decided: told by the domain itself, on its console.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use qemu_tests::Machine;
use shorewall::Site;

use super::report::Line;
use super::scenario::Forwarder;

/// How often each line decided, as the domain's console command `rules` prints it:
/// `hits FILE:LINE COUNT`, and `end of rules` in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits(BTreeMap<(String, u32), u64>);

const END: &str = "end of rules";

impl Hits {
    /// Reads the last whole answer in what a console printed.
    ///
    /// # Errors
    /// When there is no whole answer, or a line of it is damaged.
    pub fn parse(console: &str) -> Result<Self> {
        let Some((before, _)) = console.rsplit_once(END) else {
            bail!("the domain did not answer the command `rules`; it said {console:?}");
        };
        let answer = before.rsplit_once(END).map_or(before, |(_, last)| last);
        let mut hits = BTreeMap::new();
        for line in answer.lines() {
            // Log lines may stand between.
            let Some(rest) = line.trim().strip_prefix("hits ") else {
                continue;
            };
            let fields = || {
                let (place, count) = rest.rsplit_once(' ')?;
                let (file, number) = place.rsplit_once(':')?;
                Some(((file.to_owned(), number.parse().ok()?), count.parse().ok()?))
            };
            let (place, count) =
                fields().ok_or_else(|| anyhow!("damaged console line {line:?}"))?;
            hits.insert(place, count);
        }
        Ok(Self(hits))
    }

    /// Asks a running domain through its console.
    ///
    /// # Errors
    /// When it has no console or does not answer.
    pub fn ask(machine: &Machine, forwarder: &Forwarder) -> Result<Self> {
        let Forwarder {
            name, console_tty, ..
        } = forwarder;
        Self::of(machine, name, console_tty)
    }

    /// The same by its name, and the terminal in dom0 that is its console.
    ///
    /// # Errors
    /// As [`Hits::ask`].
    pub fn of(machine: &Machine, name: &str, console_tty: &str) -> Result<Self> {
        Self::parse(&ask(machine, name, console_tty, "rules", END)?)
    }

    /// The places whose count is higher than in `earlier`, in the order of files and lines.
    pub fn since(&self, earlier: &Self) -> Vec<(String, u32)> {
        let was = |place| earlier.0.get(place).copied().unwrap_or(0);
        self.0
            .iter()
            .filter(|(place, count)| **count > was(*place))
            .map(|(place, _)| place.clone())
            .collect()
    }
}

/// Types a command (or several, with `\\n` between) on a domain's console, a terminal in dom0, and returns what it says
/// from then on until a line with `end`.
///
/// # Errors
/// When it has no console, or does not answer.
pub fn ask(
    machine: &Machine,
    name: &str,
    console_tty: &str,
    command: &str,
    end: &str,
) -> Result<String> {
    // Output after the command only: the log holds all since the domain's start.
    let script = format!(
        "\
log='/var/log/xen/guest-{name}.log'
seen=$(stat -c %s \"$log\")
printf '{command}\\n' >'{console_tty}'
dom0-agent await +$seen \"$log\" '{end}' >/dev/null
tail -c +$((seen + 1)) \"$log\"
"
    );
    machine.dom0(&script)
}

/// Finds what the user wrote at a place.
#[derive(Clone, Debug)]
pub struct Source {
    shorewall: PathBuf,
    network: PathBuf,
}

impl Source {
    /// The files of `site`.
    pub fn new(site: &Site) -> Self {
        Self {
            shorewall: site.shorewall().to_owned(),
            network: site.network().to_owned(),
        }
    }

    /// The line at a place that a policy names. Line 0 is nowhere: a default of Shorewall's.
    pub fn line(&self, file: &str, line: u32) -> Line {
        if line == 0 {
            return Line {
                file: file.to_owned(),
                line,
                text: "(Shorewall's default)".to_owned(),
            };
        }
        let path = match file.strip_prefix("shorewall/") {
            Some(inner) => self.shorewall.join(inner),
            None => self.network.clone(),
        };
        let content = fs::read_to_string(path).unwrap_or_default();
        let index = line as usize - 1;
        let text = content.lines().nth(index).unwrap_or_default();
        let text = text.split('#').next().unwrap_or_default();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        Line {
            file: file.to_owned(),
            line,
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(file: &str, line: u32) -> (String, u32) {
        (file.to_owned(), line)
    }

    #[test]
    fn the_last_whole_answer_counts() {
        let console = "hits shorewall/rules:3 1\nend of rules\r\n\
                       Shorewall:net-loc:DROP: IN=eth0\r\nhits shorewall/policy:2 7\n\
                       hits shorewall/rules:3 2\r\nend of rules\r\nhits shorewall/rules:9 9\n";
        let hits = Hits::parse(console).unwrap();
        let before = Hits::parse("hits shorewall/policy:2 7\nend of rules").unwrap();
        assert_eq!(hits.since(&before), [place("shorewall/rules", 3)]);
        assert_eq!(hits.since(&hits), []);
        assert_eq!(
            hits.since(&Hits::default()),
            [place("shorewall/policy", 2), place("shorewall/rules", 3)]
        );
    }

    #[test]
    fn no_answer_and_a_damaged_one_are_errors() {
        assert!(Hits::parse("hits shorewall/rules:3 1\n").is_err());
        assert!(Hits::parse("hits shorewall/rules 1\nend of rules").is_err());
        assert!(Hits::parse("rules: no such command; try help").is_err());
    }

    #[test]
    fn a_place_becomes_what_the_user_wrote_there() {
        let directory = tempfile::tempdir().unwrap();
        let etc = directory.path();
        fs::create_dir_all(etc.join("shorewall")).unwrap();
        fs::create_dir_all(etc.join("network")).unwrap();
        fs::write(
            etc.join("shorewall/rules"),
            "#ACTION\nREJECT  loc\tnet  tcp 25 # no mail\n",
        )
        .unwrap();
        fs::write(etc.join("network/interfaces"), "auto eth0\n").unwrap();
        let source = Source::new(&Site::from_etc(etc));
        assert_eq!(
            source.line("shorewall/rules", 2).text,
            "REJECT loc net tcp 25"
        );
        assert_eq!(source.line("network/interfaces", 1).text, "auto eth0");
        assert_eq!(source.line("shorewall/rules", 99).text, "");
        assert_eq!(
            source.line("shorewall/rules", 0).text,
            "(Shorewall's default)"
        );
    }
}
