//! How much one access moves.

use serde::{Deserialize, Serialize};

/// How much one access to a register moves. What is wider reaches a device as several of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Width {
    /// One byte.
    Byte,
    /// Two bytes.
    Word,
    /// Four bytes.
    Dword,
}

impl Width {
    /// All of them, the narrowest first.
    pub const ALL: [Self; 3] = [Self::Byte, Self::Word, Self::Dword];

    /// How many bytes that is.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Word => 2,
            Self::Dword => 4,
        }
    }

    /// The width that has so many bytes.
    pub const fn of(bytes: usize) -> Option<Self> {
        match bytes {
            1 => Some(Self::Byte),
            2 => Some(Self::Word),
            4 => Some(Self::Dword),
            _ => None,
        }
    }

    /// All bits set: what a bus reads where nobody answers.
    pub const fn ones(self) -> u32 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Dword => 0xffff_ffff,
        }
    }

    /// What registers of one byte, which follow each other, read together: `byte` is asked for each
    /// in turn, by its place in the access.
    pub fn gather(self, mut byte: impl FnMut(usize) -> u8) -> u32 {
        (0..self.bytes()).fold(0, |value, at| value | u32::from(byte(at)) << (8 * at))
    }

    /// Hands a written value to registers of one byte which follow each other.
    pub fn scatter(self, value: u32, mut byte: impl FnMut(usize, u8)) {
        for (at, part) in value
            .to_le_bytes()
            .into_iter()
            .take(self.bytes())
            .enumerate()
        {
            byte(at, part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wide_access_reaches_narrow_registers_lowest_first() {
        for width in Width::ALL {
            assert_eq!(Width::of(width.bytes()), Some(width));
            let mut registers = [0; 4];
            width.scatter(0x4433_2211, |at, byte| registers[at] = byte);
            assert_eq!(width.gather(|at| registers[at]), 0x4433_2211 & width.ones());
        }
        assert_eq!([0, 3, 5, 8].map(Width::of), [None; 4]);
    }
}
