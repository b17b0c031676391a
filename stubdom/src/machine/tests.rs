//! A guest's computer, as its firmware and drivers see it, and what Xen is told.

extern crate std;

use super::*;
use crate::arguments::{self, Boot};
use crate::backend::disk::fake::MemoryDisk;
use crate::device::ata::{Attachment, Drive, HardDisk};
use crate::hypervisor;
use crate::hypervisor::Level::{High, Low};
use crate::hypervisor::Range;
use crate::hypervisor::fake::{Call, Fake};
use crate::memory::Ram;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use minios_rs::abi::hvm::ioreq::{FLAGS_DATA_IS_PTR, FLAGS_DIR, IOREQ_TYPE_PIO, Ioreq};
use minios_rs::dm::{self, Direction, Kind};
use minios_rs::fake::World;
use minios_rs::fake::hvm::Access;
use minios_rs::xen::DomId;
use proptest::prelude::*;

const PLATFORM: u64 = 2 << 3;
const ISA: u64 = 1 << 3;

fn description() -> Description {
    Description {
        name: String::from("guest"),
        memory_mib: 256,
        vcpus: 2,
        vcpus_max: 4,
        boot: vec![Boot::Disk, Boot::Cd],
        serials: vec![3, 4],
        drives: Vec::new(),
        has_ahci: false,
        has_platform_device: true,
        has_serial_firmware: false,
        has_acpi: true,
        low_memory_end: None,
        kernel: None,
        is_restored: false,
    }
}

fn disk(sectors: u64) -> Drives {
    let disk = HardDisk::new(Attachment::Parallel, sectors, "1");
    Drives {
        ide: [Some(Drive::Disk(disk)), None, None, None],
        ..Drives::default()
    }
}

/// A machine, the guest's memory, and Xen.
struct Bench {
    machine: Machine,
    ram: Ram,
    xen: Fake,
}

impl Bench {
    fn new() -> Self {
        Self::with(Machine::new(&description(), disk(64), None).unwrap())
    }

    fn with(mut machine: Machine) -> Self {
        let mut xen = Fake::default();
        machine.start(&mut xen).unwrap();
        xen.take();
        Self {
            machine,
            ram: Ram::new(1 << 20),
            xen,
        }
    }

    fn serve(&mut self, request: &Request) -> u64 {
        self.machine.serve(request, &mut self.ram, &mut self.xen)
    }

    fn read(&mut self, kind: Kind, address: u64, size: u32) -> u64 {
        self.serve(&request(kind, Direction::Read, address, size, 0))
    }

    fn write(&mut self, kind: Kind, address: u64, size: u32, data: u64) {
        self.serve(&request(kind, Direction::Write, address, size, data));
    }

    fn inb(&mut self, port: u64) -> u64 {
        self.read(Kind::Port, port, 1)
    }

    fn outb(&mut self, port: u64, data: u64) {
        self.write(Kind::Port, port, 1, data);
    }

    fn config(&mut self, function: u64, register: u64) -> u64 {
        self.read(Kind::PciConfig, function << 32 | register, 4)
    }

    fn set_config(&mut self, function: u64, register: u64, data: u64) {
        self.write(Kind::PciConfig, function << 32 | register, 4, data);
    }
}

fn request(kind: Kind, direction: Direction, address: u64, size: u32, data: u64) -> Request {
    Request {
        kind,
        address,
        data,
        count: 1,
        size,
        direction,
        descending: false,
        data_is_pointer: false,
    }
}

/// As Linux finds out whether there is such a bus at all. The port of the reset control lies in the middle.
#[test]
fn the_address_of_a_register_is_read_back_and_is_no_reset() {
    const ADDRESS: u64 = 0xcf8;
    let mut bench = Bench::new();
    bench.outb(0xcfb, 0x01);
    assert_eq!(bench.read(Kind::Port, ADDRESS, 4), 0);
    // Function 6 of a device: the bits that reset are set.
    bench.write(Kind::Port, ADDRESS, 4, 0x8000_0603);
    assert_eq!(bench.read(Kind::Port, ADDRESS, 4), 0x8000_0600);
    assert_eq!(bench.machine.take_ended(), None);
    assert_eq!(bench.inb(0xcf9), 0);
}

