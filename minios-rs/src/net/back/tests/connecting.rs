//! What comes and goes: the handshake, its refusals and failures, and what a vif costs xenstore.

use super::*;
use crate::abi::errno::EINVAL;
use alloc::string::ToString;

#[test]
fn a_vif_connects_and_leaves_nothing_behind() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    let back = &lab.backs[0];
    assert_eq!(
        (back.frontend(), back.index(), back.queues()),
        (GUEST, 0, 1)
    );
    assert_eq!(back.name(), "vif5.0");
    assert_eq!(back.settings().mac, MacAddress([0, 0x16, 0x3e, 0, 5, 0]));
    assert_eq!((back.settings().mtu, back.settings().rate), (1500, None));
    assert!(back.features().scatter_gather && back.features().gso_tcpv4);
    assert!(back.features().ipv4_checksum && back.features().receive_notify);
    assert_eq!(back.ports().count(), 1);
    assert_eq!(lab.host.usage().mapped, 2);
    assert_eq!(
        lab.node(number, "hotplug-status").as_deref(),
        Some("connected")
    );
    lab.end();
}

#[test]
fn it_is_ready_for_its_frontend_before_the_toolstack_gives_up() {
    let mut lab = Lab::new();
    let number = lab.announce(GUEST, &[]);
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::INIT_WAIT);
    assert_eq!(lab.now, Instant(0), "at once");
    for feature in [
        "feature-rx-copy",
        "feature-sg",
        "feature-gso-tcpv4",
        "feature-gso-tcpv6",
        "feature-ipv6-csum-offload",
    ] {
        assert_eq!(lab.node(number, feature).as_deref(), Some("1"), "{feature}");
    }
    for other in [
        "multi-queue-max-queues",
        "feature-split-event-channels",
        "script",
    ] {
        assert_eq!(lab.node(number, other), None, "{other}");
    }
    assert!(lab.backs.is_empty());
    lab.end();
}

#[test]
fn what_the_toolstack_says_is_taken_or_refused_by_name() {
    let mut lab = Lab::new();
    let settings = [
        ("ip", "10.0.3.2 10.0.3.3"),
        ("rate", "131072,50000"),
        ("mtu", "9000"),
        ("vifname", "web0"),
    ];
    let number = lab.announce(GUEST, &settings);
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    let taken = lab.backs[0].settings();
    assert_eq!((taken.addresses.len(), taken.mtu), (2, 9000));
    assert_eq!(taken.name.as_deref(), Some("web0"));
    assert_eq!(lab.backs[0].name(), "web0");
    assert_eq!(taken.rate.map(|rate| rate.bytes), Some(131_072));
    for (index, (key, value)) in [
        ("mac", "no address"),
        ("ip", "10.0.3.2 fe80::1"),
        ("rate", "fast"),
        ("mtu", "67"),
        ("vifname", "a/b"),
        ("vlan", "7"),
    ]
    .into_iter()
    .enumerate()
    {
        let number = lab.announce(OTHER, &[(key, value)]);
        assert_eq!(
            lab.fronts[number].backend_state(),
            XenbusState::CLOSING,
            "{key}"
        );
        let place = format!("/local/domain/1/error/backend/vif/6/{index}/error");
        let reason = lab.world.node(&place).expect("it says why");
        assert!(reason.contains(&format!("{key}=")), "{reason}");
        assert!(reason.starts_with(&format!("{} ", EINVAL.0)), "{reason}");
    }
    lab.end();
}

