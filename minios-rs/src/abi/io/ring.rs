//! xen/io/ring.h: the head of a page that holds a ring of requests and responses.

#![forbid(unsafe_code)]

/// Byte offset of `req_prod`, the producer index of requests.
pub const REQ_PROD: usize = 0;
/// Byte offset of `req_event`: the backend wants an event when `req_prod` passes it.
pub const REQ_EVENT: usize = 4;
/// Byte offset of `rsp_prod`, the producer index of responses.
pub const RSP_PROD: usize = 8;
/// Byte offset of `rsp_event`: the frontend wants an event when `rsp_prod` passes it.
pub const RSP_EVENT: usize = 12;
/// Byte offset of the first entry.
pub const RING: usize = 64;

/// Entries of `entry_size` bytes in a ring of one page: the largest power of two that fits
/// (`__CONST_RING_SIZE`).
pub const fn entries(entry_size: usize) -> u32 {
    entries_of_pages(entry_size, 1)
}

/// The same in a ring of several pages that follow each other.
#[inline]
pub const fn entries_of_pages(entry_size: usize, pages: usize) -> u32 {
    let fit = (crate::xen::PAGE_SIZE * pages - RING) / entry_size;
    1 << (usize::BITS - 1 - fit.leading_zeros())
}
const _: () = assert!(entries(12) == 256 && entries(8) == 256 && entries(112) == 32);
const _: () = assert!(entries_of_pages(112, 2) == 64 && entries_of_pages(112, 4) == 128);
