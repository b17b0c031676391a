//! Protocol and port columns, the same in `rules` and `snat`.

use firewalldom::policy::{IcmpType, PortRange, Ports, Protocol};

use crate::ipset::{self, Members};
use crate::names::{ICMP_TYPES, PROTOCOLS, lookup};
use crate::report::Finding;
use crate::services::SERVICES;
use crate::session::Session;
use crate::source::Word;
use crate::suggest::did_you_mean;

/// What the columns PROTO, DPORT and SPORT say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) protocol: Protocol,
    pub(crate) source_port: Ports,
    pub(crate) destination_port: Ports,
}

const ICMP: u8 = 1;
/// TCP, UDP, DCCP, SCTP, UDP-Lite.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// Reads the three columns.
pub(crate) fn traffic(
    session: &mut Session<'_>,
    protocol_word: Option<&Word>,
    destination_port: Option<&Word>,
    source_port: Option<&Word>,
) -> Option<Traffic> {
    let Some(word) = protocol_word.filter(|word| !matches!(word.text(), "all" | "ALL" | "any"))
    else {
        for ports in [destination_port, source_port].into_iter().flatten() {
            session.error(
                ports.span(),
                "ports without a protocol",
                "ports of which protocol?",
                "write tcp or udp in the PROTO column",
            );
        }
        return (destination_port.is_none() && source_port.is_none()).then(Traffic::default);
    };
    let protocol = protocol(session, word)?;
    if let Protocol::OneOf(numbers) = &protocol
        && numbers == &[ICMP]
    {
        if let Some(ports) = source_port {
            session.error(
                ports.span(),
                "ICMP has no ports",
                "not possible with icmp",
                "",
            );
            return None;
        }
        return Some(Traffic {
            protocol: Protocol::Icmp(icmp_types(session, destination_port)?),
            ..Traffic::default()
        });
    }
    if !has_ports(&protocol)
        && let Some(columns) = destination_port.or(source_port)
    {
        session.error(
            columns.span(),
            format!("`{}` has no ports", word.text()),
            "not possible with this protocol",
            "",
        );
        return None;
    }
    let destination = optional_ports(session, destination_port);
    let source = optional_ports(session, source_port);
    let (destination_ports, source_ports) = (destination?, source?);
    if leaves_out_one(&destination_ports)
        && leaves_out_one(&source_ports)
        && let Some(word) = source_port
    {
        session.report(
            Finding::warning(
                "iptables-nft 1.8 takes two ports that are left out for one condition",
            )
            .at(word.span(), "and the column DPORT")
            .note("Linux asks whether one of the two is another port; here both must be")
            .note("write the ports that are meant, as ranges"),
        );
    }
    Some(Traffic {
        protocol,
        destination_port: destination_ports,
        source_port: source_ports,
    })
}

/// `!port`, and no list or range.
fn leaves_out_one(ports: &Ports) -> bool {
    ports.negated && matches!(ports.ranges.as_slice(), [range] if range.first == range.last)
}

/// Whether all of the protocols have ports.
pub(crate) fn has_ports(protocol: &Protocol) -> bool {
    match protocol {
        Protocol::TcpSyn(_) => true,
        Protocol::OneOf(numbers) => numbers.iter().all(|number| WITH_PORTS.contains(number)),
        Protocol::Any | Protocol::NoneOf(_) | Protocol::Icmp(_) => false,
    }
}

fn optional_ports(session: &mut Session<'_>, word: Option<&Word>) -> Option<Ports> {
    match word {
        None => Some(Ports::default()),
        Some(word) => ports(session, word),
    }
}

fn protocol(session: &mut Session<'_>, word: &Word) -> Option<Protocol> {
    match word.text().to_ascii_lowercase().as_str() {
        "tcp:syn" | "6:syn" => return Some(Protocol::TcpSyn(true)),
        "tcp:!syn" | "6:!syn" => return Some(Protocol::TcpSyn(false)),
        "tcp:all" => return Some(Protocol::OneOf(vec![6])),
        _ => {}
    }
    let (list, negated) = match word.strip_prefix("!") {
        Some(list) => (list, true),
        None => (word.clone(), false),
    };
    let mut numbers = Vec::new();
    let mut complete = true;
    for item in list.split(',') {
        match protocol_number(session, &item) {
            Some(number) => numbers.push(number),
            None => complete = false,
        }
    }
    complete.then_some(if negated {
        Protocol::NoneOf(numbers)
    } else {
        Protocol::OneOf(numbers)
    })
}

fn protocol_number(session: &mut Session<'_>, word: &Word) -> Option<u8> {
    let text = word.text();
    if let Some(number) = text.parse().ok().or_else(|| lookup(PROTOCOLS, text)) {
        return Some(number);
    }
    session.report(
        Finding::error(format!("unknown protocol `{text}`"))
            .at(
                word.span(),
                "expected for example tcp, udp, icmp or a number",
            )
            .maybe_note(did_you_mean(text, PROTOCOLS.iter().map(|known| known.0)))
            .maybe_note(lookup(SERVICES, text).map(|port| {
                format!("{text} is a service: write tcp in this column, {port} in the next")
            })),
    );
    None
}

