//! Frames go where their stations are, whole and copied once.

use super::*;
use minios_rs::abi::xen::nr;
use minios_rs::fake::netfront::TAKES;

fn both_ways<M: Wired>() {
    let mut lab = Lab::<M>::with_guests(2);
    // A question goes to all but who asks.
    let question = asks(mac(0), [10, 0, 3, 2]);
    lab.send(0, &question);
    assert_eq!(
        lab.all(),
        (vec![vec![], vec![question.clone()]], vec![question])
    );
    // An answer goes to who asked, and who answered is known from then on.
    for (round, len) in [60, 200, 256, 257, 300, 1000, 1514].into_iter().enumerate() {
        let answer = frame(mac(0), FAR, len, round as u8);
        lab.comes(0, &answer);
        assert_eq!(lab.all(), (vec![vec![answer], vec![]], vec![]), "{len}");
        let next = frame(FAR, mac(0), len, round as u8);
        lab.send(0, &next);
        assert_eq!(lab.all(), (vec![vec![], vec![]], vec![next]), "{len}");
    }
    // Between guests the wire sees nothing, nor does a guest see what is between others on the wire.
    let inside = frame(mac(1), mac(0), 1400, 1);
    lab.send(0, &inside);
    assert_eq!(lab.all(), (vec![vec![], vec![inside]], vec![]));
    lab.comes(0, &frame(EVERYBODY, FARTHER, 60, 0));
    lab.all();
    lab.comes(0, &frame(FARTHER, FAR, 60, 1));
    assert_eq!(lab.all(), (vec![vec![], vec![]], vec![]));
    assert_eq!(lab.losses().not_forwarded, 1);
    // Who is not known is looked for everywhere, and a broadcast may be long.
    for to in [[2, 0, 0, 0, 0, 77], EVERYBODY] {
        let long = frame(to, mac(1), 1500, 3);
        lab.send(1, &long);
        assert_eq!(lab.all(), (vec![vec![long.clone()], vec![]], vec![long]));
        let long = frame(to, FAR, 1500, 4);
        lab.comes(0, &long);
        assert_eq!(lab.all(), (vec![vec![long.clone()], vec![long]], vec![]));
    }
    let losses = Losses {
        not_forwarded: 1,
        ..Losses::default()
    };
    assert_eq!(lab.losses(), losses);
}

#[test]
fn a_frame_goes_where_its_station_is_by_any_card() {
    both_ways::<E1000>();
    both_ways::<VirtioNet>();
}

/// What is said of a segment that is to be cut.
fn cut() -> (u16, [ExtraInfo; 1]) {
    let extra = ExtraInfo {
        kind: XEN_NETIF_EXTRA_TYPE_GSO,
        gso_type: XEN_NETIF_GSO_TYPE_TCPV4,
        gso_size: 1448,
        ..ExtraInfo::default()
    };
    (NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED, [extra])
}

#[test]
fn large_segments_go_whole_between_guests_and_to_a_card_that_cuts_them() {
    let mut lab = Lab::<VirtioNet>::with_guests(2);
    lab.comes(0, &frame(EVERYBODY, FAR, 60, 0));
    lab.all();
    let (flags, extras) = cut();
    for (to, payload) in [(mac(1), 60_000), (mac(1), 3000), (FAR, 60_000), (FAR, 3000)] {
        let whole = tcp(to, mac(0), payload);
        let slots: Vec<&[u8]> = whole.chunks(PAGE_SIZE).collect();
        assert!(lab.fronts[0].send(0, &slots, flags, &extras));
        lab.turn();
        if to == FAR {
            let (said, sent) = lab.plugged[0].with(|model, _| model.sent.pop()).unwrap();
            assert_eq!(
                (said[0], said[1], said[4..6].to_vec()),
                (1, 1, vec![0xa8, 5])
            );
            assert!(sent == whole);
            assert_eq!(lab.got(1), NONE);
            continue;
        }
        let got = lab.fronts[1].receive(0).pop().unwrap();
        assert!(got.bytes == whole);
        assert_eq!(got.gso, Some((XEN_NETIF_GSO_TYPE_TCPV4, 1448)));
        assert!(got.flags & NETRXF_CSUM_BLANK != 0);
        lab.fronts[1].post(0, 256);
        assert_eq!(lab.gone(0), NONE);
    }
    // And from the wire.
    let whole = tcp(mac(0), FAR, 60_000);
    let came = lab.plugged[0].with(|model, bus| model.receive(&whole, (1, 1, 1448), bus));
    assert!(came);
    lab.turn();
    let got = lab.fronts[0].receive(0).pop().unwrap();
    assert!(got.bytes == whole);
    assert_eq!(got.gso, Some((XEN_NETIF_GSO_TYPE_TCPV4, 1448)));
    lab.fronts[0].answers(0);
    assert_eq!(lab.fronts[0].outstanding(0), 0);
    assert_eq!(lab.losses(), Losses::default());
}

