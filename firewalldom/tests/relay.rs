//! The relay between real rings and the engine, with two simulated backends in two domains.

use firewalldom::policy::blob::Identity;
use firewalldom::relay::Relay;
use firewalldom::stat::{self, Statistics};
use firewalldom::time::Instant;
use firewalldom::{Budget, Firewall, Link};
use minios_rs::abi::io::netif::{
    ExtraInfo, NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED, NETTXF_CSUM_BLANK,
    XEN_NETIF_EXTRA_TYPE_GSO, XEN_NETIF_GSO_TYPE_TCPV4,
};
use minios_rs::fake::netback::{Frame, Netback, OFFERS};
use minios_rs::fake::{Domain, Usage, World};
use minios_rs::net::{self, Config, Front};
use minios_rs::stat::{ANSWERS_MAX, Report, Token, serve};
use minios_rs::task::Executor;
use minios_rs::xen::{Access, DomId, SharedPage, Xen};
use minios_rs::xenbus::XenbusState;
use minios_rs::xenstore::Client;
use shorewall::Site;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const FIREWALL: DomId = DomId(7);
/// The backends' domains: the outside's is another one than the inside's.
const OUTSIDE: DomId = DomId(3);
const INSIDE: DomId = DomId(4);

const NET: usize = 0;
const LOC: usize = 1;

const SERVER: [u8; 4] = [192, 0, 2, 1];
const CLIENT: [u8; 4] = [10, 0, 3, 9];
/// The firewall's own address outside, which masquerading uses.
const PUBLIC: [u8; 4] = [192, 0, 2, 2];

const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 2, 9];

const IP: usize = 14;
const TCP: usize = 34;
const PAYLOAD: usize = 54;

const FILES: [(&str, &str); 6] = [
    ("shorewall/zones", "fw firewall\nnet ipv4\nloc ipv4\n"),
    ("shorewall/interfaces", "?FORMAT 2\nnet eth0\nloc eth1\n"),
    (
        "shorewall/policy",
        "loc net ACCEPT\nnet all DROP\nall all REJECT\n",
    ),
    ("shorewall/rules", "?SECTION NEW\n"),
    ("shorewall/snat", "?FORMAT 2\nMASQUERADE 10.0.3.0/24 eth0\n"),
    (
        "network/interfaces",
        "iface eth0 inet static\n  address 192.0.2.2/24\niface eth1 inet static\n  address 10.0.3.1/24\n",
    ),
];

struct Lab {
    world: World,
    guest: Domain,
    store: Client<Domain>,
    backs: [Netback; 2],
    links: Vec<net::Link<Domain>>,
    relay: Relay<Domain>,
    before: Usage,
    now: Instant,
}

/// Turns of the world until a future has ended.
fn run<T>(
    store: &Client<Domain>,
    world: &World,
    backs: &mut [Netback; 2],
    future: impl Future<Output = T>,
) -> T {
    let mut future = pin!(future);
    for _ in 0..500 {
        if let Poll::Ready(value) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return value;
        }
        store.pump();
        world.serve_xenstore();
        store.pump();
        backs.iter_mut().for_each(Netback::step);
    }
    panic!("it does not end")
}

impl Lab {
    fn new() -> Self {
        let world = World::new();
        let guest = world.domain(FIREWALL);
        let store = world.connect_xenstore(&guest);
        let before = guest.usage();
        let announce = |(index, backend): (u32, DomId)| {
            Netback::announce(&world, backend, FIREWALL, index, &OFFERS)
        };
        let mut backs = [(0, OUTSIDE), (1, INSIDE)].map(announce);
        let (mut fronts, mut links) = (Vec::new(), Vec::new());
        for index in 0..2 {
            let connecting = Front::connect(&guest, &store, index, Config::default());
            let (front, link) = run(&store, &world, &mut backs, connecting).unwrap();
            fronts.push(front);
            links.push(link);
        }
        let compiled = shorewall::compile(&Site::from_files("test", FILES)).unwrap();
        let wires: Vec<Link> = fronts
            .iter()
            .map(|front| Link {
                mac: front.mac().0,
                mtu: 1500,
            })
            .collect();
        let firewall = Firewall::new(
            &compiled.policy,
            &wires,
            Budget { flows: 1024 },
            [9; 32],
            Instant(0),
        )
        .unwrap();
        let relay = Relay::new(fronts, firewall);
        Self {
            world,
            guest,
            store,
            backs,
            links,
            relay,
            before,
            now: Instant(0),
        }
    }

