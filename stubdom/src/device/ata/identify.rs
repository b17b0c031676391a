//! What drives say of themselves. (7.16, 7.17.)

use super::hard_disk::GEOMETRY;
use super::{Attachment, HardDisk, MULTIPLE_MAX, Optical, put_checksum, put_text, put_words};

const FIRMWARE: &[u8] = b"1";
const DISK: &[u8] = b"Xen virtual disk";
const OPTICAL: &[u8] = b"Xen virtual DVD-ROM";

/// Sectors that 28 bits, and the parameters of a geometry, can say.
const SHORT_MAX: u64 = 0x0fff_ffff;
const CYLINDERS_MAX: u64 = 16383;

/// The bit of a mode of multiword or Ultra DMA that was chosen, in its register.
fn chosen(mode: u8, first: u8) -> u16 {
    match mode.checked_sub(first) {
        Some(number @ 0..8) => 1 << (8 + number),
        _ => 0,
    }
}

/// IDENTIFY DEVICE.
pub(super) fn disk(disk: &HardDisk, answer: &mut [u8; 512]) {
    let serial = disk.attachment == Attachment::Serial;
    answer.fill(0);
    let mut put = |at, words: &[u16]| put_words(answer, at, words);
    let (heads, per_track) = GEOMETRY;
    let cylinders = disk.sectors / u64::from(heads * per_track);
    let cylinders = cylinders.min(CYLINDERS_MAX) as u16;
    // Not removable.
    put(0, &[1 << 6, cylinders]);
    put(3, &[heads]);
    put(6, &[per_track]);
    put(47, &[0x8000 | u16::from(MULTIPLE_MAX)]);
    // IORDY, LBA, DMA; standby timers as the standard has them.
    put(49, &[1 << 13 | 1 << 11 | 1 << 9 | 1 << 8, 1 << 14]);
    // Words 54 to 58, 64 to 70 and 88 mean something.
    put(53, &[0b111]);
    let track = u64::from(disk.heads) * u64::from(disk.per_track);
    let current = (disk.sectors / track).min(0xffff);
    let capacity = current * track;
    put(54, &[current as u16, disk.heads, disk.per_track]);
    put(57, &[capacity as u16, (capacity >> 16) as u16]);
    if disk.multiple > 0 {
        put(59, &[1 << 8 | u16::from(disk.multiple)]);
    }
    let short = disk.sectors.min(SHORT_MAX);
    put(60, &[short as u16, (short >> 16) as u16]);
    put(63, &[0b111 | chosen(disk.mode, 0x20)]);
    // PIO modes 3 and 4, 120 ns each way.
    put(64, &[0b11, 120, 120, 120, 120]);
    if serial {
        // A queue of 32; generations 1 and 2, native queuing.
        put(75, &[31, 1 << 8 | 0b110]);
    }
    // ATA/ATAPI-4 to ACS-2.
    put(80, &[0b11_1111_0000]);
    // Look-ahead, write cache, power management, SMART. Flushes of both kinds, 48 bits. General logs.
    let logs = if serial { 1 << 5 } else { 0 };
    let commands = 1 << 6 | 1 << 5 | 1 << 3 | 1;
    put(82, &[commands, 0x4000 | 1 << 13 | 1 << 12 | 1 << 10]);
    put(84, &[0x4000 | 1 << 6 | logs]);
    let enabled = [disk.look_ahead, disk.write_cache, true, disk.smart];
    let enabled = [6, 5, 3, 0]
        .into_iter()
        .zip(enabled)
        .fold(0, |word, (bit, on)| word | u16::from(on) << bit);
    put(85, &[enabled, 1 << 13 | 1 << 12 | 1 << 10]);
    put(
        87,
        &[0x4000 | 1 << 6 | logs, 0b11_1111 | chosen(disk.mode, 0x40)],
    );
    if !serial {
        // A cable of 80 wires, and this drive tested it.
        put(93, &[0x4000 | 1 << 13 | 1]);
    }
    let sectors = disk.sectors;
    put(100, &[0, 16, 32, 48].map(|shift| (sectors >> shift) as u16));
    let larger = if disk.physical > 0 { 1 << 13 } else { 0 };
    put(
        105,
        &[disk.trim.into(), 0x4000 | larger | u16::from(disk.physical)],
    );
    put(169, &[disk.trim.into()]);
    // Nothing turns.
    put(217, &[1]);
    put(
        222,
        &[if serial {
            0x1000 | 0b111_1110
        } else {
            0b111_1110
        }],
    );
    put_text(answer, 10, 20, &disk.serial);
    put_text(answer, 23, 8, FIRMWARE);
    put_text(answer, 27, 40, DISK);
    answer[510] = 0xa5;
    put_checksum(answer);
}

/// IDENTIFY PACKET DEVICE.
pub(super) fn optical(drive: &Optical, answer: &mut [u8; 512]) {
    answer.fill(0);
    let mut put = |at, words: &[u16]| put_words(answer, at, words);
    // A packet of 12 bytes, asked for within 50 us; removable; CD-ROM.
    put(0, &[0b10 << 14 | 5 << 8 | 1 << 7 | 0b10 << 5]);
    put(49, &[1 << 11 | 1 << 9 | 1 << 8, 1 << 14]);
    put(53, &[0b111]);
    put(63, &[0b111 | chosen(drive.mode, 0x20)]);
    put(64, &[0b11, 120, 120, 120, 120]);
    let serial = drive.attachment == Attachment::Serial;
    if serial {
        put(76, &[0b110]);
    }
    put(80, &[0b1_1111_0000]);
    // Device reset, packets, power management.
    let commands = 1 << 9 | 1 << 4 | 1 << 3;
    put(82, &[commands, 0x4000, 0x4000, commands, 0, 0x4000]);
    put(88, &[0b11_1111 | chosen(drive.mode, 0x40)]);
    if !serial {
        put(93, &[0x4000 | 1 << 13 | 1]);
    }
    put_text(answer, 10, 20, &drive.serial);
    put_text(answer, 23, 8, FIRMWARE);
    put_text(answer, 27, 40, OPTICAL);
    answer[510] = 0xa5;
    put_checksum(answer);
}
