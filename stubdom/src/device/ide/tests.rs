//! A driver for both kinds of drive, as small as they come, against a disk in memory.

mod answers;

use super::*;
use crate::backend::disk::Disks;
use crate::backend::disk::fake::MemoryDisk;
use crate::device::ata::{Attachment, HardDisk, Optical};
use crate::disk::{Operation, SECTOR};
use crate::memory::Ram;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const SECTORS: u64 = 5000;
const CD: u64 = 4 * 600;

/// Registers of the command block.
const ERROR: usize = 1;
const COUNT: usize = 2;
const LOW: usize = 3;
const MIDDLE: usize = 4;
const HIGH: usize = 5;
const DEVICE: usize = 6;
const STATUS: usize = 7;

const BSY: u8 = 0x80;
const DRDY: u8 = 0x40;
const DRQ: u8 = 0x08;
const ERR: u8 = 0x01;

/// A disk as primary master, a CD drive as secondary master, another disk as its slave.
struct Lab {
    ide: Ide,
    disks: Disks<MemoryDisk>,
    ram: Ram,
}

impl Lab {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut MemoryDisk)) -> Self {
        let disk = |serial| {
            let disk = HardDisk::new(Attachment::Parallel, SECTORS, serial);
            Some(Drive::Disk(disk.with_trim()))
        };
        let optical = Optical::new(Attachment::Parallel, Some(CD), "CD");
        let mut ide = Ide::new([
            disk("ONE"),
            None,
            Some(Drive::Optical(optical)),
            disk("TWO"),
        ]);
        ide.configuration.write(4, Width::Word, 5);
        let mut disks = Disks::new();
        let mut first = MemoryDisk::patterned(SECTORS);
        change(&mut first);
        disks.attach(0, first);
        disks.attach(2, MemoryDisk::patterned(CD));
        disks.attach(3, MemoryDisk::new(SECTORS));
        Self {
            ide,
            disks,
            ram: Ram::new(1 << 20),
        }
    }

    fn disk(&mut self, drive: u8) -> &mut MemoryDisk {
        self.disks.disk_mut(drive).unwrap()
    }

    /// Of the first disk, everything is on the medium.
    fn is_flushed(&mut self) -> bool {
        let disk = self.disk(0);
        disk.medium == disk.bytes
    }

    fn turn(&mut self) {
        self.disks.turn(&mut self.ide, &mut self.ram);
    }

    fn out(&mut self, channel: usize, register: usize, value: u8) {
        self.ide
            .write_command(channel, register, Width::Byte, value.into());
        self.turn();
    }

    fn inb(&mut self, channel: usize, register: usize) -> u8 {
        self.ide.read_command(channel, register, Width::Byte) as u8
    }

    /// Writes the registers of a 28-bit command, and the command.
    fn command(&mut self, drive: usize, command: u8, features: u8, count: u8, lba: u32) {
        let channel = drive / 2;
        let unit = (drive % 2) as u8;
        self.out(channel, DEVICE, 0xe0 | unit << 4 | (lba >> 24) as u8 & 0xf);
        self.out(channel, ERROR, features);
        self.out(channel, COUNT, count);
        for (register, byte) in [LOW, MIDDLE, HIGH].into_iter().zip(lba.to_le_bytes()) {
            self.out(channel, register, byte);
        }
        self.out(channel, STATUS, command);
    }

    /// The same for 48 bits.
    fn long_command(&mut self, drive: usize, command: u8, count: u16, lba: u64) {
        let channel = drive / 2;
        let bytes = lba.to_le_bytes();
        self.out(channel, DEVICE, 0xe0 | ((drive % 2) as u8) << 4);
        self.out(channel, COUNT, (count >> 8) as u8);
        self.out(channel, COUNT, count as u8);
        for (at, register) in [LOW, MIDDLE, HIGH].into_iter().enumerate() {
            self.out(channel, register, bytes[at + 3]);
            self.out(channel, register, bytes[at]);
        }
        self.out(channel, STATUS, command);
    }

    /// Takes the interrupt that has to be there, and the status with it.
    fn interrupted(&mut self, channel: usize) -> u8 {
        assert!(self.ide.irq(channel), "no interrupt");
        let status = self.inb(channel, STATUS);
        assert!(!self.ide.irq(channel));
        status
    }

    fn words(&mut self, channel: usize, bytes: usize) -> Vec<u8> {
        let mut read = Vec::new();
        for _ in 0..bytes / 2 {
            let word = self.ide.read_command(channel, 0, Width::Word);
            read.extend_from_slice(&(word as u16).to_le_bytes());
        }
        self.turn();
        read
    }

    fn put_words(&mut self, channel: usize, bytes: &[u8]) {
        for word in bytes.as_chunks::<2>().0 {
            let word = u16::from_le_bytes(*word);
            self.ide.write_command(channel, 0, Width::Word, word.into());
        }
        self.turn();
    }

    /// Reads what a PIO command delivers, `block` bytes to an interrupt.
    fn pio_in(&mut self, drive: usize, bytes: usize, block: usize) -> Vec<u8> {
        let mut read = Vec::new();
        while read.len() < bytes {
            let status = self.interrupted(drive / 2);
            assert_eq!(status & (BSY | DRQ | ERR), DRQ, "after {}", read.len());
            let length = block.min(bytes - read.len());
            read.extend(self.words(drive / 2, length));
        }
        assert!(!self.ide.irq(drive / 2));
        let status = self.inb(drive / 2, STATUS);
        assert_eq!(status & (BSY | DRDY | DRQ | ERR), DRDY);
        read
    }

    /// Puts a table at address 0, starts the bus master, and waits for the interrupt.
    fn dma(&mut self, channel: usize, table: &[(u32, u32)]) -> (u8, u8) {
        for (at, (address, length)) in table.iter().enumerate() {
            let mark = if at + 1 == table.len() { 1 << 31 } else { 0 };
            let entry = u64::from(length & 0xffff | mark) << 32 | u64::from(*address);
            self.ram.write(8 * at as u64, &entry.to_le_bytes()).unwrap();
        }
        let base = 8 * channel;
        self.ide.write_bus_master(base + 4, Width::Dword, 0);
        self.ide.write_bus_master(base + 2, Width::Byte, 6);
        self.ide.write_bus_master(base, Width::Byte, 9);
        self.turn();
        let master = self.ide.read_bus_master(base + 2, Width::Byte) as u8;
        let status = if self.ide.irq(channel) {
            self.interrupted(channel)
        } else {
            self.ide.read_control(channel)
        };
        self.ide.write_bus_master(base, Width::Byte, 0);
        self.turn();
        (master, status)
    }

    fn packet(&mut self, packet: [u8; 12], dma: u8, limit: u16) {
        self.command(2, 0xa0, dma, 0, u32::from(limit) << 8);
        assert!(!self.ide.irq(1));
        assert_eq!(self.ide.read_control(1) & (BSY | DRQ | ERR), DRQ);
        assert_eq!(self.inb(1, COUNT) & 3, 1);
        self.put_words(1, &packet);
    }

    /// A packet by PIO, with what it delivers, or how it failed.
    fn packet_in(&mut self, packet: [u8; 12], limit: u16) -> Result<Vec<u8>, u8> {
        self.packet(packet, 0, limit);
        let mut read = Vec::new();
        loop {
            let status = self.interrupted(1);
            assert_eq!(status & BSY, 0);
            match (status & DRQ != 0, self.inb(1, COUNT) & 3) {
                (true, 2) => {
                    let low = self.inb(1, MIDDLE);
                    let length = usize::from(u16::from_le_bytes([low, self.inb(1, HIGH)]));
                    assert!(length <= usize::from(limit.max(2)));
                    read.extend(self.words(1, length.next_multiple_of(2)));
                    read.truncate(read.len() - length % 2);
                }
                (false, 3) if status & ERR != 0 => return Err(self.inb(1, ERROR)),
                (false, 3) => return Ok(read),
                other => panic!("{other:?}"),
            }
        }
    }

    fn sense(&mut self) -> (u8, u8, u8) {
        let sense = self
            .packet_in([3, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0, 0], 64)
            .unwrap();
        (sense[2], sense[12], sense[13])
    }
}

