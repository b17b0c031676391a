//! What a configuration makes of bridges: VLANs, long frames, a card that stands by, guests that are held.

use super::*;
use crate::config::{Bridge as Configured, Card as Which, Vif};
use proptest::prelude::*;

/// A bridge on the first card.
fn lan() -> Configured {
    Configured {
        card: Some(Which::Number(1)),
        ..Configured::new("lan".to_string())
    }
}

/// Another on the same, VLAN 20.
fn cameras() -> Configured {
    Configured {
        name: "cameras".to_string(),
        vlan: Some(20),
        ..lan()
    }
}

fn of(bridges: &[Configured]) -> Config {
    let config = Config {
        bridges: bridges.to_vec(),
        vifs: vec![],
    };
    assert_eq!(config.check(), Ok(()));
    config
}

fn on(bridge: &str) -> [(&str, &str); 1] {
    [("bridge", bridge)]
}

fn tagged(frame: &[u8], kind: u16, tag: u16) -> Vec<u8> {
    let tag = [kind.to_be_bytes(), tag.to_be_bytes()].concat();
    [&frame[..12], &tag, &frame[12..]].concat()
}

impl<M: Wired> Lab<M> {
    fn lost(&self, bridge: &str) -> Losses {
        let mut bridges = self.switch.bridges();
        bridges
            .find(|(name, _)| *name == bridge)
            .expect("it is there")
            .1
    }
}

fn tags_tell_bridges_of_a_card_apart<M: Wired>() {
    let mut lab = Lab::<M>::configured(1, of(&[cameras(), lan()]));
    let (camera, host) = (lab.join(&on("cameras")), lab.join(&on("lan")));
    let second = lab.join(&on("cameras"));
    for len in [60, 300, 1514] {
        // Out: with the tag, or without.
        let sent = frame(EVERYBODY, mac(camera), len, 1);
        lab.send(camera, &sent);
        let (guests, wire) = lab.all();
        assert_eq!(guests, [vec![], vec![], vec![sent.clone()]]);
        assert_eq!(wire, [tagged(&sent, 0x8100, 20)]);
        let sent = frame(FAR, mac(host), len, 2);
        lab.send(host, &sent);
        assert_eq!(lab.gone(0), [sent]);
        // In, whatever else the tag says.
        for tag in [20, 0xe014] {
            let came = frame(mac(camera), FARTHER, len, 3);
            lab.comes(0, &tagged(&came, 0x8100, tag));
            let (guests, _) = lab.all();
            assert_eq!(guests, [vec![came], vec![], vec![]]);
        }
        let came = frame(mac(host), FAR, len, 4);
        lab.comes(0, &came);
        let (guests, _) = lab.all();
        assert_eq!(guests, [vec![], vec![came], vec![]]);
    }
    // One that only says how urgent it is has no VLAN.
    let urgent = tagged(&frame(mac(host), FAR, 100, 5), 0x8100, 0xe000);
    lab.comes(0, &urgent);
    assert_eq!(lab.got(host), [urgent]);
    // What is for the one is not for the other, wherever the station is: there it is a stranger.
    let came = frame(mac(camera), FARTHER, 100, 6);
    lab.comes(0, &came);
    assert_eq!(lab.all().0, [NONE.to_vec(), vec![came], NONE.to_vec()]);
    let sent = frame(mac(camera), mac(host), 100, 7);
    lab.send(host, &sent);
    assert_eq!(lab.all(), (vec![NONE.to_vec(); 3], vec![sent]));
    assert_eq!((lab.lost("cameras"), lab.lost("lan")), Default::default());
    // A VLAN that no bridge has.
    for tag in [21, 1, 4095] {
        lab.comes(0, &tagged(&frame(mac(host), FAR, 100, 8), 0x8100, tag));
        lab.comes(0, &tagged(&frame(EVERYBODY, FAR, 100, 8), 0x8100, tag));
    }
    assert_eq!(lab.lost("cameras").other_vlan, 6);
    // Nobody gets into another VLAN by a tag of one's own.
    for kind in [0x8100, 0x88a8] {
        lab.send(host, &tagged(&frame(FAR, mac(host), 100, 9), kind, 20));
        lab.send(
            camera,
            &tagged(&frame(mac(second), mac(camera), 100, 9), kind, 20),
        );
    }
    let (guests, wire) = lab.all();
    assert_eq!((guests, wire), (vec![NONE.to_vec(); 3], NONE.to_vec()));
    assert_eq!(
        (lab.lost("cameras").other_vlan, lab.lost("lan").other_vlan),
        (8, 2)
    );
}

