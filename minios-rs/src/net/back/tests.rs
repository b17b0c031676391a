use super::*;
use crate::abi::io::netif::*;
use crate::abi::io::ring::{REQ_PROD, RING};
use crate::fake::netback::Which;
use crate::fake::netfront::{Netfront, Shape, TAKES};
use crate::fake::{Domain, Fault, Page, Quirks, Usage, World};
use crate::net::{FRAME_SLOTS_MAX, Gso, MacAddress};
use crate::task::Executor;
use crate::time::Instant;
use crate::xen::{DomId, SharedPage};
use crate::xenbus::XenbusState;
use crate::xenstore::Client;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;
use proptest::prelude::*;

const HOST: DomId = DomId(1);
const GUEST: DomId = DomId(5);
const OTHER: DomId = DomId(6);
const THIRD: DomId = DomId(7);

const PLAIN: Offload = Offload {
    checksum: Checksum::Unknown,
    gso: None,
};

struct Lab {
    world: World,
    host: Domain,
    store: Client<Domain>,
    executor: Executor,
    backends: Backends<Domain>,
    backs: Vec<Back<Domain>>,
    fronts: Vec<Netfront>,
    before: Usage,
    now: Instant,
}

impl Lab {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let world = World::new();
        let host = world.domain(HOST);
        let store = world.connect_xenstore(&host);
        let before = host.usage();
        let executor = Executor::new(VIFS_MAX + 8);
        let backends = Backends::start(&host, &store, &executor, config).expect("it fits");
        let mut lab = Self {
            world,
            host,
            store,
            executor,
            backends,
            backs: Vec::new(),
            fronts: Vec::new(),
            before,
            now: Instant(0),
        };
        lab.settle();
        lab
    }

    fn turn(&mut self) {
        self.store.pump();
        self.world.serve_xenstore();
        self.store.pump();
        self.executor.run_ready(self.now);
        while let Some(back) = self.backends.arrived() {
            self.backs.push(back);
        }
        self.backs.retain(|back| !back.is_ending());
    }

    fn settle(&mut self) {
        for _ in 0..60 + 40 * self.fronts.len() {
            self.turn();
        }
    }

    fn advance(&mut self, duration: Duration) {
        self.world.advance(duration);
        self.now = self.now.after(duration);
        self.settle();
    }

    /// A guest's vif, announced and waited for.
    fn announce(&mut self, front: DomId, settings: &[(&str, &str)]) -> usize {
        let index = self
            .fronts
            .iter()
            .filter(|other| other.domain().id() == front)
            .count();
        let netfront = Netfront::announce(&self.world, HOST, front, index as u32, settings);
        self.fronts.push(netfront);
        self.settle();
        self.fronts.len() - 1
    }

    fn connect(&mut self, front: DomId) -> usize {
        let number = self.announce(front, &[]);
        assert_eq!(self.fronts[number].backend_state(), XenbusState::INIT_WAIT);
        self.fronts[number].connect(Shape::default());
        self.settle();
        assert_eq!(self.fronts[number].backend_state(), XenbusState::CONNECTED);
        assert_eq!(self.backs.len(), number + 1);
        number
    }

    fn node(&self, number: usize, key: &str) -> Option<alloc::string::String> {
        let path = format!("{}/{key}", self.fronts[number].backend_node());
        self.world.node(&path)
    }

    /// Detaches every vif, and looks that nothing is left of them.
    fn end(mut self) {
        for front in &self.fronts {
            front.detach();
        }
        self.settle();
        for front in &mut self.fronts {
            front.switch_to(XenbusState::CLOSED);
        }
        self.settle();
        self.advance(Duration::from_secs(6));
        self.advance(Duration::from_secs(2));
        assert!(self.backs.is_empty());
        let expected = Usage {
            // The one that looks for vifs.
            watches: self.before.watches + 1,
            ..self.before
        };
        assert_eq!(self.host.usage(), expected, "nothing is left");
        for front in &self.fronts {
            assert_eq!(self.world.node(front.backend_node()), None);
        }
    }
}

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

/// A frame's first bytes name the back it is for.
fn frame_for(number: usize, len: usize, seed: u8) -> Vec<u8> {
    let mut frame = bytes(len, seed);
    frame[0] = number as u8;
    frame
}

