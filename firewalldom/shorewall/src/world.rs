//! The zones of a site, what lies behind its interfaces, and the ways there.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use firewalldom::policy::{
    AddressRange, Addresses, Exception, Host, Interface, InterfaceId, Prefix, Proxied, Route, Zone,
    ZoneId,
};

use crate::address;
use crate::bridge_ports::BridgePort;
use crate::chains::{Chains, Stage};
use crate::coverage::Coverage;
use crate::hosts::Group;
use crate::interfaces::Surroundings;
use crate::lines::Line;
use crate::network::Network;
use crate::packet_set;
use crate::report::Finding;
use crate::session::Session;
use crate::settings::Configuration;
use crate::source::Word;
use crate::suggest::did_you_mean;
use crate::tables::Tables;

/// The zones, interfaces and routes of a site.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) zones: Vec<Zone>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) routes: Vec<Route>,
    pub(crate) proxied: Vec<Proxied>,
    /// Interfaces whose option `proxyarp` holds, whatever the file of that name says.
    pub(crate) proxy_arp_said: BTreeSet<InterfaceId>,
    /// Names that the files use, in the order of `interfaces`; those are physical ones.
    pub(crate) logical: Vec<String>,
    /// Which addresses behind which interface are whose, as the files say it.
    pub(crate) groups: Vec<Group>,
    /// Lines of `interfaces`.
    pub(crate) lines: Vec<Line>,
    /// Zones of bridge ports.
    pub(crate) bridge_zones: BTreeSet<ZoneId>,
    pub(crate) bridge_ports: Vec<BridgePort>,
    /// Names of zones whose declaration was refused: uses are not reported again.
    pub(crate) refused: BTreeSet<String>,
}

impl World {
    pub(crate) fn read(
        session: &mut Session<'_>,
        network: &mut Network,
        configuration: &Configuration,
    ) -> Self {
        let mut world = Self::default();
        world.read_zones(session);
        if world.zones.is_empty() {
            // Without zones, everything else would be reported as unknown.
            return world;
        }
        let mut with = Surroundings {
            network,
            configuration,
        };
        world.read_interfaces(session, &mut with);
        let network = with.network;
        world.read_hosts(session);
        world.settle_options();
        world.warn_of_overlaps(session);
        world.refuse_two_orders(session);
        world.place_hosts(session);
        world.place_routes(session, network);
        world.read_proxy_arp(session);
        world
    }

    /// The zone of a name; an unknown one is reported.
    pub(crate) fn zone(&self, session: &mut Session<'_>, word: &Word) -> Option<ZoneId> {
        let name = word.text();
        if let Some(zone) = self.find_zone(name) {
            return Some(zone);
        }
        if !self.refused.contains(name) {
            let known = self.zones.iter().map(|zone| zone.name.as_str());
            let list = known.clone().collect::<Vec<_>>().join(", ");
            session.report(
                Finding::error(format!("unknown zone `{name}`"))
                    .at(word.span(), "not declared in zones")
                    .maybe_note(did_you_mean(name, known))
                    .note(format!("the zones are: {list}")),
            );
        }
        None
    }

    pub(crate) fn find_zone(&self, name: &str) -> Option<ZoneId> {
        self.zones
            .iter()
            .position(|zone| zone.name == name)
            .map(|index| ZoneId(index as u16))
    }

    /// The interface of a name; an unknown one is reported, and a name of several.
    pub(crate) fn interface(&self, session: &mut Session<'_>, word: &Word) -> Option<InterfaceId> {
        match *self.interfaces_of(session, word)? {
            [interface] => Some(interface),
            ref all => {
                let names = all.iter().map(|id| &self.logical[usize::from(id.0)]);
                let names = names.map(|name| format!("`{name}`"));
                let finding = match all.is_empty() {
                    true => format!("there is no interface `{}`", word.text()),
                    false => format!("`{}` is more than one interface", word.text()),
                };
                session.report(
                    Finding::error(finding)
                        .at(word.span(), "one is needed here")
                        .maybe_note((!all.is_empty()).then(|| {
                            format!("they are: {}", names.collect::<Vec<_>>().join(", "))
                        })),
                );
                None
            }
        }
    }

