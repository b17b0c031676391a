//! The columns SOURCE and DEST of `rules`: zones, with hosts behind them.

use firewalldom::policy::{AddressRange, Addresses, InterfaceId, PortRange, ZoneId};

use crate::address::{self, Hosts};
use crate::session::Session;
use crate::source::{Span, Word};
use crate::target::Nat;
use crate::traffic::port_range;
use crate::world::World;

/// A zone, or some of its hosts.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) zone: ZoneId,
    pub(crate) hosts: Hosts,
    /// Ends of one column with the same number have the same hosts.
    pub(crate) hosts_of: usize,
    pub(crate) span: Span,
}

/// All that a column names.
pub(crate) struct Ends {
    pub(crate) ends: Vec<End>,
    /// `all`, `any` or a list: a zone is not paired with itself…
    pub(crate) wild: bool,
    /// …unless a `+` says so.
    pub(crate) intra_zone: IntraZone,
}

/// Whether zones are paired with themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IntraZone {
    /// Neither `+` nor a list.
    Unsaid,
    /// A `+`.
    Included,
    /// A list of zones without it.
    Left,
}

/// Reads `zone`, `zone:hosts`, `zone,zone`, `all[+][!zone,…][:hosts]` or `zone:(hosts),zone:(hosts)`.
pub(crate) fn zones(session: &mut Session<'_>, world: &World, word: &Word) -> Option<Ends> {
    if word.text().contains(":(") {
        return groups(session, world, word);
    }
    let (names, hosts_word) = match word.split_once(':') {
        Some((names, hosts)) => (names, Some(hosts)),
        None => (word.clone(), None),
    };
    let (zones, wild, intra_zone) = zone_names(session, world, &names)?;
    let mut ends = Vec::new();
    if let Some(excluded) = hosts_word.as_ref().and_then(|word| word.strip_prefix("!"))
        && let Some((interface, list)) = interface_and_list(world, &excluded)
    {
        let other = other_interfaces(session, world, &zones, &interface, list.as_ref(), word)?;
        return Some(Ends {
            ends: other,
            wild,
            intra_zone,
        });
    }
    let hosts = match &hosts_word {
        None => Hosts::default(),
        Some(word) => address::hosts(session, world, word)?,
    };
    for zone in zones {
        check_interface(session, world, zone, &hosts, word, wild)?;
        ends.push(End {
            zone,
            hosts: hosts.clone(),
            hosts_of: 0,
            span: word.span(),
        });
    }
    Some(Ends {
        ends,
        wild,
        intra_zone,
    })
}

/// `eth0` or `eth0:addresses`, if that is an interface.
fn interface_and_list(world: &World, word: &Word) -> Option<(Word, Option<Word>)> {
    let (name, list) = match word.split_once(':') {
        Some((name, list)) => (name, Some(list)),
        None => (word.clone(), None),
    };
    world.has_interface(name.text()).then_some((name, list))
}

/// `zone:!eth0`: the zones behind their other interfaces.
fn other_interfaces(
    session: &mut Session<'_>,
    world: &World,
    zones: &[ZoneId],
    excluded: &Word,
    list: Option<&Word>,
    word: &Word,
) -> Option<Vec<End>> {
    let excluded = world.interfaces_of(session, excluded)?;
    let hosts = match list {
        None => Hosts::default(),
        Some(list) => address::hosts(session, world, list)?,
    };
    let mut ends = Vec::new();
    for &zone in zones {
        for index in 0..world.interfaces.len() {
            let interface = InterfaceId(index as u8);
            if !excluded.contains(&interface) && world.zone_has_interface(zone, interface) {
                ends.push(End {
                    zone,
                    hosts: Hosts {
                        interfaces: Some(vec![interface]),
                        ..hosts.clone()
                    },
                    hosts_of: index + 1,
                    span: word.span(),
                });
            }
        }
    }
    Some(ends)
}

