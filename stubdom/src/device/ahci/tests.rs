//! A driver for ports with hard disks and CD drives, as small as they come, against a disk in memory.

use super::*;
use crate::backend::disk::Disks;
use crate::backend::disk::fake::MemoryDisk;
use crate::device::ata::{Attachment, HardDisk, Optical};
use crate::disk::{Operation, SECTOR};
use crate::memory::Ram;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const SECTORS: u64 = 5000;
const CD: u64 = 4 * 600;

const SLOTS: usize = 32;

const PX_IS: usize = 0x10;
const PX_IE: usize = 0x14;
const PX_CMD: usize = 0x18;
const PX_TFD: usize = 0x20;
const PX_SIG: usize = 0x24;
const PX_SSTS: usize = 0x28;
const PX_SCTL: usize = 0x2c;
const PX_SACT: usize = 0x34;
const PX_CI: usize = 0x38;

const DHRS: u32 = 1;
const PSS: u32 = 2;
const SDBS: u32 = 8;
const TFES: u32 = 1 << 30;

/// A command as it lies in memory.
#[derive(Clone, Copy, Default)]
struct Command<'a> {
    command: u8,
    features: u16,
    count: u16,
    lba: u64,
    device: u8,
    packet: Option<[u8; 12]>,
    table: &'a [(u64, u32)],
}

/// A disk at port 0, a CD drive at port 3.
struct Lab {
    ahci: Ahci,
    disks: Disks<MemoryDisk>,
    ram: Ram,
}

impl Lab {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut MemoryDisk)) -> Self {
        let disk = HardDisk::new(Attachment::Serial, SECTORS, "ONE").with_trim();
        let optical = Optical::new(Attachment::Serial, Some(CD), "CD");
        let mut ahci = Ahci::new([
            Some(Drive::Disk(disk)),
            None,
            None,
            Some(Drive::Optical(optical)),
            None,
            None,
        ]);
        ahci.configuration.write(4, Width::Word, 6);
        let mut disks = Disks::new();
        let mut first = MemoryDisk::patterned(SECTORS);
        change(&mut first);
        disks.attach(0, first);
        disks.attach(3, MemoryDisk::patterned(CD));
        let mut lab = Self {
            ahci,
            disks,
            ram: Ram::new(1 << 20),
        };
        lab.write(4, 1 << 1);
        for port in [0, 3] {
            lab.bring_up(port);
        }
        lab
    }

    /// Where a port's list is; its frames are 0x400 behind it, its tables from 0x1000 on.
    fn list(port: usize) -> u64 {
        0x1_0000 * (port as u64 + 1)
    }

    fn table(port: usize, slot: usize) -> u64 {
        Self::list(port) + 0x1000 + 0x400 * slot as u64
    }

    fn bring_up(&mut self, port: usize) {
        self.put(port, 0x00, Self::list(port) as u32);
        self.put(port, 0x08, Self::list(port) as u32 + 0x400);
        self.put(port, PX_IE, u32::MAX);
        self.put(port, PX_CMD, 1 << 4);
        self.put(port, PX_CMD, 1 << 4 | 1);
        self.put(port, PX_IS, u32::MAX);
        self.write(8, u32::MAX);
    }

    fn disk(&mut self, port: u8) -> &mut MemoryDisk {
        self.disks.disk_mut(port).unwrap()
    }

    fn turn(&mut self) {
        self.disks.turn(&mut self.ahci, &mut self.ram);
    }

    fn release(&mut self) {
        self.disk(0).release(1);
        self.turn();
    }

    fn write(&mut self, offset: usize, value: u32) {
        self.ahci.write(offset, Width::Dword, value);
        self.turn();
    }

    fn put(&mut self, port: usize, offset: usize, value: u32) {
        self.write(0x100 + 0x80 * port + offset, value);
    }

    fn get(&self, port: usize, offset: usize) -> u32 {
        self.ahci.read(0x100 + 0x80 * port + offset, Width::Dword)
    }

    fn tfd(&self, port: usize) -> (u8, u8) {
        let [status, error, ..] = self.get(port, PX_TFD).to_le_bytes();
        (status, error)
    }

    /// Writes a command into a slot.
    fn prepare(&mut self, port: usize, slot: usize, command: Command<'_>) {
        let lba = command.lba.to_le_bytes();
        let count = command.count.to_le_bytes();
        let [features, features_high] = command.features.to_le_bytes();
        let fis = [
            0x27,
            0x80,
            command.command,
            features,
            lba[0],
            lba[1],
            lba[2],
            command.device,
            lba[3],
            lba[4],
            lba[5],
            features_high,
            count[0],
            count[1],
            0,
            0,
            0,
            0,
            0,
            0,
        ];
        let table = Self::table(port, slot);
        self.ram.write(table, &fis).unwrap();
        let mut flags = 5 | (command.table.len() as u32) << 16;
        if let Some(packet) = command.packet {
            flags |= 1 << 5;
            self.ram.write(table + 0x40, &packet).unwrap();
        }
        for (at, (address, length)) in command.table.iter().enumerate() {
            let mut entry = [0; 16];
            entry[..8].copy_from_slice(&address.to_le_bytes());
            entry[12..].copy_from_slice(&(length.wrapping_sub(1)).to_le_bytes());
            self.ram
                .write(table + 0x80 + 16 * at as u64, &entry)
                .unwrap();
        }
        let mut header = [0; 16];
        header[..4].copy_from_slice(&flags.to_le_bytes());
        header[8..].copy_from_slice(&table.to_le_bytes());
        self.ram
            .write(Self::list(port) + 32 * slot as u64, &header)
            .unwrap();
    }

    /// Bytes that the controller says went across.
    fn moved(&self, port: usize, slot: usize) -> u32 {
        let at = Self::list(port) as usize + 32 * slot + 4;
        let bytes = self.ram.bytes[at..at + 4].as_chunks::<4>().0[0];
        u32::from_le_bytes(bytes)
    }

    /// Carries out one command in slot 0; what the port says has happened.
    fn run(&mut self, port: usize, command: Command<'_>) -> u32 {
        self.prepare(port, 0, command);
        self.put(port, PX_CI, 1);
        self.taken(port)
    }

    /// What has happened at a port, with the interrupt that has to be there if anything has.
    fn taken(&mut self, port: usize) -> u32 {
        let happened = self.get(port, PX_IS);
        assert_eq!(self.ahci.irq(), happened != 0);
        assert_eq!(
            self.ahci.read(8, Width::Dword),
            u32::from(happened != 0) << port
        );
        self.put(port, PX_IS, happened);
        self.write(8, 1 << port);
        assert!(!self.ahci.irq());
        happened
    }

    fn packet(&mut self, packet: &[u8], length: u32) -> Result<Vec<u8>, u8> {
        let mut whole = [0; 12];
        whole[..packet.len()].copy_from_slice(packet);
        let happened = self.run(
            3,
            Command {
                command: 0xa0,
                packet: Some(whole),
                table: &[(0x8000, length)],
                ..Command::default()
            },
        );
        if happened & TFES != 0 {
            assert_eq!(self.get(3, PX_CI), 1);
            self.put(3, PX_CMD, 1 << 4);
            assert_eq!(self.get(3, PX_CI), 0);
            self.put(3, PX_CMD, 1 << 4 | 1);
            return Err(self.tfd(3).1);
        }
        assert_eq!((happened, self.get(3, PX_CI)), (DHRS, 0));
        let moved = self.moved(3, 0) as usize;
        Ok(self.ram.bytes[0x8000..0x8000 + moved].to_vec())
    }
}

