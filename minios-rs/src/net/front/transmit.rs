//! The transmit ring: headers and payload out, answers in.

#![forbid(unsafe_code)]

use super::{Breach, Counters, Front, HEAD_MAX, State, TransmitError, Wake};
use crate::abi::io::netif::{
    ExtraInfo, NETIF_RSP_DROPPED, NETIF_RSP_NULL, NETIF_RSP_OKAY, NETTXF_CSUM_BLANK,
    NETTXF_DATA_VALIDATED, NETTXF_EXTRA_INFO, NETTXF_MORE_DATA, TxExtraInfo, TxRequest, TxResponse,
    XEN_NETIF_EXTRA_TYPE_GSO, XEN_NETIF_GSO_TYPE_TCPV4, XEN_NETIF_GSO_TYPE_TCPV6,
    XEN_NETIF_MAX_TX_SIZE,
};
use crate::net::frame::{FRAME_SLOTS_MAX, Memory, RxBuffer, Slice};
use crate::net::{Checksum, ETHERNET_HEADER, Gso, GsoKind, Offload};
use crate::nospec;
use crate::ring::{Corrupt, FrontRing, Notify, Pending, ReadError};
use crate::xen::{Access, DomId, Granted, PAGE_SIZE, ResourceError, SharedPage, Xen};
use alloc::vec::Vec;

type Ring<X> = FrontRing<<X as Xen>::Page, TxRequest, TxResponse>;

/// Entries of the ring, and ids.
const RING_ENTRIES: usize = 256;
/// Header slices in one page.
const HEADS_PER_PAGE: usize = PAGE_SIZE / HEAD_MAX;
/// Pages for frames of our own that are too long for a header slice.
const OWN_PAGES: u16 = 16;
/// Pages in quarantine that one flush asks for again.
const RETRIES: usize = 16;

/// Slices of one frame behind its header.
pub const TAIL_MAX: usize = FRAME_SLOTS_MAX - 1;

/// What the backend may read by an id.
enum Lent<X: Xen> {
    Nothing,
    /// A header slice, by number.
    Head(u16),
    /// A page of our own frames, by number.
    Own(u16),
    /// Another front's page.
    Tail(Granted<X>, RxBuffer<X::Page>),
    /// Another front's page, answered for but still used.
    Quarantined(Granted<X>, RxBuffer<X::Page>),
    /// Another front's page, waiting to be taken back.
    Returned(RxBuffer<X::Page>),
}

pub(super) struct Transmitter<X: Xen> {
    xen: X,
    backend: DomId,
    ring: Ring<X>,
    ring_page: Option<Granted<X>>,
    /// By request id.
    lent: Vec<Lent<X>>,
    free_ids: Vec<u16>,
    head_pages: Vec<Granted<X>>,
    free_heads: Vec<u16>,
    own_pages: Vec<Granted<X>>,
    free_own: Vec<u16>,
    /// Ids that are [`Lent::Returned`].
    returned: heapless::Deque<u16, RING_ENTRIES>,
    /// Ids that are [`Lent::Quarantined`].
    quarantined: heapless::Deque<u16, RING_ENTRIES>,
    /// Ids that are tail, quarantined or returned.
    tail_pages: u16,
    tail_pages_max: u16,
    /// Extra infos the backend has yet to answer.
    extras: u32,
}

impl<X: Xen> Transmitter<X> {
    pub(super) fn new(xen: &X, backend: DomId, tail_pages_max: u16) -> Result<Self, ResourceError> {
        const { assert!(Ring::<X>::ENTRIES as usize == RING_ENTRIES) };
        let grant = |access| Granted::allocate(xen, backend, access);
        let ring_page = grant(Access::ReadWrite)?;
        let mut head_pages = Vec::with_capacity(RING_ENTRIES / HEADS_PER_PAGE);
        for _ in 0..RING_ENTRIES / HEADS_PER_PAGE {
            head_pages.push(grant(Access::ReadOnly)?);
        }
        let mut own_pages = Vec::with_capacity(usize::from(OWN_PAGES));
        for _ in 0..OWN_PAGES {
            own_pages.push(grant(Access::ReadOnly)?);
        }
        Ok(Self {
            xen: xen.clone(),
            backend,
            ring: FrontRing::new(ring_page.page().clone()),
            ring_page: Some(ring_page),
            lent: (0..RING_ENTRIES).map(|_| Lent::Nothing).collect(),
            free_ids: (0..RING_ENTRIES as u16).rev().collect(),
            head_pages,
            free_heads: (0..RING_ENTRIES as u16).rev().collect(),
            own_pages,
            free_own: (0..OWN_PAGES).rev().collect(),
            returned: heapless::Deque::new(),
            quarantined: heapless::Deque::new(),
            tail_pages: 0,
            tail_pages_max,
            extras: 0,
        })
    }

