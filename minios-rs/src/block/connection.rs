//! One connection to a backend: its ring, its port, and which entry of the ring is whose.

#![forbid(unsafe_code)]

use super::buffer::Buffer;
use super::{Breach, RING_PAGES_MAX, SECTOR, SEGMENTS_MAX};
use crate::abi::io::blkif::{
    BLKIF_MAX_SEGMENTS_PER_REQUEST, BLKIF_OP_INDIRECT, Request, RequestDiscard, RequestIndirect,
    Response, Segment,
};
use crate::nospec;
use crate::ring::{FrontRing, Notify, Pending, ReadError, RingPages};
use crate::xen::{Access, BoundPort, DomId, Granted, ResourceError, SharedPage, Xen};
use alloc::vec::Vec;
use zerocopy::IntoBytes;

type Ring<X> = FrontRing<RingPages<<X as Xen>::Page>, Request, Response>;

/// Bits of a request's id that say its place; the others are never the same twice.
const SLOT_BITS: u32 = 8;

/// What the backend was asked, and has yet to answer.
struct Part<X: Xen> {
    id: u64,
    /// As the answer names it: of one with its segments elsewhere, what is done with them.
    operation: u8,
    /// Whose it is.
    owner: u16,
    /// The page its segments are listed in, if the entry had no room for them.
    table: Option<Granted<X>>,
}

/// An answer.
pub(super) struct Answer {
    pub(super) owner: u16,
    pub(super) status: i16,
}

pub(super) struct Connection<X: Xen> {
    xen: X,
    backend: DomId,
    handle: u16,
    port: BoundPort<X>,
    ring: Ring<X>,
    pages: Vec<Granted<X>>,
    /// Segments of one request, at most.
    pub(super) segments_max: usize,
    /// By the lowest bits of the id.
    parts: Vec<Option<Part<X>>>,
    free: Vec<u16>,
    next_id: u64,
    /// Pages for segments that nobody uses now. There are as many as entries in the ring at most.
    tables: Vec<Granted<X>>,
}

impl<X: Xen> Connection<X> {
    /// A ring of `pages` for this backend.
    pub(super) fn new(
        xen: &X,
        backend: DomId,
        handle: u16,
        pages: usize,
    ) -> Result<Self, ResourceError> {
        assert!(pages.is_power_of_two() && pages <= RING_PAGES_MAX);
        let mut granted = Vec::with_capacity(pages);
        for _ in 0..pages {
            granted.push(Granted::allocate(xen, backend, Access::ReadWrite)?);
        }
        let memory = granted.iter().map(|page| page.page().clone()).collect();
        let ring = Ring::<X>::new(RingPages::new(memory));
        let entries = ring.entries() as u16;
        Ok(Self {
            xen: xen.clone(),
            backend,
            handle,
            port: BoundPort::allocate(xen, backend)?,
            pages: granted,
            segments_max: BLKIF_MAX_SEGMENTS_PER_REQUEST,
            parts: (0..entries).map(|_| None).collect(),
            free: (0..entries).rev().collect(),
            next_id: 0,
            tables: Vec::with_capacity(usize::from(entries)),
            ring,
        })
    }

    pub(super) fn backend(&self) -> DomId {
        self.backend
    }

    pub(super) fn port(&self) -> &BoundPort<X> {
        &self.port
    }

