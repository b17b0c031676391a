//! Whether the interface works, and what the frontend did if it does not.

#![forbid(unsafe_code)]

use thiserror::Error;

/// Whether the interface works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Open,
    /// The frontend did what cannot be.
    Broken(Breach),
    /// [`Back::close`](super::Back::close) was called.
    Closed,
}

/// What the frontend did that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Breach {
    /// Its transmit ring's index is impossible.
    #[error("the frontend's transmit ring index is impossible")]
    TransmitIndex,
    /// Its receive ring's index is impossible.
    #[error("the frontend's receive ring index is impossible")]
    ReceiveIndex,
    /// A frame's requests go on behind what it published.
    #[error("a frame does not end where the ring does")]
    Truncated,
    /// An extra info that is none, one twice, or more than there are kinds.
    #[error("a frame has an impossible extra info")]
    ExtraInfo,
    /// Segments of no size or of no known kind.
    #[error("a frame has an impossible segmentation")]
    Gso,
    /// More requests in one frame than any frontend ever sends.
    #[error("a frame has too many slots")]
    TooManySlots,
    /// A request reaches beyond its page.
    #[error("a request crosses its page's end")]
    CrossesPage,
    /// Too many of its grants could not be used.
    #[error("too many grants could not be used")]
    Grants,
    /// The event channel failed.
    #[error("the event channel to the frontend failed")]
    EventChannel,
    /// Nothing: whoever was to serve it cannot ([`Back::refuse`](super::Back::refuse)).
    #[error("{0}")]
    Refused(&'static str),
}
