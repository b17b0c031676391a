//! Frames from guest to guest, who is answered when, and who is woken.

use super::*;

#[test]
fn a_short_frame_is_private_at_once_and_its_sender_is_answered() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    let frame = bytes(60, 1);
    assert!(lab.fronts[number].send(0, &[&frame], NETTXF_DATA_VALIDATED, &[]));
    let received = lab.backs[0].receive().expect("a frame came");
    // Whatever the guest does to its page now, it is too late.
    lab.fronts[number].scribble_sent(0, 0xee);
    let mut read = [0; HEAD_MAX];
    assert_eq!(received.read(0, &mut read), 60);
    assert_eq!(read[..60], frame);
    assert_eq!((received.len, received.checksum), (60, Checksum::Validated));
    assert!(!received.slots[0].buffer.is_lendable());
    assert_eq!(lab.backs[0].counters().unanswered, 1);
    lab.backs[0].recycle_frame(received);
    assert!(
        lab.fronts[number].answers(0).is_empty(),
        "not before the flush"
    );
    lab.backs[0].flush();
    let answers = lab.fronts[number].answers(0);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].status, NETIF_RSP_OKAY);
    lab.end();
}

#[test]
fn what_a_guest_says_of_a_checksum_is_passed_on_and_its_bytes_are_counted() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    let mut total = 0;
    for (flags, checksum) in [
        (0, Checksum::Unknown),
        (NETTXF_DATA_VALIDATED, Checksum::Validated),
        (NETTXF_CSUM_BLANK, Checksum::Blank),
        (NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED, Checksum::Blank),
    ] {
        assert!(lab.fronts[number].send(0, &[&bytes(1000, 1)], flags, &[]));
        let received = lab.backs[0].receive().expect("a frame came");
        assert_eq!((received.len, received.checksum), (1000, checksum));
        lab.backs[0].recycle_frame(received);
        total += 1000;
        assert_eq!(lab.backs[0].counters().received_bytes, total);
    }
    lab.end();
}

#[test]
fn frames_go_from_guest_to_guest_and_the_payload_is_copied_once() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    let frame = frame_for(to, 1514, 7);
    assert!(lab.fronts[from].send(0, &[&frame], NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED, &[]));
    relay(&mut lab.backs);
    let frames = lab.fronts[to].receive(0);
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0].bytes, frame);
    assert_eq!(frames[0].flags, NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED);
    let answers = lab.fronts[from].answers(0);
    assert_eq!((answers.len(), answers[0].status), (1, NETIF_RSP_OKAY));
    let counters = lab.backs[to].counters();
    assert_eq!(counters.granted_bytes, (1514 - HEAD_MAX) as u64);
    // All of it to the guest, and the head before that to us.
    assert_eq!(
        lab.host.hypercalls().copied_bytes(),
        (1514 + HEAD_MAX) as u64
    );
    assert_eq!((counters.copies, lab.backs[from].counters().copies), (2, 1));
    assert_eq!(
        (counters.transmitted_frames, counters.transmitted_bytes),
        (1, 1514)
    );
    lab.end();
}

#[test]
fn the_sender_is_answered_only_after_the_copy() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    assert!(lab.fronts[from].send(0, &[&frame_for(to, 4000, 3)], 0, &[]));
    let mut frame = lab.backs[from].receive().expect("a frame came");
    let first = frame.slots.remove(0);
    lab.backs[from].recycle(first.buffer);
    lab.backs[to]
        .transmit(&[to as u8; 256], frame.slots.as_mut_view(), PLAIN)
        .expect("there is room");
    lab.backs[from].flush();
    assert!(
        lab.fronts[from].answers(0).is_empty(),
        "the copy is still to come"
    );
    assert!(lab.fronts[to].receive(0).is_empty());
    give_back(&mut lab.backs);
    assert_eq!(lab.fronts[from].answers(0).len(), 1);
    assert_eq!(lab.fronts[to].receive(0)[0].bytes.len(), 4000);
    lab.end();
}

