//! Drivers, and the models of their cards.

use super::*;
use crate::nic::model::Wired;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};
use minios_rs::fake::pci::{Card, Model};
use minios_rs::fake::pciback::Pciback;
use minios_rs::fake::{Domain, Fault, Usage, World};
use minios_rs::net::front::{TransmitError, Wake};
use minios_rs::net::{Checksum, Offload, Received};
use minios_rs::pci::Bus;
use minios_rs::ring::Pending;
use minios_rs::xen::{DomId, Xen};
use minios_rs::xenbus::XenbusState;
use minios_rs::xenstore::Client;
use proptest::prelude::*;

mod every;
mod intel;
mod virtio;

const GUEST: DomId = DomId(7);
const PLAIN: Offload = Offload {
    checksum: Checksum::Unknown,
    gso: None,
};
const BLANK: Offload = Offload {
    checksum: Checksum::Blank,
    gso: None,
};

type Driver = Box<dyn Nic<Domain>>;

/// A domain with cards.
struct Lab {
    world: World,
    guest: Domain,
    store: Client<Domain>,
    executor: Executor,
    back: Pciback,
    bus: Bus<Domain>,
    link: Option<pci::Link<Domain>>,
    before: Usage,
}

impl Lab {
    fn new<M: Model + 'static>(models: Vec<M>) -> (Self, Vec<Card<M>>) {
        let world = World::new();
        let guest = world.domain(GUEST);
        let store = world.connect_xenstore(&guest);
        let before = guest.usage();
        let (mut back, cards) = Pciback::plug(&world, GUEST, models);
        let executor = Executor::new(4);
        let connecting = {
            let (guest, store, executor) = (guest.clone(), store.clone(), executor.clone());
            async move { Bus::connect(&guest, &store, &executor, 0).await }
        };
        let mut turn = || turn(&world, &guest, &store, &executor, &mut back);
        let (bus, link) = run(connecting, &mut turn).expect("it connects");
        let lab = Self {
            world,
            guest,
            store,
            executor,
            back,
            bus,
            link: Some(link),
            before,
        };
        (lab, cards)
    }

    fn run<T>(&mut self, future: impl Future<Output = T>) -> T {
        let bus = self.bus.clone();
        let mut turn = || {
            turn(
                &self.world,
                &self.guest,
                &self.store,
                &self.executor,
                &mut self.back,
            );
            bus.pump();
        };
        run(future, &mut turn)
    }

    fn bring_up(&mut self, number: u8, config: Config) -> Result<Driver, Error> {
        let address = pci::Address {
            segment: 0,
            bus: 0,
            devfn: number << 3,
        };
        let function = self.bus.function(address);
        let executor = self.executor.clone();
        self.run(async move { bring_up(&function, &executor, config).await })
    }

    fn now(&self) -> Instant {
        self.guest.now()
    }

    /// Lets time pass, as the main loop sees it.
    fn pass(&self, driver: &mut Driver, duration: Duration) {
        const STEP: Duration = Duration::from_millis(10);
        for _ in 0..duration.as_millis() / STEP.as_millis() {
            self.world.advance(STEP);
            driver.poll(self.now());
            driver.flush();
            let _ = driver.park_until(Wake::FirstSlot);
        }
    }

    /// The toolstack takes the cards away; nothing may be left of them.
    fn end(mut self, drivers: Vec<Driver>) {
        for mut driver in drivers {
            driver.stop();
            assert_eq!(driver.state(), State::Stopped);
            while let Some(buffer) = driver.completed() {
                driver.recycle(buffer);
            }
            assert_eq!(driver.statistics().foreign_tokens, 0);
        }
        self.back.switch_to(XenbusState::CLOSING);
        let mut link = self.link.take().expect("it is connected");
        self.run(link.close()).expect("xenstore works");
        drop(link);
        let (world, guest, before) = (self.world.clone(), self.guest.clone(), self.before);
        let (store, mut back, executor) = (self.store, self.back, self.executor);
        drop(self.bus);
        (0..20).for_each(|_| turn(&world, &guest, &store, &executor, &mut back));
        assert_eq!(guest.usage(), before, "nothing is left");
    }
}

fn turn(
    world: &World,
    guest: &Domain,
    store: &Client<Domain>,
    executor: &Executor,
    back: &mut Pciback,
) {
    world.advance(Duration::from_millis(5));
    executor.run_ready(guest.now());
    store.pump();
    world.serve_xenstore();
    store.pump();
    back.step();
}

fn run<T>(future: impl Future<Output = T>, turn: &mut impl FnMut()) -> T {
    let mut future = Box::pin(future);
    for _ in 0..50_000 {
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        turn();
    }
    panic!("it does not end");
}

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

/// Takes the next frame's bytes, and gives its buffers back.
fn receive(driver: &mut Driver) -> Option<Vec<u8>> {
    let mut frame = Received::default();
    driver.receive_into(&mut frame).then(|| {
        let mut into = vec![0; frame.len as usize];
        assert_eq!(frame.read(0, &mut into), into.len());
        for slice in frame.slots {
            driver.recycle(slice.buffer);
        }
        driver.flush();
        into
    })
}

fn send(driver: &mut Driver, frame: &[u8], offload: Offload) -> Result<(), TransmitError> {
    let mut none = heapless::Vec::<_, 1>::new();
    let sent = driver.transmit_slots(frame, none.as_mut_view(), offload);
    driver.flush();
    sent
}

fn one<M: Wired>() -> (Lab, Card<M>, Driver) {
    let (mut lab, mut cards) = Lab::new(vec![M::correct()]);
    let driver = lab.bring_up(0, Config::default()).expect("it comes up");
    (lab, cards.remove(0), driver)
}

fn deliver<M: Wired>(card: &Card<M>, frame: &[u8]) -> bool {
    card.with(|model, bus| model.comes(frame, bus))
}

fn sent<M: Wired>(card: &Card<M>) -> Option<Vec<u8>> {
    card.with(|model, _| model.sent())
}

/// What was a card and is one again passes frames both ways.
fn works<M: Wired>(card: &Card<M>, driver: &mut Driver) {
    while sent(card).is_some() {}
    assert_eq!(send(driver, &bytes(60, 7), PLAIN), Ok(()));
    assert_eq!(sent(card), Some(bytes(60, 7)));
    assert!(deliver(card, &bytes(80, 8)));
    assert_eq!(receive(driver), Some(bytes(80, 8)));
}

/// A card gone mad is used on, in one way or another, and what it says to have received taken.
fn go_on<M: Wired>(lab: &Lab, card: &Card<M>, driver: &mut Driver, what: u8, longest: usize) {
    match what {
        0 => {
            let _ = deliver(card, &bytes(60, 0));
        }
        1 => {
            let _ = send(driver, &bytes(60, 0), PLAIN);
        }
        2 => lab.pass(driver, Duration::from_millis(20)),
        _ => {}
    }
    for _ in 0..RING {
        let Some(frame) = receive(driver) else {
            break;
        };
        assert!((ETHERNET_HEADER..=longest).contains(&frame.len()));
    }
    while let Some(buffer) = driver.completed() {
        driver.recycle(buffer);
    }
}
