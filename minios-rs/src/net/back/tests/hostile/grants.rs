//! Grants that are none or none any more, buffers and events: what a frontend gives and takes back.

use super::*;

#[test]
fn a_guest_that_posts_no_buffers_is_told_of_by_name_and_holds_nobody_up() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    let third = lab.connect(THIRD);
    let mut through = 0;
    for round in 0..1000 {
        // One for the guest that stands still, one for another.
        assert!(lab.fronts[from].send(0, &[&frame_for(to, 1000, 1)], 0, &[]));
        assert!(lab.fronts[from].send(0, &[&frame_for(third, 1000, round as u8)], 0, &[]));
        relay(&mut lab.backs);
        through += lab.fronts[third].receive(0).len();
        assert_eq!(lab.fronts[from].answers(0).len(), 2);
        lab.fronts[third].post(0, 256);
    }
    assert_eq!(through, 1000);
    let counters = lab.backs[to].counters();
    assert_eq!(
        (counters.transmitted_frames, counters.refused_full),
        (256, 744)
    );
    assert_eq!(
        lab.backs[to].transmit_bytes(&[1; 60], PLAIN),
        Err(TransmitError::Full)
    );
    let since = lab.now;
    lab.advance(Duration::from_secs(3));
    assert_eq!(lab.backs[to].stalled_for(lab.now), lab.now.since(since));
    assert_eq!(lab.backs[from].stalled_for(lab.now), Duration::ZERO);
    // Asked for now: an event for the next buffer.
    assert_eq!(lab.backs[to].park(), Pending::Nothing);
    assert_eq!(lab.fronts[to].receive(0).len(), 256);
    lab.fronts[to].post(0, 256);
    assert_eq!(lab.backs[to].park(), Pending::Work);
    assert_eq!(lab.backs[to].stalled_for(lab.now), Duration::ZERO);
    assert_eq!(lab.backs[to].transmit_bytes(&[1; 60], PLAIN), Ok(()));
    lab.end();
}

#[test]
fn what_was_judged_is_what_arrives() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    let frame = frame_for(to, 200, 1);
    assert!(lab.fronts[from].send(0, &[&frame], 0, &[]));
    let received = lab.backs[from].receive().expect("a frame came");
    lab.fronts[from].scribble_sent(0, 0xee);
    let mut head = [0; HEAD_MAX];
    let read = received.read(0, &mut head);
    lab.backs[to]
        .transmit(
            &head[..read],
            heapless::Vec::<_, 1>::new().as_mut_view(),
            PLAIN,
        )
        .expect("there is room");
    lab.backs[from].recycle_frame(received);
    give_back(&mut lab.backs);
    assert_eq!(lab.fronts[to].receive(0)[0].bytes, frame);
    lab.end();
}

#[test]
fn grants_revoked_before_the_header_is_read_cost_the_frame() {
    let mut lab = Lab::new();
    let (number, to) = (lab.connect(GUEST), lab.connect(OTHER));
    assert!(lab.fronts[number].send(0, &[&frame_for(to, 100, 1)], 0, &[]));
    lab.fronts[number].revoke_sent(0);
    assert!(lab.fronts[number].send(0, &[&frame_for(to, 100, 2)], 0, &[]));
    relay(&mut lab.backs);
    assert_eq!(lab.fronts[to].receive(0).len(), 1);
    let statuses: Vec<i16> = lab.fronts[number]
        .answers(0)
        .iter()
        .map(|answer| answer.status)
        .collect();
    assert_eq!(statuses, [NETIF_RSP_ERROR, NETIF_RSP_OKAY]);
    assert_eq!(lab.backs[number].counters().dropped_grant, 1);
    lab.end();
}

#[test]
fn grants_revoked_in_flight_are_the_senders_fault_and_cost_the_receiver_nothing_else() {
    let mut lab = Lab::new();
    let (liar, to) = (lab.connect(GUEST), lab.connect(OTHER));
    let honest = lab.connect(THIRD);
    assert!(lab.fronts[liar].send(0, &[&frame_for(to, 3000, 1)], 0, &[]));
    assert!(lab.fronts[honest].send(0, &[&frame_for(to, 3000, 2)], 0, &[]));
    for number in [liar, honest] {
        let (head, mut slots) = take(&mut lab.backs[number]);
        lab.backs[to]
            .transmit(&head, slots.as_mut_view(), PLAIN)
            .expect("there is room");
    }
    lab.fronts[liar].revoke_sent(0);
    give_back(&mut lab.backs);
    let frames = lab.fronts[to].receive(0);
    assert_eq!(frames.len(), 2);
    assert!(frames[0].is_error && !frames[1].is_error);
    assert_eq!(frames[1].bytes, frame_for(to, 3000, 2));
    let counters = lab.backs[to].counters();
    assert_eq!(
        (
            counters.lost_sender,
            counters.lost_grant,
            counters.transmitted_frames
        ),
        (1, 0, 1)
    );
    assert_eq!(lab.backs[liar].counters().dropped_grant, 1);
    assert_eq!(lab.fronts[liar].answers(0)[0].status, NETIF_RSP_ERROR);
    assert_eq!(lab.fronts[honest].answers(0)[0].status, NETIF_RSP_OKAY);
    lab.end();
}