    /// The firewall's MAC on an interface.
    fn mac(&self, side: usize) -> [u8; 6] {
        self.relay.fronts().nth(side).unwrap().1.mac().0
    }

    fn turn(&mut self) {
        for _ in 0..4 {
            self.now = self.now + Duration::from_micros(100);
            self.relay.turn(self.now);
        }
    }

    /// Delivers a frame in slots of a page each, and lets the firewall work.
    fn deliver(&mut self, side: usize, frame: &[u8], flags: u16, extras: &[ExtraInfo]) {
        let slots: Vec<&[u8]> = frame.chunks(4096).collect();
        assert!(
            self.backs[side].deliver(&slots, 0, flags, extras),
            "no buffer is posted"
        );
        self.turn();
    }

    /// What came out on one side, ARP requests answered on the way.
    fn receive(&mut self, side: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        for _ in 0..3 {
            for frame in self.backs[side].receive() {
                if frame.bytes[12..14] == [8, 6] {
                    self.answer_arp(side, &frame.bytes);
                } else {
                    frames.push(frame);
                }
            }
            self.turn();
        }
        frames
    }

    fn answer_arp(&mut self, side: usize, request: &[u8]) {
        let (mac, address) = if side == NET {
            (SERVER_MAC, SERVER)
        } else {
            (CLIENT_MAC, CLIENT)
        };
        if request[21] != 1 || request[38..42] != address {
            return;
        }
        let mut reply = [
            &request[6..12],
            &mac,
            &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2],
            &mac,
            &address,
        ]
        .concat();
        reply.extend_from_slice(&request[22..32]);
        self.deliver(side, &reply, 0, &[]);
    }

    /// A TCP segment as a backend sends it that never computes checksums.
    fn tcp(
        &self,
        side: usize,
        flags: u8,
        sequence: u32,
        acknowledged: u32,
        payload: &[u8],
    ) -> Vec<u8> {
        let (mac, source, destination, ports) = if side == LOC {
            (CLIENT_MAC, CLIENT, SERVER, [0x9c, 0x40, 0, 80])
        } else {
            (SERVER_MAC, SERVER, PUBLIC, [0, 80, 0x9c, 0x40])
        };
        let total = (40 + payload.len()) as u16;
        let mut frame = [&self.mac(side)[..], &mac, &[8, 0]].concat();
        frame.extend([0x45, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
        frame.extend(source);
        frame.extend(destination);
        let header = sum(&frame[IP..TCP]);
        frame[IP + 10..IP + 12].copy_from_slice(&(!header).to_be_bytes());
        frame.extend(ports);
        frame.extend(sequence.to_be_bytes());
        frame.extend(acknowledged.to_be_bytes());
        frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        frame.extend(payload);
        let pseudo = pseudo_header(&frame);
        frame[TCP + 16..TCP + 18].copy_from_slice(&pseudo.to_be_bytes());
        frame
    }

    /// A connection from the inside to the outside.
    fn connect(&mut self) {
        const SYN: u8 = 2;
        const ACK: u8 = 16;
        let syn = self.tcp(LOC, SYN, 1000, 0, &[]);
        self.deliver(LOC, &syn, BLANK, &[]);
        assert_eq!(self.receive(NET).len(), 1, "the SYN passes");
        let answer = self.tcp(NET, SYN | ACK, 5000, 1001, &[]);
        self.deliver(NET, &answer, BLANK, &[]);
        assert_eq!(self.receive(LOC).len(), 1, "the answer passes");
        let ack = self.tcp(LOC, ACK, 1001, 5001, &[]);
        self.deliver(LOC, &ack, BLANK, &[]);
        assert_eq!(self.receive(NET).len(), 1, "the handshake ends");
    }

    /// Both backends close; then the domain holds what it held before it had interfaces.
    fn end(self) {
        let Self {
            world,
            guest,
            store,
            mut backs,
            mut links,
            mut relay,
            before,
            now,
        } = self;
        for side in [NET, LOC] {
            backs[side].switch_to(XenbusState::CLOSING);
            run(&store, &world, &mut backs, links[side].backend_ending()).unwrap();
            relay.close(side);
            run(&store, &world, &mut backs, links[side].close()).unwrap();
            relay.turn(now);
        }
        drop((relay, links));
        for _ in 0..20 {
            store.pump();
            world.serve_xenstore();
        }
        assert_eq!(guest.usage(), before, "nothing is left");
    }
}

const BLANK: u16 = NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED;

/// One's complement sum of RFC 1071.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The plain sum of a frame's TCP pseudo-header: what stands in a blank checksum.
fn pseudo_header(frame: &[u8]) -> u16 {
    let length = (frame.len() - TCP) as u16;
    sum(&[&frame[IP + 12..IP + 20], &[0, 6], &length.to_be_bytes()].concat())
}

const GSO: ExtraInfo = ExtraInfo {
    kind: XEN_NETIF_EXTRA_TYPE_GSO,
    flags: 0,
    gso_size: 1448,
    gso_type: XEN_NETIF_GSO_TYPE_TCPV4,
    pad: 0,
    gso_features: 0,
};

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 249) as u8).collect()
}

