//! The guest's memory as its device model reaches it: foreign mappings, as few as will do.
//!
//! Pages are mapped when they are first reached and stay so, in windows of neighbours, until the window
//! is needed for others, or Xen says that the guest has given memory back ([`GuestMemory::invalidate`]).
//! What a guest can make this do is bounded: a call maps no page twice, and reaches each window of its
//! range once.

#![forbid(unsafe_code)]

use super::{DeviceModel, Guest, WINDOW_PAGES, Window};
use crate::xen::{OutOfMemory, PAGE_SIZE};
use alloc::vec::Vec;
use thiserror::Error;

/// Windows at a time: 16 MiB of the guest's memory, and 32 KiB of page tables.
pub const WINDOWS_MAX: usize = 64;

/// Bytes that a window shows.
const WINDOW_BYTES: u64 = (WINDOW_PAGES * PAGE_SIZE) as u64;

/// One more than the last physical address that there can be.
const ADDRESS_END: u64 = 1 << 52;

/// Some of the range is not the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("outside the guest's memory")]
pub struct Outside;

/// A window and what it is for.
struct Slot<W> {
    /// Guest physical address divided by [`WINDOW_BYTES`].
    number: u64,
    window: W,
    /// When it was last used, in uses of all.
    used: u64,
}

/// A guest's memory, by guest physical address.
///
/// The guest's vCPUs write while this reads: two reads of one address may differ. What a call copied before it
/// found that something is [`Outside`] stays copied, as with a card whose transfer is aborted.
pub struct GuestMemory<X: DeviceModel> {
    guest: Guest<X>,
    /// At least one.
    slots: Vec<Slot<X::Window>>,
    /// The one used last.
    recent: usize,
    uses: u64,
    is_logging: bool,
    unreported: u64,
}

impl<X: DeviceModel> GuestMemory<X> {
    /// The memory of a guest.
    ///
    /// # Errors
    /// [`OutOfMemory`]: there is not even enough for the first window. With less than enough for
    /// [`WINDOWS_MAX`] it makes do with those it gets.
    pub fn new(guest: &Guest<X>) -> Result<Self, OutOfMemory> {
        let window = guest.xen().window(guest.domain())?;
        let mut slots = Vec::with_capacity(WINDOWS_MAX);
        slots.push(Slot {
            number: 0,
            window,
            used: 0,
        });
        Ok(Self {
            guest: guest.clone(),
            slots,
            recent: 0,
            uses: 0,
            is_logging: false,
            unreported: 0,
        })
    }

    /// Copies out of the guest.
    ///
    /// # Errors
    /// [`Outside`]: the range wraps, or something in it is no RAM of the guest's.
    pub fn read(&mut self, address: u64, into: &mut [u8]) -> Result<(), Outside> {
        check(address, into.len())?;
        let mut done = 0;
        while done < into.len() {
            let at = address + done as u64;
            let (slot, offset) = self.reach(at, into.len() - done)?;
            let end = into.len().min(done + (WINDOW_BYTES as usize - offset));
            self.slots[slot].window.read(offset, &mut into[done..end]);
            done = end;
        }
        Ok(())
    }

    /// Copies into the guest.
    ///
    /// # Errors
    /// [`Outside`]: the range wraps, or something in it is no RAM of the guest's.
    pub fn write(&mut self, address: u64, from: &[u8]) -> Result<(), Outside> {
        check(address, from.len())?;
        let mut done = 0;
        while done < from.len() {
            let at = address + done as u64;
            let (slot, offset) = self.reach(at, from.len() - done)?;
            let end = from.len().min(done + (WINDOW_BYTES as usize - offset));
            self.slots[slot].window.write(offset, &from[done..end]);
            if self.is_logging {
                self.report(at, end - done);
            }
            done = end;
        }
        Ok(())
    }

    /// Forgets every mapping: the guest has given memory back, or got other memory in its place.
    pub fn invalidate(&mut self) {
        for slot in &mut self.slots {
            slot.window.clear();
        }
    }

    /// From now on Xen is told of every page written: it keeps book of them for a save or a migration, and
    /// does not see what is written through a mapping.
    pub fn start_log_dirty(&mut self) {
        self.is_logging = true;
    }

    /// No longer is.
    pub fn stop_log_dirty(&mut self) {
        self.is_logging = false;
    }

    /// Writes that Xen could not be told of while it kept book. One of these is lost in what is being saved.
    pub fn unreported(&self) -> u64 {
        self.unreported
    }

    /// Pages of the guest's that are mapped.
    pub fn mapped(&self) -> usize {
        let pages = |slot: &Slot<X::Window>| slot.window.shown().count_ones() as usize;
        self.slots.iter().map(pages).sum()
    }

    fn report(&mut self, address: u64, length: usize) {
        let page = PAGE_SIZE as u64;
        let (first, last) = (address / page, (address + length as u64 - 1) / page);
        let count = (last - first + 1) as u32;
        if self.guest.modified_memory(first, count).is_err() {
            self.unreported += 1;
        }
    }

    /// The slot whose window shows what is at `address`, up to `length` bytes or its own end, and where in
    /// the window that is.
    fn reach(&mut self, address: u64, length: usize) -> Result<(usize, usize), Outside> {
        let slot = self.slot(address / WINDOW_BYTES);
        let offset = (address % WINDOW_BYTES) as usize;
        let end = (WINDOW_BYTES as usize).min(offset.saturating_add(length));
        let (first, last) = (offset / PAGE_SIZE, (end - 1) / PAGE_SIZE);
        let window = &mut self.slots[slot].window;
        let wanted = u64::MAX >> (WINDOW_PAGES - 1 - (last - first)) << first;
        let mut missing = wanted & !window.shown();
        let base = address / WINDOW_BYTES * WINDOW_PAGES as u64;
        while missing != 0 {
            let start = missing.trailing_zeros();
            let run = (missing >> start).trailing_ones();
            let gfns = base + u64::from(start)..base + u64::from(start + run);
            window
                .show(start as usize, gfns)
                .map_err(|_refusal| Outside)?;
            missing &= u64::MAX.checked_shl(start + run).unwrap_or(0);
        }
        Ok((slot, offset))
    }

    /// The slot of a window by its number, made or taken from what was not used for longest.
    fn slot(&mut self, number: u64) -> usize {
        self.uses += 1;
        let is_it = |slot: &Slot<X::Window>| slot.number == number;
        let found = match self.slots.get(self.recent).is_some_and(is_it) {
            true => Some(self.recent),
            false => self.slots.iter().position(is_it),
        };
        let slot = match found {
            Some(slot) => slot,
            None => self.take(number),
        };
        self.slots[slot].used = self.uses;
        self.recent = slot;
        slot
    }

    fn take(&mut self, number: u64) -> usize {
        if self.slots.len() < WINDOWS_MAX
            && let Ok(window) = self.guest.xen().window(self.guest.domain())
        {
            self.slots.push(Slot {
                number,
                window,
                used: 0,
            });
            return self.slots.len() - 1;
        }
        let oldest = self
            .slots
            .iter()
            .enumerate()
            .min_by_key(|(_, slot)| slot.used);
        let (oldest, _) = oldest.expect("there is one at least");
        let slot = &mut self.slots[oldest];
        slot.window.clear();
        slot.number = number;
        oldest
    }
}

/// Whether a range neither wraps nor ends beyond what a processor can address.
fn check(address: u64, length: usize) -> Result<(), Outside> {
    let end = address.checked_add(length as u64).ok_or(Outside)?;
    (end <= ADDRESS_END).then_some(()).ok_or(Outside)
}
