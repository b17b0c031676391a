//! Runs commands in dom0 for the host, over a virtio-serial port.
//!
//! `dom0-agent await [+BYTES] FILE TEXT...` is for those commands: it waits until a whole line of the file, behind so
//! many bytes, holds one of the texts, or begins with what follows a `^`, and prints that line. A loop around `grep`
//! and `sleep` would take half of a processor for as long, as every process takes a tenth of a second of one to start.
//!
//! The lab compiles this file by itself (rustc, static, std only) and puts it
//! into dom0's initrd; see `protocol.rs` for the frames.

#[path = "../protocol.rs"]
mod protocol;

use protocol::{Frame, Kind, PORT, read_frame, write_frame};
use std::collections::HashMap;
use std::env;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A command that has ended may have left a daemon holding its pipes: after so many looks without output its result
/// is sent all the same. Many short ones: of a pause in which the whole machine stood still they count one.
const PIPES_IDLE: u32 = 30;
const PIPES_LOOK: Duration = Duration::from_millis(10);

/// How long the port may take to appear after its driver was loaded.
const PORT_LIMIT: Duration = Duration::from_secs(20);

/// What the host wants of a running command.
enum Order {
    Stdin(Vec<u8>),
    StdinEnd,
    Kill,
}

type Commands = Mutex<HashMap<u32, Sender<Order>>>;

/// Frames to the host, written whole by one thread at a time.
#[derive(Clone)]
struct Host(Arc<Mutex<File>>);

impl Host {
    fn send(&self, id: u32, kind: Kind, payload: &[u8]) -> io::Result<()> {
        let mut port = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        write_frame(&mut *port, id, kind, payload)
    }

    /// Whether nothing is on its way.
    fn is_free(&self) -> bool {
        self.0.try_lock().is_ok()
    }
}

/// How often a file is looked at that is waited for.
const LOOK: Duration = Duration::from_millis(50);

fn main() -> io::Result<()> {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    match words.as_slice() {
        [] => serve(),
        [verb, words @ ..] if verb == "await" => {
            let usage = || io::Error::other("dom0-agent [await [+BYTES] FILE TEXT...]");
            let (first, more) = words.split_first().ok_or_else(usage)?;
            let known = first.to_str().and_then(|word| word.strip_prefix('+'));
            let (known, words) = match known {
                Some(known) => (known.parse().map_err(io::Error::other)?, more),
                None => (0, words),
            };
            let [file, texts @ ..] = words else {
                return Err(usage());
            };
            let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
            let mut line = wait_for(file.as_ref(), known, &texts)?;
            line.push(b'\n');
            io::stdout().write_all(&line)
        }
        _ => Err(io::Error::other("dom0-agent [await [+BYTES] FILE TEXT...]")),
    }
}

/// The first whole line of a file, behind so many bytes, that holds one of these texts, without its end; the file may
/// still have to come.
fn wait_for(path: &Path, known: u64, texts: &[&[u8]]) -> io::Result<Vec<u8>> {
    let mut seen = known;
    loop {
        let fresh = read_behind(path, &mut seen)?;
        let whole = fresh.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
        for line in fresh
            .get(..whole)
            .unwrap_or_default()
            .split(|byte| *byte == b'\n')
        {
            let holds = |text: &&[u8]| match text.strip_prefix(b"^") {
                Some(start) => line.starts_with(start),
                None => text.is_empty() || line.windows(text.len()).any(|part| part == *text),
            };
            if texts.iter().any(holds) {
                return Ok(line.strip_suffix(b"\r").unwrap_or(line).to_vec());
            }
        }
        seen += whole as u64;
        thread::sleep(LOOK);
    }
}

/// What a file has behind `seen` bytes, and all of it if it has begun anew; nothing of one that is not there.
fn read_behind(path: &Path, seen: &mut u64) -> io::Result<Vec<u8>> {
    let mut fresh = Vec::new();
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            *seen = 0;
            return Ok(fresh);
        }
        Err(error) => return Err(error),
    };
    if file.metadata()?.len() < *seen {
        *seen = 0;
    }
    file.seek(SeekFrom::Start(*seen))?;
    file.read_to_end(&mut fresh)?;
    Ok(fresh)
}

fn serve() -> io::Result<()> {
    let mut port = open_port()?;
    let host = Host(Arc::new(Mutex::new(port.try_clone()?)));
    host.send(0, Kind::HELLO, b"")?;
    let commands = Arc::new(Commands::default());
    loop {
        match read_frame(&mut port) {
            Ok(frame) => obey(frame, &host, &commands),
            // Nobody is connected at the host's end; it may come back.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                thread::sleep(Duration::from_millis(100));
            }
            Err(error) => return Err(error),
        }
    }
}

