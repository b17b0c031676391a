//! The Internet checksum, whole (RFC 1071) and by difference (RFC 1624, equation 3).

/// A one's complement sum under way: 16-bit words, not yet folded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds bytes; an odd last one counts as the high half of a word.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        let sum = Self(InMemory::default().bytes(bytes).0).fold();
        self.0 += u64::from(u16::from_be(sum));
        self
    }

    /// Adds one word.
    pub(crate) const fn word(mut self, word: u16) -> Self {
        self.0 += word as u64;
        self
    }

    /// Adds both halves of an address.
    pub(crate) const fn address(self, address: u32) -> Self {
        self.word((address >> 16) as u16).word(address as u16)
    }

    /// Adds the pseudo-header of TCP and UDP over IPv4.
    pub(crate) const fn pseudo_header(
        self,
        source: u32,
        destination: u32,
        protocol: u8,
        length: u16,
    ) -> Self {
        self.address(source)
            .address(destination)
            .word(protocol as u16)
            .word(length)
    }

    /// The sum in 16 bits.
    #[inline(always)]
    pub(crate) const fn fold(self) -> u16 {
        // 64 bits to 33, to 32, to 17, to 16.
        let sum = (self.0 & 0xffff_ffff) + (self.0 >> 32);
        let sum = (sum & 0xffff_ffff) + (sum >> 32);
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = (sum & 0xffff) + (sum >> 16);
        sum as u16
    }

    /// The checksum field's value: the complement.
    pub(crate) const fn finish(self) -> u16 {
        !self.fold()
    }
}

/// The same of words as they are in memory, four at a time: 2^16 is 1 in this arithmetic, so all count the
/// same, and carries come around.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct InMemory(u64);

impl InMemory {
    /// Adds four words.
    #[inline(always)]
    pub(crate) const fn four(self, words: u64) -> Self {
        let (sum, carry) = self.0.overflowing_add(words);
        Self(sum + carry as u64)
    }

    /// Adds bytes; an odd last one counts as the first of a word.
    #[inline(always)]
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        let word = |four: [u8; 8]| u64::from_ne_bytes(four);
        let (fours, rest) = bytes.as_chunks::<8>();
        let (sixteens, fours) = fours.as_chunks::<4>();
        for [a, b, c, d] in sixteens {
            self = self.four(word(*a)).four(word(*b));
            self = self.four(word(*c)).four(word(*d));
        }
        for four in fours {
            self = self.four(word(*four));
        }
        if rest.is_empty() {
            return self;
        }
        let last = match bytes.last_chunk() {
            // What was added already is shifted out.
            Some(last) => u64::from_le_bytes(*last) >> (u64::BITS as usize - 8 * rest.len()),
            None => rest
                .iter()
                .rev()
                .fold(0, |last, byte| last << 8 | u64::from(*byte)),
        };
        self.four(word(last.to_le_bytes()))
    }

    /// Whether this is the sum of what has a checksum in it that is right; not all of it may be zeros.
    #[inline(always)]
    pub(crate) const fn is_sound(self) -> bool {
        // All ones, which is 0 in this arithmetic.
        self.0.is_multiple_of(u16::MAX as u64)
    }
}

/// What changed among the bytes that a checksum covers: new words less old ones.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Difference(u64);

impl Difference {
    /// A 16-bit word became another.
    #[inline(always)]
    pub(crate) const fn word(mut self, old: u16, new: u16) -> Self {
        self.0 += (!old) as u64 + new as u64;
        self
    }

    /// An address became another.
    #[inline(always)]
    pub(crate) const fn address(mut self, old: u32, new: u32) -> Self {
        // Two words at a time: 2^16 is 1 in this arithmetic.
        self.0 += (!old) as u64 + new as u64;
        self
    }

    /// Both changes.
    pub(crate) const fn and(mut self, other: Self) -> Self {
        self.0 += other.0;
        self
    }

    /// A finished checksum over the changed bytes.
    #[inline(always)]
    pub(crate) const fn apply(self, checksum: u16) -> u16 {
        !self.apply_to_sum(!checksum)
    }

    /// A sum that is not complemented, as in the field of a blank checksum.
    #[inline(always)]
    pub(crate) const fn apply_to_sum(self, sum: u16) -> u16 {
        Sum(sum as u64 + self.0).fold()
    }
}

/// What changed among words as they are in memory, new less old: what sums to a checksum does so in any
/// order of bytes (RFC 1071, 2.B), so none is swapped on the shortest way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Native(u16);

impl Native {
    /// Eight bytes that became others.
    #[inline(always)]
    pub(crate) const fn eight(old: u64, new: u64) -> Self {
        let (sum, carry) = new.overflowing_add(!old);
        let sum = sum + carry as u64;
        Self::folded((sum >> 32) as u32, sum as u32)
    }

    /// Four bytes that became others.
    #[inline(always)]
    pub(crate) const fn four(old: u32, new: u32) -> Self {
        Self::folded(new, !old)
    }

    /// A word that became less by this.
    #[inline(always)]
    pub(crate) const fn less(by: u16) -> Self {
        Self(!by)
    }

