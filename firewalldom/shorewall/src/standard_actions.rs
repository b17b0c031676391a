//! Shorewall's standard actions, as far as a policy can say them.

use firewalldom::policy::{
    DestinationKind, Disposition, IcmpType, Log, Match, Protocol, States, TcpFlags,
};

use crate::action::{self, Part};
use crate::events;
use crate::macros::Entry;
use crate::packet_set;
use crate::report::Finding;
use crate::session::Session;
use crate::source::Word;
use crate::state_actions;
use crate::target::Target;

/// Actions with a meaning of their own.
pub(crate) const STANDARD_ACTIONS: &[&str] = &[
    "AllowICMPs",
    "AutoBL",
    "Broadcast",
    "DropDNSrep",
    "Established",
    "FIN",
    "GlusterFS",
    "IfEvent",
    "Invalid",
    "Limit",
    "Multicast",
    "New",
    "NotSyn",
    "RST",
    "Related",
    "ResetEvent",
    "SetEvent",
    "TCPFlags",
    "Untracked",
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

/// TCP's flags (RFC 9293, section 3.1).
const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const ALL: u8 = FIN | SYN | RST | PSH | ACK | URG;

const DROP: Target = Target::Decide(Disposition::Drop);
const ACCEPT: Target = Target::Decide(Disposition::Accept);
const REJECT: Target = Target::Decide(Disposition::Reject);

/// The rules of one of [`STANDARD_ACTIONS`]. `None`: reported.
pub(crate) fn parts(
    session: &mut Session<'_>,
    name: &Word,
    parameter: Option<&Word>,
    log: Option<&Log>,
) -> Option<Vec<Part>> {
    let parameters = parameter.map(|list| list.split(',')).unwrap_or_default();
    if events::EVENT_ACTIONS.contains(&name.text()) {
        return events::parts(session, name, &parameters, log);
    }
    match name.text() {
        "GlusterFS" => return gluster(session, name, &parameters),
        "TCPFlags" => return tcp_flags(session, name, &parameters, log),
        _ => {}
    }
    // The target, then perhaps the word `audit`.
    let target = match parameters.first() {
        Some(first) if !matches!(first.text(), "-" | "" | "audit") => {
            Some(action::parse(session, first)?)
        }
        _ => None,
    };
    if let Some(audit) = parameters.iter().find(|word| word.text() == "audit") {
        session.report(
            Finding::warning("`audit` does nothing here")
                .at(audit.span(), "there is no audit daemon to tell")
                .note("take it out"),
        );
    }
    let Some(action) = target else {
        return Some(plain(session, name, None, log));
    };
    let mut parts = Vec::new();
    for inner in &action.parts {
        for own in plain(session, name, Some(inner.target), log) {
            parts.push(Part {
                within: packet_set::both(&own.within, &inner.within)?,
                states: match (own.states, inner.states) {
                    (Some(own), Some(inner)) => Some(States(own.0 & inner.0)),
                    (own, inner) => own.or(inner),
                },
                recent: inner.recent,
                log: inner.log.clone().or_else(|| action.log.clone()),
                ..own
            });
        }
    }
    Some(parts)
}

/// Those that are about a state, a kind of packet, or a combination of flags.
fn plain(
    session: &mut Session<'_>,
    name: &Word,
    parameter: Option<Target>,
    log: Option<&Log>,
) -> Vec<Part> {
    let or_drop = parameter.unwrap_or(DROP);
    let or_accept = parameter.unwrap_or(ACCEPT);
    match name.text() {
        "Invalid" => state_actions::parts(session, or_drop, States::INVALID),
        "dropInvalid" => state_actions::parts(session, DROP, States::INVALID),
        "allowInvalid" => state_actions::parts(session, ACCEPT, States::INVALID),
        "New" => state_actions::parts(session, or_accept, States::NEW),
        "Established" => state_actions::parts(session, or_accept, States::ESTABLISHED),
        "Related" => state_actions::parts(session, or_drop, States::RELATED),
        "Untracked" => state_actions::parts(session, or_drop, States::UNTRACKED),
        "Broadcast" => kind(or_drop, DestinationKind::Broadcast),
        "dropBcast" | "dropBcasts" => kind(DROP, DestinationKind::Broadcast),
        "allowBcast" => kind(ACCEPT, DestinationKind::Broadcast),
        "Multicast" => kind(or_drop, DestinationKind::Multicast),
        "dropMcast" => kind(DROP, DestinationKind::Multicast),
        "allowMcast" => kind(ACCEPT, DestinationKind::Multicast),
        "FIN" => flags(or_accept, ACK | FIN, ACK | FIN),
        "RST" => flags(or_drop, RST, RST),
        "NotSyn" => protocol(or_drop, Protocol::TcpSyn(false)),
        "dropNotSyn" => not_syn_chain(session, name, DROP, log),
        "rejNotSyn" => not_syn_chain(session, name, REJECT, log),
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

fn kind(target: Target, destination_kind: DestinationKind) -> Vec<Part> {
    let within = Match {
        destination_kind,
        ..Match::default()
    };
    vec![Part::within(target, within)]
}

fn protocol(target: Target, protocol: Protocol) -> Vec<Part> {
    let within = Match {
        protocol,
        ..Match::default()
    };
    vec![other_protocol_is_a_mistake(Part::within(target, within))]
}

fn flags(target: Target, mask: u8, set: u8) -> Vec<Part> {
    vec![other_protocol_is_a_mistake(Part::within(
        target,
        with_flags(mask, set),
    ))]
}

fn other_protocol_is_a_mistake(part: Part) -> Part {
    Part {
        contradiction: "this action is for another protocol",
        ..part
    }
}

fn with_flags(mask: u8, set: u8) -> Match {
    Match {
        protocol: Protocol::OneOf(vec![6]),
        tcp_flags: Some(TcpFlags { mask, set }),
        ..Match::default()
    }
}

/// A chain of its own in Shorewall, by whose name it logs.
fn not_syn_chain(
    session: &mut Session<'_>,
    name: &Word,
    target: Target,
    log: Option<&Log>,
) -> Vec<Part> {
    let parts = protocol(target, Protocol::TcpSyn(false));
    let Some(log) = log else {
        return parts;
    };
    let list = list_of(session, name, Some(log), &[Part::new(target)]);
    parts
        .into_iter()
        .map(|part| Part {
            target: Target::Call(list),
            ..part
        })
        .collect()
}

/// A list of rules under an action's name, each with the action's log line unless it has its own.
pub(crate) fn list_of(
    session: &mut Session<'_>,
    name: &Word,
    log: Option<&Log>,
    parts: &[Part],
) -> u16 {
    let rules = parts
        .iter()
        .filter_map(|part| {
            let log = part.log.clone().or_else(|| match part.target {
                Target::Call(_) => None,
                _ => log.cloned(),
            });
            let log = log.map(|log| match log.disposition.as_str() {
                "" => Log {
                    disposition: part.target.word(),
                    ..log
                },
                _ => log,
            });
            part.rule(session, name, part.within.clone(), log)
        })
        .collect();
    session.tables.rule_list(Some(name.text()), rules)
}

/// Combinations that no connection has.
fn tcp_flags(
    session: &mut Session<'_>,
    name: &Word,
    parameters: &[Word],
    log: Option<&Log>,
) -> Option<Vec<Part>> {
    if let Some(other) = parameters
        .iter()
        .find(|word| !matches!(word.text(), "-" | "audit"))
    {
        session.error(
            other.span(),
            "the parameter of TCPFlags is audit or nothing",
            "neither",
            "write: TCPFlags",
        );
        return None;
    }
    let source_port_zero = Match {
        protocol: Protocol::TcpSyn(true),
        source_port: crate::traffic::one_port(0),
        ..Match::default()
    };
    let parts = [
        with_flags(ALL, FIN | URG | PSH),
        with_flags(ALL, 0),
        with_flags(SYN | RST, SYN | RST),
        with_flags(SYN | FIN, SYN | FIN),
        source_port_zero,
    ]
    .map(|within| Part::within(DROP, within));
    let list = list_of(session, name, log, &parts);
    Some(protocol(Target::Call(list), Protocol::OneOf(vec![6])))
}

/// GlusterFS(BRICKS,IB): one port for each brick, and one more for InfiniBand.
fn gluster(session: &mut Session<'_>, name: &Word, parameters: &[Word]) -> Option<Vec<Part>> {
    let number = |index: usize, default: u32| match parameters.get(index).map(Word::text) {
        None | Some("" | "-") => Some(default),
        Some(text) => text.parse().ok(),
    };
    let bricks = number(0, 2).filter(|bricks| (1..=1024).contains(bricks));
    let infiniband = number(1, 0).filter(|flag| *flag <= 1);
    let (Some(bricks), Some(infiniband)) = (bricks, infiniband) else {
        session.error(
            name.span(),
            "GlusterFS takes the number of bricks, and 1 for InfiniBand",
            "not these",
            "write for example: GlusterFS(2,0)",
        );
        return None;
    };
    let management = format!("24007:{}", 24_007 + infiniband);
    let bricks = format!("49151:{}", 49_150 + bricks);
    let made = |protocol: &str, ports: &str| Part {
        columns: action::OwnColumns {
            protocol: Some(Word::replacing(name.span(), protocol)),
            destination_port: Some(Word::replacing(name.span(), ports)),
            source_port: None,
        },
        ..Part::new(ACCEPT)
    };
    Some(vec![
        made("udp", "111,2049"),
        made("tcp", "38465:38467"),
        made("tcp", &management),
        made("tcp", &bricks),
    ])
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
