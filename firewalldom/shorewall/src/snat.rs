//! The file `snat`: source NAT.

use firewalldom::policy::{
    AddressRange, Addresses, InterfaceId, Match, PortRange, SourceNat, SourceTarget,
};

use crate::address;
use crate::columns::{Row, Schema};
use crate::reader::{Item, read_format, read_named, unexpected_section};
use crate::report::Finding;
use crate::session::Session;
use crate::source::Word;
use crate::suggest::did_you_mean;
use crate::traffic::{port_range, traffic};
use crate::world::World;

const SNAT: Schema = Schema {
    columns: &[
        "action",
        "source",
        "dest",
        "proto",
        "dport|port",
        "sport|ipsec",
        "ipsec|mark",
        "mark|user",
        "user|switch",
        "switch|origdest",
        "origdest|probability",
        "probability",
    ],
    required: 3,
};

/// Source NAT in the order that it is tried.
#[derive(Default)]
pub(crate) struct SourceRules {
    /// `SNAT+`, `MASQUERADE+`: before one-to-one NAT.
    pub(crate) ahead: Vec<SourceNat>,
    /// After one-to-one NAT.
    pub(crate) rest: Vec<SourceNat>,
}

/// Reads the file, if there is one.
pub(crate) fn read(session: &mut Session<'_>, world: &World) -> SourceRules {
    let mut rules = SourceRules::default();
    let mut format = 1;
    for item in read_named(session, "snat", &SNAT).unwrap_or_default() {
        match item {
            Item::Format(word) => format = read_format(session, &word, &[1, 2]).unwrap_or(format),
            Item::Section(word) => unexpected_section(session, &word),
            Item::Row(row) => read_row(session, world, &row, format, &mut rules),
        }
    }
    rules
}

/// Reads a line of format 1 or 2.
pub(crate) fn read_row(
    session: &mut Session<'_>,
    world: &World,
    row: &Row,
    format: u8,
    rules: &mut SourceRules,
) {
    // Format 2 has a column SPORT that pushes the others to the right.
    let shift = usize::from(format == 2);
    let mut refused = false;
    for (column, name) in [
        (5, "IPSEC"),
        (6, "MARK"),
        (7, "USER"),
        (8, "SWITCH"),
        (10, "PROBABILITY"),
    ] {
        if let Some(word) = row.get(column + shift) {
            refused = true;
            session.error(
                word.span(),
                format!("the column {name} is not supported yet"),
                "would narrow the rule",
                "put - here if the rule is right without",
            );
        }
    }
    let Some(action) = row.get(0) else {
        session.error(
            row.span,
            "the action is missing",
            "",
            "write: MASQUERADE 10.0.3.0/24 eth0",
        );
        return;
    };
    let Some(destination) = row.get(2) else {
        session.error(
            row.span,
            "the interface is missing",
            "leaving by which interface?",
            "write: MASQUERADE 10.0.3.0/24 eth0",
        );
        return;
    };
    let (action, ahead) = split_plus(action);
    let target = target(session, world, &action);
    let source = match row.get(1) {
        None => Some(Addresses::default()),
        Some(word) => source(session, world, word),
    };
    let traffic = traffic(
        session,
        row.get(3),
        row.get(4),
        (format == 2).then(|| row.get(5)).flatten(),
    );
    let original = match row.get(9 + shift) {
        None => Some(Addresses::default()),
        Some(word) => address::plain_list(session, Some(world), word),
    };
    let egresses = egresses(session, world, destination);
    let (Some(target), Some(source), Some(traffic), Some(original), Some(egresses), false) =
        (target, source, traffic, original, egresses, refused)
    else {
        return;
    };
    for (egress, destination) in egresses {
        let target = match &target {
            Named::Target(target) => target.clone(),
            // SNAT(detect): what MASQUERADE would choose, too.
            Named::Detect => SourceTarget::Masquerade { ports: None },
        };
        let list = if ahead {
            &mut rules.ahead
        } else {
            &mut rules.rest
        };
        list.push(SourceNat {
            egress,
            matches: Match {
                source: source.clone(),
                destination,
                original_destination: original.clone(),
                protocol: traffic.protocol.clone(),
                source_port: traffic.source_port.clone(),
                destination_port: traffic.destination_port.clone(),
                ..Match::default()
            },
            target,
            origin: session.origin(row.span),
        });
    }
}

/// `NAME+` or `NAME+(…)` without the `+`, which means: ahead of one-to-one NAT.
fn split_plus(action: &Word) -> (Word, bool) {
    let name = action.text().find('(').unwrap_or(action.text().len());
    if !action.text()[..name].ends_with('+') {
        return (action.clone(), false);
    }
    let mut plain = action.slice(0..name - 1);
    plain.push(&action.slice(name..action.text().len()));
    (plain, true)
}

enum Named {
    Target(SourceTarget),
    Detect,
}