fn word(identity: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([identity[2 * at], identity[2 * at + 1]])
}

fn text(identity: &[u8], at: usize, words: usize) -> String {
    let bytes = identity[2 * at..2 * (at + words)].as_chunks::<2>().0;
    let bytes = bytes.iter().flat_map(|[low, high]| [*high, *low]).collect();
    String::from(String::from_utf8(bytes).unwrap().trim_end())
}

#[test]
fn drives_are_found_as_a_bios_looks_for_them() {
    let mut lab = Lab::new();
    for (drive, signature) in [
        (0, Some((1, 1, 0, 0))),
        (1, None),
        (2, Some((1, 1, 0x14, 0xeb))),
        (3, Some((1, 1, 0, 0))),
    ] {
        let channel = drive / 2;
        lab.ide.write_control(channel, 4);
        assert_eq!(lab.ide.read_control(channel), 0x80);
        lab.ide.write_control(channel, 0);
        lab.out(channel, DEVICE, 0xa0 | ((drive % 2) as u8) << 4);
        assert_eq!(lab.ide.read_control(channel) & BSY, 0);
        let found = lab.inb(channel, COUNT);
        let found = (
            found,
            lab.inb(channel, LOW),
            lab.inb(channel, MIDDLE),
            lab.inb(channel, HIGH),
        );
        assert_eq!(found, signature.unwrap_or((0, 0, 0, 0)), "drive {drive}");
        lab.out(channel, COUNT, 0x55);
        lab.out(channel, LOW, 0xaa);
        let echo = (lab.inb(channel, COUNT), lab.inb(channel, LOW));
        let expected = if signature.is_some() {
            (0x55, 0xaa)
        } else {
            (0, 0)
        };
        assert_eq!(echo, expected);
    }
}

#[test]
fn a_disk_says_what_it_is() {
    let mut lab = Lab::new();
    lab.command(0, 0xec, 0, 0, 0);
    let identity = lab.pio_in(0, SECTOR, SECTOR);
    assert_eq!(word(&identity, 0), 0x40);
    assert_eq!(text(&identity, 10, 10), "ONE");
    assert_eq!(text(&identity, 27, 20), "Xen virtual disk");
    assert_eq!(word(&identity, 60), SECTORS as u16);
    assert_eq!(word(&identity, 100), SECTORS as u16);
    assert_eq!(word(&identity, 47), 0x8010);
    assert_eq!(word(&identity, 49) & 0x0300, 0x0300);
    assert_eq!(word(&identity, 83), 0x7400);
    assert_eq!(word(&identity, 76), 0, "no serial link");
    assert_eq!((word(&identity, 169), word(&identity, 105)), (1, 1));
    let sum = identity
        .iter()
        .fold(0u8, |sum, byte| sum.wrapping_add(*byte));
    assert_eq!((identity[510], sum), (0xa5, 0));
    lab.command(2, 0xec, 0, 0, 0);
    assert_eq!(lab.interrupted(1) & (ERR | DRQ), ERR);
    assert_eq!((lab.inb(1, MIDDLE), lab.inb(1, HIGH)), (0x14, 0xeb));
    lab.command(2, 0xa1, 0, 0, 0);
    let identity = lab.pio_in(2, SECTOR, SECTOR);
    assert_eq!(word(&identity, 0), 0x85c0);
    assert_eq!(text(&identity, 27, 20), "Xen virtual DVD-ROM");
}

