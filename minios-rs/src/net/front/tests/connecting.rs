//! What comes and goes: the handshake, its refusals and failures.

use super::*;

#[test]
fn a_vif_connects_and_leaves_nothing_behind() {
    let (lab, front, link) = one();
    assert_eq!(front.mac().0, [0, 0x16, 0x3e, 0, 0, 0]);
    assert_eq!((front.mtu(), front.backend()), (1500, HOST));
    assert!(front.features().scatter_gather && front.features().gso_tcpv4);
    assert_eq!(
        lab.world
            .node(&(alloc::format!("{}/state", lab.backs[0].node())))
            .as_deref(),
        Some("4")
    );
    lab.end(vec![(front, link)]);
}

#[test]
fn an_mtu_is_the_toolstacks_if_ipv4_can_live_with_it() {
    for (text, mtu) in [
        ("9000", 9000),
        ("68", 68),
        ("67", 1500),
        ("0", 1500),
        ("65536", 1500),
        ("-1", 1500),
        ("much", 1500),
    ] {
        let mut lab = Lab::new(&[HOST]);
        lab.world
            .write_node("/local/domain/7/device/vif/0/mtu", text);
        let (front, link) = lab.connect(0);
        assert_eq!(front.mtu(), mtu, "{text}");
        lab.end(vec![(front, link)]);
    }
}

#[test]
fn a_backend_that_vanishes_under_load_leaves_nothing_behind() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, mut outside_link) = lab.connect(1);
    lab.backs[1].hold_answers = true;
    for seed in 0..20 {
        forward(&mut lab, &mut inside, &mut outside, seed);
    }
    lab.backs[1].vanish();
    lab.run(outside_link.backend_ending()).unwrap();
    outside.close();
    let mut back = 0;
    while let Some(buffer) = outside.completed() {
        inside.recycle(buffer);
        back += 1;
    }
    assert_eq!(back, 20);
    lab.run(outside_link.close()).unwrap();
    assert_eq!(outside.release(), Ok(()));
    drop((outside, outside_link));
    inside.flush();
    assert_eq!(
        lab.backs[0].posted(),
        256,
        "every buffer is back in its ring"
    );
    lab.backs.truncate(1);
    lab.end(vec![(inside, inside_link)]);
}

#[test]
fn a_front_that_ends_while_its_pages_are_lent_keeps_them_until_they_are_back() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, mut inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    lab.backs[1].hold_answers = true;
    let sent = forward(&mut lab, &mut inside, &mut outside, 5);
    lab.backs[0].vanish();
    lab.run(inside_link.backend_ending()).unwrap();
    inside.close();
    assert_eq!(inside.release(), Ok(()));
    drop((inside, inside_link));
    let mut payload = [0; 1000];
    let request = sent[0].requests[1];
    lab.backs[1]
        .map(request.gref)
        .expect("still granted")
        .read(usize::from(request.offset), &mut payload);
    assert_eq!(payload[..], bytes(1000, 5));
    lab.backs[1].answer_all();
    let orphan = outside.completed().expect("answered");
    // Its owner is gone: any front takes it, counts it and frees the page.
    outside.recycle(orphan);
    assert_eq!(outside.counters().foreign_tokens, 1);
    lab.backs.remove(0);
    lab.end(vec![(outside, outside_link)]);
}

#[test]
fn rings_are_kept_until_the_backend_lets_go_of_them() {
    let (mut lab, mut front, mut link) = one();
    front.close();
    lab.backs[0].switch_to(XenbusState::CLOSING);
    assert_eq!(front.release(), Err(StillInUse(2)), "both rings are mapped");
    assert_eq!(front.port(), None, "the port is closed at once");
    lab.run(link.close()).unwrap();
    assert_eq!(front.release(), Ok(()));
    drop((front, link));
    lab.end(vec![]);
}

#[test]
fn a_frontend_that_gives_up_says_why() {
    let (mut lab, front, mut link) = one();
    lab.run(link.fatal("the ring is impossible")).unwrap();
    let place = "/local/domain/7/error/device/vif/0/error";
    assert_eq!(
        lab.world.node(place).as_deref(),
        Some("22 the ring is impossible")
    );
    lab.turn();
    assert_eq!(
        lab.world
            .node(&alloc::format!("{}/state", lab.backs[0].node()))
            .as_deref(),
        Some("5")
    );
    lab.end(vec![(front, link)]);
}

