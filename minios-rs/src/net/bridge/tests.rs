use super::*;
use alloc::format;
use alloc::vec;
use proptest::prelude::*;

const LOCAL: MacAddress = MacAddress([0xfe, 0xff, 0xff, 0xff, 0xff, 0xff]);
const BROADCAST: MacAddress = MacAddress([0xff; 6]);
const NOW: Instant = Instant(7_000_000_000);

/// The address of a port.
fn own(number: u8) -> MacAddress {
    MacAddress([0, 0x16, 0x3e, 0, 0, number])
}

/// A station behind some port.
fn other(number: u16) -> MacAddress {
    let [high, low] = number.to_be_bytes();
    MacAddress([2, 0, 0, 0, high, low])
}

fn frame(to: MacAddress, from: MacAddress) -> Vec<u8> {
    [&to.0[..], &from.0, &[0x08, 0x00, 0x45]].concat()
}

/// Two ports that learn, and one that does not.
fn bridge() -> (Bridge, [PortId; 3]) {
    let mut bridge = Bridge::new(LOCAL);
    let ports = [
        (own(1), Learning::On),
        (own(2), Learning::On),
        (own(3), Learning::Off),
    ];
    let ports = ports.map(|(mac, learning)| bridge.attach(mac, learning).expect("a port"));
    (bridge, ports)
}

#[test]
fn a_frame_goes_where_its_station_is_and_nowhere_else() {
    let (mut bridge, [a, b, c]) = bridge();
    for (to, decision) in [
        (own(2), Decision::Port(b)),
        (own(3), Decision::Port(c)),
        (LOCAL, Decision::Local),
        (BROADCAST, Decision::Everyone),
        (MacAddress([0x33, 0x33, 0, 0, 0, 1]), Decision::Everyone),
        (other(9), Decision::Learners),
        (own(1), Decision::Drop(Refusal::Returning)),
    ] {
        assert_eq!(bridge.ingress(NOW, a, &frame(to, own(1))), decision, "{to}");
    }
    assert_eq!(bridge.egress(NOW, own(1)), Decision::Port(a));
    assert_eq!(bridge.egress(NOW, BROADCAST), Decision::Everyone);
    assert_eq!(bridge.egress(NOW, other(9)), Decision::Learners);
    assert_eq!(
        bridge.egress(NOW, LOCAL),
        Decision::Drop(Refusal::Returning)
    );
    let floods =
        |decision, from: Option<PortId>| [a, b, c].map(|to| bridge.floods(decision, from, to));
    assert_eq!(floods(Decision::Everyone, Some(a)), [false, true, true]);
    assert_eq!(floods(Decision::Everyone, None), [true, true, true]);
    assert_eq!(floods(Decision::Learners, Some(a)), [false, true, false]);
    assert_eq!(floods(Decision::Local, None), [false; 3]);
}

#[test]
fn a_station_is_learned_moves_and_is_forgotten_when_it_is_quiet() {
    let (mut bridge, [a, b, _]) = bridge();
    let ask = frame(other(1), own(2));
    bridge.ingress(NOW, a, &frame(own(2), other(1)));
    assert_eq!(bridge.ingress(NOW, b, &ask), Decision::Port(a));
    // It says something now and then.
    let later = NOW.after(AGEING / 2);
    bridge.ingress(later, a, &frame(BROADCAST, other(1)));
    let aged = later.after(AGEING - Duration::from_nanos(1));
    assert_eq!(bridge.ingress(aged, b, &ask), Decision::Port(a));
    let aged = later.after(AGEING);
    assert_eq!(bridge.ingress(aged, b, &ask), Decision::Learners);
    // It is heard elsewhere.
    bridge.ingress(aged, b, &frame(BROADCAST, other(1)));
    let ask = frame(other(1), own(1));
    assert_eq!(bridge.ingress(aged, a, &ask), Decision::Port(b));
    assert_eq!(bridge.stations(), 4);
    // It goes with its port, and another port may have that number.
    bridge.detach(b);
    assert_eq!(bridge.stations(), 2);
    let b = bridge.attach(own(4), Learning::On).expect("a port");
    assert_eq!(bridge.ingress(aged, a, &ask), Decision::Learners);
    assert_eq!(bridge.egress(aged, own(4)), Decision::Port(b));
}