#[test]
fn a_gso_frame_of_64_kib_goes_through_in_chains_of_both_kinds() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    let frame = frame_for(to, 65_535, 9);
    let (head, payload) = frame.split_at(66);
    let mut slots = vec![head];
    slots.extend(payload.chunks(4096));
    assert_eq!(slots.len(), 17);
    for _ in 0..40 {
        assert!(lab.fronts[from].send(0, &slots, NETTXF_CSUM_BLANK, &[gso_info(1448)]));
        relay(&mut lab.backs);
        let frames = lab.fronts[to].receive(0);
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].bytes, frame);
        assert_eq!(frames[0].gso, Some((XEN_NETIF_GSO_TYPE_TCPV4, 1448)));
        assert_eq!(
            frames[0].slots, 17,
            "the header's, and one for each page of the payload"
        );
        let answers = lab.fronts[from].answers(0);
        let nulls = answers
            .iter()
            .filter(|answer| answer.status == NETIF_RSP_NULL);
        assert_eq!((answers.len(), nulls.count()), (18, 1));
        assert_eq!(answers[1].status, NETIF_RSP_NULL, "in its place");
        assert_eq!(lab.fronts[to].post(0, 256), 18);
    }
    // Headers lie in two slots; no page is copied in two parts.
    let copies = [from, to].map(|number| lab.backs[number].counters().copies);
    assert_eq!(copies, [40 * 2, 40 * 17]);
    lab.end();
}

#[test]
fn a_slice_that_is_empty_or_reaches_beyond_its_page_is_refused() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    assert!(lab.fronts[from].send(0, &[&frame_for(to, 1000, 1)], 0, &[]));
    let (head, mut slots) = take(&mut lab.backs[from]);
    let refused = Err(TransmitError::Invalid);
    for (offset, len, sent) in [
        (0, 0, refused),
        (4096, 1, refused),
        (4000, 97, refused),
        (0, 4097, refused),
        (4000, 96, Ok(())),
    ] {
        (slots[0].offset, slots[0].len) = (offset, len);
        let tail = slots.as_mut_view();
        assert_eq!(lab.backs[to].transmit(&head, tail, PLAIN), sent);
    }
    give_back(&mut lab.backs);
    assert_eq!(lab.fronts[to].receive(0)[0].bytes.len(), HEAD_MAX + 96);
    assert_eq!(lab.fronts[from].answers(0).len(), 1);
    lab.end();
}

