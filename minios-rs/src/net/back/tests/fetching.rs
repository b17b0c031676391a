//! Slices that are lent on, and whose they are.

use super::*;

#[test]
fn fetched_slices_can_be_lent_and_the_guest_has_its_pages_back() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    let frame = bytes(3 * 4096, 4);
    let slots: Vec<&[u8]> = frame.chunks(4096).collect();
    for _ in 0..200 {
        assert!(lab.fronts[number].send(0, &slots, 0, &[]));
        let mut received = lab.backs[0].receive().expect("a frame came");
        assert_eq!(lab.backs[0].fetch(received.slots.as_mut_view()), Ok(()));
        assert!(
            received
                .slots
                .iter()
                .all(|slice| slice.buffer.is_lendable())
        );
        let mut read = vec![0; frame.len()];
        assert_eq!(received.read(0, &mut read), frame.len());
        assert_eq!(read, frame);
        lab.backs[0].flush();
        assert_eq!(
            lab.fronts[number].answers(0).len(),
            3,
            "before ours are back"
        );
        lab.backs[0].recycle_frame(received);
    }
    assert!(lab.backs[0].counters().fetched_bytes == 200 * 3 * 4096);
    // No more pages than are wanted at a time.
    assert!(lab.host.usage().pages <= lab.before.pages + 16 + 4 + 4);
    // A page that is gone leaves the frame as it was.
    assert!(lab.fronts[number].send(0, &slots, 0, &[]));
    let mut received = lab.backs[0].receive().expect("a frame came");
    lab.fronts[number].revoke_sent(0);
    assert_eq!(
        lab.backs[0].fetch(received.slots.as_mut_view()),
        Err(TransmitError::Invalid)
    );
    assert!(
        received
            .slots
            .iter()
            .skip(1)
            .all(|slice| !slice.buffer.is_lendable())
    );
    lab.backs[0].recycle_frame(received);
    assert_eq!(lab.backs[0].counters().dropped_grant, 1, "one frame");
    lab.backs[0].flush();
    let answers = lab.fronts[number].answers(0);
    assert!(
        answers
            .iter()
            .all(|answer| answer.status == NETIF_RSP_ERROR)
    );
    lab.end();
}

#[test]
fn who_never_stops_revoking_what_is_to_be_fetched_loses_its_connection() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    for _ in 0..=GRANT_FAULTS_MAX {
        assert!(lab.fronts[number].send(0, &[&[1; 1000]], 0, &[]));
        let mut received = lab.backs[0].receive().expect("a frame came");
        lab.fronts[number].revoke_sent(0);
        let fetched = lab.backs[0].fetch(received.slots.as_mut_view());
        assert_eq!(fetched, Err(TransmitError::Invalid));
        lab.backs[0].recycle_frame(received);
        lab.backs[0].flush();
        assert_eq!(lab.fronts[number].answers(0).len(), 1);
    }
    assert!(lab.backs[0].receive().is_none());
    assert_eq!(lab.backs[0].state(), State::Broken(Breach::Grants));
    lab.end();
}

#[test]
fn no_more_pages_are_fetched_into_than_a_vif_may_have() {
    let mut lab = Lab::with(Config {
        fetch_pages_max: 20,
        ..Config::default()
    });
    let number = lab.connect(GUEST);
    let frame = bytes(9 * 4096, 4);
    let slots: Vec<&[u8]> = frame.chunks(4096).collect();
    let mut held = Vec::new();
    for fits in [true, true, false] {
        assert!(lab.fronts[number].send(0, &slots, 0, &[]));
        let mut received = lab.backs[0].receive().expect("a frame came");
        // What is behind the header in its slot is a slice as well.
        assert_eq!(received.slots.len(), 10);
        let fetched = lab.backs[0].fetch(received.slots.as_mut_view());
        let expected = if fits {
            Ok(())
        } else {
            Err(TransmitError::Full)
        };
        assert_eq!(fetched, expected);
        held.push(received);
    }
    assert!(!lab.backs[0].has_room_to_fetch());
    let pages = lab.host.usage().pages;
    for received in held {
        lab.backs[0].recycle_frame(received);
    }
    assert!(lab.backs[0].has_room_to_fetch());
    assert_eq!(lab.host.usage().pages, pages, "they are kept");
    lab.end();
}

