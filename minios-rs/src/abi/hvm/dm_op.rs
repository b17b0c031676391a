//! xen/hvm/dm_op.h: what a device model asks of Xen about its guest.

#![forbid(unsafe_code)]

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Makes an ioreq server.
pub const XEN_DMOP_CREATE_IOREQ_SERVER: u32 = 1;
/// Asks for the port of the buffered ring.
pub const XEN_DMOP_GET_IOREQ_SERVER_INFO: u32 = 2;
/// Sends accesses of a range to the server.
pub const XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER: u32 = 3;
/// No longer does.
pub const XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER: u32 = 4;
/// Switches the server on or off.
pub const XEN_DMOP_SET_IOREQ_SERVER_STATE: u32 = 5;
/// Ends the server.
pub const XEN_DMOP_DESTROY_IOREQ_SERVER: u32 = 6;
/// Which pages of a picture the guest has written.
pub const XEN_DMOP_TRACK_DIRTY_VRAM: u32 = 7;
/// Sets an interrupt line of a PCI function.
pub const XEN_DMOP_SET_PCI_INTX_LEVEL: u32 = 8;
/// Sets an interrupt line of the ISA bus.
pub const XEN_DMOP_SET_ISA_IRQ_LEVEL: u32 = 9;
/// Routes a PCI interrupt link to an ISA interrupt.
pub const XEN_DMOP_SET_PCI_LINK_ROUTE: u32 = 10;
/// The device model has written guest memory.
pub const XEN_DMOP_MODIFIED_MEMORY: u32 = 11;
/// Sends a message-signalled interrupt.
pub const XEN_DMOP_INJECT_MSI: u32 = 14;
/// Ends the guest.
pub const XEN_DMOP_REMOTE_SHUTDOWN: u32 = 16;
/// How many vCPUs the guest may have.
pub const XEN_DMOP_NR_VCPUS: u32 = 20;

/// The server does without pages in the guest's own memory (`XEN_DMOP_no_gfns`).
pub const XEN_DMOP_NO_GFNS: u16 = 1;

/// I/O ports.
pub const XEN_DMOP_IO_RANGE_PORT: u32 = 0;
/// Physical addresses.
pub const XEN_DMOP_IO_RANGE_MEMORY: u32 = 1;
/// PCI functions: segment << 16 | bus << 8 | device << 3 | function.
pub const XEN_DMOP_IO_RANGE_PCI: u32 = 2;

/// `struct xen_dm_op_create_ioreq_server`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CreateIoreqServer {
    /// In: `HVM_IOREQSRV_BUFIOREQ_*`.
    pub handle_bufioreq: u8,
    /// Must be 0.
    pub pad: [u8; 3],
    /// Out: the server.
    pub id: u16,
}
const _: () =
    assert!(size_of::<CreateIoreqServer>() == 6 && offset_of!(CreateIoreqServer, id) == 4);

/// `struct xen_dm_op_get_ioreq_server_info`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GetIoreqServerInfo {
    /// In: the server.
    pub id: u16,
    /// In: [`XEN_DMOP_NO_GFNS`] or 0.
    pub flags: u16,
    /// Out: the port of the buffered ring.
    pub bufioreq_port: u32,
    /// Out: without [`XEN_DMOP_NO_GFNS`], the page of the requests.
    pub ioreq_gfn: u64,
    /// Out: without [`XEN_DMOP_NO_GFNS`], the page of the buffered ring.
    pub bufioreq_gfn: u64,
}
const _: () = assert!(size_of::<GetIoreqServerInfo>() == 24);
const _: () = assert!(offset_of!(GetIoreqServerInfo, ioreq_gfn) == 8);

/// `struct xen_dm_op_ioreq_server_range`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct IoreqServerRange {
    /// In: the server.
    pub id: u16,
    /// Must be 0.
    pub pad: u16,
    /// In: `XEN_DMOP_IO_RANGE_*`.
    pub kind: u32,
    /// In: the first.
    pub start: u64,
    /// In: the last.
    pub end: u64,
}
const _: () = assert!(size_of::<IoreqServerRange>() == 24);
const _: () = assert!(offset_of!(IoreqServerRange, start) == 8);