#[test]
fn a_guest_that_controls_multicast_gets_the_groups_it_joined_and_no_other() {
    let mut lab = Lab::with(Config {
        multicast: MulticastControl::Offered,
        ..Config::default()
    });
    let number = lab.announce(GUEST, &[]);
    assert_eq!(
        lab.node(number, "feature-multicast-control").as_deref(),
        Some("1")
    );
    lab.fronts[number].write("request-multicast-control", "1");
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    let ask = |lab: &mut Lab, kind, group: u8| {
        let info = ExtraInfo {
            kind,
            gso_size: u16::from_le_bytes([1, 0]),
            gso_type: 0x5e,
            gso_features: u16::from_le_bytes([0, group]),
            ..ExtraInfo::default()
        };
        // Such a request carries nothing.
        let request = TxRequest {
            flags: NETTXF_EXTRA_INFO,
            size: 0,
            ..lab.fronts[number].requests(0, &[&[]], 0, 0)[0]
        };
        lab.fronts[number].push(0, &request);
        lab.fronts[number].push_extra(0, info);
        lab.fronts[number].show(0);
        assert!(lab.backs[0].receive().is_none(), "no frame");
        lab.backs[0].flush();
        let answers = lab.fronts[number].answers(0);
        let statuses: Vec<i16> = answers.iter().map(|answer| answer.status).collect();
        assert_eq!(statuses.len(), 2);
        assert_eq!(statuses[1], NETIF_RSP_NULL);
        statuses[0]
    };
    let send = |lab: &mut Lab, destination: [u8; 6]| {
        let mut frame = vec![7; 60];
        frame[..6].copy_from_slice(&destination);
        let sent = lab.backs[0].transmit_bytes(&frame, PLAIN);
        lab.backs[0].flush();
        let received = lab.fronts[number].receive(0).len();
        assert_eq!(received, usize::from(sent.is_ok()));
        sent
    };
    let group = |group| [1, 0, 0x5e, 0, 0, group];
    assert_eq!(send(&mut lab, group(251)), Err(TransmitError::NotWanted));
    assert_eq!(send(&mut lab, [0xff; 6]), Ok(()));
    assert_eq!(send(&mut lab, [0, 0x16, 0x3e, 0, 5, 0]), Ok(()));
    let (join, leave) = (
        XEN_NETIF_EXTRA_TYPE_MCAST_ADD,
        XEN_NETIF_EXTRA_TYPE_MCAST_DEL,
    );
    assert_eq!(ask(&mut lab, join, 251), NETIF_RSP_OKAY);
    assert_eq!(send(&mut lab, group(251)), Ok(()));
    assert_eq!(send(&mut lab, group(250)), Err(TransmitError::NotWanted));
    assert_eq!(ask(&mut lab, leave, 251), NETIF_RSP_OKAY);
    assert_eq!(send(&mut lab, group(251)), Err(TransmitError::NotWanted));
    assert_eq!(lab.backs[0].counters().refused_multicast, 3);
    for other in 0..GROUPS_MAX {
        assert_eq!(ask(&mut lab, join, other as u8), NETIF_RSP_OKAY);
    }
    assert_eq!(ask(&mut lab, join, 251), NETIF_RSP_ERROR, "no room");
    // Who does not ask for it gets everything, joined or not.
    let other = lab.connect(OTHER);
    assert_eq!(other, 1);
    let mut frame = vec![7; 60];
    frame[..6].copy_from_slice(&group(9));
    assert_eq!(lab.backs[1].transmit_bytes(&frame, PLAIN), Ok(()));
    lab.end();
}

#[test]
fn a_batch_costs_one_event_and_one_hypercall_for_32_copies() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    // The longer ones fill all the room that headers have.
    for len in [64, HEAD_MAX] {
        for _ in 0..64 {
            assert!(lab.fronts[from].send(0, &[&frame_for(to, len, 1)], 0, &[]));
        }
        let events = lab.fronts[to].events_received(0);
        let calls = lab.host.usage_hypercalls();
        relay(&mut lab.backs);
        assert_eq!(lab.fronts[to].receive(0).len(), 64);
        assert_eq!(lab.fronts[to].events_received(0), events + 1);
        // Two in, two out, one event each way: 6 for 64 packets.
        assert_eq!(lab.host.usage_hypercalls() - calls, 6, "{len}");
        assert_eq!(lab.fronts[from].answers(0).len(), 64);
        for back in &mut lab.backs {
            let _ = back.park();
        }
    }
    lab.end();
}

#[test]
fn long_frames_share_their_hypercalls_as_well() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    let frame = frame_for(to, 49_000, 1);
    let slots: Vec<&[u8]> = frame.chunks(4096).collect();
    for _ in 0..5 {
        assert!(lab.fronts[from].send(0, &slots, NETTXF_CSUM_BLANK, &[gso_info(1448)]));
    }
    let calls = lab.host.usage_hypercalls();
    relay(&mut lab.backs);
    assert_eq!(lab.fronts[to].receive(0).len(), 5);
    let copies = lab.backs[to].counters().copies;
    assert!(!copies.is_multiple_of(5 * 32), "some share one");
    // One in, and one event each way.
    let calls = lab.host.usage_hypercalls() - calls;
    assert_eq!(calls, 3 + copies.div_ceil(32));
    lab.fronts[from].answers(0);
    lab.end();
}

#[test]
fn headers_of_any_length_wait_side_by_side_to_be_copied() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    for len in [4096, 2048, 4095, 2049, 1365, 1366, 256, 100] {
        let frames: Vec<_> = (0..40).map(|round| bytes(len, round)).collect();
        for frame in &frames {
            assert_eq!(lab.backs[0].transmit_bytes(frame, PLAIN), Ok(()), "{len}");
        }
        lab.backs[0].flush();
        let got = lab.fronts[number].receive(0).into_iter();
        let got: Vec<_> = got.map(|frame| frame.bytes).collect();
        assert!(got == frames, "{len}");
        lab.fronts[number].post(0, 256);
    }
    lab.end();
}

