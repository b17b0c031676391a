//! Connection tracking: a table of flows that never grows, found by a keyed hash of either direction.
//!
//! Flows live in one array; an index of 32-bit slots, hashed with linear probing, holds each flow
//! twice (its original and its reply tuple) with a few bits of the hash as a tag, so that a look-up
//! of an established flow reads one slot and one flow. Removal shifts later slots back: there are no
//! tombstones, and a table that was flooded is as fast afterwards as before.

mod association;
mod entry;
mod established;
mod follow;
mod guess;
mod lookup;

pub(crate) use entry::{Ends, Hop, Passed};
use established::Lifetimes;
pub(crate) use established::{Established, Sides};

use crate::packet::{GRE, ICMP, TCP, Tuple, UDP, UDP_LITE};
use crate::random::Key;
use crate::tcp::{self, Connection, Segment};
use crate::time::{Deadline, Tick};
use crate::timeout::Timeouts;
use alloc::vec;
use entry::{ASSURED, Flow, LIVE, REPLIED};
use follow::{Course, Misfit, STREAM_AFTER, follow_datagram, follow_segment};
pub use guess::AHEAD;
pub(crate) use guess::Guess;
pub(crate) use lookup::{Direction, Handle};
use lookup::{Lookup, SLOTS_PER_FLOW};

/// Bytes of the table for each flow: itself, and its part of the index.
pub(crate) const BYTES_PER_FLOW: usize = size_of::<Flow>() + SLOTS_PER_FLOW * size_of::<u32>();

/// No next free flow.
const END: u32 = u32::MAX;

/// What a packet is to the flow it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The flow has seen both directions.
    Established,
    /// Still only one.
    New,
    /// Ends it before it began: remove it once the packet is on its way.
    Last(Answered),
}

/// What became of a packet that some flow has the addresses and ports of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// It belongs to the flow.
    Belongs(Standing),
    /// It does not fit the connection.
    Invalid,
    /// It opens the same tuple again: the old flow is gone.
    Reopens,
}

/// What the first packet of a flow says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    connection: Option<(Connection, tcp::State)>,
    /// Ticks.
    lifetime: u32,
}

/// Whether the segment that ended a connection answered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Yes,
    No,
}

/// How many flows there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCount {
    /// In the table now, expired ones that were not swept yet included.
    pub now: usize,
    /// The most there ever were.
    pub peak: usize,
    /// The most there can be.
    pub capacity: usize,
    /// Unassured flows evicted to make room.
    pub evicted: u64,
}

/// The table is full of flows that must not be evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// All flows.
pub(crate) struct Table {
    lookup: Lookup,
    free: u32,
    sweep: usize,
    /// In ticks.
    timeouts: Timeouts,
    lifetimes: Lifetimes,
    pub(crate) count: FlowCount,
}

impl Table {
    /// Flows looked at when one has to go.
    const EVICTION_WINDOW: usize = 64;

    /// A table for `capacity` flows (1 to 2^27), all memory taken now.
    pub(crate) fn new(capacity: usize, key: Key) -> Self {
        let capacity = capacity.clamp(1, 1 << 27);
        let mut flows = vec![Flow::FREE; capacity];
        for (number, flow) in flows.iter_mut().enumerate() {
            flow.set_next_free(if number + 1 == capacity {
                END
            } else {
                number as u32 + 1
            });
        }
        let timeouts = Timeouts::default().in_ticks();
        Self {
            lookup: Lookup::new(flows, key),
            free: 0,
            sweep: 0,
            lifetimes: Lifetimes::of(&timeouts),
            timeouts,
            count: FlowCount {
                capacity,
                ..FlowCount::default()
            },
        }
    }

