//! What the firewall says to senders: TCP resets and ICMP errors, by protocol and never in answer to
//! what must not be answered (RFC 1122, 3.2.2; RFC 1812, 4.3.2.7).

use crate::checksum::{Sum, get16, get32, put16, put32};
use crate::frame::{ETHERNET, Frame};
use crate::limit::{Bucket, Buckets, Tokens};
use crate::packet::{
    Cast, ICMP, IGMP, Packet, TCP, UDP, flags, icmp_asks, icmp_is_error, sum_frame, tcp_numbers,
};
use crate::policy::RejectWith;
use crate::reason::Reason;
use crate::time::Instant;
use alloc::vec;
use alloc::vec::Vec;

/// An ICMP error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    NetUnreachable,
    HostUnreachable,
    ProtocolUnreachable,
    PortUnreachable,
    NetProhibited,
    HostProhibited,
    AdminProhibited,
    /// Next-hop MTU in bytes (RFC 1191).
    FragmentationNeeded(u16),
    TimeExceeded,
}

impl Error {
    /// Type, code, and the low half of the second word.
    const fn encode(self) -> (u8, u8, u16) {
        match self {
            Self::NetUnreachable => (3, 0, 0),
            Self::HostUnreachable => (3, 1, 0),
            Self::ProtocolUnreachable => (3, 2, 0),
            Self::PortUnreachable => (3, 3, 0),
            Self::FragmentationNeeded(mtu) => (3, 4, mtu),
            Self::NetProhibited => (3, 9, 0),
            Self::HostProhibited => (3, 10, 0),
            Self::AdminProhibited => (3, 13, 0),
            Self::TimeExceeded => (11, 0, 0),
        }
    }
}

/// Whether ICMP errors are limited in number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorRate {
    /// As Linux does unless told otherwise: one a second to each address, six of them saved
    /// (`icmp_ratelimit`), and in all 1,000 a second, 50 saved (`icmp_msgs_per_sec`).
    #[default]
    Limited,
    /// Not at all.
    Unlimited,
}

/// How many ICMP errors there may be. What senders must know to get anything through at all (RFC 1191)
/// is counted apart and not for each address, so that no flood of refused packets keeps it from them.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    pub(crate) rate: ErrorRate,
    path_mtu: Bucket,
    all: Bucket,
    each: Buckets,
}

impl Limit {
    /// Addresses that have a limit of their own at a time.
    const ADDRESSES: usize = 1024;
    const SECOND_NS: u64 = 1_000_000_000;

    pub(crate) fn new() -> Self {
        let bucket = Bucket::new(Tokens::new(1000, Self::SECOND_NS, 50));
        Self {
            rate: ErrorRate::default(),
            path_mtu: bucket,
            all: bucket,
            each: Buckets::new(Tokens::new(1, Self::SECOND_NS, 6), Self::ADDRESSES),
        }
    }

    /// Whether this error may be sent now to `address`, whose secret hash is `hash`.
    pub(crate) fn allows(&mut self, now: Instant, error: Error, address: u32, hash: u64) -> bool {
        if self.rate == ErrorRate::Unlimited {
            return true;
        }
        match error {
            Error::FragmentationNeeded(_) => self.path_mtu.take(now),
            _ => self.each.take(now, address, hash) && self.all.take(now),
        }
    }
}

/// Whether a packet's own checksum says that it came as it was sent: the condition on which netfilter
/// rejects anything. Protocols that it does not know it takes to have the Internet checksum over all
/// they carry, but for those of which it knows better.
pub(crate) fn is_vouched_for(frame: &Frame<'_>, packet: &Packet) -> bool {
    /// GRE, ESP, AH, DCCP, SCTP and UDP-Lite: other checksums, or none.
    const OTHERWISE: [u8; 6] = [47, 50, 51, 33, 132, 136];
    match packet.tuple.protocol {
        // Read with the packet.
        TCP | UDP | ICMP => true,
        protocol if OTHERWISE.contains(&protocol) => true,
        _ => {
            let end = packet.transport + usize::from(packet.payload_len());
            // Linux sums the header as well, which adds nothing, but makes zero of a payload of zeros.
            sum_frame(frame, Sum::default(), packet.transport, end)
                .is_ok_and(|sum| matches!(sum.fold(), 0 | 0xffff))
        }
    }
}

/// How a REJECT answers a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Reset,
    Error(Error),
}

/// Shorewall's `reject` chain: nothing to broadcasts, multicasts and IGMP; else by protocol.
pub(crate) const fn answer(packet: &Packet) -> Option<Answer> {
    Some(match packet.tuple.protocol {
        IGMP => return None,
        TCP => Answer::Reset,
        UDP => Answer::Error(Error::PortUnreachable),
        ICMP => Answer::Error(Error::HostUnreachable),
        _ => Answer::Error(Error::HostProhibited),
    })
}

/// What a REJECT that says how sends; a reset only to TCP.
pub(crate) const fn answer_with(packet: &Packet, with: RejectWith) -> Option<Answer> {
    Some(Answer::Error(match with {
        RejectWith::NetUnreachable => Error::NetUnreachable,
        RejectWith::HostUnreachable => Error::HostUnreachable,
        RejectWith::ProtocolUnreachable => Error::ProtocolUnreachable,
        RejectWith::PortUnreachable => Error::PortUnreachable,
        RejectWith::NetProhibited => Error::NetProhibited,
        RejectWith::HostProhibited => Error::HostProhibited,
        RejectWith::AdminProhibited => Error::AdminProhibited,
        RejectWith::TcpReset if packet.tuple.protocol == TCP => return Some(Answer::Reset),
        RejectWith::TcpReset => return None,
    }))
}

