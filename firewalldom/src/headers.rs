//! The headers of a packet that takes the shortest way: at fixed places, read and written in whole
//! words, most of them in the order of bytes they have on the wire.

use crate::checksum::{InMemory, Native};
use crate::flow::Ends;
use crate::frame::{Checksum, ETHERNET, Frame, Head};
use crate::packet::flags::{ACK, FIN, RST, SYN, URG};
use crate::packet::{TCP, Tuple, UDP};
use crate::tcp::Plain;

/// Ethernet, and IPv4 without options.
pub(crate) const TRANSPORT: usize = ETHERNET + 20;
const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;
/// TCP's header with padding and a timestamp behind it, as nearly all segments have.
const TCP_HEADER_WITH_TIMESTAMP: usize = 32;
const ALIGNED_TIMESTAMP: [u8; 4] = [1, 1, 8, 10];

/// The headers that are read here, with the start of TCP's options.
pub(crate) type Headers = [u8; TRANSPORT + TCP_HEADER + 4];

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

/// Addresses and ports.
#[inline(always)]
pub(crate) fn ends(head: &Headers) -> Ends {
    Ends::new(bytes(head, at::ADDRESSES), bytes(head, at::PORTS))
}

/// A link-layer address as frames begin with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Station(u64);

impl Station {
    /// No frame has it.
    pub(crate) const NONE: Self = Self(1);

    pub(crate) const fn of(mac: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = mac;
        Self(u64::from_le_bytes([0, 0, a, b, c, d, e, f]))
    }
}

/// What a packet carries: the word of IPv4's header with fragmentation and protocol, without whether it
/// may be fragmented and the hops left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Carried(u32);

impl Carried {
    /// A whole segment of TCP.
    pub(crate) const SEGMENT: Self = Self::whole(TCP);
    /// A whole datagram of UDP.
    pub(crate) const DATAGRAM: Self = Self::whole(UDP);

    const fn whole(protocol: u8) -> Self {
        Self(u32::from_ne_bytes([0, 0, 0, protocol]))
    }

    #[inline(always)]
    fn by(head: &Headers) -> Self {
        const COUNTS: u32 = u32::from_ne_bytes([0x3f, 0xff, 0, 0xff]);
        Self(u32::from_ne_bytes(bytes(head, at::FRAGMENT)) & COUNTS)
    }
}

/// Whether a frame is for this station and of IPv4, with a header without options.
#[inline(always)]
fn is_for(head: &Headers, station: Station) -> bool {
    const KIND_AND_HEADER: u32 = u32::from_le_bytes([0x08, 0x00, 0x45, 0]);
    u64::from_le_bytes(bytes(head, 0)) << 16 == station.0
        && u32::from_le_bytes(bytes(head, at::KIND)) & 0xff_ffff == KIND_AND_HEADER
}

/// What the shortest way goes by in headers that are nothing but usual.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usual {
    pub(crate) carried: Carried,
    /// Where the packet ends in its frame; what lies behind IPv4's header may not be there.
    pub(crate) end: usize,
}

/// Looks at a frame's headers: is it for this station, and an IPv4 packet without IPv4 options, whole,
/// sound, and with hops left?
#[inline(always)]
pub(crate) fn of(frame: &Frame<'_>, station: Station) -> Option<Usual> {
    let head: &Headers = frame.head.start();
    let carried = Carried::by(head);
    let end = ETHERNET + usize::from(u16::from_be_bytes(bytes(head, at::LENGTH)));
    let usual = is_for(head, station)
        && head[at::HOPS] > 1
        && end <= frame.len
        && frame.head.len() <= frame.len
        && is_sound(head);
    usual.then_some(Usual { carried, end })
}

/// Addresses and ports of what seems to be a whole packet of TCP or UDP for this station.
pub(crate) fn tuple(head: &Head, station: Station) -> Option<Tuple> {
    let head: &Headers = head.start();
    let is_one =
        is_for(head, station) && matches!(Carried::by(head), Carried::SEGMENT | Carried::DATAGRAM);
    is_one.then(|| ends(head).tuple(head[at::PROTOCOL]))
}

/// Whether the checksum of the IPv4 header is right.
#[inline(always)]
pub(crate) fn is_sound(head: &Headers) -> bool {
    Native::is_sound(
        u64::from_ne_bytes(bytes(head, at::HEADER)),
        u64::from_ne_bytes(bytes(head, at::HEADER + 8)),
        u32::from_ne_bytes(bytes(head, at::HEADER + 16)),
    )
}

/// The sum of the pseudo-header of TCP and UDP, which carry so many bytes.
#[inline(always)]
pub(crate) fn pseudo_header(head: &Headers, length: u16) -> InMemory {
    let [high, low] = length.to_be_bytes();
    let rest = u32::from_ne_bytes([0, head[at::PROTOCOL], high, low]);
    InMemory::default()
        .four(ends(head).addresses())
        .four(u64::from(rest))
}

/// Takes a hop off the time to live (RFC 1812, 5.3.1); what the header's checksum is then is for the
/// caller to write.
#[inline(always)]
fn hop(head: &mut Headers) -> u16 {
    // Of the word with hop limit and protocol, as it is in memory.
    const ONE_HOP: Native = Native::less(u16::from_ne_bytes([1, 0]));
    head[at::HOPS] = head[at::HOPS].wrapping_sub(1);
    ONE_HOP.apply(u16::from_ne_bytes(bytes(head, at::SUM)))
}

