//! Guests behind the relay: frontends in domains of their own, and a backend outside.

mod bridge;
mod collusion;
mod hostile;
mod isolation;
mod leaving;
mod many;
mod passing;

use super::packet::{ACK, GSO, IP, PAYLOAD, Segment, arp_reply, is_arp, pattern, tcp};
use super::*;
use firewalldom::relay::{OFFER, Relay};
use firewalldom::time::Instant;
use firewalldom::{Budget, Firewall, GuestError, Link, Reason};
use minios_rs::abi::io::netif::{
    ExtraInfo, NETIF_RSP_NULL, NETIF_RSP_OKAY, NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED,
    NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED, XEN_NETIF_GSO_TYPE_TCPV4,
};
use minios_rs::fake::netback::OFFERS;
use minios_rs::fake::netfront::{Netfront, Shape};
use minios_rs::net::back::{self, HEAD_MAX};
use minios_rs::net::{Backends, Config, Front};
use minios_rs::task::Executor;
use minios_rs::xenbus::XenbusState;
use shorewall::Site;
use std::time::Duration;

/// The guests: domain, address, hardware address.
const A: usize = 0;
const B: usize = 1;
const GUESTS: [(DomId, [u8; 4], [u8; 6]); 2] = [
    (DomId(11), [10, 0, 3, 2], [0, 0x16, 0x3e, 0, 0, 0xa]),
    (DomId(12), [10, 0, 3, 3], [0, 0x16, 0x3e, 0, 0, 0xb]),
];
const BACKEND_MAC: [u8; 6] = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff];

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
        Self::without_guests().attach_guests()
    }

    fn attach_guests(mut self) -> Self {
        for (number, (domain, address, mac)) in GUESTS.into_iter().enumerate() {
            self.announce(domain, address, mac);
            self.fronts[number].connect(Shape::default());
            self.settle();
        }
        assert_eq!(self.relay.guests().count(), 2);
        self
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
            let connecting = Front::connect(&domain, &store, number, Config::default());
            let connected = run(&store, &world, std::slice::from_mut(&mut back), connecting);
            fronts.push(connected.expect("it connects").0);
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
        established([station, source], [address(from), address(to)], payload)
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

/// A segment of a connection, between stations and addresses: to and from, from and to.
fn established(stations: [[u8; 6]; 2], addresses: [[u8; 4]; 2], payload: &[u8]) -> Vec<u8> {
    let segment = Segment {
        ports: [40_000, 80],
        flags: ACK,
        sequence: 1001,
        acknowledged: 5001,
    };
    tcp(stations, addresses, &segment, payload)
}

/// What came out at a backend; whoever asks for `address` by ARP is told [`SERVER_MAC`].
fn received(back: &mut Netback, address: [u8; 4]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for frame in back.receive() {
        if !is_arp(&frame.bytes) {
            frames.push(frame.bytes);
        } else if let Some(reply) = arp_reply(&frame.bytes, SERVER_MAC, address) {
            assert!(back.deliver(&[&reply], 0, 0, &[]));
        }
    }
    frames
}
