//! A backend that writes what it likes to both rings of a vif, while frames go to another vif whose
//! backend is honest: nothing panics, the other vif works on, and everything is given back.

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use minios_rs::abi::io::netif::{ExtraInfo, RxResponse};
use minios_rs::abi::io::ring::{REQ_EVENT, REQ_PROD, RING, RSP_EVENT, RSP_PROD};
use minios_rs::fake::netback::{Netback, OFFERS, Which};
use minios_rs::fake::{Domain, World};
use minios_rs::net::front::{Config, State, TAIL_MAX};
use minios_rs::net::{Front, Link, Offload};
use minios_rs::xen::DomId;
use minios_rs::xenbus::XenbusState;
use minios_rs::xenstore::Client;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const GUEST: DomId = DomId(7);
const HOSTILE: DomId = DomId(0);
const HONEST: DomId = DomId(3);
/// Steps of one input.
const STEPS_MAX: usize = 48;

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Ring {
    Tx,
    Rx,
}

impl Ring {
    fn which(self) -> Which {
        match self {
            Self::Tx => Which::Tx,
            Self::Rx => Which::Rx,
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Index {
    ReqProd,
    ReqEvent,
    RspProd,
    RspEvent,
}

impl Index {
    fn offset(self) -> usize {
        match self {
            Self::ReqProd => REQ_PROD,
            Self::ReqEvent => REQ_EVENT,
            Self::RspProd => RSP_PROD,
            Self::RspEvent => RSP_EVENT,
        }
    }
}

#[derive(Arbitrary, Clone, Copy, Debug)]
struct Response {
    /// An id of the backend's own instead of the request's.
    id: Option<u16>,
    offset: u16,
    flags: u8,
    status: i16,
}

#[derive(Arbitrary, Debug)]
enum Step {
    Respond(Vec<Response>),
    Deliver {
        slots: u8,
        offset: u16,
        flags: u8,
        gso: Option<(u8, u8, u16)>,
    },
    PokeIndex(Ring, Index, u32),
    PokeEntry(Ring, u8, u32),
    Answer(u8, i8),
    Receive,
    Forward,
    Turn,
}

struct Lab {
    world: World,
    guest: Domain,
    store: Client<Domain>,
    backs: [Netback; 2],
}

impl Lab {
    fn run<T>(&mut self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        for _ in 0..500 {
            let turn = future
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(value) = turn {
                return value;
            }
            self.store.pump();
            self.world.serve_xenstore();
            self.store.pump();
            self.backs.iter_mut().for_each(Netback::step);
        }
        panic!("it does not end");
    }

    fn connect(&mut self, index: u32) -> (Front<Domain>, Link<Domain>) {
        let (guest, store) = (self.guest.clone(), self.store.clone());
        self.run(async move { Front::connect(&guest, &store, index, Config::default()).await })
            .expect("it connects")
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let world = World::new();
    let guest = world.domain(GUEST);
    let store = world.connect_xenstore(&guest);
    let before = guest.usage();
    let backs = [(HOSTILE, 0), (HONEST, 1)]
        .map(|(backend, index)| Netback::announce(&world, backend, GUEST, index, &OFFERS));
    let mut lab = Lab {
        world,
        guest,
        store,
        backs,
    };
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    lab.backs[0].hold_answers = true;
    lab.backs[0].hostile = true;

    let mut arrived = 0;
    for step in steps.into_iter().take(STEPS_MAX) {
        match step {
            Step::Respond(responses) => {
                let raw: Vec<_> = responses
                    .into_iter()
                    .take(64)
                    .map(|response| {
                        let entry = RxResponse {
                            id: 0,
                            offset: response.offset,
                            flags: u16::from(response.flags),
                            status: response.status,
                        };
                        (response.id, entry)
                    })
                    .collect();
                lab.backs[0].respond(&raw);
            }
            Step::Deliver {
                slots,
                offset,
                flags,
                gso,
            } => {
                let slots = vec![&[1_u8; 2000][..]; 1 + usize::from(slots % 19)];
                let extras: Vec<ExtraInfo> = gso
                    .map(|(kind, gso_type, gso_size)| ExtraInfo {
                        kind,
                        gso_type,
                        gso_size,
                        ..ExtraInfo::default()
                    })
                    .into_iter()
                    .collect();
                // More data and extra info follow by themselves.
                let flags = u16::from(flags) & 0b0011;
                lab.backs[0].deliver(&slots, offset % 2000, flags, &extras);
            }
            Step::PokeIndex(ring, index, value) => {
                lab.backs[0].poke(ring.which(), index.offset(), value);
            }
            Step::PokeEntry(ring, at, value) => {
                lab.backs[0].poke(ring.which(), RING + usize::from(at) * 4, value);
            }
            // Only what was asked can be answered through the ring's own interface.
            Step::Answer(..) if inside.state() != State::Open => {}
            Step::Answer(id, status) => {
                lab.backs[0].answer(u16::from(id), i16::from(status));
            }
            Step::Receive => {
                while let Some(frame) = inside.receive() {
                    let mut all = vec![0; frame.len as usize];
                    assert_eq!(frame.read(0, &mut all), all.len());
                    inside.recycle_frame(frame);
                }
            }
            Step::Forward => {
                if let Some(frame) = inside.receive() {
                    let offload = Offload {
                        checksum: frame.checksum,
                        gso: frame.gso,
                    };
                    let mut slots = frame.slots.into_iter();
                    let first = slots.next().expect("a frame has a slot");
                    let mut tail: heapless::Vec<_, TAIL_MAX> = slots.collect();
                    let _ = outside.transmit(&[3; 128], &mut tail, offload);
                    inside.recycle(first.buffer);
                    for slice in tail {
                        inside.recycle(slice.buffer);
                    }
                }
            }
            Step::Turn => {
                inside.flush();
                outside.flush();
                arrived += lab.backs[1].receive().len();
                while let Some(buffer) = outside.completed() {
                    inside.recycle(buffer);
                }
                let _ = inside.completed();
                let _ = inside.park();
            }
        }
    }

    assert_eq!(outside.state(), State::Open, "the honest one works on");
    outside.flush();
    arrived += lab.backs[1].receive().len();
    assert_eq!(outside.counters().transmitted_frames, arrived as u64);
    while let Some(buffer) = outside.completed() {
        inside.recycle(buffer);
    }
    for back in &lab.backs {
        back.switch_to(XenbusState::CLOSING);
    }
    let mut fronts = [(inside, inside_link), (outside, outside_link)];
    for (front, link) in &mut fronts {
        lab.run(link.backend_ending()).expect("xenstore works");
        front.close();
        lab.run(link.close()).expect("xenstore works");
    }
    for (front, _) in &mut fronts {
        while front.completed().is_some() {}
    }
    for (front, _) in &mut fronts {
        assert_eq!(front.release(), Ok(()));
    }
    drop(fronts);
    for _ in 0..20 {
        lab.store.pump();
        lab.world.serve_xenstore();
        lab.store.pump();
        lab.backs.iter_mut().for_each(Netback::step);
    }
    assert_eq!(lab.guest.usage(), before, "nothing is left");
});
