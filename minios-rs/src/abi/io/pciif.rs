//! xen/io/pciif.h: the page a domain shares with the backend of its PCI cards.

#![forbid(unsafe_code)]

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What both ends call this protocol (`XEN_PCI_MAGIC`).
pub const XEN_PCI_MAGIC: &str = "7";

/// The frontend's operation is under way.
pub const XEN_PCIF_ACTIVE: u32 = 1 << 0;
/// The frontend answers reports of errors.
pub const XEN_PCIB_AERHANDLER: u32 = 1 << 1;
/// The backend's report of an error is under way.
pub const XEN_PCIB_ACTIVE: u32 = 1 << 2;

/// Reads configuration space.
pub const XEN_PCI_OP_CONF_READ: u32 = 0;
/// Writes configuration space.
pub const XEN_PCI_OP_CONF_WRITE: u32 = 1;
/// Gives the function one message-signalled interrupt.
pub const XEN_PCI_OP_ENABLE_MSI: u32 = 2;
/// Takes it away.
pub const XEN_PCI_OP_DISABLE_MSI: u32 = 3;
/// Gives the function an interrupt for each entry asked for.
pub const XEN_PCI_OP_ENABLE_MSIX: u32 = 4;
/// Takes them away.
pub const XEN_PCI_OP_DISABLE_MSIX: u32 = 5;
/// The backend tells of an error on the bus.
pub const XEN_PCI_OP_AER_DETECTED: u32 = 6;
/// All is well again.
pub const XEN_PCI_OP_AER_RESUME: u32 = 7;
/// Registers can be reached again.
pub const XEN_PCI_OP_AER_MMIO: u32 = 8;
/// The slot was reset.
pub const XEN_PCI_OP_AER_SLOTRESET: u32 = 9;

/// It was done.
pub const XEN_PCI_ERR_SUCCESS: i32 = 0;
/// There is no such function.
pub const XEN_PCI_ERR_DEV_NOT_FOUND: i32 = -1;
/// Offset or size is none a register can have.
pub const XEN_PCI_ERR_INVALID_OFFSET: i32 = -2;
/// The backend does not let this domain.
pub const XEN_PCI_ERR_ACCESS_DENIED: i32 = -3;
/// The backend knows no such operation.
pub const XEN_PCI_ERR_NOT_IMPLEMENTED: i32 = -4;
/// It was tried, and failed.
pub const XEN_PCI_ERR_OP_FAILED: i32 = -5;

/// Entries of an operation, at most.
pub const SH_INFO_MAX_VEC: usize = 128;

/// `struct xen_msix_entry`
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct MsixEntry {
    /// Out: the physical interrupt.
    pub vector: u16,
    /// In: the entry of the function's table.
    pub entry: u16,
}
const _: () = assert!(size_of::<MsixEntry>() == 4);

/// `struct xen_pci_op`, but for the entries that follow it.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Op {
    /// In: `XEN_PCI_OP_*`.
    pub cmd: u32,
    /// Out: `XEN_PCI_ERR_*`, or a negative number of Linux'.
    pub err: i32,
    /// In: the function's segment.
    pub domain: u32,
    /// In: its bus.
    pub bus: u32,
    /// In: its device and function.
    pub devfn: u32,
    /// In: the register.
    pub offset: i32,
    /// In: its bytes.
    pub size: i32,
    /// In and out: what is written, what was read; how many entries, what became of them.
    pub value: u32,
    /// In: nothing today.
    pub info: u32,
}
const _: () = assert!(size_of::<Op>() == 36 && offset_of!(Op, value) == 28);

/// `struct xen_pcie_aer_op`
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct AerOp {
    /// In: `XEN_PCI_OP_AER_*`.
    pub cmd: u32,
    /// In: the state of the channel; out: `PCI_ERS_RESULT_*` of Linux.
    pub err: i32,
    /// In: the function's segment.
    pub domain: u32,
    /// In: its bus.
    pub bus: u32,
    /// In: its device and function.
    pub devfn: u32,
}
const _: () = assert!(size_of::<AerOp>() == 20);

/// Where `flags` lies in `struct xen_pci_sharedinfo`.
pub const FLAGS: usize = 0;
/// Where `op` lies.
pub const OP: usize = 4;
/// Where the entries of `op` lie.
pub const MSIX_ENTRIES: usize = OP + size_of::<Op>();
/// Where `aer_op` lies.
pub const AER_OP: usize = MSIX_ENTRIES + SH_INFO_MAX_VEC * size_of::<MsixEntry>();
