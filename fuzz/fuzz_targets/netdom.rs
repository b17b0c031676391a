//! netdom with a card and three guests, of which one, the wire and the card do what they like, while the two others
//! speak with each other: nothing panics, no frame of theirs is lost, nobody else speaks in their names, and
//! everything is given back.

#![no_main]

use arbitrary::Arbitrary;
use core::time::Duration;
use libfuzzer_sys::fuzz_target;
use minios_rs::abi::io::netif::ExtraInfo;
use minios_rs::abi::io::ring::REQ_PROD;
use minios_rs::fake::netback::Which;
use minios_rs::fake::netfront::{Netfront, Shape};
use minios_rs::fake::pci::Card;
use minios_rs::fake::pciback::Pciback;
use minios_rs::fake::{Domain, World};
use minios_rs::net::Backends;
use minios_rs::task::Executor;
use minios_rs::xen::{DomId, Xen};
use minios_rs::xenbus::XenbusState;
use minios_rs::xenstore::Client;
use netdom::cards::Cards;
use netdom::config::Config;
use netdom::nic;
use netdom::nic::model::{E1000, Wired};
use netdom::nic::virtio_model::VirtioNet;
use netdom::switch::{OFFER, Switch};

const NETDOM: DomId = DomId(1);
/// Steps of one input.
const STEPS_MAX: usize = 32;
/// The guest that lies; the two behind it speak with each other.
const LIAR: usize = 0;

/// What the bridge of all of them is.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// Frames without a tag.
    Plain,
    /// A VLAN.
    Tagged,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Model {
    E1000,
    E1000e,
    Virtio,
}

/// Who a frame is for, or from.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Station {
    Guest(u8),
    Everybody,
    Far(u8),
    Raw([u8; 6]),
}

impl Station {
    fn mac(self) -> [u8; 6] {
        match self {
            Self::Guest(guest) => mac(usize::from(guest) % 3),
            Self::Everybody => [0xff; 6],
            Self::Far(number) => [2, 0, 0, 0, 1, number],
            Self::Raw(bytes) => bytes,
        }
    }
}

/// A frame: its addresses, perhaps a tag, and what is behind them.
#[derive(Arbitrary, Debug)]
struct Frame {
    to: Station,
    from: Station,
    tag: Option<u16>,
    kind: u8,
    body: Vec<u8>,
    /// Bytes that follow the body.
    padding: u16,
}

impl Frame {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.to.mac(), self.from.mac()].concat();
        if let Some(tag) = self.tag {
            bytes.extend([0x81, 0]);
            bytes.extend(tag.to_be_bytes());
        }
        match self.kind % 5 {
            0 => bytes.extend([8, 0, 0x45, 0]),
            1 => bytes.extend([0x86, 0xdd, 0x60, 0]),
            2 => bytes.extend([8, 6]),
            3 => bytes.extend([0x81, 0]),
            _ => {}
        }
        bytes.extend(&self.body);
        bytes.resize(bytes.len() + usize::from(self.padding % 9000), 0x5a);
        bytes
    }
}

#[derive(Arbitrary, Debug)]
enum Step {
    /// The liar sends it in pieces of so many bytes, and says this of it.
    Send(Frame, u16, u8, Option<(u8, u8, u16, u8)>),
    Comes(Frame),
    /// The card writes a word into its rings.
    Mad(u32, u32),
    /// What it says of each frame from now on.
    Lies([u32; 2]),
    Hangs(bool),
    Cable(bool),
    RevokeSent,
    RevokePosted,
    Index(u32),
    Post,
    Turns(u8),
    Seconds(u8),
}

struct Lab<M: Wired> {
    world: World,
    netdom: Domain,
    store: Client<Domain>,
    executor: Executor,
    back: Pciback,
    card: Card<M>,
    cards: Cards<Domain>,
    backends: Backends<Domain>,
    switch: Switch<Domain>,
}

fn mac(guest: usize) -> [u8; 6] {
    [0, 0x16, 0x3e, 0, 10 + guest as u8, 0]
}

/// One bridge, on the first card.
fn config(wire: Wire) -> Config {
    let mut config = Config::default();
    config.bridges.truncate(1);
    for bridge in &mut config.bridges {
        bridge.vlan = (wire == Wire::Tagged).then_some(20);
    }
    config
}

impl<M: Wired> Lab<M> {
    fn new(model: M, wire: Wire) -> Self {
        let world = World::new();
        let netdom = world.domain(NETDOM);
        let store = world.connect_xenstore(&netdom);
        let (back, mut cards) = Pciback::plug(&world, NETDOM, [model]);
        let executor = Executor::new(16);
        let card = cards.pop().expect("it is plugged in");
        let cards = Cards::start(&netdom, &store, &executor, nic::Config::default());
        let backends = Backends::start(&netdom, &store, &executor, OFFER);
        let mut lab = Self {
            world,
            netdom,
            store,
            executor,
            back,
            card,
            cards: cards.expect("there is a place for the task"),
            backends: backends.expect("there is a place for the task"),
            switch: Switch::new(config(wire)),
        };
        lab.turns(400);
        assert_eq!(lab.cards.count(), 1);
        lab
    }

