//! Address ranges, looked up by binary search: prefixes that overlap are resolved when the table is
//! built, so a look-up never sees more than one answer. Where there are many, the upper bits of the
//! address say at once where to search (as DXR does: Zec, Rizzo and Mikuc, CCR 2012).

use crate::sort::sort;
use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;
use minios_rs::prefetch::prefetch;

/// Fewest stretches that have cells.
const CELLS_FROM: usize = 4;
/// Fewest bits of an address that say its cell: 1 KiB of cells, few of which have more than one or two
/// stretches if there are few.
const CELLS_LEAST: u32 = 8;
/// Most bits of an address that say its cell: 256 KiB of cells.
const CELLS_MOST: u32 = 16;

/// From an address to a value: the first range, in the order they were given, that holds it.
#[derive(Clone, Debug)]
pub(crate) struct RangeTable<T> {
    /// Stretches with one answer: the first address of each, ascending, and the answer. The first
    /// begins at 0.
    stretches: Vec<(u32, T)>,
    /// For the upper bits of an address, which stretch its cell begins in, where there are many
    /// stretches; one more at the end. Else empty.
    cells: Vec<u32>,
    /// Lower bits of an address, which do not say its cell.
    cell_bits: u32,
}

/// Where a range begins or ends: 33 bits of address, 30 of the range's number, one that says which.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Event(u64);

impl Event {
    const fn new(at: u64, order: usize, begins: bool) -> Self {
        Self(at << 31 | (order as u64) << 1 | begins as u64)
    }

    const fn at(self) -> u64 {
        self.0 >> 31
    }

    const fn order(self) -> usize {
        (self.0 >> 1) as usize & ((1 << 30) - 1)
    }

    const fn begins(self) -> bool {
        self.0 & 1 == 1
    }
}

impl<T: Copy + PartialEq> RangeTable<T> {
    /// `ranges` in order of precedence, both ends inclusive; `otherwise` is the rest's.
    pub(crate) fn new(ranges: &[(u32, u32, T)], otherwise: T) -> Self {
        Self::of(ranges.len(), |order| ranges[order], otherwise)
    }

    /// The same of `count` ranges, at most 2^30, which `range` says.
    pub(crate) fn of(count: usize, range: impl Fn(usize) -> (u32, u32, T), otherwise: T) -> Self {
        let mut events = Vec::with_capacity(count * 2);
        for order in 0..count {
            let (first, last, _) = range(order);
            events.push(Event::new(u64::from(first), order, true));
            events.push(Event::new(u64::from(last) + 1, order, false));
        }
        sort(&mut events);
        let mut stretches: Vec<(u32, T)> = Vec::with_capacity(events.len() + 1);
        stretches.push((0, otherwise));
        // Those that began, the first in precedence on top; one that ended leaves when it gets there.
        let mut active = BinaryHeap::new();
        let mut ended = vec![false; count];
        let mut events = events.into_iter().peekable();
        while let Some(event) = events.next() {
            if event.begins() {
                active.push(Reverse(event.order() as u32));
            } else {
                ended[event.order()] = true;
            }
            while active
                .peek()
                .is_some_and(|&Reverse(order)| ended[order as usize])
            {
                active.pop();
            }
            if events.peek().is_some_and(|next| next.at() == event.at()) {
                continue;
            }
            if let Ok(at) = u32::try_from(event.at()) {
                let first = active.peek();
                let value = first.map_or(otherwise, |&Reverse(order)| range(order as usize).2);
                push(&mut stretches, at, value);
            }
        }
        stretches.shrink_to_fit();
        let (cells, cell_bits) = cells(&stretches);
        Self {
            stretches,
            cells,
            cell_bits,
        }
    }

    /// The value at `address`.
    pub(crate) fn get(&self, address: u32) -> T {
        let cell = (address >> self.cell_bits) as usize;
        let (mut low, mut more) = match self.cells.get(cell..) {
            Some(&[low, high, ..]) => (low as usize, (high - low) as usize),
            _ => (0, self.stretches.len() - 1),
        };
        // The stretch is `low` or one of so many `more`. Which half it is nobody can predict.
        while more > 0 {
            let half = more.div_ceil(2);
            let (start, _) = self.stretches[low + half];
            low = core::hint::select_unpredictable(start <= address, low + half, low);
            more -= half;
        }
        self.stretches[low].1
    }

