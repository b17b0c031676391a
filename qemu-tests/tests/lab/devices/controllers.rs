//! A guest's commands to its disks and its CD drive: as no driver would give them, and, when all is over, as one does.

use super::Controller;
use super::script::{
    ABAR, ARENA, ARENA_BYTES, BUS_MASTER, EDGES, GOOD, LAST, MEMORY_MIB, Script, TEXTS, TRIES,
};
use qemu_tests::{Way, Width};

impl Script {
    /// A table of a bus master: where it begins.
    pub(super) fn table(&mut self) -> u32 {
        let table = self.random.arena() & !3;
        for at in 0..1 + self.random.below(6) {
            let address = match self.random.below(6) {
                // Itself.
                0 => table,
                _ => self.random.target(),
            };
            let end = self.random.of(&[0, 0, 0, 0x8000_0000]);
            let bytes = match self.random.below(3) {
                0 => self
                    .random
                    .of(&[0, 1, 2, 511, 512, 513, 0xffff, 0x7fff_0000]),
                _ => self.random.below(0x1_0000),
            };
            self.accesses
                .store(Width::Dword, table + 8 * at, address, 1);
            self.accesses
                .store(Width::Dword, table + 8 * at + 4, bytes | end, 1);
        }
        match self.random.below(8) {
            0 => self.random.target(),
            _ => table,
        }
    }

    /// A command to either channel: to the first, whose disk the guest starts from, none that writes.
    pub(super) fn ide_command(&mut self) {
        let is_second = self.random.below(3) > 0;
        let (base, control, master) = match is_second {
            true => (0x170, 0x376, BUS_MASTER + 8),
            false => (0x1f0, 0x3f6, BUS_MASTER),
        };
        let table = self.table();
        let random = &mut self.random;
        let command = match (is_second, random.below(4)) {
            (true, 0) => random.next() as u8,
            (true, 1) => random.of(&[0x06, 0x30, 0x34, 0x35, 0x39, 0x3d, 0xc5, 0xca, 0xce, 0xe7]),
            _ => random.of(&[
                0x20, 0x24, 0x25, 0x29, 0x90, 0xa1, 0xb0, 0xc4, 0xc6, 0xc8, 0xec, 0xef,
            ]),
        };
        let registers: [u32; 10] = std::array::from_fn(|_| random.value() & 0xff);
        let device =
            random.of(&[0x40, 0xe0, 0x00, 0x4f, 0xff]) & if is_second { 0xff } else { 0xef };
        let (start, tries) = (random.of(&[0, 1, 8, 9, 9, 9, 9]), random.below(60));
        let (count, width, to) = (random.below(1200), random.width(), random.arena() + 0x1000);
        let (after, stops) = (random.below(3), random.below(3));
        let accesses = &mut self.accesses;
        accesses.write(Width::Dword, master + 4, table);
        accesses.write(Width::Byte, base + 6, device);
        for (at, value) in registers.into_iter().enumerate() {
            // Twice, for the long ones, and now and then where there are sectors.
            let value = if at % 2 == 1 && after > 0 {
                value & 7
            } else {
                value
            };
            accesses.write(Width::Byte, base + 1 + (at as u16 >> 1), value);
        }
        accesses.write(Width::Byte, base + 7, command.into());
        accesses.write(Width::Byte, master, start);
        accesses.await_port(base + 7, 0x80, 0, tries);
        match after {
            0 => accesses.read_string(width, Way::Up, base, to, count),
            1 if is_second => accesses.write_string(width, Way::Up, base, to, count),
            _ => accesses.read(Width::Byte, master + 2),
        }
        match stops {
            // In the middle, or not at all: the next command meets it.
            0 => accesses.write(Width::Byte, master, 0),
            1 => {
                accesses.write(Width::Byte, control, 4);
                accesses.write(Width::Byte, control, 0);
            }
            _ => {}
        }
    }

    /// A packet to the CD drive.
    pub(super) fn packet(&mut self) {
        let table = self.table();
        let random = &mut self.random;
        let operation = random.of(&[
            0x00, 0x03, 0x12, 0x1a, 0x1b, 0x1e, 0x23, 0x25, 0x28, 0x28, 0xa8, 0x42, 0x43, 0x44,
            0x46, 0x4a, 0x51, 0x52, 0x5a, 0xad, 0xbd, 0xbe, 0xff,
        ]);
        let mut packet: [u8; 12] = std::array::from_fn(|_| random.value() as u8);
        packet[0] = operation;
        if random.below(2) == 0 {
            packet[2..8].fill(0);
        }
        let (features, limit) = (random.below(4), random.of(&[0, 1, 2, 0xfe, 0x800, 0xffff]));
        let (count, width, to) = (random.below(3000), random.width(), random.arena() + 0x1000);
        self.send(packet, features, limit, table);
        self.accesses.read_string(width, Way::Up, 0x170, to, count);
        self.accesses.write_string(width, Way::Up, 0x170, to, count);
        self.accesses.read(Width::Byte, 0x177);
    }

