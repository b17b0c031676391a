//! A frontend that writes what it likes to its rings, its grants and xenstore, while two others speak with
//! each other through the same relay: nothing panics, no frame of theirs is lost, and everything is given back.

#![no_main]

use arbitrary::Arbitrary;
use core::time::Duration;
use libfuzzer_sys::fuzz_target;
use minios_rs::abi::io::netif::{
    ExtraInfo, NETIF_RSP_OKAY, NETTXF_MORE_DATA, RxRequest, TxRequest,
};
use minios_rs::abi::io::ring::REQ_PROD;
use minios_rs::fake::netback::Which;
use minios_rs::fake::netfront::{Netfront, Shape};
use minios_rs::fake::{Domain, World};
use minios_rs::net::Offload;
use minios_rs::net::back::{Back, Backends, Config, HEAD_MAX, MulticastControl};
use minios_rs::task::Executor;
use minios_rs::time::Instant;
use minios_rs::xen::DomId;
use minios_rs::xenbus::XenbusState;
use minios_rs::xenstore::Client;

const HOST: DomId = DomId(1);
/// Steps of one input.
const STEPS_MAX: usize = 48;

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Slot {
    offset: u16,
    size: u16,
    flags: u8,
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// A chain whose pages are there; whatever else it says.
    Send(Vec<Slot>, Option<(u8, u8, u16, u8)>),
    /// A request for any grant.
    Raw(u32, Slot),
    PostRaw(u16, u32),
    PokeTx(u16, u32),
    PokeRx(u16, u32),
    TxIndex(u32),
    RxIndex(u32),
    RevokeSent,
    RevokePosted,
    Scribble,
    State(u8),
    Key(u8, Vec<u8>),
    Reconnect,
    Notify,
    Turns(u8),
}

struct Lab {
    world: World,
    store: Client<Domain>,
    executor: Executor,
    backends: Backends<Domain>,
    backs: Vec<Back<Domain>>,
    now: Instant,
}

impl Lab {
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
        for _ in 0..200 {
            self.turn();
        }
    }

    fn advance(&mut self, seconds: u64) {
        self.world.advance(Duration::from_secs(seconds));
        self.now = self.now.after(Duration::from_secs(seconds));
        self.settle();
    }

    /// Sends every frame to the back its first byte names.
    fn relay(&mut self) {
        let backs = &mut self.backs;
        for number in 0..backs.len() {
            while let Some(mut frame) = backs[number].receive() {
                let mut head = [0; HEAD_MAX];
                let read = frame.read(0, &mut head);
                let offload = Offload {
                    checksum: frame.checksum,
                    gso: frame.gso,
                };
                let egress = usize::from(head[0]) % backs.len();
                backs[number].recycle(frame.slots.remove(0).buffer);
                let _ = backs[egress].transmit(&head[..read], frame.slots.as_mut_view(), offload);
                backs[number].recycle_frame(frame);
            }
        }
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
}

