//! The configuration header of a PCI function (PCI Local Bus 2.3, chapter 6): type 0.

use crate::bus::Width;
use crate::state;
use serde::{Deserialize, Serialize};

/// Bytes of a function's configuration space.
pub const CONFIGURATION: usize = 256;
/// Base address registers of a function.
pub const BARS: usize = 6;
/// Registers of its own beyond the header in which a function lets itself be written.
const REGISTERS_MAX: usize = 24;

const COMMAND: usize = 0x04;
const STATUS: usize = 0x06;
const CACHE_LINE: usize = 0x0c;
const LATENCY: usize = 0x0d;
const HEADER_TYPE: usize = 0x0e;
const BAR0: usize = 0x10;
const INTERRUPT_LINE: usize = 0x3c;
const INTERRUPT_PIN: usize = 0x3d;
const CAPABILITIES: usize = 0x34;

const COMMAND_IO: u16 = 1 << 0;
const COMMAND_MEMORY: u16 = 1 << 1;
const COMMAND_MASTER: u16 = 1 << 2;
const COMMAND_PARITY: u16 = 1 << 6;
const COMMAND_SERR: u16 = 1 << 8;
const COMMAND_INTX_DISABLE: u16 = 1 << 10;
const COMMAND_WRITABLE: u16 = COMMAND_IO
    | COMMAND_MEMORY
    | COMMAND_MASTER
    | COMMAND_PARITY
    | COMMAND_SERR
    | COMMAND_INTX_DISABLE;
const STATUS_CAPABILITIES: u16 = 1 << 4;
const MULTIFUNCTION: u8 = 1 << 7;

/// Of a function's status: it takes transactions back to back that are not all its own.
pub const STATUS_BACK_TO_BACK: u16 = 1 << 7;
/// The same: how long it takes to answer (DEVSEL# timing), which is as long as PCI calls medium.
pub const STATUS_MEDIUM_TIMING: u16 = 1 << 9;

/// What a function says it is.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Vendor and device.
    pub id: (u16, u16),
    /// Revision.
    pub revision: u8,
    /// Base class, sub-class and programming interface, as in 0x010180.
    pub class: u32,
    /// The board's vendor and device.
    pub subsystem: (u16, u16),
}

/// Which of the two address spaces of a bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Space {
    /// Ports, 65,536 of them.
    Port,
    /// Memory.
    Memory,
}

/// What stands behind a base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bar {
    /// Ports: how many, a power of two from 4 on.
    Ports(u32),
    /// Memory below 4 GiB: how many bytes, a power of two from 16 on.
    Memory(u32),
    /// The same, where reading has no effects.
    Prefetchable(u32),
}

impl Bar {
    fn bytes(self) -> u32 {
        match self {
            Self::Ports(bytes) | Self::Memory(bytes) | Self::Prefetchable(bytes) => bytes,
        }
    }

    /// The bits of the register that say what it is.
    fn kind(self) -> u32 {
        match self {
            Self::Ports(_) => 0b0001,
            Self::Memory(_) => 0b0000,
            Self::Prefetchable(_) => 0b1000,
        }
    }

    fn space(self) -> Space {
        match self {
            Self::Ports(_) => Space::Port,
            Self::Memory(_) | Self::Prefetchable(_) => Space::Memory,
        }
    }
}

/// Addresses that a function answers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// In which space.
    pub space: Space,
    /// The first address.
    pub first: u32,
    /// The last one.
    pub last: u32,
}

impl Region {
    /// Whether an address lies in it.
    pub fn holds(&self, address: u64) -> bool {
        (u64::from(self.first)..=u64::from(self.last)).contains(&address)
    }
}

/// A pin at which a function interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pin {
    /// INTA#.
    A,
    /// INTB#.
    B,
    /// INTC#.
    C,
    /// INTD#.
    D,
}

/// The configuration space of one function: what a driver may write of it, and where that puts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    #[serde(with = "state::bytes")]
    bytes: [u8; CONFIGURATION],
    bars: [Option<Bar>; BARS],
    /// Beyond the header: from which offset on (a multiple of four), and the bits that may be written.
    writable: [(u8, u32); REGISTERS_MAX],
}

impl Configuration {
    /// A function that decodes nothing yet.
    pub fn new(identity: Identity) -> Self {
        let mut new = Self {
            bytes: [0; CONFIGURATION],
            bars: [None; BARS],
            writable: [(0, 0); REGISTERS_MAX],
        };
        new.set_u16(0x00, identity.id.0);
        new.set_u16(0x02, identity.id.1);
        new.set_u32(0x08, identity.class << 8 | u32::from(identity.revision));
        new.set_u16(0x2c, identity.subsystem.0);
        new.set_u16(0x2e, identity.subsystem.1);
        new
    }

