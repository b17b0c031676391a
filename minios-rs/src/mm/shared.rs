//! Pages of ours that other domains may read or write at any moment.
#![expect(
    unsafe_code,
    reason = "raw memory behind atomic words and copies the compiler cannot see into"
)]

use super::{Mfn, Pfn, frame, page_table};
use crate::xen::{OutOfMemory, PAGE_SIZE, SharedPage};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use spin::Mutex;

/// A page of this domain that may be shared with a peer.
///
/// Its bytes are only ever copied by `rep movs` in assembly, and its words are atomics: a peer
/// that writes at the same time changes values, never what the compiler believes of them.
#[derive(Clone, Debug)]
pub struct Page {
    owner: Arc<Owner>,
}

#[derive(Debug)]
struct Owner {
    pfn: Pfn,
    /// Pages that Xen's domain builder made (console, xenstore) are never given back.
    is_ours: bool,
    /// A card was told of it, and may use it still.
    is_known_to_card: AtomicBool,
}

/// Pages that cards were told of, and nobody here uses: pages of this kind again, never anything else.
/// They are not listed in themselves, where a card could write.
static KNOWN_TO_CARDS: Mutex<Vec<Pfn>> = Mutex::new(Vec::new());

impl Drop for Owner {
    fn drop(&mut self) {
        if *self.is_known_to_card.get_mut() {
            KNOWN_TO_CARDS.lock().push(self.pfn);
        } else if self.is_ours {
            frame::release(self.pfn);
        }
    }
}

impl Page {
    /// A zeroed page.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    pub fn allocate() -> Result<Self, OutOfMemory> {
        let known = KNOWN_TO_CARDS.lock().pop();
        let is_known_to_card = known.is_some();
        let pfn = known.or_else(frame::take).ok_or(OutOfMemory)?;
        let page = Self {
            owner: Arc::new(Owner {
                pfn,
                is_ours: true,
                is_known_to_card: AtomicBool::new(is_known_to_card),
            }),
        };
        page.zero(0, PAGE_SIZE);
        Ok(page)
    }

    /// The page of this domain that lies in machine frame `mfn`: one that the domain builder
    /// named in start info.
    pub(crate) fn of_machine_frame(mfn: Mfn) -> Self {
        Self {
            owner: Arc::new(Owner {
                pfn: page_table::pfn_of(mfn),
                is_ours: false,
                is_known_to_card: AtomicBool::new(false),
            }),
        }
    }

    /// The machine address of its first byte, for a card to read and write. From here on the page is
    /// never given back to those who keep Rust values in pages: the card may use it at any time.
    pub fn machine_address(&self) -> u64 {
        // A page of the domain builder's is not given back at all.
        self.owner
            .is_known_to_card
            .store(self.owner.is_ours, Ordering::Relaxed);
        self.mfn().0 * PAGE_SIZE as u64
    }

    /// The machine frame it lies in.
    pub fn mfn(&self) -> Mfn {
        page_table::mfn_of(self.owner.pfn)
    }

    fn window(&self) -> Window {
        // SAFETY: the page is mapped, readable and writable, as long as `self` lives, and no Rust value
        // lies in it; the window does not leave the methods below but for a lifetime tied to `self`.
        unsafe { Window::new(self.owner.pfn.0 * PAGE_SIZE) }
    }
}

impl SharedPage for Page {
    fn word(&self, offset: usize) -> &AtomicU32 {
        let word: *const AtomicU32 = self.window().word(offset);
        // SAFETY: the page lives at least as long as the borrow of `self`.
        unsafe { &*word }
    }

    fn read(&self, offset: usize, into: &mut [u8]) {
        self.window().read(offset, into);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.window().write(offset, from);
    }

    fn zero(&self, offset: usize, length: usize) {
        self.window().zero(offset, length);
    }
}

/// The bytes of one page that a peer may read or write at the same time.
pub(super) struct Window {
    base: usize,
}

impl Window {
    /// # Safety
    /// The page at `base` is mapped, readable and writable, and nothing but atomics and assembly touches
    /// it, as long as the window and what it gives out are used.
    pub(super) unsafe fn new(base: usize) -> Self {
        Self { base }
    }

    #[inline]
    fn range(&self, offset: usize, length: usize) -> *mut u8 {
        assert!(
            offset <= PAGE_SIZE && length <= PAGE_SIZE - offset,
            "beyond the page's end"
        );
        (self.base + offset) as *mut u8
    }

    #[inline]
    pub(super) fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4), "unaligned word");
        let word = self.range(offset, 4).cast::<u32>();
        // SAFETY: aligned, inside the page that `new` was promised; nothing but atomics and assembly
        // ever touches it.
        unsafe { AtomicU32::from_ptr(word) }
    }

    pub(super) fn read(&self, offset: usize, into: &mut [u8]) {
        let from = self.range(offset, into.len());
        // SAFETY: `from` has `into.len()` mapped bytes, and `into` is ours alone.
        unsafe { copy(from, into.as_mut_ptr(), into.len()) }
    }

    pub(super) fn write(&self, offset: usize, from: &[u8]) {
        let to = self.range(offset, from.len());
        // SAFETY: `to` has `from.len()` mapped, writable bytes, and no Rust value lies there.
        unsafe { copy(from.as_ptr(), to, from.len()) }
    }

    pub(super) fn zero(&self, offset: usize, length: usize) {
        let to = self.range(offset, length);
        // SAFETY: `to` has `length` mapped, writable bytes.
        unsafe {
            asm!(
                "rep stosq", "mov rcx, {rest}", "rep stosb",
                rest = in(reg) length % 8,
                inout("rcx") length / 8 => _, inout("rdi") to => _, in("rax") 0u64,
                options(nostack, preserves_flags)
            );
        }
    }
}

/// Copies outside the compiler's view: words, then the bytes that are left. (By words, because
/// headers are short: what a processor does to start a copy of bytes costs more than they do, and an
/// emulated one moves them one by one.)
///
/// # Safety
/// Both ranges are mapped, `to`'s is writable, and they do not overlap. A peer may write either at
/// the same time.
pub(super) unsafe fn copy(from: *const u8, to: *mut u8, length: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "rep movsq", "mov rcx, {rest}", "rep movsb",
            rest = in(reg) length % 8,
            inout("rcx") length / 8 => _, inout("rsi") from => _, inout("rdi") to => _,
            options(nostack, preserves_flags)
        );
    }
}

/// Words shared with Xen itself (the grant table), at a fixed address for the domain's life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedWords {
    base: usize,
    count: usize,
}

impl SharedWords {
    /// # Safety
    /// `count` 32-bit words are mapped at `base`, for ever, and nothing else refers to them.
    pub(crate) const unsafe fn new(base: usize, count: usize) -> Self {
        Self { base, count }
    }

    /// Word `index`.
    pub(crate) fn get(&self, index: usize) -> &'static AtomicU32 {
        assert!(index < self.count, "beyond the mapped words");
        let word = (self.base + index * 4) as *mut u32;
        // SAFETY: inside the mapping that `new` was promised.
        unsafe { AtomicU32::from_ptr(word) }
    }
}