#[test]
fn a_large_frame_passes_with_its_payload_where_it_lies() {
    let mut lab = Lab::new();
    lab.connect();
    let payload = pattern(60_000);
    let frame = lab.tcp(LOC, 16, 1001, 5001, &payload);
    lab.deliver(LOC, &frame, BLANK, &[GSO]);
    let out = lab.receive(NET);
    assert_eq!(out.len(), 1);
    let sent = &out[0];
    assert_eq!(sent.bytes.len(), frame.len());
    assert_eq!(
        sent.bytes[PAYLOAD..],
        payload[..],
        "the payload is what it was"
    );
    assert_eq!(sent.bytes[..6], SERVER_MAC);
    assert_eq!(sent.bytes[IP + 12..IP + 16], PUBLIC, "masqueraded");
    assert_eq!(sent.bytes[IP + 8], 63, "one hop less");
    assert_eq!(
        sum(&sent.bytes[IP..TCP]),
        0xffff,
        "the header's checksum is right"
    );
    assert_ne!(sent.flags & NETTXF_CSUM_BLANK, 0);
    assert_eq!(sent.gso, Some((XEN_NETIF_GSO_TYPE_TCPV4, 1448)));
    let checksum = u16::from_be_bytes([sent.bytes[TCP + 16], sent.bytes[TCP + 17]]);
    assert_eq!(
        checksum,
        pseudo_header(&sent.bytes),
        "still blank, of the new addresses"
    );
    // 54 bytes of headers and 60,000 of payload came in 15 pages; they leave behind one header slot.
    assert_eq!(sent.requests.len(), 16);
    lab.end();
}

#[test]
fn a_frame_of_as_many_slots_as_there_may_be_passes() {
    let mut lab = Lab::new();
    lab.connect();
    let payload = pattern(18 * 3000 - PAYLOAD);
    let frame = lab.tcp(LOC, 16, 1001, 5001, &payload);
    let slots: Vec<&[u8]> = frame.chunks(3000).collect();
    assert_eq!(slots.len(), 18);
    assert!(lab.backs[LOC].deliver(&slots, 0, BLANK, &[GSO]));
    lab.turn();
    let out = lab.receive(NET);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].requests.len(), 18);
    assert_eq!(out[0].bytes[PAYLOAD..], payload[..]);
    assert_eq!(out[0].bytes[IP + 12..IP + 16], PUBLIC);
    lab.end();
}

#[test]
fn nothing_behind_the_packet_leaves_with_it_however_many_slots_it_came_in() {
    let mut lab = Lab::new();
    lab.connect();
    for len in [60, 200, 1500, 5000] {
        let frame = lab.tcp(LOC, 16, 1001, 5001, &pattern(len - PAYLOAD));
        let mut padded = frame.clone();
        padded.resize(18 * 3000, 0xee);
        let slots: Vec<&[u8]> = padded.chunks(3000).collect();
        assert!(lab.backs[LOC].deliver(&slots, 0, BLANK, &[]));
        lab.turn();
        let out = lab.receive(NET);
        // One longer than the MTU is refused: it may not be cut.
        assert_eq!(out.len(), usize::from(len < 1514), "{len}");
        for sent in out {
            assert_eq!(sent.bytes.len(), len);
            assert_eq!(sent.bytes[PAYLOAD..], frame[PAYLOAD..]);
        }
    }
    lab.end();
}