#[test]
fn pages_that_only_many_frames_at_once_took_are_given_back() {
    let mut lab = Lab::with(Config {
        fetch_pages_max: 100,
        ..Config::default()
    });
    let number = lab.connect(GUEST);
    let frame = bytes(9 * 4096, 4);
    let slots: Vec<&[u8]> = frame.chunks(4096).collect();
    let before = lab.host.usage().pages;
    for _ in 0..3 {
        let mut held = Vec::new();
        for _ in 0..10 {
            assert!(lab.fronts[number].send(0, &slots, 0, &[]));
            let mut received = lab.backs[0].receive().expect("a frame came");
            assert_eq!(lab.backs[0].fetch(received.slots.as_mut_view()), Ok(()));
            held.push(received);
        }
        assert_eq!(lab.host.usage().pages, before + 100);
        for received in held {
            lab.backs[0].recycle_frame(received);
        }
        assert_eq!(lab.host.usage().pages, before + 64);
        lab.backs[0].flush();
        assert_eq!(lab.fronts[number].answers(0).len(), 90);
    }
    lab.end();
}

#[test]
fn no_more_slices_are_fetched_or_sent_at_a_time_than_a_frame_has() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    for (count, taken) in [
        (FRAME_SLOTS_MAX, Ok(())),
        (FRAME_SLOTS_MAX + 1, Err(TransmitError::Size)),
    ] {
        let mut slots: heapless::Vec<_, 32> = heapless::Vec::new();
        for _ in 0..count {
            assert!(lab.fronts[number].send(0, &[&[1; 1000]], 0, &[]));
            slots.extend(take(&mut lab.backs[0]).1);
        }
        assert_eq!(lab.backs[0].fetch(slots.as_mut_view()), taken);
        let sent = lab.backs[0].transmit(&[1; 60], slots.as_mut_view(), PLAIN);
        assert_eq!(sent, taken);
        for slice in slots {
            lab.backs[0].recycle(slice.buffer);
        }
        give_back(&mut lab.backs);
        assert_eq!(lab.fronts[number].answers(0).len(), count);
    }
    lab.end();
}

#[test]
fn only_ones_own_frames_can_be_fetched() {
    let mut lab = Lab::new();
    let (from, other) = (lab.connect(GUEST), lab.connect(OTHER));
    assert!(lab.fronts[from].send(0, &[&[1; 1000]], 0, &[]));
    let mut frame = lab.backs[from].receive().expect("a frame came");
    let fetched = lab.backs[other].fetch(frame.slots.as_mut_view());
    assert_eq!(fetched, Err(TransmitError::Invalid));
    assert_eq!(lab.backs[other].counters().foreign_tokens, 0);
    lab.backs[from].recycle_frame(frame);
    lab.backs[from].flush();
    assert_eq!(lab.fronts[from].answers(0).len(), 1);
    lab.end();
}

#[test]
fn a_page_that_cannot_be_fetched_is_held_against_its_own_frame_alone() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    let mut slots: heapless::Vec<_, 2> = heapless::Vec::new();
    for _ in 0..2 {
        assert!(lab.fronts[number].send(0, &[&[1; 1000]], 0, &[]));
        slots.extend(take(&mut lab.backs[0]).1);
    }
    lab.world.fail(Fault::Copy, 1);
    let fetched = lab.backs[0].fetch(slots.as_mut_view());
    assert_eq!(fetched, Err(TransmitError::Invalid));
    for slice in slots {
        lab.backs[0].recycle(slice.buffer);
    }
    lab.backs[0].flush();
    let answers = lab.fronts[number].answers(0);
    let statuses: Vec<i16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [NETIF_RSP_OKAY, NETIF_RSP_ERROR]);
    assert_eq!(lab.backs[0].counters().dropped_grant, 1);
    lab.end();
}

#[test]
fn nothing_of_a_closed_vif_is_lost_that_belongs_to_another() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    assert!(lab.fronts[from].send(0, &[&frame_for(to, 3000, 1)], 0, &[]));
    let mut frame = lab.backs[from].receive().expect("a frame came");
    let first = frame.slots.remove(0);
    lab.backs[from].recycle(first.buffer);
    lab.backs[to]
        .transmit(&[1; 256], frame.slots.as_mut_view(), PLAIN)
        .expect("there is room");
    lab.backs[to].close();
    assert_eq!(lab.host.usage().mapped, 2);
    let buffer = lab.backs[to].completed().expect("it comes back uncopied");
    assert_eq!(buffer.owner(), lab.backs[from].id());
    lab.backs[from].recycle(buffer);
    lab.backs[from].flush();
    assert_eq!(lab.fronts[from].answers(0).len(), 1);
    lab.end();
}

#[test]
fn a_token_of_another_interface_is_counted_and_answers_nothing() {
    let mut lab = Lab::new();
    let (from, other) = (lab.connect(GUEST), lab.connect(OTHER));
    assert!(lab.fronts[from].send(0, &[&[1; 60]], 0, &[]));
    let frame = lab.backs[from].receive().expect("a frame came");
    lab.backs[other].recycle_frame(frame);
    assert_eq!(lab.backs[other].counters().foreign_tokens, 1);
    assert_eq!(lab.backs[from].counters().unanswered, 1);
    lab.end();
}
