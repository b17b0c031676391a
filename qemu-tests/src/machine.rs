//! One boot of Xen and dom0 in QEMU.

use crate::channel::{Channel, Command, Output, Running, Stream};
use crate::lab::Lab;
use crate::qemu::{self, Iommu, Process};
use crate::runs;
use crate::terminal::Terminal;
use anyhow::{Context, Result, anyhow, bail};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How often a boot that froze is tried again.
const BOOTS: u32 = 3;

/// What one machine is like.
#[derive(Clone, Debug)]
pub struct Options {
    /// A word for the run's folder.
    pub name: String,
    /// The machine's memory, in MiB.
    pub memory_mib: u32,
    /// dom0's share of it, in MiB.
    pub dom0_memory_mib: u32,
    /// Its IOMMU; passthrough needs one.
    pub iommu: Iommu,
    /// More arguments for QEMU, such as a card to pass through. The slots 1d
    /// and 1e of pcie.0 are taken.
    pub qemu_arguments: Vec<String>,
    /// Who keeps xenstore.
    pub xenstored: Xenstored,
    /// How long one boot may take.
    pub boot_limit: Duration,
}

/// Which of Xen's two programs keeps xenstore: they have different quotas, and their own ways.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Xenstored {
    /// `xenstored`, in C.
    #[default]
    C,
    /// `oxenstored`, in OCaml, which Debian starts.
    Ocaml,
}

impl Xenstored {
    /// The one that the environment variable `XENSTORED` names.
    ///
    /// # Errors
    /// When it names none.
    pub fn asked_for() -> Result<Self> {
        match std::env::var("XENSTORED").as_deref() {
            Err(_) | Ok("" | "xenstored") => Ok(Self::C),
            Ok("oxenstored") => Ok(Self::Ocaml),
            Ok(other) => bail!("XENSTORED is xenstored or oxenstored, not {other}"),
        }
    }

    /// What tells dom0 so, on its kernel's command line.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::C => "",
            Self::Ocaml => " lab.oxenstored",
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "machine".to_owned(),
            memory_mib: 3072,
            dom0_memory_mib: 768,
            iommu: Iommu::Absent,
            qemu_arguments: Vec::new(),
            xenstored: Xenstored::default(),
            boot_limit: Duration::from_secs(300),
        }
    }
}

/// A running machine. All methods take `&self`, so tests in several threads
/// can share one. Dropping it saves the logs and ends it.
pub struct Machine {
    process: Process,
    channel: Arc<Channel>,
    run: PathBuf,
    started: Instant,
    log: Mutex<File>,
    /// Whether dom0 has what HVM guests need.
    has_device_model: Mutex<bool>,
    /// Whether dom0 has come up, and so has logs to save.
    up: bool,
    _socket: Option<TempDir>,
}

/// Where dom0 keeps what guests of a name write to their consoles.
pub(crate) fn console_log(name: &str) -> String {
    format!("/var/log/xen/guest-{name}.log")
}

impl Machine {
    /// Boots Xen and dom0 until commands can be run there.
    ///
    /// A boot that freezes (an RCU stall, which one in some dozens does under
    /// emulation) is repeated.
    ///
    /// # Errors
    /// When it does not boot; the error ends with the console's last lines.
    pub fn start(lab: &Lab, options: &Options) -> Result<Self> {
        let mut last = None;
        for _ in 0..BOOTS {
            match Self::boot(lab, options)? {
                Boot::Ready(machine) => return Ok(*machine),
                Boot::Frozen(why) => last = Some(why),
            }
        }
        Err(last.unwrap_or_else(|| anyhow!("no boot was tried")))
            .context(format!("{BOOTS} boots froze"))
    }

    fn boot(lab: &Lab, options: &Options) -> Result<Boot> {
        let run = runs::begin(&lab.runs(), &options.name)?;
        let (path, socket) = runs::socket_path(&run)?;
        let process = Process::start(qemu::command(lab, options, &run, &path)?)?;
        fs::write(run.join("pid"), process.pid().to_string())?;
        let started = Instant::now();
        let channel = Arc::new(Channel::new(connect(&path, &process, &run)?)?);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(run.join("commands.log"))?;
        let mut machine = Self {
            process,
            channel,
            run,
            started,
            log: Mutex::new(log),
            has_device_model: Mutex::new(false),
            up: false,
            _socket: socket,
        };
        loop {
            if let Some(status) = machine.process.ended(Duration::ZERO) {
                bail!(
                    "QEMU ended during boot with {status}\n{}",
                    machine.last_words()
                );
            }
            if let Ok(true) = machine.channel.said_hello(Duration::from_millis(250)) {
                machine.up = true;
                return Ok(Boot::Ready(Box::new(machine)));
            }
            if has_stalled(&machine.console_log()) || started.elapsed() > options.boot_limit {
                let why = machine.last_words();
                return Ok(Boot::Frozen(anyhow!("dom0 is not up\n{why}")));
            }
        }
    }

