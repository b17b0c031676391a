//! The shortest way through the table: a packet of a flow that has seen both directions.

use super::entry::{ASSURED, Flow, REPLIED};
use super::follow::{Udp, follow_udp};
use super::{Ends, Handle, Hop, Lookup, Table};
use crate::frame::Frame;
use crate::headers::{self, Headers, Station, at};
use crate::tcp::{Outstanding, Plain};
use crate::time::{Deadline, Tick};
use crate::timeout::Timeouts;

/// The flow of an established packet.
pub(crate) struct Established<'a> {
    flow: &'a mut Flow,
    /// Whether it goes in the reply direction, as an index.
    side: usize,
}

/// Selective acknowledgements of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selective {
    None,
    Perhaps,
}

impl Lookup {
    /// Slots where nearly every flow is found.
    const NEAR: usize = 8;

    /// The flow of an established packet of TCP or UDP that is nothing but usual.
    // Apart, for its own use of registers.
    #[inline(never)]
    fn established(&mut self, station: Station, frame: &Frame<'_>) -> Option<Established<'_>> {
        let head = headers::of(frame, station)?;
        let (ends, protocol) = (headers::ends(head), head[at::PROTOCOL]);
        let hash = self.hash(ends, protocol);
        // Half of all flows are where the search begins, and most of the others soon after.
        let home = self.home(hash);
        let slot = *self.index.get(home)?;
        if (slot ^ hash) & self.tag_mask != 0 {
            return self.search_near(head, home, hash);
        }
        let handle = self.handle_in(slot);
        if !self.arrives_as(handle, ends, protocol) {
            return self.search(head);
        }
        self.replied(handle)
    }

    /// The same, searched for in the slots behind the first, which is another's.
    #[inline(never)]
    fn search_near(&mut self, head: &Headers, home: usize, hash: u32) -> Option<Established<'_>> {
        let near: &[u32; Self::NEAR] = match self.index.get(home..)?.first_chunk() {
            Some(near) => near,
            None => return self.search(head),
        };
        for slot in near {
            if *slot == 0 {
                return None;
            }
            if (slot ^ hash) & self.tag_mask == 0 {
                let handle = self.handle_in(*slot);
                if !self.arrives_as(handle, headers::ends(head), head[at::PROTOCOL]) {
                    break;
                }
                return self.replied(handle);
            }
        }
        self.search(head)
    }

    /// The same, searched for among all.
    #[cold]
    #[inline(never)]
    fn search(&mut self, head: &Headers) -> Option<Established<'_>> {
        let (_, handle) = self.probe(headers::ends(head), head[at::PROTOCOL])?;
        self.replied(handle)
    }

    #[inline(always)]
    fn replied(&mut self, handle: Handle) -> Option<Established<'_>> {
        let flow = self.flows.get_mut(handle.flow())?;
        flow.is(REPLIED).then_some(Established {
            flow,
            side: handle.side(),
        })
    }
}

impl Table {
    /// The flow of an established packet of TCP or UDP for `station` that is nothing but usual, and
    /// what its time-out may be.
    #[inline(always)]
    pub(crate) fn established(
        &mut self,
        station: Station,
        frame: &Frame<'_>,
    ) -> Option<(Established<'_>, &Lifetimes)> {
        let flow = self.lookup.established(station, frame)?;
        Some((flow, &self.lifetimes))
    }
}

impl Established<'_> {
    /// As its packets of the other direction arrive.
    #[inline(always)]
    pub(crate) const fn far(&self) -> &Ends {
        &self.flow.ends[(self.side ^ 1) & 1]
    }

    #[inline(always)]
    pub(crate) const fn onwards(&self) -> Hop {
        self.flow.hops[self.side & 1]
    }

    /// Where the packets of the other direction go.
    #[inline(always)]
    pub(crate) const fn back(&self) -> Hop {
        self.flow.hops[(self.side ^ 1) & 1]
    }

    /// Index of the origin that let the flow in.
    #[inline(always)]
    pub(crate) const fn decided(&self) -> u32 {
        self.flow.decided()
    }

    /// Whether the selective acknowledgements of segments in its direction count.
    #[inline(always)]
    pub(crate) const fn takes_sack(&self) -> bool {
        self.flow.tcp.takes_sack(self.side)
    }

    /// Follows a segment if there is nothing special about it; if there is, `None`, and nothing has
    /// changed.
    #[inline(always)]
    pub(crate) fn acknowledge(
        &mut self,
        now: Tick,
        plain: Plain<'_>,
        lifetimes: &Lifetimes,
    ) -> Option<()> {
        // Twice the code, for fields at fixed places.
        if self.side == 0 {
            acknowledge::<0>(self.flow, now, plain, lifetimes)
        } else {
            acknowledge::<1>(self.flow, now, plain, lifetimes)
        }
    }

    /// Follows a datagram of UDP, unless its flow is over.
    #[inline(always)]
    pub(crate) fn follow_datagram(&mut self, now: Tick, lifetimes: &Lifetimes) -> Option<()> {
        let flow = &mut *self.flow;
        if flow.deadline().is_reached(now) {
            return None;
        }
        let lifetime = match follow_udp(flow, now) {
            Udp::Stream => lifetimes.udp_stream,
            Udp::Other => lifetimes.udp,
        };
        flow.expire_at(Deadline::at(now.after(lifetime)));
        Some(())
    }
}

#[inline(never)]
fn acknowledge<const SIDE: usize>(
    flow: &mut Flow,
    now: Tick,
    plain: Plain<'_>,
    lifetimes: &Lifetimes,
) -> Option<()> {
    if !flow.is_established() || flow.deadline().is_reached(now) {
        return None;
    }
    let lifetime = match flow.tcp.acknowledge::<SIDE>(plain)? {
        Outstanding::Nothing => lifetimes.established,
        Outstanding::Data => lifetimes.unacknowledged,
    };
    flow.mark(ASSURED);
    flow.stay_established(Deadline::at(now.after(lifetime)));
    Some(())
}

/// Time-outs of established flows in ticks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    established: u32,
    /// Of TCP with data that was not acknowledged yet.
    unacknowledged: u32,
    udp: u32,
    udp_stream: u32,
}

impl Lifetimes {
    /// `timeouts` are in ticks.
    pub(super) const fn of(timeouts: &Timeouts) -> Self {
        let (established, unacknowledged) = (timeouts.established, timeouts.unacknowledged);
        Self {
            established,
            unacknowledged: if unacknowledged < established {
                unacknowledged
            } else {
                established
            },
            udp: timeouts.udp,
            udp_stream: timeouts.udp_stream,
        }
    }
}
