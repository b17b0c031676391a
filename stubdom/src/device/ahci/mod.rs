//! The AHCI function of an ICH9: six ports, each with a hard disk or a CD drive. (AHCI 1.3.1.)
//!
//! | file | what |
//! |---|---|
//! | `port.rs` | the registers of a port |
//! | `port/commands.rs` | its 32 commands, from beginning to end |
//! | `fis.rs` | the frames in which commands come and go |

mod fis;
mod port;

use super::ata::Drive;
use super::pci::{Bar, Configuration, Identity, Pin};
use crate::bus::Width;
use crate::disk::{Controller, Failure, Request};
use crate::memory::GuestMemory;
use alloc::boxed::Box;
use port::Port;
use serde::{Deserialize, Serialize};

/// Ports of it, and so drives.
pub const PORTS: usize = 6;
/// The base address register of its registers.
pub const REGISTERS_BAR: usize = 5;
/// Bytes of them.
const REGISTERS: u32 = 0x1000;

/// The base address register of the ports by which the same registers are reached where such memory is not, as in real
/// mode: an index and its data, behind those that would be a bus master's were this no AHCI function (ICH9, LBAR).
pub const PORTS_BAR: usize = 4;
const PORTS_OF_BAR: u32 = 32;
const INDEX: usize = 0x10;
const DATA: usize = 0x14;
/// What an index may be: a register's offset, of four bytes each.
const INDEX_BITS: u32 = (REGISTERS - 1) & !3;

/// MAP: which of the functions that the chip can be it is (ICH9).
const MAP: u8 = 0x90;
const MAP_AHCI: u32 = 0b01 << 6;

/// The capability that says where index and data are (AHCI 1.3.1, 2.4): of revision 1.0, in units of four bytes.
const SATA: u8 = 0xa8;
const SATA_1_0: u32 = 0x10 << 16 | 0x12;
const SATA_PLACE: u32 = (INDEX as u32 / 4) << 4 | (0x10 / 4 + PORTS_BAR as u32);

/// The capability for message-signalled interrupts: one message, to any address.
const MSI: u8 = 0x80;
const MSI_64: u32 = 1 << 23;
const MSI_ENABLE: u32 = 1 << 16;

/// Registers of the whole. (3.1.)
mod register {
    pub(super) const CAP: usize = 0x00;
    pub(super) const GHC: usize = 0x04;
    pub(super) const IS: usize = 0x08;
    pub(super) const PI: usize = 0x0c;
    pub(super) const VS: usize = 0x10;
    /// Those of the ports, each so many bytes.
    pub(super) const PORTS: usize = 0x100;
    pub(super) const PORT: usize = 0x80;
}

/// 64-bit addresses, native command queuing, command list override, AHCI only, second generation, 32
/// commands, six ports.
const CAP: u32 = 1 << 31 | 1 << 30 | 1 << 24 | 1 << 18 | 2 << 20 | 31 << 8 | (PORTS as u32 - 1);
const VERSION_1_3: u32 = 0x0001_0300;

const GHC_RESET: u32 = 1 << 0;
const GHC_INTERRUPTS: u32 = 1 << 1;
const GHC_AHCI: u32 = 1 << 31;

/// The controller, with its drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahci {
    /// What PCI knows of it.
    pub configuration: Configuration,
    /// Each by itself: all of them are too much for a stack, which is where a saved one is read to.
    ports: [Box<Port>; PORTS],
    /// It may interrupt.
    interrupts: bool,
    /// Ports that have something to say.
    pending: u32,
    /// The register that the data is of.
    index: u32,
    /// One of them has since the last message.
    message: bool,
}

/// What a driver writes to a register, and which of its bits.
#[derive(Clone, Copy)]
struct Write {
    value: u32,
    mask: u32,
}

impl Write {
    /// From a byte of a register on. What reaches beyond its end is not written.
    fn at(byte: usize, width: Width, value: u32) -> Self {
        Self {
            value: value << (8 * byte),
            mask: width.ones() << (8 * byte),
        }
    }

    /// What a register holds then that holds what is written.
    fn over(self, old: u32) -> u32 {
        old & !self.mask | self.value & self.mask
    }

    /// The bits that are written as ones.
    fn ones(self) -> u32 {
        self.value & self.mask
    }
}

impl Ahci {
    /// A controller with these drives.
    pub fn new(drives: [Option<Drive>; PORTS]) -> Self {
        let identity = Identity {
            id: (0x8086, 0x2922),
            revision: 2,
            class: 0x01_06_01,
            subsystem: (0x1af4, 0x1100),
        };
        Self {
            configuration: Configuration::new(identity)
                .with_bar(REGISTERS_BAR, Bar::Memory(REGISTERS))
                .with_bar(PORTS_BAR, Bar::Ports(PORTS_OF_BAR))
                .with_pin(Pin::A)
                .with_capabilities(MSI)
                .with_register(MSI, MSI_64 | u32::from(SATA) << 8 | 0x05, MSI_ENABLE)
                .with_register(MSI + 4, 0, !0b11)
                .with_register(MSI + 8, 0, u32::MAX)
                .with_register(MSI + 12, 0, 0xffff)
                .with_register(MAP, MAP_AHCI, 0)
                .with_register(SATA, SATA_1_0, 0)
                .with_register(SATA + 4, SATA_PLACE, 0),
            ports: drives.map(|drive| Box::new(Port::new(drive))),
            interrupts: false,
            pending: 0,
            index: 0,
            message: false,
        }
    }

