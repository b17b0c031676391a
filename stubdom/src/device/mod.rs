//! The devices, one per file: registers and state, without bus, clock or I/O.
//!
//! A device is read and written; what follows from a write is state that the bus asks for afterwards:
//! the level of an interrupt line, a request, output. None of them allocates for an access, and
//! whatever a guest writes, none panics or loops longer than its registers are wide.

pub mod ahci;
pub mod ata;
pub mod cmos;
pub mod fw_cfg;
pub mod i440fx;
pub mod i8042;
pub mod ide;
pub mod linux_boot;
pub mod pci;
pub mod piix3;
pub mod piix4_pm;
pub mod platform;
mod scatter;
pub mod uart;

use serde::{Deserialize, Serialize};

/// What a guest asks for by a register and the whole machine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Start again.
    Reset,
    /// Be off (ACPI S5).
    PowerOff,
    /// Sleep with memory kept (ACPI S3).
    Suspend,
}