#[test]
fn the_address_of_a_port_or_of_the_bridge_is_nobody_elses() {
    let (mut bridge, [a, b, c]) = bridge();
    let spoofed = Decision::Drop(Refusal::Spoofed);
    for (port, from) in [
        (a, own(2)),
        (a, own(3)),
        (a, LOCAL),
        (c, other(1)),
        (c, own(1)),
    ] {
        let frame = frame(BROADCAST, from);
        assert_eq!(bridge.ingress(NOW, port, &frame), spoofed, "{from}");
    }
    assert_eq!(bridge.stations(), 3);
    for taken in [own(1), own(3)] {
        let refused = bridge.attach(taken, Learning::On);
        assert_eq!(refused, Err(AttachError::MacTaken));
    }
    for none in [LOCAL, BROADCAST, MacAddress([0; 6])] {
        assert_eq!(bridge.attach(none, Learning::On), Err(AttachError::Mac));
    }
    // Who borrowed an address has it no more when its owner comes.
    bridge.ingress(NOW, a, &frame(BROADCAST, own(4)));
    assert_eq!(bridge.egress(NOW, own(4)), Decision::Port(a));
    let d = bridge.attach(own(4), Learning::Off).expect("a port");
    assert_eq!(bridge.egress(NOW, own(4)), Decision::Port(d));
    assert_eq!(bridge.ingress(NOW, a, &frame(own(2), own(4))), spoofed);
    assert_eq!(
        bridge.ingress(NOW, d, &frame(own(2), own(4))),
        Decision::Port(b)
    );
}

#[test]
fn what_is_no_frame_or_for_the_bridges_themselves_goes_nowhere() {
    let (mut bridge, [a, ..]) = bridge();
    for last in 0..=0x10 {
        let group = MacAddress([1, 0x80, 0xc2, 0, 0, last]);
        let decision = bridge.ingress(NOW, a, &frame(group, own(1)));
        let is_reserved = decision == Decision::Drop(Refusal::Reserved);
        assert_eq!(is_reserved, last < 0x10, "{group}");
    }
    let malformed = Decision::Drop(Refusal::Malformed);
    for bytes in [
        vec![0; 11],
        frame(own(2), BROADCAST),
        frame(own(2), MacAddress([0; 6])),
        frame(own(2), MacAddress([1, 0, 0x5e, 0, 0, 1])),
    ] {
        assert_eq!(bridge.ingress(NOW, a, &bytes), malformed, "{bytes:x?}");
    }
    bridge.detach(a);
    assert_eq!(bridge.ingress(NOW, a, &frame(own(2), own(1))), malformed);
    assert_eq!(bridge.stations(), 2);
}

#[test]
fn a_flood_of_addresses_takes_its_own_ports_room_and_nobody_elses() {
    let (mut bridge, [a, b, _]) = bridge();
    bridge.ingress(NOW, b, &frame(BROADCAST, other(60_000)));
    let capacity = bridge.stations.capacity();
    for number in 0..5_000 {
        bridge.ingress(NOW, a, &frame(BROADCAST, other(number)));
    }
    assert_eq!(bridge.stations(), 3 + 1 + LEARNED_MAX);
    assert_eq!(bridge.egress(NOW, other(60_000)), Decision::Port(b));
    assert_eq!(bridge.egress(NOW, other(63)), Decision::Port(a));
    assert_eq!(bridge.egress(NOW, other(64)), Decision::Learners);
    // With no room left it takes over nobody, who has it may.
    bridge.ingress(NOW, a, &frame(BROADCAST, other(60_000)));
    assert_eq!(bridge.egress(NOW, other(60_000)), Decision::Port(b));
    bridge.ingress(NOW, b, &frame(BROADCAST, other(0)));
    assert_eq!(bridge.egress(NOW, other(0)), Decision::Port(b));
    // What it said no more makes room for what it says now.
    let later = NOW.after(AGEING);
    for number in 1_000..1_010 {
        bridge.ingress(later, a, &frame(BROADCAST, other(number)));
        assert_eq!(bridge.egress(later, other(number)), Decision::Port(a));
    }
    assert_eq!(bridge.stations.capacity(), capacity);
}

