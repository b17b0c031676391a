//! The IDE function of a PIIX3: two channels of two drives, and a bus master for each.
//! (Intel 290550-002, 82371SB; SFF-8038i for the bus master; ACS-2 and ATA-6 for the registers.)
//!
//! | file | what |
//! |---|---|
//! | `channel.rs` | the registers of a channel, and how its commands begin and end |
//! | `channel/requests.rs` | what they need of disk and bus master in between |
//! | `bus_master.rs` | the registers of the bus master |
//!
//! Drives are numbered 0 to 3: primary master and slave, secondary master and slave.

mod bus_master;
mod channel;

use super::ata::Drive;
use super::pci::{Bar, Configuration, Identity, STATUS_BACK_TO_BACK, STATUS_MEDIUM_TIMING};
use crate::bus::Width;
use crate::disk::{Controller, Failure, Request};
use crate::memory::GuestMemory;
use channel::Channel;
use serde::{Deserialize, Serialize};

/// Drives of it.
pub const DRIVES: usize = 4;
/// The base address register of the bus masters' 16 ports.
pub const BUS_MASTER_BAR: usize = 4;
/// Ports of it.
const BUS_MASTER_PORTS: u32 = 16;
/// The timings of both channels; the top bit of each has it answer. They are the BIOS's to set, and
/// nothing here goes by them.
const TIMINGS: u8 = 0x40;
const SLAVE_TIMINGS: u8 = 0x44;

/// The controller, with its drives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ide {
    /// What PCI knows of it.
    pub configuration: Configuration,
    channels: [Channel; 2],
}

impl Ide {
    /// A controller with these drives.
    pub fn new(drives: [Option<Drive>; DRIVES]) -> Self {
        let identity = Identity {
            id: (0x8086, 0x7010),
            revision: 0,
            class: 0x01_01_80,
            subsystem: (0x1af4, 0x1100),
        };
        let [a, b, c, d] = drives;
        Self {
            configuration: Configuration::new(identity)
                .with_status(STATUS_BACK_TO_BACK | STATUS_MEDIUM_TIMING)
                .with_bar(BUS_MASTER_BAR, Bar::Ports(BUS_MASTER_PORTS))
                .with_register(TIMINGS, 0x8000_8000, u32::MAX)
                .with_register(SLAVE_TIMINGS, 0, 0xff),
            channels: [Channel::new([a, b]), Channel::new([c, d])],
        }
    }

    /// Reads from the eight ports of a channel's command block: from 0x1f0 and 0x170 on.
    pub fn read_command(&mut self, channel: usize, offset: usize, width: Width) -> u32 {
        let channel = &mut self.channels[channel & 1];
        match offset {
            0 => channel.read_data(width),
            _ => width.gather(|at| channel.read_register(offset + at)),
        }
    }

    /// Writes to them.
    pub fn write_command(&mut self, channel: usize, offset: usize, width: Width, value: u32) {
        let channel = &mut self.channels[channel & 1];
        match offset {
            0 => channel.write_data(width, value),
            _ => width.scatter(value, |at, byte| channel.write_register(offset + at, byte)),
        }
    }

    /// Reads the one port of a channel's control block: 0x3f6 and 0x376.
    pub fn read_control(&self, channel: usize) -> u8 {
        self.channels[channel & 1].alternate_status()
    }

    /// Writes to it.
    pub fn write_control(&mut self, channel: usize, value: u8) {
        self.channels[channel & 1].write_control(value);
    }

    /// Reads from the bus masters' ports: eight for each channel.
    pub fn read_bus_master(&self, offset: usize, width: Width) -> u32 {
        width.gather(|at| {
            let offset = offset.wrapping_add(at);
            self.channels
                .get(offset / 8)
                .map_or(0xff, |channel| channel.master.read(offset % 8))
        })
    }

    /// Writes to them.
    pub fn write_bus_master(&mut self, offset: usize, width: Width, value: u32) {
        width.scatter(value, |at, byte| {
            let offset = offset.wrapping_add(at);
            if let Some(channel) = self.channels.get_mut(offset / 8) {
                channel.write_master(offset % 8, byte);
            }
        });
    }

    /// The level of a channel's interrupt line: 14 and 15.
    pub fn irq(&self, channel: usize) -> bool {
        self.channels[channel & 1].irq()
    }

    /// A drive.
    pub fn drive(&self, drive: usize) -> Option<&Drive> {
        self.channels.get(drive / 2)?.drives[drive % 2].as_ref()
    }

    /// A drive, to put a medium into it.
    pub fn drive_mut(&mut self, drive: usize) -> Option<&mut Drive> {
        self.channels.get_mut(drive / 2)?.drives[drive % 2].as_mut()
    }

    /// Takes the hard disks away, as a guest asks that has better drivers for them. CD drives stay, and the function is
    /// reset as QEMU's is: a driver gives the bus masters another place, and enables them, if it still wants them.
    pub fn unplug_disks(&mut self) {
        self.configuration.reset();
        for channel in &mut self.channels {
            channel.unplug_disks();
        }
    }

    /// As after power-on: settings, registers and all.
    pub fn reset(&mut self) {
        for channel in &mut self.channels {
            channel.hard_reset();
        }
    }
}

impl Controller for Ide {
    fn next_request<M: GuestMemory>(&mut self, memory: &mut M) -> Option<Request> {
        let may_master = self.configuration.bus_master();
        self.channels
            .iter_mut()
            .enumerate()
            .find_map(|(number, channel)| {
                let mut request = channel.next_request(may_master, memory)?;
                request.drive += 2 * number as u8;
                Some(request)
            })
    }

    fn take_abandoned(&mut self) -> Option<u8> {
        self.channels
            .iter_mut()
            .enumerate()
            .find_map(|(number, channel)| Some(channel.take_abandoned()? + 2 * number as u8))
    }

    fn buffer(&mut self, drive: u8) -> &mut [u8] {
        self.channels[usize::from(drive / 2) & 1].buffer()
    }

    fn complete<M: GuestMemory>(
        &mut self,
        drive: u8,
        _: u8,
        result: Result<(), Failure>,
        _: &mut M,
    ) {
        if let Some(channel) = self.channels.get_mut(usize::from(drive / 2)) {
            channel.complete(usize::from(drive % 2), result);
        }
    }
}

#[cfg(test)]
mod tests;
