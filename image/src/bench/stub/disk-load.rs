//! Reads and writes a disk past the page cache, in a guest, and says how long it took: a line for each pattern, with
//! its name, the bytes and the microseconds.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::time::Instant;

/// `O_DIRECT` of x86 Linux.
const DIRECT: i32 = 0o40000;

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;

/// Of the disk, as far as it is used.
const AREA: usize = 32 * MIB;

/// Pages that are read, and written, here and there.
const RANDOM: usize = 512;

fn main() {
    let path = std::env::args().nth(1).expect("a disk");
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).custom_flags(DIRECT);
    let disk = options.open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    // The kernel wants it aligned.
    let mut memory = vec![0x5a; MIB + PAGE];
    let aligned = memory.as_ptr().align_offset(PAGE);
    let buffer = &mut memory[aligned..aligned + MIB];
    let whole = || (0..AREA / MIB).map(|at| (at * MIB, MIB));
    let pages = || scattered().map(|at| (at * PAGE, PAGE));
    timed("write", || write(&disk, buffer, whole()));
    timed("read", || read(&disk, buffer, whole()));
    timed("random_write", || write(&disk, buffer, pages()));
    timed("random_read", || read(&disk, buffer, pages()));
}

fn timed(name: &str, work: impl FnOnce() -> usize) {
    let begin = Instant::now();
    let bytes = work();
    println!("{name} {bytes} {}", begin.elapsed().as_micros());
}

fn read(disk: &File, buffer: &mut [u8], pieces: impl Iterator<Item = (usize, usize)>) -> usize {
    pieces.fold(0, |bytes, (at, length)| {
        disk.read_exact_at(&mut buffer[..length], at as u64).expect("it is read");
        bytes + length
    })
}

/// What was written is on the disk when it is counted.
fn write(disk: &File, buffer: &[u8], pieces: impl Iterator<Item = (usize, usize)>) -> usize {
    let bytes = pieces.fold(0, |bytes, (at, length)| {
        disk.write_all_at(&buffer[..length], at as u64).expect("it is written");
        bytes + length
    });
    disk.sync_all().expect("it is flushed");
    bytes
}

/// Numbers of pages in no order, the same each time.
fn scattered() -> impl Iterator<Item = usize> {
    let mut state = 1_usize;
    std::iter::repeat_with(move || {
        // The multiplier and the increment of MMIX' generator.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % (AREA / PAGE)
    })
    .take(RANDOM)
}
