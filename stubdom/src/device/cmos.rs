//! The battery-backed memory beside the clock (Motorola MC146818), from index 14 on.
//!
//! The clock itself, which is below that, is Xen's: it hands us the rest. Firmware keeps here how
//! large memory is and from what to boot, after the fashion of Bochs' BIOS.

use crate::arguments::Boot;
use crate::bus::Width;
use crate::state;
use serde::{Deserialize, Serialize};

/// Bytes, the clock's 14 included.
const BYTES: usize = 128;
/// The first that is not the clock's.
const FIRST: usize = 14;

const EQUIPMENT: usize = 0x14;
/// A numeric coprocessor.
const EQUIPMENT_FPU: u8 = 1 << 1;
/// Two bits for each IDE drive: how firmware counts its cylinders.
const TRANSLATION: usize = 0x39;
/// All four by logical blocks.
const TRANSLATION_LBA: u8 = 0b01_01_01_01;
/// The third choice, above; below, whether a floppy's signature is not looked at.
const BOOT_3: usize = 0x38;
/// The first choice, below, and the second, above.
const BOOT_1_2: usize = 0x3d;
/// Processors beyond the first.
const VCPUS: usize = 0x5f;

/// The memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cmos {
    index: u8,
    #[serde(with = "state::bytes")]
    bytes: [u8; BYTES],
}

impl Cmos {
    /// What firmware finds: from what to boot, the first three choices, and how many processors it
    /// starts.
    pub fn new(boot: &[Boot], vcpus: usize) -> Self {
        let choice = |at: usize| match boot.get(at) {
            None => 0,
            Some(Boot::Floppy) => 1,
            Some(Boot::Disk) => 2,
            Some(Boot::Cd) => 3,
            Some(Boot::Network) => 4,
        };
        let mut bytes = [0; BYTES];
        bytes[EQUIPMENT] = EQUIPMENT_FPU;
        bytes[BOOT_1_2] = choice(0) | choice(1) << 4;
        bytes[BOOT_3] = choice(2) << 4;
        bytes[TRANSLATION] = TRANSLATION_LBA;
        bytes[VCPUS] = u8::try_from(vcpus.saturating_sub(1)).unwrap_or(u8::MAX);
        Self { index: 0, bytes }
    }

    /// Reads the index port, which nobody answers for, or the data port.
    pub fn read(&self, offset: usize, width: Width) -> u32 {
        width.gather(|at| match offset.wrapping_add(at) {
            1 => self.bytes[self.place()],
            _ => 0xff,
        })
    }

    /// Writes the index port or the data port.
    pub fn write(&mut self, offset: usize, width: Width, value: u32) {
        width.scatter(value, |at, byte| match offset.wrapping_add(at) {
            // Bit 7 gates the non-maskable interrupt.
            0 => self.index = byte % BYTES as u8,
            1 if self.place() >= FIRST => self.bytes[self.place()] = byte,
            _ => {}
        });
    }

    fn place(&self) -> usize {
        usize::from(self.index) % BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte_at(cmos: &mut Cmos, index: u32) -> u32 {
        cmos.write(0, Width::Byte, index);
        cmos.read(1, Width::Byte)
    }

    #[test]
    fn firmware_finds_from_what_to_boot() {
        let mut cmos = Cmos::new(&[Boot::Cd, Boot::Disk, Boot::Network], 4);
        assert_eq!(byte_at(&mut cmos, 0x3d), 0x23);
        assert_eq!(byte_at(&mut cmos, 0x38), 0x40);
        assert_eq!(byte_at(&mut cmos, 0x5f), 3);
        let mut cmos = Cmos::new(&[Boot::Disk], 1);
        assert_eq!(byte_at(&mut cmos, 0x3d), 0x02);
        assert_eq!(byte_at(&mut cmos, 0x38), 0x00);
    }

    #[test]
    fn memory_keeps_what_is_written_whatever_bit_7_of_the_index_says() {
        let mut cmos = Cmos::new(&[], 1);
        cmos.write(0, Width::Byte, 0x8f);
        cmos.write(1, Width::Byte, 0x5a);
        assert_eq!(byte_at(&mut cmos, 0x0f), 0x5a);
        // Both ports by one access.
        cmos.write(0, Width::Word, 0x1234);
        assert_eq!(cmos.read(0, Width::Word), 0x12ff);
        assert_eq!(byte_at(&mut cmos, 0x34), 0x12);
        assert_eq!(cmos.read(0, Width::Byte), 0xff);
    }

    #[test]
    fn the_clock_is_not_kept_here() {
        let mut cmos = Cmos::new(&[], 1);
        cmos.write(0, Width::Word, 0x550d);
        assert_eq!(byte_at(&mut cmos, 0x0d), 0);
        cmos.write(0, Width::Word, 0x550e);
        assert_eq!(byte_at(&mut cmos, 0x0e), 0x55);
    }
}