fn gso_info(size: u16) -> ExtraInfo {
    ExtraInfo {
        kind: XEN_NETIF_EXTRA_TYPE_GSO,
        gso_type: XEN_NETIF_GSO_TYPE_TCPV4,
        gso_size: size,
        ..ExtraInfo::default()
    }
}

/// What a relay does: takes every frame, and sends it to the back its first byte names.
fn relay(backs: &mut [Back<Domain>]) {
    for number in 0..backs.len() {
        while let Some(frame) = backs[number].receive() {
            let mut head = [0; HEAD_MAX];
            let read = frame.read(0, &mut head);
            let offload = Offload {
                checksum: frame.checksum,
                gso: frame.gso,
            };
            let egress = usize::from(head[0]) % backs.len();
            let mut slots = frame.slots;
            let first = slots.remove(0);
            assert_eq!(usize::from(first.len), read);
            backs[number].recycle(first.buffer);
            let _ = backs[egress].transmit(&head[..read], slots.as_mut_view(), offload);
            for slice in slots {
                backs[number].recycle(slice.buffer);
            }
        }
    }
    give_back(backs);
}

fn give_back(backs: &mut [Back<Domain>]) {
    backs.iter_mut().for_each(Back::flush);
    for number in 0..backs.len() {
        while let Some(buffer) = backs[number].completed() {
            if let Some(owner) = backs.iter_mut().find(|back| back.id() == buffer.owner()) {
                owner.recycle(buffer);
            }
        }
    }
    backs.iter_mut().for_each(Back::flush);
}

#[test]
fn a_vif_connects_and_leaves_nothing_behind() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    let back = &lab.backs[0];
    assert_eq!(
        (back.frontend(), back.index(), back.queues()),
        (GUEST, 0, 1)
    );
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
    }
    lab.end();
}

#[test]
fn a_value_that_is_not_utf8_is_refused_as_one() {
    let mut lab = Lab::new();
    let number = lab.announce(GUEST, &[]);
    lab.fronts[number].publish(Shape::default(), &TAKES);
    lab.fronts[number].write("tx-ring-ref", [0xff, 0xfe]);
    lab.fronts[number].switch_to(XenbusState::CONNECTED);
    lab.settle();
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSING);
    let reason = lab
        .world
        .node("/local/domain/1/error/backend/vif/5/0/error");
    assert!(reason.is_some_and(|reason| reason.contains("tx-ring-ref")));
    lab.end();
}

#[test]
fn keys_that_are_missing_huge_or_somebody_elses_cost_the_connection() {
    for (key, value) in [
        ("tx-ring-ref", "99999999999"),
        ("rx-ring-ref", ""),
        ("event-channel", "4000"),
        ("event-channel", "-1"),
        ("tx-ring-ref", "12345"),
        ("multi-queue-num-queues", "2"),
        ("multi-queue-num-queues", "0"),
        ("multi-queue-num-queues", "4294967296"),
        ("request-rx-copy", "0"),
    ] {
        let mut lab = Lab::new();
        let number = lab.announce(GUEST, &[]);
        lab.fronts[number].publish(Shape::default(), &TAKES);
        lab.fronts[number].write(key, value);
        lab.fronts[number].switch_to(XenbusState::CONNECTED);
        lab.settle();
        assert_eq!(
            lab.fronts[number].backend_state(),
            XenbusState::CLOSING,
            "{key} {value}"
        );
        assert!(lab.backs.is_empty());
        assert_eq!(
            (lab.host.usage().mapped, lab.host.usage().ports),
            (0, lab.before.ports)
        );
        // It may think better of it.
        lab.fronts[number].switch_to(XenbusState::CLOSED);
        lab.settle();
        assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSED);
        lab.fronts[number].write("multi-queue-num-queues", "1");
        lab.fronts[number].switch_to(XenbusState::INITIALISING);
        lab.settle();
        assert_eq!(
            lab.fronts[number].backend_state(),
            XenbusState::CLOSED,
            "not as often as it likes"
        );
        lab.advance(Duration::from_secs(1));
        assert_eq!(lab.fronts[number].backend_state(), XenbusState::INIT_WAIT);
        lab.fronts[number].connect(Shape::default());
        lab.settle();
        assert_eq!(lab.backs.len(), 1, "{key} {value}");
        lab.end();
    }
}

