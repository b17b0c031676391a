//! Registers of cards, mapped uncached.
#![expect(
    unsafe_code,
    reason = "raw accesses to registers behind bounds that are checked"
)]

use super::{Mfn, page_table};
use crate::hardware::{self, MapError, REGISTERS_MAX};
use crate::xen::PAGE_SIZE;
use alloc::vec::Vec;
use core::arch::asm;
use spin::Mutex;

/// Ranges of addresses that have page tables and show nothing now: first address and pages. Used again,
/// so that plugging cards for ever takes no more of them than there are cards at a time.
static FREE: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Registers of a card; unmapped when dropped.
#[derive(Debug)]
pub struct Registers {
    /// Of the first page.
    base: usize,
    pages: usize,
    /// Of the first register in it.
    start: usize,
    length: usize,
}

impl Registers {
    /// Maps `length` bytes from machine address `address` on.
    ///
    /// # Errors
    /// [`MapError`].
    pub fn map(address: u64, length: usize) -> Result<Self, MapError> {
        let offset = address as usize % PAGE_SIZE;
        if address == 0 || address >> 52 != 0 || length == 0 || length > REGISTERS_MAX {
            return Err(MapError::Range);
        }
        let first = address / PAGE_SIZE as u64;
        let pages = (offset + length).div_ceil(PAGE_SIZE);
        let frames = first..first + pages as u64;
        // Xen would map a domain's own memory as readily, and whoever named the address could have
        // the driver write all over it.
        if page_table::is_own_memory(&frames) {
            return Err(MapError::Range);
        }
        let free = {
            let mut free = FREE.lock();
            let found = free.iter().position(|&(_, count)| count == pages);
            found.map(|at| free.swap_remove(at).0)
        };
        let base = match free {
            Some(base) => base,
            None => page_table::reserve_foreign(pages)?,
        };
        let registers = Self {
            base,
            pages,
            start: base + offset,
            length,
        };
        let frames = frames.map(Mfn);
        page_table::map_registers(base, frames).map_err(MapError::Refused)?;
        Ok(registers)
    }

    fn at(&self, offset: usize, width: usize) -> usize {
        assert!(
            offset.is_multiple_of(width) && offset <= self.length && width <= self.length - offset,
            "no such register"
        );
        self.start + offset
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        match page_table::unmap(self.base, self.pages) {
            Ok(()) => FREE.lock().push((self.base, self.pages)),
            // The addresses are lost, which is safe.
            Err(error) => log::error!("registers could not be unmapped: {error}"),
        }
    }
}

/// One `mov` each, in assembly that the compiler takes for one that may touch all memory: so everything
/// written before is written, which on this processor an uncached access waits for.
macro_rules! access {
    ($read:ident, $write:ident, $type:ty, $class:ident, $size:literal, $modifier:literal) => {
        fn $read(&self, offset: usize) -> $type {
            let address = self.at(offset, size_of::<$type>());
            let value: $type;
            // SAFETY: inside the mapping, which lives as long as `self`; no Rust value lies there.
            unsafe {
                asm!(
                    concat!("mov {value", $modifier, "}, ", $size, " ptr [{address}]"),
                    value = out($class) value,
                    address = in(reg) address,
                    options(nostack, preserves_flags)
                );
            }
            value
        }

        fn $write(&self, offset: usize, value: $type) {
            let address = self.at(offset, size_of::<$type>());
            // SAFETY: inside the mapping, which lives as long as `self`; no Rust value lies there.
            unsafe {
                asm!(
                    concat!("mov ", $size, " ptr [{address}], {value", $modifier, "}"),
                    value = in($class) value,
                    address = in(reg) address,
                    options(nostack, preserves_flags)
                );
            }
        }
    };
}

impl hardware::Registers for Registers {
    fn length(&self) -> usize {
        self.length
    }

    access!(read8, write8, u8, reg_byte, "byte", "");
    access!(read16, write16, u16, reg, "word", ":x");
    access!(read32, write32, u32, reg, "dword", ":e");
}
