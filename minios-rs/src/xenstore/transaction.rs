//! Several reads and writes that happen together or not at all.

#![forbid(unsafe_code)]

use super::{Answer, Client, Error, Refusal};
use crate::abi::io::xs_wire::{XS_TRANSACTION_END, XS_TRANSACTION_START};
use crate::xen::Xen;
use alloc::string::String;
use alloc::vec::Vec;
use core::future::poll_fn;
use core::str::FromStr;
use core::task::{Poll, Waker};

/// How often a transaction is tried before it gives up on others being in the way.
pub const ATTEMPTS_MAX: usize = 32;

/// One transaction of ours at a time: xenstored lets a domain have ten, and what 64 tasks do at once would
/// only be in each other's way.
#[derive(Default)]
pub(super) struct Turns {
    is_taken: bool,
    waiting: Vec<Waker>,
}

/// The right to a transaction, until it is dropped.
struct Turn<X: Xen>(Client<X>);

impl<X: Xen> Turn<X> {
    async fn wait(client: &Client<X>) -> Self {
        poll_fn(|context| {
            let turns = &mut client.state.borrow_mut().turns;
            if !core::mem::replace(&mut turns.is_taken, true) {
                return Poll::Ready(());
            }
            let waker = context.waker();
            if !turns.waiting.iter().any(|other| other.will_wake(waker)) {
                turns.waiting.push(waker.clone());
            }
            Poll::Pending
        })
        .await;
        Self(client.clone())
    }
}

impl<X: Xen> Drop for Turn<X> {
    fn drop(&mut self) {
        let waiting = {
            let turns = &mut self.0.state.borrow_mut().turns;
            turns.is_taken = false;
            core::mem::take(&mut turns.waiting)
        };
        // All of them: the first may have given up.
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// A transaction under way. Its methods are those of [`Client`].
pub struct Transaction<X: Xen> {
    client: Client<X>,
    tx_id: u32,
    ended: bool,
}

impl<X: Xen> Client<X> {
    /// Runs `body` in a transaction, again if another one got in the way: `body` must bear being
    /// run up to [`ATTEMPTS_MAX`] times, and must not wait for another transaction of this connection, which
    /// has its turn only after this one. If it fails nothing happens.
    ///
    /// # Errors
    /// `body`'s, or any [`Error`]; [`Error::Contended`] after the last attempt.
    pub async fn transaction<T>(
        &self,
        body: impl AsyncFn(&Transaction<X>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _turn = Turn::wait(self).await;
        for _ in 0..ATTEMPTS_MAX {
            let transaction = Transaction::start(self).await?;
            let outcome = body(&transaction).await;
            match outcome {
                // A conflict can show as early as in the middle.
                Err(Error::Refused(Refusal::Conflict)) => {}
                Err(error) => return Err(error),
                Ok(value) => match transaction.commit().await {
                    Ok(()) => return Ok(value),
                    Err(Error::Refused(Refusal::Conflict)) => {}
                    Err(error) => return Err(error),
                },
            }
        }
        Err(Error::Contended)
    }
}

impl<X: Xen> Transaction<X> {
    async fn start(client: &Client<X>) -> Result<Self, Error> {
        let answer = client.request(XS_TRANSACTION_START, 0, &[b"\0"]).await?;
        let text = answer.strip_suffix(&[0]).unwrap_or(&answer);
        let number = core::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse().ok());
        match number {
            // 0 is "no transaction": everything would happen at once.
            None | Some(0) => Err(Error::BadValue),
            Some(tx_id) => Ok(Self {
                client: client.clone(),
                tx_id,
                ended: false,
            }),
        }
    }

    async fn commit(mut self) -> Result<(), Error> {
        self.ended = true;
        self.client
            .request(XS_TRANSACTION_END, self.tx_id, &[b"T\0"])
            .await
            .map(drop)
    }

    /// See [`Client::read`].
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn read(&self, path: &str) -> Answer<'_, X, Vec<u8>> {
        self.client.read_in(self.tx_id, path)
    }

    /// See [`Client::read_number`].
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn read_number<T: FromStr>(&self, path: &str) -> Answer<'_, X, T> {
        self.client.read_number_in(self.tx_id, path)
    }

    /// See [`Client::write`].
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn write(&self, path: &str, value: impl AsRef<[u8]>) -> Answer<'_, X, ()> {
        self.client.write_in(self.tx_id, path, value.as_ref())
    }

    /// See [`Client::mkdir`].
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn mkdir(&self, path: &str) -> Answer<'_, X, ()> {
        self.client.mkdir_in(self.tx_id, path)
    }

    /// See [`Client::rm`].
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn rm(&self, path: &str) -> Answer<'_, X, ()> {
        self.client.rm_in(self.tx_id, path)
    }

    /// See [`Client::directory`].
    ///
    /// # Errors
    /// Any [`Error`].
    pub fn directory(&self, path: &str) -> Answer<'_, X, Vec<String>> {
        self.client.directory_in(self.tx_id, path)
    }
}

impl<X: Xen> Drop for Transaction<X> {
    fn drop(&mut self) {
        if !self.ended {
            self.client.post(XS_TRANSACTION_END, self.tx_id, &[b"F\0"]);
        }
    }
}
