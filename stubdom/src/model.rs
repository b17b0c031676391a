//! The device model, put together: a guest's requests, its machine, its disks, its consoles, and the toolstack.
//!
//! [`Model::start`] is the set-up, a task that reads from top to bottom; [`Model::turn`] belongs into the main loop,
//! which every event wakes.

mod stream;

use crate::arguments::{self, Description, Drive, Kind};
use crate::bundle::{self, Bundle, BundleError};
use crate::control::{self, Control, Turn};
use crate::device::ata::{self, Attachment, HardDisk, Optical};
use crate::device::linux_boot;
use crate::hypervisor;
use crate::machine::{Disks, Drives, Kernel, Machine, RestoreError, Serial};
use crate::qmp::{Command, Status, Ticket};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::Cell;
use core::time::Duration;
use minios_rs::abi::sched::ShutdownReason;
use minios_rs::block::{self, Config};
use minios_rs::consoles;
use minios_rs::dm::{DeviceModel, Guest, GuestMemory, Kind as RequestKind, Server, ServerError};
use minios_rs::task::Executor;
use minios_rs::time::Instant;
use minios_rs::xen::{Errno, OutOfMemory, ResourceError};
use minios_rs::xenstore::{self, Client};
pub use stream::StreamError;
use thiserror::Error as ThisError;

/// Bytes of a serial port on their way to a console, or from it.
const SERIAL_BUFFER: usize = 64;

/// How long a guest that prints waits for somebody who reads.
const UNREAD_MAX: Duration = Duration::from_millis(500);

/// What a guest asks for that goes to our log, in all: it may ask again and again.
const NOTES_MAX: u32 = 100;

/// How often requests are looked for in one turn, at most: what else there is to do waits no longer.
const LOOKS_MAX: usize = 64;

/// Memory for a disk: buffers of as many sectors as are on their way at once.
const DISK: Config = Config {
    requests_max: 64,
    pages_max: 128,
    ring_pages_max: 1,
};

/// Why there is no device model.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The toolstack, or what it wants.
    #[error(transparent)]
    Control(#[from] control::Error),
    /// xenstore.
    #[error(transparent)]
    Xenstore(#[from] xenstore::Error),
    /// The ioreq server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// What the machine answers to.
    #[error("Xen does not hand over what the machine answers to: {0}")]
    Claims(Errno),
    /// A disk.
    #[error("vbd {0}: {1}")]
    Disk(u32, block::Error),
    /// A disk that says nothing of itself.
    #[error("vbd {0} says nothing of itself")]
    NoDisk(u32),
    /// A console.
    #[error("console {0}: {1}")]
    Console(u32, consoles::Error),
    /// The kernel that is to be started.
    #[error(transparent)]
    Kernel(#[from] linux_boot::Refusal),
    /// The state that was saved does not come.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// It is none that this machine takes.
    #[error(transparent)]
    State(#[from] RestoreError),
    /// What dom0 gave along.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// There is no kernel in it.
    #[error(
        "kernel= of the guest's configuration is not in the file of stubdomain_ramdisk=: `cargo image build stubdom --kernel FILE` puts it there"
    )]
    NoKernel,
    /// There is no initial RAM disk in it.
    #[error(
        "ramdisk= of the guest's configuration is not in the file of stubdomain_ramdisk=: `cargo image build stubdom --kernel FILE --initrd FILE` puts it there"
    )]
    NoInitrd,
    /// Memory, grants or ports.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// Memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
}

/// A serial port's console.
struct Line<X: DeviceModel> {
    port: Serial,
    console: consoles::Front<X>,
    /// What was typed and the port has no room for yet.
    typed: heapless::Vec<u8, SERIAL_BUFFER>,
    /// What the port sent and the console has no room for yet.
    sent: heapless::Vec<u8, SERIAL_BUFFER>,
    /// Nobody has read since then.
    full_since: Option<Instant>,
}

/// What became of a state that was to be saved; `None`: it is on its way.
type Outcome = Rc<Cell<Option<Result<(), StreamError>>>>;

/// The state on its way out.
struct Saving {
    ticket: Ticket,
    /// `None`: disks are still at work.
    outcome: Option<Outcome>,
}