/// `struct xen_dm_op_set_ioreq_server_state`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SetIoreqServerState {
    /// In: the server.
    pub id: u16,
    /// In: 1 or 0.
    pub enabled: u8,
    /// Must be 0.
    pub pad: u8,
}
const _: () = assert!(size_of::<SetIoreqServerState>() == 4);

/// `struct xen_dm_op_destroy_ioreq_server`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DestroyIoreqServer {
    /// In: the server.
    pub id: u16,
    /// Must be 0.
    pub pad: u16,
}
const _: () = assert!(size_of::<DestroyIoreqServer>() == 4);

/// `struct xen_dm_op_set_pci_intx_level`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SetPciIntxLevel {
    /// In: the segment. Xen knows 0 only.
    pub domain: u16,
    /// In: the bus. Xen knows 0 only.
    pub bus: u8,
    /// In: 0 to 31.
    pub device: u8,
    /// In: 0 to 3.
    pub intx: u8,
    /// In: 1 or 0.
    pub level: u8,
}
const _: () = assert!(size_of::<SetPciIntxLevel>() == 6 && offset_of!(SetPciIntxLevel, level) == 5);

/// `struct xen_dm_op_set_isa_irq_level`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SetIsaIrqLevel {
    /// In: 0 to 15.
    pub isa_irq: u8,
    /// In: 1 or 0.
    pub level: u8,
}
const _: () = assert!(size_of::<SetIsaIrqLevel>() == 2);

/// `struct xen_dm_op_set_pci_link_route`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SetPciLinkRoute {
    /// In: 0 to 3.
    pub link: u8,
    /// In: 1 to 15; 0: nowhere.
    pub isa_irq: u8,
}
const _: () = assert!(size_of::<SetPciLinkRoute>() == 2);

/// `struct xen_dm_op_modified_memory`. The extents are the call's second buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ModifiedMemory {
    /// In: how many extents.
    pub nr_extents: u32,
    /// Must be 0.
    pub opaque: u32,
}
const _: () = assert!(size_of::<ModifiedMemory>() == 8);

/// `struct xen_dm_op_modified_memory_extent`
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ModifiedMemoryExtent {
    /// In: how many pages.
    pub nr: u32,
    /// Must be 0.
    pub pad: u32,
    /// In: the first.
    pub first_pfn: u64,
}
const _: () = assert!(size_of::<ModifiedMemoryExtent>() == 16);

/// `struct xen_dm_op_inject_msi`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct InjectMsi {
    /// In: the message's data.
    pub data: u32,
    /// Must be 0.
    pub pad: u32,
    /// In: its address, 0xfeexxxxx.
    pub addr: u64,
}
const _: () = assert!(size_of::<InjectMsi>() == 16 && offset_of!(InjectMsi, addr) == 8);

/// `struct xen_dm_op_remote_shutdown`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RemoteShutdown {
    /// In: `SHUTDOWN_*`.
    pub reason: u32,
}
const _: () = assert!(size_of::<RemoteShutdown>() == 4);

/// `struct xen_dm_op_nr_vcpus`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct NrVcpus {
    /// Out.
    pub vcpus: u32,
}
const _: () = assert!(size_of::<NrVcpus>() == 4);

/// Bytes of the largest argument.
pub const ARGUMENT_MAX: usize = 24;

/// `struct xen_dm_op`: a call's first buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DmOp {
    /// `XEN_DMOP_*`.
    pub op: u32,
    /// Must be 0.
    pub pad: u32,
    /// The operation's own struct, from the first byte on.
    pub u: [u64; ARGUMENT_MAX / 8],
}
const _: () = assert!(size_of::<DmOp>() == 32 && offset_of!(DmOp, u) == 8);

/// `struct xen_dm_op_buf`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct DmOpBuf {
    /// Address.
    pub h: u64,
    /// Bytes.
    pub size: u64,
}
const _: () = assert!(size_of::<DmOpBuf>() == 16);