#[test]
fn sectors_are_read_by_pio_in_every_way_of_naming_them() {
    let mut lab = Lab::new();
    let expected = |lab: &mut Lab, first: usize, sectors: usize| {
        lab.disk(0).bytes[first * SECTOR..(first + sectors) * SECTOR].to_vec()
    };
    lab.command(0, 0x20, 0, 3, 17);
    let read = lab.pio_in(0, 3 * SECTOR, SECTOR);
    assert!(read == expected(&mut lab, 17, 3));
    // None means 256.
    lab.command(0, 0x20, 0, 0, 100);
    let read = lab.pio_in(0, 256 * SECTOR, SECTOR);
    assert!(read == expected(&mut lab, 100, 256));
    assert_eq!(lab.disk(0).log.len(), 1 + 4, "64 at a time");
    lab.long_command(0, 0x24, 2, 0xfff);
    let read = lab.pio_in(0, 2 * SECTOR, SECTOR);
    assert!(read == expected(&mut lab, 0xfff, 2));
    lab.command(0, 0xc6, 0, 4, 0);
    assert_eq!(lab.interrupted(0), 0x50);
    lab.command(0, 0xc4, 0, 70, 9);
    let read = lab.pio_in(0, 70 * SECTOR, 4 * SECTOR);
    assert!(read == expected(&mut lab, 9, 70));
    lab.long_command(0, 0x29, 7, 20);
    let read = lab.pio_in(0, 7 * SECTOR, 4 * SECTOR);
    assert!(read == expected(&mut lab, 20, 7));
    // Cylinder 1, head 2, sector 3 of 16 heads of 63.
    lab.out(0, DEVICE, 0xa2);
    for (register, value) in [(COUNT, 1), (LOW, 3), (MIDDLE, 1), (HIGH, 0), (STATUS, 0x20)] {
        lab.out(0, register, value);
    }
    let read = lab.pio_in(0, SECTOR, SECTOR);
    assert!(read == expected(&mut lab, (16 + 2) * 63 + 2, 1));
    // Of 4 heads of 10.
    lab.out(0, DEVICE, 0xa3);
    lab.out(0, COUNT, 10);
    lab.out(0, STATUS, 0x91);
    assert_eq!(lab.interrupted(0), 0x50);
    lab.out(0, DEVICE, 0xa2);
    for (register, value) in [(COUNT, 1), (LOW, 3), (MIDDLE, 1), (HIGH, 0), (STATUS, 0x20)] {
        lab.out(0, register, value);
    }
    let read = lab.pio_in(0, SECTOR, SECTOR);
    assert!(read == expected(&mut lab, (4 + 2) * 10 + 2, 1));
}

#[test]
fn the_data_register_takes_two_words_at_once() {
    let mut lab = Lab::new();
    lab.command(0, 0x20, 0, 1, 17);
    assert_eq!(lab.interrupted(0) & DRQ, DRQ);
    let expected = lab.disk(0).bytes[17 * SECTOR..18 * SECTOR].to_vec();
    for bytes in expected.as_chunks::<4>().0 {
        let read = lab.ide.read_command(0, 0, Width::Dword);
        assert_eq!(read, u32::from_le_bytes(*bytes));
    }
    assert_eq!(lab.inb(0, STATUS), 0x50);
    assert_eq!(lab.ide.read_command(0, 0, Width::Dword), 0);
}

#[test]
fn sectors_are_written_by_pio() {
    let mut lab = Lab::new();
    let data: Vec<u8> = (0..150 * SECTOR).map(|at| (at / 3) as u8).collect();
    lab.command(0, 0x30, 0, 150, 40);
    assert!(!lab.ide.irq(0), "for the first block nobody is interrupted");
    for (number, sector) in data.chunks(SECTOR).enumerate() {
        if number > 0 {
            assert_eq!(lab.interrupted(0), 0x58, "block {number}");
        }
        lab.put_words(0, sector);
    }
    assert_eq!(lab.interrupted(0), 0x50);
    assert!(lab.disk(0).bytes[40 * SECTOR..190 * SECTOR] == data);
    assert!(!lab.is_flushed());
    lab.command(0, 0xe7, 0, 0, 0);
    assert_eq!(lab.interrupted(0), 0x50);
    assert!(lab.is_flushed());
    lab.long_command(3, 0x39, 18, 7);
    lab.put_words(1, &data[..16 * SECTOR]);
    assert_eq!(lab.interrupted(1), 0x58);
    lab.put_words(1, &data[16 * SECTOR..18 * SECTOR]);
    assert_eq!(lab.interrupted(1), 0x50);
    assert!(lab.disk(3).bytes[7 * SECTOR..25 * SECTOR] == data[..18 * SECTOR]);
}