#[test]
fn firmware_finds_the_functions_of_the_bus_and_no_others() {
    let mut bench = Bench::new();
    let found: Vec<(u64, u64)> = (0..=0xff)
        .map(|function| (function, bench.config(function, 0)))
        .filter(|(_, id)| *id != 0xffff_ffff)
        .collect();
    assert_eq!(
        found,
        [
            (0x00, 0x1237_8086),
            (0x08, 0x7000_8086),
            (0x09, 0x7010_8086),
            (0x0b, 0x7113_8086),
            (0x10, 0x0001_5853),
        ]
    );
    assert_eq!(bench.config(1 << 8, 0), 0xffff_ffff, "bus 1");
    assert_eq!(bench.config(0, 0x100), 0xffff_ffff, "extended space");
}

#[test]
fn xen_hands_over_what_the_devices_answer_to() {
    let bench = Bench::new();
    for range in [
        Range::Port(0x10, 0x1f),
        Range::Port(0x60, 0x60),
        Range::Port(0x64, 0x64),
        Range::Port(0x70, 0x71),
        Range::Port(0x92, 0x92),
        Range::Port(0xb2, 0xb3),
        Range::Port(0x170, 0x177),
        Range::Port(0x1f0, 0x1f7),
        Range::Port(0x2f8, 0x2ff),
        Range::Port(0x376, 0x376),
        Range::Port(0x3f6, 0x3f6),
        Range::Port(0x3f8, 0x3ff),
        Range::Port(0xcf8, 0xcfb),
        Range::Port(0xae00, 0xae13),
        Range::Port(0xaf00, 0xaf1f),
        Range::Port(0xafe0, 0xafe3),
        Range::Port(0xb000, 0xb03f),
        Range::Function(0x00),
        Range::Function(0x08),
        Range::Function(0x09),
        Range::Function(0x0b),
        Range::Function(0x10),
    ] {
        assert!(bench.xen.ranges.contains(&range), "{range:?}");
    }
    assert_eq!(bench.xen.ranges.len(), 22);
}

#[test]
fn what_the_description_leaves_out_is_not_there() {
    let bare = Description {
        serials: Vec::new(),
        has_platform_device: false,
        has_acpi: false,
        ..description()
    };
    let mut bench = Bench::with(Machine::new(&bare, Drives::default(), None).unwrap());
    assert_eq!(bench.config(PLATFORM, 0), 0xffff_ffff);
    assert_eq!(bench.config(0x0b, 0), 0xffff_ffff);
    for port in [0x10, 0x3f8, 0xb004, 0x510] {
        assert_eq!(bench.inb(port), 0xff, "{port:#x}");
    }
    assert_eq!(bench.xen.ranges.len(), 22 - 10);
}

#[test]
fn a_bar_is_claimed_where_the_driver_puts_it() {
    let mut bench = Bench::new();
    let before = bench.xen.ranges.len();
    bench.set_config(PLATFORM, 0x10, 0xc000);
    bench.set_config(PLATFORM, 0x14, 0xf200_0000);
    assert_eq!(bench.xen.ranges.len(), before, "nothing is decoded yet");
    bench.set_config(PLATFORM, 0x04, 3);
    let ports = Range::Port(0xc000, 0xc0ff);
    let memory = Range::Memory(0xf200_0000, 0xf2ff_ffff);
    assert_eq!(bench.xen.ranges[before..], [ports, memory]);
    assert_eq!(bench.read(Kind::Memory, 0xf200_0000, 8), 0);
    assert_eq!(bench.inb(0xc000), 0);
    bench.set_config(PLATFORM, 0x10, 0xd000);
    assert!(!bench.xen.ranges.contains(&ports));
    assert!(bench.xen.ranges.contains(&Range::Port(0xd000, 0xd0ff)));
    assert_eq!(bench.inb(0xc000), 0xff);
    bench.set_config(PLATFORM, 0x04, 0);
    assert_eq!(bench.xen.ranges.len(), before);
}

#[test]
fn a_bar_over_a_fixed_device_changes_nothing_for_it() {
    let mut bench = Bench::new();
    bench.set_config(PLATFORM, 0x10, 0x300);
    bench.set_config(PLATFORM, 0x04, 1);
    assert!(bench.xen.ranges.contains(&Range::Port(0x3f8, 0x3ff)));
    assert_eq!(bench.inb(0x3fd), 0x60, "the serial port's status");
    assert_eq!(bench.inb(0x300), 0xff);
    assert_eq!(bench.xen.mistakes, 0);
}

