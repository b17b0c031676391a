//! A front, and the backends of the simulated Xen.

use super::*;
use crate::abi::io::netif::*;
use crate::abi::io::ring::{RING, RSP_PROD};
use crate::fake::netback::{Frame, Netback, OFFERS, Which};
use crate::fake::{Domain, Fault, Page, Quirks, Usage, World};
use crate::net::{Checksum, Gso, GsoKind, Offload, Slice, TransmitError};
use crate::xen::{DomId, SharedPage};
use crate::xenbus::XenbusState;
use crate::xenstore::Client;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::future::Future;
use core::task::{Context, Poll, Waker};
use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

mod again;
mod connecting;
mod events;
mod frames;
mod hostile;
mod pages;

const GUEST: DomId = DomId(7);
const HOST: DomId = DomId(0);
const OTHER: DomId = DomId(3);

struct Lab {
    world: World,
    guest: Domain,
    store: Client<Domain>,
    backs: Vec<Netback>,
    before: Usage,
}

impl Lab {
    fn new(backends: &[DomId]) -> Self {
        let world = World::new();
        let guest = world.domain(GUEST);
        let store = world.connect_xenstore(&guest);
        let before = guest.usage();
        let announce = |(index, backend): (usize, &DomId)| {
            Netback::announce(&world, *backend, GUEST, index as u32, &OFFERS)
        };
        let backs = backends.iter().enumerate().map(announce).collect();
        Self {
            world,
            guest,
            store,
            backs,
            before,
        }
    }

    /// Runs a future to its end; `None` if it has not ended after many turns.
    fn try_run<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = Box::pin(future);
        for _ in 0..500 {
            if let Poll::Ready(value) = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                return Some(value);
            }
            self.turn();
        }
        None
    }

    fn turn(&mut self) {
        self.store.pump();
        self.world.serve_xenstore();
        self.store.pump();
        self.backs.iter_mut().for_each(Netback::step);
    }

    fn run<T>(&mut self, future: impl Future<Output = T>) -> T {
        self.try_run(future).expect("it ends")
    }

    fn connect(&mut self, index: u32) -> (Front<Domain>, Link<Domain>) {
        let (guest, store) = (self.guest.clone(), self.store.clone());
        self.run(async move { Front::connect(&guest, &store, index, Config::default()).await })
            .expect("it connects")
    }

    /// Backend-initiated end, as an unplug is; then everything must be back.
    fn end(mut self, fronts: Vec<(Front<Domain>, Link<Domain>)>) {
        self.unplug(fronts);
    }

    fn unplug(&mut self, mut fronts: Vec<(Front<Domain>, Link<Domain>)>) {
        for back in &self.backs {
            back.switch_to(XenbusState::CLOSING);
        }
        for (front, link) in &mut fronts {
            self.run(link.backend_ending()).expect("xenstore works");
            front.close();
            self.run(link.close()).expect("xenstore works");
        }
        for (front, _) in &mut fronts {
            while front.completed().is_some() {}
        }
        for (front, _) in &mut fronts {
            assert_eq!(front.release(), Ok(()));
        }
        drop(fronts);
        (0..20).for_each(|_| self.turn());
        assert_eq!(self.guest.usage(), self.before, "nothing is left");
    }
}

fn one() -> (Lab, Front<Domain>, Link<Domain>) {
    let mut lab = Lab::new(&[HOST]);
    let (front, link) = lab.connect(0);
    (lab, front, link)
}

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

fn whole(frame: &Received<Page>) -> Vec<u8> {
    let mut into = vec![0; frame.len as usize];
    assert_eq!(frame.read(0, &mut into), into.len());
    into
}

fn tail_of(frame: Received<Page>) -> heapless::Vec<Slice<Page>, TAIL_MAX> {
    frame.slots.into_iter().collect()
}

fn gso_info(size: u16) -> ExtraInfo {
    ExtraInfo {
        kind: XEN_NETIF_EXTRA_TYPE_GSO,
        gso_type: XEN_NETIF_GSO_TYPE_TCPV4,
        gso_size: size,
        ..ExtraInfo::default()
    }
}

const BLANK: Offload = Offload {
    checksum: Checksum::Blank,
    gso: None,
};
const PLAIN: Offload = Offload {
    checksum: Checksum::Unknown,
    gso: None,
};

/// Sends one frame of two slots from backend 0 to front 1 and returns the request of its payload.
fn forward(
    lab: &mut Lab,
    from: &mut Front<Domain>,
    to: &mut Front<Domain>,
    seed: u8,
) -> Vec<Frame> {
    let (head, payload) = (bytes(100, seed), bytes(1000, seed));
    let to_back = lab.backs.len() - 1;
    assert!(lab.backs[0].deliver(&[&head, &payload], 0, 0, &[]));
    let mut frame = from.receive().expect("a frame came");
    let payload = frame.slots.pop().expect("two slots");
    let mut tail = heapless::Vec::new();
    tail.push(payload).expect("there is room");
    to.transmit(&head, &mut tail, PLAIN).expect("it is sent");
    from.recycle_frame(frame);
    to.flush();
    lab.backs[to_back].receive()
}