fn queued(command: u8, slot: u16, sectors: u16, lba: u64, table: &[(u64, u32)]) -> Command<'_> {
    Command {
        command,
        features: sectors,
        count: slot << 3,
        lba,
        device: 0x40,
        table,
        ..Command::default()
    }
}

#[test]
fn ports_say_what_hangs_off_them() {
    let lab = Lab::new();
    assert_eq!(lab.ahci.read(0, Width::Dword), 0xc124_1f05);
    assert_eq!(lab.ahci.read(4, Width::Dword), 0x8000_0002);
    assert_eq!(lab.ahci.read(0x0c, Width::Byte), 0x3f);
    assert_eq!(lab.ahci.read(0x10, Width::Dword), 0x0001_0300);
    let said = |port| (lab.get(port, PX_SSTS), lab.get(port, PX_SIG), lab.tfd(port));
    assert_eq!(said(0), (0x123, 0x0000_0101, (0x50, 1)));
    assert_eq!(said(1), (0, 0xffff_ffff, (0x7f, 0)));
    assert_eq!(said(3), (0x123, 0xeb14_0101, (0, 1)));
    assert_eq!(lab.get(0, PX_CMD), 0xc017);
    // The first frame that each drive sends.
    assert_eq!(
        lab.ram.bytes[0x1_0440..][..8],
        [0x34, 0, 0x50, 1, 1, 0, 0, 0]
    );
    assert_eq!(
        lab.ram.bytes[0x4_0440..][..8],
        [0x34, 0, 0, 1, 1, 0x14, 0xeb, 0]
    );
    assert_eq!(lab.ahci.read(0xffc, Width::Dword), 0);
    assert_eq!(lab.ahci.read(0x101, Width::Word), 0x0100);
}

/// As a driver finds the pair: its capability names the BAR and the offset there.
#[test]
fn the_capability_says_where_index_and_data_are() {
    let configuration = Lab::new().ahci.configuration;
    let mut at = configuration.read(0x34, Width::Byte) as usize;
    let mut found = Vec::new();
    while at != 0 {
        found.push((configuration.read(at, Width::Byte), at));
        at = configuration.read(at + 1, Width::Byte) as usize;
    }
    assert_eq!(found, [(0x05, 0x80), (0x12, 0xa8)]);
    assert_eq!(configuration.read(0xaa, Width::Word), 0x0010);
    let place = configuration.register(0xac);
    // The BAR's register in doublewords, and the offset in it in doublewords as well.
    assert_eq!((4 * (place & 0xf), 4 * (place >> 4)), (0x20, 0x10));
    assert_eq!(configuration.register(0x20), 1);
    assert_eq!(configuration.read(0x06, Width::Word), 0x0010);
    assert_eq!(configuration.register(0x90), 0x40);
}

#[test]
fn index_and_data_reach_every_register() {
    let mut lab = Lab::new();
    for offset in (0..0x1000).step_by(4) {
        lab.ahci.write_ports(0x10, Width::Dword, offset);
        assert_eq!(lab.ahci.read_ports(0x10, Width::Dword), offset);
        let by_memory = lab.ahci.read(offset as usize, Width::Dword);
        assert_eq!(lab.ahci.read_ports(0x14, Width::Dword), by_memory);
    }
    // Part of a register, and a part of the index.
    lab.ahci.write_ports(0x10, Width::Dword, 0);
    let parts = [
        (0x14, Width::Byte),
        (0x15, Width::Byte),
        (0x16, Width::Word),
    ];
    let read = parts.map(|(port, width)| lab.ahci.read_ports(port, width));
    assert_eq!(read, [0x05, 0x1f, 0xc124]);
    lab.ahci.write_ports(0x11, Width::Byte, 0x01);
    assert_eq!(lab.ahci.read_ports(0x10, Width::Word), 0x0100);
    lab.ahci.write_ports(0x10, Width::Dword, u32::MAX);
    assert_eq!(lab.ahci.read_ports(0x10, Width::Dword), 0xffc);
    // What would be a bus master's, and what is behind the pair.
    for port in (0..0x20).filter(|port| !(0x10..0x18).contains(port)) {
        lab.ahci.write_ports(port, Width::Byte, 0xff);
        assert_eq!(lab.ahci.read_ports(port, Width::Byte), 0, "{port:#x}");
    }
    assert_eq!(lab.ahci.read_ports(0x10, Width::Dword), 0xffc);
    lab.ahci.reset();
    assert_eq!(lab.ahci.read_ports(0x10, Width::Dword), 0);
}