#[test]
fn sectors_go_by_dma_wherever_the_table_says() {
    let mut lab = Lab::new();
    lab.command(0, 0xc8, 0, 16, 1000);
    assert_eq!(lab.ide.read_control(0) & BSY, BSY);
    let (master, status) = lab.dma(0, &[(0x8000, 0x1002), (0x2_0000, 0xffe)]);
    assert_eq!((master, status), (4, 0x50));
    let expected = lab.disk(0).bytes[1000 * SECTOR..1016 * SECTOR].to_vec();
    assert!(lab.ram.bytes[0x8000..0x9002] == expected[..0x1002]);
    assert!(lab.ram.bytes[0x2_0000..0x2_0ffe] == expected[0x1002..]);
    lab.long_command(3, 0x35, 8, 4000);
    let (master, status) = lab.dma(1, &[(0x8000, 0x1000)]);
    assert_eq!((master, status), (4, 0x50));
    assert!(lab.disk(3).bytes[4000 * SECTOR..4008 * SECTOR] == expected[..0x1000]);
    assert_eq!(lab.disk(3).log, [(Operation::Write, 4000, 8)]);
    // A table with room for more leaves the bus master waiting.
    lab.long_command(0, 0x25, 1, 0);
    assert_eq!(lab.dma(0, &[(0x8000, 0x1000)]), (5, 0x50));
}

#[test]
fn a_long_transfer_of_scattered_pages_is_several_requests() {
    let mut lab = Lab::new();
    lab.disk(0).info.request_max = 256;
    let table: Vec<_> = (0..300u32).map(|at| (0x1_0000 + at * 2048, 1024)).collect();
    lab.long_command(0, 0x25, 600, 5);
    assert_eq!(lab.dma(0, &table), (4, 0x50));
    let read: Vec<u8> = table
        .iter()
        .flat_map(|(at, _)| lab.ram.bytes[*at as usize..][..1024].to_vec())
        .collect();
    let expected = &lab.disk(0).bytes[5 * SECTOR..605 * SECTOR];
    assert!(read == expected);
}

#[test]
fn a_table_that_is_too_short_leaves_the_drive_waiting_until_it_is_reset() {
    let mut lab = Lab::new();
    lab.command(0, 0xc8, 0, 16, 0);
    let (master, status) = lab.dma(0, &[(0x8000, 0x200)]);
    assert_eq!((master, status & (BSY | DRQ)), (0, DRQ));
    assert!(!lab.ide.irq(0));
    lab.command(0, 0xec, 0, 0, 0);
    assert!(!lab.ide.irq(0));
    lab.ide.write_control(0, 4);
    lab.ide.write_control(0, 0);
    lab.command(0, 0xc8, 0, 1, 0);
    assert_eq!(lab.dma(0, &[(0x8000, 0x200)]), (4, 0x50));
}

#[test]
fn a_table_that_leads_outside_memory_is_an_error() {
    let mut lab = Lab::new();
    for entry in [(0xffff_0000, 0), (0x10_0000 - 512, 0)] {
        for command in [0xc8, 0xca] {
            lab.command(0, command, 0, 128, 0);
            let (master, status) = lab.dma(0, &[entry]);
            assert_eq!((master, status), (6, 0x51), "{entry:x?}");
            assert_eq!(lab.inb(0, ERROR), 4);
        }
    }
    // The table itself.
    lab.command(0, 0xc8, 0, 1, 0);
    lab.ide.write_bus_master(4, Width::Dword, 0xf000_0003);
    lab.ide.write_bus_master(0, Width::Byte, 9);
    lab.turn();
    assert_eq!(lab.ide.read_bus_master(2, Width::Byte) & 7, 6);
    assert_eq!(lab.ide.read_bus_master(4, Width::Dword), 0xf000_0000);
    assert_eq!(lab.interrupted(0), 0x51);
}

#[test]
fn without_leave_of_pci_no_byte_moves() {
    let mut lab = Lab::new();
    lab.ide.configuration.write(4, Width::Word, 1);
    lab.command(0, 0xc8, 0, 1, 0);
    lab.dma(0, &[(0x8000, 0x200)]);
    assert!(!lab.ide.irq(0));
    assert_eq!(lab.disk(0).log, []);
}

#[test]
fn stopping_the_bus_master_stops_it() {
    let mut lab = Lab::with(|disk| disk.is_slow = true);
    lab.command(0, 0xc8, 0, 8, 0);
    let (master, _) = lab.dma(0, &[(0x8000, 0x1000)]);
    assert_eq!(master, 1);
    lab.disk(0).release(1);
    lab.turn();
    assert!(lab.ram.bytes[0x8000..0x9000].iter().all(|&byte| byte == 0));
    assert!(!lab.ide.irq(0));
    lab.ide.write_control(0, 4);
    lab.ide.write_control(0, 0);
    lab.turn();
    lab.command(0, 0x20, 0, 1, 3);
    lab.disk(0).release(1);
    lab.turn();
    let expected = lab.disk(0).bytes[3 * SECTOR..4 * SECTOR].to_vec();
    assert!(lab.pio_in(0, SECTOR, SECTOR) == expected);
}

#[test]
fn a_reset_forgets_what_is_under_way() {
    let mut lab = Lab::with(|disk| disk.is_slow = true);
    lab.command(0, 0x20, 0, 1, 3);
    assert_eq!(lab.ide.read_control(0), 0x90);
    lab.ide.write_control(0, 4);
    lab.turn();
    lab.ide.write_control(0, 0);
    lab.disk(0).release(1);
    lab.turn();
    assert!(!lab.ide.irq(0));
    assert_eq!(lab.ide.read_control(0), 0x50);
    assert_eq!((lab.inb(0, ERROR), lab.inb(0, COUNT)), (1, 1));
    assert!(lab.disks.is_idle());
}