#[test]
fn replies_find_their_way_back() {
    let mut lab = Lab::new();
    lab.connect();
    let frame = lab.tcp(NET, 16, 5001, 1001, &pattern(3000));
    lab.deliver(NET, &frame, BLANK, &[GSO]);
    let out = lab.receive(LOC);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].bytes[IP + 16..IP + 20], CLIENT);
    assert_eq!(out[0].bytes[PAYLOAD..], pattern(3000)[..]);
    lab.end();
}

#[test]
fn what_nobody_asked_for_is_dropped_and_its_pages_go_back() {
    let mut lab = Lab::new();
    let posted = lab.backs[NET].posted();
    for number in 0..300 {
        let frame = lab.tcp(NET, 2, number, 0, &pattern(2000));
        lab.deliver(NET, &frame, BLANK, &[]);
    }
    assert!(lab.receive(LOC).is_empty());
    assert_eq!(
        lab.backs[NET].posted(),
        posted,
        "every buffer is posted again"
    );
    assert_eq!(lab.relay.firewall().counters().drops.total(), 300);
    lab.end();
}

#[test]
fn a_backend_that_answers_nothing_costs_the_others_nothing() {
    let mut lab = Lab::new();
    lab.connect();
    lab.backs[NET].hold_answers = true;
    const SENT: u32 = 400;
    for number in 0..SENT {
        let frame = lab.tcp(LOC, 16, 1001 + number * 6000, 5001, &pattern(6000));
        lab.deliver(LOC, &frame, BLANK, &[GSO]);
    }
    assert!(
        lab.backs[LOC].posted() >= 64,
        "the sender's other frames still find buffers"
    );
    let held = lab.receive(NET).len();
    lab.backs[NET].hold_answers = false;
    lab.backs[NET].answer_all();
    let mut passed = held;
    for _ in 0..50 {
        lab.turn();
        passed += lab.receive(NET).len();
    }
    let lost = lab.relay.losses().egress_full;
    assert!(lost > 0, "no queue holds them all");
    assert_eq!(
        passed as u64 + lost,
        u64::from(SENT),
        "each frame passed, or was counted as lost"
    );
    // And what was on loan is counted back: all of it can be lent again.
    for number in 0..100 {
        let frame = lab.tcp(LOC, 16, 3_000_000 + number * 6000, 5001, &pattern(6000));
        lab.deliver(LOC, &frame, BLANK, &[GSO]);
        assert_eq!(lab.receive(NET).len(), 1);
    }
    lab.end();
}

#[test]
fn a_backend_that_vanishes_takes_nothing_with_it() {
    let mut lab = Lab::new();
    lab.connect();
    lab.backs[NET].hold_answers = true;
    for number in 0..20 {
        let frame = lab.tcp(LOC, 16, 1001 + number * 6000, 5001, &pattern(6000));
        lab.deliver(LOC, &frame, BLANK, &[GSO]);
    }
    lab.receive(NET);
    // The other side goes on while this one closes with frames in flight.
    lab.end();
}

/// Everything the outside's backend may read, while frames of the inside are on their way to it.
fn readable(lab: &Lab) -> Vec<u8> {
    let outside = lab.world.domain(OUTSIDE);
    let mut bytes = Vec::new();
    for reference in outside.readable_grants(FIREWALL) {
        let page = outside.map(FIREWALL, reference, Access::ReadOnly).unwrap();
        let mut copy = vec![0; 4096];
        page.read(0, &mut copy);
        bytes.extend(copy);
    }
    bytes
}