/// The device model of one guest.
pub struct Model<X: DeviceModel> {
    guest: Guest<X>,
    server: Server<X>,
    memory: GuestMemory<X>,
    machine: Machine,
    asked: hypervisor::Guest<X>,
    disks: Disks<block::Front<X>>,
    lines: Vec<Line<X>>,
    saving: Option<Saving>,
    place: Place<X>,
    control: Control<X>,
    status: Status,
    is_broken: bool,
    notes: u32,
}

/// What the model needs of the domain.
#[derive(Clone)]
pub struct Place<X: DeviceModel> {
    /// Xen.
    pub xen: X,
    /// xenstore.
    pub store: Client<X>,
    /// For what waits: it follows the devices in xenstore, and carries saved states.
    pub executor: Executor,
    /// `ramdisk=` of this domain.
    pub bundle: &'static [u8],
}

impl<X: DeviceModel> Model<X> {
    /// Finds out which guest it is for and what it is to be, gets that ready, and tells the toolstack.
    ///
    /// # Errors
    /// [`Error`]; the toolstack was told.
    pub async fn start(place: Place<X>) -> Result<Self, Error> {
        let (target, description) = control::Guest::read(&place.store).await?;
        match Self::of(&place, target, &description).await {
            Ok(model) => {
                model.control.announce(&place.store, target).await?;
                Ok(model)
            }
            Err(error) => {
                target.refuse(&place.store, &format!("{error}")).await;
                Err(error)
            }
        }
    }

    async fn of(
        place: &Place<X>,
        target: control::Guest,
        description: &Description,
    ) -> Result<Self, Error> {
        let kernel = match &description.kernel {
            Some(kernel) => Some(bundled(place.bundle, kernel)?),
            None => None,
        };
        let guest = Guest::new(place.xen.clone(), target.domid);
        guest.take_along();
        let mut disks = Disks::default();
        let mut drives = Drives::default();
        for drive in &description.drives {
            let (seat, cable, queues, number) = match drive.place {
                arguments::Place::Ide { channel, unit } => {
                    let number = 2 * channel + unit;
                    let seat = &mut drives.ide[usize::from(number)];
                    (seat, Attachment::Parallel, &mut disks.ide, number)
                }
                arguments::Place::Ahci { port } => {
                    let seat = &mut drives.ahci[usize::from(port)];
                    (seat, Attachment::Serial, &mut disks.ahci, port)
                }
            };
            let mut sectors = None;
            if let Some(medium) = drive.medium {
                let (disk, info) = connect(place, medium.vbd).await?;
                log::info!(
                    "{}: vbd {}, {} sectors",
                    drive.place,
                    medium.vbd,
                    info.sectors
                );
                queues.attach(number, disk);
                sectors = Some(info);
            }
            *seat = Some(made(drive, cable, sectors));
        }
        let mut lines = Vec::new();
        for (port, console) in description.serials.iter().enumerate() {
            lines.push(Line {
                port: Serial(port),
                console: open(place, *console).await?,
                typed: heapless::Vec::new(),
                sent: heapless::Vec::new(),
                full_since: None,
            });
        }
        let memory = GuestMemory::new(&guest)?;
        let mut server = Server::create(&guest)?;
        let mut asked = hypervisor::Guest::new(guest.clone(), server.ranges());
        let mut machine = Machine::new(description, drives, kernel)?;
        if description.is_restored {
            machine.restore(&stream::read(place).await?)?;
        }
        machine.start(&mut asked).map_err(Error::Claims)?;
        server.enable()?;
        log::info!(
            "{}: {} MiB, {} of {} vCPUs",
            description.name,
            description.memory_mib,
            description.vcpus,
            description.vcpus_max
        );
        Ok(Self {
            guest,
            server,
            memory,
            machine,
            asked,
            disks,
            lines,
            saving: None,
            place: place.clone(),
            control: Control::new(&place.xen)?,
            status: Status {
                is_running: false,
                vcpus: description.vcpus,
            },
            is_broken: false,
            notes: 0,
        })
    }

    /// Does what there is to do, and says when to call again if no event comes before.
    pub fn turn(&mut self, now: Instant) -> Option<Instant> {
        let mut looks = 0;
        while self.serve() && looks < LOOKS_MAX {
            looks += 1;
        }
        let again = self.toolstack() || looks == LOOKS_MAX;
        let (machine, asked) = (&mut self.machine, &mut self.asked);
        let lines = self.lines.iter_mut();
        let unread = lines
            .filter_map(|line| line.turn(now, machine, asked))
            .min();
        match again {
            true => Some(now),
            false => unread,
        }
    }

