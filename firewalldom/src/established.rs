//! The shortest way: an established packet about which there is nothing special, from its headers to
//! the frame as it leaves.
//!
//! Nearly every packet is one: TCP with no flag but ACK and PSH inside the window, or UDP, of a flow
//! that has seen both directions, to a neighbour that answers. Here they are judged and rewritten in
//! one go. Whatever else there may be to a packet, the first check that does not hold leaves it as it
//! came to [`crate::path`], where all is decided; a test holds the two ways together.

use crate::checksum::{Difference, get16, get32, is_header_sound, put16, put32};
use crate::firewall::Firewall;
use crate::flow::Selective;
use crate::frame::{Checksum, ETHERNET, Frame, GsoKind};
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

/// The headers that are read here: a frame with less is left to the whole way.
type Headers = [u8; TRANSPORT + TCP_HEADER];

/// Whether packets may take the shortest way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shortcut {
    /// Those that there is nothing special about.
    #[default]
    Taken,
    /// None: every packet takes the whole way, which is slower and comes to the same.
    Avoided,
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
        let ingress = self.site.ports.get(usize::from(interface.0))?;
        let came = frame.len;
        let head: &Headers = frame.head.bytes().first_chunk()?;
        let total = usize::from(get16(head, 16));
        let end = ETHERNET + total;
        let usual = get32(head, 12) & 0xffff_ff00 == 0x0800_4500
            && get32(head, 0) == get32(&ingress.mac.0, 0)
            && get16(head, 4) == get16(&ingress.mac.0, 4)
            // No fragment, and not its last hop.
            && get16(head, 20) & 0x3fff == 0
            && head[22] > 1
            && frame.head.bytes().len() <= came
            && (head.len()..=came).contains(&end)
            && is_header_sound(head[ETHERNET..].first_chunk()?);
        if !usual {
            return None;
        }
        let tuple = Tuple {
            source: get32(head, 26),
            destination: get32(head, 30),
            source_port: get16(head, 34),
            destination_port: get16(head, 36),
            protocol: head[23],
        };
        let tick = Tick::of(now);
        let (plain, selective, segment) = match tuple.protocol {
            TCP => {
                let header = usize::from(head[46] >> 4) * 4;
                let is_plain = head[47] & (ACK | FIN | RST | SYN | URG) == ACK
                    && header >= TCP_HEADER
                    && TRANSPORT + header <= end.min(frame.head.bytes().len());
                if !is_plain {
                    return None;
                }
                let selective = match header {
                    TCP_HEADER => Selective::None,
                    TCP_HEADER_WITH_TIMESTAMP
                        if frame.head.bytes().get(54..58)? == ALIGNED_TIMESTAMP =>
                    {
                        Selective::None
                    }
                    _ => Selective::Perhaps,
                };
                let plain = Plain {
                    sequence: get32(head, 38),
                    acknowledgement: get32(head, 42),
                    length: (total - 20 - header) as u16,
                    window: get16(head, 48),
                };
                let segment = match frame.gso {
                    None => total,
                    Some(gso) if gso.kind == GsoKind::TcpV4 && gso.size > 0 => {
                        20 + header + usize::from(gso.size)
                    }
                    Some(_) => return None,
                };
                (Some(plain), selective, segment)
            }
            UDP => {
                let length = usize::from(get16(head, 38));
                let fits = length >= UDP_HEADER && total >= 20 + length && frame.gso.is_none();
                if !fits {
                    return None;
                }
                (None, Selective::None, total)
            }
            _ => return None,
        };
        let mut flow = self.flows.established(tick, tuple)?;
        let new = flow.leaving();
        let way = self
            .neighbours
            .shortcut(now, flow.onwards().number(), new.destination)?;
        // It came from where its answers go: nothing is wrong with its source.
        if self.neighbours.leads(flow.back().number(), tuple.source)? != interface {
            return None;
        }
        let egress = way.interface;
        if egress == interface && !ingress.route_back
            || segment > usize::from(self.site.ports.get(usize::from(egress.0))?.mtu)
        {
            return None;
        }
        if frame.checksum == Checksum::Unknown {
            match transport_is_sound(frame, tuple, TRANSPORT, (total - 20) as u16) {
                Ok(true) => {}
                _ => return None,
            }
        }
        match plain {
            Some(plain) => flow.acknowledge(tick, plain, selective)?,
            None => flow.follow_datagram(tick),
        }
        self.decision = Some((By::State, flow.decided(), Disposition::Accept));
        frame.truncate(end);
        let head: &mut Headers = frame.head.bytes_mut().first_chunk_mut()?;
        rewrite(head, tuple, new, frame.checksum);
        head[..12].copy_from_slice(&way.stations);
        self.forget_check();
        self.counters.forwarded += 1;
        self.shortcuts_taken += 1;
        let traffic = &mut self.counters.interfaces;
        traffic
            .get_mut(usize::from(interface.0))?
            .ingress
            .count(came);
        traffic.get_mut(usize::from(egress.0))?.egress.count(end);
        Some(egress)
    }
}

/// Makes the headers read `new`, one hop later.
#[inline(always)]
fn rewrite(head: &mut Headers, old: Tuple, new: Tuple, checksum: Checksum) {
    let addresses = Difference::default()
        .address(old.source, new.source)
        .address(old.destination, new.destination);
    if old != new {
        let ports = addresses
            .word(old.source_port, new.source_port)
            .word(old.destination_port, new.destination_port);
        let (field, is_udp) = if old.protocol == TCP {
            (TRANSPORT + 16, false)
        } else {
            (TRANSPORT + 6, true)
        };
        let value = get16(head, field);
        let value = match checksum {
            // The field holds the pseudo-header's sum: it does not cover the ports.
            Checksum::Blank => addresses.apply_to_sum(value),
            _ if is_udp && value == 0 => 0,
            _ => match ports.apply(value) {
                0 if is_udp => 0xffff,
                value => value,
            },
        };
        put16(head, field, value);
        put32(head, 26, new.source);
        put32(head, 30, new.destination);
        put16(head, 34, new.source_port);
        put16(head, 36, new.destination_port);
    }
    let hops = get16(head, 22);
    let one_less = hops.wrapping_sub(0x0100);
    let sum = addresses.word(hops, one_less).apply(get16(head, 24));
    put16(head, 22, one_less);
    put16(head, 24, sum);
}
