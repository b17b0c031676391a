//! xen/io/libxenvchan.h: the first page of a byte stream both ways between two domains.

#![forbid(unsafe_code)]

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// In a notify byte: an event is wanted when data is written.
pub const VCHAN_NOTIFY_WRITE: u8 = 1;
/// In a notify byte: an event is wanted when data is read.
pub const VCHAN_NOTIFY_READ: u8 = 2;

/// `struct ring_shared`. Both run freely; take them modulo the ring's size.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct RingShared {
    /// Read so far.
    pub cons: u32,
    /// Written so far.
    pub prod: u32,
}

/// `struct vchan_interface`, without the grants of larger rings that may follow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct VchanInterface {
    /// The client writes.
    pub left: RingShared,
    /// The server writes.
    pub right: RingShared,
    /// Its size, as the exponent of two: 10 lies at byte 1024, 11 at byte 2048.
    pub left_order: u16,
    /// The same.
    pub right_order: u16,
    /// 0: has gone; 1: is connected; 2: has not yet connected.
    pub cli_live: u8,
    /// The same of the server.
    pub srv_live: u8,
    /// What the server wants to be told of.
    pub cli_notify: u8,
    /// What the client wants to be told of.
    pub srv_notify: u8,
}
const _: () = assert!(size_of::<VchanInterface>() == 24);
const _: () = assert!(offset_of!(VchanInterface, cli_live) == 20);
