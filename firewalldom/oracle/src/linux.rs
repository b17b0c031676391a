//! Linux with real Shorewall, in namespaces of its own: the side that is right by definition.

use crate::figures::flood::Flood;
use crate::protocol::{self, Neighbour, Reply, Request, Setup};
use crate::step::{Outputs, Step};
use anyhow::{Context, Result, bail};
use qemu_tests::{Lab, Progress, Suite};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Why there can be no oracle here: the host's fault, not a test's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Where the namespaces' root comes from, and the program that works inside.
#[derive(Clone, Debug)]
pub struct Host {
    packages: PathBuf,
    program: PathBuf,
}

impl Host {
    /// Unpacks Debian's packages, the first time, and tries whether namespaces may be had.
    /// `program` is this crate's `oracle-namespace`.
    ///
    /// # Errors
    /// [`Unavailable`], with what to do, where there can be no oracle.
    pub fn prepare(program: &Path, progress: &dyn Fn(Progress<'_>)) -> Result<Self> {
        let host = Self {
            packages: Lab::packages(Suite::Bookworm, progress)?,
            program: program.to_owned(),
        };
        Linux::start(&host)?;
        Ok(host)
    }

    /// Where Shorewall's own samples are.
    #[must_use]
    pub fn samples(&self) -> PathBuf {
        self.packages.join("usr/share/doc/shorewall/examples")
    }

    /// Where Shorewall's own macros and actions are.
    #[must_use]
    pub fn share(&self) -> PathBuf {
        self.packages.join("usr/share/shorewall")
    }
}

/// One gateway, from an empty namespace on.
#[derive(Debug)]
pub struct Linux {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    /// The root inside is mounted over it.
    _root: TempDir,
}

/// What came of loading a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// It forwards.
    Running,
    /// Shorewall refuses it, in its own words.
    Refused(String),
}

/// `unshare`'s options, the ordinary user's way first. A container may forbid root what it allows
/// anybody, and the other way round.
const WAYS: [&[&str]; 2] = [&["--user", "--map-root-user"], &[]];

const ADVICE: &str = "\
the oracle runs Shorewall in namespaces of its own, and this host does not let it have them.
  As an ordinary user: sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000
  (and on Ubuntu kernel.apparmor_restrict_unprivileged_userns=0), as root, once.
  In a container: start it with --security-opt seccomp=unconfined --security-opt apparmor=unconfined
  --security-opt systempaths=unconfined, or with --privileged.";

impl Linux {
    /// Namespaces with a Debian root and nothing else.
    ///
    /// # Errors
    /// [`Unavailable`] if the host forbids them.
    pub fn start(host: &Host) -> Result<Self> {
        let mut reasons = String::new();
        for way in WAYS {
            match Self::start_as(host, way) {
                Ok(linux) => return Ok(linux),
                Err(error) => reasons = format!("{reasons}\n  {error:#}"),
            }
        }
        Err(Unavailable(format!("{ADVICE}\n  What it said:{reasons}")).into())
    }

    fn start_as(host: &Host, way: &[&str]) -> Result<Self> {
        let root = tempfile::tempdir()?;
        let mut child = Command::new("unshare")
            .args(way)
            .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--"])
            .arg(&host.program)
            .arg(&host.packages)
            .arg(root.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .context("unshare, of Debian's package util-linux")?;
        let input = child.stdin.take().context("no pipe")?;
        let output = child.stdout.take().context("no pipe")?;
        let mut linux = Self {
            child,
            input,
            output,
            _root: root,
        };
        let way = way.join(" ");
        match protocol::receive(&mut linux.output) {
            Ok(Reply::Done) => Ok(linux),
            Ok(Reply::Failed(why)) => bail!("unshare {way}: {why}"),
            Ok(other) => bail!("unshare {way}: unexpected {other:?}"),
            Err(_) => bail!("unshare {way}: {}", linux.child.wait()?),
        }
    }

    /// Makes links, compiles and starts a configuration. Once only.
    ///
    /// # Errors
    /// When the oracle itself fails; that Shorewall refuses is a result.
    pub fn load(&mut self, setup: Setup) -> Result<Loaded> {
        match self.ask(&Request::Load(setup))? {
            Reply::Done => Ok(Loaded::Running),
            Reply::Refused(words) => Ok(Loaded::Refused(words)),
            other => bail!("unexpected {other:?}"),
        }
    }

    /// Makes stations known that no earlier call or [`Linux::load`] did.
    ///
    /// # Errors
    /// When the oracle fails.
    pub fn add_neighbours(&mut self, neighbours: Vec<Neighbour>) -> Result<()> {
        match self.ask(&Request::Neighbours(neighbours))? {
            Reply::Done => Ok(()),
            other => bail!("unexpected {other:?}"),
        }
    }

    /// Forgets all connections and takes the steps; what came out after each. With a `settle` above
    /// zero, output is waited for after each frame: for when the machine may have been busy.
    ///
    /// # Errors
    /// When the oracle fails.
    pub fn run(&mut self, steps: &[Step], settle: Duration) -> Result<Outputs> {
        let request = Request::Run {
            steps: steps.to_vec(),
            settle_us: u32::try_from(settle.as_micros())?,
        };
        match self.ask(&request)? {
            Reply::Outputs(outputs) => Ok(outputs),
            other => bail!("unexpected {other:?}"),
        }
    }

    /// Sends packets as fast as can be; how long that took, making them apart. What comes out is
    /// nobody's.
    ///
    /// # Errors
    /// When the oracle fails.
    pub fn flood(&mut self, flood: Flood) -> Result<Duration> {
        match self.ask(&Request::Flood(flood))? {
            Reply::Took(time) => Ok(time),
            other => bail!("unexpected {other:?}"),
        }
    }

    /// What a shell inside prints.
    ///
    /// # Errors
    /// When the command fails.
    pub fn shell(&mut self, command: &str) -> Result<String> {
        match self.ask(&Request::Shell(command.to_owned()))? {
            Reply::Text(text) => Ok(text),
            other => bail!("unexpected {other:?}"),
        }
    }

    fn ask(&mut self, request: &Request) -> Result<Reply> {
        protocol::send(&mut self.input, request)?;
        match protocol::receive(&mut self.output).context("the oracle's namespace is gone")? {
            Reply::Failed(why) => bail!("the oracle: {why}"),
            reply => Ok(reply),
        }
    }
}

impl Drop for Linux {
    fn drop(&mut self) {
        // --kill-child takes the namespace with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
