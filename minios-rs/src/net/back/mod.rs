//! The backend of a vif: a guest's frontend hangs off this domain, and what it sends and gets is copied
//! by Xen, never mapped.
//!
//! # Where bytes lie
//! - **The first [`HEAD_MAX`] bytes** of what the guest sends are copied into private memory before anybody
//!   looks at them: what is decided on cannot change any more. A short frame is there whole.
//! - **The rest** stays in the guest's pages. A [`Slice`] of it is a right to have it copied,
//!   by Xen, to whom the frame goes: to another guest straight from grant to grant ([`Back::transmit`]), or
//!   into pages of ours that can be lent to a backend ([`Back::fetch`]). The guest may change it until then;
//!   it was never decided on.
//! - **What the guest gets** is copied into the buffers it posted, as many bytes as the frame has.
//!
//! Only the rings are mapped. A request is answered when the last slice of its frame was recycled, that is
//! after the copy: so a guest has its grants back when it is told so.
//!
//! # Use
//! As a [`Front`](super::Front): once a turn [`Back::receive_into`] until false, [`Back::transmit`],
//! [`Back::flush`], [`Back::completed`] until `None` (recycling each at its owner), and before sleeping
//! [`Back::park`], which is also where another `rate=` takes hold. Unlike a front's, a back's `flush` is a
//! hypercall for each 32 copies, and frames that were transmitted complete with it: receivers are flushed before
//! senders. When [`Back::is_ending`] says so, drop it.
//!
//! A frame that the frontend said it does not take as it is (a blank checksum, segments yet to be cut) is copied into
//! private memory, finished there, and sent from there. A frame without segments that is longer than the one
//! buffer it takes is refused.
//!
//! # What the frontend can do to us
//! Nothing but lose its connection. There is no queue behind the ring of buffers it posts (but see [`Outlet`]): a
//! guest that posts none gets [`TransmitError::Full`], and nobody waits for it. Lies about one
//! frame cost it the frame; lies about the ring, and chains that run out of it, cross pages or do not end
//! (XSA-423, XSA-432), the connection ([`State::Broken`]).

#![forbid(unsafe_code)]

mod breach;
mod config;
mod connect;
mod counters;
mod credit;
mod fetch;
mod finish;
mod keys;
mod lease;
mod list;
mod multicast;
mod outlet;
mod parse;
mod phase;
mod receive;
mod settings;
mod transmit;

pub use breach::{Breach, State};
pub use config::{Config, EventChannels, Ipv6Offloads};
pub use connect::{Error, NODES_MAX};
pub use counters::Counters;
pub use list::{Backends, VIFS_MAX, WATCHES_MAX};
pub use multicast::{GROUPS_MAX, MulticastControl};
pub use outlet::{Outlet, PATIENCE};
pub use settings::{BRIDGE_DEFAULT, BadSetting, Rate, Settings};

use super::front::{TransmitError, Wake};
use super::{
    Checksum, ETHERNET_HEADER, FRAME_SLOTS_MAX, FrontId, Gso, Offload, Received, RxBuffer, Slice,
};
use crate::abi::io::netif::XEN_NETIF_MAX_TX_SIZE;
use crate::ring::{Notify, Pending};
use crate::time::Instant;
use crate::xen::{BoundPort, DomId, PAGE_SIZE, Port, Xen};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use fetch::Pool;
use lease::Lease;
use multicast::Groups;
use receive::Receiver;
use transmit::Transmitter;

/// Bytes of each received frame that are copied into private memory, at most.
pub const HEAD_MAX: usize = 256;

/// Grants of one frontend's that could not be used, after which it loses its connection. A guest that is
/// being shut down revokes what is under way, at most what both rings hold.
const GRANT_FAULTS_MAX: u32 = 1024;

/// How long a frontend may post no buffers while there are frames for it.
pub const STALL: Duration = Duration::from_secs(10);

/// A buffer's index says by this bit that it is one of [`Pool`]'s.
const FETCHED: u16 = 1 << 15;

/// Bits of a buffer's index that number the frame; those above number the queue.
const FRAME_BITS: u32 = 8;

/// What the frontend takes, as it said when it connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Frames of several slots (`feature-sg`).
    pub scatter_gather: bool,
    /// Frames to be cut into TCP segments over IPv4 (`feature-gso-tcpv4`).
    pub gso_tcpv4: bool,
    /// The same over IPv6 (`feature-gso-tcpv6`).
    pub gso_tcpv6: bool,
    /// Blank checksums over IPv4 (no `feature-no-csum-offload`).
    pub ipv4_checksum: bool,
    /// Blank checksums over IPv6 (`feature-ipv6-csum-offload`).
    pub ipv6_checksum: bool,
    /// An event for each buffer posted that was asked for (`feature-rx-notify`). Without, whoever waits
    /// for room has to look by itself.
    pub receive_notify: bool,
}

