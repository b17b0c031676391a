//! Guests and the wire that do what they should not.

use super::*;
use proptest::prelude::*;

#[test]
fn nobody_takes_anothers_station() {
    let mut lab = Lab::<E1000>::with_guests(2);
    for (guest, from) in [(Some(0), mac(1)), (None, mac(0)), (None, mac(1))] {
        let lie = frame(EVERYBODY, from, 100, 0);
        match guest {
            Some(guest) => lab.send(guest, &lie),
            None => lab.comes(0, &lie),
        }
        assert_eq!(lab.all(), (vec![vec![], vec![]], vec![]));
    }
    assert_eq!(lab.losses().spoofed, 3);
    // The switch at the other end of the cable is told nothing of ours, nor ours of it.
    let hello = frame([1, 0x80, 0xc2, 0, 0, 0], FAR, 60, 0);
    lab.comes(0, &hello);
    lab.send(0, &frame([1, 0x80, 0xc2, 0, 0, 14], mac(0), 60, 0));
    assert_eq!(lab.all(), (vec![vec![], vec![]], vec![]));
    assert_eq!(lab.losses().not_forwarded, 2);
}

#[test]
fn a_guest_with_ip_is_held_to_it_and_nobody_else_has_it() {
    let mut lab = Lab::<E1000>::new(1);
    let held = lab.join(&[("ip", "10.0.3.2")]);
    let free = lab.join(&[]);
    let ip = |source: [u8; 4], from: usize| {
        let mut frame = tcp(FAR, mac(from), 10);
        frame[26..30].copy_from_slice(&source);
        frame
    };
    let (own, other) = ([10, 0, 3, 2], [10, 0, 3, 3]);
    let mut dhcp = ip([0; 4], held);
    dhcp[23] = 17;
    dhcp[34..38].copy_from_slice(&[0, 68, 0, 67]);
    for (guest, frame, passes) in [
        (held, asks(mac(held), own), true),
        (held, asks(mac(held), [0; 4]), true),
        (held, asks(mac(held), other), false),
        (held, ip(own, held), true),
        (held, ip(other, held), false),
        (held, dhcp, true),
        (held, frame(FAR, mac(held), 60, 0), false),
        (held, frame(FAR, [2, 0, 0, 0, 0, 5], 60, 0), false),
        (free, asks(mac(free), own), false),
        (free, asks(mac(free), other), true),
        (free, ip(own, free), false),
        (free, ip(other, free), true),
        (free, frame(FAR, mac(free), 60, 0), true),
        (free, frame(FAR, [2, 0, 0, 0, 0, 5], 60, 0), true),
    ] {
        let before = lab.losses().spoofed;
        lab.send(guest, &frame);
        let (_, wire) = lab.all();
        assert_eq!(wire.len(), usize::from(passes), "{frame:x?}");
        assert_eq!(lab.losses().spoofed, before + u64::from(!passes));
    }
    // A guest that is held gets nothing for stations that nobody knows.
    let unknown = frame([2, 0, 0, 0, 0, 77], FARTHER, 60, 0);
    lab.comes(0, &unknown);
    let (guests, _) = lab.all();
    assert_eq!(guests, [vec![], vec![unknown]]);
}

#[test]
fn what_is_said_of_a_frame_and_cannot_be_reaches_nobody() {
    let mut lab = Lab::<VirtioNet>::with_guests(2);
    let blank = NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED;
    let mut short = tcp(mac(1), mac(0), 100);
    short.truncate(120);
    for lie in [frame(mac(1), mac(0), 100, 0), short] {
        assert!(lab.fronts[0].send(0, &[&lie], blank, &[]));
        lab.turn();
        assert_eq!(lab.all(), (vec![vec![], vec![]], vec![]));
    }
    // The card lies as well as a guest.
    let lie = frame(mac(1), FAR, 1000, 0);
    let came = lab.plugged[0].with(|model, bus| model.receive(&lie, (1, 1, 1448), bus));
    assert!(came);
    lab.turn();
    assert_eq!(lab.all(), (vec![vec![], vec![]], vec![]));
    assert_eq!(lab.losses().false_offload, 3);
}

#[test]
fn a_guest_that_takes_nothing_costs_nobody_else_a_frame() {
    let mut lab = Lab::<E1000>::with_guests(2);
    lab.comes(0, &frame(EVERYBODY, FAR, 60, 0));
    lab.all();
    // The second one posts no more, and the first one and the wire go on about it.
    for number in 0..600 {
        lab.send(0, &frame(mac(1), mac(0), 1000, number as u8));
        lab.comes(0, &frame(mac(1), FAR, 1000, number as u8));
        let next = frame(FAR, mac(0), 1000, number as u8);
        lab.send(0, &next);
        assert_eq!(lab.gone(0), [next]);
        let next = frame(mac(0), FAR, 1000, number as u8);
        lab.comes(0, &next);
        assert_eq!(lab.got(0), [next]);
    }
    assert_eq!(lab.losses().full, 2 * 600 - 256);
    assert_eq!(lab.fronts[0].outstanding(0), 0);
}

