//! The guest's computer: its devices on their buses, and Xen told what they do.
//!
//! | file | what |
//! |---|---|
//! | `machine/devices.rs` | which devices there are, and at which addresses |
//! | `machine/saved.rs` | their state as bytes, for a guest that is saved |
//!
//! A request goes to the device that claims its address ([`Machine::serve`]); then the devices are
//! asked what follows from it: lines, a copy, an action, another place in the address space. What comes
//! from outside, a disk's answer or a typed byte, is brought in by [`Machine::turn`] and
//! [`Machine::serial_input`].

mod devices;
mod saved;

pub use devices::{Drives, SERIALS_MAX, Serial};
pub use saved::{HEADER, RestoreError, length};

use crate::arguments::Description;
use crate::backend::disk::{self, Disk};
use crate::bus::{Bus, Claim, Claims, Levels, Lines, Place, Width};
use crate::device::fw_cfg;
use crate::device::linux_boot::{self, Linux};
use crate::device::platform::Unplug;
use crate::device::{Action, ata};
use crate::hypervisor::{Errno, Hypervisor, ShutdownReason};
use crate::ioreq;
use crate::memory::GuestMemory;
use devices::{Devices, Target};
use minios_rs::dm::Request;

/// Lines of the guest's that go to our log, in all.
const LOG_LINES_MAX: u32 = 1000;
/// Refusals of Xen's that go to our log, in all: a guest may be what causes them.
const REFUSALS_MAX: u32 = 20;
/// The megabyte of physical addresses at which writing interrupts a processor.
const LOCAL_APICS: u64 = 0xfee;
/// Links by which PCI pins reach ISA lines.
const LINKS: u8 = 4;

/// A kernel that is started without a boot loader.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    /// A bzImage.
    pub image: &'static [u8],
    /// Its ramdisk; empty without one.
    pub ramdisk: &'static [u8],
}

/// The disks behind each controller.
pub struct Disks<D: Disk> {
    /// By drive, of the IDE controller.
    pub ide: disk::Disks<D>,
    /// By port, of the AHCI controller.
    pub ahci: disk::Disks<D>,
}

impl<D: Disk> Default for Disks<D> {
    fn default() -> Self {
        Self {
            ide: disk::Disks::default(),
            ahci: disk::Disks::default(),
        }
    }
}

impl<D: Disk> Disks<D> {
    /// Nothing is under way: the machine can be saved.
    pub fn is_idle(&self) -> bool {
        self.ide.is_idle() && self.ahci.is_idle()
    }
}

/// The guest's computer.
#[derive(Clone, Debug)]
pub struct Machine {
    devices: Devices,
    claims: Claims<Target>,
    lines: Lines,
    /// Where the links lead, as Xen was told.
    routes: Option<[Option<u8>; LINKS as usize]>,
    ended: Option<Action>,
    unplugged: Option<Unplug>,
    logged: u32,
    refusals: u32,
}

impl Machine {
    /// The computer that xl describes, with its drives, and with the kernel that the description
    /// names, if it names one.
    ///
    /// # Errors
    /// The kernel cannot be booted.
    pub fn new(
        description: &Description,
        drives: Drives,
        kernel: Option<Kernel>,
    ) -> Result<Self, linux_boot::Refusal> {
        let mut devices = Devices::new(description, drives);
        if let (Some(kernel), Some(wanted)) = (kernel, &description.kernel) {
            let firmware = devices.firmware.get_or_insert_default();
            let linux = Linux {
                kernel: kernel.image,
                ramdisk: kernel.ramdisk,
                command_line: &wanted.append,
                low_memory_end: devices::low_memory_end(description),
            };
            linux_boot::add(&linux, firmware)?;
        }
        if description.has_serial_firmware {
            let firmware = devices.firmware.get_or_insert_default();
            firmware.add(fw_cfg::KEY_NO_GRAPHIC, 1_u16.to_le_bytes().to_vec());
        }
        Ok(Self {
            devices,
            claims: Claims::default(),
            lines: Lines::default(),
            routes: None,
            ended: None,
            unplugged: None,
            logged: 0,
            refusals: 0,
        })
    }

    /// Claims what the devices answer to. Before the guest runs.
    ///
    /// # Errors
    /// Xen's: without all of it there is no machine.
    pub fn start(&mut self, hypervisor: &mut impl Hypervisor) -> Result<(), Errno> {
        self.route(hypervisor)?;
        self.claims.hold(&self.devices.claims(), hypervisor)
    }