#[test]
fn a_port_without_room_goes_on_hearing_those_it_has() {
    let (mut bridge, [a, ..]) = bridge();
    for number in 0..LEARNED_MAX as u16 {
        bridge.ingress(NOW, a, &frame(BROADCAST, other(number)));
    }
    let later = NOW.after(AGEING / 2);
    bridge.ingress(later, a, &frame(BROADCAST, other(7)));
    let aged = NOW.after(AGEING);
    assert_eq!(bridge.egress(aged, other(7)), Decision::Port(a));
    assert_eq!(bridge.egress(aged, other(8)), Decision::Learners);
}

#[test]
fn no_frame_has_a_bridge_ask_for_memory_however_few_ports_it_has() {
    for ports in 1..5 {
        let mut bridge = Bridge::new(LOCAL);
        let ports: Vec<_> = (0..ports)
            .map(|number| bridge.attach(own(number), Learning::On).expect("a port"))
            .collect();
        let capacity = bridge.stations.capacity();
        for (port, first) in ports.iter().zip((0..).step_by(100)) {
            for number in first..first + LEARNED_MAX as u16 {
                bridge.ingress(NOW, *port, &frame(BROADCAST, other(number)));
            }
        }
        assert_eq!(bridge.stations(), ports.len() * (1 + LEARNED_MAX));
        assert_eq!(bridge.stations.capacity(), capacity);
    }
}

#[test]
fn a_port_without_room_looks_for_who_is_quiet_once_a_second() {
    let (mut bridge, [a, ..]) = bridge();
    for number in 0..LEARNED_MAX as u16 {
        bridge.ingress(NOW, a, &frame(BROADCAST, other(number)));
    }
    let mut hear = |now, number| {
        bridge.ingress(now, a, &frame(BROADCAST, other(number)));
        bridge.egress(now, other(number)) == Decision::Port(a)
    };
    let early = NOW.after(AGEING - Duration::from_millis(1));
    assert!(!hear(early, 1000), "nobody was quiet for so long");
    assert!(!hear(NOW.after(AGEING), 1001), "it has just looked");
    let later = early.after(SWEEP);
    assert!(!hear(Instant(later.0 - 1), 1002));
    assert!(hear(later, 1003));
}

#[test]
fn a_wire_has_no_address_and_room_for_many_stations() {
    let (mut bridge, [a, b, c]) = bridge();
    let wire = bridge.attach_wire().expect("a port");
    let capacity = bridge.stations.capacity();
    for number in 0..2 * WIRE_LEARNED_MAX as u16 {
        bridge.ingress(NOW, wire, &frame(BROADCAST, other(number)));
    }
    assert_eq!(bridge.stations(), 3 + WIRE_LEARNED_MAX);
    for number in 0..WIRE_LEARNED_MAX as u16 {
        let ask = frame(other(number), own(1));
        assert_eq!(bridge.ingress(NOW, a, &ask), Decision::Port(wire));
    }
    let unknown = frame(other(WIRE_LEARNED_MAX as u16), own(3));
    assert_eq!(bridge.ingress(NOW, c, &unknown), Decision::Learners);
    let floods = [a, b, c, wire].map(|to| bridge.floods(Decision::Learners, Some(c), to));
    assert_eq!(floods, [true, true, false, true]);
    // The ports' addresses are theirs, wherever it is said otherwise.
    let spoofed = Decision::Drop(Refusal::Spoofed);
    for from in [own(1), own(3), LOCAL] {
        assert_eq!(bridge.ingress(NOW, wire, &frame(BROADCAST, from)), spoofed);
    }
    let returning = frame(other(1), other(2));
    let decision = bridge.ingress(NOW, wire, &returning);
    assert_eq!(decision, Decision::Drop(Refusal::Returning));
    assert_eq!(bridge.stations.capacity(), capacity);
    bridge.detach(wire);
    assert_eq!(bridge.stations(), 3);
    assert_eq!(bridge.egress(NOW, other(1)), Decision::Learners);
}

#[test]
fn there_are_so_many_ports_and_no_more() {
    let mut bridge = Bridge::new(LOCAL);
    let attach = |bridge: &mut Bridge, number| bridge.attach(own(number), Learning::On);
    let ports: Vec<_> = (0..PORTS_MAX as u8)
        .map(|number| attach(&mut bridge, number).expect("a port"))
        .collect();
    assert!(ports.iter().map(|port| port.number()).eq(0..PORTS_MAX));
    assert_eq!(attach(&mut bridge, 200), Err(AttachError::Full));
    bridge.detach(ports[5]);
    assert_eq!(attach(&mut bridge, 200), Ok(ports[5]));
}

