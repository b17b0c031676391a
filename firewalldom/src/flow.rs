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

pub(crate) use entry::{Ends, Hop};
use established::Lifetimes;
pub(crate) use established::Selective;

use crate::packet::{GRE, ICMP, TCP, Tuple, UDP, UDP_LITE};
use crate::random::Key;
use crate::tcp::{self, Connection, Segment};
use crate::time::{Deadline, Tick};
use crate::timeout::Timeouts;
use alloc::vec;
use alloc::vec::Vec;
use entry::{ASSURED, Flow, LIVE, REPLIED};
use follow::{Course, Misfit, STREAM_AFTER, follow_datagram, follow_segment};

/// Which way a packet of a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Original,
    Reply,
}

impl Direction {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// A flow, seen from one of its directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle(u32);

impl Handle {
    const fn new(flow: u32, direction: Direction) -> Self {
        Self(flow << 1 | direction as u32)
    }

    pub(crate) const fn direction(self) -> Direction {
        if self.0 & 1 == 0 {
            Direction::Original
        } else {
            Direction::Reply
        }
    }

    /// The direction as an index.
    #[inline(always)]
    const fn side(self) -> usize {
        (self.0 & 1) as usize
    }

    #[inline(always)]
    const fn flow(self) -> usize {
        (self.0 >> 1) as usize
    }
}

/// Slots of the index for each flow: two are used.
const SLOTS_PER_FLOW: usize = 3;

/// Bytes of the table for each flow: itself, and its part of the index.
pub(crate) const BYTES_PER_FLOW: usize = size_of::<Flow>() + SLOTS_PER_FLOW * size_of::<u32>();

/// Most slots looked at; with two thirds of them used, chains of a keyed hash stay far below.
const MAX_PROBES: usize = 1024;

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

/// Flows, and where they are.
struct Lookup {
    flows: Vec<Flow>,
    index: Vec<u32>,
    /// Low bits of a slot: those of the hash. The others: handle + 1.
    tag_bits: u32,
    tag_mask: u32,
    key: Key,
}

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

impl Lookup {
    /// Where the search for a hash begins: its upper bits say.
    #[inline(always)]
    fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.index.len() as u64) >> 32) as usize
    }

    #[inline(always)]
    fn hash(&self, ends: Ends, protocol: u8) -> u32 {
        self.key.hash(ends.words(protocol))
    }

    /// The hash of the tuple that packets in this direction arrive with.
    fn hash_of(&self, handle: Handle) -> u32 {
        let flow = &self.flows[handle.flow()];
        self.hash(flow.ends[handle.side()], flow.protocol())
    }

    const fn slot(&self, handle: Handle, hash: u32) -> u32 {
        (handle.0 + 1) << self.tag_bits | hash & self.tag_mask
    }

    #[inline(always)]
    const fn handle_in(&self, slot: u32) -> Handle {
        Handle((slot >> self.tag_bits).wrapping_sub(1))
    }

    /// Whether packets of a flow's direction arrive so; not, if there is no such flow, as where a slot
    /// is free.
    #[inline(always)]
    fn arrives_as(&self, handle: Handle, ends: Ends, protocol: u8) -> bool {
        let flow = self.flows.get(handle.flow());
        flow.is_some_and(|flow| flow.ends[handle.side()] == ends && flow.protocol() == protocol)
    }

    /// The slot of the flow whose packets of one direction arrive as `ends`, and its handle.
    fn probe(&self, ends: Ends, protocol: u8) -> Option<(usize, Handle)> {
        let hash = self.hash(ends, protocol);
        let mut at = self.home(hash);
        for _ in 0..MAX_PROBES {
            let slot = *self.index.get(at)?;
            if (slot ^ hash) & self.tag_mask == 0 {
                let handle = self.handle_in(slot);
                if self.arrives_as(handle, ends, protocol) {
                    return Some((at, handle));
                }
            }
            if slot == 0 {
                return None;
            }
            at += 1;
            if at == self.index.len() {
                at = 0;
            }
        }
        None
    }
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
        let tag_bits = (capacity as u32 * 2).leading_zeros();
        Self {
            lookup: Lookup {
                flows,
                // A third of it always stays free, so that every search ends.
                index: vec![0; capacity * SLOTS_PER_FLOW],
                tag_bits,
                tag_mask: (1 << tag_bits) - 1,
                key,
            },
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
    pub(crate) fn find(&mut self, now: Tick, tuple: Tuple) -> Option<Handle> {
        let (_, handle) = self.lookup.probe(Ends::of(tuple), tuple.protocol)?;
        if self.lookup.flows[handle.flow()].deadline().is_reached(now) {
            self.remove(handle);
            return None;
        }
        Some(handle)
    }

    /// The tuple of packets that arrive in this direction.
    pub(crate) fn tuple(&self, handle: Handle) -> Tuple {
        let flow = &self.lookup.flows[handle.flow()];
        flow.ends[handle.direction() as usize].tuple(flow.protocol())
    }

    /// The tuple that packets of this direction leave with.
    pub(crate) fn translated(&self, handle: Handle) -> Tuple {
        let flow = &self.lookup.flows[handle.flow()];
        flow.ends[handle.direction().other() as usize]
            .tuple(flow.protocol())
            .reversed()
    }

    /// Where the flow was first sent to, before DNAT: address and port.
    pub(crate) fn original_destination(&self, handle: Handle) -> (u32, u16) {
        let tuple = self.lookup.flows[handle.flow()].ends[0].tuple(0);
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
        *flow = Flow::new(
            [Ends::of(original), Ends::of(reply)],
            original.protocol,
            decided,
        );
        match opening.connection {
            Some((connection, state)) => {
                flow.tcp = connection;
                flow.set_state(state);
            }
            None => flow.set_stream_from(now.after(STREAM_AFTER)),
        }
        flow.expire_at(Deadline::at(now.after(opening.lifetime)));
        let handle = Handle::new(number, Direction::Original);
        if !(self.link(handle) && self.link(Handle::new(number, Direction::Reply))) {
            self.unlink(handle);
            self.release(number);
            return Err(Full);
        }
        self.count.now += 1;
        self.count.peak = self.count.peak.max(self.count.now);
        Ok(handle)
    }

    fn link(&mut self, handle: Handle) -> bool {
        let hash = self.lookup.hash_of(handle);
        let mut at = self.lookup.home(hash);
        for _ in 0..MAX_PROBES {
            if self.lookup.index[at] == 0 {
                self.lookup.index[at] = self.lookup.slot(handle, hash);
                return true;
            }
            at = if at + 1 == self.lookup.index.len() {
                0
            } else {
                at + 1
            };
        }
        false
    }

    fn unlink(&mut self, handle: Handle) {
        let flow = &self.lookup.flows[handle.flow()];
        let found = self.lookup.probe(flow.ends[handle.side()], flow.protocol());
        let Some((mut hole, _)) = found else {
            return;
        };
        let len = self.lookup.index.len();
        let distance = |from: usize, to: usize| {
            if to >= from {
                to - from
            } else {
                to + len - from
            }
        };
        let mut at = hole;
        loop {
            at = if at + 1 == len { 0 } else { at + 1 };
            let slot = self.lookup.index[at];
            if slot == 0 || at == hole {
                break;
            }
            let home = self
                .lookup
                .home(self.lookup.hash_of(self.lookup.handle_in(slot)));
            if distance(home, at) >= distance(hole, at) {
                self.lookup.index[hole] = slot;
                hole = at;
            }
        }
        self.lookup.index[hole] = 0;
    }

    fn release(&mut self, number: u32) {
        let flow = &mut self.lookup.flows[number as usize];
        *flow = Flow::FREE;
        flow.set_next_free(self.free);
        self.free = number;
    }

    /// Forgets a flow.
    pub(crate) fn remove(&mut self, handle: Handle) {
        let number = handle.0 >> 1;
        self.unlink(Handle::new(number, Direction::Original));
        self.unlink(Handle::new(number, Direction::Reply));
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