#[test]
fn a_command_is_issued_by_index_and_data() {
    let mut lab = Lab::new();
    let identify = Command {
        command: 0xec,
        table: &[(0x8000, 512)],
        ..Command::default()
    };
    lab.prepare(0, 0, identify);
    lab.ahci
        .write_ports(0x10, Width::Word, 0x100 + PX_CI as u32);
    lab.ahci.write_ports(0x14, Width::Byte, 1);
    lab.turn();
    assert_eq!(lab.taken(0), PSS);
    assert_eq!(lab.moved(0, 0), 512);
    // What happened is acknowledged the same way.
    lab.prepare(0, 0, identify);
    lab.put(0, PX_CI, 1);
    for (register, value) in [(0x100 + PX_IS as u32, PSS), (0x08, 1)] {
        lab.ahci.write_ports(0x10, Width::Dword, register);
        assert_eq!(lab.ahci.read_ports(0x14, Width::Dword), value);
        lab.ahci.write_ports(0x14, Width::Dword, value);
    }
    assert!(!lab.ahci.irq());
}

#[test]
fn a_disk_says_what_it_is_and_the_frame_says_there_was_data() {
    let mut lab = Lab::new();
    let identify = Command {
        command: 0xec,
        table: &[(0x8000, 512)],
        ..Command::default()
    };
    assert_eq!(lab.run(0, identify), PSS);
    let identity = lab.ram.bytes[0x8000..0x8200].to_vec();
    assert_eq!(&identity[54..64], b"eX nivtrau");
    assert_eq!(identity[200], (SECTORS & 0xff) as u8);
    assert_eq!(
        (identity[150], identity[152] & 4, identity[153] & 1),
        (31, 4, 1)
    );
    assert_eq!(
        identity
            .iter()
            .fold(0u8, |sum, byte| sum.wrapping_add(*byte)),
        0
    );
    assert_eq!((lab.moved(0, 0), lab.get(0, PX_CI)), (512, 0));
    let frame = &lab.ram.bytes[0x1_0420..][..20];
    assert_eq!(frame[..4], [0x5f, 0x60, 0x58, 0]);
    assert_eq!((frame[15], &frame[16..18]), (0x50, &[0, 2][..]));
    // Into less room than it needs.
    lab.ram.bytes[0x8000..0x8200].fill(0);
    let identify = Command {
        table: &[(0x8000, 100)],
        ..identify
    };
    assert_eq!(lab.run(0, identify), PSS);
    assert_eq!(lab.moved(0, 0), 100);
    assert_eq!(lab.ram.bytes[0x8000..0x8064], identity[..100]);
    assert_eq!(lab.ram.bytes[0x8064], 0);
}

#[test]
fn sectors_are_read_and_written() {
    let mut lab = Lab::new();
    let table = [(0x8000, 0x600), (0x5_0002, 0xa00)];
    let read = |command| Command {
        command,
        count: 8,
        lba: 4000,
        device: 0x40,
        table: &table,
        ..Command::default()
    };
    let expected = lab.disk(0).bytes[4000 * SECTOR..4008 * SECTOR].to_vec();
    for (command, happens) in [(0x25, DHRS), (0x24, PSS), (0x29, PSS)] {
        lab.ram.bytes[0x8000..0x9000].fill(0);
        assert_eq!(lab.run(0, read(command)), happens);
        assert_eq!(lab.moved(0, 0), 0x1000);
        assert!(lab.ram.bytes[0x8000..0x8600] == expected[..0x600]);
        assert!(lab.ram.bytes[0x5_0002..0x5_0a02] == expected[0x600..]);
    }
    for (command, to) in [(0x35, 8), (0x34, 108), (0x39, 208), (0x3d, 308)] {
        let write = Command {
            lba: to,
            ..read(command)
        };
        assert_eq!(lab.run(0, write), DHRS);
        let to = to as usize * SECTOR;
        assert!(lab.disk(0).bytes[to..to + 0x1000] == expected);
    }
    let disk = lab.disk(0);
    assert!(
        disk.medium == disk.bytes,
        "the last one was to be on the medium"
    );
    let flush = Command {
        command: 0xea,
        ..Command::default()
    };
    assert_eq!(lab.run(0, flush), DHRS);
    assert_eq!(lab.ram.bytes[0x1_0440..][..4], [0x34, 0x40, 0x50, 0]);
}

