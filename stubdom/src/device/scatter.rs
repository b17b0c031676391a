//! A table of descriptors in the guest's memory, which says where a transfer's bytes lie.
//!
//! The table is the guest's: it may be anywhere, be any length, and change while it is read. Each
//! descriptor is read once, when its turn comes; each stands for two bytes at least, so a transfer of
//! so many bytes never reads more than half as many, nor more than the table can have.

use crate::disk::{SECTOR, Segment, Segments};
use crate::memory::{GuestMemory, Outside};
use serde::{Deserialize, Serialize};

/// How a controller's descriptors look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Format {
    /// The bus master's of an IDE controller: eight bytes, the last one marked.
    Prd,
    /// AHCI's: sixteen bytes, and their number stands elsewhere. (AHCI 1.3.1, 4.2.3.3.)
    Prdt,
}

/// Where a transfer is in its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cursor {
    format: Format,
    /// Of the next descriptor.
    next: u64,
    /// Descriptors that may still be read.
    left: u32,
    /// What is left of the one before.
    address: u64,
    length: u32,
}

impl Cursor {
    /// A bus master's table, which ends with its 64 KiB if with nothing before.
    pub(super) fn prd(table: u32) -> Self {
        Self {
            format: Format::Prd,
            next: u64::from(table & !3),
            left: (0x1_0000 - (table & 0xfffc)) / 8,
            address: 0,
            length: 0,
        }
    }

    /// AHCI's, of so many descriptors.
    pub(super) const fn prdt(table: u64, descriptors: u16) -> Self {
        Self {
            format: Format::Prdt,
            next: table,
            left: descriptors as u32,
            address: 0,
            length: 0,
        }
    }

    /// Nothing is left of it.
    pub(super) fn is_at_end(&self) -> bool {
        self.length == 0 && self.left == 0
    }

    /// The next bytes, `bytes` at most: fewer where the table ends, and where they lie in more pieces
    /// than one request has. What that leaves out begins at a multiple of a sector from here.
    pub(super) fn take<M: GuestMemory>(
        &mut self,
        bytes: usize,
        memory: &mut M,
    ) -> Result<Segments, Outside> {
        let mut segments = Segments::default();
        while segments.bytes() < bytes {
            let before = *self;
            let have = segments.bytes();
            let wanted = (bytes - have).min(SECTOR);
            if !self.take_sector(wanted, &mut segments, memory)? {
                segments.truncate(have);
                *self = before;
                break;
            }
            if segments.bytes() < have + wanted {
                break;
            }
        }
        Ok(segments)
    }

    /// False: there was no room for its pieces.
    fn take_sector<M: GuestMemory>(
        &mut self,
        bytes: usize,
        segments: &mut Segments,
        memory: &mut M,
    ) -> Result<bool, Outside> {
        let mut wanted = bytes as u32;
        while wanted > 0 {
            if self.length == 0 && !self.load(memory)? {
                return Ok(true);
            }
            let length = self.length.min(wanted);
            let segment = Segment {
                address: self.address,
                length,
            };
            if !segments.push(segment) {
                return Ok(false);
            }
            self.address = self.address.wrapping_add(length.into());
            self.length -= length;
            wanted -= length;
        }
        Ok(true)
    }

    /// Reads the next descriptor. False: there is none.
    fn load<M: GuestMemory>(&mut self, memory: &mut M) -> Result<bool, Outside> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        match self.format {
            Format::Prd => {
                let mut bytes = [0; 8];
                memory.read(self.next, &mut bytes)?;
                let [address, length] = words(&bytes);
                self.address = u64::from(address & !1);
                self.length = match length & 0xfffe {
                    0 => 0x1_0000,
                    length => length,
                };
                if length & 1 << 31 != 0 {
                    self.left = 0;
                }
                self.next = self.next.wrapping_add(8);
            }
            Format::Prdt => {
                let mut bytes = [0; 16];
                memory.read(self.next, &mut bytes)?;
                let [low, high, _, length] = words(&bytes);
                self.address = u64::from(high) << 32 | u64::from(low & !1);
                self.length = (length & 0x3f_ffff | 1) + 1;
                self.next = self.next.wrapping_add(16);
            }
        }
        Ok(true)
    }
}

/// Little-endian words.
fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// Copies into the guest what its table has room for; how many bytes that was.
pub(super) fn give<M: GuestMemory>(
    bytes: &[u8],
    cursor: &mut Cursor,
    memory: &mut M,
) -> Result<usize, Outside> {
    let segments = cursor.take(bytes.len(), memory)?;
    let mut at = 0;
    for run in segments.runs(0, bytes.len()) {
        let end = at + run.length as usize;
        memory.write(run.address, &bytes[at..end])?;
        at = end;
    }
    Ok(at)
}

