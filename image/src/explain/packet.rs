//! The packet that is asked about, as bytes, and what came out of the engine, in words.

use std::fmt;
use std::net::Ipv4Addr;

use serde::Serialize;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    EthernetRepr, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr, TcpSeqNumber,
    UdpPacket, UdpRepr,
};

/// What the packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The first segment of a connection.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// A datagram.
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// A message of ICMP.
    Icmp {
        /// Type: 8 is an echo request.
        kind: u8,
        /// Code.
        code: u8,
    },
    /// Another protocol, with eight bytes of payload.
    Other(u8),
}

impl Transport {
    /// Its number in an IPv4 header.
    pub fn protocol(self) -> u8 {
        match self {
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Icmp { .. } => 1,
            Self::Other(number) => number,
        }
    }
}

/// A packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub from: Ipv4Addr,
    /// Destination address.
    pub to: Ipv4Addr,
    /// What is in it.
    pub transport: Transport,
}

const HOP_LIMIT: u8 = 64;
const PAYLOAD: [u8; 8] = [0; 8];

impl Packet {
    /// The frame that brings it, right in every checksum.
    pub fn frame(&self, source: EthernetAddress, destination: EthernetAddress) -> Vec<u8> {
        let checksums = ChecksumCapabilities::default();
        let payload = self.payload();
        let ipv4 = Ipv4Repr {
            src_addr: self.from,
            dst_addr: self.to,
            next_header: IpProtocol::from(self.transport.protocol()),
            payload_len: payload.len(),
            hop_limit: HOP_LIMIT,
        };
        let ethernet = EthernetRepr {
            src_addr: source,
            dst_addr: destination,
            ethertype: EthernetProtocol::Ipv4,
        };
        let start = ethernet.buffer_len() + ipv4.buffer_len();
        let mut bytes = vec![0; start + payload.len()];
        ethernet.emit(&mut EthernetFrame::new_unchecked(&mut bytes[..]));
        ipv4.emit(
            &mut Ipv4Packet::new_unchecked(&mut bytes[ethernet.buffer_len()..]),
            &checksums,
        );
        bytes[start..].copy_from_slice(&payload);
        bytes
    }

    /// The transport header and what follows it.
    fn payload(&self) -> Vec<u8> {
        let checksums = ChecksumCapabilities::default();
        let (from, to) = (self.from.into(), self.to.into());
        match self.transport {
            Transport::Tcp {
                source,
                destination,
            } => {
                let repr = TcpRepr {
                    src_port: source,
                    dst_port: destination,
                    control: TcpControl::Syn,
                    seq_number: TcpSeqNumber(1),
                    ack_number: None,
                    window_len: 64_240,
                    window_scale: None,
                    max_seg_size: Some(1460),
                    sack_permitted: false,
                    sack_ranges: [None; 3],
                    timestamp: None,
                    payload: &[],
                };
                let mut bytes = vec![0; repr.buffer_len()];
                repr.emit(
                    &mut TcpPacket::new_unchecked(&mut bytes[..]),
                    &from,
                    &to,
                    &checksums,
                );
                bytes
            }
            Transport::Udp {
                source,
                destination,
            } => {
                let repr = UdpRepr {
                    src_port: source,
                    dst_port: destination,
                };
                let mut bytes = vec![0; repr.header_len() + PAYLOAD.len()];
                repr.emit(
                    &mut UdpPacket::new_unchecked(&mut bytes[..]),
                    &from,
                    &to,
                    PAYLOAD.len(),
                    |payload| payload.copy_from_slice(&PAYLOAD),
                    &checksums,
                );
                bytes
            }
            Transport::Icmp { kind, code } => {
                let mut bytes = vec![kind, code, 0, 0, 0, 1, 0, 1];
                bytes.extend(PAYLOAD);
                let sum = !ones_complement(&bytes);
                bytes[2..4].copy_from_slice(&sum.to_be_bytes());
                bytes
            }
            Transport::Other(_) => PAYLOAD.to_vec(),
        }
    }
}

/// The one's complement sum of RFC 1071, of an even number of bytes.
fn ones_complement(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks_exact(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    ((folded & 0xffff) + (folded >> 16)) as u16
}

/// An IPv4 packet on a wire, as people tell packets apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// The interface it left by.
    pub interface: String,
    /// Source address.
    pub from: Ipv4Addr,
    /// Destination address.
    pub to: Ipv4Addr,
    /// Protocol number.
    pub protocol: u8,
    /// Source port, of TCP and UDP.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// What kind of packet it is: `SYN`, `RST`, `echo request`, …
    pub kind: String,
}

