//! The connection: requests out, replies and watch events in.

#![forbid(unsafe_code)]

mod answer;

pub use answer::Answer;

use super::transaction::Turns;
use super::watch::{Watch, Watches};
use super::wire::{self, Assembler};
use super::{Error, Refusal, path};
use crate::abi::io::xs_wire::{
    DomainInterface, Header, XENSTORE_RING_SIZE, XS_DIRECTORY, XS_ERROR, XS_MKDIR, XS_READ, XS_RM,
    XS_WATCH_EVENT, XS_WRITE,
};
use crate::nospec;
use crate::xen::{Port, SharedPage, Xen};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use answer::{Decode, Reply, done, number, text};
use core::cell::RefCell;
use core::mem::offset_of;
use core::pin::Pin;
use core::str::FromStr;
use core::sync::atomic::{Ordering, fence};
use core::task::Waker;

/// Requests that may wait for their answers at a time.
pub const REQUESTS_MAX: usize = 256;

/// Bytes of a value among several that are read at once: a peer's keys are numbers, and what it writes
/// instead is not kept.
pub const TEXT_MAX: usize = 512;

const REQ: usize = offset_of!(DomainInterface, req);
const RSP: usize = offset_of!(DomainInterface, rsp);
const REQ_CONS: usize = offset_of!(DomainInterface, req_cons);
const REQ_PROD: usize = offset_of!(DomainInterface, req_prod);
const RSP_CONS: usize = offset_of!(DomainInterface, rsp_cons);
const RSP_PROD: usize = offset_of!(DomainInterface, rsp_prod);

/// A request on its way.
struct Pending {
    req_id: u32,
    kind: u32,
    state: PendingState,
}

enum PendingState {
    Waiting(Option<Waker>),
    Answered(Result<Vec<u8>, Error>),
    /// Nobody waits for the answer any more.
    Abandoned,
}

pub(super) struct State<X: Xen> {
    xen: X,
    page: X::Page,
    port: Port,
    /// Bytes that did not fit the ring yet; bounded by [`REQUESTS_MAX`] messages.
    queue: VecDeque<u8>,
    assembler: Assembler,
    /// In the order they were made, in which xenstored mostly answers.
    pending: Vec<Pending>,
    next_req_id: u32,
    pub(super) watches: Watches,
    /// Whose transaction is under way.
    pub(super) turns: Turns,
    /// Why the connection is dead.
    dead: Option<Error>,
}

/// A connection to xenstored. A handle: clones speak over the same connection.
pub struct Client<X: Xen> {
    pub(super) state: Rc<RefCell<State<X>>>,
}

impl<X: Xen> Clone for Client<X> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
        }
    }
}

impl<X: Xen> Client<X> {
    /// Speaks over the page and port that start_info names. The page stays the domain builder's
    /// grant; it is never freed.
    pub fn new(xen: X, page: X::Page, port: Port) -> Self {
        Self {
            state: Rc::new(RefCell::new(State {
                xen,
                page,
                port,
                queue: VecDeque::new(),
                assembler: Assembler::default(),
                pending: Vec::new(),
                next_req_id: 1,
                watches: Watches::default(),
                turns: Turns::default(),
                dead: None,
            })),
        }
    }

    /// The port xenstored sends its events to.
    pub fn port(&self) -> Port {
        self.state.borrow().port
    }

    /// Moves what can be moved, both ways, and wakes who waited for it. Costs two loads if there
    /// is nothing to do.
    pub fn pump(&self) {
        self.state.borrow_mut().pump();
    }

    /// Ends the connection from this side: everyone who waits gets [`Error::Disconnected`].
    pub fn disconnect(&self) {
        self.state.borrow_mut().die(Error::Disconnected);
    }

    /// Why the connection is dead, if it is.
    pub fn dead(&self) -> Option<Error> {
        self.state.borrow().dead
    }

