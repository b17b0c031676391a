//! Links, zones, and who is in which zone.

use super::Author;

/// A zone besides the firewall's.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    pub(super) name: &'static str,
    /// Number of its link.
    pub(super) link: usize,
    /// Hosts' addresses in it: the link's, or its own part of them.
    pub(super) network: Prefix,
    pub(super) parents: Vec<&'static str>,
    /// Whether only part of its link is in it.
    pub(super) by_hosts: bool,
}

/// A prefix of addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prefix {
    pub(super) first: [u8; 4],
    pub(super) length: u8,
}

impl Prefix {
    pub(super) fn text(self) -> String {
        format!("{}/{}", self.host(0), self.length)
    }

    /// The nth address.
    pub(super) fn host(self, n: u8) -> String {
        let [a, b, c, d] = self.first;
        format!("{a}.{b}.{c}.{}", d.wrapping_add(n))
    }

    /// How many addresses a host may have.
    pub(super) fn hosts(self) -> u8 {
        match self.length {
            0..=24 => 254,
            length => ((1u16 << (32 - length)) - 2) as u8,
        }
    }
}

/// What a site is connected to.
#[derive(Clone, Debug)]
pub(super) struct Network {
    pub(super) links: Vec<Link>,
    pub(super) zones: Vec<Zone>,
    /// How many links have a line of their own in Shorewall's files: those that come first.
    lines: usize,
    /// A zone that is declared before the others: it is asked first about what is in both.
    first: Option<&'static str>,
}

/// An interface.
#[derive(Clone, Debug)]
pub(super) struct Link {
    /// As the system calls it.
    pub(super) name: &'static str,
    /// As Shorewall's files call it.
    pub(super) logical: &'static str,
    /// As its line calls it: `eth1+`, and all that are called so.
    pub(super) line: &'static str,
    pub(super) prefix: Prefix,
    /// Own address.
    pub(super) own: u8,
}

const LINKS: [(&str, &str, [u8; 4]); 4] = [
    ("eth0", "net", [192, 0, 2, 0]),
    ("eth1", "loc", [10, 0, 1, 0]),
    ("eth2", "dmz", [10, 0, 2, 0]),
    ("eth3", "wifi", [172, 16, 3, 0]),
];

/// Parts of a link that become zones of their own.
const PARTS: [(&str, u8, u8); 3] = [("adm", 64, 26), ("voip", 128, 27), ("srv", 16, 28)];

impl Network {
    pub(super) fn draw(author: &mut Author<'_>) -> Self {
        let count = author.choose(&[1, 2, 2, 2, 3, 3, 3, 4]);
        let mut links = Vec::new();
        let mut zones = Vec::new();
        for (number, (name, zone, first)) in LINKS.into_iter().take(count).enumerate() {
            let prefix = Prefix { first, length: 24 };
            links.push(Link {
                name,
                logical: name,
                line: name,
                prefix,
                own: if number == 0 { 2 } else { 1 },
            });
            zones.push(Zone {
                name: zone,
                link: number,
                network: prefix,
                parents: Vec::new(),
                by_hosts: false,
            });
        }
        if count > 1 && author.one_in(6) {
            author.uses("interfaces: physical");
            links[1].logical = "LOCAL";
            links[1].line = "LOCAL";
        }
        let mut network = Self {
            links,
            zones,
            lines: count,
            first: None,
        };
        if count > 1 && author.one_in(4) {
            network.draw_wildcard(author);
        }
        if count > 1 && author.one_in(3) {
            network.draw_parts(author);
        }
        network
    }

