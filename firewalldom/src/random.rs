//! Keyed hashing and the random choices that a peer must not foresee.

use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// A secret of 128 bits: hashes tuples, and yields numbers nobody without it can tell.
#[derive(Clone)]
pub(crate) struct Key {
    words: [u64; 5],
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
            words: [0; 5],
            sequence: SipHasher13::new_with_keys(word(16), word(24)),
            drawn: 0,
        };
        // As many keys as are needed, of the other half.
        let expand = SipHasher13::new_with_keys(word(0), word(8));
        for (number, part) in key.words.iter_mut().enumerate() {
            *part = expand.hash(&[number as u8]);
        }
        key
    }

    /// A hash of four words: pair-multiply-shift (Thorup, "High Speed Hashing for Integers and
    /// Strings"), which is strongly universal. Whoever does not know the key finds no two tuples that
    /// meet in any of its bits more often than by chance, and nobody outside ever sees a hash.
    #[inline(always)]
    pub(crate) const fn hash(&self, words: [u32; 4]) -> u32 {
        let [first, second, third, fourth, offset] = self.words;
        let [a, b, c, d] = words;
        let one = first
            .wrapping_add(a as u64)
            .wrapping_mul(second.wrapping_add(b as u64));
        let other = third
            .wrapping_add(c as u64)
            .wrapping_mul(fourth.wrapping_add(d as u64));
        (one.wrapping_add(other).wrapping_add(offset) >> 32) as u32
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
