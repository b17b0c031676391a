//! The queue between a controller that asks for whatever a test says, and a disk in memory.

use super::fake::MemoryDisk;
use super::*;
use crate::disk::Segments;
use crate::memory::Ram;
use alloc::collections::VecDeque;
use alloc::vec;
use proptest::prelude::*;

/// Asks for what it was told to, and notes how it ended.
#[derive(Default)]
struct Asking {
    requests: VecDeque<Request>,
    abandoned: Option<u8>,
    buffer: Vec<u8>,
    ended: Vec<(u8, Result<(), Failure>)>,
}

impl Controller for Asking {
    fn next_request<M: GuestMemory>(&mut self, _: &mut M) -> Option<Request> {
        self.requests.pop_front()
    }

    fn take_abandoned(&mut self) -> Option<u8> {
        self.abandoned.take()
    }

    fn buffer(&mut self, _: u8) -> &mut [u8] {
        &mut self.buffer
    }

    fn complete<M: GuestMemory>(&mut self, _: u8, tag: u8, result: Result<(), Failure>, _: &mut M) {
        self.ended.push((tag, result));
    }
}

fn request(tag: u8, operation: Operation, sector: u64, sectors: u32, place: Place) -> Request {
    Request {
        drive: 0,
        tag,
        operation,
        sector,
        sectors,
        place,
    }
}

fn at(address: u64, sectors: u32) -> Place {
    let mut segments = Segments::default();
    assert!(segments.push(Segment {
        address,
        length: sectors * SECTOR as u32,
    }));
    Place::Guest(segments)
}

fn failed(reason: Reason, sector: u64) -> Result<(), Failure> {
    Err(Failure { reason, sector })
}

struct Bench {
    disks: Disks<MemoryDisk>,
    asking: Asking,
    ram: Ram,
}

impl Bench {
    fn new(disk: MemoryDisk) -> Self {
        let mut disks = Disks::new();
        disks.attach(0, disk);
        Self {
            disks,
            asking: Asking {
                buffer: vec![0; 64 * SECTOR],
                ..Asking::default()
            },
            ram: Ram::new(1 << 20),
        }
    }

    fn disk(&mut self) -> &mut MemoryDisk {
        self.disks.disk_mut(0).unwrap()
    }

    fn ask(&mut self, requests: impl IntoIterator<Item = Request>) {
        self.asking.requests.extend(requests);
        self.disks.turn(&mut self.asking, &mut self.ram);
    }

    fn release(&mut self, requests: usize) {
        self.disk().release(requests);
        self.ask([]);
    }

    fn ended(&mut self) -> Vec<(u8, Result<(), Failure>)> {
        core::mem::take(&mut self.asking.ended)
    }
}

#[test]
fn a_long_read_is_cut_and_arrives_whole() {
    let mut bench = Bench::new(MemoryDisk::patterned(1000));
    bench.ask([request(3, Operation::Read, 10, 300, at(0x4200, 300))]);
    assert_eq!(bench.ended(), [(3, Ok(()))]);
    let log = [(10, 88), (98, 88), (186, 88), (274, 36)];
    let log = log.map(|(sector, sectors)| (Operation::Read, sector, sectors));
    assert_eq!(bench.disk().log, log);
    let expected = bench.disk().bytes[10 * SECTOR..310 * SECTOR].to_vec();
    assert!(bench.ram.bytes[0x4200..][..300 * SECTOR] == expected);
    assert!(
        bench.ram.bytes[0x4200 + 300 * SECTOR..]
            .iter()
            .all(|&byte| byte == 0)
    );
    assert!(bench.disks.is_idle());
}

