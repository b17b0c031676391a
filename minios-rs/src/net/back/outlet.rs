//! A guest's vif with what waits for room in its ring.
//!
//! A guest that shares its processor with who sends to it does not run for a while, and its ring is soon full.
//! What is for it waits, as much as there is [`Room`] for, and as long as it takes something now and then. One
//! that takes nothing for [`PATIENCE`] loses all of that, and has nothing waiting any more until it takes a
//! frame again: the pages are others'.
//!
//! Once a turn: [`Outlet::send_waiting`] until `None`; then [`Outlet::offer`], and [`Outlet::keep`] of what was
//! not taken; [`Outlet::settle`], which has Xen copy, and [`Back::completed`] until `None`; at last
//! [`Outlet::park`]. Whoever closes it takes what waits by [`Outlet::drop_waiting`]: the pages know their owner.

use super::Back;
use crate::net::front::{TransmitError, Wake};
use crate::net::queue::{Payload, Queue, Room};
use crate::net::{ETHERNET_HEADER, Offload, Slice};
use crate::ring::Pending;
use crate::time::Instant;
use crate::xen::Xen;
use core::ops::{Deref, DerefMut};
use core::time::Duration;

/// Bytes of a VLAN tag: what a frame may have beyond its MTU and its header.
const VLAN_TAG: usize = 4;

/// How long frames wait for a guest that takes none, and how long a guest waits that is kept from sending: one
/// that is merely not running is back before that, and others are not held up longer.
pub const PATIENCE: Duration = Duration::from_millis(100);

/// What waits for a guest: a ring's worth of full pages would be four times as many.
const ROOM: Room = Room {
    frames: 128,
    payloads: 64,
    pages: 64,
};

/// Copies of frames for all among that: the rest is for what is for the guest alone.
const COPIES_MAX: usize = 32;

/// A vif and its queue. `H` is a frame's header, or all of a small one.
pub struct Outlet<X: Xen, H> {
    back: Back<X>,
    waiting: Queue<X, H>,
    /// Since when frames wait and none was taken.
    waiting_since: Option<Instant>,
    /// Since when the guest is kept from sending.
    held_since: Option<Instant>,
    /// Frames were put into its ring since that was last settled.
    is_filled: bool,
    /// It took nothing for so long that what waited is lost.
    is_stalled: bool,
}

impl<X: Xen, H> Deref for Outlet<X, H> {
    type Target = Back<X>;

    fn deref(&self) -> &Back<X> {
        &self.back
    }
}

impl<X: Xen, H> DerefMut for Outlet<X, H> {
    fn deref_mut(&mut self) -> &mut Back<X> {
        &mut self.back
    }
}

impl<X: Xen, H: Clone + AsRef<[u8]>> Outlet<X, H> {
    /// One that nothing waits for, with all the memory that it may need.
    pub fn new(back: Back<X>) -> Self {
        Self {
            back,
            waiting: Queue::new(ROOM),
            waiting_since: None,
            held_since: None,
            is_filled: false,
            is_stalled: false,
        }
    }

    /// Pages of others' that wait.
    pub fn waiting_pages(&self) -> usize {
        self.waiting.pages()
    }

    /// Whether a frame of this length is not longer than the vif's MTU allows; the segments of one that is to be
    /// cut are not looked at.
    pub fn takes(&self, len: usize, offload: Offload) -> bool {
        let mtu = usize::from(self.back.settings().mtu);
        offload.gso.is_some() || len <= mtu + ETHERNET_HEADER + VLAN_TAG
    }

    /// Puts a frame into the ring as [`Back::transmit`] does, unless others wait already: frames of one flow
    /// keep their order.
    ///
    /// # Errors
    /// [`TransmitError`]; `Full` if others wait. What is then still in `tail` is the caller's.
    pub fn offer(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        self.unless_waiting(|back| back.transmit(head, tail, offload))
    }

    fn unless_waiting(
        &mut self,
        send: impl FnOnce(&mut Back<X>) -> Result<(), TransmitError>,
    ) -> Result<(), TransmitError> {
        if !self.waiting.is_empty() {
            return Err(TransmitError::Full);
        }
        self.is_filled = true;
        let sent = send(&mut self.back);
        self.is_stalled &= sent.is_err();
        sent
    }

