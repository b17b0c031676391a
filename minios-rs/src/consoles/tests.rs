use super::*;
use crate::fake::console::ConsoleBack;
use crate::fake::{Domain, Fault, World};
use crate::task::Executor;
use crate::xen::SharedPage;
use alloc::rc::Rc;
use alloc::vec;
use core::cell::RefCell;
use core::sync::atomic::Ordering;
use proptest::prelude::*;

const STUB: DomId = DomId(4);

struct Lab {
    world: World,
    domain: Domain,
    store: Client<Domain>,
    executor: Executor,
}

impl Lab {
    fn new() -> Self {
        let world = World::new();
        let domain = world.domain(STUB);
        let store = world.connect_xenstore(&domain);
        Self {
            world,
            domain,
            store,
            executor: Executor::new(4),
        }
    }

    fn turn(&self) {
        for _ in 0..40 {
            self.executor.run_ready(self.domain.now());
            self.store.pump();
            self.world.serve_xenstore();
            self.store.pump();
        }
    }

    fn start<T: 'static>(
        &self,
        future: impl Future<Output = T> + 'static,
    ) -> Rc<RefCell<Option<T>>> {
        let outcome = Rc::new(RefCell::new(None));
        let place = outcome.clone();
        let ended = async move {
            let value = future.await;
            *place.borrow_mut() = Some(value);
        };
        self.executor.spawn(ended).unwrap();
        self.turn();
        outcome
    }

    fn try_open(&self) -> Result<(Front<Domain>, Link<Domain>), Error> {
        let (domain, store) = (self.domain.clone(), self.store.clone());
        let opened = self.start(async move { Front::open(&domain, &store, 3).await });
        opened.take().expect("it waits for nobody")
    }

    /// A console whose backend has joined, and what became of its link.
    fn connected(&self) -> (Front<Domain>, ConsoleBack, Rc<RefCell<Option<Followed>>>) {
        let mut back = ConsoleBack::announce(&self.world, STUB, 3);
        let (front, link) = self.try_open().unwrap();
        let followed = self.start(link.follow());
        back.join();
        self.turn();
        (front, back, followed)
    }
}

type Followed = Result<(), xenbus::Error>;

#[test]
fn a_backend_finds_the_ring_and_bytes_go_both_ways() {
    let lab = Lab::new();
    let (mut front, back, followed) = lab.connected();
    assert_eq!(back.frontend_state(), Some(XenbusState::CONNECTED));
    assert_eq!(followed.take(), None, "as long as the console is there");
    back.take_event();
    assert_eq!(front.write(b"login: "), Ok(7));
    assert!(back.take_event());
    assert_eq!(front.is_drained(), Ok(false));
    assert_eq!(back.output(), b"login: ");
    assert_eq!(front.is_drained(), Ok(true));
    back.input(b"root\n");
    assert!(lab.domain.take_event(front.port.number()));
    let mut bytes = [0; 16];
    assert_eq!(front.read(&mut bytes), Ok(5));
    assert_eq!(&bytes[..5], b"root\n");
    assert!(back.take_event(), "there is room");
    assert_eq!(front.read(&mut bytes), Ok(0));
    assert!(!back.take_event(), "nothing is nothing to tell of");
}

#[test]
fn nobody_who_reads_is_waited_for() {
    let lab = Lab::new();
    let mut back = ConsoleBack::announce(&lab.world, STUB, 3);
    let (mut front, link) = lab.try_open().unwrap();
    assert_eq!(back.frontend_state(), Some(XenbusState::INITIALISED));
    assert_eq!(front.write(&[b'x'; 3000]), Ok(OUTPUT_SIZE));
    assert_eq!(front.write(b"more"), Ok(0));
    let followed = lab.start(link.follow());
    assert_eq!(followed.take(), None);
    // One that comes late finds what fitted.
    back.join();
    lab.turn();
    assert_eq!(back.output(), [b'x'; OUTPUT_SIZE]);
    assert_eq!(front.write(b"more"), Ok(4));
}

