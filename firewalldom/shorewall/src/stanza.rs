//! The `iface` stanzas of interfaces(5).

use std::net::Ipv4Addr;

use firewalldom::policy::{Interface, InterfacePrefix, Prefix};

use crate::address;
use crate::network::NamedRoute;
use crate::report::Finding;
use crate::session::Session;
use crate::source::{Span, Word};
use crate::suggest::did_you_mean;

/// Options that change nothing for the domain, and why.
pub(crate) const IGNORED_OPTIONS: &[(&str, &str)] = &[
    ("dns-nameservers", "the domain resolves no names"),
    ("dns-nameserver", "the domain resolves no names"),
    ("dns-search", "the domain resolves no names"),
    ("dns-domain", "the domain resolves no names"),
    ("dns-options", "the domain resolves no names"),
    (
        "hwaddress",
        "a vif's MAC address is written in the domain's configuration (mac=)",
    ),
    ("hostname", "only for DHCP"),
    ("network", "follows from address and netmask"),
    ("description", "only for people"),
];

/// Options of bridges that say what is so anyway, and what they may say; a hyphen is as good as `_`.
const BRIDGE_OPTIONS: &[(&str, &[&str])] = &[
    ("bridge_stp", &["off", "no"]),
    ("bridge_fd", &["0"]),
    ("bridge_maxwait", &["0"]),
    ("bridge_waitport", &["0"]),
    ("bridge_ageing", &["300"]),
    ("bridge_vlan_aware", &["no"]),
];

/// The stanza that is being read.
pub(crate) enum Stanza {
    None,
    /// A stanza that was refused: its options say nothing more.
    Ignored,
    Inet(Inet),
}

/// `iface NAME inet …`.
pub(crate) struct Inet {
    pub(crate) name: Word,
    is_static: bool,
    address: Option<(Ipv4Addr, Option<u8>, Span)>,
    netmask: Option<u8>,
    broadcast: Option<Ipv4Addr>,
    pub(crate) gateway: Option<(Ipv4Addr, Span)>,
    pub(crate) metric: u32,
    pub(crate) mtu: Option<u16>,
    pub(crate) routes: Vec<NamedRoute>,
    /// It is a bridge of guests' vifs.
    pub(crate) is_bridge: bool,
}

/// The line that begins a stanza.
pub(crate) fn begin(session: &mut Session<'_>, line: &Word, columns: &[Word]) -> Stanza {
    let (Some(name), Some(family), Some(method)) = (columns.get(1), columns.get(2), columns.get(3))
    else {
        session.error(
            line.span(),
            "an iface line needs a name, a family and a method",
            "too short",
            "write: iface eth0 inet static",
        );
        return Stanza::Ignored;
    };
    if family.text() == "inet6" {
        if method.text() != "loopback" {
            session.report(
                Finding::warning("IPv6 is not supported: its packets are dropped and counted")
                    .at(family.span(), "this stanza has no effect"),
            );
        }
        return Stanza::Ignored;
    }
    if family.text() != "inet" {
        session.report(
            Finding::error(format!(
                "the address family `{}` is not supported",
                family.text()
            ))
            .at(family.span(), "expected inet")
            .maybe_note(did_you_mean(family.text(), ["inet", "inet6"])),
        );
        return Stanza::Ignored;
    }
    match method.text() {
        "static" | "manual" | "loopback" => {}
        "dhcp" => {
            session.error(
                method.span(),
                "DHCP is not supported yet",
                "the address must be known",
                "give a static address: iface … inet static, then address 192.0.2.2/24",
            );
            return Stanza::Ignored;
        }
        other => {
            session.report(
                Finding::error(format!("the method `{other}` is not supported"))
                    .at(method.span(), "expected static or manual")
                    .maybe_note(did_you_mean(
                        other,
                        ["static", "manual", "loopback", "dhcp"],
                    )),
            );
            return Stanza::Ignored;
        }
    }
    Stanza::Inet(Inet {
        name: name.clone(),
        is_static: method.text() == "static",
        address: None,
        netmask: None,
        broadcast: None,
        gateway: None,
        metric: 0,
        mtu: None,
        routes: Vec::new(),
        is_bridge: false,
    })
}