/// Copies out of the guest what its table names; how many bytes that was.
pub(super) fn fetch<M: GuestMemory>(
    bytes: &mut [u8],
    cursor: &mut Cursor,
    memory: &mut M,
) -> Result<usize, Outside> {
    let segments = cursor.take(bytes.len(), memory)?;
    let mut at = 0;
    for run in segments.runs(0, bytes.len()) {
        let end = at + run.length as usize;
        memory.read(run.address, &mut bytes[at..end])?;
        at = end;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Ram;
    use alloc::vec::Vec;

    fn prd(ram: &mut Ram, at: u64, entries: &[(u32, u32)]) {
        for (number, (address, length)) in entries.iter().enumerate() {
            let entry = u64::from(*length) << 32 | u64::from(*address);
            ram.write(at + 8 * number as u64, &entry.to_le_bytes())
                .unwrap();
        }
    }

    fn runs(segments: &Segments) -> Vec<(u64, u32)> {
        let runs = segments.runs(0, usize::MAX);
        runs.map(|run| (run.address, run.length)).collect()
    }

    #[test]
    fn a_table_is_walked_until_its_mark() {
        let mut ram = Ram::new(0x10000);
        let entries = [(0x2001, 0x201), (0x5000, 0), (0x4000, 0x8000_0100), (0, 2)];
        prd(&mut ram, 0x1000, &entries);
        let mut cursor = Cursor::prd(0x1003);
        let first = cursor.take(0x400, &mut ram).unwrap();
        assert_eq!(runs(&first), [(0x2000, 0x200), (0x5000, 0x200)]);
        let rest = cursor.take(0x2_0000, &mut ram).unwrap();
        assert_eq!(runs(&rest), [(0x5200, 0xfe00), (0x4000, 0x100)]);
        assert!(cursor.is_at_end());
        assert_eq!(cursor.take(2, &mut ram).unwrap().bytes(), 0);
    }

    #[test]
    fn a_table_ends_with_its_64_kib_and_outside_memory() {
        let mut ram = Ram::new(0x2_0000);
        prd(
            &mut ram,
            0xfff0,
            &[(0, 0x200), (0x1000, 0x200), (0x2000, 0x200)],
        );
        let mut cursor = Cursor::prd(0xfff0);
        assert_eq!(cursor.take(0x600, &mut ram).unwrap().bytes(), 0x400);
        let mut cursor = Cursor::prd(0x1_fffc);
        assert_eq!(cursor.take(0x200, &mut ram).unwrap().bytes(), 0);
        let mut cursor = Cursor::prdt(u64::MAX - 3, u16::MAX);
        assert_eq!(cursor.take(0x200, &mut ram), Err(Outside));
    }

    #[test]
    fn a_sector_in_two_hundred_and_fifty_six_pieces_is_one_request() {
        let mut ram = Ram::new(0x2_0000);
        let entries: Vec<_> = (0..1024).map(|at| (0x8000 + 4 * at, 2)).collect();
        prd(&mut ram, 0, &entries);
        let mut cursor = Cursor::prd(0);
        for sector in 0..4 {
            let segments = cursor.take(4 * SECTOR, &mut ram).unwrap();
            assert_eq!(segments.bytes(), SECTOR);
            assert_eq!(runs(&segments)[0].0, 0x8000 + sector * 1024);
        }
        // Behind another, its pieces are one too many: it waits for the next request.
        prd(&mut ram, 0, &[(0x100, 0x200)]);
        prd(&mut ram, 8, &entries);
        let mut cursor = Cursor::prd(0);
        let segments = cursor.take(4 * SECTOR, &mut ram).unwrap();
        assert_eq!(runs(&segments), [(0x100, 0x200)]);
        let segments = cursor.take(4 * SECTOR, &mut ram).unwrap();
        assert_eq!(segments.bytes(), SECTOR);
        assert_eq!(runs(&segments)[..2], [(0x8000, 2), (0x8004, 2)]);
    }

    #[test]
    fn bytes_go_where_the_table_says_as_far_as_it_says() {
        let mut ram = Ram::new(0x1_0000);
        let mut table = [0; 32];
        table[0..4].copy_from_slice(&0x3001u32.to_le_bytes());
        table[12..16].copy_from_slice(&2u32.to_le_bytes());
        table[16..20].copy_from_slice(&0x4000u32.to_le_bytes());
        table[28..32].copy_from_slice(&0x8000_0001u32.to_le_bytes());
        ram.write(0x1000, &table).unwrap();
        let mut cursor = Cursor::prdt(0x1000, 2);
        assert_eq!(give(&[1, 2, 3, 4, 5, 6, 7], &mut cursor, &mut ram), Ok(6));
        assert_eq!(ram.bytes[0x3000..0x3005], [1, 2, 3, 4, 0]);
        assert_eq!(ram.bytes[0x4000..0x4003], [5, 6, 0]);
        let mut back = [0; 8];
        let mut cursor = Cursor::prdt(0x1000, 2);
        assert_eq!(fetch(&mut back, &mut cursor, &mut ram), Ok(6));
        assert_eq!(back, [1, 2, 3, 4, 5, 6, 0, 0]);
    }
}
