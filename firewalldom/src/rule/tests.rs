//! Tables against the rules tried one by one.

extern crate std;

use super::entry::Key;
use super::list::List;
use super::{Facts, Matcher, Origins};
use crate::packet::{Cast, ICMP, Packet, TCP, Tuple, UDP};
use crate::policy::{
    Action, AddressRange, Addresses, DestinationKind, Disposition, IcmpType, InterfaceId, Limits,
    Match, Member, Origin, PortRange, Ports, Protocol, Rule, SetMatch, States, TcpFlags,
};
use alloc::rc::Rc;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use proptest::collection::vec;
use proptest::prelude::*;

/// Few addresses, so that rules overlap.
fn address_range() -> impl Strategy<Value = AddressRange> {
    prop_oneof![
        (0u32..20, 0u32..20).prop_map(|(a, b)| (a.min(b), a.max(b))),
        (0u32..20).prop_map(|address| (address, address)),
        Just((0, 9)),
        Just((10, u32::MAX)),
    ]
    .prop_map(|(first, last)| AddressRange {
        first: Ipv4Addr::from_bits(first),
        last: Ipv4Addr::from_bits(last),
    })
}

fn addresses() -> impl Strategy<Value = Addresses> {
    let member = prop_oneof![Just(Member::Yes), Just(Member::No)];
    let set = (0u16..2, member).prop_map(|(set, member)| SetMatch { set, member });
    let some = (
        vec(address_range(), 0..4),
        vec(address_range(), 0..2),
        vec(set, 0..2),
    )
        .prop_map(|(ranges, except, sets)| Addresses {
            ranges,
            except,
            sets,
        });
    let plain = address_range().prop_map(|range| Addresses {
        ranges: [range].into(),
        ..Addresses::default()
    });
    prop_oneof![2 => Just(Addresses::default()), 3 => plain, 1 => some]
}

fn ports() -> impl Strategy<Value = Ports> {
    let range = prop_oneof![
        (0u16..12, 0u16..12).prop_map(|(a, b)| (a.min(b), a.max(b))),
        Just((0, u16::MAX)),
        Just((6, u16::MAX)),
    ]
    .prop_map(|(first, last)| PortRange { first, last });
    let some =
        (vec(range, 1..5), any::<bool>()).prop_map(|(ranges, negated)| Ports { ranges, negated });
    prop_oneof![Just(Ports::default()), some]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    let number = prop_oneof![Just(ICMP), Just(TCP), Just(UDP), Just(47)];
    let kind = (
        prop_oneof![Just(0u8), Just(8), Just(3)],
        proptest::option::of(0u8..2),
    )
        .prop_map(|(kind, code)| IcmpType { kind, code });
    prop_oneof![
        2 => Just(Protocol::Any),
        4 => vec(number.clone(), 1..3).prop_map(Protocol::OneOf),
        1 => vec(number, 0..3).prop_map(Protocol::NoneOf),
        1 => any::<bool>().prop_map(Protocol::TcpSyn),
        1 => vec(kind, 0..3).prop_map(Protocol::Icmp),
    ]
}

fn conditions() -> impl Strategy<Value = Match> {
    let rare = (
        proptest::option::weighted(0.1, (0u8..2).prop_map(InterfaceId)),
        proptest::option::weighted(0.1, (0u8..64, 0u8..64)),
        proptest::bool::weighted(0.1),
        proptest::bool::weighted(0.1),
    );
    (addresses(), addresses(), ports(), ports(), protocol(), rare).prop_map(
        |(source, destination, source_port, destination_port, protocol, rare)| {
            let (ingress, flags, is_broadcast, has_original) = rare;
            Match {
                original_destination: if has_original {
                    source.clone()
                } else {
                    Addresses::default()
                },
                source,
                destination,
                source_port,
                destination_port,
                protocol,
                ingress,
                tcp_flags: flags.map(|(mask, set)| TcpFlags {
                    mask,
                    set: set & mask,
                }),
                destination_kind: if is_broadcast {
                    DestinationKind::Broadcast
                } else {
                    DestinationKind::Any
                },
                ..Match::default()
            }
        },
    )
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let rule = (conditions(), 1u8..32).prop_map(|(matches, states)| Rule {
        states: States(states),
        matches,
        limits: Limits::default(),
        // Else nobody would ask for the rules behind it.
        action: Action::Continue,
        log: None,
        origin: Origin::default(),
    });
    vec(rule, 0..120)
}