    /// Which parts of the space have another value than this, somewhere.
    pub(crate) fn presence(&self, otherwise: T) -> Presence {
        // So many that most are empty where the stretches are short: eight bytes for each of them.
        let bits = (self.stretches.len().ilog2() + 6).clamp(6, 22);
        let shift = u32::BITS - bits;
        let mut parts = vec![0u64; 1 << (bits - 6)];
        let ends = self.stretches[1..].iter().map(|next| next.0 - 1);
        for (&(first, value), last) in self.stretches.iter().zip(ends.chain([u32::MAX])) {
            if value != otherwise {
                for part in first >> shift..=last >> shift {
                    parts[part as usize / 64] |= 1 << (part % 64);
                }
            }
        }
        Presence { parts, shift }
    }

    /// Bytes on the heap.
    pub(crate) const fn bytes(&self) -> usize {
        size_of_val(self.stretches.as_slice()) + size_of_val(self.cells.as_slice())
    }
}

/// Whether there may be anything at an address: a bit for each of many parts of the space, few enough
/// to stay in a cache that the table does not fit into, or to be fetched in one go ahead of the question.
#[derive(Clone, Debug)]
pub(crate) struct Presence {
    parts: Vec<u64>,
    /// Lower bits of an address, which do not say its part.
    shift: u32,
}

impl Presence {
    /// What [`Self::perhaps`] reads for an address will be wanted soon.
    #[inline]
    pub(crate) fn prefetch(&self, address: u32) {
        prefetch(&self.parts, (address >> self.shift) as usize / 64);
    }

    /// Where this is false, there is nothing.
    #[inline]
    pub(crate) fn perhaps(&self, address: u32) -> bool {
        let part = address >> self.shift;
        let word = self.parts.get(part as usize / 64).copied();
        word.unwrap_or(0) >> (part % 64) & 1 != 0
    }

    /// Bytes on the heap.
    pub(crate) const fn bytes(&self) -> usize {
        size_of_val(self.parts.as_slice())
    }
}

/// Adds a stretch, if it is not more of the last one.
fn push<T: Copy + PartialEq>(stretches: &mut Vec<(u32, T)>, start: u32, value: T) {
    if stretches.last().is_some_and(|last| last.0 == start) {
        stretches.pop();
    }
    if stretches.last().is_none_or(|last| last.1 != value) {
        stretches.push((start, value));
    }
}

/// Cells for so many stretches, and the bits of an address that do not say its cell.
fn cells<T>(stretches: &[(u32, T)]) -> (Vec<u32>, u32) {
    if stretches.len() < CELLS_FROM {
        return (Vec::new(), 0);
    }
    // As many as there are stretches, or half of that; addresses are not spread evenly.
    let bits = stretches.len().ilog2().clamp(CELLS_LEAST, CELLS_MOST);
    let cell_bits = u32::BITS - bits;
    let mut cells = Vec::with_capacity((1 << bits) + 1);
    let mut at = 0;
    for cell in 0..1u32 << bits {
        let first = cell << cell_bits;
        while stretches.get(at + 1).is_some_and(|next| next.0 <= first) {
            at += 1;
        }
        cells.push(at as u32);
    }
    cells.push(stretches.len() as u32 - 1);
    (cells, cell_bits)
}

