//! Backends that lie.

use super::*;

fn breaks(breach: Breach, lie: impl FnOnce(&mut Blkback)) {
    let (mut lab, disk) = plain();
    lab.back.hold = true;
    for tag in 0..3 {
        let buffer = disk.buffer(128 * 1024);
        assert!(disk.submit(Operation::Read, 256 * tag, buffer, tag).is_ok());
    }
    disk.notify();
    lab.back.step();
    lab.back.hostile = true;
    lie(&mut lab.back);
    let mut failed = 0;
    while let Some(done) = disk.poll() {
        failed += usize::from(done.result == Err(Failure::Gone));
    }
    assert_eq!(disk.state(), State::Broken(breach));
    assert!(failed >= 2, "what was under way has failed");
    assert!(disk.submit(Operation::Flush, 0, None, 9).is_ok());
    let result = disk.poll().map(|done| done.result);
    assert_eq!(result, Some(Err(Failure::Gone)));
    disk.notify();
    lab.turns();
    assert_eq!(lab.outcome.take(), Some(Err(Error::Broken(breach))));
    let error = "/local/domain/7/error/device/vbd/51712/error";
    let told = lab.world.node(error).unwrap_or_default();
    assert!(told.contains(&alloc::format!("{breach}")), "{told}");
    lab.drop_all(disk);
}

#[test]
fn an_impossible_index_closes_the_disk_with_its_reason() {
    for index in [4, 129, 1 << 31, u32::MAX] {
        breaks(Breach::Index, |back| back.poke(RSP_PROD, index));
    }
}

#[test]
fn answers_to_what_was_not_asked_close_the_disk() {
    // Ids are a place and a number.
    for id in [3, 127, 128, 255, 256, 1 << 8, u64::MAX] {
        breaks(Breach::WildResponse, |back| {
            back.answer(id, BLKIF_OP_READ, 0);
        });
    }
    breaks(Breach::WildResponse, |back| {
        let id = back.take_held().expect("it was asked").id;
        back.answer(id, BLKIF_OP_WRITE, 0);
    });
    // Twice, of which the first counts.
    breaks(Breach::WildResponse, |back| {
        let id = back.take_held().expect("it was asked").id;
        back.answer(id, BLKIF_OP_READ, 0);
        back.answer(id, BLKIF_OP_READ, 0);
    });
}

#[test]
fn an_answer_to_an_earlier_request_in_the_same_place_is_noticed() {
    let (mut lab, disk) = plain();
    let buffer = disk.buffer(512);
    lab.back.hold = true;
    assert!(disk.submit(Operation::Read, 0, buffer, 1).is_ok());
    disk.notify();
    lab.back.step();
    let old = lab.back.take_held().expect("it was asked").id;
    lab.back.answer(old, BLKIF_OP_READ, 0);
    let done = disk.poll().expect("it is done");
    assert!(disk.submit(Operation::Read, 0, done.buffer, 2).is_ok());
    disk.notify();
    lab.back.step();
    lab.back.hostile = true;
    lab.back.answer(old, BLKIF_OP_READ, 0);
    assert_eq!(
        disk.poll().map(|done| done.result),
        Some(Err(Failure::Gone))
    );
    assert_eq!(disk.state(), State::Broken(Breach::WildResponse));
    lab.turns();
    lab.drop_all(disk);
}

#[test]
fn any_status_but_okay_is_an_error() {
    for status in [1, -1, -2, -3, i16::MIN, i16::MAX] {
        let (mut lab, disk) = plain();
        lab.back.refuse = Some((BLKIF_OP_READ, status));
        let buffer = disk.buffer(512);
        let (result, _) = lab.one(&disk, Operation::Read, 0, buffer);
        let expected = match status {
            -2 => Failure::Unsupported,
            _ => Failure::Io,
        };
        assert_eq!(result, Err(expected), "{status}");
        lab.detach(disk);
    }
}

#[test]
fn a_channel_that_fails_closes_the_disk() {
    let (mut lab, disk) = plain();
    let buffer = disk.buffer(512);
    assert!(disk.submit(Operation::Read, 0, buffer, 1).is_ok());
    lab.world.fail(Fault::Notify, 0);
    disk.notify();
    assert_eq!(disk.state(), State::Broken(Breach::EventChannel));
    lab.turns();
    lab.drop_all(disk);
}

#[derive(Clone, Debug)]
enum Step {
    Read(u64, usize),
    Write(u64, usize, u8),
    Flush,
    Discard(u64, u64),
    Notify,
    Poll,
    Serve(usize),
    Turn,
    /// From here on a backend that lies.
    PokeIndex(u32),
    PokeEntry(u16, u32),
    Answer(u64, u8, i16),
    Refuse(u8, i16),
    Close,
    Vanish(bool),
    Resize(usize),
    Fail(u8, u64),
}