#[test]
fn a_backend_without_rx_copy_and_a_bad_mac_are_refused_by_name() {
    let mut lab = Lab::new(&[]);
    lab.backs
        .push(Netback::announce(&lab.world, HOST, GUEST, 0, &[]));
    let (guest, store) = (lab.guest.clone(), lab.store.clone());
    let outcome = lab.run(async {
        Front::connect(&guest, &store, 0, Config::default())
            .await
            .map(drop)
    });
    assert_eq!(outcome, Err(Error::NoRxCopy));
    let place = "/local/domain/7/error/device/vif/0/error";
    assert!(
        lab.world
            .node(place)
            .is_some_and(|text| text.contains("feature-rx-copy"))
    );

    lab.backs[0] = Netback::announce(&lab.world, HOST, GUEST, 1, &OFFERS);
    lab.world
        .write_node("/local/domain/7/device/vif/1/mac", "no address");
    let outcome = lab.run(async {
        Front::connect(&guest, &store, 1, Config::default())
            .await
            .map(drop)
    });
    assert!(matches!(outcome, Err(Error::BadMac(_))));
    let outcome = lab.run(async {
        Front::connect(&guest, &store, 9, Config::default())
            .await
            .map(drop)
    });
    assert_eq!(outcome, Err(Error::Xenbus(crate::xenbus::Error::Gone)));
    (0..20).for_each(|_| lab.turn());
    assert_eq!(lab.guest.usage(), lab.before);
}

#[test]
fn whatever_fails_while_connecting_nothing_is_left() {
    for fault in [Fault::Page, Fault::Grant, Fault::Port, Fault::Xenstore] {
        let mut failed = 0;
        for skip in 0.. {
            let mut lab = Lab::new(&[HOST]);
            let (guest, store) = (lab.guest.clone(), lab.store.clone());
            let config = Config {
                rx_buffers: 8,
                tail_pages_max: 8,
            };
            lab.world.fail(fault, skip);
            let outcome = lab.run(async { Front::connect(&guest, &store, 0, config).await });
            if lab.world.clear_fault(fault) {
                assert!(outcome.is_ok(), "nothing failed");
                let connected = vec![outcome.unwrap()];
                lab.end(connected);
                break;
            }
            failed += 1;
            // A missing MTU is the only thing that can be done without.
            match outcome {
                Ok(connected) => lab.end(vec![connected]),
                Err(_) => {
                    (0..20).for_each(|_| lab.turn());
                    assert_eq!(lab.guest.usage(), lab.before, "{fault:?} {skip}");
                }
            }
        }
        assert!(failed > 0, "{fault:?}");
    }
}

#[test]
fn an_event_channel_that_fails_while_connecting_costs_no_more_than_what_is_mapped() {
    for skip in 0..200 {
        let mut lab = Lab::new(&[HOST]);
        let (guest, store) = (lab.guest.clone(), lab.store.clone());
        lab.world.fail(Fault::Notify, skip);
        // Xenstore is deaf from then on: nobody can be told, and nobody lets go of the rings.
        let outcome = lab.run(async { Front::connect(&guest, &store, 0, Config::default()).await });
        let failed = !lab.world.clear_fault(Fault::Notify);
        assert_eq!(failed, outcome.is_err());
        drop(outcome);
        let left = lab.guest.usage();
        assert_eq!(left.ports, lab.before.ports);
        assert!(
            [0, 2].contains(&(left.grants - lab.before.grants)),
            "{left:?}"
        );
        if !failed {
            return;
        }
    }
    panic!("it never connected");
}

#[test]
fn a_notification_that_fails_breaks_the_interface() {
    let (lab, mut front, link) = one();
    front
        .transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN)
        .unwrap();
    lab.world.fail(Fault::Notify, 0);
    front.flush();
    assert_eq!(front.state(), State::Broken(Breach::EventChannel));
    lab.end(vec![(front, link)]);
}

#[test]
fn connecting_survives_conflicts_and_answers_out_of_order() {
    let mut lab = Lab::new(&[HOST]);
    lab.world.set_quirks(Quirks {
        reversed: true,
        conflicts: 5,
        ..Quirks::default()
    });
    let connected = lab.connect(0);
    lab.end(vec![connected]);
}

#[test]
fn a_vif_comes_and_goes_hundreds_of_times_under_load_and_leaves_no_trace() {
    let mut lab = Lab::new(&[]);
    for round in 0..if cfg!(miri) { 2 } else { 300 } {
        // Now and then the backend comes back in another domain.
        let backend = if round % 3 == 0 { OTHER } else { HOST };
        lab.backs = vec![Netback::announce(&lab.world, backend, GUEST, 0, &OFFERS)];
        lab.backs[0].hold_answers = true;
        let (mut front, link) = lab.connect(0);
        assert_eq!(front.backend(), backend);
        for _ in 0..3 {
            assert!(lab.backs[0].deliver(&[&[1; 2000], &[2; 2000]], 0, 0, &[]));
            let mut tail = tail_of(front.receive().expect("a frame came"));
            front
                .transmit(&[1; 60], &mut tail, PLAIN)
                .expect("there is room");
        }
        assert!(
            lab.backs[0].deliver(&[&[1; 2000]], 0, 0, &[]),
            "one stays unread"
        );
        front.flush();
        lab.backs[0].receive();
        lab.unplug(vec![(front, link)]);
    }
}
