//! Xen's own function, 5853:0001 at 00:02.0: how a guest with paravirtual drivers finds out that it may
//! use them, and takes its emulated disks and cards away (Xen's docs/misc/hvm-emulated-unplug).
//!
//! Its interrupt is the one by which Xen can announce events; Xen drives it.

use crate::bus::Width;
use crate::device::pci::{Bar, Configuration, Identity, Pin};
use heapless::{Deque, Vec};
use serde::{Deserialize, Serialize};

/// The first of the sixteen ports that are always there.
pub const PORTS: u16 = 0x10;
/// Its base address registers: 256 ports, and memory in which a guest may map its grant table.
pub const BAR_PORTS: usize = 0;
/// The memory: Xen's to fill, and zero where it has not.
pub const BAR_MEMORY: usize = 1;
/// Bytes of that memory.
const MEMORY: u32 = 16 << 20;

/// What a 16-bit read of the first port gives while the guest's drivers are welcome.
const MAGIC: u16 = 0x49d2;
/// Version of the protocol: drivers may say who they are.
const VERSION: u8 = 1;

/// Byte, in [`PORTS`], of the magic number, the mask of what to unplug and the drivers' build number.
const MAGIC_AND_MASK: usize = 0;
/// Byte of the version, of the drivers' product number, and of the log.
const VERSION_AND_LOG: usize = 2;
/// Byte of the log among the ports of the BAR.
const BAR_LOG: usize = 8;
/// Firmware's wish to have its memory protected: kept, and Xen's to carry out.
const FLAG_ROM_LOCK: u8 = 1 << 0;

const UNPLUG_DISKS: u16 = 1 << 0;
const UNPLUG_NICS: u16 = 1 << 1;
const UNPLUG_AUX_DISKS: u16 = 1 << 2;
const UNPLUG_NVME: u16 = 1 << 3;

/// Bytes of one line of the log: what is longer becomes two.
pub const LINE_MAX: usize = 80;
/// Lines that nobody has taken yet: further ones are lost.
const LINES_MAX: usize = 8;

/// What a guest wants to have taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unplug {
    /// All emulated disks, CD-ROM drives excepted.
    pub disks: bool,
    /// Those but the first.
    pub aux_disks: bool,
    /// All emulated network cards.
    pub nics: bool,
    /// All emulated NVMe disks.
    pub nvme: bool,
}

/// A line that the guest's firmware or drivers wrote for the host's log: printable ASCII.
pub type Line = Vec<u8, LINE_MAX>;

/// The function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// Its configuration space.
    pub configuration: Configuration,
    flags: u8,
    product: u16,
    build: u32,
    unplug: Option<Unplug>,
    line: Line,
    lines: Deque<Line, LINES_MAX>,
    lost: u32,
}

impl Default for Platform {
    fn default() -> Self {
        Self::new()
    }
}

impl Platform {
    /// The function as it is after a reset.
    pub fn new() -> Self {
        Self {
            configuration: Configuration::new(Identity {
                id: (0x5853, 0x0001),
                revision: 0x01,
                class: 0xff_80_00,
                subsystem: (0x5853, 0x0001),
            })
            .with_bar(BAR_PORTS, Bar::Ports(0x100))
            .with_bar(BAR_MEMORY, Bar::Prefetchable(MEMORY))
            .with_pin(Pin::A),
            flags: 0,
            product: 0,
            build: 0,
            unplug: None,
            line: Line::new(),
            lines: Deque::new(),
            lost: 0,
        }
    }

    /// Reads the ports that are always there.
    pub fn read(&self, offset: usize, width: Width) -> u32 {
        match (offset, width) {
            (MAGIC_AND_MASK, Width::Word) => MAGIC.into(),
            (MAGIC_AND_MASK, Width::Byte) => self.flags.into(),
            (VERSION_AND_LOG, Width::Byte) => VERSION.into(),
            _ => width.ones(),
        }
    }

    /// Writes them: what it means depends on the width.
    pub fn write(&mut self, offset: usize, width: Width, value: u32) {
        match (offset, width) {
            (MAGIC_AND_MASK, Width::Byte) => self.flags = value as u8 & FLAG_ROM_LOCK,
            (MAGIC_AND_MASK, Width::Word) => {
                let wants = |bit| value as u16 & bit != 0;
                self.unplug = Some(Unplug {
                    disks: wants(UNPLUG_DISKS),
                    aux_disks: wants(UNPLUG_AUX_DISKS),
                    nics: wants(UNPLUG_NICS),
                    nvme: wants(UNPLUG_NVME),
                });
            }
            (MAGIC_AND_MASK, Width::Dword) => self.build = value,
            (VERSION_AND_LOG, Width::Byte) => self.log(value as u8),
            (VERSION_AND_LOG, Width::Word) => self.product = value as u16,
            _ => {}
        }
    }

    /// Reads the ports of the BAR.
    pub fn read_bar(&self, offset: usize, width: Width) -> u32 {
        match (offset, width) {
            (0, Width::Byte) => self.flags.into(),
            _ => width.ones(),
        }
    }