impl Seen {
    /// What the frame is that left by `interface`; `None` if it is not IPv4.
    pub fn of(interface: &str, frame: &[u8]) -> Option<Self> {
        let frame = EthernetFrame::new_checked(frame).ok()?;
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
        let payload = packet.payload();
        let (ports, kind) = match packet.next_header() {
            IpProtocol::Tcp => {
                let tcp = TcpPacket::new_checked(payload).ok()?;
                let flags = [
                    (tcp.syn(), "SYN"),
                    (tcp.rst(), "RST"),
                    (tcp.fin(), "FIN"),
                    (tcp.ack(), "ACK"),
                ];
                let names: Vec<_> = flags
                    .iter()
                    .filter_map(|(set, name)| set.then_some(*name))
                    .collect();
                (Some((tcp.src_port(), tcp.dst_port())), names.join(" "))
            }
            IpProtocol::Udp => {
                let udp = UdpPacket::new_checked(payload).ok()?;
                (Some((udp.src_port(), udp.dst_port())), String::new())
            }
            IpProtocol::Icmp => (None, icmp(*payload.first()?, *payload.get(1)?)),
            _ => (None, String::new()),
        };
        Some(Self {
            interface: interface.to_owned(),
            from: packet.src_addr(),
            to: packet.dst_addr(),
            protocol: packet.next_header().into(),
            source_port: ports.map(|(source, _)| source),
            destination_port: ports.map(|(_, destination)| destination),
            kind,
        })
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |address: Ipv4Addr, port: Option<u16>| match port {
            Some(port) => format!("{address}:{port}"),
            None => address.to_string(),
        };
        write!(
            formatter,
            "{} -> {}  {}",
            end(self.from, self.source_port),
            end(self.to, self.destination_port),
            protocol_name(self.protocol),
        )?;
        if self.kind.is_empty() {
            Ok(())
        } else {
            write!(formatter, " {}", self.kind)
        }
    }
}

/// `tcp`, `udp`, `icmp`, or the number.
pub fn protocol_name(protocol: u8) -> String {
    match protocol {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        other => format!("protocol {other}"),
    }
}

/// The messages that a firewall is asked about or answers with.
fn icmp(kind: u8, code: u8) -> String {
    let name = match (kind, code) {
        (0, _) => "echo reply",
        (3, 0) => "net unreachable",
        (3, 1) => "host unreachable",
        (3, 2) => "protocol unreachable",
        (3, 3) => "port unreachable",
        (3, 4) => "fragmentation needed",
        (3, 9) => "net prohibited",
        (3, 10) => "host prohibited",
        (3, 13) => "administratively prohibited",
        (8, _) => "echo request",
        (11, _) => "time exceeded",
        _ => return format!("type {kind} code {code}"),
    };
    name.to_owned()
}

/// The answer to an ARP request among `frames`: whoever is asked for is there.
pub(super) fn arp_answer(frame: &[u8], owner: EthernetAddress) -> Option<Vec<u8>> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Arp {
        return None;
    }
    let packet = ArpPacket::new_checked(frame.payload()).ok()?;
    let ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Request,
        source_hardware_addr,
        source_protocol_addr,
        target_protocol_addr,
        ..
    } = ArpRepr::parse(&packet).ok()?
    else {
        return None;
    };
    if source_protocol_addr == target_protocol_addr {
        // It only tells of itself.
        return None;
    }
    let ethernet = EthernetRepr {
        src_addr: owner,
        dst_addr: source_hardware_addr,
        ethertype: EthernetProtocol::Arp,
    };
    let answer = ArpRepr::EthernetIpv4 {
        operation: ArpOperation::Reply,
        source_hardware_addr: owner,
        source_protocol_addr: target_protocol_addr,
        target_hardware_addr: source_hardware_addr,
        target_protocol_addr: source_protocol_addr,
    };
    let mut bytes = vec![0; ethernet.buffer_len() + answer.buffer_len()];
    ethernet.emit(&mut EthernetFrame::new_unchecked(&mut bytes[..]));
    answer.emit(&mut ArpPacket::new_unchecked(
        &mut bytes[ethernet.buffer_len()..],
    ));
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);
    const THERE: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);

    #[test]
    fn what_was_made_is_seen_again() {
        for (transport, expected) in [
            (
                Transport::Tcp {
                    source: 40_000,
                    destination: 80,
                },
                "10.0.3.9:40000 -> 192.0.2.7:80  tcp SYN",
            ),
            (
                Transport::Udp {
                    source: 53,
                    destination: 5353,
                },
                "10.0.3.9:53 -> 192.0.2.7:5353  udp",
            ),
            (
                Transport::Icmp { kind: 8, code: 0 },
                "10.0.3.9 -> 192.0.2.7  icmp echo request",
            ),
            (Transport::Other(47), "10.0.3.9 -> 192.0.2.7  protocol 47"),
        ] {
            let packet = Packet {
                from: Ipv4Addr::new(10, 0, 3, 9),
                to: Ipv4Addr::new(192, 0, 2, 7),
                transport,
            };
            let seen = Seen::of("eth0", &packet.frame(HERE, THERE)).expect("IPv4");
            assert_eq!(seen.to_string(), expected);
            assert_eq!(seen.interface, "eth0");
        }
    }

    #[test]
    fn an_announcement_is_not_answered() {
        let mut bytes = vec![0; 42];
        let own = Ipv4Addr::new(10, 0, 3, 1);
        let ask = |target| ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: HERE,
            source_protocol_addr: own,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: target,
        };
        bytes[12..14].copy_from_slice(&[8, 6]);
        ask(own).emit(&mut ArpPacket::new_unchecked(&mut bytes[14..]));
        assert_eq!(arp_answer(&bytes, THERE), None);
        ask(Ipv4Addr::new(10, 0, 3, 9)).emit(&mut ArpPacket::new_unchecked(&mut bytes[14..]));
        let answer = arp_answer(&bytes, THERE).expect("an answer");
        assert_eq!(answer[..6], HERE.0);
        assert_eq!(answer[28..32], [10, 0, 3, 9]);
    }
}
