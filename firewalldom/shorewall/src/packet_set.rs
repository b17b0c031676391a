//! Conditions as sets of packets: what two have in common, and whether one holds all of another.

use std::net::Ipv4Addr;

use firewalldom::policy::{
    AddressRange, Addresses, DestinationKind, IcmpType, Match, PortRange, Ports, Prefix, Protocol,
    TcpFlags,
};

/// ICMP and TCP (IANA, Assigned Internet Protocol Numbers).
const ICMP: u8 = 1;
const TCP: u8 = 6;

/// What both conditions ask for; `None` when no packet can satisfy both.
pub(crate) fn both(left: &Match, right: &Match) -> Option<Match> {
    Some(Match {
        source: both_addresses(&left.source, &right.source)?,
        destination: both_addresses(&left.destination, &right.destination)?,
        original_destination: both_addresses(
            &left.original_destination,
            &right.original_destination,
        )?,
        original_port: both_ports(&left.original_port, &right.original_port)?,
        ingress: either(left.ingress, right.ingress)?,
        egress: either(left.egress, right.egress)?,
        source_mac: both_macs(&left.source_mac, &right.source_mac)?,
        protocol: both_protocols(&left.protocol, &right.protocol)?,
        source_port: both_ports(&left.source_port, &right.source_port)?,
        destination_port: both_ports(&left.destination_port, &right.destination_port)?,
        destination_kind: match (left.destination_kind, right.destination_kind) {
            (DestinationKind::Any, kind) | (kind, DestinationKind::Any) => kind,
            (left, right) if left == right => left,
            _ => return None,
        },
        tcp_flags: match (left.tcp_flags, right.tcp_flags) {
            (None, flags) | (flags, None) => flags,
            (Some(left), Some(right)) => {
                let common = left.mask & right.mask;
                if left.set & common != right.set & common {
                    return None;
                }
                Some(TcpFlags {
                    mask: left.mask | right.mask,
                    set: left.set | right.set,
                })
            }
        },
    })
}

/// Whether every packet of `inner` satisfies `outer`. May err on the side of no.
pub(crate) fn holds_all(outer: &Match, inner: &Match) -> bool {
    let kind = outer.destination_kind;
    // What is cheap to compare comes first.
    (kind == DestinationKind::Any || kind == inner.destination_kind)
        && (outer.ingress.is_none() || outer.ingress == inner.ingress)
        && (outer.tcp_flags.is_none() || outer.tcp_flags == inner.tcp_flags)
        && (outer.egress.is_none() || outer.egress == inner.egress)
        && protocol_holds(&outer.protocol, &inner.protocol)
        && (outer.source_mac.is_empty()
            || !inner.source_mac.is_empty()
                && inner
                    .source_mac
                    .iter()
                    .all(|mac| outer.source_mac.contains(mac)))
        && ports_hold(&outer.destination_port, &inner.destination_port)
        && ports_hold(&outer.source_port, &inner.source_port)
        && ports_hold(&outer.original_port, &inner.original_port)
        && addresses_hold(&outer.source, &inner.source)
        && addresses_hold(&outer.destination, &inner.destination)
        && addresses_hold(&outer.original_destination, &inner.original_destination)
}

/// The outer `None` is a contradiction.
fn either<T: PartialEq + Copy>(left: Option<T>, right: Option<T>) -> Option<Option<T>> {
    match (left, right) {
        (None, one) | (one, None) => Some(one),
        (left, right) => (left == right).then_some(left),
    }
}

/// Addresses that both hold; `None`: there are none.
pub(crate) fn both_addresses(left: &Addresses, right: &Addresses) -> Option<Addresses> {
    let ranges = match (left.ranges.as_slice(), right.ranges.as_slice()) {
        ([], ranges) | (ranges, []) => ranges.to_vec(),
        (left, right) => {
            let common = left.iter().flat_map(|left| {
                right.iter().filter_map(|right| {
                    let first = left.first.max(right.first);
                    let last = left.last.min(right.last);
                    (first <= last).then_some(AddressRange { first, last })
                })
            });
            let common: Vec<AddressRange> = common.collect();
            if common.is_empty() {
                return None;
            }
            common
        }
    };
    let addresses = Addresses {
        ranges,
        except: [left.except.as_slice(), right.except.as_slice()].concat(),
        sets: [left.sets.as_slice(), right.sets.as_slice()].concat(),
    };
    (!flatten(&addresses).is_empty()).then_some(addresses)
}

/// The addresses as ranges in order, apart from each other, without exceptions.
pub(crate) fn flatten(addresses: &Addresses) -> Vec<AddressRange> {
    let all = [crate::address::ALL];
    let ranges = match addresses.ranges.as_slice() {
        [] => &all[..],
        ranges => ranges,
    };
    without(&merged(ranges.iter().copied()), &addresses.except)
}

