//! The index of the flows: 32-bit slots, hashed with linear probing, two for each flow.

use super::entry::{Ends, Flow};
use crate::random::Key;
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
pub(crate) struct Handle(pub(super) u32);

impl Handle {
    pub(super) const fn new(flow: u32, direction: Direction) -> Self {
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
    pub(super) const fn side(self) -> usize {
        (self.0 & 1) as usize
    }

    #[inline(always)]
    pub(super) const fn flow(self) -> usize {
        (self.0 >> 1) as usize
    }
}

/// Slots of the index for each flow: two are used.
pub(super) const SLOTS_PER_FLOW: usize = 3;

/// Most slots looked at for a free one; with two thirds of them used, chains of a keyed hash stay far below.
const MAX_PROBES: usize = 1024;

/// Flows, and where they are.
pub(super) struct Lookup {
    pub(super) flows: Vec<Flow>,
    pub(super) index: Vec<u32>,
    /// Low bits of a slot: those of the hash. The others: handle + 1.
    tag_bits: u32,
    pub(super) tag_mask: u32,
    pub(super) key: Key,
}

impl Lookup {
    /// Empty, for flows that are all free.
    pub(super) fn new(flows: Vec<Flow>, key: Key) -> Self {
        let tag_bits = (flows.len() as u32 * 2).leading_zeros();
        Self {
            // A third of it always stays free, so that every search ends.
            index: vec![0; flows.len() * SLOTS_PER_FLOW],
            flows,
            tag_bits,
            tag_mask: (1 << tag_bits) - 1,
            key,
        }
    }

    /// Where the search for a hash begins: its upper bits say.
    #[inline(always)]
    pub(super) fn home(&self, hash: u32) -> usize {
        ((u64::from(hash) * self.index.len() as u64) >> 32) as usize
    }

    #[inline(always)]
    pub(super) fn hash(&self, ends: Ends, protocol: u8) -> u32 {
        self.key.hash(ends.words(protocol))
    }

    /// The hash of the tuple that packets in this direction arrive with.
    pub(super) fn hash_of(&self, handle: Handle) -> u32 {
        let flow = &self.flows[handle.flow()];
        self.hash(flow.ends(handle.side()), flow.protocol())
    }

    const fn slot(&self, handle: Handle, hash: u32) -> u32 {
        (handle.0 + 1) << self.tag_bits | hash & self.tag_mask
    }

    #[inline(always)]
    pub(super) const fn handle_in(&self, slot: u32) -> Handle {
        Handle((slot >> self.tag_bits).wrapping_sub(1))
    }

    /// Whether packets of a flow's direction arrive so; not, if there is no such flow, as where a slot
    /// is free.
    #[inline(always)]
    pub(super) fn arrives_as(&self, handle: Handle, ends: Ends, protocol: u8) -> bool {
        let flow = self.flows.get(handle.flow());
        flow.is_some_and(|flow| flow.ends(handle.side()) == ends && flow.protocol() == protocol)
    }

    /// The flow whose packets of one direction arrive as `ends`.
    #[inline(never)]
    pub(super) fn seek(&self, ends: Ends, protocol: u8) -> Option<Handle> {
        self.probe(ends, protocol).map(|(_, handle)| handle)
    }

    /// The slot of the flow whose packets of one direction arrive as `ends`, and its handle.
    #[inline(always)]
    pub(super) fn probe(&self, ends: Ends, protocol: u8) -> Option<(usize, Handle)> {
        let hash = self.hash(ends, protocol);
        let mut at = self.home(hash);
        loop {
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
    }

    /// Enters a direction of a flow, whose packets arrive as `ends`; false if there is no room where it should be.
    pub(super) fn link(&mut self, handle: Handle, ends: Ends, protocol: u8) -> bool {
        let hash = self.hash(ends, protocol);
        let mut at = self.home(hash);
        let value = self.slot(handle, hash);
        for _ in 0..MAX_PROBES {
            let Some(slot) = self.index.get_mut(at) else {
                return false;
            };
            if *slot == 0 {
                *slot = value;
                return true;
            }
            at += 1;
            if at == self.index.len() {
                at = 0;
            }
        }
        false
    }

    /// Forgets a direction of a flow.
    pub(super) fn unlink(&mut self, handle: Handle) {
        let flow = &self.flows[handle.flow()];
        let found = self.probe(flow.ends(handle.side()), flow.protocol());
        let Some((mut hole, _)) = found else {
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
            let home = self.home(self.hash_of(self.handle_in(slot)));
            if distance(home, at) >= distance(hole, at) {
                self.index[hole] = slot;
                hole = at;
            }
        }
        self.index[hole] = 0;
    }
}
