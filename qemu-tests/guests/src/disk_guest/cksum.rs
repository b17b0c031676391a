//! The checksum of POSIX' `cksum`, so that a disk can be compared with the file it is in dom0.

/// What is divided by.
const POLYNOMIAL: u32 = 0x04c1_1db7;

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut rest = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            rest = rest << 1 ^ if rest >> 31 == 1 { POLYNOMIAL } else { 0 };
            bit += 1;
        }
        table[index] = rest;
        index += 1;
    }
    table
}

/// A checksum of what was added.
#[derive(Default)]
pub(crate) struct Cksum(u32);

impl Cksum {
    /// Adds bytes.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let index = (self.0 >> 24) as u8 ^ byte;
            self.0 = self.0 << 8 ^ TABLE[usize::from(index)];
        }
    }

    /// The checksum of `len` bytes.
    pub(crate) fn finish(mut self, len: usize) -> u32 {
        let bytes = len.to_le_bytes();
        let used = (usize::BITS - len.leading_zeros()).div_ceil(8) as usize;
        self.add(&bytes[..used]);
        !self.0
    }
}