#[test]
fn queued_commands_end_in_whatever_order_and_each_says_so() {
    let mut lab = Lab::with(|disk| {
        disk.is_slow = true;
        disk.is_backwards = true;
    });
    let places: Vec<[(u64, u32); 1]> = (0..32u64)
        .map(|at| [(0x8_0000 + 0x1000 * at, 0x1000)])
        .collect();
    for (slot, table) in places.iter().enumerate() {
        let lba = 100 * slot as u64;
        lab.prepare(0, slot, queued(0x60, slot as u16, 8, lba, table));
    }
    lab.put(0, PX_SACT, u32::MAX);
    lab.put(0, PX_CI, u32::MAX);
    assert_eq!(lab.get(0, PX_CI), 0, "all of them were taken");
    assert_eq!(lab.get(0, PX_SACT), u32::MAX);
    assert_eq!(lab.disk(0).pending(), 32);
    assert_eq!(lab.taken(0), 0);
    lab.release();
    assert_eq!(lab.taken(0), SDBS);
    assert_eq!(lab.get(0, PX_SACT), u32::MAX >> 1);
    let frame = [0xa1, 0x40, 0x50, 0, 0, 0, 0, 0x80];
    assert_eq!(lab.ram.bytes[0x1_0458..][..8], frame);
    for _ in 0..31 {
        lab.release();
    }
    assert_eq!(lab.get(0, PX_SACT), 0);
    for slot in 0..32 {
        let from = 100 * slot * SECTOR;
        let expected = lab.disk(0).bytes[from..from + 0x1000].to_vec();
        assert!(
            lab.ram.bytes[0x8_0000 + 0x1000 * slot..][..0x1000] == expected,
            "{slot}"
        );
    }
    // One that is not queued waits until it is alone.
    lab.taken(0);
    lab.prepare(0, 0, queued(0x61, 0, 8, 0, &places[0]));
    lab.prepare(
        0,
        1,
        Command {
            command: 0xea,
            ..Command::default()
        },
    );
    lab.put(0, PX_SACT, 1);
    lab.put(0, PX_CI, 0b11);
    assert_eq!((lab.get(0, PX_CI), lab.disk(0).pending()), (0b10, 1));
    lab.release();
    assert_eq!((lab.taken(0), lab.disk(0).pending()), (SDBS, 1));
    lab.release();
    assert_eq!((lab.taken(0), lab.get(0, PX_CI)), (DHRS, 0));
}

#[test]
fn a_queued_write_can_be_asked_to_reach_the_medium() {
    let mut lab = Lab::new();
    lab.ram.bytes[0x8000..0x8200].fill(9);
    let write = queued(0x61, 0, 1, 77, &[(0x8000, 512)]);
    lab.put(0, PX_SACT, 1);
    let through = Command {
        device: 0xc0,
        ..write
    };
    assert_eq!(lab.run(0, through), SDBS);
    assert_eq!(lab.disk(0).medium[77 * SECTOR], 9);
    let log = [(Operation::Write, 77, 1), (Operation::Flush, 0, 0)];
    assert_eq!(lab.disk(0).log, log);
}

#[test]
fn when_a_queued_command_fails_the_log_says_which() {
    let mut lab = Lab::with(|disk| {
        disk.is_slow = true;
        disk.bad = 1000..1001;
    });
    let table = [(0x8_0000, 0x1000)];
    lab.prepare(0, 4, queued(0x60, 4, 8, 100, &table));
    lab.prepare(0, 9, queued(0x60, 9, 8, 1000, &table));
    lab.prepare(0, 11, queued(0x60, 11, 8, 200, &table));
    lab.put(0, PX_SACT, 1 << 4 | 1 << 9 | 1 << 11);
    lab.put(0, PX_CI, 1 << 4 | 1 << 9 | 1 << 11);
    lab.release();
    assert_eq!(lab.taken(0), SDBS);
    lab.release();
    assert_eq!(lab.taken(0), SDBS | TFES);
    assert_eq!(lab.get(0, PX_SACT), 1 << 9 | 1 << 11);
    assert_eq!(lab.tfd(0), (0x51, 0x40));
    lab.release();
    assert!(lab.disks.is_idle());
    assert_eq!(lab.get(0, PX_SACT), 1 << 9 | 1 << 11, "the third is off");
    lab.put(0, PX_CMD, 1 << 4);
    assert_eq!(lab.get(0, PX_SACT), 0);
    lab.put(0, PX_CMD, 1 << 4 | 1);
    let log = Command {
        command: 0x2f,
        count: 1,
        lba: 0x10,
        table: &[(0x8000, 512)],
        ..Command::default()
    };
    assert_eq!(lab.run(0, log), PSS);
    let page = lab.ram.bytes[0x8000..0x8200].to_vec();
    assert_eq!(page[..6], [9, 0, 0x51, 0x40, 0xe8, 3]);
    assert_eq!(
        page.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)),
        0
    );
    assert_eq!(lab.run(0, log), PSS);
    assert_eq!(lab.ram.bytes[0x8000], 0x80);
    let directory = Command { lba: 0, ..log };
    assert_eq!(lab.run(0, directory), PSS);
    assert_eq!(lab.ram.bytes[0x8020], 1);
    // Beyond the end.
    lab.put(0, PX_SACT, 1);
    let beyond = queued(0x60, 0, 8, SECTORS, &table);
    assert_eq!(lab.run(0, beyond), SDBS | TFES);
    assert_eq!(lab.tfd(0), (0x51, 0x10));
}

#[test]
fn a_failure_stops_the_port_until_its_list_was_stopped() {
    let mut lab = Lab::with(|disk| disk.bad = 70..71);
    let read = Command {
        command: 0x25,
        count: 1,
        lba: 70,
        device: 0x40,
        table: &[(0x8000, 512)],
        ..Command::default()
    };
    assert_eq!(lab.run(0, read), DHRS | TFES);
    assert_eq!((lab.tfd(0), lab.get(0, PX_CI)), ((0x51, 0x40), 1));
    assert_eq!(lab.ram.bytes[0x1_0440..][..5], [0x34, 0x40, 0x51, 0x40, 70]);
    lab.prepare(0, 1, Command { lba: 3, ..read });
    lab.put(0, PX_CI, 2);
    assert_eq!((lab.taken(0), lab.get(0, PX_CI)), (0, 3));
    lab.put(0, PX_CMD, 1 << 4);
    lab.put(0, PX_CMD, 1 << 4 | 1);
    assert_eq!(lab.run(0, Command { lba: 3, ..read }), DHRS);
    let unknown = Command {
        command: 0xff,
        ..Command::default()
    };
    assert_eq!(lab.run(0, unknown), DHRS | TFES);
    assert_eq!(lab.tfd(0), (0x51, 4));
}