#[test]
fn a_write_is_gathered_from_where_it_is_scattered() {
    let mut bench = Bench::new(MemoryDisk::new(100));
    let mut segments = Segments::default();
    for at in (0..SECTOR as u64 * 2).step_by(6) {
        let length = (SECTOR as u64 * 2 - at).min(6) as u32;
        let address = 0x8000 - at;
        assert!(segments.push(Segment { address, length }));
        bench.ram.bytes[address as usize..][..length as usize].fill(at as u8 | 1);
    }
    bench.ask([request(0, Operation::Write, 7, 2, Place::Guest(segments))]);
    assert_eq!(bench.ended(), [(0, Ok(()))]);
    for (at, &byte) in bench.disk().bytes[7 * SECTOR..9 * SECTOR]
        .iter()
        .enumerate()
    {
        assert_eq!(byte, (at / 6 * 6) as u8 | 1);
    }
}

#[test]
fn the_devices_own_buffer_is_filled_and_emptied_from_its_start() {
    let mut bench = Bench::new(MemoryDisk::patterned(100));
    bench.ask([request(0, Operation::Read, 4, 3, Place::Device)]);
    let expected = bench.disk().bytes[4 * SECTOR..7 * SECTOR].to_vec();
    assert_eq!(bench.asking.buffer[..3 * SECTOR], expected);
    bench.ask([request(0, Operation::Write, 50, 3, Place::Device)]);
    assert_eq!(bench.disk().bytes[50 * SECTOR..53 * SECTOR], expected);
    assert_eq!(bench.ended(), [(0, Ok(())), (0, Ok(()))]);
}

#[test]
fn what_touches_the_same_sectors_keeps_its_order() {
    let mut disk = MemoryDisk::new(1000);
    disk.is_slow = true;
    disk.is_backwards = true;
    let mut bench = Bench::new(disk);
    bench.ram.bytes[0x1000..0x1200].fill(1);
    bench.ram.bytes[0x2000..0x2200].fill(2);
    bench.ask([
        request(0, Operation::Write, 5, 1, at(0x1000, 1)),
        request(1, Operation::Write, 9, 1, at(0x1000, 1)),
        request(2, Operation::Write, 5, 1, at(0x2000, 1)),
        request(3, Operation::Read, 5, 1, at(0x3000, 1)),
    ]);
    assert_eq!(bench.disk().pending(), 2, "the third waits for the first");
    bench.release(1);
    assert_eq!(bench.ended(), [(1, Ok(()))]);
    bench.release(3);
    assert_eq!(bench.ended().len(), 3);
    assert_eq!(bench.ram.bytes[0x3000], 2);
}

#[test]
fn a_flush_waits_for_what_was_written_and_reaches_the_medium() {
    let mut disk = MemoryDisk::new(1000);
    disk.is_slow = true;
    let mut bench = Bench::new(disk);
    bench.ram.bytes[0x1000..0x1200].fill(1);
    bench.ask([
        request(0, Operation::Write, 5, 1, at(0x1000, 1)),
        request(1, Operation::Read, 9, 1, at(0x2000, 1)),
        request(2, Operation::Flush, 0, 0, Place::Nowhere),
    ]);
    assert_eq!(bench.disk().pending(), 2);
    bench.release(1);
    assert_eq!(bench.disk().medium[5 * SECTOR], 0);
    bench.release(2);
    assert_eq!(bench.disk().medium[5 * SECTOR], 1);
    assert_eq!(bench.ended(), [(0, Ok(())), (1, Ok(())), (2, Ok(()))]);
    bench.disk().info.flush = false;
    bench.ask([request(0, Operation::Flush, 0, 0, Place::Nowhere)]);
    assert_eq!(bench.ended(), [(0, Ok(()))], "there is no cache");
}