    pub(super) fn reference(&self) -> u32 {
        self.ring_page.as_ref().map_or(0, |page| page.reference().0)
    }

    pub(super) fn in_quarantine(&self) -> u16 {
        self.quarantined.len() as u16
    }

    pub(super) fn tail_pages(&self) -> u16 {
        self.tail_pages
    }

    pub(super) fn publish(&mut self) -> Notify {
        self.ring.publish()
    }

    /// Sleeps until half of what is under way is answered: an event for each would cost more than
    /// the pages are worth. While the ring has room, and few pages of other fronts are under way, for
    /// no answer at all: they come back with whatever wakes the caller next. A caller who looks again
    /// before long can do without more of them.
    pub(super) fn arm(&self, wake: Wake) -> Result<Pending, Corrupt> {
        let outstanding = self.ring.outstanding();
        let is_crowded = self.ring.free() < Ring::<X>::ENTRIES / 2
            || self.free_own.len() < usize::from(OWN_PAGES) / 2;
        let lends = match wake {
            Wake::FirstSlot => self.tail_pages > self.tail_pages_max / 4,
            Wake::Slots(_) => self.tail_pages > self.tail_pages_max / 2,
        };
        self.ring.arm(if is_crowded || lends {
            outstanding / 2
        } else {
            outstanding
        })
    }

    fn has_room(&self, slots: usize, gso: Option<Gso>) -> bool {
        let entries = slots + usize::from(gso.is_some());
        self.ring.free() as usize >= entries && self.free_ids.len() >= slots
    }

    /// Sends `head` from a header slice, and `tail` after it. There is room for all of it.
    fn send(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        size: u16,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        let mut ids: heapless::Vec<u16, TAIL_MAX> = heapless::Vec::new();
        let mut requests: heapless::Vec<TxRequest, TAIL_MAX> = heapless::Vec::new();
        // Taken from the end, which is cheap.
        tail.reverse();
        while let Some(slice) = tail.last() {
            let Some(granted) = self.lend(slice) else {
                tail.reverse();
                // Taken back as if answered: the backend may have guessed the reference already.
                for id in ids {
                    self.take_back(id, &mut 0);
                }
                return Err(TransmitError::NoGrant);
            };
            let (Some(id), Some(slice)) = (self.free_ids.pop(), tail.pop()) else {
                break;
            };
            let request = TxRequest {
                gref: granted.reference().0,
                offset: slice.offset,
                flags: 0,
                id,
                size: slice.len,
            };
            self.lent[usize::from(id)] = Lent::Tail(granted, slice.buffer);
            self.tail_pages += 1;
            let _ = ids.push(id);
            let _ = requests.push(request);
        }
        self.send_first(head, size, offload, &requests)
    }

    /// Sends a frame that is too long for one page from pages of our own. There is room for all of it.
    fn send_long(&mut self, frame: &[u8], offload: Offload) -> Result<(), TransmitError> {
        let (head, rest) = frame.split_at(HEAD_MAX);
        let mut requests: heapless::Vec<TxRequest, TAIL_MAX> = heapless::Vec::new();
        for part in rest.chunks(PAGE_SIZE) {
            let (Some(id), Some((lent, gref, offset))) = (self.free_ids.pop(), self.place(part))
            else {
                break;
            };
            self.lent[usize::from(id)] = lent;
            let _ = requests.push(TxRequest {
                gref,
                offset,
                flags: 0,
                id,
                size: part.len() as u16,
            });
        }
        self.send_first(head, frame.len() as u16, offload, &requests)
    }

