//! Keyed hashing and the random choices that a peer must not foresee.

use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// A secret of 128 bits: hashes tuples, and yields numbers nobody without it can tell.
#[derive(Clone)]
pub(crate) struct Key {
    words: [u64; 3],
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
            words: [0; 3],
            sequence: SipHasher13::new_with_keys(word(16), word(24)),
            drawn: 0,
        };
        // As many keys as are needed, of the other half.
        let expand = SipHasher13::new_with_keys(word(0), word(8));
        for (number, part) in key.words.iter_mut().enumerate() {
            *part = expand.hash(&[number as u8]);
        }
        // The third is only multiplied with: an even one would lose bits.
        key.words[2] |= 1;
        key
    }

    /// A hash of four words: two folded multiplications, as in wyhash. Whoever does not know the key
    /// finds no tuples that meet in any of its bits more often than by chance, and nobody outside ever
    /// sees a hash.
    ///
    /// One multiplication would keep numbers in a row, as ports and addresses often are, evenly apart;
    /// with some keys they then fall into few places of a table that is searched in a row (Pătraşcu and
    /// Thorup, "On the k-independence required by linear probing and minwise independence").
    #[inline(always)]
    pub(crate) const fn hash(&self, words: [u32; 4]) -> u32 {
        let [first, second, third] = self.words;
        let [a, b, c, d] = words;
        let one = (b as u64) << 32 | a as u64;
        let other = (d as u64) << 32 | c as u64;
        fold(fold(one ^ first, other ^ second), third) as u32
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

/// Both halves of a product, each in the other.
#[inline(always)]
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    (product >> 64) as u64 ^ product as u64
}
