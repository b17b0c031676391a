//! What happened to an interface's frames, by reason.

#![forbid(unsafe_code)]

/// What happened, by reason. All but the gauge only grow. "Received" is from the frontend, "transmitted" is
/// to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received whole.
    pub received_frames: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames given to the frontend.
    pub transmitted_frames: u64,
    /// Their bytes.
    pub transmitted_bytes: u64,
    /// Events sent.
    pub notifications: u64,
    /// Copies that Xen was asked for.
    pub copies: u64,
    /// Bytes copied straight from another guest's pages to this one's.
    pub granted_bytes: u64,
    /// Bytes copied from this guest's pages into ours for a backend ([`Back::fetch`](super::Back::fetch)).
    pub fetched_bytes: u64,
    /// Received frames dropped: sizes or flags that contradict.
    pub dropped_malformed: u64,
    /// Received frames dropped: more slots than [`FRAME_SLOTS_MAX`](crate::net::FRAME_SLOTS_MAX).
    pub dropped_slots: u64,
    /// Received frames dropped: a wish that was not offered (multicast control).
    pub dropped_extra: u64,
    /// Received frames dropped: shorter than an Ethernet header.
    pub dropped_runt: u64,
    /// Received frames dropped or lost on their way out: Xen could not copy out of the guest's pages.
    pub dropped_grant: u64,
    /// Frames not taken: the frontend had not posted enough buffers.
    pub refused_full: u64,
    /// Frames not taken: for a multicast group that the frontend does not want.
    pub refused_multicast: u64,
    /// Frames lost: Xen could not copy into the buffers that the frontend had posted.
    pub lost_grant: u64,
    /// Frames lost: Xen could not copy out of their sender's pages.
    pub lost_sender: u64,
    /// Tokens given back that were not this back's to take.
    pub foreign_tokens: u64,
    /// Gauge: the frontend's requests that wait for their answer.
    pub unanswered: u16,
}
