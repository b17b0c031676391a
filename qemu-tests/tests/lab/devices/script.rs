//! What a guest does, from its first word to its end, and its accesses to what is no disk.

use super::Controller;
use super::random::Random;
use qemu_tests::{Accesses, READY, Way, Width};

/// Of each disk, sectors, and the one that is read when all is over.
pub(super) const SECTORS: usize = 2048;
pub(super) const LAST: u32 = SECTORS as u32 - 1;

pub(super) const MEMORY_MIB: u32 = 64;

/// Where the guest may be written to by whoever likes: what it runs lies elsewhere.
pub(super) const ARENA: u32 = 0x10_0000;
pub(super) const ARENA_BYTES: u32 = 0x10_0000;
/// Where its texts lie, and where it has its devices work well.
pub(super) const TEXTS: u32 = 0x40_0000;
pub(super) const GOOD: u32 = 0x50_0000;

/// Where the bus master, and AHCI's registers, are put.
pub(super) const BUS_MASTER: u16 = 0xd000;
pub(super) const ABAR: u32 = 0xf300_0000;

/// Functions of the first bus.
pub(super) const ISA: u32 = 1 << 3;
pub(super) const IDE: u32 = 1 << 3 | 1;
pub(super) const POWER: u32 = 1 << 3 | 3;
pub(super) const PLATFORM: u32 = 2 << 3;
pub(super) const AHCI: u32 = 3 << 3;

/// Tries of whoever waits for a device.
pub(super) const TRIES: u32 = 2000;

/// What is read at the end.
pub(super) const TEXT: &str = "and the disk is read as ever\r\n";

/// What stands before and behind memory that is transferred to, and at address 0.
pub(super) const EDGES: [&str; 3] = [
    "nothing before it..",
    "and nothing behind it",
    "and nothing around the end",
];
/// What it says when it has done all that, and waits for another word.
pub(super) const DONE: &str = "all of it";

/// A guest's accesses in the making.
pub(super) struct Script {
    pub(super) accesses: Accesses,
    pub(super) random: Random,
    pub(super) controller: Controller,
    texts: u32,
}

impl Script {
    fn say(&mut self, text: &str) {
        self.accesses
            .put(self.texts, format!("{text}\r\n\0").as_bytes());
        self.accesses.print(self.texts);
        self.texts += 0x100;
    }

    fn set_config(&mut self, function: u32, register: u32, width: Width, value: u32) {
        let address = 0x8000_0000 | function << 8 | register & !3;
        self.accesses.write(Width::Dword, 0xcf8, address);
        self.accesses
            .write(width, 0xcfc + (register & 3) as u16, value);
    }

    /// Puts the devices where they are looked for.
    pub(super) fn place(&mut self) {
        match self.controller {
            Controller::Ide => {
                self.set_config(IDE, 0x20, Width::Dword, BUS_MASTER.into());
                self.set_config(IDE, 0x04, Width::Word, 5);
            }
            Controller::Ahci => {
                self.set_config(AHCI, 0x24, Width::Dword, ABAR);
                self.set_config(AHCI, 0x04, Width::Word, 6);
            }
        }
    }

    fn round(&mut self, steps: usize) {
        self.place();
        for _ in 0..steps {
            match self.random.below(10) {
                0..3 => self.port(),
                3 => self.configuration(),
                4 => self.memory(),
                5 => self.string(),
                _ => match self.controller {
                    Controller::Ide if self.random.below(3) == 0 => self.packet(),
                    Controller::Ide => self.ide_command(),
                    Controller::Ahci => self.ahci_command(),
                },
            }
        }
    }

    /// A port of any device, unless it would end the guest, or take its disks away.
    fn port(&mut self) {
        let random = &mut self.random;
        let (first, count) = random.of(&[
            (0x14, 12),
            (0x60, 1),
            (0x64, 1),
            (0x70, 2),
            (0x92, 1),
            (0xb2, 2),
            (0x170, 8),
            (0x1f1, 6),
            (0x376, 1),
            (0x3f6, 1),
            (0x3f8, 8),
            (0x510, 12),
            (0xae00, 0x14),
            (0xaf00, 0x20),
            (0xafe0, 4),
            (0xb006, 0x3a),
            (BUS_MASTER, 16),
            (0xfff8, 8),
        ]);
        let port = first + random.below(count) as u16;
        let value = random.value();
        // The keyboard controller and port 92h reset the processor; of the first disk, no access spills over to the
        // command.
        let (width, value) = match port {
            0x64 => (
                Width::Byte,
                random.of(&[0x20, 0x60, 0xa7, 0xa8, 0xaa, 0xae, 0xd0, 0xd2, 0xd4]),
            ),
            0x60 | 0x1f1..=0x1f6 => (Width::Byte, value),
            0x92 => (Width::Byte, value & !1),
            _ => (random.width(), value),
        };
        match random.below(3) {
            0 => self.accesses.read(width, port),
            _ => self.accesses.write(width, port, value),
        }
    }

