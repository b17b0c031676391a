//! The shortest way through the table: a packet of a flow that has seen both directions.

use super::entry::{ASSURED, Flow, Lifetime, Moment, Passed, REPLIED};
use super::follow::{Udp, follow_udp};
use super::{Hop, Lookup, Table};
use crate::flow::Ends;
use crate::frame::Head;
use crate::headers;
use crate::packet::TCP;
use crate::tcp::{self, Outstanding, Plain};
use crate::time::Tick;
use crate::timeout::Timeouts;

/// The flow of a packet that goes in the original (0) or the reply (1) direction.
pub(crate) struct Established<'a, const SIDE: usize> {
    flow: &'a mut Flow,
    lifetimes: &'a Lifetimes,
}

/// The flow of a packet, by the packet's direction.
pub(crate) enum Sides<'a> {
    Original(Established<'a, 0>),
    Reply(Established<'a, 1>),
}

impl Lookup {
    /// The flow that a packet seems to be of, if its addresses and ports are the packet's, and the side
    /// that these are of; it may be a flow of another protocol.
    #[inline(always)]
    fn established(&mut self, head: &Head, protocol: u8) -> Option<(&mut Flow, usize)> {
        let (handle, head) = (self.look(head, protocol)?, head.start());
        let (flow, side) = (self.flows.get_mut(handle.flow())?, handle.side());
        (flow.ends(side) == headers::ends(head)).then_some((flow, side))
    }
}

impl Table {
    /// The flow that a packet of a protocol may belong to. It may still be one of another, or of one
    /// that has not seen both directions.
    #[inline(always)]
    pub(crate) fn established(&mut self, head: &Head, protocol: u8) -> Option<Sides<'_>> {
        let lifetimes = &self.lifetimes;
        let (flow, side) = self.lookup.established(head, protocol)?;
        Some(match side {
            0 => Sides::Original(Established { flow, lifetimes }),
            _ => Sides::Reply(Established { flow, lifetimes }),
        })
    }
}

impl<const SIDE: usize> Established<'_, SIDE> {
    const OTHER: usize = SIDE ^ 1;

    /// As its packets arrive.
    #[inline(always)]
    pub(crate) const fn near(&self) -> Ends {
        self.flow.ends(SIDE)
    }

    /// As those of the other direction do.
    #[inline(always)]
    pub(crate) const fn far(&self) -> Ends {
        self.flow.ends(Self::OTHER)
    }

    #[inline(always)]
    pub(crate) const fn onwards(&self) -> Hop {
        self.flow.hops[SIDE]
    }

    /// Where the packets of the other direction go.
    #[inline(always)]
    pub(crate) const fn back(&self) -> Hop {
        self.flow.hops[Self::OTHER]
    }

    /// The origin that let the flow in.
    #[inline(always)]
    pub(crate) const fn passed(&self) -> Passed {
        self.flow.passed()
    }

    /// Whether the selective acknowledgements of segments in its direction count.
    #[inline(always)]
    pub(crate) const fn takes_sack(&self) -> bool {
        self.flow.tcp.takes_sack(SIDE)
    }

    /// Follows a segment if its connection is established and there is nothing special about it; if
    /// not, `None`, and nothing has changed.
    #[inline(always)]
    pub(crate) fn acknowledge(&mut self, now: Tick, plain: Plain<'_>) -> Option<()> {
        let moment = Moment::new(now, tcp::State::Established);
        if !self.flow.lives_at(moment) {
            return None;
        }
        let lifetime = match self.flow.tcp.acknowledge::<SIDE>(plain)? {
            Outstanding::Nothing => self.lifetimes.established,
            Outstanding::Data => self.lifetimes.unacknowledged,
        };
        debug_assert!(
            self.flow.protocol() == TCP && self.flow.is(REPLIED),
            "only of such a flow both sides have acknowledged something"
        );
        self.flow.mark(ASSURED);
        self.flow.live_on(moment, lifetime);
        Some(())
    }

    /// Follows a datagram of UDP if its flow was answered and is not over.
    #[inline(always)]
    pub(crate) fn follow_datagram(&mut self, now: Tick) -> Option<()> {
        let moment = Moment::new(now, tcp::State::None);
        if !self.flow.is_answered_udp() || !self.flow.lives_at(moment) {
            return None;
        }
        let lifetime = match follow_udp(self.flow, now) {
            Udp::Stream => self.lifetimes.udp_stream,
            Udp::Other => self.lifetimes.udp,
        };
        self.flow.live_on(moment, lifetime);
        Some(())
    }
}

/// Time-outs of established flows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetimes {
    established: Lifetime,
    /// Of TCP with data that was not acknowledged yet.
    unacknowledged: Lifetime,
    udp: Lifetime,
    udp_stream: Lifetime,
}

impl Lifetimes {
    /// `timeouts` are in ticks.
    pub(super) const fn of(timeouts: &Timeouts) -> Self {
        let (established, unacknowledged) = (timeouts.established, timeouts.unacknowledged);
        Self {
            established: Lifetime::of(established),
            unacknowledged: Lifetime::of(if unacknowledged < established {
                unacknowledged
            } else {
                established
            }),
            udp: Lifetime::of(timeouts.udp),
            udp_stream: Lifetime::of(timeouts.udp_stream),
        }
    }
}