    /// Sets the time-outs of packets from now on.
    pub(crate) fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.timeouts = timeouts.in_ticks();
        self.lifetimes = Lifetimes::of(&self.timeouts);
    }

    /// The live flow that `tuple` belongs to.
    #[inline(always)]
    pub(crate) fn find(&mut self, now: Tick, tuple: Tuple) -> Option<Handle> {
        let handle = self.lookup.seek(Ends::of(tuple), tuple.protocol)?;
        if self.lookup.flows[handle.flow()].deadline().is_reached(now) {
            return self.lose(handle);
        }
        Some(handle)
    }

    /// What was found is over.
    #[cold]
    #[inline(never)]
    fn lose(&mut self, handle: Handle) -> Option<Handle> {
        self.remove(handle);
        None
    }

    /// The tuple of packets that arrive in this direction.
    pub(crate) fn tuple(&self, handle: Handle) -> Tuple {
        let flow = &self.lookup.flows[handle.flow()];
        flow.ends(handle.side()).tuple(flow.protocol())
    }

    /// The tuple that packets of this direction leave with.
    pub(crate) fn translated(&self, handle: Handle) -> Tuple {
        let flow = &self.lookup.flows[handle.flow()];
        flow.ends(handle.direction().other() as usize)
            .tuple(flow.protocol())
            .reversed()
    }

    /// Where the flow was first sent to, before DNAT: address and port.
    pub(crate) fn original_destination(&self, handle: Handle) -> (u32, u16) {
        let tuple = self.lookup.flows[handle.flow()].ends(0).tuple(0);
        (tuple.destination, tuple.destination_port)
    }

    pub(crate) fn set_hop(&mut self, handle: Handle, hop: Hop) {
        self.lookup.flows[handle.flow()].hops[handle.direction() as usize] = hop;
    }

    /// Whether it is that of a connection that is over, though still remembered.
    pub(crate) fn is_closed(&self, handle: Handle) -> bool {
        let flow = &self.lookup.flows[handle.flow()];
        flow.protocol() == TCP && matches!(flow.state(), tcp::State::TimeWait | tcp::State::Close)
    }

    /// The firewall resets a connection instead of passing its segment on: it is over, as in
    /// netfilter's `nf_conntrack_tcp_set_closing`.
    pub(crate) fn close(&mut self, now: Tick, handle: Handle) {
        let flow = &mut self.lookup.flows[handle.flow()];
        if flow.protocol() == TCP && flow.state() != tcp::State::Close {
            flow.set_state(tcp::State::Close);
            flow.expire_at(Deadline::at(now.after(self.timeouts.close)));
        }
    }

    /// Index of the origin that let the flow in.
    pub(crate) fn decided(&self, handle: Handle) -> u32 {
        self.lookup.flows[handle.flow()].decided()
    }

    /// Takes a packet of a flow: state, time-out, assurance. `segment` is what it carries, if TCP.
    pub(crate) fn follow(
        &mut self,
        now: Tick,
        handle: Handle,
        segment: Option<&Segment<'_>>,
    ) -> Followed {
        let flow = &mut self.lookup.flows[handle.flow()];
        let answered = flow.is(REPLIED) || handle.direction() == Direction::Reply;
        let mut standing = if answered {
            Standing::Established
        } else {
            Standing::New
        };
        let followed = match segment {
            Some(segment) => {
                if !tcp::plausible(segment.flags) {
                    return Followed::Invalid;
                }
                follow_segment(flow, now, handle.direction(), segment, &self.timeouts)
            }
            None => {
                follow_datagram(flow, now, &self.timeouts);
                Ok(Course::Goes)
            }
        };
        match followed {
            Ok(Course::Goes) => {}
            Ok(Course::Unbegun) if answered => standing = Standing::Last(Answered::Yes),
            Ok(Course::Unbegun) => standing = Standing::Last(Answered::No),
            Err(Misfit::Invalid) => return Followed::Invalid,
            Err(Misfit::Reopens) => {
                self.remove(handle);
                return Followed::Reopens;
            }
        }
        if handle.direction() == Direction::Reply {
            flow.mark(REPLIED);
        }
        Followed::Belongs(standing)
    }

    /// What a packet that no flow has the tuple of says of the one it may begin; `None`: it cannot.
    pub(crate) fn opening(&self, protocol: u8, segment: Option<&Segment<'_>>) -> Option<Opening> {
        let timeouts = &self.timeouts;
        let lifetime = match (protocol, segment) {
            (_, Some(segment)) => {
                if !tcp::plausible(segment.flags) {
                    return None;
                }
                let (connection, state, lifetime) = Connection::open(segment, timeouts)?;
                return Some(Opening {
                    connection: Some((connection, state)),
                    lifetime,
                });
            }
            (UDP | UDP_LITE, None) => timeouts.udp,
            (ICMP, None) => timeouts.icmp,
            (GRE, None) => timeouts.gre,
            _ => timeouts.generic,
        };
        Some(Opening {
            connection: None,
            lifetime,
        })
    }

    /// Adds a flow whose packets arrive as `original` and are answered as `reply`, neither of which
    /// is in the table.
    pub(crate) fn insert(
        &mut self,
        now: Tick,
        original: Tuple,
        reply: Tuple,
        opening: &Opening,
        decided: u32,
    ) -> Result<Handle, Full> {
        if self.free == END {
            self.evict(now)?;
        }
        let number = self.free;
        let flow = &mut self.lookup.flows[number as usize];
        self.free = flow.next_free();
        let protocol = original.protocol;
        let [original, reply] = [Ends::of(original), Ends::of(reply)];
        *flow = Flow::new([original, reply], protocol, decided);
        match opening.connection {
            Some((connection, state)) => {
                flow.tcp = connection;
                flow.set_state(state);
            }
            None => flow.set_stream_from(now.after(STREAM_AFTER)),
        }
        flow.expire_at(Deadline::at(now.after(opening.lifetime)));
        let handle = Handle::new(number, Direction::Original);
        let back = Handle::new(number, Direction::Reply);
        if !(self.lookup.link(handle, original, protocol)
            && self.lookup.link(back, reply, protocol))
        {
            self.lookup.unlink(handle);
            self.release(number);
            return Err(Full);
        }
        self.count.now += 1;
        self.count.peak = self.count.peak.max(self.count.now);
        Ok(handle)
    }

    fn release(&mut self, number: u32) {
        let flow = &mut self.lookup.flows[number as usize];
        *flow = Flow::FREE;
        flow.set_next_free(self.free);
        self.free = number;
    }

    /// Forgets a flow.
    pub(crate) fn remove(&mut self, handle: Handle) {
        let number = handle.flow() as u32;
        self.lookup.unlink(Handle::new(number, Direction::Original));
        self.lookup.unlink(Handle::new(number, Direction::Reply));
        self.release(number);
        self.count.now -= 1;
    }

    /// Makes room: an expired flow, else the one of a random few that never saw an answer or has
    /// least time left, but never an assured one.
    fn evict(&mut self, now: Tick) -> Result<(), Full> {
        let len = self.lookup.flows.len();
        let start = self.lookup.key.next_below(len as u64) as usize;
        let mut victim: Option<(u8, i32, usize)> = None;
        for step in 0..Self::EVICTION_WINDOW.min(len) {
            let number = (start + step) % len;
            let flow = &self.lookup.flows[number];
            let left = flow.deadline().left(now);
            if left > 0 && flow.is(ASSURED) {
                continue;
            }
            let rank = if left <= 0 {
                0
            } else {
                1 + u8::from(flow.is(REPLIED))
            };
            let candidate = (rank, left, number);
            if victim.is_none_or(|best| candidate < best) {
                victim = Some(candidate);
            }
        }
        let (.., number) = victim.ok_or(Full)?;
        self.remove(Handle::new(number as u32, Direction::Original));
        self.count.evicted += 1;
        Ok(())
    }

    /// Looks at the next `flows` flows and forgets those that expired.
    pub(crate) fn sweep(&mut self, now: Tick, flows: usize) {
        for _ in 0..flows.min(self.lookup.flows.len()) {
            let number = self.sweep;
            self.sweep = if number + 1 == self.lookup.flows.len() {
                0
            } else {
                number + 1
            };
            let flow = &self.lookup.flows[number];
            if flow.is(LIVE) && flow.deadline().is_reached(now) {
                self.remove(Handle::new(number as u32, Direction::Original));
            }
        }
    }

    /// A number below `bound`, of the table's own random sequence.
    pub(crate) fn random_below(&mut self, bound: u64) -> u64 {
        self.lookup.key.next_below(bound)
    }

    /// A hash of two addresses, good in its upper and in its lower half: the same peers always get
    /// the same.
    pub(crate) fn spread(&self, source: u32, destination: u32) -> u64 {
        let hash = u64::from(self.lookup.key.hash([source, destination, 0, 0]));
        hash << 32 | hash
    }
}

impl core::fmt::Debug for Table {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let live = self.lookup.flows.iter().filter(|flow| flow.is(LIVE));
        f.debug_list().entries(live).finish()
    }
}

#[cfg(test)]
mod tests;