#[test]
fn a_frontend_directory_of_another_domain_is_not_followed() {
    let mut lab = Lab::new();
    let settings = [("frontend", "/local/domain/6/device/vif/0")];
    let number = lab.announce(GUEST, &settings);
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSING);
    lab.end();
}

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
        assert_eq!(frames[0].slots, 16);
        let answers = lab.fronts[from].answers(0);
        let nulls = answers
            .iter()
            .filter(|answer| answer.status == NETIF_RSP_NULL);
        assert_eq!((answers.len(), nulls.count()), (18, 1));
        assert_eq!(answers[1].status, NETIF_RSP_NULL, "in its place");
        assert_eq!(lab.fronts[to].post(0, 256), 17);
    }
    lab.end();
}

#[test]
fn headers_strewn_over_many_slots_are_gathered() {
    // XSA-423 and XSA-432: frames of tiny slots, and a first slot without a whole header.
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    for len in [18, 100, 700, 5000] {
        let frame = frame_for(to, len, 5);
        let mut slots: Vec<&[u8]> = frame[..17].chunks(1).collect();
        if len > 4096 + 17 {
            slots.truncate(15);
            slots.push(&frame[15..4000]);
            slots.push(&frame[4000..]);
        } else {
            slots.push(&frame[17..]);
        }
        assert!(slots.len() <= FRAME_SLOTS_MAX);
        assert!(lab.fronts[from].send(0, &slots, 0, &[]));
        relay(&mut lab.backs);
        assert_eq!(lab.fronts[to].receive(0)[0].bytes, frame, "{len}");
        assert_eq!(lab.fronts[from].answers(0).len(), slots.len());
        lab.fronts[to].post(0, 256);
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
        Err(TransmitError::Size)
    );
    assert_eq!(
        back.transmit_bytes(&[1; 13], PLAIN),
        Err(TransmitError::Size)
    );
    back.flush();
    assert_eq!(lab.fronts[number].receive(0)[0].bytes, [1; 4096]);
    lab.end();
}

#[test]
fn a_batch_costs_one_event_and_one_hypercall_for_32_copies() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    for _ in 0..64 {
        assert!(lab.fronts[from].send(0, &[&frame_for(to, 64, 1)], 0, &[]));
    }
    let events = lab.fronts[to].events_received(0);
    let calls = lab.host.usage_hypercalls();
    relay(&mut lab.backs);
    assert_eq!(lab.fronts[to].receive(0).len(), 64);
    assert_eq!(lab.fronts[to].events_received(0), events + 1);
    // Two in, two out, one event each way: 6 for 64 packets.
    assert_eq!(lab.host.usage_hypercalls() - calls, 6);
    lab.end();
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

/// Sends these entries and says what became of the frontend's connection.
fn breach(entries: impl FnOnce(&mut Netfront)) -> Option<State> {
    let mut lab = Lab::new();
    let (number, honest) = (lab.connect(GUEST), lab.connect(OTHER));
    entries(&mut lab.fronts[number]);
    lab.fronts[number].show(0);
    assert!(lab.fronts[honest].send(0, &[&frame_for(honest, 100, 1)], 0, &[]));
    relay(&mut lab.backs);
    let state = lab.backs[number].state();
    assert_eq!(
        lab.backs[honest].counters().transmitted_frames,
        1,
        "nobody else's trouble"
    );
    lab.settle();
    if matches!(state, State::Broken(_)) {
        assert_eq!(lab.backs.len(), 1, "the connection is gone");
        assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSING);
        let place = "/local/domain/1/error/backend/vif/5/0/error";
        assert!(lab.world.node(place).is_some(), "and it says why");
    }
    lab.end();
    Some(state)
}

fn request(front: &mut Netfront, len: usize) -> TxRequest {
    front.requests(0, &[&vec![0; len]], 0, 0)[0]
}

