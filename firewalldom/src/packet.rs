//! An IPv4 packet's headers, parsed once: every check here is on the private copy in the head.

use crate::checksum::{Sum, get16, get32};
use crate::crc32c;
use crate::established::Summed;
use crate::fragment::is_fragment;
use crate::frame::{Checksum, ETHERNET, Frame, GsoKind};
use crate::headers::{self, Headers, at, bytes};
use crate::reason::Reason;
use smoltcp::wire::{IpProtocol, Ipv4Packet};

pub(crate) const ICMP: u8 = 1;
pub(crate) const IGMP: u8 = 2;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const DCCP: u8 = 33;
pub(crate) const GRE: u8 = 47;
pub(crate) const SCTP: u8 = 132;
pub(crate) const UDP_LITE: u8 = 136;

/// TCP's flags, as bits of byte 13 of its header.
pub(crate) mod flags {
    pub(crate) const FIN: u8 = 0x01;
    pub(crate) const SYN: u8 = 0x02;
    pub(crate) const RST: u8 = 0x04;
    pub(crate) const PSH: u8 = 0x08;
    pub(crate) const ACK: u8 = 0x10;
    pub(crate) const URG: u8 = 0x20;
}

/// Whom the link-layer destination means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cast {
    Unicast,
    Broadcast,
    Multicast,
}

/// One end-to-end direction of a flow, as it reads on the wire. ICMP queries carry their identifier
/// as source port, type and code as destination port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tuple {
    pub(crate) source: u32,
    pub(crate) destination: u32,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    pub(crate) protocol: u8,
}

impl Tuple {
    /// The tuple of an answer.
    pub(crate) fn reversed(self) -> Self {
        if self.protocol == ICMP {
            let [kind, code] = self.destination_port.to_be_bytes();
            let kind = answer_to(kind).unwrap_or(kind);
            return Self {
                source: self.destination,
                destination: self.source,
                destination_port: u16::from_be_bytes([kind, code]),
                ..self
            };
        }
        Self {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            protocol: self.protocol,
        }
    }
}

/// The ICMP type that answers a query, and the other way round.
fn answer_to(kind: u8) -> Option<u8> {
    Some(match kind {
        0 => 8,
        8 => 0,
        13 => 14,
        14 => 13,
        15 => 16,
        16 => 15,
        17 => 18,
        18 => 17,
        _ => return None,
    })
}

/// Whether an ICMP type asks, and so may start a flow.
pub(crate) const fn icmp_asks(kind: u8) -> bool {
    matches!(kind, 8 | 13 | 15 | 17)
}

/// The version in GRE's second byte (RFC 2784, 2.3.1).
const GRE_VERSION: u8 = 7;

/// What tells one flow of GRE between two hosts from another: the call, if it is PPTP's (RFC 2637, 4.1),
/// where others have a destination port; 0 for any other. `None`: of PPTP's version and not PPTP's,
/// which is no flow's.
pub(crate) fn gre_call(gre: &[u8]) -> Option<u16> {
    const PPTP: u8 = 1;
    const PPP: [u8; 2] = [0x88, 0x0b];
    match *gre {
        [_, flags, high, low, _, _, call_high, call_low, ..] if flags & GRE_VERSION == PPTP => {
            ([high, low] == PPP).then_some(u16::from_be_bytes([call_high, call_low]))
        }
        _ => Some(0),
    }
}

/// Whether netfilter rewrites the addresses of a packet of GRE: eight bytes at least, and for another
/// destination only of the versions that it knows.
pub(crate) fn gre_is_translatable(gre: &[u8], is_destination: bool) -> bool {
    const LATEST: u8 = 1;
    match *gre {
        [_, flags, _, _, _, _, _, _, ..] => !is_destination || flags & GRE_VERSION <= LATEST,
        _ => false,
    }
}

/// ICMP's redirect: another router of the same link is the better one.
pub(crate) const ICMP_REDIRECT: u8 = 5;

/// Whether an ICMP type reports an error about another packet.
pub(crate) const fn icmp_is_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | ICMP_REDIRECT | 11 | 12)
}

