//! The circumstances of a measurement: what it ran on, and who else used the machine meanwhile.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use qemu_tests::{Lab, Machine};
use serde::{Deserialize, Serialize};

use crate::workspace::Workspace;

/// Processor time of others, and time stolen by the host below, of which more than so many parts in
/// a hundred make figures doubtful.
pub const QUIET_PERCENT: f64 = 5.0;

/// Versions, commit, date and load of one benchmark's run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// The sources measured; `-changed` follows when files differed from that commit.
    pub commit: String,
    /// When it began, UTC, as in RFC 3339.
    pub date: String,
    /// Repetitions that were asked for.
    pub runs: u32,
    /// Of them, those that failed and were done once more.
    pub repeated: u32,
    /// As `rustc --version` says.
    pub rustc: String,
    /// As `qemu-system-x86_64 --version` says.
    pub qemu: String,
    /// As `xl info` says.
    pub xen: String,
    /// dom0's and the Debian guest's.
    pub linux: String,
    /// Shorewall that compiled the Debian guest's rules.
    pub shorewall: String,
    /// The host's processor and how many of it.
    pub processor: String,
    /// How busy the host was besides.
    pub load: Load,
}

/// What else the host did while it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// The load average of the last minute, before and after.
    pub average: [f64; 2],
    /// Processor time that neither QEMU nor nobody had, in a hundred of all.
    pub others_percent: f64,
    /// Processor time that the host's own hypervisor gave to others, in a hundred of all.
    pub steal_percent: f64,
}

impl Load {
    /// Whether the machine was left alone.
    pub fn is_quiet(&self) -> bool {
        self.others_percent <= QUIET_PERCENT && self.steal_percent <= QUIET_PERCENT
    }
}

/// Watches the host while something is measured on a machine of the lab.
pub struct Watch {
    pid: u32,
    began: Ticks,
    average: f64,
    since: Instant,
}

impl Watch {
    /// Begins.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn begin(machine: &Machine) -> Result<Self> {
        Ok(Self {
            pid: machine.pid(),
            began: Ticks::now(machine.pid())?,
            average: load_average()?,
            since: Instant::now(),
        })
    }

    /// What happened since.
    ///
    /// # Errors
    /// When /proc cannot be read, or QEMU is gone.
    pub fn end(self) -> Result<Load> {
        ensure!(
            self.since.elapsed().as_millis() > 100,
            "nothing was measured"
        );
        let now = Ticks::now(self.pid)?;
        let share =
            |ticks: u64, all: u64| (ticks as f64 * 1000.0 / all.max(1) as f64).round() / 10.0;
        let all = now.all - self.began.all;
        let busy = (now.busy - self.began.busy).saturating_sub(now.qemu - self.began.qemu);
        Ok(Load {
            average: [self.average, load_average()?],
            others_percent: share(busy, all),
            steal_percent: share(now.steal - self.began.steal, all),
        })
    }
}

/// Clock ticks of the host's processors so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ticks {
    all: u64,
    busy: u64,
    steal: u64,
    qemu: u64,
}

impl Ticks {
    fn now(pid: u32) -> Result<Self> {
        let read = |path: String| fs::read_to_string(&path).context(path);
        Self::parse(
            &read("/proc/stat".to_owned())?,
            &read(format!("/proc/{pid}/stat"))?,
        )
        .context("/proc/stat reads otherwise than proc(5) says")
    }

    /// Takes apart /proc/stat and /proc/PID/stat, see proc(5).
    fn parse(host: &str, process: &str) -> Option<Self> {
        let line = host.lines().next()?.strip_prefix("cpu ")?;
        let numbers: Vec<u64> = line
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; guests' time is in user already.
        let [user, nice, system, idle, iowait, irq, softirq, steal, ..] = numbers[..] else {
            return None;
        };
        let busy = user + nice + system + irq + softirq;
        // The second field, the name, may hold blanks; utime and stime are the 14th and 15th.
        let (_, rest) = process.rsplit_once(") ")?;
        let mut times = rest.split(' ').skip(11).map(str::parse::<u64>);
        let qemu = times.next()?.ok()? + times.next()?.ok()?;
        Some(Self {
            all: busy + idle + iowait + steal,
            busy,
            steal,
            qemu,
        })
    }
}

pub(super) fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("/proc/loadavg")?;
    let first = text.split(' ').next().unwrap_or_default();
    first.parse().context(text)
}

impl Conditions {
    /// Everything but the load, which is known only afterwards.
    ///
    /// # Errors
    /// When a version cannot be asked for.
    pub fn of(workspace: &Workspace, lab: &Lab, machine: &Machine, runs: u32) -> Result<Self> {
        let platform = crate::run::platform(machine)?;
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        Ok(Self {
            commit: commit(workspace.root())?,
            date: output("date", &["-u", "+%FT%TZ"], workspace.root())?,
            runs,
            repeated: 0,
            rustc: output(&rustc, &["--version"], workspace.root())?,
            qemu: output("qemu-system-x86_64", &["--version"], workspace.root())?,
            xen: platform.xen_version,
            linux: platform.dom0_kernel,
            shorewall: lab.shorewall_version()?,
            processor: processor()?,
            load: Load {
                average: [0.0; 2],
                others_percent: 0.0,
                steal_percent: 0.0,
            },
        })
    }
}

/// The commit of the sources, and whether they are it. Results may change: they are written.
pub(super) fn commit(root: &Path) -> Result<String> {
    let Ok(commit) = output("git", &["rev-parse", "--short=12", "HEAD"], root) else {
        // A release's archive has no history.
        return Ok(format!("{} without git", env!("CARGO_PKG_VERSION")));
    };
    let git = [
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ":!docs",
    ];
    let changes = Command::new("git").args(git).current_dir(root).output()?;
    Ok(match changes.stdout.is_empty() {
        true => commit,
        false => format!("{commit}-changed"),
    })
}

pub(super) fn processor() -> Result<String> {
    let text = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
    let models: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("model name"))
        .filter_map(|line| line.split_once(": ").map(|(_, model)| model.trim()))
        .collect();
    let model = models.first().context("/proc/cpuinfo names no processor")?;
    Ok(format!("{} × {model}", models.len()))
}

/// The first line of what a program says.
pub(super) fn output(program: &str, arguments: &[&str], folder: &Path) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .output()
        .with_context(|| program.to_owned())?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROCESS: &str = "7 (qemu (a) b) S 1 7 7 0 -1 4194560 9 0 0 0 300 50 0 0 20 0";

    #[test]
    fn ticks_are_read_as_proc_5_says() {
        let host = "cpu  1000 0 100 5000 10 1 2 30 0 0\ncpu0 1 2 3\n";
        let ticks = Ticks::parse(host, PROCESS).unwrap();
        let expected = Ticks {
            all: 6_143,
            busy: 1_103,
            steal: 30,
            qemu: 350,
        };
        assert_eq!(ticks, expected);
        assert_eq!(Ticks::parse("cpu 1 2\n", PROCESS), None);
        assert_eq!(Ticks::parse(host, "7 (qemu) S 1"), None);
    }

    #[test]
    fn a_machine_is_quiet_when_nobody_else_used_it() {
        let load = |others_percent, steal_percent| Load {
            average: [2.0, 2.0],
            others_percent,
            steal_percent,
        };
        assert!(load(1.0, 0.4).is_quiet());
        assert!(!load(30.0, 0.0).is_quiet());
        assert!(!load(0.0, 9.0).is_quiet());
    }
}
