//! Who gets which page: single pages from the top down, the heap from the bottom up.
#![expect(unsafe_code, reason = "free pages hold the list of free pages")]

use super::Pfn;
use crate::xen::PAGE_SIZE;
use core::ops::Range;
use spin::Mutex;

/// Memory that boot left over.
#[derive(Debug)]
pub(super) struct Free {
    /// Below the image; page 0 is not among them.
    pub low: Range<usize>,
    /// Above the bootstrap structures, to the end of memory.
    pub high: Range<usize>,
}

#[derive(Debug)]
struct Frames {
    /// The heap owns `heap_start..heap_end`.
    heap_start: usize,
    heap_end: usize,
    /// Single pages were taken from `top` up to the end of memory.
    top: usize,
    /// First of the free single pages; each holds the number of the next. 0: none.
    free: usize,
    free_count: usize,
    total: usize,
}

static FRAMES: Mutex<Frames> = Mutex::new(Frames {
    heap_start: 0,
    heap_end: 0,
    top: 0,
    free: 0,
    free_count: 0,
    total: 0,
});

/// How memory is used, in pages of 4,096 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What was there after boot.
    pub total: usize,
    /// Given to the heap.
    pub heap: usize,
    /// Neither given to the heap nor taken as single pages.
    pub free: usize,
    /// Of those, what the heap can grow by. The others were taken as single pages once, or lie elsewhere.
    pub growth: usize,
}

/// How memory is used now.
pub fn usage() -> Usage {
    let frames = FRAMES.lock();
    Usage {
        total: frames.total,
        heap: frames.heap_end - frames.heap_start,
        free: frames.free_count + (frames.top - frames.heap_end),
        growth: frames.top - frames.heap_end,
    }
}

pub(super) fn init(free: Free) {
    {
        let mut frames = FRAMES.lock();
        frames.heap_start = free.high.start;
        frames.heap_end = free.high.start;
        frames.top = free.high.end;
        frames.total = free.low.len() + free.high.len();
    }
    for pfn in free.low {
        release(Pfn(pfn));
    }
}

/// One page, with whatever it held before. `None`: memory is used up.
pub(super) fn take() -> Option<Pfn> {
    let mut frames = FRAMES.lock();
    if frames.free != 0 {
        let pfn = frames.free;
        // SAFETY: a page on the free list belongs to the list, which wrote this word.
        frames.free = unsafe { ((pfn * PAGE_SIZE) as *const usize).read() };
        frames.free_count -= 1;
        return Some(Pfn(pfn));
    }
    if frames.top > frames.heap_end {
        frames.top -= 1;
        return Some(Pfn(frames.top));
    }
    None
}

/// Gives a page back.
pub(super) fn release(pfn: Pfn) {
    let mut frames = FRAMES.lock();
    // SAFETY: the page was taken and its last handle is gone: nobody else refers to it.
    unsafe { ((pfn.0 * PAGE_SIZE) as *mut usize).write(frames.free) };
    frames.free = pfn.0;
    frames.free_count += 1;
}

/// Moves the heap's end up by `pages`; the range it gained, in bytes. `None`: memory is used up.
pub(super) fn grow_heap(pages: usize) -> Option<Range<usize>> {
    let mut frames = FRAMES.lock();
    let start = frames.heap_end;
    let end = start.checked_add(pages).filter(|&end| end <= frames.top)?;
    frames.heap_end = end;
    Some(start * PAGE_SIZE..end * PAGE_SIZE)
}