    pub(super) fn send(&mut self, packet: [u8; 12], features: u32, limit: u32, table: u32) {
        let accesses = &mut self.accesses;
        accesses.write(Width::Dword, BUS_MASTER + 12, table);
        for (register, value) in [
            (6, 0x10),
            (1, features),
            (4, limit),
            (5, limit >> 8),
            (7, 0xa0),
        ] {
            accesses.write(Width::Byte, 0x170 + register, value);
        }
        accesses.await_port(0x177, 0x88, 0x08, 100);
        for word in packet.chunks_exact(2) {
            let word = u16::from_le_bytes([word[0], word[1]]);
            accesses.write(Width::Word, 0x170, word.into());
        }
        accesses.write(Width::Byte, BUS_MASTER + 8, 9);
        accesses.await_port(0x177, 0x80, 0, 100);
    }

    /// XSA-138: the end of what a packet delivers is passed, by reading and by writing.
    pub(super) fn xsa_138(&mut self) {
        self.accesses.write(Width::Byte, 0x376, 4);
        self.accesses.write(Width::Byte, 0x376, 0);
        let read = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        for odd in [1, 0] {
            self.send(read, 0, 0x800, ARENA);
            let count = 1023 + odd;
            self.accesses
                .read_string(Width::Word, Way::Up, 0x170, ARENA, count);
            for _ in 0..20 {
                self.accesses
                    .read_string(Width::Dword, Way::Up, 0x170, ARENA, 4096);
                self.accesses
                    .write_string(Width::Dword, Way::Up, 0x170, ARENA, 4096);
            }
        }
    }

    /// A list of commands for the second disk's port, and its bits.
    pub(super) fn ahci_command(&mut self) {
        let port = ABAR + 0x200;
        let list = self.random.arena() & !0x3ff;
        let slot = self.random.below(4);
        let table = match self.random.below(6) {
            0 => self.random.target() & !0x7f,
            1 => list,
            _ => ARENA + (self.random.below(ARENA_BYTES) & !0x7f),
        };
        let random = &mut self.random;
        let header = random.value() & 0x1ff_07e0 | random.of(&[5, 5, 5, 0, 2, 31]);
        let upper = random.of(&[0, 0, 0, 0, 0, 1, 0xffff_ffff]);
        let command = match random.below(3) {
            0 => random.next() & 0xff,
            _ => random.of(&[
                0x25, 0x35, 0x60, 0x61, 0x06, 0xca, 0xc8, 0xec, 0x20, 0x30, 0xef, 0x2f, 0xe7, 0xea,
            ]),
        };
        let fis = [
            random.of(&[0x27, 0x27, 0x27, 0x34, 0xff])
                | random.of(&[0x80, 0x80, 0x80, 0, 0x0f]) << 8
                | command << 16,
            random.value() & 0x0000_07ff | 0x4000_0000,
            random.of(&[0, 0, 0xff]),
            random.of(&[1, 8, 0x80, 0xffff, 0]),
        ];
        let is_there = (ARENA..TEXTS).contains(&table);
        let accesses = &mut self.accesses;
        accesses.store(Width::Dword, list + 32 * slot, header, 1);
        accesses.store(Width::Dword, list + 32 * slot + 4, 0, 1);
        accesses.store(Width::Dword, list + 32 * slot + 8, table, 1);
        accesses.store(Width::Dword, list + 32 * slot + 12, upper, 1);
        if is_there {
            for (at, word) in (table..).step_by(4).zip(fis) {
                accesses.store(Width::Dword, at, word, 1);
            }
            for entry in 0..random.below(5) {
                let at = table + 0x80 + 16 * entry;
                accesses.store(Width::Dword, at, random.target(), 1);
                let upper = random.of(&[0, 0, 0, 0, 1, 0xf_ffff, u32::MAX]);
                accesses.store(Width::Dword, at + 4, upper, 1);
                let bytes = random.of(&[511, 1, 0, 4095, 0x3f_ffff, 510, u32::MAX]);
                accesses.store(Width::Dword, at + 12, bytes, 1);
            }
        }
        let list = match random.below(8) {
            0 => random.target(),
            _ => list,
        };
        let (frames, tries) = (random.target(), random.below(60));
        for (register, value) in [
            (0x18, 0),
            (0, list),
            (4, 0),
            (8, frames),
            (0x10, u32::MAX),
            (0x18, 0x11),
        ] {
            accesses.store(Width::Dword, port + register, value, 1);
        }
        if random.below(2) == 0 {
            accesses.store(Width::Dword, port + 0x34, 1 << slot, 1);
        }
        accesses.store(
            Width::Dword,
            port + 0x38,
            random.of(&[1 << slot, 1 << slot, u32::MAX]),
            1,
        );
        accesses.await_clear(port + 0x38, u32::MAX, tries);
        if random.below(6) == 0 {
            accesses.store(Width::Dword, port + 0x2c, 1, 1);
            accesses.store(Width::Dword, port + 0x2c, 0, 1);
        }
    }