    /// Reads a node's value.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn read(&self, path: &str) -> Answer<'_, X, Vec<u8>> {
        self.read_in(0, path)
    }

    /// Reads a node's value, which must be UTF-8.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn read_text(&self, path: &str) -> Answer<'_, X, String> {
        self.ask(XS_READ, 0, path, &[], text)
    }

    /// Reads a node's value as a decimal number, blanks around it allowed.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn read_number<T: FromStr>(&self, path: &str) -> Answer<'_, X, T> {
        self.read_number_in(0, path)
    }

    /// Reads a node that need not be there, as a number.
    ///
    /// # Errors
    /// Any [`Error`] but [`Refusal::NotFound`].
    pub fn read_number_if_any<T: FromStr>(&self, path: &str) -> Answer<'_, X, Option<T>> {
        self.ask(XS_READ, 0, path, &[], |answer| match number(answer) {
            Ok(number) => Ok(Some(number)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        })
    }

    /// Reads several of a node's children, as text: `None` for one that is not there; what is not UTF-8, or
    /// longer than [`TEXT_MAX`], becomes U+FFFD.
    ///
    /// # Errors
    /// Any [`Error`] but [`Refusal::NotFound`].
    pub fn read_all<'a>(
        &'a self,
        directory: &'a str,
        keys: &'a [&'a str],
    ) -> Boxed<'a, Vec<Option<String>>> {
        Box::pin(async move {
            let mut values = Vec::with_capacity(keys.len());
            for key in keys {
                let answer = self.read(&format!("{directory}/{key}")).await;
                values.push(match answer {
                    Ok(value) => Some(short_text(&value)),
                    Err(error) if error.is_not_found() => None,
                    Err(error) => return Err(error),
                });
            }
            Ok(values)
        })
    }

    /// Writes a node, making it and those above it if need be.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn write(&self, path: &str, value: impl AsRef<[u8]>) -> Answer<'_, X, ()> {
        self.write_in(0, path, value.as_ref())
    }

    /// Makes an empty node; one that is there stays as it is.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn mkdir(&self, path: &str) -> Answer<'_, X, ()> {
        self.mkdir_in(0, path)
    }

    /// Removes a node and all below it. It is no error if there is none.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn rm(&self, path: &str) -> Answer<'_, X, ()> {
        self.rm_in(0, path)
    }

    /// The names of a node's children.
    ///
    /// # Errors
    /// Any [`Error`]; [`Refusal::TooBig`] if the names do not fit one message.
    pub fn directory(&self, path: &str) -> Answer<'_, X, Vec<String>> {
        self.directory_in(0, path)
    }

    /// Watches a node and all below it. The first event comes at once.
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn watch<'a>(&'a self, path: &'a str) -> Boxed<'a, Watch<X>> {
        Box::pin(async move {
            let mut watch = Watch::new(self.clone());
            watch.add(path).await?;
            Ok(watch)
        })
    }

    pub(super) fn read_in(&self, tx_id: u32, path: &str) -> Answer<'_, X, Vec<u8>> {
        self.ask(XS_READ, tx_id, path, &[], |answer| answer)
    }

    pub(super) fn read_number_in<T: FromStr>(&self, tx_id: u32, path: &str) -> Answer<'_, X, T> {
        self.ask(XS_READ, tx_id, path, &[], number)
    }

    pub(super) fn write_in(&self, tx_id: u32, path: &str, value: &[u8]) -> Answer<'_, X, ()> {
        self.ask(XS_WRITE, tx_id, path, value, done)
    }

    pub(super) fn mkdir_in(&self, tx_id: u32, path: &str) -> Answer<'_, X, ()> {
        self.ask(XS_MKDIR, tx_id, path, &[], done)
    }

    pub(super) fn rm_in(&self, tx_id: u32, path: &str) -> Answer<'_, X, ()> {
        self.ask(XS_RM, tx_id, path, &[], |answer| match answer {
            Err(Error::Refused(Refusal::NotFound)) => Ok(()),
            other => done(other),
        })
    }

    pub(super) fn directory_in(&self, tx_id: u32, path: &str) -> Answer<'_, X, Vec<String>> {
        self.ask(XS_DIRECTORY, tx_id, path, &[], |answer| {
            // Well-formed as a message, if not as a list: this reader's trouble only.
            wire::strings(&answer?).map_err(|_| Error::BadValue)
        })
    }

    /// Sends a request about a node.
    fn ask<T>(
        &self,
        kind: u32,
        tx_id: u32,
        path: &str,
        value: &[u8],
        decode: Decode<T>,
    ) -> Answer<'_, X, T> {
        let sent = path::check(path).and_then(|()| {
            let parts = [path.as_bytes(), b"\0", value];
            self.state.borrow_mut().send(kind, tx_id, &parts)
        });
        Answer {
            reply: Reply::new(self, sent),
            decode,
        }
    }

    /// Sends a request and waits for its answer's payload.
    pub(super) fn request(&self, kind: u32, tx_id: u32, parts: &[&[u8]]) -> Answer<'_, X, Vec<u8>> {
        let sent = self.state.borrow_mut().send(kind, tx_id, parts);
        Answer {
            reply: Reply::new(self, sent),
            decode: |answer| answer,
        }
    }

    /// Sends a request whose answer nobody waits for.
    pub(super) fn post(&self, kind: u32, tx_id: u32, parts: &[&[u8]]) {
        let mut state = self.state.borrow_mut();
        if let Ok(req_id) = state.send(kind, tx_id, parts) {
            state.abandon(req_id);
        }
    }
}