#[test]
fn many_frames_go_through_and_nothing_is_used_up() {
    let mut lab = Lab::<E1000>::with_guests(2);
    lab.comes(0, &frame(EVERYBODY, FAR, 60, 0));
    let before = lab.usage();
    for round in 0..600 {
        for (guest, to) in [(0, FAR), (0, mac(1)), (1, EVERYBODY), (1, FAR)] {
            lab.send(
                guest,
                &frame(to, mac(guest), 14 + round * 5 % 1500, round as u8),
            );
        }
        lab.comes(0, &frame(mac(1), FAR, 1200, round as u8));
        let (guests, wire) = lab.all();
        assert_eq!(wire.len(), 3);
        assert_eq!(
            (guests[0].len(), guests[1].len()),
            (1 + usize::from(round == 0), 2 + usize::from(round == 0))
        );
    }
    lab.turns(10);
    lab.all();
    assert_eq!(lab.losses(), Losses::default());
    let after = lab.usage();
    // Pages for what goes to the wire are taken when they are first needed, and kept.
    let pages_max = before.pages + 2 * usize::from(OFFER.fetch_pages_max);
    assert!(after.pages <= pages_max);
    assert_eq!(
        Usage {
            pages: before.pages,
            ..after
        },
        before
    );
    for front in &lab.fronts {
        assert_eq!(front.outstanding(0), 0);
    }
}

#[test]
fn a_guest_that_sends_faster_than_the_card_waits_and_loses_nothing() {
    let mut lab = Lab::<E1000>::with_guests(2);
    lab.comes(0, &frame(EVERYBODY, FAR, 60, 0));
    lab.all();
    lab.plugged[0].with(|model, _| *model.hangs() = true);
    // Each frame takes a page and two descriptors: there are 64 pages for one guest.
    for number in 0..100 {
        let whole = frame(FAR, mac(0), 1000, number);
        assert!(lab.fronts[0].send(0, &[&whole], 0, &[]));
    }
    lab.turn();
    lab.turn();
    let until = lab.turn().expect("it is looked again");
    assert!(
        until > lab.netdom.now().after(Duration::from_micros(500)),
        "and not at once"
    );
    // The other guest is not held up meanwhile.
    let short = frame(FAR, mac(1), 100, 0);
    lab.send(1, &short);
    lab.plugged[0].with(E1000::goes_on);
    lab.turns(20);
    let gone = lab.gone(0);
    assert_eq!(gone.len(), 101);
    assert_eq!(gone.iter().filter(|frame| **frame == short).count(), 1);
    assert_eq!(lab.losses(), Losses::default());
}

#[test]
fn a_card_that_stands_still_for_long_costs_frames_and_holds_up_nobody_between_guests() {
    let mut lab = Lab::<E1000>::with_guests(2);
    lab.comes(0, &frame(EVERYBODY, FAR, 60, 0));
    lab.all();
    lab.plugged[0].with(|model, _| *model.hangs() = true);
    for number in 0..200 {
        assert!(lab.fronts[0].send(0, &[&frame(FAR, mac(0), 1000, number)], 0, &[]));
    }
    lab.turns(2);
    let inside = frame(mac(1), mac(0), 1000, 0);
    assert!(lab.fronts[0].send(0, &[&inside], 0, &[]));
    // Its patience ends.
    lab.turns(30);
    assert_eq!(lab.got(1), [inside]);
    assert!(lab.losses().full > 100);
    // The card is reset, and all goes on.
    lab.plugged[0].with(|model, _| *model.hangs() = false);
    lab.turns(1500);
    lab.gone(0);
    let next = frame(FAR, mac(0), 1000, 1);
    lab.got(0);
    lab.send(0, &next);
    assert_eq!(lab.gone(0), [next]);
    lab.got(0);
    assert_eq!(lab.fronts[0].outstanding(0), 0);
}

#[test]
fn without_a_cable_what_is_for_the_wire_is_lost_at_once() {
    let mut lab = Lab::<E1000>::with_guests(2);
    lab.comes(0, &frame(EVERYBODY, FAR, 60, 0));
    lab.all();
    lab.plugged[0].with(|model, bus| model.cable(false, bus));
    lab.turn();
    for number in 0..200 {
        lab.send(0, &frame(FAR, mac(0), 1000, number));
        lab.fronts[0].answers(0);
    }
    assert_eq!(lab.losses().no_wire, 200);
    lab.plugged[0].with(|model, bus| model.cable(true, bus));
    lab.turn();
    lab.send(0, &frame(FAR, mac(0), 1000, 0));
    assert_eq!(lab.gone(0).len(), 1, "nothing old goes out");
}

/// A guest that has connected and posts no buffers yet.
pub(super) fn slow(lab: &mut Lab<E1000>, settings: &[(&str, &str)]) -> usize {
    let number = lab.announce(settings);
    lab.fronts[number].publish(Shape::default(), &TAKES);
    lab.fronts[number].switch_to(XenbusState::CONNECTED);
    lab.turns(60);
    number
}

