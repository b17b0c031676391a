//! Connection tracking: a table of flows that never grows, found by a keyed hash of either direction.
//!
//! Flows live in one array; an index of 32-bit slots, hashed with linear probing, holds each flow
//! twice (its original and its reply tuple) with a few bits of the hash as a tag, so that a look-up
//! of an established flow reads one slot and one flow. Removal shifts later slots back: there are no
//! tombstones, and a table that was flooded is as fast afterwards as before.

use crate::packet::{ICMP, TCP, Tuple, UDP, UDP_LITE};
use crate::random::Key;
use crate::tcp;
use crate::time::Tick;
use crate::timeout::Timeouts;
use alloc::vec;
use alloc::vec::Vec;

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

    const fn flow(self) -> usize {
        (self.0 >> 1) as usize
    }
}

/// The next hop of one direction, kept so that an established packet needs no route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hop {
    /// Interface, or [`Hop::LOCAL`], or [`Hop::UNKNOWN`].
    pub(crate) egress: u8,
    pub(crate) neighbour: crate::neighbour::Handle,
}

impl Hop {
    /// The firewall itself.
    pub(crate) const LOCAL: u8 = 255;
    /// Not looked up yet.
    pub(crate) const UNKNOWN: u8 = 254;
    /// Nothing known.
    pub(crate) const NONE: Self = Self {
        egress: Self::UNKNOWN,
        neighbour: crate::neighbour::Handle::NONE,
    };
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Ends {
    source: u32,
    destination: u32,
    source_port: u16,
    destination_port: u16,
}

impl Ends {
    const fn of(tuple: Tuple) -> Self {
        let Tuple {
            source,
            destination,
            source_port,
            destination_port,
            ..
        } = tuple;
        Self {
            source,
            destination,
            source_port,
            destination_port,
        }
    }

    const fn tuple(self, protocol: u8) -> Tuple {
        let Self {
            source,
            destination,
            source_port,
            destination_port,
        } = self;
        Tuple {
            source,
            destination,
            source_port,
            destination_port,
            protocol,
        }
    }
}

const LIVE: u8 = 1;
const REPLIED: u8 = 2;
const ASSURED: u8 = 4;

/// One flow.
#[derive(Clone, Copy, Debug)]
struct Flow {
    /// As packets of the original and of the reply direction arrive.
    ends: [Ends; 2],
    expires: Tick,
    /// UDP: from when on an answer makes it a stream. In a free flow: the next free one.
    stamp: u32,
    /// Index of the origin that let it in.
    decided: u32,
    hops: [Hop; 2],
    protocol: u8,
    status: u8,
    tcp: tcp::State,
}

const FREE: Flow = Flow {
    ends: [Ends {
        source: 0,
        destination: 0,
        source_port: 0,
        destination_port: 0,
    }; 2],
    expires: Tick(0),
    stamp: 0,
    decided: 0,
    hops: [Hop::NONE; 2],
    protocol: 0,
    status: 0,
    tcp: tcp::State::None,
};

/// Bytes of the table for each flow: itself, and three slots of the index.
pub(crate) const BYTES_PER_FLOW: usize = size_of::<Flow>() + 3 * size_of::<u32>();

/// No next free flow.
const END: u32 = u32::MAX;

/// What a packet is to the flow it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The flow has seen both directions.
    Established,
    /// Still only one.
    New,
    /// Does not fit the connection.
    Invalid,
    /// Fits, and ends it before it began: remove it once the packet is on its way.
    Last(Answered),
    /// Opens the same tuple again: the old flow is gone.
    Reopens,
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
    flows: Vec<Flow>,
    index: Vec<u32>,
    /// Low bits of a slot: handle + 1. The others: tag.
    handle_bits: u32,
    key: Key,
    free: u32,
    sweep: usize,
    pub(crate) timeouts: Timeouts,
    pub(crate) count: FlowCount,
}

impl Table {
    /// Flows looked at when one has to go.
    const EVICTION_WINDOW: usize = 64;
    /// Most slots looked at; with two thirds of them used, chains of a keyed hash stay far below.
    const MAX_PROBES: usize = 1024;

    /// A table for `capacity` flows (1 to 2^27), all memory taken now.
    pub(crate) fn new(capacity: usize, key: Key) -> Self {
        let capacity = capacity.clamp(1, 1 << 27);
        let mut flows = vec![FREE; capacity];
        for (number, flow) in flows.iter_mut().enumerate() {
            flow.stamp = if number + 1 == capacity {
                END
            } else {
                number as u32 + 1
            };
        }
        Self {
            flows,
            index: vec![0; capacity * 3 + 1],
            handle_bits: usize::BITS - (capacity * 2).leading_zeros(),
            key,
            free: 0,
            sweep: 0,
            timeouts: Timeouts::default(),
            count: FlowCount {
                capacity,
                ..FlowCount::default()
            },
        }
    }