    /// Runs a bash script in dom0 and returns its standard output.
    ///
    /// # Errors
    /// When it does not end with exit code 0 within
    /// [`Command::DEFAULT_LIMIT`]; the error shows what it wrote.
    pub fn dom0(&self, script: &str) -> Result<String> {
        self.check(&Command::bash(script))
    }

    /// Runs a command and returns its standard output.
    ///
    /// # Errors
    /// When it does not end with exit code 0; the error shows what it wrote.
    pub fn check(&self, command: &Command) -> Result<String> {
        let output = self.run(command)?;
        if !output.status.is_success() {
            bail!(
                "in dom0, `{}`: {}\n{}{}",
                command.describe(),
                output.status,
                output.text(),
                output.errors()
            );
        }
        Ok(output.text())
    }

    /// Runs a command to its end, whatever that is.
    ///
    /// # Errors
    /// When it cannot be started or dom0 does not answer any more.
    pub fn run(&self, command: &Command) -> Result<Output> {
        let began = self.started.elapsed();
        let result = self.spawn(command).and_then(Running::wait);
        let took = (self.started.elapsed() - began).as_secs_f32();
        let what = command.describe();
        let began = began.as_secs_f32();
        let line = match &result {
            Ok(output) => format!(
                "{began:8.3} +{took:.3} s, {}: {what}\n{}{}",
                output.status,
                excerpt(&output.stdout),
                excerpt(&output.stderr)
            ),
            Err(error) => format!("{began:8.3} +{took:.3} s, {error:#}: {what}"),
        };
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(log, "{}", line.trim_end())?;
        result
    }

