//! SCTP's checksum: CRC-32C (RFC 9260, appendix A), of bytes and by difference.

use crate::frame::Frame;
use crate::reason::Reason;

/// The polynomial of Castagnoli, lowest power first.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The remainder of each four bits.
const NIBBLES: [u32; 16] = {
    let mut table = [0; 16];
    let mut number = 0;
    while number < 16 {
        let (mut remainder, mut bit) = (number as u32, 0);
        while bit < 4 {
            remainder = times_x(remainder);
            bit += 1;
        }
        table[number] = remainder;
        number += 1;
    }
    table
};

/// Bit 31 stands for 1, bit 30 for x.
const ONE: u32 = 1 << 31;

const fn times_x(remainder: u32) -> u32 {
    remainder >> 1 ^ if remainder & 1 == 1 { POLYNOMIAL } else { 0 }
}

/// The remainder after more bytes. A checksum begins with all bits set, and ends inverted.
pub(crate) fn update(mut remainder: u32, bytes: &[u8]) -> u32 {
    for &byte in bytes {
        remainder ^= u32::from(byte);
        for _ in 0..2 {
            remainder = remainder >> 4 ^ NIBBLES[(remainder & 15) as usize];
        }
    }
    remainder
}

/// The checksum of a frame's bytes from `from` to `to`, those of its own field taken as 0; `field` is
/// the offset of its four bytes. As SCTP has it in its header.
pub(crate) fn of_frame(
    frame: &Frame<'_>,
    from: usize,
    field: usize,
    to: usize,
) -> Result<[u8; 4], Reason> {
    let mut remainder = u32::MAX;
    let mut buffer = [0; 256];
    let mut offset = from;
    while offset < to {
        let chunk = &mut buffer[..(to - offset).min(256)];
        frame.read(offset, chunk)?;
        if let Some(own) = field
            .checked_sub(offset)
            .and_then(|at| chunk.get_mut(at..at + 4))
        {
            own.fill(0);
        }
        remainder = update(remainder, chunk);
        offset += chunk.len();
    }
    Ok((!remainder).to_le_bytes())
}

/// What changes in the checksum when `changed` is the exclusive or of old and new at the beginning of
/// something `length` bytes long.
pub(crate) fn difference(changed: [u8; 4], length: usize) -> u32 {
    // So many bytes of nothing follow: as many times eight powers of x.
    let mut power = ONE;
    let mut square = ONE >> 8;
    let mut zeros = length.saturating_sub(4);
    while zeros > 0 {
        if zeros & 1 == 1 {
            power = product(power, square);
        }
        square = product(square, square);
        zeros >>= 1;
    }
    product(update(0, &changed), power)
}

/// The remainder of a product of two remainders.
fn product(a: u32, mut b: u32) -> u32 {
    let mut sum = 0;
    for bit in (0..32).rev() {
        if a >> bit & 1 == 1 {
            sum ^= b;
        }
        b = times_x(b);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_check_value_of_the_catalogue_comes_out() {
        assert_eq!(!update(u32::MAX, b"123456789"), 0xe306_9283);
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(
            (!update(u32::MAX, &[0; 32])).to_le_bytes(),
            [0xaa, 0x36, 0x91, 0x8a]
        );
    }

    proptest! {
        #[test]
        fn a_difference_is_what_the_whole_says(
            mut bytes in proptest::collection::vec(any::<u8>(), 4..2000),
            changed: [u8; 4],
        ) {
            let before = update(u32::MAX, &bytes);
            for (byte, change) in bytes.iter_mut().zip(changed) {
                *byte ^= change;
            }
            let after = update(u32::MAX, &bytes);
            prop_assert_eq!(before ^ difference(changed, bytes.len()), after);
        }
    }
}
