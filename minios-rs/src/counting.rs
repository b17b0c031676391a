//! The system's allocator with counts for each thread: for tests and measurements on the host of
//! what allocates, and how much it takes. A program that wants them has [`Counting`] as its
//! `#[global_allocator]`.

#![expect(unsafe_code, reason = "an allocator that counts is an unsafe trait")]

extern crate std;

use core::alloc::{GlobalAlloc, Layout};
use core::cell::Cell;
use std::alloc::System;
use std::thread_local;

thread_local! {
    static COUNTING: Cell<bool> = const { Cell::new(false) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static NOW: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

fn count_call() {
    if COUNTING.get() {
        CALLS.set(CALLS.get() + 1);
    }
}

// SAFETY: every call is the system allocator's own; counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_call();
        let now = NOW.get() + layout.size();
        NOW.set(now);
        PEAK.set(PEAK.get().max(now));
        // SAFETY: the caller's promise is passed on as it is.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count_call();
        NOW.set(NOW.get().saturating_sub(layout.size()));
        // SAFETY: the caller's promise is passed on as it is.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Does something with [`calls`] counted or not, as before afterwards.
pub fn with_counting<T>(on: bool, what: impl FnOnce() -> T) -> T {
    let before = COUNTING.replace(on);
    let value = what();
    COUNTING.set(before);
    value
}

/// Allocations and frees of this thread while they were counted.
#[must_use]
pub fn calls() -> u64 {
    CALLS.get()
}

/// What a piece of work took of this thread's heap, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// At most at a time.
    pub most: usize,
    /// In the end, by what it returned.
    pub kept: usize,
}

/// Does something, and says what it took. Within it nothing may be freed that was there before.
pub fn taken<T>(what: impl FnOnce() -> T) -> (T, Taken) {
    let before = NOW.get();
    PEAK.set(before);
    let value = what();
    let (most, kept) = (PEAK.get() - before, NOW.get() - before);
    (value, Taken { most, kept })
}