/// The headers of one packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) cast: Cast,
    pub(crate) tuple: Tuple,
    /// Bytes of IPv4 header and payload.
    pub(crate) total: u16,
    /// Offset of the transport header in the frame.
    pub(crate) transport: usize,
    pub(crate) ttl: u8,
    /// TCP flags; 0 for others.
    pub(crate) tcp_flags: u8,
    /// ICMP type and code; 0 for others.
    pub(crate) icmp: (u8, u8),
    /// The checksum was verified and is wrong: conntrack calls it INVALID.
    pub(crate) bad_checksum: bool,
}

impl Packet {
    /// Parses the IPv4 packet in `frame` and cuts the frame to the length the header gives.
    pub(crate) fn parse(frame: &mut Frame<'_>) -> Result<Self, Reason> {
        let header_len = check_header(frame)?;
        let head: &Headers = frame.head.start();
        if is_fragment(&head[at::HEADER..]) {
            return Err(Reason::Fragment);
        }
        let mut packet = Self::of(frame, header_len);
        packet.parse_transport(frame)?;
        packet.check_offload(frame, Summed::Not)?;
        Ok(packet)
    }

    /// What IPv4's header says, which was checked; the frame ends where the packet does.
    #[inline(always)]
    pub(crate) fn of(frame: &mut Frame<'_>, header_len: usize) -> Self {
        let head: &Headers = frame.head.start();
        let total = u16::from_be_bytes(bytes(head, at::LENGTH));
        let packet = Self {
            cast: cast(&head[..6]),
            tuple: Tuple {
                source: u32::from_be_bytes(bytes(head, at::ADDRESSES)),
                destination: u32::from_be_bytes(bytes(head, at::ADDRESSES + 4)),
                protocol: head[at::PROTOCOL],
                ..Tuple::default()
            },
            total,
            transport: ETHERNET + header_len,
            ttl: head[at::HOPS],
            tcp_flags: 0,
            icmp: (0, 0),
            bad_checksum: false,
        };
        frame.truncate(ETHERNET + usize::from(total));
        packet
    }

    /// Whether the checksum is wrong and a host would have looked at it: of those that the firewall
    /// refuses it does not know SCTP's.
    pub(crate) const fn is_damaged(&self) -> bool {
        self.bad_checksum && self.tuple.protocol != SCTP
    }

    /// Bytes of the transport header and what follows.
    pub(crate) fn payload_len(&self) -> u16 {
        self.total - (self.transport - ETHERNET) as u16
    }

    /// Ports and what else of the transport header tells flows apart.
    #[inline(always)]
    pub(crate) fn parse_transport(&mut self, frame: &Frame<'_>) -> Result<(), Reason> {
        let bytes = &frame.head.bytes()[self.transport..];
        match self.tuple.protocol {
            TCP => {
                let Some(tcp) = bytes.first_chunk::<20>() else {
                    return Err(Reason::BadTransport);
                };
                let header_len = usize::from(tcp[12] >> 4) * 4;
                if header_len < 20 || header_len > bytes.len() {
                    return Err(Reason::BadTransport);
                }
                self.read_ports(tcp);
                self.tcp_flags = tcp[13] & 0x3f;
            }
            UDP => {
                let Some(udp) = bytes.first_chunk::<8>() else {
                    return Err(Reason::BadTransport);
                };
                let length = get16(udp, 4);
                if length < 8 || length > self.payload_len() {
                    return Err(Reason::BadTransport);
                }
                self.read_ports(udp);
            }
            _ => self.parse_others(bytes)?,
        }
        Ok(())
    }

    /// The same of what is neither TCP nor UDP.
    #[inline(never)]
    fn parse_others(&mut self, bytes: &[u8]) -> Result<(), Reason> {
        match self.tuple.protocol {
            UDP_LITE | DCCP | SCTP => {
                if bytes.len() < 12.min(usize::from(self.payload_len()).max(8)) {
                    return Err(Reason::BadTransport);
                }
                self.read_ports(bytes);
            }
            ICMP => {
                if bytes.len() < 8 {
                    return Err(Reason::BadTransport);
                }
                self.icmp = (bytes[0], bytes[1]);
                if icmp_is_error(bytes[0]) && self.quotes_too_little(bytes) {
                    return Err(Reason::BadTransport);
                }
                if answer_to(bytes[0]).is_some() {
                    self.tuple.source_port = get16(bytes, 4);
                }
                self.tuple.destination_port = get16(bytes, 0);
            }
            GRE => self.tuple.destination_port = gre_call(bytes).unwrap_or(0),
            _ => {}
        }
        Ok(())
    }

