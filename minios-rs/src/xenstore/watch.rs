//! Watches as streams of events, bounded and coalesced.

#![forbid(unsafe_code)]

use super::wire;
use super::{Client, Error, path};
use crate::abi::io::xs_wire::{XS_UNWATCH, XS_WATCH};
use crate::xen::Xen;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

/// Events one watch keeps. When more come than are read, the kept ones are replaced by one event
/// for each watched path itself: a reader looks at the present state anyway.
pub const EVENTS_MAX: usize = 64;

/// Bytes of these events' paths. Below what is watched anybody may own a node, whose path has up to 3 KiB.
pub const EVENT_BYTES_MAX: usize = 4096;

#[derive(Default)]
struct Stream {
    paths: Vec<String>,
    events: VecDeque<String>,
    waker: Option<Waker>,
}

impl Stream {
    fn push(&mut self, event: String) {
        if self.events.contains(&event) {
            return;
        }
        let bytes: usize = self.events.iter().map(String::len).sum();
        if self.events.len() >= EVENTS_MAX.max(self.paths.len())
            || bytes + event.len() > EVENT_BYTES_MAX
        {
            self.events.clear();
            self.events.extend(self.paths.iter().cloned());
        } else {
            self.events.push_back(event);
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Every watch of a connection, by the number that is its token.
#[derive(Default)]
pub(super) struct Watches {
    streams: Vec<(u32, Stream)>,
    next: u32,
    dead: Option<Error>,
}

impl Watches {
    fn add(&mut self) -> u32 {
        // Tokens are not used twice: late events of a removed watch must find nobody.
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.streams.push((number, Stream::default()));
        number
    }

    fn get_mut(&mut self, number: u32) -> Option<&mut Stream> {
        let mut streams = self.streams.iter_mut();
        streams
            .find(|(other, _)| *other == number)
            .map(|(_, stream)| stream)
    }

    /// Takes the payload of an `XS_WATCH_EVENT`: path and token, each ended by a zero byte.
    pub(super) fn event(&mut self, payload: &[u8]) -> Result<(), Error> {
        let mut strings = wire::strings(payload)?.into_iter();
        let (Some(path), Some(token)) = (strings.next(), strings.next()) else {
            return Err(Error::Protocol);
        };
        // An event may cross the request that ended its watch.
        let number: Option<u32> = token.parse().ok();
        if let Some(stream) = number.and_then(|number| self.get_mut(number)) {
            stream.push(path);
        }
        Ok(())
    }

    pub(super) fn die(&mut self, error: Error) {
        self.dead = Some(error);
        for (_, stream) in &mut self.streams {
            if let Some(waker) = stream.waker.take() {
                waker.wake();
            }
        }
    }
}

/// Tells of changes at or below one or more nodes. Dropped, it stops watching.
pub struct Watch<X: Xen> {
    client: Client<X>,
    number: u32,
}

impl<X: Xen> Watch<X> {
    pub(super) fn new(client: Client<X>) -> Self {
        let number = client.state.borrow_mut().watches.add();
        Self { client, number }
    }

    /// Watches another node as well.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn add(&mut self, path: &str) -> Result<(), Error> {
        path::check(path)?;
        // Noted before the answer comes: if this future is dropped, the watch is removed all
        // the same.
        self.paths(|paths| paths.push(path.into()));
        let token = self.token();
        let added = self
            .client
            .request(XS_WATCH, 0, &[path.as_bytes(), b"\0", token.as_bytes()])
            .await;
        if added.is_err() {
            self.forget(path);
        }
        added.map(drop)
    }

    /// Stops watching a node that was added.
    pub fn remove(&mut self, path: &str) {
        if self.forget(path) {
            self.client.post(
                XS_UNWATCH,
                0,
                &[path.as_bytes(), b"\0", self.token().as_bytes()],
            );
        }
    }

    /// Waits for the next event and says which node changed, named as it was when watched:
    /// relative if the watched path was.
    ///
    /// # Errors
    /// [`Error::Protocol`] or [`Error::Disconnected`]: the connection is dead.
    pub async fn next(&mut self) -> Result<String, Error> {
        Next(self).await
    }

    /// Forgets the events that have come: whoever looks at everything has no more to do for many than for one.
    pub fn clear(&mut self) {
        let mut state = self.client.state.borrow_mut();
        if let Some(stream) = state.watches.get_mut(self.number) {
            stream.events.clear();
        }
    }

    fn paths<T: Default>(&self, with: impl FnOnce(&mut Vec<String>) -> T) -> T {
        let mut state = self.client.state.borrow_mut();
        state
            .watches
            .get_mut(self.number)
            .map(|stream| with(&mut stream.paths))
            .unwrap_or_default()
    }

    fn forget(&self, path: &str) -> bool {
        self.paths(|paths| {
            let at = paths.iter().position(|known| known == path);
            at.map(|at| paths.swap_remove(at)).is_some()
        })
    }

    /// The number, ended by a zero byte.
    fn token(&self) -> String {
        format!("{}\0", self.number)
    }
}

/// Waits for a watch's next event.
struct Next<'a, X: Xen>(&'a mut Watch<X>);

impl<X: Xen> Future for Next<'_, X> {
    type Output = Result<String, Error>;

    // Many tasks wait for one: it is there once.
    #[inline(never)]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let watch = &self.0;
        let mut state = watch.client.state.borrow_mut();
        if let Some(error) = state.watches.dead {
            return Poll::Ready(Err(error));
        }
        let Some(stream) = state.watches.get_mut(watch.number) else {
            return Poll::Ready(Err(Error::Disconnected));
        };
        match stream.events.pop_front() {
            Some(event) => Poll::Ready(Ok(event)),
            None => {
                stream.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<X: Xen> Drop for Watch<X> {
    fn drop(&mut self) {
        for path in self.paths(core::mem::take) {
            self.client.post(
                XS_UNWATCH,
                0,
                &[path.as_bytes(), b"\0", self.token().as_bytes()],
            );
        }
        self.client
            .state
            .borrow_mut()
            .watches
            .streams
            .retain(|(number, _)| *number != self.number);
    }
}