    fn turn(&mut self) {
        self.world.advance(Duration::from_millis(5));
        let now = self.netdom.now();
        self.executor.run_ready(now);
        self.switch.admit(&self.backends);
        self.cards.turn(now, &mut self.switch);
        self.switch.finish(now);
        self.store.pump();
        self.world.serve_xenstore();
        self.store.pump();
        self.back.step();
        // What goes out is kept until somebody looks.
        self.card.with(|model, _| while model.sent().is_some() {});
    }

    fn turns(&mut self, count: usize) {
        (0..count).for_each(|_| self.turn());
    }

    /// Time goes by, and what it brings is seen to.
    fn advance(&mut self, seconds: u64) {
        self.world.advance(Duration::from_secs(seconds));
        self.turns(60);
    }

    fn join(&mut self, guest: u16) -> Netfront {
        let mut front = Netfront::announce(&self.world, NETDOM, DomId(10 + guest), 0, &[]);
        self.turns(60);
        front.connect(Shape::default());
        self.turns(60);
        assert_eq!(front.backend_state(), XenbusState::CONNECTED);
        front.post(0, 256);
        front
    }

    fn happens(&mut self, liar: &mut Netfront, step: Step) {
        match step {
            Step::Send(frame, piece, flags, extra) => {
                let bytes = frame.bytes();
                let pieces = bytes.chunks(usize::from(piece).clamp(200, 4096));
                let slots: Vec<&[u8]> = pieces.collect();
                let extra = extra.map(|(kind, flags, gso_size, gso_type)| ExtraInfo {
                    kind,
                    flags: flags & 1,
                    gso_size,
                    gso_type,
                    ..ExtraInfo::default()
                });
                liar.send(0, &slots, u16::from(flags & 3), extra.as_slice());
            }
            Step::Comes(frame) => {
                self.card
                    .with(|model, bus| model.comes(&frame.bytes(), bus));
            }
            Step::Mad(at, word) => self.card.with(|model, bus| model.goes_mad(at, word, bus)),
            Step::Lies(lie) => self.card.with(|model, _| model.lies(lie)),
            Step::Hangs(hangs) => self.card.with(|model, _| *model.hangs() = hangs),
            Step::Cable(is_in) => self.card.with(|model, bus| model.cable(is_in, bus)),
            Step::RevokeSent => liar.revoke_sent(0),
            Step::RevokePosted => liar.revoke_posted(0),
            Step::Index(value) => liar.poke(0, Which::Tx, REQ_PROD, value),
            Step::Post => {
                liar.receive(0);
                liar.answers(0);
                liar.post(0, 256);
            }
            Step::Turns(turns) => self.turns(turns.into()),
            Step::Seconds(seconds) => self.advance(seconds.into()),
        }
    }
}

fn run<M: Wired>(model: M, wire: Wire, steps: Vec<Step>) {
    let mut lab = Lab::new(model, wire);
    let before = lab.netdom.usage();
    let mut fronts = [0, 1, 2].map(|guest| lab.join(guest));
    for (round, step) in steps.into_iter().take(STEPS_MAX).enumerate() {
        lab.happens(&mut fronts[LIAR], step);
        lab.turn();
        let honest = |from: usize| {
            let mut frame = [mac(3 - from), mac(from)].concat();
            frame.extend([0x88, 0xb5, round as u8]);
            frame.resize(900, from as u8);
            frame
        };
        for from in [1, 2] {
            assert!(fronts[from].send(0, &[&honest(from)], 0, &[]));
        }
        lab.turn();
        for to in [1, 2] {
            let wanted = honest(3 - to);
            let received = fronts[to].receive(0);
            let theirs = received
                .iter()
                .filter(|frame| frame.bytes.get(6..12) == Some(&mac(3 - to)));
            let theirs: Vec<_> = theirs.map(|frame| &frame.bytes).collect();
            assert_eq!(theirs, [&wanted], "what the other has sent, and no more");
            fronts[to].answers(0);
            fronts[to].post(0, 256);
        }
    }
    lab.card.with(|model, bus| {
        *model.hangs() = false;
        model.cable(true, bus);
        // Sound again, or it would be reset for ever.
        model.lies([0, 0]);
    });
    for front in &fronts {
        front.detach();
    }
    lab.turns(60);
    for front in &fronts {
        front.switch_to(XenbusState::CLOSED);
    }
    for _ in 0..12 {
        lab.advance(1);
    }
    assert_eq!(lab.switch.guests().count(), 0);
    let left = lab.netdom.usage();
    assert_eq!(
        (left.pages, left.mapped, left.ports, left.watches),
        (before.pages, before.mapped, before.ports, before.watches)
    );
    // Tasks hold what holds them: they end with the connection to xenstore, or each input would leave a domain behind.
    lab.world.inject_xenstore(NETDOM, &[0xff; 16]);
    lab.advance(2);
    lab.advance(2);
    assert_eq!(lab.executor.tasks(), 0);
}

fuzz_target!(|input: (Model, Wire, Vec<Step>)| {
    let (model, wire, steps) = input;
    match model {
        Model::E1000 => run(E1000::correct(), wire, steps),
        Model::E1000e => run(E1000::express(), wire, steps),
        Model::Virtio => run(VirtioNet::correct(), wire, steps),
    }
});
