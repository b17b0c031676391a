//! Looking for the flows of several packets at once, before any of them is judged.
//!
//! In a large table each look-up waits twice for memory, for a slot of the index and then for the flow.
//! Here the slots of all packets are asked for first, then their flows, and what is found in the slots is
//! kept with the packets. It is a guess: before a packet is judged, those ahead of it may change the table.

use super::lookup::{Handle, Lookup};
use super::{BYTES_PER_FLOW, Table};
use crate::frame::Head;
use crate::headers::{self, Headers, at};
use minios_rs::prefetch::prefetch;

/// Frames whose flows are looked for together: enough that waiting for memory is a small part of what
/// they cost, few enough that nothing that was fetched is gone before it is used.
pub const AHEAD: usize = 8;

/// Flows from which on this is of use: those of smaller tables are in the processor's own cache, which
/// answers before the rest is done.
const LARGE: usize = (1 << 20) / BYTES_PER_FLOW;

/// The flow that a packet seems to be of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Guess(u32);

impl Guess {
    /// It was not looked for.
    pub(crate) const UNKNOWN: Self = Self(u32::MAX);
    /// There is none: no table has such a flow.
    const NONE: Self = Self(u32::MAX - 1);
}

/// Where the compiler is not to lay the way straight: waiting for memory, a jump more does not count.
#[cold]
#[inline(always)]
const fn rarely() {}

impl Lookup {
    /// The first flow whose tag is that of a packet. Of a free slot it may be that of no flow.
    #[inline(always)]
    fn first_like(&self, hash: u32) -> Option<Handle> {
        let mut at = self.home(hash);
        loop {
            // Where the index comes around, the whole way searches on.
            let slot = *self.index.get(at)?;
            if (slot ^ hash) & self.tag_mask == 0 {
                return Some(self.handle_in(slot));
            }
            if slot == 0 {
                return None;
            }
            at += 1;
        }
    }

    /// The flow that a packet of a protocol seems to be of: the one that was found ahead, if it was looked
    /// for.
    #[inline(always)]
    pub(super) fn look(&self, head: &Head, protocol: u8) -> Option<Handle> {
        if head.guess != Guess::UNKNOWN {
            rarely();
            return Some(Handle(head.guess.0));
        }
        self.first_like(self.hash(headers::ends(head.start()), protocol))
    }
}

impl Table {
    /// Whether a packet of a protocol may belong to a flow.
    pub(crate) fn perhaps(&self, head: &Head, protocol: u8) -> bool {
        let seems = self.lookup.look(head, protocol);
        seems.is_some_and(|handle| handle.flow() < self.lookup.flows.len())
    }

    /// Looks for the flows of some packets, whatever these are, if that is of use.
    pub(crate) fn look_ahead(&self, heads: &mut [Head]) {
        let lookup = &self.lookup;
        if lookup.flows.len() < LARGE {
            return;
        }
        for head in &mut *heads {
            let bytes: &Headers = head.start();
            let hash = lookup.hash(headers::ends(bytes), bytes[at::PROTOCOL]);
            prefetch(&lookup.index, lookup.home(hash));
            // Until its turn comes.
            head.guess = Guess(hash);
        }
        for head in heads {
            let first = lookup.first_like(head.guess.0);
            head.guess = first.map_or(Guess::NONE, |handle| Guess(handle.0));
            prefetch(&lookup.flows, Handle(head.guess.0).flow());
        }
    }
}
