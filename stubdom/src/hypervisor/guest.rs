//! The guest that this domain is the device model of, through Xen.

use super::{Errno, Hypervisor, Level, Range, ShutdownReason};
use crate::memory::{GuestMemory, Outside};
use minios_rs::dm::{self, DeviceModel};

/// A guest, and the ranges of an ioreq server for it ([`dm::Server::ranges`]).
pub struct Guest<X: DeviceModel> {
    guest: dm::Guest<X>,
    ranges: dm::Ranges<X>,
}

impl<X: DeviceModel> Guest<X> {
    /// The guest whose accesses a server is handed.
    pub fn new(guest: dm::Guest<X>, ranges: dm::Ranges<X>) -> Self {
        Self { guest, ranges }
    }
}

impl<X: DeviceModel> Hypervisor for Guest<X> {
    fn set_isa_irq_level(&mut self, line: u8, level: Level) -> Result<(), Errno> {
        self.guest.set_isa_irq_level(line, level)
    }

    fn set_pci_intx_level(&mut self, device: u8, pin: u8, level: Level) -> Result<(), Errno> {
        self.guest.set_pci_intx_level(device, pin, level)
    }

    fn set_pci_link_route(&mut self, link: u8, line: Option<u8>) -> Result<(), Errno> {
        self.guest.set_pci_link_route(link, line.unwrap_or(0))
    }

    fn inject_msi(&mut self, address: u64, data: u32) -> Result<(), Errno> {
        self.guest.inject_msi(address, data)
    }

    fn remote_shutdown(&mut self, reason: ShutdownReason) -> Result<(), Errno> {
        self.guest.remote_shutdown(reason)
    }

    fn enter_s3(&mut self) -> Result<(), Errno> {
        self.guest.enter_s3()
    }

    fn map_io_range(&mut self, range: Range) -> Result<(), Errno> {
        self.ranges.map(range)
    }

    fn unmap_io_range(&mut self, range: Range) -> Result<(), Errno> {
        self.ranges.unmap(range)
    }

    fn modified_memory(&mut self, first_gfn: u64, count: u32) -> Result<(), Errno> {
        self.guest.modified_memory(first_gfn, count)
    }
}

impl<X: DeviceModel> GuestMemory for dm::GuestMemory<X> {
    fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), Outside> {
        dm::GuestMemory::read(self, address, into).map_err(|dm::Outside| Outside)
    }

    fn write(&mut self, address: u64, from: &[u8]) -> Result<(), Outside> {
        dm::GuestMemory::write(self, address, from).map_err(|dm::Outside| Outside)
    }
}
