//! What a card is sending: which descriptor carries what, and what comes back when it is done.

use super::RING;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use minios_rs::hardware::Hardware;
use minios_rs::net::RxBuffer;
use minios_rs::net::front::HEAD_MAX;
use minios_rs::xen::{OutOfMemory, PAGE_SIZE, SharedPage};

/// Bytes of a header's place: what the card wants to know of a frame, then the frame's own.
const PLACE: usize = PREFIX_MAX + HEAD_MAX;
/// Bytes before a frame's own, at most.
const PREFIX_MAX: usize = 64;
/// Headers in a page.
const HEADS_PER_PAGE: usize = PAGE_SIZE / PLACE;
/// Headers that can be on their way at a time, of a frame each.
const HEADS: usize = RING / 2;

/// A header's place.
pub(super) struct Head(u16);

/// What goes out by one descriptor.
pub(super) enum Carried<P> {
    /// A header, in a page of ours.
    Head(Head),
    /// Payload, in a page of somebody's.
    Tail(RxBuffer<P>),
    /// Nothing that comes back.
    Nothing,
}

/// The places of headers.
pub(super) struct Heads<X: Hardware> {
    pages: Vec<(X::Page, u64)>,
    free: Vec<Head>,
}

impl<X: Hardware> Heads<X> {
    pub(super) fn new(xen: &X) -> Result<Self, OutOfMemory> {
        let count = HEADS.div_ceil(HEADS_PER_PAGE);
        let mut pages = Vec::with_capacity(count);
        for _ in 0..count {
            let page = xen.allocate_page()?;
            let address = xen.machine_address(&page);
            pages.push((page, address));
        }
        Ok(Self {
            pages,
            free: (0..HEADS as u16).rev().map(Head).collect(),
        })
    }

    /// Whether there is none left.
    pub(super) fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    /// Copies a header to where the card reads it, behind what the card wants to know: its place, and
    /// that one's machine address.
    pub(super) fn place(&mut self, prefix: &[u8], header: &[u8]) -> Option<(Head, u64)> {
        assert!(
            prefix.len() <= PREFIX_MAX && header.len() <= HEAD_MAX,
            "longer than a header's place"
        );
        let head = self.free.pop()?;
        let index = usize::from(head.0);
        let offset = index % HEADS_PER_PAGE * PLACE;
        let (page, address) = &self.pages[index / HEADS_PER_PAGE];
        page.write(offset, prefix);
        page.write(offset + prefix.len(), header);
        let address = address + offset as u64;
        Some((head, address))
    }

    /// A place that the card has read.
    pub(super) fn free(&mut self, head: Head) {
        self.free.push(head);
    }
}

/// A card's sending end, but for the descriptors themselves.
pub(super) struct Outgoing<X: Hardware> {
    heads: Heads<X>,
    /// What the descriptors carry, in their order, from the oldest on.
    carried: VecDeque<Carried<X::Page>>,
    /// Descriptors of each frame.
    frames: VecDeque<u16>,
    completed: VecDeque<RxBuffer<X::Page>>,
}

impl<X: Hardware> Outgoing<X> {
    pub(super) fn new(xen: &X) -> Result<Self, OutOfMemory> {
        Ok(Self {
            heads: Heads::new(xen)?,
            carried: VecDeque::with_capacity(RING),
            frames: VecDeque::with_capacity(HEADS),
            completed: VecDeque::with_capacity(RING),
        })
    }

    /// Descriptors in use.
    pub(super) fn used(&self) -> usize {
        self.carried.len()
    }

    /// Whether a frame of so many descriptors fits: one of them is always left free, so that a full
    /// ring is no empty one.
    pub(super) fn fits(&self, descriptors: usize) -> bool {
        !self.heads.is_empty() && self.used() + descriptors < RING
    }

    /// Copies a header to where the card reads it ([`Heads::place`]).
    pub(super) fn place(&mut self, header: &[u8]) -> Option<(Head, u64)> {
        self.heads.place(&[], header)
    }

    /// Notes what the next descriptor carries.
    pub(super) fn carry(&mut self, what: Carried<X::Page>) {
        self.carried.push_back(what);
    }

    /// Notes that the last `descriptors` make a frame.
    pub(super) fn end_frame(&mut self, descriptors: usize) {
        self.frames.push_back(descriptors as u16);
    }

    /// Descriptors of the oldest frame.
    pub(super) fn oldest(&self) -> Option<usize> {
        self.frames.front().map(|&count| count.into())
    }

    /// The card is done with the oldest frame.
    pub(super) fn finish_oldest(&mut self) {
        for _ in 0..self.frames.pop_front().unwrap_or(0) {
            match self.carried.pop_front() {
                Some(Carried::Head(head)) => self.heads.free(head),
                Some(Carried::Tail(buffer)) => self.completed.push_back(buffer),
                Some(Carried::Nothing) | None => {}
            }
        }
    }

    /// The card was reset: how many frames are not sent.
    pub(super) fn abandon(&mut self) -> usize {
        let frames = self.frames.len();
        while !self.frames.is_empty() {
            self.finish_oldest();
        }
        frames
    }

    /// A page that is no longer used.
    pub(super) fn completed(&mut self) -> Option<RxBuffer<X::Page>> {
        self.completed.pop_front()
    }

    /// Whether there is one.
    pub(super) fn has_completed(&self) -> bool {
        !self.completed.is_empty()
    }
}
