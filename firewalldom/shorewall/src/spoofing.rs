//! `routefilter` and ROUTE_FILTER: a packet whose source could not be answered through the
//! interface that it came in by is dropped, as Linux' `rp_filter` does.
//!
//! The check becomes rules at the head of the chains, before all that the files say. Packets of
//! connections that are open already do not meet rules, which a warning says.

use std::net::Ipv4Addr;

use firewalldom::policy::{
    Action, AddressRange, Addresses, Disposition, InterfaceId, Limits, Match, Rule, States, ZoneId,
};

use crate::address::{masked, range_of};
use crate::chains::Chains;
use crate::interface_options::RouteFilter;
use crate::report::Finding;
use crate::session::Session;
use crate::world::World;

/// What an address is to the routes of the firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Answered through this interface.
    Through(InterfaceId),
    /// The firewall's own.
    Own,
    /// Answered by nobody.
    Nowhere,
}

/// Adds the rules of every interface that asks for the check.
pub(crate) fn guard(session: &mut Session<'_>, world: &mut World, chains: &mut Chains) {
    hairpins(world, chains);
    let world = &*world;
    let reaches = reaches(world);
    let none = ZoneId(world.zones.len() as u16);
    let mut said = false;
    for (index, (filter, origin)) in world.route_filters.iter().enumerate() {
        if *filter == RouteFilter::Off {
            continue;
        }
        let interface = InterfaceId(index as u8);
        if !said && !session.has_errors() {
            said = true;
            session.report(
                Finding::warning("the sources of open connections are not checked yet").note(
                    "routefilter holds for packets that open a connection, and for those that \
                     belong to none",
                ),
            );
        }
        let rule = Rule {
            states: States(States::ALL.0 & !States::ESTABLISHED.0),
            matches: Match {
                ingress: Some(interface),
                source: Addresses {
                    ranges: unanswerable(&reaches, *filter, interface),
                    ..Addresses::default()
                },
                ..Match::default()
            },
            limits: Limits::default(),
            action: Action::Decide(Disposition::Drop),
            log: None,
            origin: *origin,
        };
        if rule.matches.source.ranges.is_empty() {
            continue;
        }
        let mut sources: Vec<ZoneId> = world
            .hosts
            .iter()
            .filter(|host| host.interface == interface)
            .map(|host| host.zone)
            .chain([none])
            .collect();
        sources.sort();
        sources.dedup();
        chains.push_from(&sources, &rule);
    }
}

/// Shorewall does not look for hairpins on an interface whose sources are checked: what goes back
/// where it came from is decided by the zones' rules, but within a zone of that one interface,
/// which has no chain for it, by the policy `all all`.
fn hairpins(world: &mut World, chains: &mut Chains) {
    for index in 0..world.interfaces.len() {
        let (filter, origin) = world.route_filters[index];
        if filter == RouteFilter::Off || world.interfaces[index].route_back {
            continue;
        }
        world.interfaces[index].route_back = true;
        let interface = InterfaceId(index as u8);
        let forward = &chains.chains[0];
        let rule = Rule {
            states: States(States::ALL.0 & !States::ESTABLISHED.0),
            matches: Match {
                ingress: Some(interface),
                egress: Some(interface),
                ..Match::default()
            },
            limits: Limits::default(),
            action: Action::Decide(forward.policy),
            log: forward.policy_log.clone(),
            origin,
        };
        for zone in 1..world.zones.len() {
            let zone = ZoneId(zone as u16);
            let mut groups = world.groups.iter().filter(|group| group.zone == zone);
            let only_here =
                groups.clone().next().is_some() && groups.all(|group| group.interface == interface);
            if only_here {
                chains.chain_mut((zone, zone)).rules.insert(0, rule.clone());
            }
        }
    }
}

/// The sources that the check drops. 0.0.0.0 is who has no address yet, and asks for one.
fn unanswerable(
    reaches: &[(AddressRange, Reach)],
    filter: RouteFilter,
    interface: InterfaceId,
) -> Vec<AddressRange> {
    let mut ranges: Vec<AddressRange> = Vec::new();
    for &(mut range, reach) in reaches {
        let answered = match (filter, reach) {
            (RouteFilter::Strict, Reach::Through(through)) => through == interface,
            (_, Reach::Through(_)) => true,
            (_, Reach::Own | Reach::Nowhere) => false,
        };
        if range.first.is_unspecified() {
            if range.last.is_unspecified() {
                continue;
            }
            range.first = Ipv4Addr::new(0, 0, 0, 1);
        }
        if answered {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if u32::from(last.last).checked_add(1) == Some(range.first.into()) => {
                last.last = range.last;
            }
            _ => ranges.push(range),
        }
    }
    ranges
}

/// All addresses in order, cut where the way to them changes.
fn reaches(world: &World) -> Vec<(AddressRange, Reach)> {
    // The longest prefix wins, then the lowest metric; an interface's own prefix has none.
    let mut routes: Vec<(AddressRange, u8, u32, Reach)> = Vec::new();
    for (index, interface) in world.interfaces.iter().enumerate() {
        let through = Reach::Through(InterfaceId(index as u8));
        for prefix in &interface.addresses {
            let network = range_of(masked(prefix.address, prefix.length));
            routes.push((network, prefix.length, 0, through));
            // Longer than any prefix: the local table is asked first.
            let own = range_of(masked(prefix.address, 32));
            routes.push((own, 33, 0, Reach::Own));
        }
    }
    for route in &world.routes {
        let through = Reach::Through(route.interface);
        let destination = range_of(route.destination);
        routes.push((destination, route.destination.length, route.metric, through));
    }
    let mut cuts: Vec<u32> = vec![0];
    for (range, ..) in &routes {
        cuts.push(range.first.into());
        cuts.extend(u32::from(range.last).checked_add(1));
    }
    cuts.sort_unstable();
    cuts.dedup();
    let ends = cuts.iter().skip(1).map(|next| next - 1).chain([u32::MAX]);
    cuts.iter()
        .zip(ends)
        .map(|(&first, last)| {
            let reach = routes
                .iter()
                .filter(|(range, ..)| u32::from(range.first) <= first && last <= range.last.into())
                .min_by_key(|(_, length, metric, _)| (std::cmp::Reverse(*length), *metric))
                .map_or(Reach::Nowhere, |route| route.3);
            let range = AddressRange {
                first: first.into(),
                last: last.into(),
            };
            (range, reach)
        })
        .collect()
}
