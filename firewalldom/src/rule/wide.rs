//! Boxes that overlap too much for trees, found by bit vectors.
//!
//! The values of a field fall into intervals between which no box begins or ends; each interval has a
//! bit for every box that holds it. A packet's first box is the first bit that its intervals of all
//! fields have in common (Lakshman and Stiliadis, SIGCOMM 1998). Memory grows with the square of the
//! number of boxes, so only few are kept this way.

use super::entry::{Entry, FIELDS, Key};
use crate::ranges::RangeTable;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// Most boxes that may be kept so: 330 KiB of them.
pub(super) const MOST: usize = 512;

/// In which the fields are asked: what tells most boxes apart comes first.
const ORDER: [usize; FIELDS] = [0, 1, 3, 4, 2];
/// By so many bits a field's values are shifted to the upper ones of 32.
const SHIFTS: [u32; FIELDS] = [0, 0, 16, 16, 24];
/// How many of these are addresses: mostly it takes no more.
const ADDRESSES: usize = 2;

/// A bit for each of the boxes that hold what was asked of a packet so far.
pub(super) struct Common([u64; MOST / 64]);

/// Boxes in the order of their rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Wide {
    entries: Box<[Entry]>,
    /// One for each, if there are boxes.
    fields: Box<[Field]>,
    /// 64-bit words of an interval.
    words: usize,
}

/// The intervals of a field.
#[derive(Clone, Debug)]
struct Field {
    /// Number of the interval that holds a value, whose upper bits come first.
    intervals: RangeTable<u16>,
    /// By so many bits a value is shifted for that.
    shift: u32,
    /// `words` for each interval.
    bits: Box<[u64]>,
}

impl Wide {
    /// At most [`MOST`] boxes.
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        let words = entries.len().div_ceil(64);
        Self {
            fields: { 0..FIELDS }
                .filter(|_| words > 0)
                .map(|field| Field::new(&entries, field, words))
                .collect(),
            entries: entries.into(),
            words,
        }
    }

    /// Whether there are none.
    pub(super) const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Which boxes hold the packet's addresses; `None` if none does. It asks nothing of what else is
    /// found, so that memory that was asked for before comes meanwhile.
    #[inline(always)]
    pub(super) fn with_addresses(&self, key: &Key) -> Option<Common> {
        let mut common = Common([u64::MAX; MOST / 64]);
        let is_any = !self.entries.is_empty() && { ORDER[..ADDRESSES].iter() }
            .all(|&field| self.narrow(&mut common, key, field));
        is_any.then_some(common)
    }

    /// Leaves those boxes that hold the packet's value of a field; whether there are any.
    #[inline(always)]
    fn narrow(&self, common: &mut Common, key: &Key, field: usize) -> bool {
        let row = self.fields[field].row(key.fields[field], self.words);
        let mut any = 0;
        for (common, bits) in common.0.iter_mut().zip(row) {
            *common &= bits;
            any |= *common;
        }
        any != 0
    }

    /// The lowest rule from `from` on and below `best` that holds the packet, as
    /// [`Tree::find`](super::tree::Tree::find); of those that hold its addresses.
    #[inline(never)]
    pub(super) fn find(
        &self,
        mut common: Common,
        from: u32,
        best: u32,
        key: &Key,
        mut confirm: impl FnMut(u32) -> bool,
    ) -> u32 {
        let is_late = |first: &Entry| first.rule() >= best;
        if self.entries.first().is_none_or(is_late)
            || !{ ORDER[ADDRESSES..].iter() }.all(|&field| self.narrow(&mut common, key, field))
        {
            return best;
        }
        let common = &common.0[..self.words];
        for (word, &common) in common.iter().enumerate() {
            let mut common = common;
            while common != 0 {
                let entry = &self.entries[word * 64 + common.trailing_zeros() as usize];
                common &= common - 1;
                if entry.rule() >= best {
                    return best;
                }
                if entry.rule() >= from
                    && entry.holds(key)
                    && (entry.is_exact() || confirm(entry.rule()))
                {
                    return entry.rule();
                }
            }
        }
        best
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        let fields = self.fields.iter();
        size_of_val(&*self.entries)
            + fields
                .map(|field| field.intervals.bytes() + size_of_val(&*field.bits))
                .sum::<usize>()
    }
}

impl Field {
    fn new(entries: &[Entry], field: usize, words: usize) -> Self {
        let shift = SHIFTS[field];
        let most = u32::MAX >> shift;
        let mut starts = vec![0];
        for entry in entries {
            let (first, last) = entry.range(field);
            starts.push(first);
            starts.extend(last.checked_add(1).filter(|&next| next <= most));
        }
        starts.sort_unstable();
        starts.dedup();
        let mut bits = vec![0; starts.len() * words];
        for (number, entry) in entries.iter().enumerate() {
            let (first, last) = entry.range(field);
            let begin = starts.partition_point(|&start| start < first);
            let end = starts.partition_point(|&start| start <= last);
            for interval in begin..end {
                bits[interval * words + number / 64] |= 1 << (number % 64);
            }
        }
        let ends = starts.iter().skip(1).map(|next| next - 1).chain([most]);
        let ranges: Vec<_> = { starts.iter().zip(ends).zip(0..) }
            .map(|((first, last), number)| {
                let lower = !(u32::MAX << shift);
                (first << shift, last << shift | lower, number)
            })
            .collect();
        Self {
            intervals: RangeTable::new(&ranges, 0),
            shift,
            bits: bits.into(),
        }
    }

    /// The bits of the interval that holds a value.
    fn row(&self, value: u32, words: usize) -> &[u64] {
        let interval = self.intervals.get(value << self.shift);
        &self.bits[usize::from(interval) * words..][..words]
    }
}