    /// Whether an ICMP error has less of the packet it is about than its header and eight bytes (RFC
    /// 1122, 3.2.2); one that has no header at all is about nothing.
    fn quotes_too_little(&self, message: &[u8]) -> bool {
        let header_len = message
            .get(8)
            .map_or(0, |first| usize::from(first & 15) * 4);
        let quoted = usize::from(self.payload_len()).saturating_sub(8);
        quoted >= header_len && quoted < header_len + 8
    }

    #[inline(always)]
    fn read_ports(&mut self, bytes: &[u8]) {
        self.tuple.source_port = get16(bytes, 0);
        self.tuple.destination_port = get16(bytes, 2);
    }

    /// Offload flags must fit the packet; a checksum nobody vouches for is verified.
    #[inline(always)]
    pub(crate) fn check_offload(
        &mut self,
        frame: &Frame<'_>,
        summed: Summed,
    ) -> Result<(), Reason> {
        let protocol = self.tuple.protocol;
        if frame
            .gso
            .is_some_and(|gso| protocol != TCP || gso.kind != GsoKind::TcpV4 || gso.size == 0)
        {
            return Err(Reason::BadOffload);
        }
        match frame.checksum {
            Checksum::Blank if protocol != TCP && protocol != UDP => Err(Reason::BadOffload),
            Checksum::Blank | Checksum::Validated => Ok(()),
            Checksum::Unknown if summed == Summed::Up => Ok(()),
            Checksum::Unknown => {
                let (transport, length) = (self.transport, self.payload_len());
                self.bad_checksum = !transport_is_sound(frame, self.tuple, transport, length)?;
                Ok(())
            }
        }
    }
}

/// Whether the checksum of TCP, UDP or ICMP is right; `transport` is the header's offset in the frame,
/// `length` what IPv4 says of it and what follows.
pub(crate) fn transport_is_sound(
    frame: &Frame<'_>,
    tuple: Tuple,
    transport: usize,
    length: u16,
) -> Result<bool, Reason> {
    let Tuple {
        source,
        destination,
        protocol,
        ..
    } = tuple;
    let pseudo_header =
        |length| Sum::default().pseudo_header(source, destination, protocol, length);
    let (sum, length) = match protocol {
        TCP => (pseudo_header(length), length),
        UDP => {
            let head = frame.head.bytes();
            if get16(head, transport + 6) == 0 {
                return Ok(true);
            }
            // Over all there is, whatever its own length says: as netfilter sums it, so that what is
            // longer than it claims is INVALID.
            (pseudo_header(length), length)
        }
        ICMP => (Sum::default(), length),
        SCTP => {
            // What is shorter than its header has no checksum to be wrong: it has no chunks either.
            let Some(field) = frame.head.bytes().get(transport + 8..transport + 12) else {
                return Ok(true);
            };
            let end = transport + usize::from(length);
            let wanted = crc32c::of_frame(frame, transport, transport + 8, end)?;
            return Ok(field == wanted.as_slice());
        }
        _ => return Ok(true),
    };
    let end = transport + usize::from(length);
    Ok(sum_frame(frame, sum, transport, end)?.fold() == 0xffff)
}

/// Checks the IPv4 header of a frame: its lengths, checksum and options. How many bytes it has.
pub(crate) fn check_header(frame: &Frame<'_>) -> Result<usize, Reason> {
    let header = frame
        .head
        .bytes()
        .get(ETHERNET..)
        .ok_or(Reason::Truncated)?;
    let Some(fixed) = header.first_chunk::<20>() else {
        return Err(Reason::BadHeader);
    };
    // Nearly all have no options.
    if fixed[0] == 0x45 {
        let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
        if total < fixed.len() || ETHERNET + total > frame.len {
            return Err(Reason::BadHeader);
        }
        if !headers::is_sound(frame.head.start()) {
            return Err(Reason::BadHeaderChecksum);
        }
        return Ok(fixed.len());
    }
    let ip = Ipv4Packet::new_unchecked(header);
    let header_len = usize::from(ip.header_len());
    let total = ip.total_len();
    if ip.version() != 4
        || header_len < 20
        || header_len > header.len()
        || usize::from(total) < header_len
        || ETHERNET + usize::from(total) > frame.len
    {
        return Err(Reason::BadHeader);
    }
    if Sum::default().bytes(&header[..header_len]).fold() != 0xffff {
        return Err(Reason::BadHeaderChecksum);
    }
    if header_len > 20 {
        check_options(&header[20..header_len])?;
    }
    Ok(header_len)
}

