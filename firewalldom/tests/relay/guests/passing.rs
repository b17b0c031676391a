//! Between guests, and between a guest and the outside.

use super::*;

#[test]
fn payload_from_guest_to_guest_is_copied_once_by_xen() {
    let mut lab = Lab::new();
    let payload = pattern(60_000);
    let frame = lab.segment(Some(A), Some(B), &payload);
    assert!(lab.send(A, &frame, &[GSO]));
    lab.turn();
    let got = lab.fronts[B].receive(0);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].bytes[..6], GUESTS[B].2);
    assert_eq!(got[0].bytes[6..12], BACKEND_MAC);
    assert_eq!(got[0].bytes[IP + 8], 63, "one hop less");
    assert_eq!(got[0].bytes[PAYLOAD..], payload[..]);
    assert_eq!(got[0].gso, Some((XEN_NETIF_GSO_TYPE_TCPV4, 1448)));
    assert_ne!(got[0].flags & NETRXF_CSUM_BLANK, 0);
    // But for the headers' slice, straight from the one's pages to the other's.
    let counters = lab.counters(B);
    assert_eq!(counters.granted_bytes as usize, frame.len() - HEAD_MAX);
    assert_eq!(lab.counters(A).fetched_bytes, 0);
    lab.turn();
    let answers = lab.fronts[A].answers(0);
    // A slot for each page, and that of the segmentation.
    let of = |status| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    assert_eq!(
        (of(NETIF_RSP_OKAY), of(NETIF_RSP_NULL), answers.len()),
        (15, 1, 16)
    );
    assert_eq!(lab.fronts[A].outstanding(0), 0);
}

#[test]
fn a_guest_reaches_the_outside_and_is_reached_again() {
    let mut lab = Lab::new();
    let small = lab.segment(Some(A), None, b"hello");
    assert!(lab.send(A, &small, &[]));
    lab.turn();
    assert_eq!(lab.outside().len(), 1, "it waited for ARP");
    let payload = pattern(60_000);
    let large = lab.segment(Some(A), None, &payload);
    assert!(lab.send(A, &large, &[GSO]));
    lab.turn();
    let out = lab.outside();
    assert_eq!(out.len(), 1);
    assert_eq!(out[0][IP + 12..IP + 16], PUBLIC, "masqueraded");
    assert_eq!(out[0][PAYLOAD..], payload[..]);
    assert!(lab.counters(A).fetched_bytes as usize >= payload.len() - HEAD_MAX);
    // The guest has its pages back though the backend outside may still read ours.
    lab.turn();
    lab.fronts[A].answers(0);
    assert_eq!(lab.fronts[A].outstanding(0), 0);

    let reply = lab.segment(None, Some(A), &payload);
    let slots: Vec<&[u8]> = reply.chunks(4096).collect();
    let flags = NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED;
    assert!(lab.outside.deliver(&slots, 0, flags, &[GSO]));
    lab.turn();
    let got = lab.fronts[A].receive(0);
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].bytes[PAYLOAD..], payload[..]);
}

#[test]
fn a_guests_long_frames_wait_for_their_next_hop_and_its_pages_do_not() {
    let mut lab = Lab::new();
    let frame = |to, number| {
        let stations = [BACKEND_MAC, GUESTS[A].2];
        established(stations, [GUESTS[A].1, to], &[number; 3900])
    };
    for number in 0..10 {
        assert!(lab.send(A, &frame(SERVER, number), &[GSO]));
        lab.turn();
    }
    assert_eq!(lab.fronts[A].answers(0).len(), 10 * 2);
    assert_eq!(lab.fronts[A].outstanding(0), 0);
    let out = lab.outside();
    assert_eq!(out.len(), 10);
    for (number, frame) in (0..).zip(out) {
        assert_eq!(frame[IP + 12..IP + 16], PUBLIC, "masqueraded");
        assert_eq!(frame[PAYLOAD..], [number; 3900]);
    }
    // For one that does not answer 64 wait. Of what there is no room for nothing is copied.
    let before = lab.counters(A).fetched_bytes;
    for number in 0..66 {
        assert!(lab.send(A, &frame([192, 0, 2, 99], number), &[GSO]));
        lab.turn();
    }
    let fetched = lab.counters(A).fetched_bytes - before;
    assert_eq!(fetched, 64 * frame(SERVER, 0).len() as u64);
    let drops = lab.relay.firewall().counters().drops;
    assert_eq!(drops.of(Reason::ParkingFull), 2);
    lab.fronts[A].answers(0);
    assert_eq!(lab.fronts[A].outstanding(0), 0);
}