    fn configuration(&mut self) {
        let function = self.random.of(&[0, ISA, IDE, POWER, PLATFORM, AHCI, 0xff]);
        let width = self.random.width();
        let (register, value) = (self.random.below(0x100), self.random.value());
        self.set_config(function, register, width, value);
        self.accesses.read(width, 0xcfc + (register & 3) as u16);
        self.place();
    }

    /// Registers in memory, but not those of the first AHCI port, whose disk is not to be written.
    fn memory(&mut self) {
        let random = &mut self.random;
        let offset = random.of(&[0, 0x180, 0x200, 0x280, 0x1000]) + random.below(0x7c);
        let base = random.of(&[ABAR, 0xf000_0000, 0xf200_0000, (MEMORY_MIB << 20) + 0x1000]);
        let (width, value) = (random.width(), random.value());
        let (count, arena) = (1 + random.below(64), random.arena());
        match random.below(4) {
            0 => self.accesses.load(width, base + offset),
            1 => self
                .accesses
                .copy(width, Way::Up, base + offset, arena, count),
            // The whole controller's registers are few.
            _ if base == ABAR && offset < 0x100 => {
                self.accesses.store(width, ABAR + offset % 0x28, value, 1);
            }
            _ => self.accesses.store(width, base + offset, value, 1),
        }
    }

    /// A string instruction at a port.
    fn string(&mut self) {
        let random = &mut self.random;
        let port = random.of(&[0x60, 0x71, 0x170, 0x1f0, 0x3f8, 0xafe0, BUS_MASTER, 0xfffe]);
        let (width, count) = (random.width(), random.below(600));
        let way = random.of(&[Way::Up, Way::Up, Way::Down]);
        let address = random.arena() + 0x1000;
        match random.below(2) {
            0 => self.accesses.read_string(width, way, port, address, count),
            // What the serial port prints is not for reading, and what the keyboard hears may reset.
            _ if matches!(port, 0x60 | 0x3f8) => {}
            _ => self.accesses.write_string(width, way, port, address, count),
        }
    }

    /// XSA-199: ports at and across the last one.
    fn xsa_199(&mut self) {
        for port in 0xfffc..=0xffff {
            for width in [Width::Byte, Width::Word, Width::Dword] {
                self.accesses.read(width, port);
                self.accesses.write(width, port, u32::MAX);
                self.accesses.read_string(width, Way::Up, port, ARENA, 100);
            }
        }
    }
}

/// What a guest does: it says what it begins with, waits for a word, and ends itself after all the rounds.
pub(super) fn script(
    controller: Controller,
    seeds: std::ops::Range<u64>,
    steps: usize,
) -> Accesses {
    let mut script = Script {
        accesses: Accesses::default(),
        random: Random(1),
        controller,
        texts: TEXTS,
    };
    script.say(READY);
    script.accesses.await_port(0x3fd, 1, 1, u32::MAX);
    script.place();
    if controller == Controller::Ide {
        script.xsa_138();
    }
    script.xsa_199();
    for seed in seeds {
        script.say(&format!("seed {seed}"));
        script.random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        script.round(steps);
    }
    script.good();
    script.edges();
    script.say(DONE);
    // What was typed until then, out of the way.
    for _ in 0..16 {
        script.accesses.read(Width::Byte, 0x3f8);
    }
    script.accesses.await_port(0x3fd, 1, 1, u32::MAX);
    // Its disks are taken away while it goes on; and off.
    script.accesses.write(Width::Word, 0x10, 1);
    script
        .accesses
        .read_string(Width::Word, Way::Up, 0x1f0, ARENA, 512);
    script.accesses.write(Width::Word, 0xb004, 0x2000);
    script.accesses
}
