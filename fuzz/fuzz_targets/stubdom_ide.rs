//! A guest that does what it likes to the registers of an IDE controller with two disks and a CD
//! drive, over memory that it fills as it likes, while the disks are slow: nothing panics, the work
//! has an end, and once the controller is reset nothing is left.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stubdom::backend::disk::Disks;
use stubdom::backend::disk::fake::MemoryDisk;
use stubdom::bus::Width;
use stubdom::device::ata::{Attachment, Drive, HardDisk, Optical};
use stubdom::device::ide::Ide;
use stubdom::memory::Ram;

const SECTORS: u64 = 600;
const MEMORY: usize = 0x1_0000;
/// Steps of one input.
const STEPS_MAX: usize = 256;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Access {
    Byte,
    Word,
    Dword,
}

impl Access {
    fn width(self) -> Width {
        match self {
            Self::Byte => Width::Byte,
            Self::Word => Width::Word,
            Self::Dword => Width::Dword,
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// Registers of a whole command, written in their order.
    Command {
        secondary: bool,
        registers: [u8; 7],
        long: Option<[u8; 5]>,
    },
    Packet([u8; 12]),
    Write {
        secondary: bool,
        register: u8,
        access: Access,
        value: u32,
    },
    Read {
        secondary: bool,
        register: u8,
        access: Access,
    },
    /// The data register, as often as a string instruction does it.
    Data {
        secondary: bool,
        access: Access,
        count: u16,
        write: Option<u32>,
    },
    Control {
        secondary: bool,
        value: u8,
    },
    BusMaster {
        offset: u8,
        access: Access,
        value: u32,
    },
    Descriptor {
        at: u16,
        address: u32,
        length: u32,
    },
    Configuration {
        offset: u8,
        access: Access,
        value: u32,
    },
    Release(u8),
    Unplug,
}

fuzz_target!(|steps: Vec<Step>| {
    let disk = || Some(Drive::Disk(HardDisk::new(Attachment::Parallel, SECTORS, "1").with_trim()));
    let optical = Optical::new(Attachment::Parallel, Some(SECTORS), "2");
    let mut ide = Ide::new([disk(), disk(), Some(Drive::Optical(optical)), None]);
    ide.configuration.write(4, Width::Word, 5);
    let mut disks = Disks::new();
    for drive in 0..3 {
        let mut disk = MemoryDisk::new(SECTORS);
        disk.is_slow = true;
        disk.bad = 300..301;
        disks.attach(drive, disk);
    }
    let mut ram = Ram::new(MEMORY);
    for step in steps.into_iter().take(STEPS_MAX) {
        match step {
            Step::Command {
                secondary,
                registers,
                long,
            } => {
                let channel = usize::from(secondary);
                let mut write = |register, value: u8| {
                    ide.write_command(channel, register, Width::Byte, value.into());
                };
                write(6, registers[5]);
                for (register, value) in (1..).zip(long.into_iter().flatten()) {
                    write(register, value);
                }
                for register in [1, 2, 3, 4, 5, 7] {
                    write(register, registers[register - 1]);
                }
            }
            Step::Packet(packet) => {
                for word in packet.as_chunks::<2>().0 {
                    let word = u16::from_le_bytes(*word);
                    ide.write_command(1, 0, Width::Word, word.into());
                }
            }
            Step::Write {
                secondary,
                register,
                access,
                value,
            } => ide.write_command(
                secondary.into(),
                usize::from(register & 7),
                access.width(),
                value,
            ),
            Step::Read {
                secondary,
                register,
                access,
            } => {
                ide.read_command(secondary.into(), usize::from(register & 7), access.width());
            }
            Step::Data {
                secondary,
                access,
                count,
                write,
            } => {
                for _ in 0..count & 0xfff {
                    match write {
                        Some(value) => {
                            ide.write_command(secondary.into(), 0, access.width(), value);
                        }
                        None => {
                            ide.read_command(secondary.into(), 0, access.width());
                        }
                    }
                }
            }
            Step::Control { secondary, value } => ide.write_control(secondary.into(), value),
            Step::BusMaster {
                offset,
                access,
                value,
            } => {
                ide.write_bus_master(offset.into(), access.width(), value);
                ide.read_bus_master(offset.into(), access.width());
            }
            Step::Descriptor {
                at,
                address,
                length,
            } => {
                let at = usize::from(at & 0xfff8);
                let entry = u64::from(length) << 32 | u64::from(address);
                ram.bytes[at..at + 8].copy_from_slice(&entry.to_le_bytes());
            }
            Step::Configuration {
                offset,
                access,
                value,
            } => ide
                .configuration
                .write(offset.into(), access.width(), value),
            Step::Release(requests) => {
                for drive in 0..3 {
                    if let Some(disk) = disks.disk_mut(drive) {
                        disk.release((requests % 8).into());
                    }
                }
            }
            Step::Unplug => ide.unplug_disks(),
        }
        disks.turn(&mut ide, &mut ram);
    }
    ide.reset();
    for drive in 0..3 {
        if let Some(disk) = disks.disk_mut(drive) {
            disk.is_slow = false;
        }
    }
    disks.turn(&mut ide, &mut ram);
    assert!(disks.is_idle(), "something is under way after a reset");
    assert!(!ide.irq(0) && !ide.irq(1));
    assert_eq!(ram.bytes.len(), MEMORY);
});