#[test]
fn a_command_that_cannot_be_is_refused() {
    let mut lab = Lab::new();
    for (command, features, count, lba) in [
        (0x00, 0, 0, 0),
        (0x08, 0, 0, 0),
        (0x60, 1, 0, 0),
        (0xa0, 0, 0, 0),
        (0xc6, 0, 3, 0),
        (0xc6, 0, 32, 0),
        (0xef, 0x03, 0x46, 0),
        (0xef, 0x10, 0, 0),
        (0xb0, 0xda, 0, 0),
        (0x06, 0, 1, 0),
        (0x06, 1, 2, 0),
        (0x2f, 0, 1, 0x10),
        (0xf5, 0, 0, 0),
        (0xff, 0, 0, 0),
    ] {
        lab.command(0, command, features, count, lba);
        assert_eq!(lab.interrupted(0), 0x51, "{command:#x}");
        assert_eq!(lab.inb(0, ERROR), 4, "{command:#x}");
    }
    for (command, lba) in [
        (0x20, SECTORS),
        (0x30, SECTORS - 1),
        (0xc8, 0xfff_ffff),
        (0x40, SECTORS - 1),
    ] {
        lab.command(0, command, 0, 2, lba as u32);
        assert_eq!(lab.interrupted(0), 0x51, "{command:#x}");
        assert_eq!(lab.inb(0, ERROR), 0x10, "{command:#x}");
    }
    lab.long_command(0, 0x24, 1, (1 << 48) - 1);
    assert_eq!((lab.interrupted(0), lab.inb(0, ERROR)), (0x51, 0x10));
    assert_eq!(lab.disk(0).log, []);
    lab.command(0, 0x40, 0, 2, SECTORS as u32 - 2);
    assert_eq!(lab.interrupted(0), 0x50);
}

#[test]
fn what_asks_for_no_data_is_done() {
    let mut lab = Lab::new();
    for (command, features, count, lba) in [
        (0x10, 0, 0, 0),
        (0x70, 0, 0, 0),
        (0xef, 0x03, 0x45, 0),
        (0xef, 0x82, 0, 0),
        (0xef, 0x02, 0, 0),
        (0xef, 0xaa, 0, 0),
        (0xb0, 0xd9, 0, 0xc2_4f00),
        (0xb0, 0xd8, 0, 0xc2_4f00),
        (0xb0, 0xda, 0, 0xc2_4f00),
        (0xe3, 0, 0, 0),
        (0xe0, 0, 0, 0),
        (0xe7, 0, 0, 0),
        (0xea, 0, 0, 0),
    ] {
        lab.command(0, command, features, count, lba);
        assert_eq!(lab.interrupted(0), 0x50, "{command:#x}");
    }
    lab.command(0, 0xe5, 0, 1, 0);
    lab.interrupted(0);
    assert_eq!(lab.inb(0, COUNT), 0, "in standby");
    lab.command(0, 0xb0, 0xd0, 0, 0xc2_4f00);
    let data = lab.pio_in(0, SECTOR, SECTOR);
    assert_eq!(
        data.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)),
        0
    );
    lab.command(3, 0x90, 0, 0, 0);
    assert_eq!(lab.interrupted(1), 0, "the first drive is a CD's");
    assert_eq!(lab.inb(1, ERROR), 1);
}

#[test]
fn without_its_cache_a_disk_reports_what_is_on_the_medium() {
    let mut lab = Lab::new();
    lab.command(0, 0xef, 0x82, 0, 0);
    lab.interrupted(0);
    lab.ram.bytes[0x8000..0x8200].fill(9);
    lab.command(0, 0xca, 0, 1, 4);
    assert_eq!(lab.dma(0, &[(0x8000, 0x200)]), (4, 0x50));
    assert_eq!(lab.disk(0).medium[4 * SECTOR], 9);
    lab.command(0, 0xef, 0x02, 0, 0);
    lab.interrupted(0);
    lab.long_command(0, 0x3d, 1, 5);
    assert_eq!(lab.dma(0, &[(0x8000, 0x200)]), (4, 0x50));
    assert_eq!(
        lab.disk(0).medium[5 * SECTOR],
        9,
        "of this write it was asked"
    );
    lab.long_command(0, 0x35, 1, 6);
    assert_eq!(lab.dma(0, &[(0x8000, 0x200)]), (4, 0x50));
    assert_ne!(lab.disk(0).medium[6 * SECTOR..7 * SECTOR], [9; SECTOR]);
}

#[test]
fn a_disks_failure_is_an_error_of_ata() {
    let mut lab = Lab::with(|disk| disk.bad = 70..71);
    lab.command(0, 0x20, 0, 1, 70);
    assert_eq!((lab.interrupted(0), lab.inb(0, ERROR)), (0x51, 0x40));
    assert_eq!(lab.inb(0, LOW), 70);
    lab.command(0, 0xc8, 0, 8, 64);
    assert_eq!(lab.dma(0, &[(0x8000, 0x1000)]).1, 0x51);
    assert_eq!((lab.inb(0, ERROR), lab.inb(0, LOW)), (0x40, 64));
    lab.command(0, 0xca, 0, 8, 64);
    assert_eq!(lab.dma(0, &[(0x8000, 0x1000)]).1, 0x51);
    assert_eq!(lab.inb(0, ERROR), 4);
    lab.disk(0).info.read_only = true;
    lab.command(0, 0xca, 0, 8, 0);
    assert_eq!(lab.dma(0, &[(0x8000, 0x1000)]).1, 0x51);
    assert_eq!(lab.inb(0, ERROR), 4);
    lab.disk(0).present = false;
    lab.command(0, 0xe7, 0, 0, 0);
    assert_eq!((lab.interrupted(0), lab.inb(0, ERROR)), (0x51, 4));
}