#[test]
fn an_access_across_the_end_of_a_device_reaches_both_neighbours() {
    let mut bench = Bench::new();
    bench.outb(0x3ff, 0x5a);
    // Scratch register, and nobody.
    assert_eq!(bench.read(Kind::Port, 0x3ff, 2), 0xff5a);
    // Alternate status, nobody, and the first two registers of a serial port.
    bench.write(Kind::Port, 0x3f6, 4, 0x0300_0002);
    assert_eq!(bench.inb(0x3f9), 0x03);
    assert_eq!(bench.read(Kind::Port, 0x3f6, 4) >> 24, 0x03);
    // The last port of all.
    assert_eq!(bench.read(Kind::Port, 0xffff, 4), 0xffff_ffff);
    bench.write(Kind::Port, 0xfffe, 4, 0);
}

#[test]
fn a_serial_port_prints_takes_input_and_interrupts() {
    let mut bench = Bench::new();
    for byte in b"hello" {
        bench.outb(0x3f8, u64::from(*byte));
    }
    let mut output = [0; 16];
    let length = bench
        .machine
        .serial_output(Serial(0), &mut output, &mut bench.xen);
    assert_eq!(&output[..length], b"hello");
    bench.outb(0x2fc, 0x08);
    bench.outb(0x2f9, 0x01);
    let taken = bench.machine.serial_input(Serial(1), b"x", &mut bench.xen);
    assert_eq!(taken, 1);
    assert_eq!(bench.xen.take(), [Call::Isa(3, High)]);
    assert_eq!(bench.inb(0x2f8), u64::from(b'x'));
    assert_eq!(bench.xen.take(), [Call::Isa(3, Low)]);
    assert_eq!(bench.inb(0x3e8), 0xff, "there is no third");
    let nobody = bench.machine.serial_input(Serial(2), b"x", &mut bench.xen);
    assert_eq!(nobody, 0);
}

#[test]
fn each_byte_of_the_keyboard_is_an_edge() {
    let mut bench = Bench::new();
    bench.outb(0x60, 0xff);
    assert_eq!(bench.xen.take(), [Call::Isa(1, High)]);
    assert_eq!(bench.inb(0x60), 0xfa);
    assert_eq!(bench.xen.take(), [Call::Isa(1, Low), Call::Isa(1, High)]);
    assert_eq!(bench.inb(0x60), 0xaa);
    assert_eq!(bench.xen.take(), [Call::Isa(1, Low)]);
}

#[test]
fn links_lead_where_firmware_says() {
    let mut machine = Machine::new(&description(), disk(64), None).unwrap();
    let mut xen = Fake::default();
    machine.start(&mut xen).unwrap();
    assert_eq!(xen.take(), [0, 1, 2, 3].map(|link| Call::Route(link, None)));
    let mut bench = Bench::with(machine);
    bench.set_config(ISA, 0x60, 0x0b0a_0580);
    assert_eq!(
        bench.xen.take(),
        [
            Call::Route(1, Some(5)),
            Call::Route(2, Some(10)),
            Call::Route(3, Some(11))
        ]
    );
    bench.set_config(ISA, 0x60, 0x0b0a_0580);
    assert_eq!(bench.xen.take(), []);
}

#[test]
fn a_guest_ends_and_sleeps_by_its_registers() {
    let reboot = Call::Shutdown(ShutdownReason::Reboot);
    let poweroff = Call::Shutdown(ShutdownReason::Poweroff);
    for (port, size, data, call, action) in [
        (0xcf9, 1, 0x06, reboot, Action::Reset),
        (0x64, 1, 0xfe, reboot, Action::Reset),
        (0x92, 1, 0x03, reboot, Action::Reset),
        (0xb004, 2, 0x2000, poweroff, Action::PowerOff),
        (0xb004, 2, 0x2400, Call::S3, Action::Suspend),
    ] {
        let mut bench = Bench::new();
        bench.write(Kind::Port, port, size, data);
        assert_eq!(bench.xen.take(), [call], "{port:#x}");
        assert_eq!(bench.machine.take_ended(), Some(action));
        assert_eq!(bench.machine.take_ended(), None);
    }
}

