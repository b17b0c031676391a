//! A guest that makes whatever accesses its disk says: who tests a device model thinks them out on the host.

use crate::boot_sector::assemble;
use anyhow::{Result, ensure};

const SECTOR: usize = 512;

/// Where the accesses begin on the disk, and how many sectors of them the guest reads at once.
const OWN: usize = 8;
const AT_ONCE: usize = 64;

/// How many bytes of accesses the guest has room for, below the BIOS' own memory.
const ROOM: usize = 0x7_0000;

/// How many of those chunks there are stands in the boot sector here.
const CHUNKS_AT: usize = 508;

/// In an operation's byte: a string instruction goes downwards.
const DOWNWARDS: u8 = 0x80;

/// How wide an access is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// A byte.
    Byte,
    /// Two.
    Word,
    /// Four.
    Dword,
}

/// Which way a string instruction goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To higher addresses.
    Up,
    /// To lower ones.
    Down,
}

/// What a guest does, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accesses {
    records: Vec<u8>,
}

impl Accesses {
    /// Writes to a port.
    pub fn write(&mut self, width: Width, port: u16, value: u32) {
        self.push(1, width, Way::Up, port, [0, value, 0]);
    }

    /// Reads a port.
    pub fn read(&mut self, width: Width, port: u16) {
        self.push(2, width, Way::Up, port, [0; 3]);
    }

    /// Writes what is in memory to a port: a string instruction.
    pub fn write_string(&mut self, width: Width, way: Way, port: u16, address: u32, count: u32) {
        self.push(3, width, way, port, [address, 0, count]);
    }

    /// Reads a port into memory.
    pub fn read_string(&mut self, width: Width, way: Way, port: u16, address: u32, count: u32) {
        self.push(4, width, way, port, [address, 0, count]);
    }

    /// Writes one value to memory, `count` times.
    pub fn store(&mut self, width: Width, address: u32, value: u32, count: u32) {
        self.push(5, width, Way::Up, 0, [address, value, count]);
    }

    /// Reads memory.
    pub fn load(&mut self, width: Width, address: u32) {
        self.push(6, width, Way::Up, 0, [address, 0, 0]);
    }

    /// Copies memory.
    pub fn copy(&mut self, width: Width, way: Way, from: u32, to: u32, count: u32) {
        self.push(7, width, way, 0, [to, from, count]);
    }

    /// Reads a port until the bits of `mask` are `wanted`, `tries` times at most.
    pub fn await_port(&mut self, port: u16, mask: u8, wanted: u8, tries: u32) {
        let value = u32::from(wanted) << 8 | u32::from(mask);
        self.push(8, Width::Byte, Way::Up, port, [0, value, tries]);
    }

    /// Reads memory until the bits of `mask` are zero, `tries` times at most.
    pub fn await_clear(&mut self, address: u32, mask: u32, tries: u32) {
        self.push(8, Width::Word, Way::Up, 0, [address, mask, tries]);
    }

    /// Prints what is in memory, up to a zero, on the first serial port, whose registers it sets as a BIOS does.
    pub fn print(&mut self, address: u32) {
        self.push(8, Width::Dword, Way::Up, 0, [address, 0, 0]);
    }

    /// Puts bytes into memory.
    pub fn put(&mut self, address: u32, bytes: &[u8]) {
        for (chunk, at) in bytes.chunks(4).zip((address..).step_by(4)) {
            let mut word = [0; 4];
            word[..chunk.len()].copy_from_slice(chunk);
            self.store(Width::Dword, at, u32::from_le_bytes(word), 1);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len() / 16
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// A disk of so many sectors that starts a guest which does all this and then nothing. Behind what it starts
    /// from, each sector's bytes are its number.
    ///
    /// # Errors
    /// There is no assembler, or there are too many accesses for the guest or the disk.
    pub fn disk(&self, sectors: usize) -> Result<Vec<u8>> {
        let mut disk = assemble(include_str!("accesses.s"))?;
        ensure!(disk.len() <= OWN * SECTOR, "the program is too long");
        ensure!(self.records.len() < ROOM, "these are too many accesses");
        let chunks = self.records.len() / (AT_ONCE * SECTOR) + 1;
        disk[CHUNKS_AT..][..2].copy_from_slice(&u16::try_from(chunks)?.to_le_bytes());
        disk.resize(OWN * SECTOR, 0);
        disk.extend(&self.records);
        disk.resize((OWN + chunks * AT_ONCE) * SECTOR, 0);
        let first = disk.len() / SECTOR;
        ensure!(first <= sectors, "these are too many accesses for the disk");
        for sector in first..sectors {
            disk.extend(sector.to_le_bytes().repeat(SECTOR / 8));
        }
        Ok(disk)
    }

    fn push(&mut self, operation: u8, width: Width, way: Way, port: u16, rest: [u32; 3]) {
        let way = match way {
            Way::Up => 0,
            Way::Down => DOWNWARDS,
        };
        self.records.extend([operation << 2 | width as u8 | way, 0]);
        self.records.extend(port.to_le_bytes());
        self.records.extend(rest.map(u32::to_le_bytes).concat());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_holds_the_accesses_and_what_starts_them() {
        let mut accesses = Accesses::default();
        assert!(accesses.is_empty());
        accesses.write(Width::Word, 0x1f0, 0x1234);
        accesses.read_string(Width::Byte, Way::Down, 0x1f0, 0x10_0000, 7);
        assert_eq!(accesses.len(), 2);
        let disk = accesses.disk(100).unwrap();
        assert_eq!(disk.len(), 100 * SECTOR);
        assert_eq!(disk[508..512], [1, 0, 0x55, 0xaa]);
        let first = [5, 0, 0xf0, 1, 0, 0, 0, 0, 0x34, 0x12, 0, 0, 0, 0, 0, 0];
        let second = [0x90, 0, 0xf0, 1, 0, 0, 0x10, 0, 0, 0, 0, 0, 7, 0, 0, 0];
        assert_eq!(disk[OWN * SECTOR..][..32], [first, second].concat());
        assert_eq!(disk[99 * SECTOR..][..8], 99_u64.to_le_bytes());
    }

    #[test]
    fn accesses_that_do_not_fit_are_refused() {
        let mut accesses = Accesses::default();
        for _ in 0..ROOM / 16 {
            accesses.read(Width::Byte, 0x80);
        }
        assert!(accesses.disk(2000).is_err());
        assert!(Accesses::default().disk(70).is_err());
    }
}
