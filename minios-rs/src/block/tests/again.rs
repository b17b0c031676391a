//! Backends that close, vanish, come back.

use super::*;

/// Requests that the backend has taken and not done: a write, a read of what is there, a flush.
fn under_way(lab: &mut Lab, disk: &Front<Domain>) {
    lab.back.disk[100 * SECTOR..116 * SECTOR].fill(5);
    lab.back.hold = true;
    let written = disk.buffer(200 * 1024).expect("there are pages");
    written.write(0, &bytes(200 * 1024, 3));
    let read = disk.buffer(16 * SECTOR);
    for (operation, sector, buffer, tag) in [
        (Operation::Write, 1000, Some(written), 1),
        (Operation::Read, 100, read, 2),
        (Operation::Flush, 0, None, 3),
    ] {
        assert!(disk.submit(operation, sector, buffer, tag).is_ok());
    }
    disk.notify();
    lab.back.step();
    assert_eq!(lab.back.held(), 4);
    // The first part of the write is done, and not known of.
    lab.back.serve_held(1);
}

fn are_done(lab: &mut Lab, disk: &Front<Domain>) {
    let done = lab.done(disk);
    let results: Vec<_> = done.iter().map(|done| (done.tag, done.result)).collect();
    assert_eq!(results, [(1, Ok(())), (2, Ok(())), (3, Ok(()))]);
    let place = 1000 * SECTOR..1000 * SECTOR + 200 * 1024;
    assert_eq!(lab.back.stable[place], bytes(200 * 1024, 3));
    let mut read = [0; 16 * SECTOR];
    let buffer = done[1].buffer.as_ref().expect("it comes back");
    buffer.read(0, &mut read);
    assert_eq!(read, [5; 16 * SECTOR]);
}

#[test]
fn requests_are_sent_again_to_a_backend_that_closes_and_waits_again() {
    let (mut lab, disk) = plain();
    under_way(&mut lab, &disk);
    lab.back.switch_to(XenbusState::CLOSING);
    // Another ring, and shorter requests.
    lab.back.offers.indirect = 0;
    lab.back.offers.ring_order = None;
    let order = alloc::format!("{}/max-ring-page-order", lab.back.node());
    lab.world.remove_node(&order);
    let segments = alloc::format!("{}/feature-max-indirect-segments", lab.back.node());
    lab.world.remove_node(&segments);
    lab.back.hold = false;
    lab.turns();
    assert_eq!(disk.state(), State::Open);
    assert_eq!(lab.back.ring_entries(), 32);
    assert_eq!(disk.counters().sent_again, 3);
    are_done(&mut lab, &disk);
    lab.detach(disk);
}

#[test]
fn requests_wait_for_a_backend_in_another_domain() {
    for still_mapped in [false, true] {
        let (mut lab, disk) = plain();
        under_way(&mut lab, &disk);
        let kept = disk.buffer(4096).expect("there are pages");
        kept.write(0, &[8; 4096]);
        // The old one is slow to let go of what it had.
        let access = crate::xen::Access::ReadWrite;
        let mut late: Vec<_> = match still_mapped {
            true => lab.world.domain(HOST).readable_grants(GUEST),
            false => Vec::new(),
        }
        .into_iter()
        .filter_map(|grant| lab.world.domain(HOST).map(GUEST, grant, access).ok())
        .collect();
        lab.back.vanish();
        lab.turns();
        assert_eq!(disk.state(), State::Connecting);
        // What is submitted meanwhile waits as well.
        assert!(disk.submit(Operation::Write, 10, Some(kept), 4).is_ok());
        assert!(disk.poll().is_none());
        lab.back.hold = false;
        lab.back.attach(OTHER);
        lab.turns();
        assert_eq!(disk.state(), State::Open);
        for page in &late {
            crate::xen::SharedPage::write(page, 0, &[0xee; 4096]);
        }
        let written = 10 * SECTOR..10 * SECTOR + 4096;
        let done = lab.done(&disk);
        let tags: Vec<_> = done.iter().map(|done| (done.tag, done.result)).collect();
        assert_eq!(tags, [(1, Ok(())), (2, Ok(())), (3, Ok(())), (4, Ok(()))]);
        assert_eq!(lab.back.disk[written], [8; 4096]);
        let place = 1000 * SECTOR..1000 * SECTOR + 200 * 1024;
        assert_eq!(lab.back.disk[place], bytes(200 * 1024, 3));
        let mut read = [0; 16 * SECTOR];
        let buffer = done[1].buffer.as_ref().expect("it comes back");
        buffer.read(0, &mut read);
        assert_eq!(read, [5; 16 * SECTOR]);
        assert_eq!(
            lab.world.domain(HOST).readable_grants(GUEST).len(),
            late.len()
        );
        late.clear();
        // Each grant looks after two of those that were kept.
        let mut more = Vec::new();
        for _ in 0..100 {
            more.extend(disk.buffer(512));
        }
        drop(more);
        drop(done);
        assert!(lab.world.domain(HOST).readable_grants(GUEST).is_empty());
        lab.detach(disk);
    }
}