fn target(session: &mut Session<'_>, world: &World, word: &Word) -> Option<Named> {
    if let Some(plain) = word.strip_suffix(")+") {
        let modern = plain.text().replacen('(', "+(", 1);
        session.error(
            word.span(),
            "the `+` stands behind the parameter",
            "it belongs to the name",
            format!("write: {modern})"),
        );
        return None;
    }
    if let Some((_, level)) = word.split_once(':') {
        session.error(
            level.span(),
            "logging of source NAT is not supported yet",
            "a log level",
            "take it out",
        );
        return None;
    }
    let (name, parameter) = match word.call() {
        Some((name, parameter)) => (name, Some(parameter)),
        None => (word.clone(), None),
    };
    match (name.text(), parameter) {
        ("MASQUERADE", None) => Some(Named::Target(SourceTarget::Masquerade { ports: None })),
        ("MASQUERADE", Some(ports)) => {
            let ports = port_range(session, &ports)?;
            Some(Named::Target(SourceTarget::Masquerade {
                ports: Some(ports),
            }))
        }
        ("SNAT", Some(parameter)) if parameter.text() == "detect" => Some(Named::Detect),
        ("SNAT", Some(parameter)) => snat_target(session, world, &parameter),
        ("SNAT", None) => {
            session.error(
                name.span(),
                "SNAT needs an address",
                "to which address?",
                "write: SNAT(192.0.2.2), or MASQUERADE",
            );
            None
        }
        ("CONTINUE" | "ACCEPT", None) => Some(Named::Target(SourceTarget::Exempt)),
        (other, _) => {
            let known = ["MASQUERADE", "SNAT", "CONTINUE"];
            session.report(
                Finding::error(format!("the action `{other}` is not supported here"))
                    .at(
                        name.span(),
                        "expected MASQUERADE, SNAT(address) or CONTINUE",
                    )
                    .maybe_note(did_you_mean(other, known)),
            );
            None
        }
    }
}

/// `address[-address][:ports]`.
fn snat_target(session: &mut Session<'_>, world: &World, parameter: &Word) -> Option<Named> {
    let mut pieces = parameter.split(':').into_iter();
    let address_word = pieces.next()?;
    if address_word.text().contains(',') {
        session.error(
            address_word.span(),
            "a list of addresses is not supported yet",
            "more than one",
            "write one address, or a range: 192.0.2.2-192.0.2.5",
        );
        return None;
    }
    let addresses: AddressRange = address::range(session, world, &address_word)?;
    let mut ports: Option<PortRange> = None;
    for piece in pieces {
        // A source keeps its address here anyway, and no one can foresee a port that changes.
        if piece.text() == "persistent" {
            continue;
        }
        if piece.text() == "random" {
            session.report(
                Finding::warning("`random` does nothing yet")
                    .at(piece.span(), "a port that is free is kept")
                    .note("take it out"),
            );
            continue;
        }
        ports = Some(port_range(session, &piece)?);
    }
    Some(Named::Target(SourceTarget::Address { addresses, ports }))
}

/// Addresses, or the name of an interface: the networks behind it.
fn source(session: &mut Session<'_>, world: &World, word: &Word) -> Option<Addresses> {
    let (name, excluded) = match word.split_once('!') {
        Some((name, excluded)) => (name, Some(excluded)),
        None => (word.clone(), None),
    };
    if !world.has_interface(name.text()) {
        return address::plain_list(session, Some(world), word);
    }
    let interface = world.interface(session, &name)?;
    let ranges: Vec<AddressRange> = world
        .prefixes_behind(interface)
        .into_iter()
        .map(address::range_of)
        .collect();
    if ranges.is_empty() {
        session.error(
            name.span(),
            format!("no networks are known behind `{}`", name.text()),
            "no address, no routes",
            "write the networks themselves",
        );
        return None;
    }
    let except = match excluded {
        None => Vec::new(),
        Some(excluded) => address::expanded_list(session, world, &excluded)?.ranges,
    };
    Some(Addresses {
        ranges,
        except,
        sets: Vec::new(),
    })
}

/// `interface[,interface][:addresses]`.
fn egresses(
    session: &mut Session<'_>,
    world: &World,
    word: &Word,
) -> Option<Vec<(InterfaceId, Addresses)>> {
    let (names, addresses) = match word.split_once(':') {
        Some((names, addresses)) => (names, Some(addresses)),
        None => (word.clone(), None),
    };
    let addresses = match addresses {
        None => Addresses::default(),
        Some(word) => address::plain_list(session, Some(world), &word)?,
    };
    let mut egresses = Vec::new();
    let mut complete = true;
    for name in names.split(',') {
        if world.is_absent(name.text()) {
            session.report(
                Finding::warning(format!("there is no interface `{}`", name.text()))
                    .at(name.span(), "none of interfaces(5): nothing leaves by it"),
            );
            continue;
        }
        match world.interfaces_of(session, &name) {
            Some(all) => {
                egresses.extend(all.into_iter().map(|one| (one, addresses.clone())));
            }
            None => complete = false,
        }
    }
    complete.then_some(egresses)
}