    /// Sends a frame of that size: `head`, and what the other requests are for.
    fn send_first(
        &mut self,
        head: &[u8],
        size: u16,
        offload: Offload,
        rest: &[TxRequest],
    ) -> Result<(), TransmitError> {
        let Some(id) = self.free_ids.pop() else {
            return Err(TransmitError::Full);
        };
        let Some((lent, gref, offset)) = self.place(head) else {
            self.free_ids.push(id);
            return Err(TransmitError::Full);
        };
        self.lent[usize::from(id)] = lent;
        self.push_first(
            TxRequest {
                gref,
                offset,
                flags: 0,
                id,
                size,
            },
            offload,
            rest,
        );
        Ok(())
    }

    /// Whether there is a place for a first slot of that many bytes.
    fn has_place(&self, len: usize) -> bool {
        if len <= HEAD_MAX {
            !self.free_heads.is_empty()
        } else {
            !self.free_own.is_empty()
        }
    }

    /// Whether there is a place for a header and that many pages of our own, the last of which may be short.
    fn has_places(&self, pages: usize) -> bool {
        const { assert!((XEN_NETIF_MAX_TX_SIZE - HEAD_MAX).div_ceil(PAGE_SIZE) <= OWN_PAGES as usize) };
        self.free_heads.len() > 1 && self.free_own.len() >= pages
    }

    /// Copies a slot of our own to where the backend reads it: a header slice if it fits, else a page of
    /// its own. What was lent, its reference, and the offset in the page.
    fn place(&mut self, head: &[u8]) -> Option<(Lent<X>, u32, u16)> {
        let (lent, granted, offset) = if head.len() <= HEAD_MAX {
            let number = self.free_heads.pop()?;
            let page = &self.head_pages[usize::from(number) / HEADS_PER_PAGE];
            let offset = usize::from(number) % HEADS_PER_PAGE * HEAD_MAX;
            (Lent::Head(number), page, offset)
        } else {
            let number = self.free_own.pop()?;
            (Lent::Own(number), &self.own_pages[usize::from(number)], 0)
        };
        granted.page().write(offset, head);
        Some((lent, granted.reference().0, offset as u16))
    }

    /// Grants a slice's page, with nothing in it that the backend was not sent.
    fn lend(&self, slice: &Slice<X::Page>) -> Option<Granted<X>> {
        // Others were refused before anything was lent.
        let Memory::Page(page) = &slice.buffer.memory else {
            return None;
        };
        if slice.buffer.backend != self.backend {
            let start = usize::from(slice.offset);
            let end = start + usize::from(slice.len);
            page.zero(0, start);
            page.zero(end, PAGE_SIZE - end);
        }
        Granted::new(&self.xen, self.backend, page.clone(), Access::ReadOnly).ok()
    }

    /// Pushes a frame's first request, its extra info, and the others.
    fn push_first(&mut self, mut first: TxRequest, offload: Offload, rest: &[TxRequest]) {
        first.flags = match offload.checksum {
            Checksum::Blank => NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED,
            Checksum::Validated => NETTXF_DATA_VALIDATED,
            Checksum::Unknown => 0,
        };
        if !rest.is_empty() {
            first.flags |= NETTXF_MORE_DATA;
        }
        if offload.gso.is_some() {
            first.flags |= NETTXF_EXTRA_INFO;
        }
        // Room for all of them was asked for.
        let _ = self.ring.push(&first);
        if let Some(gso) = offload.gso {
            let gso_type = match gso.kind {
                GsoKind::TcpV4 => XEN_NETIF_GSO_TYPE_TCPV4,
                GsoKind::TcpV6 => XEN_NETIF_GSO_TYPE_TCPV6,
            };
            let kind = XEN_NETIF_EXTRA_TYPE_GSO;
            let info = ExtraInfo {
                kind,
                gso_size: gso.size,
                gso_type,
                ..ExtraInfo::default()
            };
            let _ = self.ring.push_as(&TxExtraInfo { info, pad: 0 });
            self.extras += 1;
        }
        let last = rest.len().saturating_sub(1);
        for (index, request) in rest.iter().enumerate() {
            let flags = if index == last { 0 } else { NETTXF_MORE_DATA };
            let _ = self.ring.push(&TxRequest { flags, ..*request });
        }
    }

