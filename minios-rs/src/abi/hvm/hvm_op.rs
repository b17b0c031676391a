//! xen/hvm/hvm_op.h

#![forbid(unsafe_code)]

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Sets a parameter of a guest.
pub const HVMOP_SET_PARAM: u64 = 0;
/// Reads a parameter of a guest.
pub const HVMOP_GET_PARAM: u64 = 1;

/// No buffered requests.
pub const HVM_IOREQSRV_BUFIOREQ_OFF: u8 = 0;
/// Buffered requests, counts that run over.
pub const HVM_IOREQSRV_BUFIOREQ_LEGACY: u8 = 1;
/// Buffered requests, counts that Xen keeps small: the consumer changes its own by atomic additions.
pub const HVM_IOREQSRV_BUFIOREQ_ATOMIC: u8 = 2;

/// `struct xen_hvm_param`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Param {
    /// In: the guest.
    pub domid: u16,
    /// Padding.
    pub pad: u16,
    /// In: `HVM_PARAM_*`.
    pub index: u32,
    /// In or out.
    pub value: u64,
}
const _: () = assert!(size_of::<Param>() == 16 && offset_of!(Param, value) == 8);
