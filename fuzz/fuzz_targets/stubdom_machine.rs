//! A guest that does what it likes at every port, register and address of its whole computer, with
//! string instructions in both directions, while disks are slow, somebody types and vCPUs come: nothing
//! panics, Xen is never asked for what it refuses, and the state that is left can be saved and restored.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use minios_rs::dm::{Direction, Kind, Request};
use std::sync::LazyLock;
use stubdom::arguments::{Boot, Description, Kernel as Wanted};
use stubdom::backend::disk::fake::MemoryDisk;
use stubdom::device::ata::{Attachment, Drive, HardDisk, Optical};
use stubdom::hypervisor::fake::Fake;
use stubdom::machine::{Disks, Drives, Kernel, Machine, Serial};
use stubdom::memory::Ram;

const SECTORS: u64 = 64;
const MEMORY: usize = 0x2_0000;
/// Steps of one input.
const STEPS_MAX: usize = 256;
/// Where something is, or can be put.
const PORTS: [u16; 24] = [
    0x10, 0x60, 0x64, 0x70, 0x92, 0xb2, 0x170, 0x1f0, 0x2e8, 0x2f8, 0x376, 0x3e8, 0x3f6, 0x3f8,
    0x510, 0x518, 0xcf9, 0xae00, 0xaf00, 0xafe0, 0xb000, 0xc000, 0xd000, 0xfff8,
];
const ADDRESSES: [u64; 4] = [0xf000_0000, 0xf100_0000, 0xfee0_0000, u64::MAX - 0xff];

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Place {
    Port(u8, u8),
    Memory(u8, u16),
    Register(u8, u8),
    Anywhere(u64),
}

#[derive(Arbitrary, Debug)]
enum Step {
    Access {
        place: Place,
        data: u64,
        size: u8,
        is_read: bool,
    },
    /// A string instruction.
    Repeat {
        place: Place,
        pointer: u32,
        count: u16,
        size: u8,
        is_read: bool,
        descending: bool,
    },
    Poke(u16, [u8; 16]),
    Type(u8, Vec<u8>),
    Take(u8),
    Vcpus(u8),
    Release(u8),
}

/// The header of a kernel with one setup sector, and one sector of kernel.
static KERNEL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut image = vec![0x90; 3 * 512];
    image[0x1f1] = 1;
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    image[0x211] = 1;
    image[0x22f] = 0x7f;
    image[0x239] = 8;
    image
});

fn description() -> Description {
    Description {
        name: "guest".into(),
        memory_mib: 256,
        vcpus: 2,
        vcpus_max: 128,
        boot: vec![Boot::Disk, Boot::Cd],
        serials: vec![3, 4, 5, 6],
        drives: Vec::new(),
        has_ahci: true,
        has_platform_device: true,
        has_acpi: true,
        has_serial_firmware: true,
        low_memory_end: None,
        kernel: Some(Wanted {
            append: "quiet".into(),
            ..Wanted::default()
        }),
        is_restored: false,
    }
}

fn machine() -> Machine {
    let disk = |attachment| {
        Some(Drive::Disk(
            HardDisk::new(attachment, SECTORS, "1").with_trim(),
        ))
    };
    let optical = |attachment| Some(Drive::Optical(Optical::new(attachment, Some(SECTORS), "2")));
    let mut drives = Drives::default();
    drives.ide[0] = disk(Attachment::Parallel);
    drives.ide[2] = optical(Attachment::Parallel);
    drives.ahci[0] = disk(Attachment::Serial);
    drives.ahci[1] = optical(Attachment::Serial);
    let kernel = Kernel {
        image: &KERNEL,
        ramdisk: &[7; 100],
    };
    Machine::new(&description(), drives, Some(kernel)).expect("such a machine can be")
}

impl Place {
    fn request(self, data: u64, size: u8, is_read: bool) -> Request {
        let size = 1 << (size % 4);
        let (kind, address) = match self {
            Self::Port(at, offset) => {
                let base = PORTS[usize::from(at) % PORTS.len()];
                (Kind::Port, u64::from(base) + u64::from(offset % 0x20))
            }
            Self::Memory(at, offset) => {
                let base = ADDRESSES[usize::from(at) % ADDRESSES.len()];
                (Kind::Memory, base.wrapping_add((offset % 0x400).into()))
            }
            Self::Register(function, offset) => (
                Kind::PciConfig,
                u64::from(function % 0x20) << 32 | u64::from(offset),
            ),
            Self::Anywhere(address) => (Kind::Memory, address),
        };
        Request {
            kind,
            address,
            data,
            count: 1,
            size,
            direction: if is_read {
                Direction::Read
            } else {
                Direction::Write
            },
            descending: false,
            data_is_pointer: false,
        }
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let mut machine = machine();
    let mut xen = Fake::default();
    machine.start(&mut xen).expect("Xen lets it");
    let mut ram = Ram::new(MEMORY);
    let mut disks = Disks::default();
    for drive in [0, 2] {
        let mut disk = MemoryDisk::new(SECTORS);
        disk.is_slow = true;
        disks.ide.attach(drive, disk);
    }
    for port in [0, 1] {
        let mut disk = MemoryDisk::new(SECTORS);
        disk.is_slow = true;
        disks.ahci.attach(port, disk);
    }
    for step in steps.into_iter().take(STEPS_MAX) {
        match step {
            Step::Access {
                place,
                data,
                size,
                is_read,
            } => {
                let request = place.request(data, size, is_read);
                machine.serve(&request, &mut ram, &mut xen);
            }
            Step::Repeat {
                place,
                pointer,
                count,
                size,
                is_read,
                descending,
            } => {
                let request = Request {
                    count: u32::from(count % 1024),
                    descending,
                    data_is_pointer: true,
                    ..place.request(u64::from(pointer) % (2 * MEMORY as u64), size, is_read)
                };
                machine.serve(&request, &mut ram, &mut xen);
            }
            Step::Poke(at, bytes) => {
                let at = usize::from(at) & !0xf;
                ram.bytes[at..at + bytes.len()].copy_from_slice(&bytes);
            }
            Step::Type(serial, bytes) => {
                let serial = Serial((serial % 5).into());
                assert!(machine.serial_input(serial, &bytes, &mut xen) <= bytes.len());
            }
            Step::Take(serial) => {
                machine.serial_output(Serial((serial % 5).into()), &mut [0; 64], &mut xen);
            }
            Step::Vcpus(there) => machine.set_vcpus(&[there], &mut xen),
            Step::Release(requests) => {
                for drive in [0, 2] {
                    if let Some(disk) = disks.ide.disk_mut(drive) {
                        disk.release((requests % 8).into());
                    }
                }
                for port in [0, 1] {
                    if let Some(disk) = disks.ahci.disk_mut(port) {
                        disk.release((requests % 8).into());
                    }
                }
            }
        }
        machine.turn(&mut disks, &mut ram, &mut xen);
        machine.take_ended();
        machine.take_unplugged();
        xen.calls.clear();
    }
    assert_eq!(xen.mistakes, 0, "Xen was asked for what cannot be");
    assert_eq!(ram.bytes.len(), MEMORY);
    let saved = machine.save();
    let mut restored = self::machine();
    restored
        .restore(&saved)
        .expect("what was saved is restored");
    assert_eq!(restored.save(), saved);
    restored.start(&mut Fake::default()).expect("Xen lets it");
});
