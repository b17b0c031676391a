//! What a domain that owns a PCI function asks of Xen beyond [`Xen`]: its registers, the machine
//! addresses of pages that it is to read and write, and its interrupts.
//!
//! # Memory that a card knows of
//! A card goes on using what it was told of until it is stopped, whatever became of the handles here.
//! With an IOMMU it reaches no page but this domain's, and that is all the protection there is: a page
//! whose machine address was asked for ([`Hardware::machine_address`]) is therefore never again used
//! for anything but pages of this kind, in which no Rust value lies and which only atomics and
//! assembly touch. So no safe code, and no card that is late, can change what the compiler believes in.

#![forbid(unsafe_code)]

use crate::abi::xen::DOMID_IO;
use crate::xen::{DomId, Errno, OutOfMemory, Port, Xen};
use thiserror::Error;

/// Whose doing it is what a card writes (`DOMID_IO`), where the domain that filled a page is named.
pub const CARD: DomId = DomId(DOMID_IO);

/// Bytes of registers that are mapped for one function, at most.
pub const REGISTERS_MAX: usize = 1 << 20;

/// A physical interrupt's number, as this domain knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pirq(pub u32);

/// Whether others may hang off the same interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// A message, or a line that is nobody else's.
    Alone,
    /// A line of the bus.
    Shared,
}

/// Why registers could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum MapError {
    /// They have no address, too many bytes, or lie in this domain's own memory.
    #[error("these cannot be registers")]
    Range,
    /// No page for a page table.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// Xen does not let this domain.
    #[error("Xen does not map the registers: {0}")]
    Refused(Errno),
}

/// Registers of a card, mapped uncached. Little-endian, as PCI is; each access is one on the bus, of
/// just that width, and none is left out or moved past another.
///
/// What comes back is the card's word. One that is gone, or does not decode addresses, answers with
/// all bits set.
pub trait Registers {
    /// How many bytes there are.
    fn length(&self) -> usize;
    /// Reads a byte. Panics beyond the end, as all of these, or if `offset` is not a multiple of the width.
    fn read8(&self, offset: usize) -> u8;
    /// Reads two bytes.
    fn read16(&self, offset: usize) -> u16;
    /// Reads four bytes.
    fn read32(&self, offset: usize) -> u32;
    /// Writes a byte.
    fn write8(&self, offset: usize, value: u8);
    /// Writes two bytes.
    fn write16(&self, offset: usize, value: u16);
    /// Writes four bytes. What was written to memory before is there when the card sees this.
    fn write32(&self, offset: usize, value: u32);
}

/// What a domain with a card asks of Xen.
pub trait Hardware: Xen {
    /// Mapped registers, unmapped when dropped.
    type Registers: Registers;

    /// Maps `length` bytes of registers from machine address `address` on.
    ///
    /// # Errors
    /// [`MapError`].
    fn map_registers(&self, address: u64, length: usize) -> Result<Self::Registers, MapError>;

    /// Where a page lies for a card: 4,096 bytes that follow each other.
    fn machine_address(&self, page: &Self::Page) -> u64;

    /// Binds a port to a physical interrupt (`EVTCHNOP_bind_pirq`).
    ///
    /// # Errors
    /// Xen's: it is not this domain's, or somebody else's already who does not share.
    fn bind_interrupt(&self, pirq: Pirq, sharing: Sharing) -> Result<Port, Errno>;

    /// Whether the interrupt of this port came since this was last asked.
    fn take_interrupt(&self, port: Port) -> bool;

    /// Says that it was served, and lets the next one come (`PHYSDEVOP_eoi`).
    fn end_interrupt(&self, pirq: Pirq);
}
