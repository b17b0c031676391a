//! What a hard disk makes of its commands, by itself, and all that it says of itself.

use super::*;

const SECTORS: u64 = 0x1_0000_0000_5000;

fn disk(attachment: Attachment) -> HardDisk {
    HardDisk::new(attachment, 0x0123_4567_89ab, "SERIAL")
}

/// How a command ends, and with which error.
fn try_command(disk: &mut HardDisk, task: Task) -> (Start, u8) {
    let mut task = task;
    let start = disk.start(&mut task, &mut [0; 512]);
    let failed = task.status & status::ERR != 0;
    (start, if failed { task.error } else { 0 })
}

/// One with nothing but its code, a count, and a sector.
fn task(command: u8, count: u16, lba: u64) -> Task {
    Task {
        command,
        count,
        lba,
        device: 1 << 6,
        ..Task::default()
    }
}

/// The words of what a disk says of itself.
fn identity(disk: &mut HardDisk) -> [u16; 256] {
    let mut answer = [0; 512];
    assert_eq!(
        disk.start(&mut task(0xec, 0, 0), &mut answer),
        Start::Answer
    );
    core::array::from_fn(|at| u16::from_le_bytes([answer[2 * at], answer[2 * at + 1]]))
}

/// Checks all words that no text and no checksum is in: those that are named, and zeros.
fn expect(words: &[u16; 256], named: &[(usize, u16)]) {
    for (at, &word) in words.iter().enumerate() {
        if !matches!(at, 10..20 | 23..47 | 255) {
            let named = named.iter().find(|(place, _)| *place == at);
            assert_eq!(word, named.map_or(0, |(_, word)| *word), "word {at}");
        }
    }
}

#[test]
fn a_disk_on_a_cable_says_all_that_it_is() {
    let words = identity(&mut disk(Attachment::Parallel));
    expect(
        &words,
        &[
            (0, 0x40),
            (1, 16383),
            (3, 16),
            (6, 63),
            (47, 0x8010),
            (49, 0x2b00),
            (50, 0x4000),
            (53, 7),
            (54, 0xffff),
            (55, 16),
            (56, 63),
            // 65,535 cylinders of 1,008 sectors.
            (57, 0xfc10),
            (58, 0x03ef),
            (59, 0x110),
            (60, 0xffff),
            (61, 0x0fff),
            (63, 7),
            (64, 3),
            (65, 120),
            (66, 120),
            (67, 120),
            (68, 120),
            (80, 0x3f0),
            (82, 0x69),
            (83, 0x7400),
            (84, 0x4040),
            (85, 0x69),
            (86, 0x3400),
            (87, 0x4040),
            (88, 0x203f),
            (93, 0x6001),
            (100, 0x89ab),
            (101, 0x4567),
            (102, 0x0123),
            (106, 0x4000),
            (217, 1),
            (222, 0x7e),
        ],
    );
}

#[test]
fn a_disk_on_a_serial_link_says_what_was_set_and_what_it_has_more() {
    let mut disk = HardDisk::new(Attachment::Serial, 10_080, "SERIAL")
        .with_trim()
        .with_physical_sector(4096);
    // No write cache, no look-ahead, no READ MULTIPLE; multiword DMA, mode 1; a smaller geometry.
    for (command, features, count, device) in [
        (0xef, 0x82, 0, 0),
        (0xef, 0x55, 0, 0),
        (0xc6, 0, 0, 0),
        (0xef, 0x03, 0x21, 0),
        (0x91, 0, 10, 3),
    ] {
        let (start, error) = try_command(
            &mut disk,
            Task {
                features,
                device,
                ..task(command, count, 0)
            },
        );
        assert!(matches!(start, Start::Done | Start::Flush));
        assert_eq!(error, 0, "command {command:#x}");
    }
    expect(
        &identity(&mut disk),
        &[
            (0, 0x40),
            (1, 10),
            (3, 16),
            (6, 63),
            (47, 0x8010),
            (49, 0x2b00),
            (50, 0x4000),
            (53, 7),
            (54, 252),
            (55, 4),
            (56, 10),
            (57, 10_080),
            (60, 10_080),
            (63, 0x207),
            (64, 3),
            (65, 120),
            (66, 120),
            (67, 120),
            (68, 120),
            (75, 31),
            (76, 0x106),
            (80, 0x3f0),
            (82, 0x69),
            (83, 0x7400),
            (84, 0x4060),
            (85, 0x09),
            (86, 0x3400),
            (87, 0x4060),
            (88, 0x3f),
            (100, 10_080),
            (105, 1),
            (106, 0x6003),
            (169, 1),
            (217, 1),
            (222, 0x107e),
        ],
    );
}

#[test]
fn what_only_one_of_the_two_links_has_is_refused_on_the_other() {
    for (command, count) in [(0x2f, 1), (0x60, 8), (0x61, 8)] {
        let task = Task {
            features: 1,
            ..task(command, count, 0)
        };
        let on_cable = try_command(&mut disk(Attachment::Parallel), task);
        assert_eq!(on_cable, (Start::Done, error::ABRT), "{command:#x}");
        let (start, error) = try_command(&mut disk(Attachment::Serial), task);
        assert_ne!(start, Start::Done, "{command:#x}");
        assert_eq!(error, 0, "{command:#x}");
    }
}

