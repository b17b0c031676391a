//! The data path allocates nothing: counted by the allocator itself while frames go from one vif
//! to another. What the simulated Xen allocates for its own book-keeping does not count.

use minios_rs::abi::io::netif::NETRXF_CSUM_BLANK;
use minios_rs::counting::{self, Counting, with_counting};
use minios_rs::fake::netback::{Netback, OFFERS};
use minios_rs::fake::netfront::{Netfront, Shape};
use minios_rs::fake::{Domain, Foreign, Page, World};
use minios_rs::net::back::{self, HEAD_MAX};
use minios_rs::net::front::TAIL_MAX;
use minios_rs::net::{Backends, Checksum, Config, Front, Offload, Received};
use minios_rs::task::Executor;
use minios_rs::time::Instant;
use minios_rs::xen::{
    Access, DomId, Errno, GrantCopy, GrantError, GrantRef, Hypercalls, OutOfMemory, Port,
    ResourceError, Xen,
};
use minios_rs::xenstore::Client;
use std::future::Future;
use std::task::{Context, Poll, Waker};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The simulated domain, whose own allocations are not counted.
#[derive(Clone)]
struct Uncounted(Domain);

impl Xen for Uncounted {
    type Page = Page;
    type Foreign = Foreign;

    fn allocate_page(&self) -> Result<Page, OutOfMemory> {
        with_counting(false, || self.0.allocate_page())
    }

    fn grant(&self, to: DomId, page: &Page, access: Access) -> Result<GrantRef, GrantError> {
        with_counting(false, || self.0.grant(to, page, access))
    }

    fn end_access(&self, reference: GrantRef) -> Result<(), GrantError> {
        with_counting(false, || self.0.end_access(reference))
    }

    fn keep(&self, reference: GrantRef, page: Page) {
        with_counting(false, || self.0.keep(reference, page));
    }

    fn allocate_port(&self, remote: DomId) -> Result<Port, Errno> {
        with_counting(false, || self.0.allocate_port(remote))
    }

    fn bind_port(&self, remote: DomId, port: Port) -> Result<Port, Errno> {
        with_counting(false, || self.0.bind_port(remote, port))
    }

    fn map_grant(&self, owner: DomId, reference: GrantRef) -> Result<Foreign, ResourceError> {
        with_counting(false, || self.0.map_grant(owner, reference))
    }

    fn copy_grants(&self, copies: &mut [GrantCopy<Page>]) {
        with_counting(false, || self.0.copy_grants(copies));
    }

    fn notify(&self, port: Port) -> Result<(), Errno> {
        with_counting(false, || self.0.notify(port))
    }

    fn close_port(&self, port: Port) {
        with_counting(false, || self.0.close_port(port));
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn hypercalls(&self) -> Hypercalls {
        self.0.hypercalls()
    }
}

const GUEST: DomId = DomId(5);

fn run<T>(
    world: &World,
    store: &Client<Uncounted>,
    back: &mut Netback,
    future: impl Future<Output = T>,
) -> T {
    let mut future = Box::pin(future);
    for _ in 0..500 {
        if let Poll::Ready(value) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return value;
        }
        store.pump();
        world.serve_xenstore();
        store.pump();
        back.step();
    }
    panic!("it does not end");
}

#[test]
fn forwarding_allocates_nothing() {
    let world = World::new();
    let guest = Uncounted(world.domain(GUEST));
    let port = world.connect_xenstore(&guest.0).port();
    let page = world.xenstore_page(GUEST).expect("connected");
    let store = Client::new(guest.clone(), page, port);
    let mut backs = [0, 1]
        .map(|index| Netback::announce(&world, DomId(index), GUEST, u32::from(index), &OFFERS));
    let mut fronts = Vec::new();
    for (index, back) in backs.iter_mut().enumerate() {
        let connect = Front::connect(&guest, &store, index as u32, Config::default());
        fronts.push(run(&world, &store, back, connect).expect("it connects"));
    }
    let [(inside, _), (outside, _)] = &mut fronts[..] else {
        panic!("two fronts")
    };

    let payload = [3; 1448];
    for _ in 0..1000 {
        assert!(backs[0].deliver(&[&payload, &payload, &payload], 0, NETRXF_CSUM_BLANK, &[]));
        with_counting(true, || {
            let frame = inside.receive().expect("a frame came");
            let mut head = [0; 128];
            assert_eq!(frame.read(0, &mut head), 128);
            let offload = Offload {
                checksum: Checksum::Blank,
                gso: frame.gso,
            };
            let mut tail: heapless::Vec<_, TAIL_MAX> = frame.slots.into_iter().collect();
            tail[0].advance(128);
            outside
                .transmit(&head, &mut tail, offload)
                .expect("there is room");
            outside
                .transmit_bytes(&payload, offload)
                .expect("there is room");
            outside.flush();
        });
        assert_eq!(backs[1].receive().len(), 2);
        with_counting(true, || {
            while let Some(buffer) = outside.completed() {
                inside.recycle(buffer);
            }
            inside.flush();
            let _ = (inside.park(), outside.park());
        });
    }
    assert_eq!(outside.counters().transmitted_frames, 2000);
    assert_eq!(counting::calls(), 0, "allocations and frees");
    with_counting(true, || drop(vec![1]));
    assert!(counting::calls() > 0, "the count counts");
}