fn honest() -> impl Strategy<Value = Step> {
    let sector = 0..(SECTORS as u64 + 20);
    let len = prop_oneof![1..20_usize, 1..300_usize];
    prop_oneof![
        6 => (sector.clone(), len.clone()).prop_map(|(sector, sectors)| Step::Read(sector, sectors)),
        8 => (sector.clone(), len, any::<u8>()).prop_map(|(sector, sectors, seed)| Step::Write(sector, sectors, seed)),
        2 => Just(Step::Flush),
        2 => (sector, 0..40_u64).prop_map(|(sector, sectors)| Step::Discard(sector, sectors)),
        6 => Just(Step::Notify),
        6 => Just(Step::Poll),
        4 => (0..20_usize).prop_map(Step::Serve),
        4 => Just(Step::Turn),
        1 => Just(Step::Close),
        1 => any::<bool>().prop_map(Step::Vanish),
    ]
}

fn hostile() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => honest(),
        1 => any::<u32>().prop_map(Step::PokeIndex),
        2 => (0..1024_u16, any::<u32>()).prop_map(|(at, value)| Step::PokeEntry(at, value)),
        2 => (0..2000_u64, 0..8_u8, -3..3_i16).prop_map(|(id, code, status)| Step::Answer(id, code, status)),
        2 => (0..6_u8, -3..3_i16).prop_map(|(code, status)| Step::Refuse(code, status)),
        1 => (0..2 * SECTORS).prop_map(Step::Resize),
        1 => (0..3_u8, 0..6_u64).prop_map(|(fault, skip)| Step::Fail(fault, skip)),
    ]
}

fn offers() -> impl Strategy<Value = Offers> {
    let order = prop::option::of(0..5_u32);
    let indirect = prop_oneof![Just(0), Just(12), Just(32), Just(256)];
    (any::<[bool; 4]>(), indirect, order).prop_map(|(flags, indirect, ring_order)| Offers {
        flush: flags[0],
        barrier: flags[1],
        discard: flags[2],
        persistent: flags[3],
        indirect,
        ring_order,
        ..Offers::default()
    })
}

/// What a request that is under way is to come to.
struct Expected {
    tag: u64,
    sector: usize,
    /// What a write writes.
    written: Option<Vec<u8>>,
    is_read: bool,
}

/// Everything but the disk, so that what is done can be checked as it comes.
struct Play {
    lab: Lab,
    disk: Front<Domain>,
    under_way: Vec<Expected>,
    /// What the disk must hold, where no write is under way.
    model: Vec<u8>,
    next_tag: u64,
    is_honest: bool,
}

impl Play {
    /// Whether a request there would meet another one: then nobody knows which was first.
    fn meets(&self, sector: usize, sectors: usize) -> bool {
        self.under_way.iter().any(|other| {
            let len = match &other.written {
                Some(bytes) => bytes.len() / SECTOR,
                None => SECTORS,
            };
            let is_before = other.sector + len <= sector;
            let is_behind = sector + sectors <= other.sector;
            !is_before && !is_behind
        })
    }

    fn submit(&mut self, operation: Operation, sector: u64, written: Option<Vec<u8>>, len: usize) {
        let buffer = match len {
            0 => None,
            _ => match self.disk.buffer(len) {
                Some(buffer) => Some(buffer),
                None => return,
            },
        };
        if let (Some(bytes), Some(buffer)) = (&written, &buffer) {
            buffer.write(0, bytes);
        }
        let tag = self.next_tag;
        if self.disk.submit(operation, sector, buffer, tag).is_ok() {
            self.next_tag += 1;
            self.under_way.push(Expected {
                tag,
                sector: sector as usize,
                written: match operation {
                    Operation::Discard { sectors } => Some(vec![0; sectors as usize * SECTOR]),
                    _ => written,
                },
                is_read: operation == Operation::Read,
            });
        }
    }