#[test]
fn what_leads_outside_memory_stops_the_port_and_a_reset_of_the_link_starts_it() {
    const OFS: u32 = 1 << 24;
    const IFS: u32 = 1 << 27;
    const HBDS: u32 = 1 << 28;
    const HBFS: u32 = 1 << 29;
    fn read(table: &[(u64, u32)]) -> Command<'_> {
        Command {
            command: 0x25,
            count: 2,
            device: 0x40,
            table,
            ..Command::default()
        }
    }
    let mut lab = Lab::new();
    let restart = |lab: &mut Lab| {
        lab.put(0, PX_CMD, 1 << 4);
        lab.put(0, PX_SCTL, 0x301);
        assert_eq!((lab.get(0, PX_SSTS), lab.tfd(0).0), (0, 0x80));
        lab.put(0, PX_SCTL, 0x300);
        assert_eq!((lab.get(0, PX_SSTS), lab.tfd(0).0), (0x123, 0x50));
        lab.put(0, PX_CMD, 1 << 4 | 1);
        let read = read(&[(0x8000, 0x400)]);
        assert_eq!(lab.run(0, read), DHRS);
    };
    for table in [
        &[(0xf000_0000, 0x400)][..],
        &[(0xffff_ffff_ffff_fe00, 0x400)],
        &[(0x8000, 0x200), (0x8000_0000_0000_0000, 0x200)],
    ] {
        assert_eq!(lab.run(0, read(table)), HBDS);
        restart(&mut lab);
    }
    for table in [&[][..], &[(0x8000, 0x1fe)]] {
        assert_eq!(lab.run(0, read(table)), OFS);
        restart(&mut lab);
    }
    // A list, and a table, that are nowhere; a frame that is none.
    lab.put(0, 0x04, 0x8000_0000);
    lab.put(0, PX_CI, 1);
    assert_eq!(lab.taken(0), HBFS);
    lab.put(0, 0x04, 0);
    restart(&mut lab);
    lab.prepare(0, 0, read(&[(0x8000, 0x400)]));
    lab.ram.write(0x1_000c, &[0xff]).unwrap();
    lab.put(0, PX_CI, 1);
    assert_eq!(lab.taken(0), HBFS);
    restart(&mut lab);
    lab.prepare(0, 0, read(&[(0x8000, 0x400)]));
    lab.ram.write(0x1_1000, &[0x46]).unwrap();
    lab.put(0, PX_CI, 1);
    assert_eq!(lab.taken(0), IFS);
    restart(&mut lab);
}

#[test]
fn a_ports_addresses_are_aligned_and_read_back() {
    let mut lab = Lab::new();
    lab.put(0, PX_CMD, 0);
    for (register, written, read) in [
        (0x00, 0xffff_ffff, 0xffff_fc00),
        (0x00, 0x1234_5a00, 0x1234_5800),
        (0x04, 0x9abc_def1, 0x9abc_def1),
        (0x08, 0xffff_ffff, 0xffff_ff00),
        (0x08, 0x8765_43ff, 0x8765_4300),
        (0x0c, 0x0fed_cba8, 0x0fed_cba8),
    ] {
        lab.put(0, register, written);
        assert_eq!(lab.get(0, register), read, "{register:#x}");
    }
    assert_eq!(lab.get(0, 0x00), 0x1234_5800, "the upper half left it");
    assert_eq!(lab.get(0, 0x08), 0x8765_4300);
    assert_eq!((lab.get(3, 0x00), lab.get(3, 0x08)), (0x4_0000, 0x4_0400));
}

#[test]
fn a_link_that_is_off_says_so() {
    let mut lab = Lab::new();
    for (asked, found) in [(4, 4), (0, 0x123), (1, 0), (0, 0x123)] {
        lab.put(0, PX_SCTL, asked);
        assert_eq!((lab.get(0, PX_SCTL), lab.get(0, PX_SSTS)), (asked, found));
    }
    // Of a port with nothing at it too.
    lab.put(1, PX_SCTL, 4);
    assert_eq!(lab.get(1, PX_SSTS), 4);
}

#[test]
fn a_driver_overrides_what_the_drive_waits_for_only_by_the_bit_for_that() {
    let mut lab = Lab::new();
    let read = Command {
        command: 0x25,
        count: 2,
        device: 0x40,
        table: &[(0x8000, 0x1fe)],
        ..Command::default()
    };
    lab.run(0, read);
    assert_eq!(lab.tfd(0).0, 0x58);
    lab.put(0, PX_CMD, 1 << 4);
    assert_eq!(lab.tfd(0).0, 0x58);
    lab.put(0, PX_CMD, 1 << 4 | 1 << 3);
    assert_eq!(lab.tfd(0).0, 0x50);
    assert_eq!(lab.get(0, PX_CMD), 0x4016, "the bit reads as zero");
}

