//! xen/hvm/ioreq.h: what a guest did that its device model has to answer.

#![forbid(unsafe_code)]

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The guest writes ([`FLAGS_DIR`] clear).
pub const IOREQ_WRITE: u8 = 0;
/// The guest reads ([`FLAGS_DIR`] set).
pub const IOREQ_READ: u8 = 1;

/// Nothing to answer.
pub const STATE_IOREQ_NONE: u8 = 0;
/// Xen has written a request.
pub const STATE_IOREQ_READY: u8 = 1;
/// The device model has taken it.
pub const STATE_IOREQ_INPROCESS: u8 = 2;
/// The device model has answered.
pub const STATE_IORESP_READY: u8 = 3;

/// An I/O port.
pub const IOREQ_TYPE_PIO: u8 = 0;
/// Memory that is no RAM.
pub const IOREQ_TYPE_COPY: u8 = 1;
/// A register of a PCI function's configuration space.
pub const IOREQ_TYPE_PCI_CONFIG: u8 = 2;
/// The guest has set its clock.
pub const IOREQ_TYPE_TIMEOFFSET: u8 = 7;
/// Mappings of the guest's memory may be out of date.
pub const IOREQ_TYPE_INVALIDATE: u8 = 8;

/// The bits of [`Ioreq::flags`] that are `state`.
pub const FLAGS_STATE: u8 = 0xf;
/// The bit of [`Ioreq::flags`] that is `data_is_ptr`.
pub const FLAGS_DATA_IS_PTR: u8 = 1 << 4;
/// The bit of [`Ioreq::flags`] that is `dir`.
pub const FLAGS_DIR: u8 = 1 << 5;
/// The bit of [`Ioreq::flags`] that is `df`.
pub const FLAGS_DF: u8 = 1 << 6;

/// `struct ioreq`: a vCPU's request. The page that Xen shares holds one for each vCPU.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Ioreq {
    /// Where: a port, a physical address, or a register and (upper half) its function.
    pub addr: u64,
    /// What is written or was read; with [`FLAGS_DATA_IS_PTR`] the physical address of it.
    pub data: u64,
    /// How often, for instructions that repeat.
    pub count: u32,
    /// Bytes at a time.
    pub size: u32,
    /// Xen's port for this vCPU.
    pub vp_eport: u32,
    /// Padding.
    pub pad: u16,
    /// `STATE_*` and `FLAGS_*`.
    pub flags: u8,
    /// `IOREQ_TYPE_*`.
    pub kind: u8,
}
const _: () = assert!(size_of::<Ioreq>() == 32);
const _: () = assert!(offset_of!(Ioreq, data) == 8 && offset_of!(Ioreq, count) == 16);
const _: () = assert!(offset_of!(Ioreq, vp_eport) == 24 && offset_of!(Ioreq, flags) == 30);

/// The bits of [`BufIoreq::head`] that are `type`.
pub const HEAD_TYPE: u32 = 0xff;
/// The bit of [`BufIoreq::head`] that is `dir`.
pub const HEAD_DIR: u32 = 1 << 9;
/// Where `size` begins in [`BufIoreq::head`]: two bits, the binary logarithm of the bytes.
pub const HEAD_SIZE_SHIFT: u32 = 10;
/// Where `addr` begins in [`BufIoreq::head`]: the 20 bits that are left.
pub const HEAD_ADDR_SHIFT: u32 = 12;

/// `struct buf_ioreq`: a write that nobody waits for. One of eight bytes takes two, the second of them for
/// the upper half of the data.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct BufIoreq {
    /// `HEAD_*`.
    pub head: u32,
    /// What is written.
    pub data: u32,
}
const _: () = assert!(size_of::<BufIoreq>() == 8);

/// Requests that the buffered ring holds.
pub const IOREQ_BUFFER_SLOT_NUM: usize = 511;

/// Byte of `struct buffered_iopage` at which the consumer's count is.
pub const READ_POINTER: usize = 0;
/// Byte at which the producer's count is.
pub const WRITE_POINTER: usize = 4;
/// Byte at which the requests begin.
pub const BUF_IOREQ: usize = 8;