    /// Makes the second line one with a `+`: for its link only, for one more, or for one that has a line of its
    /// own as well.
    fn draw_wildcard(&mut self, author: &mut Author<'_>) {
        author.uses("interfaces: wildcard");
        let physical = self.links[1].logical != self.links[1].name;
        self.links[1].line = if physical { "LOCAL+" } else { "eth1+" };
        let first = [10, 0, 11, 0];
        let prefix = Prefix { first, length: 24 };
        let another = Link {
            name: "eth11",
            logical: if physical { "LOCAL1" } else { "eth11" },
            line: self.links[1].line,
            prefix,
            own: 1,
        };
        match author.rng.u32(0..3) {
            0 => {
                author.uses("interfaces: wildcard of several");
                self.links.push(another);
            }
            1 => {
                author.uses("interfaces: wildcard over a name");
                self.zones.push(Zone {
                    name: "vpn",
                    link: self.lines,
                    network: prefix,
                    parents: Vec::new(),
                    by_hosts: false,
                });
                self.lines += 1;
                self.links.push(Link {
                    logical: "eth11",
                    line: "eth11",
                    ..another
                });
                self.first = author.choose(&[None, Some("vpn")]);
            }
            _ if !physical && author.one_in(2) => {
                author.uses("interfaces: wildcard over a name");
                self.links[1].line = "eth+";
            }
            _ => {}
        }
    }

    /// Makes part of a link, or of several, a zone of its own: nested or beside the link's zone.
    fn draw_parts(&mut self, author: &mut Author<'_>) {
        let parts = author.choose(&[1, 1, 2]);
        for (name, offset, length) in PARTS.into_iter().take(parts) {
            let link = author.rng.usize(1..self.lines);
            let [a, b, c, _] = self.links[link].prefix.first;
            let mut parents = Vec::new();
            if !author.one_in(4) {
                author.uses("zones: nested");
                parents.push(self.zones[link].name);
                if author.one_in(2) {
                    author.uses("zones: several parents");
                    parents.push(self.zones[0].name);
                }
            }
            self.zones.push(Zone {
                name,
                link,
                network: Prefix {
                    first: [a, b, c, offset],
                    length,
                },
                parents,
                by_hosts: true,
            });
        }
    }

    pub(super) fn write(&self, author: &mut Author<'_>) {
        author.uses("params: variable");
        author.line("shorewall/params", "YES=Yes\nNO=\nNET_IF=eth0");
        author.line("shorewall/conntrack", "?FORMAT 3");
        if author.one_in(8) {
            self.write_untracked(author);
        }
        self.write_links(author);
        self.write_zones(author);
        self.write_interfaces(author);
    }

    fn write_untracked(&self, author: &mut Author<'_>) {
        author.uses("conntrack: NOTRACK");
        let link = author.choose(&self.links);
        let source = author.choose(&["-".to_owned(), link.prefix.text(), link.prefix.host(80)]);
        let far = "198.51.100.0/24".to_owned();
        let destination = author.choose(&["-".to_owned(), far, link.prefix.host(link.own)]);
        let traffic = author.choose(&[
            "udp 53",
            "udp - 53",
            "tcp 80",
            "icmp 8",
            "47",
            "udp 500:510",
        ]);
        author.line(
            "shorewall/conntrack",
            &format!("NOTRACK {source} {destination} {traffic}"),
        );
    }

    fn write_links(&self, author: &mut Author<'_>) {
        for (number, link) in self.links.iter().enumerate() {
            let mut text = format!(
                "auto {0}\niface {0} inet static\n    address {1}/24",
                link.name,
                link.prefix.host(link.own)
            );
            if number == 0 {
                text += "\n    gateway 192.0.2.1";
            }
            author.line("network/interfaces", &text);
        }
    }

    /// Zones that are part of others come after them, or, if nobody says what is part of what, before.
    fn write_zones(&self, author: &mut Author<'_>) {
        author.line("shorewall/zones", "fw firewall");
        let (parts, whole): (Vec<_>, Vec<_>) = self
            .zones
            .iter()
            .partition(|zone| zone.by_hosts && zone.parents.is_empty());
        let is_first = |zone: &&&Zone| Some(zone.name) == self.first;
        let first: Vec<_> = whole.iter().filter(is_first).copied().collect();
        let whole = whole.iter().filter(|zone| !is_first(zone)).copied();
        for zone in parts.into_iter().chain(first).chain(whole) {
            let parents = match zone.parents.is_empty() {
                true => String::new(),
                false => format!(":{}", zone.parents.join(",")),
            };
            author.line("shorewall/zones", &format!("{}{parents} ipv4", zone.name));
        }
    }