fn packet() -> impl Strategy<Value = Packet> {
    let protocol = prop_oneof![Just(ICMP), Just(TCP), Just(UDP), Just(47)];
    let icmp = (prop_oneof![Just(0u8), Just(8), Just(3)], 0u8..2);
    (
        0u32..22,
        0u32..22,
        0u16..14,
        0u16..14,
        protocol,
        0u8..64,
        icmp,
    )
        .prop_map(
            |(source, destination, source_port, destination_port, protocol, flags, icmp)| Packet {
                cast: Cast::Unicast,
                tuple: Tuple {
                    source,
                    destination,
                    source_port: if protocol == 47 { 0 } else { source_port },
                    destination_port: match protocol {
                        ICMP => u16::from_be_bytes([icmp.0, icmp.1]),
                        47 => 0,
                        _ => destination_port,
                    },
                    protocol,
                },
                total: 40,
                transport: 34,
                ttl: 64,
                tcp_flags: if protocol == TCP { flags } else { 0 },
                icmp: if protocol == ICMP { icmp } else { (0, 0) },
                bad_checksum: false,
            },
        )
}

/// `XEN_TESTS=full` takes a minute.
fn cases() -> u32 {
    match std::env::var("XEN_TESTS").as_deref() {
        Ok("full") => 50_000,
        _ => 500,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_table_says_what_trying_one_rule_after_the_other_says(
        rules in rules(),
        packets in vec((packet(), 0u8..5, 0u8..2, any::<bool>()), 1..60),
    ) {
        let named = [Rc::from([(0, 4), (8, 12)].as_slice()), Rc::from([(3, 3)].as_slice())];
        let list = List::new(None, rules.iter().cloned(), &named, &mut Origins::default());
        let matchers: Vec<_> = rules
            .iter()
            .map(|rule| Matcher::new(&rule.matches, &named))
            .collect();
        for (packet, state, ingress, is_broadcast) in packets {
            let state = States(1 << state);
            let facts = Facts {
                packet: &packet,
                tuple: packet.tuple,
                original: Some((packet.tuple.destination, packet.tuple.destination_port)),
                ingress: Some(InterfaceId(ingress)),
                egress: None,
                mac: None,
                kind: if is_broadcast { DestinationKind::Broadcast } else { DestinationKind::Any },
            };
            let key = Key::new(&packet.tuple, state);
            // Every rule that matches, in order: a rule may go on, or fail by its limit.
            let expected: Vec<u32> = (0..rules.len())
                .filter(|&number| {
                    rules[number].states.contains(state) && matchers[number].holds(&facts)
                })
                .map(|number| number as u32)
                .collect();
            let mut from = 0;
            let mut found = Vec::new();
            while let Some(number) = list.find(from, &key, None, &facts) {
                found.push(number);
                from = number + 1;
            }
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn a_rule_of_too_many_boxes_holds_whichever_of_its_overlapping_ranges_ends_last() {
    let range = |first, last| PortRange { first, last };
    let ports = Ports {
        ranges: [range(0, 0), range(0, 1000), range(1, 1), range(2, 2)].into(),
        negated: false,
    };
    let rule = Rule {
        states: States::NEW,
        matches: Match {
            source_port: ports.clone(),
            destination_port: ports,
            protocol: Protocol::OneOf([6, 17, 33, 132, 136].into()),
            ..Match::default()
        },
        limits: Limits::default(),
        action: Action::Decide(Disposition::Drop),
        log: None,
        origin: Origin::default(),
    };
    let list = List::new(None, [rule].into_iter(), &[], &mut Origins::default());
    let tuple = Tuple {
        source_port: 900,
        destination_port: 1000,
        protocol: UDP,
        ..Tuple::default()
    };
    let packet = Packet {
        cast: Cast::Unicast,
        tuple,
        total: 40,
        transport: 34,
        ttl: 64,
        tcp_flags: 0,
        icmp: (0, 0),
        bad_checksum: false,
    };
    let facts = Facts {
        packet: &packet,
        tuple,
        original: Some((0, 1000)),
        ingress: None,
        egress: None,
        mac: None,
        kind: DestinationKind::Any,
    };
    let key = Key::new(&tuple, States::NEW);
    assert_eq!(list.find(0, &key, None, &facts), Some(0));
}
