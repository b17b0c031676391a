//! One function: its configuration space, and what that says of itself.

#![forbid(unsafe_code)]

use super::{Address, Bus, Error};
use crate::abi::io::pciif::{MsixEntry, Op, XEN_PCI_OP_CONF_READ, XEN_PCI_OP_CONF_WRITE};
use crate::hardware::Hardware;
use crate::xenbus::Boxed;
use alloc::boxed::Box;
use heapless::Vec;

/// Capabilities of one function, at most: there is no room for more behind the header.
const CAPABILITIES_MAX: usize = 48;

/// Registers of the header (PCI Local Bus Specification 3.0, chapter 6).
mod register {
    pub(super) const ID: u16 = 0x00;
    pub(super) const COMMAND: u16 = 0x04;
    pub(super) const STATUS: u16 = 0x06;
    pub(super) const CLASS: u16 = 0x08;
    pub(super) const HEADER_TYPE: u16 = 0x0e;
    pub(super) const BAR: u16 = 0x10;
    pub(super) const SUBSYSTEM: u16 = 0x2c;
    pub(super) const CAPABILITIES: u16 = 0x34;
    pub(super) const INTERRUPT_LINE: u16 = 0x3c;
    pub(super) const INTERRUPT_PIN: u16 = 0x3d;
}

/// The status register's bit that there are capabilities.
const STATUS_CAPABILITIES: u16 = 1 << 4;

/// Numbers of capabilities.
pub mod capability {
    /// Message-signalled interrupts.
    pub const MSI: u8 = 0x05;
    /// What the vendor says.
    pub const VENDOR: u8 = 0x09;
    /// PCI Express.
    pub const EXPRESS: u8 = 0x10;
    /// Message-signalled interrupts by a table.
    pub const MSIX: u8 = 0x11;
}

bitflags::bitflags! {
    /// The command register.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Command: u16 {
        /// Answers at its I/O ports.
        const PORTS = 1 << 0;
        /// Answers at its registers in memory.
        const MEMORY = 1 << 1;
        /// Reads and writes memory itself.
        const MASTER = 1 << 2;
        /// Does not use its interrupt line.
        const NO_LINE = 1 << 10;
    }
}

/// What a function says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who made it.
    pub vendor: u16,
    /// What it is.
    pub device: u16,
    /// Who made the board.
    pub subsystem_vendor: u16,
    /// What board it is.
    pub subsystem: u16,
    /// Class, subclass and programming interface.
    pub class: u32,
    /// Revision.
    pub revision: u8,
}

impl Identity {
    /// The base class of network controllers.
    pub const NETWORK: u32 = 0x02;

    /// Its base class.
    pub fn base_class(&self) -> u32 {
        self.class >> 16
    }
}

/// Where some of a function's registers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bar {
    /// In memory: `length` is a power of two, `address` a multiple of it, and the end no overflow.
    Memory {
        /// Machine address of the first.
        address: u64,
        /// Bytes.
        length: u64,
    },
    /// At I/O ports, which nothing here uses.
    Ports,
}

/// A capability's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Which one it is ([`capability`]).
    pub id: u8,
    /// Its first byte in configuration space, a multiple of 4 from 0x40 on.
    pub offset: u8,
}

/// A function of this domain's. A handle.
pub struct Function<X: Hardware> {
    pub(super) bus: Bus<X>,
    address: Address,
}

impl<X: Hardware> Clone for Function<X> {
    fn clone(&self) -> Self {
        Self {
            bus: self.bus.clone(),
            address: self.address,
        }
    }
}

impl<X: Hardware> Function<X> {
    pub(super) fn new(bus: Bus<X>, address: Address) -> Self {
        Self { bus, address }
    }

    /// Where it is.
    pub fn address(&self) -> Address {
        self.address
    }

    /// What it is used with.
    pub fn xen(&self) -> &X {
        &self.bus.xen
    }

    /// What it is on.
    pub fn bus(&self) -> &Bus<X> {
        &self.bus
    }

    /// An operation on this function.
    pub(super) async fn operate(&self, op: Op, entries: &mut [MsixEntry]) -> Result<u32, Error> {
        let op = Op {
            domain: u32::from(self.address.segment),
            bus: u32::from(self.address.bus),
            devfn: u32::from(self.address.devfn),
            ..op
        };
        self.bus.channel.operate(op, entries).await
    }

