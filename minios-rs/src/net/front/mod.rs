//! The frontend of a vif: receives, transmits, and forwards payload without touching it.
//!
//! # Who sees which page
//! - **Receive buffers** are granted to this front's backend for as long as the front lives. The
//!   backend can write them at any time, so nothing in them is decided on twice.
//! - **Header pages** and **pages of our own frames** are granted read-only to this front's backend
//!   once, when connecting. Nothing is ever written to them but what this backend is to be sent.
//! - **Payload** of another front's receive buffer is granted read-only to this front's backend for
//!   one frame, and taken back when the frame is answered. Bytes around the payload are zeroed
//!   first unless the page's writer and its reader are the same domain. If the backend answers but
//!   still uses the page, it is in quarantine: not reused until the backend has let go.
//!
//! # Use
//! Once a turn of the main loop: [`Front::receive`] until `None`, [`Front::transmit`],
//! [`Front::completed`] until `None` (recycling each at its owner), [`Front::flush`]; and before
//! sleeping [`Front::park`]. None of them allocates, waits or makes a hypercall, but for the one
//! notification of `flush`.
//!
//! # What the backend can do to us
//! Nothing but not do its work. Lies about a frame cost it the frame; lies about the ring, or about
//! requests that were never made, the interface ([`State::Broken`]). See [`Counters`].

#![forbid(unsafe_code)]

mod again;
mod connect;
mod receive;
mod transmit;

pub use connect::{Config, Error, Features, Link};
pub use transmit::TAIL_MAX;

use super::{FrontId, MacAddress, Received, RxBuffer};
use crate::ring::{Notify, Pending};
use crate::xen::{BoundPort, DomId, Port, Xen};
use receive::Receiver;
use thiserror::Error as ThisError;
use transmit::Transmitter;

/// Bytes of a header that is sent from a page of ours, at most.
pub const HEAD_MAX: usize = 512;

/// Whether the interface works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It does.
    Open,
    /// The backend did what cannot be; close the interface.
    Broken(Breach),
    /// [`Front::close`] was called.
    Closed,
}

/// What the backend did that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum Breach {
    /// The receive ring's index is impossible.
    #[error("the backend's receive ring index is impossible")]
    ReceiveIndex,
    /// The transmit ring's index is impossible.
    #[error("the backend's transmit ring index is impossible")]
    TransmitIndex,
    /// A request that was never made was answered, or one twice.
    #[error("the backend answered what was not asked")]
    WildResponse,
    /// The event channel failed.
    #[error("the event channel to the backend failed")]
    EventChannel,
}

/// What a sleeping front is to be woken by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wake {
    /// The first slot that is received.
    #[default]
    FirstSlot,
    /// So many slots, or half of the buffers the backend has, if that is less. Whoever sleeps sets
    /// itself a time after which it looks without having been woken.
    Slots(u16),
}

/// Why a frame was not taken for sending. The slices still in the caller's list remain the
/// caller's; any others come back by [`Front::completed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum TransmitError {
    /// No room now; try again after some have completed, or drop the frame.
    #[error("no room in the ring")]
    Full,
    /// The grant table is full.
    #[error("no grant left")]
    NoGrant,
    /// The frame is shorter than an Ethernet header, longer than a `u16` can say, or has more
    /// slots or a longer header than can be sent.
    #[error("the frame cannot be sent at its size")]
    Size,
    /// The backend did not offer what the frame needs: several slots, or this kind of GSO.
    #[error("the backend cannot take such a frame")]
    NotOffered,
    /// A slice reaches beyond its page or cannot be lent, or GSO comes without a blank checksum.
    #[error("the frame's description contradicts itself")]
    Invalid,
    /// The frame is for a multicast group that the guest asked not to have (only a backend says so).
    #[error("the guest does not want this multicast group")]
    NotWanted,
    /// The interface is broken or closed.
    #[error("the interface is not open")]
    NotOpen,
}

