//! Two backends, and nobody behind the firewall but them.

mod passing;
mod standstill;
mod statistics;

use super::packet::{
    ACK, GSO, IP, PAYLOAD, SYN, Segment, TCP, arp_reply, is_arp, pattern, pseudo_header, sum, tcp,
};
use super::*;
use firewalldom::relay::Relay;
use firewalldom::time::Instant;
use firewalldom::{Budget, Firewall, Link};
use minios_rs::abi::io::netif::{
    ExtraInfo, NETRXF_CSUM_BLANK, NETRXF_DATA_VALIDATED, NETTXF_CSUM_BLANK,
    XEN_NETIF_GSO_TYPE_TCPV4,
};
use minios_rs::fake::Usage;
use minios_rs::fake::netback::{Frame, OFFERS};
use minios_rs::net::{self, Config, Front};
use minios_rs::xenbus::XenbusState;
use shorewall::Site;
use std::time::Duration;

/// The domain of the inside's backend.
const INSIDE: DomId = DomId(4);

const NET: usize = 0;
const LOC: usize = 1;

const CLIENT: [u8; 4] = [10, 0, 3, 9];
const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 2, 9];

const BLANK: u16 = NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED;

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
        let (mac, address) = match side {
            NET => (SERVER_MAC, SERVER),
            _ => (CLIENT_MAC, CLIENT),
        };
        for _ in 0..3 {
            for frame in self.backs[side].receive() {
                if !is_arp(&frame.bytes) {
                    frames.push(frame);
                } else if let Some(reply) = arp_reply(&frame.bytes, mac, address) {
                    self.deliver(side, &reply, 0, &[]);
                }
            }
            self.turn();
        }
        frames
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
        let (mac, addresses, ports) = match side {
            LOC => (CLIENT_MAC, [CLIENT, SERVER], [40_000, 80]),
            _ => (SERVER_MAC, [SERVER, PUBLIC], [80, 40_000]),
        };
        let segment = Segment {
            ports,
            flags,
            sequence,
            acknowledged,
        };
        tcp([self.mac(side), mac], addresses, &segment, payload)
    }

    /// A connection from the inside to the outside.
    fn connect(&mut self) {
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

    /// A backend closes, and lets go.
    fn close(&mut self, side: usize) {
        let Self {
            world,
            store,
            backs,
            links,
            relay,
            now,
            ..
        } = self;
        backs[side].switch_to(XenbusState::CLOSING);
        run(store, world, backs, links[side].backend_ending()).unwrap();
        relay.close(side);
        assert!(!relay.is_released(side), "its rings are mapped");
        run(store, world, backs, links[side].close()).unwrap();
        relay.turn(*now);
        assert!(relay.is_released(side));
    }

    /// The outside's vif is detached, whatever is in flight, and another attached, in another domain.
    fn replace_net(&mut self, round: u8) {
        self.close(NET);
        let Self {
            world,
            guest,
            store,
            backs,
            links,
            relay,
            now,
            ..
        } = self;
        world.remove_node(backs[NET].node());
        world.remove_node(backs[NET].frontend_node());
        backs[NET] = Netback::announce(world, DomId(11 + u16::from(round)), FIREWALL, 0, &OFFERS);
        let again = links[NET].again(guest, Config::default());
        let (front, link) = run(store, world, backs, again).unwrap();
        links[NET] = link;
        relay.reopen(*now, NET, front).unwrap();
        self.turn();
    }

    /// Both backends close; then the domain holds what it held before it had interfaces.
    fn end(mut self) {
        for side in [NET, LOC] {
            self.close(side);
        }
        let Self {
            world,
            guest,
            store,
            links,
            relay,
            before,
            ..
        } = self;
        drop((relay, links));
        for _ in 0..20 {
            store.pump();
            world.serve_xenstore();
        }
        assert_eq!(guest.usage(), before, "nothing is left");
    }
}