#[test]
fn lies_about_the_ring_cost_the_connection() {
    let broken = |breach| Some(State::Broken(breach));
    let lie = |index: u32| breach(|front| front.poke(0, Which::Tx, REQ_PROD, index));
    assert_eq!(lie(257), broken(Breach::TransmitIndex));
    assert_eq!(lie(u32::MAX), broken(Breach::TransmitIndex));
    assert_eq!(lie(1 << 31), broken(Breach::TransmitIndex));

    // A chain that goes on behind what was published.
    let endless = breach(|front| {
        let flags = NETTXF_MORE_DATA;
        let request = TxRequest {
            flags,
            ..request(front, 100)
        };
        front.push(0, &request);
    });
    assert_eq!(endless, broken(Breach::Truncated));
    let missing_extra = breach(|front| {
        let flags = NETTXF_EXTRA_INFO;
        let request = TxRequest {
            flags,
            ..request(front, 100)
        };
        front.push(0, &request);
    });
    assert_eq!(missing_extra, broken(Breach::Truncated));

    // A slot that reaches beyond its page, first or later.
    let crossing = breach(|front| {
        let request = TxRequest {
            offset: 4000,
            ..request(front, 100)
        };
        front.push(0, &request);
    });
    assert_eq!(crossing, broken(Breach::CrossesPage));
    let crossing_later = breach(|front| {
        let requests = front.requests(0, &[&[1; 100], &[2; 100]], 0, 0);
        front.push(0, &requests[0]);
        front.push(
            0,
            &TxRequest {
                offset: u16::MAX,
                ..requests[1]
            },
        );
    });
    assert_eq!(crossing_later, broken(Breach::CrossesPage));

    // 22 slots.
    let long = breach(|front| {
        let requests = front.requests(0, &[&[1; 50][..]; 22], 0, 0);
        requests.iter().for_each(|request| front.push(0, request));
    });
    assert_eq!(long, broken(Breach::TooManySlots));
}

#[test]
fn lies_in_extra_infos_cost_the_connection() {
    let with = |infos: &[ExtraInfo]| {
        breach(|front| {
            let flags = NETTXF_EXTRA_INFO | NETTXF_CSUM_BLANK;
            let request = TxRequest {
                flags,
                ..request(front, 100)
            };
            front.push(0, &request);
            infos.iter().for_each(|info| front.push_extra(0, *info));
        })
    };
    let broken = |breach| Some(State::Broken(breach));
    let more = XEN_NETIF_EXTRA_FLAG_MORE;
    let kind = |kind| ExtraInfo {
        kind,
        flags: more,
        ..ExtraInfo::default()
    };
    assert_eq!(with(&[gso_info(1448)]), Some(State::Open));
    assert_eq!(with(&[kind(0)]), broken(Breach::ExtraInfo));
    assert_eq!(
        with(&[kind(XEN_NETIF_EXTRA_TYPE_MAX)]),
        broken(Breach::ExtraInfo)
    );
    let again = ExtraInfo {
        flags: more,
        ..gso_info(1448)
    };
    assert_eq!(with(&[again, gso_info(9)]), broken(Breach::ExtraInfo));
    let loops = vec![kind(XEN_NETIF_EXTRA_TYPE_HASH); 200];
    assert_eq!(with(&loops), broken(Breach::ExtraInfo));
    assert_eq!(
        with(&[kind(XEN_NETIF_EXTRA_TYPE_HASH)]),
        broken(Breach::Truncated)
    );
    assert_eq!(with(&[gso_info(0)]), broken(Breach::Gso));
    let unknown = ExtraInfo {
        gso_type: 7,
        ..gso_info(1448)
    };
    assert_eq!(with(&[unknown]), broken(Breach::Gso));
}