#[test]
fn a_backend_reads_nothing_that_was_not_sent_to_it() {
    const SECRET: &[u8] = b"for the inside only";
    let mut lab = Lab::new();
    lab.connect();
    // The inside fills every buffer with what never leaves: a broadcast that is dropped here.
    let mut secret = [&[0xff; 6][..], &CLIENT_MAC, &[0x88, 0xb5]].concat();
    while secret.len() < 4096 {
        secret.extend_from_slice(SECRET);
    }
    secret.truncate(4096);
    for _ in 0..600 {
        lab.deliver(LOC, &secret, 0, &[]);
    }
    // Short payloads in the same pages: the rest of each page still held the secret.
    lab.backs[NET].hold_answers = true;
    for number in 0..40 {
        let frame = lab.tcp(LOC, 16, 1001 + number * 300, 5001, &pattern(300));
        lab.deliver(LOC, &frame, BLANK, &[]);
    }
    let passed = lab.receive(NET);
    assert_eq!(passed.len(), 40);
    let seen = readable(&lab);
    assert!(
        seen.windows(40)
            .any(|window| window == &pattern(300)[256..296]),
        "the payload is there"
    );
    assert!(
        !seen.windows(SECRET.len()).any(|window| window == SECRET),
        "and nothing else"
    );
    lab.end();
}

/// What `stat` would be told.
fn statistics(lab: &Lab) -> (Report, Statistics) {
    let mut report = Report::default();
    stat::fill(&mut report, &lab.relay, Identity::default());
    let report = Report::decode(&report.encode()).unwrap();
    let statistics = Statistics::decode(report.detail.as_ref().unwrap()).unwrap();
    (report, statistics)
}

#[test]
fn statistics_tell_exactly_what_passed_and_what_did_not() {
    let mut lab = Lab::new();
    lab.connect();
    let (before, first) = statistics(&lab);
    let (mut passed, mut refused) = (0, 0);
    for number in 0..10 {
        let frame = lab.tcp(LOC, 16, 1001 + number * 6000, 5001, &pattern(6000));
        lab.deliver(LOC, &frame, BLANK, &[GSO]);
        passed += frame.len() as u64;
        let mut unasked = lab.tcp(NET, 2, number, 0, &[]);
        unasked[TCP..TCP + 2].copy_from_slice(&(7000 + number as u16).to_be_bytes());
        lab.deliver(NET, &unasked, BLANK, &[]);
        refused += unasked.len() as u64;
    }
    assert_eq!(lab.receive(NET).len(), 10);
    let (after, last) = statistics(&lab);
    let [net, loc] = [NET, LOC].map(|side| (&before.interfaces[side], &after.interfaces[side]));
    assert_eq!((net.1.name.as_str(), loc.1.name.as_str()), ("eth0", "eth1"));
    assert_eq!((net.1.backend, loc.1.backend), (OUTSIDE.0, INSIDE.0));
    for (was, is) in [net, loc] {
        assert_eq!(is.state, "open");
        assert_eq!(
            (was.received.errors.len(), is.received.errors.len()),
            (0, 0)
        );
    }
    assert_eq!(loc.1.received.frames - loc.0.received.frames, 10);
    assert_eq!(loc.1.received.bytes - loc.0.received.bytes, passed);
    assert_eq!(net.1.transmitted.frames - net.0.transmitted.frames, 10);
    assert_eq!(net.1.transmitted.bytes - net.0.transmitted.bytes, passed);
    assert_eq!(net.1.received.frames - net.0.received.frames, 10);
    assert_eq!(net.1.received.bytes - net.0.received.bytes, refused);
    assert_eq!(loc.1.transmitted.frames, loc.0.transmitted.frames);
    assert_eq!(last.forwarded - first.forwarded, 10);
    let drops = |statistics: &Statistics| {
        let counts = statistics.drops.iter().map(|drop| drop.count);
        counts.sum::<u64>()
    };
    assert_eq!(drops(&last) - drops(&first), 10);
    assert_eq!((last.flows.now, last.flows.capacity), (1, 1024));
    // The connection was let in by the policy's first line; nothing else ever was.
    let hit = |statistics: &Statistics, line: u32| {
        let of_line = |rule: &&stat::RuleHits| {
            statistics.file(rule) == "shorewall/policy" && rule.line == line
        };
        statistics
            .rules
            .iter()
            .find(of_line)
            .map_or(0, |rule| rule.hits)
    };
    assert_eq!((hit(&first, 1), hit(&last, 1)), (1, 1));
    assert_eq!((hit(&first, 2), hit(&last, 2)), (0, 10));
    lab.end();
}