#[test]
fn tags_tell_the_bridges_of_any_card_apart() {
    tags_tell_bridges_of_a_card_apart::<E1000>();
    tags_tell_bridges_of_a_card_apart::<VirtioNet>();
}

#[test]
fn a_card_without_vlans_passes_tags_of_guests_through() {
    let mut lab = Lab::<E1000>::configured(1, of(&[lan()]));
    lab.join(&on("lan"));
    let sent = tagged(&frame(FAR, mac(0), 100, 0), 0x8100, 5);
    lab.send(0, &sent);
    assert_eq!(lab.gone(0), [sent]);
    let came = tagged(&frame(mac(0), FAR, 1514, 0), 0x8100, 6);
    lab.comes(0, &came);
    assert_eq!(lab.got(0), [came]);
}

#[test]
fn a_card_fills_in_checksums_and_cuts_behind_a_tag() {
    let mut lab = Lab::<E1000>::configured(1, of(&[cameras()]));
    lab.join(&on("cameras"));
    let whole = tcp(FAR, mac(0), 1000);
    assert!(lab.fronts[0].send(0, &[&whole], NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED, &[]));
    lab.turn();
    let [sent] = &lab.gone(0)[..] else {
        panic!("one went");
    };
    assert_eq!(sent[..18], tagged(&whole, 0x8100, 20)[..18]);
    assert_eq!(sent[58..], whole[54..]);
    let filled = nic::model::checksum(&sent[38..]);
    assert_eq!(filled, 0, "it is filled in");
}

fn long_frames_go_where_they_may<M: Wired>() {
    let jumbo = Configured { mtu: 9000, ..lan() };
    let inside = Configured::new("inside".to_string());
    let mut lab = Lab::<M>::configured(1, of(&[jumbo, inside]));
    let long = [("bridge", "lan"), ("mtu", "9000")];
    let (first, second, short) = (lab.join(&long), lab.join(&long), lab.join(&on("lan")));
    let refused = lab.announce(&[("bridge", "inside"), ("mtu", "1501")]);
    lab.fronts[refused].connect(Shape::default());
    lab.turns(60);
    assert_eq!(lab.switch.guests().count(), 3);
    lab.comes(0, &frame(EVERYBODY, FAR, 60, 0));
    lab.all();
    for len in [4000, 4096, 4097, 9014] {
        let out = frame(FAR, mac(first), len, 1);
        lab.send(first, &out);
        let across = frame(mac(second), mac(first), len, 2);
        lab.send(first, &across);
        let came = frame(mac(first), FAR, len, 3);
        lab.comes(0, &came);
        assert_eq!(
            (lab.gone(0), lab.got(second), lab.got(first)),
            (vec![out], vec![across], vec![came])
        );
    }
    let before = lab.lost("lan").not_sendable;
    lab.send(first, &frame(FAR, mac(first), 9019, 0));
    lab.send(first, &frame(mac(short), mac(first), 4000, 0));
    lab.comes(0, &frame(mac(short), FAR, 4000, 0));
    assert_eq!(
        (lab.gone(0), lab.got(short)),
        (NONE.to_vec(), NONE.to_vec())
    );
    assert_eq!(lab.lost("lan").not_sendable, before + 3);
}

#[test]
fn long_frames_go_where_they_may_by_any_card() {
    long_frames_go_where_they_may::<E1000>();
    long_frames_go_where_they_may::<VirtioNet>();
}

/// A bridge that takes long frames, two guests that take them and one that does not.
fn jumbo<M: Wired>() -> Lab<M> {
    let jumbo = Configured { mtu: 9000, ..lan() };
    let mut lab = Lab::<M>::configured(1, of(&[jumbo]));
    let long = [("bridge", "lan"), ("mtu", "9000")];
    for settings in [&long[..], &long, &on("lan")] {
        lab.join(settings);
    }
    lab
}