    /// Answers what the guest's vCPUs wait for, and moves what came of it; whether there was anything.
    fn serve(&mut self) -> bool {
        if self.is_broken {
            return false;
        }
        let (machine, memory, asked) = (&mut self.machine, &mut self.memory, &mut self.asked);
        let served = self.server.serve(|request| {
            if request.kind == RequestKind::Invalidate {
                memory.invalidate();
                return 0;
            }
            machine.serve(request, memory, asked)
        });
        let served = served.unwrap_or_else(|error| {
            log::error!("{error}: the guest is ended");
            self.is_broken = true;
            let _ = self.guest.remote_shutdown(ShutdownReason::Crash);
            0
        });
        machine.turn(&mut self.disks, memory, asked);
        if let Some(unplugged) = machine.take_unplugged()
            && self.may_note()
        {
            log::info!("the guest has its own drivers, and had taken away: {unplugged:?}");
        }
        if let Some(ended) = self.machine.take_ended()
            && self.may_note()
        {
            log::info!("the guest asks for {ended:?}");
        }
        served > 0
    }

    fn may_note(&mut self) -> bool {
        self.notes = self.notes.saturating_add(1);
        self.notes <= NOTES_MAX
    }

    /// Takes the toolstack's commands; whether there is more to do at once.
    fn toolstack(&mut self) -> bool {
        for _ in 0..LOOKS_MAX {
            match self.control.turn(&self.status) {
                Turn::Idle => return self.go_on_saving(),
                Turn::More => {}
                Turn::ToDo(ticket, command) => self.execute(ticket, command),
            }
        }
        true
    }

    fn execute(&mut self, ticket: Ticket, command: Command) {
        match command {
            Command::Continue => self.status.is_running = true,
            Command::Stop => self.status.is_running = false,
            Command::LogDirty { is_on: true } => self.memory.start_log_dirty(),
            Command::LogDirty { is_on: false } => self.memory.stop_log_dirty(),
            Command::WakeUp => {
                if let Err(error) = self.guest.leave_s3() {
                    log::warn!("the guest cannot be woken: {error}");
                }
            }
            Command::Save { .. } if self.saving.is_some() => {
                let why = "the state is being saved already, for somebody who has gone";
                self.control.answer(ticket, Err(why));
                return;
            }
            Command::Save { .. } => {
                let outcome = None;
                self.saving = Some(Saving { ticket, outcome });
                return;
            }
        }
        self.control.answer(ticket, Ok(()));
    }

    /// Starts to save the state once all disks are idle, and answers when all of it has been taken; whether that made
    /// something to do at once.
    fn go_on_saving(&mut self) -> bool {
        let Some(Saving { ticket, outcome }) = &mut self.saving else {
            return false;
        };
        let Some(outcome) = outcome else {
            let is_idle = self.disks.is_idle();
            if is_idle {
                let (place, state) = (self.place.clone(), self.machine.save());
                let there = outcome.insert(Outcome::default()).clone();
                let spawned = self.place.executor.spawn(async move {
                    there.set(Some(stream::write(&place, &state).await));
                });
                assert!(spawned.is_ok(), "a task for a saved state fits");
            }
            return is_idle;
        };
        let Some(outcome) = outcome.take() else {
            return false;
        };
        match outcome {
            Ok(()) => self.control.answer(*ticket, Ok(())),
            Err(error) => self.control.answer(*ticket, Err(&format!("{error}"))),
        }
        self.saving = None;
        true
    }
}

impl<X: DeviceModel> Line<X> {
    /// Moves bytes both ways, and says when to try again although nothing has happened.
    fn turn(
        &mut self,
        now: Instant,
        machine: &mut Machine,
        asked: &mut hypervisor::Guest<X>,
    ) -> Option<Instant> {
        let full_until = self.send(now, machine, asked);
        let mut bytes = [0; SERIAL_BUFFER];
        loop {
            if self.typed.is_empty() {
                let count = self.console.read(&mut bytes).unwrap_or(0);
                let _ = self.typed.extend_from_slice(&bytes[..count]);
            }
            let taken = machine.serial_input(self.port, &self.typed, asked);
            if taken == 0 {
                return full_until;
            }
            drop_first(&mut self.typed, taken);
        }
    }

