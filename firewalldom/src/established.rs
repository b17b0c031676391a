//! The shortest way: an established packet about which there is nothing special, from its headers to
//! the frame as it leaves.
//!
//! Nearly every packet is one: TCP with no flag but ACK and PSH inside the window, or UDP, of a flow
//! that has seen both directions, to a neighbour that answers. Here they are judged and rewritten in
//! one go. Whatever else there may be to a packet, the first check that does not hold leaves it as it
//! came to [`crate::path`], where all is decided; a test holds the two ways together.

use crate::firewall::Firewall;
use crate::flow::Selective;
use crate::frame::{Checksum, ETHERNET, Frame, GsoKind};
use crate::headers::{self, Headers, Station, TRANSPORT, at, bytes};
use crate::packet::{TCP, UDP, transport_is_sound};
use crate::policy::{Disposition, InterfaceId};
use crate::rule::By;
use crate::site::Port;
use crate::tcp::Plain;
use crate::time::{Instant, Tick};

const UDP_HEADER: usize = 8;

/// Whether packets may take the shortest way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shortcut {
    /// Those that there is nothing special about.
    #[default]
    Taken,
    /// None: every packet takes the whole way, which is slower and comes to the same.
    Avoided,
}

/// What the shortest way asks of the frames that come in by an interface.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gate {
    /// The link-layer address they have.
    station: Station,
}

impl Gate {
    pub(crate) fn new(port: &Port) -> Self {
        Self {
            station: Station::of(port.mac.0),
        }
    }
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
        let number = u16::from(interface.0);
        let gate = self.gates.get(usize::from(number))?;
        let (mut flow, lifetimes) = self.flows.established(gate.station, frame)?;
        let head: &Headers = frame.head.start();
        let total = headers::total(head);
        let way = self.neighbours.shortcut(flow.onwards().number())?;
        let back = self.neighbours.shortcut(flow.back().number())?;
        let leads = way.leads_to(flow.far().source())
            && way.is_fresh(now)
            // It came from where its answers go: nothing is wrong with its source.
            && back.leads_to(u32::from_ne_bytes(bytes(head, at::ADDRESSES)))
            && back.interface == number
            && (way.interface != number || self.site.routes_back(number));
        if !leads || !is_whole(frame, head, total, way.mtu) {
            return None;
        }
        let tick = Tick::of(now);
        match head[at::PROTOCOL] {
            TCP => {
                let (length, selective) = headers::payload(head, total, frame.head.len())?;
                if selective == Selective::Perhaps && flow.takes_sack() {
                    return None;
                }
                let header = head[TRANSPORT..].first_chunk()?;
                flow.acknowledge(tick, Plain { header, length }, lifetimes)?;
                headers::rewrite::<TCP>(frame.head.first_mut(), flow.far(), frame.checksum);
            }
            UDP => {
                let length = usize::from(u16::from_be_bytes(bytes(head, at::UDP_LENGTH)));
                if length < UDP_HEADER || 20 + length > total {
                    return None;
                }
                flow.follow_datagram(tick, lifetimes)?;
                headers::rewrite::<UDP>(frame.head.first_mut(), flow.far(), frame.checksum);
            }
            _ => return None,
        }
        let head: &mut Headers = frame.head.first_mut();
        head[..12].copy_from_slice(&way.stations);
        let egress = way.interface;
        self.decision = Some((By::State, flow.decided(), Disposition::Accept));
        self.counters.forwarded += 1;
        self.shortcuts_taken += 1;
        let traffic = &mut self.counters.interfaces;
        traffic
            .get_mut(usize::from(number))?
            .ingress
            .count(frame.len);
        frame.trim(ETHERNET + total);
        traffic
            .get_mut(usize::from(egress))?
            .egress
            .count(frame.len);
        Some(InterfaceId(egress as u8))
    }
}

/// Whether a frame's offloads are in order: it fits the link that it is to leave by, and its
/// transport's checksum is vouched for or right.
#[inline(always)]
fn is_whole(frame: &Frame<'_>, head: &Headers, total: usize, mtu: u16) -> bool {
    if frame.gso.is_none() && frame.checksum != Checksum::Unknown {
        return total <= usize::from(mtu);
    }
    is_whole_when_cut_and_summed(frame, head, total, mtu)
}

#[cold]
fn is_whole_when_cut_and_summed(frame: &Frame<'_>, head: &Headers, total: usize, mtu: u16) -> bool {
    let protocol = head[at::PROTOCOL];
    let segment = match frame.gso {
        None => total,
        Some(gso) if protocol == TCP && gso.kind == GsoKind::TcpV4 && gso.size > 0 => {
            headers::segment(head) + usize::from(gso.size)
        }
        Some(_) => return false,
    };
    if segment > usize::from(mtu) {
        return false;
    }
    if frame.checksum != Checksum::Unknown {
        return true;
    }
    let tuple = headers::ends(head).tuple(protocol);
    transport_is_sound(frame, tuple, TRANSPORT, (total - 20) as u16) == Ok(true)
}