#[test]
fn headers_of_all_that_a_ring_holds_lie_apart() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    let frames: Vec<_> = (0..=255).map(|seed| bytes(HEAD_MAX, seed)).collect();
    for frame in &frames {
        assert!(lab.fronts[number].send(0, &[frame], 0, &[]));
    }
    let received: Vec<_> = core::iter::from_fn(|| lab.backs[0].receive()).collect();
    assert_eq!(received.len(), frames.len());
    for (received, frame) in received.into_iter().zip(&frames) {
        let mut head = [0; HEAD_MAX];
        received.read(0, &mut head);
        assert_eq!(&head, &frame[..]);
        lab.backs[0].recycle_frame(received);
    }
    lab.end();
}

#[test]
fn so_many_buffers_of_others_are_held_and_no_more_until_they_are_taken_back() {
    let mut lab = Lab::new();
    let to = lab.connect(OTHER);
    let senders = [GUEST, THIRD, DomId(8)].map(|guest| lab.connect(guest));
    let mut held = 0;
    for sender in senders {
        // A header in three slots, and one slice in each of the others.
        for _ in 0..256 / FRAME_SLOTS_MAX {
            assert!(lab.fronts[sender].send(0, &[&[1; 100][..]; FRAME_SLOTS_MAX], 0, &[]));
            let (head, mut slots) = take(&mut lab.backs[sender]);
            let count = slots.len();
            let sent = lab.backs[to].transmit(&head, slots.as_mut_view(), PLAIN);
            if held + count <= 512 {
                assert_eq!((sent, slots.len()), (Ok(()), 0));
                held += count;
            } else {
                assert_eq!((sent, slots.len()), (Err(TransmitError::Full), count));
            }
            for slice in slots {
                lab.backs[sender].recycle(slice.buffer);
            }
        }
    }
    assert_eq!(held, 512);
    give_back(&mut lab.backs);
    assert_eq!(lab.backs[to].transmit_bytes(&[1; 60], PLAIN), Ok(()));
    for sender in senders {
        let requests = 256 / FRAME_SLOTS_MAX * FRAME_SLOTS_MAX;
        assert_eq!(lab.fronts[sender].answers(0).len(), requests);
    }
    lab.end();
}

#[test]
fn whoever_can_wait_is_woken_by_the_frame_that_it_named_or_by_half_a_ring() {
    for (slots, woken_by) in [(0, 1), (1, 1), (2, 2), (8, 8), (129, 129), (1000, 129)] {
        let mut lab = Lab::new();
        let number = lab.connect(GUEST);
        let port = lab.backs[0].ports().next().expect("it has one");
        let wake = Wake::Slots(slots);
        assert_eq!(lab.backs[0].park_until(wake), Pending::Nothing);
        let before = lab.host.events_received(port);
        for sent in 1..=woken_by {
            assert_eq!(lab.host.events_received(port), before, "{slots} {sent}");
            assert!(lab.fronts[number].send(0, &[&[1; 60]], 0, &[]));
        }
        assert_eq!(lab.host.events_received(port), before + 1, "{slots}");
        assert_eq!(lab.backs[0].park_until(wake), Pending::Work);
        lab.end();
    }
}

#[test]
fn nobody_is_notified_who_did_not_ask() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    lab.fronts[number].receive(0);
    let events = lab.fronts[number].events_received(0);
    lab.backs[0]
        .transmit_bytes(&[1; 60], PLAIN)
        .expect("there is room");
    lab.backs[0].flush();
    assert_eq!(lab.fronts[number].events_received(0), events + 1);
    // It has not asked again.
    lab.backs[0]
        .transmit_bytes(&[1; 60], PLAIN)
        .expect("there is room");
    lab.backs[0].flush();
    assert_eq!(lab.fronts[number].events_received(0), events + 1);
    // And the frontend sends none while we look.
    assert_eq!(lab.backs[0].park(), Pending::Nothing);
    assert!(lab.fronts[number].send(0, &[&[1; 60]], 0, &[]));
    assert_eq!(lab.backs[0].park(), Pending::Work);
    lab.end();
}