    /// The live flow that `tuple` belongs to.
    pub(crate) fn find(&mut self, now: Tick, tuple: Tuple) -> Option<Handle> {
        let (_, handle) = self.probe(tuple)?;
        if now.reached(self.flows[handle.flow()].expires) {
            self.remove(handle);
            return None;
        }
        Some(handle)
    }

    fn home(&self, hash: u64) -> usize {
        ((u64::from(hash as u32) * self.index.len() as u64) >> 32) as usize
    }

    fn slot(&self, handle: Handle, hash: u64) -> u32 {
        (handle.0 + 1) | ((hash >> 32) as u32) << self.handle_bits
    }

    fn handle_in(&self, slot: u32) -> Handle {
        Handle((slot & ((1 << self.handle_bits) - 1)) - 1)
    }

    fn probe(&self, tuple: Tuple) -> Option<(usize, Handle)> {
        let hash = self.key.hash(tuple);
        let tag = ((hash >> 32) as u32) << self.handle_bits;
        let mut at = self.home(hash);
        for _ in 0..Self::MAX_PROBES {
            let slot = self.index[at];
            if slot == 0 {
                return None;
            }
            if slot >> self.handle_bits == tag >> self.handle_bits {
                let handle = self.handle_in(slot);
                let flow = &self.flows[handle.flow()];
                if flow.ends[handle.direction() as usize] == Ends::of(tuple)
                    && flow.protocol == tuple.protocol
                {
                    return Some((at, handle));
                }
            }
            at += 1;
            if at == self.index.len() {
                at = 0;
            }
        }
        None
    }

    /// The tuple of packets that arrive in this direction.
    pub(crate) fn tuple(&self, handle: Handle) -> Tuple {
        let flow = &self.flows[handle.flow()];
        flow.ends[handle.direction() as usize].tuple(flow.protocol)
    }

    /// The tuple that packets of this direction leave with.
    pub(crate) fn translated(&self, handle: Handle) -> Tuple {
        let flow = &self.flows[handle.flow()];
        flow.ends[handle.direction().other() as usize]
            .tuple(flow.protocol)
            .reversed()
    }

    /// Where the flow was first sent to, before DNAT: address and port.
    pub(crate) fn original_destination(&self, handle: Handle) -> (u32, u16) {
        let ends = self.flows[handle.flow()].ends[0];
        (ends.destination, ends.destination_port)
    }

    pub(crate) fn hop(&self, handle: Handle) -> Hop {
        self.flows[handle.flow()].hops[handle.direction() as usize]
    }

    pub(crate) fn set_hop(&mut self, handle: Handle, hop: Hop) {
        self.flows[handle.flow()].hops[handle.direction() as usize] = hop;
    }

    /// Index of the origin that let the flow in.
    pub(crate) fn decided(&self, handle: Handle) -> u32 {
        self.flows[handle.flow()].decided
    }

    /// What a packet is to the flow; its state does not change until [`Table::follow`].
    pub(crate) fn standing(&mut self, handle: Handle, tcp_flags: u8) -> Standing {
        let flow = &self.flows[handle.flow()];
        let replied = flow.status & REPLIED != 0;
        let established = replied || handle.direction() == Direction::Reply;
        let standing = if established {
            Standing::Established
        } else {
            Standing::New
        };
        if flow.protocol != TCP {
            return standing;
        }
        if !tcp::plausible(tcp_flags) {
            return Standing::Invalid;
        }
        let segment = tcp::Segment::of(tcp_flags);
        match tcp::step(flow.tcp, handle.direction(), segment) {
            tcp::Step::Invalid => Standing::Invalid,
            tcp::Step::To(tcp::State::SynSent)
                if matches!(flow.tcp, tcp::State::TimeWait | tcp::State::Close) =>
            {
                self.remove(handle);
                Standing::Reopens
            }
            tcp::Step::To(tcp::State::Close) if !replied && segment == tcp::Segment::Reset => {
                Standing::Last(if established {
                    Answered::Yes
                } else {
                    Answered::No
                })
            }
            _ => standing,
        }
    }

