//! Address ranges, looked up by binary search: prefixes that overlap are resolved when the table is
//! built, so a look-up never sees more than one answer.

use crate::sort::sort;
use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

/// From an address to a value: the first range, in the order they were given, that holds it.
#[derive(Clone, Debug)]
pub(crate) struct RangeTable<T> {
    /// First address of each stretch with one answer, ascending; the first is 0.
    starts: Vec<u32>,
    values: Vec<T>,
}

impl<T: Copy + PartialEq> RangeTable<T> {
    /// `ranges` in order of precedence, both ends inclusive; `otherwise` is the rest's.
    pub(crate) fn new(ranges: &[(u32, u32, T)], otherwise: T) -> Self {
        // At each address where something begins or ends: what, by precedence.
        let mut events: Vec<(u64, usize, bool)> = Vec::with_capacity(ranges.len() * 2);
        for (order, &(first, last, _)) in ranges.iter().enumerate() {
            events.push((u64::from(first), order, true));
            events.push((u64::from(last) + 1, order, false));
        }
        sort(&mut events);
        let mut table = Self {
            starts: Vec::new(),
            values: Vec::new(),
        };
        table.push(0, otherwise);
        // Those that began, the first in precedence on top; one that ended leaves when it gets there.
        let mut active = BinaryHeap::new();
        let mut ended = vec![false; ranges.len()];
        let mut events = events.into_iter().peekable();
        while let Some((at, order, begins)) = events.next() {
            if begins {
                active.push(Reverse(order));
            } else {
                ended[order] = true;
            }
            while active.peek().is_some_and(|&Reverse(order)| ended[order]) {
                active.pop();
            }
            if events.peek().is_some_and(|&(next, ..)| next == at) {
                continue;
            }
            if let Ok(at) = u32::try_from(at) {
                table.push(
                    at,
                    active
                        .peek()
                        .map_or(otherwise, |&Reverse(order)| ranges[order].2),
                );
            }
        }
        table.starts.shrink_to_fit();
        table.values.shrink_to_fit();
        table
    }

    fn push(&mut self, start: u32, value: T) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.values.pop();
        }
        if self.values.last() != Some(&value) {
            self.starts.push(start);
            self.values.push(value);
        }
    }

    /// The value at `address`.
    pub(crate) fn get(&self, address: u32) -> T {
        self.values[self.position(address)]
    }

    /// Which stretch holds `address`.
    pub(crate) fn position(&self, address: u32) -> usize {
        let after = self.starts.partition_point(|&start| start <= address);
        after.saturating_sub(1)
    }

    /// The value at `address`, which lies in one of these stretches, both ends inclusive.
    pub(crate) fn get_within(&self, low: usize, high: usize, address: u32) -> T {
        let behind = self.starts.get(low + 1..=high).unwrap_or_default();
        let more = behind.partition_point(|&start| start <= address);
        self.values[low + more]
    }

    /// How many stretches there are.
    pub(crate) const fn len(&self) -> usize {
        self.starts.len()
    }

    /// Bytes on the heap.
    pub(crate) const fn bytes(&self) -> usize {
        size_of_val(self.starts.as_slice()) + size_of_val(self.values.as_slice())
    }
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

    proptest! {
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