#[test]
fn ranges_are_discarded_one_after_another() {
    let mut lab = Lab::new();
    let range = |first: u64, sectors: u64| (sectors << 48 | first).to_le_bytes();
    let block = [range(100, 8), range(0, 0), range(4000, 1000)].concat();
    lab.ram.bytes[0x8000..0x8200].fill(0);
    lab.ram.bytes[0x8000..0x8018].copy_from_slice(&block);
    lab.out(0, ERROR, 1);
    lab.long_command(0, 0x06, 1, 0);
    assert_eq!(lab.dma(0, &[(0x8000, 0x200)]), (4, 0x50));
    let log = [
        (Operation::Discard, 100, 8),
        (Operation::Discard, 4000, 1000),
    ];
    assert_eq!(lab.disk(0).log, log);
    lab.ram.bytes[0x8010..0x8018].copy_from_slice(&range(4000, 1001));
    lab.out(0, ERROR, 1);
    lab.long_command(0, 0x06, 1, 0);
    assert_eq!(lab.dma(0, &[(0x8000, 0x200)]).1, 0x51);
    assert_eq!(lab.disk(0).log.len(), 2);
    lab.ram.bytes[0x8000..0x8200].fill(0);
    lab.out(0, ERROR, 1);
    lab.long_command(0, 0x06, 1, 0);
    assert_eq!(lab.dma(0, &[(0x8000, 0x200)]), (4, 0x50));
}

#[test]
fn interrupts_can_be_held_back_and_registers_looked_at_again() {
    let mut lab = Lab::new();
    lab.ide.write_control(0, 2);
    lab.command(0, 0x10, 0, 0, 0);
    assert!(!lab.ide.irq(0));
    assert_eq!(lab.ide.read_bus_master(2, Width::Byte), 0);
    lab.ide.write_control(0, 0);
    assert!(lab.ide.irq(0));
    lab.interrupted(0);
    lab.long_command(0, 0x42, 0x102, 0x0000_0a0b_0c0d);
    lab.interrupted(0);
    lab.ide.write_control(0, 0x80);
    let previous = [COUNT, LOW, MIDDLE, HIGH].map(|register| lab.inb(0, register));
    assert_eq!(previous, [1, 0x0a, 0, 0]);
    lab.out(0, ERROR, 0);
    assert_eq!(lab.inb(0, COUNT), 2);
}

#[test]
fn hard_disks_go_away_when_they_are_unplugged_and_cds_stay() {
    let mut lab = Lab::with(|disk| disk.is_slow = true);
    lab.command(0, 0x20, 0, 1, 3);
    lab.ide.unplug_disks();
    lab.turn();
    lab.disk(0).release(1);
    lab.turn();
    assert!(!lab.ide.irq(0));
    assert!(lab.disks.is_idle());
    assert_eq!((lab.inb(0, STATUS), lab.inb(0, COUNT)), (0, 0));
    assert!(lab.ide.drive(0).is_none() && lab.ide.drive(3).is_none());
    assert!(lab.ide.drive(2).is_some());
    assert_eq!(lab.packet_in([0; 12], 0), Ok(vec![]));
}

#[test]
fn a_cd_is_read_by_pio_in_blocks_of_the_drivers_choice() {
    let mut lab = Lab::new();
    let read = |first: u8, sectors: u8| [0x28, 0, 0, 0, 0, first, 0, 0, sectors, 0, 0, 0];
    let expected = lab.disk(2).bytes[3 * 2048..43 * 2048].to_vec();
    for limit in [2048, 0xfffe, 0xffff, 12, 30_001] {
        assert!(
            lab.packet_in(read(3, 40), limit).unwrap() == expected,
            "{limit}"
        );
    }
    assert!(lab.packet_in(read(3, 1), 1).unwrap() == expected[..2048]);
    assert_eq!(lab.packet_in(read(3, 0), 2048), Ok(vec![]));
    assert_eq!(lab.packet_in(read(3, 1), 0), Err(0x54));
    assert_eq!(lab.sense(), (5, 0x24, 0));
    let long = [0xa8, 0, 0, 0, 2, 87, 0, 0, 0, 1, 0, 0];
    assert!(lab.packet_in(long, 2048).unwrap() == lab.disk(2).bytes[599 * 2048..]);
    for beyond in [
        [0x28, 0, 0, 0, 2, 87, 0, 0, 2, 0, 0, 0],
        [0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0, 0, 0],
        [0xa8, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],
    ] {
        assert_eq!(lab.packet_in(beyond, 2048), Err(0x54));
        assert_eq!(lab.sense(), (5, 0x21, 0));
    }
    lab.disk(2).bad = 40..44;
    assert_eq!(lab.packet_in(read(10, 1), 2048), Err(0x34));
    assert_eq!(lab.sense(), (3, 0x11, 0));
    assert_eq!(lab.sense(), (0, 0, 0));
}

