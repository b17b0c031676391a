//! The shortest way: an established packet about which there is nothing special, from its headers to
//! the frame as it leaves.
//!
//! Nearly every packet is one: TCP with no flag but ACK and PSH inside the window, or UDP, of a flow
//! that has seen both directions, to a neighbour that answers. Here they are judged and rewritten in
//! one go. Whatever else there may be to a packet, the first check that does not hold leaves it as it
//! came to [`crate::path`], where all is decided; a test holds the two ways together.

use crate::checksum::{Difference, Sum, get16, get32, put16, put32};
use crate::firewall::Firewall;
use crate::flow::{Carried, Established, Selective};
use crate::frame::{Checksum, ETHERNET, Frame, Gso, GsoKind, Head};
use crate::packet::flags::{ACK, FIN, RST, SYN, URG};
use crate::packet::{TCP, Tuple, UDP, transport_is_sound};
use crate::policy::{Disposition, InterfaceId};
use crate::rule::By;
use crate::tcp::Plain;
use crate::time::{Instant, Tick};

/// Ethernet, and IPv4 without options.
const TRANSPORT: usize = ETHERNET + 20;
const TCP_HEADER: usize = 20;
/// TCP's header with padding and a timestamp behind it, as nearly all segments have.
const TCP_HEADER_WITH_TIMESTAMP: usize = 32;
const UDP_HEADER: usize = 8;
const ALIGNED_TIMESTAMP: [u8; 4] = [1, 1, 8, 10];

/// Whether packets may take the shortest way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shortcut {
    /// Those that there is nothing special about.
    #[default]
    Taken,
    /// None: every packet takes the whole way, which is slower and comes to the same.
    Avoided,
}

/// A packet's headers, as far as they were read.
struct Headers {
    tuple: Tuple,
    carried: Carried,
    selective: Selective,
    /// Bytes of IPv4.
    total: u16,
    /// Bytes of the headers that each segment of a GSO frame gets.
    repeated: u16,
}

impl Firewall {
    /// Sends an established packet on its way; `None`, and nothing has changed, if there is more to
    /// decide about it.
    #[inline(always)]
    pub(crate) fn send_established(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        frame: &mut Frame<'_>,
    ) -> Option<InterfaceId> {
        if !self.takes_shortcut {
            return None;
        }
        let ingress = usize::from(interface.0);
        let headers = read(frame, &self.site.ports.get(ingress)?.mac.0)?;
        let tick = Tick::of(now);
        let flow = self.flows.established(tick, headers.tuple)?;
        let destination = flow.leaving.destination;
        let way = self
            .neighbours
            .shortcut(now, flow.onwards.number(), destination)?;
        let (egress, stations) = (way.interface, way.stations);
        // It came from where its answers go: nothing is wrong with its source.
        let source = headers.tuple.source;
        if self.neighbours.leads(flow.back.number(), source)? != interface
            || egress == interface && !self.site.ports.get(ingress)?.route_back
        {
            return None;
        }
        let mtu = self.site.ports.get(usize::from(egress.0))?.mtu;
        let size = match frame.gso {
            None => headers.total,
            Some(gso) => segment_size(gso, &headers)?,
        };
        if size > mtu {
            return None;
        }
        if frame.checksum == Checksum::Unknown {
            let transport_len = headers.total - 20;
            match transport_is_sound(frame, headers.tuple, TRANSPORT, transport_len) {
                Ok(true) => {}
                _ => return None,
            }
        }
        self.flows
            .advance(tick, flow.handle, headers.carried, headers.selective)?;
        let came = frame.len;
        frame.truncate(ETHERNET + usize::from(headers.total));
        rewrite(frame.head, headers.tuple, &flow, frame.checksum, stations)?;
        self.note_decision(Some((By::State, flow.decided, Disposition::Accept)));
        self.counters.forwarded += 1;
        self.shortcuts_taken += 1;
        let traffic = &mut self.counters.interfaces;
        traffic.get_mut(ingress)?.ingress.count(came);
        traffic
            .get_mut(usize::from(egress.0))?
            .egress
            .count(frame.len);
        Some(egress)
    }
}

