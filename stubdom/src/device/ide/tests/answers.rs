//! What drives answer to who asks them for what is rare, or is not there.

use super::*;

/// A packet by PIO, with as much room as there is.
fn ask(lab: &mut Lab, packet: &[u8]) -> Result<Vec<u8>, u8> {
    let mut whole = [0; 12];
    whole[..packet.len()].copy_from_slice(packet);
    lab.packet_in(whole, 0xfffe)
}

/// It is refused, for a field of the packet.
fn refuses(lab: &mut Lab, packet: &[u8]) {
    assert_eq!(ask(lab, packet), Err(0x54), "{packet:x?}");
    assert_eq!(lab.sense(), (5, 0x24, 0), "{packet:x?}");
}

fn optical(lab: &mut Lab) -> &mut Optical {
    match lab.ide.drive_mut(2) {
        Some(Drive::Optical(drive)) => drive,
        _ => panic!("no such drive"),
    }
}

const EVENTS: [u8; 9] = [0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8];

#[test]
fn a_cd_drive_takes_few_commands_of_ata() {
    let mut lab = Lab::new();
    for (command, features, count, status) in [
        (0xef, 0x03, 0x45, 0x50),
        (0xef, 0x03, 0x0c, 0x50),
        (0xef, 0x03, 0x22, 0x50),
        (0xef, 0x03, 0x99, 0x51),
        (0xef, 0x66, 0, 0x50),
        (0xef, 0x02, 0, 0x51),
        (0xe0, 0, 0, 0x50),
        (0xec, 0, 0, 0x51),
        (0x20, 0, 1, 0x51),
    ] {
        lab.command(2, command, features, count, 0);
        assert_eq!(lab.interrupted(1), status, "{command:#x} {features:#x}");
    }
    lab.command(2, 0xe5, 0, 0, 0);
    assert_eq!(lab.interrupted(1), 0x50);
    assert_eq!(lab.inb(1, COUNT), 0xff, "it is awake");
}

#[test]
fn a_drive_tells_of_its_features_what_is_asked_for() {
    let mut lab = Lab::new();
    let current = ask(&mut lab, &[0x46, 1, 0, 0, 0, 0, 0, 1, 0]).unwrap();
    assert_eq!(current[..8], [0, 0, 0, 56, 0, 0, 0, 8]);
    let later = ask(&mut lab, &[0x46, 1, 0, 2, 0, 0, 0, 1, 0]).unwrap();
    assert_eq!(later[..4], [0, 0, 0, 32]);
    refuses(&mut lab, &[0x46, 3, 0, 0, 0, 0, 0, 1, 0]);
    optical(&mut lab).set_medium(Some(4 * (80 * 60 * 75 + 1)));
    // Asked about the drive, it does not say yet that the medium is another.
    let large = ask(&mut lab, &[0x46, 1, 0, 0, 0, 0, 0, 1, 0]).unwrap();
    assert_eq!(large[..8], [0, 0, 0, 56, 0, 0, 0, 0x10]);
    optical(&mut lab).set_medium(None);
    let none = ask(&mut lab, &[0x46, 0, 0, 0, 0, 0, 0, 1, 0]).unwrap();
    assert_eq!(none[..8], [0, 0, 0, 64, 0, 0, 0, 0]);
}

#[test]
fn the_tray_is_watched() {
    let mut lab = Lab::new();
    // It is closed already.
    assert_eq!(ask(&mut lab, &[0x1b, 0, 0, 0, 3]), Ok(vec![]));
    assert_eq!(ask(&mut lab, &[0]), Ok(vec![]));
    // Start and stop move nothing.
    assert_eq!(ask(&mut lab, &[0x1b, 0, 0, 0, 1]), Ok(vec![]));
    assert_eq!(ask(&mut lab, &[0x1b, 0, 0, 0, 2]), Ok(vec![]));
    assert_eq!(ask(&mut lab, &EVENTS).unwrap()[4..6], [1, 1]);
    assert_eq!(ask(&mut lab, &[0x1b, 0, 0, 0, 2]), Ok(vec![]));
    assert_eq!(ask(&mut lab, &EVENTS).unwrap()[4..6], [0, 1], "it was open");
    let slot = ask(&mut lab, &[0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8]).unwrap();
    assert_eq!(slot[1], 0x10);
    assert_eq!(ask(&mut lab, &[0x1b, 0, 0, 0, 3]), Ok(vec![]));
    assert_eq!(ask(&mut lab, &EVENTS).unwrap()[4..6], [2, 2]);
    assert_eq!(lab.sense(), (6, 0x28, 0));
    assert_eq!(ask(&mut lab, &[0]), Ok(vec![]), "it was told");
    optical(&mut lab).set_medium(None);
    assert_eq!(ask(&mut lab, &EVENTS).unwrap()[4..6], [3, 0]);
    assert_eq!(ask(&mut lab, &[0x1b, 0, 0, 0, 2]), Ok(vec![]));
    assert_eq!(ask(&mut lab, &[0x1b, 0, 0, 0, 3]), Ok(vec![]));
    assert_eq!(ask(&mut lab, &[0]), Err(0x24));
    assert_eq!(lab.sense(), (2, 0x3a, 0));
}