#[test]
fn a_list_that_runs_goes_on_when_its_port_is_written_to_and_one_that_stands_takes_nothing() {
    let mut lab = Lab::with(|disk| disk.is_slow = true);
    let read = Command {
        command: 0x25,
        count: 8,
        device: 0x40,
        table: &[(0x8000, 0x1000)],
        ..Command::default()
    };
    assert_eq!(lab.run(0, read), 0);
    lab.put(0, PX_CMD, 1 << 4 | 1);
    lab.put(0, PX_CMD, 1);
    assert_eq!(lab.get(0, PX_CI), 1);
    lab.release();
    assert_eq!(lab.taken(0), DHRS);
    assert_eq!(lab.get(0, PX_CI), 0);
    lab.put(0, PX_CMD, 1 << 4);
    lab.put(0, PX_CI, 1);
    lab.put(0, PX_SACT, 1);
    assert_eq!((lab.get(0, PX_CI), lab.get(0, PX_SACT)), (0, 0));
}

#[test]
fn stopping_the_list_forgets_what_is_under_way() {
    let mut lab = Lab::with(|disk| disk.is_slow = true);
    lab.put(0, PX_SACT, 1);
    assert_eq!(lab.run(0, queued(0x60, 0, 8, 0, &[(0x8000, 0x1000)])), 0);
    lab.put(0, PX_CMD, 1 << 4);
    assert_eq!((lab.get(0, PX_SACT), lab.get(0, PX_CMD) & 0x8000), (0, 0));
    lab.release();
    assert_eq!(lab.taken(0), 0);
    assert!(lab.disks.is_idle());
    assert!(lab.ram.bytes[0x8000..0x9000].iter().all(|&byte| byte == 0));
}

#[test]
fn a_drive_can_be_reset_by_frames() {
    let mut lab = Lab::new();
    for (control, status) in [(4, 0x80), (0, 0x50)] {
        lab.prepare(0, 0, Command::default());
        let frame = [0x27, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, control];
        lab.ram.write(Lab::table(0, 0), &frame).unwrap();
        lab.put(0, PX_CI, 1);
        assert_eq!((lab.get(0, PX_CI), lab.tfd(0).0), (0, status));
    }
    assert_eq!(
        lab.ram.bytes[0x1_0440..][..8],
        [0x34, 0, 0x50, 1, 1, 0, 0, 0]
    );
}

#[test]
fn what_is_not_queued_ends_the_queue_whatever_the_driver_says_of_it() {
    let mut lab = Lab::with(|disk| disk.is_slow = true);
    let table = [(0x8000, 0x1000)];
    lab.put(0, PX_SACT, u32::MAX);
    assert_eq!(lab.run(0, queued(0x60, 0, 8, 0, &table)), 0);
    let flush = Command {
        command: 0xea,
        ..Command::default()
    };
    lab.prepare(0, 1, flush);
    lab.put(0, PX_CI, 2);
    assert_eq!(lab.taken(0), SDBS | TFES);
    assert_eq!(lab.tfd(0), (0x51, 4));
    lab.release();
    assert!(lab.disks.is_idle());
    // A reset among them, and as many commands behind it as there are slots.
    lab.put(0, PX_CMD, 1 << 4);
    lab.put(0, PX_CMD, 1 << 4 | 1);
    for slot in 0..SLOTS {
        lab.prepare(
            0,
            slot,
            queued(0x60, slot as u16, 1, 9, &[(0x8_0000, 0x200)]),
        );
    }
    lab.put(0, PX_SACT, u32::MAX);
    lab.put(0, PX_CI, 0x3fff_ffff);
    assert_eq!(lab.get(0, PX_CI), 0);
    for (slot, control) in [(30, 4), (31, 0)] {
        let frame = [0x27, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, control];
        lab.ram.write(Lab::table(0, slot), &frame).unwrap();
    }
    lab.put(0, PX_SACT, u32::MAX);
    lab.put(0, PX_CI, u32::MAX);
    for _ in 0..2 * SLOTS {
        lab.release();
    }
    assert!(lab.disks.is_idle());
    assert_eq!(lab.get(0, PX_CI), 0);
    let expected = lab.disk(0).bytes[9 * SECTOR..10 * SECTOR].to_vec();
    assert!(lab.ram.bytes[0x8_0000..0x8_0200] == expected);
}

#[test]
fn a_cd_is_read_and_says_what_is_wrong() {
    let mut lab = Lab::new();
    let inquiry = lab.packet(&[0x12, 0, 0, 0, 36], 36).unwrap();
    assert_eq!(&inquiry[8..11], b"Xen");
    let read = lab.packet(&[0x28, 0, 0, 0, 0, 7, 0, 0, 2], 4096).unwrap();
    assert!(read == lab.disk(3).bytes[7 * 2048..9 * 2048]);
    assert_eq!(
        lab.packet(&[0x28, 0, 0, 0, 0xff, 7, 0, 0, 2], 4096),
        Err(0x54)
    );
    let sense = lab.packet(&[3, 0, 0, 0, 18], 18).unwrap();
    assert_eq!((sense[2], sense[12]), (5, 0x21));
    lab.disk(3).bad = 28..32;
    assert_eq!(lab.packet(&[0x28, 0, 0, 0, 0, 7, 0, 0, 2], 4096), Err(0x34));
    assert_eq!(lab.packet(&[0; 12], 0), Ok(vec![]));
    // A packet for a disk is none.
    let packet = Command {
        command: 0xa0,
        packet: Some([0; 12]),
        ..Command::default()
    };
    assert_eq!(lab.run(0, packet), DHRS | TFES);
}

#[test]
fn ranges_are_discarded_one_after_another() {
    let mut lab = Lab::new();
    let range = |first: u64, sectors: u64| (sectors << 48 | first).to_le_bytes();
    let block = [range(100, 8), range(4000, 1000)].concat();
    lab.ram.bytes[0x8000..0x8010].copy_from_slice(&block);
    let trim = Command {
        command: 0x06,
        features: 1,
        count: 1,
        table: &[(0x8000, 512)],
        ..Command::default()
    };
    assert_eq!(lab.run(0, trim), DHRS);
    let log = [
        (Operation::Discard, 100, 8),
        (Operation::Discard, 4000, 1000),
    ];
    assert_eq!(lab.disk(0).log, log);
    lab.ram.bytes[0x8008..0x8010].copy_from_slice(&range(4001, 1000));
    assert_eq!(lab.run(0, trim), DHRS | TFES);
    assert_eq!(lab.disk(0).log.len(), 2);
}