    /// The interfaces of a name: with a `+`, all that are called so, or none. An unknown one is reported.
    pub(crate) fn interfaces_of(
        &self,
        session: &mut Session<'_>,
        word: &Word,
    ) -> Option<Vec<InterfaceId>> {
        let found = self.find_interfaces(word.text());
        if found.is_none() {
            self.report_unknown(session, word);
        }
        found
    }

    /// The line of a name; an unknown one is reported, and so is a name of which only a part has a line.
    pub(crate) fn line(&self, session: &mut Session<'_>, word: &Word) -> Option<usize> {
        let found = self.find_line(word.text());
        if found.is_none() {
            self.report_unknown(session, word);
        }
        found
    }

    fn report_unknown(&self, session: &mut Session<'_>, word: &Word) {
        let known = self.lines.iter().map(|line| line.name.text());
        let known: Vec<&str> = known
            .chain(self.logical.iter().map(String::as_str))
            .filter(|known| *known != word.text())
            .collect();
        session.report(
            Finding::error(format!("unknown interface `{}`", word.text()))
                .at(word.span(), "not declared in shorewall/interfaces")
                .maybe_note(did_you_mean(word.text(), known)),
        );
    }

    pub(crate) fn has_interface(&self, name: &str) -> bool {
        self.find_interfaces(name).is_some()
    }

    fn find_interface(&self, name: &str) -> Option<InterfaceId> {
        self.logical
            .iter()
            .position(|logical| logical == name)
            .or_else(|| {
                self.interfaces
                    .iter()
                    .position(|interface| interface.name == name)
            })
            .map(|index| InterfaceId(index as u8))
    }

    fn find_interfaces(&self, name: &str) -> Option<Vec<InterfaceId>> {
        match self.find_line(name) {
            Some(line) => Some(self.members(line)),
            None => self.find_interface(name).map(|interface| vec![interface]),
        }
    }

    /// Whether traffic of a zone can use an interface.
    pub(crate) fn zone_has_interface(&self, zone: ZoneId, interface: InterfaceId) -> bool {
        self.groups
            .iter()
            .any(|group| group.zone == zone && group.interface == interface)
    }

    /// Whether a name is that of an interface no vif exists for: it begins as a `+` says.
    pub(crate) fn is_absent(&self, name: &str) -> bool {
        let wildcards = self.lines.iter().filter(|line| line.is_wildcard());
        let stems = wildcards.filter_map(|line| line.name.text().strip_suffix('+'));
        !self.has_interface(name) && stems.into_iter().any(|stem| name.starts_with(stem))
    }

    /// Every zone, the firewall first.
    pub(crate) fn all_zones(&self) -> impl Iterator<Item = ZoneId> + Clone + use<> {
        (0..self.zones.len()).map(|index| ZoneId(index as u16))
    }

    /// The zones but the firewall, as they are declared.
    pub(crate) fn zones_but_firewall(&self) -> impl Iterator<Item = ZoneId> + Clone + use<> {
        self.all_zones().skip(1)
    }

    /// What stands for hosts that no zone claims: it comes after the last.
    pub(crate) fn nobody(&self) -> ZoneId {
        ZoneId(self.zones.len() as u16)
    }

    /// Whoever packets come from on an interface: the zones, and nobody where there are such hosts.
    pub(crate) fn senders(&self) -> impl Iterator<Item = ZoneId> + Clone + use<> {
        let nobody = self.has_hosts_of_no_zone().then(|| self.nobody());
        self.zones_but_firewall().chain(nobody)
    }

    /// Whether a zone lies in another.
    pub(crate) fn is_nested(&self, zone: ZoneId) -> bool {
        !self.zones[usize::from(zone.0)].parents.is_empty()
    }

