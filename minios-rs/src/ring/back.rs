//! The end that answers requests.

#![forbid(unsafe_code)]

use super::{Corrupt, Notify, Pending, ReadError, RingMemory, entry_size, load, store};
use crate::abi::io::ring::{
    REQ_EVENT, REQ_PROD, RING, RSP_EVENT, RSP_PROD, entries, entries_of_pages,
};
use core::marker::PhantomData;
use core::sync::atomic::{Ordering, fence};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// The answering end of a ring.
#[derive(Debug)]
pub struct BackRing<M, Request, Response> {
    memory: M,
    /// Requests taken.
    req_cons: u32,
    /// Responses written, published or not.
    rsp_prod_pvt: u32,
    /// Responses the peer may have seen.
    rsp_published: u32,
    kinds: PhantomData<(Request, Response)>,
}

impl<M, Request, Response> BackRing<M, Request, Response>
where
    M: RingMemory,
    Request: FromBytes,
    Response: IntoBytes + Immutable,
{
    /// Entries in a ring of one page.
    pub const ENTRIES: u32 = entries(entry_size::<Request, Response>());

    /// Joins a ring that its frontend has just initialised.
    pub fn new(memory: M) -> Self {
        Self {
            memory,
            req_cons: 0,
            rsp_prod_pvt: 0,
            rsp_published: 0,
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

    /// Requests that can be read now.
    ///
    /// # Errors
    /// [`Corrupt`] if the peer claims more requests than the ring has entries for.
    pub fn available(&self) -> Result<u32, Corrupt> {
        let req_prod = self.memory.ring_word(REQ_PROD).load(Ordering::Acquire);
        let count = req_prod.wrapping_sub(self.req_cons);
        let unanswered = self.req_cons.wrapping_sub(self.rsp_prod_pvt);
        if count > self.entries() - unanswered {
            Err(Corrupt)
        } else {
            Ok(count)
        }
    }

    /// A copy of the request `ahead` of the next one; see [`FrontRing::peek`](super::FrontRing::peek).
    pub fn peek(&self, ahead: u32) -> Request {
        load(&self.memory, self.offset(self.req_cons.wrapping_add(ahead)))
    }

    /// Takes `count` requests, which [`BackRing::available`] has said are there.
    pub fn consume(&mut self, count: u32) {
        let unanswered = self.req_cons.wrapping_sub(self.rsp_prod_pvt);
        assert!(
            count <= self.entries() - unanswered,
            "requests are consumed once"
        );
        self.req_cons = self.req_cons.wrapping_add(count);
    }

    /// Takes the next request.
    ///
    /// # Errors
    /// [`ReadError::Empty`], or [`ReadError::Corrupt`] if the peer's index is impossible.
    pub fn pop(&mut self) -> Result<Request, ReadError> {
        match self.available() {
            Ok(0) => Err(ReadError::Empty),
            Ok(_) => {
                let request = self.peek(0);
                self.consume(1);
                Ok(request)
            }
            Err(Corrupt) => Err(ReadError::Corrupt),
        }
    }

    /// Answers a request that was taken. Panics if every one has its answer.
    pub fn push(&mut self, response: &Response) {
        self.push_as(response);
    }

    /// Writes something else than a `Response` into a response's entry, such as netif's extra
    /// infos. Panics if every request has its answer.
    pub fn push_as<T: IntoBytes + Immutable>(&mut self, entry: &T) {
        const { assert!(size_of::<T>() <= entry_size::<Request, Response>()) };
        assert!(
            self.rsp_prod_pvt != self.req_cons,
            "one response for each request"
        );
        store(&self.memory, self.offset(self.rsp_prod_pvt), entry);
        self.rsp_prod_pvt = self.rsp_prod_pvt.wrapping_add(1);
    }

    /// Shows the peer what was pushed, and says whether it wants an event for it.
    pub fn publish(&mut self) -> Notify {
        let old = self.rsp_published;
        let new = self.rsp_prod_pvt;
        if old == new {
            return Notify::NotNeeded;
        }
        self.memory
            .ring_word(RSP_PROD)
            .store(new, Ordering::Release);
        self.rsp_published = new;
        fence(Ordering::SeqCst);
        let event = self.memory.ring_word(RSP_EVENT).load(Ordering::Relaxed);
        if new.wrapping_sub(event) < new.wrapping_sub(old) {
            Notify::Needed
        } else {
            Notify::NotNeeded
        }
    }

    /// Requests that were taken and have no answer yet.
    pub fn unanswered(&self) -> u32 {
        self.req_cons.wrapping_sub(self.rsp_prod_pvt)
    }

    /// Asks for an event once another request has come, and says whether one is there already.
    ///
    /// # Errors
    /// [`Corrupt`].
    pub fn arm(&self) -> Result<Pending, Corrupt> {
        self.arm_after(0)
    }

    /// Asks for an event once more than `left` requests wait, and says whether that is so already.
    ///
    /// # Errors
    /// [`Corrupt`].
    pub fn arm_after(&self, left: u32) -> Result<Pending, Corrupt> {
        let event = self.req_cons.wrapping_add(left).wrapping_add(1);
        self.memory
            .ring_word(REQ_EVENT)
            .store(event, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        Ok(if self.available()? > left {
            Pending::Work
        } else {
            Pending::Nothing
        })
    }

    fn offset(&self, counter: u32) -> usize {
        RING + (counter & (self.entries() - 1)) as usize * entry_size::<Request, Response>()
    }
}