/// Sends a frame from guest to guest whose payload is yet to be copied.
fn pass(lab: &mut Lab, from: usize, to: usize) {
    assert!(lab.fronts[from].send(0, &[&frame_for(to, 1000, 1)], 0, &[]));
    let (head, mut slots) = take(&mut lab.backs[from]);
    let sent = lab.backs[to].transmit(&head, slots.as_mut_view(), PLAIN);
    assert_eq!(sent, Ok(()));
}

#[test]
fn however_many_copies_fail_no_more_than_eight_are_asked_after_at_a_time() {
    let mut lab = Lab::new();
    let (liar, to) = (lab.connect(GUEST), lab.connect(OTHER));
    for _ in 0..30 {
        pass(&mut lab, liar, to);
    }
    lab.fronts[liar].revoke_sent(0);
    let calls = lab.host.usage_hypercalls();
    give_back(&mut lab.backs);
    // 60 copies, and one event to each.
    assert_eq!(lab.host.usage_hypercalls() - calls, 2 + 8 + 2);
    let counters = lab.backs[to].counters();
    assert_eq!((counters.lost_sender, counters.lost_grant), (8, 22));
    assert_eq!(lab.backs[liar].counters().dropped_grant, 8);
    assert_eq!(lab.backs[to].state(), State::Open);
    assert_eq!(lab.fronts[liar].answers(0).len(), 30);
    lab.end();
}

#[test]
fn however_many_revoke_what_they_send_whoever_gets_it_keeps_its_connection() {
    let mut lab = Lab::new();
    let to = lab.connect(OTHER);
    let liars = [GUEST, THIRD, DomId(8)].map(|guest| lab.connect(guest));
    // No more of each than costs it its own.
    for _ in 0..GRANT_FAULTS_MAX / 16 {
        for liar in liars {
            (0..8).for_each(|_| pass(&mut lab, liar, to));
            lab.fronts[liar].revoke_sent(0);
            give_back(&mut lab.backs);
            let frames = lab.fronts[to].receive(0);
            assert!(frames.len() == 8 && frames.iter().all(|frame| frame.is_error));
            lab.fronts[to].post(0, 256);
            assert_eq!(lab.fronts[liar].answers(0).len(), 8);
        }
    }
    let lost = lab.backs[to].counters().lost_sender;
    assert!(lost > GRANT_FAULTS_MAX.into(), "{lost}");
    assert!(lab.backs.iter().all(Back::is_open));
    lab.end();
}

#[test]
fn buffers_that_cannot_be_written_are_the_receivers_fault() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    lab.fronts[to].revoke_posted(0);
    assert!(lab.fronts[from].send(0, &[&frame_for(to, 3000, 1)], 0, &[]));
    relay(&mut lab.backs);
    assert!(lab.fronts[to].receive(0)[0].is_error);
    assert_eq!(lab.backs[to].counters().lost_grant, 1);
    assert_eq!(lab.backs[from].counters().dropped_grant, 0);
    assert_eq!(lab.fronts[from].answers(0)[0].status, NETIF_RSP_OKAY);
    lab.end();
}

#[test]
fn who_never_stops_giving_bad_grants_loses_its_connection() {
    let mut lab = Lab::new();
    let (number, honest) = (lab.connect(GUEST), lab.connect(OTHER));
    for round in 0..GRANT_FAULTS_MAX + 300 {
        let (id, size) = (round as u16, 100);
        let request = TxRequest {
            gref: 7_000_000,
            id,
            size,
            ..TxRequest::default()
        };
        lab.fronts[number].push(0, &request);
        lab.fronts[number].show(0);
        relay(&mut lab.backs);
        lab.turn();
        if lab.backs.len() == 1 {
            break;
        }
        lab.fronts[number].answers(0);
    }
    lab.settle();
    assert_eq!(lab.backs.len(), 1);
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSING);
    assert_eq!(lab.fronts[honest].backend_state(), XenbusState::CONNECTED);
    lab.end();
}

#[test]
fn who_never_stops_posting_bad_buffers_loses_its_connection_and_its_sender_nothing() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.announce(OTHER, &[]));
    lab.fronts[to].publish(Shape::default(), &TAKES);
    lab.fronts[to].switch_to(XenbusState::CONNECTED);
    lab.settle();
    let frame = frame_for(to, 5000, 1);
    let slots: Vec<&[u8]> = frame.chunks(4096).collect();
    for round in 0..GRANT_FAULTS_MAX + 300 {
        // The header's is right, and that behind it, for the sender's pages alone, is none.
        assert_eq!(lab.fronts[to].post(0, 1), 1);
        let id = (2 * round as u16 + 1) % 256;
        let (pad, gref) = (0, 7_000_000);
        lab.fronts[to].post_raw(0, RxRequest { id, pad, gref });
        assert!(lab.fronts[from].send(0, &slots, 0, &[]));
        relay(&mut lab.backs);
        let answers = lab.fronts[from].answers(0);
        assert!(answers.iter().all(|answer| answer.status == NETIF_RSP_OKAY));
        lab.turn();
        if lab.backs.len() == 1 {
            break;
        }
        assert!(lab.fronts[to].receive(0)[0].is_error);
    }
    lab.settle();
    assert_eq!(lab.fronts[to].backend_state(), XenbusState::CLOSING);
    assert_eq!(lab.fronts[from].backend_state(), XenbusState::CONNECTED);
    assert_eq!(lab.backs[0].counters().dropped_grant, 0);
    lab.end();
}