    /// Starts a command and returns at once.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn spawn(&self, command: &Command) -> Result<Running> {
        self.channel.start(command)
    }

    /// Writes a file in dom0, whose folder must exist. For megabytes use
    /// [`Machine::share`].
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, path: &str, content: &[u8]) -> Result<()> {
        // One process, and a static one.
        let place = format!("of={path}");
        let command = Command::new(["busybox", "dd", "bs=64k", "status=none", &place]);
        self.check(&command.stdin(content)).map(drop)
    }

    /// Reads a file in dom0.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        let output = self.run(&Command::new(["cat", "--", path]))?;
        if !output.status.is_success() {
            bail!("{path} in dom0: {}", output.errors());
        }
        Ok(output.stdout)
    }

    /// A folder of the host that dom0 sees as `/share`.
    #[must_use]
    pub fn share(&self) -> PathBuf {
        self.run.join("share")
    }

    /// All that guests of this name have written to their consoles.
    ///
    /// # Errors
    /// When dom0 does not answer. A guest without output is no error.
    pub fn guest_console(&self, name: &str) -> Result<String> {
        let command = Command::new(["busybox", "cat", &console_log(name)]);
        self.run(&command).map(|output| output.text())
    }

    /// Throws away what guests of this name have written so far: the next one may write the same.
    ///
    /// # Errors
    /// When dom0 does not answer.
    pub fn forget_guest_console(&self, name: &str) -> Result<()> {
        self.forget_guest_consoles(&[name])
    }

    /// The same, of guests of several names.
    ///
    /// # Errors
    /// When dom0 does not answer.
    pub fn forget_guest_consoles(&self, names: &[&str]) -> Result<()> {
        let logs: Vec<String> = names.iter().map(|name| console_log(name)).collect();
        // The daemon keeps the files open; the signal makes it open them again.
        self.dom0(&format!(
            "rm -f {}; killall -HUP xenconsoled",
            logs.join(" ")
        ))
        .map(drop)
    }

    /// Waits until a whole line on the console of a guest holds `text`, and returns all of it.
    ///
    /// # Errors
    /// When it has not come after `limit`; the error shows what has.
    pub fn wait_for_console(&self, name: &str, text: &str, limit: Duration) -> Result<String> {
        // The waiting is done in dom0: asking over and over would take CPU
        // from the guest.
        let command = Command::new(["dom0-agent", "await", &console_log(name), text]).limit(limit);
        let output = self.run(&command)?;
        let console = self.guest_console(name)?;
        if !output.status.is_success() {
            bail!(
                "guest {name} did not say {text:?} within {} s; its console:\n{console}",
                limit.as_secs()
            );
        }
        Ok(console)
    }

    /// What Xen and dom0's Linux have written to the serial console.
    #[must_use]
    pub fn console_log(&self) -> String {
        let bytes = fs::read(self.run.join("console.log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The run's folder: console.log, qemu.log, commands.log, share/, and in
    /// the end dom0-logs/ with the guests' consoles.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.run
    }

    /// QEMU's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The time since QEMU was started.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Connects the terminal to a shell in dom0 until that shell ends.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn shell(&self) -> Result<()> {
        let terminal = Terminal::raw();
        let script = match terminal.size() {
            // A pseudo-terminal in dom0: job control, line editing, top.
            Some(size) => format!(
                "export TERM=xterm; exec script -qfec 'stty {size}; exec bash --login -i' /dev/null"
            ),
            None => "exec bash --login -s".to_owned(),
        };
        let day = Duration::from_secs(24 * 3600);
        let running = self.spawn(&Command::bash(script).limit(day))?;
        let stdin = running.stdin();
        // Nothing can interrupt a read of the terminal: this thread is left
        // behind, and ends with the process.
        thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = std::io::stdin().read(&mut buffer) {
                if stdin.write(&buffer[..length]).is_err() {
                    return;
                }
            }
            let _ = stdin.end();
        });
        running.follow(|stream, bytes| {
            let _ = match stream {
                Stream::Stdout => std::io::stdout().write_all(bytes),
                Stream::Stderr => std::io::stderr().write_all(bytes),
            };
            let _ = std::io::stdout().flush();
        })?;
        Ok(())
    }

    /// Leaves the machine to its user: a dom0 shell on the terminal, and when
    /// that ends a clean stop.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn keep(self) -> Result<()> {
        eprintln!(
            "lab: a shell in dom0; /share is {}; `exit` stops the machine",
            self.share().display()
        );
        self.shell()?;
        self.stop()
    }

    /// Saves the logs, powers off and waits for the end of QEMU.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(self) -> Result<()> {
        self.save_logs();
        self.channel.power_off()?;
        if self.process.ended(Command::DEFAULT_LIMIT).is_none() {
            self.process.kill();
            bail!(
                "dom0 did not power off and was killed\n{}",
                self.last_words()
            );
        }
        Ok(())
    }

    /// Whether dom0 has what HVM guests need; who finds that it has not, sees to it.
    pub(crate) fn has_device_model(&self) -> MutexGuard<'_, bool> {
        self.has_device_model
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies dom0's /var/log/xen to `dom0-logs` in the run's folder.
    fn save_logs(&self) {
        let script = "cp -r /var/log/xen /share/.logs; xl dmesg > /share/.logs/xl-dmesg.log; sync";
        let saved = self
            .spawn(&Command::bash(script).limit(Duration::from_secs(60)))
            .and_then(Running::wait);
        if saved.is_ok() {
            let _ = fs::rename(self.share().join(".logs"), self.run.join("dom0-logs"));
        }
    }

    fn last_words(&self) -> String {
        let console = self.console_log();
        let lines: Vec<&str> = console.lines().collect();
        let qemu = fs::read_to_string(self.run.join("qemu.log")).unwrap_or_default();
        format!(
            "{}{}\n(all of it in {})",
            qemu,
            lines[lines.len().saturating_sub(20)..].join("\n"),
            self.run.display()
        )
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if self.process.ended(Duration::ZERO).is_none() {
            if self.up {
                self.save_logs();
            }
            self.process.kill();
        }
        let _ = fs::remove_file(self.run.join("pid"));
    }
}

/// The beginning of what a command wrote, for the log.
fn excerpt(bytes: &[u8]) -> String {
    const SHOWN: usize = 2000;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned();
    match bytes.len().checked_sub(SHOWN) {
        None | Some(0) => text,
        Some(more) => format!("{text}[and {more} bytes more]\n"),
    }
}

/// Whether Linux reports that a CPU made no progress: this boot will not end.
fn has_stalled(console: &str) -> bool {
    let stall = |line: &str| line.contains("rcu: INFO:") && line.contains("stall");
    console.lines().any(stall)
}

enum Boot {
    Ready(Box<Machine>),
    Frozen(anyhow::Error),
}

/// Waits for QEMU's socket.
fn connect(path: &Path, process: &Process, run: &Path) -> Result<UnixStream> {
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                if let Some(status) = process.ended(Duration::from_millis(20)) {
                    let log = fs::read_to_string(run.join("qemu.log")).unwrap_or_default();
                    return Err(error).context(format!("QEMU ended with {status}: {log}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stalled_boot_is_recognised() {
        let console = "(XEN) Xen version\n\
            [   27.1] rcu: INFO: rcu_preempt self-detected stall on CPU\n";
        assert!(has_stalled(console));
        assert!(!has_stalled(
            "[    0.1] rcu: Hierarchical RCU implementation.\n"
        ));
    }

    #[test]
    fn a_log_excerpt_says_how_much_it_left_out() {
        assert_eq!(excerpt(b"short"), "short");
        assert!(excerpt(&[b'x'; 2005]).ends_with("x[and 5 bytes more]\n"));
    }
}