    /// Takes what the backend has answered.
    pub(super) fn reap(&mut self, counters: &mut Counters) -> Result<(), Breach> {
        loop {
            let response = match self.ring.pop() {
                Ok(response) => response,
                Err(ReadError::Empty) => return Ok(()),
                Err(ReadError::Corrupt) => return Err(Breach::TransmitIndex),
            };
            match response.status {
                NETIF_RSP_OKAY => {}
                NETIF_RSP_NULL => {
                    self.extras = self.extras.checked_sub(1).ok_or(Breach::WildResponse)?;
                    continue;
                }
                NETIF_RSP_DROPPED => counters.answered_dropped += 1,
                _ => counters.answered_error += 1,
            }
            let id = nospec::index(usize::from(response.id), self.lent.len())
                .ok_or(Breach::WildResponse)?;
            match self.lent[id] {
                Lent::Head(_) | Lent::Own(_) | Lent::Tail(..) => {
                    self.take_back(id as u16, &mut counters.quarantined);
                }
                _ => return Err(Breach::WildResponse),
            }
        }
    }

    /// Ends what an id lent; a page still in use goes to quarantine.
    fn take_back(&mut self, id: u16, quarantined: &mut u64) {
        let entry = &mut self.lent[usize::from(id)];
        match core::mem::replace(entry, Lent::Nothing) {
            Lent::Nothing => {}
            Lent::Head(number) => {
                self.free_heads.push(number);
                self.free_ids.push(id);
            }
            Lent::Own(number) => {
                self.free_own.push(number);
                self.free_ids.push(id);
            }
            Lent::Tail(granted, buffer) | Lent::Quarantined(granted, buffer) => match granted.end()
            {
                Ok(_) => {
                    *entry = Lent::Returned(buffer);
                    // Both queues hold as many as there are ids, and an id is in one of them.
                    let _ = self.returned.push_back(id);
                }
                Err(granted) => {
                    *quarantined += 1;
                    *entry = Lent::Quarantined(granted, buffer);
                    let _ = self.quarantined.push_back(id);
                }
            },
            returned @ Lent::Returned(_) => *entry = returned,
        }
    }

    pub(super) fn retry_quarantined(&mut self) {
        for _ in 0..self.quarantined.len().min(RETRIES) {
            if let Some(id) = self.quarantined.pop_front() {
                // Counted when it first was.
                self.take_back(id, &mut 0);
            }
        }
    }

    pub(super) fn has_completed(&self) -> bool {
        !self.returned.is_empty()
    }

    pub(super) fn completed(&mut self) -> Option<RxBuffer<X::Page>> {
        let id = self.returned.pop_front()?;
        self.tail_pages -= 1;
        match core::mem::replace(&mut self.lent[usize::from(id)], Lent::Nothing) {
            Lent::Returned(buffer) => {
                self.free_ids.push(id);
                Some(buffer)
            }
            other => {
                self.lent[usize::from(id)] = other;
                None
            }
        }
    }

    /// Takes everything back that will not be answered any more.
    pub(super) fn abandon(&mut self, counters: &mut Counters) {
        for id in 0..RING_ENTRIES as u16 {
            if matches!(
                self.lent[usize::from(id)],
                Lent::Head(_) | Lent::Own(_) | Lent::Tail(..)
            ) {
                self.take_back(id, &mut counters.quarantined);
            }
        }
    }

    /// Ends every grant that can be ended, and says how many could not.
    pub(super) fn release(&mut self) -> usize {
        for pages in [&mut self.head_pages, &mut self.own_pages] {
            let kept: Vec<_> = pages
                .drain(..)
                .filter_map(|page| page.end().err())
                .collect();
            *pages = kept;
        }
        self.ring_page = self.ring_page.take().and_then(|page| page.end().err());
        let rings = usize::from(self.ring_page.is_some());
        self.head_pages.len() + self.own_pages.len() + rings + self.quarantined.len()
    }
}