#[test]
fn a_backend_that_waits_for_connected_gets_it() {
    let lab = Lab::new();
    let back = ConsoleBack::announce(&lab.world, STUB, 3);
    let (_front, link) = lab.try_open().unwrap();
    let _followed = lab.start(link.follow());
    back.switch_to(XenbusState::INIT_WAIT);
    lab.turn();
    assert_eq!(back.frontend_state(), Some(XenbusState::CONNECTED));
}

#[test]
fn a_console_that_is_taken_away_is_closed_and_given_back() {
    let lab = Lab::new();
    let before = lab.domain.usage();
    let (front, mut back, followed) = lab.connected();
    back.switch_to(XenbusState::CLOSING);
    lab.turn();
    assert_eq!(back.frontend_state(), Some(XenbusState::CLOSED));
    back.leave();
    back.switch_to(XenbusState::CLOSED);
    lab.turn();
    assert_eq!(followed.take(), Some(Ok(())));
    drop(front);
    lab.turn();
    assert_eq!(lab.domain.usage(), before);
}

#[test]
fn a_console_is_closed_from_this_side_and_opened_anew() {
    let lab = Lab::new();
    let before = lab.domain.usage();
    let mut back = ConsoleBack::announce(&lab.world, STUB, 3);
    for text in [&b"first"[..], b"second"] {
        let (domain, store) = (lab.domain.clone(), lab.store.clone());
        let opened = lab.start(async move { Front::open(&domain, &store, 3).await });
        // The second time it waits for the other side.
        back.switch_to(XenbusState::INIT_WAIT);
        lab.turn();
        let (mut front, link) = opened.take().expect("open").unwrap();
        back.join();
        assert_eq!(front.write(text), Ok(text.len()));
        assert_eq!(back.output(), text);
        let closed = lab.start(link.close());
        assert_eq!(back.frontend_state(), Some(XenbusState::CLOSED));
        assert_eq!(closed.take(), None, "the ring is mapped");
        back.leave();
        back.switch_to(XenbusState::CLOSED);
        lab.turn();
        assert_eq!(closed.take(), Some(Ok(())));
        drop(front);
    }
    lab.turn();
    assert_eq!(lab.domain.usage(), before);
}

#[test]
fn a_console_that_is_not_there_or_vanishes_is_gone() {
    let lab = Lab::new();
    assert!(matches!(
        lab.try_open(),
        Err(Error::Xenbus(xenbus::Error::Gone))
    ));
    let (_front, back, followed) = lab.connected();
    lab.world.remove_node("/local/domain/0/backend/console/4/3");
    lab.world.remove_node("/local/domain/4/device/console/3");
    lab.turn();
    assert_eq!(followed.take(), Some(Ok(())));
    assert_eq!(back.frontend_state(), None, "not brought back to life");
}

#[test]
fn what_xen_refuses_is_an_error_that_the_administrator_finds() {
    for fault in [Fault::Port, Fault::Page, Fault::Grant] {
        let lab = Lab::new();
        let _back = ConsoleBack::announce(&lab.world, STUB, 3);
        let before = lab.domain.usage();
        lab.world.fail(fault, 0);
        assert!(matches!(lab.try_open(), Err(Error::Resource(_))));
        let reason = lab
            .world
            .node("/local/domain/4/error/device/console/3/error");
        assert!(reason.is_some(), "{fault:?}");
        lab.turn();
        assert_eq!(lab.domain.usage(), before, "{fault:?}");
    }
}

proptest! {
    #[test]
    fn whatever_a_backend_writes_there_is_no_panic(
        scribbles in prop::collection::vec((0..4_usize, any::<u32>(), 0..3000_usize), 0..30),
    ) {
        let lab = Lab::new();
        let (mut front, back, _) = lab.connected();
        for (index, value, length) in scribbles {
            let word = offset_of!(ConsoleInterface, in_cons) + 4 * index;
            back.page().word(word).store(value, Ordering::SeqCst);
            let mut bytes = vec![0; length];
            prop_assert!(front.read(&mut bytes).unwrap_or(0) <= INPUT_SIZE);
            prop_assert!(front.write(&bytes).unwrap_or(0) <= OUTPUT_SIZE);
            let _ = front.is_drained();
        }
    }
}
