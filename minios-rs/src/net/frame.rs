//! Received frames: where they lie, and the tokens that say who owns the pages.

#![forbid(unsafe_code)]

use super::{Checksum, Gso};
use crate::abi::io::netif::XEN_NETIF_NR_SLOTS_MIN;
use crate::hardware::CARD;
use crate::xen::{CopyEnd, DomId, GrantRef, SharedPage};
use core::sync::atomic::{AtomicU32, Ordering};

/// Slots of one frame, at most, on either side.
pub const FRAME_SLOTS_MAX: usize = XEN_NETIF_NR_SLOTS_MIN;

/// One connection of one interface: a [`Front`](super::Front) or [`Back`](super::Back) that is connected
/// anew has another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrontId(u32);

impl FrontId {
    /// One that was not used before.
    pub fn next() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Where a buffer's bytes lie.
#[derive(Debug)]
pub(super) enum Memory<P> {
    /// In a page of ours with nothing of anybody else's: it can be lent.
    Page(P),
    /// In a page of ours that holds other frames' bytes as well: copied from, never lent.
    Private(P),
    /// In the sender's own page: only Xen reads it, by copying.
    Foreign(GrantRef),
}

/// A receive buffer that holds part of a frame: the right to its page until it is given back to
/// its owner by [`Front::recycle`](super::Front::recycle) or [`Back::recycle`](super::Back::recycle).
///
/// There is one token for a buffer, and it cannot be copied. A token that is dropped instead is a
/// buffer the owner has to do without until it is closed.
#[derive(Debug)]
#[must_use = "give it back with Front::recycle"]
pub struct RxBuffer<P> {
    pub(super) owner: FrontId,
    pub(super) backend: DomId,
    pub(super) index: u16,
    pub(super) memory: Memory<P>,
    /// Xen could not copy out of it, by the sender's fault.
    pub(super) is_faulty: bool,
}

impl<P> RxBuffer<P> {
    /// A page of the domain's own that a card filled, with nothing of anybody else's in it: buffer
    /// `index` of whoever drives the card. One token for a page that is not given back, as ever.
    pub fn of_card(owner: FrontId, index: u16, page: P) -> Self {
        Self {
            owner,
            backend: CARD,
            index,
            memory: Memory::Page(page),
            is_faulty: false,
        }
    }

    /// Which of its owner's buffers it is.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The page, if it can be lent: to a backend, or to a card that sends out of it.
    pub fn page(&self) -> Option<&P> {
        match &self.memory {
            Memory::Page(page) => Some(page),
            Memory::Private(_) | Memory::Foreign(_) => None,
        }
    }

    /// Whose buffer it is.
    pub fn owner(&self) -> FrontId {
        self.owner
    }

    /// The domain that filled it: of a front's buffers its backend, of a back's its frontend. It can
    /// change it at any moment, but for what [`Received::read`] reads of a back's.
    pub fn backend(&self) -> DomId {
        self.backend
    }

    /// Whether it may follow a header out of a [`Front`](super::Front), which lends pages. What a
    /// [`Back`](super::Back) received has to be fetched first ([`Back::fetch`](super::Back::fetch)).
    pub fn is_lendable(&self) -> bool {
        matches!(self.memory, Memory::Page(_))
    }
}

impl<P: Clone> RxBuffer<P> {
    /// The buffer as what Xen copies from.
    pub(super) fn copy_source(&self) -> CopyEnd<P> {
        match &self.memory {
            Memory::Page(page) | Memory::Private(page) => CopyEnd::Page(page.clone()),
            Memory::Foreign(reference) => CopyEnd::Grant {
                domain: self.backend,
                reference: *reference,
            },
        }
    }
}

/// Part of a page that belongs to a frame: `offset + len` is at most 4096, `len` not 0.
#[derive(Debug)]
pub struct Slice<P> {
    /// The page.
    pub buffer: RxBuffer<P>,
    /// Bytes from the page's start.
    pub offset: u16,
    /// Bytes of the frame.
    pub len: u16,
}

impl<P> Slice<P> {
    /// Leaves out the first `count` bytes: those that will be sent from a header of our own.
    /// Panics unless some are left; a slice used up is recycled instead.
    pub fn advance(&mut self, count: u16) {
        assert!(count < self.len, "a slice has at least one byte");
        self.offset += count;
        self.len -= count;
    }
}

/// A frame as it came.
#[derive(Debug)]
pub struct Received<P> {
    /// Where it lies, in order.
    pub slots: heapless::Vec<Slice<P>, FRAME_SLOTS_MAX>,
    /// Its length in bytes, Ethernet header included: the sum of the slots'.
    pub len: u32,
    /// Its transport checksum.
    pub checksum: Checksum,
    /// How it is to be segmented.
    pub gso: Option<Gso>,
}

impl<P> Default for Received<P> {
    fn default() -> Self {
        Self {
            slots: heapless::Vec::new(),
            len: 0,
            checksum: Checksum::default(),
            gso: None,
        }
    }
}

impl<P: SharedPage> Received<P> {
    /// Copies bytes from `offset` of the frame, as many as there are, and says how many. What is
    /// read twice may differ: decide on one copy, and send that copy. Bytes that still lie in the
    /// pages of a [`Back`](super::Back)'s frontend, which are all beyond the first
    /// [`back::HEAD_MAX`](super::back::HEAD_MAX), are not to be read.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> usize {
        let mut skip = offset;
        let mut done = 0;
        for slice in &self.slots {
            let len = usize::from(slice.len);
            if skip >= len {
                skip -= len;
                continue;
            }
            let (Memory::Page(page) | Memory::Private(page)) = &slice.buffer.memory else {
                break;
            };
            let count = (len - skip).min(into.len() - done);
            page.read(
                usize::from(slice.offset) + skip,
                &mut into[done..done + count],
            );
            done += count;
            skip = 0;
            if done == into.len() {
                break;
            }
        }
        done
    }
}