    /// Serves one request, and gives what it is answered with. A disk may have something to do then:
    /// [`Machine::turn`].
    pub fn serve(
        &mut self,
        request: &Request,
        memory: &mut impl GuestMemory,
        hypervisor: &mut impl Hypervisor,
    ) -> u64 {
        let mut bus = Buses {
            devices: &mut self.devices,
            claims: &self.claims,
            has_moved: false,
        };
        let answer = ioreq::serve(request, &mut bus, memory);
        if bus.has_moved {
            let held = self.claims.hold(&self.devices.claims(), hypervisor);
            self.note("what a device answers to", held);
            let routed = self.route(hypervisor);
            self.note("where an interrupt leads", routed);
        }
        self.settle(memory, hypervisor);
        answer
    }

    /// Gives the disks what the controllers want, and the controllers what the disks have done.
    pub fn turn<D: Disk>(
        &mut self,
        disks: &mut Disks<D>,
        memory: &mut impl GuestMemory,
        hypervisor: &mut impl Hypervisor,
    ) {
        disks.ide.turn(&mut self.devices.ide, memory);
        if let Some(ahci) = &mut self.devices.ahci {
            disks.ahci.turn(&mut **ahci, memory);
        }
        self.settle(memory, hypervisor);
    }

    /// What was typed at a serial port: says how many bytes it took.
    pub fn serial_input(
        &mut self,
        serial: Serial,
        bytes: &[u8],
        hypervisor: &mut impl Hypervisor,
    ) -> usize {
        let taken = self
            .devices
            .serial(serial)
            .map_or(0, |port| port.receive(bytes));
        self.drive(hypervisor);
        taken
    }

    /// What the guest has sent by a serial port: moves it into `to`, and says how many bytes it is.
    pub fn serial_output(
        &mut self,
        serial: Serial,
        to: &mut [u8],
        hypervisor: &mut impl Hypervisor,
    ) -> usize {
        let taken = self
            .devices
            .serial(serial)
            .map_or(0, |port| port.take_output(to));
        self.drive(hypervisor);
        taken
    }

    /// Which vCPUs there are from now on, a bit for each: the guest's ACPI is told to look.
    pub fn set_vcpus(&mut self, there: &[u8], hypervisor: &mut impl Hypervisor) {
        if let Some(power) = &mut self.devices.power {
            power.set_vcpus(there);
        }
        self.drive(hypervisor);
    }

    /// A drive of the IDE controller, to put a medium into it.
    pub fn ide_drive(&mut self, drive: usize) -> Option<&mut ata::Drive> {
        self.devices.ide.drive_mut(drive)
    }

    /// The same of the AHCI controller.
    pub fn ahci_drive(&mut self, port: usize) -> Option<&mut ata::Drive> {
        self.devices.ahci.as_mut()?.drive_mut(port)
    }

    /// How the guest ended, if it did, or that it sleeps: once.
    pub fn take_ended(&mut self) -> Option<Action> {
        self.ended.take()
    }

    /// What the guest had taken away: once.
    pub fn take_unplugged(&mut self) -> Option<Unplug> {
        self.unplugged.take()
    }

    /// The devices' state as bytes, which say themselves how many they are ([`length`]). Disks are to
    /// be idle: what is under way is not in it.
    pub fn save(&self) -> alloc::vec::Vec<u8> {
        saved::encode(&self.devices)
    }