#[test]
fn lies_about_one_frame_cost_that_frame() {
    let mut lab = Lab::new();
    let (number, to) = (lab.connect(GUEST), lab.connect(OTHER));
    let front = &mut lab.fronts[number];
    // Shorter than a header; a part longer than the whole; as long as it; an empty part; 19 slots; segments
    // without a blank checksum; a wish that was not offered.
    assert!(front.send(0, &[&[1; 13]], 0, &[]));
    for (first, second) in [(100, 200), (200, 200), (200, 0)] {
        let requests = front.requests(0, &[&[1; 100], &[2; 100]], 0, 0);
        front.push(
            0,
            &TxRequest {
                size: first,
                ..requests[0]
            },
        );
        front.push(
            0,
            &TxRequest {
                size: second,
                ..requests[1]
            },
        );
    }
    front.show(0);
    assert!(front.send(0, &[&[1; 50][..]; 19], 0, &[]));
    assert!(front.send(0, &[&[1; 100]], NETTXF_DATA_VALIDATED, &[gso_info(1448)]));
    let kind = XEN_NETIF_EXTRA_TYPE_MCAST_ADD;
    let join = ExtraInfo {
        kind,
        ..ExtraInfo::default()
    };
    assert!(front.send(0, &[&[1; 100]], 0, &[join]));
    let good = frame_for(to, 100, 1);
    assert!(front.send(0, &[&good], 0, &[]));
    relay(&mut lab.backs);
    assert_eq!(lab.fronts[to].receive(0)[0].bytes, good);
    let counters = lab.backs[number].counters();
    assert_eq!(
        (
            counters.dropped_runt,
            counters.dropped_malformed,
            counters.dropped_slots,
            counters.dropped_extra,
            counters.received_frames
        ),
        (1, 4, 1, 1, 1)
    );
    let answers = lab.fronts[number].answers(0);
    let of = |status| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    assert_eq!((of(NETIF_RSP_OKAY), of(NETIF_RSP_NULL)), (1, 2));
    assert_eq!(of(NETIF_RSP_ERROR), 1 + 6 + 19 + 1 + 1);
    assert_eq!(
        lab.fronts[number].outstanding(0),
        0,
        "every request has its answer"
    );
    lab.end();
}

#[test]
fn a_frame_with_one_slice_too_many_is_dropped_whole() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    // A first slot longer than what is copied of it, and all the others there can be.
    let mut slots = vec![&[1; 1000][..]];
    slots.extend([&[2; 100][..]; FRAME_SLOTS_MAX - 1]);
    assert!(lab.fronts[number].send(0, &slots, 0, &[]));
    assert!(lab.backs[0].receive().is_none());
    lab.backs[0].flush();
    assert_eq!(lab.backs[0].counters().dropped_slots, 1);
    assert_eq!(lab.fronts[number].answers(0).len(), FRAME_SLOTS_MAX);
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
        let mut frame = lab.backs[number].receive().expect("a frame came");
        let mut head = [0; HEAD_MAX];
        frame.read(0, &mut head);
        let first = frame.slots.remove(0);
        lab.backs[number].recycle(first.buffer);
        lab.backs[to]
            .transmit(&head, frame.slots.as_mut_view(), PLAIN)
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
    assert!(lab.host.usage().watches <= WATCHES_MAX + lab.before.watches);
    const { assert!(WATCHES_MAX < 90) };
    lab.fronts[0].detach();
    lab.settle();
    lab.advance(Duration::from_secs(1));
    assert_eq!(
        waiting(&lab),
        VIFS_MAX,
        "the last one has the first one's place"
    );
    lab.end();
}

#[test]
fn a_vif_costs_no_more_nodes_than_it_may() {
    let mut lab = Lab::new();
    lab.connect(GUEST);
    assert_eq!(
        lab.world.nodes_below("/local/domain/1/backend/vif"),
        NODES_MAX
    );
    // Whatever the domain needs besides.
    const { assert!(NODES_MAX * VIFS_MAX <= 850) };
    lab.end();
}

#[test]
fn connecting_survives_conflicts_and_answers_out_of_order() {
    let mut lab = Lab::new();
    lab.world.set_quirks(Quirks {
        reversed: true,
        conflicts: 5,
        ..Quirks::default()
    });
    lab.connect(GUEST);
    lab.end();
}

#[test]
fn whatever_fails_while_connecting_nothing_is_left() {
    for fault in [Fault::Page, Fault::Map, Fault::Bind] {
        for skip in 0..64 {
            let mut lab = Lab::new();
            let number = lab.announce(GUEST, &[]);
            lab.fronts[number].publish(Shape::default(), &TAKES);
            lab.world.fail(fault, skip);
            lab.fronts[number].switch_to(XenbusState::CONNECTED);
            lab.settle();
            let failed = !lab.world.clear_fault(fault);
            if !failed {
                assert_eq!(lab.backs.len(), 1);
                lab.end();
                break;
            }
            assert!(lab.backs.is_empty(), "{fault:?} {skip}");
            assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSING);
            lab.end();
        }
    }
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

/// Memory in which every word reads differently each time, as a frontend that races us can make it.
struct Restless(Page);