#[test]
fn the_whole_controllers_interrupts_can_be_held_back() {
    let mut lab = Lab::new();
    let nothing = Command {
        command: 0x10,
        ..Command::default()
    };
    lab.prepare(0, 0, nothing);
    lab.put(0, PX_CI, 1);
    assert!(lab.ahci.irq());
    lab.write(4, 0);
    assert!(!lab.ahci.irq());
    lab.write(4, 1 << 1);
    assert!(lab.ahci.irq());
    // By messages, one comes as soon as they are let go, and none while they are not.
    lab.ahci.configuration.write(0x82, Width::Word, 1);
    lab.write(4, 0);
    lab.ahci.take_message();
    lab.put(0, PX_IS, u32::MAX);
    lab.write(8, u32::MAX);
    lab.prepare(0, 0, nothing);
    lab.put(0, PX_CI, 1);
    assert_eq!(lab.ahci.take_message(), None);
    lab.write(4, 1 << 1);
    assert!(lab.ahci.take_message().is_some());
    lab.write(4, 1 << 1);
    assert_eq!(lab.ahci.take_message(), None, "they were let go already");
}

#[test]
fn messages_take_the_place_of_the_pin() {
    let mut lab = Lab::new();
    lab.ahci.take_message();
    lab.ahci
        .configuration
        .write(0x84, Width::Dword, 0xfee0_1000);
    lab.ahci.configuration.write(0x8c, Width::Dword, 0x41);
    lab.ahci.configuration.write(0x82, Width::Word, 1);
    let nothing = Command {
        command: 0x10,
        ..Command::default()
    };
    lab.prepare(0, 0, nothing);
    lab.put(0, PX_CI, 1);
    assert!(!lab.ahci.irq());
    assert_eq!(lab.ahci.take_message(), Some((0xfee0_1000, 0x41)));
    assert_eq!(lab.ahci.take_message(), None);
    // Not heard out, it says so again.
    lab.write(8, 1);
    assert_eq!(lab.ahci.take_message(), Some((0xfee0_1000, 0x41)));
    lab.put(0, PX_IS, u32::MAX);
    lab.write(8, 1);
    assert_eq!(lab.ahci.take_message(), None);
    assert_eq!(lab.ahci.read(8, Width::Dword), 0);
}

#[test]
fn hard_disks_go_away_when_they_are_unplugged_and_cds_stay() {
    let mut lab = Lab::with(|disk| disk.is_slow = true);
    lab.put(0, PX_SACT, 1);
    assert_eq!(lab.run(0, queued(0x60, 0, 8, 0, &[(0x8000, 0x1000)])), 0);
    lab.ahci.unplug_disks();
    lab.turn();
    lab.release();
    assert_eq!(lab.taken(0), 0);
    assert!(lab.disks.is_idle());
    assert_eq!((lab.get(0, PX_SSTS), lab.get(3, PX_SSTS)), (0, 0x123));
    assert!(lab.ahci.drive(0).is_none() && lab.ahci.drive(3).is_some());
    assert_eq!(lab.packet(&[0; 12], 0), Ok(vec![]));
    lab.write(4, 1);
    assert_eq!(lab.ahci.read(4, Width::Dword), 0x8000_0000);
    assert_eq!((lab.get(3, PX_CMD), lab.get(3, PX_SIG)), (6, 0xeb14_0101));
}

#[test]
fn frames_go_where_they_can_and_are_kept_where_they_are_not_wanted() {
    const HBFS: u32 = 1 << 29;
    let nothing = Command {
        command: 0x10,
        ..Command::default()
    };
    let mut lab = Lab::new();
    // The list runs, and its driver takes no frames.
    lab.put(0, PX_CMD, 1);
    lab.ram.bytes[0x1_0440..0x1_0454].fill(0xaa);
    assert_eq!(lab.run(0, nothing), DHRS);
    assert_eq!(lab.ram.bytes[0x1_0440..0x1_0454], [0xaa; 20]);
    // It takes them where there is no memory.
    lab.put(0, 0x0c, 0x8000_0000);
    lab.put(0, PX_CMD, 1 << 4 | 1);
    assert_eq!(lab.run(0, nothing), DHRS | HBFS);
    assert_eq!(lab.run(0, nothing), 0, "it has stopped");
    lab.put(0, 0x0c, 0);
    lab.put(0, PX_CMD, 1 << 4);
    lab.put(0, PX_CMD, 1 << 4 | 1);
    assert_eq!(lab.run(0, nothing), DHRS);
}

#[test]
fn ranges_that_cannot_be_had_are_not_discarded() {
    const OFS: u32 = 1 << 24;
    const HBDS: u32 = 1 << 28;
    for (table, happens) in [
        // None of the block's ranges names a sector.
        ((0x8000, 512), DHRS),
        ((0x8000, 100), OFS),
        ((0x8000_0000, 512), HBDS),
    ] {
        let mut lab = Lab::new();
        let trim = Command {
            command: 0x06,
            features: 1,
            count: 1,
            table: &[table],
            ..Command::default()
        };
        assert_eq!(lab.run(0, trim), happens, "{table:x?}");
        assert!(lab.disk(0).log.is_empty());
    }
}