    /// Takes on a state that was saved by a machine of the same description. Before
    /// [`Machine::start`]; all lines are told to Xen anew.
    ///
    /// # Errors
    /// [`RestoreError`]: nothing was changed.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        saved::decode(bytes, &mut self.devices)?;
        self.lines.forget();
        Ok(())
    }

    /// Asks the devices what follows.
    fn settle(&mut self, memory: &mut impl GuestMemory, hypervisor: &mut impl Hypervisor) {
        if let Some(firmware) = &mut self.devices.firmware
            && let Some(address) = firmware.take_copy()
        {
            firmware.copy(address, memory);
        }
        if let Some(ahci) = &mut self.devices.ahci
            && let Some((address, data)) = ahci.take_message()
        {
            let sent = match address >> 20 {
                LOCAL_APICS => hypervisor.inject_msi(address, data),
                // A message to anywhere else is a write like any other.
                _ => {
                    let _ = memory.write(address, &data.to_le_bytes());
                    Ok(())
                }
            };
            self.note("a message", sent);
        }
        if let Some(unplug) = self.devices.take_unplug() {
            self.unplugged = Some(unplug);
            // A controller without its disks is nowhere, until a driver finds a place for it.
            let held = self.claims.hold(&self.devices.claims(), hypervisor);
            self.note("what a device no longer answers to", held);
        }
        self.log();
        while let Some(action) = self.devices.take_action() {
            let done = match action {
                Action::Reset => hypervisor.remote_shutdown(ShutdownReason::Reboot),
                Action::PowerOff => hypervisor.remote_shutdown(ShutdownReason::Poweroff),
                Action::Suspend => hypervisor.enter_s3(),
            };
            self.note("what the guest wants to become", done);
            self.ended = Some(action);
        }
        self.drive(hypervisor);
    }

    /// Drives the lines. Between two bytes the keyboard's falls, so that there is an edge.
    fn drive(&mut self, hypervisor: &mut impl Hypervisor) {
        let driven = self.lines.drive(&self.devices.levels(), hypervisor);
        self.note("a line", driven);
        self.devices.keyboard.step();
        let driven = self.lines.drive(&self.devices.levels(), hypervisor);
        self.note("a line", driven);
    }

    /// Leads the links where the ISA bridge says.
    fn route(&mut self, hypervisor: &mut impl Hypervisor) -> Result<(), Errno> {
        let routes = [0, 1, 2, 3].map(|link| self.devices.isa.route(link));
        let told = self.routes.replace(routes);
        let mut result = Ok(());
        for link in 0..LINKS {
            let route = routes[usize::from(link)];
            if told.is_none_or(|told| told[usize::from(link)] != route) {
                result = hypervisor.set_pci_link_route(link, route).and(result);
            }
        }
        result
    }

    fn log(&mut self) {
        while let Some(line) = self.devices.take_line() {
            self.logged += u32::from(self.logged <= LOG_LINES_MAX);
            if self.logged <= LOG_LINES_MAX {
                // It holds nothing but printable ASCII.
                log::info!("guest: {}", core::str::from_utf8(&line).unwrap_or_default());
            }
        }
    }

    /// Xen refused something: it is said, but a guest cannot fill the log with it.
    fn note(&mut self, what: &str, result: Result<(), Errno>) {
        if let Err(error) = result {
            self.refusals = self.refusals.saturating_add(1);
            if self.refusals <= REFUSALS_MAX {
                log::warn!("Xen refuses {what}: {error}");
            }
        }
    }
}

/// The buses, as one request sees them.
struct Buses<'a> {
    devices: &'a mut Devices,
    claims: &'a Claims<Target>,
    /// Something was written that may have moved a device, or its interrupt.
    has_moved: bool,
}

impl Buses<'_> {
    /// Who answers there, the offset in what is his, and whether an access of this width ends in it.
    fn find(&self, place: Place, width: Width) -> Option<(Target, usize, bool)> {
        let beyond = width.bytes() as u64 - 1;
        let (target, address, first, last) = match place {
            Place::Port(port) => {
                let (target, first, last) = self.claims.port(port)?;
                (target, port.into(), first.into(), last.into())
            }
            Place::Memory(address) => {
                let (target, first, last) = self.claims.memory(address)?;
                (target, address, first, last)
            }
            Place::Register(..) => return None,
        };
        let is_whole = address.saturating_add(beyond) <= last;
        Some((target, (address - first) as usize, is_whole))
    }
}

/// The place some bytes further on.
fn after(place: Place, bytes: usize) -> Option<Place> {
    match place {
        Place::Port(port) => port.checked_add(bytes as u16).map(Place::Port),
        Place::Memory(address) => address.checked_add(bytes as u64).map(Place::Memory),
        Place::Register(..) => None,
    }
}

impl Bus for Buses<'_> {
    fn read(&mut self, place: Place, width: Width) -> u32 {
        if let Place::Register(function, offset) = place {
            return self
                .devices
                .function(function)
                .map_or(width.ones(), |function| function.read(offset, width));
        }
        match self.find(place, width) {
            Some((target, offset, true)) => self.devices.read(target, offset, width),
            None if width == Width::Byte => width.ones(),
            // Across an end: each byte is somebody else's.
            _ => width.gather(|at| {
                after(place, at).map_or(0xff, |place| self.read(place, Width::Byte) as u8)
            }),
        }
    }

    fn write(&mut self, place: Place, width: Width, value: u32) {
        if let Place::Register(function, offset) = place {
            if let Some(function) = self.devices.function(function) {
                function.write(offset, width, value);
                self.has_moved = true;
            }
            return;
        }
        match self.find(place, width) {
            Some((target, offset, true)) => self.devices.write(target, offset, width, value),
            None if width == Width::Byte => {}
            _ => width.scatter(value, |at, byte| {
                if let Some(place) = after(place, at) {
                    self.write(place, Width::Byte, byte.into());
                }
            }),
        }
    }
}

#[cfg(test)]
mod tests;