#[test]
fn what_is_under_way_is_bounded() {
    let mut disk = MemoryDisk::patterned(100_000);
    disk.is_slow = true;
    disk.info.request_max = 256;
    disk.memory = 16 << 20;
    let mut bench = Bench::new(disk);
    bench.ram = Ram::new(8 << 20);
    bench.ask([request(0, Operation::Read, 0, 10_000, at(0, 10_000))]);
    assert_eq!(bench.disk().pending(), 4, "half a megabyte");
    for _ in 0..40 {
        bench.release(1);
        assert!(bench.disk().pending() <= 4);
    }
    assert_eq!(bench.ended(), [(0, Ok(()))]);
    let expected = bench.disk().bytes[..10_000 * SECTOR].to_vec();
    assert!(bench.ram.bytes[..10_000 * SECTOR] == expected);
    let many = (0..REQUESTS_MAX as u8).map(|tag| {
        let sector = u64::from(tag) * 2;
        request(tag, Operation::Read, sector, 1, at(0x1000, 1))
    });
    bench.disk().slots = 7;
    bench.ask(many);
    assert_eq!(bench.disk().pending(), 7);
    bench.release(32);
    bench.release(32);
    assert_eq!(bench.ended().len(), 32);
}

#[test]
fn errors_say_where_they_are() {
    let mut disk = MemoryDisk::patterned(1000);
    disk.bad = 200..201;
    let mut bench = Bench::new(disk);
    bench.ask([request(0, Operation::Read, 0, 300, at(0, 300))]);
    assert_eq!(bench.ended(), [(0, failed(Reason::Medium, 176))]);
    bench.ask([
        request(0, Operation::Read, 998, 3, at(0, 3)),
        request(1, Operation::Read, u64::MAX, 1, at(0, 1)),
        request(2, Operation::Read, 5, 4, at((1 << 20) - 1024, 4)),
        request(3, Operation::Write, 5, 4, at(u64::MAX - 511, 4)),
        request(4, Operation::Read, 5, 4, at(0, 3)),
    ]);
    assert_eq!(
        bench.ended(),
        [
            (0, failed(Reason::Range, 998)),
            (1, failed(Reason::Range, u64::MAX)),
            (4, failed(Reason::Memory, 5)),
            (2, failed(Reason::Memory, 5)),
            (3, failed(Reason::Memory, 5)),
        ]
    );
    bench.disk().info.read_only = true;
    bench.ask([
        request(0, Operation::Write, 0, 1, at(0, 1)),
        request(1, Operation::Discard, 0, 1, Place::Nowhere),
    ]);
    assert_eq!(
        bench.ended(),
        [
            (0, failed(Reason::ReadOnly, 0)),
            (1, failed(Reason::ReadOnly, 0))
        ]
    );
    bench.disk().present = false;
    bench.ask([request(0, Operation::Read, 0, 1, at(0, 1))]);
    assert_eq!(bench.ended(), [(0, failed(Reason::Gone, 0))]);
    let mut elsewhere = request(0, Operation::Read, 0, 1, at(0, 1));
    elsewhere.drive = 200;
    bench.ask([elsewhere]);
    assert_eq!(bench.ended(), [(0, failed(Reason::Gone, 0))]);
}

#[test]
fn memory_that_never_comes_is_an_error_and_memory_that_is_late_is_waited_for() {
    let mut disk = MemoryDisk::patterned(1000);
    disk.is_slow = true;
    disk.memory = 88 * SECTOR;
    let mut bench = Bench::new(disk);
    bench.ask([request(0, Operation::Read, 0, 176, at(0, 176))]);
    assert_eq!(bench.disk().pending(), 1);
    bench.release(2);
    bench.release(2);
    assert_eq!(bench.ended(), [(0, Ok(()))]);
    bench.disk().memory = SECTOR;
    bench.ask([request(0, Operation::Read, 0, 2, at(0, 2))]);
    assert_eq!(bench.ended(), [(0, failed(Reason::Medium, 0))]);
}

