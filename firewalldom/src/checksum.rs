//! The Internet checksum, whole (RFC 1071) and by difference (RFC 1624, equation 3).

/// A one's complement sum under way: 16-bit words, not yet folded.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds bytes; an odd last one counts as the high half of a word.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        // Two words at a time: 2^16 is 1 in this arithmetic, so the upper one counts the same.
        let (pairs, rest) = bytes.as_chunks::<4>();
        for pair in pairs {
            self.0 += u64::from(u32::from_be_bytes(*pair));
        }
        if !rest.is_empty() {
            let mut last = [0; 4];
            last[..rest.len()].copy_from_slice(rest);
            self.0 += u64::from(u32::from_be_bytes(last));
        }
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

/// Whether an IPv4 header without options sums up as it must.
#[inline(always)]
pub(crate) fn is_header_sound(header: &[u8; 20]) -> bool {
    // In any byte order: what sums to all ones does so in each (RFC 1071, 2.B).
    let word = |at: usize| {
        u64::from(u32::from_ne_bytes([
            header[at],
            header[at + 1],
            header[at + 2],
            header[at + 3],
        ]))
    };
    let sum = word(0) + word(4) + word(8) + word(12) + word(16);
    let sum = (sum as u32 >> 16) + (sum & 0xffff) as u32 + (sum >> 32) as u32;
    // Not 0, as the first word is not: all ones, once the carries are in.
    (sum & 0xffff) + (sum >> 16) == 0xffff
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
    }
}
