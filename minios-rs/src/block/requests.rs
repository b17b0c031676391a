//! What both handles of a disk share: the requests, from submitted to done.

#![forbid(unsafe_code)]

use super::buffer::{Buffer, Pool};
use super::connection::{Answer, Connection};
use super::info::{Flush, Offer};
use super::{Breach, Completion, Config, Counters, Failure, Full, Info, Operation, SECTOR, State};
use crate::abi::io::blkif::{
    BLKIF_OP_DISCARD, BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_RSP_EOPNOTSUPP, BLKIF_RSP_OKAY,
};
use crate::ring::Notify;
use crate::xen::{DomId, PAGE_SIZE, Xen};
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::task::Waker;

/// A request that is not done.
struct Entry<X: Xen> {
    tag: u64,
    operation: Operation,
    sector: u64,
    buffer: Option<Buffer<X>>,
    /// Requests that were submitted before it.
    number: u64,
    /// Pages of the buffer that the backend was asked for; of what has none, 1 once it was.
    sent: usize,
    /// Parts that have no answer yet.
    parts: usize,
    /// It is in the list of those that are to be sent.
    is_waiting: bool,
    failed: Option<Failure>,
}

/// What came of sending a request.
enum Sent {
    /// It is on its way, all of it.
    All,
    /// There is no room for the rest.
    Rest,
    /// It is done.
    Done(Result<(), Failure>),
}

pub(super) struct Requests<X: Xen> {
    xen: X,
    pub(super) state: State,
    pub(super) info: Option<Info>,
    flush: Flush,
    has_barrier: bool,
    connection: Option<Connection<X>>,
    entries: Vec<Option<Entry<X>>>,
    free: Vec<u16>,
    /// Those that are to be sent, in their order: all of them but the first are not sent at all.
    waiting: VecDeque<u16>,
    done: VecDeque<Completion<X>>,
    pub(super) pool: Rc<RefCell<Pool<X>>>,
    pub(super) counters: Counters,
    /// Who waits for [`State::Broken`].
    pub(super) waker: Option<Waker>,
}

impl<X: Xen> Requests<X> {
    pub(super) fn new(xen: &X, backend: DomId, config: Config) -> Self {
        let requests = config.requests_max.clamp(1, usize::from(u16::MAX));
        Self {
            xen: xen.clone(),
            state: State::Connecting,
            info: None,
            flush: Flush::Nothing,
            has_barrier: false,
            connection: None,
            entries: (0..requests).map(|_| None).collect(),
            free: (0..requests as u16).rev().collect(),
            waiting: VecDeque::with_capacity(requests),
            done: VecDeque::with_capacity(requests),
            pool: Rc::new(RefCell::new(Pool::new(xen, backend, config.pages_max))),
            counters: Counters::default(),
            waker: None,
        }
    }

    /// Takes a backend that is connected, and sends it what there is to send.
    pub(super) fn open(&mut self, mut connection: Connection<X>, offer: Offer) {
        self.pool.borrow_mut().serve(connection.backend());
        connection.segments_max = offer.segments_max;
        self.info = Some(offer.info);
        self.flush = offer.flush;
        self.has_barrier = offer.has_barrier;
        self.connection = Some(connection);
        self.state = State::Open;
        self.counters.connections += 1;
        self.dispatch();
        self.notify();
    }

    /// Gives up the backend, which is to be asked everything again that it did not answer. Its connection is to be
    /// kept until it has let go.
    pub(super) fn suspend(&mut self) -> Option<Connection<X>> {
        if self.state == State::Open {
            self.state = State::Connecting;
        }
        let mut again: Vec<(u64, u16)> = Vec::with_capacity(self.entries.len());
        for (at, entry) in (0..).zip(&mut self.entries) {
            let Some(entry) = entry else { continue };
            self.counters.sent_again += u64::from(entry.sent > 0);
            (entry.sent, entry.parts, entry.is_waiting) = (0, 0, true);
            again.push((entry.number, at));
        }
        again.sort_unstable();
        self.waiting.clear();
        self.waiting.extend(again.iter().map(|(_, at)| at));
        self.connection.take()
    }