#[test]
fn copying_from_guest_to_guest_allocates_nothing() {
    let world = World::new();
    let domain = Uncounted(world.domain(GUEST));
    let port = world.connect_xenstore(&domain.0).port();
    let page = world.xenstore_page(GUEST).expect("connected");
    let store = Client::new(domain.clone(), page, port);
    let executor = Executor::new(8);
    let backends = Backends::start(&domain, &store, &executor, back::Config::default())
        .expect("there is a place for the task");
    let mut fronts = [7, 8].map(|guest| Netfront::announce(&world, GUEST, DomId(guest), 0, &[]));
    let mut backs = Vec::new();
    for round in 0..400 {
        if round == 200 {
            for front in &mut fronts {
                front.connect(Shape::default());
            }
        }
        store.pump();
        world.serve_xenstore();
        store.pump();
        executor.run_ready(Instant(0));
        backs.extend(backends.arrived());
    }
    let [sender, receiver] = &mut backs[..] else {
        panic!("two backs")
    };

    let payload = [3; 1448];
    for _ in 0..1000 {
        assert!(fronts[0].send(0, &[&payload, &payload, &payload], 0, &[]));
        with_counting(true, || {
            let mut frame = Received::default();
            assert!(sender.receive_into(&mut frame));
            let mut head = [0; HEAD_MAX];
            assert_eq!(frame.read(0, &mut head), HEAD_MAX);
            sender.recycle(frame.slots.remove(0).buffer);
            let offload = Offload {
                checksum: frame.checksum,
                gso: frame.gso,
            };
            receiver
                .transmit(&head, frame.slots.as_mut_view(), offload)
                .expect("there is room");
            receiver.flush();
            while let Some(buffer) = receiver.completed() {
                sender.recycle(buffer);
            }
            sender.flush();
            let _ = (sender.park(), receiver.park());
        });
        assert_eq!(fronts[1].receive(0).len(), 1);
        fronts[1].post(0, 256);
        assert_eq!(fronts[0].answers(0).len(), 3);
    }
    assert_eq!(receiver.counters().transmitted_frames, 1000);
    assert_eq!(counting::calls(), 0, "allocations and frees");

    // Nor do as many frames as there are buffers, all before Xen copies the first of them.
    for frames in [60, 256] {
        let slots: &[&[u8]] = match frames {
            60 => &[&payload, &payload, &payload],
            _ => &[&payload],
        };
        for _ in 0..frames {
            assert!(fronts[0].send(0, slots, 0, &[]));
        }
        with_counting(true, || {
            let mut frame = Received::default();
            while sender.receive_into(&mut frame) {
                let mut head = [0; HEAD_MAX];
                frame.read(0, &mut head);
                sender.recycle(frame.slots.remove(0).buffer);
                receiver
                    .transmit(&head, frame.slots.as_mut_view(), Offload::default())
                    .expect("there is room");
            }
            receiver.flush();
            while let Some(buffer) = receiver.completed() {
                sender.recycle(buffer);
            }
            sender.flush();
        });
        assert_eq!(fronts[1].receive(0).len(), frames);
        fronts[1].post(0, 256);
        fronts[0].answers(0);
        assert_eq!(counting::calls(), 0, "allocations and frees");
    }

    // Nor do headers in as many pieces as there may be (XSA-432), as many as the ring holds.
    let frame = [3; 1000];
    let mut slots: Vec<&[u8]> = frame[..17].chunks(1).collect();
    slots.push(&frame[17..]);
    for _ in 0..14 {
        assert!(fronts[0].send(0, &slots, 0, &[]));
    }
    let mut frames = 0;
    with_counting(true, || {
        let mut frame = Received::default();
        while sender.receive_into(&mut frame) {
            frames += 1;
            while let Some(slice) = frame.slots.pop() {
                sender.recycle(slice.buffer);
            }
        }
        sender.flush();
    });
    assert_eq!(
        (frames, counting::calls()),
        (14, 0),
        "allocations and frees"
    );
}

/// CVE-2021-28711 to 28713, and what is like them in xenstore: nobody looks for long, and a frontend goes on.
#[test]
fn changes_without_end_take_no_memory() {
    let world = World::new();
    let domain = Uncounted(world.domain(GUEST));
    let port = world.connect_xenstore(&domain.0).port();
    let page = world.xenstore_page(GUEST).expect("connected");
    let store = Client::new(domain.clone(), page, port);
    let executor = Executor::new(8);
    let backends = Backends::start(&domain, &store, &executor, back::Config::default())
        .expect("there is a place for the task");
    let mut front = Netfront::announce(&world, GUEST, DomId(7), 0, &[]);
    let mut backs = Vec::new();
    for round in 0..400 {
        if round == 200 {
            front.connect(Shape::default());
        }
        store.pump();
        world.serve_xenstore();
        store.pump();
        executor.run_ready(Instant(0));
        backs.extend(backends.arrived());
    }
    assert_eq!(backs.len(), 1);
    let names: Vec<String> = (0..200)
        .map(|number| format!("state/{number}{}", "x".repeat(2000)))
        .collect();
    let storm = || {
        for name in &names {
            front.notify(0);
            front.write(name, "");
            for _ in 0..4 {
                store.pump();
                world.serve_xenstore();
                store.pump();
            }
        }
    };
    // The nodes are xenstored's, and all of them were looked at.
    storm();
    for _ in 0..2000 {
        store.pump();
        world.serve_xenstore();
        executor.run_ready(Instant(0));
    }
    let ((), taken) = counting::taken(storm);
    assert!(taken.most < 32 * 1024, "{taken:?}");
}
