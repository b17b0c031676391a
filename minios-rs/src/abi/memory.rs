//! xen/memory.h

use core::mem::{offset_of, size_of};

/// `XENMEM_maximum_reservation`: the most pages a domain may have, from a `domid_t *`.
pub const XENMEM_MAXIMUM_RESERVATION: u64 = 4;

/// `XENMEM_acquire_resource`: pages that Xen keeps for a domain, from an [`AcquireResource`].
pub const XENMEM_ACQUIRE_RESOURCE: u64 = 28;
/// `XENMEM_resource_ioreq_server`: those of an ioreq server.
pub const XENMEM_RESOURCE_IOREQ_SERVER: u16 = 0;
/// `XENMEM_resource_ioreq_server_frame_bufioreq`: its buffered ring.
pub const XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ: u64 = 0;
/// `XENMEM_resource_ioreq_server_frame_ioreq(0)`: the requests of its first 128 vCPUs.
pub const XENMEM_RESOURCE_IOREQ_SERVER_FRAME_IOREQ: u64 = 1;

/// `struct xen_mem_acquire_resource`
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct AcquireResource {
    /// In: the domain.
    pub domid: u16,
    /// In: `XENMEM_resource_*`.
    pub kind: u16,
    /// In: which of that type.
    pub id: u32,
    /// In: how many pages.
    pub nr_frames: u32,
    /// Must be 0.
    pub pad: u32,
    /// In: the first.
    pub frame: u64,
    /// In: address of an array of as many words, which Xen fills with machine frame numbers.
    pub frame_list: u64,
}
const _: () = assert!(size_of::<AcquireResource>() == 32);
const _: () = assert!(offset_of!(AcquireResource, frame_list) == 24);
