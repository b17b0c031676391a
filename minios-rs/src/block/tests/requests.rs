//! Reads, writes, flushes, discards.

use super::*;

#[test]
fn what_is_written_is_read_back_whatever_its_length() {
    let offers = Offers::default();
    for (persistent, indirect) in [(true, 32), (true, 256), (false, 32), (true, 0), (false, 12)] {
        let (mut lab, disk) = with(Offers {
            persistent,
            indirect,
            ..offers
        });
        for (seed, len) in [512, 1024, 4096, 4608, 45056, 45568, 131072, 262144, 1048576]
            .into_iter()
            .enumerate()
        {
            let written = bytes(len, seed as u8);
            assert_eq!(lab.write(&disk, 3, &written), Ok(()));
            let place = 3 * SECTOR..3 * SECTOR + len;
            assert_eq!(lab.back.disk[place], written, "{len} bytes");
            assert_eq!(lab.read(&disk, 3, len), written);
        }
        let longest = lab.back.asked.iter().map(|(_, segments)| *segments).max();
        assert_eq!(longest, Some(usize::from(indirect.max(11))));
        lab.detach(disk);
    }
}

#[test]
fn the_pages_of_buffers_are_granted_once_and_used_again() {
    let (mut lab, disk) = plain();
    for round in 0..50 {
        assert_eq!(lab.write(&disk, 0, &bytes(64 * 1024, round)), Ok(()));
    }
    // Its list of segments is one more.
    assert_eq!(lab.back.mapped(), 17);
    assert_eq!(lab.guest.usage().grants, 17 + 4);
    lab.detach(disk);
}

#[test]
fn a_buffer_is_read_and_written_at_any_place() {
    let (lab, disk) = plain();
    let buffer = disk.buffer(3 * PAGE_SIZE + 512).expect("there are pages");
    assert_eq!(buffer.len(), 3 * PAGE_SIZE + 512);
    let mut expected = bytes(buffer.len(), 0);
    buffer.write(0, &expected);
    for (offset, len) in [
        (0, 1),
        (4095, 2),
        (4000, 5000),
        (3 * 4096, 512),
        (12799, 1),
        (12800, 0),
    ] {
        let part = bytes(len, 200);
        buffer.write(offset, &part);
        expected[offset..offset + len].copy_from_slice(&part);
        let mut whole = vec![0; expected.len()];
        buffer.read(0, &mut whole);
        assert_eq!(whole, expected);
        let mut again = vec![0; len];
        buffer.read(offset, &mut again);
        assert_eq!(again, part);
    }
    drop(buffer);
    let mut lab = lab;
    lab.detach(disk);
}

#[test]
#[should_panic(expected = "beyond the buffer's end")]
fn a_buffer_ends_where_it_ends_and_not_with_its_page() {
    let (_lab, disk) = plain();
    let buffer = disk.buffer(512).expect("there are pages");
    buffer.read(512, &mut [0]);
}

#[test]
fn there_are_so_many_pages_and_no_more() {
    let mut lab = Lab::new(Offers::default());
    let config = Config {
        pages_max: 4,
        ..Config::default()
    };
    let disk = lab.connect_with(config).expect("it connects");
    for none in [0, 1, 511, 513, 5 * PAGE_SIZE, usize::MAX - 511] {
        assert!(disk.buffer(none).is_none(), "{none} bytes");
    }
    let first = disk.buffer(3 * PAGE_SIZE).expect("there are four");
    assert!(disk.buffer(2 * PAGE_SIZE).is_none());
    let second = disk.buffer(PAGE_SIZE).expect("there is one");
    drop(first);
    assert!(disk.buffer(3 * PAGE_SIZE).is_some());
    drop(second);
    lab.world.fail(Fault::Page, 0);
    // They are all there already.
    assert!(disk.buffer(4 * PAGE_SIZE).is_some());
    assert!(lab.world.clear_fault(Fault::Page));
    lab.detach(disk);
}

#[test]
fn what_is_flushed_stays_and_what_is_not_may_not() {
    let offers = Offers::default();
    let old = Offers {
        flush: false,
        ..offers
    };
    for (offers, operation) in [
        (offers, BLKIF_OP_FLUSH_DISKCACHE),
        (old, BLKIF_OP_WRITE_BARRIER),
    ] {
        let (mut lab, disk) = with(offers);
        assert_eq!(lab.write(&disk, 0, &[1; 512]), Ok(()));
        assert_eq!(lab.one(&disk, Operation::Flush, 0, None).0, Ok(()));
        assert_eq!(lab.back.asked.last(), Some(&(operation, 0)));
        assert_eq!(lab.write(&disk, 0, &[2; 512]), Ok(()));
        lab.back.lose_power();
        assert_eq!(lab.read(&disk, 0, 512), [1; 512]);
        lab.detach(disk);
    }
}

