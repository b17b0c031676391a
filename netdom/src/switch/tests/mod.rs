//! Bridges between cards and guests, over the simulated Xen.

use super::*;
use crate::cards::Cards;
use crate::nic;
use crate::nic::model::{E1000, Wired};
use crate::nic::virtio_model::VirtioNet;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use minios_rs::abi::io::netif::{
    ExtraInfo, NETRXF_CSUM_BLANK, NETTXF_CSUM_BLANK, NETTXF_DATA_VALIDATED,
    XEN_NETIF_EXTRA_TYPE_GSO, XEN_NETIF_GSO_TYPE_TCPV4,
};
use minios_rs::fake::netfront::{Netfront, Shape};
use minios_rs::fake::pci::Card;
use minios_rs::fake::pciback::Pciback;
use minios_rs::fake::{Domain, Usage, World};
use minios_rs::task::Executor;
use minios_rs::xen::{DomId, Xen};
use minios_rs::xenbus::XenbusState;
use minios_rs::xenstore::Client;

mod comings;
mod configured;
mod frames;
mod strangers;

const NETDOM: DomId = DomId(7);
const EVERYBODY: [u8; 6] = [0xff; 6];
/// Stations on the wire.
const FAR: [u8; 6] = [2, 0, 0, 0, 0, 9];
const FARTHER: [u8; 6] = [2, 0, 0, 0, 0, 10];

/// The domain, its cards and its guests.
struct Lab<M: Wired> {
    world: World,
    netdom: Domain,
    store: Client<Domain>,
    executor: Executor,
    back: Pciback,
    plugged: Vec<Card<M>>,
    cards: Cards<Domain>,
    backends: Backends<Domain>,
    switch: Switch<Domain>,
    fronts: Vec<Netfront>,
}

impl<M: Wired> Lab<M> {
    fn new(cards: usize) -> Self {
        Self::start(cards, 1500, Switch::default())
    }

    /// With bridges of the user's.
    fn configured(cards: usize, config: Config) -> Self {
        Self::start(cards, config.mtu(), Switch::new(config))
    }

    fn start(cards: usize, mtu: u16, switch: Switch<Domain>) -> Self {
        let world = World::new();
        let netdom = world.domain(NETDOM);
        let store = world.connect_xenstore(&netdom);
        let models = (0..cards).map(|_| M::correct());
        let (back, plugged) = Pciback::plug(&world, NETDOM, models);
        let executor = Executor::new(80);
        let config = nic::Config {
            mtu,
            ..nic::Config::default()
        };
        let cards = Cards::start(&netdom, &store, &executor, config);
        let backends = Backends::start(&netdom, &store, &executor, OFFER);
        let mut lab = Self {
            world,
            netdom,
            store,
            executor,
            back,
            plugged,
            cards: cards.expect("it fits"),
            backends: backends.expect("it fits"),
            switch,
            fronts: Vec::new(),
        };
        lab.turns(400);
        assert_eq!(lab.cards.count(), lab.plugged.len());
        lab
    }

    /// One card, and so many guests on its bridge.
    fn with_guests(count: usize) -> Self {
        let mut lab = Self::new(1);
        for _ in 0..count {
            lab.join(&[]);
        }
        lab
    }

