//! What is left of a condition's packets when those of another are taken away.

use firewalldom::policy::{Addresses, DestinationKind, IcmpType, Match, Ports, Protocol};

use crate::packet_set::{both, holds_all};

/// A rule may fall into this many.
pub(crate) const MAX_PIECES: usize = 256;

/// A condition whose opposite no policy can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inexpressible(pub(crate) &'static str);

/// The packets that satisfy `whole` but not `taken`, as conditions that exclude each other.
pub(crate) fn minus(whole: &Match, taken: &Match) -> Result<Vec<Match>, Inexpressible> {
    if both(whole, taken).is_none() {
        return Ok(vec![whole.clone()]);
    }
    // One condition of `taken` after the other: what fails it is left; the rest must fail another.
    let mut left = Vec::new();
    let mut rest = whole.clone();
    for condition in single_conditions(taken) {
        if holds_all(&condition, &rest) {
            continue;
        }
        for opposite in opposites(&condition)? {
            left.extend(both(&rest, &opposite));
        }
        match both(&rest, &condition) {
            Some(common) => rest = common,
            None => return Ok(left),
        }
    }
    Ok(left)
}

/// Conditions of which each looks at one thing, and which together say the same.
fn single_conditions(matches: &Match) -> Vec<Match> {
    let any = Match::default();
    let mut conditions = vec![
        // The protocol first: only after it do ports mean something.
        Match {
            protocol: matches.protocol.clone(),
            ..any.clone()
        },
        Match {
            source: matches.source.clone(),
            ..any.clone()
        },
        Match {
            destination: matches.destination.clone(),
            ..any.clone()
        },
        Match {
            original_destination: matches.original_destination.clone(),
            ..any.clone()
        },
        Match {
            original_port: matches.original_port.clone(),
            ..any.clone()
        },
        Match {
            source_port: matches.source_port.clone(),
            ..any.clone()
        },
        Match {
            destination_port: matches.destination_port.clone(),
            ..any.clone()
        },
        Match {
            ingress: matches.ingress,
            ..any.clone()
        },
        Match {
            egress: matches.egress,
            ..any.clone()
        },
        Match {
            source_mac: matches.source_mac.clone(),
            ..any.clone()
        },
        Match {
            destination_kind: matches.destination_kind,
            ..any.clone()
        },
        Match {
            tcp_flags: matches.tcp_flags,
            ..any.clone()
        },
    ];
    conditions.retain(|condition| *condition != any);
    conditions
}

/// Conditions that hold where one that looks at a single thing does not.
fn opposites(condition: &Match) -> Result<Vec<Match>, Inexpressible> {
    let any = Match::default();
    if condition.ingress.is_some() || condition.egress.is_some() {
        return Err(Inexpressible("an interface"));
    }
    if !condition.source_mac.is_empty() {
        return Err(Inexpressible("a MAC address"));
    }
    if condition.tcp_flags.is_some() {
        return Err(Inexpressible("TCP flags"));
    }
    if [
        &condition.source,
        &condition.destination,
        &condition.original_destination,
    ]
    .iter()
    .any(|addresses| !addresses.sets.is_empty())
    {
        return Err(Inexpressible("a set"));
    }
    if condition.destination_kind != DestinationKind::Any {
        return Err(Inexpressible("a kind of destination"));
    }
    let protocols = opposite_protocols(&condition.protocol);
    if !protocols.is_empty() {
        return Ok(protocols
            .into_iter()
            .map(|protocol| Match {
                protocol,
                ..any.clone()
            })
            .collect());
    }
    Ok(vec![Match {
        source: opposite_addresses(&condition.source),
        destination: opposite_addresses(&condition.destination),
        original_destination: opposite_addresses(&condition.original_destination),
        original_port: opposite_ports(&condition.original_port),
        source_port: opposite_ports(&condition.source_port),
        destination_port: opposite_ports(&condition.destination_port),
        ..any
    }])
}

/// Of "any", "any" again: it is not the thing that is looked at.
fn opposite_addresses(addresses: &Addresses) -> Addresses {
    if *addresses == Addresses::default() {
        return Addresses::default();
    }
    Addresses {
        ranges: Vec::new(),
        except: crate::packet_set::flatten(addresses),
        sets: Vec::new(),
    }
}

fn opposite_ports(ports: &Ports) -> Ports {
    Ports {
        negated: !ports.negated && !ports.ranges.is_empty(),
        ranges: ports.ranges.clone(),
    }
}

fn opposite_protocols(protocol: &Protocol) -> Vec<Protocol> {
    match protocol {
        Protocol::Any => Vec::new(),
        Protocol::OneOf(numbers) => vec![Protocol::NoneOf(numbers.clone())],
        Protocol::NoneOf(numbers) => vec![Protocol::OneOf(numbers.clone())],
        Protocol::TcpSyn(syn) => vec![Protocol::NoneOf(vec![6]), Protocol::TcpSyn(!syn)],
        Protocol::Icmp(types) => {
            let mut opposites = vec![Protocol::NoneOf(vec![1])];
            let others = other_types(types);
            if !types.is_empty() && !others.is_empty() {
                opposites.push(Protocol::Icmp(others));
            }
            opposites
        }
    }
}

fn other_types(types: &[IcmpType]) -> Vec<IcmpType> {
    (0..=u8::MAX)
        .flat_map(|kind| {
            let codes: Vec<Option<u8>> = types
                .iter()
                .filter(|known| known.kind == kind)
                .map(|known| known.code)
                .collect();
            let others: Vec<IcmpType> = if codes.is_empty() {
                vec![IcmpType { kind, code: None }]
            } else if codes.contains(&None) {
                Vec::new()
            } else {
                (0..=u8::MAX)
                    .map(Some)
                    .filter(|code| !codes.contains(code))
                    .map(|code| IcmpType { kind, code })
                    .collect()
            };
            others
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet_set::tests::{condition, packet, satisfies};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn minus_is_what_satisfies_one_and_not_the_other(
            whole in condition(),
            taken in condition(),
            packet in packet(),
        ) {
            let pieces = minus(&whole, &taken).unwrap();
            let holding = pieces.iter().filter(|piece| satisfies(packet, piece)).count();
            let wanted = satisfies(packet, &whole) && !satisfies(packet, &taken);
            prop_assert_eq!(holding, usize::from(wanted));
        }
    }

    #[test]
    fn what_has_no_opposite_is_said() {
        let taken = Match {
            source_mac: vec![[2; 6]],
            ..Match::default()
        };
        assert_eq!(
            minus(&Match::default(), &taken),
            Err(Inexpressible("a MAC address"))
        );
    }
}