#[test]
fn a_drive_refuses_fields_that_it_does_not_know() {
    let mut lab = Lab::new();
    let pages = ask(&mut lab, &[0x12, 1, 0, 0, 255]).unwrap();
    assert_eq!(pages, [5, 0, 0, 1, 0]);
    refuses(&mut lab, &[0x12, 1, 0x80, 0, 255]);
    refuses(&mut lab, &[0x12, 0, 0x80, 0, 255]);
    refuses(&mut lab, &[0x51, 1, 0, 0, 0, 0, 0, 0, 34]);
    refuses(&mut lab, &[0x5a, 0, 0x0e, 0, 0, 0, 0, 0, 255]);
    refuses(&mut lab, &[0x5a, 0, 0x6a, 0, 0, 0, 0, 0, 255]);
    assert_eq!(
        ask(&mut lab, &[0x5a, 0, 0xea, 0, 0, 0, 0, 0, 255]),
        Err(0x54)
    );
    assert_eq!(lab.sense(), (5, 0x39, 0));
    refuses(&mut lab, &[0x43, 0, 0, 0, 0, 0, 2, 0, 255]);
    refuses(&mut lab, &[0x43, 0, 5, 0, 0, 0, 0, 0, 255]);
    let lead_out = ask(&mut lab, &[0x43, 0, 0, 0, 0, 0, 0xaa, 0, 255]).unwrap();
    assert_eq!(lead_out, [0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 0, 2, 88]);
    refuses(&mut lab, &[0xbe, 0, 0, 0, 0, 9, 0, 0, 1, 0xf8]);
    assert_eq!(ask(&mut lab, &[0xbe, 0, 0, 0, 0, 9, 0, 0, 1]), Ok(vec![]));
    // As large as a medium can be said to be.
    optical(&mut lab).set_medium(Some(u64::MAX));
    lab.sense();
    refuses(&mut lab, &[0xa8, 0, 0, 0, 0, 0, 0x40, 0, 0, 0]);
}

#[test]
fn a_disk_that_is_well_says_so() {
    const KEY: u32 = 0xc2_4f00;
    let mut lab = Lab::new();
    let mut read = |operation, log| {
        lab.command(0, 0xb0, operation, 1, KEY | log);
        let answer = lab.pio_in(0, SECTOR, SECTOR);
        let sum = answer.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        (answer, sum)
    };
    let (data, sum) = read(0xd0, 0);
    assert_eq!((data[0], data[370], sum), (1, 1, 0));
    let (thresholds, sum) = read(0xd1, 0);
    assert_eq!((thresholds[0], thresholds[370], sum), (1, 0, 0));
    let (directory, _) = read(0xd5, 0);
    assert_eq!((directory[0], directory[2], directory[12]), (1, 1, 1));
    for log in [1, 6] {
        let (log, sum) = read(0xd5, log);
        assert_eq!((log[0], log[2], sum), (1, 0, 0));
    }
    for (operation, count, lba, status) in [
        (0xd2, 0, KEY, 0x50),
        (0xd5, 2, KEY, 0x51),
        (0xd5, 1, KEY | 2, 0x51),
        (0x55, 1, KEY, 0x51),
        (0xda, 0, 0, 0x51),
        // Switched off, it says nothing but that, until it is switched on.
        (0xd9, 0, KEY, 0x50),
        (0xda, 0, KEY, 0x51),
        (0xd8, 0, KEY, 0x50),
        (0xda, 0, KEY, 0x50),
    ] {
        lab.command(0, 0xb0, operation, count, lba);
        assert_eq!(
            lab.interrupted(0),
            status,
            "{operation:#x} {count} {lba:#x}"
        );
    }
}

