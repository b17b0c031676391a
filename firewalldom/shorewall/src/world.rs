//! `zones` and `interfaces`, joined with interfaces(5).

use firewalldom::policy::check::MAX_INTERFACES;
use std::collections::BTreeSet;

use firewalldom::policy::{
    Addresses, Host, Interface, InterfaceId, InterfacePrefix, Origin, Prefix, Route, Zone, ZoneId,
};

use crate::columns::{Row, Schema};
use crate::hosts::Group;
use crate::interface_options::{self, Options, RouteFilter};
use crate::network::Network;
use crate::packet_set;
use crate::reader::{Item, read_named};
use crate::report::{Edit, Finding};
use crate::session::Session;
use crate::settings::Configuration;
use crate::source::{Span, Word};
use crate::suggest::did_you_mean;

const INTERFACES_1: Schema = Schema {
    columns: &["zone", "interface|port", "broadcast|options", "options"],
    required: 2,
};

/// The zones, interfaces and routes of a site.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) zones: Vec<Zone>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) hosts: Vec<Host>,
    pub(crate) routes: Vec<Route>,
    /// Names that the files use, in the order of `interfaces`; those are physical ones.
    logical: Vec<String>,
    /// Which addresses behind which interface are whose, as the files say it.
    pub(crate) groups: Vec<Group>,
    /// Names with a `+`, without it.
    wildcards: Vec<String>,
    /// For each interface, what sources it may bring, and where that is asked.
    pub(crate) route_filters: Vec<(RouteFilter, Origin)>,
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
        world.read_interfaces(session, network, configuration);
        world.read_hosts(session);
        world.place_hosts(session);
        world.place_routes(session, network);
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

    /// The interface of a name; an unknown one is reported.
    pub(crate) fn interface(&self, session: &mut Session<'_>, word: &Word) -> Option<InterfaceId> {
        let found = self.find_interface(word.text());
        if found.is_none() {
            let known = self.logical.iter().map(String::as_str);
            session.report(
                Finding::error(format!("unknown interface `{}`", word.text()))
                    .at(word.span(), "not declared in shorewall/interfaces")
                    .maybe_note(did_you_mean(word.text(), known)),
            );
        }
        found
    }

    pub(crate) fn has_interface(&self, name: &str) -> bool {
        self.find_interface(name).is_some()
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

    /// Whether traffic of a zone can use an interface.
    pub(crate) fn zone_has_interface(&self, zone: ZoneId, interface: InterfaceId) -> bool {
        self.groups
            .iter()
            .any(|group| group.zone == zone && group.interface == interface)
    }

    /// Whether a name is that of an interface no vif exists for: it begins as a `+` says.
    pub(crate) fn is_absent(&self, name: &str) -> bool {
        !self.has_interface(name) && self.wildcards.iter().any(|stem| name.starts_with(stem))
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

    /// Prefixes behind an interface: its own, and those routed through it.
    pub(crate) fn prefixes_behind(&self, interface: InterfaceId) -> Vec<Prefix> {
        let own = &self.interfaces[usize::from(interface.0)].addresses;
        own.iter()
            .map(|prefix| crate::address::masked(prefix.address, prefix.length))
            .chain(
                self.routes
                    .iter()
                    .filter(|route| route.interface == interface && route.destination.length > 0)
                    .map(|route| route.destination),
            )
            .collect()
    }

    fn read_interfaces(
        &mut self,
        session: &mut Session<'_>,
        network: &mut Network,
        configuration: &Configuration,
    ) {
        let before = session.findings.len();
        let Some(items) = read_named(session, "interfaces", &INTERFACES_1) else {
            if session.findings.len() == before {
                let path = session.shorewall_file("interfaces");
                session.report(
                    Finding::error(format!("there is no file {}", path.display()))
                        .note("it tells which interface leads to which zone: net eth0"),
                );
            }
            return;
        };
        let mut format = 1;
        let begins = items.iter().find_map(|item| match item {
            Item::Row(row) => Some(row.span),
            Item::Section(_) | Item::Format(_) => None,
        });
        for item in items {
            match item {
                Item::Format(word) => match word.text() {
                    "1" => format = 1,
                    "2" => format = 2,
                    other => session.error(
                        word.span(),
                        format!("there is no format {other} of this file"),
                        "expected 2",
                        "write: ?FORMAT 2",
                    ),
                },
                Item::Section(_) => unexpected_directive(session, &item),
                Item::Row(row) => {
                    self.read_interface(session, network, configuration, &row, format);
                }
            }
        }
        // A file that loses its column BROADCAST is one of format 2.
        if let (Some(first), Some(Edit::Replace(column, _))) = (begins, session.other_edits.first())
            && first.file == column.file
        {
            let before = Span {
                end: first.start,
                ..first
            };
            session
                .other_edits
                .push(Edit::replace(before, "?FORMAT 2\n"));
        }
        for link in &network.links {
            if !link.used {
                session.report(
                    Finding::warning(format!(
                        "the interface `{}` is in no zone: the domain gets no vif for it",
                        link.name.text()
                    ))
                    .at(link.name.span(), "not in shorewall/interfaces"),
                );
            }
        }
        if self.interfaces.is_empty() && !session.has_errors() {
            let path = session.shorewall_file("interfaces");
            session.report(Finding::error(format!(
                "{} declares no interface",
                path.display()
            )));
        }
    }

    fn read_interface(
        &mut self,
        session: &mut Session<'_>,
        network: &mut Network,
        configuration: &Configuration,
        row: &Row,
        format: u8,
    ) {
        let Some(name) = row.get(1) else {
            session.error(
                row.span,
                "the name of the interface is missing",
                "",
                "write: net eth0",
            );
            return;
        };
        let options_word = if format == 2 {
            if let Some(extra) = row.raw(3) {
                session.error(
                    extra.span(),
                    "too many columns: format 2 has ZONE INTERFACE OPTIONS",
                    "one too many",
                    "format 2 has no BROADCAST column",
                );
                return;
            }
            row.get(2)
        } else {
            self.format_1(session, row)
        };
        let options = interface_options::read(session, options_word);
        let zone = match row.get(0) {
            None => None,
            Some(word) => {
                let zone = self.zone(session, word);
                if zone == Some(ZoneId::FIREWALL) {
                    session.error(
                        word.span(),
                        "the firewall zone has no interfaces",
                        "the firewall itself",
                        "put the zone here that is reached through the interface",
                    );
                }
                zone
            }
        };
        self.push_interface(session, network, configuration, name, zone, options);
    }

    /// ZONE INTERFACE BROADCAST OPTIONS.
    fn format_1<'r>(&self, session: &mut Session<'_>, row: &'r Row) -> Option<&'r Word> {
        let modern = [
            row.raw(0).map_or("-", Word::text),
            row.raw(1).map_or("-", Word::text),
            row.get(3).map_or("", Word::text),
        ]
        .join(" ");
        if let Some(broadcast) = row.raw(2) {
            let end = row
                .raw(3)
                .map_or(broadcast.span().end, |options| options.span().start);
            let column = Span {
                end,
                ..broadcast.span()
            };
            session.other_edits.push(Edit::replace(column, ""));
        }
        if let Some(broadcast) = row.get(2) {
            let is_broadcast = broadcast.text() == "detect"
                || broadcast
                    .split(',')
                    .iter()
                    .all(|address| address.text().parse::<std::net::Ipv4Addr>().is_ok());
            let finding = if is_broadcast {
                Finding::warning("the column BROADCAST has no effect").at(
                    broadcast.span(),
                    "broadcast addresses come from interfaces(5)",
                )
            } else {
                Finding::error(format!(
                    "`{}` stands in the column BROADCAST",
                    broadcast.text()
                ))
                .at(
                    broadcast.span(),
                    "format 1 of this file has BROADCAST before OPTIONS",
                )
            };
            session.report(finding.note(format!(
                "write ?FORMAT 2 on the first line, then here: {}",
                if is_broadcast {
                    modern
                } else {
                    format!("{} {}", modern.trim_end(), broadcast.text())
                }
            )));
        }
        row.get(3)
    }

    fn push_interface(
        &mut self,
        session: &mut Session<'_>,
        network: &mut Network,
        configuration: &Configuration,
        name: &Word,
        zone: Option<ZoneId>,
        options: Options,
    ) {
        let text = name.text();
        if text == "lo" && zone.is_none() {
            // Nothing but the firewall itself is behind its loopback.
            return;
        }
        if text == "lo" || text.contains(':') {
            session.error(
                name.span(),
                format!("`{text}` cannot be in a zone"),
                if text == "lo" {
                    "the firewall's own loopback"
                } else {
                    "a bridge port or an alias"
                },
                "",
            );
            return;
        }
        if let Some(stem) = text.strip_suffix('+') {
            self.push_wildcard(session, network, configuration, name, stem, zone, &options);
            return;
        }
        let physical = options.physical.clone().unwrap_or_else(|| text.to_owned());
        if self.has_interface(text) || self.has_interface(&physical) {
            session.error(
                name.span(),
                format!("the interface `{text}` is declared twice"),
                "again here",
                "several zones behind one interface stand in the file hosts",
            );
            return;
        }
        if self.interfaces.len() >= MAX_INTERFACES {
            session.error(
                name.span(),
                format!("more than {MAX_INTERFACES} interfaces"),
                "one too many",
                "",
            );
            return;
        }
        let (addresses, mtu) = addresses(session, network, name, &physical);
        let log_martians = options.log_martians.unwrap_or_else(|| {
            configuration.get("LOG_MARTIANS").is_none_or(|value| {
                matches!(
                    value.text().to_ascii_lowercase().as_str(),
                    "yes" | "on" | "keep"
                )
            })
        });
        self.interfaces.push(Interface {
            name: physical,
            addresses,
            mtu,
            tcp_flags: options.tcp_flags,
            no_smurfs: options.no_smurfs,
            route_back: options.route_back,
            dhcp: options.dhcp,
            log_martians,
            route_filter: firewalldom::policy::RouteFilter::Off,
            rpfilter: false,
            mss: None,
            origin: session.origin(name.span()),
        });
        self.route_filters
            .push(route_filter(session, configuration, name, &options));
        self.logical.push(text.to_owned());
        if let Some(zone) = zone {
            self.groups.push(Group {
                zone,
                interface: InterfaceId((self.interfaces.len() - 1) as u8),
                addresses: Addresses::default(),
            });
        }
    }

    /// `tun+`: the interfaces of interfaces(5) that begin so and have no line of their own.
    #[expect(
        clippy::too_many_arguments,
        reason = "all of a line of the file, split into its columns"
    )]
    fn push_wildcard(
        &mut self,
        session: &mut Session<'_>,
        network: &mut Network,
        configuration: &Configuration,
        name: &Word,
        stem: &str,
        zone: Option<ZoneId>,
        options: &Options,
    ) {
        self.wildcards.push(stem.to_owned());
        let matching: Vec<String> = network
            .links
            .iter()
            .map(|link| link.name.text())
            .filter(|link| link.starts_with(stem) && !self.has_interface(link))
            .map(str::to_owned)
            .collect();
        if matching.is_empty() {
            let file = session.site.network().display().to_string();
            session.report(
                Finding::warning(format!("no interface is called `{}`", name.text()))
                    .at(name.span(), format!("none in {file} begins so"))
                    .note("a vif is known when the domain is built: give it an address there"),
            );
        }
        for link in matching {
            let word = Word::replacing(name.span(), &link);
            self.push_interface(
                session,
                network,
                configuration,
                &word,
                zone,
                options.clone(),
            );
        }
    }

    /// Zones claim addresses in the order of `zones`, but for inner zones, which come first.
    fn place_hosts(&mut self, session: &mut Session<'_>) {
        for zone in self.claiming_order() {
            let before = self.hosts.len();
            for group in self.groups.iter().filter(|group| group.zone == zone) {
                let ranges = packet_set::flatten(&group.addresses);
                self.hosts
                    .extend(
                        ranges
                            .into_iter()
                            .flat_map(packet_set::prefixes)
                            .map(|prefix| Host {
                                zone,
                                interface: group.interface,
                                prefix,
                                mss: None,
                            }),
                    );
            }
            if before == self.hosts.len() && !session.has_errors() {
                session.report(Finding::warning(format!(
                    "the zone `{}` is empty: no interface leads to it",
                    self.zones[usize::from(zone.0)].name
                )));
            }
        }
    }

    /// The zones but the firewall: each after all that lie in it, else as they are declared.
    fn claiming_order(&self) -> Vec<ZoneId> {
        let mut order: Vec<ZoneId> = Vec::new();
        let mut left: Vec<ZoneId> = (1..self.zones.len())
            .map(|index| ZoneId(index as u16))
            .collect();
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
                let on_link = self.interfaces[interface].addresses.iter().any(|prefix| {
                    crate::address::masked(gateway, prefix.length)
                        == crate::address::masked(prefix.address, prefix.length)
                });
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

/// What ROUTE_FILTER and the option `routefilter` come to: as in Linux, the stricter of the two
/// unless either asks for the loose check.
fn route_filter(
    session: &mut Session<'_>,
    configuration: &Configuration,
    name: &Word,
    options: &Options,
) -> (RouteFilter, Origin) {
    let everywhere = configuration.route_filter(session);
    let (own, span) = options
        .route_filter
        .unwrap_or((RouteFilter::Off, name.span()));
    (own.max(everywhere), session.origin(span))
}

/// Takes an interface's addresses out of interfaces(5).
fn addresses(
    session: &mut Session<'_>,
    network: &mut Network,
    name: &Word,
    physical: &str,
) -> (Vec<InterfacePrefix>, Option<u16>) {
    let refused = network.is_refused(physical);
    let Some(link) = network
        .links
        .iter_mut()
        .find(|link| link.name.text() == physical)
    else {
        let file = session.site.network().display().to_string();
        if !refused {
            session.error(
                name.span(),
                format!("`{physical}` is not in {file}"),
                "its address is unknown",
                format!("add there: iface {physical} inet static, then address 192.0.2.2/24"),
            );
        }
        return (Vec::new(), None);
    };
    link.used = true;
    if link.prefixes.is_empty() && !refused {
        session.report(
            Finding::warning(format!("`{physical}` has no address"))
                .at(name.span(), "nobody behind it can reach the firewall")
                .note("static, with an address, if it should be a gateway there"),
        );
    }
    (link.prefixes.clone(), link.mtu)
}

/// ?SECTION or ?FORMAT in a file that has none.
pub(crate) fn unexpected_directive(session: &mut Session<'_>, item: &Item) {
    match item {
        Item::Section(word) => session.error(
            word.span(),
            "this file has no sections",
            "sections are for rules",
            "take the line out",
        ),
        Item::Format(word) => session.error(
            word.span(),
            "this file has no formats",
            "",
            "take the line out",
        ),
        Item::Row(_) => {}
    }
}
