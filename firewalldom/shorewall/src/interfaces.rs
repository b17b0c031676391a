//! The file `interfaces`, joined with interfaces(5).

use firewalldom::policy::check::MAX_INTERFACES;
use firewalldom::policy::{
    Addresses, Interface, InterfaceId, InterfacePrefix, RouteFilter, ZoneId,
};

use crate::columns::{Row, Schema};
use crate::hosts::Group;
use crate::interface_options::{self, Options};
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
                    self.read_interface(session, with, &row, format);
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
        with: &mut Surroundings<'_>,
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
        self.push_interface(session, with, name, zone, options);
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
        with: &mut Surroundings<'_>,
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
        if let Some((bridge, port)) = name.split_once(':') {
            self.read_bridge_port(session, with.network, (&bridge, &port), zone);
            return;
        }
        if let Some(stem) = text.strip_suffix('+')
            && !Interface::is_backends_name(text)
        {
            self.push_wildcard(session, with, name, stem, zone, &options);
            return;
        }
        let physical = options.physical.clone().unwrap_or_else(|| text.to_owned());
        if !self.has_place_for(session, name, &physical) {
            return;
        }
        let (addresses, mtu) = match Interface::is_backends_name(&physical) {
            true => addresses_for_guests(with.network, &physical),
            false => addresses(session, with.network, name, &physical),
        };
        let mut links = with.network.links.iter();
        let bridge = links.any(|link| link.is_bridge && link.name.text() == physical);
        let log_martians = options.log_martians.unwrap_or_else(|| {
            with.configuration.get("LOG_MARTIANS").is_none_or(|value| {
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
            route_filter: route_filter(session, with.configuration, &options),
            rpfilter: options.rpfilter,
            proxy_arp: options.proxy_arp.unwrap_or(false),
            mss: options.mss,
            bridge,
            origin: session.origin(name.span()),
        });
        if options.proxy_arp.is_some() {
            let number = (self.interfaces.len() - 1) as u8;
            self.proxy_arp_said.insert(InterfaceId(number));
        }
        self.logical.push(text.to_owned());
        if let Some(zone) = zone {
            self.groups.push(Group {
                zone,
                interface: InterfaceId((self.interfaces.len() - 1) as u8),
                addresses: Addresses::default(),
                mss: None,
                route_back: options.route_back,
            });
        }
    }

    /// Whether there may be one more interface, of this name.
    fn has_place_for(&self, session: &mut Session<'_>, name: &Word, physical: &str) -> bool {
        let text = name.text();
        if self.has_interface(text) || self.has_interface(physical) {
            session.error(
                name.span(),
                format!("the interface `{text}` is declared twice"),
                "again here",
                "several zones behind one interface stand in the file hosts",
            );
            return false;
        }
        let whole = physical.strip_suffix('+').unwrap_or(physical);
        if let Some(earlier) = self.interfaces.iter().find(|earlier| earlier.fits(whole)) {
            session.error(
                name.span(),
                format!(
                    "no vif is behind `{text}`: `{}` holds them all",
                    earlier.name
                ),
                "the first line that fits a vif's name decides",
                format!("put this line above that of `{}`", earlier.name),
            );
            return false;
        }
        let stem = physical.strip_suffix('+');
        let mut interfaces = self.interfaces.iter();
        let inner = stem.and_then(|stem| interfaces.find(|one| one.name.starts_with(stem)));
        if let Some(inner) = inner {
            session.error(
                name.span(),
                format!("what is behind `{}` is called `{text}` as well", inner.name),
                format!("Shorewall lets nothing pass from here to `{}`", inner.name),
                "choose names of which none begins as another: `vif-dmz+` and `vif-loc+`",
            );
            return false;
        }
        if self.interfaces.len() >= MAX_INTERFACES {
            session.error(
                name.span(),
                format!("more than {MAX_INTERFACES} interfaces"),
                "one too many",
                "",
            );
            return false;
        }
        true
    }

    /// `tun+`: the interfaces of interfaces(5) that begin so and have no line of their own.
    fn push_wildcard(
        &mut self,
        session: &mut Session<'_>,
        with: &mut Surroundings<'_>,
        name: &Word,
        stem: &str,
        zone: Option<ZoneId>,
        options: &Options,
    ) {
        self.wildcards.push(stem.to_owned());
        let links = with.network.links.iter().map(|link| link.name.text());
        let (others, matching): (Vec<String>, Vec<String>) = links
            .filter(|link| link.starts_with(stem))
            .map(str::to_owned)
            .partition(|link| self.has_interface(link));
        if !options.route_back && !matching.is_empty() && matching.len() + others.len() > 1 {
            let all = matching.iter().chain(&others);
            let all: Vec<String> = all.map(|link| format!("`{link}`")).collect();
            session.report(
                Finding::warning(format!(
                    "what passes between {} is decided by the rules of their zones",
                    all.join(" and ")
                ))
                .at(
                    name.span(),
                    format!(
                        "Shorewall drops it: to it all of them are `{}`",
                        name.text()
                    ),
                )
                .note("with a line of its own for each of them both do the same"),
            );
        }
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
            self.push_interface(session, with, &word, zone, options.clone());
        }
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
    options: &Options,
) -> RouteFilter {
    match (configuration.route_filter(session), options.route_filter) {
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