fn long_frames_for_all_reach_who_takes_them<M: Wired>() {
    let mut lab = jumbo::<M>();
    let before = lab.usage().pages;
    let mut refused = 0;
    for len in [60, 257, 1518, 1519, 4096, 4097, 8192, 8193, 9014, 9018] {
        for (seed, to) in [EVERYBODY, [3, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 77]]
            .into_iter()
            .enumerate()
        {
            let seed = seed as u8;
            let is_short = len <= 1518;
            let short = |frame: &Vec<u8>| match is_short {
                true => vec![frame.clone()],
                false => vec![],
            };
            let out = frame(to, mac(0), len, seed);
            lab.send(0, &out);
            let expected = vec![vec![], vec![out.clone()], short(&out)];
            assert_eq!(lab.all(), (expected, vec![out]), "{len}");
            let came = frame(to, FAR, len, 10 + seed);
            lab.comes(0, &came);
            let expected = vec![vec![came.clone()], vec![came.clone()], short(&came)];
            assert_eq!(lab.all(), (expected, vec![]), "{len}");
            refused += 2 * u64::from(!is_short);
        }
    }
    let losses = Losses {
        not_sendable: refused,
        ..Losses::default()
    };
    assert_eq!(lab.lost("lan"), losses);
    // Each guest has so many pages for what is copied for it or from it, and no more.
    let most = lab.fronts.len() * usize::from(OFFER.fetch_pages_max);
    assert!(lab.usage().pages <= before + most);
    lab.turns(10);
    for guest in 0..lab.fronts.len() {
        lab.got(guest);
        assert_eq!(lab.fronts[guest].outstanding(0), 0);
    }
}

#[test]
fn long_frames_for_all_reach_who_takes_them_by_any_card() {
    long_frames_for_all_reach_who_takes_them::<E1000>();
    long_frames_for_all_reach_who_takes_them::<VirtioNet>();
}

#[test]
fn what_is_too_long_for_a_bridge_reaches_nobody_by_being_for_all() {
    let mut lab = jumbo::<E1000>();
    lab.send(0, &frame(EVERYBODY, mac(0), 9019, 0));
    assert_eq!(lab.all(), (vec![NONE.to_vec(); 3], NONE.to_vec()));
    // For two guests and the wire.
    assert_eq!(lab.lost("lan").not_sendable, 3);
}