/// Adds the frame's bytes from `from` to `to` to a sum, wherever they lie.
pub(crate) fn sum_frame(
    frame: &Frame<'_>,
    mut sum: Sum,
    from: usize,
    to: usize,
) -> Result<Sum, Reason> {
    let head = frame.head.bytes();
    let mut offset = from;
    if to <= head.len() {
        return Ok(sum.bytes(&head[from..to]));
    }
    let mut buffer = [0; 512];
    while offset < to {
        let chunk = &mut buffer[..(to - offset).min(512)];
        frame.read(offset, chunk)?;
        sum = sum.bytes(chunk);
        offset += chunk.len();
    }
    Ok(sum)
}

/// Whom a link-layer destination means.
pub(crate) fn cast(mac: &[u8]) -> Cast {
    if mac[0] & 1 == 0 {
        Cast::Unicast
    } else if mac.iter().all(|&byte| byte == 0xff) {
        Cast::Broadcast
    } else {
        Cast::Multicast
    }
}

/// RFC 791 options: well formed, no source route, nothing to be filled in.
fn check_options(options: &[u8]) -> Result<(), Reason> {
    let mut rest = options;
    while let [kind, tail @ ..] = rest {
        match kind {
            0 => break,
            1 => rest = tail,
            _ => {
                let length = usize::from(*tail.first().ok_or(Reason::BadOption)?);
                if length < 2 || length > rest.len() {
                    return Err(Reason::BadOption);
                }
                match kind {
                    131 | 137 => return Err(Reason::SourceRoute),
                    7 | 68 => return Err(Reason::RecordOption),
                    _ => rest = &rest[length..],
                }
            }
        }
    }
    Ok(())
}

/// The packet inside an ICMP error, as far as conntrack needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inner {
    pub(crate) tuple: Tuple,
    /// Offset of its IPv4 header in the frame.
    pub(crate) header: usize,
    /// Offset of its transport header in the frame.
    pub(crate) transport: usize,
}

impl Inner {
    /// Parses what an ICMP error at `outer` is about; `None` if it is cut short or a later fragment.
    pub(crate) fn parse(head: &[u8], outer: &Packet) -> Option<Self> {
        let header = outer.transport + 8;
        let bytes = head.get(header..)?;
        if bytes.len() < 20 {
            return None;
        }
        let ip = Ipv4Packet::new_unchecked(bytes);
        let header_len = usize::from(ip.header_len());
        if ip.version() != 4 || header_len < 20 || ip.frag_offset() != 0 {
            return None;
        }
        let transport = bytes.get(header_len..header_len + 8)?;
        let mut tuple = Tuple {
            source: ip.src_addr().to_bits(),
            destination: ip.dst_addr().to_bits(),
            protocol: u8::from(ip.next_header()),
            ..Tuple::default()
        };
        match ip.next_header() {
            IpProtocol::Tcp | IpProtocol::Udp => {
                tuple.source_port = get16(transport, 0);
                tuple.destination_port = get16(transport, 2);
            }
            IpProtocol::Icmp => {
                // An error about an error starts nothing.
                answer_to(transport[0])?;
                tuple.source_port = get16(transport, 4);
                tuple.destination_port = get16(transport, 0);
            }
            _ if tuple.protocol == GRE => tuple.destination_port = gre_call(transport)?,
            _ if matches!(tuple.protocol, UDP_LITE | DCCP | SCTP) => {
                tuple.source_port = get16(transport, 0);
                tuple.destination_port = get16(transport, 2);
            }
            _ => {}
        }
        Some(Self {
            tuple,
            header,
            transport: header + header_len,
        })
    }
}

/// Sequence number, acknowledgement number and payload length of a TCP segment.
pub(crate) fn tcp_numbers(head: &[u8], packet: &Packet) -> (u32, u32, u32) {
    let tcp = &head[packet.transport..];
    let header_len = u32::from(tcp[12] >> 4) * 4;
    (
        get32(tcp, 4),
        get32(tcp, 8),
        u32::from(packet.payload_len()).saturating_sub(header_len),
    )
}