fn short_text(value: &[u8]) -> String {
    let short = Some(value).filter(|value| value.len() <= TEXT_MAX);
    let text = short.and_then(|value| core::str::from_utf8(value).ok());
    String::from(text.unwrap_or("\u{fffd}"))
}

/// A future that is there once, however many tasks wait for it.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + 'a>>;

impl<X: Xen> State<X> {
    fn send(&mut self, kind: u32, tx_id: u32, parts: &[&[u8]]) -> Result<u32, Error> {
        if let Some(error) = self.dead {
            return Err(error);
        }
        if self.pending.len() >= REQUESTS_MAX {
            return Err(Error::TooManyRequests);
        }
        let req_id = self.free_req_id();
        wire::encode(&mut self.queue, kind, req_id, tx_id, parts)?;
        self.pending.push(Pending {
            req_id,
            kind,
            state: PendingState::Waiting(None),
        });
        self.pump();
        Ok(req_id)
    }

    /// A number no waiting request has; 0 is left to watch events.
    fn free_req_id(&mut self) -> u32 {
        loop {
            let req_id = self.next_req_id;
            self.next_req_id = self.next_req_id.wrapping_add(1).max(1);
            if self.position(req_id).is_none() {
                return req_id;
            }
        }
    }

    /// Where among [`REQUESTS_MAX`] at most a request waits.
    fn position(&self, req_id: u32) -> Option<usize> {
        self.pending
            .iter()
            .position(|pending| pending.req_id == req_id)
    }

    fn abandon(&mut self, req_id: u32) {
        let Some(at) = self.position(req_id) else {
            return;
        };
        if matches!(self.pending[at].state, PendingState::Waiting(_)) {
            self.pending[at].state = PendingState::Abandoned;
        } else {
            self.pending.remove(at);
        }
    }

    fn pump(&mut self) {
        if self.dead.is_some() {
            return;
        }
        let moved = self
            .send_bytes()
            .and_then(|sent| Ok(sent | self.receive_bytes()?));
        let moved = match moved {
            Ok(moved) => moved,
            Err(error) => {
                self.die(error);
                return;
            }
        };
        // One event covers both: there is something to read, or room to write.
        if moved && self.xen.notify(self.port).is_err() {
            self.die(Error::Disconnected);
        }
    }