/// What happens to a bridge.
#[derive(Clone, Debug)]
enum Event {
    Attach(u8, bool),
    Detach(u8),
    Frame { at: u8, to: u8, from: u8 },
    Wait(u16),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => (0..6_u8, any::<bool>()).prop_map(|(number, learns)| Event::Attach(number, learns)),
        1 => (0..6_u8).prop_map(Event::Detach),
        8 => (0..6_u8, any::<u8>(), any::<u8>()).prop_map(|(at, to, from)| Event::Frame { at, to, from }),
        1 => (0..400_u16).prop_map(Event::Wait),
    ]
}

/// Ports' addresses, the bridge's, groups, and many others.
fn address(number: u8) -> MacAddress {
    match number {
        0..=19 => own(number % 6),
        20 => LOCAL,
        21 => BROADCAST,
        22 => MacAddress([1, 0x80, 0xc2, 0, 0, 0]),
        23 => MacAddress([0; 6]),
        number => other(u16::from(number)),
    }
}

proptest! {
    #[test]
    fn whatever_happens_ports_keep_their_addresses_and_their_room(
        events in prop::collection::vec(event(), 0..400)
    ) {
        let mut bridge = Bridge::new(LOCAL);
        let mut ports: [Option<(PortId, Learning)>; 6] = [None; 6];
        // Where each station was heard, and when last.
        let mut heard = alloc::collections::BTreeMap::new();
        let mut now = NOW;
        for event in events {
            match event {
                Event::Wait(seconds) => now = now.after(Duration::from_secs(seconds.into())),
                Event::Attach(number, learns) => {
                    let learning = if learns { Learning::On } else { Learning::Off };
                    let attached = bridge.attach(own(number), learning);
                    let slot = &mut ports[usize::from(number)];
                    prop_assert_eq!(attached.is_err(), slot.is_some());
                    *slot = slot.or(attached.ok().map(|port| (port, learning)));
                }
                Event::Detach(number) => {
                    if let Some((port, _)) = ports[usize::from(number)].take() {
                        bridge.detach(port);
                        heard.retain(|(_, at), _| *at != port);
                    }
                }
                Event::Frame { at, to, from } => {
                    let Some((port, learning)) = ports[usize::from(at)] else { continue };
                    let (to, from) = (address(to), address(from));
                    let decision = bridge.ingress(now, port, &frame(to, from));
                    prop_assert!(decision != Decision::Port(port));
                    prop_assert!(!bridge.floods(decision, Some(port), port));
                    let is_taken = |mac: MacAddress| {
                        let mut others = ports.iter().zip(0_u8..);
                        others.any(|(slot, number)| slot.is_some() && number != at && mac == own(number))
                    };
                    let may = from == own(at)
                        || learning == Learning::On && from.is_station() && from != LOCAL && !is_taken(from);
                    let refused = matches!(
                        decision,
                        Decision::Drop(Refusal::Spoofed | Refusal::Malformed)
                    );
                    prop_assert_eq!(refused, !may, "{} at {}", from, at);
                    if may && from != own(at) {
                        heard.insert((from.0, port), now);
                    }
                    // Nothing is believed of a station but where it was heard not long ago.
                    if let Decision::Port(found) = decision && !is_taken(to) {
                        let last: Option<&Instant> = heard.get(&(to.0, found));
                        prop_assert!(last.is_some_and(|last| now.since(*last) < AGEING), "{}", to);
                    }
                }
            }
            for (slot, number) in ports.iter().zip(0_u8..) {
                if let Some((port, _)) = slot {
                    prop_assert_eq!(bridge.egress(now, own(number)), Decision::Port(*port));
                    let behind = bridge.stations.iter().filter(|station| station.port == *port);
                    let behind = behind.count() - 1;
                    prop_assert!(behind <= LEARNED_MAX, "{}", format!("{behind}"));
                    let counted = bridge.ports[usize::from(port.0)].as_ref().map(|port| port.learned);
                    prop_assert_eq!(counted, Some(behind));
                }
            }
            prop_assert!(bridge.stations.is_sorted_by(|one, next| one.mac.0 < next.mac.0));
        }
    }
}