#[test]
fn vcpus_that_come_are_announced_by_an_event() {
    let mut bench = Bench::new();
    assert_eq!(bench.inb(0xaf00), 0b11);
    bench.write(Kind::Port, 0xafe2, 2, 0x0004);
    bench.machine.set_vcpus(&[0b111], &mut bench.xen);
    assert_eq!(bench.xen.take(), [Call::Isa(9, High)]);
    assert_eq!(bench.inb(0xaf00), 0b111);
    bench.write(Kind::Port, 0xafe0, 2, 0x0004);
    assert_eq!(bench.xen.take(), [Call::Isa(9, Low)]);
}

#[test]
fn unplugging_takes_the_disk_away() {
    let mut bench = Bench::new();
    assert!(bench.machine.ide_drive(0).is_some());
    assert_eq!(bench.read(Kind::Port, 0x10, 2), 0x49d2);
    bench.write(Kind::Port, 0x10, 2, 0x0002);
    assert!(bench.machine.ide_drive(0).is_some(), "cards only");
    assert!(bench.machine.take_unplugged().unwrap().nics);
    bench.write(Kind::Port, 0x10, 2, 0x0001);
    assert!(bench.machine.ide_drive(0).is_none());
    assert!(bench.machine.take_unplugged().unwrap().disks);
    assert_eq!(bench.xen.mistakes, 0);
    let (mut bench, _) = with_ahci();
    assert!(bench.machine.ahci_drive(0).is_some());
    bench.write(Kind::Port, 0x10, 2, 0x0001);
    assert!(bench.machine.ahci_drive(0).is_none());
}

#[test]
fn unplugging_resets_the_ide_function_whose_driver_has_to_find_a_place_again() {
    const IDE: u64 = 0x09;
    let mut bench = Bench::new();
    bench.set_config(IDE, 0x40, 0x8000_a307);
    bench.set_config(IDE, 0x20, 0xc120);
    bench.set_config(IDE, 0x04, 5);
    let ports = Range::Port(0xc120, 0xc12f);
    assert!(bench.xen.ranges.contains(&ports));
    assert_eq!(bench.inb(0xc122), 0);
    bench.write(Kind::Port, 0x10, 2, 0x0002);
    assert!(bench.xen.ranges.contains(&ports), "cards only");
    bench.write(Kind::Port, 0x10, 2, 0x0001);
    assert!(!bench.xen.ranges.contains(&ports));
    assert_eq!(bench.inb(0xc122), 0xff);
    let registers = [0x04, 0x20, 0x40].map(|register| bench.config(IDE, register));
    assert_eq!(registers, [0x0280_0000, 0x0000_0001, 0x8000_a307]);
    bench.set_config(IDE, 0x20, 0x1000);
    bench.set_config(IDE, 0x04, 5);
    assert!(bench.xen.ranges.contains(&Range::Port(0x1000, 0x100f)));
    assert_eq!(bench.xen.mistakes, 0);
}

#[test]
fn a_sector_is_read_by_a_string_instruction() {
    let mut bench = Bench::new();
    let mut disks = Disks::default();
    disks.ide.attach(0, MemoryDisk::patterned(64));
    // READ SECTORS: one, from LBA 5.
    for (port, byte) in [
        (0x1f6, 0xe0),
        (0x1f2, 1),
        (0x1f3, 5),
        (0x1f4, 0),
        (0x1f5, 0),
    ] {
        bench.outb(port, byte);
    }
    bench.outb(0x1f7, 0x20);
    for _ in 0..10 {
        bench
            .machine
            .turn(&mut disks, &mut bench.ram, &mut bench.xen);
    }
    assert_eq!(bench.xen.take(), [Call::Isa(14, High)]);
    assert_eq!(bench.inb(0x1f7) & 0x89, 0x08, "DRQ");
    assert_eq!(bench.xen.take(), [Call::Isa(14, Low)]);
    bench.serve(&Request {
        count: 256,
        data_is_pointer: true,
        ..request(Kind::Port, Direction::Read, 0x1f0, 2, 0x8000)
    });
    let disk = disks.ide.disk_mut(0).unwrap();
    assert_eq!(
        bench.ram.bytes[0x8000..0x8200],
        disk.bytes[5 * 512..6 * 512]
    );
    assert_eq!(bench.inb(0x1f7) & 0x89, 0);
}

const AHCI: u64 = 3 << 3;
const ABAR: u64 = 0xf100_0000;