#[test]
fn statistics_name_a_closed_interface_and_what_was_lost_to_it() {
    let mut lab = Lab::new();
    lab.connect();
    lab.relay.close(NET);
    let frame = lab.tcp(LOC, 16, 1001, 5001, &pattern(300));
    lab.deliver(LOC, &frame, BLANK, &[]);
    let (report, statistics) = statistics(&lab);
    assert_eq!(report.interfaces[NET].state, "closed");
    let lost = statistics
        .drops
        .iter()
        .map(|drop| (drop.name.as_str(), drop.count));
    assert!(
        lost.clone()
            .any(|drop| drop == ("not sendable on the egress ring", 1)),
        "{:?}",
        lost.collect::<Vec<_>>()
    );
    lab.end();
}

#[test]
fn a_burst_waits_for_a_backend_that_is_not_run_and_keeps_its_order() {
    const RING: usize = 256;
    const QUEUE: usize = 1_000;
    /// Every so many frames one has its payload in pages.
    const PAGES_EACH: usize = 50;
    let mut lab = Lab::new();
    lab.connect();
    let losses = lab.relay.losses();
    let mut lengths = Vec::new();
    for number in 0.. {
        // A length tells which frame it is.
        let len = match number % PAGES_EACH {
            0 => 1_400 + number / PAGES_EACH,
            place => place,
        };
        let frame = lab.tcp(LOC, 16, 1001, 5001, &pattern(len));
        lab.deliver(LOC, &frame, BLANK, &[]);
        if lab.relay.losses() != losses {
            break;
        }
        lengths.push(frame.len());
    }
    // A frame with pages takes two slots of the ring.
    let in_ring = RING - RING.div_ceil(PAGES_EACH);
    assert_eq!(lengths.len(), in_ring + QUEUE);
    assert_eq!(lab.relay.losses().egress_full, losses.egress_full + 1);
    let mut received = Vec::new();
    loop {
        let frames = lab.receive(NET);
        if frames.is_empty() {
            break;
        }
        received.extend(frames.iter().map(|frame| frame.bytes.len()));
    }
    assert_eq!(received, lengths);
    lab.end();
}

#[test]
fn a_thousand_requests_a_second_and_a_full_table_do_not_disturb_traffic() {
    const SECOND_MS: u32 = 1000;
    let mut lab = Lab::new();
    lab.connect();
    // Connections that nobody answers: they fill the table, and go before those that were.
    for port in 0..1100_u16 {
        let mut syn = lab.tcp(LOC, 2, 1, 0, &[]);
        syn[TCP..TCP + 2].copy_from_slice(&(10_000 + port).to_be_bytes());
        lab.deliver(LOC, &syn, BLANK, &[]);
    }
    while !lab.receive(NET).is_empty() {}
    let flows = lab.relay.firewall().flows();
    assert_eq!(flows.now, flows.capacity, "the table is full");
    let losses = lab.relay.losses();

    let executor = Executor::new(1);
    let (store, clock) = (lab.store.clone(), executor.clone());
    let (latest, reports) = (
        Rc::new(RefCell::new(Report::default())),
        Rc::new(Cell::new(0)),
    );
    let (shown, count) = (latest.clone(), reports.clone());
    executor
        .spawn(async move {
            let told = || {
                count.set(count.get() + 1);
                shown.borrow().clone()
            };
            serve(&store, &clock, told).await.unwrap();
        })
        .unwrap();

    let clock = lab.world.domain(FIREWALL);
    let home = format!("/local/domain/{}", FIREWALL.0);
    let mut passed = 0;
    for number in 0..SECOND_MS {
        let token = Token(u64::from(number));
        lab.world
            .write_node(&format!("{home}/{}", token.request_node()), "");
        lab.world.advance(Duration::from_millis(1));
        *latest.borrow_mut() = statistics(&lab).0;
        for _ in 0..4 {
            lab.store.pump();
            lab.world.serve_xenstore();
            lab.store.pump();
            executor.run_ready(clock.now());
        }
        let frame = lab.tcp(LOC, 16, 1001 + number * 6000, 5001, &pattern(6000));
        lab.deliver(LOC, &frame, BLANK, &[GSO]);
        passed += lab.receive(NET).len();
    }
    assert_eq!(passed, SECOND_MS as usize, "each in its turn");
    assert_eq!(lab.relay.losses(), losses);
    let answers = reports.get();
    assert!(
        (1..=ANSWERS_MAX + 1).contains(&answers),
        "{answers} reports"
    );
    drop((executor, lab));
}
