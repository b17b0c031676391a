//! Rings of bytes in a page shared with the peer, as consoles and vchans have them.
//!
//! As everywhere in [`ring`](super), the peer writes one index of each, and the other one is counted
//! on this side; what the peer's says beyond the ring's size is [`Corrupt`]. Neither end looks at
//! what the bytes are, and neither tells the peer: whether it wants an event is the business of
//! whose ring it is.

#![forbid(unsafe_code)]

use super::Corrupt;
use crate::nospec;
use crate::xen::SharedPage;
use core::sync::atomic::{Ordering, fence};

/// Where in the page a ring lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Byte at which the buffer starts.
    pub buffer: usize,
    /// Its bytes, a power of two.
    pub size: usize,
    /// Byte at which the reader's index lies.
    pub cons: usize,
    /// Byte at which the writer's index lies.
    pub prod: usize,
}

impl Layout {
    /// Bytes between the two indices.
    fn used(&self, prod: u32, cons: u32) -> Result<usize, Corrupt> {
        let used = prod.wrapping_sub(cons) as usize;
        if used > self.size {
            return Err(Corrupt);
        }
        Ok(nospec::below(used, self.size + 1))
    }

    /// The stretches of the buffer that `count` bytes from an index on lie in.
    fn parts(&self, index: u32, count: usize) -> [(usize, usize); 2] {
        let at = index as usize % self.size;
        let first = count.min(self.size - at);
        [(self.buffer + at, first), (self.buffer, count - first)]
    }
}

/// The end that takes bytes out.
#[derive(Debug)]
pub struct Reader {
    layout: Layout,
    cons: u32,
}

impl Reader {
    /// The end of a ring that is empty, and whose indices are both 0.
    pub fn new(layout: Layout) -> Self {
        Self { layout, cons: 0 }
    }

    /// Bytes that wait.
    ///
    /// # Errors
    /// [`Corrupt`]: more than the ring holds.
    pub fn waiting(&self, page: &impl SharedPage) -> Result<usize, Corrupt> {
        let prod = page.word(self.layout.prod).load(Ordering::Acquire);
        self.layout.used(prod, self.cons)
    }

    /// Takes bytes out; 0 if none wait.
    ///
    /// # Errors
    /// [`Corrupt`], and nothing is taken.
    pub fn read(&mut self, page: &impl SharedPage, into: &mut [u8]) -> Result<usize, Corrupt> {
        let count = self.waiting(page)?.min(into.len());
        let mut done = 0;
        for (at, length) in self.layout.parts(self.cons, count) {
            page.read(at, &mut into[done..done + length]);
            done += length;
        }
        self.advance(page, count);
        Ok(count)
    }

    /// Takes out whatever waits, and starts again behind it, even if that cannot be.
    pub fn discard(&mut self, page: &impl SharedPage) {
        let prod = page.word(self.layout.prod).load(Ordering::Acquire);
        self.advance(page, prod.wrapping_sub(self.cons) as usize);
    }

    fn advance(&mut self, page: &impl SharedPage, count: usize) {
        self.cons = self.cons.wrapping_add(count as u32);
        // The bytes are out before the peer may write over them.
        fence(Ordering::SeqCst);
        page.word(self.layout.cons)
            .store(self.cons, Ordering::Release);
    }
}

/// The end that puts bytes in.
#[derive(Debug)]
pub struct Writer {
    layout: Layout,
    prod: u32,
}

impl Writer {
    /// The end of a ring that is empty, and whose indices are both 0.
    pub fn new(layout: Layout) -> Self {
        Self { layout, prod: 0 }
    }

    /// Bytes that the peer has not taken out.
    ///
    /// # Errors
    /// [`Corrupt`]: it took more than there was.
    pub fn unread(&self, page: &impl SharedPage) -> Result<usize, Corrupt> {
        let cons = page.word(self.layout.cons).load(Ordering::Acquire);
        self.layout.used(self.prod, cons)
    }

    /// Puts in as many bytes as there is room for, and says how many.
    ///
    /// # Errors
    /// [`Corrupt`], and nothing is put in.
    pub fn write(&mut self, page: &impl SharedPage, from: &[u8]) -> Result<usize, Corrupt> {
        let room = self.layout.size - self.unread(page)?;
        let count = from.len().min(room);
        // What the peer has read must not be written over before its index was seen.
        fence(Ordering::SeqCst);
        let mut done = 0;
        for (at, length) in self.layout.parts(self.prod, count) {
            page.write(at, &from[done..done + length]);
            done += length;
        }
        self.publish(page, self.prod.wrapping_add(count as u32));
        Ok(count)
    }

    /// Takes back what the peer has not taken out: for one that has gone, or another that came in
    /// its place.
    pub fn rewind(&mut self, page: &impl SharedPage) {
        let cons = page.word(self.layout.cons).load(Ordering::Acquire);
        self.publish(page, cons);
    }

    fn publish(&mut self, page: &impl SharedPage, prod: u32) {
        self.prod = prod;
        fence(Ordering::SeqCst);
        page.word(self.layout.prod).store(prod, Ordering::Release);
        // What the peer wants to be told of is looked at after this.
        fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests;
