//! The headers of a packet that takes the shortest way: at fixed places, read and written in whole
//! words, most of them in the order of bytes they have on the wire.

use crate::checksum::Native;
use crate::flow::{Ends, Selective};
use crate::frame::{Checksum, ETHERNET, Frame};
use crate::packet::flags::{ACK, FIN, RST, SYN, URG};
use crate::packet::{TCP, UDP};

/// Ethernet, and IPv4 without options.
pub(crate) const TRANSPORT: usize = ETHERNET + 20;
const TCP_HEADER: usize = 20;
/// TCP's header with padding and a timestamp behind it, as nearly all segments have.
const TCP_HEADER_WITH_TIMESTAMP: usize = 32;
const ALIGNED_TIMESTAMP: [u8; 4] = [1, 1, 8, 10];

/// Fewest bytes of headers; a frame with less is left to the whole way.
pub(crate) const HEADERS_MIN: usize = TRANSPORT + TCP_HEADER;

/// The headers that are read here, with the start of TCP's options.
pub(crate) type Headers = [u8; HEADERS_MIN + 4];

/// Where the fields are.
pub(crate) mod at {
    use super::{ETHERNET, TRANSPORT};
    pub(crate) const KIND: usize = 12;
    pub(crate) const HEADER: usize = ETHERNET;
    pub(crate) const LENGTH: usize = 16;
    pub(crate) const FRAGMENT: usize = 20;
    pub(crate) const HOPS: usize = 22;
    pub(crate) const PROTOCOL: usize = 23;
    pub(crate) const SUM: usize = 24;
    pub(crate) const ADDRESSES: usize = 26;
    pub(crate) const PORTS: usize = TRANSPORT;
    pub(crate) const UDP_LENGTH: usize = TRANSPORT + 4;
    pub(crate) const UDP_SUM: usize = TRANSPORT + 6;
    pub(crate) const TCP_OFFSET: usize = TRANSPORT + 12;
    pub(crate) const TCP_SUM: usize = TRANSPORT + 16;
    pub(crate) const TCP_OPTIONS: usize = TRANSPORT + 20;
}

/// The bytes at `offset`, which lies within the headers.
#[inline(always)]
pub(crate) fn bytes<const N: usize>(head: &Headers, offset: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&head[offset..offset + N]);
    bytes
}

/// Bytes of the IPv4 packet.
#[inline(always)]
pub(crate) fn total(head: &Headers) -> usize {
    usize::from(u16::from_be_bytes(bytes(head, at::LENGTH)))
}

/// Addresses and ports.
#[inline(always)]
pub(crate) fn ends(head: &Headers) -> Ends {
    Ends::new(bytes(head, at::ADDRESSES), bytes(head, at::PORTS))
}

/// A link-layer address as frames begin with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Station(u64);

impl Station {
    pub(crate) const fn of(mac: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = mac;
        Self(u64::from_le_bytes([0, 0, a, b, c, d, e, f]))
    }
}

/// The headers of a frame, if it is for this station, and an IPv4 packet without IPv4 options, whole,
/// sound, and with hops left.
#[inline(always)]
pub(crate) fn of<'a>(frame: &'a Frame<'_>, station: Station) -> Option<&'a Headers> {
    let head: &Headers = frame.head.first(HEADERS_MIN)?;
    let end = ETHERNET + total(head);
    let usual = u64::from_le_bytes(bytes(head, 0)) << 16 == station.0
        && bytes(head, at::KIND) == [0x08, 0x00]
        && head[at::HEADER] == 0x45
        && u16::from_be_bytes(bytes(head, at::FRAGMENT)) & 0x3fff == 0
        && head[at::HOPS] > 1
        && end >= HEADERS_MIN
        && end <= frame.len
        && frame.head.len() <= frame.len
        && is_sound(head);
    usual.then_some(head)
}