    /// A zone, then the zones it lies in, the innermost first.
    pub(crate) fn inside_out(&self, zone: ZoneId) -> Vec<ZoneId> {
        let mut order = vec![zone];
        let mut next = 0;
        while let Some(inner) = order.get(next) {
            for &around in &self.zones[usize::from(inner.0)].parents {
                if !order.contains(&around) {
                    order.push(around);
                }
            }
            next += 1;
        }
        // A zone is declared after those around it.
        order[1..].sort_by_key(|&zone| std::cmp::Reverse(zone));
        order
    }

    /// Another zone that packets of a pair may be of as well: one that shares an interface with
    /// either, and neither lies in the other.
    pub(crate) fn overlapping(&self, (source, destination): (ZoneId, ZoneId)) -> Option<ZoneId> {
        let shares = |zone: ZoneId, other: ZoneId| {
            let of_zone = self.groups.iter().filter(|group| group.zone == zone);
            of_zone
                .clone()
                .any(|group| self.zone_has_interface(other, group.interface))
        };
        [source, destination].into_iter().find_map(|zone| {
            self.zones_but_firewall()
                .filter(|&other| shares(zone, other))
                .find(|&other| {
                    !self.inside_out(zone).contains(&other)
                        && !self.inside_out(other).contains(&zone)
                })
        })
    }

    /// What goes back by the interface it came by, within a zone that has no other, needs `routeback`
    /// of its own hosts: else it meets the policy `all all`, where Shorewall does not look for
    /// hairpins: on an interface whose sources the kernel checks, or that has `routeback` for others,
    /// on any where there are `blrules`, and where there is only one zone.
    pub(crate) fn forward_hairpins(
        &mut self,
        tables: &mut Tables,
        chains: &mut Chains,
        caught: &Exception,
    ) {
        let has_blacklist = chains.has_blacklist();
        for (number, line) in self.lines.iter().enumerate() {
            let members = self.members(number);
            for zone in self.zones_but_firewall() {
                let groups = self.groups.iter().filter(|group| group.zone == zone);
                let mut others = groups.clone().filter(|group| group.line != number);
                let is_alone = self.zones.len() == 2
                    && groups.clone().count() == members.len()
                    && groups
                        .clone()
                        .all(|group| group.addresses == Addresses::default());
                // It may be of a later zone as well: between the two the line's check is made.
                let is_checked = |&interface: &InterfaceId| {
                    !line.is_unchecked()
                        && !is_alone
                        && (!has_blacklist || self.is_shared(zone, interface))
                };
                if others.next().is_some() {
                    continue;
                }
                let all_checked = members.iter().all(is_checked);
                let is_never_back = groups.clone().all(|group| !group.route_back);
                let is_left = self.is_inner(zone) && is_never_back;
                // The check comes behind the `blrules` of the zone that it is left to.
                if is_left && (!all_checked || has_blacklist) {
                    chains.leave_to_others(zone);
                    continue;
                }
                if all_checked {
                    continue;
                }
                let place = match is_alone || has_blacklist {
                    true => Stage::Blacklist,
                    false => Stage::Sections,
                };
                let groups = groups.filter(|group| !group.route_back);
                for group in groups.filter(|group| !is_checked(&group.interface)) {
                    // Where there is only one, established packets that do not go back need not be asked.
                    let ingress = (members.len() == 1).then_some(group.interface);
                    let origin = self.interfaces[usize::from(group.interface.0)].origin;
                    let way = (ingress, group.interface, origin);
                    chains.forwarded_back(tables, zone, way, &group.addresses, place);
                }
                if !has_blacklist && is_never_back {
                    let origin = self.interfaces[usize::from(members[0].0)].origin;
                    for (ingress, egress) in self.ways_caught_later(number) {
                        let way = (ingress, egress, origin);
                        chains.caught(tables, [(zone, zone)].into_iter(), way, caught);
                    }
                }
            }
        }
        self.catch_hairpins(tables, chains, caught);
    }

