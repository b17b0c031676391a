//! An HVM guest's pages, mapped by its device model: those that Xen keeps for the ioreq server, and those of
//! its memory.
#![expect(unsafe_code, reason = "raw memory that a guest or Xen writes as well")]

use super::{Mfn, page_table, shared};
use crate::dm::{self, MapError, WINDOW_PAGES};
use crate::hypercall;
use crate::xen::{DomId, Errno, OutOfMemory, PAGE_SIZE, SharedPage};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::AtomicU32;
use spin::Mutex;

/// Ranges of [`WINDOW_PAGES`] addresses that have page tables and show nothing now. Used again, so that a
/// device model that starts anew takes no more of them.
static FREE: Mutex<Vec<usize>> = Mutex::new(Vec::new());

/// Addresses at which pages of a guest are shown.
#[derive(Debug)]
pub struct Window {
    base: usize,
    guest: DomId,
    /// A bit for each page that is shown.
    shown: u64,
}

impl Window {
    /// Addresses for a guest's pages.
    ///
    /// # Errors
    /// [`OutOfMemory`]: no page for a page table.
    pub fn reserve(guest: DomId) -> Result<Self, OutOfMemory> {
        let free = FREE.lock().pop();
        let base = match free {
            Some(base) => base,
            None => page_table::reserve_foreign(WINDOW_PAGES)?,
        };
        Ok(Self {
            base,
            guest,
            shown: 0,
        })
    }

    /// The first of `length` bytes from `offset` on, all of which are shown.
    fn range(&self, offset: usize, length: usize) -> *mut u8 {
        let end = offset.checked_add(length);
        let end = end.filter(|&end| end <= WINDOW_PAGES * PAGE_SIZE);
        let end = end.expect("beyond the window's end");
        let pages = offset / PAGE_SIZE..end.div_ceil(PAGE_SIZE);
        let is_shown = |page: usize| self.shown >> page & 1 != 0;
        assert!(pages.into_iter().all(is_shown), "a page that is not shown");
        (self.base + offset) as *mut u8
    }
}

impl dm::Window for Window {
    fn show(&mut self, page: usize, gfns: Range<u64>) -> Result<(), Errno> {
        let count = usize::try_from(gfns.end.saturating_sub(gfns.start)).unwrap_or(usize::MAX);
        assert!(
            page <= WINDOW_PAGES && count <= WINDOW_PAGES - page,
            "beyond the window's end"
        );
        // What an entry has no bits for would change its rights.
        assert!(gfns.end <= 1 << 40, "not a frame number");
        let is_shown = |page: usize| self.shown >> page & 1 != 0;
        assert!(
            !(page..page + count).any(is_shown),
            "a page that is shown already"
        );
        let mapped = page_table::map_guest(self.base + page * PAGE_SIZE, gfns, self.guest);
        let done = mapped.map_or_else(|(done, _)| done, |()| count);
        for new in page..page + done {
            self.shown |= 1 << new;
        }
        mapped.map_err(|(_, error)| error)
    }

    fn shown(&self) -> u64 {
        self.shown
    }

    fn clear(&mut self) {
        page_table::unmap_pages(self.base, self.shown);
        self.shown = 0;
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        let from = self.range(offset, into.len());
        // SAFETY: `from` has `into.len()` mapped bytes, and `into` is ours alone.
        unsafe { shared::copy(from, into.as_mut_ptr(), into.len()) }
    }

    fn write(&self, offset: usize, from: &[u8]) {
        let to = self.range(offset, from.len());
        // SAFETY: `to` has `from.len()` mapped, writable bytes of the guest's, where no Rust value lies.
        unsafe { shared::copy(from.as_ptr(), to, from.len()) }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        dm::Window::clear(self);
        FREE.lock().push(self.base);
    }
}

/// A page that Xen keeps for an ioreq server, mapped; unmapped with its last handle.
#[derive(Clone, Debug)]
pub struct Resource {
    /// It takes a window's addresses for the one page, the first, so that there is one list of what is free.
    window: Arc<Window>,
}

impl Resource {
    /// Maps page `frame` of an ioreq server.
    ///
    /// # Errors
    /// [`MapError`].
    pub fn map(guest: DomId, server: u16, frame: u64) -> Result<Self, MapError> {
        let mfn = hypercall::acquire_ioreq_page(guest, server, frame)?;
        let mut window = Window::reserve(guest)?;
        page_table::map_resource(window.base, Mfn(mfn), guest)?;
        window.shown = 1;
        Ok(Self {
            window: Arc::new(window),
        })
    }

    fn bytes(&self) -> shared::Window {
        // SAFETY: mapped, readable and writable, as long as `self.window` lives, which is as long as what
        // is made here: it does not leave the methods below but for a lifetime tied to `self`.
        unsafe { shared::Window::new(self.window.base) }
    }
}

impl SharedPage for Resource {
    fn word(&self, offset: usize) -> &AtomicU32 {
        let word: *const AtomicU32 = self.bytes().word(offset);
        // SAFETY: the mapping lives at least as long as the borrow of `self`.
        unsafe { &*word }
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        self.bytes().read(offset, into);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.bytes().write(offset, from);
    }

    fn zero(&self, offset: usize, length: usize) {
        self.bytes().zero(offset, length);
    }
}
