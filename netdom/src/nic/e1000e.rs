//! Intel 82574L and 82583V: PCI Express, interrupts by a table. The 82574L is what QEMU offers as "e1000e".
//! (82574 GbE Controller Family Datasheet, 317694.)

use super::intel::Chip;

/// The family.
pub(super) const CHIP: Chip = Chip {
    name: "Intel 82574 (e1000e)",
    devices: &[
        0x10d3, // 82574L
        0x150c, // 82583V
    ],
    is_express: true,
};