/// As a transfer begins whose next hop is not known: by frames of 64 KiB.
#[test]
fn frames_that_wait_for_their_next_hop_are_sent_whole_however_long_and_many_they_are() {
    for (len, count) in [(60_000, 4), (65_000, 4), (3_900, 60), (12_000, 20)] {
        let mut lab = Lab::new();
        let frame = |number| {
            let stations = [BACKEND_MAC, GUESTS[A].2];
            let mut payload = pattern(len);
            payload[0] = number;
            established(stations, [GUESTS[A].1, SERVER], &payload)
        };
        for number in 0..count {
            assert!(lab.send(A, &frame(number), &[GSO]));
            lab.turn();
            lab.fronts[A].answers(0);
        }
        let mut out = Vec::new();
        for _ in 0..30 {
            out.extend(lab.outside());
        }
        assert_eq!(out.len(), usize::from(count), "of {len} bytes");
        for (number, sent) in (0..).zip(&out) {
            assert!(
                sent[PAYLOAD..] == frame(number)[PAYLOAD..],
                "{number} of {len} bytes"
            );
        }
        assert_eq!(
            lab.relay.losses().egress_full + lab.relay.losses().not_sendable,
            0
        );
    }
}

#[test]
fn frames_for_a_backend_that_lets_go_of_none_are_given_up_in_the_end() {
    let mut lab = Lab::new();
    for _ in 0..4 {
        let frame = lab.segment(Some(A), None, &pattern(60_000));
        assert!(lab.send(A, &frame, &[GSO]));
        lab.turn();
        lab.fronts[A].answers(0);
    }
    lab.outside.hold_answers = true;
    assert_eq!(lab.outside().len(), 1, "there are pages for one");
    assert_eq!(lab.relay.losses().egress_full, 0);
    // It is looked after, but not without pause.
    let next = lab.relay.turn(lab.now).expect("something waits");
    assert!(next > lab.now && next < lab.now + Duration::from_millis(10));
    lab.now = lab.now + Duration::from_secs(2);
    lab.turn();
    assert_eq!(lab.relay.losses().egress_full, 3);
    lab.outside.answer_all();
    let small = lab.segment(Some(A), None, b"hello");
    assert!(lab.send(A, &small, &[]));
    lab.turn();
    assert_eq!(lab.outside().len(), 1, "it goes on");
}

#[test]
fn a_guests_frame_that_is_too_long_for_the_next_link_is_cut_if_it_may_be() {
    let mut lab = Lab::new();
    let small = lab.segment(Some(A), None, b"hello");
    assert!(lab.send(A, &small, &[]));
    lab.turn();
    assert_eq!(lab.outside().len(), 1);
    let payload = pattern(2500);
    let mut frame = lab.segment(Some(A), None, &payload);
    frame[IP + 6] &= !0x40;
    let header = u16::from_be_bytes([frame[IP + 10], frame[IP + 11]]);
    let header = !packet::sum(&[(!header).to_be_bytes(), (!0x4000_u16).to_be_bytes()].concat());
    frame[IP + 10..IP + 12].copy_from_slice(&header.to_be_bytes());
    assert!(lab.send(A, &frame, &[]));
    lab.turn();
    let pieces = lab.outside();
    assert_eq!(pieces.len(), 2);
    let bytes = [&pieces[0][PAYLOAD..], &pieces[1][IP + 20..]].concat();
    assert_eq!(bytes, payload);
}

#[test]
fn of_a_guests_frame_that_cannot_be_read_nothing_waits() {
    let mut lab = Lab::new();
    let frame = lab.segment(Some(A), None, &pattern(1400));
    let slots = [&frame[..700], &frame[700..]];
    let mut requests = lab.fronts[A].requests(0, &slots, 0, NETTXF_CSUM_BLANK);
    // One that it has granted nobody.
    requests[1].gref = 0xffff;
    for request in &requests {
        lab.fronts[A].push(0, request);
    }
    lab.fronts[A].show(0);
    lab.turn();
    let drops = lab.relay.firewall().counters().drops;
    assert_eq!(drops.of(Reason::Unreadable), 1);
    assert_eq!(lab.outside().len(), 0);
    lab.fronts[A].answers(0);
    assert_eq!(lab.fronts[A].outstanding(0), 0);
}

