//! Answers that are waited for: one future for every kind of request.

#![forbid(unsafe_code)]

use super::{Client, PendingState};
use crate::xen::Xen;
use crate::xenstore::Error;
use alloc::string::String;
use alloc::vec::Vec;
use core::pin::Pin;
use core::str::FromStr;
use core::task::{Context, Poll, Waker};

/// What an answer comes to.
pub(super) type Decode<T> = fn(Result<Vec<u8>, Error>) -> Result<T, Error>;

pub(super) fn text(answer: Result<Vec<u8>, Error>) -> Result<String, Error> {
    String::from_utf8(answer?).map_err(|_| Error::BadValue)
}

pub(super) fn number<T: FromStr>(answer: Result<Vec<u8>, Error>) -> Result<T, Error> {
    text(answer)?.trim().parse().map_err(|_| Error::BadValue)
}

pub(super) fn done(answer: Result<Vec<u8>, Error>) -> Result<(), Error> {
    answer.map(drop)
}

/// The answer to a request, which was sent when this was made. Dropped early, the answer is thrown away when
/// it comes.
///
/// One future for all requests: state machines of their own, inlined into every task that talks to xenstore,
/// were a quarter of an image.
#[must_use = "the answer says whether it was done"]
pub struct Answer<'a, X: Xen, T> {
    pub(super) reply: Reply<'a, X>,
    pub(super) decode: Decode<T>,
}

impl<X: Xen, T> Future for Answer<'_, X, T> {
    type Output = Result<T, Error>;

    #[inline(never)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let decode = self.decode;
        self.reply.poll(context.waker()).map(decode)
    }
}

pub(super) struct Reply<'a, X: Xen> {
    client: &'a Client<X>,
    /// None: it was taken.
    sent: Option<Result<u32, Error>>,
}

impl<'a, X: Xen> Reply<'a, X> {
    pub(super) fn new(client: &'a Client<X>, sent: Result<u32, Error>) -> Self {
        Self {
            client,
            sent: Some(sent),
        }
    }

    #[inline(never)]
    fn poll(&mut self, waker: &Waker) -> Poll<Result<Vec<u8>, Error>> {
        let req_id = match self.sent {
            Some(Ok(req_id)) => req_id,
            Some(Err(error)) => return Poll::Ready(Err(error)),
            None => return Poll::Ready(Err(Error::Protocol)),
        };
        let mut state = self.client.state.borrow_mut();
        let Some(at) = state.position(req_id) else {
            self.sent = None;
            return Poll::Ready(Err(state.dead.unwrap_or(Error::Protocol)));
        };
        if let PendingState::Waiting(waiting) = &mut state.pending[at].state {
            *waiting = Some(waker.clone());
            return Poll::Pending;
        }
        self.sent = None;
        match state.pending.remove(at).state {
            PendingState::Answered(answer) => Poll::Ready(answer),
            _ => Poll::Ready(Err(Error::Protocol)),
        }
    }
}

impl<X: Xen> Drop for Reply<'_, X> {
    #[inline(never)]
    fn drop(&mut self) {
        if let Some(Ok(req_id)) = self.sent {
            self.client.state.borrow_mut().abandon(req_id);
        }
    }
}