/// A machine with an AHCI controller at [`ABAR`], its first port started, and a disk there.
fn with_ahci() -> (Bench, Disks<MemoryDisk>) {
    let description = Description {
        has_ahci: true,
        ..description()
    };
    let disk = HardDisk::new(Attachment::Serial, 64, "2");
    let mut drives = Drives::default();
    drives.ahci[0] = Some(Drive::Disk(disk));
    let mut bench = Bench::with(Machine::new(&description, drives, None).unwrap());
    let mut disks = Disks::default();
    disks.ahci.attach(0, MemoryDisk::patterned(64));
    bench.set_config(AHCI, 0x24, ABAR);
    bench.set_config(AHCI, 0x04, 0x0006);
    // Command list, received frames, interrupts of the port and of the whole, and start.
    for (register, value) in [
        (0x100, 0x1000),
        (0x108, 0x2000),
        (0x114, 0xffff_ffff),
        (0x004, 0x0000_0002),
        (0x130, 0xffff_ffff),
        (0x110, 0xffff_ffff),
        (0x118, 0x0000_0011),
    ] {
        bench.write(Kind::Memory, ABAR + register, 4, value);
    }
    bench.xen.take();
    (bench, disks)
}

/// READ DMA EXT of one sector, 5, to 0x8000, in slot 0.
fn ask_for_sector(bench: &mut Bench) {
    let mut put =
        |at: usize, bytes: &[u8]| bench.ram.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x1000, &0x0001_0005_u32.to_le_bytes());
    put(0x1008, &0x3000_u64.to_le_bytes());
    put(
        0x3000,
        &[0x27, 0x80, 0x25, 0, 5, 0, 0, 0x40, 0, 0, 0, 0, 1, 0, 0, 0],
    );
    put(0x3080, &0x8000_u64.to_le_bytes());
    put(0x308c, &511_u32.to_le_bytes());
    bench.write(Kind::Memory, ABAR + 0x138, 4, 1);
}

/// The same, carried out.
fn read_sector(bench: &mut Bench, disks: &mut Disks<MemoryDisk>) {
    ask_for_sector(bench);
    bench.machine.turn(disks, &mut bench.ram, &mut bench.xen);
    let disk = disks.ahci.disk_mut(0).unwrap();
    assert_eq!(
        bench.ram.bytes[0x8000..0x8200],
        disk.bytes[5 * 512..6 * 512]
    );
    assert!(disks.is_idle());
}

#[test]
fn ports_reach_the_registers_that_memory_reaches() {
    let (mut bench, _) = with_ahci();
    bench.set_config(AHCI, 0x20, 0xc100);
    bench.set_config(AHCI, 0x04, 0x0007);
    assert!(bench.xen.ranges.contains(&Range::Port(0xc100, 0xc11f)));
    bench.write(Kind::Port, 0xc110, 4, 0x10c);
    assert_eq!(bench.read(Kind::Port, 0xc114, 4), 0);
    bench.write(Kind::Port, 0xc114, 4, 0x1234_5678);
    assert_eq!(
        bench.read(Kind::Memory, ABAR + 0x10c, 4),
        bench.read(Kind::Port, 0xc114, 4)
    );
    assert_eq!(bench.read(Kind::Port, 0xc114, 4), 0x1234_5678);
    bench.write(Kind::Port, 0xc110, 4, 0);
    assert_eq!(bench.read(Kind::Port, 0xc114, 2), 0x1f05);
}

#[test]
fn a_sector_is_read_by_ahci_which_interrupts_at_its_pin() {
    let (mut bench, mut disks) = with_ahci();
    assert_eq!(bench.config(AHCI, 0), 0x2922_8086);
    read_sector(&mut bench, &mut disks);
    assert_eq!(bench.xen.take(), [Call::Intx(3, 0, High)]);
    bench.write(Kind::Memory, ABAR + 0x110, 4, 0xffff_ffff);
    bench.write(Kind::Memory, ABAR + 0x008, 4, 1);
    assert_eq!(bench.xen.take(), [Call::Intx(3, 0, Low)]);
}

#[test]
fn nothing_is_saved_while_a_disk_of_either_controller_is_at_work() {
    let (mut bench, mut disks) = with_ahci();
    disks.ahci.disk_mut(0).unwrap().is_slow = true;
    ask_for_sector(&mut bench);
    bench
        .machine
        .turn(&mut disks, &mut bench.ram, &mut bench.xen);
    assert!(!disks.is_idle());
    disks.ahci.disk_mut(0).unwrap().release(1);
    bench
        .machine
        .turn(&mut disks, &mut bench.ram, &mut bench.xen);
    assert!(disks.is_idle());
}