#[test]
fn a_backend_that_cannot_flush_is_asked_otherwise_and_then_no_more() {
    let (mut lab, disk) = plain();
    lab.back.refuse = Some((BLKIF_OP_FLUSH_DISKCACHE, BLKIF_RSP_EOPNOTSUPP));
    assert_eq!(lab.one(&disk, Operation::Flush, 0, None).0, Ok(()));
    let asked: Vec<u8> = lab.back.asked.iter().map(|(code, _)| *code).collect();
    assert_eq!(asked, [BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_WRITE_BARRIER]);
    lab.back.refuse = Some((BLKIF_OP_WRITE_BARRIER, BLKIF_RSP_EOPNOTSUPP));
    for _ in 0..2 {
        assert_eq!(lab.one(&disk, Operation::Flush, 0, None).0, Ok(()));
        assert_eq!(lab.back.asked.len(), 3);
        assert!(disk.info().is_some_and(|info| !info.flush));
    }
    lab.detach(disk);
    let (mut lab, disk) = with(Offers {
        flush: false,
        barrier: false,
        ..Offers::default()
    });
    assert_eq!(lab.one(&disk, Operation::Flush, 0, None).0, Ok(()));
    assert!(lab.back.asked.is_empty());
    lab.detach(disk);
}

#[test]
fn a_flush_that_fails_says_so() {
    let (mut lab, disk) = plain();
    lab.back.refuse = Some((BLKIF_OP_FLUSH_DISKCACHE, BLKIF_RSP_ERROR));
    let failed = lab.one(&disk, Operation::Flush, 0, None).0;
    assert_eq!(failed, Err(Failure::Io));
    assert_eq!(lab.one(&disk, Operation::Flush, 0, None).0, Ok(()));
    lab.detach(disk);
}

#[test]
fn what_is_discarded_is_gone_and_a_backend_that_cannot_is_asked_once() {
    let (mut lab, disk) = plain();
    let discard = Operation::Discard { sectors: 16 };
    assert_eq!(lab.write(&disk, 0, &[1; 32 * 512]), Ok(()));
    assert_eq!(lab.one(&disk, discard, 8, None).0, Ok(()));
    let expected = [[1; 8 * 512].as_slice(), &[0; 16 * 512], &[1; 8 * 512]].concat();
    assert_eq!(lab.read(&disk, 0, 32 * 512), expected);
    lab.back.refuse = Some((BLKIF_OP_DISCARD, BLKIF_RSP_EOPNOTSUPP));
    for _ in 0..2 {
        let refused = lab.one(&disk, discard, 8, None).0;
        assert_eq!(refused, Err(Failure::Unsupported));
        let is_discard = |(code, _): &&(u8, usize)| *code == BLKIF_OP_DISCARD;
        assert_eq!(lab.back.asked.iter().filter(is_discard).count(), 2);
        assert_eq!(disk.info().and_then(|info| info.discard), None);
    }
    lab.detach(disk);
}

#[test]
fn an_error_of_one_part_is_the_requests_and_no_other_ones() {
    let (mut lab, disk) = plain();
    for tag in 0..3 {
        let buffer = disk.buffer(256 * 1024).expect("there are pages");
        assert!(
            disk.submit(Operation::Write, 512 * tag, Some(buffer), tag)
                .is_ok()
        );
    }
    lab.back.hold = true;
    disk.notify();
    lab.back.step();
    assert_eq!(lab.back.held(), 6);
    lab.back.serve_held(3);
    lab.back.refuse = Some((BLKIF_OP_WRITE, BLKIF_RSP_ERROR));
    lab.back.serve_held(3);
    let done = lab.done(&disk);
    let results: Vec<_> = done.iter().map(|done| (done.tag, done.result)).collect();
    assert_eq!(results, [(0, Ok(())), (1, Err(Failure::Io)), (2, Ok(()))]);
    assert!(done.iter().all(|done| done.buffer.is_some()));
    let counters = disk.counters();
    assert_eq!(
        (counters.requests, counters.done, counters.failed),
        (3, 3, 1)
    );
    assert_eq!(counters.written_bytes, 512 * 1024);
    drop(done);
    lab.detach(disk);
}

#[test]
fn what_the_disk_cannot_do_fails_without_asking_the_backend() {
    let (mut lab, disk) = with(Offers {
        sector_size: 4096,
        ..Offers::default()
    });
    let end = SECTORS as u64;
    let discard = |sectors| Operation::Discard { sectors };
    let cases = [
        (Operation::Read, 1, Some(4096), Failure::Invalid),
        (Operation::Read, 0, Some(512), Failure::Invalid),
        (Operation::Read, end, Some(4096), Failure::OutOfRange),
        (Operation::Write, end - 8, Some(8192), Failure::OutOfRange),
        (
            Operation::Write,
            u64::MAX - 7,
            Some(4096),
            Failure::OutOfRange,
        ),
        (Operation::Read, 0, None, Failure::Invalid),
        (Operation::Write, 0, None, Failure::Invalid),
        (Operation::Flush, 0, Some(4096), Failure::Invalid),
        (discard(8), 0, Some(4096), Failure::Invalid),
        (discard(0), 0, None, Failure::Invalid),
        (discard(7), 0, None, Failure::Invalid),
        (discard(8), end, None, Failure::OutOfRange),
        (discard(u64::MAX), 8, None, Failure::OutOfRange),
    ];
    for (operation, sector, bytes, failure) in cases {
        let buffer = bytes.map(|bytes| disk.buffer(bytes).expect("there are pages"));
        let (result, back) = lab.one(&disk, operation, sector, buffer);
        assert_eq!(result, Err(failure), "{operation:?} at {sector}");
        assert_eq!(back.map(|buffer| buffer.len()), bytes);
    }
    assert!(lab.back.asked.is_empty());
    assert_eq!(lab.write(&disk, end - 8, &[1; 4096]), Ok(()));
    lab.detach(disk);
}

