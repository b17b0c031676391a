//! What forwarding costs in hypercalls, and what moderation adds to a frame's way, at several rates
//! and in simulated time: a domain that sleeps until its port or its clock wakes it, between two
//! backends that answer at once.

use firewalldom::relay::Relay;
use firewalldom::time::Instant;
use firewalldom::{Budget, Firewall, Link};
use minios_rs::fake::netback::{Netback, OFFERS};
use minios_rs::fake::{Domain, World};
use minios_rs::net::moderation::{DELAY_MIN, RATE_OFF, RATE_ON};
use minios_rs::net::{Config, Front};
use minios_rs::xen::{DomId, Port, Xen};
use minios_rs::xenstore::Client;
use proptest::prelude::*;
use shorewall::Site;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const FIREWALL: DomId = DomId(7);
const HOST: DomId = DomId(0);

const NET: usize = 0;
const LOC: usize = 1;

const SECOND: u64 = 1_000_000_000;

/// The hosts: link-layer and IPv4 address, and the port their datagrams come from.
const HOSTS: [([u8; 6], [u8; 4], u16); 2] = [
    ([2, 0, 0, 0, 1, 1], [192, 0, 2, 1], 9),
    ([2, 0, 0, 0, 2, 9], [10, 0, 3, 9], 4000),
];

const FILES: [(&str, &str); 5] = [
    ("shorewall/zones", "fw firewall\nnet ipv4\nloc ipv4\n"),
    ("shorewall/interfaces", "?FORMAT 2\nnet eth0\nloc eth1\n"),
    ("shorewall/policy", "all all ACCEPT\n"),
    ("shorewall/rules", "?SECTION NEW\n"),
    (
        "network/interfaces",
        "iface eth0 inet static\n  address 192.0.2.2/24\niface eth1 inet static\n  address 10.0.3.1/24\n",
    ),
];

/// The simulated machine.
struct Machine {
    guest: Domain,
    backs: [Netback; 2],
    relay: Relay<Domain>,
    ports: Vec<Port>,
    now: u64,
    /// When the domain wakes by itself.
    deadline: Option<u64>,
    /// `SCHEDOP_poll`s.
    sleeps: u64,
    /// When the frames came that have not left yet, by number.
    inside: BTreeMap<u16, u64>,
    next_number: u16,
    forwarded: u64,
    worst_latency_ns: u64,
}

fn run<T>(
    store: &Client<Domain>,
    world: &World,
    backs: &mut [Netback; 2],
    future: impl Future<Output = T>,
) -> T {
    let mut future = pin!(future);
    for _ in 0..500 {
        let polled = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(value) = polled {
            return value;
        }
        store.pump();
        world.serve_xenstore();
        store.pump();
        backs.iter_mut().for_each(Netback::step);
    }
    panic!("it does not end")
}

impl Machine {
    fn new() -> Self {
        let world = World::new();
        let guest = world.domain(FIREWALL);
        let store = world.connect_xenstore(&guest);
        let mut backs =
            [0, 1].map(|index| Netback::announce(&world, HOST, FIREWALL, index, &OFFERS));
        let fronts: Vec<_> = (0..2)
            .map(|index| {
                let connecting = Front::connect(&guest, &store, index, Config::default());
                run(&store, &world, &mut backs, connecting).unwrap().0
            })
            .collect();
        let links: Vec<Link> = fronts
            .iter()
            .map(|front| Link {
                mac: front.mac().0,
                mtu: 1500,
            })
            .collect();
        let policy = shorewall::compile(&Site::from_files("test", FILES))
            .unwrap()
            .policy;
        let budget = Budget { flows: 64 };
        let firewall = Firewall::new(&policy, &links, budget, [9; 32], Instant(0)).unwrap();
        let ports = fronts.iter().filter_map(Front::port).collect();
        let mut machine = Self {
            guest,
            backs,
            relay: Relay::new(fronts, firewall),
            ports,
            now: SECOND,
            deadline: Some(SECOND),
            sleeps: 0,
            inside: BTreeMap::new(),
            next_number: 0,
            forwarded: 0,
            worst_latency_ns: 0,
        };
        machine.work();
        for side in [NET, LOC] {
            machine.arrive(side);
            machine.wait_until(machine.now + SECOND);
        }
        assert_eq!(machine.forwarded, 2, "the neighbours are known");
        machine.worst_latency_ns = 0;
        machine
    }

