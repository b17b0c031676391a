//! Xenstore: the tree of small strings through which the toolstack and the two ends of a device
//! find each other.
//!
//! [`Client`] speaks the wire protocol over the page Xen gave the domain at its start. Every
//! request is a future; replies may come in any order. [`Client::pump`] moves bytes and belongs
//! into the main loop. xenstored is the toolstack's and is not an enemy, but what it sends is
//! checked like a peer's: the first impossible byte ends the connection with [`Error::Protocol`]
//! for everyone who waits, and nothing panics.
//!
//! ```no_run
//! # use minios_rs::{xen::Xen, xenstore::{Client, Error}};
//! # async fn example<X: Xen>(store: &Client<X>) -> Result<(), Error> {
//! let mut shutdown = store.watch("control/shutdown").await?;
//! loop {
//!     shutdown.next().await?;
//!     match store.read_text("control/shutdown").await {
//!         Ok(reason) if !reason.is_empty() => break,
//!         Ok(_) => {}
//!         Err(error) if error.is_not_found() => {}
//!         Err(error) => return Err(error),
//!     }
//! }
//! store
//!     .transaction(async |transaction| {
//!         let count: u32 = transaction.read_number("data/count").await?;
//!         transaction.write("data/count", (count + 1).to_string()).await
//!     })
//!     .await
//! # }
//! ```
//!
//! Values read are other domains' words: an allegation until the reader has checked it.

#![forbid(unsafe_code)]

mod client;
pub mod path;
mod transaction;
mod watch;
pub mod wire;

pub use client::{Answer, Client, REQUESTS_MAX, TEXT_MAX};
pub use transaction::{ATTEMPTS_MAX, Transaction};
pub use watch::{EVENT_BYTES_MAX, EVENTS_MAX, Watch};

/// Why xenstored refused a request (`xsd_errors`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// `EINVAL`
    Invalid,
    /// `EACCES`
    AccessDenied,
    /// `EEXIST`
    Exists,
    /// `ENOENT`
    NotFound,
    /// `ENOSPC`: a quota.
    NoSpace,
    /// `EAGAIN`: the transaction met another one.
    Conflict,
    /// `E2BIG`: a quota, or more than one message holds.
    TooBig,
    /// `EROFS`
    ReadOnly,
    /// `EPERM`
    NotPermitted,
    /// `ENOMEM`, `EIO`, `EBUSY`, `ENOSYS` or another.
    Other,
}

impl Refusal {
    /// The refusal of that name, as it stands in an `XS_ERROR` reply.
    fn from_name(name: &[u8]) -> Self {
        match name {
            b"EINVAL" => Self::Invalid,
            b"EACCES" => Self::AccessDenied,
            b"EEXIST" => Self::Exists,
            b"ENOENT" => Self::NotFound,
            b"ENOSPC" | b"EQUOTA" => Self::NoSpace,
            b"EAGAIN" => Self::Conflict,
            b"E2BIG" => Self::TooBig,
            b"EROFS" => Self::ReadOnly,
            b"EPERM" => Self::NotPermitted,
            _ => Self::Other,
        }
    }
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    /// xenstored refused it.
    #[error("xenstore refused: {0:?}")]
    Refused(Refusal),
    /// The path is none.
    #[error("not a xenstore path")]
    BadPath,
    /// Path and value do not fit one message (4,096 bytes).
    #[error("too long for one xenstore message")]
    TooLong,
    /// The node holds something else than what was asked for: not UTF-8, or not a number.
    #[error("the xenstore value is not what it should be")]
    BadValue,
    /// [`REQUESTS_MAX`] requests wait for their answers.
    #[error("too many xenstore requests at a time")]
    TooManyRequests,
    /// Another transaction was in the way each of [`ATTEMPTS_MAX`] times.
    #[error("the xenstore transaction met others too often")]
    Contended,
    /// xenstored sent what cannot be; the connection is dead.
    #[error("xenstore broke the protocol")]
    Protocol,
    /// The domain is going away or being restored; the connection was ended from this side.
    #[error("the xenstore connection is closed")]
    Disconnected,
}

impl Error {
    /// Whether the node was simply not there.
    pub fn is_not_found(self) -> bool {
        self == Self::Refused(Refusal::NotFound)
    }
}

#[cfg(test)]
mod tests;