    /// Reads the last sector of the first disk, as a driver does, and prints it.
    pub(super) fn good(&mut self) {
        self.place();
        match self.controller {
            Controller::Ide => {
                self.ide_first_disk(LAST, 1, 0x20);
                let accesses = &mut self.accesses;
                accesses.await_port(0x1f7, 0x88, 0x08, TRIES);
                accesses.read_string(Width::Word, Way::Up, 0x1f0, GOOD, 256);
            }
            Controller::Ahci => self.read_into(LAST, 1, &[(GOOD, 512)]),
        }
        self.accesses.print(GOOD);
    }

    /// Reads sectors into memory that lies between two texts, and where a table leads on to the end of memory, to what
    /// was filled already, and around the end of all addresses; and prints the texts, and what stands at address 0.
    pub(super) fn edges(&mut self) {
        let at = GOOD + 0x8000;
        let end = MEMORY_MIB << 20;
        let texts = EDGES.map(|text| format!("{text}\r\n\0"));
        let places = [at - texts[0].len() as u32, at + 512, 0];
        for (text, place) in texts.iter().zip(places) {
            self.accesses.put(place, text.as_bytes());
        }
        self.place();
        for table in [
            &[(at, 512), (end, 512)][..],
            &[(end - 512, 1024)],
            &[(at, 512), (at, 512)],
            &[(at, 512), (0xffff_fe00, 1024)],
            &[(0xffff_fe00, 1024)],
        ] {
            self.read_into(LAST - 1, 2, table);
        }
        for place in places {
            self.accesses.print(place);
        }
    }

    /// Reads sectors of the first disk by a table, and waits until that is over.
    fn read_into(&mut self, sector: u32, sectors: u32, table: &[(u32, u32)]) {
        let (list, frames, entries) = (GOOD + 0x1000, GOOD + 0x2000, GOOD + 0x3000);
        match self.controller {
            Controller::Ide => {
                for (number, &(address, bytes)) in table.iter().enumerate() {
                    let last = u32::from(number + 1 == table.len()) << 31;
                    let entry = entries + 8 * number as u32;
                    self.accesses.store(Width::Dword, entry, address, 1);
                    self.accesses
                        .store(Width::Dword, entry + 4, bytes | last, 1);
                }
                self.accesses.write(Width::Byte, BUS_MASTER, 0);
                self.accesses.write(Width::Dword, BUS_MASTER + 4, entries);
                self.ide_first_disk(sector, sectors, 0xc8);
                let accesses = &mut self.accesses;
                accesses.write(Width::Byte, BUS_MASTER, 9);
                accesses.await_port(0x1f7, 0x80, 0, TRIES);
                accesses.await_port(BUS_MASTER + 2, 1, 0, TRIES);
                accesses.write(Width::Byte, BUS_MASTER, 0);
                accesses.write(Width::Byte, BUS_MASTER + 2, 6);
            }
            Controller::Ahci => {
                let command = entries;
                let accesses = &mut self.accesses;
                accesses.store(Width::Dword, ABAR + 4, 0x8000_0001, 1);
                accesses.await_clear(ABAR + 4, 1, TRIES);
                accesses.store(Width::Dword, ABAR + 4, 0x8000_0000, 1);
                for (at, word) in [
                    (list, (table.len() as u32) << 16 | 5),
                    (list + 8, command),
                    (list + 12, 0),
                    (command, 0x0025_8027),
                    (command + 4, 0x4000_0000 | sector),
                    (command + 8, 0),
                    (command + 12, sectors),
                ] {
                    accesses.store(Width::Dword, at, word, 1);
                }
                for (number, &(address, bytes)) in table.iter().enumerate() {
                    let entry = command + 0x80 + 16 * number as u32;
                    for (at, word) in [(0, address), (4, 0), (8, 0), (12, bytes - 1)] {
                        accesses.store(Width::Dword, entry + at, word, 1);
                    }
                }
                for (register, value) in [
                    (0x12c, 1),
                    (0x12c, 0),
                    (0x100, list),
                    (0x104, 0),
                    (0x108, frames),
                    (0x10c, 0),
                    (0x130, u32::MAX),
                    (0x118, 0x11),
                    (0x138, 1),
                ] {
                    accesses.store(Width::Dword, ABAR + register, value, 1);
                }
                accesses.await_clear(ABAR + 0x138, 1, TRIES);
            }
        }
    }

    /// Resets both channels, and gives the first disk a command.
    fn ide_first_disk(&mut self, sector: u32, sectors: u32, command: u32) {
        let accesses = &mut self.accesses;
        for control in [0x376, 0x3f6] {
            accesses.write(Width::Byte, control, 6);
            accesses.write(Width::Byte, control, 2);
        }
        accesses.await_port(0x1f7, 0x80, 0, TRIES);
        for (register, byte) in [
            (6, 0xe0),
            (2, sectors),
            (3, sector),
            (4, sector >> 8),
            (5, 0),
            (7, command),
        ] {
            accesses.write(Width::Byte, 0x1f0 + register, byte);
        }
    }
}