#[test]
fn a_long_frame_for_all_counts_as_the_copies_that_it_costs() {
    let jumbo = Configured {
        mtu: 9000,
        // A fifth of a second's are ten.
        flood: 50,
        ..lan()
    };
    let mut lab = Lab::<E1000>::configured(0, of(&[jumbo]));
    let long = [("bridge", "lan"), ("mtu", "9000")];
    let (from, to) = (lab.join(&long), lab.join(&long));
    for (len, passed) in [(60, 10), (4096, 10), (4097, 5), (9014, 4)] {
        for number in 0..20 {
            let slots = frame(EVERYBODY, mac(from), len, number);
            let slots: Vec<&[u8]> = slots.chunks(PAGE_SIZE).collect();
            assert!(lab.fronts[from].send(0, &slots, 0, &[]));
        }
        lab.turn();
        assert_eq!(lab.got(to).len(), passed, "{len}");
        lab.turns(100);
        lab.got(from);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn frames_for_all_of_any_length_arrive_whole(
        lens in proptest::collection::vec(14_usize..=9018, 1..12),
        seed in any::<u8>(),
    ) {
        let mut lab = jumbo::<E1000>();
        for len in lens {
            let out = frame(EVERYBODY, mac(1), len, seed);
            lab.send(1, &out);
            prop_assert_eq!(lab.got(0), [out]);
            let came = frame(EVERYBODY, FAR, len, seed);
            lab.comes(0, &came);
            prop_assert_eq!((lab.got(0), lab.got(1)), (vec![came.clone()], vec![came]));
            lab.got(2);
            lab.gone(0);
        }
    }
}

#[test]
fn a_bridge_with_short_frames_sends_no_long_ones_by_a_card_that_could() {
    let jumbo = Configured {
        mtu: 9000,
        ..cameras()
    };
    let mut lab = Lab::<E1000>::configured(1, of(&[lan(), jumbo]));
    lab.join(&on("lan"));
    lab.send(0, &frame(FAR, mac(0), 1518, 0));
    assert_eq!(lab.gone(0).len(), 1);
    lab.send(0, &frame(FAR, mac(0), 1519, 0));
    assert_eq!(
        (lab.gone(0), lab.lost("lan").not_sendable),
        (NONE.to_vec(), 1)
    );
}

#[test]
fn a_card_that_stands_by_takes_over_and_hands_back() {
    let doubled = Configured {
        standby: Some(Which::Number(2)),
        ..lan()
    };
    let mut lab = Lab::<E1000>::configured(2, of(&[doubled]));
    lab.join(&on("lan"));
    lab.join(&on("lan"));
    let out = frame(FAR, mac(0), 500, 0);
    let told = |guest: usize| {
        let mut frame = [
            &EVERYBODY[..],
            &mac(guest),
            &[0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3],
        ]
        .concat();
        frame.extend(mac(guest));
        frame.extend([0; 4]);
        frame.extend(mac(guest));
        frame.resize(60, 0);
        frame
    };
    let sends = |lab: &mut Lab<E1000>, card: usize| {
        lab.send(0, &out);
        let gone = [lab.gone(0), lab.gone(1)];
        assert_eq!(gone[card], core::slice::from_ref(&out));
        assert_eq!(gone[1 - card], NONE);
    };
    // What the other one hears meanwhile is the same again.
    lab.turns(5);
    lab.comes(0, &frame(EVERYBODY, FAR, 60, 0));
    lab.all();
    lab.gone(1);
    sends(&mut lab, 0);
    lab.comes(1, &frame(EVERYBODY, FAR, 60, 0));
    assert_eq!((lab.got(0), lab.got(1)), (NONE.to_vec(), NONE.to_vec()));
    assert_eq!(lab.lost("lan").standing_by, 1);
    for _ in 0..2 {
        lab.plugged[0].with(|model, bus| model.cable(false, bus));
        lab.turns(3);
        let mut moved = lab.gone(1);
        moved.sort();
        assert_eq!(
            moved,
            [told(0), told(1)],
            "whoever is there learns where they are"
        );
        sends(&mut lab, 1);
        let came = frame(mac(0), FAR, 60, 0);
        lab.comes(1, &came);
        assert_eq!(lab.got(0), [came]);
        // It has to be there for a while.
        lab.plugged[0].with(|model, bus| model.cable(true, bus));
        lab.turns(100);
        sends(&mut lab, 1);
        lab.plugged[0].with(|model, bus| model.cable(false, bus));
        lab.turns(10);
        lab.plugged[0].with(|model, bus| model.cable(true, bus));
        lab.turns(990);
        sends(&mut lab, 1);
        lab.turns(30);
        assert_eq!(lab.gone(0).len(), 2);
        sends(&mut lab, 0);
    }
    // It is taken away; and while neither has a cable, nothing changes any more.
    lab.back.detach(0);
    lab.turns(100);
    lab.gone(1);
    sends(&mut lab, 1);
    lab.plugged[1].with(|model, bus| model.cable(false, bus));
    lab.turns(10);
    let before = lab.lost("lan");
    lab.send(0, &out);
    assert_eq!(lab.lost("lan").no_wire, before.no_wire + 1);
    lab.back.come_back(0);
    lab.turns(1500);
    lab.gone(0);
    sends(&mut lab, 0);
}

#[test]
fn guests_are_held_to_what_the_configuration_says() {
    let bridge = |name: &str, lock| Configured {
        name: name.to_string(),
        lock,
        ..Configured::new(String::new())
    };
    let mut config = of(&[bridge("open", Lock::Open), bridge("held", Lock::Mac)]);
    config.bridges[0].flood = 1;
    let vif = |name: &str, lock| Vif {
        name: name.to_string(),
        lock,
        rate: Some(Limit::None),
    };
    config.vifs = vec![
        vif("strict", Some(Lock::Address)),
        vif("free", Some(Lock::Open)),
        vif("said", None),
    ];
    let mut lab = Lab::<E1000>::configured(0, config);
    let open = lab.join(&on("open"));
    let held = lab.join(&on("held"));
    let free = lab.join(&[("bridge", "held"), ("vifname", "free")]);
    let strict = lab.announce(&[("bridge", "open"), ("vifname", "strict")]);
    lab.fronts[strict].connect(Shape::default());
    lab.turns(60);
    let node = format!("/local/domain/7/error/backend/vif/{}/0/error", 10 + strict);
    let said = lab.world.node(&node).unwrap_or_default();
    assert!(said.contains("ip="), "{said}");
    // In another's name: where it is held, and where not.
    lab.send(held, &frame(mac(free), FAR, 60, 0));
    assert_eq!(
        (lab.got(free), lab.lost("held").spoofed),
        (NONE.to_vec(), 1)
    );
    lab.send(free, &frame(mac(held), FAR, 60, 0));
    assert_eq!(lab.got(held).len(), 1);
    // What is said of other things says nothing of this.
    let said = lab.join(&[("bridge", "held"), ("vifname", "said")]);
    lab.got(held);
    lab.send(said, &frame(mac(held), FAR, 60, 0));
    assert_eq!(
        (lab.got(held), lab.lost("held").spoofed),
        (NONE.to_vec(), 2)
    );
    // So many copies at once are a fifth of a second's, which is less than one: it passes, the next does not.
    let beside = lab.join(&on("open"));
    lab.send(open, &frame(EVERYBODY, mac(open), 60, 0));
    lab.send(open, &frame(EVERYBODY, mac(open), 60, 0));
    assert_eq!((lab.got(beside).len(), lab.lost("open").flooded), (1, 1));
}

#[test]
fn cards_are_found_by_number_and_by_address() {
    let by_address = Configured {
        name: "first".to_string(),
        card: Some(Which::at("0000:00:00.0".parse().expect("an address"))),
        ..lan()
    };
    let second = Configured {
        card: Some(Which::Number(2)),
        ..lan()
    };
    let mut lab = Lab::<E1000>::configured(2, of(&[second, by_address]));
    lab.join(&on("first"));
    lab.join(&on("lan"));
    let none = lab.announce(&on("xenbr0"));
    lab.fronts[none].connect(Shape::default());
    lab.turns(60);
    assert_eq!(lab.switch.guests().count(), 2, "there are no others");
    for guest in [0, 1] {
        let sent = frame(FAR, mac(guest), 60, 0);
        lab.send(guest, &sent);
        assert_eq!(
            (lab.gone(guest), lab.gone(1 - guest)),
            (vec![sent], NONE.to_vec())
        );
    }
}

#[test]
fn pages_come_back_to_a_card_that_is_no_longer_the_wire() {
    let doubled = Configured {
        standby: Some(Which::Number(2)),
        ..lan()
    };
    let mut lab = Lab::<E1000>::configured(2, of(&[doubled]));
    let slow = frames::slow(&mut lab, &on("lan"));
    for round in 0..6 {
        let frames = (0..60).map(|number| frame(mac(slow), FAR, 1500, number));
        frames::burst(&lab, frames);
        lab.turn();
        // They wait when the cable is pulled, and then no longer.
        lab.plugged[0].with(|model, bus| model.cable(false, bus));
        lab.turns(40);
        assert_eq!(lab.lost("lan").full, 60 * (round + 1));
        lab.plugged[0].with(|model, bus| model.cable(true, bus));
        lab.turns(1100);
        // It stays stalled until it takes a frame.
        lab.fronts[slow].post(0, 1);
        lab.comes(0, &frame(mac(slow), FAR, 60, 0));
        assert_eq!(lab.fronts[slow].receive(0).len(), 1);
    }
}

/// Frames of 1,000 bytes that a guest gets across in a second, in which it always has some to send; what may be saved
/// up was used before.
fn sent_in_a_second(lab: &mut Lab<E1000>, from: usize, to: usize) -> usize {
    let whole = frame(mac(to), mac(from), 1000, 0);
    let mut passed = 0;
    for turn in 0..400 {
        if turn == 200 {
            passed = 0;
        }
        while lab.fronts[from].send(0, &[&whole], 0, &[]) {}
        lab.turn();
        // Those before it may still have some to send.
        let got = lab.got(to).into_iter();
        passed += got.filter(|got| *got == whole).count();
        lab.fronts[from].answers(0);
    }
    passed
}

#[test]
fn the_stricter_of_rate_and_the_configuration_holds_and_a_vifs_own_before_its_bridges() {
    let limit = |bytes| {
        Limit::Rate(config::Rate {
            bytes,
            interval_us: 50_000,
        })
    };
    let slow = Configured {
        name: "slow".to_string(),
        rate: limit(10_000),
        ..lan()
    };
    let mut config = of(&[slow]);
    let vif = |name: &str, rate| Vif {
        name: name.to_string(),
        lock: None,
        rate,
    };
    config.vifs = vec![
        vif("free", Some(Limit::None)),
        vif("own", Some(limit(20_000))),
        vif("as-others", None),
    ];
    let mut lab = Lab::<E1000>::configured(1, config);
    let to = lab.join(&[("bridge", "slow"), ("vifname", "free")]);
    // Whatever the toolstack says, in bytes for microseconds.
    for (name, rate, expected) in [
        ("vif9.9", "", 200),
        ("as-others", "", 200),
        ("vif9.8", "30000,50000", 200),
        ("vif9.7", "5000,50000", 100),
        ("vif9.6", "10000,100000", 100),
        ("own", "30000,50000", 400),
        ("own", "15000,50000", 300),
        ("free", "30000,50000", 600),
    ] {
        let settings = [("bridge", "slow"), ("vifname", name), ("rate", rate)];
        let settings = match rate {
            "" => &settings[..2],
            _ => &settings[..],
        };
        let from = lab.join(settings);
        lab.got(to);
        let passed = sent_in_a_second(&mut lab, from, to);
        // An interval more or less.
        let each = expected / 10;
        assert!(
            passed.abs_diff(expected) <= each,
            "{name} {rate}: {passed} instead of {expected}"
        );
        assert_eq!(lab.lost("slow"), Losses::default());
    }
}