/// Frames come on the wire, all before the next turn.
pub(super) fn burst(lab: &Lab<E1000>, frames: impl IntoIterator<Item = Vec<u8>>) {
    lab.plugged[0].with(|model, bus| {
        for frame in frames {
            assert!(model.comes(&frame, bus), "the card has room");
        }
    });
}

#[test]
fn what_a_guest_has_no_room_for_waits_for_it_in_order() {
    let mut lab = Lab::<E1000>::with_guests(1);
    let slow = slow(&mut lab, &[]);
    let from = |sender: [u8; 6], number: usize| {
        // Long ones, and such as are copied whole.
        frame(mac(slow), sender, 60 + 700 * (number % 3), number as u8)
    };
    for number in 0..12 {
        let frame = from(mac(0), number);
        assert!(lab.fronts[0].send(0, &[&frame], 0, &[]));
    }
    burst(&lab, (0..12).map(|number| from(FAR, number)));
    lab.turns(2);
    // Whoever asks all waits as well.
    let question = asks(mac(0), [10, 0, 3, 2]);
    lab.send(0, &question);
    assert_eq!(lab.gone(0), core::slice::from_ref(&question));
    lab.fronts[slow].post(0, 15);
    lab.turn();
    let mut got: Vec<_> = lab.fronts[slow]
        .receive(0)
        .into_iter()
        .map(|it| it.bytes)
        .collect();
    assert_eq!(got.len(), 15);
    lab.fronts[slow].post(0, 256);
    lab.turn();
    got.extend(lab.got(slow));
    assert_eq!(got.pop(), Some(question));
    for sender in [mac(0), FAR] {
        let of_sender = got.iter().filter(|frame| frame[6..12] == sender);
        let expected: Vec<_> = (0..12).map(|number| from(sender, number)).collect();
        assert!(of_sender.eq(&expected));
    }
    assert_eq!(lab.losses(), Losses::default());
    lab.got(0);
    assert_eq!(lab.fronts[0].outstanding(0), 0);
}

#[test]
fn guests_that_take_nothing_leave_the_card_pages_to_receive_for_others() {
    let mut lab = Lab::<E1000>::with_guests(1);
    let slow = [(); 3].map(|()| slow(&mut lab, &[]));
    for to in slow {
        burst(
            &lab,
            (0..60).map(|number| frame(mac(to), FAR, 1500, number)),
        );
        lab.turn();
    }
    // A hundred wait, and not all.
    let lost = lab.losses().full;
    assert!((70..100).contains(&lost), "{lost}");
    burst(&lab, (0..90).map(|number| frame(mac(0), FAR, 1500, number)));
    lab.turn();
    assert_eq!(lab.got(0).len(), 90);
    // After a while what waited is lost, and one that takes again is sent to again.
    lab.turns(40);
    assert_eq!(lab.losses().full, 180);
    lab.fronts[slow[0]].post(0, 256);
    let next = frame(mac(slow[0]), FAR, 1500, 7);
    lab.comes(0, &next);
    assert_eq!(lab.got(slow[0]), [next]);
    let before = lab.losses();
    for to in slow {
        burst(&lab, [frame(mac(to), FAR, 1500, 8)]);
    }
    lab.turn();
    assert_eq!(lab.got(slow[0]).len(), 1);
    // Of the other two one had frames waiting in vain, and nothing waits for it any more.
    assert_eq!(lab.losses().full, before.full + 1);
}

#[test]
fn who_sends_fast_is_looked_at_for_many_frames_at_a_time() {
    let mut lab = Lab::<VirtioNet>::with_guests(2);
    let small = frame(mac(1), mac(0), 60, 0);
    let events =
        |lab: &Lab<VirtioNet>| lab.fronts[0].domain().hypercalls().of(nr::EVENT_CHANNEL_OP);
    let burst = |lab: &mut Lab<VirtioNet>, count: usize| {
        let before = events(lab);
        for _ in 0..count {
            assert!(lab.fronts[0].send(0, &[&small], 0, &[]));
        }
        let sent = events(lab) - before;
        let now = lab.netdom.now();
        let next = lab.turn();
        assert_eq!(lab.got(1).len(), count);
        lab.got(0);
        (sent, next.map(|next| next.since(now)))
    };
    // 20 in 5 ms are 4,000 a second.
    for _ in 0..5 {
        let (sent, next) = burst(&mut lab, 20);
        assert_eq!(sent, 1);
        let is_later = next.is_none_or(|next| next > Duration::from_millis(20));
        assert!(is_later, "{next:?}");
    }
    // 60 are 12,000: nobody is told of so few, and they are looked at after a while.
    burst(&mut lab, 60);
    let (sent, next) = burst(&mut lab, 60);
    assert_eq!(sent, 0);
    assert!(
        next.is_some_and(|next| next <= Duration::from_millis(5 + 4)),
        "{next:?}"
    );
    // More are told of before the ring is full.
    let (sent, _) = burst(&mut lab, 96);
    assert_eq!(sent, 1);
    // When nothing comes, the next one is told of at once.
    lab.turns(2);
    let (sent, _) = burst(&mut lab, 1);
    assert_eq!(sent, 1);
}