#[test]
fn queues_and_split_channels_are_negotiated() {
    for (queues, channels) in [(1, 2), (2, 1), (4, 2)] {
        let mut lab = Lab::with(Config {
            queues_max: 4,
            event_channels: EventChannels::Split,
            ..Config::default()
        });
        let number = lab.announce(GUEST, &[]);
        assert_eq!(
            lab.node(number, "feature-split-event-channels").as_deref(),
            Some("1")
        );
        assert_eq!(
            lab.node(number, "multi-queue-max-queues").as_deref(),
            Some("4")
        );
        lab.fronts[number].connect(Shape { queues, channels });
        lab.settle();
        assert_eq!(lab.backs[0].queues(), queues as usize);
        assert_eq!(lab.backs[0].ports().count() as u32, queues * channels);
        for queue in 0..queues as usize {
            assert!(lab.fronts[number].send(queue, &[&bytes(100, queue as u8)], 0, &[]));
        }
        let mut seen = Vec::new();
        while let Some(frame) = lab.backs[0].receive() {
            let mut head = [0; HEAD_MAX];
            frame.read(0, &mut head);
            seen.push(head[0]);
            lab.backs[0].recycle_frame(frame);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..queues as u8).collect::<Vec<_>>());
        // A flow keeps to its queue.
        for _ in 0..5 {
            lab.backs[0]
                .transmit_bytes(&bytes(100, 1), PLAIN)
                .expect("there is room");
        }
        lab.backs[0].flush();
        let counts: Vec<usize> = (0..queues as usize)
            .map(|queue| lab.fronts[number].receive(queue).len())
            .collect();
        assert_eq!(counts.iter().max(), Some(&5));
        for queue in 0..queues as usize {
            assert_eq!(lab.fronts[number].answers(queue).len(), 1);
        }
        lab.end();
    }
}

#[test]
fn without_split_channels_or_scatter_gather_it_works_with_what_there_is() {
    let mut lab = Lab::new();
    let number = lab.announce(GUEST, &[]);
    lab.fronts[number].publish(Shape::default(), &[("request-rx-copy", "1")]);
    lab.fronts[number].post(0, 256);
    lab.fronts[number].switch_to(XenbusState::CONNECTED);
    lab.settle();
    let back = &mut lab.backs[0];
    let expected = Features {
        ipv4_checksum: true,
        ..Features::default()
    };
    assert_eq!(back.features(), expected);
    let gso = Some(Gso {
        kind: GsoKind::TcpV4,
        size: 1448,
    });
    let offload = Offload {
        checksum: Checksum::Blank,
        gso,
    };
    assert_eq!(
        back.transmit_bytes(&[1; 100], offload),
        Err(TransmitError::NotOffered)
    );
    assert_eq!(back.transmit_bytes(&[1; 4096], PLAIN), Ok(()));
    assert_eq!(
        back.transmit_bytes(&[1; 4097], PLAIN),
        Err(TransmitError::NotOffered)
    );
    assert_eq!(
        back.transmit_bytes(&[1; 13], PLAIN),
        Err(TransmitError::Size)
    );
    // Whoever cuts a frame up fills in its checksums.
    for (checksum, size) in [
        (Checksum::Validated, 1448),
        (Checksum::Unknown, 1448),
        (Checksum::Blank, 0),
    ] {
        let kind = GsoKind::TcpV4;
        let gso = Some(Gso { kind, size });
        let sent = back.transmit_bytes(&[1; 100], Offload { checksum, gso });
        assert_eq!(sent, Err(TransmitError::Invalid), "{checksum:?} {size}");
    }
    back.flush();
    assert_eq!(lab.fronts[number].receive(0)[0].bytes, [1; 4096]);
    lab.end();
}

#[test]
fn what_is_to_be_cut_goes_only_to_who_takes_it_in_several_slots() {
    for says in 0..8_u8 {
        let [sg, four, six] = [1, 2, 4].map(|bit| says & bit != 0);
        let mut lab = Lab::new();
        let number = lab.announce(GUEST, &[]);
        let flag = |flag| if flag { "1" } else { "0" };
        let takes = [
            ("request-rx-copy", "1"),
            ("feature-sg", flag(sg)),
            ("feature-gso-tcpv4", flag(four)),
            ("feature-gso-tcpv6", flag(six)),
        ];
        lab.fronts[number].publish(Shape::default(), &takes);
        lab.fronts[number].switch_to(XenbusState::CONNECTED);
        lab.settle();
        let features = lab.backs[0].features();
        assert_eq!(features.scatter_gather, sg);
        assert_eq!(features.gso_tcpv4, sg && four);
        assert_eq!(features.gso_tcpv6, sg && six);
        lab.end();
    }
}