    /// Follows a packet that went through: state, time-out, assurance.
    pub(crate) fn follow(&mut self, now: Tick, handle: Handle, tcp_flags: u8) {
        let timeouts = self.timeouts;
        let flow = &mut self.flows[handle.flow()];
        let replied = flow.status & REPLIED != 0;
        if flow.protocol == TCP {
            let step = tcp::step(flow.tcp, handle.direction(), tcp::Segment::of(tcp_flags));
            if let tcp::Step::To(next) = step {
                let opened = matches!(flow.tcp, tcp::State::SynReceived | tcp::State::Established);
                if replied && opened && next == tcp::State::Established {
                    flow.status |= ASSURED;
                }
                flow.tcp = next;
                let mut seconds = timeouts.tcp(next);
                if next == tcp::State::Established && !replied {
                    seconds = seconds.min(timeouts.unacknowledged);
                }
                flow.expires = now.after(seconds);
            }
        } else {
            let seconds = match flow.protocol {
                UDP | UDP_LITE if replied && now.reached(Tick(flow.stamp)) => {
                    flow.status |= ASSURED;
                    timeouts.udp_stream
                }
                UDP | UDP_LITE => timeouts.udp,
                ICMP => timeouts.icmp,
                _ => timeouts.generic,
            };
            flow.expires = now.after(seconds);
        }
        if handle.direction() == Direction::Reply {
            flow.status |= REPLIED;
        }
    }

    /// Adds a flow whose packets arrive as `original` and are answered as `reply`, neither of which
    /// is in the table.
    pub(crate) fn insert(
        &mut self,
        now: Tick,
        original: Tuple,
        reply: Tuple,
        tcp_flags: u8,
        decided: u32,
    ) -> Result<Handle, Full> {
        if self.free == END {
            self.evict(now)?;
        }
        let number = self.free;
        self.free = self.flows[number as usize].stamp;
        self.flows[number as usize] = Flow {
            ends: [Ends::of(original), Ends::of(reply)],
            stamp: now.after(2).0,
            decided,
            protocol: original.protocol,
            status: LIVE,
            ..FREE
        };
        let handle = Handle::new(number, Direction::Original);
        if !(self.link(handle) && self.link(Handle::new(number, Direction::Reply))) {
            self.unlink(handle);
            self.release(number);
            return Err(Full);
        }
        self.count.now += 1;
        self.count.peak = self.count.peak.max(self.count.now);
        self.follow(now, handle, tcp_flags);
        Ok(handle)
    }

    fn link(&mut self, handle: Handle) -> bool {
        let hash = self.key.hash(self.tuple(handle));
        let mut at = self.home(hash);
        for _ in 0..Self::MAX_PROBES {
            if self.index[at] == 0 {
                self.index[at] = self.slot(handle, hash);
                return true;
            }
            at = if at + 1 == self.index.len() {
                0
            } else {
                at + 1
            };
        }
        false
    }

    fn unlink(&mut self, handle: Handle) {
        let Some((mut hole, _)) = self.probe(self.tuple(handle)) else {
            return;
        };
        let len = self.index.len();
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
            let slot = self.index[at];
            if slot == 0 || at == hole {
                break;
            }
            let home = self.home(self.key.hash(self.tuple(self.handle_in(slot))));
            if distance(home, at) >= distance(hole, at) {
                self.index[hole] = slot;
                hole = at;
            }
        }
        self.index[hole] = 0;
    }

    fn release(&mut self, number: u32) {
        let flow = &mut self.flows[number as usize];
        *flow = FREE;
        flow.stamp = self.free;
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
        let len = self.flows.len();
        let start = self.key.next_below(len as u64) as usize;
        let mut victim: Option<(u8, i32, usize)> = None;
        for step in 0..Self::EVICTION_WINDOW.min(len) {
            let number = (start + step) % len;
            let flow = &self.flows[number];
            let left = flow.expires.0.wrapping_sub(now.0) as i32;
            if left > 0 && flow.status & ASSURED != 0 {
                continue;
            }
            let rank = if left <= 0 {
                0
            } else {
                1 + (flow.status & REPLIED)
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
        for _ in 0..flows.min(self.flows.len()) {
            let number = self.sweep;
            self.sweep = if number + 1 == self.flows.len() {
                0
            } else {
                number + 1
            };
            let flow = &self.flows[number];
            if flow.status & LIVE != 0 && now.reached(flow.expires) {
                self.remove(Handle::new(number as u32, Direction::Original));
            }
        }
    }

    /// A number below `bound`, of the table's own random sequence.
    pub(crate) fn random_below(&mut self, bound: u64) -> u64 {
        self.key.next_below(bound)
    }

    /// A hash of two addresses: the same flow peers get the same answer.
    pub(crate) fn spread(&self, source: u32, destination: u32) -> u64 {
        self.key.hash(Tuple {
            source,
            destination,
            ..Tuple::default()
        })
    }
}

#[cfg(test)]
mod tests;