/// Reads what there is nothing special about.
#[inline(always)]
fn read(frame: &Frame<'_>, own: &[u8; 6]) -> Option<Headers> {
    let head = frame.head.bytes();
    let udp: &[u8; TRANSPORT + UDP_HEADER] = head.first_chunk()?;
    let total = get16(udp, 16);
    let usual = udp[..6] == *own
        && udp[12..15] == [0x08, 0x00, 0x45]
        // No fragment.
        && get16(udp, 20) & 0x3fff == 0
        // Not its last hop.
        && udp[22] > 1
        && head.len() <= frame.len
        && ETHERNET + usize::from(total) <= frame.len
        && Sum::default().bytes(&udp[ETHERNET..TRANSPORT]).fold() == 0xffff;
    if !usual {
        return None;
    }
    let tuple = Tuple {
        source: get32(udp, 26),
        destination: get32(udp, 30),
        source_port: get16(udp, 34),
        destination_port: get16(udp, 36),
        protocol: udp[23],
    };
    match tuple.protocol {
        TCP => {
            let tcp: &[u8; TRANSPORT + TCP_HEADER] = head.first_chunk()?;
            let header = usize::from(tcp[46] >> 4) * 4;
            let end = head.len().min(ETHERNET + usize::from(total));
            let room = end.checked_sub(TRANSPORT)?;
            let is_plain = tcp[47] & (ACK | FIN | RST | SYN | URG) == ACK
                && header >= TCP_HEADER
                && header <= room;
            if !is_plain {
                return None;
            }
            let has_timestamp =
                header == TCP_HEADER_WITH_TIMESTAMP && head.get(54..58)? == ALIGNED_TIMESTAMP;
            let selective = if header == TCP_HEADER || has_timestamp {
                Selective::None
            } else {
                Selective::Perhaps
            };
            let repeated = 20 + header as u16;
            Some(Headers {
                tuple,
                carried: Carried::Segment(Plain {
                    sequence: get32(tcp, 38),
                    acknowledgement: get32(tcp, 42),
                    length: total - repeated,
                    window: get16(tcp, 48),
                }),
                selective,
                total,
                repeated,
            })
        }
        UDP => {
            let length = get16(udp, 38);
            let fits = usize::from(length) >= UDP_HEADER
                && usize::from(total) >= 20 + usize::from(length)
                && frame.gso.is_none();
            fits.then_some(Headers {
                tuple,
                carried: Carried::Datagram,
                selective: Selective::None,
                total,
                repeated: 0,
            })
        }
        _ => None,
    }
}

/// Bytes of IPv4 of each segment that a GSO frame is cut into.
fn segment_size(gso: Gso, headers: &Headers) -> Option<u16> {
    let is_sound = gso.kind == GsoKind::TcpV4 && gso.size > 0;
    is_sound.then(|| headers.repeated.saturating_add(gso.size))
}

/// Makes the headers read as the flow's do when they leave, one hop later.
#[inline(always)]
fn rewrite(
    head: &mut Head,
    old: Tuple,
    flow: &Established,
    checksum: Checksum,
    stations: [u8; 12],
) -> Option<()> {
    let new = flow.leaving;
    let head = head.bytes_mut();
    let addresses = Difference::default()
        .address(old.source, new.source)
        .address(old.destination, new.destination);
    if old != new {
        let ports = Difference::default()
            .word(old.source_port, new.source_port)
            .word(old.destination_port, new.destination_port);
        let field = TRANSPORT + if old.protocol == TCP { 16 } else { 6 };
        let transport = head.get_mut(..field + 2)?;
        let value = get16(transport, field);
        let value = match checksum {
            // The field holds the pseudo-header's sum: it does not cover the ports.
            Checksum::Blank => addresses.apply_to_sum(value),
            _ if old.protocol == UDP && value == 0 => 0,
            _ => match addresses.and(ports).apply(value) {
                0 if old.protocol == UDP => 0xffff,
                value => value,
            },
        };
        put16(transport, field, value);
    }
    let head: &mut [u8; TRANSPORT + UDP_HEADER] = head.first_chunk_mut()?;
    head[..12].copy_from_slice(&stations);
    let hops = get16(head, 22);
    let one_less = hops.wrapping_sub(0x0100);
    let sum = addresses.word(hops, one_less).apply(get16(head, 24));
    put16(head, 22, one_less);
    put16(head, 24, sum);
    put32(head, 26, new.source);
    put32(head, 30, new.destination);
    put16(head, 34, new.source_port);
    put16(head, 36, new.destination_port);
    Some(())
}
