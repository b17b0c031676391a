//! Frames, written byte by byte and apart from the engine's own code.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Length of an Ethernet header in bytes.
pub const ETHERNET: usize = 14;

/// SCTP's number in the IPv4 header.
pub const SCTP: u8 = 132;

/// Where SCTP has its checksum (RFC 9260, 3.1).
pub(crate) const SCTP_CHECKSUM: usize = 8;

/// TCP flags (RFC 9293, 3.1).
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset the connection.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// The acknowledgement counts.
    pub const ACK: u8 = 16;
    /// The urgent pointer counts.
    pub const URG: u8 = 32;
}

/// An IPv4 packet to be sent (RFC 791).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Identification.
    pub ident: u16,
    /// Time to live.
    pub ttl: u8,
    /// Type of service.
    pub tos: u8,
    /// Flags and fragment offset, as in the header: 0x4000 is "don't fragment".
    pub fragment: u16,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// What it carries.
    pub transport: Transport,
}

/// What an IPv4 packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A TCP segment.
    Tcp(Ports, Segment),
    /// A UDP datagram.
    Udp(Ports, Vec<u8>),
    /// An ICMP message: type, code, the second word, what follows.
    Icmp(u8, u8, [u8; 4], Vec<u8>),
    /// An SCTP packet: its verification tag and its chunks (RFC 9260, 3).
    Sctp(Ports, u32, Vec<u8>),
    /// Another protocol, or bytes as they are.
    Other(u8, Vec<u8>),
}

/// Source and destination port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Source.
    pub source: u16,
    /// Destination.
    pub destination: u16,
}

/// A TCP segment without its ports (RFC 9293, 3.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Of [`flag`].
    pub flags: u8,
    /// As in the header: not scaled.
    pub window: u16,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
    /// Data.
    pub payload: Vec<u8>,
}

impl Packet {
    /// A packet as an ordinary host sends it.
    #[must_use]
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, transport: Transport) -> Self {
        Self {
            source,
            destination,
            ident: 0x1234,
            ttl: 64,
            tos: 0,
            fragment: 0x4000,
            options: Vec::new(),
            transport,
        }
    }

    /// It, behind an Ethernet header, with every checksum right.
    #[must_use]
    pub fn frame(&self, from: [u8; 6], to: [u8; 6]) -> Vec<u8> {
        let payload = self.transport.bytes(self.source, self.destination);
        let mut frame = Vec::with_capacity(ETHERNET + 20 + payload.len());
        frame.extend(to);
        frame.extend(from);
        frame.extend([0x08, 0x00]);
        let words = 5 + self.options.len() / 4;
        frame.extend([0x40 | words as u8, self.tos]);
        frame.extend(((words * 4 + payload.len()) as u16).to_be_bytes());
        frame.extend(self.ident.to_be_bytes());
        frame.extend(self.fragment.to_be_bytes());
        frame.extend([self.ttl, self.transport.protocol(), 0, 0]);
        frame.extend(self.source.octets());
        frame.extend(self.destination.octets());
        frame.extend(&self.options);
        fix_header(&mut frame);
        frame.extend(payload);
        frame
    }
}

impl Transport {
    /// Its number in the IPv4 header.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        match self {
            Self::Tcp(..) => 6,
            Self::Udp(..) => 17,
            Self::Icmp(..) => 1,
            Self::Sctp(..) => SCTP,
            Self::Other(protocol, _) => *protocol,
        }
    }

    fn bytes(&self, source: Ipv4Addr, destination: Ipv4Addr) -> Vec<u8> {
        let mut bytes = Vec::new();
        let at = match self {
            Self::Tcp(ports, segment) => {
                bytes.extend(ports.source.to_be_bytes());
                bytes.extend(ports.destination.to_be_bytes());
                bytes.extend(segment.sequence.to_be_bytes());
                bytes.extend(segment.acknowledgement.to_be_bytes());
                let words = 5 + segment.options.len() / 4;
                bytes.extend([(words as u8) << 4, segment.flags]);
                bytes.extend(segment.window.to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(&segment.options);
                bytes.extend(&segment.payload);
                16
            }
            Self::Udp(ports, payload) => {
                bytes.extend(ports.source.to_be_bytes());
                bytes.extend(ports.destination.to_be_bytes());
                bytes.extend((8 + payload.len() as u16).to_be_bytes());
                bytes.extend([0; 2]);
                bytes.extend(payload);
                6
            }
            Self::Icmp(kind, code, rest, payload) => {
                bytes.extend([*kind, *code, 0, 0]);
                bytes.extend(rest);
                bytes.extend(payload);
                2
            }
            Self::Sctp(ports, tag, chunks) => {
                bytes.extend(ports.source.to_be_bytes());
                bytes.extend(ports.destination.to_be_bytes());
                bytes.extend(tag.to_be_bytes());
                bytes.extend([0; 4]);
                bytes.extend(chunks);
                let sum = crc32c(&bytes).to_le_bytes();
                bytes[SCTP_CHECKSUM..SCTP_CHECKSUM + 4].copy_from_slice(&sum);
                return bytes;
            }
            Self::Other(_, payload) => return payload.clone(),
        };
        let sum = match self {
            Self::Icmp(..) => checksum(&[&bytes]),
            _ => {
                let length = (bytes.len() as u16).to_be_bytes();
                let (source, destination) = (source.octets(), destination.octets());
                checksum(&[
                    &source,
                    &destination,
                    &[0, self.protocol()],
                    &length,
                    &bytes,
                ])
            }
        };
        // A UDP checksum of 0 would mean that there is none (RFC 768).
        let sum = if sum == 0 && self.protocol() == 17 {
            0xffff
        } else {
            sum
        };
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }
}

