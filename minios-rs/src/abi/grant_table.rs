//! xen/grant_table.h: sharing pages with other domains (version 1 of the table).

#![forbid(unsafe_code)]

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// References that no driver may use: the toolstack's.
pub const GNTTAB_NR_RESERVED_ENTRIES: u32 = 8;
/// The reference of the console ring.
pub const GNTTAB_RESERVED_CONSOLE: u32 = 0;
/// The reference of the xenstore ring.
pub const GNTTAB_RESERVED_XENSTORE: u32 = 1;

/// No grant.
pub const GTF_INVALID: u16 = 0;
/// The domain may map the frame or copy from and to it.
pub const GTF_PERMIT_ACCESS: u16 = 1;
/// The bits that say what kind of grant it is.
pub const GTF_TYPE_MASK: u16 = 3;
/// Mapping and copying from it only.
pub const GTF_READONLY: u16 = 1 << 2;
/// Set by Xen: mapped or copied from now.
pub const GTF_READING: u16 = 1 << 3;
/// Set by Xen: mapped writable or copied to now.
pub const GTF_WRITING: u16 = 1 << 4;

/// Maps grants.
pub const GNTTABOP_MAP_GRANT_REF: u32 = 0;
/// Unmaps grants.
pub const GNTTABOP_UNMAP_GRANT_REF: u32 = 1;
/// Asks for the table's frames, growing it.
pub const GNTTABOP_SETUP_TABLE: u32 = 2;
/// Copies between grants or own frames.
pub const GNTTABOP_COPY: u32 = 5;
/// Asks for the table's size and limit.
pub const GNTTABOP_QUERY_SIZE: u32 = 6;
/// Chooses the table's version.
pub const GNTTABOP_SET_VERSION: u32 = 8;
/// Asks for the table's version.
pub const GNTTABOP_GET_VERSION: u32 = 10;

/// Map into the caller's address space.
pub const GNTMAP_HOST_MAP: u32 = 1 << 1;
/// Map read-only.
pub const GNTMAP_READONLY: u32 = 1 << 2;
/// `host_addr` is the machine address of a page-table entry.
pub const GNTMAP_CONTAINS_PTE: u32 = 1 << 4;

/// The source of a copy is a grant.
pub const GNTCOPY_SOURCE_GREF: u16 = 1;
/// The destination of a copy is a grant.
pub const GNTCOPY_DEST_GREF: u16 = 1 << 1;

/// Success.
pub const GNTST_OKAY: i16 = 0;
/// Undefined error.
pub const GNTST_GENERAL_ERROR: i16 = -1;
/// No such domain.
pub const GNTST_BAD_DOMAIN: i16 = -2;
/// No such grant.
pub const GNTST_BAD_GNTREF: i16 = -3;
/// No such mapping.
pub const GNTST_BAD_HANDLE: i16 = -4;
/// The address does not suit.
pub const GNTST_BAD_VIRT_ADDR: i16 = -5;
/// Not permitted.
pub const GNTST_PERMISSION_DENIED: i16 = -8;
/// Not a page this can be done with.
pub const GNTST_BAD_PAGE: i16 = -9;
/// The copy crosses a page's end.
pub const GNTST_BAD_COPY_ARG: i16 = -10;
/// The other side is busy: try again (`GNTST_eagain`).
pub const GNTST_EAGAIN: i16 = -12;

/// `struct grant_entry_v1`: one entry of the table.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GrantEntryV1 {
    /// `GTF_*`.
    pub flags: u16,
    /// Who may.
    pub domid: u16,
    /// The frame: a machine frame number in a PV domain.
    pub frame: u32,
}
const _: () = assert!(size_of::<GrantEntryV1>() == 8);
const _: () = assert!(offset_of!(GrantEntryV1, domid) == 2 && offset_of!(GrantEntryV1, frame) == 4);

/// `struct gnttab_map_grant_ref`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct MapGrantRef {
    /// In: where to map it.
    pub host_addr: u64,
    /// In: `GNTMAP_*`.
    pub flags: u32,
    /// In: the reference.
    pub reference: u32,
    /// In: the domain that granted it.
    pub dom: u16,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Out: for unmapping.
    pub handle: u32,
    /// Out: the machine address.
    pub dev_bus_addr: u64,
}
const _: () = assert!(size_of::<MapGrantRef>() == 32);
const _: () =
    assert!(offset_of!(MapGrantRef, status) == 18 && offset_of!(MapGrantRef, handle) == 20);

/// `struct gnttab_unmap_grant_ref`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct UnmapGrantRef {
    /// In: where it is mapped.
    pub host_addr: u64,
    /// In: 0, or the machine address of a device mapping.
    pub dev_bus_addr: u64,
    /// In: the handle.
    pub handle: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub pad: u16,
}
const _: () = assert!(size_of::<UnmapGrantRef>() == 24 && offset_of!(UnmapGrantRef, status) == 20);

/// `struct gnttab_setup_table`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct SetupTable {
    /// In: the domain, or `DOMID_SELF`.
    pub dom: u16,
    /// Padding.
    pub pad: u16,
    /// In: frames wanted.
    pub nr_frames: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub pad2: [u16; 3],
    /// In: address of an array of `nr_frames` 64-bit frame numbers that Xen fills.
    pub frame_list: u64,
}
const _: () = assert!(size_of::<SetupTable>() == 24);
const _: () =
    assert!(offset_of!(SetupTable, status) == 8 && offset_of!(SetupTable, frame_list) == 16);

/// `struct gnttab_copy_ptr`: one side of a copy.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct CopyPointer {
    /// A grant reference (low 32 bits) or a frame number of the domain's.
    pub reference_or_frame: u64,
    /// Whose.
    pub domid: u16,
    /// Bytes from the page's start.
    pub offset: u16,
    /// Padding.
    pub pad: u32,
}
const _: () = assert!(size_of::<CopyPointer>() == 16 && offset_of!(CopyPointer, offset) == 10);

/// `struct gnttab_copy`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Copy {
    /// In: from.
    pub source: CopyPointer,
    /// In: to.
    pub dest: CopyPointer,
    /// In: bytes.
    pub len: u16,
    /// In: `GNTCOPY_*`.
    pub flags: u16,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub pad: u16,
}
const _: () = assert!(size_of::<Copy>() == 40 && offset_of!(Copy, len) == 32);
const _: () = assert!(offset_of!(Copy, status) == 36);

/// `struct gnttab_query_size`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct QuerySize {
    /// In: the domain, or `DOMID_SELF`.
    pub dom: u16,
    /// Padding.
    pub pad: u16,
    /// Out: frames the table has.
    pub nr_frames: u32,
    /// Out: frames it may grow to.
    pub max_nr_frames: u32,
    /// Out: `GNTST_*`.
    pub status: i16,
    /// Padding.
    pub pad2: u16,
}
const _: () = assert!(size_of::<QuerySize>() == 16 && offset_of!(QuerySize, status) == 12);
