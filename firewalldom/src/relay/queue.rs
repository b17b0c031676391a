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

    /// Slices of payload, at most.
    fn slices(self) -> usize {
        self.pages.min(self.payloads * net::FRAME_SLOTS_MAX)
    }
}

/// Pages of payload behind the headers.
pub(super) type Payload<X> = heapless::Vec<net::Slice<<X as Xen>::Page>, { net::FRAME_SLOTS_MAX }>;

/// A judged frame that waits for room in its egress ring.
///
/// Most are small and whole in `head`. Slices of pages have a queue of their own: room for as many as a frame
/// can have would be three times as long as the rest of this.
struct Waiting {
    head: Head,
    slices: usize,
    offload: net::Offload,
}

/// Frames that wait for room in one interface's ring, in their order.
pub(super) struct Queue<X: Xen> {
    frames: VecDeque<Waiting>,
    /// Those of them that have slices.
    payloads: usize,
    /// Theirs, in their order.
    slices: VecDeque<net::Slice<X::Page>>,
    room: Room,
}

impl<X: Xen> Queue<X> {
    pub(super) fn new(room: Room) -> Self {
        Self {
            frames: VecDeque::with_capacity(room.frames),
            payloads: 0,
            slices: VecDeque::with_capacity(room.slices()),
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
                && (self.payloads == room.payloads
                    || self.slices.len() + payload.len() > room.slices());
        if is_full {
            return false;
        }
        self.frames.push_back(Waiting {
            head: head.clone(),
            slices: payload.len(),
            offload,
        });
        self.payloads += usize::from(has_pages);
        // Taken from the end, which is cheap.
        payload.reverse();
        while let Some(slice) = payload.pop() {
            self.slices.push_back(slice);
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
        let frame = self.frames.front_mut()?;
        let has_pages = frame.slices > 0;
        let mut payload = Payload::<X>::new();
        for _ in 0..frame.slices {
            // As many as one frame has, which fit.
            if let Some(slice) = self.slices.pop_front() {
                let _ = payload.push(slice);
            }
        }
        let sent = send(frame.head.bytes(), &mut payload, frame.offload);
        if sent == Err(net::TransmitError::Full) {
            frame.slices = payload.len();
            while let Some(slice) = payload.pop() {
                self.slices.push_front(slice);
            }
            return Some((sent, payload));
        }
        self.payloads -= usize::from(has_pages);
        self.frames.pop_front();
        Some((sent, payload))
    }
}