/// The ports of one queue.
enum Channels<X: Xen> {
    Shared(BoundPort<X>),
    Split {
        transmit: BoundPort<X>,
        receive: BoundPort<X>,
    },
}

impl<X: Xen> Channels<X> {
    /// Sends what events are needed, and says how many.
    fn notify(&self, transmit: Notify, receive: Notify) -> Result<u64, Breach> {
        let send = |port: &BoundPort<X>, needed: bool| match needed {
            true => port.notify().map(|()| 1).map_err(|_| Breach::EventChannel),
            false => Ok(0),
        };
        let (transmit, receive) = (transmit == Notify::Needed, receive == Notify::Needed);
        match self {
            Self::Shared(port) => send(port, transmit || receive),
            Self::Split {
                transmit: tx,
                receive: rx,
            } => Ok(send(tx, transmit)? + send(rx, receive)?),
        }
    }
}

struct Queue<X: Xen> {
    transmitter: Transmitter<X>,
    receiver: Receiver<X>,
    channels: Channels<X>,
}

/// A connected vif. It knows nothing of xenstore: the task that made it does ([`Backends`]).
pub struct Back<X: Xen> {
    xen: X,
    id: FrontId,
    frontend: DomId,
    index: u32,
    settings: Settings,
    /// What the guest may send by another's word than the toolstack's.
    limit: Option<Rate>,
    features: Features,
    groups: Groups,
    state: State,
    counters: Counters,
    queues: Vec<Queue<X>>,
    /// The queue that is asked next for a frame.
    next: usize,
    pool: Pool<X>,
    /// Where frames are put together that the frontend does not take as they are, and what is made of them.
    whole: Vec<u8>,
    segment: Vec<u8>,
    /// Others' buffers that were not copied when this was closed.
    orphans: Vec<RxBuffer<X::Page>>,
    lease: Rc<Lease>,
}

impl<X: Xen> Back<X> {
    /// Which connection this is: the [`RxBuffer::owner`] of its buffers.
    pub fn id(&self) -> FrontId {
        self.id
    }

    /// The frontend's domain.
    pub fn frontend(&self) -> DomId {
        self.frontend
    }

    /// The interface's number in that domain (`device/vif/N`).
    pub fn index(&self) -> u32 {
        self.index
    }

    /// What people call the vif: what `vifname=` says, or `vif5.0`, as Linux does.
    pub fn name(&self) -> String {
        match &self.settings.name {
            Some(name) => String::from(name.as_str()),
            None => format!("vif{}.{}", self.frontend.0, self.index),
        }
    }

    /// What the toolstack said of it.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// What the frontend takes.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Queues that were negotiated.
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    /// Whether it works.
    pub fn state(&self) -> State {
        self.state
    }

    /// Whether frames can go through it.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Whether it is to be dropped: the frontend or the toolstack ends it, or it is broken.
    pub fn is_ending(&self) -> bool {
        self.lease.is_ending()
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        let unanswered = |queue: &Queue<X>| queue.transmitter.unanswered() as u16;
        Counters {
            unanswered: self.queues.iter().map(unanswered).sum(),
            ..self.counters
        }
    }