#[test]
fn a_disk_that_is_taken_away_fails_what_is_under_way_and_all_that_comes() {
    let (mut lab, disk) = plain();
    under_way(&mut lab, &disk);
    let online = alloc::format!("{}/online", lab.back.node());
    lab.world.write_node(&online, "0");
    lab.back.switch_to(XenbusState::CLOSING);
    lab.turns();
    assert_eq!(disk.state(), State::Gone);
    let done = lab.done(&disk);
    let results: Vec<_> = done.iter().map(|done| done.result).collect();
    assert_eq!(results, [Err(Failure::Gone); 3]);
    drop(done);
    assert!(disk.submit(Operation::Flush, 0, None, 9).is_ok());
    let done = disk.poll().expect("it is done at once");
    assert_eq!((done.tag, done.result), (9, Err(Failure::Gone)));
    assert_eq!(lab.outcome.take(), Some(Ok(())));
    lab.drop_all(disk);
}

#[test]
fn a_disk_whose_own_directory_vanishes_is_gone() {
    let (mut lab, disk) = plain();
    under_way(&mut lab, &disk);
    lab.back.vanish();
    lab.turns();
    assert_eq!(disk.state(), State::Connecting);
    let node = lab.back.frontend_node().to_owned();
    lab.world.remove_node(&node);
    lab.turns();
    assert_eq!(disk.state(), State::Gone);
    assert_eq!(lab.outcome.take(), Some(Ok(())));
    assert_eq!(lab.done(&disk).len(), 3);
    lab.drop_all(disk);
}

#[test]
fn a_backend_that_ends_each_connection_is_tried_once_a_second() {
    let (mut lab, disk) = plain();
    for round in 1..4 {
        lab.back.switch_to(XenbusState::CLOSING);
        lab.turns();
        assert_eq!(disk.counters().connections, 1 + round);
    }
    // It closes while it is shaken hands with.
    let own = lab.back.node().to_owned();
    lab.back.switch_to(XenbusState::CLOSING);
    for _ in 0..2000 {
        lab.store.pump();
        lab.world.serve_xenstore();
        lab.store.pump();
        lab.executor.run_ready(Xen::now(&lab.guest));
        let next = match lab.back.state(lab.back.frontend_node()) {
            XenbusState::CLOSED | XenbusState::CLOSING => XenbusState::CLOSED,
            XenbusState::INITIALISING => XenbusState::INIT_WAIT,
            XenbusState::INITIALISED => XenbusState::CLOSING,
            _ => continue,
        };
        if next == XenbusState::CLOSED {
            lab.back.disconnect();
        }
        // What is written without need ends the frontend's transactions.
        if lab.back.state(&own) != next {
            lab.back.switch_to(next);
        }
    }
    assert!(lab.executor.next_deadline().is_some(), "it makes a pause");
    assert_eq!(disk.state(), State::Connecting);
    lab.world.advance(Duration::from_secs(1));
    lab.turns();
    assert_eq!(disk.state(), State::Open);
    lab.detach(disk);
}

#[test]
fn a_disk_that_is_smaller_when_it_comes_back_fails_what_is_beyond_its_end() {
    let (mut lab, disk) = plain();
    under_way(&mut lab, &disk);
    lab.back.switch_to(XenbusState::CLOSING);
    lab.back.disk.truncate(1000 * SECTOR);
    lab.back.stable.truncate(1000 * SECTOR);
    lab.back.hold = false;
    lab.turns();
    let done = lab.done(&disk);
    let results: Vec<_> = done.iter().map(|done| (done.tag, done.result)).collect();
    let beyond = Err(Failure::OutOfRange);
    assert_eq!(results, [(1, beyond), (2, Ok(())), (3, Ok(()))]);
    drop(done);
    lab.detach(disk);
}

#[test]
fn without_memory_for_a_new_backend_a_request_fails_and_keeps_its_buffer() {
    let (mut lab, disk) = plain();
    let buffer = disk.buffer(2 * PAGE_SIZE).expect("there are pages");
    buffer.write(0, &bytes(2 * PAGE_SIZE, 1));
    lab.back.vanish();
    lab.turns();
    lab.back.attach(OTHER);
    lab.turns();
    lab.world.fail(Fault::Grant, 1);
    let (result, buffer) = lab.one(&disk, Operation::Write, 0, Some(buffer));
    assert_eq!(result, Err(Failure::NoMemory));
    let (result, buffer) = lab.one(&disk, Operation::Write, 0, buffer);
    assert_eq!(result, Ok(()));
    assert_eq!(lab.back.disk[..2 * PAGE_SIZE], bytes(2 * PAGE_SIZE, 1));
    drop(buffer);
    lab.detach(disk);
}