/// Whether an ICMP error may be sent about a packet, broadcasts in its addresses apart.
pub(crate) const fn may_report(packet: &Packet) -> bool {
    let (kind, _) = packet.icmp;
    let is_error = icmp_is_error(kind) || !(icmp_asks(kind) || matches!(kind, 0 | 14 | 16 | 18));
    matches!(packet.cast, Cast::Unicast) && !(packet.tuple.protocol == ICMP && is_error)
}

/// Writes an IPv4 header without options over the 20 bytes behind the Ethernet header.
pub(crate) fn write_ip(bytes: &mut [u8], header: Header) {
    let total = bytes.len() - ETHERNET;
    let ip = &mut bytes[ETHERNET..ETHERNET + 20];
    ip[0] = 0x45;
    ip[1] = header.tos;
    put16(ip, 2, total as u16);
    put16(ip, 4, header.ident);
    put16(ip, 6, if header.ident == 0 { 0x4000 } else { 0 });
    ip[8] = 64;
    ip[9] = header.protocol;
    put16(ip, 10, 0);
    put32(ip, 12, header.source);
    put32(ip, 16, header.destination);
    let checksum = Sum::default().bytes(ip).finish();
    put16(ip, 10, checksum);
}

/// An IPv4 header of the firewall's own making; time to live 64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) tos: u8,
    /// 0: don't fragment.
    pub(crate) ident: u16,
    pub(crate) protocol: u8,
    pub(crate) source: u32,
    pub(crate) destination: u32,
}

/// Writes a reset's checksum 0 as its other representation (RFC 1071), which is what Linux makes of
/// one that it left to a device.
pub(crate) fn avoid_zero_checksum(reset: &mut [u8]) {
    let checksum = &mut reset[ETHERNET + 36..ETHERNET + 38];
    if checksum == [0, 0] {
        checksum.fill(0xff);
    }
}

/// The reset that answers a segment (RFC 9293, 3.10.7.1), as a frame without Ethernet addresses;
/// `None` for a reset.
pub(crate) fn reset(head: &[u8], packet: &Packet, tos: u8) -> Option<Vec<u8>> {
    if packet.tcp_flags & flags::RST != 0 {
        return None;
    }
    let tuple = packet.tuple.reversed();
    let (sequence, acknowledgement, payload) = tcp_numbers(head, packet);
    let mut bytes = vec![0; ETHERNET + 40];
    write_ip(
        &mut bytes,
        Header {
            tos,
            ident: 0,
            protocol: TCP,
            source: tuple.source,
            destination: tuple.destination,
        },
    );
    let tcp = &mut bytes[ETHERNET + 20..];
    put16(tcp, 0, tuple.source_port);
    put16(tcp, 2, tuple.destination_port);
    tcp[12] = 5 << 4;
    if packet.tcp_flags & flags::ACK != 0 {
        put32(tcp, 4, acknowledgement);
        tcp[13] = flags::RST;
    } else {
        let opening = u32::from(packet.tcp_flags & flags::SYN != 0);
        let closing = u32::from(packet.tcp_flags & flags::FIN != 0);
        put32(
            tcp,
            8,
            sequence
                .wrapping_add(opening + closing)
                .wrapping_add(payload),
        );
        tcp[13] = flags::RST | flags::ACK;
    }
    let sum = Sum::default()
        .pseudo_header(tuple.source, tuple.destination, TCP, 20)
        .bytes(tcp);
    put16(tcp, 16, sum.finish());
    Some(bytes)
}

/// An ICMP error about a frame, as a frame without Ethernet addresses. It quotes as much of the
/// packet as fits in 576 bytes (RFC 1812, 4.3.2.3).
pub(crate) fn error(
    frame: &Frame<'_>,
    source: u32,
    ident: u16,
    error: Error,
) -> Result<Vec<u8>, Reason> {
    const QUOTE: usize = 576 - 20 - 8;
    let head = frame.head.bytes();
    let quoted = (frame.len - ETHERNET).min(QUOTE);
    let mut bytes = vec![0; ETHERNET + 28 + quoted];
    let tos = head[ETHERNET + 1] & 0x1e | 0xc0;
    let destination = get32(head, ETHERNET + 12);
    write_ip(
        &mut bytes,
        Header {
            tos,
            ident: ident.max(1),
            protocol: ICMP,
            source,
            destination,
        },
    );
    let icmp = &mut bytes[ETHERNET + 20..];
    let (kind, code, word) = error.encode();
    icmp[0] = kind;
    icmp[1] = code;
    put16(icmp, 6, word);
    frame.read(ETHERNET, &mut icmp[8..])?;
    let checksum = Sum::default().bytes(icmp).finish();
    put16(icmp, 2, checksum);
    Ok(bytes)
}

/// Fills in a checksum that was left blank, for a frame that is kept or cut up.
pub(crate) fn complete_checksum(bytes: &mut [u8], transport: usize, protocol: u8) {
    let field = transport + if protocol == TCP { 16 } else { 6 };
    let (source, destination) = (get32(bytes, ETHERNET + 12), get32(bytes, ETHERNET + 16));
    put16(bytes, field, 0);
    let length = (bytes.len() - transport) as u16;
    let sum = Sum::default().pseudo_header(source, destination, protocol, length);
    let checksum = sum.bytes(&bytes[transport..]).finish();
    put16(
        bytes,
        field,
        if checksum == 0 && protocol == UDP {
            0xffff
        } else {
            checksum
        },
    );
}

/// Whether a router may cut the packet (RFC 791, 3.1: its flag DF is clear). `head` begins with the
/// Ethernet header.
pub(crate) fn may_fragment(head: &[u8]) -> bool {
    get16(head, ETHERNET + 6) & 0x4000 == 0
}