    /// Writes them.
    pub fn write_bar(&mut self, offset: usize, width: Width, value: u32) {
        match (offset, width) {
            (0, Width::Byte) => self.flags = value as u8 & FLAG_ROM_LOCK,
            (BAR_LOG, Width::Byte) => self.log(value as u8),
            _ => {}
        }
    }

    /// What the guest wants to have taken away.
    pub fn take_unplug(&mut self) -> Option<Unplug> {
        self.unplug.take()
    }

    /// The numbers by which the guest's drivers said who they are: product and build.
    pub fn drivers(&self) -> (u16, u32) {
        (self.product, self.build)
    }

    /// The oldest line for the log.
    pub fn take_line(&mut self) -> Option<Line> {
        self.lines.pop_front()
    }

    /// How many lines were lost since this was last asked.
    pub fn take_lost(&mut self) -> u32 {
        core::mem::take(&mut self.lost)
    }

    /// A guest decides what stands in our log, but not what its reader's terminal does.
    fn log(&mut self, byte: u8) {
        if (b' '..=b'~').contains(&byte) {
            // There is room: a full line is passed on at once.
            let _ = self.line.push(byte);
        }
        if !self.line.is_full() && (byte != b'\n' || self.line.is_empty()) {
            return;
        }
        if self
            .lines
            .push_back(core::mem::take(&mut self.line))
            .is_err()
        {
            self.lost = self.lost.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn say(platform: &mut Platform, text: &[u8]) {
        for byte in text {
            platform.write(VERSION_AND_LOG, Width::Byte, u32::from(*byte));
        }
    }

    fn line(platform: &mut Platform) -> Option<String> {
        Some(String::from_utf8(platform.take_line()?.to_vec()).unwrap())
    }

    #[test]
    fn a_guest_finds_the_platform_and_says_who_it_is() {
        let mut platform = Platform::new();
        let configuration = &platform.configuration;
        assert_eq!(configuration.read(0x00, Width::Dword), 0x0001_5853);
        assert_eq!(configuration.read(0x06, Width::Word), 0x0000);
        assert_eq!(configuration.read(0x08, Width::Dword), 0xff80_0001);
        assert_eq!(configuration.read(0x3d, Width::Byte), 0x01);
        assert_eq!(platform.read(0, Width::Word), 0x49d2);
        assert_eq!(platform.read(2, Width::Byte), 1);
        assert_eq!(platform.read(4, Width::Dword), 0xffff_ffff);
        platform.write(2, Width::Word, 3);
        platform.write(0, Width::Dword, 0x0006_0100);
        assert_eq!(platform.drivers(), (3, 0x0006_0100));
        assert_eq!(platform.take_unplug(), None);
    }

    #[test]
    fn the_mask_says_what_goes() {
        let mut platform = Platform::new();
        platform.write(0, Width::Word, 0x0003);
        let both = Unplug {
            disks: true,
            nics: true,
            ..Unplug::default()
        };
        assert_eq!(platform.take_unplug(), Some(both));
        assert_eq!(platform.take_unplug(), None);
        platform.write(0, Width::Word, 0x000c);
        let rest = Unplug {
            aux_disks: true,
            nvme: true,
            ..Unplug::default()
        };
        assert_eq!(platform.take_unplug(), Some(rest));
    }

    #[test]
    fn lines_of_the_log_are_bounded_and_printable() {
        let mut platform = Platform::new();
        say(&mut platform, b"\n\x1b[2Jdrivers \xffloaded\r\n");
        assert_eq!(line(&mut platform).unwrap(), "[2Jdrivers loaded");
        assert_eq!(line(&mut platform), None);
        say(&mut platform, &[b'x'; LINE_MAX + 1]);
        say(&mut platform, b"\n");
        assert_eq!(line(&mut platform).unwrap().len(), LINE_MAX);
        assert_eq!(line(&mut platform).unwrap(), "x");
        for _ in 0..LINES_MAX + 3 {
            say(&mut platform, b"again\n");
        }
        assert_eq!(platform.take_lost(), 3);
        assert_eq!(platform.take_lost(), 0);
        for _ in 0..LINES_MAX {
            assert_eq!(line(&mut platform).unwrap(), "again");
        }
        assert_eq!(line(&mut platform), None);
        for byte in b"bar\n" {
            platform.write_bar(BAR_LOG, Width::Byte, u32::from(*byte));
        }
        assert_eq!(line(&mut platform).unwrap(), "bar");
    }

    #[test]
    fn the_flag_is_the_same_by_both_ways() {
        let mut platform = Platform::new();
        platform.write(0, Width::Byte, 0xff);
        assert_eq!(platform.read(0, Width::Byte), 1);
        platform.write_bar(0, Width::Byte, 0);
        assert_eq!(platform.read(0, Width::Byte), 0);
        assert_eq!(platform.read_bar(0, Width::Byte), 0);
        assert_eq!(platform.read_bar(1, Width::Byte), 0xff);
        assert_eq!(platform.read_bar(0, Width::Dword), 0xffff_ffff);
    }
}
