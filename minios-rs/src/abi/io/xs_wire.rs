//! xen/io/xs_wire.h: xenstore's wire format and the page shared with xenstored.

#![forbid(unsafe_code)]

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Lists a node's children.
pub const XS_DIRECTORY: u32 = 1;
/// Reads a node.
pub const XS_READ: u32 = 2;
/// Reads a node's permissions.
pub const XS_GET_PERMS: u32 = 3;
/// Adds a watch.
pub const XS_WATCH: u32 = 4;
/// Removes a watch.
pub const XS_UNWATCH: u32 = 5;
/// Starts a transaction.
pub const XS_TRANSACTION_START: u32 = 6;
/// Ends a transaction.
pub const XS_TRANSACTION_END: u32 = 7;
/// Asks for a domain's home path.
pub const XS_GET_DOMAIN_PATH: u32 = 10;
/// Writes a node.
pub const XS_WRITE: u32 = 11;
/// Makes a node.
pub const XS_MKDIR: u32 = 12;
/// Removes a node and all below it.
pub const XS_RM: u32 = 13;
/// Sets a node's permissions.
pub const XS_SET_PERMS: u32 = 14;
/// From xenstored: a watch fired.
pub const XS_WATCH_EVENT: u32 = 15;
/// From xenstored: the request failed.
pub const XS_ERROR: u32 = 16;
/// Removes every watch of the caller and ends its transactions.
pub const XS_RESET_WATCHES: u32 = 21;
/// Lists a node's children in parts.
pub const XS_DIRECTORY_PART: u32 = 22;

/// Bytes of payload in one message, at most.
pub const XENSTORE_PAYLOAD_MAX: usize = 4096;
/// Bytes of an absolute path, at most.
pub const XENSTORE_ABS_PATH_MAX: usize = 3072;
/// Bytes of a path relative to the domain's home, at most.
pub const XENSTORE_REL_PATH_MAX: usize = 2048;
/// Bytes in each of the two rings.
pub const XENSTORE_RING_SIZE: usize = 1024;

/// `struct xsd_sockmsg`: what precedes every payload.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Header {
    /// `XS_*`.
    pub kind: u32,
    /// Chosen by the caller, echoed in the reply.
    pub req_id: u32,
    /// The transaction, or 0.
    pub tx_id: u32,
    /// Bytes of payload that follow.
    pub len: u32,
}
const _: () = assert!(size_of::<Header>() == 16 && offset_of!(Header, len) == 12);

/// `struct xenstore_domain_interface`. The indices run freely; take them modulo
/// [`XENSTORE_RING_SIZE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DomainInterface {
    /// Requests to xenstored.
    pub req: [u8; XENSTORE_RING_SIZE],
    /// Replies and watch events.
    pub rsp: [u8; XENSTORE_RING_SIZE],
    /// Requests read so far, by xenstored.
    pub req_cons: u32,
    /// Requests written so far, by us.
    pub req_prod: u32,
    /// Replies read so far, by us.
    pub rsp_cons: u32,
    /// Replies written so far, by xenstored.
    pub rsp_prod: u32,
    /// `XENSTORE_SERVER_FEATURE_*`.
    pub server_features: u32,
    /// `XENSTORE_CONNECTED` or `XENSTORE_RECONNECT`.
    pub connection: u32,
    /// `XENSTORE_ERROR_*`, where the server has that feature.
    pub error: u32,
}
const _: () = assert!(offset_of!(DomainInterface, req_cons) == 2048);
const _: () = assert!(offset_of!(DomainInterface, rsp_prod) == 2060);
const _: () = assert!(offset_of!(DomainInterface, error) == 2072);
