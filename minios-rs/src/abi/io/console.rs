//! xen/io/console.h: the page shared with the console daemon.

#![forbid(unsafe_code)]

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// `struct xencons_interface`. Both index pairs run freely; take them modulo the buffer's size.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct ConsoleInterface {
    /// What was typed.
    pub input: [u8; 1024],
    /// What was printed.
    pub output: [u8; 2048],
    /// Read so far, by us.
    pub in_cons: u32,
    /// Written so far, by the daemon.
    pub in_prod: u32,
    /// Read so far, by the daemon.
    pub out_cons: u32,
    /// Written so far, by us.
    pub out_prod: u32,
}
const _: () = assert!(size_of::<ConsoleInterface>() == 3088);
const _: () = assert!(offset_of!(ConsoleInterface, output) == 1024);
const _: () = assert!(offset_of!(ConsoleInterface, in_cons) == 3072);
const _: () = assert!(offset_of!(ConsoleInterface, out_prod) == 3084);
