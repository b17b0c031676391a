//! pcifront, and the backend and a card of the simulated Xen.

use super::*;
use crate::abi::io::pciif::{
    XEN_PCI_OP_AER_DETECTED, XEN_PCI_OP_AER_SLOTRESET, XEN_PCI_OP_CONF_READ,
};
use crate::fake::pci::{BarSpec, Card, CardBus, Configuration, Model};
use crate::fake::pciback::Pciback;
use crate::fake::{Domain, Fault, Quirks, Usage, World};
use crate::hardware::{Hardware, Registers};
use crate::task::Executor;
use crate::xen::{DomId, SharedPage, Xen};
use crate::xenbus::XenbusState;
use crate::xenstore::Client;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use proptest::prelude::*;

const GUEST: DomId = DomId(7);

/// Sixteen words that remember what was written, one that pulls the line, one that copies a word.
#[derive(Default)]
struct Toy {
    words: [u32; 16],
}

const LINE: usize = 0x3c;
const COPY_TO: usize = 0x38;

impl Model for Toy {
    fn configuration(&self) -> Configuration {
        Configuration {
            id: (0x1234, 0x5678),
            class: 0x02_00_00,
            bars: [
                BarSpec::Memory64(0x4000),
                BarSpec::Unused,
                BarSpec::Ports(64),
                BarSpec::Memory(0x1000),
                BarSpec::Unused,
                BarSpec::Unused,
            ],
            capabilities: vec![
                (capability::VENDOR, vec![8, 1, 2, 3]),
                (capability::MSI, vec![0; 12]),
                (capability::MSIX, vec![3, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            ],
            has_line: true,
        }
    }

    fn read(&mut self, _: usize, offset: usize, size: usize, _: &CardBus) -> u32 {
        let word = self.words.get(offset / 4).copied().unwrap_or(0);
        match size {
            4 => word,
            2 => word >> (8 * (offset % 4)) & 0xffff,
            _ => word >> (8 * (offset % 4)) & 0xff,
        }
    }

    fn write(&mut self, _: usize, offset: usize, _: usize, value: u32, bus: &CardBus) {
        if let Some(word) = self.words.get_mut(offset / 4) {
            *word = value;
        }
        if offset == COPY_TO {
            bus.write(u64::from(value), &self.words[0].to_le_bytes());
        }
    }

    fn line(&self) -> bool {
        self.words[LINE / 4] != 0
    }
}

struct Lab {
    world: World,
    guest: Domain,
    store: Client<Domain>,
    executor: Executor,
    back: Pciback,
    bus: Option<Bus<Domain>>,
    before: Usage,
}

impl Lab {
    fn new(cards: usize) -> (Self, Vec<Card<Toy>>) {
        let world = World::new();
        let guest = world.domain(GUEST);
        let store = world.connect_xenstore(&guest);
        let before = guest.usage();
        let models = (0..cards).map(|_| Toy::default());
        let (back, cards) = Pciback::plug(&world, GUEST, models);
        let lab = Self {
            world,
            guest,
            store,
            executor: Executor::new(4),
            back,
            bus: None,
            before,
        };
        (lab, cards)
    }

    /// Runs a future to its end, and the clock with it: ten milliseconds a turn.
    fn run<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = Box::pin(future);
        for _ in 0..20_000 {
            if let Poll::Ready(value) = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
            {
                return value;
            }
            self.turn();
        }
        panic!("it does not end");
    }

    fn turn(&mut self) {
        self.world.advance(Duration::from_millis(10));
        self.executor.run_ready(self.guest.now());
        if let Some(bus) = &self.bus {
            bus.pump();
        }
        self.store.pump();
        self.world.serve_xenstore();
        self.store.pump();
        self.back.step();
    }

    fn try_connect(&mut self) -> Result<Link<Domain>, Error> {
        let (guest, store) = (self.guest.clone(), self.store.clone());
        let executor = self.executor.clone();
        let connected = self.run(async move { Bus::connect(&guest, &store, &executor, 0).await });
        connected.map(|(bus, link)| {
            self.bus = Some(bus);
            link
        })
    }

    fn connect(&mut self) -> Link<Domain> {
        self.try_connect().expect("it connects")
    }

    fn function(&mut self) -> Function<Domain> {
        let address = "0000:00:00.0".parse().unwrap();
        self.bus.as_ref().unwrap().function(address)
    }

    /// The toolstack takes all away; nothing may be left.
    fn end(self, link: Link<Domain>) {
        self.back.switch_to(XenbusState::CLOSING);
        self.close(link, ());
    }

    /// The backend has ended by itself; nothing may be left.
    fn find_it_ended(mut self, mut link: Link<Domain>, function: Function<Domain>) {
        assert_eq!(self.run(link.changed()).unwrap(), Change::Ending);
        self.close(link, function);
    }

    fn close(mut self, mut link: Link<Domain>, held: impl Sized) {
        self.run(link.close()).expect("xenstore works");
        drop((held, link));
        self.bus = None;
        (0..20).for_each(|_| self.turn());
        assert_eq!(self.guest.usage(), self.before, "nothing is left");
    }
}

fn one() -> (Lab, Card<Toy>, Link<Domain>, Function<Domain>) {
    let (mut lab, mut cards) = Lab::new(1);
    let link = lab.connect();
    let function = lab.function();
    (lab, cards.remove(0), link, function)
}

#[test]
fn addresses_read_back_and_what_is_none_is_refused() {
    let address: Address = "0001:02:1f.07".parse().unwrap();
    assert_eq!(address.devfn, 0xff);
    assert_eq!(address.to_string(), "0001:02:1f.7");
    assert_eq!(address.to_string().parse(), Ok(address));
    for text in [
        "",
        "0:0:0",
        "0000:00:20.0",
        "0000:00:00.8",
        "00000:00:00.0",
        "0000:00:+1.0",
        "::.",
        "0000:100:00.0",
    ] {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
}

#[test]
fn a_function_tells_what_it_is_and_what_it_has() {
    let (mut lab, _card, link, function) = one();
    let addresses = lab.run(link.functions()).unwrap();
    assert_eq!(addresses, [function.address()]);
    let identity = lab.run(function.identity()).unwrap();
    assert_eq!((identity.vendor, identity.device), (0x1234, 0x5678));
    assert_eq!(identity.base_class(), Identity::NETWORK);
    let Some(Bar::Memory { address, length }) = lab.run(function.bar(0)).unwrap() else {
        panic!("registers in memory");
    };
    assert_eq!(length, 0x4000);
    assert!(address.is_multiple_of(length));
    assert_eq!(lab.run(function.bar(2)).unwrap(), Some(Bar::Ports));
    assert_eq!(lab.run(function.bar(4)).unwrap(), None);
    let capabilities = lab.run(function.capabilities()).unwrap();
    let ids: Vec<u8> = capabilities.iter().map(|entry| entry.id).collect();
    assert_eq!(ids, [capability::VENDOR, capability::MSI, capability::MSIX]);
    drop(function);
    lab.end(link);
}

#[test]
fn registers_answer_once_memory_is_decoded() {
    let (mut lab, _card, link, function) = one();
    let registers = lab.run(function.map(0, 0x40, 0x40)).unwrap();
    assert_eq!(registers.read32(0), u32::MAX, "not yet");
    lab.run(function.command(Command::MEMORY, Command::empty()))
        .unwrap();
    registers.write32(4, 0x1122_3344);
    assert_eq!(registers.read32(4), 0x1122_3344);
    assert_eq!(registers.read16(6), 0x1122);
    assert_eq!(registers.read8(5), 0x33);
    assert_eq!(lab.guest.usage().registers, 1);
    let missing = lab.run(function.map(3, 0x2000, 0x2000)).map(drop);
    assert_eq!(missing, Err(Error::Missing("registers enough")));
    let missing = lab.run(function.map(2, 1, 1)).map(drop);
    assert!(matches!(missing, Err(Error::Missing(_))));
    drop((registers, function));
    lab.end(link);
}

#[test]
fn a_card_reaches_pages_of_its_domain_as_bus_master_and_nothing_else() {
    let (mut lab, card, link, function) = one();
    let set = Command::MEMORY;
    lab.run(function.command(set, Command::empty())).unwrap();
    let registers = lab.run(function.map(0, 0x40, 0x40)).unwrap();
    let page = lab.guest.allocate_page().unwrap();
    let address = lab.guest.machine_address(&page) as u32;
    registers.write32(0, 0xabcd);
    registers.write32(COPY_TO, address + 8);
    assert_eq!(page.word(8).load(core::sync::atomic::Ordering::Relaxed), 0);
    assert_eq!(lab.world.dma_faults(card.number()), 1, "no bus master yet");
    lab.run(function.command(Command::MASTER, Command::empty()))
        .unwrap();
    registers.write32(COPY_TO, address + 8);
    assert_eq!(
        page.word(8).load(core::sync::atomic::Ordering::Relaxed),
        0xabcd
    );
    drop(page);
    registers.write32(COPY_TO, address + 8);
    let foreign = lab.world.domain(DomId(0)).allocate_page().unwrap();
    let foreign = lab.world.domain(DomId(0)).machine_address(&foreign);
    registers.write32(COPY_TO, foreign as u32);
    assert_eq!(lab.world.dma_faults(card.number()), 3);
    drop((registers, function));
    lab.end(link);
}

#[test]
fn an_interrupt_line_comes_again_until_it_is_let_go_and_not_before_it_is_ended() {
    let (mut lab, card, link, function) = one();
    let interrupt = lab.run(function.line_interrupt()).unwrap();
    assert_eq!(interrupt.kind(), InterruptKind::Line);
    assert!(!interrupt.take());
    card.with(|toy, _| toy.words[LINE / 4] = 1);
    assert!(interrupt.take());
    card.with(|_, _| ());
    assert!(!interrupt.take(), "not ended");
    interrupt.end();
    assert!(interrupt.take(), "still pulled");
    card.with(|toy, _| toy.words[LINE / 4] = 0);
    interrupt.end();
    assert!(!interrupt.take());
    drop(interrupt);
    lab.run(function.disable(InterruptKind::Line)).unwrap();
    drop(function);
    lab.end(link);
}

#[test]
fn messages_come_once_each_and_the_best_kind_is_had() {
    let (mut lab, card, link, function) = one();
    let refused = lab.run(function.msix(2)).map(drop);
    assert_eq!(
        refused,
        Err(Error::Refused(-6)),
        "its table is out of reach"
    );
    lab.run(function.command(Command::MEMORY, Command::empty()))
        .unwrap();
    let too_many = lab.run(function.msix(5)).map(drop);
    assert!(matches!(too_many, Err(Error::Missing(_))));
    let interrupts = lab.run(function.msix(2)).unwrap();
    card.with(|_, bus| bus.message(1));
    assert!(!interrupts[0].take() && interrupts[1].take());
    card.with(|_, bus| bus.message(1));
    assert!(!interrupts[1].take(), "not ended");
    interrupts[1].end();
    assert!(interrupts[1].take(), "none is lost");
    interrupts[1].end();
    assert!(!interrupts[1].take());
    drop(interrupts);
    lab.run(function.disable(InterruptKind::MsiX)).unwrap();
    let best = lab.run(function.interrupt()).unwrap();
    assert_eq!(best.kind(), InterruptKind::MsiX);
    drop(best);
    lab.run(function.disable(InterruptKind::MsiX)).unwrap();
    let message = lab.run(function.msi()).unwrap();
    card.with(|_, bus| bus.message(0));
    assert!(message.take());
    drop((message, function));
    lab.end(link);
}

#[test]
fn several_may_ask_at_once_and_each_gets_its_own_answer() {
    let (mut lab, _card, link, function) = one();
    let (one, other) = (function.clone(), function.clone());
    let mut both = (None, None);
    let mut first = Box::pin(async move { one.read16(0).await });
    let mut second = Box::pin(async move { other.read16(2).await });
    for _ in 0..100 {
        let mut context = Context::from_waker(Waker::noop());
        if both.0.is_none()
            && let Poll::Ready(value) = first.as_mut().poll(&mut context)
        {
            both.0 = Some(value);
        }
        if both.1.is_none()
            && let Poll::Ready(value) = second.as_mut().poll(&mut context)
        {
            both.1 = Some(value);
        }
        lab.turn();
    }
    assert_eq!(both, (Some(Ok(0x1234)), Some(Ok(0x5678))));
    drop((first, second, function));
    lab.end(link);
}

#[test]
fn a_silent_backend_costs_the_operation_and_not_the_bus() {
    let (mut lab, _card, link, function) = one();
    lab.back.is_silent = true;
    assert_eq!(lab.run(function.identity()), Err(Error::TimedOut));
    // The one before is still in the page; nobody may write over it.
    assert_eq!(lab.run(function.identity()), Err(Error::TimedOut));
    lab.back.is_silent = false;
    let served = lab.back.served;
    assert!(lab.run(function.identity()).is_ok());
    assert_eq!(
        lab.back.served,
        served + 1 + 4,
        "the late answer is nobody's"
    );
    drop(function);
    lab.end(link);
}

#[test]
fn what_is_dropped_half_way_leaves_the_bus_to_the_next() {
    let (mut lab, _card, link, function) = one();
    {
        let mut asking = Box::pin(function.read32(8));
        let polled = asking
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }
    assert_eq!(lab.run(function.read16(0)), Ok(0x1234));
    drop(function);
    lab.end(link);
}

#[test]
fn a_backend_that_never_connects_is_given_up_and_told_why() {
    let (mut lab, _cards) = Lab::new(1);
    lab.back.switch_to(XenbusState::INITIALISING);
    assert_eq!(lab.try_connect().map(drop), Err(Error::TimedOut));
    let place = format!("/local/domain/{}/error/device/pci/0/error", GUEST.0);
    assert!(lab.world.node(&place).is_some());
    (0..20).for_each(|_| lab.turn());
    assert_eq!(lab.guest.usage(), lab.before);
}

#[test]
fn without_cards_there_is_no_bus() {
    let (mut lab, _cards) = Lab::new(0);
    let node = lab.back.frontend_node().to_string();
    lab.world.remove_node(&node);
    assert_eq!(
        lab.try_connect().map(drop),
        Err(Error::Xenbus(xenbus::Error::Gone))
    );
    assert_eq!(lab.guest.usage(), lab.before);
}

#[test]
fn whatever_xen_refuses_ends_in_an_error_and_nothing_is_left() {
    for fault in [Fault::Page, Fault::Grant, Fault::Port] {
        let (mut lab, _cards) = Lab::new(1);
        lab.world.fail(fault, 0);
        assert!(matches!(
            lab.try_connect().map(drop),
            Err(Error::Resource(_))
        ));
        (0..20).for_each(|_| lab.turn());
        assert_eq!(lab.guest.usage(), lab.before, "{fault:?}");
    }
    let (mut lab, _card, link, function) = one();
    lab.world.fail(Fault::Registers, 0);
    assert!(matches!(
        lab.run(function.map(0, 4, 4)).map(drop),
        Err(Error::Map(_))
    ));
    lab.world.fail(Fault::Interrupt, 0);
    let refused = lab.run(function.line_interrupt()).map(drop);
    assert!(matches!(refused, Err(Error::Resource(_))));
    drop(function);
    lab.end(link);
}

#[test]
fn cards_come_and_go_one_by_one() {
    let (mut lab, _cards) = Lab::new(2);
    let mut link = lab.connect();
    let third = lab.world.plug(GUEST, Toy::default());
    let addresses = lab.run(link.functions()).unwrap();
    assert_eq!(addresses.len(), 2);

    lab.back.detach(0);
    let change = lab.run(link.changed()).unwrap();
    assert_eq!(change, Change::Detaching(vec![addresses[0]]));
    lab.run(link.settled()).unwrap();
    assert_eq!(lab.run(link.changed()).unwrap(), Change::Attached);
    assert_eq!(lab.run(link.functions()).unwrap(), [addresses[1]]);
    let gone = lab.bus.as_ref().unwrap().function(addresses[0]);
    assert_eq!(lab.run(gone.identity()), Err(Error::Refused(-1)));

    lab.back.attach(third.number());
    assert_eq!(lab.run(link.changed()).unwrap(), Change::Detaching(vec![]));
    lab.run(link.settled()).unwrap();
    assert_eq!(lab.run(link.changed()).unwrap(), Change::Attached);
    assert_eq!(lab.run(link.functions()).unwrap().len(), 2);

    lab.back.switch_to(XenbusState::CLOSING);
    assert_eq!(lab.run(link.changed()).unwrap(), Change::Ending);
    drop(gone);
    lab.end(link);
}

/// As `xl pci-detach` of the last card leaves it: what is gone can no longer be asked for.
#[test]
fn a_backend_whose_directory_is_no_longer_to_be_read_has_ended() {
    let (mut lab, _card, link, function) = one();
    let node = lab.back.node().to_string();
    lab.back.leave();
    lab.world.set_quirks(Quirks {
        unreadable: Some("/local/domain/0/backend/pci"),
        ..Quirks::default()
    });
    lab.world.remove_node(&node);
    lab.world.remove_node(lab.back.frontend_node());
    lab.find_it_ended(link, function);
}

#[test]
fn a_backend_whose_directory_vanishes_has_ended() {
    let (mut lab, _card, link, function) = one();
    let node = lab.back.node().to_string();
    lab.back.leave();
    lab.world.remove_node(&node);
    lab.find_it_ended(link, function);
}

#[test]
fn reports_of_errors_are_answered_and_counted() {
    let (mut lab, _card, link, function) = one();
    for (kind, answer) in [(XEN_PCI_OP_AER_DETECTED, 3), (XEN_PCI_OP_AER_SLOTRESET, 5)] {
        lab.back.report(kind);
        assert_eq!(lab.back.reported(), None);
        lab.turn();
        assert_eq!(lab.back.reported(), Some(answer));
    }
    assert_eq!(lab.bus.as_ref().unwrap().errors(), 2);
    drop(function);
    lab.end(link);
}

#[test]
fn capability_lists_that_are_none_are_refused() {
    let (mut lab, card, link, function) = one();
    // The second one's link.
    for (offset, value) in [(0x49, 0x40), (0x49, 0x48), (0x49, 0x10), (0x34, 0x04)] {
        let old = lab.run(function.read8(offset)).unwrap();
        card.set_config(offset.into(), value);
        let list = lab.run(function.capabilities());
        assert!(
            matches!(list, Err(Error::Malformed(_))),
            "{offset:x} {value:x}"
        );
        card.set_config(offset.into(), old);
    }
    // All room there is.
    for place in (0x40..0x100).step_by(4) {
        card.set_config(place, 9);
        card.set_config(place + 1, place.wrapping_add(4) as u8);
    }
    assert_eq!(lab.run(function.capabilities()).unwrap().len(), 48);
    card.set_config(6, 0);
    assert!(lab.run(function.capabilities()).unwrap().is_empty());
    drop(function);
    lab.end(link);
}

#[test]
fn base_address_registers_that_cannot_be_are_refused() {
    let (mut lab, _card, link, function) = one();
    // What the register holds, and which bits can be written.
    for (value, mask) in [
        (0xf000_0000, 0xffff_f0f0),
        (0xf000_1000, 0xffff_0000),
        (0, 0xffff_f000),
        (0xf000_0002, 0xffff_f000),
        (0xf000_0006, 0xffff_f000),
    ] {
        let mut reads = 0;
        lab.back.tamper = Some(Box::new(move |op, _| {
            if op.cmd == XEN_PCI_OP_CONF_READ {
                op.value = if reads % 2 == 0 { value } else { mask };
                reads += 1;
            }
        }));
        let bar = lab.run(function.bar(3));
        assert!(
            matches!(bar, Err(Error::Malformed(_))),
            "{value:x} {mask:x}"
        );
    }
    lab.back.tamper = None;
    drop(function);
    lab.end(link);
}

#[test]
fn a_backend_that_mixes_interrupts_up_gets_none_bound() {
    type Lie = fn(&mut [crate::abi::io::pciif::MsixEntry]);
    let lies: [Lie; 4] = [
        |entries| entries[1].vector = entries[0].vector,
        |entries| entries[0].vector = 0,
        |entries| entries[1].entry = 0,
        |entries| entries.swap(0, 1),
    ];
    for lie in lies {
        let (mut lab, _card, link, function) = one();
        lab.run(function.command(Command::MEMORY, Command::empty()))
            .unwrap();
        let before = lab.guest.usage();
        lab.back.tamper = Some(Box::new(move |_, entries| lie(entries)));
        let refused = lab.run(function.msix(2)).map(drop);
        assert!(matches!(refused, Err(Error::Malformed(_))));
        assert_eq!(lab.guest.usage(), before);
        drop(function);
        lab.end(link);
    }
}

#[test]
fn an_interrupt_of_another_domain_is_xens_to_refuse() {
    let (mut lab, _card, link, function) = one();
    lab.back.tamper = Some(Box::new(|op, _| op.value = 77));
    assert!(matches!(
        lab.run(function.msi()).map(drop),
        Err(Error::Missing(_) | Error::Resource(_) | Error::Malformed(_))
    ));
    drop(function);
    lab.end(link);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the backend answers, there is an end to it, no panic, and nothing is left.
    #[test]
    fn any_answers_at_all_do_no_harm(
        answers in proptest::collection::vec((prop_oneof![3 => Just(0i32), 1 => any::<i32>()], any::<u32>(), any::<u16>(), any::<u16>()), 1..40),
    ) {
        let (mut lab, _card, link, function) = one();
        let mut turn = 0;
        lab.back.tamper = Some(Box::new(move |op, entries| {
            let (err, value, vector, entry) = answers[turn % answers.len()];
            turn += 1;
            op.err = err;
            op.value = value;
            for place in entries.iter_mut().take(4) {
                place.vector = vector;
                place.entry = entry;
            }
        }));
        let _ = lab.run(function.identity());
        let _ = lab.run(function.capabilities());
        for bar in 0..6 {
            let _ = lab.run(function.map(bar, 4, 0x1000));
        }
        let _ = lab.run(function.interrupt()).map(drop);
        let _ = lab.run(function.msix(3)).map(drop);
        drop(function);
        lab.end(link);
    }

    /// Whatever stands in xenstore is a list of functions, or an error.
    #[test]
    fn any_words_in_xenstore_do_no_harm(count in ".{0,6}|[0-9]{1,4}", address in ".{0,14}|[0-9a-f:.]{0,14}", state in ".{0,3}|[0-9]") {
        let (mut lab, _card, link, function) = one();
        let node = lab.back.node().to_string();
        lab.world.write_node(&format!("{node}/num_devs"), &count);
        lab.world.write_node(&format!("{node}/vdev-0"), &address);
        lab.world.write_node(&format!("{node}/state-0"), &state);
        if let Ok(list) = lab.run(link.functions()) {
            prop_assert!(list.len() <= FUNCTIONS_MAX as usize);
        }
        drop(function);
        lab.end(link);
    }
}
