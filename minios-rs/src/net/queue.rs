//! What waits for room in an egress ring.

#![forbid(unsafe_code)]

use super::{FRAME_SLOTS_MAX, Offload, Slice, TransmitError};
use crate::xen::Xen;
use alloc::collections::VecDeque;

/// How much may wait for room in one interface's ring.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Frames, at most.
    pub frames: usize,
    /// Those of them with payload in pages, at most.
    pub payloads: usize,
    /// Those pages, at most.
    pub pages: usize,
}

impl Room {
    /// Slices of payload, at most.
    fn slices(self) -> usize {
        self.pages.min(self.payloads * FRAME_SLOTS_MAX)
    }
}

/// Pages of payload behind the headers.
pub type Payload<X> = heapless::Vec<Slice<<X as Xen>::Page>, FRAME_SLOTS_MAX>;

/// A frame that waits for room in its egress ring.
///
/// Most are small and whole in `head`. Slices of pages have a queue of their own: room for as many as a frame
/// can have would be three times as long as the rest of this.
struct Waiting<H> {
    head: H,
    slices: usize,
    offload: Offload,
}

/// Frames that wait for room in one interface's ring, in their order. `H` is a frame's header, or all of a small one.
pub struct Queue<X: Xen, H> {
    frames: VecDeque<Waiting<H>>,
    /// Those of them that have slices.
    payloads: usize,
    /// Theirs, in their order.
    slices: VecDeque<Slice<X::Page>>,
    room: Room,
}

impl<X: Xen, H: Clone + AsRef<[u8]>> Queue<X, H> {
    /// An empty one, with all the memory that it may need.
    pub fn new(room: Room) -> Self {
        Self {
            frames: VecDeque::with_capacity(room.frames),
            payloads: 0,
            slices: VecDeque::with_capacity(room.slices()),
            room,
        }
    }

    /// Whether no frame waits.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Frames that wait.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Pages of theirs.
    pub fn pages(&self) -> usize {
        self.slices.len()
    }

    /// Takes the pages of `payload` and a copy of `head`; false, and nothing is taken, if it is full.
    pub fn push(&mut self, head: &H, payload: &mut Payload<X>, offload: Offload) -> bool {
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
    pub fn drop_first(&mut self) -> Option<Payload<X>> {
        let (_, payload) = self.try_first(|_, _, _| Ok(()))?;
        Some(payload)
    }

    /// Offers the first frame to `send`; what that says, and the pages it left. A frame for which
    /// there is no room stays. None: none waits.
    pub fn try_first(
        &mut self,
        send: impl FnOnce(&[u8], &mut Payload<X>, Offload) -> Result<(), TransmitError>,
    ) -> Option<(Result<(), TransmitError>, Payload<X>)> {
        let frame = self.frames.front_mut()?;
        let has_pages = frame.slices > 0;
        let mut payload = Payload::<X>::new();
        for _ in 0..frame.slices {
            // As many as one frame has, which fit.
            if let Some(slice) = self.slices.pop_front() {
                let _ = payload.push(slice);
            }
        }
        let sent = send(frame.head.as_ref(), &mut payload, frame.offload);
        if sent == Err(TransmitError::Full) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{Domain, World};
    use crate::net::{FrontId, RxBuffer};
    use crate::xen::DomId;
    use alloc::vec::Vec;

    const ROOM: Room = Room {
        frames: 4,
        payloads: 2,
        pages: 7,
    };

    fn payload(host: &Domain, pages: usize) -> Payload<Domain> {
        let owner = FrontId::next();
        let slice = |index| Slice {
            buffer: RxBuffer::of_card(owner, index as u16, host.allocate_page().expect("a page")),
            offset: 0,
            len: 100,
        };
        (0..pages).map(slice).collect()
    }

    #[test]
    fn there_is_room_for_so_many_frames_payloads_and_pages_again_and_again() {
        let world = World::new();
        let host = world.domain(DomId(1));
        let mut queue: Queue<Domain, [u8; 1]> = Queue::new(ROOM);
        let push = |queue: &mut Queue<_, _>, pages| {
            let mut payload = payload(&host, pages);
            let is_taken = queue.push(&[pages as u8], &mut payload, Offload::default());
            assert_eq!(payload.len(), if is_taken { 0 } else { pages });
            is_taken
        };
        for _ in 0..3 {
            assert!(push(&mut queue, 3));
            assert!(!push(&mut queue, 5), "pages");
            assert!(push(&mut queue, 3));
            assert!(!push(&mut queue, 1), "payloads");
            assert_eq!((queue.len(), queue.pages()), (2, 6));
            assert!(push(&mut queue, 0) && push(&mut queue, 0));
            assert!(!push(&mut queue, 0), "frames");
            let mut sent = Vec::new();
            while let Some((_, left)) = queue.try_first(|head, payload, _| {
                assert_eq!(payload.len(), usize::from(head[0]));
                sent.push(head[0]);
                payload.clear();
                Ok(())
            }) {
                assert!(left.is_empty());
            }
            assert_eq!(sent, [3, 3, 0, 0]);
            assert!(queue.is_empty() && queue.pages() == 0);
        }
    }

    #[test]
    fn what_was_sent_of_a_frame_is_not_sent_again() {
        let world = World::new();
        let host = world.domain(DomId(1));
        let mut queue: Queue<Domain, [u8; 1]> = Queue::new(ROOM);
        assert!(queue.push(&[1], &mut payload(&host, 3), Offload::default()));
        assert!(queue.push(&[2], &mut payload(&host, 2), Offload::default()));
        for left in [3, 2] {
            let tried = queue.try_first(|head, payload, _| {
                assert_eq!((head, payload.len()), (&[1][..], left));
                payload.remove(0);
                Err(TransmitError::Full)
            });
            assert!(tried.is_some_and(|(sent, left)| sent.is_err() && left.is_empty()));
            assert_eq!(queue.pages(), left - 1 + 2);
        }
        let tried = queue.try_first(|_, payload, _| {
            assert_eq!(payload[0].buffer.index(), 2, "the last of them");
            Err(TransmitError::Size)
        });
        assert!(tried.is_some_and(|(sent, left)| sent.is_err() && left.len() == 1));
        assert_eq!(queue.drop_first().map(|left| left.len()), Some(2));
        assert!(queue.is_empty() && queue.drop_first().is_none());
    }
}
