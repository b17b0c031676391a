//! The shortest way: an established packet about which there is nothing special, from its headers to
//! the frame as it leaves.
//!
//! Nearly every packet is one: TCP with no flag but ACK and PSH inside the window, or UDP, of a flow
//! that has seen both directions, to a neighbour that answers. Here they are judged and rewritten in
//! one go. Whatever else there may be to a packet, the first check that does not hold leaves it as it
//! came, or without its padding, to [`crate::path`], where all is decided; a test holds the two ways
//! together.

use crate::firewall::Firewall;
use crate::flow::{Established, Passed, Sides};
use crate::frame::{Frame, GsoKind};
use crate::gate::Gates;
use crate::headers::{self, Carried, Headers, Station, TRANSPORT, Usual, at};
use crate::neighbour;
use crate::packet::{TCP, UDP, transport_is_sound};
use crate::policy::InterfaceId;
use crate::time::{Instant, Tick};

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
    /// Sends an established packet on its way; `None`, and nothing has changed but padding that is cut
    /// off, if there is more to decide about it.
    #[inline(always)]
    pub(crate) fn send_established(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        frame: &mut Frame<'_>,
    ) -> Option<InterfaceId> {
        let station = self.gates.of(interface).station;
        let Usual { carried, end } = headers::of(frame, station)?;
        let mut passage = Passage {
            neighbours: &self.neighbours,
            gates: &mut self.gates,
            passed: &mut self.passed,
            interface,
            now,
            end,
        };
        // As the whole way does first.
        frame.trim(end);
        // All of it for either protocol and direction, so that none is asked for twice.
        match carried {
            Carried::SEGMENT => match self.flows.established(frame.head, TCP)? {
                Sides::Original(flow) => passage.send::<TCP, 0>(flow, frame),
                Sides::Reply(flow) => passage.send::<TCP, 1>(flow, frame),
            },
            Carried::DATAGRAM => match self.flows.established(frame.head, UDP)? {
                Sides::Original(flow) => passage.send::<UDP, 0>(flow, frame),
                Sides::Reply(flow) => passage.send::<UDP, 1>(flow, frame),
            },
            _ => None,
        }
    }
}

/// A packet's way out, once its flow is known.
struct Passage<'a> {
    neighbours: &'a neighbour::Table,
    gates: &'a mut Gates,
    passed: &'a mut Passed,
    interface: InterfaceId,
    now: Instant,
    /// Where the packet ends in its frame.
    end: usize,
}

impl Passage<'_> {
    /// Follows the packet, rewrites it and counts it; `None`, and nothing has changed, if there is more
    /// to decide about it.
    #[inline(always)]
    fn send<const PROTOCOL: u8, const SIDE: usize>(
        &mut self,
        mut flow: Established<'_, SIDE>,
        frame: &mut Frame<'_>,
    ) -> Option<InterfaceId> {
        let head: &Headers = frame.head.start();
        let way = self.neighbours.shortcut(flow.onwards())?;
        let gate = self.gates.of(self.interface);
        if gate.filters_sources {
            // It came from where its answers go: nothing is wrong with its source.
            let back = self.neighbours.shortcut(flow.back())?;
            if !back.leads_to(flow.near().source()) || back.interface != self.interface {
                return None;
            }
        }
        let largest = match frame.gso {
            None => self.end,
            Some(gso) if PROTOCOL == TCP && gso.kind == GsoKind::TcpV4 && gso.size > 0 => {
                headers::before_payload(head) + usize::from(gso.size)
            }
            Some(_) => return None,
        };
        let leads = way.leads_to(flow.far().source())
            && way.is_fresh(self.now)
            && (way.interface != self.interface || gate.routes_back)
            && largest <= usize::from(way.frame_max);
        if !leads {
            return None;
        }
        let private = frame.head.len();
        let tick = Tick::of(self.now);
        match PROTOCOL {
            TCP => flow.acknowledge(
                tick,
                headers::segment(head, self.end, private, flow.takes_sack())?,
            )?,
            _ if headers::is_datagram(head, self.end, private) => flow.follow_datagram(tick)?,
            _ => return None,
        }
        *self.passed = flow.passed();
        self.gates.went_out(way.interface, self.end);
        let head: &mut Headers = frame.head.first_mut();
        head[..12].copy_from_slice(&way.stations);
        headers::rewrite::<PROTOCOL>(head, flow.far(), frame.checksum);
        Some(way.interface)
    }
}

/// What is known of a frame before anything is decided about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Summed {
    /// Nothing.
    Not,
    /// It carries TCP or UDP, behind usual headers, and all checksums are right.
    Up,
}

impl Summed {
    /// Sums up a frame whose checksum nobody vouches for.
    // First of all, where little is known that would have to be kept meanwhile.
    #[cold]
    #[inline(never)]
    pub(crate) fn of(frame: &Frame<'_>, station: Station) -> Self {
        const LEAST: usize = TRANSPORT + 8;
        let Some(Usual { carried, end }) = headers::of(frame, station) else {
            return Self::Not;
        };
        if !matches!(carried, Carried::SEGMENT | Carried::DATAGRAM)
            || end < LEAST
            || frame.head.len() < LEAST
        {
            return Self::Not;
        }
        let head: &Headers = frame.head.start();
        let length = (end - TRANSPORT) as u16;
        let is_sound = match frame.head.bytes().get(TRANSPORT..end) {
            None => {
                let tuple = headers::ends(head).tuple(head[at::PROTOCOL]);
                transport_is_sound(frame, tuple, TRANSPORT, length) == Ok(true)
            }
            Some(_)
                if carried == Carried::DATAGRAM && headers::bytes(head, at::UDP_SUM) == [0; 2] =>
            {
                true
            }
            Some(bytes) => headers::pseudo_header(head, length).bytes(bytes).is_sound(),
        };
        if is_sound { Self::Up } else { Self::Not }
    }
}