    /// Lets every request fail, now and from now on.
    pub(super) fn end(&mut self, state: State) {
        self.state = state;
        self.waiting.clear();
        for at in 0..self.entries.len() as u16 {
            if self.entries[usize::from(at)].is_some() {
                self.finish(at, Err(Failure::Gone));
            }
        }
    }

    fn break_down(&mut self, breach: Breach) {
        self.end(State::Broken(breach));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn submit(
        &mut self,
        operation: Operation,
        sector: u64,
        buffer: Option<Buffer<X>>,
        tag: u64,
    ) -> Result<(), (Full, Option<Buffer<X>>)> {
        // Each that is done has its place until it was polled.
        if self.done.len() >= self.free.len() {
            return Err((Full, buffer));
        }
        let Some(at) = self.free.pop() else {
            return Err((Full, buffer));
        };
        self.entries[usize::from(at)] = Some(Entry {
            tag,
            operation,
            sector,
            buffer,
            number: self.counters.requests,
            sent: 0,
            parts: 0,
            is_waiting: true,
            failed: None,
        });
        self.counters.requests += 1;
        match self.state {
            State::Open | State::Connecting => {
                self.waiting.push_back(at);
                self.dispatch();
            }
            State::Broken(_) | State::Gone => self.finish(at, Err(Failure::Gone)),
        }
        Ok(())
    }

    pub(super) fn poll(&mut self) -> Option<Completion<X>> {
        loop {
            if let Some(done) = self.done.pop_front() {
                return Some(done);
            }
            if self.state != State::Open {
                return None;
            }
            let answer = self.connection.as_mut()?.answer();
            match answer {
                Ok(Some(answer)) => self.take(&answer),
                Ok(None) => return None,
                Err(breach) => self.break_down(breach),
            }
        }
    }

    pub(super) fn notify(&mut self) {
        let Some(connection) = self.connection.as_mut() else {
            return;
        };
        if self.state == State::Open && connection.publish() == Notify::Needed {
            self.counters.notifications += 1;
            if connection.port().notify().is_err() {
                self.break_down(Breach::EventChannel);
            }
        }
    }

    fn take(&mut self, answer: &Answer) {
        let Some(entry) = &mut self.entries[usize::from(answer.owner)] else {
            // Each part is a request's that is not done.
            return;
        };
        entry.parts -= 1;
        match answer.status {
            BLKIF_RSP_OKAY => {}
            BLKIF_RSP_EOPNOTSUPP if entry.operation == Operation::Flush => {
                self.flush_otherwise(answer.owner);
                return;
            }
            BLKIF_RSP_EOPNOTSUPP => {
                if let (Operation::Discard { .. }, Some(info)) = (entry.operation, &mut self.info) {
                    info.discard = None;
                }
                entry.failed = Some(Failure::Unsupported);
            }
            _ => entry.failed = entry.failed.or(Some(Failure::Io)),
        }
        if entry.parts == 0 && !entry.is_waiting {
            let result = entry.failed.map_or(Ok(()), Err);
            self.finish(answer.owner, result);
        }
        // There is room now.
        self.dispatch();
    }

    /// A backend that takes no flush although it said so: by barriers, or not at all, as Linux has it.
    fn flush_otherwise(&mut self, at: u16) {
        self.flush = match self.flush {
            Flush::Cache if self.has_barrier => Flush::Barrier,
            _ => Flush::Nothing,
        };
        if self.flush == Flush::Nothing
            && let Some(info) = &mut self.info
        {
            log::warn!("a disk's backend offers to flush and does not");
            info.flush = false;
        }
        if let Some(entry) = &mut self.entries[usize::from(at)] {
            (entry.sent, entry.is_waiting) = (0, true);
            self.waiting.push_back(at);
        }
        self.dispatch();
    }

    /// Sends what there is room for.
    fn dispatch(&mut self) {
        while let Some(&at) = self.waiting.front() {
            match self.send(at) {
                Sent::Rest => return,
                Sent::All => {
                    self.waiting.pop_front();
                    if let Some(entry) = &mut self.entries[usize::from(at)] {
                        entry.is_waiting = false;
                    }
                }
                Sent::Done(result) => {
                    self.waiting.pop_front();
                    self.finish(at, result);
                }
            }
        }
    }

    fn send(&mut self, at: u16) -> Sent {
        let (Some(connection), Some(info)) = (&mut self.connection, &self.info) else {
            return Sent::Rest;
        };
        let Some(entry) = &mut self.entries[usize::from(at)] else {
            return Sent::All;
        };
        if entry.sent == 0
            && let Err(failure) = entry.check(info, &self.pool)
        {
            return Sent::Done(Err(failure));
        }
        if let Some(failure) = entry.failed {
            return match entry.parts {
                0 => Sent::Done(Err(failure)),
                // What is left of it need not be asked for.
                _ => Sent::All,
            };
        }
        let operation = match entry.operation {
            Operation::Read => BLKIF_OP_READ,
            Operation::Write => BLKIF_OP_WRITE,
            Operation::Discard { .. } => BLKIF_OP_DISCARD,
            Operation::Flush => match self.flush.operation() {
                Some(operation) => operation,
                None => return Sent::Done(Ok(())),
            },
        };
        let Some(buffer) = &mut entry.buffer else {
            if !connection.has_room() {
                return Sent::Rest;
            }
            match entry.operation {
                Operation::Discard { sectors } => {
                    connection.push_discard(at, operation, entry.sector, sectors);
                }
                _ => connection.push_plain(at, operation),
            }
            (entry.sent, entry.parts) = (1, 1);
            self.counters.parts += 1;
            return Sent::All;
        };
        if let Err(failure) = buffer.serve(&self.xen, connection.backend()) {
            return Sent::Done(Err(failure));
        }
        while entry.sent < buffer.pages() {
            if !connection.has_room() {
                return Sent::Rest;
            }
            let sector = entry.sector + (entry.sent * (PAGE_SIZE / SECTOR)) as u64;
            entry.sent += connection.push_pages(at, operation, sector, buffer, entry.sent);
            entry.parts += 1;
            self.counters.parts += 1;
        }
        Sent::All
    }

    fn finish(&mut self, at: u16, result: Result<(), Failure>) {
        let Some(entry) = self.entries[usize::from(at)].take() else {
            return;
        };
        self.free.push(at);
        self.counters.done += 1;
        self.counters.failed += u64::from(result.is_err());
        let bytes = entry.buffer.as_ref().map_or(0, Buffer::len) as u64;
        match (entry.operation, result) {
            (Operation::Read, Ok(())) => self.counters.read_bytes += bytes,
            (Operation::Write, Ok(())) => self.counters.written_bytes += bytes,
            _ => {}
        }
        self.done.push_back(Completion {
            tag: entry.tag,
            result,
            buffer: entry.buffer,
        });
    }
}

impl<X: Xen> Entry<X> {
    /// Whether the disk can do it.
    fn check(&self, info: &Info, pool: &Rc<RefCell<Pool<X>>>) -> Result<(), Failure> {
        let sectors = match (self.operation, &self.buffer) {
            (Operation::Flush, None) => return Ok(()),
            (Operation::Discard { sectors }, None) => {
                if info.discard.is_none() {
                    return Err(Failure::Unsupported);
                }
                sectors
            }
            (Operation::Read | Operation::Write, Some(buffer)) if buffer.is_of(pool) => {
                (buffer.len() / SECTOR) as u64
            }
            _ => return Err(Failure::Invalid),
        };
        if info.read_only && self.operation != Operation::Read {
            return Err(Failure::ReadOnly);
        }
        let end = self.sector.checked_add(sectors);
        if end.is_none_or(|end| end > info.sectors) {
            return Err(Failure::OutOfRange);
        }
        let multiple = u64::from(info.sector_size) / SECTOR as u64;
        match self.sector.is_multiple_of(multiple)
            && sectors.is_multiple_of(multiple)
            && sectors > 0
        {
            true => Ok(()),
            false => Err(Failure::Invalid),
        }
    }
}