impl crate::ring::RingMemory for Restless {
    fn ring_word(&self, offset: usize) -> &core::sync::atomic::AtomicU32 {
        let word = self.0.word(offset);
        word.fetch_add(0x0001_0101, core::sync::atomic::Ordering::Relaxed);
        word
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<(u16, u16, u16)>, u16),
    SendExtra(u8, u8, u16, u8),
    Raw(u32, u16, u16, u16, u16),
    PostRaw(u16, u32),
    Poke(Which, u16, u32),
    PokeIndex(Which, u32),
    RevokeSent,
    RevokePosted,
    Scribble(u8),
    State(u32),
    Key(u8, u32),
    Reconnect,
    Notify,
    Relay,
    Hold,
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let which = prop_oneof![Just(Which::Tx), Just(Which::Rx)];
    let slot = (0..4097_u16, 0..4097_u16, 0..16_u16);
    prop_oneof![
        6 => (prop::collection::vec(slot, 1..20), 0..8_u16).prop_map(|(slots, flags)| Step::Send(slots, flags)),
        2 => (0..7_u8, 0..3_u8, any::<u16>(), 0..4_u8).prop_map(|(kind, flags, size, gso)| Step::SendExtra(kind, flags, size, gso)),
        2 => (0..64_u32, any::<u16>(), 0..16_u16, any::<u16>(), any::<u16>())
            .prop_map(|(gref, offset, flags, id, size)| Step::Raw(gref, offset, flags, id, size)),
        1 => (any::<u16>(), 0..64_u32).prop_map(|(id, gref)| Step::PostRaw(id, gref)),
        2 => (which.clone(), 0..1024_u16, any::<u32>()).prop_map(|(which, at, value)| Step::Poke(which, at, value)),
        1 => (which, any::<u32>()).prop_map(|(which, value)| Step::PokeIndex(which, value)),
        1 => Just(Step::RevokeSent),
        1 => Just(Step::RevokePosted),
        1 => any::<u8>().prop_map(Step::Scribble),
        1 => (0..9_u32).prop_map(Step::State),
        1 => (0..6_u8, any::<u32>()).prop_map(|(key, value)| Step::Key(key, value)),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Notify),
        8 => Just(Step::Relay),
        2 => Just(Step::Hold),
        2 => Just(Step::Settle),
    ]
}

