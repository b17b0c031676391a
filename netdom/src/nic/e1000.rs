//! Intel 8254x: PCI, one interrupt line. The 82540EM is what QEMU, VirtualBox and others offer as
//! "e1000". (PCI/PCI-X Family of Gigabit Ethernet Controllers Software Developer's Manual, 317453.)

use super::intel::Chip;

/// The family.
pub(super) const CHIP: Chip = Chip {
    name: "Intel 8254x (e1000)",
    devices: &[
        0x100e, // 82540EM
        0x100f, // 82545EM, copper
        0x1004, // 82543GC, copper
    ],
    is_express: false,
};
