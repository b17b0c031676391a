//! xen/callback.h: where Xen enters the guest.

#![forbid(unsafe_code)]

use core::mem::{offset_of, size_of};

/// `CALLBACKOP_register`, with [`CallbackRegister`].
pub const CALLBACKOP_REGISTER: u64 = 0;
/// `CALLBACKTYPE_event`: an event came.
pub const CALLBACKTYPE_EVENT: u16 = 0;

/// `struct callback_register`
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CallbackRegister {
    /// `CALLBACKTYPE_*`
    pub kind: u16,
    /// `CALLBACKF_*`
    pub flags: u16,
    /// The entry point.
    pub address: u64,
}
const _: () = assert!(size_of::<CallbackRegister>() == 16);
const _: () = assert!(offset_of!(CallbackRegister, address) == 8);