fn lie(front: &mut Netfront, step: Step) {
    match step {
        Step::Send(slots, extra) => {
            for (number, slot) in slots.iter().take(24).enumerate() {
                let mut request = front.requests(0, &[&[9; 64]], 0, 0)[0];
                request.offset = slot.offset % 5000;
                request.size = slot.size;
                request.flags = u16::from(slot.flags & 0x0b);
                if number + 1 < slots.len() {
                    request.flags |= NETTXF_MORE_DATA;
                }
                front.push(0, &request);
                if let (0, Some((kind, flags, gso_size, gso_type))) = (number, extra) {
                    front.push_extra(
                        0,
                        ExtraInfo {
                            kind,
                            flags,
                            gso_size,
                            gso_type,
                            ..ExtraInfo::default()
                        },
                    );
                }
            }
            front.show(0);
        }
        Step::Raw(gref, slot) => {
            let request = TxRequest {
                gref,
                offset: slot.offset,
                flags: u16::from(slot.flags),
                id: 0,
                size: slot.size,
            };
            front.push(0, &request);
            front.show(0);
        }
        Step::PostRaw(id, gref) => front.post_raw(0, RxRequest { id, pad: 0, gref }),
        Step::PokeTx(at, value) => front.poke(0, Which::Tx, usize::from(at % 1024) * 4, value),
        Step::PokeRx(at, value) => front.poke(0, Which::Rx, usize::from(at % 1024) * 4, value),
        Step::TxIndex(value) => front.poke(0, Which::Tx, REQ_PROD, value),
        Step::RxIndex(value) => front.poke(0, Which::Rx, REQ_PROD, value),
        Step::RevokeSent => front.revoke_sent(0),
        Step::RevokePosted => front.revoke_posted(0),
        Step::Scribble => front.scribble_sent(0, 0xee),
        Step::State(state) => front.switch_to(XenbusState(u32::from(state % 10))),
        Step::Key(key, value) => {
            let keys = [
                "tx-ring-ref",
                "rx-ring-ref",
                "event-channel",
                "multi-queue-num-queues",
                "request-rx-copy",
                "request-multicast-control",
                "state",
            ];
            front.write(keys[usize::from(key) % keys.len()], value);
        }
        Step::Reconnect => {
            front.drop_rings();
            front.write("multi-queue-num-queues", "1");
            front.switch_to(XenbusState::INITIALISING);
            front.connect(Shape::default());
        }
        Step::Notify => front.notify(0),
        Step::Turns(_) => {}
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let world = World::new();
    let host = world.domain(HOST);
    let store = world.connect_xenstore(&host);
    let executor = Executor::new(8);
    let before = host.usage();
    let config = Config {
        multicast: MulticastControl::Offered,
        ..Config::default()
    };
    let backends =
        Backends::start(&host, &store, &executor, config).expect("there is a place for the task");
    let mut lab = Lab {
        world,
        store,
        executor,
        backends,
        backs: Vec::new(),
        now: Instant(0),
    };
    let mut fronts = [5, 6, 7].map(|guest| {
        let mut front = Netfront::announce(&lab.world, HOST, DomId(guest), 0, &[]);
        lab.settle();
        front.connect(Shape::default());
        lab.settle();
        front
    });
    assert_eq!(lab.backs.len(), 3);
    let full = host.usage();
    for (round, step) in steps.into_iter().take(STEPS_MAX).enumerate() {
        let turns = match step {
            Step::Turns(turns) => turns,
            _ => 1,
        };
        lie(&mut fronts[2], step);
        let mut frame = [round as u8; 1200];
        for to in [0, 1] {
            frame[0] = to as u8;
            assert!(fronts[1 - to].send(0, &[&frame], 0, &[]));
        }
        (0..turns).for_each(|_| lab.turn());
        if turns == u8::MAX {
            lab.advance(1);
        }
        lab.relay();
        for number in [0, 1] {
            frame[0] = number as u8;
            let received = fronts[number].receive(0);
            let arrived = received.iter().any(|other| other.bytes == frame);
            assert!(arrived, "nobody else loses a frame");
            fronts[number].post(0, 256);
            let answers = fronts[number].answers(0);
            assert!(answers.iter().all(|answer| answer.status == NETIF_RSP_OKAY));
        }
        let usage = host.usage();
        assert!(
            usage.pages <= full.pages && usage.mapped <= full.mapped,
            "{usage:?}"
        );
        assert!(usage.ports <= full.ports && usage.watches <= full.watches);
    }
    for front in &fronts {
        front.detach();
    }
    lab.settle();
    for front in &fronts {
        front.switch_to(XenbusState::CLOSED);
    }
    lab.settle();
    lab.advance(6);
    lab.advance(2);
    assert!(lab.backs.is_empty());
    let left = host.usage();
    assert_eq!(
        (left.pages, left.mapped, left.ports),
        (before.pages, 0, before.ports)
    );
    assert_eq!(
        left.watches,
        before.watches + 1,
        "the one that looks for vifs"
    );
});
