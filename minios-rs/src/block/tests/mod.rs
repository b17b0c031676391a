//! A disk, and the backend of the simulated Xen.

use super::*;
use crate::abi::io::blkif::{
    BLKIF_OP_DISCARD, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_READ, BLKIF_OP_WRITE,
    BLKIF_OP_WRITE_BARRIER, BLKIF_RSP_EOPNOTSUPP, BLKIF_RSP_ERROR,
};
use crate::abi::io::ring::{RING, RSP_PROD};
use crate::fake::blkback::{Blkback, Offers};
use crate::fake::{Domain, Fault, Usage, World};
use crate::task::Executor;
use crate::xen::{DomId, PAGE_SIZE};
use crate::xenbus::XenbusState;
use crate::xenstore::Client;
use alloc::borrow::ToOwned;
use alloc::rc::Rc;
use alloc::vec;
use alloc::vec::Vec;
use core::cell::{Cell, RefCell};
use core::time::Duration;
use proptest::prelude::*;

mod again;
mod connecting;
mod hostile;
mod requests;

const GUEST: DomId = DomId(7);
const HOST: DomId = DomId(0);
const OTHER: DomId = DomId(3);
/// xvda.
const INDEX: u32 = 51712;
const SECTORS: usize = 4096;

type Outcome = Result<(), Error>;
type Connected = Result<Front<Domain>, Error>;

struct Lab {
    world: World,
    guest: Domain,
    store: Client<Domain>,
    executor: Executor,
    back: Blkback,
    before: Usage,
    /// What the link's task came to.
    outcome: Rc<Cell<Option<Outcome>>>,
}

impl Lab {
    fn new(offers: Offers) -> Self {
        let world = World::new();
        let guest = world.domain(GUEST);
        let store = world.connect_xenstore(&guest);
        let before = guest.usage();
        Self {
            back: Blkback::announce(&world, HOST, GUEST, INDEX, SECTORS, offers),
            world,
            guest,
            store,
            executor: Executor::new(2),
            before,
            outcome: Rc::default(),
        }
    }

    fn turn(&mut self) {
        self.store.pump();
        self.world.serve_xenstore();
        self.store.pump();
        let now = Xen::now(&self.guest);
        self.executor.run_ready(now);
        self.back.step();
    }

    fn turns(&mut self) {
        (0..200).for_each(|_| self.turn());
    }

    /// Starts to connect, and follows the disk from then on.
    fn start(&mut self, config: Config) -> Rc<RefCell<Option<Connected>>> {
        let connected: Rc<RefCell<Option<_>>> = Rc::default();
        let (into, outcome) = (connected.clone(), self.outcome.clone());
        let (guest, store) = (self.guest.clone(), self.store.clone());
        let executor = self.executor.clone();
        let task = async move {
            match connect(&guest, &store, &executor, INDEX, config).await {
                Ok((front, link)) => {
                    assert_eq!(link.node(), "device/vbd/51712");
                    *into.borrow_mut() = Some(Ok(front));
                    outcome.set(Some(link.run().await));
                }
                Err(error) => *into.borrow_mut() = Some(Err(error)),
            }
        };
        self.executor.spawn(task).expect("there is room");
        connected
    }

    fn connect_with(&mut self, config: Config) -> Connected {
        let connected = self.start(config);
        self.turns();
        let connected = connected.take();
        connected.expect("it has connected, or not")
    }

    /// Sends what was submitted, and gives what is done.
    fn done(&mut self, disk: &Front<Domain>) -> Vec<Completion<Domain>> {
        let mut done = Vec::new();
        for _ in 0..100 {
            while let Some(completion) = disk.poll() {
                done.push(completion);
            }
            disk.notify();
            self.back.step();
        }
        done
    }

    /// Does one thing.
    fn one(
        &mut self,
        disk: &Front<Domain>,
        operation: Operation,
        sector: u64,
        buffer: Option<Buffer<Domain>>,
    ) -> (Result<(), Failure>, Option<Buffer<Domain>>) {
        assert!(disk.submit(operation, sector, buffer, 77).is_ok());
        let mut done = self.done(disk);
        assert_eq!(done.len(), 1);
        let done = done.remove(0);
        assert_eq!(done.tag, 77);
        (done.result, done.buffer)
    }

    fn write(&mut self, disk: &Front<Domain>, sector: u64, bytes: &[u8]) -> Result<(), Failure> {
        let buffer = disk.buffer(bytes.len()).expect("there are pages");
        buffer.write(0, bytes);
        self.one(disk, Operation::Write, sector, Some(buffer)).0
    }

    fn read(&mut self, disk: &Front<Domain>, sector: u64, len: usize) -> Vec<u8> {
        let buffer = disk.buffer(len).expect("there are pages");
        let (result, buffer) = self.one(disk, Operation::Read, sector, Some(buffer));
        assert_eq!(result, Ok(()));
        let mut bytes = vec![0; len];
        buffer.expect("it comes back").read(0, &mut bytes);
        bytes
    }

    /// The toolstack takes the disk away; then everything must be back.
    fn detach(&mut self, disk: Front<Domain>) {
        let own = self.back.node().to_owned();
        self.world.write_node(&alloc::format!("{own}/online"), "0");
        self.back.switch_to(XenbusState::CLOSING);
        self.back.hostile = true;
        self.turns();
        assert_eq!(self.outcome.take(), Some(Ok(())));
        assert_eq!(disk.state(), State::Gone);
        self.drop_all(disk);
    }

    fn drop_all(&mut self, disk: Front<Domain>) {
        while disk.poll().is_some() {}
        drop(disk);
        self.turns();
        assert_eq!(self.guest.usage(), self.before, "nothing is left");
    }
}

fn with(offers: Offers) -> (Lab, Front<Domain>) {
    let mut lab = Lab::new(offers);
    let disk = lab.connect_with(Config::default()).expect("it connects");
    (lab, disk)
}

fn plain() -> (Lab, Front<Domain>) {
    with(Offers::default())
}

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    let byte = |at: usize| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8;
    (0..len).map(|at| byte(at).wrapping_add(seed)).collect()
}
