//! The heap: talc, fed with pages as it needs them.
#![expect(unsafe_code, reason = "a global allocator, and the memory it is given")]

use super::frame;
use crate::xen::PAGE_SIZE;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use talc::TalcLock;
use talc::base::Talc;
use talc::base::binning::Binning;
use talc::source::Source;

/// The heap grows by at least so many pages at once (64 KiB).
const GROWTH_PAGES: usize = 16;

/// Extends the one heap there is.
#[derive(Debug)]
struct Pages {
    /// Address of the heap's end; 0 before there is one. (A number: pointers are not `Send`.)
    end: usize,
}

// SAFETY: nothing here allocates or touches the allocator but through `talc`.
unsafe impl Source for Pages {
    fn acquire<B: Binning>(talc: &mut Talc<Self, B>, layout: Layout) -> Result<(), ()> {
        // Alignment and bookkeeping need room beside the block itself.
        let bytes = layout
            .size()
            .checked_add(layout.align())
            .and_then(|sum| sum.checked_add(1024))
            .ok_or(())?;
        let wanted = bytes.div_ceil(PAGE_SIZE);
        let gained = frame::grow_heap(wanted.max(GROWTH_PAGES))
            .or_else(|| frame::grow_heap(wanted))
            .ok_or(())?;
        let end = gained.end as *mut u8;
        let new_end = match NonNull::new(talc.source.end as *mut u8) {
            // SAFETY: the pages follow the heap's end and belong to nobody else.
            Some(old) => Some(unsafe { talc.extend(old, end) }),
            // SAFETY: the pages belong to nobody else.
            None => unsafe { talc.claim(gained.start as *mut u8, gained.len()) },
        };
        talc.source.end = new_end.ok_or(())?.as_ptr() as usize;
        Ok(())
    }
}

/// The heap, and what is counted of it.
struct Heap {
    // A single CPU and no interrupt handlers: the lock is never contended, it only satisfies `Sync`.
    talc: TalcLock<spin::Mutex<()>, Pages>,
    used: AtomicUsize,
    used_max: AtomicUsize,
}

#[global_allocator]
static HEAP: Heap = Heap {
    talc: TalcLock::new(Pages { end: 0 }),
    used: AtomicUsize::new(0),
    used_max: AtomicUsize::new(0),
};

/// What the heap holds, in bytes that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapUsage {
    /// Now.
    pub bytes: usize,
    /// The most there ever was at a time.
    pub bytes_max: usize,
}

/// What the heap holds now.
pub fn heap_usage() -> HeapUsage {
    HeapUsage {
        bytes: HEAP.used.load(Ordering::Relaxed),
        bytes_max: HEAP.used_max.load(Ordering::Relaxed),
    }
}

// SAFETY: every call is talc's own; counting touches nothing that is allocated.
unsafe impl GlobalAlloc for Heap {
    // Linked as one program it would be inlined wherever something is made: 5 KB of an image.
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on as it is.
        let block = unsafe { self.talc.alloc(layout) };
        if !block.is_null() {
            // One CPU and no handlers: plain loads and stores.
            let used = self.used.load(Ordering::Relaxed) + layout.size();
            self.used.store(used, Ordering::Relaxed);
            if used > self.used_max.load(Ordering::Relaxed) {
                self.used_max.store(used, Ordering::Relaxed);
            }
        }
        block
    }

    #[inline(never)]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on as it is.
        unsafe { self.talc.dealloc(block, layout) };
        let used = self.used.load(Ordering::Relaxed);
        self.used.store(used - layout.size(), Ordering::Relaxed);
    }
}
