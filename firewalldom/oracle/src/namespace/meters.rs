//! Limits in Linux's rules: what they have counted is forgotten before each run, as a fresh engine has
//! counted nothing.

use super::root::command;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::io::Write as _;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

/// Matches that a run may use up for the next one. Rates by the second fill up by themselves.
const REMEMBERING: [&str; 4] = ["/hour", "/day", " --connlimit-", "-m recent"];

/// The comment of rules that only count.
const WATCH: &str = "counts what comes to the limit behind it";

/// The rules, if any of them remembers.
#[derive(Default)]
pub(super) struct Meters {
    rules: Option<String>,
    /// Whether they are in place and nothing had come to a limit when that was asked last.
    is_watched: bool,
}

impl Meters {
    /// Those of the rules as they are now.
    pub(super) fn of_rules() -> Result<Self> {
        let rules = save(&[])?;
        let remembers = REMEMBERING.iter().any(|word| rules.contains(word));
        Ok(Self {
            rules: remembers.then(|| watched(&rules)),
            is_watched: false,
        })
    }

    /// Forgets what was counted. A table of a name lives as long as any rule with it: so all rules go
    /// before they come again. That takes long, and is left out where no packet came to a limit.
    pub(super) fn forget(&mut self) -> Result<()> {
        let Some(rules) = &self.rules else {
            return Ok(());
        };
        if self.is_watched && !has_counted(&save(&["-c"])?) {
            return Ok(());
        }
        let tables = rules.lines().filter(|line| line.starts_with('*'));
        let empty: String = tables.map(|table| format!("{table}\nCOMMIT\n")).collect();
        restore(&empty)?;
        wait_until_gone()?;
        restore(rules)?;
        self.is_watched = true;
        Ok(())
    }
}

fn save(options: &[&str]) -> Result<String> {
    let output = command("/bin/iptables-save").args(options).output()?;
    ensure!(output.status.success(), "iptables-save: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Puts a rule in front of each that remembers, which matches what would be asked about and does nothing
/// but count it.
fn watched(rules: &str) -> String {
    let mut text = String::new();
    for line in rules.lines() {
        let remembers = REMEMBERING.iter().any(|word| line.contains(word));
        if line.starts_with("-A ") && remembers {
            text += &format!("{} -m comment --comment \"{WATCH}\"\n", unlimited(line));
        }
        text += line;
        text.push('\n');
    }
    text
}

/// A rule as iptables-save writes it without its limits, and without a target.
fn unlimited(line: &str) -> String {
    const LIMITS: [&str; 5] = ["limit", "hashlimit", "connlimit", "recent", "comment"];
    let mut kept = Vec::new();
    let mut is_kept = true;
    let mut words = words(line).into_iter().peekable();
    while let Some(word) = words.next() {
        match word {
            "-j" | "-g" => break,
            "-m" => {
                is_kept = !words.peek().is_some_and(|name| LIMITS.contains(name));
            }
            _ => {}
        }
        if is_kept {
            kept.push(word);
        }
    }
    kept.join(" ")
}

/// Words of a line; what is quoted is one.
fn words(line: &str) -> Vec<&str> {
    let mut is_quoted = false;
    let words = line.split(|c: char| {
        is_quoted ^= c == '"';
        c == ' ' && !is_quoted
    });
    words.filter(|word| !word.is_empty()).collect()
}

/// Whether a rule that watches has counted something, as `iptables-save -c` tells.
fn has_counted(rules: &str) -> bool {
    let mut watching = rules.lines().filter(|line| line.contains(WATCH));
    watching.any(|line| !line.starts_with("[0:0]"))
}

/// The kernel takes rules apart some time after they are gone.
fn wait_until_gone() -> Result<()> {
    const TABLES: &str = "/proc/net/ipt_hashlimit";
    const PATIENCE: Duration = Duration::from_secs(60);
    let started = Instant::now();
    while fs::read_dir(TABLES).is_ok_and(|mut tables| tables.next().is_some()) {
        ensure!(started.elapsed() < PATIENCE, "{TABLES} is not empty");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn restore(rules: &str) -> Result<()> {
    let mut child = command("/bin/iptables-restore")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("no pipe")?
        .write_all(rules.as_bytes())?;
    let output = child.wait_with_output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "iptables-restore: {words}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_watched_without_its_limits_and_its_target() {
        let rule = "-A net-fw -p tcp -m limit --limit 1/hour --limit-burst 2 -m tcp --dport 22 \
                    -m comment --comment \"a -j b\" -j ACCEPT";
        assert_eq!(unlimited(rule), "-A net-fw -p tcp -m tcp --dport 22");
        let rules = format!("*filter\n{rule}\n-A net-fw -j DROP\nCOMMIT");
        assert_eq!(watched(&rules).lines().count(), 5);
        let counted = |packets: u32| format!("[{packets}:0] -A x -m comment --comment \"{WATCH}\"");
        assert!(has_counted(&counted(1)) && !has_counted(&counted(0)));
    }
}