#[test]
fn a_cd_is_read_by_dma() {
    let mut lab = Lab::new();
    lab.packet([0x28, 0, 0, 0, 0, 7, 0, 0, 2, 0, 0, 0], 1, 0);
    assert_eq!(lab.dma(1, &[(0x8000, 0x1000)]), (4, 0x50));
    assert_eq!(lab.inb(1, COUNT) & 3, 3);
    let expected = lab.disk(2).bytes[7 * 2048..9 * 2048].to_vec();
    assert!(lab.ram.bytes[0x8000..0x9000] == expected);
    // A drive's own answer as well, and as much of it as was asked for.
    lab.packet([0x12, 0, 0, 0, 36, 0, 0, 0, 0, 0, 0, 0], 1, 0);
    assert_eq!(lab.dma(1, &[(0xa000, 36)]), (4, 0x50));
    assert_eq!(&lab.ram.bytes[0xa008..0xa00b], b"Xen");
    lab.packet([0x28, 0, 0, 0, 0, 7, 0, 0, 2, 0, 0, 0], 1, 0);
    let (master, status) = lab.dma(1, &[(0xf000_0000, 0x1000)]);
    assert_eq!((master, status), (6, 0x51));
    assert_eq!(lab.inb(1, ERROR), 0xb4);
}

#[test]
fn a_drive_answers_what_it_is_asked() {
    let mut lab = Lab::new();
    let ask = |lab: &mut Lab, packet: &[u8]| {
        let mut whole = [0; 12];
        whole[..packet.len()].copy_from_slice(packet);
        lab.packet_in(whole, 0xfffe)
    };
    let capacity = ask(&mut lab, &[0x25]).unwrap();
    assert_eq!(capacity, [0, 0, 2, 87, 0, 0, 8, 0]);
    let toc = ask(&mut lab, &[0x43, 2, 0, 0, 0, 0, 0, 0, 20]).unwrap();
    let lead_out = [0, 0x14, 0xaa, 0, 0, 0, 10, 0];
    assert_eq!(toc[..4], [0, 18, 1, 1]);
    assert_eq!(toc[4..12], [0, 0x14, 1, 0, 0, 0, 2, 0]);
    assert_eq!(toc[12..], lead_out);
    let session = ask(&mut lab, &[0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0x40]).unwrap();
    assert_eq!(session, [0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0]);
    let full = ask(&mut lab, &[0x43, 0, 2, 0, 0, 0, 0, 1, 0]).unwrap();
    assert_eq!(full.len(), 4 + 4 * 11);
    assert_eq!(
        full[4 + 22..][..11],
        [1, 0x14, 0, 0xa2, 0, 0, 0, 0, 0, 10, 0]
    );
    assert_eq!(ask(&mut lab, &[0x43, 0, 0, 0, 0, 0, 2, 0, 12]), Err(0x54));
    let configuration = ask(&mut lab, &[0x46, 0, 0, 0, 0, 0, 0, 1, 0]).unwrap();
    assert_eq!(configuration[..8], [0, 0, 0, 64, 0, 0, 0, 8]);
    let random = ask(&mut lab, &[0x46, 2, 0, 0x10, 0, 0, 0, 1, 0]).unwrap();
    assert_eq!(random[8..], [0, 0x10, 1, 8, 0, 0, 8, 0, 0, 1, 0, 0]);
    let event = ask(&mut lab, &[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]).unwrap();
    assert_eq!(event, [0, 6, 4, 0x10, 0, 2, 0, 0]);
    assert_eq!(ask(&mut lab, &[0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8]), Err(0x54));
    let none = ask(&mut lab, &[0x4a, 1, 0, 0, 2, 0, 0, 0, 8]).unwrap();
    assert_eq!(none, [0, 2, 0x80, 0x10]);
    let disc = ask(&mut lab, &[0x51, 0, 0, 0, 0, 0, 0, 0, 34]).unwrap();
    assert_eq!((disc.len(), disc[2]), (34, 0xe));
    let page = ask(&mut lab, &[0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 28]).unwrap();
    assert_eq!((page[1], page[8], page[9]), (26, 0x2a, 18));
    let pages = ask(&mut lab, &[0x1a, 0, 0x3f, 0, 255]).unwrap();
    assert_eq!((pages[0], pages.len()), (31, 32));
    let slot = ask(&mut lab, &[0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8]).unwrap();
    assert_eq!(slot, [0, 0, 0, 0, 0, 1, 0, 0]);
    let odd = ask(&mut lab, &[0x12, 0, 0, 0, 5]).unwrap();
    assert_eq!(odd, [5, 0x80, 0, 0x21, 31]);
    for nothing in [0x00, 0x1e, 0xbb, 0x2f, 0x2b] {
        assert_eq!(ask(&mut lab, &[nothing]), Ok(vec![]), "{nothing:#x}");
    }
    for unknown in [0x04, 0x2a, 0x35, 0xa3, 0xff] {
        assert_eq!(ask(&mut lab, &[unknown]), Err(0x54), "{unknown:#x}");
        assert_eq!(lab.sense(), (5, 0x20, 0));
    }
    let sector = ask(&mut lab, &[0xbe, 0, 0, 0, 0, 9, 0, 0, 1, 0x10]).unwrap();
    assert!(sector == lab.disk(2).bytes[9 * 2048..10 * 2048]);
}