    /// Where the frontend's events come in: one port for each queue, or two.
    pub fn ports(&self) -> impl Iterator<Item = Port> + '_ {
        self.queues.iter().flat_map(|queue| {
            let (first, second) = match &queue.channels {
                Channels::Shared(port) => (port.number(), None),
                Channels::Split { transmit, receive } => {
                    (transmit.number(), Some(receive.number()))
                }
            };
            core::iter::once(first).chain(second)
        })
    }

    /// Takes the next frame. Its slices go out again by [`Back::transmit`] of any back, are fetched for a
    /// front, or come back by [`Back::recycle`] of this one.
    pub fn receive(&mut self) -> Option<Received<X::Page>> {
        let mut frame = Received::default();
        self.receive_into(&mut frame).then_some(frame)
    }

    /// As [`Back::receive`], into a place the caller has. Slices that `frame` still holds are dropped, and
    /// their requests never answered: it should be empty. False: there is no frame.
    pub fn receive_into(&mut self, frame: &mut Received<X::Page>) -> bool {
        if !self.is_open() {
            return false;
        }
        for _ in 0..self.queues.len() {
            let number = self.next;
            let transmitter = &mut self.queues[number].transmitter;
            match transmitter.receive(&mut self.groups, &mut self.counters, frame) {
                Ok(true) => return true,
                Ok(false) => self.next = (number + 1) % self.queues.len(),
                Err(breach) => {
                    self.break_down(breach);
                    return false;
                }
            }
        }
        false
    }

    /// When a guest that has used up its rate may send on; `None` if none waits for that.
    pub fn next_credit(&self) -> Option<Instant> {
        let waits = |queue: &Queue<X>| queue.transmitter.next_credit();
        self.queues.iter().filter_map(waits).min()
    }

    /// How long the frontend has posted no buffer though frames found too few, at `now`. A guest that is merely
    /// slow posts some before long; after [`STALL`] it is as good as unplugged, and whoever forwards to it
    /// need not try for every frame.
    pub fn stalled_for(&self, now: Instant) -> Duration {
        let since = |queue: &Queue<X>| queue.receiver.starved_since();
        let first = self.queues.iter().filter_map(since).min();
        first.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// Takes a buffer back; the last of a frame's answers the frame. A token of another interface, or of an
    /// earlier connection, is counted and dropped.
    pub fn recycle(&mut self, buffer: RxBuffer<X::Page>) {
        if buffer.owner != self.id {
            self.counters.foreign_tokens += 1;
        } else if buffer.index & FETCHED != 0 {
            self.pool.give_back(buffer);
        } else if let Some(queue) = self.queues.get_mut(usize::from(buffer.index >> FRAME_BITS)) {
            let frame = buffer.index & ((1 << FRAME_BITS) - 1);
            let is_lost = queue.transmitter.recycle(frame, buffer.is_faulty);
            self.counters.dropped_grant += u64::from(is_lost);
        }
    }

    /// Takes a whole frame's buffers back.
    pub fn recycle_frame(&mut self, frame: Received<X::Page>) {
        for slice in frame.slots {
            self.recycle(slice.buffer);
        }
    }

    /// The next buffer of a frame that was transmitted and copied: give it to its owner. Works, and must be
    /// called until `None`, on a broken or closed back as well.
    pub fn completed(&mut self) -> Option<RxBuffer<X::Page>> {
        let mut queues = self.queues.iter_mut();
        queues
            .find_map(|queue| queue.receiver.completed())
            .or_else(|| self.orphans.pop())
    }

    /// Sends a frame to the guest: `head` (14 to 4096 bytes), which is copied at once, then `tail`, whose
    /// bytes Xen copies by the next [`Back::flush`] at the latest. On success `tail` is empty, and each of its
    /// buffers comes back by [`Back::completed`]. Nothing is visible to the guest before the flush.
    ///
    /// # Errors
    /// [`TransmitError`]. What is then still in `tail` is the caller's to recycle.
    pub fn transmit(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        if !self.is_open() {
            return Err(TransmitError::NotOpen);
        }
        let lengths = tail.iter().map(|slice| usize::from(slice.len));
        let size = head.len() + lengths.sum::<usize>();
        if size > XEN_NETIF_MAX_TX_SIZE
            || tail.len() > FRAME_SLOTS_MAX
            || !(ETHERNET_HEADER..=PAGE_SIZE).contains(&head.len())
        {
            return Err(TransmitError::Size);
        }
        let outside = |slice: &Slice<_>| {
            slice.len == 0 || usize::from(slice.offset) + usize::from(slice.len) > PAGE_SIZE
        };
        if tail.iter().any(outside) {
            return Err(TransmitError::Invalid);
        }
        if offload.gso.is_none() && size > PAGE_SIZE && !self.features.scatter_gather {
            return Err(TransmitError::NotOffered);
        }
        let is_cut = |gso: Gso| gso.size > 0 && offload.checksum == Checksum::Blank;
        if !offload.gso.is_none_or(is_cut) {
            return Err(TransmitError::Invalid);
        }
        if !self.groups.wants(head) {
            self.counters.refused_multicast += 1;
            return Err(TransmitError::NotWanted);
        }
        if !self.takes_as_is(head, offload) {
            return self.transmit_finished(head, tail, size, offload.gso);
        }
        let queue = flow(head) % self.queues.len();
        self.put(queue, head, tail, size, offload)
    }

    /// Sends a frame of our own (14 to 65,535 bytes), copying it: what is beyond a page into the pages that
    /// [`Back::fetch`] takes its from.
    ///
    /// # Errors
    /// [`TransmitError`].
    pub fn transmit_bytes(&mut self, frame: &[u8], offload: Offload) -> Result<(), TransmitError> {
        if frame.len() > XEN_NETIF_MAX_TX_SIZE {
            return Err(TransmitError::Size);
        }
        self.with_slices(frame, |back, head, tail| back.transmit(head, tail, offload))
    }

    /// Has `send` take a frame of our own as a head and slices. Those that it leaves are taken back.
    fn with_slices(
        &mut self,
        frame: &[u8],
        send: impl FnOnce(
            &mut Self,
            &[u8],
            &mut heapless::VecView<Slice<X::Page>>,
        ) -> Result<(), TransmitError>,
    ) -> Result<(), TransmitError> {
        let (head, rest) = frame.split_at(frame.len().min(PAGE_SIZE));
        let mut tail: heapless::Vec<_, FRAME_SLOTS_MAX> = heapless::Vec::new();
        let copied = rest.chunks(PAGE_SIZE).all(|part| {
            let copy = self.pool.copy(part);
            copy.is_some_and(|copy| tail.push(copy).is_ok())
        });
        let sent = match copied {
            true => send(self, head, tail.as_mut_view()),
            false => Err(TransmitError::Full),
        };
        for slice in tail {
            self.pool.give_back(slice.buffer);
        }
        sent
    }

    /// Puts a frame into a queue's ring as it is.
    fn put(
        &mut self,
        queue: usize,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        size: usize,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        let receiver = &mut self.queues[queue].receiver;
        match receiver.send(head, tail, size, offload, &mut self.counters) {
            Ok(sent) => sent,
            Err(breach) => {
                self.break_down(breach);
                Err(TransmitError::NotOpen)
            }
        }
    }

    /// Has Xen copy what was transmitted, shows the guest that and what was answered, and notifies it where
    /// it asked to be.
    pub fn flush(&mut self) {
        if !self.is_open() {
            return;
        }
        for number in 0..self.queues.len() {
            let queue = &mut self.queues[number];
            let flushed = queue.receiver.run(&mut self.counters).and_then(|()| {
                let transmit = queue.transmitter.publish();
                let receive = queue.receiver.publish();
                queue.channels.notify(transmit, receive)
            });
            match flushed {
                Ok(events) => self.counters.notifications += events,
                Err(breach) => return self.break_down(breach),
            }
        }
    }

    /// The final check before sleeping: asks for events, and says whether there is something to do at once.
    pub fn park(&mut self) -> Pending {
        self.park_until(Wake::FirstSlot)
    }

    /// As [`Back::park`], but the frontend's event may be asked for later. An event for buffers is asked for
    /// only if there were too few of them for a frame.
    pub fn park_until(&mut self, wake: Wake) -> Pending {
        if !self.orphans.is_empty() {
            return Pending::Work;
        }
        if !self.is_open() {
            return Pending::Nothing;
        }
        let mut pending = Pending::Nothing;
        if let Some(rate) = self.lease.changed_rate() {
            self.settings.rate = rate;
            self.apply_rate();
            // What waited may not have to any more.
            pending = Pending::Work;
        }
        for number in 0..self.queues.len() {
            let queue = &mut self.queues[number];
            let armed = queue
                .transmitter
                .arm(wake)
                .and_then(|requests| Ok((requests, queue.receiver.arm()?)));
            match armed {
                Ok((Pending::Nothing, Pending::Nothing)) => {}
                Ok(_) => pending = Pending::Work,
                Err(breach) => {
                    self.break_down(breach);
                    return Pending::Work;
                }
            }
        }
        pending
    }

    /// Has the guest send no more than this, either: of this and of `rate=`, as that is now or later, the stricter
    /// holds.
    pub fn limit(&mut self, limit: Option<Rate>) {
        self.limit = limit;
        self.apply_rate();
    }

    fn apply_rate(&mut self) {
        let said = [self.settings.rate, self.limit].into_iter().flatten();
        let rate = said.reduce(Rate::stricter);
        let share = rate.map(|rate| rate.share(self.queues.len()));
        for queue in &mut self.queues {
            queue.transmitter.set_rate(share);
        }
    }

    /// Stops: unmaps the rings, closes the ports, and tells the task that waits for it. Others' buffers
    /// that were not copied come back by [`Back::completed`]; dropping it without asking loses them.
    pub fn close(&mut self) {
        if self.state == State::Closed {
            return;
        }
        self.state = State::Closed;
        for queue in &mut self.queues {
            while let Some(buffer) = queue.receiver.abandon() {
                self.orphans.push(buffer);
            }
        }
        self.queues.clear();
        self.lease.released();
    }

    /// Serves it not: the frontend is told to close, and the toolstack why.
    pub fn refuse(mut self, reason: &'static str) {
        self.break_down(Breach::Refused(reason));
    }

    fn break_down(&mut self, breach: Breach) {
        log::error!("vif {}.{}: {breach}", self.frontend.0, self.index);
        self.state = State::Broken(breach);
        self.lease.broken(breach);
    }
}

impl<X: Xen> Drop for Back<X> {
    fn drop(&mut self) {
        self.close();
    }
}

/// A number that is the same for all frames of one flow: addresses and ports of an IPv4 packet without
/// options, and something like them of any other.
fn flow(head: &[u8]) -> usize {
    let words = head.get(26..38).unwrap_or(&[]);
    words.iter().fold(0_usize, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
    })
}

#[cfg(test)]
mod tests;