#[test]
fn a_frontend_that_closes_before_it_connects_is_waited_for_again() {
    let mut lab = Lab::new();
    let number = lab.announce(GUEST, &[]);
    for (theirs, ours) in [
        (XenbusState::CLOSING, XenbusState::CLOSING),
        (XenbusState::CLOSED, XenbusState::CLOSED),
        (XenbusState::INITIALISING, XenbusState::INIT_WAIT),
    ] {
        lab.fronts[number].switch_to(theirs);
        lab.settle();
        assert_eq!(lab.fronts[number].backend_state(), ours);
    }
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    assert_eq!(lab.backs.len(), 1);
    lab.end();
}

#[test]
fn a_frontend_that_starts_anew_without_closing_connects_again() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    for _ in 0..20 {
        lab.advance(Duration::from_secs(1));
        let id = lab.backs[0].id();
        lab.fronts[number].switch_to(XenbusState::INITIALISING);
        lab.settle();
        assert_eq!(lab.fronts[number].backend_state(), XenbusState::INIT_WAIT);
        assert_eq!((lab.backs.len(), lab.host.usage().mapped), (0, 0));
        lab.fronts[number].drop_rings();
        lab.fronts[number].connect(Shape::default());
        lab.settle();
        assert_ne!(lab.backs[0].id(), id);
    }
    lab.end();
}

#[test]
fn a_frontend_that_connects_without_end_does_so_once_a_second() {
    for closes in [true, false] {
        let mut lab = Lab::new();
        let number = lab.connect(GUEST);
        let mut connections = 1;
        for _ in 0..100 {
            if closes {
                lab.fronts[number].switch_to(XenbusState::CLOSED);
                lab.settle();
            }
            lab.fronts[number].switch_to(XenbusState::INITIALISING);
            lab.settle();
            assert_eq!(lab.host.usage().mapped, 0, "its rings are its own again");
            if lab.fronts[number].backend_state() == XenbusState::INIT_WAIT {
                lab.fronts[number].drop_rings();
                lab.fronts[number].connect(Shape::default());
                lab.settle();
                connections += 1;
            }
            lab.advance(Duration::from_millis(100));
        }
        assert_eq!(connections, 10, "in 10 s");
        lab.end();
    }
}

#[test]
fn a_frontend_that_failed_and_starts_anew_at_once_waits_for_a_second() {
    let mut lab = Lab::new();
    let number = lab.announce(GUEST, &[]);
    lab.fronts[number].switch_to(XenbusState::CONNECTED);
    lab.settle();
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSING);
    lab.fronts[number].switch_to(XenbusState::INITIALISING);
    lab.settle();
    lab.advance(Duration::from_millis(999));
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSING);
    lab.advance(Duration::from_millis(1));
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::INIT_WAIT);
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    assert_eq!(lab.backs.len(), 1);
    lab.end();
}

#[test]
fn a_vif_that_cannot_be_started_is_tried_again_but_not_without_end() {
    let mut lab = Lab::new();
    let full = Quirks {
        nodes_max: 1,
        ..Quirks::default()
    };
    lab.world.set_quirks(full);
    let number = lab.announce(GUEST, &[]);
    // A directory without a word of the toolstack's in it.
    let empty = "/local/domain/1/backend/vif/9/0";
    lab.world.write_node(&format!("{empty}/state"), "1");
    lab.settle();
    let calls = lab.host.usage_hypercalls();
    lab.settle();
    assert_eq!(lab.host.usage_hypercalls(), calls, "we rest");
    assert_eq!(
        lab.fronts[number].backend_state(),
        XenbusState::INITIALISING
    );
    lab.world.set_quirks(Quirks::default());
    lab.advance(Duration::from_secs(1));
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::INIT_WAIT);
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    assert_eq!(lab.backs.len(), 1);
    lab.world.remove_node(empty);
    lab.end();
}