#[test]
fn a_drive_that_is_held_in_reset_hears_nothing_but_its_end() {
    let mut lab = Lab::new();
    let control = |lab: &mut Lab, control: u8| {
        lab.prepare(0, 0, Command::default());
        let frame = [0x27, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, control];
        lab.ram.write(Lab::table(0, 0), &frame).unwrap();
        lab.ram.bytes[0x1_0440..0x1_0454].fill(0xaa);
        lab.put(0, PX_CI, 1);
        assert_eq!(lab.get(0, PX_CI), 0);
        lab.ram.bytes[0x1_0440]
    };
    assert_eq!(control(&mut lab, 0), 0xaa, "none was under way");
    assert_eq!(control(&mut lab, 4), 0xaa);
    let nothing = Command {
        command: 0x10,
        ..Command::default()
    };
    assert_eq!(lab.run(0, nothing), 0);
    assert_eq!((lab.get(0, PX_CI), lab.tfd(0).0), (0, 0x80));
    assert_eq!(control(&mut lab, 0), 0x34);
    assert_eq!(lab.run(0, nothing), DHRS);
}

#[test]
fn without_leave_of_pci_nothing_is_read_and_no_message_sent() {
    let mut lab = Lab::new();
    lab.ahci.configuration.write(4, Width::Word, 2);
    let nothing = Command {
        command: 0x10,
        ..Command::default()
    };
    assert_eq!(lab.run(0, nothing), 0);
    assert_eq!(lab.get(0, PX_CI), 1);
    lab.ahci.configuration.write(0x82, Width::Word, 1);
    lab.ahci.configuration.write(4, Width::Word, 6);
    lab.turn();
    assert_eq!(lab.get(0, PX_CI), 0);
    lab.ahci.configuration.write(4, Width::Word, 2);
    assert_eq!(lab.ahci.take_message(), None);
    // Beyond the last port there is none.
    lab.write(0x100 + 0x80 * PORTS, u32::MAX);
    assert_eq!(lab.ahci.read(0x100 + 0x80 * PORTS, Width::Dword), 0);
    assert!(lab.ahci.drive_mut(PORTS).is_none());
}

#[test]
fn a_drive_is_busy_while_the_disk_is() {
    let mut lab = Lab::with(|disk| disk.is_slow = true);
    let flush = Command {
        command: 0xe7,
        ..Command::default()
    };
    assert_eq!(lab.run(0, flush), 0);
    assert_eq!(lab.tfd(0).0, 0x90);
    lab.release();
    assert_eq!((lab.taken(0), lab.tfd(0).0), (DHRS, 0x50));
}

#[test]
fn a_queued_command_that_cannot_be_takes_its_own_bit_away_and_no_other() {
    let mut lab = Lab::with(|disk| disk.is_slow = true);
    let table = [(0x8000, 0x1000)];
    lab.prepare(0, 2, queued(0x60, 2, 8, SECTORS, &table));
    lab.prepare(0, 5, queued(0x60, 5, 8, 0, &table));
    lab.put(0, PX_SACT, 1 << 2 | 1 << 5);
    lab.put(0, PX_CI, 1 << 2 | 1 << 5);
    assert_eq!(lab.taken(0) & TFES, TFES);
    assert_eq!(lab.get(0, PX_CI), 1 << 5);
    assert_eq!(lab.tfd(0).0 & 1, 1);
}

#[test]
fn state_is_written_down_and_read_back() {
    let mut lab = Lab::new();
    lab.put(0, PX_IE, 3);
    let bytes = postcard::to_allocvec(&lab.ahci).unwrap();
    let read: Ahci = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(read, lab.ahci);
}

proptest! {
    /// Registers written at random, over memory full of commands that were changed at random.
    #[test]
    fn whatever_a_guest_does_is_survived_and_bounded(
        accesses in proptest::collection::vec(
            (0..6usize, 0..32usize, 0..3usize, any::<u32>(), any::<bool>()), 0..200),
        commands in proptest::collection::vec(
            (0..32usize, any::<u8>(), any::<[u8; 20]>(), any::<bool>(), 0..4u16), 1..32),
        slow: bool,
    ) {
        let mut lab = Lab::with(|disk| disk.is_slow = slow);
        for (slot, command, mut fis, plausible, pieces) in commands {
            let table = [(0x8_0000, 0x1000), (0x9_0000, 0x1ff), (0xf_ff00, 0x400)];
            for port in [0, 3] {
                let command = Command {
                    command,
                    packet: Some([fis[0] & 0xbf; 12]),
                    table: &table[..usize::from(pieces)],
                    ..Command::default()
                };
                lab.prepare(port, slot, command);
                if plausible {
                    fis[0] = 0x27;
                    fis[1] |= 0x80;
                    (fis[9], fis[10], fis[8], fis[6]) = (0, 0, 0, 0);
                }
                lab.ram.write(Lab::table(port, slot), &fis).unwrap();
            }
        }
        for (number, (port, register, width, value, known)) in accesses.into_iter().enumerate() {
            let offset = match known {
                true => 0x80 * [0, 3][port % 2] + [PX_CI, PX_SACT, PX_CMD][register % 3],
                false => 4 * register + 0x80 * port,
            };
            let value = match known && register % 3 == 2 { true => value & 0x1f, false => value };
            lab.ahci.write(0x100 + offset, Width::ALL[if known { 2 } else { width }], value);
            lab.turn();
            lab.ahci.read(0x100 + offset + value as usize % 4, Width::ALL[width]);
            if number % 3 == 0 {
                lab.release();
            }
            lab.ahci.take_message();
        }
        lab.ahci.reset();
        lab.disk(0).is_slow = false;
        lab.turn();
        prop_assert!(lab.disks.is_idle());
    }
}