    fn read(&self, offset: u16, size: u16) -> Boxed<'_, Result<u32, Error>> {
        let op = Op {
            cmd: XEN_PCI_OP_CONF_READ,
            offset: i32::from(offset),
            size: i32::from(size),
            ..Op::default()
        };
        Box::pin(self.operate(op, &mut []))
    }

    fn write(&self, offset: u16, size: u16, value: u32) -> Boxed<'_, Result<(), Error>> {
        let op = Op {
            cmd: XEN_PCI_OP_CONF_WRITE,
            offset: i32::from(offset),
            size: i32::from(size),
            value,
            ..Op::default()
        };
        Box::pin(async move { self.operate(op, &mut []).await.map(drop) })
    }

    /// A byte of configuration space.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read8(&self, offset: u16) -> Boxed<'_, Result<u8, Error>> {
        let read = self.read(offset, 1);
        Box::pin(async { Ok(read.await? as u8) })
    }

    /// Two bytes, at a multiple of 2.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read16(&self, offset: u16) -> Boxed<'_, Result<u16, Error>> {
        let read = self.read(offset, 2);
        Box::pin(async { Ok(read.await? as u16) })
    }

    /// Four bytes, at a multiple of 4.
    ///
    /// # Errors
    /// [`Error`].
    pub fn read32(&self, offset: u16) -> Boxed<'_, Result<u32, Error>> {
        self.read(offset, 4)
    }

    /// What it is.
    ///
    /// # Errors
    /// [`Error::Missing`] if nothing answers there; [`Error::Malformed`] for a bridge, whose header is
    /// another.
    pub async fn identity(&self) -> Result<Identity, Error> {
        let id = self.read32(register::ID).await?;
        if id & 0xffff == 0xffff || id & 0xffff == 0 {
            return Err(Error::Missing("identity"));
        }
        if self.read8(register::HEADER_TYPE).await? & 0x7f != 0 {
            return Err(Error::Malformed("the function is a bridge"));
        }
        let class = self.read32(register::CLASS).await?;
        let subsystem = self.read32(register::SUBSYSTEM).await?;
        Ok(Identity {
            vendor: id as u16,
            device: (id >> 16) as u16,
            subsystem_vendor: subsystem as u16,
            subsystem: (subsystem >> 16) as u16,
            class: class >> 8,
            revision: class as u8,
        })
    }

    /// Sets bits of the command register, and clears others.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn command(&self, set: Command, clear: Command) -> Result<(), Error> {
        let old = self.read16(register::COMMAND).await?;
        let new = old & !clear.bits() | set.bits();
        self.write(register::COMMAND, 2, u32::from(new)).await
    }

    /// Base address register `number`, 0 to 5; `None` if it is not used. One of 64 bits takes two
    /// numbers, and is had by the first.
    ///
    /// # Errors
    /// [`Error::Malformed`] if what it says cannot be.
    pub async fn bar(&self, number: u16) -> Result<Option<Bar>, Error> {
        assert!(number < 6, "a function has six of them");
        const BAD: Error = Error::Malformed("a base address register says what cannot be");
        let (low, low_mask) = self.probe(number).await?;
        if low_mask == 0 {
            return Ok(None);
        }
        if low & 1 != 0 {
            return Ok(Some(Bar::Ports));
        }
        let (high, high_mask) = match low >> 1 & 3 {
            0 => (0, u32::MAX),
            2 if number < 5 => self.probe(number + 1).await?,
            _ => return Err(BAD),
        };
        let address = u64::from(high) << 32 | u64::from(low & !0xf);
        let mask = u64::from(high_mask) << 32 | u64::from(low_mask & !0xf);
        let length = mask.wrapping_neg();
        let is_sound = length.is_power_of_two()
            && address != 0
            && address.is_multiple_of(length)
            && address
                .checked_add(length)
                .is_some_and(|end| end >> 52 == 0);
        match is_sound {
            true => Ok(Some(Bar::Memory { address, length })),
            false => Err(BAD),
        }
    }

    /// What a base address register holds, and which of its bits can be written.
    async fn probe(&self, number: u16) -> Result<(u32, u32), Error> {
        let offset = register::BAR + 4 * number;
        let value = self.read32(offset).await?;
        self.write(offset, 4, u32::MAX).await?;
        let mask = self.read32(offset).await;
        self.write(offset, 4, value).await?;
        Ok((value, mask?))
    }

    /// Maps the registers that base address register `number` says, all of them or the first
    /// `length_max` bytes.
    ///
    /// # Errors
    /// [`Error::Missing`] if there are none in memory, or fewer than `length_min`.
    pub async fn map(
        &self,
        number: u16,
        length_min: usize,
        length_max: usize,
    ) -> Result<X::Registers, Error> {
        let Some(Bar::Memory { address, length }) = self.bar(number).await? else {
            return Err(Error::Missing("registers where they are expected"));
        };
        let length = usize::try_from(length).map_or(length_max, |length| length.min(length_max));
        if length < length_min {
            return Err(Error::Missing("registers enough"));
        }
        Ok(self.bus.xen.map_registers(address, length)?)
    }

    /// All of its capabilities, in its order.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the list is none.
    pub async fn capabilities(&self) -> Result<Vec<Capability, CAPABILITIES_MAX>, Error> {
        let mut list = Vec::new();
        if self.read16(register::STATUS).await? & STATUS_CAPABILITIES == 0 {
            return Ok(list);
        }
        const BAD: Error = Error::Malformed("the capability list is none");
        let mut seen = 0u64;
        let mut offset = self.read8(register::CAPABILITIES).await? & !3;
        while offset != 0 {
            // A bit for each place there can be, so a list that bites its tail has an end, too.
            let bit = 1 << (offset / 4);
            if offset < 0x40 || seen & bit != 0 {
                return Err(BAD);
            }
            seen |= bit;
            let header = self.read16(u16::from(offset)).await?;
            let id = header as u8;
            list.push(Capability { id, offset }).map_err(|_| BAD)?;
            offset = (header >> 8) as u8 & !3;
        }
        Ok(list)
    }

    /// The first capability of that number.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn capability(&self, id: u8) -> Result<Option<Capability>, Error> {
        let list = self.capabilities().await?;
        Ok(list.iter().find(|entry| entry.id == id).copied())
    }

    /// The physical interrupt of its line; `None` if it has no line.
    pub(super) async fn line(&self) -> Result<Option<u8>, Error> {
        if self.read8(register::INTERRUPT_PIN).await? == 0 {
            return Ok(None);
        }
        let line = self.read8(register::INTERRUPT_LINE).await?;
        Ok((line != 0 && line != 0xff).then_some(line))
    }
}
