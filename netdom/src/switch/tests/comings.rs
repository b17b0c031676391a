//! Guests and cards come and go.

use super::*;
use minios_rs::stat::Report;

#[test]
fn each_card_is_the_wire_of_a_bridge_of_its_own() {
    let mut lab = Lab::<E1000>::new(2);
    for bridge in ["xenbr0", "xenbr1", "xenbr1", "xenbr2", ""] {
        lab.join(&[("bridge", bridge)]);
    }
    let seen: Vec<_> = lab.switch.guests().map(|(_, bridge)| bridge).collect();
    assert_eq!(seen, ["xenbr0", "xenbr1", "xenbr1", "xenbr2", "xenbr0"]);
    let question = asks(mac(1), [10, 0, 3, 2]);
    lab.send(1, &question);
    let (guests, first) = lab.all();
    assert_eq!(
        guests,
        [vec![], vec![], vec![question.clone()], vec![], vec![]]
    );
    assert_eq!((first, lab.gone(1)), (vec![], vec![question]));
    let told = frame(EVERYBODY, FAR, 100, 0);
    lab.comes(0, &told);
    let (guests, _) = lab.all();
    assert_eq!(
        guests,
        [vec![told.clone()], vec![], vec![], vec![], vec![told]]
    );
    // One that has no card is a bridge between guests.
    lab.join(&[("bridge", "xenbr2")]);
    let inside = frame(mac(5), mac(3), 100, 0);
    lab.send(3, &inside);
    assert_eq!(lab.got(5), [inside]);
    assert_eq!(lab.losses(), Losses::default());
}

#[test]
fn what_cannot_be_served_is_refused_and_says_why() {
    let mut lab = Lab::<E1000>::with_guests(1);
    let taken = "00:16:3e:00:0a:00";
    let group = "01:16:3e:00:0a:00";
    lab.join(&[("ip", "10.0.3.2 10.0.3.3")]);
    for (settings, why) in [
        (("bridge", "xenbr8"), "bridge="),
        (("bridge", "br-lan"), "bridge="),
        (("bridge", "xenbr01"), "bridge="),
        (("mtu", "1501"), "mtu="),
        (("mac", taken), "mac= is another"),
        (("mac", group), "mac= is not"),
        (("ip", "10.0.3.3"), "ip= is another"),
    ] {
        let number = lab.announce(&[settings]);
        lab.fronts[number].connect(Shape::default());
        lab.turns(100);
        let node = format!(
            "/local/domain/7/error/{}/error",
            lab.fronts[number]
                .backend_node()
                .trim_start_matches("/local/domain/7/")
        );
        let said = lab.world.node(&node).unwrap_or_default();
        assert!(said.contains(why), "{settings:?}: {said}");
        assert!(lab.fronts[number].backend_state() != XenbusState::CONNECTED);
    }
    assert_eq!(lab.switch.guests().count(), 2);
    // On another bridge they are nobody else's.
    lab.join(&[("bridge", "xenbr1"), ("mac", taken), ("ip", "10.0.3.3")]);
}

#[test]
fn a_guest_that_leaves_gives_all_back_and_may_come_again() {
    let mut lab = Lab::<VirtioNet>::with_guests(1);
    let before = lab.usage();
    for round in 0..4 {
        let number = lab.join(&[]);
        let address = mac(number);
        lab.comes(0, &frame(EVERYBODY, FAR, 60, 0));
        lab.send(number, &frame(FAR, address, 1500, 0));
        lab.comes(0, &frame(address, FAR, 1500, 0));
        assert_eq!(lab.got(number).len(), 2, "{round}");
        // It goes in the middle of things.
        for _ in 0..20 {
            assert!(lab.fronts[number].send(0, &[&frame(FAR, address, 1500, 0)], 0, &[]));
        }
        lab.comes(0, &frame(address, FAR, 1500, 0));
        match round % 2 {
            0 => lab.leave(number),
            _ => {
                lab.fronts[number].vanish();
                lab.world
                    .remove_node(&format!("/local/domain/7/backend/vif/{}", 10 + number));
                lab.turns(200);
            }
        }
        assert_eq!(lab.switch.guests().count(), 1);
        assert_eq!(lab.usage(), before, "{round}");
        lab.got(0);
    }
}

