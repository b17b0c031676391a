//! Guests behind the relay: two frontends in domains of their own, the engine, and a backend outside.

mod hostile;
mod isolation;
mod many;

use firewalldom::relay::{OFFER, Relay};
use firewalldom::time::Instant;
use firewalldom::{Budget, Firewall, GuestError, Link, Reason};
use minios_rs::abi::io::netif::{
    ExtraInfo, NETIF_RSP_NULL, NETIF_RSP_OKAY, NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED,
    NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED, XEN_NETIF_EXTRA_TYPE_GSO, XEN_NETIF_GSO_TYPE_TCPV4,
};
use minios_rs::fake::netback::{Netback, OFFERS};
use minios_rs::fake::netfront::{Netfront, Shape};
use minios_rs::fake::{Domain, World};
use minios_rs::net::back::{self, HEAD_MAX};
use minios_rs::net::{Backends, Config, Front};
use minios_rs::task::Executor;
use minios_rs::xen::DomId;
use minios_rs::xenbus::XenbusState;
use minios_rs::xenstore::Client;
use shorewall::Site;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

const FIREWALL: DomId = DomId(7);
const OUTSIDE: DomId = DomId(3);

/// The guests: domain, address, hardware address.
const A: usize = 0;
const B: usize = 1;
const GUESTS: [(DomId, [u8; 4], [u8; 6]); 2] = [
    (DomId(11), [10, 0, 3, 2], [0, 0x16, 0x3e, 0, 0, 0xa]),
    (DomId(12), [10, 0, 3, 3], [0, 0x16, 0x3e, 0, 0, 0xb]),
];
const BACKEND_MAC: [u8; 6] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff];
const SERVER: [u8; 4] = [192, 0, 2, 1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
const PUBLIC: [u8; 4] = [192, 0, 2, 2];

const IP: usize = 14;
const TCP: usize = 34;
const PAYLOAD: usize = 54;
const ACK: u8 = 16;

const FILES: [(&str, &str); 6] = [
    ("shorewall/zones", "fw firewall\nnet ipv4\nloc ipv4\n"),
    (
        "shorewall/interfaces",
        "?FORMAT 2\nnet eth0\nloc vif+ routeback\n",
    ),
    (
        "shorewall/policy",
        "loc net ACCEPT\nnet loc ACCEPT\nall all REJECT\n",
    ),
    ("shorewall/rules", "?SECTION NEW\n"),
    ("shorewall/snat", "?FORMAT 2\nMASQUERADE 10.0.3.0/24 eth0\n"),
    (
        "network/interfaces",
        "iface eth0 inet static\n  address 192.0.2.2/24\n",
    ),
];

struct Lab {
    world: World,
    domain: Domain,
    store: Client<Domain>,
    executor: Executor,
    outside: Netback,
    /// Of the firewall's further vifs.
    others: Vec<Netback>,
    fronts: Vec<Netfront>,
    backends: Backends<Domain>,
    relay: Relay<Domain>,
    now: Instant,
}

impl Lab {
    /// Both guests are attached.
    fn new() -> Self {
        let mut lab = Self::without_guests();
        for (number, (domain, address, mac)) in GUESTS.into_iter().enumerate() {
            lab.announce(domain, address, mac);
            lab.fronts[number].connect(Shape::default());
            lab.settle();
        }
        assert_eq!(lab.relay.guests().count(), 2);
        lab
    }

    fn without_guests() -> Self {
        Self::with(&FILES, &[OUTSIDE])
    }

    /// With these files of the site's, and a backend in each of these domains for its own vifs; the last
    /// interface is the guests'.
    fn with(files: &[(&str, &str)], backends: &[DomId]) -> Self {
        let world = World::new();
        let domain = world.domain(FIREWALL);
        let store = world.connect_xenstore(&domain);
        let mut fronts = Vec::new();
        let mut others = Vec::new();
        for (number, &backend) in backends.iter().enumerate() {
            let number = number as u32;
            let mut back = Netback::announce(&world, backend, FIREWALL, number, &OFFERS);
            fronts.push(connect(&world, &domain, &store, number, &mut back));
            others.push(back);
        }
        let outside = others.remove(0);
        let policy = shorewall::compile(&Site::from_files("test", files.iter().copied()))
            .unwrap()
            .policy;
        let mut links: Vec<Link> = Vec::new();
        links.extend(fronts.iter().map(|front| Link {
            mac: front.mac().0,
            mtu: 1500,
        }));
        links.push(Link {
            mac: BACKEND_MAC,
            mtu: 1500,
        });
        let budget = Budget { flows: 1024 };
        let firewall = Firewall::new(&policy, &links, budget, [9; 32], Instant(0)).unwrap();
        let executor = Executor::new(back::VIFS_MAX + 8);
        let backends = Backends::start(&domain, &store, &executor, OFFER)
            .expect("there is a place for the task");
        let fronts = fronts.into_iter().map(Some).chain([None]);
        Self {
            relay: Relay::with_guests(fronts.collect(), firewall),
            world,
            domain,
            store,
            executor,
            outside,
            others,
            fronts: Vec::new(),
            backends,
            now: Instant(0),
        }
    }

    fn announce(&mut self, domain: DomId, address: [u8; 4], mac: [u8; 6]) {
        self.announce_with(domain, address, mac, &[]);
        self.settle();
    }

    fn announce_with(
        &mut self,
        domain: DomId,
        address: [u8; 4],
        mac: [u8; 6],
        more: &[(&str, &str)],
    ) {
        let address = address.map(|byte| byte.to_string()).join(".");
        let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
        let mut settings = vec![("mac", mac.as_str()), ("ip", address.as_str())];
        settings.extend(more);
        let front = Netfront::announce(&self.world, FIREWALL, domain, 0, &settings);
        self.fronts.push(front);
    }

    /// As the appliance's main loop does: whoever came or went, and why somebody may not come.
    fn turn(&mut self) -> Vec<GuestError> {
        let mut refused = Vec::new();
        self.store.pump();
        self.world.serve_xenstore();
        self.store.pump();
        self.executor
            .run_ready(minios_rs::time::Instant(self.now.0));
        while self.relay.detach_ended().is_some() {}
        while let Some(back) = self.backends.arrived() {
            refused.extend(self.relay.attach(back).err().map(|(_, error)| error));
        }
        self.now = self.now + Duration::from_micros(100);
        self.relay.turn(self.now);
        refused
    }

    fn settle(&mut self) -> Vec<GuestError> {
        (0..200).flat_map(|_| self.turn()).collect()
    }

    /// A TCP segment that nobody summed up; `from` and `to` are guests, or the server for none.
    fn segment(&self, from: Option<usize>, to: Option<usize>, payload: &[u8]) -> Vec<u8> {
        let address = |guest: Option<usize>| guest.map_or(SERVER, |guest| GUESTS[guest].1);
        let (station, source) = match from {
            Some(guest) => (BACKEND_MAC, GUESTS[guest].2),
            None => (self.relay.fronts().next().unwrap().1.mac().0, SERVER_MAC),
        };
        tcp([station, source], [address(from), address(to)], payload)
    }

    fn send(&mut self, guest: usize, frame: &[u8], extras: &[ExtraInfo]) -> bool {
        let slots: Vec<&[u8]> = frame.chunks(4096).collect();
        let flags = NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED;
        self.fronts[guest].send(0, &slots, flags, extras)
    }

    /// What came out outside, ARP requests for the server answered on the way.
    fn outside(&mut self) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        for _ in 0..3 {
            frames.extend(received(&mut self.outside, SERVER));
            self.turn();
        }
        frames
    }

    fn counters(&self, guest: usize) -> back::Counters {
        let mut guests = self.relay.guests();
        let domain = GUESTS[guest].0;
        let back = guests.find(|(_, back)| back.frontend() == domain);
        back.expect("it is attached").1.counters()
    }
}