#[test]
fn nothing_of_what_was_abandoned_reaches_the_guest() {
    let mut disk = MemoryDisk::patterned(1000);
    disk.is_slow = true;
    let mut bench = Bench::new(disk);
    bench.ram.bytes[0x8000..0x8200].fill(0x77);
    bench.ask([request(0, Operation::Read, 1, 8, at(0x1000, 8))]);
    bench.asking.abandoned = Some(0);
    bench.ask([
        request(0, Operation::Write, 1, 1, at(0x8000, 1)),
        request(1, Operation::Read, 40, 1, at(0x9000, 1)),
    ]);
    assert!(!bench.disks.is_idle());
    assert_eq!(
        bench.disk().pending(),
        1,
        "the write waits for the old read"
    );
    bench.release(3);
    bench.release(3);
    assert_eq!(bench.ended(), [(0, Ok(())), (1, Ok(()))]);
    assert!(
        bench.ram.bytes[0x1000..0x2000]
            .iter()
            .all(|&byte| byte == 0)
    );
    assert_eq!(bench.disk().bytes[SECTOR], 0x77);
    assert!(bench.disks.is_idle());
}

#[test]
fn discards_go_as_they_are_or_not_at_all() {
    let mut bench = Bench::new(MemoryDisk::patterned(1000));
    bench.ask([request(0, Operation::Discard, 100, 500, Place::Nowhere)]);
    assert_eq!(bench.disk().log, [(Operation::Discard, 100, 500)]);
    bench.disk().info.discard = false;
    bench.ask([request(0, Operation::Discard, 0, 1000, Place::Nowhere)]);
    assert_eq!(bench.disk().log.len(), 1);
    assert_eq!(bench.ended(), [(0, Ok(())), (0, Ok(()))]);
}

/// A disk with sectors of 4 KiB.
fn advanced(sectors: u64) -> MemoryDisk {
    let mut disk = MemoryDisk::patterned(sectors);
    disk.info.sector_size = 4096;
    disk.info.request_max = 90;
    disk
}

#[test]
fn what_is_read_of_larger_sectors_is_what_was_asked_for() {
    let mut bench = Bench::new(advanced(1000));
    bench.ask([
        request(0, Operation::Read, 1, 8, at(0x200, 8)),
        request(1, Operation::Read, 21, 176, at(0x4000, 176)),
        request(2, Operation::Read, 999, 1, Place::Device),
    ]);
    assert_eq!(bench.ended(), [0, 1, 2].map(|tag| (tag, Ok(()))));
    let log = [(0, 16), (16, 88), (104, 88), (192, 8), (992, 8)];
    let log = log.map(|(sector, sectors)| (Operation::Read, sector, sectors));
    assert_eq!(bench.disk().log, log);
    let disk = bench.disk().bytes.clone();
    for (address, sector, sectors) in [(0x200, 1, 8), (0x4000, 21, 176)] {
        let bytes = sectors * SECTOR;
        assert!(bench.ram.bytes[address..][..bytes] == disk[sector * SECTOR..][..bytes]);
        assert_eq!(bench.ram.bytes[address + bytes], 0);
    }
    assert!(bench.asking.buffer[..SECTOR] == disk[999 * SECTOR..]);
}

#[test]
fn what_is_written_to_a_part_of_a_larger_sector_leaves_the_rest() {
    let mut bench = Bench::new(advanced(1000));
    let mut expected = bench.disk().bytes.clone();
    bench.ram.bytes[0x1000..0x3000].fill(0x77);
    bench.ask([request(0, Operation::Write, 13, 12, at(0x1000, 12))]);
    expected[13 * SECTOR..25 * SECTOR].fill(0x77);
    assert!(bench.disk().bytes == expected);
    let both = [Operation::Read, Operation::Write].map(|operation| (operation, 8, 24));
    assert_eq!(bench.disk().log, both);
    bench.asking.buffer[..SECTOR].fill(0x99);
    bench.ask([
        request(0, Operation::Write, 3, 1, Place::Device),
        request(1, Operation::Write, 40, 16, at(0x1000, 16)),
    ]);
    expected[3 * SECTOR..4 * SECTOR].fill(0x99);
    expected[40 * SECTOR..56 * SECTOR].fill(0x77);
    assert!(bench.disk().bytes == expected);
    let last = bench.disk().log.last().copied();
    assert_eq!(bench.disk().log.len(), 5, "whole sectors are only written");
    assert_eq!(last, Some((Operation::Write, 0, 8)));
    assert_eq!(bench.ended().len(), 3);
    assert!(bench.disks.is_idle());
}

