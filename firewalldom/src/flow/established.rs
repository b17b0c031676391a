//! The shortest way through the table: a packet of a flow that has seen both directions.

use super::entry::{ASSURED, REPLIED};
use super::follow::follow_datagram;
use super::{Direction, Handle, Hop, Table};
use crate::packet::Tuple;
use crate::tcp::Plain;
use crate::time::{Deadline, Tick};

/// What an established packet needs of its flow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Established {
    pub(crate) handle: Handle,
    /// Addresses and ports that it leaves with.
    pub(crate) leaving: Tuple,
    pub(crate) onwards: Hop,
    /// Where the packets of the other direction go.
    pub(crate) back: Hop,
    /// Index of the origin that let the flow in.
    pub(crate) decided: u32,
}

/// What an established packet carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Carried {
    /// A segment, with the selective acknowledgements that may count left out.
    Segment(Plain),
    Datagram,
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
    pub(crate) fn established(&self, now: Tick, tuple: Tuple) -> Option<Established> {
        let (_, handle) = self.probe(tuple)?;
        let flow = self.flows.get(handle.flow())?;
        if !flow.is(REPLIED) || flow.deadline().is_reached(now) {
            return None;
        }
        let (back, leaving, onwards) = match handle.direction() {
            Direction::Original => (flow.hops[1], flow.ends[1], flow.hops[0]),
            Direction::Reply => (flow.hops[0], flow.ends[0], flow.hops[1]),
        };
        Some(Established {
            handle,
            leaving: Tuple {
                source: leaving.destination,
                destination: leaving.source,
                source_port: leaving.destination_port,
                destination_port: leaving.source_port,
                protocol: tuple.protocol,
            },
            onwards,
            back,
            decided: flow.decided(),
        })
    }

    /// Follows an established packet if there is nothing special about it; if there is, `None`, and
    /// nothing has changed.
    #[inline(always)]
    pub(crate) fn advance(
        &mut self,
        now: Tick,
        handle: Handle,
        carried: Carried,
        selective: Selective,
    ) -> Option<()> {
        let flow = self.flows.get_mut(handle.flow())?;
        match carried {
            Carried::Segment(plain) => {
                let direction = handle.direction();
                let counts = selective == Selective::Perhaps && flow.tcp.takes_sack(direction);
                if !flow.is_established() || counts {
                    return None;
                }
                let lifetime = flow.tcp.acknowledge(direction, plain, &self.timeouts)?;
                flow.mark(ASSURED);
                flow.expire_at(Deadline::at(now.after(lifetime)));
            }
            Carried::Datagram => follow_datagram(flow, now, &self.timeouts),
        }
        Some(())
    }
}