#[test]
fn nothing_said_of_a_vif_outlives_it() {
    let mut lab = Lab::new();
    for guest in 20..30 {
        let bad = [("mac", "none")];
        let two = [0, 1].map(|_| lab.announce(DomId(guest), &bad));
        let said = |lab: &Lab| lab.world.nodes_below("/local/domain/1/error");
        // Those above, the frontend's, and two of each vif's.
        assert_eq!(said(&lab), 2 + 1 + 2 * 2);
        for number in two {
            match guest % 2 {
                0 => lab.fronts[number].detach(),
                _ => lab.world.remove_node(lab.fronts[number].backend_node()),
            }
            lab.settle();
            lab.advance(Duration::from_secs(1));
        }
        assert_eq!(said(&lab), 2, "guest {guest}");
    }
    lab.end();
}

#[test]
fn a_frontend_that_vanishes_has_its_rings_unmapped() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    assert!(lab.fronts[number].send(0, &[&[1; 100]], 0, &[]));
    let frame = lab.backs[0].receive().expect("a frame came");
    lab.world.remove_node(lab.fronts[number].node());
    lab.settle();
    assert_eq!((lab.backs.len(), lab.host.usage().mapped), (0, 0));
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSED);
    drop(frame);
    lab.end();
}

#[test]
fn a_vif_whose_frontend_nobody_names_is_refused_by_name() {
    let mut lab = Lab::new();
    let node = "/local/domain/1/backend/vif/9/0";
    lab.world.write_node(&format!("{node}/online"), "1");
    lab.world.write_node(&format!("{node}/state"), "1");
    lab.settle();
    let closing = XenbusState::CLOSING.0.to_string();
    assert_eq!(lab.world.node(&format!("{node}/state")), Some(closing));
    let place = "/local/domain/1/error/backend/vif/9/0/error";
    let reason = lab.world.node(place).expect("it says why");
    assert!(reason.contains("named no frontend"), "{reason}");
    lab.world.remove_node(node);
    lab.end();
}

#[test]
fn a_vif_of_which_nobody_says_that_it_is_online_is() {
    let mut lab = Lab::new();
    let number = lab.announce(GUEST, &[]);
    let online = format!("{}/online", lab.fronts[number].backend_node());
    lab.world.remove_node(&online);
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    assert_eq!(lab.backs.len(), 1);
    lab.world.write_node(&online, "1");
    lab.end();
}

#[test]
fn a_guest_whose_directory_goes_as_a_whole_loses_all_its_vifs() {
    let mut lab = Lab::new();
    let vifs = [GUEST, GUEST, OTHER].map(|guest| lab.connect(guest));
    lab.world.remove_node("/local/domain/1/backend/vif/5");
    lab.settle();
    assert_eq!((lab.backs.len(), lab.host.usage().mapped), (1, 2));
    assert_eq!(lab.backs[0].frontend(), OTHER);
    let states = vifs.map(|number| lab.fronts[number].backend_state());
    let (gone, there) = (XenbusState::UNKNOWN, XenbusState::CONNECTED);
    assert_eq!(states, [gone, gone, there]);
    lab.end();
}

#[test]
fn a_guest_whose_driver_hangs_is_detached_all_the_same_and_in_time() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    lab.fronts[number].detach();
    lab.settle();
    assert_eq!(lab.backs.len(), 1, "it may still close by itself");
    lab.advance(Duration::from_secs(5));
    assert_eq!(lab.backs.len(), 0);
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSED);
    assert!(lab.now.0 < 10_000_000_000, "before the toolstack gives up");
    lab.advance(Duration::from_secs(1));
    assert_eq!(lab.world.node(lab.fronts[number].backend_node()), None);
    lab.end();
}