#[test]
fn a_card_may_go_and_come_back_while_frames_flow() {
    let mut lab = Lab::<E1000>::with_guests(2);
    let other = lab.join(&[("bridge", "xenbr1")]);
    for round in 0..3 {
        lab.comes(0, &frame(EVERYBODY, FAR, 60, 0));
        lab.all();
        lab.plugged[0].with(|model, _| *model.hangs() = true);
        for number in 0..20 {
            assert!(lab.fronts[0].send(0, &[&frame(FAR, mac(0), 1500, number)], 0, &[]));
        }
        lab.turns(2);
        lab.back.detach(0);
        lab.turns(200);
        assert_eq!(lab.cards.count(), 0);
        lab.fronts[0].answers(0);
        assert_eq!(
            lab.fronts[0].outstanding(0),
            0,
            "its pages are its own again"
        );
        // Guests have each other.
        let inside = frame(mac(1), mac(0), 1500, round);
        lab.send(0, &inside);
        assert_eq!(lab.got(1), [inside]);
        let lost = lab.losses();
        lab.send(0, &frame(FAR, mac(0), 1500, round));
        let (guests, _) = lab.all();
        assert_eq!(guests[1].len(), 1, "whom nobody knows is looked for");
        assert_eq!(lab.losses(), lost);
        lab.plugged[0].with(|model, _| *model.hangs() = false);
        lab.back.come_back(0);
        lab.turns(500);
        assert_eq!(lab.cards.count(), 1);
        let told = frame(EVERYBODY, FAR, 100, round);
        lab.comes(0, &told);
        let (guests, _) = lab.all();
        assert_eq!(
            guests,
            [vec![told.clone()], vec![told], vec![]],
            "the bridge it had"
        );
    }
    assert_eq!(lab.got(other), NONE);
    let pages = lab.usage().pages;
    lab.back.detach(0);
    lab.turns(200);
    lab.back.come_back(0);
    lab.turns(500);
    assert_eq!(lab.usage().pages, pages);
}

#[test]
fn whoever_asks_is_told_of_cards_bridges_and_guests_and_what_got_lost() {
    let mut lab = Lab::<E1000>::with_guests(2);
    lab.comes(0, &frame(mac(1), FAR, 1000, 0));
    lab.send(0, &frame(FAR, mac(0), 500, 0));
    lab.send(0, &frame(FAR, mac(1), 500, 0));
    lab.plugged[0].with(|model, bus| model.cable(false, bus));
    lab.send(1, &frame(FAR, mac(1), 500, 0));
    let mut report = Report::default();
    lab.cards.fill(&mut report);
    lab.switch.fill(&mut report);
    assert_eq!(report.state, "serving 2 vifs");
    let seen: Vec<_> = report
        .interfaces
        .iter()
        .map(|it| (it.name.as_str(), it.state.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("0000:00:00.0", "link down"),
            ("xenbr0", "wire 0000:00:00.0, 3 stations"),
            ("vif10.0", "open"),
            ("vif11.0", "open"),
        ]
    );
    let [card, bridge, first, second] = &report.interfaces[..] else {
        panic!("four are there");
    };
    assert_eq!((card.received.frames, card.received.bytes), (1, 1000));
    assert_eq!((card.transmitted.frames, card.transmitted.bytes), (1, 500));
    assert_eq!((first.received.frames, second.received.frames), (2, 1));
    assert_eq!((first.mac, second.transmitted.bytes), (mac(0), 1000));
    let lost: Vec<_> = bridge
        .received
        .errors
        .iter()
        .map(|it| (it.name.as_str(), it.count))
        .collect();
    assert_eq!(lost, [("in another's name", 1), ("no wire", 1)]);
}
