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

/// The rules, if any of them counts.
#[derive(Default)]
pub(super) struct Meters {
    rules: Option<String>,
}

impl Meters {
    /// Those of the rules as they are now.
    pub(super) fn of_rules() -> Result<Self> {
        let output = command("/bin/iptables-save").output()?;
        ensure!(output.status.success(), "iptables-save: {}", output.status);
        let rules = String::from_utf8(output.stdout)?;
        let remembers = REMEMBERING.iter().any(|word| rules.contains(word));
        Ok(Self {
            rules: remembers.then_some(rules),
        })
    }

    /// Forgets what was counted. A table of a name lives as long as any rule with it: so all rules go
    /// before they come again.
    pub(super) fn forget(&self) -> Result<()> {
        let Some(rules) = &self.rules else {
            return Ok(());
        };
        let tables = rules.lines().filter(|line| line.starts_with('*'));
        let empty: String = tables.map(|table| format!("{table}\nCOMMIT\n")).collect();
        restore(&empty)?;
        wait_until_gone()?;
        restore(rules)
    }
}

/// The kernel takes rules apart some time after they are gone.
fn wait_until_gone() -> Result<()> {
    const TABLES: &str = "/proc/net/ipt_hashlimit";
    const PATIENCE: Duration = Duration::from_secs(2);
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