/// In order, and what touches joined.
pub(crate) fn merged(ranges: impl IntoIterator<Item = AddressRange>) -> Vec<AddressRange> {
    ranges_of(&merge(ranges.into_iter().map(bounds).collect()))
}

/// What is left of merged ranges.
pub(crate) fn without(ranges: &[AddressRange], taken: &[AddressRange]) -> Vec<AddressRange> {
    let ranges: Vec<_> = ranges.iter().copied().map(bounds).collect();
    let taken = merge(taken.iter().copied().map(bounds).collect());
    ranges_of(&subtract(&ranges, &taken))
}

/// What two lists of merged ranges have in common.
pub(crate) fn intersection(left: &[AddressRange], right: &[AddressRange]) -> Vec<AddressRange> {
    let others = without(&[crate::address::ALL], right);
    without(left, &others)
}

fn bounds(range: AddressRange) -> (u32, u32) {
    (range.first.into(), range.last.into())
}

fn ranges_of(bounds: &[(u32, u32)]) -> Vec<AddressRange> {
    let ranges = bounds.iter().map(|&(first, last)| AddressRange {
        first: first.into(),
        last: last.into(),
    });
    ranges.collect()
}

/// Sorted, and what touches joined.
fn merge(mut ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// Both merged.
fn subtract(ranges: &[(u32, u32)], taken: &[(u32, u32)]) -> Vec<(u32, u32)> {
    let mut rest = Vec::new();
    let mut taken = taken.iter().peekable();
    for &(mut first, last) in ranges {
        while taken.next_if(|hole| hole.1 < first).is_some() {}
        let mut holes = taken.clone();
        let mut used_up = false;
        while let Some(&(low, high)) = holes.next_if(|hole| hole.0 <= last) {
            if low > first {
                rest.push((first, low - 1));
            }
            match high.checked_add(1) {
                Some(next) if next <= last => first = next,
                _ => {
                    used_up = true;
                    break;
                }
            }
        }
        if !used_up {
            rest.push((first, last));
        }
    }
    rest
}

/// A range as prefixes, in order.
pub(crate) fn prefixes(range: AddressRange) -> Vec<Prefix> {
    let mut prefixes = Vec::new();
    let (mut first, last) = (
        u64::from(u32::from(range.first)),
        u64::from(u32::from(range.last)),
    );
    while first <= last {
        // As large as its first address is aligned, but not beyond the last.
        let aligned = if first == 0 {
            32
        } else {
            first.trailing_zeros()
        };
        let fits = (last - first + 1).ilog2();
        let host_bits = aligned.min(fits);
        prefixes.push(Prefix {
            address: Ipv4Addr::from(first as u32),
            length: (32 - host_bits) as u8,
        });
        first += 1 << host_bits;
    }
    prefixes
}

fn addresses_hold(outer: &Addresses, inner: &Addresses) -> bool {
    if *outer == Addresses::default() {
        return true;
    }
    if !outer.sets.iter().all(|set| inner.sets.contains(set)) {
        return false;
    }
    without(&flatten(inner), &flatten(outer)).is_empty()
}

fn port_ranges(ports: &Ports) -> Vec<(u32, u32)> {
    let ranges = ports.ranges.iter();
    let merged = merge(
        ranges
            .map(|range| (range.first.into(), range.last.into()))
            .collect(),
    );
    if ports.negated {
        subtract(&[(0, u32::from(u16::MAX))], &merged)
    } else {
        merged
    }
}

fn both_ports(left: &Ports, right: &Ports) -> Option<Ports> {
    if left.ranges.is_empty() || left == right {
        return Some(right.clone());
    }
    if right.ranges.is_empty() {
        return Some(left.clone());
    }
    let (left, right) = (port_ranges(left), port_ranges(right));
    let others = subtract(&[(0, u32::from(u16::MAX))], &right);
    let ranges: Vec<PortRange> = subtract(&left, &others)
        .into_iter()
        .map(|(first, last)| PortRange {
            first: first as u16,
            last: last as u16,
        })
        .collect();
    (!ranges.is_empty()).then_some(Ports {
        ranges,
        negated: false,
    })
}

fn ports_hold(outer: &Ports, inner: &Ports) -> bool {
    outer.ranges.is_empty()
        || !inner.ranges.is_empty() && subtract(&port_ranges(inner), &port_ranges(outer)).is_empty()
}

fn both_macs(left: &[[u8; 6]], right: &[[u8; 6]]) -> Option<Vec<[u8; 6]>> {
    match (left, right) {
        ([], macs) | (macs, []) => Some(macs.to_vec()),
        (left, right) => {
            let common: Vec<_> = left
                .iter()
                .filter(|mac| right.contains(mac))
                .copied()
                .collect();
            (!common.is_empty()).then_some(common)
        }
    }
}

fn both_protocols(left: &Protocol, right: &Protocol) -> Option<Protocol> {
    let some = |numbers: Vec<u8>| (!numbers.is_empty()).then_some(Protocol::OneOf(numbers));
    match (left, right) {
        (Protocol::Any, other) | (other, Protocol::Any) => Some(other.clone()),
        (Protocol::OneOf(left), Protocol::OneOf(right)) => some(
            left.iter()
                .filter(|number| right.contains(number))
                .copied()
                .collect(),
        ),
        (Protocol::OneOf(numbers), Protocol::NoneOf(not))
        | (Protocol::NoneOf(not), Protocol::OneOf(numbers)) => some(
            numbers
                .iter()
                .filter(|number| !not.contains(number))
                .copied()
                .collect(),
        ),
        (Protocol::NoneOf(left), Protocol::NoneOf(right)) => Some(Protocol::NoneOf(
            [left.as_slice(), right.as_slice()].concat(),
        )),
        (Protocol::TcpSyn(left), Protocol::TcpSyn(right)) => {
            (left == right).then_some(Protocol::TcpSyn(*left))
        }
        (syn @ Protocol::TcpSyn(_), other) | (other, syn @ Protocol::TcpSyn(_)) => {
            has_number(other, TCP).then(|| syn.clone())
        }
        (Protocol::Icmp(left), Protocol::Icmp(right)) => {
            both_types(left, right).map(Protocol::Icmp)
        }
        (icmp @ Protocol::Icmp(_), other) | (other, icmp @ Protocol::Icmp(_)) => {
            has_number(other, ICMP).then(|| icmp.clone())
        }
    }
}

/// Whether a condition on numbers alone lets one pass.
fn has_number(protocol: &Protocol, number: u8) -> bool {
    match protocol {
        Protocol::OneOf(numbers) => numbers.contains(&number),
        Protocol::NoneOf(numbers) => !numbers.contains(&number),
        Protocol::Any | Protocol::TcpSyn(_) | Protocol::Icmp(_) => false,
    }
}

fn type_holds(outer: IcmpType, inner: IcmpType) -> bool {
    outer.kind == inner.kind && (outer.code.is_none() || outer.code == inner.code)
}

fn both_types(left: &[IcmpType], right: &[IcmpType]) -> Option<Vec<IcmpType>> {
    match (left, right) {
        ([], types) | (types, []) => Some(types.to_vec()),
        (left, right) => {
            let common: Vec<IcmpType> = left
                .iter()
                .flat_map(|&left| {
                    right.iter().filter_map(move |&right| {
                        if type_holds(left, right) {
                            Some(right)
                        } else {
                            type_holds(right, left).then_some(left)
                        }
                    })
                })
                .collect();
            (!common.is_empty()).then_some(common)
        }
    }
}

fn protocol_holds(outer: &Protocol, inner: &Protocol) -> bool {
    match (outer, inner) {
        (Protocol::Any, _) => true,
        (_, Protocol::Any) => false,
        (Protocol::Icmp(outer), Protocol::Icmp(inner)) => {
            outer.is_empty()
                || !inner.is_empty()
                    && inner
                        .iter()
                        .all(|&inner| outer.iter().any(|&outer| type_holds(outer, inner)))
        }
        (outer, Protocol::Icmp(_)) => has_number(outer, ICMP),
        (Protocol::TcpSyn(outer), Protocol::TcpSyn(inner)) => outer == inner,
        (outer, Protocol::TcpSyn(_)) => has_number(outer, TCP),
        (outer, Protocol::OneOf(numbers)) => {
            numbers.iter().all(|&number| has_number(outer, number))
        }
        (Protocol::NoneOf(outer), Protocol::NoneOf(inner)) => {
            outer.iter().all(|number| inner.contains(number))
        }
        (_, Protocol::NoneOf(_)) => false,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addresses() -> impl Strategy<Value = Addresses> {
        let range = (0u8..16, 0u8..16).prop_map(|(a, b)| AddressRange {
            first: Ipv4Addr::new(0, 0, 0, a.min(b)),
            last: Ipv4Addr::new(0, 0, 0, a.max(b)),
        });
        let ranges = proptest::collection::vec(range, 0..3);
        (ranges.clone(), ranges).prop_map(|(ranges, except)| Addresses {
            ranges,
            except,
            sets: Vec::new(),
        })
    }

    fn ports() -> impl Strategy<Value = Ports> {
        let range = (0u16..12, 0u16..12).prop_map(|(a, b)| PortRange {
            first: a.min(b),
            last: a.max(b),
        });
        (proptest::collection::vec(range, 0..3), any::<bool>()).prop_map(|(ranges, negated)| {
            Ports {
                negated: negated && !ranges.is_empty(),
                ranges,
            }
        })
    }

    fn protocol() -> impl Strategy<Value = Protocol> {
        let numbers = proptest::collection::vec(proptest::sample::select(&[1u8, 6, 17][..]), 1..3);
        let kind =
            (3u8..5, proptest::option::of(0u8..2)).prop_map(|(kind, code)| IcmpType { kind, code });
        prop_oneof![
            Just(Protocol::Any),
            numbers.clone().prop_map(Protocol::OneOf),
            numbers.prop_map(Protocol::NoneOf),
            any::<bool>().prop_map(Protocol::TcpSyn),
            proptest::collection::vec(kind, 0..3).prop_map(Protocol::Icmp),
        ]
    }

    pub(crate) fn condition() -> impl Strategy<Value = Match> {
        (addresses(), ports(), protocol()).prop_map(|(source, destination_port, protocol)| Match {
            source,
            destination_port,
            protocol,
            ..Match::default()
        })
    }

    /// A packet, as far as these conditions look at it.
    pub(crate) type Packet = (u8, u16, u8, bool, u8, u8);

    pub(crate) fn packet() -> impl Strategy<Value = Packet> {
        (
            0u8..16,
            0u16..12,
            proptest::sample::select(&[1u8, 6, 17, 50][..]),
            any::<bool>(),
            3u8..5,
            0u8..2,
        )
    }

    pub(crate) fn satisfies(
        (address, port, protocol, syn, kind, code): Packet,
        condition: &Match,
    ) -> bool {
        let address = Ipv4Addr::new(0, 0, 0, address);
        let within = |ranges: &[AddressRange]| {
            ranges
                .iter()
                .any(|range| (range.first..=range.last).contains(&address))
        };
        let source = &condition.source;
        let ports = &condition.destination_port;
        let in_ports = ports
            .ranges
            .iter()
            .any(|range| (range.first..=range.last).contains(&port));
        (source.ranges.is_empty() || within(&source.ranges))
            && !within(&source.except)
            && (ports.ranges.is_empty() || in_ports != ports.negated)
            && match &condition.protocol {
                Protocol::Any => true,
                Protocol::OneOf(numbers) => numbers.contains(&protocol),
                Protocol::NoneOf(numbers) => !numbers.contains(&protocol),
                Protocol::TcpSyn(wanted) => protocol == TCP && syn == *wanted,
                Protocol::Icmp(types) => {
                    let packet = IcmpType {
                        kind,
                        code: Some(code),
                    };
                    protocol == ICMP
                        && (types.is_empty()
                            || types.iter().any(|&outer| type_holds(outer, packet)))
                }
            }
    }

    proptest! {
        #[test]
        fn both_is_what_satisfies_both(
            left in condition(),
            right in condition(),
            packet in packet(),
        ) {
            let wanted = satisfies(packet, &left) && satisfies(packet, &right);
            let got = both(&left, &right).is_some_and(|common| satisfies(packet, &common));
            prop_assert_eq!(got, wanted);
            if holds_all(&left, &right) && satisfies(packet, &right) {
                prop_assert!(satisfies(packet, &left));
            }
        }

        #[test]
        fn prefixes_cover_a_range_and_nothing_else(a in any::<u32>(), b in any::<u32>()) {
            let range = AddressRange { first: a.min(b).into(), last: a.max(b).into() };
            let mut next = u64::from(a.min(b));
            for prefix in prefixes(range) {
                prop_assert_eq!(u64::from(u32::from(prefix.address)), next);
                next += 1u64 << (32 - prefix.length);
            }
            prop_assert_eq!(next, u64::from(a.max(b)) + 1);
        }
    }

    #[test]
    fn a_prefix_holds_its_halves_and_an_exception_does_not() {
        let condition = |first: [u8; 4], last: [u8; 4]| Match {
            source: Addresses {
                ranges: vec![AddressRange {
                    first: first.into(),
                    last: last.into(),
                }],
                ..Addresses::default()
            },
            ..Match::default()
        };
        let whole = condition([10, 0, 0, 0], [10, 0, 0, 255]);
        let half = condition([10, 0, 0, 128], [10, 0, 0, 255]);
        assert!(holds_all(&whole, &half) && !holds_all(&half, &whole));
        assert!(holds_all(&Match::default(), &whole) && !holds_all(&whole, &Match::default()));
    }
}