const GSO: ExtraInfo = ExtraInfo {
    kind: XEN_NETIF_EXTRA_TYPE_GSO,
    flags: 0,
    gso_size: 1448,
    gso_type: XEN_NETIF_GSO_TYPE_TCPV4,
    pad: 0,
    gso_features: 0,
};

fn connect(
    world: &World,
    domain: &Domain,
    store: &Client<Domain>,
    number: u32,
    back: &mut Netback,
) -> Front<Domain> {
    let mut connecting = pin!(Front::connect(domain, store, number, Config::default()));
    let mut context = Context::from_waker(Waker::noop());
    (0..500)
        .find_map(|_| {
            store.pump();
            world.serve_xenstore();
            store.pump();
            back.step();
            match connecting.as_mut().poll(&mut context) {
                Poll::Ready(connected) => Some(connected.expect("it connects").0),
                Poll::Pending => None,
            }
        })
        .expect("it ends")
}

/// A TCP segment that nobody summed up, between stations and addresses: to and from, from and to.
fn tcp(stations: [[u8; 6]; 2], addresses: [[u8; 4]; 2], payload: &[u8]) -> Vec<u8> {
    let mut frame = [&stations.concat()[..], &[8, 0, 0x45, 0]].concat();
    frame.extend((40 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 1, 0x40, 0, 64, 6, 0, 0]);
    frame.extend(addresses.concat());
    let header = sum(&frame[IP..TCP]);
    frame[IP + 10..IP + 12].copy_from_slice(&(!header).to_be_bytes());
    frame.extend([0x9c, 0x40, 0, 80]);
    frame.extend(1001_u32.to_be_bytes());
    frame.extend(5001_u32.to_be_bytes());
    frame.extend([0x50, ACK, 0xff, 0xff, 0, 0, 0, 0]);
    frame.extend(payload);
    let length = (frame.len() - TCP) as u16;
    let pseudo = [&frame[IP + 12..IP + 20], &[0, 6], &length.to_be_bytes()].concat();
    let pseudo = sum(&pseudo).to_be_bytes();
    frame[TCP + 16..TCP + 18].copy_from_slice(&pseudo);
    frame
}

