//! Commands in dom0, over the agent's virtio-serial port.

use crate::protocol::{Frame, Kind, MAX_PAYLOAD, read_frame, write_frame};
use anyhow::{Context, Result, anyhow, bail};
use std::collections::HashMap;
use std::fmt;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long dom0 may take to confirm that it killed a command.
const KILL_LIMIT: Duration = Duration::from_secs(60);

/// How long QEMU may refuse to take what is written to the port.
const WRITE_LIMIT: Duration = Duration::from_secs(60);

/// A command to run in dom0.
///
/// ```no_run
/// # fn f(machine: &qemu_tests::Machine) -> anyhow::Result<()> {
/// use qemu_tests::Command;
/// use std::time::Duration;
/// let output = machine.run(
///     &Command::bash("sha256sum && exit 3")
///         .stdin("abc")
///         .limit(Duration::from_secs(5)),
/// )?;
/// assert_eq!(output.status, qemu_tests::Status::Code(3));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    argv: Vec<String>,
    stdin: Vec<u8>,
    limit: Duration,
}

impl Command {
    /// The limit of a command that sets none: many times what any takes on a busy host, as whoever is in time is not
    /// held up by it.
    pub const DEFAULT_LIMIT: Duration = Duration::from_secs(180);

    /// A program with its arguments, found on dom0's PATH, without a shell.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            stdin: Vec::new(),
            limit: Self::DEFAULT_LIMIT,
        }
    }

    /// A bash script; it goes on after an error unless it says `set -e`.
    pub fn bash(script: impl Into<String>) -> Self {
        Self::new(["bash".to_owned(), "-c".to_owned(), script.into()])
    }

    /// Bytes for its standard input, which is empty otherwise.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// The time it may take; then it and its process group are killed.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    pub(crate) fn describe(&self) -> String {
        match self.argv.as_slice() {
            [bash, c, script] if bash == "bash" && c == "-c" => script.clone(),
            argv => argv.join(" "),
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// By itself, with this exit code.
    Code(i32),
    /// By this signal, which was not the lab's.
    Signal(i32),
    /// Killed by the lab when its limit was over.
    TimedOut,
    /// Killed by [`Running::kill`].
    Killed,
}

impl Status {
    /// Whether it is exit code 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::TimedOut => f.write_str("killed: time limit"),
            Self::Killed => f.write_str("killed"),
        }
    }
}

/// What a command left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// How it ended.
    pub status: Status,
    /// All it wrote to standard output.
    pub stdout: Vec<u8>,
    /// All it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    #[must_use]
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}

/// What the agent reports of one command.
enum Event {
    Hello,
    Stdout(Vec<u8>),
    Stderr(Vec<u8>),
    Ended(Status),
    Failed(String),
}

/// Who waits for which command's events; `None` once the port is closed.
type Waiting = Mutex<Option<HashMap<u32, Sender<Event>>>>;

/// The host's end of the port.
pub(crate) struct Channel {
    port: Mutex<UnixStream>,
    waiting: Arc<Waiting>,
    next: AtomicU32,
    hello: Mutex<Receiver<Event>>,
}