    fn turn(&mut self) -> Option<Instant> {
        self.world.advance(Duration::from_millis(5));
        let now = self.netdom.now();
        self.executor.run_ready(now);
        self.switch.admit(&self.backends);
        let cards = self.cards.turn(now, &mut self.switch);
        let bridges = self.switch.finish(now);
        self.store.pump();
        self.world.serve_xenstore();
        self.store.pump();
        self.back.step();
        [cards, bridges].into_iter().flatten().min()
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.turn();
        }
    }

    /// A guest's vif with these settings, waited for: its number. Its frontend has not connected.
    fn announce(&mut self, settings: &[(&str, &str)]) -> usize {
        let domain = DomId(10 + self.fronts.len() as u16);
        let front = Netfront::announce(&self.world, NETDOM, domain, 0, settings);
        self.fronts.push(front);
        self.turns(60);
        self.fronts.len() - 1
    }

    /// The same, connected, with buffers to receive into.
    fn join(&mut self, settings: &[(&str, &str)]) -> usize {
        let number = self.announce(settings);
        self.fronts[number].connect(Shape::default());
        self.turns(60);
        let state = self.fronts[number].backend_state();
        assert_eq!(state, XenbusState::CONNECTED);
        self.fronts[number].post(0, 256);
        number
    }

    /// A guest's vif is taken away, as `xl network-detach` does.
    fn leave(&mut self, number: usize) {
        self.fronts[number].detach();
        self.turns(60);
        self.fronts[number].switch_to(XenbusState::CLOSED);
        self.turns(1600);
        assert_eq!(self.world.node(self.fronts[number].backend_node()), None);
    }

    /// A guest sends a frame, in pages of up to 4,096 bytes.
    fn send(&mut self, guest: usize, frame: &[u8]) {
        let slots: Vec<&[u8]> = frame.chunks(PAGE_SIZE).collect();
        assert!(self.fronts[guest].send(0, &slots, 0, &[]), "it has room");
        self.turn();
    }

    /// A frame comes on a card's wire.
    fn comes(&mut self, card: usize, frame: &[u8]) {
        let came = self.plugged[card].with(|model, bus| model.comes(frame, bus));
        assert!(came, "the card has room");
        self.turn();
    }

    /// What went out on a card's wire, the last first.
    fn gone(&self, card: usize) -> Vec<Vec<u8>> {
        let next = || self.plugged[card].with(|model, _| model.sent());
        core::iter::from_fn(next).collect()
    }

    /// What a guest has got; it posts new buffers.
    fn got(&mut self, guest: usize) -> Vec<Vec<u8>> {
        let front = &mut self.fronts[guest];
        let frames = front.receive(0).into_iter().map(|frame| frame.bytes);
        let frames = frames.collect();
        front.answers(0);
        front.post(0, 256);
        frames
    }

    /// What each guest has got, and what went out on the first card's wire.
    fn all(&mut self) -> (Vec<Vec<Vec<u8>>>, Vec<Vec<u8>>) {
        let guests = (0..self.fronts.len()).map(|guest| self.got(guest));
        (guests.collect(), self.gone(0))
    }

    /// What got lost on the first card's bridge.
    fn losses(&self) -> Losses {
        let (name, losses) = self.switch.bridges().next().expect("there is a bridge");
        assert_eq!(name, "xenbr0");
        losses
    }

    fn usage(&self) -> Usage {
        self.netdom.usage()
    }
}

/// The address of a guest's vif.
fn mac(guest: usize) -> [u8; 6] {
    [0, 0x16, 0x3e, 0, 10 + guest as u8, 0]
}

/// A frame of a protocol that nobody looks into.
fn frame(to: [u8; 6], from: [u8; 6], len: usize, seed: u8) -> Vec<u8> {
    let mut frame = [&to[..], &from, &[0x88, 0xb5]].concat();
    let rest = (frame.len()..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed));
    frame.extend(rest);
    frame
}

/// ARP: who is asked for, by whom.
fn asks(from: [u8; 6], address: [u8; 4]) -> Vec<u8> {
    let head = [&EVERYBODY[..], &from, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1]].concat();
    let mut frame = [&head[..], &from, &address, &[0; 6], &[10, 0, 3, 99]].concat();
    frame.resize(60, 0);
    frame
}

/// TCP over IPv4, its checksum blank or whatever it is.
fn tcp(to: [u8; 6], from: [u8; 6], payload: usize) -> Vec<u8> {
    let mut frame = [&to[..], &from, &[8, 0, 0x45, 0]].concat();
    frame.extend((40 + payload as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 3, 2, 10, 0, 3, 3]);
    frame.extend([
        0x12, 0x34, 0x56, 0x78, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0xff, 0xff,
    ]);
    frame.extend([0; 4]);
    frame.extend((0..payload).map(|at| (at as u8).wrapping_mul(7)));
    frame
}

/// Nothing at all, in a test's words.
const NONE: [Vec<u8>; 0] = [];