    /// Reads from the ports of [`PORTS_BAR`].
    pub fn read_ports(&self, offset: usize, width: Width) -> u32 {
        match (offset & !3, offset & 3) {
            (INDEX, at) => self.index >> (8 * at) & width.ones(),
            (DATA, at) => self.read(self.index as usize + at, width),
            _ => 0,
        }
    }

    /// Writes to them.
    pub fn write_ports(&mut self, offset: usize, width: Width, value: u32) {
        match (offset & !3, offset & 3) {
            (INDEX, at) => self.index = Write::at(at, width, value).over(self.index) & INDEX_BITS,
            (DATA, at) => self.write(self.index as usize + at, width, value),
            _ => {}
        }
    }

    /// Reads from its registers.
    pub fn read(&self, offset: usize, width: Width) -> u32 {
        let shift = 8 * (offset as u32 & 3);
        let value = self.register(offset & !3) >> shift;
        value & width.ones()
    }

    fn register(&self, offset: usize) -> u32 {
        match offset {
            register::CAP => CAP,
            register::GHC => GHC_AHCI | if self.interrupts { GHC_INTERRUPTS } else { 0 },
            register::IS => self.pending,
            register::PI => (1 << PORTS) - 1,
            register::VS => VERSION_1_3,
            register::PORTS.. => {
                let (port, offset) = place(offset);
                self.ports.get(port).map_or(0, |port| port.read(offset))
            }
            _ => 0,
        }
    }

    /// Writes to them.
    pub fn write(&mut self, offset: usize, width: Width, value: u32) {
        let write = Write::at(offset & 3, width, value);
        match offset & !3 {
            register::GHC => {
                if write.ones() & GHC_RESET != 0 {
                    self.reset();
                    return;
                }
                let before = self.interrupts;
                let ghc = write.over(if before { GHC_INTERRUPTS } else { 0 });
                self.interrupts = ghc & GHC_INTERRUPTS != 0;
                let begins = !before && self.interrupts;
                self.message |= begins && self.has_messages() && self.pending != 0;
            }
            register::IS => self.pending &= !write.ones(),
            offset @ register::PORTS.. => {
                let (port, offset) = place(offset);
                if let Some(port) = self.ports.get_mut(port) {
                    port.write(offset, write);
                }
            }
            _ => {}
        }
        self.gather_interrupts();
    }

    /// A port that has something to say says so here, again if it was not heard out.
    fn gather_interrupts(&mut self) {
        let before = self.pending;
        for (number, port) in self.ports.iter().enumerate() {
            if port.interrupts() {
                self.pending |= 1 << number;
            }
        }
        self.message |= self.interrupts && self.has_messages() && self.pending & !before != 0;
    }

    fn has_messages(&self) -> bool {
        self.configuration.register(MSI) & MSI_ENABLE != 0
    }

    /// The level of its interrupt pin.
    pub fn irq(&self) -> bool {
        self.interrupts
            && self.pending != 0
            && !self.has_messages()
            && self.configuration.pin_enabled()
    }

    /// A message that is to be sent: address and data.
    pub fn take_message(&mut self) -> Option<(u64, u32)> {
        let message = core::mem::take(&mut self.message);
        (message && self.has_messages() && self.configuration.bus_master()).then(|| {
            let low = self.configuration.register(MSI + 4);
            let high = self.configuration.register(MSI + 8);
            let data = self.configuration.register(MSI + 12) & 0xffff;
            (u64::from(high) << 32 | u64::from(low), data)
        })
    }

    /// A drive.
    pub fn drive(&self, port: usize) -> Option<&Drive> {
        self.ports.get(port)?.drive.as_ref()
    }

    /// A drive, to put a medium into it.
    pub fn drive_mut(&mut self, port: usize) -> Option<&mut Drive> {
        self.ports.get_mut(port)?.drive.as_mut()
    }

    /// Takes the hard disks away, as a guest asks that has better drivers for them. CD drives stay.
    pub fn unplug_disks(&mut self) {
        for port in &mut self.ports {
            port.unplug_disk();
        }
    }

    /// As the driver can ask for, and as after power-on.
    pub fn reset(&mut self) {
        for port in &mut self.ports {
            port.hard_reset();
        }
        self.interrupts = false;
        self.pending = 0;
        self.index = 0;
        self.message = false;
    }
}

/// Which port's register, and which of its.
fn place(offset: usize) -> (usize, usize) {
    let offset = offset - register::PORTS;
    (offset / register::PORT, offset % register::PORT)
}

impl Controller for Ahci {
    fn next_request<M: GuestMemory>(&mut self, memory: &mut M) -> Option<Request> {
        if !self.configuration.bus_master() {
            return None;
        }
        let mut request = None;
        for (number, port) in self.ports.iter_mut().enumerate() {
            request = port.next_request(memory);
            if let Some(request) = &mut request {
                request.drive = number as u8;
                break;
            }
        }
        self.gather_interrupts();
        request
    }

    fn take_abandoned(&mut self) -> Option<u8> {
        let port = self.ports.iter().position(|port| port.abandoned)?;
        self.ports[port].abandoned = false;
        Some(port as u8)
    }

    fn buffer(&mut self, _: u8) -> &mut [u8] {
        // All that a port moves lies in the guest's memory.
        &mut []
    }

    fn complete<M: GuestMemory>(
        &mut self,
        drive: u8,
        tag: u8,
        result: Result<(), Failure>,
        memory: &mut M,
    ) {
        if let Some(port) = self.ports.get_mut(usize::from(drive)) {
            port.complete(usize::from(tag), result, memory);
            self.gather_interrupts();
        }
    }
}

#[cfg(test)]
mod tests;
