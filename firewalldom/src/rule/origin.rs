//! Lines of the user's files, numbered: what hit counters and flows refer to.

use crate::policy::Origin;
use alloc::vec;
use alloc::vec::Vec;

/// Origins by their number. Equal ones have the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    pub(crate) list: Vec<Origin>,
    /// Where each is in `list`, plus one; hashed, with linear probing. Gone once all are known.
    slots: Vec<u32>,
}

impl Origins {
    /// The number of an origin; a new one if it was not seen before.
    pub(crate) fn number(&mut self, origin: Origin) -> u32 {
        if self.slots.len() < (self.list.len() + 1) * 2 {
            self.grow();
        }
        let at = self.slot(origin);
        if self.slots[at] == 0 {
            self.list.push(origin);
            self.slots[at] = self.list.len() as u32;
        }
        self.slots[at] - 1
    }

    /// Gives back what only [`Origins::number`] needs.
    pub(crate) fn finish(&mut self) {
        self.slots = Vec::new();
        self.list.shrink_to_fit();
    }

    /// Where `origin` is, or should be: there is always a free slot.
    fn slot(&self, origin: Origin) -> usize {
        let mask = self.slots.len() - 1;
        // Lines follow each other: a multiplication spreads them well enough, and they are the
        // user's own.
        let hash = (origin.line ^ u32::from(origin.file) << 20).wrapping_mul(0x9e37_79b9);
        let mut at = (hash >> 7) as usize & mask;
        while self.slots[at] != 0 && self.list[self.slots[at] as usize - 1] != origin {
            at = (at + 1) & mask;
        }
        at
    }

    fn grow(&mut self) {
        self.slots = vec![0; ((self.list.len() + 1) * 4).next_power_of_two()];
        for number in 0..self.list.len() {
            let at = self.slot(self.list[number]);
            self.slots[at] = number as u32 + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_origins_have_equal_numbers_and_others_have_others() {
        let origin = |number: u32| Origin {
            file: (number % 3) as u16,
            line: number / 3,
        };
        let mut origins = Origins::default();
        for number in (0..10_000).chain(0..10_000) {
            assert_eq!(origins.number(origin(number)), number);
        }
        assert_eq!(origins.list.len(), 10_000);
        assert_eq!(origins.list[77], origin(77));
    }
}
