//! The file `nat`: one-to-one NAT.

use std::net::Ipv4Addr;

use firewalldom::policy::{
    AddressRange, Addresses, DestinationNat, DestinationTarget, InterfaceId, InterfacePrefix,
    Limits, Match, Origin, SourceNat, SourceTarget, ZoneId,
};

use crate::address;
use crate::columns::{Row, Schema, yes};
use crate::nested_nat;
use crate::packet_set;
use crate::reader::rows;
use crate::report::Finding;
use crate::session::Session;
use crate::settings::Configuration;
use crate::world::World;

const NAT: Schema = Schema {
    columns: &["external", "interface", "internal", "allints", "local"],
    required: 3,
};

/// A line of the file: two addresses that stand for each other.
pub(crate) struct Pair {
    external: Ipv4Addr,
    internal: Ipv4Addr,
    /// Only what passes through this interface. `None`: all interfaces.
    interface: Option<InterfaceId>,
    origin: Origin,
}

impl Pair {
    /// Whether it holds on all interfaces.
    pub(crate) fn is_everywhere(&self) -> bool {
        self.interface.is_none()
    }
}

/// Reads the file, if there is one. The external addresses become the firewall's own, so that it
/// answers ARP for them.
pub(crate) fn read(
    session: &mut Session<'_>,
    world: &mut World,
    configuration: &Configuration,
) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for row in rows(session, "nat", &NAT) {
        read_row(session, world, configuration, &row, &mut pairs);
    }
    pairs
}

fn read_row(
    session: &mut Session<'_>,
    world: &mut World,
    configuration: &Configuration,
    row: &Row,
    pairs: &mut Vec<Pair>,
) {
    let (Some(external), Some(interfaces), Some(internal)) = (row.get(0), row.get(1), row.get(2))
    else {
        session.error(
            row.span,
            "one-to-one NAT needs three columns",
            "one of them is empty",
            "write: 192.0.2.9 eth0 10.0.3.9",
        );
        return;
    };
    let all_interfaces = yes(session, row.get(3));
    if yes(session, row.get(4)) == Some(true)
        && let Some(word) = row.get(4)
    {
        session.report(Finding::warning("LOCAL=Yes does nothing here").at(
            word.span(),
            "the firewall itself opens no connections to translate",
        ));
    }
    let (names, alias) = match interfaces.split_once(':') {
        Some((names, alias)) => (names, Some(alias)),
        None => (interfaces.clone(), None),
    };
    let addresses = (
        address::single(session, external),
        address::single(session, internal),
    );
    let found: Vec<Option<InterfaceId>> = names
        .split(',')
        .iter()
        .map(|name| world.interface(session, name))
        .collect();
    let (Some(external), Some(internal)) = addresses else {
        return;
    };
    // `eth0:` asks not to add the address.
    let add = configuration.flag("ADD_IP_ALIASES", true)
        && alias.as_ref().is_none_or(|alias| !alias.is_empty());
    for interface in found.into_iter().flatten() {
        if add {
            add_address(world, interface, external);
        }
        pairs.push(Pair {
            external,
            internal,
            interface: (all_interfaces != Some(true)).then_some(interface),
            origin: session.origin(row.span),
        });
    }
}

/// One more address of an interface, in the network that it lies in.
fn add_address(world: &mut World, interface: InterfaceId, address: Ipv4Addr) {
    let known = world
        .interfaces
        .iter()
        .any(|interface| interface.addresses.iter().any(|own| own.address == address));
    if known {
        return;
    }
    let addresses = &mut world.interfaces[usize::from(interface.0)].addresses;
    let mut own = addresses.iter().copied();
    let same_network = own.find(|own| address::share_prefix(own.address, address, own.length));
    addresses.push(match same_network {
        Some(own) => InterfacePrefix { address, ..own },
        None => InterfacePrefix {
            address,
            length: 32,
            broadcast: None,
        },
    });
}

fn only(address: Ipv4Addr) -> Addresses {
    Addresses {
        ranges: vec![AddressRange {
            first: address,
            last: address,
        }],
        ..Addresses::default()
    }
}

/// Adds destination NAT to that of `rules`, after which it is tried. What NONAT and ACCEPT+ exempt
/// from `rules` meets the pairs of its own interface all the same. Packets of the zones `kept` meet
/// none, nor does what their exclusions take out of them.
pub(crate) fn add_inbound(
    world: &World,
    pairs: &[Pair],
    kept: &[ZoneId],
    nat: &mut Vec<DestinationNat>,
) {
    let mut inbound = inbound(world, pairs);
    inbound.retain(|pair| !kept.contains(&pair.source_zone));
    let mut at = 0;
    while at < nat.len() {
        if nat[at].target == DestinationTarget::Exempt {
            let exempt = nat[at].clone();
            let kept = inbound.iter().filter(|pair| {
                pair.source_zone == exempt.source_zone && pair.matches.ingress.is_some()
            });
            let kept: Vec<DestinationNat> = kept
                .filter_map(|pair| {
                    let matches = packet_set::both(&exempt.matches, &pair.matches)?;
                    Some(DestinationNat {
                        matches,
                        ..pair.clone()
                    })
                })
                .collect();
            let count = kept.len();
            nat.splice(at..at, kept);
            at += count;
        }
        at += 1;
    }
    let [ahead, behind] = nested_nat::kept_with(world, kept);
    nat.splice(0..0, ahead);
    nat.extend(behind);
    nat.extend(inbound);
}

fn inbound(world: &World, pairs: &[Pair]) -> Vec<DestinationNat> {
    let mut rules = Vec::new();
    for pair in pairs {
        for source_zone in world.senders() {
            let possible = source_zone == world.nobody()
                || match pair.interface {
                    Some(interface) => world.zone_has_interface(source_zone, interface),
                    None => true,
                };
            if possible {
                rules.push(DestinationNat {
                    source_zone,
                    matches: Match {
                        ingress: pair.interface,
                        destination: only(pair.external),
                        ..Match::default()
                    },
                    limits: Limits::default(),
                    target: DestinationTarget::Server {
                        addresses: AddressRange {
                            first: pair.internal,
                            last: pair.internal,
                        },
                        ports: None,
                    },
                    log: None,
                    origin: pair.origin,
                });
            }
        }
    }
    rules
}

/// Source NAT, tried before that of `snat` but for `SNAT+`.
pub(crate) fn outbound<'p>(
    world: &World,
    pairs: impl IntoIterator<Item = &'p Pair>,
) -> Vec<SourceNat> {
    let mut rules = Vec::new();
    for pair in pairs {
        for index in 0..world.interfaces.len() {
            let egress = InterfaceId(index as u8);
            if pair.interface.is_none_or(|interface| interface == egress) {
                rules.push(SourceNat {
                    egress,
                    matches: Match {
                        source: only(pair.internal),
                        ..Match::default()
                    },
                    target: SourceTarget::Address {
                        addresses: AddressRange {
                            first: pair.external,
                            last: pair.external,
                        },
                        ports: None,
                    },
                    origin: pair.origin,
                });
            }
        }
    }
    rules
}