fn groups(session: &mut Session<'_>, world: &World, word: &Word) -> Option<Ends> {
    let mut all = Ends {
        ends: Vec::new(),
        wild: false,
        intra_zone: IntraZone::Unsaid,
    };
    for piece in word.split(',') {
        let Some((name, hosts_word)) = piece.split_once(':') else {
            let zone = world.zone(session, &piece)?;
            all.ends.push(End {
                zone,
                hosts: Hosts::default(),
                hosts_of: 0,
                span: piece.span(),
            });
            continue;
        };
        let zone = world.zone(session, &name)?;
        let hosts = address::hosts(session, world, &hosts_word)?;
        check_interface(session, world, zone, &hosts, &piece, false)?;
        let hosts_of = all.ends.len() + 1;
        all.ends.push(End {
            zone,
            hosts,
            hosts_of,
            span: piece.span(),
        });
    }
    all.wild = all.ends.len() > 1;
    Some(all)
}

fn check_interface(
    session: &mut Session<'_>,
    world: &World,
    zone: ZoneId,
    hosts: &Hosts,
    word: &Word,
    wild: bool,
) -> Option<()> {
    let interfaces = hosts.interfaces.as_deref().unwrap_or_default();
    if let Some(interface) = interfaces.first()
        && zone != ZoneId::FIREWALL
        && !wild
        && !interfaces
            .iter()
            .any(|&interface| world.zone_has_interface(zone, interface))
    {
        session.error(
            word.span(),
            format!(
                "the zone `{}` is not behind `{}`",
                world.zones[usize::from(zone.0)].name,
                world.interfaces[usize::from(interface.0)].name
            ),
            "nothing could match",
            "see shorewall/interfaces",
        );
        return None;
    }
    Some(())
}

fn zone_names(
    session: &mut Session<'_>,
    world: &World,
    word: &Word,
) -> Option<(Vec<ZoneId>, bool, IntraZone)> {
    let (base, excluded) = match word.split_once('!') {
        Some((base, excluded)) => (base, Some(excluded)),
        None => (word.clone(), None),
    };
    let stem = base.text().trim_end_matches(['+', '-']);
    if matches!(stem, "all" | "any") {
        let signs = &base.text()[stem.len()..];
        let mut zones: Vec<ZoneId> = world.all_zones().collect();
        if stem == "any" {
            zones.retain(|zone| world.zones[usize::from(zone.0)].parents.is_empty());
        }
        if signs.contains('-') {
            zones.retain(|&zone| zone != ZoneId::FIREWALL);
        }
        if let Some(excluded) = excluded {
            for item in excluded.split(',') {
                let taken = world.zone(session, &item)?;
                zones.retain(|&zone| zone != taken);
            }
        }
        let intra_zone = match signs.contains('+') {
            true => IntraZone::Included,
            false => IntraZone::Unsaid,
        };
        return Some((zones, true, intra_zone));
    }
    if let Some(excluded) = excluded {
        session.error(
            excluded.span(),
            "an exclusion of zones needs `all` before it",
            "taken out of what?",
            format!("write: all!{}, or addresses after a colon", excluded.text()),
        );
        return None;
    }
    let is_list = base.text().contains(',');
    let (list, intra_zone) = match (is_list, base.text().ends_with('+')) {
        (false, _) => (base, IntraZone::Unsaid),
        (true, false) => (base, IntraZone::Left),
        (true, true) => (base.slice(0..base.text().len() - 1), IntraZone::Included),
    };
    let mut zones = Vec::new();
    let mut complete = true;
    for item in list.split(',') {
        match world.zone(session, &item) {
            Some(zone) => zones.push(zone),
            None => complete = false,
        }
    }
    complete.then(|| {
        let wild = zones.len() > 1;
        (zones, wild, intra_zone)
    })
}

/// Where DNAT sends packets.
pub(crate) struct Server {
    /// `None`: DNAT- without a zone.
    pub(crate) zone: Option<ZoneId>,
    pub(crate) interface: Option<InterfaceId>,
    pub(crate) addresses: AddressRange,
    pub(crate) ports: Option<PortRange>,
}