#[test]
fn ahci_interrupts_by_message_where_processors_listen() {
    for (address, is_message) in [(0xfee0_1000, true), (0x9000, false)] {
        let (mut bench, mut disks) = with_ahci();
        let capability = bench.config(AHCI, 0x34) & 0xff;
        bench.set_config(AHCI, capability + 4, address);
        bench.set_config(AHCI, capability + 8, 0);
        bench.set_config(AHCI, capability + 12, 0x4041);
        bench.set_config(AHCI, capability, 0x0001_0000);
        read_sector(&mut bench, &mut disks);
        if is_message {
            assert_eq!(bench.xen.take(), [Call::Msi(0xfee0_1000, 0x4041)]);
        } else {
            // A write like any other.
            assert_eq!(bench.xen.take(), []);
            assert_eq!(bench.ram.bytes[0x9000..0x9004], [0x41, 0x40, 0, 0]);
        }
    }
}

/// A kernel's header with one setup sector, and one sector of kernel.
fn kernel() -> Kernel {
    let mut image = vec![0x90; 3 * 512];
    image[0x1f1] = 1;
    image[0x202..0x206].copy_from_slice(b"HdrS");
    image[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    image[0x211] = 1;
    image[0x22c..0x230].copy_from_slice(&0x7fff_ffff_u32.to_le_bytes());
    image[0x238..0x23c].copy_from_slice(&2047_u32.to_le_bytes());
    Kernel {
        image: image.leak(),
        ramdisk: &[7; 100],
    }
}

fn with_kernel() -> Description {
    Description {
        kernel: Some(arguments::Kernel {
            append: String::from("quiet"),
            ..arguments::Kernel::default()
        }),
        ..description()
    }
}

/// Every device that there is.
fn everything() -> Machine {
    let description = Description {
        has_ahci: true,
        ..with_kernel()
    };
    let mut drives = disk(64);
    let serial = HardDisk::new(Attachment::Serial, 64, "2");
    drives.ahci[0] = Some(Drive::Disk(serial));
    Machine::new(&description, drives, Some(kernel())).unwrap()
}

#[test]
fn firmware_has_a_kernels_pieces_copied() {
    let machine = Machine::new(&with_kernel(), disk(64), Some(kernel())).unwrap();
    let mut bench = Bench::with(machine);
    bench.write(Kind::Port, 0x510, 2, 0);
    let signature: Vec<u64> = (0..4).map(|_| bench.inb(0x511)).collect();
    assert_eq!(signature, b"QEMU".map(u64::from));
    // The command line, item 0x15, to 0x2000, described at 0x1000.
    let description = 0x0015_000a_0000_0006_0000_0000_0000_2000_u128;
    bench.ram.bytes[0x1000..0x1010].copy_from_slice(&description.to_be_bytes());
    bench.write(Kind::Port, 0x518, 4, u64::from(0x1000_u32.swap_bytes()));
    assert_eq!(&bench.ram.bytes[0x2000..0x2006], b"quiet\0");
    assert_eq!(bench.ram.bytes[0x1000..0x1004], [0; 4]);
}

#[test]
fn firmware_is_told_when_a_serial_port_is_its_screen() {
    let told = Description {
        has_serial_firmware: true,
        ..description()
    };
    let mut bench = Bench::with(Machine::new(&told, Drives::default(), None).unwrap());
    bench.write(Kind::Port, 0x510, 2, 4);
    assert_eq!([bench.inb(0x511), bench.inb(0x511)], [1, 0]);
}

#[test]
fn a_kernel_that_cannot_be_booted_is_refused() {
    let bad = Kernel {
        image: &[0; 4096],
        ramdisk: &[],
    };
    let refusal = Machine::new(&with_kernel(), disk(64), Some(bad)).unwrap_err();
    assert_eq!(refusal, linux_boot::Refusal::Kernel);
}

#[test]
fn a_saved_machine_goes_on_where_it_was() {
    let new = || Machine::new(&with_kernel(), disk(64), Some(kernel())).unwrap();
    let mut bench = Bench::with(new());
    bench.set_config(PLATFORM, 0x10, 0xc000);
    bench.set_config(PLATFORM, 0x04, 1);
    bench.set_config(ISA, 0x60, 0x0b0a_0580);
    bench.outb(0x3fc, 0x08);
    bench.outb(0x3f9, 0x02);
    bench.outb(0x3ff, 0x77);
    bench.write(Kind::Port, 0x510, 2, 0);
    assert_eq!(bench.inb(0x511), u64::from(b'Q'));
    let saved = bench.machine.save();
    assert_eq!(length(saved.first_chunk().unwrap()), Ok(saved.len()));

    let mut machine = new();
    machine.restore(&saved).unwrap();
    let mut xen = Fake::default();
    machine.start(&mut xen).unwrap();
    assert!(xen.ranges.contains(&Range::Port(0xc000, 0xc0ff)));
    let routes = [None, Some(5), Some(10), Some(11)];
    let told: Vec<Call> = (0..)
        .zip(routes)
        .map(|(link, line)| Call::Route(link, line))
        .collect();
    assert_eq!(xen.take(), told);
    let mut after = Bench {
        machine,
        ram: Ram::new(0x1000),
        xen,
    };
    assert_eq!(after.inb(0x511), u64::from(b'E'));
    // Every line is told anew, whatever it was before.
    let calls = after.xen.take();
    assert_eq!(calls.len(), 16 + 32 * 4);
    assert!(calls.contains(&Call::Isa(4, High)) && calls.contains(&Call::Isa(3, Low)));
    assert_eq!(after.inb(0x3ff), 0x77);
    assert_eq!(after.xen.take(), []);
    assert_eq!(after.inb(0x3fa) & 0xf, 0x02);
}

#[test]
fn a_state_that_is_not_this_machines_is_refused() {
    let mut machine = Machine::new(&description(), disk(64), None).unwrap();
    let saved = machine.save();
    let mut refuse = |bytes: &[u8]| machine.restore(bytes).unwrap_err();
    assert_eq!(refuse(&saved[..saved.len() - 1]), RestoreError::Damaged);
    assert_eq!(refuse(&[]), RestoreError::Damaged);
    for at in (0..saved.len()).step_by(97) {
        let mut damaged = saved.clone();
        damaged[at] ^= 0x10;
        let error = refuse(&damaged);
        match at {
            0..8 => assert_eq!(error, RestoreError::Foreign),
            8..12 => assert!(matches!(error, RestoreError::Version(_))),
            _ => assert_eq!(error, RestoreError::Damaged),
        }
    }
    // What came before the chipset's registers were QEMU's, and what is not there yet.
    for version in [1, 3] {
        let mut other = saved.clone();
        other[8] = version;
        assert_eq!(refuse(&other), RestoreError::Version(version.into()));
    }
    let mut huge = saved.clone();
    huge[12..16].fill(0xff);
    assert_eq!(refuse(&huge), RestoreError::Damaged);
    let other = Description {
        serials: vec![3],
        ..description()
    };
    let other = Machine::new(&other, disk(64), None).unwrap().save();
    assert_eq!(refuse(&other), RestoreError::Different);
    assert!(machine.restore(&saved).is_ok());
}

/// The domain's is 128 KiB, and a part of that is taken; nobody is told when it is not enough.
#[test]
fn a_saved_state_is_taken_on_with_little_of_a_stack() {
    const STACK: usize = 96 << 10;
    let description = Description {
        has_ahci: true,
        ..description()
    };
    let mut machine = Machine::new(&description, disk(64), None).unwrap();
    let saved = machine.save();
    let restored = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || machine.restore(&saved));
    assert_eq!(restored.unwrap().join().unwrap(), Ok(()));
}

