//! What the device model asks of Xen about its guest.

mod guest;

pub use guest::Guest;
pub use minios_rs::abi::sched::ShutdownReason;
pub use minios_rs::dm::{Level, Range};
pub use minios_rs::xen::Errno;

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

/// A Xen for tests, which writes down what it was asked and refuses what the real one would.
#[cfg(any(test, feature = "fake"))]
pub mod fake {
    use super::{Errno, Hypervisor, Level, Range, ShutdownReason};
    use alloc::vec::Vec;

    const EINVAL: Errno = Errno(22);
    const EEXIST: Errno = Errno(17);
    const ENOENT: Errno = Errno(2);
    const ENOSPC: Errno = Errno(28);
    /// Ranges of one kind that Xen takes.
    const RANGES_MAX: usize = 256;

    /// What was asked, ranges excepted.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Call {
        /// A level of an ISA line.
        Isa(u8, Level),
        /// A level of a device's pin.
        Intx(u8, u8, Level),
        /// Where a link leads.
        Route(u8, Option<u8>),
        /// A message.
        Msi(u64, u32),
        /// The guest's end.
        Shutdown(ShutdownReason),
        /// The guest's sleep.
        S3,
        /// Pages written.
        Modified(u64, u32),
    }

    /// A Xen that has one guest.
    #[derive(Debug, Default)]
    pub struct Fake {
        /// What was asked, and not yet taken.
        pub calls: Vec<Call>,
        /// The ranges that it hands to the device model.
        pub ranges: Vec<Range>,
        /// A range that belongs to somebody else.
        pub refused: Option<Range>,
        /// How often it was asked for what cannot be.
        pub mistakes: usize,
    }

    impl Fake {
        /// What was asked since this was last called.
        pub fn take(&mut self) -> Vec<Call> {
            core::mem::take(&mut self.calls)
        }

        fn note(&mut self, call: Call, is_valid: bool) -> Result<(), Errno> {
            self.calls.push(call);
            if !is_valid {
                return Err(self.mistake(EINVAL));
            }
            Ok(())
        }

        fn mistake(&mut self, error: Errno) -> Errno {
            self.mistakes += 1;
            error
        }
    }

    fn overlap(one: Range, other: Range) -> bool {
        match (one, other) {
            (Range::Port(a, b), Range::Port(c, d)) => a.max(c) <= b.min(d),
            (Range::Memory(a, b), Range::Memory(c, d)) => a.max(c) <= b.min(d),
            (Range::Function(one), Range::Function(other)) => one == other,
            _ => false,
        }
    }

    impl Hypervisor for Fake {
        fn set_isa_irq_level(&mut self, line: u8, level: Level) -> Result<(), Errno> {
            self.note(Call::Isa(line, level), line < 16)
        }

        fn set_pci_intx_level(&mut self, device: u8, pin: u8, level: Level) -> Result<(), Errno> {
            self.note(Call::Intx(device, pin, level), device < 32 && pin < 4)
        }

        fn set_pci_link_route(&mut self, link: u8, line: Option<u8>) -> Result<(), Errno> {
            let is_line = line.is_none_or(|line| (1..16).contains(&line));
            self.note(Call::Route(link, line), link < 4 && is_line)
        }

        fn inject_msi(&mut self, address: u64, data: u32) -> Result<(), Errno> {
            self.note(Call::Msi(address, data), address >> 20 == 0xfee)
        }

        fn remote_shutdown(&mut self, reason: ShutdownReason) -> Result<(), Errno> {
            self.note(Call::Shutdown(reason), true)
        }

        fn enter_s3(&mut self) -> Result<(), Errno> {
            self.note(Call::S3, true)
        }

        fn map_io_range(&mut self, range: Range) -> Result<(), Errno> {
            let is_range = match range {
                Range::Port(first, last) => first <= last,
                Range::Memory(first, last) => first <= last,
                Range::Function(_) => true,
            };
            if !is_range {
                return Err(self.mistake(EINVAL));
            }
            let mut taken = self.ranges.iter().chain(&self.refused);
            if taken.any(|taken| overlap(*taken, range)) {
                return Err(self.mistake(EEXIST));
            }
            if self.ranges.len() == RANGES_MAX {
                return Err(self.mistake(ENOSPC));
            }
            self.ranges.push(range);
            Ok(())
        }

        fn unmap_io_range(&mut self, range: Range) -> Result<(), Errno> {
            let Some(at) = self.ranges.iter().position(|held| *held == range) else {
                return Err(self.mistake(ENOENT));
            };
            self.ranges.remove(at);
            Ok(())
        }

        fn modified_memory(&mut self, first_gfn: u64, count: u32) -> Result<(), Errno> {
            self.note(Call::Modified(first_gfn, count), true)
        }
    }
}