#[test]
fn a_detached_vif_is_removed_only_after_the_toolstack_could_read_closed() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    lab.fronts[number].detach();
    lab.settle();
    lab.fronts[number].switch_to(XenbusState::CLOSED);
    lab.settle();
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSED);
    lab.advance(Duration::from_millis(900));
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSED);
    lab.advance(Duration::from_millis(100));
    assert_eq!(lab.world.node(lab.fronts[number].backend_node()), None);
    lab.end();
}

#[test]
fn closed_is_said_again_to_whoever_writes_over_it_and_otherwise_once() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    lab.fronts[number].switch_to(XenbusState::CLOSED);
    lab.settle();
    let state = format!("{}/state", lab.fronts[number].backend_node());
    for _ in 0..3 {
        assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSED);
        let calls = lab.host.usage_hypercalls();
        lab.settle();
        assert_eq!(lab.host.usage_hypercalls(), calls, "we rest");
        lab.world.write_node(&state, "5");
        lab.settle();
    }
    lab.end();
}

#[test]
fn what_is_closed_stays_so_until_its_frontend_starts_anew() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    for state in [
        XenbusState::CLOSED,
        XenbusState::CLOSING,
        XenbusState::INITIALISED,
        XenbusState::CONNECTED,
    ] {
        lab.fronts[number].switch_to(state);
        lab.advance(Duration::from_secs(2));
        assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSED);
    }
    lab.fronts[number].switch_to(XenbusState::INITIALISING);
    lab.settle();
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::INIT_WAIT);
    lab.end();
}

#[test]
fn a_vif_that_never_connected_is_detached_at_once() {
    let mut lab = Lab::new();
    let number = lab.announce(GUEST, &[]);
    lab.fronts[number].detach();
    lab.settle();
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSED);
    lab.end();
}

#[test]
fn vifs_come_and_go_and_leave_no_trace() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    let full = lab.host.usage();
    for _ in 0..if cfg!(miri) { 2 } else { 100 } {
        lab.fronts[number].detach();
        lab.settle();
        lab.fronts[number].switch_to(XenbusState::CLOSED);
        lab.settle();
        lab.fronts[number].drop_rings();
        lab.advance(Duration::from_secs(1));
        assert_eq!(lab.fronts[number].backend_state(), XenbusState::UNKNOWN);
        lab.fronts[number].make(&[]);
        lab.settle();
        lab.fronts[number].connect(Shape::default());
        lab.settle();
        assert_eq!(lab.host.usage(), full);
    }
    lab.end();
}

#[test]
fn sixty_four_vifs_are_served_and_one_more_waits_for_a_place() {
    let mut lab = Lab::new();
    for guest in 0..VIFS_MAX as u16 + 1 {
        lab.announce(DomId(100 + guest), &[]);
    }
    lab.settle();
    let waiting = |lab: &Lab| {
        let states = lab.fronts.iter().map(Netfront::backend_state);
        states
            .filter(|state| *state == XenbusState::INIT_WAIT)
            .count()
    };
    assert_eq!(waiting(&lab), VIFS_MAX);
    // All of them connect, and each is heard by the next.
    for guest in 0..VIFS_MAX {
        lab.fronts[guest].connect(Shape::default());
    }
    for _ in 0..20 {
        lab.settle();
    }
    assert_eq!(lab.backs.len(), VIFS_MAX);
    let order: Vec<DomId> = lab.backs.iter().map(Back::frontend).collect();
    for (at, guest) in order.iter().enumerate() {
        let next = (at + 1) % VIFS_MAX;
        let from = usize::from(guest.0 - 100);
        let to = usize::from(order[next].0 - 100);
        let frame = frame_for(next, 1000, at as u8);
        assert!(lab.fronts[from].send(0, &[&frame], 0, &[]));
        relay(&mut lab.backs);
        assert_eq!(lab.fronts[to].receive(0)[0].bytes, frame);
    }
    let usage = lab.host.usage();
    assert_eq!(usage.mapped, 2 * VIFS_MAX);
    assert_eq!(usage.ports, lab.before.ports + VIFS_MAX);
    let below = lab.world.nodes_below("/local/domain/1/backend/vif");
    // What the toolstack wrote for the one that waits is ours, too.
    assert!(below <= NODES_MAX * VIFS_MAX + 12, "{below}");
    assert!(lab.host.usage().watches <= WATCHES_MAX + lab.before.watches);
    const { assert!(WATCHES_MAX < 90) };
    lab.fronts[0].detach();
    lab.settle();
    lab.fronts[0].switch_to(XenbusState::CLOSED);
    lab.settle();
    lab.advance(Duration::from_secs(1));
    assert_eq!(waiting(&lab), 1, "the last one has the first one's place");
    lab.end();
}