impl Inet {
    /// A line of the stanza.
    pub(crate) fn option(&mut self, session: &mut Session<'_>, line: &Word, columns: &[Word]) {
        let keyword = &columns[0];
        let Some(value) = columns.get(1) else {
            session.error(
                keyword.span(),
                format!("`{}` needs a value", keyword.text()),
                "nothing follows",
                "",
            );
            return;
        };
        match keyword.text() {
            "address" => {
                let (address, length) = match value.split_once('/') {
                    Some((address, length)) => (address, Some(length)),
                    None => (value.clone(), None),
                };
                let Some(address) = address::single(session, &address) else {
                    return;
                };
                let length = match length {
                    Some(length) => match address::mask_length(session, &length) {
                        Some(length) => Some(length),
                        None => return,
                    },
                    None => None,
                };
                self.address = Some((address, length, value.span()));
            }
            "netmask" => self.netmask = address::mask_length(session, value),
            "broadcast" if matches!(value.text(), "+" | "-") => {}
            "broadcast" => self.broadcast = address::single(session, value),
            "gateway" => {
                self.gateway =
                    address::single(session, value).map(|gateway| (gateway, value.span()));
            }
            "metric" => self.metric = number(session, value, 0, u32::MAX).unwrap_or(0),
            "mtu" => {
                self.mtu = number(session, value, 68, 65_535).map(|mtu| mtu as u16);
            }
            "up" | "post-up" | "pre-up" => self.command(session, line, columns),
            "down" | "pre-down" | "post-down" => {}
            "bridge_ports" | "bridge-ports" => self.bridge_ports(session, value, columns),
            option if option.starts_with("bridge_") || option.starts_with("bridge-") => {
                bridge_option(session, keyword, value);
            }
            "scope" if value.text() == "global" => {}
            option if IGNORED_OPTIONS.iter().any(|(name, _)| *name == option) => {}
            option => {
                let known = [
                    "address",
                    "netmask",
                    "broadcast",
                    "gateway",
                    "metric",
                    "mtu",
                    "up",
                    "post-up",
                    "bridge_ports",
                ]
                .into_iter()
                .chain(IGNORED_OPTIONS.iter().map(|(name, _)| *name));
                session.report(
                    Finding::error(format!("the option `{option}` is not supported"))
                        .at(keyword.span(), "nobody would carry it out")
                        .maybe_note(did_you_mean(option, known.filter(|name| *name != option)))
                        .note(
                            "no ifupdown runs in the domain: take the line out if it is not needed",
                        ),
                );
            }
        }
    }

    /// `bridge_ports none`: whoever names the bridge is a port of it.
    fn bridge_ports(&mut self, session: &mut Session<'_>, value: &Word, columns: &[Word]) {
        let name = self.name.text();
        if let Some(port) = columns[1..].iter().find(|port| port.text() != "none") {
            session.error(
                port.span(),
                "a bridge here has guests' vifs for ports, and nothing else",
                format!("cannot be a port of `{name}`"),
                format!(
                    "write: bridge_ports none; guests name it in their vif=, backend=firewalldom,bridge={name}.                      If it is a bridge of dom0's, leave the line out: `{name}` is then a vif on it"
                ),
            );
            return;
        }
        let is_usual = |c: char| c.is_ascii_alphanumeric() || ".-_:".contains(c);
        if Interface::is_backends_name(name) || name.len() > 15 || !name.chars().all(is_usual) {
            session.error(
                value.span(),
                format!("a bridge cannot be called `{name}`"),
                "a bridge by this",
                "guests name it in their vif=: up to 15 letters, digits and `.-_`, and not vif…",
            );
            return;
        }
        self.is_bridge = true;
    }