#[test]
fn registers_are_read_back_as_a_driver_left_them() {
    let mut lab = Lab::new();
    for (written, read) in [(0x00, 0xa0), (0x0f, 0xaf), (0x40, 0xe0), (0xbf, 0xbf)] {
        lab.out(0, DEVICE, written & !(1 << 4));
        assert_eq!(lab.inb(0, DEVICE), read & !(1 << 4), "{written:#x}");
    }
    for (written, read) in [(0x09, 0x09), (0xff, 0x09), (0x08, 0x08), (0xf6, 0x00)] {
        lab.ide.write_bus_master(0, Width::Byte, written);
        assert_eq!(
            lab.ide.read_bus_master(0, Width::Byte),
            read,
            "{written:#x}"
        );
    }
    lab.ide.write_bus_master(4, Width::Dword, 0x1234_5677);
    assert_eq!(lab.ide.read_bus_master(4, Width::Dword), 0x1234_5674);
    assert_eq!(lab.ide.read_bus_master(1, Width::Byte), 0);
}

#[test]
fn a_packet_that_is_to_come_is_announced_whatever_the_count_was() {
    let mut lab = Lab::new();
    lab.command(2, 0xa0, 0, 0x54, 0xfffe << 8);
    assert_eq!(lab.inb(1, COUNT), 1);
    lab.put_words(1, &[0; 12]);
    assert_eq!(lab.interrupted(1), 0x50);
}

#[test]
fn behind_an_answer_stands_nothing_of_the_one_before() {
    let mut lab = Lab::new();
    assert_eq!(ask(&mut lab, &[0x12, 0, 0, 0, 36]).unwrap().len(), 36);
    lab.packet([0x12, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0], 0, 0xfffe);
    assert_eq!(lab.interrupted(1) & DRQ, DRQ);
    for expected in [0x2100_8005, 0x0000_001f, 0x0000_6558] {
        assert_eq!(lab.ide.read_command(1, 0, Width::Dword), expected);
    }
    lab.turn();
    assert_eq!(lab.interrupted(1), 0x50);
}

#[test]
fn a_profile_is_current_when_its_medium_is_there() {
    let mut lab = Lab::new();
    let profiles = |lab: &mut Lab| {
        let all = ask(lab, &[0x46, 0, 0, 0, 0, 0, 0, 1, 0]).unwrap();
        (all[8..12].to_vec(), all[12..20].to_vec())
    };
    let header = vec![0, 0, 3, 8];
    let cd = vec![0, 0x10, 0, 0, 0, 8, 1, 0];
    assert_eq!(profiles(&mut lab), (header.clone(), cd));
    optical(&mut lab).set_medium(Some(4 * (80 * 60 * 75 + 1)));
    let dvd = vec![0, 0x10, 1, 0, 0, 8, 0, 0];
    assert_eq!(profiles(&mut lab), (header.clone(), dvd));
    optical(&mut lab).set_medium(None);
    let none = vec![0, 0x10, 0, 0, 0, 8, 0, 0];
    assert_eq!(profiles(&mut lab), (header, none));
}

#[test]
fn a_cd_is_read_by_dma_in_several_requests() {
    let mut lab = Lab::new();
    lab.disk(2).info.request_max = 256;
    let table: Vec<_> = (0..300u32).map(|at| (0x1_0000 + at * 2048, 1024)).collect();
    lab.packet([0x28, 0, 0, 0, 0, 7, 0, 0, 150, 0, 0, 0], 1, 0);
    assert_eq!(lab.dma(1, &table), (4, 0x50));
    let read: Vec<u8> = table
        .iter()
        .flat_map(|(at, _)| lab.ram.bytes[*at as usize..][..1024].to_vec())
        .collect();
    assert!(read == lab.disk(2).bytes[7 * 2048..157 * 2048]);
}

#[test]
fn what_the_bus_master_says_is_cleared_bit_by_bit() {
    let mut lab = Lab::new();
    lab.command(0, 0xc8, 0, 8, 0);
    assert_eq!(lab.dma(0, &[(0xf000_0000, 0x1000)]).0, 6);
    for (written, read) in [(0x60, 0x66), (0x22, 0x24), (0x40, 0x44), (0x04, 0x00)] {
        lab.ide.write_bus_master(2, Width::Byte, written);
        assert_eq!(
            lab.ide.read_bus_master(2, Width::Byte),
            read,
            "{written:#x}"
        );
    }
}

#[test]
fn a_bus_master_that_stops_is_nothing_to_who_needs_none() {
    let mut lab = Lab::new();
    lab.disk(0).is_slow = true;
    lab.command(0, 0x20, 0, 1, 9);
    for command in [9, 0] {
        lab.ide.write_bus_master(0, Width::Byte, command);
        lab.turn();
    }
    assert!(!lab.ide.irq(0));
    lab.disk(0).release(1);
    lab.turn();
    let expected = lab.disk(0).bytes[9 * SECTOR..10 * SECTOR].to_vec();
    assert!(lab.pio_in(0, SECTOR, SECTOR) == expected);
}