#[test]
fn bad_buffers_are_held_against_who_posts_them_even_if_they_get_headers_only() {
    let mut lab = Lab::new();
    let number = lab.announce(OTHER, &[]);
    lab.fronts[number].publish(Shape::default(), &TAKES);
    lab.fronts[number].switch_to(XenbusState::CONNECTED);
    lab.settle();
    for round in 0..=GRANT_FAULTS_MAX {
        assert_eq!(lab.backs[0].state(), State::Open, "{round}");
        let (pad, gref) = (0, 7_000_000);
        let id = round as u16 % 256;
        lab.fronts[number].post_raw(0, RxRequest { id, pad, gref });
        assert_eq!(lab.backs[0].transmit_bytes(&[1; 60], PLAIN), Ok(()));
        lab.backs[0].flush();
        let got = lab.fronts[number].receive(0);
        assert!(got.iter().all(|frame| frame.is_error));
    }
    assert_eq!(lab.backs[0].state(), State::Broken(Breach::Grants));
    let lost = lab.backs[0].counters().lost_grant;
    assert_eq!(lost, u64::from(GRANT_FAULTS_MAX) + 1);
    lab.end();
}

#[test]
fn a_guest_stands_still_as_long_as_it_posts_nothing_and_no_longer() {
    let mut lab = Lab::new();
    let number = lab.announce(OTHER, &[]);
    lab.fronts[number].publish(Shape::default(), &TAKES);
    lab.fronts[number].post(0, 1);
    lab.fronts[number].switch_to(XenbusState::CONNECTED);
    lab.settle();
    let second = Duration::from_secs(1);
    let offload = Offload {
        checksum: Checksum::Blank,
        gso: Some(Gso {
            kind: GsoKind::TcpV4,
            size: 1448,
        }),
    };
    let send = |lab: &mut Lab| lab.backs[0].transmit_bytes(&[1; 9000], offload);
    // However often it is tried.
    for seconds in 0..4 {
        assert_eq!(send(&mut lab), Err(TransmitError::Full));
        assert_eq!(lab.backs[0].stalled_for(lab.now), second * seconds);
        lab.advance(second);
    }
    // One more, which is still too few: it does not stand still.
    lab.fronts[number].post(0, 1);
    assert_eq!(send(&mut lab), Err(TransmitError::Full));
    assert_eq!(lab.backs[0].stalled_for(lab.now), Duration::ZERO);
    lab.advance(second);
    assert_eq!(lab.backs[0].stalled_for(lab.now), second);
    lab.fronts[number].post(0, 2);
    assert_eq!(send(&mut lab), Ok(()));
    assert_eq!(lab.backs[0].stalled_for(lab.now), Duration::ZERO);
    lab.end();
}

#[test]
fn a_grant_that_is_back_when_it_is_asked_after_is_nobodys_fault() {
    // A sender that takes its grants away and gives them again, as fast as it can, does not have its
    // receiver lose the connection.
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    for _ in 0..=GRANT_FAULTS_MAX {
        pass(&mut lab, from, to);
        // The header's copy comes first.
        lab.world.fail(Fault::Copy, 1);
        give_back(&mut lab.backs);
        assert!(lab.fronts[to].receive(0)[0].is_error);
        lab.fronts[to].post(0, 256);
        assert_eq!(lab.fronts[from].answers(0).len(), 1);
    }
    for number in [from, to] {
        assert_eq!(lab.backs[number].state(), State::Open);
    }
    let lost = lab.backs[to].counters().lost_grant;
    assert_eq!(lost, u64::from(GRANT_FAULTS_MAX) + 1);
    lab.end();
}

#[test]
fn a_copy_that_is_busy_is_tried_again_and_not_for_ever() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    assert!(lab.fronts[number].send(0, &[&[1; 60]], 0, &[]));
    lab.world.fail(Fault::CopyBusy, 0);
    let frame = lab.backs[0].receive().expect("the second try is right");
    lab.backs[0].recycle_frame(frame);
    assert!(lab.fronts[number].send(0, &[&[1; 60]], 0, &[]));
    lab.world.fail(Fault::Copy, 0);
    assert!(lab.backs[0].receive().is_none());
    assert_eq!(lab.backs[0].counters().dropped_grant, 1);
    lab.end();
}

#[test]
fn events_without_end_cost_no_memory() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    let before = lab.host.usage();
    for round in 0..2000_u32 {
        lab.fronts[number].notify(0);
        lab.fronts[number].write("state", if round % 2 == 0 { "4" } else { "04" });
        lab.turn();
    }
    assert_eq!(lab.host.usage(), before);
    lab.end();
}