#[test]
fn a_vif_that_has_no_place_is_let_go_when_it_is_taken_away() {
    let mut lab = Lab::new();
    for guest in 0..VIFS_MAX as u16 + 2 {
        lab.announce(DomId(100 + guest), &[]);
    }
    let (first, second) = (&lab.fronts[VIFS_MAX], &lab.fronts[VIFS_MAX + 1]);
    first.detach();
    second.detach();
    lab.settle();
    for number in [VIFS_MAX, VIFS_MAX + 1] {
        assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSED);
    }
    lab.advance(Duration::from_millis(500));
    let first = &lab.fronts[VIFS_MAX];
    assert_eq!(first.backend_state(), XenbusState::CLOSED, "not at once");
    // Another of that name is not the one that was taken away.
    first.make(&[]);
    lab.settle();
    lab.advance(Duration::from_millis(500));
    let states = [VIFS_MAX, VIFS_MAX + 1].map(|number| lab.fronts[number].backend_state());
    assert_eq!(states, [XenbusState::INITIALISING, XenbusState::UNKNOWN]);
    lab.end();
}

/// All that the toolstack can say of a vif.
const EVERYTHING: [(&str, &str); 6] = [
    ("ip", "10.0.3.2 10.0.3.3"),
    ("vifname", "vif-web"),
    ("bridge", "br-lan"),
    ("mtu", "9000"),
    ("rate", "131072,50000"),
    ("gatewaydev", "eth0"),
];

/// Of the one vif. The frontend's directory above it is the toolstack's own.
fn nodes(lab: &Lab) -> usize {
    lab.world.nodes_below("/local/domain/1/backend/vif") - 1
}

#[test]
fn a_vif_costs_no_more_nodes_than_it_may_whatever_is_said_and_offered() {
    for event_channels in [EventChannels::Shared, EventChannels::Split] {
        for multicast in [MulticastControl::Withheld, MulticastControl::Offered] {
            for ipv6_offloads in [Ipv6Offloads::Withheld, Ipv6Offloads::Offered] {
                for queues_max in [1, 4] {
                    let mut lab = Lab::with(Config {
                        queues_max,
                        event_channels,
                        multicast,
                        ipv6_offloads,
                        ..Config::default()
                    });
                    let number = lab.announce(GUEST, &EVERYTHING);
                    lab.fronts[number].connect(Shape::default());
                    lab.settle();
                    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CONNECTED);
                    let count = nodes(&lab);
                    assert_eq!(count, NODES_MAX, "as much is left as there may be");
                    for key in ["frontend", "online", "hotplug-status", "feature-sg"] {
                        assert!(lab.node(number, key).is_some(), "{key}");
                    }
                    lab.end();
                }
            }
        }
    }
    // Nor one that is refused.
    let mut lab = Lab::new();
    let settings = EVERYTHING.into_iter().chain([("vlan", "7")]);
    lab.announce(GUEST, &settings.collect::<Vec<_>>());
    assert_eq!(lab.fronts[0].backend_state(), XenbusState::CLOSING);
    assert!(nodes(&lab) <= NODES_MAX, "{}", nodes(&lab));
    lab.end();
    // Whatever the domain needs besides.
    const { assert!(NODES_MAX * VIFS_MAX <= 850) };
}

