//! The heap: talc, fed with pages as it needs them.
#![expect(unsafe_code, reason = "a global allocator, and the memory it is given")]

use super::frame;
use crate::xen::PAGE_SIZE;
use core::alloc::Layout;
use core::ptr::NonNull;
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

// A single CPU and no interrupt handlers: the lock is never contended, it only satisfies `Sync`.
#[global_allocator]
static HEAP: TalcLock<spin::Mutex<()>, Pages> = TalcLock::new(Pages { end: 0 });
