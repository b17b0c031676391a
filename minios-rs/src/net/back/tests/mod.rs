mod hostile;
mod xenstore;

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
fn a_vif_costs_no_more_nodes_than_it_may() {
    let mut lab = Lab::new();
    lab.connect(GUEST);
    let below = |lab: &Lab| lab.world.nodes_below("/local/domain/1/backend/vif");
    assert!(below(&lab) <= NODES_MAX, "{}", below(&lab));
    lab.end();
    // With what the toolstack mostly says, where IPv6 is not forwarded.
    let mut lab = Lab::with(Config {
        ipv6_offloads: Ipv6Offloads::Withheld,
        ..Config::default()
    });
    let settings = [
        ("ip", "10.0.3.2 10.0.3.3"),
        ("vifname", "vif-web"),
        ("mtu", "1500"),
        ("gatewaydev", "eth0"),
    ];
    let number = lab.announce(GUEST, &settings);
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CONNECTED);
    assert_eq!(below(&lab), NODES_MAX);
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
