//! Rules that differ in one field only, as those of a long blacklist do: a table from the field's value
//! to the first rule that asks for it.
//!
//! What the rules have in common is one box. Only a list in which the first rule that matches has the
//! last word can be kept this way: a rule behind it is never looked for.

use super::entry::{Entry, FIELDS, Key};
use crate::packet::Tuple;
use crate::ranges::{Presence, RangeTable};

/// The table of one field.
#[derive(Clone, Debug)]
pub(super) struct Intervals {
    field: usize,
    /// What all rules ask for, the field apart.
    common: Entry,
    /// The first rule, or [`Self::NONE`].
    rules: RangeTable<u32>,
    /// What most packets are judged by: no rule is about them.
    presence: Presence,
}

impl Intervals {
    /// Fewest boxes that are worth a table.
    const BOXES_MIN: usize = 16;
    const NONE: u32 = u32::MAX;

    /// A table of these boxes, in the order of their rules; `None` if they differ in more than a field.
    pub(super) fn new(boxes: &[Entry]) -> Option<Self> {
        if boxes.len() < Self::BOXES_MIN {
            return None;
        }
        let (first, rest) = boxes.split_first()?;
        let differs = |field| {
            let range = first.range(field);
            rest.iter().any(|entry| entry.range(field) != range)
        };
        let field = (0..FIELDS).find(|&field| differs(field))?;
        let common = first.with_all_of(field);
        let alike = |entry: &Entry| entry.with_all_of(field).is_like(&common);
        if !boxes.iter().all(alike) {
            return None;
        }
        let range = |number: usize| {
            let (first, last) = boxes[number].range(field);
            (first, last, boxes[number].rule())
        };
        let rules = RangeTable::of(boxes.len(), range, Self::NONE);
        Some(Self {
            field,
            common,
            presence: rules.presence(Self::NONE),
            rules,
        })
    }

    /// Whether a rule may be about the packet.
    pub(super) fn perhaps(&self, tuple: &Tuple) -> bool {
        self.presence.perhaps(self.value(tuple))
    }

    /// Whether one may will be asked soon.
    pub(super) fn prefetch(&self, tuple: &Tuple) {
        self.presence.prefetch(self.value(tuple));
    }

    /// That of the field.
    fn value(&self, tuple: &Tuple) -> u32 {
        match self.field {
            0 => tuple.source,
            1 => tuple.destination,
            2 => u32::from(tuple.source_port),
            3 => u32::from(tuple.destination_port),
            _ => u32::from(tuple.protocol),
        }
    }

    /// The first rule that the packet matches.
    pub(super) fn find(&self, key: &Key) -> Option<u32> {
        if !self.common.holds(key) {
            return None;
        }
        let rule = self.rules.get(key.fields[self.field & 7]);
        (rule != Self::NONE).then_some(rule)
    }

    /// Bytes on the heap.
    pub(super) fn bytes(&self) -> usize {
        self.rules.bytes() + self.presence.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::States;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    fn entry(rule: usize, first: u32, last: u32) -> Entry {
        let every = [
            (first, last),
            (0, u32::MAX),
            (0, 65_535),
            (0, 65_535),
            (0, 255),
        ];
        Entry::new(every, States::NEW, 0, rule as u32)
    }

    fn from(source: u32) -> Tuple {
        Tuple {
            source,
            ..Tuple::default()
        }
    }

    fn key(source: u32, state: States) -> Key {
        Key::new(&from(source), state)
    }

    fn first(boxes: &[Entry], key: &Key) -> Option<u32> {
        let held = boxes.iter().find(|entry| entry.holds(key));
        held.map(Entry::rule)
    }

    proptest! {
        #[test]
        fn the_first_rule_is_found_that_asks_for_the_value(
            ranges in proptest::collection::vec((0u32..200, 0u32..20), 16..120),
            values in proptest::collection::vec(0u32..230, 1..40),
        ) {
            let boxes: Vec<Entry> = ranges
                .iter()
                .enumerate()
                .map(|(rule, &(first, more))| entry(rule, first, first + more))
                .collect();
            let Some(table) = Intervals::new(&boxes) else {
                return Ok(());
            };
            for value in values {
                let key = key(value, States::NEW);
                prop_assert_eq!(table.find(&key), first(&boxes, &key));
                prop_assert!(table.find(&key).is_none() || table.perhaps(&from(value)));
            }
        }
    }

    #[test]
    fn among_many_networks_each_finds_its_own_and_what_lies_between_none() {
        // All over the addresses, the first and last included.
        let network = |n: u32| n * 0x0008_0000;
        let boxes: Vec<Entry> = (0..8192)
            .map(|n| entry(n as usize, network(n), network(n) + 0xff))
            .chain([entry(9000, u32::MAX, u32::MAX)])
            .collect();
        let table = Intervals::new(&boxes).unwrap();
        for n in 0..8192 {
            for (value, found) in [
                (network(n), Some(n)),
                (network(n) + 0xff, Some(n)),
                (network(n) + 0x100, None),
            ] {
                assert_eq!(table.find(&key(value, States::NEW)), found, "{value:#x}");
            }
        }
        assert_eq!(table.find(&key(u32::MAX, States::NEW)), Some(9000));
        assert_eq!(table.find(&key(0, States::ESTABLISHED)), None);
    }

    #[test]
    fn rules_that_differ_in_two_fields_or_in_their_states_have_no_table() {
        let mut boxes: Vec<Entry> = (0..20).map(|n| entry(n, n as u32, n as u32)).collect();
        assert!(Intervals::new(&boxes).is_some());
        let other = [(3, 3), (0, u32::MAX), (0, 65_535), (80, 80), (0, 255)];
        boxes[7] = Entry::new(other, States::NEW, 0, 7);
        assert!(Intervals::new(&boxes).is_none());
        let other = [(3, 3), (0, u32::MAX), (0, 65_535), (0, 65_535), (0, 255)];
        boxes[7] = Entry::new(other, States::ALL, 0, 7);
        assert!(Intervals::new(&boxes).is_none());
    }
}