    /// The same, with something behind base address register `index`.
    pub fn with_bar(mut self, index: usize, bar: Bar) -> Self {
        assert!(bar.bytes().is_power_of_two(), "a BAR's size");
        self.bars[index] = Some(bar);
        self.set_u32(BAR0 + 4 * index, bar.kind());
        self
    }

    /// The same, with an interrupt pin.
    pub fn with_pin(mut self, pin: Pin) -> Self {
        self.bytes[INTERRUPT_PIN] = pin as u8 + 1;
        self
    }

    /// The same, with what its status says of the bus at all times.
    pub fn with_status(mut self, status: u16) -> Self {
        let status = self.u16_at(STATUS) | status;
        self.set_u16(STATUS, status);
        self
    }

    /// The same, as function 0 of a device of several: it is function 0 that is asked.
    pub fn with_siblings(mut self) -> Self {
        self.bytes[HEADER_TYPE] |= MULTIFUNCTION;
        self
    }

    /// The same, with a register of its own: what it holds at first, and the bits that a driver may
    /// write. `offset` is a multiple of four, and not in what the header already has writable.
    pub fn with_register(mut self, offset: u8, initial: u32, writable: u32) -> Self {
        assert!(offset.is_multiple_of(4), "a register's offset");
        self.set_u32(offset.into(), initial);
        if writable != 0 {
            let free = self
                .writable
                .iter_mut()
                .find(|(at, bits)| *bits == 0 || *at == offset)
                .expect("few enough registers of its own");
            *free = (offset, writable);
        }
        self
    }

    /// The same, with its list of capabilities beginning at `offset`; what stands there is registers
    /// ([`Configuration::with_register`]).
    pub fn with_capabilities(mut self, offset: u8) -> Self {
        self.bytes[CAPABILITIES] = offset;
        let status = self.u16_at(STATUS) | STATUS_CAPABILITIES;
        self.set_u16(STATUS, status);
        self
    }

    /// What a driver reads. All ones beyond the end.
    pub fn read(&self, offset: usize, width: Width) -> u32 {
        width.gather(|at| {
            offset
                .checked_add(at)
                .and_then(|offset| self.bytes.get(offset))
                .map_or(0xff, |&byte| byte)
        })
    }

    /// What a driver writes: bits that it may not are left as they are.
    pub fn write(&mut self, offset: usize, width: Width, value: u32) {
        width.scatter(value, |at, byte| {
            if let Some(offset) = offset.checked_add(at)
                && offset < CONFIGURATION
            {
                let writable = self.writable(offset);
                let old = self.bytes[offset];
                self.bytes[offset] = old & !writable | byte & writable;
            }
        });
    }

    /// As the bus's reset leaves what a driver does to the header: nothing is decoded, and nothing has an address. The
    /// interrupt's line stays, which is between firmware and drivers.
    pub fn reset(&mut self) {
        self.set_u16(COMMAND, 0);
        self.bytes[CACHE_LINE] = 0;
        self.bytes[LATENCY] = 0;
        for index in 0..BARS {
            self.set_u32(BAR0 + 4 * index, self.bars[index].map_or(0, Bar::kind));
        }
    }

    /// The 32 bits at an offset that is a multiple of four, as the function itself sees them.
    pub fn register(&self, offset: u8) -> u32 {
        self.read(usize::from(offset & !3), Width::Dword)
    }

    /// Changes them, whatever a driver may write.
    pub fn set_register(&mut self, offset: u8, value: u32) {
        self.set_u32(usize::from(offset & !3), value);
    }

    /// Where the function answers for base address register `index`: nowhere while the driver has not
    /// let it, and not at address 0 or at the end of the space, which is where a BAR points while it
    /// is asked how large it is.
    pub fn region(&self, index: usize) -> Option<Region> {
        let bar = (*self.bars.get(index)?)?;
        let (enabled, end) = match bar.space() {
            Space::Port => (COMMAND_IO, 0xffff),
            Space::Memory => (COMMAND_MEMORY, u32::MAX),
        };
        if self.command() & enabled == 0 {
            return None;
        }
        let first = self.read(BAR0 + 4 * index, Width::Dword) & !(bar.bytes() - 1);
        let last = first.checked_add(bar.bytes() - 1)?;
        (first != 0 && last < end).then_some(Region {
            space: bar.space(),
            first,
            last,
        })
    }

    /// Whether it may read and write memory by itself.
    pub fn bus_master(&self) -> bool {
        self.command() & COMMAND_MASTER != 0
    }