#[test]
fn a_guest_gets_no_byte_that_was_not_sent_to_it() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    let third = lab.connect(THIRD);
    // Secrets go through the same staging pages and header slots.
    for _ in 0..200 {
        let mut secret = vec![0x55; 4000];
        secret[0] = third as u8;
        assert!(lab.fronts[from].send(0, &[&secret], 0, &[]));
        relay(&mut lab.backs);
        lab.fronts[third].receive(0);
        lab.fronts[third].post(0, 256);
        lab.fronts[from].answers(0);
        let mut frame = vec![0xaa; 70];
        frame[0] = to as u8;
        assert!(lab.fronts[from].send(0, &[&frame], 0, &[]));
        relay(&mut lab.backs);
        lab.fronts[from].answers(0);
        for buffer in lab.fronts[to].posted_bytes(0) {
            assert!(!buffer.contains(&0x55), "a secret in a buffer");
            let written = buffer
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |at| at + 1);
            assert!(written <= 70);
        }
        assert_eq!(lab.fronts[to].receive(0)[0].bytes, frame);
        lab.fronts[to].post(0, 256);
    }
    // None of our own pages can be read by any guest.
    assert_eq!(lab.host.usage().grants, lab.before.grants);
    lab.end();
}

#[test]
fn a_rate_holds_and_what_waits_for_it_is_not_lost() {
    let mut lab = Lab::new();
    let number = lab.announce(GUEST, &[("rate", "200000,50000")]);
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    let mut through = 0;
    for _ in 0..250 {
        assert!(lab.fronts[number].send(0, &[&[1; 1000]], 0, &[]));
    }
    for _ in 0..20 {
        while let Some(frame) = lab.backs[0].receive() {
            through += 1;
            lab.backs[0].recycle_frame(frame);
        }
        if through == 200 {
            break;
        }
    }
    assert_eq!((through, lab.backs[0].receive().is_none()), (200, true));
    assert_eq!(lab.backs[0].next_credit(), Some(Instant(50_000_000)));
    assert_eq!(lab.backs[0].park(), Pending::Nothing, "its time is known");
    lab.advance(Duration::from_millis(50));
    while let Some(frame) = lab.backs[0].receive() {
        through += 1;
        lab.backs[0].recycle_frame(frame);
    }
    assert_eq!(through, 250);
    lab.end();
}

/// Frames of 1,000 bytes that get through of as many as its rings hold.
fn passed(lab: &mut Lab, number: usize) -> usize {
    let queues = lab.backs[0].queues();
    for queue in 0..queues {
        while lab.fronts[number].send(queue, &[&[1; 1000]], 0, &[]) {}
    }
    let mut frames = 0;
    while let Some(frame) = lab.backs[0].receive() {
        frames += 1;
        lab.backs[0].recycle_frame(frame);
    }
    lab.backs[0].flush();
    (0..queues).for_each(|queue| drop(lab.fronts[number].answers(queue)));
    frames
}

#[test]
fn each_queue_has_its_share_of_the_rate() {
    let mut lab = Lab::with(Config {
        queues_max: 4,
        ..Config::default()
    });
    let number = lab.announce(GUEST, &[("rate", "800000,50000")]);
    lab.fronts[number].connect(Shape {
        queues: 4,
        channels: 1,
    });
    lab.settle();
    assert_eq!(passed(&mut lab, number), 800);
    let node = format!("{}/rate", lab.fronts[number].backend_node());
    lab.world.write_node(&node, "600000,50000");
    lab.settle();
    assert_eq!(lab.backs[0].park(), Pending::Work);
    lab.advance(Duration::from_millis(50));
    assert_eq!(passed(&mut lab, number), 600);
    lab.end();
}

