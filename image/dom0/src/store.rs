//! What is asked of xenstore: a trait, so that tests can put the simulated one in its place.

use std::time::Duration;
use thiserror::Error;

/// Why xenstore did not do what it was asked.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    /// There is no such node.
    #[error("there is no such node in xenstore")]
    NotFound,
    /// Another refusal.
    #[error("xenstore refused: {0}")]
    Refused(String),
    /// The connection does not work, or not any more.
    #[error("{0}")]
    Connection(String),
}

/// What came of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waited {
    /// Something changed at or below a watched node.
    Changed,
    /// Nothing did in time.
    TimedOut,
}

/// Xenstore as dom0 sees it. Paths are absolute.
pub(crate) trait Store {
    /// Reads a node's value, at most 4,096 bytes.
    fn read(&mut self, path: &str) -> Result<Vec<u8>, StoreError>;

    /// The names of a node's children.
    fn list(&mut self, path: &str) -> Result<Vec<String>, StoreError>;

    /// Writes a node, and makes those above it that are not there.
    fn write(&mut self, path: &str, value: &[u8]) -> Result<(), StoreError>;

    /// Writes a node and those above it, if `guard` is there: in one transaction, so that what
    /// vanishes meanwhile is not made again by writing below it.
    ///
    /// # Errors
    /// [`StoreError::NotFound`]: there is no `guard`.
    fn write_if_there(&mut self, guard: &str, path: &str, value: &[u8]) -> Result<(), StoreError>;

    /// Removes a node and all below it; it is no error if there is none.
    fn remove(&mut self, path: &str) -> Result<(), StoreError>;

    /// Has [`Store::wait`] tell of changes at or below a node from now on.
    fn watch(&mut self, path: &str) -> Result<(), StoreError>;

    /// Stops that.
    fn unwatch(&mut self, path: &str) -> Result<(), StoreError>;

    /// Waits for a change, for `patience` at most.
    fn wait(&mut self, patience: Duration) -> Result<Waited, StoreError>;
}
