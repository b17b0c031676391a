//! The shortest way through the table: a packet of a flow that has seen both directions.

use super::entry::{ASSURED, Ends, Flow, REPLIED};
use super::follow::follow_udp;
use super::{Hop, Table};
use crate::packet::Tuple;
use crate::tcp::Plain;
use crate::time::{Deadline, Tick};
use crate::timeout::Timeouts;

/// The flow of an established packet.
pub(crate) struct Established<'a> {
    flow: &'a mut Flow,
    timeouts: &'a Timeouts,
    /// Whether it goes in the reply direction, as an index.
    side: usize,
}

/// Selective acknowledgements of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selective {
    None,
    Perhaps,
}

impl Table {
    /// The flow of an established packet that arrives as `tuple`, which is TCP's or UDP's.
    #[inline(always)]
    pub(crate) fn established(&mut self, now: Tick, tuple: Tuple) -> Option<Established<'_>> {
        let (_, handle) = self.probe(tuple)?;
        let flow = self.flows.get_mut(handle.flow())?;
        if !flow.is(REPLIED) || flow.deadline().is_reached(now) {
            return None;
        }
        Some(Established {
            flow,
            timeouts: &self.timeouts,
            side: handle.side(),
        })
    }
}

impl Established<'_> {
    #[inline(always)]
    const fn far_side(&self) -> Ends {
        self.flow.ends[(self.side ^ 1) & 1]
    }

    /// Addresses and ports that it leaves with.
    #[inline(always)]
    pub(crate) const fn leaving(&self) -> Tuple {
        let ends = self.far_side();
        Tuple {
            source: ends.destination,
            destination: ends.source,
            source_port: ends.destination_port,
            destination_port: ends.source_port,
            protocol: self.flow.protocol(),
        }
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

    /// Follows a segment if there is nothing special about it; if there is, `None`, and nothing has
    /// changed.
    #[inline(always)]
    pub(crate) fn acknowledge(
        &mut self,
        now: Tick,
        plain: Plain,
        selective: Selective,
    ) -> Option<()> {
        let flow = &mut *self.flow;
        let counts = selective == Selective::Perhaps && flow.tcp.takes_sack(self.side);
        if !flow.is_established() || counts {
            return None;
        }
        let lifetime = flow.tcp.acknowledge(self.side, plain, self.timeouts)?;
        flow.mark(ASSURED);
        flow.expire_at(Deadline::at(now.after(lifetime)));
        Some(())
    }

    /// Follows a datagram of UDP.
    #[inline(always)]
    pub(crate) fn follow_datagram(&mut self, now: Tick) {
        let lifetime = follow_udp(self.flow, now, self.timeouts);
        self.flow.expire_at(Deadline::at(now.after(lifetime)));
    }
}