/// What a liar does; false if it has no rings to do it to.
fn lie(front: &mut Netfront, step: &Step) {
    match step {
        Step::Send(slots, flags) => {
            let total: usize = slots.iter().map(|slot| usize::from(slot.1)).sum();
            for (number, (offset, len, more)) in slots.iter().enumerate() {
                let mut request = front.requests(0, &[&[3; 64]], 0, 0)[0];
                request.offset = *offset;
                request.size = if number == 0 { total as u16 } else { *len };
                // Mostly a proper chain.
                let is_last = number + 1 == slots.len();
                request.flags = if number == 0 { *flags & 3 } else { 0 };
                if !is_last || more % 16 == 7 {
                    request.flags |= NETTXF_MORE_DATA;
                }
                front.push(0, &request);
            }
            front.show(0);
        }
        Step::SendExtra(kind, flags, gso_size, gso_type) => {
            let mut request = front.requests(0, &[&[3; 64]], 0, 0)[0];
            request.flags = NETTXF_EXTRA_INFO | NETTXF_CSUM_BLANK;
            front.push(0, &request);
            let (kind, flags, gso_size, gso_type) = (*kind, *flags, *gso_size, *gso_type);
            front.push_extra(
                0,
                ExtraInfo {
                    kind,
                    flags,
                    gso_size,
                    gso_type,
                    ..ExtraInfo::default()
                },
            );
            front.show(0);
        }
        Step::Raw(gref, offset, flags, id, size) => {
            let (gref, offset, flags, id, size) = (*gref, *offset, *flags, *id, *size);
            front.push(
                0,
                &TxRequest {
                    gref,
                    offset,
                    flags,
                    id,
                    size,
                },
            );
            front.show(0);
        }
        Step::PostRaw(id, gref) => front.post_raw(
            0,
            RxRequest {
                id: *id,
                pad: 0,
                gref: *gref,
            },
        ),
        Step::Poke(which, at, value) => front.poke(0, *which, usize::from(*at) * 4, *value),
        Step::PokeIndex(which, value) => front.poke(0, *which, REQ_PROD, *value),
        Step::RevokeSent => front.revoke_sent(0),
        Step::RevokePosted => front.revoke_posted(0),
        Step::Scribble(byte) => front.scribble_sent(0, *byte),
        Step::State(state) => front.switch_to(XenbusState(*state)),
        Step::Key(key, value) => {
            let key = [
                "tx-ring-ref",
                "rx-ring-ref",
                "event-channel",
                "event-channel-tx",
                "multi-queue-num-queues",
                "request-rx-copy",
            ][usize::from(*key)];
            front.write(key, format!("{value}"));
        }
        Step::Reconnect => {
            front.drop_rings();
            front.write("multi-queue-num-queues", "1");
            front.write("event-channel-tx", "x");
            front.switch_to(XenbusState::INITIALISING);
            front.connect(Shape::default());
        }
        Step::Notify => front.notify(0),
        Step::Relay | Step::Hold | Step::Settle => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 200 }, ..ProptestConfig::default() })]

    #[test]
    fn requests_that_change_while_they_are_read_never_reach_beyond_a_page(
        words in prop::collection::vec(any::<u32>(), 768),
    ) {
        let world = World::new();
        let page = world.domain(HOST).builder_page();
        for (at, word) in words.iter().enumerate() {
            page.word(RING + at * 4).store(*word, core::sync::atomic::Ordering::Relaxed);
        }
        parse::parse_restless(Restless(page));
    }

    #[test]
    fn whatever_a_frontend_writes_it_harms_nobody_but_itself(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut lab = Lab::new();
        let (one, two) = (lab.connect(OTHER), lab.connect(THIRD));
        let liar = lab.connect(GUEST);
        let ids = [lab.backs[one].id(), lab.backs[two].id()];
        let limit = lab.host.usage();
        let (mut sent, mut received) = (0_u64, 0_u64);
        let mut held = Vec::new();
        for (round, step) in steps.iter().enumerate() {
            lie(&mut lab.fronts[liar], step);
            // Two others speak with each other all the time.
            for (from, to) in [(0, 1), (1, 0)] {
                let frame = frame_for(to, 1200, round as u8);
                prop_assert!(lab.fronts[from].send(0, &[&frame], 0, &[]));
                sent += 1;
            }
            match step {
                Step::Relay => relay(&mut lab.backs),
                Step::Hold => {
                    for back in &mut lab.backs {
                        if !ids.contains(&back.id()) && let Some(frame) = back.receive() {
                            held.push(frame);
                        }
                    }
                }
                Step::Settle => lab.advance(Duration::from_secs(1)),
                _ => lab.turn(),
            }
            let honest = |lab: &Lab, id| lab.backs.iter().position(|back| back.id() == id);
            prop_assert_eq!(honest(&lab, ids[0]), Some(0));
            prop_assert_eq!(honest(&lab, ids[1]), Some(1));
            // Frames that were held go on later, when their sender has had time to change them.
            if held.len() > 3 {
                let frame = held.remove(0);
                let mut slots = frame.slots;
                let _ = lab.backs[0].transmit(&[0; 64], slots.as_mut_view(), PLAIN);
                drop(slots);
            }
            relay(&mut lab.backs);
            for number in [0, 1] {
                for frame in lab.fronts[number].receive(0) {
                    // The liar may send to anybody; what the other sent has its mark.
                    if frame.bytes.len() == 1200 && !frame.is_error && frame.bytes[1..] == frame_for(number, 1200, round as u8)[1..] {
                        received += 1;
                    }
                }
                lab.fronts[number].post(0, 256);
                for answer in lab.fronts[number].answers(0) {
                    prop_assert_eq!(answer.status, NETIF_RSP_OKAY);
                }
            }
            let usage = lab.host.usage();
            prop_assert!(usage.pages <= limit.pages + held.len() && usage.mapped <= limit.mapped, "it grows: {:?}", usage);
            prop_assert!(usage.ports <= limit.ports && usage.watches <= limit.watches);
        }
        prop_assert_eq!(received, sent, "nobody else loses a frame");
        drop(held);
        lab.end();
    }
}