/// The backend still maps so many pages: ask again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
#[error("the backend still uses {0} pages")]
pub struct StillInUse(pub usize);

/// What happened, by reason. All but the gauges only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames received whole.
    pub received_frames: u64,
    /// Their bytes.
    pub received_bytes: u64,
    /// Frames given to the backend.
    pub transmitted_frames: u64,
    /// Their bytes.
    pub transmitted_bytes: u64,
    /// Events sent.
    pub notifications: u64,
    /// Received frames dropped: the backend itself reported an error in one of its slots.
    pub dropped_error: u64,
    /// Received frames dropped: a slot empty or beyond its page, or flags that contradict.
    pub dropped_malformed: u64,
    /// Received frames dropped: more slots than [`FRAME_SLOTS_MAX`](super::FRAME_SLOTS_MAX).
    pub dropped_slots: u64,
    /// Received frames dropped: an extra info that is none, or too many of them.
    pub dropped_extra: u64,
    /// Received frames dropped: a response with the id of another request.
    pub dropped_id: u64,
    /// Received frames dropped: shorter than an Ethernet header.
    pub dropped_runt: u64,
    /// Slots sent whose answer was an error.
    pub answered_error: u64,
    /// Slots sent that the backend said it dropped.
    pub answered_dropped: u64,
    /// Pages that were answered while the backend still used them.
    pub quarantined: u64,
    /// Tokens given back that were not this front's to take.
    pub foreign_tokens: u64,
    /// Gauge: pages in quarantine now.
    pub in_quarantine: u16,
    /// Gauge: pages of other fronts' lent to the backend now.
    pub tail_pages: u16,
}

/// A connected vif. It knows nothing of xenstore: its [`Link`] does.
pub struct Front<X: Xen> {
    id: FrontId,
    backend: DomId,
    mac: MacAddress,
    mtu: u16,
    features: Features,
    state: State,
    counters: Counters,
    port: Option<BoundPort<X>>,
    receiver: Receiver<X>,
    transmitter: Transmitter<X>,
}

impl<X: Xen> Front<X> {
    /// Which connection this is: the [`RxBuffer::owner`] of its buffers.
    pub fn id(&self) -> FrontId {
        self.id
    }

    /// The backend's domain.
    pub fn backend(&self) -> DomId {
        self.backend
    }

    /// The interface's address.
    pub fn mac(&self) -> MacAddress {
        self.mac
    }

    /// Bytes of an IP packet that the network takes; 1500 if the toolstack said nothing.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// What the backend takes.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Whether it works.
    pub fn state(&self) -> State {
        self.state
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        let in_quarantine = self.transmitter.in_quarantine();
        Counters {
            in_quarantine,
            tail_pages: self.transmitter.tail_pages(),
            ..self.counters
        }
    }

    /// Where the backend's events come in; `None` once released.
    pub fn port(&self) -> Option<Port> {
        self.port.as_ref().map(BoundPort::number)
    }

    /// Takes the next frame. Its slices go out again by [`Front::transmit`] of any front, or back
    /// by [`Front::recycle`] of this one.
    pub fn receive(&mut self) -> Option<Received<X::Page>> {
        let mut frame = Received::default();
        self.receive_into(&mut frame).then_some(frame)
    }

    /// As [`Front::receive`], into a place the caller has: a [`Received`] is half a kilobyte, which
    /// is much to move for a packet of 60 bytes. Slices that `frame` still holds are dropped, and
    /// their buffers lost: it should be empty. False: there is no frame.
    pub fn receive_into(&mut self, frame: &mut Received<X::Page>) -> bool {
        if self.state != State::Open {
            return false;
        }
        match self.receiver.receive(&mut self.counters, frame) {
            Ok(came) => came,
            Err(breach) => {
                self.break_down(breach);
                false
            }
        }
    }