/// First and last address of a prefix; `length` is at most 32.
pub(crate) fn prefix_bounds(address: u32, length: u8) -> (u32, u32) {
    let mask = u32::MAX
        .checked_shl(32 - u32::from(length.min(32)))
        .unwrap_or(0);
    (address & mask, address | !mask)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_whole_space_and_its_last_address_are_found() {
        let table = RangeTable::new(&[(u32::MAX, u32::MAX, 1), (0, u32::MAX, 2)], 0);
        assert_eq!(table.get(0), 2);
        assert_eq!(table.get(u32::MAX), 1);
        assert_eq!(table.get(u32::MAX - 1), 2);
    }

    #[test]
    fn a_prefix_of_no_length_is_everything() {
        assert_eq!(prefix_bounds(0x0a00_0001, 0), (0, u32::MAX));
        assert_eq!(prefix_bounds(0x0a00_0001, 32), (0x0a00_0001, 0x0a00_0001));
        assert_eq!(prefix_bounds(0x0a00_0001, 8), (0x0a00_0000, 0x0aff_ffff));
    }

    #[test]
    fn among_many_ranges_each_finds_its_own_and_what_lies_between_none() {
        let network = |n: u32| n * 0x0008_0000;
        let ranges: Vec<_> = (0..8192)
            .map(|n| (network(n), network(n) + 0xff, n))
            .chain([(u32::MAX, u32::MAX, 9000)])
            .collect();
        let table = RangeTable::new(&ranges, 9999);
        assert!(!table.cells.is_empty());
        for n in 0..8192 {
            assert_eq!(table.get(network(n)), n);
            assert_eq!(table.get(network(n) + 0xff), n);
            assert_eq!(table.get(network(n) + 0x100), 9999);
            assert_eq!(
                table.get(network(n).wrapping_sub(1)),
                if n == 0 { 9000 } else { 9999 }
            );
        }
    }

    #[test]
    fn few_parts_of_the_space_have_something_where_little_is() {
        let ranges: Vec<_> = (0..4096u32).map(|n| (n << 20, (n << 20) + 3, n)).collect();
        let presence = RangeTable::new(&ranges, u32::MAX).presence(u32::MAX);
        let within = (0..1u32 << 16).filter(|part| presence.perhaps(part << 16));
        assert_eq!(within.count(), 4096, "of 65536");
        assert!(presence.perhaps(0x7ff0_0003) && !presence.perhaps(0x7fff_0003));
    }

    #[test]
    fn cells_say_the_same_where_ranges_are_crowded() {
        // All in a few cells, and boundaries at the cells' own.
        let ranges: Vec<_> = (0..6000u32)
            .map(|n| (0x0a00_0000 + n * 3, 0x0a00_0000 + n * 3 + 1, n))
            .chain([
                (0x0a00_0000, 0x0aff_ffff, 7000),
                (0x8000_0000, 0xffff_ffff, 7001),
            ])
            .collect();
        let table = RangeTable::new(&ranges, 9999);
        assert!(!table.cells.is_empty());
        for (address, expected) in [
            (0, 9999),
            (0x09ff_ffff, 9999),
            (0x0a00_0000, 0),
            (0x0a00_0002, 7000),
            (0x0a00_0000 + 5999 * 3 + 1, 5999),
            (0x0a00_0000 + 5999 * 3 + 2, 7000),
            (0x0aff_ffff, 7000),
            (0x0b00_0000, 9999),
            (0x7fff_ffff, 9999),
            (0x8000_0000, 7001),
            (u32::MAX, 7001),
        ] {
            assert_eq!(table.get(address), expected, "{address:#x}");
        }
    }

    proptest! {
        #[test]
        fn where_nothing_is_present_there_is_nothing(
            ranges in proptest::collection::vec((any::<u32>(), 0u32..20), 1..60),
            addresses in proptest::collection::vec(any::<u32>(), 1..40),
        ) {
            let ranges: Vec<_> = ranges
                .iter()
                .map(|&(first, bits)| (first, first.saturating_add((1 << bits) - 1), 1))
                .collect();
            let table = RangeTable::new(&ranges, 0);
            let presence = table.presence(0);
            let ends = ranges.iter().flat_map(|&(first, last, _)| [first, last]);
            for address in ends.chain(addresses) {
                prop_assert!(table.get(address) == 0 || presence.perhaps(address));
            }
        }

        #[test]
        fn the_first_range_that_holds_an_address_decides(
            ranges in proptest::collection::vec((0u32..64, 0u32..64, 0u8..8), 0..12),
            address in 0u32..70,
        ) {
            let ranges: Vec<_> =
                ranges.into_iter().map(|(a, b, value)| (a.min(b), a.max(b), value)).collect();
            let expected = ranges
                .iter()
                .find(|(first, last, _)| (*first..=*last).contains(&address))
                .map_or(99, |&(.., value)| value);
            prop_assert_eq!(RangeTable::new(&ranges, 99).get(address), expected);
        }
    }
}