    fn send_bytes(&mut self) -> Result<bool, Error> {
        if self.queue.is_empty() {
            return Ok(false);
        }
        let mut prod = self.page.word(REQ_PROD).load(Ordering::Relaxed);
        let cons = self.page.word(REQ_CONS).load(Ordering::Acquire);
        let used = prod.wrapping_sub(cons) as usize;
        if used > XENSTORE_RING_SIZE {
            return Err(Error::Protocol);
        }
        let used = nospec::below(used, XENSTORE_RING_SIZE + 1);
        let mut room = (XENSTORE_RING_SIZE - used).min(self.queue.len());
        let moved = room > 0;
        // What xenstored has read must not be overwritten before its index was seen.
        fence(Ordering::SeqCst);
        while room > 0 {
            let at = prod as usize % XENSTORE_RING_SIZE;
            let front = self.queue.as_slices().0;
            let count = room.min(XENSTORE_RING_SIZE - at).min(front.len());
            self.page.write(REQ + at, &front[..count]);
            self.queue.drain(..count);
            prod = prod.wrapping_add(count as u32);
            room -= count;
        }
        fence(Ordering::SeqCst);
        self.page.word(REQ_PROD).store(prod, Ordering::Release);
        Ok(moved)
    }

    fn receive_bytes(&mut self) -> Result<bool, Error> {
        let mut cons = self.page.word(RSP_CONS).load(Ordering::Relaxed);
        let prod = self.page.word(RSP_PROD).load(Ordering::Acquire);
        let mut left = prod.wrapping_sub(cons) as usize;
        if left > XENSTORE_RING_SIZE {
            return Err(Error::Protocol);
        }
        left = nospec::below(left, XENSTORE_RING_SIZE + 1);
        let moved = left > 0;
        fence(Ordering::SeqCst);
        while left > 0 {
            let at = cons as usize % XENSTORE_RING_SIZE;
            let count = left
                .min(XENSTORE_RING_SIZE - at)
                .min(self.assembler.wanted()?);
            let mut bytes = [0; XENSTORE_RING_SIZE];
            self.page.read(RSP + at, &mut bytes[..count]);
            self.assembler.feed(&bytes[..count]);
            cons = cons.wrapping_add(count as u32);
            left -= count;
            // Asked again, so that a header that announces too much is refused at once.
            self.assembler.wanted()?;
            if let Some((header, payload)) = self.assembler.take() {
                self.dispatch(header, payload)?;
            }
        }
        fence(Ordering::SeqCst);
        self.page.word(RSP_CONS).store(cons, Ordering::Release);
        Ok(moved)
    }

    fn dispatch(&mut self, header: Header, payload: Vec<u8>) -> Result<(), Error> {
        if header.kind == XS_WATCH_EVENT {
            return self.watches.event(&payload);
        }
        let at = self.position(header.req_id).ok_or(Error::Protocol)?;
        let pending = &mut self.pending[at];
        let answer = if header.kind == XS_ERROR {
            let name = payload.strip_suffix(&[0]).unwrap_or(&payload);
            Err(Error::Refused(Refusal::from_name(name)))
        } else if header.kind == pending.kind {
            Ok(payload)
        } else {
            return Err(Error::Protocol);
        };
        match core::mem::replace(&mut pending.state, PendingState::Answered(answer)) {
            PendingState::Waiting(waker) => {
                if let Some(waker) = waker {
                    waker.wake();
                }
                Ok(())
            }
            PendingState::Abandoned => {
                self.pending.remove(at);
                Ok(())
            }
            // Two answers to one request.
            PendingState::Answered(_) => Err(Error::Protocol),
        }
    }

    fn die(&mut self, error: Error) {
        if self.dead.is_some() {
            return;
        }
        self.dead = Some(error);
        self.queue.clear();
        for pending in core::mem::take(&mut self.pending) {
            if let PendingState::Waiting(Some(waker)) = pending.state {
                waker.wake();
            }
        }
        self.watches.die(error);
    }
}