#[test]
fn several_sectors_to_an_interrupt_are_as_many_as_were_set() {
    let mut disk = disk(Attachment::Parallel);
    let commands = [0x29, 0x39, 0xc4, 0xc5, 0xce];
    for (count, is_taken) in [
        (1, true),
        (16, true),
        (3, false),
        (17, false),
        (32, false),
        (0, true),
    ] {
        let (_, error) = try_command(&mut disk, task(0xc6, count, 0));
        assert_eq!(error == 0, is_taken, "{count}");
        if !is_taken {
            continue;
        }
        for command in commands {
            let (start, error) = try_command(&mut disk, task(command, 64, 0));
            match start {
                Start::Transfer(transfer) => assert_eq!(
                    transfer.protocol,
                    Protocol::Pio { block: count as u8 },
                    "{command:#x}"
                ),
                _ => assert_eq!((count, start, error), (0, Start::Done, error::ABRT)),
            }
        }
    }
}

#[test]
fn what_is_verified_has_to_be_there() {
    let mut disk = HardDisk::new(Attachment::Parallel, 1 << 26, "");
    let last = (1 << 26) - 1;
    for command in [0x40, 0x41, 0x42] {
        assert_eq!(
            try_command(&mut disk, task(command, 1, last & 0xff_ffff)),
            (Start::Done, 0),
            "{command:#x}"
        );
    }
    assert_eq!(
        try_command(&mut disk, task(0x42, 1, last)),
        (Start::Done, 0)
    );
    assert_eq!(
        try_command(&mut disk, task(0x42, 2, last)),
        (Start::Done, error::IDNF)
    );
}

#[test]
fn the_highest_bits_of_a_short_address_are_the_devices() {
    let mut disk = HardDisk::new(Attachment::Parallel, 1 << 28, "");
    let read = Task {
        device: 0x4f,
        ..task(0xc8, 1, 0xab_ffff_fffe)
    };
    let (start, _) = try_command(&mut disk, read);
    let Start::Transfer(transfer) = start else {
        panic!("it is there");
    };
    assert_eq!(transfer.sector, 0x0fff_fffe);
}

#[test]
fn a_log_is_asked_for_a_page_at_a_time_and_there_are_two() {
    let mut disk = disk(Attachment::Serial);
    for (count, lba, is_there) in [
        (1, 0, true),
        (2, 0, false),
        (0, 0, false),
        (1, 0x100, false),
        (1, 0x100_0000_0000, false),
        (1, 0x1, false),
    ] {
        let (start, _) = try_command(&mut disk, task(0x2f, count, lba));
        assert_eq!(start == Start::Answer, is_there, "{count} {lba:#x}");
    }
    let queued = try_command(&mut disk, task(0x2f, 1, 0x10));
    assert_eq!(queued, (Start::QueuedErrorLog, 0));
    let mut directory = [0xff; 512];
    disk.start(&mut task(0x2f, 1, 0), &mut directory);
    assert_eq!((directory[0], directory[0x20]), (1, 1));
    assert_eq!(directory.iter().filter(|byte| **byte != 0).count(), 2);
}

#[test]
fn whatever_touches_the_medium_wakes_the_disk() {
    let mut disk = disk(Attachment::Serial);
    let power = |disk: &mut HardDisk| {
        let mut asked = task(0xe5, 0x33, 0);
        disk.start(&mut asked, &mut [0; 512]);
        asked.count
    };
    for (command, shown) in [
        (0xe0, 0),
        (0x20, 0xff),
        (0xe1, 0x80),
        (0x61, 0xff),
        (0x94, 0),
        (0xec, 0),
        (0xcb, 0xff),
        (0x97, 0x80),
        (0xc4, 0xff),
        (0xe6, 0),
        (0x06, 0xff),
    ] {
        let _ = try_command(&mut disk, task(command, 1, 1));
        assert_eq!(power(&mut disk), shown, "{command:#x}");
    }
}

#[test]
fn a_disk_has_no_more_sectors_than_48_bits_say() {
    let disk = HardDisk::new(Attachment::Serial, SECTORS, "");
    assert_eq!(disk.sectors(), 0xffff_ffff_ffff);
}

#[test]
fn a_signature_leaves_which_drive_of_the_cable_it_is() {
    let mut drive = Drive::Disk(disk(Attachment::Parallel));
    let mut task = Task {
        count: 0x1234,
        lba: 0xffff,
        device: 0xff,
        ..Task::default()
    };
    drive.reset(&mut task);
    assert_eq!((task.count, task.lba, task.device), (1, 1, 0x10));
    assert_eq!((task.status, task.error), (status::READY, 1));
}

#[test]
fn a_cd_drive_says_all_that_it_is() {
    for (attachment, own) in [
        (Attachment::Parallel, (93, 0x6001)),
        (Attachment::Serial, (76, 0x0006)),
    ] {
        let mut drive = Optical::new(attachment, None, "SERIAL");
        for (mode, words_63_88) in [
            (0x45, (0x0007, 0x203f)),
            (0x22, (0x0407, 0x003f)),
            (0x40, (0x0007, 0x013f)),
            (0x0c, (0x0007, 0x013f)),
        ] {
            let mut set = Task {
                features: 0x03,
                ..task(0xef, mode, 0)
            };
            drive.start(&mut set, &mut [0; 512]);
            assert_eq!(set.error, 0, "mode {mode:#x}");
            let mut answer = [0xff; 512];
            drive.start(&mut task(0xa1, 0, 0), &mut answer);
            let words =
                core::array::from_fn(|at| u16::from_le_bytes([answer[2 * at], answer[2 * at + 1]]));
            expect(
                &words,
                &[
                    (0, 0x85c0),
                    (49, 0x0b00),
                    (50, 0x4000),
                    (53, 7),
                    (63, words_63_88.0),
                    (64, 3),
                    (65, 120),
                    (66, 120),
                    (67, 120),
                    (68, 120),
                    (80, 0x1f0),
                    (82, 0x218),
                    (83, 0x4000),
                    (84, 0x4000),
                    (85, 0x218),
                    (87, 0x4000),
                    (88, words_63_88.1),
                    own,
                ],
            );
        }
    }
}
