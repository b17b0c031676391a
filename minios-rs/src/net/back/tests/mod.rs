use super::*;
use crate::abi::io::netif::*;
use crate::abi::io::ring::{REQ_PROD, RING};
use crate::fake::netback::Which;
use crate::fake::netfront::{Netfront, Shape, TAKES};
use crate::fake::{Domain, Fault, Page, Quirks, Usage, World};
use crate::net::queue::Payload;
use crate::net::{FRAME_SLOTS_MAX, GsoKind, MacAddress};
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

mod connecting;
mod failing;
mod fetching;
mod finishing;
mod frames;
mod hostile;
mod outlet;
mod xenstore;

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

    fn node(&self, number: usize, key: &str) -> Option<String> {
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

/// The next frame of a vif's: its header, whose buffer is given back, and what lies behind it.
fn take(back: &mut Back<Domain>) -> ([u8; HEAD_MAX], Payload<Domain>) {
    let received = back.receive().expect("a frame came");
    let mut head = [0; HEAD_MAX];
    received.read(0, &mut head);
    let mut slots = received.slots;
    let first = slots.remove(0);
    back.recycle(first.buffer);
    (head, slots)
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