/// Makes the IPv4 header's checksum right again.
pub fn fix_header(frame: &mut [u8]) {
    let end = ETHERNET + usize::from(frame[ETHERNET] & 15) * 4;
    frame[24..26].fill(0);
    let sum = checksum(&[&frame[ETHERNET..end]]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// The Internet checksum (RFC 1071) of parts, each of even length but the last.
#[must_use]
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let mut sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0)))
        .sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// SCTP's checksum of a packet whose own is zero (RFC 9260, appendix A); the packet has its least
/// significant byte first.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !sum
}

/// An IPv4 packet in a frame, as far as it can be read.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The IPv4 packet from its header on.
    pub bytes: &'a [u8],
    header: usize,
}

impl<'a> View<'a> {
    /// The packet in a frame; `None`: not IPv4, or cut in its header.
    #[must_use]
    pub fn of_frame(frame: &'a [u8]) -> Option<Self> {
        match frame.get(12..14)? {
            [0x08, 0x00] => Self::of_packet(&frame[ETHERNET..]),
            _ => None,
        }
    }

    /// A packet, or as much of one as an ICMP error quotes.
    #[must_use]
    pub fn of_packet(bytes: &'a [u8]) -> Option<Self> {
        let header = usize::from(bytes.first()? & 15) * 4;
        let whole = bytes[0] >> 4 == 4 && header >= 20 && bytes.len() >= header;
        whole.then_some(Self { bytes, header })
    }

    /// Source address.
    #[must_use]
    pub fn source(&self) -> Ipv4Addr {
        self.address(12)
    }

    /// Destination address.
    #[must_use]
    pub fn destination(&self) -> Ipv4Addr {
        self.address(16)
    }

    /// Protocol number.
    #[must_use]
    pub fn protocol(&self) -> u8 {
        self.bytes[9]
    }

    /// Identification.
    #[must_use]
    pub fn ident(&self) -> u16 {
        u16::from_be_bytes([self.bytes[4], self.bytes[5]])
    }

    /// Flags and fragment offset.
    #[must_use]
    pub fn fragment(&self) -> u16 {
        u16::from_be_bytes([self.bytes[6], self.bytes[7]])
    }

    /// What follows the header.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[self.header..]
    }

    /// Ports of TCP, UDP, SCTP, DCCP and UDP-Lite, of a first fragment or a whole packet.
    #[must_use]
    pub fn ports(&self) -> Option<Ports> {
        let carries = matches!(self.protocol(), 6 | 17 | 33 | 132 | 136);
        if !carries || self.fragment() & 0x1fff != 0 {
            return None;
        }
        let ports = self.payload().get(..4)?;
        Some(Ports {
            source: u16::from_be_bytes([ports[0], ports[1]]),
            destination: u16::from_be_bytes([ports[2], ports[3]]),
        })
    }

    /// The packet that an ICMP error quotes.
    #[must_use]
    pub fn quoted(&self) -> Option<View<'a>> {
        let is_error = self.protocol() == 1
            && self.fragment() & 0x1fff == 0
            && matches!(self.payload().first()?, 3 | 4 | 5 | 11 | 12);
        match is_error {
            true => Self::of_packet(self.payload().get(8..)?),
            false => None,
        }
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        let octets = &self.bytes[at..at + 4];
        Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])
    }
}