    fn write_interfaces(&self, author: &mut Author<'_>) {
        let old = author.one_in(6);
        if old {
            author.uses("interfaces: FORMAT 1 with BROADCAST");
        } else {
            author.line("shorewall/interfaces", "?FORMAT 2");
        }
        let mut shared = interface_options(author);
        shared.retain(|option| option != "dhcp");
        let mut lines: Vec<_> = self.links.iter().enumerate().take(self.lines).collect();
        if author.one_in(2) {
            lines.reverse();
        }
        for (number, link) in lines {
            let zone = &self.zones[number];
            let parts: Vec<_> = self
                .zones
                .iter()
                .filter(|part| part.by_hosts && part.link == number)
                .cloned()
                .collect();
            // A zone may have all of its hosts in the file hosts.
            let all_by_hosts = number > 0 && author.one_in(8);
            // Where policies are not expanded, Shorewall may have one interface's options hold for what
            // comes to the firewall by another.
            let mut options = match author.expands {
                true => interface_options(author),
                false => shared.clone(),
            };
            if link.logical != link.name {
                let plus = if link.line.ends_with('+') { "+" } else { "" };
                options.push(format!("physical={}{plus}", link.name));
            }
            let options = match options.is_empty() {
                true => "-".to_owned(),
                false => options.join(","),
            };
            let zone_column = if all_by_hosts { "-" } else { zone.name };
            let name = match (number, author.one_in(5)) {
                (0, true) => "$NET_IF",
                _ => link.line,
            };
            let columns = match old {
                true => {
                    let broadcast = author.choose(&["-", "detect"]);
                    format!("{zone_column} {name} {broadcast} {options}")
                }
                false => format!("{zone_column} {name} {options}"),
            };
            author.line("shorewall/interfaces", &columns);
            if all_by_hosts {
                author.uses("interfaces: zone by hosts");
                let mut hosts = format!("{}:{}", link.line, link.prefix.text());
                if author.one_in(2) {
                    author.uses("hosts: exclusion");
                    hosts += &format!("!{}/29", link.prefix.host(8));
                }
                author.line("shorewall/hosts", &format!("{} {hosts}", zone.name));
            }
            for part in parts {
                author.uses("hosts: prefix");
                let mut hosts = format!("{}:{}", link.line, part.network.text());
                let mut options = Vec::new();
                let excludes = author.one_in(4);
                if excludes {
                    author.uses("hosts: exclusion");
                    hosts += &format!("!{}", part.network.host(3));
                }
                if author.one_in(3) {
                    author.uses("hosts: routeback");
                    options.push("routeback");
                }
                // With both, Shorewall 5.2.8 takes the exclusion for one of sources, whatever the way.
                if !excludes && author.one_in(4) {
                    author.uses("hosts: mss");
                    options.push("mss=1200");
                }
                if !options.is_empty() {
                    hosts += &format!(" {}", options.join(","));
                }
                author.line("shorewall/hosts", &format!("{} {hosts}", part.name));
            }
        }
    }
}

fn interface_options(author: &mut Author<'_>) -> Vec<String> {
    let mut options = Vec::new();
    for (option, feature, n) in [
        ("tcpflags=0", "interfaces: tcpflags=0", 5),
        ("nosmurfs", "interfaces: nosmurfs", 2),
        ("routeback", "interfaces: routeback", 5),
        ("dhcp", "interfaces: dhcp", 4),
        ("logmartians", "interfaces: logmartians", 4),
        ("routefilter", "interfaces: routefilter", 16),
        ("routefilter=2", "interfaces: routefilter", 24),
        ("mss=1300", "interfaces: mss", 12),
    ] {
        if author.one_in(n) {
            author.uses(feature);
            options.push(option.to_owned());
        }
    }
    if options
        .iter()
        .filter(|option| option.starts_with("routefilter"))
        .count()
        > 1
    {
        options.retain(|option| option != "routefilter=2");
    }
    options
}