#[test]
fn a_range_that_xen_refuses_stops_the_machine_before_it_runs() {
    let mut machine = Machine::new(&description(), disk(64), None).unwrap();
    let mut xen = Fake {
        refused: Some(Range::Port(0x60, 0x60)),
        ..Fake::default()
    };
    assert!(machine.start(&mut xen).is_err());
}

/// Addresses where something is, more often than elsewhere.
fn request_anywhere() -> impl Strategy<Value = Request> {
    let kind = prop_oneof![
        6 => Just(Kind::Port),
        2 => Just(Kind::PciConfig),
        2 => Just(Kind::Memory),
    ];
    let port = prop_oneof![
        0..0x100_u64,
        0x170..0x178_u64,
        0x1f0..0x1f8_u64,
        0x2f8..0x400_u64,
        0x510..0x51c_u64,
        0xae00..0xaf20_u64,
        0xafe0..0xb040_u64,
        0xc000..0xc100_u64,
        Just(0xcf9),
        any::<u64>(),
    ];
    let memory = prop_oneof![Just(ABAR), Just(0xf200_0000), Just(0_u64)];
    let memory = (memory, 0..0x400_u64).prop_map(|(base, offset)| base + offset);
    let function = (0..0x20_u64, 0..0x100_u64);
    let size = prop_oneof![Just(1_u32), Just(2), Just(4), Just(8)];
    let data = prop_oneof![any::<u64>(), 0..0x2_0000_u64, Just(0xc001), Just(7)];
    let count = prop_oneof![4 => Just(1_u32), 1 => 0..600_u32, 1 => any::<u32>()];
    (
        kind,
        (port, memory),
        function,
        size,
        data,
        count,
        any::<[bool; 3]>(),
    )
        .prop_map(
            |(
                kind,
                (port, memory),
                (function, register),
                size,
                data,
                count,
                [read, descending, pointer],
            )| {
                Request {
                    kind,
                    address: match kind {
                        Kind::PciConfig => function << 32 | register,
                        Kind::Memory => memory,
                        _ => port,
                    },
                    data,
                    count,
                    size,
                    direction: if read {
                        Direction::Read
                    } else {
                        Direction::Write
                    },
                    descending,
                    data_is_pointer: pointer,
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_guest_does_the_machine_goes_on(
        requests in proptest::collection::vec(request_anywhere(), 0..150)
    ) {
        let (ahci, mut disks) = with_ahci();
        let mut bench = Bench::with(everything());
        disks.ide.attach(0, MemoryDisk::patterned(64));
        bench.set_config(AHCI, 0x24, ABAR);
        bench.ram = ahci.ram;
        for request in requests {
            bench.serve(&request);
            bench.machine.turn(&mut disks, &mut bench.ram, &mut bench.xen);
        }
        prop_assert_eq!(bench.xen.mistakes, 0, "Xen was never asked for what it refuses");
        prop_assert_eq!(bench.config(0, 0), 0x1237_8086);
        let mut restored = everything();
        let saved = bench.machine.save();
        prop_assert_eq!(restored.restore(&saved), Ok(()));
        prop_assert_eq!(restored.save(), saved);
    }
}

/// A port's access as a vCPU makes it.
fn port_access(flags: u8, port: u64, size: u32, count: u32, data: u64) -> Ioreq {
    Ioreq {
        addr: port,
        data,
        count,
        size,
        flags,
        kind: IOREQ_TYPE_PIO,
        ..Ioreq::default()
    }
}

#[test]
fn a_vcpu_is_answered_and_interrupted_through_xen() {
    let world = World::new();
    let stub = world.domain(DomId(6));
    let vcpu = world.hvm(DomId(5), DomId(6), 1, 64);
    let guest = dm::Guest::new(stub, DomId(5));
    let mut server = dm::Server::create(&guest).unwrap();
    let mut memory = dm::GuestMemory::new(&guest).unwrap();
    let mut xen = hypervisor::Guest::new(guest, server.ranges());
    let mut machine = Machine::new(&description(), disk(64), None).unwrap();
    machine.start(&mut xen).unwrap();
    server.enable().unwrap();
    let mut access = |request| {
        assert_eq!(vcpu.raise(0, request), Access::Waits);
        let served = server.serve(|request| machine.serve(request, &mut memory, &mut xen));
        assert_eq!(served, Ok(1));
        vcpu.complete(0).unwrap()
    };

    // The keyboard is asked who it is.
    access(port_access(0, 0x60, 1, 1, 0xf2));
    assert_eq!(vcpu.isa_level(1), 1);
    assert_eq!(access(port_access(FLAGS_DIR, 0x60, 1, 1, 0)) & 0xff, 0xfa);
    // A string instruction prints what lies in the guest's memory.
    vcpu.poke(0x3000, b"hello");
    access(port_access(FLAGS_DATA_IS_PTR, 0x3f8, 1, 5, 0x3000));
    // And it ends itself.
    access(port_access(0, 0xcf9, 1, 1, 0x06));
    assert_eq!(vcpu.shutdown(), Some(ShutdownReason::Reboot as u32));
    assert_eq!(vcpu.crashed(), None);
    let mut output = [0; 8];
    assert_eq!(machine.serial_output(Serial(0), &mut output, &mut xen), 5);
    assert_eq!(&output[..5], b"hello");
}