    /// Has a frame wait that found no room, its headers in one piece; false, and nothing is taken, if there is
    /// no room for it here either.
    pub fn keep(&mut self, head: &H, payload: &mut Payload<X>, offload: Offload) -> bool {
        !self.is_stalled && self.waiting.push(head, payload, offload)
    }

    /// Sends a copy of a frame that others get as well. Only if there is no room, and not many wait already,
    /// `whole` is asked for it in one piece, to have that wait.
    ///
    /// # Errors
    /// [`TransmitError`]: it is lost.
    pub fn offer_copy(
        &mut self,
        frame: &[u8],
        whole: impl FnOnce() -> Option<H>,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        if !self.takes(frame.len(), offload) {
            return Err(TransmitError::Size);
        }
        let sent = self.unless_waiting(|back| back.transmit_bytes(frame, offload));
        if sent == Err(TransmitError::Full)
            && self.waiting.len() < COPIES_MAX
            && whole().is_some_and(|whole| self.keep(&whole, &mut Payload::<X>::new(), offload))
        {
            return Ok(());
        }
        sent
    }

    /// Sends a frame of our own before all that wait.
    ///
    /// # Errors
    /// [`TransmitError`]: it is lost.
    pub fn send_first(&mut self, frame: &[u8], offload: Offload) -> Result<(), TransmitError> {
        self.is_filled = true;
        self.back.transmit_bytes(frame, offload)
    }

    /// Sends what waited, until there is no room. One frame that is lost instead: why, and the pages it leaves;
    /// to be called again until there is none.
    pub fn send_waiting(&mut self, now: Instant) -> Option<(TransmitError, Payload<X>)> {
        loop {
            if self.is_stalled {
                return Some((TransmitError::Full, self.drop_waiting()?));
            }
            let Self { back, waiting, .. } = self;
            let offered = waiting.try_first(|head, payload, offload| {
                back.transmit(head, payload.as_mut_view(), offload)
            });
            match offered {
                None => {
                    self.waiting_since = None;
                    return None;
                }
                Some((Ok(()), _)) => {
                    self.is_filled = true;
                    self.waiting_since = None;
                }
                Some((Err(TransmitError::Full), _)) => {
                    let since = *self.waiting_since.get_or_insert(now);
                    if now.since(since) < PATIENCE {
                        return None;
                    }
                    self.is_stalled = true;
                }
                Some((Err(error), payload)) => return Some((error, payload)),
            }
        }
    }

    /// Gives up the first frame that waits: the pages it leaves. None: none waits.
    pub fn drop_waiting(&mut self) -> Option<Payload<X>> {
        self.waiting_since = None;
        self.waiting.drop_first()
    }

    /// Has Xen copy what was put into the ring; false: that was nothing. The pages it came from are then
    /// [`Back::completed`].
    pub fn settle(&mut self) -> bool {
        let is_filled = core::mem::take(&mut self.is_filled);
        if is_filled {
            self.back.flush();
        }
        is_filled
    }

    /// It may send: there is room for where its frames go.
    pub fn release(&mut self) {
        self.held_since = None;
    }

    /// It is kept from sending because there is no room for where its frames go: whether that has lasted so long
    /// that they are to be taken all the same, and lost.
    pub fn hold(&mut self, now: Instant) -> bool {
        now.since(*self.held_since.get_or_insert(now)) >= PATIENCE
    }

    /// The final check before sleeping: when it is to be looked at again, `now` for at once. What nobody is woken
    /// for is looked at after `look`.
    pub fn park(&mut self, now: Instant, wake: Wake, look: Duration) -> Option<Instant> {
        let left =
            |since: Option<Instant>| since.map(|at| at.after(PATIENCE)).filter(|at| *at > now);
        if !self.waiting.is_empty() {
            self.waiting_since.get_or_insert(now);
        }
        let (waits, held) = (left(self.waiting_since), left(self.held_since));
        let look = now.after(look);
        // Not every frontend says that there is room again.
        let waits = waits.map(|end| match self.back.features().receive_notify {
            true => end,
            false => end.min(look),
        });
        let pending = self.back.park_until(wake);
        // While it may not send, neither what it has nor when it may send more is looked at; and whoever was
        // lent too much is not asked to say that it is done.
        let sends = match held {
            Some(end) => Some(end.min(look)),
            None if pending == Pending::Work => Some(now),
            None => self.back.next_credit(),
        };
        [waits, sends].into_iter().flatten().min()
    }
}
