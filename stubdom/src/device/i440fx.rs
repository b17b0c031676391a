//! The host bridge: Intel 82441FX (i440FX), function 00:00.0.
//!
//! Xen owns the memory map of its guests, so the registers that shadow and protect memory (PAM, SMRAM)
//! keep what firmware writes and do nothing.

use crate::device::pci::{Configuration, Identity};

/// Subsystem of every function of an emulated machine's chipset: Red Hat's, for the PC of QEMU.
pub const CHIPSET: (u16, u16) = (0x1af4, 0x1100);

/// The function as it is after a reset.
pub fn configuration() -> Configuration {
    Configuration::new(Identity {
        id: (0x8086, 0x1237),
        revision: 0x02,
        class: 0x06_00_00,
        subsystem: CHIPSET,
    })
    // PMCCFG and DETURBO; DBC.
    .with_register(0x50, 0, 0xffff_ffff)
    // DRAM row type, control and timing, and the first PAM register.
    .with_register(0x54, 0, 0xffff_ffff)
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
        let mut bridge = configuration();
        assert_eq!(bridge.read(0x00, Width::Dword), 0x1237_8086);
        assert_eq!(bridge.read(0x08, Width::Dword), 0x0600_0002);
        assert_eq!(bridge.read(0x0e, Width::Byte), 0x00);
        assert_eq!(bridge.read(0x2c, Width::Dword), 0x1100_1af4);
        assert_eq!(bridge.read(0x72, Width::Byte), 0x02);
        for pam in 0x59..=0x5f {
            bridge.write(pam, Width::Byte, 0x33);
            assert_eq!(bridge.read(pam, Width::Byte), 0x33);
        }
    }
}
