//! The host bridge: Intel 82441FX (i440FX), function 00:00.0.
//!
//! Xen owns the memory map of its guests, so the registers that shadow and protect memory (PAM, SMRAM)
//! keep what firmware writes and do nothing.

use crate::device::pci::{Configuration, Identity};

/// Subsystem of every function of an emulated machine's chipset: Red Hat's, for the PC of QEMU.
pub const CHIPSET: (u16, u16) = (0x1af4, 0x1100);

/// What one row of DRAM has in its boundary register's unit: 8 MiB.
const ROW_MIB: u64 = 8;

/// The function as it is after a reset, in the computer of a guest with so much memory.
pub fn configuration(memory_mib: u64) -> Configuration {
    // Where QEMU's says how much memory there is, in a byte, and firmware for its PC may look for it.
    let rows = u8::try_from(memory_mib / ROW_MIB).unwrap_or(u8::MAX);
    Configuration::new(Identity {
        id: (0x8086, 0x1237),
        revision: 0x02,
        class: 0x06_00_00,
        subsystem: CHIPSET,
    })
    // PMCCFG and DETURBO; DBC.
    .with_register(0x50, 0, 0xffff_ffff)
    // DRAM row type, DRAM control.
    .with_register(0x54, u32::from(rows) << 24, 0xffff_ffff)
    // DRAM timing, and the first PAM registers.
    .with_register(0x58, 0, 0xffff_ffff)
    // PAM1 to PAM6.
    .with_register(0x5c, 0, 0xffff_ffff)
    // DRAM row boundaries.
    .with_register(0x60, 0, 0xffff_ffff)
    .with_register(0x64, 0, 0xffff_ffff)
    // MTT, CLT, SMRAM (closed, at segment A).
    .with_register(0x70, 0x0002_0000, 0x00ff_ffff)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::Width;

    #[test]
    fn firmware_finds_the_bridge_and_its_registers_keep_what_it_writes() {
        let mut bridge = configuration(192);
        assert_eq!(bridge.read(0x00, Width::Dword), 0x1237_8086);
        assert_eq!(bridge.read(0x06, Width::Word), 0x0000);
        assert_eq!(bridge.read(0x08, Width::Dword), 0x0600_0002);
        assert_eq!(bridge.read(0x0e, Width::Byte), 0x00);
        assert_eq!(bridge.read(0x2c, Width::Dword), 0x1100_1af4);
        assert_eq!(bridge.read(0x72, Width::Byte), 0x02);
        for pam in 0x59..=0x5f {
            bridge.write(pam, Width::Byte, 0x33);
            assert_eq!(bridge.read(pam, Width::Byte), 0x33);
        }
    }

    #[test]
    fn a_byte_says_how_much_memory_there_is() {
        for (mib, byte) in [(4, 0), (192, 24), (2040, 255), (2048, 255), (1 << 40, 255)] {
            assert_eq!(configuration(mib).read(0x57, Width::Byte), byte, "{mib}");
        }
    }
}
