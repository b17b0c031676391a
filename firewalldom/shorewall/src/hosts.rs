//! The file `hosts`: several zones behind one interface.

use firewalldom::policy::{Addresses, InterfaceId, ZoneId};

use crate::address;
use crate::columns::{Row, Schema};
use crate::interface_options::parse_mss;
use crate::reader::rows;
use crate::report::Finding;
use crate::session::Session;
use crate::source::Word;
use crate::suggest::did_you_mean;
use crate::world::World;

const HOSTS: Schema = Schema {
    columns: &["zone", "hosts|host", "options"],
    required: 2,
};

/// Addresses behind an interface that belong to a zone.
pub(crate) struct Group {
    pub(crate) zone: ZoneId,
    /// Number of the line of `interfaces` that it is behind.
    pub(crate) line: usize,
    pub(crate) interface: InterfaceId,
    pub(crate) addresses: Addresses,
    /// `mss=`.
    pub(crate) mss: Option<u16>,
    /// `routeback`, of the group itself or of its interface's own line.
    pub(crate) route_back: bool,
}

/// Options of a line that are refused, and why.
const REFUSED_OPTIONS: [(&str, &str); 5] = [
    ("broadcast", "a zone holds what its addresses say"),
    ("destonly", "a group is source and destination"),
    ("ipsec", "IPsec does not end here"),
    ("maclist", "the file maclist is not supported yet"),
    ("sourceonly", "a group is source and destination"),
];

impl World {
    /// Reads the file, if there is one.
    pub(crate) fn read_hosts(&mut self, session: &mut Session<'_>) {
        for row in rows(session, "hosts", &HOSTS) {
            self.read_group(session, &row);
        }
    }

    fn read_group(&mut self, session: &mut Session<'_>, row: &Row) {
        let (Some(zone_word), Some(hosts)) = (row.get(0), row.get(1)) else {
            session.error(
                row.span,
                "a zone and its hosts are needed",
                "one of them is missing",
                "write: loc eth1:10.0.3.0/24",
            );
            return;
        };
        let zone = self.zone(session, zone_word);
        if zone == Some(ZoneId::FIREWALL) {
            session.error(
                zone_word.span(),
                "the firewall zone has no hosts",
                "the firewall itself",
                "",
            );
            return;
        }
        let Some((interface, addresses)) = hosts.split_once(':') else {
            session.error(
                hosts.span(),
                "an interface and addresses are needed",
                "no colon between them",
                format!("write: {}:10.0.3.0/24", hosts.text()),
            );
            return;
        };
        let line = self.line(session, &interface);
        if addresses.text() == "dynamic" {
            session.error(
                addresses.span(),
                "dynamic zones are not supported yet",
                "filled while the firewall runs",
                "write the addresses",
            );
            return;
        }
        let list = address::expanded_list(session, self, &addresses);
        let options = options(session, row.get(2));
        let (Some(zone), Some(line), Some(addresses)) = (zone, line, list) else {
            return;
        };
        self.lines[line].route_back |= options.route_back;
        for interface in self.members(line) {
            self.groups.push(Group {
                zone,
                line,
                interface,
                addresses: addresses.clone(),
                mss: options.mss,
                route_back: options.route_back,
            });
        }
    }
}

/// The options that are done.
#[derive(Default)]
struct Options {
    /// Holds for all of the interface.
    route_back: bool,
    mss: Option<u16>,
}

fn options(session: &mut Session<'_>, column: Option<&Word>) -> Options {
    let mut options = Options::default();
    for option in column.map(|column| column.split(',')).unwrap_or_default() {
        let text = option.text();
        let name = text.split('=').next().unwrap_or_default();
        match name {
            "routeback" => options.route_back = true,
            "blacklist" | "norfc1918" => session.report(
                Finding::warning(format!("the option `{name}` has no effect"))
                    .at(option.span(), "gone from Shorewall")
                    .note("take it out"),
            ),
            "mss" => match option.split_once('=') {
                Some((_, value)) => options.mss = parse_mss(session, &value),
                None => {
                    session.error(
                        option.span(),
                        "mss needs a number",
                        "of bytes",
                        "write: mss=1452",
                    );
                }
            },
            "tcpflags" | "nosmurfs" => session.error(
                option.span(),
                format!("the option `{name}` of hosts is not supported yet"),
                "a check of some hosts only",
                format!("give {name} to the interface, in shorewall/interfaces"),
            ),
            _ => match REFUSED_OPTIONS.iter().find(|refused| refused.0 == name) {
                Some((_, reason)) => session.error(
                    option.span(),
                    format!("the option `{name}` is not supported yet"),
                    *reason,
                    "take it out if the site can do without",
                ),
                None => session.report(
                    Finding::error(format!("unknown option `{text}`"))
                        .at(option.span(), "not one of Shorewall's")
                        .maybe_note(did_you_mean(name, ["routeback", "tcpflags", "nosmurfs"])),
                ),
            },
        }
    }
    options
}
