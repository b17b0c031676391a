//! A queue: a ring of descriptors, and the two in which they are given and come back. (2.7, split virtqueues.)

use super::registers::{Windows, common};
use crate::nic::RING;
use crate::nic::device::Corrupt;
use alloc::vec::Vec;
use core::sync::atomic::{Ordering, fence};
use minios_rs::hardware::Hardware;
use minios_rs::xen::{OutOfMemory, PAGE_SIZE, SharedPage};

/// A descriptor's flags: another one follows; the card writes.
pub(super) const NEXT: u32 = 1;
pub(super) const WRITE: u32 = 2;
/// Of the available ring: no interrupts.
pub(super) const NO_INTERRUPT: u32 = 1;
/// Of the used ring: no notifications.
const NO_NOTIFY: u32 = 1;

/// A ring of descriptors, and the two in which they are given and come back: a page each.
pub(super) struct Queue<X: Hardware> {
    number: u16,
    pages: [X::Page; 3],
    addresses: [u64; 3],
    /// Descriptors of it, as many as the card takes.
    pub(super) size: usize,
    /// What the available ring holds, two numbers to a word: written here first.
    available: Vec<u32>,
    available_index: u16,
    shown_index: u16,
    used_index: u16,
    /// Where the card is told.
    notify: usize,
}

impl<X: Hardware> Queue<X> {
    pub(super) fn new(xen: &X, number: u16) -> Result<Self, OutOfMemory> {
        let pages = [
            xen.allocate_page()?,
            xen.allocate_page()?,
            xen.allocate_page()?,
        ];
        let addresses = [0, 1, 2].map(|page| xen.machine_address(&pages[page]));
        Ok(Self {
            number,
            pages,
            addresses,
            size: 0,
            available: Vec::new(),
            available_index: 0,
            shown_index: 0,
            used_index: 0,
            notify: 0,
        })
    }

    /// Sets it up with a card that was reset. False: the card has no such queue.
    pub(super) fn program(&mut self, windows: &Windows<X>, vector: u16, flags: u32) -> bool {
        let common = &windows.common;
        common.write16(common::QUEUE_SELECT, self.number);
        let size = usize::from(common.read16(common::QUEUE_SIZE)).min(RING);
        // The largest power of two, as it has to be.
        let Some(size) = size.checked_ilog2().map(|log| 1usize << log) else {
            return false;
        };
        let place =
            usize::from(common.read16(common::QUEUE_NOTIFY)).checked_mul(windows.notify_step);
        let Some(place) = place.filter(|place| {
            place.is_multiple_of(2)
                && place
                    .checked_add(2)
                    .is_some_and(|end| end <= windows.notify_length)
        }) else {
            return false;
        };
        self.notify = place;
        self.size = size;
        self.available = alloc::vec![0; size / 2 + 1];
        self.available_index = 0;
        self.shown_index = 0;
        self.used_index = 0;
        for page in &self.pages {
            page.zero(0, PAGE_SIZE);
        }
        self.pages[1].word(0).store(flags, Ordering::Relaxed);
        common.write16(common::QUEUE_SIZE, size as u16);
        common.write16(common::QUEUE_VECTOR, vector);
        common.write64(common::QUEUE_DESCRIPTORS, self.addresses[0]);
        common.write64(common::QUEUE_AVAILABLE, self.addresses[1]);
        common.write64(common::QUEUE_USED, self.addresses[2]);
        common.write16(common::QUEUE_ENABLE, 1);
        true
    }

    pub(super) fn describe(&self, at: usize, address: u64, len: usize, flags: u32, next: usize) {
        let words = [
            address as u32,
            (address >> 32) as u32,
            len as u32,
            flags | (next as u32) << 16,
        ];
        for (number, word) in words.into_iter().enumerate() {
            let place = self.pages[0].word(16 * at + 4 * number);
            place.store(word, Ordering::Relaxed);
        }
    }

    /// Gives the card the chain that begins at a descriptor.
    pub(super) fn give(&mut self, head: usize) {
        let slot = usize::from(self.available_index) % self.size;
        let shift = 16 * (slot % 2);
        let word = &mut self.available[slot / 2];
        *word = *word & !(0xffff << shift) | (head as u32) << shift;
        let place = self.pages[1].word(4 + 4 * (slot / 2));
        place.store(*word, Ordering::Relaxed);
        self.available_index = self.available_index.wrapping_add(1);
    }

    /// Shows the card what it was given, and tells it if it wants to be told.
    pub(super) fn show(&mut self, windows: &Windows<X>) {
        if self.shown_index == self.available_index {
            return;
        }
        self.shown_index = self.available_index;
        let word = self.pages[1].word(0);
        let flags = word.load(Ordering::Relaxed) & 0xffff;
        word.store(
            flags | u32::from(self.available_index) << 16,
            Ordering::Release,
        );
        // What is shown has to be there before its wish is read.
        fence(Ordering::SeqCst);
        if self.pages[2].word(0).load(Ordering::Relaxed) & NO_NOTIFY == 0 {
            windows.notify.write16(self.notify, self.number);
        }
    }

    /// How many chains have come back that were not taken yet.
    pub(super) fn came_back(&self, given: usize) -> Result<usize, Corrupt> {
        let index = (self.pages[2].word(0).load(Ordering::Acquire) >> 16) as u16;
        let count = usize::from(index.wrapping_sub(self.used_index));
        match count <= given {
            true => Ok(count),
            false => Err(Corrupt),
        }
    }

    /// The chain that came back `ahead` of the next one: its first descriptor and the bytes written.
    pub(super) fn back(&self, ahead: usize) -> (usize, usize) {
        let slot = (usize::from(self.used_index) + ahead) % self.size;
        let read = |at: usize| self.pages[2].word(at).load(Ordering::Relaxed) as usize;
        (read(4 + 8 * slot), read(8 + 8 * slot))
    }

    pub(super) fn advance(&mut self, count: usize) {
        self.used_index = self.used_index.wrapping_add(count as u16);
    }
}