    /// The main loop: turns until there is nothing to do, then sleep.
    fn work(&mut self) {
        loop {
            for port in &self.ports {
                self.guest.take_event(*port);
            }
            let next = self.relay.turn(Instant(self.now));
            self.exchange();
            if next.is_none_or(|next| next.0 > self.now) {
                self.deadline = next.map(|next| next.0);
                break;
            }
        }
        self.sleeps += 1;
    }

    /// The backends take what they were told of.
    fn exchange(&mut self) {
        for side in [NET, LOC] {
            if !self.backs[side].take_event() {
                continue;
            }
            for frame in self.backs[side].receive() {
                if frame.bytes[12..14] == [8, 6] {
                    self.answer_arp(side, &frame.bytes);
                    continue;
                }
                let number = u16::from_be_bytes([frame.bytes[18], frame.bytes[19]]);
                let came = self.inside.remove(&number).expect("a frame leaves once");
                self.worst_latency_ns = self.worst_latency_ns.max(self.now - came);
                self.forwarded += 1;
            }
        }
    }

    fn answer_arp(&mut self, side: usize, request: &[u8]) {
        let (mac, address, _) = HOSTS[side];
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
        assert!(self.backs[side].deliver(&[&reply], 0, 0, &[]));
    }

    /// A 60-byte datagram without checksum for the other side comes in.
    fn arrive(&mut self, side: usize) {
        let (mac, source, port) = HOSTS[side];
        let (_, destination, other_port) = HOSTS[1 - side];
        let own = self.relay.fronts().nth(side).unwrap().1.mac().0;
        let number = self.next_number;
        self.next_number = number.wrapping_add(1);
        let mut frame = [&own[..], &mac, &[8, 0, 0x45, 0, 0, 46]].concat();
        frame.extend(number.to_be_bytes());
        frame.extend([0x40, 0, 64, 17, 0, 0]);
        frame.extend([source, destination].concat());
        let words = frame[14..34].chunks(2);
        let sum: u32 = words
            .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]))
            .sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let checksum = !((sum & 0xffff) + (sum >> 16)) as u16;
        frame[24..26].copy_from_slice(&checksum.to_be_bytes());
        frame.extend([port, other_port, 26, 0].map(u16::to_be_bytes).concat());
        frame.resize(60, 0);
        assert!(
            self.backs[side].deliver(&[&frame], 0, 0, &[]),
            "no buffer is posted"
        );
        self.inside.insert(number, self.now);
        if self.is_woken() {
            self.work();
        }
    }

    fn is_woken(&self) -> bool {
        // Not short-circuiting: all that is pending is taken.
        let pending = self
            .ports
            .iter()
            .filter(|port| self.guest.take_event(**port));
        pending.count() > 0
    }

    /// Lets time pass; the domain wakes when it said it would.
    fn wait_until(&mut self, then: u64) {
        while let Some(deadline) = self.deadline
            && deadline <= then
        {
            self.now = self.now.max(deadline);
            self.work();
        }
        self.now = then;
        if self.is_woken() {
            self.work();
        }
    }

    fn hypercalls(&self) -> u64 {
        self.sleeps + self.guest.hypercalls().total()
    }
}

