//! One request of a vCPU's, carried out: repetitions, data in guest memory, and accesses wider than
//! any register.

use crate::bus::{Bus, Place, Width};
use crate::memory::GuestMemory;
use minios_rs::dm::request::COUNT_MAX;
use minios_rs::dm::{Direction, Kind, Request};

/// Bytes that are on their way between guest memory and a device at once.
const STAGE: usize = 512;

/// Serves a request, and gives what it is answered with.
///
/// A request that moves no data to a device ([`Kind::TimeOffset`], [`Kind::Invalidate`]) is answered
/// with its own; what it says is for others to know.
///
/// Guest memory that is not there reads as all ones, as an empty bus does, and swallows what is
/// written: the device is accessed as often as the instruction said all the same.
pub fn serve(request: &Request, bus: &mut impl Bus, memory: &mut impl GuestMemory) -> u64 {
    let is_size = matches!(request.size, 1 | 2 | 4 | 8);
    if !is_size || matches!(request.kind, Kind::TimeOffset | Kind::Invalidate) {
        return request.data;
    }
    // What was not checked is not repeated for ever either.
    let count = request.count.min(COUNT_MAX);
    match (request.direction, request.data_is_pointer) {
        (Direction::Read, false) => (0..count).fold(u64::MAX, |_, index| read(request, index, bus)),
        (Direction::Write, false) => {
            for index in 0..count {
                write(request, index, bus, request.data);
            }
            request.data
        }
        (direction, true) => {
            stage(request, count, direction, bus, memory);
            request.data
        }
    }
}

/// Moves items between a device and guest memory, as many at a time as fit and follow each other.
fn stage(
    request: &Request,
    count: u32,
    direction: Direction,
    bus: &mut impl Bus,
    memory: &mut impl GuestMemory,
) {
    let size = request.size as usize;
    // Downwards, the items of one transfer would lie the wrong way round.
    let at_once = match request.descending {
        true => 1,
        false => STAGE / size,
    };
    let mut stage = [0; STAGE];
    let mut done = 0;
    while done < count {
        let items = at_once.min((count - done) as usize);
        let bytes = &mut stage[..items * size];
        let pointer = request.pointer_of(done);
        if direction == Direction::Write && memory.read(pointer, bytes).is_err() {
            bytes.fill(0xff);
        }
        for (index, item) in (done..).zip(bytes.chunks_exact_mut(size)) {
            let mut value = [0; 8];
            match direction {
                Direction::Read => {
                    value = read(request, index, bus).to_le_bytes();
                    item.copy_from_slice(&value[..size]);
                }
                Direction::Write => {
                    value[..size].copy_from_slice(item);
                    write(request, index, bus, u64::from_le_bytes(value));
                }
            }
        }
        if direction == Direction::Read {
            // Where there is no memory, nothing is stored.
            let _ = memory.write(pointer, bytes);
        }
        done += items as u32;
    }
}

/// The parts of one item: as wide as a register can be, the lowest first.
fn parts(request: &Request, index: u32) -> impl Iterator<Item = (u32, Option<Place>, Width)> {
    let address = request.address_of(index);
    let kind = request.kind;
    let width = Width::of(request.size as usize).unwrap_or(Width::Dword);
    let parts = if request.size == 8 { 2 } else { 1 };
    (0..parts).map(move |part| {
        let place = place(kind, address.wrapping_add(4 * u64::from(part)));
        (32 * part, place, width)
    })
}

/// Where an address is, if it is anywhere.
fn place(kind: Kind, address: u64) -> Option<Place> {
    match kind {
        // XSA-199: a port beyond the last one is nobody's, and not another's.
        Kind::Port => u16::try_from(address).ok().map(Place::Port),
        Kind::Memory => Some(Place::Memory(address)),
        Kind::PciConfig => {
            // There is one bus, 0 of segment 0.
            let function = u8::try_from(address >> 32).ok()?;
            Some(Place::Register(function, (address & 0xffff_ffff) as usize))
        }
        Kind::TimeOffset | Kind::Invalidate => None,
    }
}

