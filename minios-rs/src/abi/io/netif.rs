//! xen/io/netif.h: the network protocol's slots.

#![forbid(unsafe_code)]

use core::mem::{offset_of, size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Slots of one frame that every end must take (`XEN_NETIF_NR_SLOTS_MIN`), extra infos not counted.
pub const XEN_NETIF_NR_SLOTS_MIN: usize = 18;
/// Bytes of a transmitted frame, at most.
pub const XEN_NETIF_MAX_TX_SIZE: usize = 0xffff;

/// The checksum field holds only the pseudo-header's sum.
pub const NETTXF_CSUM_BLANK: u16 = 1;
/// The data is known to be intact.
pub const NETTXF_DATA_VALIDATED: u16 = 1 << 1;
/// The frame goes on in the next request.
pub const NETTXF_MORE_DATA: u16 = 1 << 2;
/// An extra info follows.
pub const NETTXF_EXTRA_INFO: u16 = 1 << 3;

/// The data is known to be intact.
pub const NETRXF_DATA_VALIDATED: u16 = 1;
/// The checksum field holds only the pseudo-header's sum.
pub const NETRXF_CSUM_BLANK: u16 = 1 << 1;
/// The frame goes on in the next response.
pub const NETRXF_MORE_DATA: u16 = 1 << 2;
/// An extra info follows.
pub const NETRXF_EXTRA_INFO: u16 = 1 << 3;
/// An old way to say GSO, which nobody asks for any more.
pub const NETRXF_GSO_PREFIX: u16 = 1 << 4;

/// How to cut the frame into segments.
pub const XEN_NETIF_EXTRA_TYPE_GSO: u8 = 1;
/// Join a multicast group.
pub const XEN_NETIF_EXTRA_TYPE_MCAST_ADD: u8 = 2;
/// Leave a multicast group.
pub const XEN_NETIF_EXTRA_TYPE_MCAST_DEL: u8 = 3;
/// The frame's hash.
pub const XEN_NETIF_EXTRA_TYPE_HASH: u8 = 4;
/// The first type there is not.
pub const XEN_NETIF_EXTRA_TYPE_MAX: u8 = 5;
/// Another extra info follows.
pub const XEN_NETIF_EXTRA_FLAG_MORE: u8 = 1;

/// TCP over IPv4.
pub const XEN_NETIF_GSO_TYPE_TCPV4: u8 = 1;
/// TCP over IPv6.
pub const XEN_NETIF_GSO_TYPE_TCPV6: u8 = 2;

/// The frame was dropped.
pub const NETIF_RSP_DROPPED: i16 = -2;
/// The frame or slot was wrong.
pub const NETIF_RSP_ERROR: i16 = -1;
/// The slot was taken.
pub const NETIF_RSP_OKAY: i16 = 0;
/// The answer to a request that was an extra info.
pub const NETIF_RSP_NULL: i16 = 1;

/// `struct netif_tx_request`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct TxRequest {
    /// The page.
    pub gref: u32,
    /// Bytes from the page's start.
    pub offset: u16,
    /// `NETTXF_*`.
    pub flags: u16,
    /// Echoed in the response.
    pub id: u16,
    /// In a frame's first request the whole frame's bytes, in others the slot's.
    pub size: u16,
}
const _: () = assert!(size_of::<TxRequest>() == 12 && offset_of!(TxRequest, size) == 10);

/// `struct netif_tx_response`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct TxResponse {
    /// The request's.
    pub id: u16,
    /// `NETIF_RSP_*`.
    pub status: i16,
}
const _: () = assert!(size_of::<TxResponse>() == 4 && offset_of!(TxResponse, status) == 2);

/// `struct netif_rx_request`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RxRequest {
    /// Echoed in the response.
    pub id: u16,
    /// Padding.
    pub pad: u16,
    /// The page to fill.
    pub gref: u32,
}
const _: () = assert!(size_of::<RxRequest>() == 8 && offset_of!(RxRequest, gref) == 4);

/// `struct netif_rx_response`.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct RxResponse {
    /// The request's.
    pub id: u16,
    /// Where in the page the data starts.
    pub offset: u16,
    /// `NETRXF_*`.
    pub flags: u16,
    /// Bytes in this slot, or a negative `NETIF_RSP_*`.
    pub status: i16,
}
const _: () = assert!(size_of::<RxResponse>() == 8 && offset_of!(RxResponse, status) == 6);

/// `struct netif_extra_info`, the GSO member of its union spelled out.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ExtraInfo {
    /// `XEN_NETIF_EXTRA_TYPE_*`.
    pub kind: u8,
    /// `XEN_NETIF_EXTRA_FLAG_*`.
    pub flags: u8,
    /// Bytes of payload in each segment.
    pub gso_size: u16,
    /// `XEN_NETIF_GSO_TYPE_*`.
    pub gso_type: u8,
    /// Padding.
    pub pad: u8,
    /// `XEN_NETIF_GSO_FEAT_*`; none is defined.
    pub gso_features: u16,
}
const _: () = assert!(size_of::<ExtraInfo>() == 8 && offset_of!(ExtraInfo, gso_type) == 4);

/// An extra info in a transmit ring, where slots have 12 bytes.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct TxExtraInfo {
    /// The extra info.
    pub info: ExtraInfo,
    /// Padding.
    pub pad: u32,
}
const _: () = assert!(size_of::<TxExtraInfo>() == size_of::<TxRequest>());