#[test]
fn of_a_larger_sector_two_writers_follow_each_other() {
    let mut disk = advanced(1000);
    disk.is_slow = true;
    disk.is_backwards = true;
    let mut bench = Bench::new(disk);
    bench.ram.bytes[0x1000..0x1200].fill(1);
    bench.ram.bytes[0x2000..0x2200].fill(2);
    bench.ask([
        request(0, Operation::Write, 8, 1, at(0x1000, 1)),
        request(1, Operation::Write, 9, 1, at(0x2000, 1)),
        request(2, Operation::Flush, 0, 0, Place::Nowhere),
    ]);
    assert_eq!(bench.disk().pending(), 1);
    bench.release(1);
    assert_eq!(bench.ended(), [], "it was read");
    for _ in 0..4 {
        bench.release(1);
    }
    assert_eq!(bench.ended(), [0, 1, 2].map(|tag| (tag, Ok(()))));
    assert_eq!(bench.disk().medium[8 * SECTOR], 1);
    assert_eq!(bench.disk().medium[9 * SECTOR], 2);
}

#[test]
fn a_write_to_a_part_that_fails_or_is_abandoned_while_it_is_read_leaves_the_disk_alone() {
    let mut disk = advanced(1000);
    let expected = disk.bytes.clone();
    disk.bad = 12..13;
    let mut bench = Bench::new(disk);
    bench.ask([
        request(0, Operation::Write, 9, 1, at(0, 1)),
        request(1, Operation::Write, 17, 1, at(1 << 20, 1)),
    ]);
    assert_eq!(
        bench.ended(),
        [
            (0, failed(Reason::Medium, 9)),
            (1, failed(Reason::Memory, 17))
        ]
    );
    bench.disk().is_slow = true;
    bench.ask([request(0, Operation::Write, 33, 1, at(0, 1))]);
    bench.asking.abandoned = Some(0);
    bench.ask([]);
    assert!(!bench.disks.is_idle());
    bench.release(2);
    assert!(bench.disks.is_idle());
    assert_eq!(bench.ended(), []);
    assert!(bench.disk().bytes == expected);
}

#[test]
fn what_was_read_waits_for_room_to_be_written() {
    let mut disk = advanced(1000);
    disk.is_slow = true;
    disk.slots = 1;
    let mut bench = Bench::new(disk);
    bench.ram.bytes[..0x200].fill(0x77);
    bench.ask([request(0, Operation::Write, 9, 1, at(0, 1))]);
    // There is none while it reconnects, say.
    bench.disk().slots = 0;
    bench.release(1);
    assert_eq!(bench.disk().pending(), 0);
    assert!(!bench.disks.is_idle());
    bench.disk().slots = 1;
    bench.release(1);
    bench.release(1);
    assert_eq!(bench.ended(), [(0, Ok(()))]);
    assert_eq!(bench.disk().bytes[9 * SECTOR], 0x77);
}

#[test]
fn what_was_read_is_written_as_far_as_there_is_room() {
    let mut disk = advanced(1000);
    disk.is_slow = true;
    let mut bench = Bench::new(disk);
    bench.ask([
        request(0, Operation::Write, 9, 1, at(0, 1)),
        request(1, Operation::Write, 33, 1, at(0, 1)),
    ]);
    bench.disk().slots = 1;
    bench.release(2);
    assert_eq!(bench.disk().pending(), 1);
    bench.release(1);
    bench.release(1);
    let mut ended = bench.ended();
    ended.sort_by_key(|&(tag, _)| tag);
    assert_eq!(ended, [(0, Ok(())), (1, Ok(()))]);
}