#[test]
fn flows_are_spread_over_the_queues_and_each_keeps_to_its_own() {
    let mut lab = Lab::with(Config {
        queues_max: 4,
        event_channels: EventChannels::Split,
        ..Config::default()
    });
    let number = lab.announce(GUEST, &[]);
    lab.fronts[number].connect(Shape {
        queues: 4,
        channels: 2,
    });
    lab.settle();
    let mut queues = Vec::new();
    for port in 0..32 {
        // Addresses and ports of IPv4, and frames of one flow that differ in all else.
        for other in [7, 9] {
            let mut frame = vec![other; 60];
            frame[26..38].fill(0);
            frame[35] = port;
            let sent = lab.backs[0].transmit_bytes(&frame, PLAIN);
            assert_eq!(sent, Ok(()));
        }
        lab.backs[0].flush();
        let got = [0, 1, 2, 3].map(|queue| lab.fronts[number].receive(queue).len());
        let at = got.iter().position(|count| *count == 2);
        queues.push(at.expect("both came by the same queue"));
    }
    for queue in 0..4 {
        let flows = queues.iter().filter(|other| **other == queue).count();
        assert!(flows >= 4, "{queues:?}");
    }
    lab.end();
}

#[test]
fn every_event_that_is_sent_is_counted() {
    let mut lab = Lab::with(Config {
        event_channels: EventChannels::Split,
        ..Config::default()
    });
    let number = lab.announce(GUEST, &[]);
    lab.fronts[number].connect(Shape {
        queues: 1,
        channels: 2,
    });
    lab.settle();
    let mut expected = 0;
    for (answers, sends) in [(true, false), (false, true), (true, true), (false, false)] {
        // It asks for both.
        lab.fronts[number].answers(0);
        lab.fronts[number].receive(0);
        if answers {
            assert!(lab.fronts[number].send(0, &[&[1; 60]], 0, &[]));
            let frame = lab.backs[0].receive().expect("a frame came");
            lab.backs[0].recycle_frame(frame);
        }
        if sends {
            assert_eq!(lab.backs[0].transmit_bytes(&[1; 60], PLAIN), Ok(()));
        }
        let before = lab.fronts[number].events_received(0);
        lab.backs[0].flush();
        let events = u64::from(answers) + u64::from(sends);
        assert_eq!(lab.fronts[number].events_received(0), before + events);
        expected += events;
        assert_eq!(lab.backs[0].counters().notifications, expected);
    }
    lab.end();
}

#[test]
fn a_rate_is_followed_when_an_administrator_writes_it_anew() {
    let mut lab = Lab::new();
    let number = lab.announce(GUEST, &[("rate", "200000,50000")]);
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    let node = format!("{}/rate", lab.fronts[number].backend_node());
    let sent = |lab: &mut Lab| passed(lab, number);
    assert_eq!(sent(&mut lab), 200, "and 56 wait");
    assert_eq!(lab.backs[0].park(), Pending::Nothing);
    // What is no rate changes none.
    for text in ["fast", "0,50000", ""] {
        lab.world.write_node(&node, text);
        lab.settle();
        assert_eq!(lab.backs[0].park(), Pending::Nothing, "{text}");
        assert_eq!(sent(&mut lab), 0, "{text}");
    }
    // Less: at once, and in the next interval.
    lab.world.write_node(&node, "140000,50000");
    lab.settle();
    assert_eq!(lab.backs[0].park(), Pending::Work);
    assert_eq!(sent(&mut lab), 0);
    lab.advance(Duration::from_millis(50));
    assert_eq!(sent(&mut lab), 140);
    // None: what waits goes at once.
    lab.world.remove_node(&node);
    lab.settle();
    assert_eq!(lab.backs[0].park(), Pending::Work);
    assert_eq!(lab.backs[0].next_credit(), None);
    assert!(sent(&mut lab) > 0 && sent(&mut lab) == 256);
    assert_eq!(lab.backs[0].settings().rate, None);
    // Where there was none, one; which a frontend that comes again finds as well.
    lab.world.write_node(&node, "150000,50000");
    lab.settle();
    assert_eq!(lab.backs[0].park(), Pending::Work);
    assert_eq!(sent(&mut lab), 150);
    lab.advance(Duration::from_secs(2));
    lab.fronts[number].switch_to(XenbusState::CLOSED);
    lab.settle();
    lab.fronts[number].switch_to(XenbusState::INITIALISING);
    lab.settle();
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    assert_eq!(lab.backs.len(), 1);
    assert_eq!(sent(&mut lab), 150);
    lab.end();
}

