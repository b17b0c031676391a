//! What a guest sends, for a backend: into pages of ours, which can be lent.

#![forbid(unsafe_code)]

use super::{Back, FETCHED};
use crate::net::frame::{FRAME_SLOTS_MAX, FrontId, Memory, RxBuffer, Slice};
use crate::net::front::TransmitError;
use crate::xen::{CopyEnd, DomId, GrantCopy, GrantStatus, SharedPage, Xen};
use alloc::vec::Vec;

/// Pages that are kept while none is needed.
const KEPT_MAX: usize = 64;

/// Pages that fetched payload lies in, taken when needed; some are kept.
pub(super) struct Pool<X: Xen> {
    xen: X,
    owner: FrontId,
    frontend: DomId,
    /// No more than there was room for at first.
    free: Vec<X::Page>,
    taken: u16,
    pages_max: u16,
}

impl<X: Xen> Pool<X> {
    pub(super) fn new(xen: &X, owner: FrontId, frontend: DomId, pages_max: u16) -> Self {
        Self {
            xen: xen.clone(),
            owner,
            frontend,
            free: Vec::with_capacity(KEPT_MAX.min(pages_max.into())),
            taken: 0,
            pages_max,
        }
    }

    pub(super) fn take(&mut self) -> Option<RxBuffer<X::Page>> {
        let page = match self.free.pop() {
            Some(page) => page,
            None if self.taken < self.pages_max => {
                let page = self.xen.allocate_page().ok()?;
                self.taken += 1;
                page
            }
            None => return None,
        };
        Some(RxBuffer {
            owner: self.owner,
            // It wrote the bytes, though it cannot change them here any more.
            backend: self.frontend,
            index: FETCHED,
            memory: Memory::Page(page),
            is_faulty: false,
        })
    }

    /// A page with these bytes.
    pub(super) fn copy(&mut self, bytes: &[u8]) -> Option<Slice<X::Page>> {
        let buffer = self.take()?;
        if let Memory::Page(page) = &buffer.memory {
            page.write(0, bytes);
        }
        Some(Slice {
            buffer,
            offset: 0,
            len: bytes.len() as u16,
        })
    }

    /// Whether there are pages for a frame of any length.
    pub(super) fn has_room(&self) -> bool {
        self.holds(FRAME_SLOTS_MAX)
    }

    /// Whether there are so many pages.
    pub(super) fn holds(&self, pages: usize) -> bool {
        self.free.len() + usize::from(self.pages_max - self.taken) >= pages
    }

    pub(super) fn give_back(&mut self, buffer: RxBuffer<X::Page>) {
        let Memory::Page(page) = buffer.memory else {
            return;
        };
        if self.free.len() < self.free.capacity() {
            self.free.push(page);
        } else {
            // Others may need it more.
            self.taken -= 1;
        }
    }
}

impl<X: Xen> Back<X> {
    /// Whether [`Back::fetch`] has the pages for a frame of any length.
    pub fn has_room_to_fetch(&self) -> bool {
        self.pool.has_room()
    }

    /// Has Xen copy slices of frames that this back received into pages of ours, one each, so that they can be
    /// lent: afterwards every slice of `slots` is. Slices that can be already stay as they are. The guest has
    /// its own pages back with the last of them, and [`Back::recycle`] takes ours.
    ///
    /// One hypercall for all of them.
    ///
    /// # Errors
    /// [`TransmitError::Full`]: no page is free now. [`TransmitError::Invalid`]: the guest's pages cannot be
    /// read, or are another's. [`TransmitError::Size`]: more slices than one frame has.
    /// [`TransmitError::NotOpen`]. `slots` is then as it was, to be recycled: only that says whose grants failed.
    pub fn fetch(
        &mut self,
        slots: &mut heapless::VecView<Slice<X::Page>>,
    ) -> Result<(), TransmitError> {
        if !self.is_open() {
            return Err(TransmitError::NotOpen);
        }
        let mut copies: heapless::Vec<GrantCopy<X::Page>, FRAME_SLOTS_MAX> = heapless::Vec::new();
        let mut buffers: heapless::Vec<RxBuffer<X::Page>, FRAME_SLOTS_MAX> = heapless::Vec::new();
        let fetched = self.copy_out(slots, &mut copies, &mut buffers);
        if let Err(error) = fetched {
            for buffer in buffers {
                self.pool.give_back(buffer);
            }
            return Err(error);
        }
        let mut buffers = buffers.into_iter();
        for slice in slots.iter_mut().filter(|slice| !slice.buffer.is_lendable()) {
            if let Some(buffer) = buffers.next() {
                let old = core::mem::replace(&mut slice.buffer, buffer);
                self.recycle(old);
            }
        }
        Ok(())
    }

    fn copy_out(
        &mut self,
        slots: &mut heapless::VecView<Slice<X::Page>>,
        copies: &mut heapless::Vec<GrantCopy<X::Page>, FRAME_SLOTS_MAX>,
        buffers: &mut heapless::Vec<RxBuffer<X::Page>, FRAME_SLOTS_MAX>,
    ) -> Result<(), TransmitError> {
        let is_wanted = |slice: &Slice<X::Page>| !slice.buffer.is_lendable();
        if slots.iter().filter(|slice| is_wanted(slice)).count() > FRAME_SLOTS_MAX {
            return Err(TransmitError::Size);
        }
        for slice in slots.iter().filter(|slice| is_wanted(slice)) {
            if slice.buffer.owner != self.id() {
                return Err(TransmitError::Invalid);
            }
            let buffer = self.pool.take().ok_or(TransmitError::Full)?;
            let Memory::Page(page) = &buffer.memory else {
                return Err(TransmitError::Invalid);
            };
            let copy = GrantCopy {
                source: slice.buffer.copy_source(),
                source_offset: slice.offset,
                destination: CopyEnd::Page(page.clone()),
                destination_offset: slice.offset,
                len: slice.len,
                status: GrantStatus::OKAY,
            };
            // As many as were counted above.
            let _ = copies.push(copy);
            let _ = buffers.push(buffer);
        }
        self.xen.copy_grants_patiently(copies);
        self.counters.copies += copies.len() as u64;
        if copies.iter().any(|copy| !copy.status.is_okay()) {
            // Counted, and held against the guest, when they are given back.
            let wanted = slots.iter_mut().filter(|slice| is_wanted(slice));
            for (slice, copy) in wanted.zip(&*copies) {
                slice.buffer.is_faulty |= !copy.status.is_okay();
            }
            return Err(TransmitError::Invalid);
        }
        let bytes = copies.iter().map(|copy| u64::from(copy.len));
        self.counters.fetched_bytes += bytes.sum::<u64>();
        Ok(())
    }
}
