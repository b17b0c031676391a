//! xen/io/blkif.h: the block protocol's requests and responses, as 64-bit domains lay them out
//! (`XEN_IO_PROTO_ABI_X86_64`).
//!
//! Every number of sectors is of 512 bytes, whatever the disk's `sector-size`: so both ends in Linux have it, and Xen's
//! header since 4.20.

#![forbid(unsafe_code)]

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `protocol` of a frontend of 64 bits.
pub const XEN_IO_PROTO_ABI_X86_64: &str = "x86_64-abi";

/// Bytes of what the protocol calls a sector.
pub const SECTOR: usize = 512;

/// Read into the segments.
pub const BLKIF_OP_READ: u8 = 0;
/// Write out of them.
pub const BLKIF_OP_WRITE: u8 = 1;
/// A write that no other passes.
pub const BLKIF_OP_WRITE_BARRIER: u8 = 2;
/// What was written is to be where it stays.
pub const BLKIF_OP_FLUSH_DISKCACHE: u8 = 3;
/// These sectors' contents are needed no more.
pub const BLKIF_OP_DISCARD: u8 = 5;
/// A read or write whose segments are listed in pages of their own.
pub const BLKIF_OP_INDIRECT: u8 = 6;

/// Segments in a request itself, at most.
pub const BLKIF_MAX_SEGMENTS_PER_REQUEST: usize = 11;
/// Pages of segments behind an indirect one, at most.
pub const BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST: usize = 8;

/// It was done.
pub const BLKIF_RSP_OKAY: i16 = 0;
/// It failed.
pub const BLKIF_RSP_ERROR: i16 = -1;
/// The backend does not do such a thing.
pub const BLKIF_RSP_EOPNOTSUPP: i16 = -2;

/// In `info`: a CD-ROM drive.
pub const VDISK_CDROM: u32 = 1;
/// In `info`: what is in it can be taken out.
pub const VDISK_REMOVABLE: u32 = 2;
/// In `info`: it cannot be written.
pub const VDISK_READONLY: u32 = 4;

/// `struct blkif_request_segment`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Segment {
    /// The page.
    pub gref: u32,
    /// The first sector in it.
    pub first_sect: u8,
    /// The last one.
    pub last_sect: u8,
    /// 0.
    pub pad: u16,
}
const _: () = assert!(size_of::<Segment>() == 8 && offset_of!(Segment, last_sect) == 5);

/// `struct blkif_request`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Request {
    /// `BLKIF_OP_*`.
    pub operation: u8,
    /// Segments that count.
    pub nr_segments: u8,
    /// The disk, as the frontend numbers it.
    pub handle: u16,
    /// 0.
    pub pad: u32,
    /// Echoed in the response.
    pub id: u64,
    /// The first sector on the disk.
    pub sector_number: u64,
    /// Where in the frontend's memory.
    pub seg: [Segment; BLKIF_MAX_SEGMENTS_PER_REQUEST],
}
const _: () = assert!(size_of::<Request>() == 112 && offset_of!(Request, seg) == 24);

/// `struct blkif_request_discard`, and what an entry is longer.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RequestDiscard {
    /// [`BLKIF_OP_DISCARD`].
    pub operation: u8,
    /// 1: no copy of the contents may be left.
    pub flag: u8,
    /// The disk.
    pub handle: u16,
    /// 0.
    pub pad: u32,
    /// Echoed in the response.
    pub id: u64,
    /// The first sector.
    pub sector_number: u64,
    /// How many there are.
    pub nr_sectors: u64,
}
const _: () = assert!(size_of::<RequestDiscard>() == 32);

/// `struct blkif_request_indirect`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RequestIndirect {
    /// [`BLKIF_OP_INDIRECT`].
    pub operation: u8,
    /// [`BLKIF_OP_READ`] or [`BLKIF_OP_WRITE`].
    pub indirect_op: u8,
    /// Segments in all.
    pub nr_segments: u16,
    /// 0.
    pub pad: u32,
    /// Echoed in the response.
    pub id: u64,
    /// The first sector on the disk.
    pub sector_number: u64,
    /// The disk.
    pub handle: u16,
    /// 0.
    pub pad2: u16,
    /// The pages of [`Segment`]s.
    pub indirect_grefs: [u32; BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST],
    /// What the C struct is longer for its alignment.
    pub tail: u32,
}
const _: () = assert!(
    size_of::<RequestIndirect>() == 64 && offset_of!(RequestIndirect, indirect_grefs) == 28
);

/// `struct blkif_response`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Response {
    /// The request's.
    pub id: u64,
    /// The request's.
    pub operation: u8,
    /// 0.
    pub pad: u8,
    /// `BLKIF_RSP_*`.
    pub status: i16,
    /// 0.
    pub pad2: u32,
}
const _: () = assert!(size_of::<Response>() == 16 && offset_of!(Response, status) == 10);
