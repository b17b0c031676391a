//! A guest's vCPUs through Xen itself, as it is simulated: requests that Xen would send and such as it would not,
//! buffered ones, and memory that goes away beneath the devices. Each vCPU that waits is answered, Xen finds nothing
//! wrong with how, and in the end every page and port comes back.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use minios_rs::abi::hvm::ioreq::Ioreq;
use minios_rs::dm::{Guest, GuestMemory, Server};
use minios_rs::fake::World;
use minios_rs::fake::hvm::{Access, Ram};
use minios_rs::xen::DomId;
use stubdom::arguments::{Boot, Description};
use stubdom::backend::disk::fake::MemoryDisk;
use stubdom::device::ata::{Attachment, Drive, HardDisk, Optical};
use stubdom::hypervisor;
use stubdom::machine::{Disks, Drives, Machine, Serial};

const STUB: DomId = DomId(6);
const GUEST: DomId = DomId(5);
const VCPUS: usize = 3;
const PAGES: u64 = 16;
const SECTORS: u64 = 64;
/// Steps of one input.
const STEPS_MAX: usize = 128;
/// Where something is: ports, functions' registers, memory.
const PORTS: [u64; 20] = [
    0x10, 0x60, 0x64, 0x70, 0x92, 0xb2, 0x170, 0x1f0, 0x2f8, 0x376, 0x3f6, 0x3f8, 0xcf8, 0xae00,
    0xaf00, 0xafe0, 0xb000, 0xc000, 0xfffc, 0x1_03f8,
];

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Place {
    Port(u8, u8),
    Memory(u16),
    Register(u8, u8),
    Anywhere(u64),
}

impl Place {
    fn address(self) -> u64 {
        match self {
            Self::Port(at, offset) => {
                PORTS[usize::from(at) % PORTS.len()] + u64::from(offset % 0x10)
            }
            Self::Memory(offset) => 0xf100_0000 + u64::from(offset % 0x1200),
            Self::Register(function, offset) => {
                u64::from(function % 0x20) << 32 | u64::from(offset)
            }
            Self::Anywhere(address) => address,
        }
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    Raise {
        vcpu: u8,
        kind: u8,
        place: Place,
        data: u64,
        count: u32,
        size: u8,
        flags: u8,
        is_odd: bool,
        is_long: bool,
    },
    Buffered {
        kind: u8,
        address: u32,
        size: u8,
        data: u64,
    },
    Poke(u8, u16, [u8; 16]),
    /// A page goes, or comes back.
    Page(u8, bool),
    Type(Vec<u8>),
    Take,
    LogDirty(bool),
}

fn description() -> Description {
    Description {
        name: "guest".into(),
        memory_mib: 256,
        vcpus: 2,
        vcpus_max: 3,
        boot: vec![Boot::Disk],
        serials: vec![3],
        drives: Vec::new(),
        has_ahci: true,
        has_platform_device: true,
        has_acpi: true,
        has_serial_firmware: true,
        low_memory_end: None,
        kernel: None,
        is_restored: false,
    }
}

fn machine() -> Machine {
    let mut drives = Drives::default();
    let disk = HardDisk::new(Attachment::Parallel, SECTORS, "1").with_trim();
    drives.ide[0] = Some(Drive::Disk(disk));
    let optical = Optical::new(Attachment::Parallel, Some(SECTORS), "2");
    drives.ide[2] = Some(Drive::Optical(optical));
    let disk = HardDisk::new(Attachment::Serial, SECTORS, "3").with_trim();
    drives.ahci[0] = Some(Drive::Disk(disk));
    Machine::new(&description(), drives, None).expect("such a machine can be")
}

fuzz_target!(|steps: Vec<Step>| {
    let world = World::new();
    let stub = world.domain(STUB);
    let hvm = world.hvm(GUEST, STUB, VCPUS, PAGES);
    let usage = stub.usage();
    {
        let guest = Guest::new(stub.clone(), GUEST);
        let mut server = Server::create(&guest).expect("Xen lets it");
        let mut memory = GuestMemory::new(&guest).expect("there is memory");
        let mut xen = hypervisor::Guest::new(guest, server.ranges());
        let mut machine = machine();
        machine.start(&mut xen).expect("Xen lets it");
        server.enable().expect("Xen lets it");
        let mut disks = Disks::default();
        disks.ide.attach(0, MemoryDisk::patterned(SECTORS));
        disks.ide.attach(2, MemoryDisk::patterned(SECTORS));
        disks.ahci.attach(0, MemoryDisk::patterned(SECTORS));
        for step in steps.into_iter().take(STEPS_MAX) {
            let mut waits = None;
            match step {
                Step::Raise {
                    vcpu,
                    kind,
                    place,
                    data,
                    count,
                    size,
                    flags,
                    is_odd,
                    is_long,
                } => {
                    let vcpu = usize::from(vcpu) % VCPUS;
                    let request = Ioreq {
                        addr: place.address(),
                        data,
                        count: match (is_odd, is_long) {
                            (true, _) => count,
                            (false, true) => count % 1024,
                            (false, false) => 1,
                        },
                        size: match is_odd && !is_long {
                            true => size.into(),
                            false => 1 << (size % 4),
                        },
                        flags,
                        kind: match kind {
                            0..160 => [0, 1, 2, 0][usize::from(kind % 4)],
                            _ => kind,
                        },
                        ..Ioreq::default()
                    };
                    if hvm.raise(vcpu, request) == Access::Waits {
                        waits = Some(vcpu);
                    }
                }
                Step::Buffered {
                    kind,
                    address,
                    size,
                    data,
                } => {
                    hvm.raise_buffered(kind % 2, address, 1 << (size % 4), data);
                }
                // To the upper half, which always stays.
                Step::Poke(page, at, bytes) => {
                    let page = PAGES / 2 + u64::from(page) % (PAGES / 2);
                    hvm.poke(page * 4096 + u64::from(at & 0xff0), &bytes);
                }
                Step::Page(page, true) => {
                    let page = u64::from(page) % (PAGES / 2);
                    hvm.add_ram(page..page + 1, Ram::Writable);
                }
                Step::Page(page, false) => {
                    hvm.remove_ram(u64::from(page) % (PAGES / 2));
                    memory.invalidate();
                }
                Step::Type(bytes) => {
                    machine.serial_input(Serial(0), &bytes, &mut xen);
                }
                Step::Take => {
                    machine.serial_output(Serial(0), &mut [0; 64], &mut xen);
                }
                Step::LogDirty(true) => memory.start_log_dirty(),
                Step::LogDirty(false) => memory.stop_log_dirty(),
            }
            let served = server.serve(|request| machine.serve(request, &mut memory, &mut xen));
            assert!(served.is_ok(), "{served:?}");
            machine.turn(&mut disks, &mut memory, &mut xen);
            machine.take_ended();
            machine.take_unplugged();
            if let Some(vcpu) = waits {
                assert!(hvm.complete(vcpu).is_some(), "a vCPU waits for ever");
            }
            assert_eq!(hvm.crashed(), None);
        }
    }
    assert_eq!(stub.usage(), usage);
    assert_eq!((hvm.servers(), hvm.mapped()), (0, (0, 0)));
});
