//! What chance is to a guest: values, widths, and where a device is told to read and write.

use super::script::{ABAR, ARENA, ARENA_BYTES, MEMORY_MIB};
use qemu_tests::Width;

/// Numbers that look like chance and come from a seed (xorshift).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as u32
    }

    pub(super) fn below(&mut self, end: u32) -> u32 {
        self.next() % end
    }

    pub(super) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.next() as usize % all.len()]
    }

    pub(super) fn width(&mut self) -> Width {
        self.of(&[Width::Byte, Width::Word, Width::Dword])
    }

    /// Small, huge, or anything.
    pub(super) fn value(&mut self) -> u32 {
        match self.below(4) {
            0 => self.below(0x10),
            1 => u32::MAX - self.below(0x10),
            _ => self.next(),
        }
    }

    /// Where a device is told to read and write: memory that is there, ends, or is not there; registers of Xen's
    /// and of the stub domain's; the last address.
    pub(super) fn target(&mut self) -> u32 {
        match self.below(8) {
            0 => self.of(&[
                MEMORY_MIB << 20,
                (MEMORY_MIB << 20) + 0x1234_5000,
                0xf000_0000,
                ABAR,
                ABAR + 0x1000,
                0xfec0_0000,
                0xfee0_0000,
                0xffff_f000,
                0xffff_fffe,
            ]),
            1 => (MEMORY_MIB << 20) - 1 - self.below(0x20),
            2 => (MEMORY_MIB << 20) + self.below(0x4000_0000),
            _ => self.arena(),
        }
    }

    pub(super) fn arena(&mut self) -> u32 {
        ARENA + self.below(ARENA_BYTES)
    }
}
