//! Block devices (xen/io/blkif.h): the frontend of a disk that the toolstack gave this domain (`disk=[…]`).
//!
//! ```no_run
//! # use minios_rs::{xen::Xen, xenstore::Client, task::Executor};
//! use minios_rs::block::{self, Config, Operation};
//!
//! # async fn start<X: Xen>(xen: &X, store: &Client<X>, executor: &Executor) -> Result<(), block::Error> {
//! // 51712 is xvda.
//! let (disk, link) = block::connect(xen, store, executor, 51712, Config::default()).await?;
//! // Ends when the disk is gone for good.
//! let _ = executor.spawn(async move {
//!     if let Err(error) = link.run().await {
//!         log::error!("xvda: {error}");
//!     }
//! });
//! let first = disk.buffer(4096).expect("the first page");
//! let _ = disk.submit(Operation::Read, 0, Some(first), 1);
//! disk.notify();
//! // Once a turn of the main loop:
//! while let Some(done) = disk.poll() {
//!     log::info!("request {} is done", done.tag);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Front`] is the main loop's end: it neither waits nor allocates, and its one hypercall is [`Front::notify`]'s.
//! [`Link`] is the end in xenstore, a task: it connects again when the backend comes back, follows a disk that grows,
//! and closes one that lies or is taken away.
//!
//! # Sectors
//! Every sector number and count is of 512 bytes ([`SECTOR`]), whatever [`Info::sector_size`] is; what is read and
//! written begins and ends at multiples of that one.
//!
//! # Requests
//! A request is as long as its buffer. Longer than the backend takes at a time, it goes out in parts, and is done when
//! all of them are; it is never done twice. Requests under way have no order among each other. What a
//! [`Operation::Flush`] covers is what was done before it was submitted: it has to be waited for as any other.
//!
//! While there is no backend (its domain starts anew) requests wait, and those that were under way are sent again in
//! their order once there is one: the old backend may have done any of them, which makes no difference to reads and
//! writes. When the disk is taken away, or its backend did what cannot be, each of them fails.
//!
//! # What the backend can do to us
//! Nothing but not do its work. Each response is copied once and has to name a request that is under way; one that does
//! not, or an impossible index, closes the disk ([`State::Broken`]). What is read of xenstore is bounded and checked.
//!
//! # Who sees which page
//! The pages of [`Buffer`]s are granted to the backend, to read and write, for as long as the front keeps them
//! (`feature-persistent`): it may keep them mapped, and write them at any time. Nothing else ever lies in them: they are
//! used for this disk again, or, when the backend has let go, given back. So a buffer is read by copying, and what was
//! copied is what is checked.

#![forbid(unsafe_code)]

mod buffer;
mod connection;

mod front;
mod info;
mod link;
mod requests;

pub use crate::abi::io::blkif::SECTOR;
pub use buffer::Buffer;
pub use front::Front;
pub use info::{Discard, Info};
pub use link::{Link, connect};

use crate::xen::{Errno, ResourceError, Xen};
use crate::xenbus;
use thiserror::Error as ThisError;

/// Pages of one ring, at most: what [`Config::ring_pages_max`] is cut to.
pub const RING_PAGES_MAX: usize = 4;

/// Segments, of a page each, of one request to the backend, at most: what Linux' takes, however it is told to.
pub const SEGMENTS_MAX: usize = 256;

/// How much memory a disk gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Requests that may be under way, waiting for a backend, or done and not yet polled.
    pub requests_max: usize,
    /// Pages of buffers.
    pub pages_max: usize,
    /// Pages of the ring, if the backend takes as many.
    pub ring_pages_max: usize,
}

impl Default for Config {
    /// A MiB of buffers.
    fn default() -> Self {
        Self {
            requests_max: 64,
            pages_max: 256,
            ring_pages_max: RING_PAGES_MAX,
        }
    }
}

/// What is asked of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Fill the buffer.
    Read,
    /// Write what it holds.
    Write,
    /// Put what was written where it stays. Without a buffer; the sector means nothing.
    Flush,
    /// The contents of so many sectors are needed no more. Without a buffer.
    Discard {
        /// How many.
        sectors: u64,
    },
}

/// Why a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Failure {
    /// The backend could not do it.
    #[error("the disk's backend reports an error")]
    Io,
    /// The backend does not do such a thing.
    #[error("the disk's backend does not do such a thing")]
    Unsupported,
    /// A write to what cannot be written.
    #[error("the disk is read-only")]
    ReadOnly,
    /// It reaches beyond the disk's end.
    #[error("beyond the disk's end")]
    OutOfRange,
    /// It begins or ends inside a sector of the disk, or has a buffer where none belongs, or none where one does, or
    /// another disk's.
    #[error("a request that contradicts itself")]
    Invalid,
    /// A buffer's page could not be granted to a backend in another domain.
    #[error("no memory for the disk's new backend")]
    NoMemory,
    /// The disk was taken away, or its backend did what cannot be. It may have been done.
    #[error("the disk is gone")]
    Gone,
}

/// A request that is done.
pub struct Completion<X: Xen> {
    /// As it was submitted.
    pub tag: u64,
    /// What became of it.
    pub result: Result<(), Failure>,
    /// Its buffer, given back.
    pub buffer: Option<Buffer<X>>,
}

/// No room for another request: poll first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("as many requests as there may be are under way")]
pub struct Full;

/// Whether the disk works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no backend now: requests wait.
    Connecting,
    /// It does.
    Open,
    /// The backend did what cannot be. Every request fails from then on.
    Broken(Breach),
    /// The toolstack took it away, or it could not be connected again. Every request fails from then on.
    Gone,
}

/// What the backend did that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Breach {
    /// The ring's index is impossible.
    #[error("the backend's ring index is impossible")]
    Index,
    /// A request that was never made was answered, or one twice, or as something that it was not.
    #[error("the backend answered what was not asked")]
    WildResponse,
    /// The event channel failed.
    #[error("the event channel to the backend failed")]
    EventChannel,
}

/// Why a disk could not be connected, or is no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Error {
    /// The handshake.
    #[error(transparent)]
    Xenbus(#[from] xenbus::Error),
    /// Memory, grants or ports.
    #[error(transparent)]
    Resource(#[from] ResourceError),
    /// What the backend says of the disk cannot be.
    #[error("the backend's {0} cannot be")]
    Malformed(&'static str),
    /// What it did cannot be.
    #[error(transparent)]
    Broken(#[from] Breach),
}

impl From<crate::xenstore::Error> for Error {
    fn from(error: crate::xenstore::Error) -> Self {
        Self::Xenbus(error.into())
    }
}

impl From<Errno> for Error {
    fn from(error: Errno) -> Self {
        Self::Resource(error.into())
    }
}

/// What happened. All of them only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests submitted.
    pub requests: u64,
    /// Requests done.
    pub done: u64,
    /// Those of them that failed.
    pub failed: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Entries of a ring that were used.
    pub parts: u64,
    /// Requests sent again to a backend that came back.
    pub sent_again: u64,
    /// Backends connected.
    pub connections: u64,
    /// Events sent.
    pub notifications: u64,
}

#[cfg(test)]
mod tests;