impl<X: Xen> Front<X> {
    /// Sends a frame: `head` (14 to 4096 bytes; up to [`HEAD_MAX`] is the usual and cheap case),
    /// which is copied, then `tail`, which is not. On success `tail` is empty, and each of its pages comes back by [`Front::completed`] once the
    /// backend has let go of it. Nothing is visible to the backend before [`Front::flush`].
    ///
    /// # Errors
    /// [`TransmitError`]. What is then still in `tail` is the caller's to recycle.
    pub fn transmit(
        &mut self,
        head: &[u8],
        tail: &mut heapless::Vec<Slice<X::Page>, TAIL_MAX>,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        self.transmit_slots(head, tail.as_mut_view(), offload)
    }

    /// As [`Front::transmit`], from a list of any capacity: that of a
    /// [`Received`](crate::net::Received) goes on as it is, if it has at most [`TAIL_MAX`] slices.
    ///
    /// # Errors
    /// [`TransmitError`].
    pub fn transmit_slots(
        &mut self,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        let size = head.len()
            + tail
                .iter()
                .map(|slice| usize::from(slice.len))
                .sum::<usize>();
        self.check(size, 1 + tail.len(), offload)?;
        if tail.len() > TAIL_MAX || !(ETHERNET_HEADER..=PAGE_SIZE).contains(&head.len()) {
            return Err(TransmitError::Size);
        }
        let outside = |slice: &Slice<_>| {
            slice.len == 0
                || !slice.buffer.is_lendable()
                || usize::from(slice.offset) + usize::from(slice.len) > PAGE_SIZE
        };
        if tail.iter().any(outside) {
            return Err(TransmitError::Invalid);
        }
        let tails = usize::from(self.transmitter.tail_pages) + tail.len();
        if !self.transmitter.has_place(head.len()) {
            self.reap();
        }
        let transmitter = &mut self.transmitter;
        if !transmitter.has_place(head.len()) || tails > usize::from(transmitter.tail_pages_max) {
            return Err(TransmitError::Full);
        }
        transmitter.send(head, tail, size as u16, offload)?;
        self.count(size);
        Ok(())
    }

    /// Sends a frame of our own (14 to 65,535 bytes), copying it. There are pages for one of the longest at a
    /// time.
    ///
    /// # Errors
    /// [`TransmitError`].
    pub fn transmit_bytes(&mut self, frame: &[u8], offload: Offload) -> Result<(), TransmitError> {
        if frame.len() <= PAGE_SIZE {
            return self.transmit(frame, &mut heapless::Vec::new(), offload);
        }
        let pages = (frame.len() - HEAD_MAX).div_ceil(PAGE_SIZE);
        self.check(frame.len(), 1 + pages, offload)?;
        if !self.transmitter.has_places(pages) {
            self.reap();
        }
        if !self.transmitter.has_places(pages) {
            return Err(TransmitError::Full);
        }
        self.transmitter.send_long(frame, offload)?;
        self.count(frame.len());
        Ok(())
    }

    fn check(&mut self, size: usize, slots: usize, offload: Offload) -> Result<(), TransmitError> {
        if self.state != State::Open {
            return Err(TransmitError::NotOpen);
        }
        if !(ETHERNET_HEADER..=XEN_NETIF_MAX_TX_SIZE).contains(&size) {
            return Err(TransmitError::Size);
        }
        if let Some(gso) = offload.gso {
            if gso.size == 0 || offload.checksum != Checksum::Blank {
                return Err(TransmitError::Invalid);
            }
            let offered = match gso.kind {
                GsoKind::TcpV4 => self.features.gso_tcpv4,
                GsoKind::TcpV6 => self.features.gso_tcpv6,
            };
            if !offered {
                return Err(TransmitError::NotOffered);
            }
        }
        if slots > 1 && !self.features.scatter_gather {
            return Err(TransmitError::NotOffered);
        }
        if !self.transmitter.has_room(slots, offload.gso) {
            // What was answered meanwhile may make room.
            self.reap();
            if self.state != State::Open {
                return Err(TransmitError::NotOpen);
            }
            if !self.transmitter.has_room(slots, offload.gso) {
                return Err(TransmitError::Full);
            }
        }
        Ok(())
    }

    fn count(&mut self, size: usize) {
        self.counters.transmitted_frames += 1;
        self.counters.transmitted_bytes += size as u64;
    }
}