impl Channel {
    pub(crate) fn new(port: UnixStream) -> Result<Self> {
        port.set_write_timeout(Some(WRITE_LIMIT))?;
        let mut reader = port.try_clone()?;
        let (sender, hello) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(Some(HashMap::from([(0, sender)]))));
        let dispatching = Arc::clone(&waiting);
        thread::spawn(move || {
            while let Ok(frame) = read_frame(&mut reader) {
                dispatch(frame, &dispatching);
            }
            // Drops the senders: everyone who waits learns that it is over.
            dispatching
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
        });
        Ok(Self {
            port: Mutex::new(port),
            waiting,
            next: AtomicU32::new(1),
            hello: Mutex::new(hello),
        })
    }

    /// Whether the agent said hello within `limit`; an error when the port is
    /// closed.
    pub(crate) fn said_hello(&self, limit: Duration) -> Result<bool> {
        let hello = self.hello.lock().unwrap_or_else(PoisonError::into_inner);
        match hello.recv_timeout(limit) {
            Ok(event) => Ok(matches!(event, Event::Hello)),
            Err(RecvTimeoutError::Timeout) => Ok(false),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }

    fn send(&self, id: u32, kind: Kind, payload: &[u8]) -> Result<()> {
        let mut port = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        write_frame(&mut *port, id, kind, payload).context("writing to dom0's agent")
    }

    pub(crate) fn power_off(&self) -> Result<()> {
        self.send(0, Kind::POWER_OFF, b"")
    }

    /// Starts a command. Its standard input stays open for more.
    pub(crate) fn start(self: &Arc<Self>, command: &Command) -> Result<Running> {
        if command.argv.iter().any(|word| word.contains('\0')) {
            bail!("a command's words cannot hold NUL bytes");
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = mpsc::channel();
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .ok_or_else(gone)?
            .insert(id, sender);
        let running = Running {
            channel: Arc::clone(self),
            id,
            events,
            what: command.describe(),
            deadline: Instant::now() + command.limit,
            killed: None,
        };
        let argv = command.argv.join("\0");
        if argv.len() > MAX_PAYLOAD {
            bail!("a script of more than {MAX_PAYLOAD} bytes: put it into a file");
        }
        self.send(id, Kind::RUN, argv.as_bytes())?;
        running.stdin().write(&command.stdin)?;
        Ok(running)
    }
}

fn gone() -> anyhow::Error {
    anyhow!("the machine is gone: its agent's port is closed")
}

fn dispatch(frame: Frame, waiting: &Waiting) {
    let number = || {
        let bytes = frame.payload.first_chunk().copied().unwrap_or_default();
        i32::from_le_bytes(bytes)
    };
    let event = match frame.kind {
        Kind::HELLO => Event::Hello,
        Kind::EXITED => Event::Ended(Status::Code(number())),
        Kind::SIGNALLED => Event::Ended(Status::Signal(number())),
        Kind::FAILED => Event::Failed(String::from_utf8_lossy(&frame.payload).into_owned()),
        Kind::STDOUT => Event::Stdout(frame.payload),
        Kind::STDERR => Event::Stderr(frame.payload),
        _ => return,
    };
    let last = matches!(event, Event::Ended(_) | Event::Failed(_));
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(waiting) = waiting.as_mut() else {
        return;
    };
    // Nobody waits any more for a command whose `Running` was dropped.
    if let Some(sender) = waiting.get(&frame.id) {
        let _ = sender.send(event);
    }
    if last {
        waiting.remove(&frame.id);
    }
}

/// A command under way in dom0. Dropping it kills the command.
pub struct Running {
    channel: Arc<Channel>,
    id: u32,
    events: Receiver<Event>,
    what: String,
    deadline: Instant,
    killed: Option<Status>,
}

impl Running {
    /// Its standard input, for any thread.
    #[must_use]
    pub fn stdin(&self) -> Stdin {
        Stdin {
            channel: Arc::clone(&self.channel),
            id: self.id,
        }
    }

    /// Kills it and its process group; [`Running::wait`] then returns.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn kill(&mut self) -> Result<()> {
        self.kill_as(Status::Killed)
    }

    fn kill_as(&mut self, status: Status) -> Result<()> {
        self.killed = Some(status);
        self.deadline = Instant::now() + KILL_LIMIT;
        self.channel.send(self.id, Kind::KILL, b"")
    }

    /// Ends its standard input and waits for its end, or kills it when its
    /// time is over.
    ///
    /// # Errors
    /// When it could not be started, or the machine is gone.
    pub fn wait(self) -> Result<Output> {
        self.stdin().end()?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let status = self.follow(|stream, bytes| match stream {
            Stream::Stdout => stdout.extend_from_slice(bytes),
            Stream::Stderr => stderr.extend_from_slice(bytes),
        })?;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }

    /// Hands on its output as it comes, until its end.
    ///
    /// # Errors
    /// When it could not be started, or the machine is gone.
    pub fn follow(mut self, mut output: impl FnMut(Stream, &[u8])) -> Result<Status> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(Event::Stdout(bytes)) => output(Stream::Stdout, &bytes),
                Ok(Event::Stderr(bytes)) => output(Stream::Stderr, &bytes),
                Ok(Event::Ended(status)) => return Ok(self.killed.unwrap_or(status)),
                Ok(Event::Failed(why)) => bail!("`{}` cannot be started: {why}", self.what),
                Ok(Event::Hello) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(gone()),
                Err(RecvTimeoutError::Timeout) if self.killed.is_some() => {
                    bail!("dom0 does not answer: `{}` could not be killed", self.what)
                }
                Err(RecvTimeoutError::Timeout) => self.kill_as(Status::TimedOut)?,
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut waiting = self
            .channel
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let unfinished = waiting.as_mut().and_then(|w| w.remove(&self.id)).is_some();
        drop(waiting);
        if unfinished {
            let _ = self.channel.send(self.id, Kind::KILL, b"");
        }
    }
}

/// The standard input of a [`Running`] command.
#[derive(Clone)]
pub struct Stdin {
    channel: Arc<Channel>,
    id: u32,
}

impl Stdin {
    /// Writes to it; without effect once the command has ended.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn write(&self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(MAX_PAYLOAD) {
            self.channel.send(self.id, Kind::STDIN, chunk)?;
        }
        Ok(())
    }

    /// Ends it.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn end(&self) -> Result<()> {
        self.channel.send(self.id, Kind::STDIN_END, b"")
    }
}

/// Where a command wrote.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
