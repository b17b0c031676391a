//! A guest that does what it likes to the registers of an AHCI controller with a disk and a CD drive,
//! over memory that it fills as it likes, while the disks are slow: nothing panics, the work has an
//! end, and once the controller is reset nothing is left.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stubdom::backend::disk::Disks;
use stubdom::backend::disk::fake::MemoryDisk;
use stubdom::bus::Width;
use stubdom::device::ahci::Ahci;
use stubdom::device::ata::{Attachment, Drive, HardDisk, Optical};
use stubdom::memory::Ram;

const SECTORS: u64 = 600;
const MEMORY: usize = 0x2_0000;
/// Steps of one input.
const STEPS_MAX: usize = 256;
/// Where the list of either port begins, and how far apart its tables are.
const LISTS: [usize; 2] = [0x0, 0x1_0000];
const TABLE: usize = 0x200;
const FIRST_TABLE: usize = 0x800;

#[derive(Arbitrary, Debug)]
struct Command {
    slot: u8,
    flags: u16,
    /// Of the table, as many as it says there are.
    descriptors: Vec<(u32, u16)>,
    more: u16,
    fis: [u8; 16],
    packet: [u8; 12],
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// A command that a driver could have written, and its bit.
    Issue(bool, Command),
    Write {
        port: u8,
        register: u8,
        width: u8,
        value: u32,
    },
    /// By index and data.
    Ports {
        port: u8,
        width: u8,
        value: u32,
    },
    Read(u16),
    Poke(u16, [u8; 8]),
    Message([u32; 3]),
    Release(u8),
    Unplug,
}

fuzz_target!(|steps: Vec<Step>| {
    let disk = HardDisk::new(Attachment::Serial, SECTORS, "1").with_trim();
    let optical = Optical::new(Attachment::Serial, Some(SECTORS), "2");
    let mut ahci = Ahci::new([
        Some(Drive::Disk(disk)),
        Some(Drive::Optical(optical)),
        None,
        None,
        None,
        None,
    ]);
    ahci.configuration.write(4, Width::Word, 6);
    let mut disks = Disks::new();
    for drive in 0..2 {
        let mut disk = MemoryDisk::new(SECTORS);
        disk.is_slow = true;
        disk.bad = 300..301;
        disks.attach(drive, disk);
    }
    let mut ram = Ram::new(MEMORY);
    ahci.write(4, Width::Dword, 2);
    for (port, list) in LISTS.into_iter().enumerate() {
        for (register, value) in [(0, list as u32), (8, list as u32 + 0x400), (0x14, u32::MAX), (0x18, 0x11)] {
            ahci.write(0x100 + 0x80 * port + register, Width::Dword, value);
        }
    }
    for step in steps.into_iter().take(STEPS_MAX) {
        match step {
            Step::Issue(second, command) => {
                let port = usize::from(second);
                let slot = usize::from(command.slot % 32);
                let list = LISTS[port];
                let table = list + FIRST_TABLE + TABLE * slot;
                let mut put = |at: usize, bytes: &[u8]| {
                    ram.bytes[at..at + bytes.len()].copy_from_slice(bytes);
                };
                let many = command.descriptors.len() as u16;
                let flags = u32::from(command.flags & !0x1f | 5)
                    | u32::from(many.wrapping_add(command.more & 3)) << 16;
                put(list + 32 * slot, &flags.to_le_bytes());
                put(list + 32 * slot + 8, &(table as u64).to_le_bytes());
                put(table, &[0x27, 0x80]);
                put(table + 2, &command.fis[..14]);
                put(table + 0x40, &command.packet);
                for (at, (address, length)) in command.descriptors.iter().take(16).enumerate() {
                    let entry = table + 0x80 + 16 * at;
                    put(entry, &u64::from(address & 0x3_ffff).to_le_bytes());
                    put(entry + 12, &u32::from(*length).to_le_bytes());
                }
                let port = 0x100 + 0x80 * port;
                if matches!(command.fis[0], 0x60 | 0x61) {
                    ahci.write(port + 0x34, Width::Dword, 1 << slot);
                }
                ahci.write(port + 0x38, Width::Dword, 1 << slot);
            }
            Step::Write {
                port,
                register,
                width,
                value,
            } => {
                let offset = match port {
                    0..6 => 0x100 + 0x80 * usize::from(port) + usize::from(register % 0x80),
                    _ => register.into(),
                };
                ahci.write(offset, Width::ALL[usize::from(width % 3)], value);
            }
            Step::Ports { port, width, value } => {
                let width = Width::ALL[usize::from(width % 3)];
                ahci.write_ports(usize::from(port % 32), width, value);
                ahci.read_ports(usize::from(port % 32), width);
            }
            Step::Read(offset) => {
                for width in Width::ALL {
                    ahci.read(offset.into(), width);
                }
            }
            Step::Poke(at, bytes) => {
                let at = usize::from(at) * 2 & !7;
                ram.bytes[at..at + 8].copy_from_slice(&bytes);
            }
            Step::Message(registers) => {
                ahci.configuration.write(0x82, Width::Word, 1);
                for (at, value) in registers.into_iter().enumerate() {
                    ahci.configuration.write(0x84 + 4 * at, Width::Dword, value);
                }
            }
            Step::Release(requests) => {
                for drive in 0..2 {
                    if let Some(disk) = disks.disk_mut(drive) {
                        disk.release((requests % 8).into());
                    }
                }
            }
            Step::Unplug => ahci.unplug_disks(),
        }
        disks.turn(&mut ahci, &mut ram);
        ahci.take_message();
    }
    ahci.reset();
    for drive in 0..2 {
        if let Some(disk) = disks.disk_mut(drive) {
            disk.is_slow = false;
        }
    }
    disks.turn(&mut ahci, &mut ram);
    assert!(disks.is_idle(), "something is under way after a reset");
    assert!(!ahci.irq());
    assert_eq!(ram.bytes.len(), MEMORY);
});