#[test]
fn media_come_and_go_and_the_driver_is_told() {
    let mut lab = Lab::new();
    let eject = [0x1b, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    let load = [0x1b, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
    let lock = [0x1e, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(lab.packet_in(lock, 0), Ok(vec![]));
    assert_eq!(lab.packet_in(eject, 0), Err(0x54));
    assert_eq!(lab.sense(), (5, 0x53, 2));
    lab.packet_in([0x1e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0)
        .unwrap();
    assert_eq!(lab.packet_in(eject, 0), Ok(vec![]));
    assert_eq!(lab.packet_in([0; 12], 0), Err(0x24));
    assert_eq!(lab.sense(), (2, 0x3a, 2));
    assert_eq!(lab.packet_in(load, 0), Ok(vec![]));
    assert_eq!(lab.packet_in([0; 12], 0), Err(0x64));
    assert_eq!(lab.sense(), (6, 0x28, 0));
    assert_eq!(lab.packet_in([0; 12], 0), Ok(vec![]));
    let Some(Drive::Optical(drive)) = lab.ide.drive_mut(2) else {
        panic!("no such drive");
    };
    drive.set_medium(None);
    assert_eq!(lab.packet_in([0; 12], 0), Err(0x24));
    assert_eq!(lab.sense(), (2, 0x3a, 0));
    let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    assert_eq!(lab.packet_in(read, 2048), Err(0x24));
}

#[test]
fn a_packet_drive_is_reset_alone_even_when_it_is_busy() {
    let mut lab = Lab::new();
    lab.disk(2).is_slow = true;
    lab.packet([0x28, 0, 0, 0, 0, 7, 0, 0, 2, 0, 0, 0], 0, 2048);
    assert_eq!(lab.ide.read_control(1) & BSY, BSY);
    lab.out(1, STATUS, 0x20);
    assert_eq!(lab.ide.read_control(1) & BSY, BSY, "nothing else is heard");
    lab.out(1, STATUS, 0x08);
    assert_eq!(lab.ide.read_control(1), 0);
    assert_eq!((lab.inb(1, MIDDLE), lab.inb(1, HIGH)), (0x14, 0xeb));
    lab.disk(2).release(1);
    lab.turn();
    assert!(!lab.ide.irq(1));
    assert!(lab.disks.is_idle());
}

/// XSA-138: what a packet delivered was read, and the data register read and written on and on.
#[test]
fn the_data_register_ends_where_the_data_ends() {
    let mut lab = Lab::new();
    let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    lab.packet_in(read, 2048).unwrap();
    for _ in 0..100_000 {
        assert_eq!(lab.ide.read_command(1, 0, Width::Dword), 0);
        lab.ide.write_command(1, 0, Width::Dword, u32::MAX);
    }
    let first = lab.packet_in(read, 2048).unwrap();
    assert!(first == lab.disk(2).bytes[..2048]);
    // In the middle of a block, across its end, and at its last byte.
    lab.packet(read, 0, 2048);
    lab.interrupted(1);
    for _ in 0..2047 {
        lab.ide.read_command(1, 0, Width::Byte);
        lab.ide.write_command(1, 0, Width::Dword, u32::MAX);
    }
    let last = lab.ide.read_command(1, 0, Width::Dword);
    assert_eq!(last, u32::from(lab.disk(2).bytes[2047]));
    assert_eq!(lab.interrupted(1) & (DRQ | ERR), 0);
}

#[test]
fn state_is_written_down_and_read_back() {
    let mut lab = Lab::new();
    lab.command(0, 0x20, 0, 2, 17);
    lab.interrupted(0);
    lab.words(0, 100);
    let bytes = postcard::to_allocvec(&lab.ide).unwrap();
    let read: Ide = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(read, lab.ide);
    lab.ide = read;
    let rest = lab.words(0, 412);
    assert!(rest == lab.disk(0).bytes[17 * SECTOR + 100..18 * SECTOR]);
    let second = lab.pio_in(0, SECTOR, SECTOR);
    assert!(second == lab.disk(0).bytes[18 * SECTOR..19 * SECTOR]);
}

/// One access of whatever kind.
fn access() -> impl Strategy<Value = (u8, u8, u8, u32)> {
    // Commands more often than chance would have them.
    let command = proptest::sample::select(vec![
        0x06u8, 0x20, 0x24, 0x25, 0x29, 0x30, 0x34, 0x35, 0x39, 0x90, 0xa0, 0xa1, 0xb0, 0xc4, 0xc5,
        0xc6, 0xc8, 0xca, 0xe7, 0xec, 0xef,
    ]);
    prop_oneof![
        3 => (0..6u8, any::<u8>(), 0..3u8, any::<u32>()),
        1 => command.prop_map(|command| (0, 7, 0, command.into())),
        1 => (Just(0u8), 1..7u8, Just(0u8), 0..4u32),
        1 => (Just(4u8), 0..16u8, 0..3u8, 0..0x1_0000u32),
    ]
}

proptest! {
    #[test]
    fn whatever_a_guest_does_is_survived_and_bounded(
        accesses in proptest::collection::vec(access(), 0..400), slow: bool,
    ) {
        let mut lab = Lab::with(|disk| disk.is_slow = slow);
        for at in 0..lab.ram.bytes.len() {
            lab.ram.bytes[at] = ((at * 7) >> 3) as u8;
        }
        for (number, (kind, at, width, value)) in accesses.into_iter().enumerate() {
            let channel = usize::from(at >> 7);
            let offset = usize::from(at & 7);
            let width = Width::ALL[usize::from(width)];
            match kind {
                0 | 1 => lab.ide.write_command(channel, offset, width, value),
                2 => drop(lab.ide.read_command(channel, offset, width)),
                3 => lab.ide.write_control(channel, value as u8),
                4 => lab.ide.write_bus_master(usize::from(at & 15), width, value),
                _ => for _ in 0..300 {
                    lab.ide.read_command(channel, 0, width);
                    lab.ide.write_command(channel, 0, width, value);
                },
            }
            lab.turn();
            if number % 3 == 0 {
                lab.disk(0).release(1);
            }
        }
        lab.ide.reset();
        for _ in 0..64 {
            lab.disk(0).release(1);
            lab.turn();
        }
        prop_assert!(lab.disks.is_idle());
        prop_assert_eq!(lab.disk(0).bytes.len(), SECTORS as usize * SECTOR);
    }
}