    /// Zones with an interface that has `dhcp`.
    pub(crate) fn with_dhcp(&self) -> Vec<ZoneId> {
        let groups = self.groups.iter();
        groups
            .filter(|group| self.interfaces[usize::from(group.interface.0)].dhcp)
            .map(|group| group.zone)
            .collect()
    }

    /// Addresses of a zone behind an interface.
    fn ranges(&self, zone: ZoneId, interface: InterfaceId) -> Vec<AddressRange> {
        let groups = self.groups.iter();
        groups
            .filter(|group| group.zone == zone && group.interface == interface)
            .flat_map(|group| packet_set::flatten(&group.addresses))
            .collect()
    }

    /// The interfaces that a zone has addresses behind.
    pub(crate) fn interfaces_behind(&self, zone: ZoneId) -> Vec<InterfaceId> {
        let groups = self.groups.iter().filter(|group| group.zone == zone);
        let mut interfaces: Vec<InterfaceId> = groups.map(|group| group.interface).collect();
        interfaces.sort();
        interfaces.dedup();
        interfaces
    }

    /// Zones that claim addresses after `zone` and would have all of that one's behind an interface:
    /// as if it lay in them, but for what its declaration says.
    pub(crate) fn covering(&self, zone: ZoneId, interface: InterfaceId) -> Vec<ZoneId> {
        let ranges = |zone| self.ranges(zone, interface);
        let own = ranges(zone);
        let covers = |other: &ZoneId| {
            let theirs = ranges(*other);
            own.iter().all(|range| {
                let holds =
                    |their: &AddressRange| their.first <= range.first && range.last <= their.last;
                theirs.iter().any(holds)
            })
        };
        let order = self.claiming_order();
        let later = order.into_iter().skip_while(|other| *other != zone).skip(1);
        let around = self.inside_out(zone);
        later
            .filter(|other| !around.contains(other))
            .filter(covers)
            .collect()
    }

    /// Zones that claim addresses after `zone` and would have any of that one's, in that order: what
    /// its chains leave undecided meets theirs, whatever the file `zones` says of parents.
    pub(crate) fn claiming_after(&self, zone: ZoneId) -> Vec<ZoneId> {
        let order = self.claiming_order();
        let later = order.into_iter().skip_while(|other| *other != zone).skip(1);
        later
            .filter(|&other| self.coverage(zone, other) != Coverage::Nothing)
            .collect()
    }

    /// Whether any address of a zone is another one's as well, which claims it later.
    pub(crate) fn is_inside(&self, zone: ZoneId) -> bool {
        !self.claiming_after(zone).is_empty()
    }

    /// Whether it may leave packets to another zone, by its declaration or by its addresses.
    pub(crate) fn is_inner(&self, zone: ZoneId) -> bool {
        self.is_nested(zone) || self.is_inside(zone)
    }

    /// The same on every interface that a zone has addresses behind.
    pub(crate) fn all_covering(&self, zone: ZoneId) -> Vec<ZoneId> {
        let groups = self.groups.iter().filter(|group| group.zone == zone);
        let mut all: Option<Vec<ZoneId>> = None;
        for group in groups {
            let here = self.covering(zone, group.interface);
            match &mut all {
                None => all = Some(here),
                Some(all) => all.retain(|zone| here.contains(zone)),
            }
        }
        all.unwrap_or_default()
    }

    /// Whether an interface leads to hosts that no zone claims.
    pub(crate) fn has_hosts_of_no_zone(&self) -> bool {
        let everything = AddressRange {
            first: Ipv4Addr::UNSPECIFIED,
            last: Ipv4Addr::BROADCAST,
        };
        (0..self.interfaces.len()).any(|index| {
            let groups = self.groups.iter();
            let here = groups.filter(|group| usize::from(group.interface.0) == index);
            let mut ranges = here.flat_map(|group| packet_set::flatten(&group.addresses));
            !ranges.any(|range| range == everything)
        })
    }

    /// Zones with hosts that have `mss=` in the file `hosts`.
    pub(crate) fn with_mss(&self) -> Vec<ZoneId> {
        let groups = self.groups.iter();
        groups
            .filter(|group| group.mss.is_some())
            .map(|group| group.zone)
            .collect()
    }