/// Forwards frames at `rate` a second, from one side or from both in turn, for a quarter of a
/// second: hypercalls a packet, and the longest a frame was on its way.
fn measure(rate: u64, sides: &[usize]) -> (f64, u64) {
    let mut machine = Machine::new();
    let (start, before, frames) = (machine.now, machine.hypercalls(), (rate / 4).max(8));
    for number in 0..frames {
        machine.wait_until(start + number * SECOND / rate);
        machine.arrive(sides[number as usize % sides.len()]);
    }
    machine.wait_until(machine.now + 2 * DELAY_MIN.as_nanos() as u64);
    assert_eq!(machine.forwarded, 2 + frames, "none is lost or left lying");
    let calls = machine.hypercalls() - before;
    (calls as f64 / frames as f64, machine.worst_latency_ns)
}

#[test]
fn at_20000_packets_a_second_and_above_a_packet_takes_at_most_a_fifth_of_a_hypercall() {
    for rate in [20_000, 30_000, 50_000, 100_000, 400_000] {
        for sides in [&[LOC][..], &[NET], &[LOC, NET]] {
            let (calls, latency_ns) = measure(rate, sides);
            println!("{rate}/s from {sides:?}: {calls:.3} hypercalls a packet");
            assert!(calls <= 0.2, "{rate}/s from {sides:?}: {calls}");
            assert!(u128::from(latency_ns) <= DELAY_MIN.as_nanos());
        }
    }
}

#[test]
fn a_slow_frame_is_forwarded_as_it_comes() {
    for rate in [
        1,
        100,
        1000,
        u64::from(RATE_OFF) - 500,
        u64::from(RATE_ON) - 250,
    ] {
        let (calls, latency_ns) = measure(rate, &[LOC, NET]);
        assert_eq!(latency_ns, 0, "{rate}/s");
        // One sleep and one notification; the firewall's own clock, once a second, ends a sleep too.
        let bound = if rate == 1 { 3.0 } else { 2.1 };
        assert!(calls <= bound, "{rate}/s: {calls}");
    }
}

#[test]
fn no_frame_waits_longer_than_the_bound_whatever_the_rate() {
    for rate in [4_500, 5_000, 5_500, 10_000] {
        let (_, latency_ns) = measure(rate, &[LOC]);
        assert!(u128::from(latency_ns) <= DELAY_MIN.as_nanos(), "{rate}/s");
    }
}

/// Each answers what came from the other, after some time: looking less often would only slow both down.
#[test]
fn who_waits_for_each_frame_is_hardly_slowed_down() {
    const THINK: u64 = SECOND / 20_000;
    let mut machine = Machine::new();
    let (end, begun) = (machine.now + SECOND, machine.forwarded);
    for side in [LOC, NET].into_iter().cycle() {
        if machine.now >= end {
            break;
        }
        let before = machine.forwarded;
        machine.arrive(side);
        while machine.forwarded == before {
            let deadline = machine.deadline.expect("it will look");
            machine.wait_until(deadline);
        }
        machine.wait_until(machine.now + THINK);
    }
    let forwarded = machine.forwarded - begun;
    println!("{forwarded} frames a second, of 20000");
    assert!(forwarded > 18_000, "{forwarded}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Bursts and pauses of any length: whoever sleeps is woken, by the backend or by itself.
    #[test]
    fn no_wake_up_is_lost(
        arrivals in proptest::collection::vec((0u64..5_000_000, 1usize..120, 0usize..2, 0u64..200_000), 1..60),
    ) {
        let mut machine = Machine::new();
        let mut frames = 0;
        for (pause, burst, side, gap) in arrivals {
            machine.wait_until(machine.now + pause);
            for _ in 0..burst {
                machine.wait_until(machine.now + gap);
                machine.arrive(side);
                frames += 1;
            }
        }
        machine.wait_until(machine.now + DELAY_MIN.as_nanos() as u64);
        prop_assert_eq!(machine.forwarded, 2 + frames);
        prop_assert!(u128::from(machine.worst_latency_ns) <= DELAY_MIN.as_nanos());
    }
}