/// Finds the port by its name in sysfs (there is no udev to link it).
fn open_port() -> io::Result<File> {
    let pause = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    loop {
        for port in fs::read_dir("/sys/class/virtio-ports")
            .into_iter()
            .flatten()
        {
            let port = port?;
            let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
            if name.trim() == PORT {
                let device = Path::new("/dev").join(port.file_name());
                return OpenOptions::new().read(true).write(true).open(device);
            }
        }
        if waited > PORT_LIMIT {
            return Err(io::Error::other(format!("no virtio port named {PORT}")));
        }
        thread::sleep(pause);
        waited += pause;
    }
}

fn obey(frame: Frame, host: &Host, commands: &Arc<Commands>) {
    let order = match frame.kind {
        Kind::RUN => return start(frame, host, commands),
        Kind::STDIN => Order::Stdin(frame.payload),
        Kind::STDIN_END => Order::StdinEnd,
        Kind::KILL => Order::Kill,
        Kind::POWER_OFF => return power_off(),
        Kind(other) => return eprintln!("dom0-agent: frame of unknown kind {other}"),
    };
    let commands = commands.lock().unwrap_or_else(PoisonError::into_inner);
    // The command may have ended while the frame was under way.
    if let Some(orders) = commands.get(&frame.id) {
        let _ = orders.send(order);
    }
}

fn start(frame: Frame, host: &Host, commands: &Arc<Commands>) {
    let (orders, received) = mpsc::channel();
    commands
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .insert(frame.id, orders);
    let (host, commands) = (host.clone(), Arc::clone(commands));
    thread::spawn(move || {
        let argv = String::from_utf8_lossy(&frame.payload).into_owned();
        let result = match run(frame.id, &argv, &host, received) {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => (Kind::EXITED, code.to_le_bytes().to_vec()),
                (None, signal) => (
                    Kind::SIGNALLED,
                    signal.unwrap_or_default().to_le_bytes().to_vec(),
                ),
            },
            Err(error) => (Kind::FAILED, error.to_string().into_bytes()),
        };
        commands
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&frame.id);
        if let Err(error) = host.send(frame.id, result.0, &result.1) {
            eprintln!("dom0-agent: result of command {}: {error}", frame.id);
        }
    });
}

/// Runs one command to its end, its output going to the host as it comes.
fn run(id: u32, argv: &str, host: &Host, orders: Receiver<Order>) -> io::Result<ExitStatus> {
    let mut words = argv.split('\0');
    let mut child = Command::new(words.next().unwrap_or_default())
        .args(words)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (ended, pump_ended) = mpsc::channel();
    let moved = Arc::new(AtomicU64::new(0));
    if let Some(stdout) = child.stdout.take() {
        pump(stdout, host, id, Kind::STDOUT, &moved, ended.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        pump(stderr, host, id, Kind::STDERR, &moved, ended);
    }
    follow(&mut child, orders);
    let status = child.wait()?;

    let mut seen = moved.load(Ordering::Relaxed);
    let mut idle = 0;
    while idle < PIPES_IDLE {
        match pump_ended.recv_timeout(PIPES_LOOK) {
            Ok(()) => {}
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let now = moved.load(Ordering::Relaxed);
                // What is on its way to the host may be theirs, and be followed by more.
                let is_idle = now == seen && host.is_free();
                idle = if is_idle { idle + 1 } else { 0 };
                seen = now;
            }
        }
    }
    Ok(status)
}

/// Carries out the host's orders in threads of their own: one writes standard
/// input and may block on it, the other must still be able to kill.
fn follow(child: &mut Child, orders: Receiver<Order>) {
    let stdin = child.stdin.take();
    let group = child.id();
    let (input, chunks) = mpsc::channel::<Vec<u8>>();
    thread::spawn(move || {
        let Some(mut stdin) = stdin else { return };
        for chunk in chunks {
            // A command that reads no more of its input is no error.
            if stdin
                .write_all(&chunk)
                .and_then(|()| stdin.flush())
                .is_err()
            {
                return;
            }
        }
    });
    thread::spawn(move || {
        let mut input = Some(input);
        for order in orders {
            match order {
                Order::Stdin(chunk) => {
                    if let Some(input) = &input {
                        let _ = input.send(chunk);
                    }
                }
                Order::StdinEnd => input = None,
                Order::Kill => kill_group(group),
            }
        }
    });
}

fn pump(
    mut from: impl Read + Send + 'static,
    host: &Host,
    id: u32,
    kind: Kind,
    moved: &Arc<AtomicU64>,
    ended: Sender<()>,
) {
    let (host, moved) = (host.clone(), Arc::clone(moved));
    thread::spawn(move || {
        let mut buffer = vec![0; 32 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if host.send(id, kind, &buffer[..length]).is_err() {
                break;
            }
            moved.fetch_add(1, Ordering::Relaxed);
        }
        let _ = ended.send(());
    });
}

fn kill_group(group: u32) {
    let _ = Command::new("busybox")
        .args(["kill", "-KILL", "--", &format!("-{group}")])
        .stderr(Stdio::null())
        .status();
}

fn power_off() {
    let _ = Command::new("busybox").arg("sync").status();
    let _ = Command::new("busybox").args(["poweroff", "-f"]).status();
}