    /// Takes a buffer back. A token of another front, or of an earlier connection, is counted and
    /// dropped: its page is no longer this front's.
    pub fn recycle(&mut self, buffer: RxBuffer<X::Page>) {
        if buffer.owner == self.id {
            self.receiver.recycle(buffer.index);
        } else {
            self.counters.foreign_tokens += 1;
        }
    }

    /// Takes a whole frame's buffers back.
    pub fn recycle_frame(&mut self, frame: Received<X::Page>) {
        for slice in frame.slots {
            self.recycle(slice.buffer);
        }
    }

    /// The next page of a frame that was sent and is no longer used: give it to its owner.
    /// Works, and must be called until `None`, on a broken or closed front as well.
    pub fn completed(&mut self) -> Option<RxBuffer<X::Page>> {
        self.reap();
        self.transmitter.completed()
    }

    /// Posts free receive buffers, shows the backend what was sent, and notifies it once if it
    /// asked to be. Also asks for the pages in quarantine again.
    pub fn flush(&mut self) {
        self.transmitter.retry_quarantined();
        if self.state != State::Open {
            return;
        }
        let receive = self.receiver.publish();
        let transmit = self.transmitter.publish();
        if receive == Notify::Needed || transmit == Notify::Needed {
            self.counters.notifications += 1;
            if self.port.as_ref().is_none_or(|port| port.notify().is_err()) {
                self.break_down(Breach::EventChannel);
            }
        }
    }

    /// The final check before sleeping: asks for events, and says whether there is something to do
    /// at once. A frame of which the backend has yet to send the end is nothing to do.
    ///
    /// What was sent wakes nobody while it holds at most a quarter of the pages of other fronts that
    /// it may, and less than half of the ring: it is taken back with whatever comes next.
    pub fn park(&mut self) -> Pending {
        self.park_until(Wake::FirstSlot)
    }

    /// As [`Front::park`], but the backend's event may be asked for later: interrupt moderation,
    /// for who is busy anyway and wants to be called less often.
    pub fn park_until(&mut self, wake: Wake) -> Pending {
        self.reap();
        if self.transmitter.has_completed() {
            return Pending::Work;
        }
        if self.state != State::Open {
            return Pending::Nothing;
        }
        match (self.receiver.arm(wake), self.transmitter.arm(wake)) {
            (Err(_), _) => self.break_down(Breach::ReceiveIndex),
            (_, Err(_)) => self.break_down(Breach::TransmitIndex),
            (Ok(Pending::Nothing), Ok(Pending::Nothing)) => return Pending::Nothing,
            _ => {}
        }
        Pending::Work
    }

    /// Stops. Pages of other fronts that the backend has let go come back by
    /// [`Front::completed`]; the others when [`Front::flush`] or [`Front::release`] finds that it
    /// has.
    pub fn close(&mut self) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.transmitter.abandon(&mut self.counters);
        }
    }

    /// Gives the port, every grant and every page back, after [`Front::close`]. The backend lets go
    /// of the rings only when it has seen this end Closed ([`Link::close`]).
    ///
    /// # Errors
    /// [`StillInUse`]: ask again later. A front that is dropped all the same leaks those pages
    /// rather than use them again.
    pub fn release(&mut self) -> Result<(), StillInUse> {
        self.close();
        self.port = None;
        self.transmitter.retry_quarantined();
        match self.receiver.release() + self.transmitter.release() {
            0 => Ok(()),
            left => Err(StillInUse(left)),
        }
    }

    fn reap(&mut self) {
        if self.state == State::Open
            && let Err(breach) = self.transmitter.reap(&mut self.counters)
        {
            self.break_down(breach);
        }
    }

    fn break_down(&mut self, breach: Breach) {
        log::error!("vif {}: {breach}", self.mac);
        self.state = State::Broken(breach);
        self.transmitter.abandon(&mut self.counters);
    }
}

#[cfg(test)]
mod tests;
