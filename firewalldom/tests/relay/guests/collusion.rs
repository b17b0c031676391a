//! Two guests, and somebody outside, that help each other to hold what is not theirs: one sends as much as it can, the
//! other takes as little as it likes. Two further guests lose nothing by it.

use super::*;
use proptest::prelude::*;

const C: usize = 2;
const D: usize = 3;
const COLLUDERS: [(DomId, [u8; 4], [u8; 6]); 2] = [
    (DomId(13), [10, 0, 3, 4], [0, 0x16, 0x3e, 0, 0, 0xc]),
    (DomId(14), [10, 0, 3, 5], [0, 0x16, 0x3e, 0, 0, 0xd]),
];

fn of(guest: usize) -> ([u8; 4], [u8; 6]) {
    let (_, address, mac) = match guest {
        A | B => GUESTS[guest],
        _ => COLLUDERS[guest - C],
    };
    (address, mac)
}

/// What the colluders do.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// One sends to the other, or to its accomplice outside, frames of so many bytes, as many as there is room for.
    Fill {
        from: usize,
        to: Option<usize>,
        len: usize,
    },
    /// The accomplice sends so many frames.
    Outside { to: usize, len: usize, count: usize },
    /// One takes what came, and posts so many new buffers.
    Take { guest: usize, buffers: usize },
    /// One takes its answers, and with that may send on.
    Answers(usize),
    /// One takes its grants back under way.
    Revoke(usize),
    /// Time passes, in milliseconds.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let guest = || prop_oneof![Just(C), Just(D)];
    let len = || prop_oneof![Just(20), Just(1400), Just(60_000), 1_usize..60_000];
    let to = prop_oneof![Just(Some(C)), Just(Some(D)), Just(None)];
    prop_oneof![
        4 => (guest(), to, len()).prop_map(|(from, to, len)| Step::Fill { from, to, len }),
        3 => (guest(), len(), 1_usize..20).prop_map(|(to, len, count)| Step::Outside { to, len, count }),
        3 => (guest(), prop_oneof![Just(0), Just(1), Just(16), Just(256)])
            .prop_map(|(guest, buffers)| Step::Take { guest, buffers }),
        2 => guest().prop_map(Step::Answers),
        1 => guest().prop_map(Step::Revoke),
        1 => prop_oneof![Just(1), Just(50), Just(101)].prop_map(Step::Wait),
    ]
}

fn frame(lab: &Lab, from: Option<usize>, to: Option<usize>, payload: &[u8]) -> Vec<u8> {
    let address = |guest: Option<usize>| guest.map_or(SERVER, |guest| of(guest).0);
    let (station, source) = match from {
        Some(guest) => (BACKEND_MAC, of(guest).1),
        None => (lab.relay.fronts().next().unwrap().1.mac().0, SERVER_MAC),
    };
    established([station, source], [address(from), address(to)], payload)
}

fn gso_of(len: usize) -> &'static [ExtraInfo] {
    match len {
        0..=1400 => &[],
        _ => &[GSO],
    }
}

fn collude(lab: &mut Lab, step: Step) {
    match step {
        Step::Fill { from, to, len } => {
            let frame = frame(lab, Some(from), to, &pattern(len));
            while lab.send(from, &frame, gso_of(len)) {}
        }
        Step::Outside { to, len, count } => {
            let frame = frame(lab, None, Some(to), &pattern(len));
            let slots: Vec<&[u8]> = frame.chunks(4096).collect();
            let flags = NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED;
            for _ in 0..count {
                lab.outside.deliver(&slots, 0, flags, gso_of(len));
                lab.turn();
            }
        }
        Step::Take { guest, buffers } => {
            lab.fronts[guest].receive(0);
            lab.fronts[guest].post(0, buffers);
        }
        Step::Answers(guest) => drop(lab.fronts[guest].answers(0)),
        Step::Revoke(guest) => lab.fronts[guest].revoke_sent(0),
        Step::Wait(milliseconds) => lab.now = lab.now + Duration::from_millis(milliseconds),
    }
}

/// The others speak with each other and with the outside: everything arrives, soon.
fn speak(lab: &mut Lab, round: u8) -> Result<(), TestCaseError> {
    let payload = vec![round; 1400];
    let there = frame(lab, Some(A), Some(B), &payload);
    let back = frame(lab, Some(B), Some(A), &payload);
    let out = frame(lab, Some(A), None, &payload);
    prop_assert!(lab.send(A, &there, &[]) && lab.send(B, &back, &[]) && lab.send(A, &out, &[]));
    let mut outside = 0;
    let mut got = [0; 2];
    // What waits in the way out before it is sent first.
    for turn in 0..200 {
        lab.turn();
        for frame in lab.outside() {
            outside += usize::from(frame.get(PAYLOAD..) == Some(&payload[..]));
        }
        if turn == 0 {
            let inward = frame(lab, None, Some(B), &payload);
            let flags = NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED;
            prop_assert!(
                lab.outside.deliver(&[&inward], 0, flags, &[]),
                "a buffer is there"
            );
        }
        for guest in [A, B] {
            let frames = lab.fronts[guest].receive(0);
            got[guest] += frames
                .iter()
                .filter(|frame| frame.bytes.get(PAYLOAD..) == Some(&payload[..]))
                .count();
            lab.fronts[guest].post(0, 256);
            lab.fronts[guest].answers(0);
        }
        if (outside, got) == (1, [1, 2]) {
            return Ok(());
        }
    }
    Err(TestCaseError::fail(format!(
        "outside {outside}, guests {got:?}"
    )))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn guests_that_help_each_other_hold_nothing_of_others(steps in prop::collection::vec(step(), 1..30)) {
        let mut lab = Lab::new();
        for (number, (domain, address, mac)) in COLLUDERS.into_iter().enumerate() {
            lab.announce(domain, address, mac);
            lab.fronts[C + number].connect(Shape::default());
            prop_assert_eq!(lab.settle(), []);
        }
        speak(&mut lab, 0xf0)?;
        let before = lab.domain.usage();
        for (round, step) in steps.into_iter().enumerate() {
            collude(&mut lab, step);
            speak(&mut lab, round as u8)?;
            let usage = lab.domain.usage();
            prop_assert!(usage.mapped <= before.mapped && usage.ports <= before.ports);
            // Each guest's own for what goes to a backend, taken when first needed.
            prop_assert!(usage.pages <= before.pages + 4 * usize::from(OFFER.fetch_pages_max));
        }
        // When they are gone, what they held is there again: the way in and out takes as much as it ever did.
        for guest in [C, D] {
            lab.fronts[guest].vanish();
        }
        lab.settle();
        prop_assert_eq!(lab.relay.guests().count(), 2);
        for _ in 0..40 {
            lab.outside();
        }
        let large = pattern(60_000);
        let inward = frame(&lab, None, Some(A), &large);
        let slots: Vec<&[u8]> = inward.chunks(4096).collect();
        let flags = NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED;
        let lost = lab.relay.losses();
        for _ in 0..12 {
            prop_assert!(lab.outside.deliver(&slots, 0, flags, &[GSO]));
        }
        lab.turn();
        prop_assert_eq!(lab.fronts[A].receive(0).len(), 12);
        prop_assert_eq!(lab.relay.losses(), lost);
    }
}