#[test]
fn a_disk_that_is_read_only_is_not_written() {
    let (mut lab, disk) = with(Offers {
        read_only: true,
        ..Offers::default()
    });
    assert!(disk.info().is_some_and(|info| info.read_only));
    assert_eq!(lab.write(&disk, 0, &[1; 512]), Err(Failure::ReadOnly));
    let discard = Operation::Discard { sectors: 8 };
    let refused = lab.one(&disk, discard, 0, None).0;
    assert_eq!(refused, Err(Failure::ReadOnly));
    assert_eq!(lab.read(&disk, 0, 512), [0; 512]);
    lab.detach(disk);
}

#[test]
fn a_buffer_of_one_disk_is_not_anothers() {
    let (_other, other) = plain();
    let (mut lab, disk) = plain();
    let strange = other.buffer(512);
    let (result, _) = lab.one(&disk, Operation::Read, 0, strange);
    assert_eq!(result, Err(Failure::Invalid));
    lab.detach(disk);
}

#[test]
fn so_many_requests_and_no_more_and_those_that_find_no_room_in_the_ring_wait() {
    let mut lab = Lab::new(Offers {
        indirect: 0,
        ring_order: None,
        ..Offers::default()
    });
    let config = Config {
        requests_max: 5,
        pages_max: 5 * 128,
        ..Config::default()
    };
    let disk = lab.connect_with(config).expect("it connects");
    lab.back.hold = true;
    let written = bytes(512 * 1024, 9);
    for tag in 0..5 {
        let buffer = disk.buffer(written.len()).expect("there are pages");
        buffer.write(0, &written);
        let sector = 1024 * (tag % 4);
        let submitted = disk.submit(Operation::Write, sector, Some(buffer), tag);
        assert!(submitted.is_ok());
    }
    assert!(disk.submit(Operation::Flush, 0, None, 5).is_err());
    disk.notify();
    lab.back.step();
    // Twelve entries for each; the ring has 32.
    assert_eq!(lab.back.held(), 32);
    lab.back.hold = false;
    let done = lab.done(&disk);
    assert_eq!(done.len(), 5);
    assert!(done.iter().all(|done| done.result.is_ok()));
    assert_eq!(lab.back.disk[..4 * written.len()], written.repeat(4));
    // What is done has its place until it was polled.
    for tag in 0..5 {
        assert!(disk.submit(Operation::Read, 0, None, tag).is_ok());
    }
    let refused = disk.submit(Operation::Read, 0, None, 5);
    assert!(matches!(refused, Err((Full, None))));
    assert!(disk.poll().is_some());
    assert!(disk.submit(Operation::Read, 0, None, 5).is_ok());
    drop(done);
    lab.detach(disk);
}

#[test]
fn one_event_tells_of_all_that_was_submitted_and_one_of_what_is_done() {
    let (mut lab, disk) = plain();
    let port_events = |lab: &mut Lab| lab.back.take_event();
    let _ = port_events(&mut lab);
    assert!(disk.poll().is_none());
    for tag in 0..8 {
        let buffer = disk.buffer(4096);
        assert!(disk.submit(Operation::Read, 8 * tag, buffer, tag).is_ok());
    }
    assert!(!port_events(&mut lab), "not before it is shown");
    disk.notify();
    disk.notify();
    assert_eq!(disk.counters().notifications, 1);
    assert!(port_events(&mut lab));
    lab.back.serve();
    assert_eq!(lab.back.notifications, 1);
    let mut done = 0;
    while disk.poll().is_some() {
        done += 1;
    }
    assert_eq!(done, 8);
    lab.detach(disk);
}

#[test]
fn without_a_page_for_segments_requests_are_shorter() {
    let (mut lab, disk) = plain();
    let buffer = disk.buffer(128 * 1024).expect("there are pages");
    buffer.write(0, &bytes(128 * 1024, 4));
    lab.world.fail(Fault::Page, 0);
    let (result, _) = lab.one(&disk, Operation::Write, 0, Some(buffer));
    assert_eq!(result, Ok(()));
    assert!(!lab.world.clear_fault(Fault::Page));
    let segments: Vec<_> = lab.back.asked.iter().map(|(_, count)| *count).collect();
    // The next one had a page.
    assert_eq!(segments, [11, 21]);
    assert_eq!(lab.back.disk[..128 * 1024], bytes(128 * 1024, 4));
    lab.detach(disk);
}
