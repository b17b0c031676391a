//! Keyed hashing and the random choices that a peer must not foresee.

use crate::packet::Tuple;
use core::hash::Hasher;
use siphasher::sip::SipHasher13;

/// A secret of 128 bits: hashes tuples, and yields numbers nobody without it can tell.
#[derive(Clone)]
pub(crate) struct Key {
    tuples: SipHasher13,
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
        Self {
            tuples: SipHasher13::new_with_keys(word(0), word(8)),
            sequence: SipHasher13::new_with_keys(word(16), word(24)),
            drawn: 0,
        }
    }

    /// SipHash-1-3 of a tuple.
    #[inline(always)]
    pub(crate) fn hash(&self, tuple: Tuple) -> u64 {
        let ends = u64::from(tuple.source) << 32 | u64::from(tuple.destination);
        let rest = u64::from(tuple.source_port) << 24
            | u64::from(tuple.destination_port) << 8
            | u64::from(tuple.protocol);
        let mut bytes = [0; 13];
        bytes[..8].copy_from_slice(&ends.to_le_bytes());
        bytes[8..].copy_from_slice(&rest.to_le_bytes()[..5]);
        self.tuples.hash(&bytes)
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