/// Whether the checksum of the IPv4 header is right.
#[inline(always)]
fn is_sound(head: &Headers) -> bool {
    Native::is_sound(
        u64::from_ne_bytes(bytes(head, at::HEADER)),
        u64::from_ne_bytes(bytes(head, at::HEADER + 8)),
        u32::from_ne_bytes(bytes(head, at::HEADER + 16)),
    )
}

/// Bytes of the headers of IPv4 and TCP.
pub(crate) fn segment(head: &Headers) -> usize {
    20 + usize::from(head[at::TCP_OFFSET] >> 4) * 4
}

/// Payload of a segment with no flag but ACK and PSH in bytes, and whether its options may say more
/// than the time; `None`, if it is not such a one, or its header is not whole. `total` is the packet's
/// length, `private` how many bytes of the frame there are here.
#[inline(always)]
pub(crate) fn payload(head: &Headers, total: usize, private: usize) -> Option<(u16, Selective)> {
    const FLAGS: u8 = ACK | FIN | RST | SYN | URG;
    const PLAIN: u16 = u16::from_le_bytes([5 << 4, ACK]);
    const WITH_TIMESTAMP: u16 = u16::from_le_bytes([8 << 4, ACK]);
    let behind = |header: usize| {
        let whole = 20 + header <= total && TRANSPORT + header <= private;
        whole.then(|| (total - 20 - header) as u16)
    };
    let word = u16::from_le_bytes(bytes(head, at::TCP_OFFSET));
    match word & u16::from_le_bytes([0xf0, FLAGS]) {
        WITH_TIMESTAMP if bytes(head, at::TCP_OPTIONS) == ALIGNED_TIMESTAMP => {
            Some((behind(TCP_HEADER_WITH_TIMESTAMP)?, Selective::None))
        }
        PLAIN => Some((behind(TCP_HEADER)?, Selective::None)),
        _ => {
            let [offset, flags] = word.to_le_bytes();
            let header = usize::from(offset >> 4) * 4;
            if flags & FLAGS != ACK || header < TCP_HEADER {
                return None;
            }
            Some((behind(header)?, Selective::Perhaps))
        }
    }
}

/// Makes a frame leave as an answer to what arrives as `far` would come, one hop later.
// Apart, for its own use of registers, as all the larger parts of the shortest way are.
#[inline(never)]
pub(crate) fn rewrite<const PROTOCOL: u8>(head: &mut Headers, far: &Ends, checksum: Checksum) {
    // Of the word with hop limit and protocol, as it is in memory.
    const HOP: u16 = u16::from_ne_bytes([1, 0]);
    let old = ends(head);
    let new = far.reversed();
    let mut addresses = Native::default();
    if old != new {
        addresses = Native::change(old.addresses(), new.addresses());
        let all = addresses.and_change(old.ports(), new.ports());
        let field = match PROTOCOL {
            UDP => at::UDP_SUM,
            _ => at::TCP_SUM,
        };
        let value = u16::from_ne_bytes(bytes(head, field));
        let value = match (checksum, PROTOCOL) {
            // The field holds the pseudo-header's sum: it does not cover the ports.
            (Checksum::Blank, _) => addresses.apply_to_sum(value),
            (_, TCP) => all.apply(value),
            _ => match (value, all.apply(value)) {
                (0, _) => 0,
                (_, 0) => 0xffff,
                (_, value) => value,
            },
        };
        head[field..field + 2].copy_from_slice(&value.to_ne_bytes());
        head[at::ADDRESSES..at::PORTS].copy_from_slice(&new.addresses().to_ne_bytes());
        head[at::PORTS..at::PORTS + 4].copy_from_slice(&new.ports().to_ne_bytes());
    }
    let sum = u16::from_ne_bytes(bytes(head, at::SUM));
    let sum = addresses.and_less(HOP).apply(sum);
    head[at::HOPS] -= 1;
    head[at::SUM..at::SUM + 2].copy_from_slice(&sum.to_ne_bytes());
}