/// A set of one port.
pub(crate) fn one_port(port: u16) -> Ports {
    Ports {
        ranges: vec![PortRange {
            first: port,
            last: port,
        }],
        negated: false,
    }
}

/// `22`, `ssh`, `1000:2000`, `1024:`, lists of them, all perhaps after `!`.
pub(crate) fn ports(session: &mut Session<'_>, word: &Word) -> Option<Ports> {
    if word.text() == "=" {
        session.error(
            word.span(),
            "`=` is for the column SPORT of rules",
            "either port",
            "write the ports",
        );
        return None;
    }
    let (list, negated) = match word.strip_prefix("!") {
        Some(list) => (list, true),
        None => (word.clone(), false),
    };
    let mut ranges = Vec::new();
    let mut complete = true;
    for item in list.split(',') {
        if item.text().starts_with('+') {
            match ipset::members(session, &item) {
                Some(Members::Ports(ports)) if !ports.is_empty() => ranges.extend(ports),
                None => complete = false,
                Some(_) => {
                    complete = false;
                    session.error(
                        item.span(),
                        format!("the set `{}` holds no ports", item.text()),
                        "ports are needed here",
                        "",
                    );
                }
            }
            continue;
        }
        match port_range(session, &item) {
            Some(range) => ranges.push(range),
            None => complete = false,
        }
    }
    complete.then_some(Ports { ranges, negated })
}

/// One port, or a range of them.
pub(crate) fn port_range(session: &mut Session<'_>, word: &Word) -> Option<PortRange> {
    let text = word.text();
    let numeric_dash = text
        .split_once('-')
        .is_some_and(|(first, last)| first.parse::<u16>().is_ok() && last.parse::<u16>().is_ok());
    let separator = if text.contains(':') { ':' } else { '-' };
    let halves = (separator == ':' || numeric_dash)
        .then(|| word.split_once(separator))
        .flatten();
    let Some((first, last)) = halves else {
        return port(session, word).map(|port| PortRange {
            first: port,
            last: port,
        });
    };
    let low = if first.is_empty() {
        Some(0)
    } else {
        port(session, &first)
    };
    let high = if last.is_empty() {
        Some(65_535)
    } else {
        port(session, &last)
    };
    let (low, high) = (low?, high?);
    if low > high {
        session.error(
            word.span(),
            "this range of ports ends before it begins",
            "no port lies in it",
            format!("write: {high}:{low}"),
        );
        return None;
    }
    Some(PortRange {
        first: low,
        last: high,
    })
}

fn port(session: &mut Session<'_>, word: &Word) -> Option<u16> {
    let text = word.text();
    if text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit()) {
        let number = text.parse().ok();
        if number.is_none() {
            session.error(
                word.span(),
                format!("there is no port {text}"),
                "the last one is 65535",
                "",
            );
        }
        return number;
    }
    if let Some(number) = lookup(SERVICES, text) {
        return Some(number);
    }
    session.report(
        Finding::error(format!("unknown service `{text}`"))
            .at(word.span(), "expected a port")
            .maybe_note(did_you_mean(text, SERVICES.iter().map(|known| known.0)))
            .note("write the number: the host's own /etc/services is not looked at"),
    );
    None
}

/// Types of ICMP by name or number, with their codes; empty: every type.
fn icmp_types(session: &mut Session<'_>, word: Option<&Word>) -> Option<Vec<IcmpType>> {
    let Some(word) = word.filter(|word| !word.text().eq_ignore_ascii_case("any")) else {
        return Some(Vec::new());
    };
    let mut types = Vec::new();
    let mut complete = true;
    for item in word.split(',') {
        match icmp_type(item.text()) {
            Some(kind) => types.push(kind),
            None => {
                complete = false;
                session.report(
                    Finding::error(format!("unknown type of ICMP `{}`", item.text()))
                        .at(item.span(), "expected for example echo-request, 8 or 3/4")
                        .maybe_note(did_you_mean(
                            item.text(),
                            ICMP_TYPES.iter().map(|known| known.0),
                        )),
                );
            }
        }
    }
    complete.then_some(types)
}

fn icmp_type(text: &str) -> Option<IcmpType> {
    if let Some((kind, code)) = text.split_once('/') {
        return Some(IcmpType {
            kind: kind.parse().ok()?,
            code: Some(code.parse().ok()?),
        });
    }
    if let Ok(kind) = text.parse() {
        return Some(IcmpType { kind, code: None });
    }
    ICMP_TYPES
        .iter()
        .find(|known| known.0.eq_ignore_ascii_case(text))
        .map(|&(_, kind, code)| IcmpType { kind, code })
}
