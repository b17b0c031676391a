//! The main loop's end of a disk.

#![forbid(unsafe_code)]

use super::requests::Requests;
use super::{Buffer, Completion, Counters, Full, Info, Operation, State};
use crate::xen::Xen;
use alloc::rc::Rc;
use core::cell::RefCell;

/// A disk. A handle: clones speak for the same one. It knows nothing of xenstore: its [`Link`](super::Link) does.
pub struct Front<X: Xen> {
    pub(super) requests: Rc<RefCell<Requests<X>>>,
}

impl<X: Xen> Clone for Front<X> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
        }
    }
}

impl<X: Xen> Front<X> {
    /// What the backend says of the disk; the last one did, if there is none now. `None` only before the first one.
    pub fn info(&self) -> Option<Info> {
        self.requests.borrow().info
    }

    /// Whether it works.
    pub fn state(&self) -> State {
        self.requests.borrow().state
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.requests.borrow().counters
    }

    /// Room for so many bytes, a multiple of 512. Taken from those that were given back, so that the backend keeps
    /// them mapped; still, whoever needs one all the time keeps it.
    ///
    /// `None`: there are not so many pages now ([`Config::pages_max`](super::Config::pages_max)), or it is no such
    /// number.
    pub fn buffer(&self, bytes: usize) -> Option<Buffer<X>> {
        let pool = self.requests.borrow().pool.clone();
        Buffer::take(&pool, bytes)
    }

    /// Takes a request; what becomes of it comes by [`Front::poll`]. The backend sees it after [`Front::notify`].
    /// One that cannot be asked of the disk is done at once, and no event tells of it: poll again before sleeping.
    ///
    /// # Errors
    /// [`Full`], and the buffer back. Whatever else is wrong with a request, its completion says.
    pub fn submit(
        &self,
        operation: Operation,
        sector: u64,
        buffer: Option<Buffer<X>>,
        tag: u64,
    ) -> Result<(), (Full, Option<Buffer<X>>)> {
        let mut requests = self.requests.borrow_mut();
        requests.submit(operation, sector, buffer, tag)
    }

    /// The next request that is done. `None`: none is, and an event will come when one is. What waited for room is
    /// sent meanwhile, so that [`Front::notify`] comes after it.
    pub fn poll(&self) -> Option<Completion<X>> {
        self.requests.borrow_mut().poll()
    }

    /// Shows the backend what was submitted, and sends it one event if it asked to be told. Once a turn of the main
    /// loop, after [`Front::poll`] and [`Front::submit`].
    pub fn notify(&self) {
        self.requests.borrow_mut().notify();
    }
}