    /// `up ip route add PREFIX via GATEWAY [dev IF] [metric N]`.
    fn command(&mut self, session: &mut Session<'_>, line: &Word, columns: &[Word]) {
        let texts: Vec<&str> = columns.iter().map(Word::text).collect();
        let program = texts.get(1).copied().unwrap_or_default();
        let verbs = (texts.get(2).copied(), texts.get(3).copied());
        let is_route = matches!(program, "ip" | "/sbin/ip" | "/bin/ip" | "/usr/sbin/ip")
            && matches!(
                verbs,
                (Some("route" | "r" | "ro"), Some("add" | "a" | "replace"))
            );
        if !is_route {
            session.error(
                line.span(),
                "this command is not supported: no shell runs in the domain",
                "only `ip route add` is understood",
                "write: up ip route add 10.9.0.0/16 via 10.0.3.254",
            );
            return;
        }
        let Some(destination) = columns.get(4) else {
            session.error(line.span(), "the route has no destination", "too short", "");
            return;
        };
        let prefix = if destination.text() == "default" {
            Some(Prefix {
                address: Ipv4Addr::UNSPECIFIED,
                length: 0,
            })
        } else {
            address::prefix(session, destination)
        };
        let mut route = NamedRoute {
            destination: match prefix {
                Some(prefix) => prefix,
                None => return,
            },
            gateway: None,
            interface: self.name.text().to_owned(),
            metric: 0,
            span: line.span(),
        };
        let mut rest = columns[5..].iter();
        while let Some(option) = rest.next() {
            let value = rest.next();
            match (option.text(), value) {
                ("via", Some(value)) => {
                    let Some(gateway) = address::single(session, value) else {
                        return;
                    };
                    route.gateway = Some(gateway);
                }
                ("dev", Some(value)) => match value.text() {
                    "$IFACE" => {}
                    name => name.clone_into(&mut route.interface),
                },
                ("metric", Some(value)) => {
                    route.metric = number(session, value, 0, u32::MAX).unwrap_or(0);
                }
                ("||", Some(value)) if value.text() == "true" => {}
                _ => {
                    session.error(
                        option.span(),
                        format!("`{}` in a route is not supported", option.text()),
                        "only via, dev and metric",
                        "",
                    );
                    return;
                }
            }
        }
        self.routes.push(route);
    }

    /// The address, when all of it is there.
    pub(crate) fn prefix(&self, session: &mut Session<'_>) -> Option<InterfacePrefix> {
        let Some((address, length, span)) = self.address else {
            if self.is_static {
                session.error(
                    self.name.span(),
                    format!("`{}` is static, but has no address", self.name.text()),
                    "no address follows",
                    "add a line below: address 192.0.2.2/24",
                );
            }
            return None;
        };
        let Some(length) = length.or(self.netmask) else {
            session.error(
                span,
                "the length of the prefix is missing",
                "how large is this network?",
                format!("write: address {address}/24, or add a line: netmask 255.255.255.0"),
            );
            return None;
        };
        if address.is_unspecified()
            || address.is_multicast()
            || address.is_broadcast()
            || address.is_loopback()
        {
            session.error(
                span,
                format!("{address} cannot be an interface's address"),
                "not a host's address",
                "",
            );
            return None;
        }
        let host_bits = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
        let last = Ipv4Addr::from(u32::from(address) | host_bits);
        if length < 31 && (address == last || u32::from(address) & host_bits == 0) {
            session.error(
                span,
                format!("{address}/{length} is the network's own or its broadcast address"),
                "not a host's address",
                "give a host's address in that network",
            );
            return None;
        }
        Some(InterfacePrefix {
            address,
            length,
            broadcast: self.broadcast.or((length < 31).then_some(last)),
        })
    }
}

/// A further option of a bridge: what it says has to be so.
fn bridge_option(session: &mut Session<'_>, keyword: &Word, value: &Word) {
    let name = keyword.text().replace('-', "_");
    let known = BRIDGE_OPTIONS.iter().find(|(known, _)| *known == name);
    match known {
        Some((_, values)) if values.contains(&value.text()) => {}
        Some((_, values)) => session.error(
            value.span(),
            format!("`{} {}` is not supported", keyword.text(), value.text()),
            "not so here",
            format!("a bridge of the domain's has: {name} {}", values[0]),
        ),
        None => session.report(
            Finding::error(format!("the option `{}` is not supported", keyword.text()))
                .at(keyword.span(), "nobody would carry it out")
                .maybe_note(did_you_mean(
                    &name,
                    BRIDGE_OPTIONS
                        .iter()
                        .map(|(known, _)| *known)
                        .chain(["bridge_ports"]),
                )),
        ),
    }
}

fn number(session: &mut Session<'_>, word: &Word, low: u32, high: u32) -> Option<u32> {
    let number = word
        .text()
        .parse()
        .ok()
        .filter(|number| (low..=high).contains(number));
    if number.is_none() {
        session.error(
            word.span(),
            format!("`{}` is not a number from {low} to {high}", word.text()),
            "expected a number",
            "",
        );
    }
    number
}