#[test]
fn a_storm_of_broadcasts_is_bounded_and_costs_its_sender_alone() {
    let mut lab = Lab::<E1000>::with_guests(8);
    lab.comes(0, &frame(EVERYBODY, FAR, 60, 0));
    let mut came = 0;
    for turn in 0..200 {
        for _ in 0..64 {
            let _ = lab.fronts[0].send(0, &[&frame(EVERYBODY, mac(0), 60, turn)], 0, &[]);
        }
        let told = frame(EVERYBODY, FAR, 60, turn);
        let next = frame(mac(2), mac(1), 60, turn);
        assert!(lab.fronts[1].send(0, &[&next], 0, &[]));
        lab.comes(0, &told);
        for guest in 0..8 {
            let got = lab.got(guest);
            assert!(got.contains(&told), "the wire's are not the guest's");
            assert!(guest != 2 || got.contains(&next));
            came += got.iter().filter(|frame| frame[6..12] == mac(0)).count();
        }
        lab.gone(0);
    }
    // Fifty a millisecond, and a burst of ten thousand.
    assert!(came.abs_diff(200 * 5 * 50 + 10_000) < 1000, "{came}");
    let losses = lab.losses();
    assert_eq!(losses.flooded as usize * 7 + came, 200 * 64 * 7);
    assert_eq!(
        Losses {
            flooded: 0,
            ..losses
        },
        Losses::default()
    );
}

/// What happens to a domain with a card and three guests.
#[derive(Clone, Debug)]
enum Event {
    Send {
        guest: usize,
        to: u8,
        from: u8,
        len: usize,
        flags: u16,
    },
    Comes {
        to: u8,
        from: u8,
        len: usize,
    },
    Leave(usize),
    Join(usize),
    Revoke(usize),
    Post(usize),
    Poke(usize, u32),
    Scribble(u32, u32),
    Hang(bool),
    Cable(bool),
    Reset,
}

fn event() -> impl Strategy<Value = Event> {
    let guest = 0..3_usize;
    prop_oneof![
        12 => (guest.clone(), 0..8_u8, 0..8_u8, 0..5000_usize, prop_oneof![Just(0), any::<u16>()])
            .prop_map(|(guest, to, from, len, flags)| Event::Send { guest, to, from, len, flags }),
        12 => (0..8_u8, 0..8_u8, 14..1600_usize).prop_map(|(to, from, len)| Event::Comes { to, from, len }),
        1 => guest.clone().prop_map(Event::Leave),
        2 => guest.clone().prop_map(Event::Join),
        1 => guest.clone().prop_map(Event::Revoke),
        2 => guest.clone().prop_map(Event::Post),
        1 => (guest, any::<u32>()).prop_map(|(guest, value)| Event::Poke(guest, value)),
        2 => (0..256_u32, any::<u32>()).prop_map(|(at, word)| Event::Scribble(at, word)),
        1 => any::<bool>().prop_map(Event::Hang),
        1 => any::<bool>().prop_map(Event::Cable),
        1 => Just(Event::Reset),
    ]
}

fn station(number: u8) -> [u8; 6] {
    match number {
        0..=2 => mac(number.into()),
        3 => EVERYBODY,
        4 => FAR,
        5 => [0; 6],
        6 => [1, 0x80, 0xc2, 0, 0, 0],
        _ => FARTHER,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever guests, the wire and the card do: no panic, and when the guests are gone nothing is left of them.
    #[test]
    fn whatever_happens_nothing_is_lost_of_what_this_domain_has(
        events in proptest::collection::vec(event(), 1..120)
    ) {
        use minios_rs::fake::netback::Which;
        let mut lab = Lab::<E1000>::new(1);
        let before = lab.usage();
        let mut present = [true; 3];
        for _ in present {
            lab.join(&[]);
        }
        for event in events {
            match event {
                Event::Send { guest, to, from, len, flags } if present[guest] => {
                    let mut bytes = frame(station(to), station(from), len, 7);
                    bytes.truncate(len.max(1));
                    let slots: Vec<&[u8]> = bytes.chunks(1 + len / 2).collect();
                    lab.fronts[guest].send(0, &slots, flags & 0xb, &[]);
                }
                Event::Comes { to, from, len } => {
                    let bytes = frame(station(to), station(from), len, 9);
                    let _ = lab.plugged[0].with(|model, bus| model.comes(&bytes, bus));
                }
                Event::Leave(guest) if present[guest] => {
                    lab.leave(guest);
                    lab.fronts[guest].drop_rings();
                    present[guest] = false;
                }
                Event::Join(guest) if !present[guest] => {
                    lab.fronts[guest].make(&[]);
                    lab.turns(60);
                    lab.fronts[guest].connect(Shape::default());
                    lab.turns(60);
                    present[guest] = true;
                }
                Event::Revoke(guest) if present[guest] => {
                    lab.fronts[guest].revoke_sent(0);
                    lab.fronts[guest].revoke_posted(0);
                }
                Event::Post(guest) if present[guest] => drop(lab.got(guest)),
                Event::Poke(guest, value) if present[guest] => {
                    lab.fronts[guest].poke(0, Which::Tx, 0, value);
                }
                Event::Scribble(at, word) => lab.plugged[0].with(|model, bus| {
                    model.scribble(0x2800, at, [word, 3, word, 3], bus);
                }),
                Event::Hang(hangs) => lab.plugged[0].with(|model, _| *model.hangs() = hangs),
                Event::Cable(is_in) => lab.plugged[0].with(|model, bus| model.cable(is_in, bus)),
                Event::Reset => lab.turns(30),
                _ => {}
            }
            lab.turn();
            lab.gone(0);
        }
        lab.plugged[0].with(|model, bus| {
            *model.hangs() = false;
            model.cable(true, bus);
        });
        for guest in (0..3).filter(|guest| present[*guest]) {
            lab.leave(guest);
        }
        lab.turns(1500);
        prop_assert_eq!(lab.usage(), before);
        prop_assert_eq!(lab.switch.guests().count(), 0);
    }
}