    /// Whether a zone that claims its addresses after `zone` would have any of that one's behind an
    /// interface.
    fn is_shared(&self, zone: ZoneId, interface: InterfaceId) -> bool {
        let ranges = |zone| self.ranges(zone, interface);
        let order = self.claiming_order();
        let later = order.iter().skip_while(|other| **other != zone).skip(1);
        let own = ranges(zone);
        later.flat_map(|&zone| ranges(zone)).any(|theirs| {
            own.iter()
                .any(|range| range.first <= theirs.last && theirs.first <= range.last)
        })
    }

    /// Prefixes behind an interface: its own, and those routed through it.
    pub(crate) fn prefixes_behind(&self, interface: InterfaceId) -> Vec<Prefix> {
        let own = &self.interfaces[usize::from(interface.0)].addresses;
        own.iter()
            .map(|prefix| address::masked(prefix.address, prefix.length))
            .chain(
                self.routes
                    .iter()
                    .filter(|route| route.interface == interface && route.destination.length > 0)
                    .map(|route| route.destination),
            )
            .collect()
    }

    /// Zones claim addresses in the order of `zones`, but for inner zones, which come first.
    fn place_hosts(&mut self, session: &mut Session<'_>) {
        for zone in self.claiming_order() {
            let before = self.hosts.len();
            for group in self.groups.iter().filter(|group| group.zone == zone) {
                // Two lines of a zone may match an interface.
                let is_whole = group.addresses == Addresses::default();
                if is_whole
                    && self.hosts[before..]
                        .iter()
                        .any(|host| host.interface == group.interface)
                {
                    continue;
                }
                let ranges = packet_set::flatten(&group.addresses).into_iter();
                let prefixes = ranges.flat_map(packet_set::prefixes);
                self.hosts.extend(prefixes.map(|prefix| Host {
                    zone,
                    interface: group.interface,
                    prefix,
                    mss: group.mss,
                }));
            }
            let said = self.bridge_zones.contains(&zone);
            if before == self.hosts.len() && !said && !session.has_errors() {
                session.report(Finding::warning(format!(
                    "the zone `{}` is empty: no interface leads to it",
                    self.zones[usize::from(zone.0)].name
                )));
            }
        }
    }

    /// The zones but the firewall: each after all that lie in it, else as they are declared.
    pub(crate) fn claiming_order(&self) -> Vec<ZoneId> {
        let mut order: Vec<ZoneId> = Vec::new();
        let mut left: Vec<ZoneId> = self.zones_but_firewall().collect();
        while !left.is_empty() {
            let ready = left.iter().position(|&zone| {
                left.iter()
                    .all(|&inner| !self.zones[usize::from(inner.0)].parents.contains(&zone))
            });
            // Zones lie in earlier ones only, so that one is always ready.
            order.push(left.remove(ready.unwrap_or(0)));
        }
        order
    }

    fn place_routes(&mut self, session: &mut Session<'_>, network: &Network) {
        for route in &network.routes {
            let Some(interface) = self
                .interfaces
                .iter()
                .position(|interface| interface.name == route.interface)
            else {
                // Its interface has been reported, or has no vif: nothing can be sent there.
                continue;
            };
            if let Some(gateway) = route.gateway {
                let mut own = self.interfaces[interface].addresses.iter();
                let on_link =
                    own.any(|own| address::share_prefix(gateway, own.address, own.length));
                if !on_link {
                    session.error(
                        route.span,
                        format!(
                            "the gateway {gateway} is not reachable on {}",
                            route.interface
                        ),
                        "in none of the interface's networks",
                        "a gateway must lie in the prefix of one of the interface's addresses",
                    );
                    continue;
                }
            }
            self.routes.push(Route {
                destination: route.destination,
                gateway: route.gateway,
                interface: InterfaceId(interface as u8),
                metric: route.metric,
            });
        }
    }
}
