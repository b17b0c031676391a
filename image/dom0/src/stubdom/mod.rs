//! The helper of a stub domain: it takes the place of the QEMU that libxl starts in dom0 for one.
//!
//! It answers libxl, and relays bytes between the stub domain's consoles and files or terminals. What
//! a guest wrote is relayed and not looked at; the stub domain counts as the guest's.

mod arguments;
mod console;
mod monitor;
mod privileges;
mod qmp;
mod ring;
mod sink;
pub(crate) mod supervisor;

use crate::connection::Connection;
use crate::domains::home;
use crate::store::{Store, StoreError, Waited};
use crate::xen::{EventDevice, GrantDevice, Mapping};
use arguments::Arguments;
use console::{Console, Peer, number};
use minios_rs::xen::{DomId, GrantRef, Port};
use monitor::{Monitors, Next};
use privileges::User;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Mode;
use sink::{LOG, Output};
use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

/// The name under which the program is this helper.
pub(crate) const PROGRAM: &str = "xen-image-stubdom-helper";

/// Fires when any domain goes.
const RELEASED: &str = "@releaseDomain";

/// The grant reference that libxl keeps for a PV domain's first console
/// (`GNTTAB_RESERVED_CONSOLE`): what stands in xenstore is a machine frame.
const CONSOLE_GRANT: GrantRef = GrantRef(0);

/// What libxl can configure: three, and a guest's serial ports.
const CONSOLES_MAX: usize = 32;

/// How often the helper looks at what the stub domain did before it pauses: a stub domain that rings
/// and writes without end is to cost dom0 little. 4 MB/s go through a console at that pace.
const ROUNDS: u32 = 100;
const ROUNDS_TIME: Duration = Duration::from_millis(50);

/// Lines of ours in the log.
const LINES_MAX: u32 = 200;

/// Runs until the stub domain is gone, or libxl says so.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> Result<(), Box<dyn Error>> {
    let arguments = arguments::parse(arguments)?;
    // What is made is root's.
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    match arguments.domain {
        Some(domain) => Helper::start(DomId(domain), &arguments)?.run(),
        None => answer(Monitors::open(&arguments.monitors)?),
    }
}

/// Without a domain: libxl asks which options there are, and ends it.
fn answer(mut monitors: Monitors) -> Result<(), Box<dyn Error>> {
    while monitors.serve()? == Next::GoOn {
        let mut waits: Vec<PollFd<'_>> = monitors.waits_for().map(wait_for).collect();
        wait(&mut waits)?;
    }
    Ok(())
}