    #[inline(always)]
    const fn folded(a: u32, b: u32) -> Self {
        let (sum, carry) = a.overflowing_add(b);
        let sum = sum + carry as u32;
        Self(add(sum as u16, (sum >> 16) as u16))
    }

    /// The sum that `sum`, over the words before they changed, becomes.
    #[inline(always)]
    pub(crate) const fn apply_to_sum(self, sum: u16) -> u16 {
        add(sum, self.0)
    }

    /// A finished checksum over the changed words: equation 3 of RFC 1624, with the complements of
    /// the checksum taken into the sum.
    #[inline(always)]
    pub(crate) const fn apply(self, checksum: u16) -> u16 {
        let (difference, borrow) = checksum.overflowing_sub(self.0);
        difference.wrapping_sub(borrow as u16)
    }

    /// Whether an IPv4 header without options sums up as it must.
    #[inline(always)]
    pub(crate) const fn is_sound(first: u64, second: u64, third: u32) -> bool {
        // Never all zeros, as no header is.
        InMemory(first).four(second).four(third as u64).is_sound()
    }
}

/// One's complement addition: the carry comes around.
#[inline(always)]
const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u16
}

/// The 16-bit word at `offset`.
#[inline(always)]
pub(crate) fn get16(bytes: &[u8], offset: usize) -> u16 {
    u16::from_be_bytes([bytes[offset], bytes[offset + 1]])
}

/// The 32-bit word at `offset`.
#[inline(always)]
pub(crate) fn get32(bytes: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes([
        bytes[offset],
        bytes[offset + 1],
        bytes[offset + 2],
        bytes[offset + 3],
    ])
}

/// Writes a 16-bit word at `offset`.
#[inline(always)]
pub(crate) fn put16(bytes: &mut [u8], offset: usize, value: u16) {
    bytes[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
}

/// Writes a 32-bit word at `offset`.
#[inline(always)]
pub(crate) fn put32(bytes: &mut [u8], offset: usize, value: u32) {
    bytes[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_odd_byte_counts_as_the_high_half() {
        assert_eq!(Sum::default().bytes(&[1, 2, 3]).fold(), 0x0102 + 0x0300);
    }

    proptest! {
        #[test]
        fn bytes_of_any_length_sum_up_as_their_words_do(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let words = bytes.chunks(2).map(|word| match *word {
                [high, low] => u16::from_be_bytes([high, low]),
                [high, ..] => u16::from_be_bytes([high, 0]),
                [] => 0,
            });
            let sum = words.fold(Sum::default(), Sum::word);
            prop_assert_eq!(Sum::default().bytes(&bytes).fold(), sum.fold());
            let with_checksum = InMemory::default()
                .four(u64::from(sum.finish().to_be()))
                .bytes(&bytes);
            prop_assert!(with_checksum.is_sound());
            let with_another = InMemory::default()
                .four(u64::from((sum.finish() ^ 0x10).to_be()))
                .bytes(&bytes);
            prop_assert!(!with_another.is_sound());
        }

        #[test]
        fn a_difference_equals_summing_again(
            mut words in proptest::collection::vec(any::<u16>(), 2..40),
            at in any::<prop::sample::Index>(),
            new in any::<u16>(),
        ) {
            words[0] = words[0].max(1); // real headers are never all zero
            let at = at.index(words.len() - 1) + 1;
            let sum = |words: &[u16]| words.iter().fold(Sum::default(), |sum, &word| sum.word(word)).finish();
            let before = sum(&words);
            let difference = Difference::default().word(words[at], new);
            words[at] = new;
            prop_assert_eq!(difference.apply(before), sum(&words));
        }

        #[test]
        fn words_as_they_are_in_memory_come_to_the_same(
            old in any::<([u8; 8], [u8; 4], [u8; 2])>(),
            new in any::<([u8; 8], [u8; 4])>(),
            less in any::<[u8; 2]>(),
            same in 0u8..4,
        ) {
            let new = (if same & 1 == 0 { new.0 } else { old.0 }, if same & 2 == 0 { new.1 } else { old.1 });
            let word = |word: [u8; 2]| u16::from_be_bytes(word);
            let sum = |eight: [u8; 8], four: [u8; 4], two: u16| {
                Sum::default().bytes(&eight).bytes(&four).word(two).word(0x4500)
            };
            let before = sum(old.0, old.1, word(old.2));
            // No borrow from another word of the header.
            let after = sum(new.0, new.1, word(old.2).saturating_sub(word(less)));
            let less = word(old.2).min(word(less));
            let changes = [
                Native::eight(u64::from_ne_bytes(old.0), u64::from_ne_bytes(new.0)),
                Native::four(u32::from_ne_bytes(old.1), u32::from_ne_bytes(new.1)),
                Native::less(u16::from_ne_bytes(less.to_be_bytes())),
            ];
            let native = |value: u16| u16::from_ne_bytes(value.to_be_bytes());
            let applied = changes.iter().fold(native(before.finish()), |sum, change| change.apply(sum));
            prop_assert_eq!(applied, native(after.finish()));
            let applied = changes.iter().fold(native(before.fold()), |sum, change| change.apply_to_sum(sum));
            prop_assert_eq!(applied, native(after.fold()));
        }
    }
}