/// What came out at a backend; whoever asks for `address` by ARP is told [`SERVER_MAC`].
fn received(back: &mut Netback, address: [u8; 4]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for frame in back.receive() {
        if frame.bytes[12..14] != [8, 6] {
            frames.push(frame.bytes);
        } else if frame.bytes[21] == 1 && frame.bytes[38..42] == address {
            let mut reply = [&frame.bytes[6..12], &SERVER_MAC, &[8, 6]].concat();
            reply.extend([0, 1, 8, 0, 6, 4, 0, 2]);
            reply.extend(SERVER_MAC);
            reply.extend(address);
            reply.extend(&frame.bytes[22..32]);
            assert!(back.deliver(&[&reply], 0, 0, &[]));
        }
    }
    frames
}

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

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index % 249) as u8).collect()
}

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

#[test]
fn a_vif_that_cannot_be_served_is_closed_and_the_toolstack_told() {
    let mut lab = Lab::new();
    let (_, address, _) = GUESTS[A];
    lab.announce(DomId(13), address, [0, 0x16, 0x3e, 0, 0, 0xc]);
    lab.fronts[2].connect(Shape::default());
    assert_eq!(lab.settle(), [GuestError::AddressTaken]);
    assert_eq!(lab.fronts[2].backend_state(), XenbusState::CLOSING);
    let place = "/local/domain/7/error/backend/vif/13/0/error";
    let reason = lab.world.node(place).expect("it says why");
    assert!(reason.contains("ip= is another guest's"), "{reason}");
    assert_eq!(lab.relay.guests().count(), 2);
}

#[test]
fn a_guest_that_leaves_gives_everything_back_and_may_come_again() {
    let mut lab = Lab::new();
    let payload = pattern(60_000);
    let frame = lab.segment(Some(A), Some(B), &payload);
    for round in 0..3 {
        // It goes with frames under way: its neighbour takes none of them.
        for _ in 0..10 {
            lab.send(A, &frame, &[GSO]);
        }
        lab.turn();
        lab.fronts[A].vanish();
        lab.settle();
        assert_eq!(lab.relay.guests().count(), 1, "round {round}");
        lab.fronts[A].detach();
        for _ in 0..30 {
            lab.now = lab.now + Duration::from_millis(500);
            lab.turn();
        }
        let (domain, address, mac) = GUESTS[A];
        lab.fronts[B].receive(0);
        lab.fronts[B].post(0, 256);
        lab.announce(domain, address, mac);
        let again = lab.fronts.pop().expect("just announced");
        lab.fronts[A] = again;
        lab.fronts[A].connect(Shape::default());
        assert_eq!(lab.settle(), []);
        assert_eq!(lab.relay.guests().count(), 2, "round {round}");
    }
    lab.fronts[B].receive(0);
    assert!(lab.send(A, &frame, &[GSO]));
    lab.turn();
    assert_eq!(lab.fronts[B].receive(0).len(), 1);
}