/// For something to read, and perhaps for room to write.
fn wait_for((fd, wants_room): (std::os::fd::BorrowedFd<'_>, bool)) -> PollFd<'_> {
    let wanted = match wants_room {
        true => PollFlags::IN | PollFlags::OUT,
        false => PollFlags::IN,
    };
    PollFd::from_borrowed_fd(fd, wanted)
}

fn wait(waits: &mut [PollFd<'_>]) -> io::Result<()> {
    match poll(waits, None) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The stub domain, as Linux' devices show it.
struct Stub {
    domain: DomId,
    grants: GrantDevice,
    events: EventDevice,
}

impl Peer for Stub {
    type Page = Mapping;

    fn map(&self, reference: GrantRef) -> io::Result<Mapping> {
        self.grants.map(self.domain, reference)
    }

    fn bind(&self, remote: Port) -> io::Result<Port> {
        self.events.bind(remote)
    }

    fn unbind(&self, port: Port) {
        self.events.unbind(port);
    }

    fn notify(&self, port: Port) {
        self.events.notify(port);
    }
}

/// Lines in the log that libxl opened, `qemu-dm-NAME-dm.log`.
#[derive(Default)]
struct Journal {
    lines: u32,
}

impl Journal {
    fn say(&mut self, words: impl fmt::Display) {
        self.lines += 1;
        let mut out = io::stdout();
        // A log that cannot be written is no reason to stop.
        let _ = match self.lines {
            ..LINES_MAX => writeln!(out, "{PROGRAM}: {words}"),
            LINES_MAX => writeln!(out, "{PROGRAM}: {words}; no more lines"),
            _ => {
                self.lines = LINES_MAX + 1;
                Ok(())
            }
        };
    }
}

struct Helper {
    store: Connection,
    stub: Stub,
    consoles: Vec<Console<Stub>>,
    monitors: Monitors,
    journal: Journal,
}

impl Helper {
    /// Opens all there is to open, gives up what is not needed any more, and tells libxl.
    fn start(domain: DomId, arguments: &Arguments) -> Result<Self, Box<dyn Error>> {
        let mut journal = Journal::default();
        if arguments.wants_screen {
            journal.say("a screen was asked for; there is none: say vnc=0 and vga=\"none\"");
        }
        let mut store = Connection::open()?;
        let stub = Stub {
            domain,
            grants: GrantDevice::open()?,
            events: EventDevice::open(domain)?,
        };
        let consoles = consoles(&mut store, &stub)?;
        for console in &consoles {
            for path in console.watched().into_iter().flatten() {
                store.watch(&path)?;
            }
        }
        store.watch(RELEASED)?;
        let monitors = Monitors::open(&arguments.monitors)?;
        match read(&mut store, &format!("{}/target", home(domain)))? {
            Some(guest) => {
                let guest = number_of(&guest).ok_or("the guest has no number")?;
                supervisor::start(domain, guest)
                    .map_err(|error| format!("cannot start what looks after the guest: {error}"))?;
            }
            None => journal.say("it is nobody's device model"),
        }
        let user = privileges::give_up(User::Helper, domain)
            .map_err(|error| format!("cannot become an unprivileged user: {error}"))?;
        let terminals = consoles
            .iter()
            .filter(|console| console.sink().terminal().is_some());
        journal.say(format_args!(
            "serves {} consoles of domain {}, {} of them terminals, as user {user} in no folder; what it \
             kept: its connection to xenstore, which is root's; /dev/xen/gntdev; /dev/xen/evtchn for that \
             domain only; the consoles' files and terminals; the sockets it was told",
            consoles.len(),
            domain.0,
            terminals.count(),
        ));
        let mut helper = Self {
            store,
            stub,
            consoles,
            monitors,
            journal,
        };
        helper.step()?;
        // libxl made the folder, and waits for this.
        let state = format!("{}/device-model/{}/state", home(DomId(0)), domain.0);
        let guard = home(domain);
        helper.store.write_if_there(&guard, &state, b"running")?;
        Ok(helper)
    }

    fn run(mut self) -> Result<(), Box<dyn Error>> {
        let (mut rounds, mut since) = (0, Instant::now());
        loop {
            rounds += 1;
            if rounds == ROUNDS {
                std::thread::sleep(ROUNDS_TIME.saturating_sub(since.elapsed()));
                (rounds, since) = (0, Instant::now());
            }
            let mut was_busy = self.store.wait(Duration::ZERO)? == Waited::Changed;
            if was_busy && self.step()? == Next::Quit {
                return Ok(());
            }
            was_busy |= self.relay()?;
            if self.monitors.serve()? == Next::Quit {
                return Ok(());
            }
            // What changed in xenstore while it was asked for something else rings nowhere.
            if !was_busy {
                self.wait()?;
            }
        }
    }

    /// Looks what changed in xenstore.
    fn step(&mut self) -> Result<Next, StoreError> {
        if let Err(StoreError::NotFound) = self.store.read(&home(self.stub.domain)) {
            return Ok(Next::Quit);
        }
        for console in &mut self.consoles {
            if let Some(said) = console.step(&mut self.store, &self.stub)? {
                self.journal.say(said);
            }
        }
        Ok(Next::GoOn)
    }

    /// Moves what was printed and typed; whether xenstore was asked for something.
    fn relay(&mut self) -> Result<bool, Box<dyn Error>> {
        let mut rang = Vec::new();
        for _ in 0..self.consoles.len() {
            rang.extend(self.stub.events.pending()?);
        }
        let mut has_asked = false;
        for console in &mut self.consoles {
            let has_rung = console.port().is_some_and(|port| rang.contains(&port));
            if !has_rung && console.sink().terminal().is_none() {
                continue;
            }
            if let Some(said) = console.pump(&self.stub) {
                self.journal.say(said);
                console.step(&mut self.store, &self.stub)?;
                has_asked = true;
            }
        }
        for port in rang {
            // It fails for one that was unbound meanwhile.
            let _ = self.stub.events.unmask(port);
        }
        Ok(has_asked)
    }

    /// Waits until there is something to do.
    fn wait(&self) -> io::Result<()> {
        let mut waits = vec![
            PollFd::from_borrowed_fd(self.store.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.stub.events.as_fd(), PollFlags::IN),
        ];
        waits.extend(self.monitors.waits_for().map(wait_for));
        for console in &self.consoles {
            let Some((terminal, wants_room)) = console.sink().waits_for() else {
                continue;
            };
            let mut wanted = PollFlags::empty();
            wanted.set(PollFlags::IN, console.has_room());
            wanted.set(PollFlags::OUT, wants_room);
            if !wanted.is_empty() {
                waits.push(PollFd::from_borrowed_fd(terminal, wanted));
            }
        }
        wait(&mut waits)
    }
}

/// The consoles that libxl made for the stub domain, as they are before its first instruction, while
/// nobody but the toolstack wrote there.
fn consoles(store: &mut Connection, stub: &Stub) -> Result<Vec<Console<Stub>>, Box<dyn Error>> {
    let home = home(stub.domain);
    let folder = format!("{home}/device/console");
    let mut numbers = Vec::new();
    match store.list(&folder) {
        Ok(names) => numbers.extend(names.iter().filter_map(|name| name.parse::<u32>().ok())),
        Err(StoreError::NotFound) => {}
        Err(error) => return Err(error.into()),
    }
    numbers.retain(|number| *number != LOG);
    numbers.sort_unstable();
    if numbers.len() >= CONSOLES_MAX {
        return Err(format!("{} consoles are more than any guest has", numbers.len()).into());
    }
    let mut consoles = Vec::new();
    let primary = format!("{home}/console");
    if let Some(port) = number(store, &primary, "port")? {
        let sink = open(store, &primary, LOG)?;
        let console = Console::primary(sink, stub, CONSOLE_GRANT, Port(port))
            .map_err(|error| format!("cannot map the domain's own console: {error}"))?;
        consoles.push(console);
    }
    for number in numbers {
        let frontend = format!("{folder}/{number}");
        let backend = read(store, &format!("{frontend}/backend"))?
            .ok_or_else(|| format!("console {number} has no backend in xenstore"))?;
        let sink = open(store, &frontend, number)?;
        if let Some(name) = sink.terminal() {
            // Where `xl console` looks.
            store.write(&format!("{frontend}/tty"), name.as_bytes())?;
        }
        consoles.push(Console::device(number, frontend, backend, sink));
    }
    Ok(consoles)
}

/// A domain by its number.
fn number_of(text: &str) -> Option<DomId> {
    text.parse().ok().map(DomId)
}

fn open(store: &mut Connection, folder: &str, number: u32) -> Result<sink::Sink, Box<dyn Error>> {
    let wanted = read(store, &format!("{folder}/output"))?;
    let output = Output::parse(number, wanted.as_deref())?;
    output
        .open(number)
        .map_err(|error| format!("console {number}: {error}").into())
}

fn read(store: &mut Connection, path: &str) -> Result<Option<String>, StoreError> {
    match store.read(path) {
        Ok(value) => Ok(Some(String::from_utf8_lossy(&value).into_owned())),
        Err(StoreError::NotFound) => Ok(None),
        Err(error) => Err(error),
    }
}
