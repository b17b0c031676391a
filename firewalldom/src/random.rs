//! Keyed hashing and the random choices that a peer must not foresee.

use crate::packet::Tuple;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// A secret of 128 bits: hashes tuples, and yields numbers nobody without it can tell.
#[derive(Clone)]
pub(crate) struct Key {
    tuples: [u64; 5],
    sequence: SipHasher13,
    drawn: u64,
}

impl Key {
    /// From 32 random bytes, a half for each use.
    pub(crate) fn new(seed: &[u8; 32]) -> Self {
        let word = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&seed[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        let mut key = Self {
            tuples: [0; 5],
            sequence: SipHasher13::new_with_keys(word(16), word(24)),
            drawn: 0,
        };
        // As many keys as are needed, of the other half.
        let expand = SipHasher13::new_with_keys(word(0), word(8));
        for (number, part) in key.tuples.iter_mut().enumerate() {
            *part = expand.hash(&[number as u8]);
        }
        key
    }

    /// A hash of a tuple: NH of RFC 4418 (UMAC), 5.2, over its two words, then a strongly universal
    /// function of the product. Whoever does not know the key finds no two tuples that meet in 32 of
    /// its bits more often than by chance, and nobody outside ever sees a hash.
    #[inline(always)]
    pub(crate) fn hash(&self, tuple: Tuple) -> u64 {
        let [first, second, low, high, offset] = self.tuples;
        let ends = u64::from(tuple.source) << 32 | u64::from(tuple.destination);
        let rest = u64::from(tuple.source_port) << 24
            | u64::from(tuple.destination_port) << 8
            | u64::from(tuple.protocol);
        let product = u128::from(ends.wrapping_add(first)) * u128::from(rest.wrapping_add(second));
        let sum = u128::from(product as u64) * u128::from(low)
            + u128::from(
                ((product >> 64) as u64)
                    .wrapping_mul(high)
                    .wrapping_add(offset),
            );
        (sum as u64) ^ (sum >> 64) as u64
    }

    /// The next number of the sequence.
    pub(crate) fn next(&mut self) -> u64 {
        self.drawn += 1;
        let mut hasher = self.sequence;
        hasher.write_u64(self.drawn);
        hasher.finish()
    }

    /// The next number, below `bound` (0 for a bound of 0).
    pub(crate) fn next_below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}