/// `zone:[interface:]address[-address][:port[-port][:random]]`; DNAT- also without the zone. Without
/// the address, the one that ORIGDEST names stays.
pub(crate) fn server(
    session: &mut Session<'_>,
    world: &World,
    word: &Word,
    nat: Nat,
    original: &Addresses,
) -> Option<Server> {
    let mut pieces = word.split(':');
    let mut zone = None;
    let begins_with_address = pieces[0]
        .text()
        .starts_with(|c: char| c.is_ascii_digit() || matches!(c, '&' | '%'));
    if nat == Nat::AndAccept || !begins_with_address {
        let name = pieces.remove(0);
        if !(nat == Nat::Only && name.is_empty()) {
            zone = Some(world.zone(session, &name)?);
        }
    }
    let mut interface = None;
    if pieces
        .first()
        .is_some_and(|piece| piece.text().starts_with(|c: char| c.is_ascii_alphabetic()))
        && world.has_interface(pieces[0].text())
    {
        interface = Some(world.interface(session, &pieces.remove(0))?);
    }
    let mut pieces = pieces.into_iter();
    let address_word = pieces.next().filter(|piece| !piece.is_empty());
    let ports_word = pieces.next();
    let addresses = match &address_word {
        Some(address_word) => server_addresses(session, world, address_word)?,
        None if ports_word.is_some() => only_original(session, word, original)?,
        None => {
            session.error(
                word.span(),
                "DNAT needs the address of a server",
                "only a zone",
                format!("write: {}:10.0.3.9", word.text().trim_end_matches(':')),
            );
            return None;
        }
    };
    let ports = match ports_word {
        None => None,
        Some(piece) => Some(port_range(session, &piece)?),
    };
    // Which of several ports is taken no one can foresee anyway.
    let extra = pieces.find(|piece| piece.text() != "random");
    if let Some(extra) = extra {
        session.error(
            extra.span(),
            "one part too many",
            "after the port",
            "write: loc:10.0.3.9:80",
        );
        return None;
    }
    Some(Server {
        zone,
        interface,
        addresses,
        ports,
    })
}

fn server_addresses(session: &mut Session<'_>, world: &World, word: &Word) -> Option<AddressRange> {
    if word.text().contains([',', '!', '/']) {
        session.error(
            word.span(),
            "DNAT sends to one server, or to a range of servers",
            "a list, a prefix or an exclusion",
            "write: 10.0.3.9 or 10.0.3.9-10.0.3.12",
        );
        return None;
    }
    address::range(session, world, word)
}

/// The one address that ORIGDEST names.
fn only_original(
    session: &mut Session<'_>,
    word: &Word,
    original: &Addresses,
) -> Option<AddressRange> {
    match (original.ranges.as_slice(), original.except.as_slice()) {
        ([range], []) if range.first == range.last && original.sets.is_empty() => Some(*range),
        _ => {
            session.error(
                word.span(),
                "DNAT that changes only the port is not supported yet",
                "which address stays?",
                "name one address here, or in the column ORIGDEST",
            );
            None
        }
    }
}

/// `port`, `$FW:port` or `$FW::port`. `Some(None)`: the port stays.
pub(crate) fn redirect_port(
    session: &mut Session<'_>,
    world: &World,
    word: &Word,
) -> Option<Option<u16>> {
    let firewall = &world.zones[0].name;
    let rest = match word.strip_prefix(firewall.as_str()) {
        Some(rest) if rest.is_empty() => return Some(None),
        Some(rest) if rest.text().starts_with("::") => rest.slice(2..rest.text().len()),
        Some(rest) if rest.text().starts_with(':') => rest.slice(1..rest.text().len()),
        _ => word.clone(),
    };
    let range = port_range(session, &rest)?;
    if range.first != range.last {
        session.error(
            rest.span(),
            "REDIRECT to a range of ports is not supported yet",
            "one port",
            "",
        );
        return None;
    }
    Some(Some(range.first))
}
