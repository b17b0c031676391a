//! A disk that a task can wait for.

use crate::SECTOR;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use core::cell::RefCell;
use core::future::poll_fn;
use core::task::{Poll, Waker};
use minios_rs::Pv;
use minios_rs::block::{Completion, Front, Operation};

pub(crate) type Buffer = minios_rs::block::Buffer<Pv>;

pub(crate) struct Disk {
    pub(crate) front: Front<Pv>,
    done: RefCell<VecDeque<Completion<Pv>>>,
    waker: RefCell<Option<Waker>>,
}

impl Disk {
    pub(crate) fn new(front: Front<Pv>) -> Self {
        Self {
            front,
            done: RefCell::default(),
            waker: RefCell::default(),
        }
    }

    /// Once a turn of the main loop.
    pub(crate) fn turn(&self) {
        while let Some(done) = self.front.poll() {
            self.done.borrow_mut().push_back(done);
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
        self.front.notify();
    }

    /// The next request that is done.
    async fn next(&self) -> Completion<Pv> {
        poll_fn(|context| match self.done.borrow_mut().pop_front() {
            Some(done) => Poll::Ready(done),
            None => {
                *self.waker.borrow_mut() = Some(context.waker().clone());
                Poll::Pending
            }
        })
        .await
    }

    fn submit(
        &self,
        operation: Operation,
        sector: u64,
        buffer: Option<Buffer>,
        tag: usize,
    ) -> Result<(), String> {
        let submitted = self.front.submit(operation, sector, buffer, tag as u64);
        submitted.map_err(|(full, _)| format!("{full}"))
    }

    async fn finish(&self) -> Result<Option<Buffer>, String> {
        let done = self.next().await;
        match done.result {
            Ok(()) => Ok(done.buffer),
            Err(failure) => Err(format!("{failure}")),
        }
    }

    /// Does what needs no buffer, at the disk's beginning.
    pub(crate) async fn one(&self, operation: Operation) -> Result<(), String> {
        self.submit(operation, 0, None, 0)?;
        self.finish().await.map(drop)
    }

    pub(crate) async fn read(&self, sector: u64, into: &mut [u8]) -> Result<(), String> {
        let buffer = self.front.buffer(into.len()).ok_or("no pages")?;
        self.submit(Operation::Read, sector, Some(buffer), 0)?;
        if let Some(buffer) = self.finish().await? {
            buffer.read(0, into);
        }
        Ok(())
    }

    pub(crate) async fn write(&self, sector: u64, from: &[u8]) -> Result<(), String> {
        let buffer = self.front.buffer(from.len()).ok_or("no pages")?;
        buffer.write(0, from);
        self.submit(Operation::Write, sector, Some(buffer), 0)?;
        self.finish().await.map(drop)
    }

    /// Reads or writes `count` pieces of `len` bytes, so many at a time. `place` says which piece of the disk each is;
    /// `look` sees a piece and its buffer before it is written, or after it was read.
    pub(crate) async fn all(
        &self,
        count: usize,
        depth: usize,
        len: usize,
        operation: Operation,
        place: &mut dyn FnMut(usize) -> usize,
        look: &mut dyn FnMut(usize, &Buffer),
    ) -> Result<(), String> {
        let mut free = VecDeque::new();
        for _ in 0..depth {
            free.push_back(self.front.buffer(len).ok_or("no pages")?);
        }
        let (mut begun, mut ended) = (0, 0);
        let mut failed = None;
        while ended < count {
            while begun < count
                && failed.is_none()
                && let Some(buffer) = free.pop_front()
            {
                let number = place(begun);
                if operation == Operation::Write {
                    look(number, &buffer);
                }
                let sector = (number * (len / SECTOR)) as u64;
                self.submit(operation, sector, Some(buffer), number)?;
                begun += 1;
            }
            if begun == ended {
                break;
            }
            let done = self.next().await;
            ended += 1;
            if let Err(failure) = done.result {
                failed = Some(format!("piece {}: {failure}", done.tag));
            }
            let buffer = done.buffer.ok_or("a buffer that did not come back")?;
            if operation == Operation::Read && done.result.is_ok() {
                look(done.tag as usize, &buffer);
            }
            free.push_back(buffer);
        }
        failed.map_or(Ok(()), Err)
    }
}