    /// Whether its pin may interrupt.
    pub fn pin_enabled(&self) -> bool {
        self.command() & COMMAND_INTX_DISABLE == 0
    }

    /// At which pin it interrupts.
    pub fn pin(&self) -> Option<Pin> {
        match self.bytes[INTERRUPT_PIN] {
            1 => Some(Pin::A),
            2 => Some(Pin::B),
            3 => Some(Pin::C),
            4 => Some(Pin::D),
            _ => None,
        }
    }

    fn command(&self) -> u16 {
        self.u16_at(COMMAND)
    }

    /// The bits of one byte that a driver may write.
    fn writable(&self, offset: usize) -> u8 {
        let byte_of = |register: u32| register.to_le_bytes()[offset % 4];
        match offset {
            COMMAND | 0x05 => COMMAND_WRITABLE.to_le_bytes()[offset - COMMAND],
            CACHE_LINE | LATENCY | INTERRUPT_LINE => 0xff,
            BAR0..0x28 => self.bars[(offset - BAR0) / 4].map_or(0, |bar| {
                // All 32 bits of a BAR of ports too, although there are but 65,536 of them.
                byte_of(!(bar.bytes() - 1))
            }),
            _ => self
                .writable
                .iter()
                .find(|(at, bits)| *bits != 0 && usize::from(*at) == offset & !3)
                .map_or(0, |(_, bits)| byte_of(*bits)),
        }
    }

    fn u16_at(&self, offset: usize) -> u16 {
        u16::from_le_bytes([self.bytes[offset], self.bytes[offset + 1]])
    }

    fn set_u16(&mut self, offset: usize, value: u16) {
        self.bytes[offset..offset + 2].copy_from_slice(&value.to_le_bytes());
    }

