//! xen/physdev.h: physical interrupts.

#![forbid(unsafe_code)]

use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The guest has served a physical interrupt: let the next one come.
pub const PHYSDEVOP_EOI: u64 = 12;

/// `struct physdev_eoi`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Eoi {
    /// In: the physical interrupt.
    pub irq: u32,
}
const _: () = assert!(size_of::<Eoi>() == 4);