/// Takes a hop off the time to live.
pub(crate) fn decrement_ttl(head: &mut Headers) {
    let sum = hop(head);
    head[at::SUM..at::SUM + 2].copy_from_slice(&sum.to_ne_bytes());
}

/// Bytes of all headers of a segment.
#[inline(always)]
pub(crate) fn before_payload(head: &Headers) -> usize {
    TRANSPORT + usize::from(head[at::TCP_OFFSET] >> 4) * 4
}

/// A segment with no flag but ACK and PSH; `None`, if it is not such a one, if its header is not whole,
/// or has options that say more than the time, and `sack` tells that they count. `end` is where the packet
/// ends in its frame, `private` how many bytes of that there are here: none behind the end.
#[inline(always)]
pub(crate) fn segment(head: &Headers, end: usize, private: usize, sack: bool) -> Option<Plain<'_>> {
    const FLAGS: u8 = ACK | FIN | RST | SYN | URG;
    const PLAIN: u16 = u16::from_le_bytes([5 << 4, ACK]);
    const WITH_TIMESTAMP: u16 = u16::from_le_bytes([8 << 4, ACK]);
    let word = u16::from_le_bytes(bytes(head, at::TCP_OFFSET));
    let payload = match word & u16::from_le_bytes([0xf0, FLAGS]) {
        WITH_TIMESTAMP if bytes(head, at::TCP_OPTIONS) == ALIGNED_TIMESTAMP => {
            TRANSPORT + TCP_HEADER_WITH_TIMESTAMP
        }
        PLAIN => TRANSPORT + TCP_HEADER,
        _ if sack => return None,
        _ => {
            let [_, flags] = word.to_le_bytes();
            let payload = before_payload(head);
            if flags & FLAGS != ACK || payload < TRANSPORT + TCP_HEADER {
                return None;
            }
            payload
        }
    };
    if private < payload {
        return None;
    }
    debug_assert!(private <= end, "the frame was cut where its packet ends");
    Some(Plain {
        header: head[TRANSPORT..].first_chunk()?,
        length: end.wrapping_sub(payload) as u16,
    })
}

/// Whether there is a header of UDP, and the packet is as long as it says, or longer; as for
/// [`segment`].
#[inline(always)]
pub(crate) fn is_datagram(head: &Headers, end: usize, private: usize) -> bool {
    let length = usize::from(u16::from_be_bytes(bytes(head, at::UDP_LENGTH)));
    length >= UDP_HEADER && TRANSPORT + length <= end && private >= TRANSPORT + UDP_HEADER
}

/// Makes a frame leave as an answer to what arrives as `far` would come, one hop later.
#[inline(always)]
pub(crate) fn rewrite<const PROTOCOL: u8>(head: &mut Headers, far: Ends, checksum: Checksum) {
    let sum = hop(head);
    readdress::<PROTOCOL>(head, far.reversed(), sum, checksum);
}

/// Gives a packet other addresses and ports, and its header the checksum that `sum` would be without
/// that.
#[inline(always)]
pub(crate) fn readdress<const PROTOCOL: u8>(
    head: &mut Headers,
    new: Ends,
    mut sum: u16,
    checksum: Checksum,
) {
    let old = ends(head);
    if old.addresses() != new.addresses() {
        let change = Native::eight(old.addresses(), new.addresses());
        head[at::ADDRESSES..at::PORTS].copy_from_slice(&new.addresses().to_ne_bytes());
        sum = change.apply(sum);
        if checksum == Checksum::Blank {
            // The field holds the pseudo-header's sum.
            let field = of_transport::<PROTOCOL>();
            let sum = change.apply_to_sum(u16::from_ne_bytes(bytes(head, field)));
            head[field..field + 2].copy_from_slice(&sum.to_ne_bytes());
        } else {
            change_transport::<PROTOCOL>(head, change);
        }
    }
    head[at::SUM..at::SUM + 2].copy_from_slice(&sum.to_ne_bytes());
    if old.ports() != new.ports() {
        head[at::PORTS..at::PORTS + 4].copy_from_slice(&new.ports().to_ne_bytes());
        if checksum != Checksum::Blank {
            change_transport::<PROTOCOL>(head, Native::four(old.ports(), new.ports()));
        }
    }
}

const fn of_transport<const PROTOCOL: u8>() -> usize {
    match PROTOCOL {
        UDP => at::UDP_SUM,
        _ => at::TCP_SUM,
    }
}

/// Applies a change to the checksum of TCP or UDP.
#[inline(always)]
fn change_transport<const PROTOCOL: u8>(head: &mut Headers, change: Native) {
    let field = const { of_transport::<PROTOCOL>() };
    let mut sum = u16::from_ne_bytes(bytes(head, field));
    if PROTOCOL == UDP && sum == 0 {
        // There is none.
        return;
    }
    sum = change.apply(sum);
    if PROTOCOL == UDP && sum == 0 {
        sum = 0xffff;
    }
    head[field..field + 2].copy_from_slice(&sum.to_ne_bytes());
}
