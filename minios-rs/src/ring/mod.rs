//! Rings of requests and responses in a page shared with the peer (xen/io/ring.h), over any memory
//! of atomic words, and without trusting the peer's indices.
//!
//! The peer writes one index, and its own entries. Every other number here is private: what was
//! requested and what was answered is counted on this side, and an index that says more than can
//! be is [`ReadError::Corrupt`], after which the ring is of no use any more. An entry is copied
//! out once, word by word, and only the copy is looked at.
//!
//! ```
//! use core::sync::atomic::AtomicU32;
//! use minios_rs::ring::{BackRing, FrontRing, Notify, RingMemory};
//!
//! struct Page<'a>(&'a [AtomicU32]);
//! impl RingMemory for Page<'_> {
//!     fn ring_word(&self, offset: usize) -> &AtomicU32 {
//!         &self.0[offset / 4]
//!     }
//! }
//!
//! let memory: Vec<AtomicU32> = (0..1024).map(|_| AtomicU32::new(0)).collect();
//! let mut front: FrontRing<_, [u32; 3], u32> = FrontRing::new(Page(&memory));
//! let mut back: BackRing<_, [u32; 3], u32> = BackRing::new(Page(&memory));
//! front.push(&[1, 2, 3]).unwrap();
//! assert_eq!(front.publish(), Notify::Needed);
//! assert_eq!(back.pop(), Ok([1, 2, 3]));
//! back.push(&4);
//! let _ = back.publish();
//! assert_eq!(front.pop(), Ok(4));
//! ```

#![forbid(unsafe_code)]

mod back;
mod front;
pub mod stream;

pub use back::BackRing;
pub use front::FrontRing;

use crate::xen::{PAGE_SIZE, SharedPage};
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use thiserror::Error;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Memory of one page (1,024 words), or of several that follow each other, that both ends read and write.
pub trait RingMemory {
    /// The word at byte `offset`, a multiple of 4 below 4096 times the pages.
    fn ring_word(&self, offset: usize) -> &AtomicU32;

    /// How many pages there are; it never changes.
    #[inline(always)]
    fn ring_pages(&self) -> usize {
        1
    }
}

impl<P: SharedPage> RingMemory for P {
    fn ring_word(&self, offset: usize) -> &AtomicU32 {
        self.word(offset)
    }
}

/// Whether the peer asked to be told of what was just published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Notify {
    /// Send it an event.
    Needed,
    /// It is looking anyway.
    NotNeeded,
}

/// Whether the peer has published something since the ring was last read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Pending {
    /// Yes: read on instead of sleeping.
    Work,
    /// No: the peer will send an event for what comes next.
    Nothing,
}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// Nothing has come yet.
    #[error("the ring is empty")]
    Empty,
    /// The peer's index claims what cannot be: the ring is lost.
    #[error("the peer's ring index is impossible")]
    Corrupt,
}

/// The peer's index claims what cannot be: the ring is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the peer's ring index is impossible")]
pub struct Corrupt;

/// No room for another entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the ring is full")]
pub struct Full;

/// Bytes of the largest entry of any ring (blkif's request).
const ENTRY_MAX: usize = 112;

/// Pages that hold one ring, one after the other. An entry may begin in one and end in the next.
#[derive(Clone, Debug)]
pub struct RingPages<P> {
    pages: Vec<P>,
}

impl<P: SharedPage> RingPages<P> {
    /// A ring over these: one, two, four, …
    ///
    /// # Panics
    /// If there is none.
    pub fn new(pages: Vec<P>) -> Self {
        assert!(!pages.is_empty(), "a ring has a page");
        Self { pages }
    }
}

impl<P: SharedPage> RingMemory for RingPages<P> {
    fn ring_word(&self, offset: usize) -> &AtomicU32 {
        self.pages[offset / PAGE_SIZE].word(offset % PAGE_SIZE)
    }

    fn ring_pages(&self) -> usize {
        self.pages.len()
    }
}

fn load<T: FromBytes>(memory: &impl RingMemory, offset: usize) -> T {
    const { assert!(size_of::<T>() <= ENTRY_MAX && size_of::<T>().is_multiple_of(4)) };
    let mut words = [0_u32; ENTRY_MAX / 4];
    for (index, word) in words.iter_mut().take(size_of::<T>() / 4).enumerate() {
        *word = memory.ring_word(offset + index * 4).load(Ordering::Relaxed);
    }
    match T::read_from_prefix(words.as_bytes()) {
        Ok((entry, _)) => entry,
        // The assertion above leaves no such T; zero is what an untouched entry holds.
        Err(_) => T::new_zeroed(),
    }
}

fn store<T: IntoBytes + Immutable>(memory: &impl RingMemory, offset: usize, entry: &T) {
    const { assert!(size_of::<T>() <= ENTRY_MAX && size_of::<T>().is_multiple_of(4)) };
    for (index, bytes) in entry.as_bytes().chunks_exact(4).enumerate() {
        let word = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        memory
            .ring_word(offset + index * 4)
            .store(word, Ordering::Relaxed);
    }
}

/// Bytes of an entry that holds a request or a response.
const fn entry_size<Request, Response>() -> usize {
    if size_of::<Request>() > size_of::<Response>() {
        size_of::<Request>()
    } else {
        size_of::<Response>()
    }
}

#[cfg(test)]
mod tests;
