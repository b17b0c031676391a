//! Shorewall's standard actions, as far as a policy can say them.

use firewalldom::policy::{DestinationKind, Disposition, IcmpType, Match, Protocol, States};

use crate::action::{Contradiction, Part, Target};
use crate::macros::Entry;
use crate::source::Word;

/// Actions with a meaning of their own.
pub(crate) const STANDARD_ACTIONS: &[&str] = &[
    "AllowICMPs",
    "Broadcast",
    "DropDNSrep",
    "Invalid",
    "Multicast",
    "New",
    "NotSyn",
    "Related",
    "Untracked",
    "Established",
    "allowBcast",
    "allowInvalid",
    "allowMcast",
    "dropBcast",
    "dropBcasts",
    "dropInvalid",
    "dropMcast",
    "dropNotSyn",
    "rejNotSyn",
];

/// The rules of one of [`STANDARD_ACTIONS`].
pub(crate) fn standard(name: &Word, parameter: Option<Target>) -> Vec<Part> {
    let drop = Target::Decide(Disposition::Drop);
    let accept = Target::Decide(Disposition::Accept);
    let reject = Target::Decide(Disposition::Reject);
    let or_drop = parameter.unwrap_or(drop);
    let or_accept = parameter.unwrap_or(accept);
    let states = |target, states| {
        vec![Part {
            states: Some(states),
            ..Part::new(target)
        }]
    };
    let kind = |target, destination_kind| {
        let within = Match {
            destination_kind,
            ..Match::default()
        };
        vec![Part::within(target, within)]
    };
    let protocol = |target, protocol| {
        let within = Match {
            protocol,
            ..Match::default()
        };
        vec![Part {
            contradiction: Contradiction::Mistake("this action is for another protocol"),
            ..Part::within(target, within)
        }]
    };
    let not_syn = |target| protocol(target, Protocol::TcpSyn(false));
    match name.text() {
        "Invalid" => states(or_drop, States::INVALID),
        "dropInvalid" => states(drop, States::INVALID),
        "allowInvalid" => states(accept, States::INVALID),
        "New" => states(or_accept, States::NEW),
        "Established" => states(or_accept, States::ESTABLISHED),
        "Related" => states(or_drop, States::RELATED),
        "Untracked" => states(or_drop, States::UNTRACKED),
        "Broadcast" => kind(or_drop, DestinationKind::Broadcast),
        "dropBcast" | "dropBcasts" => kind(drop, DestinationKind::Broadcast),
        "allowBcast" => kind(accept, DestinationKind::Broadcast),
        "Multicast" => kind(or_drop, DestinationKind::Multicast),
        "dropMcast" => kind(drop, DestinationKind::Multicast),
        "allowMcast" => kind(accept, DestinationKind::Multicast),
        "NotSyn" => not_syn(or_drop),
        "dropNotSyn" => not_syn(drop),
        "rejNotSyn" => not_syn(reject),
        "DropDNSrep" => vec![Part::service(
            or_drop,
            &packet("udp", None, Some("53")),
            name,
        )],
        // RFC 792: the errors that paths need, too large and too far.
        _ => {
            let needed = |kind, code| IcmpType { kind, code };
            protocol(
                or_accept,
                Protocol::Icmp(vec![needed(3, Some(4)), needed(11, None)]),
            )
        }
    }
}

fn packet(
    protocol: &'static str,
    destination_ports: Option<&'static str>,
    source_ports: Option<&'static str>,
) -> Entry<'static> {
    Entry {
        protocol,
        destination_ports,
        source_ports,
        reversed: false,
        destination: None,
    }
}
