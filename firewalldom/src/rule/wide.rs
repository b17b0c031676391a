//! Boxes that overlap too much for trees, found by bit vectors.
//!
//! The values of a field fall into intervals between which no box begins or ends; each interval has a
//! bit for every box that holds it. A packet's first box is the first bit that its intervals of all
//! fields have in common (Lakshman and Stiliadis, SIGCOMM 1998). Memory grows with the square of the
//! number of boxes, so only few are kept this way.

use super::entry::{Entry, FIELDS, Key};
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// Most boxes that may be kept so: 330 KiB of them.
pub(super) const MOST: usize = 512;

/// In which the fields are asked: what tells most boxes apart comes first.
const ORDER: [usize; FIELDS] = [0, 1, 3, 4, 2];
/// How many of these are addresses: mostly it takes no more.
const ADDRESSES: usize = 2;

/// A bit for each of the boxes that hold what was asked of a packet so far.
pub(super) struct Common([u64; MOST / 64]);

/// Boxes in the order of their rules.
#[derive(Clone, Debug, Default)]
pub(super) struct Wide {
    entries: Box<[Entry]>,
    fields: [Field; FIELDS],
    /// 64-bit words of an interval.
    words: usize,
}

/// The intervals of a field.
#[derive(Clone, Debug, Default)]
struct Field {
    /// The first value of each interval, ascending; the first is 0.
    starts: Box<[u32]>,
    /// `words` for each interval.
    bits: Box<[u64]>,
}

impl Wide {
    /// At most [`MOST`] boxes.
    pub(super) fn new(entries: Vec<Entry>) -> Self {
        let words = entries.len().div_ceil(64);
        Self {
            fields: core::array::from_fn(|field| Field::new(&entries, field, words)),
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
                .map(|field| size_of_val(&*field.starts) + size_of_val(&*field.bits))
                .sum::<usize>()
    }
}

impl Field {
    fn new(entries: &[Entry], field: usize, words: usize) -> Self {
        let mut starts = vec![0];
        for entry in entries {
            let (first, last) = entry.range(field);
            starts.push(first);
            starts.extend(last.checked_add(1));
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
        Self {
            starts: starts.into(),
            bits: bits.into(),
        }
    }

    /// The bits of the interval that holds a value.
    fn row(&self, value: u32, words: usize) -> &[u64] {
        let after = self.starts.partition_point(|&start| start <= value);
        &self.bits[after.saturating_sub(1) * words..][..words]
    }
}