#[test]
fn of_the_toolstacks_rate_and_anothers_the_stricter_holds_whichever_came_last() {
    let mut lab = Lab::new();
    let number = lab.announce(GUEST, &[("rate", "200000,50000")]);
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    let node = format!("{}/rate", lab.fronts[number].backend_node());
    let interval = Duration::from_millis(50);
    for (said, limit, frames) in [
        ("200000,50000", None, 200),
        ("200000,50000", Some(150_000), 150),
        ("140000,50000", Some(150_000), 140),
        ("180000,50000", Some(150_000), 150),
        ("180000,50000", Some(190_000), 180),
        ("190000,50000", None, 190),
    ] {
        lab.backs[0].limit(limit.map(|bytes| Rate { bytes, interval }));
        lab.world.write_node(&node, said);
        lab.settle();
        let _ = lab.backs[0].park();
        lab.advance(interval);
        assert_eq!(passed(&mut lab, number), frames, "{said} {limit:?}");
    }
    lab.end();
}

#[test]
fn a_rate_that_there_was_no_place_for_holds_until_there_is_another() {
    let mut lab = Lab::with(Config {
        queues_max: 4,
        event_channels: EventChannels::Split,
        multicast: MulticastControl::Offered,
        ..Config::default()
    });
    let number = lab.announce(GUEST, &[("rate", "200000,50000")]);
    lab.fronts[number].connect(Shape {
        queues: 4,
        channels: 1,
    });
    lab.settle();
    assert_eq!(lab.node(number, "rate"), None);
    let rate = |lab: &Lab| lab.backs[0].settings().rate.map(|rate| rate.bytes);
    lab.settle();
    assert_eq!(lab.backs[0].park(), Pending::Nothing);
    assert_eq!(rate(&lab), Some(200_000));
    let node = format!("{}/rate", lab.fronts[number].backend_node());
    lab.world.write_node(&node, "800000,50000");
    lab.settle();
    assert_eq!(lab.backs[0].park(), Pending::Work);
    assert_eq!(rate(&lab), Some(800_000));
    lab.end();
}

#[test]
fn a_frame_of_our_own_of_any_length_reaches_the_guest_whole() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    let gso = Some(Gso {
        kind: GsoKind::TcpV4,
        size: 1448,
    });
    let offload = Offload {
        checksum: Checksum::Blank,
        gso,
    };
    for len in [4096, 4097, 8192, 30_000, 65_535] {
        // As many as the pool has pages for, one after the other.
        for round in 0..40 {
            let frame = bytes(len, round);
            let back = &mut lab.backs[0];
            assert_eq!(
                back.transmit_bytes(&frame, offload),
                Ok(()),
                "{len} {round}"
            );
            give_back(&mut lab.backs);
            let got = lab.fronts[number].receive(0);
            assert_eq!(got.len(), 1);
            assert!(got[0].bytes == frame, "{len} {round}");
            lab.fronts[number].post(0, 256);
        }
    }
    // More than its pages: the others are not harmed.
    let frame = bytes(65_535, 1);
    let sent = (0..6).map(|_| lab.backs[0].transmit_bytes(&frame, offload));
    let sent: Vec<_> = sent.collect();
    assert_eq!(sent[..4], [Ok(()); 4]);
    assert_eq!(sent[4..], [Err(TransmitError::Full); 2]);
    give_back(&mut lab.backs);
    assert_eq!(lab.fronts[number].receive(0).len(), 4);
    assert!(lab.backs[0].has_room_to_fetch(), "all pages are back");
    let longer = bytes(65_536, 1);
    let sent = lab.backs[0].transmit_bytes(&longer, offload);
    assert_eq!(sent, Err(TransmitError::Size));
    lab.end();
}