    fn poll(&mut self) {
        while let Some(done) = self.disk.poll() {
            let at = self
                .under_way
                .iter()
                .position(|other| other.tag == done.tag);
            let expected = self.under_way.remove(at.expect("it is done once"));
            if !self.is_honest || done.result.is_err() {
                continue;
            }
            let at = expected.sector * SECTOR;
            if let Some(bytes) = expected.written {
                self.model[at..at + bytes.len()].copy_from_slice(&bytes);
            } else if let (true, Some(buffer)) = (expected.is_read, done.buffer) {
                let mut read = vec![0; buffer.len()];
                buffer.read(0, &mut read);
                assert_eq!(read, self.model[at..at + buffer.len()]);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Read(sector, sectors) => {
                // What is written meanwhile may come before or after.
                if !self.is_honest || !self.meets(sector as usize, sectors) {
                    self.submit(Operation::Read, sector, None, sectors * SECTOR);
                }
            }
            Step::Write(sector, sectors, seed) => {
                if !self.is_honest || !self.meets(sector as usize, sectors) {
                    let bytes = bytes(sectors * SECTOR, seed);
                    let len = bytes.len();
                    self.submit(Operation::Write, sector, Some(bytes), len);
                }
            }
            Step::Discard(sector, sectors) => {
                if !self.is_honest || !self.meets(sector as usize, sectors as usize) {
                    self.submit(Operation::Discard { sectors }, sector, None, 0);
                }
            }
            Step::Flush => {
                if !self.is_honest || self.under_way.is_empty() {
                    self.submit(Operation::Flush, 0, None, 0);
                }
            }
            Step::Notify => self.disk.notify(),
            Step::Poll => self.poll(),
            Step::Serve(count) => {
                self.lab.back.serve();
                self.lab.back.serve_held(count);
            }
            Step::Turn => self.lab.turn(),
            Step::PokeIndex(value) => {
                if self.lab.back.is_connected() {
                    self.lab.back.poke(RSP_PROD, value);
                }
            }
            Step::PokeEntry(at, value) => {
                if self.lab.back.is_connected() {
                    let words = PAGE_SIZE / 4 - RING / 4;
                    let offset = RING + usize::from(at) % words * 4;
                    self.lab.back.poke(offset, value);
                }
            }
            Step::Answer(id, operation, status) => self.lab.back.answer(id, operation, status),
            Step::Refuse(operation, status) => self.lab.back.refuse = Some((operation, status)),
            Step::Close => {
                if self.lab.back.state(self.lab.back.node()) == XenbusState::CONNECTED {
                    self.lab.back.switch_to(XenbusState::CLOSING);
                }
            }
            Step::Vanish(elsewhere) => {
                self.lab.back.vanish();
                (0..60).for_each(|_| self.lab.turn());
                let node = self.lab.back.frontend_node().to_owned();
                // One that was given up has its reasons.
                if self.disk.state() == State::Connecting
                    && self
                        .lab
                        .world
                        .node(&alloc::format!("{node}/state"))
                        .is_some()
                {
                    self.lab.back.attach(if elsewhere { OTHER } else { HOST });
                }
            }
            Step::Resize(sectors) => self.lab.back.resize(sectors),
            Step::Fail(fault, skip) => {
                // (Events are xenstore's as well, which ends with the first that fails.)
                let faults = [Fault::Page, Fault::Grant, Fault::Port];
                self.lab.world.fail(faults[usize::from(fault)], skip);
            }
        }
    }
}

fn play(offers: Offers, steps: &[Step], is_honest: bool) {
    let mut lab = Lab::new(offers);
    let config = Config {
        requests_max: 8,
        pages_max: 200,
        ..Config::default()
    };
    let disk = lab.connect_with(config).expect("it connects");
    lab.back.hold = true;
    lab.back.hostile = !is_honest;
    let mut play = Play {
        lab,
        disk,
        under_way: Vec::new(),
        model: vec![0; SECTORS * SECTOR],
        next_tag: 0,
        is_honest,
    };
    for step in steps {
        play.step(step);
    }
    for fault in [Fault::Page, Fault::Grant, Fault::Port] {
        play.lab.world.clear_fault(fault);
    }
    if is_honest {
        play.lab.back.hold = false;
        play.lab.turns();
        for _ in 0..50 {
            // One that ended while it was shaken hands with is tried again a second later.
            play.lab.world.advance(Duration::from_secs(1));
            play.poll();
            play.disk.notify();
            play.lab.turn();
        }
        assert!(play.under_way.is_empty(), "each is done");
        assert_eq!(play.lab.back.disk, play.model);
    }
    // The toolstack takes it away, whatever state it is in.
    let Play { mut lab, disk, .. } = play;
    let own = lab.back.node().to_owned();
    lab.world.write_node(&alloc::format!("{own}/online"), "0");
    lab.back.switch_to(XenbusState::CLOSING);
    lab.turns();
    lab.world.advance(Duration::from_secs(1));
    lab.turns();
    lab.back.disconnect();
    lab.back.switch_to(XenbusState::CLOSED);
    lab.turns();
    while disk.poll().is_some() {}
    drop(disk);
    // What was still mapped is looked after with the next grants.
    let mut granted = Vec::new();
    for _ in 0..300 {
        let access = crate::xen::Access::ReadOnly;
        granted.push(crate::xen::Granted::allocate(&lab.guest, HOST, access));
    }
    drop(granted);
    lab.turns();
    assert_eq!(lab.guest.usage(), lab.before, "nothing is left");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 200 }, ..ProptestConfig::default() })]
    #[test]
    fn whatever_happens_to_an_honest_backend_the_data_is_right(
        offers in offers(),
        steps in prop::collection::vec(honest(), 1..60),
    ) {
        play(offers, &steps, true);
    }

    #[test]
    fn whatever_a_backend_does_nothing_panics_and_nothing_leaks(
        offers in offers(),
        steps in prop::collection::vec(hostile(), 1..60),
    ) {
        play(offers, &steps, false);
    }
}
