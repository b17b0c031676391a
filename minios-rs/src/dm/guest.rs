//! What a device model asks of Xen about its guest, one typed function each (xen/hvm/dm_op.h).

#![forbid(unsafe_code)]

use super::DeviceModel;
use crate::abi::hvm::dm_op::{
    DmOp, InjectMsi, ModifiedMemory, ModifiedMemoryExtent, NrVcpus, RemoteShutdown, SetIsaIrqLevel,
    SetPciIntxLevel, SetPciLinkRoute, XEN_DMOP_INJECT_MSI, XEN_DMOP_MODIFIED_MEMORY,
    XEN_DMOP_NR_VCPUS, XEN_DMOP_REMOTE_SHUTDOWN, XEN_DMOP_SET_ISA_IRQ_LEVEL,
    XEN_DMOP_SET_PCI_INTX_LEVEL, XEN_DMOP_SET_PCI_LINK_ROUTE,
};
use crate::abi::hvm::params::HVM_PARAM_ACPI_S_STATE;
use crate::abi::sched::ShutdownReason;
use crate::xen::{DomId, Errno};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What an interrupt line is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// The guest whose device model this domain is. A handle: clones speak of the same guest.
#[derive(Clone, Debug)]
pub struct Guest<X> {
    xen: X,
    domain: DomId,
}

impl<X: DeviceModel> Guest<X> {
    /// The guest of that number. Xen lets a domain speak of no guest but its own.
    pub fn new(xen: X, domain: DomId) -> Self {
        Self { xen, domain }
    }

    /// Its number.
    pub fn domain(&self) -> DomId {
        self.domain
    }

    /// Xen.
    pub fn xen(&self) -> &X {
        &self.xen
    }

    /// One operation; its argument as Xen left it.
    pub(super) fn call<T: IntoBytes + FromBytes + Immutable>(
        &self,
        op: u32,
        argument: T,
    ) -> Result<T, Errno> {
        self.call_with(op, argument, &mut [])
    }

    fn call_with<T: IntoBytes + FromBytes + Immutable>(
        &self,
        op: u32,
        argument: T,
        bytes: &mut [u8],
    ) -> Result<T, Errno> {
        let mut operation = DmOp {
            op,
            ..DmOp::default()
        };
        let length = size_of::<T>();
        operation.u.as_mut_bytes()[..length].copy_from_slice(argument.as_bytes());
        self.xen.dm_op(self.domain, &mut operation, bytes)?;
        let answer = T::read_from_bytes(&operation.u.as_bytes()[..length]);
        Ok(answer.expect("as many bytes as it has"))
    }

    /// How many vCPUs it may ever have.
    ///
    /// # Errors
    /// Xen's.
    pub fn vcpus(&self) -> Result<u32, Errno> {
        Ok(self.call(XEN_DMOP_NR_VCPUS, NrVcpus::default())?.vcpus)
    }

    /// Sets an ISA interrupt line, 0 to 15.
    ///
    /// # Errors
    /// Xen's: EINVAL for another line.
    pub fn set_isa_irq_level(&self, line: u8, level: Level) -> Result<(), Errno> {
        let argument = SetIsaIrqLevel {
            isa_irq: line,
            level: level as u8,
        };
        self.call(XEN_DMOP_SET_ISA_IRQ_LEVEL, argument).map(drop)
    }

    /// Sets interrupt pin 0 to 3 (INTA to INTD) of device 0 to 31 on PCI bus 0.
    ///
    /// # Errors
    /// Xen's: EINVAL for another device or pin.
    pub fn set_pci_intx_level(&self, device: u8, pin: u8, level: Level) -> Result<(), Errno> {
        let argument = SetPciIntxLevel {
            domain: 0,
            bus: 0,
            device,
            intx: pin,
            level: level as u8,
        };
        self.call(XEN_DMOP_SET_PCI_INTX_LEVEL, argument).map(drop)
    }

    /// Routes PCI interrupt link 0 to 3 to an ISA interrupt, 1 to 15; 0: nowhere.
    ///
    /// # Errors
    /// Xen's: EINVAL for another link or interrupt.
    pub fn set_pci_link_route(&self, link: u8, irq: u8) -> Result<(), Errno> {
        let argument = SetPciLinkRoute { link, isa_irq: irq };
        self.call(XEN_DMOP_SET_PCI_LINK_ROUTE, argument).map(drop)
    }

    /// Sends a message-signalled interrupt.
    ///
    /// # Errors
    /// Xen's.
    pub fn inject_msi(&self, address: u64, data: u32) -> Result<(), Errno> {
        let argument = InjectMsi {
            data,
            pad: 0,
            addr: address,
        };
        self.call(XEN_DMOP_INJECT_MSI, argument).map(drop)
    }

    /// Says that `count` pages from `first_gfn` on were written, which Xen cannot see, while it keeps book
    /// of those that were (log-dirty mode). It does nothing at other times.
    ///
    /// # Errors
    /// Xen's: EINVAL if there are no such pages.
    pub fn modified_memory(&self, first_gfn: u64, count: u32) -> Result<(), Errno> {
        let mut extent = ModifiedMemoryExtent {
            nr: count,
            pad: 0,
            first_pfn: first_gfn,
        };
        let argument = ModifiedMemory {
            nr_extents: 1,
            opaque: 0,
        };
        self.call_with(XEN_DMOP_MODIFIED_MEMORY, argument, extent.as_mut_bytes())
            .map(drop)
    }

    /// Ends the guest.
    ///
    /// # Errors
    /// Xen's.
    pub fn remote_shutdown(&self, reason: ShutdownReason) -> Result<(), Errno> {
        let argument = RemoteShutdown {
            reason: reason as u32,
        };
        self.call(XEN_DMOP_REMOTE_SHUTDOWN, argument).map(drop)
    }

    /// Has the guest ended by a crash if this domain crashes: its vCPUs would wait for ever.
    pub fn take_along(&self) {
        self.xen.take_along(self.domain);
    }

    /// Suspends the guest to RAM: its vCPUs stop until [`Guest::leave_s3`].
    ///
    /// # Errors
    /// Xen's.
    pub fn enter_s3(&self) -> Result<(), Errno> {
        self.set_parameter(HVM_PARAM_ACPI_S_STATE, 3)
    }

    /// Wakes the guest from [`Guest::enter_s3`]: its first vCPU starts anew, in the firmware.
    ///
    /// # Errors
    /// Xen's.
    pub fn leave_s3(&self) -> Result<(), Errno> {
        self.set_parameter(HVM_PARAM_ACPI_S_STATE, 0)
    }

    /// Reads a parameter (`HVM_PARAM_*`).
    ///
    /// # Errors
    /// Xen's.
    pub fn parameter(&self, index: u32) -> Result<u64, Errno> {
        self.xen.parameter(self.domain, index)
    }

    /// Sets a parameter.
    ///
    /// # Errors
    /// Xen's.
    pub fn set_parameter(&self, index: u32, value: u64) -> Result<(), Errno> {
        self.xen.set_parameter(self.domain, index, value)
    }
}
