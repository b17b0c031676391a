//! xen/hvm/params.h

#![forbid(unsafe_code)]

/// How the guest wants to be told of event channels (`HVM_PARAM_CALLBACK_IRQ`).
pub const HVM_PARAM_CALLBACK_IRQ: u32 = 0;
/// Whether the guest sleeps: 3 for suspended to RAM, else 0 (`HVM_PARAM_ACPI_S_STATE`).
pub const HVM_PARAM_ACPI_S_STATE: u32 = 14;
/// Where the ACPI registers that Xen serves lie: 0 or 1 (`HVM_PARAM_ACPI_IOPORTS_LOCATION`).
pub const HVM_PARAM_ACPI_IOPORTS_LOCATION: u32 = 19;