#[test]
fn what_was_read_of_a_disk_that_is_gone_fails() {
    let mut disk = advanced(1000);
    disk.is_slow = true;
    let mut bench = Bench::new(disk);
    bench.ask([request(0, Operation::Write, 9, 1, at(0, 1))]);
    bench.disk().slots = 0;
    bench.release(1);
    let disk = bench.disk();
    (disk.slots, disk.present, disk.is_slow) = (1, false, false);
    bench.ask([]);
    assert_eq!(bench.ended(), [(0, failed(Reason::Gone, 9))]);
    assert!(bench.disks.is_idle());
}

#[test]
fn a_part_of_a_larger_sector_is_not_discarded() {
    let mut bench = Bench::new(advanced(1000));
    bench.ask([
        request(0, Operation::Discard, 7, 10, Place::Nowhere),
        request(1, Operation::Discard, 33, 7, Place::Nowhere),
    ]);
    let log = bench.disk().log.clone();
    assert_eq!(log, [(Operation::Discard, 8, 8)]);
    assert_eq!(bench.ended(), [(1, Ok(())), (0, Ok(()))]);
}

proptest! {
    /// Requests one after another, whatever they are, against what a list of bytes would hold.
    #[test]
    fn bytes_are_where_they_belong_however_slow_the_disk_is(
        requests in proptest::collection::vec(
            (0..4u8, 0..120u64, 1..60u32, 0..64u64, any::<u8>()), 1..40),
        slots in 1..5usize, request_max in 1..40u32, backwards: bool, releases in 1..4usize,
        sector_size in proptest::sample::select(vec![512_u32, 1024, 4096]),
    ) {
        let mut disk = MemoryDisk::patterned(128);
        disk.is_slow = true;
        disk.slots = slots;
        disk.info.request_max = request_max;
        disk.info.sector_size = sector_size;
        disk.is_backwards = backwards;
        let mut model = disk.bytes.clone();
        let mut bench = Bench::new(disk);
        for (kind, sector, sectors, page, fill) in requests {
            let address = page * 4096;
            let bytes = sectors as usize * SECTOR;
            let start = sector as usize * SECTOR;
            let fits = sector + u64::from(sectors) <= 128;
            let place = at(address, sectors);
            let memory = address as usize..address as usize + bytes;
            let operation = match kind {
                0 => Operation::Read,
                1 => Operation::Write,
                2 => Operation::Flush,
                _ => Operation::Discard,
            };
            let request = match operation {
                Operation::Flush => request(0, operation, 0, 0, Place::Nowhere),
                Operation::Discard => request(0, operation, sector, sectors, Place::Nowhere),
                _ => request(0, operation, sector, sectors, place),
            };
            if operation == Operation::Write {
                bench.ram.bytes[memory.clone()].fill(fill);
            }
            bench.ask([request]);
            let mut rounds = 0;
            while !bench.disks.is_idle() {
                bench.release(releases);
                rounds += 1;
                prop_assert!(rounds < 200);
            }
            let is_fine = fits || operation == Operation::Flush;
            prop_assert_eq!(bench.ended()[0].1.is_ok(), is_fine);
            if is_fine {
                match operation {
                    Operation::Read => prop_assert!(bench.ram.bytes[memory] == model[start..start + bytes]),
                    Operation::Write => model[start..start + bytes].fill(fill),
                    Operation::Flush => prop_assert!(bench.disk().medium == model),
                    Operation::Discard => {
                        let whole = sector_size as usize;
                        let (first, end) = (start.next_multiple_of(whole), (start + bytes) / whole * whole);
                        model[first..end.max(first)].fill(0);
                    }
                }
            }
            prop_assert!(bench.disk().bytes == model);
        }
    }
}