#[test]
fn what_a_guest_has_no_room_for_waits_a_little_and_holds_nobody_up() {
    let mut lab = Lab::new();
    let payload = pattern(60_000);
    let flags = NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED;
    // 256 buffers take 16 of these frames, of 15 pages and a GSO each, and no more.
    let frame = lab.segment(None, Some(A), &payload);
    let slots: Vec<&[u8]> = frame.chunks(4096).collect();
    for _ in 0..20 {
        assert!(lab.outside.deliver(&slots, 0, flags, &[GSO]));
        lab.turn();
        lab.outside();
    }
    let at_once = lab.fronts[A].receive(0).len();
    assert_eq!(at_once, 16);
    assert_eq!(lab.relay.losses().egress_full, 0, "the others wait");
    // The neighbour has what is sent to it meanwhile.
    let small = lab.segment(None, Some(B), b"hello");
    assert!(lab.outside.deliver(&[&small], 0, flags, &[]));
    lab.turn();
    assert_eq!(lab.fronts[B].receive(0).len(), 1);
    // With new buffers the rest comes, in its order and whole.
    lab.fronts[A].post(0, 256);
    lab.turn();
    let later = lab.fronts[A].receive(0);
    assert_eq!(later.len(), 20 - at_once);
    assert!(
        later
            .iter()
            .all(|frame| frame.bytes[PAYLOAD..] == payload[..])
    );

    // Without, it is lost when a tenth of a second is over, and its pages are used again.
    for _ in 0..20 {
        lab.outside.deliver(&slots, 0, flags, &[GSO]);
        lab.turn();
        lab.outside();
    }
    lab.now = lab.now + Duration::from_millis(101);
    lab.turn();
    lab.turn();
    let lost = lab.relay.losses().egress_full;
    assert!(lost > 0);
    // From then on nothing waits: what comes is lost at once, until it takes something.
    assert!(lab.outside.deliver(&slots, 0, flags, &[GSO]));
    lab.turn();
    assert_eq!(lab.relay.losses().egress_full, lost + 1);
    for _ in 0..50 {
        assert!(lab.outside.deliver(&[&small], 0, flags, &[]));
        lab.turn();
        assert_eq!(lab.fronts[B].receive(0).len(), 1);
        lab.fronts[B].post(0, 1);
    }
}

#[test]
fn a_guest_that_fills_the_way_out_is_held_and_loses_nothing() {
    let mut lab = Lab::new();
    let small = lab.segment(Some(A), None, b"hello");
    assert!(lab.send(A, &small, &[]));
    lab.turn();
    assert_eq!(lab.outside().len(), 1);
    // More than the pages for it, while the backend outside answers nothing.
    let payload = pattern(60_000);
    let large = lab.segment(Some(A), None, &payload);
    for _ in 0..10 {
        assert!(lab.send(A, &large, &[GSO]));
    }
    for _ in 0..20 {
        lab.turn();
    }
    assert!(lab.fronts[A].outstanding(0) > 0, "some are not taken yet");
    let mut out = 0;
    for _ in 0..40 {
        out += lab.outside().len();
        lab.turn();
    }
    assert_eq!(out, 10);
    assert_eq!(lab.relay.losses(), Default::default());
}

#[test]
fn a_guest_that_waits_for_its_pages_and_for_its_rate_lets_the_firewall_sleep() {
    let mut lab = Lab::without_guests();
    let (domain, address, mac) = GUESTS[A];
    lab.announce_with(domain, address, mac, &[("rate", "500000,50000")]);
    lab.settle();
    lab.fronts[A].connect(Shape::default());
    assert_eq!(lab.settle(), []);
    let small = lab.segment(Some(A), None, b"hello");
    assert!(lab.send(A, &small, &[]));
    lab.turn();
    assert_eq!(lab.outside().len(), 1);
    lab.now = lab.now + Duration::from_millis(50);
    // Eight have all its pages, and the ninth is more than its rate.
    let large = lab.segment(Some(A), None, &pattern(60_000));
    for _ in 0..9 {
        assert!(lab.send(A, &large, &[GSO]));
    }
    lab.turn();
    let guest = lab.relay.guests().next().unwrap().1;
    assert!(!guest.has_room_to_fetch() && guest.next_credit().is_some());
    lab.now = lab.now + Duration::from_millis(60);
    lab.turn();
    let next = lab.relay.turn(lab.now).expect("it looks again");
    assert!(next > lab.now, "{next:?} at {:?}", lab.now);
}

#[test]
fn a_guest_in_anothers_name_is_dropped_and_counted() {
    let mut lab = Lab::new();
    let mut frame = lab.segment(Some(B), None, b"hello");
    assert!(lab.send(A, &frame, &[]));
    frame[6..12].copy_from_slice(&GUESTS[A].2);
    assert!(lab.send(A, &frame, &[]));
    lab.turn();
    assert_eq!(lab.outside().len(), 0);
    let drops = &lab.relay.firewall().counters().drops;
    assert_eq!(drops.of(Reason::GuestSource), 2);
}
