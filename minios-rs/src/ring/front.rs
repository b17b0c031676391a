//! The end that sends requests.

#![forbid(unsafe_code)]

use super::{Corrupt, Full, Notify, Pending, ReadError, RingMemory, entry_size, load, store};
use crate::abi::io::ring::{
    REQ_EVENT, REQ_PROD, RING, RSP_EVENT, RSP_PROD, entries, entries_of_pages,
};
use core::marker::PhantomData;
use core::sync::atomic::{Ordering, fence};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The requesting end of a ring.
#[derive(Debug)]
pub struct FrontRing<M, Request, Response> {
    memory: M,
    /// Requests written, published or not.
    req_prod_pvt: u32,
    /// Requests the peer may have seen: it can answer no others.
    req_published: u32,
    /// Responses taken.
    rsp_cons: u32,
    kinds: PhantomData<(Request, Response)>,
}

impl<M, Request, Response> FrontRing<M, Request, Response>
where
    M: RingMemory,
    Request: IntoBytes + Immutable,
    Response: FromBytes,
{
    /// Entries in a ring of one page.
    pub const ENTRIES: u32 = entries(entry_size::<Request, Response>());

    /// An empty ring in `memory`, whose shared indices are set as `SHARED_RING_INIT` does. Call it
    /// before the peer learns of the page.
    pub fn new(memory: M) -> Self {
        memory.ring_word(REQ_PROD).store(0, Ordering::Relaxed);
        memory.ring_word(RSP_PROD).store(0, Ordering::Relaxed);
        memory.ring_word(REQ_EVENT).store(1, Ordering::Relaxed);
        memory.ring_word(RSP_EVENT).store(1, Ordering::Relaxed);
        Self {
            memory,
            req_prod_pvt: 0,
            req_published: 0,
            rsp_cons: 0,
            kinds: PhantomData,
        }
    }

    /// Entries in the ring.
    #[inline(always)]
    pub fn entries(&self) -> u32 {
        entries_of_pages(entry_size::<Request, Response>(), self.memory.ring_pages())
    }

    /// The memory the ring lies in.
    pub fn memory(&self) -> &M {
        &self.memory
    }

    /// Requests that can be pushed now.
    pub fn free(&self) -> u32 {
        self.entries() - self.req_prod_pvt.wrapping_sub(self.rsp_cons)
    }

    /// Requests the peer has yet to answer.
    pub fn outstanding(&self) -> u32 {
        self.req_published.wrapping_sub(self.rsp_cons)
    }

    /// The ring slot the next request goes to. A response that answers it in the same slot, as
    /// netif's must, is found there by [`FrontRing::slot`].
    pub fn next_slot(&self) -> u16 {
        self.index(self.req_prod_pvt)
    }

    /// The ring slot of the response `ahead` of the next one.
    pub fn slot(&self, ahead: u32) -> u16 {
        self.index(self.rsp_cons.wrapping_add(ahead))
    }

    /// Writes a request; the peer sees it after [`FrontRing::publish`].
    ///
    /// # Errors
    /// [`Full`].
    pub fn push(&mut self, request: &Request) -> Result<(), Full> {
        self.push_as(request)
    }

    /// Writes something else than a `Request` into a request's entry, such as netif's extra infos.
    ///
    /// # Errors
    /// [`Full`].
    pub fn push_as<T: IntoBytes + Immutable>(&mut self, entry: &T) -> Result<(), Full> {
        const { assert!(size_of::<T>() <= entry_size::<Request, Response>()) };
        if self.free() == 0 {
            return Err(Full);
        }
        store(&self.memory, self.offset(self.req_prod_pvt), entry);
        self.req_prod_pvt = self.req_prod_pvt.wrapping_add(1);
        Ok(())
    }

    /// Shows the peer what was pushed, and says whether it wants an event for it.
    pub fn publish(&mut self) -> Notify {
        let old = self.req_published;
        let new = self.req_prod_pvt;
        if old == new {
            return Notify::NotNeeded;
        }
        // Release: the entries are there before the index that covers them.
        self.memory
            .ring_word(REQ_PROD)
            .store(new, Ordering::Release);
        self.req_published = new;
        // The index must be visible before the event index is read, or both ends could decide
        // that the other one is looking.
        fence(Ordering::SeqCst);
        let event = self.memory.ring_word(REQ_EVENT).load(Ordering::Relaxed);
        if new.wrapping_sub(event) < new.wrapping_sub(old) {
            Notify::Needed
        } else {
            Notify::NotNeeded
        }
    }

    /// Responses that can be read now.
    ///
    /// # Errors
    /// [`Corrupt`] if the peer claims to have answered more than was asked.
    pub fn available(&self) -> Result<u32, Corrupt> {
        let rsp_prod = self.memory.ring_word(RSP_PROD).load(Ordering::Acquire);
        let count = rsp_prod.wrapping_sub(self.rsp_cons);
        if count > self.outstanding() {
            Err(Corrupt)
        } else {
            Ok(count)
        }
    }

    /// A copy of the response `ahead` of the next one. It means something only if `ahead` is less
    /// than [`FrontRing::available`], and may read differently the next time: take one copy.
    pub fn peek(&self, ahead: u32) -> Response {
        load(&self.memory, self.offset(self.rsp_cons.wrapping_add(ahead)))
    }

    /// Takes `count` responses, which [`FrontRing::available`] has said are there: their entries
    /// can hold requests again.
    pub fn consume(&mut self, count: u32) {
        assert!(count <= self.outstanding(), "responses are consumed once");
        self.rsp_cons = self.rsp_cons.wrapping_add(count);
    }

    /// Takes the next response.
    ///
    /// # Errors
    /// [`ReadError::Empty`], or [`ReadError::Corrupt`] if the peer's index is impossible.
    pub fn pop(&mut self) -> Result<Response, ReadError> {
        match self.available() {
            Ok(0) => Err(ReadError::Empty),
            Ok(_) => {
                let response = self.peek(0);
                self.consume(1);
                Ok(response)
            }
            Err(Corrupt) => Err(ReadError::Corrupt),
        }
    }

    /// Asks for an event once more than `left` responses are unread, and says whether that is so
    /// already: the final check before sleeping. `left` is 0 unless the reader has left some
    /// unread on purpose, or wants to sleep until several have come.
    ///
    /// # Errors
    /// [`Corrupt`].
    pub fn arm(&self, left: u32) -> Result<Pending, Corrupt> {
        let event = self.rsp_cons.wrapping_add(left).wrapping_add(1);
        self.memory
            .ring_word(RSP_EVENT)
            .store(event, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Ok(if self.available()? > left {
            Pending::Work
        } else {
            Pending::Nothing
        })
    }

    fn index(&self, counter: u32) -> u16 {
        (counter & (self.entries() - 1)) as u16
    }

    fn offset(&self, counter: u32) -> usize {
        RING + usize::from(self.index(counter)) * entry_size::<Request, Response>()
    }
}
