//! What waits for room in an egress ring.

use crate::Head;
use alloc::collections::VecDeque;
use minios_rs::net;
use minios_rs::xen::Xen;

/// How much may wait for room in one interface's ring.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// Frames, at most.
    frames: usize,
    /// Those of them with payload in pages, at most.
    payloads: usize,
    /// Those pages, at most.
    pages: usize,
}

impl Room {
    /// What Linux' queue of a network device holds: a backend that shares its processor with the sender is
    /// not run for that long. No more pages are lent than there may be payloads.
    pub(super) const FRONT: Self = Self {
        frames: 1_000,
        payloads: 192,
        pages: usize::MAX,
    };
    /// A fraction of that, because there may be many guests: of the pages that a front lends to them all,
    /// a third.
    pub(super) const GUEST: Self = Self {
        frames: 128,
        payloads: 64,
        pages: 64,
    };
}

/// Pages of payload behind the headers.
pub(super) type Payload<X> = heapless::Vec<net::Slice<<X as Xen>::Page>, { net::FRAME_SLOTS_MAX }>;

/// A judged frame that waits for room in its egress ring.
///
/// Most are small and whole in `head`. Pages are ten times as long as the rest of this, and never
/// many because they are lent: they have a queue of their own.
struct Waiting {
    head: Head,
    has_pages: bool,
    offload: net::Offload,
}

/// Frames that wait for room in one interface's ring, in their order.
pub(super) struct Queue<X: Xen> {
    frames: VecDeque<Waiting>,
    /// Of those frames that have some, in their order.
    payloads: VecDeque<Payload<X>>,
    /// Their pages.
    pages: usize,
    room: Room,
}

impl<X: Xen> Queue<X> {
    pub(super) fn new(room: Room) -> Self {
        Self {
            frames: VecDeque::with_capacity(room.frames),
            payloads: VecDeque::with_capacity(room.payloads),
            pages: 0,
            room,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames that wait.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// Takes the pages of `payload` and a copy of `head`; false, and nothing is taken, if it is full.
    pub(super) fn push(
        &mut self,
        head: &Head,
        payload: &mut Payload<X>,
        offload: net::Offload,
    ) -> bool {
        let has_pages = !payload.is_empty();
        let room = self.room;
        let is_full = self.frames.len() == room.frames
            || has_pages
                && (self.payloads.len() == room.payloads
                    || self.pages.saturating_add(payload.len()) > room.pages);
        if is_full {
            return false;
        }
        self.frames.push_back(Waiting {
            head: head.clone(),
            has_pages,
            offload,
        });
        if has_pages {
            self.pages += payload.len();
            self.payloads.push_back(core::mem::take(payload));
        }
        true
    }

    /// Gives up the first frame: the pages it left. None: none waits.
    pub(super) fn drop_first(&mut self) -> Option<Payload<X>> {
        let (_, payload) = self.try_first(|_, _, _| Ok(()))?;
        Some(payload)
    }

    /// Offers the first frame to `send`; what that says, and the pages it left. A frame for which
    /// there is no room stays. None: none waits.
    pub(super) fn try_first(
        &mut self,
        send: impl FnOnce(&[u8], &mut Payload<X>, net::Offload) -> Result<(), net::TransmitError>,
    ) -> Option<(Result<(), net::TransmitError>, Payload<X>)> {
        let frame = self.frames.front()?;
        let mut none = Payload::<X>::new();
        let payload = match frame.has_pages {
            true => self.payloads.front_mut().unwrap_or(&mut none),
            false => &mut none,
        };
        let pages = payload.len();
        let sent = send(frame.head.bytes(), payload, frame.offload);
        if sent == Err(net::TransmitError::Full) {
            return Some((sent, none));
        }
        self.pages -= pages;
        let left = match self.frames.pop_front() {
            Some(frame) if frame.has_pages => self.payloads.pop_front().unwrap_or_default(),
            _ => none,
        };
        Some((sent, left))
    }
}
