//! The file `interfaces`, joined with interfaces(5).

use firewalldom::policy::check::MAX_INTERFACES;
use firewalldom::policy::{
    Addresses, Interface, InterfaceId, InterfacePrefix, RouteFilter, ZoneId, is_called,
};

use crate::columns::{Row, Schema};
use crate::hosts::Group;
use crate::interface_options::{self, Options};
use crate::lines::Line;
use crate::network::Network;
use crate::reader::{Item, read_format, read_required, unexpected_section};
use crate::report::{Edit, Finding};
use crate::session::Session;
use crate::settings::Configuration;
use crate::source::{Span, Word};
use crate::world::World;

const INTERFACES_1: Schema = Schema {
    columns: &["zone", "interface|port", "broadcast|options", "options"],
    required: 2,
};

/// What a line is read with.
pub(crate) struct Surroundings<'n> {
    pub(crate) network: &'n mut Network,
    pub(crate) configuration: &'n Configuration,
}

impl World {
    /// Reads the file.
    pub(crate) fn read_interfaces(
        &mut self,
        session: &mut Session<'_>,
        with: &mut Surroundings<'_>,
    ) {
        let note = "it tells which interface leads to which zone: net eth0";
        let Some(items) = read_required(session, "interfaces", &INTERFACES_1, note) else {
            return;
        };
        let mut format = 1;
        let mut ports = Vec::new();
        let begins = items.iter().find_map(|item| match item {
            Item::Row(row) => Some(row.span),
            Item::Section(_) | Item::Format(_) => None,
        });
        for item in items {
            match item {
                Item::Format(word) => {
                    format = read_format(session, &word, &[1, 2]).unwrap_or(format);
                }
                Item::Section(word) => unexpected_section(session, &word),
                Item::Row(row) => {
                    self.read_interface(session, with, (&row, format), &mut ports);
                }
            }
        }
        self.refuse_all_beside_others(session);
        self.place_interfaces(session, with);
        for (bridge, port, zone) in ports {
            self.read_bridge_port(session, with.network, (&bridge, &port), zone);
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
        for link in &with.network.links {
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
        with: &Surroundings<'_>,
        (row, format): (&Row, u8),
        ports: &mut Vec<(Word, Word, Option<ZoneId>)>,
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
        match name.split_once(':') {
            Some((bridge, port)) => ports.push((bridge, port, zone)),
            None => self.declare(session, with, name, zone, options),
        }
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

    /// Keeps a line; what it matches is known when all have been read.
    fn declare(
        &mut self,
        session: &mut Session<'_>,
        with: &Surroundings<'_>,
        name: &Word,
        zone: Option<ZoneId>,
        options: Options,
    ) {
        let text = name.text();
        if text == "lo" && zone.is_none() {
            // Nothing but the firewall itself is behind its loopback.
            return;
        }
        if text == "lo" {
            session.error(
                name.span(),
                "`lo` cannot be in a zone",
                "the firewall's own loopback",
                "",
            );
            return;
        }
        let physical = options.physical.clone().unwrap_or_else(|| text.to_owned());
        if self.find_line(text).is_some() || self.find_line(&physical).is_some() {
            session.error(
                name.span(),
                format!("the interface `{text}` is declared twice"),
                "again here",
                "several zones behind one interface stand in the file hosts",
            );
            return;
        }
        if text.ends_with('+') && !physical.ends_with('+') {
            session.error(
                name.span(),
                format!("`{text}` is more than one interface, and `{physical}` is one"),
                "each has a name of its own",
                "end both in +, or neither",
            );
            return;
        }
        let line = Line {
            name: name.clone(),
            physical,
            zone,
            route_back: options.route_back,
            filters: route_filter(session, with.configuration, options.route_filter)
                != RouteFilter::Off,
            options,
        };
        if line.is_wildcard() {
            warn_of_links_options(session, &line);
        }
        self.lines.push(line);
    }

    /// What comes in by a line beside `+` goes through the rules between their two zones wherever it would leave:
    /// Shorewall asks no interface there. So it would be decided otherwise than the files say.
    fn refuse_all_beside_others(&self, session: &mut Session<'_>) {
        let all = self.lines.iter().find(|line| line.physical == "+");
        if let Some(all) = all.filter(|_| self.lines.len() > 1) {
            session.error(
                all.name.span(),
                "a line for all interfaces stands beside others",
                "of what the others are about as well",
                "write how the names of its own begin: tun+",
            );
        }
    }

    /// The interfaces that the lines are about: each as its line comes, and where a line is for all that are
    /// called so, those that have none of their own. Guests' vifs are told by name, so that of names of which
    /// one begins as another the longer comes first.
    fn place_interfaces(&mut self, session: &mut Session<'_>, with: &mut Surroundings<'_>) {
        let mut guests: Vec<usize> = (0..self.lines.len())
            .filter(|&line| Interface::is_backends_name(&self.lines[line].physical))
            .collect();
        // One that is no wildcard is only itself: no name that begins as another is more so.
        guests.sort_by_key(|&line| {
            let physical = &self.lines[line].physical;
            let stem = physical.strip_suffix('+');
            std::cmp::Reverse((stem.unwrap_or(physical).len(), stem.is_none()))
        });
        let mut guests = guests.into_iter();
        for number in 0..self.lines.len() {
            let number = match Interface::is_backends_name(&self.lines[number].physical) {
                true => guests.next().unwrap_or(number),
                false => number,
            };
            let line = &self.lines[number];
            let (name, physical) = (line.name.clone(), line.physical.clone());
            if !line.is_wildcard() {
                self.push_interface(session, with, number, &name, &physical);
                continue;
            }
            let links = with.network.links.iter().map(|link| link.name.text());
            let links: Vec<String> = links
                .filter(|link| is_called(link, &physical))
                .map(str::to_owned)
                .collect();
            if links.is_empty() {
                let file = session.site.network().display().to_string();
                session.report(
                    Finding::warning(format!("no interface is called `{}`", name.text()))
                        .at(name.span(), format!("none in {file} begins so"))
                        .note("a vif is known when the domain is built: give it an address there"),
                );
            }
            for link in links {
                let has_line = self.lines.iter().any(|line| line.physical == link);
                if !has_line && !self.interfaces.iter().any(|known| known.name == link) {
                    self.push_interface(session, with, number, &name, &link);
                }
            }
        }
        for number in 0..self.lines.len() {
            let line = &self.lines[number];
            let Some(zone) = line.zone else {
                continue;
            };
            let route_back = line.options.route_back;
            for interface in self.members(number) {
                self.groups.push(Group {
                    zone,
                    line: number,
                    interface,
                    addresses: Addresses::default(),
                    mss: None,
                    route_back,
                });
            }
        }
    }

    /// An interface, with what is its own of the line for it.
    fn push_interface(
        &mut self,
        session: &mut Session<'_>,
        with: &mut Surroundings<'_>,
        line: usize,
        name: &Word,
        physical: &str,
    ) {
        if self.interfaces.len() >= MAX_INTERFACES {
            session.error(
                name.span(),
                format!("more than {MAX_INTERFACES} interfaces"),
                "one too many",
                "",
            );
            return;
        }
        let (addresses, mtu) = match Interface::is_backends_name(physical) {
            true => addresses_for_guests(with.network, physical),
            false => addresses(session, with.network, name, physical),
        };
        let mut links = with.network.links.iter();
        let bridge = links.any(|link| link.is_bridge && link.name.text() == physical);
        let line = &self.lines[line];
        // What the kernel is told of an interface needs its name.
        let own = (!line.is_wildcard()).then_some(&line.options);
        let log_martians = own.and_then(|own| own.log_martians).unwrap_or_else(|| {
            with.configuration.get("LOG_MARTIANS").is_none_or(|value| {
                matches!(
                    value.text().to_ascii_lowercase().as_str(),
                    "yes" | "on" | "keep"
                )
            })
        });
        let filter = own.map_or(RouteFilter::Off, |own| own.route_filter);
        let proxy_arp = own.and_then(|own| own.proxy_arp);
        let interface = Interface {
            name: physical.to_owned(),
            addresses,
            mtu,
            log_martians,
            route_filter: route_filter(session, with.configuration, filter),
            proxy_arp: proxy_arp.unwrap_or(false),
            bridge,
            origin: session.origin(name.span()),
            ..Interface::default()
        };
        self.logical.push(line.logical(physical));
        self.interfaces.push(interface);
        if proxy_arp.is_some() {
            let number = (self.interfaces.len() - 1) as u8;
            self.proxy_arp_said.insert(InterfaceId(number));
        }
    }
}

/// Says which options of a line with a `+` do nothing, as Shorewall does: they are the kernel's, which wants
/// an interface's name.
fn warn_of_links_options(session: &mut Session<'_>, line: &Line) {
    let options = &line.options;
    let given = [
        ("routefilter", options.route_filter != RouteFilter::Off),
        ("logmartians", options.log_martians.is_some()),
        ("proxyarp", options.proxy_arp.is_some()),
    ];
    for (option, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
        let name = line.name.text();
        let mut finding = Finding::warning(format!("`{option}` has no effect on `{name}`"))
            .at(
                line.name.span(),
                "the name of no interface, but of all that begin so",
            )
            .note("as in Shorewall: give each its own line");
        if option == "routefilter" {
            finding = finding.note("but without it Shorewall checks for hairpins: take it out");
        }
        session.report(finding);
    }
}

/// What interfaces(5) says of guests' vifs: nothing is needed, because they take any address of the
/// firewall's for their gateway.
fn addresses_for_guests(
    network: &mut Network,
    physical: &str,
) -> (Vec<InterfacePrefix>, Option<u16>) {
    let mut links = network.links.iter_mut();
    match links.find(|link| link.name.text() == physical) {
        Some(link) => {
            link.used = true;
            (link.prefixes.clone(), link.mtu)
        }
        None => (Vec::new(), None),
    }
}

/// What ROUTE_FILTER and the option `routefilter` come to: as in Linux, the stricter of the two
/// unless either asks for the loose check.
fn route_filter(
    session: &mut Session<'_>,
    configuration: &Configuration,
    option: RouteFilter,
) -> RouteFilter {
    match (configuration.route_filter(session), option) {
        (RouteFilter::Loose, _) | (_, RouteFilter::Loose) => RouteFilter::Loose,
        (RouteFilter::Strict, _) | (_, RouteFilter::Strict) => RouteFilter::Strict,
        (RouteFilter::Off, RouteFilter::Off) => RouteFilter::Off,
    }
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