#[test]
fn what_goes_without_saying_makes_room_first() {
    for (mtu, bridge) in [("1500", "xenbr0"), ("9000", "br-lan")] {
        let mut lab = Lab::new();
        let settings = [("mtu", mtu), ("bridge", bridge)];
        let number = lab.announce(GUEST, &settings);
        let is_usual = mtu == "1500";
        for (key, value) in settings {
            let left = lab.node(number, key);
            assert_eq!(left.as_deref(), (!is_usual).then_some(value), "{key}");
        }
        // In whose place this one could stay.
        assert_eq!(lab.node(number, "frontend-id").is_some(), is_usual);
        assert!(lab.node(number, "mac").is_some());
        lab.fronts[number].connect(Shape::default());
        lab.settle();
        let settings = lab.backs[0].settings();
        assert_eq!(settings.mtu.to_string(), mtu);
        assert_eq!(settings.bridge, bridge);
        lab.end();
    }
}

#[test]
fn what_was_said_of_a_vif_holds_when_it_is_begun_with_again_and_not_for_the_next() {
    for skip in 0..120 {
        let mut lab = Lab::new();
        lab.world.fail(Fault::Xenstore, skip);
        let number = lab.announce(GUEST, &EVERYTHING);
        lab.advance(Duration::from_secs(1));
        let was_met = !lab.world.clear_fault(Fault::Xenstore);
        lab.advance(Duration::from_secs(1));
        if lab.fronts[number].backend_state() == XenbusState::INIT_WAIT {
            lab.fronts[number].connect(Shape::default());
            lab.settle();
            let settings = lab.backs[0].settings().clone();
            assert_eq!(
                settings.rate.map(|rate| rate.bytes),
                Some(131_072),
                "{skip}"
            );
            assert_eq!(
                (settings.mtu, settings.addresses.len()),
                (9000, 2),
                "{skip}"
            );
            assert_eq!(settings.bridge, "br-lan", "{skip}");
            assert_eq!(settings.name.as_deref(), Some("vif-web"), "{skip}");
        }
        lab.fronts[number].detach();
        lab.settle();
        lab.fronts[number].switch_to(XenbusState::CLOSED);
        lab.settle();
        lab.fronts[number].drop_rings();
        lab.advance(Duration::from_secs(1));
        lab.advance(Duration::from_secs(1));
        lab.fronts[number].make(&[("ip", "10.0.3.4")]);
        lab.settle();
        lab.fronts[number].connect(Shape::default());
        lab.settle();
        let settings = lab.backs[0].settings();
        assert_eq!((settings.rate, settings.mtu), (None, 1500), "{skip}");
        assert_eq!((settings.addresses.len(), &settings.name), (1, &None));
        lab.end();
        if !was_met {
            assert!(skip > 30, "{skip}");
            return;
        }
    }
    panic!("it asks xenstored without end");
}

#[test]
fn a_vif_that_is_attached_again_before_it_is_gone_is_another() {
    let mut lab = Lab::new();
    let number = lab.announce(GUEST, &EVERYTHING);
    lab.fronts[number].detach();
    lab.settle();
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSED);
    lab.world.remove_node(lab.fronts[number].backend_node());
    lab.fronts[number].make(&[("rate", "5000,1000")]);
    lab.settle();
    lab.advance(Duration::from_secs(2));
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    let settings = lab.backs[0].settings();
    assert_eq!(settings.rate.map(|rate| rate.bytes), Some(5000));
    assert_eq!((settings.mtu, &settings.name), (1500, &None));
    lab.end();
}

#[test]
fn rings_are_waited_for_before_the_frontend_is_told_that_they_are_its_own() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    // Whoever forwards has not looked yet.
    let back = lab.backs.pop();
    lab.fronts[number].switch_to(XenbusState::CLOSED);
    lab.settle();
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CONNECTED);
    assert!(back.as_ref().is_some_and(Back::is_ending));
    drop(back);
    lab.settle();
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSED);
    lab.end();
}
