//! Cards that come and go, over the simulated Xen.

use super::*;
use crate::nic::model::{E1000, MAC};
use alloc::format;
use minios_rs::fake::pci::Card as Plugged;
use minios_rs::fake::pciback::Pciback;
use minios_rs::fake::{Domain, Page, World};
use minios_rs::net::{MacAddress, Received};
use minios_rs::xen::{DomId, Xen};
use minios_rs::xenbus::XenbusState;

const GUEST: DomId = DomId(7);

/// Takes what comes and drops it: nobody is behind the card.
#[derive(Default)]
struct Drain {
    /// Of the cards, in their order in the last turn.
    seen: Vec<(MacAddress, Link, u64)>,
}

impl Traffic<Domain> for Drain {
    fn exchange(&mut self, _: Instant, _: Address, nic: &mut dyn Nic<Domain>) -> Option<Instant> {
        let mut frame = Received::default();
        while nic.receive_into(&mut frame) {
            while let Some(slice) = frame.slots.pop() {
                nic.recycle(slice.buffer);
            }
        }
        let received = nic.statistics().received_frames;
        self.seen.push((nic.mac(), nic.link(), received));
        None
    }

    fn take_back(&mut self, _: RxBuffer<Page>) {
        panic!("nothing of others is sent");
    }
}

struct Lab {
    world: World,
    guest: Domain,
    store: Client<Domain>,
    executor: Executor,
    back: Pciback,
    cards: Cards<Domain>,
}

impl Lab {
    fn new(count: usize) -> (Self, Vec<Plugged<E1000>>) {
        let world = World::new();
        let guest = world.domain(GUEST);
        let store = world.connect_xenstore(&guest);
        let (back, plugged) = Pciback::plug(&world, GUEST, (0..count).map(|_| E1000::new()));
        let executor = Executor::new(4);
        let cards = Cards::start(&guest, &store, &executor, Config::default());
        let cards = cards.expect("the first task fits");
        let lab = Self {
            world,
            guest,
            store,
            executor,
            back,
            cards,
        };
        (lab, plugged)
    }

    fn turns(&mut self, count: usize) {
        for _ in 0..count {
            self.world.advance(Duration::from_millis(5));
            self.executor.run_ready(self.guest.now());
            self.cards.turn(self.guest.now(), &mut Drain::default());
            self.store.pump();
            self.world.serve_xenstore();
            self.store.pump();
            self.back.step();
        }
    }
}

#[test]
fn every_card_is_brought_up_and_looked_after() {
    let (mut lab, plugged) = Lab::new(2);
    lab.turns(500);
    assert_eq!(lab.cards.count(), 2);
    for card in &plugged {
        for _ in 0..1000 {
            assert!(card.with(|model, bus| model.receive(&[1; 100], bus)));
            lab.turns(1);
        }
    }
    let mut drain = Drain::default();
    lab.cards.turn(lab.guest.now(), &mut drain);
    assert_eq!(drain.seen, [(MacAddress(MAC), Link::Up(1000), 1000); 2]);
}

#[test]
fn a_card_is_let_go_and_taken_again() {
    let (mut lab, plugged) = Lab::new(2);
    lab.turns(500);
    let before = lab.guest.usage();
    for _ in 0..3 {
        lab.back.detach(0);
        lab.turns(100);
        assert_eq!(lab.cards.count(), 1);
        assert_eq!(lab.guest.usage().registers, 1);
        assert_eq!(lab.world.dma_faults(plugged[0].number()), 0);
        lab.back.come_back(0);
        lab.turns(500);
        assert_eq!(lab.cards.count(), 2);
        assert_eq!(
            lab.guest.usage(),
            before,
            "no page, port or register is lost"
        );
    }
}

#[test]
fn the_bus_may_end_and_come_back() {
    let (mut lab, plugged) = Lab::new(1);
    lab.turns(500);
    let before = lab.guest.usage();
    lab.back.switch_to(XenbusState::CLOSING);
    lab.turns(300);
    assert_eq!(lab.cards.count(), 0);
    assert_eq!(lab.guest.usage().registers, 0);
    lab.back = Pciback::announce(&lab.world, GUEST, &[plugged[0].number()]);
    lab.turns(800);
    assert_eq!(lab.cards.count(), 1);
    assert_eq!(lab.guest.usage(), before);
    // All nodes at once, as `xl destroy` of a backend leaves it.
    let node = format!("/local/domain/{}/device/pci", GUEST.0);
    lab.back.leave();
    let backend = alloc::string::String::from(lab.back.node());
    lab.world.remove_node(&backend);
    lab.world.remove_node(&node);
    lab.turns(300);
    assert_eq!(lab.cards.count(), 0);
}

#[test]
fn errors_on_the_bus_reset_the_cards() {
    let (mut lab, plugged) = Lab::new(1);
    lab.turns(500);
    let resets = plugged[0].with(|model, _| model.resets);
    lab.back
        .report(minios_rs::abi::io::pciif::XEN_PCI_OP_AER_DETECTED);
    lab.turns(50);
    assert!(lab.back.reported().is_some());
    assert_eq!(plugged[0].with(|model, _| model.resets), resets + 1);
}