    /// Who reads slowly holds the guest up, as a slow terminal does. Who does not read at all does so for a moment;
    /// from then on what he has no room for is lost, until he reads again.
    fn send(
        &mut self,
        now: Instant,
        machine: &mut Machine,
        asked: &mut hypervisor::Guest<X>,
    ) -> Option<Instant> {
        let mut bytes = [0; SERIAL_BUFFER];
        loop {
            if self.sent.is_empty() {
                let count = machine.serial_output(self.port, &mut bytes, asked);
                let _ = self.sent.extend_from_slice(&bytes[..count]);
            }
            if self.sent.is_empty() {
                return None;
            }
            let written = self.console.write(&self.sent).unwrap_or(0);
            drop_first(&mut self.sent, written);
            if written > 0 {
                self.full_since = None;
                continue;
            }
            let until = self.full_since.get_or_insert(now).after(UNREAD_MAX);
            if now < until {
                return Some(until);
            }
            self.sent.clear();
        }
    }
}

fn drop_first(bytes: &mut heapless::Vec<u8, SERIAL_BUFFER>, count: usize) {
    bytes.rotate_left(count);
    bytes.truncate(bytes.len() - count);
}

/// The disk of a vbd.
async fn connect<X: DeviceModel>(
    place: &Place<X>,
    vbd: u32,
) -> Result<(block::Front<X>, block::Info), Error> {
    let connected = block::connect(&place.xen, &place.store, &place.executor, vbd, DISK).await;
    let (front, link) = connected.map_err(|error| Error::Disk(vbd, error))?;
    let spawned = place.executor.spawn(async move {
        if let Err(error) = link.run().await {
            log::error!("vbd {vbd}: {error}");
        }
    });
    assert!(spawned.is_ok(), "a task for each disk fits");
    let info = front.info().ok_or(Error::NoDisk(vbd))?;
    Ok((front, info))
}

/// The drive in front of a disk.
fn made(drive: &Drive, cable: Attachment, disk: Option<block::Info>) -> ata::Drive {
    let serial = serial_number(drive);
    let sectors = disk.map(|disk| disk.sectors);
    if drive.kind == Kind::Cd {
        return ata::Drive::Optical(Optical::new(cable, sectors, &serial));
    }
    let mut made = HardDisk::new(cable, sectors.unwrap_or(0), &serial);
    if let Some(disk) = disk {
        made = made.with_physical_sector(disk.physical_sector_size);
        if disk.discard.is_some() {
            made = made.with_trim();
        }
    }
    ata::Drive::Disk(made)
}

/// What dom0 gave along of a kernel that the guest is started with.
fn bundled(module: &'static [u8], kernel: &arguments::Kernel) -> Result<Kernel, Error> {
    let bundle = Bundle::open(module)?;
    let image = bundle.get(bundle::Kind::Kernel)?.ok_or(Error::NoKernel)?;
    let ramdisk = bundle.get(bundle::Kind::Initrd)?;
    if kernel.initrd.is_some() && ramdisk.is_none() {
        return Err(Error::NoInitrd);
    }
    Ok(Kernel {
        image,
        ramdisk: ramdisk.unwrap_or(&[]),
    })
}

/// As QEMU numbers its drives, so that names in a guest that are made of it stay.
fn serial_number(drive: &Drive) -> String {
    match drive.place {
        arguments::Place::Ide { channel, unit } => format!("QM{:05}", 2 * channel + unit + 1),
        arguments::Place::Ahci { port } => format!("QM{:05}", 2 * port + 1),
    }
}

async fn open<X: DeviceModel>(place: &Place<X>, index: u32) -> Result<consoles::Front<X>, Error> {
    let opened = consoles::Front::open(&place.xen, &place.store, index).await;
    let (front, link) = opened.map_err(|error| Error::Console(index, error))?;
    let spawned = place.executor.spawn(async move {
        if let Err(error) = link.follow().await {
            log::error!("console {index}: {error}");
        }
    });
    assert!(spawned.is_ok(), "a task for each console fits");
    Ok(front)
}

#[cfg(test)]
mod tests;