    /// The references of the ring's pages, in their order.
    pub(super) fn references(&self) -> impl Iterator<Item = u32> + '_ {
        self.pages.iter().map(|page| page.reference().0)
    }

    /// Whether there is room for a request.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty() && self.ring.free() > 0
    }

    fn begin(&mut self, owner: u16, operation: u8, table: Option<Granted<X>>) -> u64 {
        const { assert!(1 << SLOT_BITS >= 128) };
        let slot = self.free.pop().expect("there is room");
        let id = self.next_id << SLOT_BITS | u64::from(slot);
        self.next_id = self.next_id.wrapping_add(1) & (u64::MAX >> SLOT_BITS);
        self.parts[usize::from(slot)] = Some(Part {
            id,
            operation,
            owner,
            table,
        });
        id
    }

    /// Asks for what has neither data nor place. There is room.
    pub(super) fn push_plain(&mut self, owner: u16, operation: u8) {
        let id = self.begin(owner, operation, None);
        let request = Request {
            operation,
            handle: self.handle,
            id,
            ..Request::default()
        };
        let _ = self.ring.push(&request);
    }

    /// Gives up the contents of sectors. There is room.
    pub(super) fn push_discard(&mut self, owner: u16, operation: u8, sector: u64, sectors: u64) {
        let id = self.begin(owner, operation, None);
        let request = RequestDiscard {
            operation,
            handle: self.handle,
            id,
            sector_number: sector,
            nr_sectors: sectors,
            ..RequestDiscard::default()
        };
        let _ = self.ring.push_as(&request);
    }

    /// Moves some of a buffer's pages, from the page `first` on, which is at `sector` of the disk: how many. There is
    /// room, and each is granted.
    pub(super) fn push_pages(
        &mut self,
        owner: u16,
        operation: u8,
        sector: u64,
        buffer: &Buffer<X>,
        first: usize,
    ) -> usize {
        let left = buffer.pages() - first;
        let wanted = left.min(self.segments_max);
        let segments = (first..first + wanted).map(|index| {
            let (gref, bytes) = buffer.segment(index).unwrap_or_default();
            Segment {
                gref,
                first_sect: 0,
                last_sect: (bytes / SECTOR).saturating_sub(1) as u8,
                pad: 0,
            }
        });
        if wanted > BLKIF_MAX_SEGMENTS_PER_REQUEST
            && let Some(table) = self.table()
        {
            const { assert!(SEGMENTS_MAX * size_of::<Segment>() <= crate::xen::PAGE_SIZE) };
            for (index, segment) in segments.enumerate() {
                let at = index * size_of::<Segment>();
                table.page().write(at, segment.as_bytes());
            }
            let reference = table.reference().0;
            let mut request = RequestIndirect {
                operation: BLKIF_OP_INDIRECT,
                indirect_op: operation,
                nr_segments: wanted as u16,
                sector_number: sector,
                handle: self.handle,
                ..RequestIndirect::default()
            };
            request.indirect_grefs[0] = reference;
            request.id = self.begin(owner, operation, Some(table));
            let _ = self.ring.push_as(&request);
            return wanted;
        }
        let count = wanted.min(BLKIF_MAX_SEGMENTS_PER_REQUEST);
        let mut request = Request {
            operation,
            nr_segments: count as u8,
            handle: self.handle,
            id: self.begin(owner, operation, None),
            sector_number: sector,
            ..Request::default()
        };
        for (place, segment) in request.seg.iter_mut().zip(segments.take(count)) {
            *place = segment;
        }
        let _ = self.ring.push(&request);
        count
    }

    /// A page to list segments in. Without one a request is short.
    fn table(&mut self) -> Option<Granted<X>> {
        let fresh = || Granted::allocate(&self.xen, self.backend, Access::ReadWrite).ok();
        self.tables.pop().or_else(fresh)
    }

    /// Shows the backend what was pushed, and says whether it wants to be told.
    pub(super) fn publish(&mut self) -> Notify {
        self.ring.publish()
    }

    /// The next answer. `None`: there is none yet, and an event will come for it.
    pub(super) fn answer(&mut self) -> Result<Option<Answer>, Breach> {
        let response = match self.ring.pop() {
            Ok(response) => response,
            Err(ReadError::Corrupt) => return Err(Breach::Index),
            Err(ReadError::Empty) => match self.ring.arm(0) {
                Ok(Pending::Nothing) => return Ok(None),
                Ok(Pending::Work) => self.ring.pop().map_err(|_| Breach::Index)?,
                Err(_) => return Err(Breach::Index),
            },
        };
        let slot = (response.id & ((1 << SLOT_BITS) - 1)) as usize;
        let slot = nospec::index(slot, self.parts.len()).ok_or(Breach::WildResponse)?;
        let part = self.parts[slot]
            .take_if(|part| part.id == response.id && part.operation == response.operation);
        let part = part.ok_or(Breach::WildResponse)?;
        self.free.push(slot as u16);
        self.tables.extend(part.table);
        Ok(Some(Answer {
            owner: part.owner,
            status: response.status,
        }))
    }
}
