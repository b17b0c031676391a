//! What the device model asks of Xen about its guest.

pub use minios_rs::abi::sched::ShutdownReason;
pub use minios_rs::xen::Errno;

/// A line is driven or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Not driven.
    Low,
    /// Driven.
    High,
}

impl From<bool> for Level {
    fn from(is_driven: bool) -> Self {
        match is_driven {
            true => Self::High,
            false => Self::Low,
        }
    }
}

/// Accesses that Xen hands to the device model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Range {
    /// Ports, from the first to the last.
    Port(u16, u16),
    /// Physical addresses that are no RAM, from the first to the last.
    Memory(u64, u64),
    /// The configuration space of one function on bus 0: device << 3 | function.
    Function(u8),
}

/// What the device model asks of Xen, which carries it out or says why not: a refusal is Xen's, and
/// nothing that a guest does makes one dangerous.
pub trait Hypervisor {
    /// Drives an interrupt line of the ISA bus, 0 to 15.
    ///
    /// # Errors
    /// Xen's.
    fn set_isa_irq_level(&mut self, line: u8, level: Level) -> Result<(), Errno>;

    /// Drives a pin (0 is INTA#) of a device of PCI bus 0.
    ///
    /// # Errors
    /// Xen's.
    fn set_pci_intx_level(&mut self, device: u8, pin: u8, level: Level) -> Result<(), Errno>;

    /// Leads PCI interrupt link 0 to 3 to an ISA line, or nowhere.
    ///
    /// # Errors
    /// Xen's.
    fn set_pci_link_route(&mut self, link: u8, line: Option<u8>) -> Result<(), Errno>;

    /// Sends a message-signalled interrupt.
    ///
    /// # Errors
    /// Xen's.
    fn inject_msi(&mut self, address: u64, data: u32) -> Result<(), Errno>;

    /// Ends the guest.
    ///
    /// # Errors
    /// Xen's.
    fn remote_shutdown(&mut self, reason: ShutdownReason) -> Result<(), Errno>;

    /// Puts the guest into ACPI state S3, until somebody wakes it.
    ///
    /// # Errors
    /// Xen's.
    fn enter_s3(&mut self) -> Result<(), Errno>;

    /// Has Xen hand accesses to the device model.
    ///
    /// # Errors
    /// Xen's: another device model, or this one, has them already, or there are too many ranges.
    fn map_io_range(&mut self, range: Range) -> Result<(), Errno>;

    /// Has Xen answer them itself again.
    ///
    /// # Errors
    /// Xen's.
    fn unmap_io_range(&mut self, range: Range) -> Result<(), Errno>;

    /// Tells Xen that pages of the guest were written, which matters while they are being saved.
    ///
    /// # Errors
    /// Xen's.
    fn modified_memory(&mut self, first_gfn: u64, count: u32) -> Result<(), Errno>;
}