fn read(request: &Request, index: u32, bus: &mut impl Bus) -> u64 {
    parts(request, index).fold(0, |value, (shift, place, width)| {
        let part = place.map_or(width.ones(), |place| bus.read(place, width));
        value | u64::from(part) << shift
    })
}

fn write(request: &Request, index: u32, bus: &mut impl Bus, value: u64) {
    for (shift, place, width) in parts(request, index) {
        if let Some(place) = place {
            bus.write(place, width, (value >> shift) as u32 & width.ones());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Ram;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    /// Reads count upwards; writes are written down.
    #[derive(Default)]
    struct Recorder {
        reads: Vec<(Place, Width)>,
        writes: Vec<(Place, Width, u32)>,
    }

    impl Bus for Recorder {
        fn read(&mut self, place: Place, width: Width) -> u32 {
            self.reads.push((place, width));
            0x0101_0101_u32.wrapping_mul(self.reads.len() as u32) & width.ones()
        }

        fn write(&mut self, place: Place, width: Width, value: u32) {
            self.writes.push((place, width, value));
        }
    }

    fn request(kind: Kind, direction: Direction, address: u64, size: u32) -> Request {
        Request {
            kind,
            address,
            data: 0,
            count: 1,
            size,
            direction,
            descending: false,
            data_is_pointer: false,
        }
    }

    #[test]
    fn a_port_is_read_and_written_with_its_width() {
        let (mut bus, mut ram) = (Recorder::default(), Ram::new(0));
        let read = request(Kind::Port, Direction::Read, 0x1f0, 2);
        assert_eq!(serve(&read, &mut bus, &mut ram), 0x0101);
        assert_eq!(bus.reads, [(Place::Port(0x1f0), Width::Word)]);
        let write = Request {
            data: 0x1234_5678,
            ..request(Kind::Port, Direction::Write, 0x3f8, 1)
        };
        serve(&write, &mut bus, &mut ram);
        assert_eq!(bus.writes, [(Place::Port(0x3f8), Width::Byte, 0x78)]);
    }

    #[test]
    fn eight_bytes_are_two_registers() {
        let (mut bus, mut ram) = (Recorder::default(), Ram::new(0));
        let read = request(Kind::Memory, Direction::Read, 0xf000_0000, 8);
        assert_eq!(serve(&read, &mut bus, &mut ram), 0x0202_0202_0101_0101);
        let write = Request {
            data: 0x1122_3344_5566_7788,
            ..request(Kind::Memory, Direction::Write, 0xf000_0000, 8)
        };
        serve(&write, &mut bus, &mut ram);
        let low = (Place::Memory(0xf000_0000), Width::Dword, 0x5566_7788);
        let high = (Place::Memory(0xf000_0004), Width::Dword, 0x1122_3344);
        assert_eq!(bus.writes, [low, high]);
    }

    #[test]
    fn a_string_instruction_stays_at_its_port() {
        let (mut bus, mut ram) = (Recorder::default(), Ram::at(0x1000, 0x1000));
        let ins = Request {
            data: 0x1100,
            count: 300,
            data_is_pointer: true,
            ..request(Kind::Port, Direction::Read, 0x1f0, 2)
        };
        serve(&ins, &mut bus, &mut ram);
        assert_eq!(bus.reads, [(Place::Port(0x1f0), Width::Word); 300]);
        assert_eq!(ram.bytes[0x100..0x106], [1, 1, 2, 2, 3, 3]);
        assert_eq!(
            ram.bytes[0x100 + 598..][..4],
            [44, 45, 0, 0],
            "the 300th, and no more"
        );
        let outs = Request {
            direction: Direction::Write,
            count: 3,
            ..ins
        };
        serve(&outs, &mut bus, &mut ram);
        let values: Vec<u32> = bus.writes.iter().map(|(_, _, value)| *value).collect();
        assert_eq!(values, [0x0101, 0x0202, 0x0303]);
    }

    #[test]
    fn the_direction_flag_turns_memory_round() {
        let (mut bus, mut ram) = (Recorder::default(), Ram::new(0x100));
        let ins = Request {
            data: 0x20,
            count: 3,
            descending: true,
            data_is_pointer: true,
            ..request(Kind::Port, Direction::Read, 0x1f0, 2)
        };
        serve(&ins, &mut bus, &mut ram);
        assert_eq!(ram.bytes[0x1c..0x22], [3, 3, 2, 2, 1, 1]);
        let moves = Request {
            address: 0xf000_0010,
            direction: Direction::Write,
            kind: Kind::Memory,
            ..ins
        };
        serve(&moves, &mut bus, &mut ram);
        let at = |address, value| (Place::Memory(address), Width::Word, value);
        assert_eq!(
            bus.writes,
            [
                at(0xf000_0010, 0x0101),
                at(0xf000_000e, 0x0202),
                at(0xf000_000c, 0x0303)
            ]
        );
    }

    #[test]
    fn a_store_is_repeated_without_a_pointer_too() {
        let (mut bus, mut ram) = (Recorder::default(), Ram::new(0));
        let stos = Request {
            data: 0xaa,
            count: 3,
            ..request(Kind::Memory, Direction::Write, 0xf000_0000, 4)
        };
        serve(&stos, &mut bus, &mut ram);
        let at = |address| (Place::Memory(address), Width::Dword, 0xaa);
        assert_eq!(
            bus.writes,
            [at(0xf000_0000), at(0xf000_0004), at(0xf000_0008)]
        );
    }

    #[test]
    fn memory_that_is_not_there_reads_as_ones_and_swallows_the_rest() {
        let (mut bus, mut ram) = (Recorder::default(), Ram::new(0x10));
        let outs = Request {
            data: 0x1000,
            count: 2,
            data_is_pointer: true,
            ..request(Kind::Port, Direction::Write, 0x1f0, 2)
        };
        serve(&outs, &mut bus, &mut ram);
        assert_eq!(bus.writes, [(Place::Port(0x1f0), Width::Word, 0xffff); 2]);
        let ins = Request {
            direction: Direction::Read,
            ..outs
        };
        serve(&ins, &mut bus, &mut ram);
        assert_eq!(bus.reads.len(), 2);
    }

    #[test]
    fn configuration_space_is_that_of_bus_0() {
        let (mut bus, mut ram) = (Recorder::default(), Ram::new(0));
        let at = |function: u64, register: u64| {
            request(
                Kind::PciConfig,
                Direction::Read,
                function << 32 | register,
                4,
            )
        };
        serve(&at(0x0a, 0x10), &mut bus, &mut ram);
        assert_eq!(bus.reads, [(Place::Register(0x0a, 0x10), Width::Dword)]);
        assert_eq!(serve(&at(0x100, 0), &mut bus, &mut ram), 0xffff_ffff);
        assert_eq!(bus.reads.len(), 1, "bus 1");
    }

    #[test]
    fn a_port_beyond_the_last_is_nobodys() {
        let (mut bus, mut ram) = (Recorder::default(), Ram::new(0));
        let read = request(Kind::Port, Direction::Read, 0x1_03f8, 1);
        assert_eq!(serve(&read, &mut bus, &mut ram), 0xff);
        let write = request(Kind::Port, Direction::Write, u64::MAX, 4);
        serve(&write, &mut bus, &mut ram);
        assert!(bus.reads.is_empty() && bus.writes.is_empty());
    }

    proptest! {
        #[test]
        fn the_work_of_any_request_is_bounded(
            kind in 0..5_usize,
            address: u64, data: u64, count: u32, size: u32,
            flags in 0..8_u8,
        ) {
            let request = Request {
                kind: [Kind::Port, Kind::Memory, Kind::PciConfig, Kind::TimeOffset, Kind::Invalidate][kind],
                address, data, count,
                size: if size & 0xff00 == 0 { size } else { [1, 2, 4, 8][size as usize % 4] },
                direction: if flags & 1 == 0 { Direction::Read } else { Direction::Write },
                descending: flags & 2 != 0,
                data_is_pointer: flags & 4 != 0,
            };
            let (mut bus, mut ram) = (Recorder::default(), Ram::new(0x1000));
            serve(&request, &mut bus, &mut ram);
            prop_assert!(bus.reads.len() + bus.writes.len() <= 2 * COUNT_MAX as usize);
        }
    }
}