    fn set_u32(&mut self, offset: usize, value: u32) {
        self.bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn function() -> Configuration {
        Configuration::new(Identity {
            id: (0x8086, 0x7010),
            revision: 3,
            class: 0x01_01_80,
            subsystem: (0x1af4, 0x1100),
        })
        .with_bar(4, Bar::Ports(16))
        .with_bar(5, Bar::Memory(0x1000))
        .with_pin(Pin::A)
        .with_status(STATUS_MEDIUM_TIMING)
        .with_siblings()
        .with_register(0x40, 0x0000_8000, 0xb3ff_0000)
    }

    #[test]
    fn a_function_says_what_it_is() {
        let function = function();
        assert_eq!(function.read(0x00, Width::Dword), 0x7010_8086);
        assert_eq!(function.read(0x02, Width::Word), 0x7010);
        assert_eq!(function.read(0x08, Width::Dword), 0x0101_8003);
        assert_eq!(function.read(0x0b, Width::Byte), 0x01);
        assert_eq!(function.read(0x0e, Width::Byte), 0x80);
        assert_eq!(function.read(0x2c, Width::Dword), 0x1100_1af4);
        assert_eq!(function.read(0x3d, Width::Byte), 1);
        for pin in [Pin::A, Pin::B, Pin::C, Pin::D] {
            assert_eq!(function.clone().with_pin(pin).pin(), Some(pin));
        }
    }

    #[test]
    fn a_register_is_that_of_each_of_its_bytes() {
        let mut function = function();
        function.set_register(0x42, 0x1234_5678);
        assert_eq!(function.register(0x40), 0x1234_5678);
        assert_eq!(function.register(0x43), 0x1234_5678);
    }

    #[test]
    fn only_what_may_be_written_is() {
        let mut function = function();
        for offset in (0..CONFIGURATION).step_by(4) {
            function.write(offset, Width::Dword, 0xffff_ffff);
        }
        assert_eq!(function.read(0x00, Width::Dword), 0x7010_8086);
        assert_eq!(function.read(0x04, Width::Dword), 0x0200_0547);
        assert_eq!(function.read(0x0c, Width::Dword), 0x0080_ffff);
        assert_eq!(function.read(0x10, Width::Dword), 0);
        assert_eq!(function.read(0x3c, Width::Dword), 0x0000_01ff);
        assert_eq!(function.read(0x40, Width::Dword), 0xb3ff_8000);
        assert_eq!(function.register(0x40), 0xb3ff_8000);
        assert_eq!(function.read(0x44, Width::Dword), 0);
    }

    #[test]
    fn a_bar_says_its_size_and_answers_only_where_it_was_put() {
        let mut function = function();
        function.write(0x04, Width::Word, 0x0003);
        assert_eq!(function.region(4), None, "it was given no address");
        function.write(0x20, Width::Dword, 0xffff_ffff);
        function.write(0x24, Width::Dword, 0xffff_ffff);
        assert_eq!(function.read(0x20, Width::Dword), 0xffff_fff1);
        assert_eq!(function.read(0x24, Width::Dword), 0xffff_f000);
        assert_eq!((function.region(4), function.region(5)), (None, None));

        function.write(0x20, Width::Dword, 0xc120);
        function.write(0x24, Width::Dword, 0xf300_0000);
        let ports = Region {
            space: Space::Port,
            first: 0xc120,
            last: 0xc12f,
        };
        let memory = Region {
            space: Space::Memory,
            first: 0xf300_0000,
            last: 0xf300_0fff,
        };
        assert_eq!(function.region(4), Some(ports));
        assert_eq!(function.region(5), Some(memory));
        assert_eq!((function.region(0), function.region(6)), (None, None));
        let held = [0xc12f, 0xc130, 0x1_0000_c120].map(|address| ports.holds(address));
        assert_eq!(held, [true, false, false]);

        function.write(0x04, Width::Byte, 0x01);
        assert_eq!(
            (function.region(4), function.region(5)),
            (Some(ports), None)
        );
        function.write(0x04, Width::Byte, 0x00);
        assert_eq!(function.region(4), None);
        assert!(!function.bus_master());
        function.write(0x04, Width::Word, 0x0404);
        assert_eq!(
            (function.bus_master(), function.pin_enabled()),
            (true, false)
        );
    }

    #[test]
    fn a_reset_takes_every_address_away_and_leaves_what_is_the_functions_own() {
        let mut function = function();
        for offset in (0..CONFIGURATION).step_by(4) {
            function.write(offset, Width::Dword, 0xf300_c120);
        }
        function.write(0x04, Width::Word, 0x0007);
        function.write(0x20, Width::Dword, 0xc120);
        assert!(function.region(4).is_some() && function.region(5).is_some());
        function.reset();
        assert_eq!(function.read(0x04, Width::Dword), 0x0200_0000);
        assert_eq!(function.read(0x0c, Width::Dword), 0x0080_0000);
        assert_eq!(function.read(0x20, Width::Dword), 0x0000_0001);
        assert_eq!(function.read(0x24, Width::Dword), 0x0000_0000);
        assert_eq!((function.region(4), function.region(5)), (None, None));
        assert_eq!(function.read(0x3c, Width::Dword), 0x0000_0120);
        assert_eq!(function.read(0x40, Width::Dword), 0xb300_8000);
    }

    #[test]
    fn a_status_is_what_the_function_says_and_its_capabilities_are_added() {
        let identity = Identity {
            id: (0x8086, 0x1237),
            revision: 0,
            class: 0x06_00_00,
            subsystem: (0, 0),
        };
        let status = |function: &Configuration| function.read(0x06, Width::Word);
        let silent = Configuration::new(identity);
        assert_eq!(status(&silent), 0);
        let both = silent
            .with_capabilities(0x80)
            .with_status(STATUS_BACK_TO_BACK | STATUS_MEDIUM_TIMING);
        assert_eq!(status(&both), 0x0290);
    }

    #[test]
    fn an_access_across_the_end_reads_ones_there() {
        let mut function = function().with_register(0xfc, 0x1122_3344, 0xffff_ffff);
        assert_eq!(function.read(0xfd, Width::Dword), 0xff11_2233);
        function.write(0xfe, Width::Dword, 0x5566_7788);
        assert_eq!(function.register(0xfc), 0x7788_3344);
        assert_eq!(function.read(usize::MAX, Width::Dword), 0xffff_ffff);
        function.write(usize::MAX, Width::Dword, 0);
    }

    #[test]
    fn capabilities_are_announced() {
        let function = function().with_capabilities(0x80);
        assert_eq!(function.read(0x34, Width::Byte), 0x80);
        assert_eq!(function.read(0x06, Width::Word) & 0x10, 0x10);
    }

    proptest! {
        #[test]
        fn whatever_is_written_a_region_is_whole_and_aligned(
            writes in proptest::collection::vec((any::<u16>(), 0..3_usize, any::<u32>()), 0..64)
        ) {
            let mut function = function();
            for (offset, width, value) in writes {
                function.write(usize::from(offset % 300), Width::ALL[width], value);
            }
            for index in 0..BARS {
                if let Some(region) = function.region(index) {
                    let bytes = if index == 4 { 16 } else { 0x1000 };
                    prop_assert_eq!(region.last - region.first, bytes - 1);
                    prop_assert_eq!(region.first % bytes, 0);
                }
            }
            prop_assert_eq!(function.register(0), 0x7010_8086);
        }
    }
}
