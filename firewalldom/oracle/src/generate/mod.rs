//! Sites out of a grammar: every column that is supported, in configurations that Shorewall takes.

mod ends;
mod network;
mod old;
mod policy;
mod ports;
mod rules;
mod settings;
mod translation;

use crate::configuration::Configuration;
use fastrand::Rng;
use network::Network;
use std::collections::{BTreeMap, BTreeSet};

/// What a configuration may use, one by one: columns, and forms of them that are a language of their
/// own. Each is used by at least one configuration in twenty.
pub const FEATURES: [&str; 107] = [
    "zones: nested",
    "zones: several parents",
    "interfaces: FORMAT 1 with BROADCAST",
    "interfaces: zone by hosts",
    "interfaces: routeback",
    "interfaces: tcpflags=0",
    "interfaces: nosmurfs",
    "interfaces: dhcp",
    "interfaces: logmartians",
    "interfaces: physical",
    "interfaces: wildcard",
    "interfaces: wildcard of several",
    "interfaces: wildcard over a name",
    "interfaces: routefilter",
    "interfaces: mss",
    "hosts: prefix",
    "hosts: exclusion",
    "hosts: routeback",
    "hosts: mss",
    "policy: LOGLEVEL",
    "policy: default action",
    "policy: list of zones",
    "policy: all+",
    "policy: CONTINUE",
    "policy: NONE",
    "policy: intra-zone",
    "policy: RATE",
    "policy: CONNLIMIT",
    "rules: section ALL",
    "rules: section ESTABLISHED",
    "rules: section RELATED",
    "rules: section INVALID",
    "rules: section UNTRACKED",
    "rules: ACCEPT",
    "rules: DROP",
    "rules: REJECT",
    "rules: LOG",
    "rules: COUNT",
    "rules: ACCEPT+",
    "rules: NONAT",
    "rules: macro",
    "rules: standard action",
    "rules: own macro",
    "rules: own action",
    "rules: log level",
    "rules: log tag",
    "rules: all",
    "rules: any",
    "rules: all!zone",
    "rules: all+",
    "rules: list of zones",
    "rules: $FW",
    "rules: zone:address",
    "rules: zone:prefix",
    "rules: zone:range",
    "rules: zone:list",
    "rules: zone:exclusion",
    "rules: zone:set of addresses",
    "rules: zone:interface",
    "rules: zone:MAC",
    "rules: PROTO number",
    "rules: PROTO list",
    "rules: PROTO tcp:syn",
    "rules: DPORT",
    "rules: DPORT list",
    "rules: DPORT range",
    "rules: DPORT open range",
    "rules: DPORT exclusion",
    "rules: DPORT name",
    "rules: ICMP type",
    "rules: SPORT",
    "rules: ORIGDEST",
    "rules: RATE far above",
    "rules: RATE far below",
    "rules: CONNLIMIT",
    "rules: TIME",
    "rules: DNAT",
    "rules: DNAT with port",
    "rules: DNAT to range",
    "rules: DNAT-",
    "rules: REDIRECT",
    "rules: REDIRECT-",
    "rules: &interface",
    "blrules: DROP",
    "blrules: WHITELIST",
    "snat: MASQUERADE",
    "snat: MASQUERADE ports",
    "snat: SNAT",
    "snat: SNAT+",
    "snat: CONTINUE",
    "snat: DEST address",
    "snat: PROTO and DPORT",
    "nat: one-to-one",
    "conntrack: NOTRACK",
    "shorewall.conf: dispositions",
    "shorewall.conf: IMPLICIT_CONTINUE",
    "shorewall.conf: BLACKLIST",
    "shorewall.conf: CLAMPMSS",
    "shorewall.conf: ROUTE_FILTER",
    "params: variable",
    "?IF",
    "alternate input",
    "continued line",
    "old: SECTION and COMMENT",
    "old: Macro/TARGET",
    "old: Drop and Reject",
    "old: masq",
];

/// A configuration, and what of [`FEATURES`] it uses.
#[derive(Clone, Debug)]
pub struct Generated {
    /// The files.
    pub configuration: Configuration,
    /// Names of features.
    pub used: BTreeSet<&'static str>,
}

/// A configuration of its own for each state of `rng`.
pub fn configuration(rng: &mut Rng) -> Generated {
    let expands = rng.u32(0..6) != 0;
    let mut author = Author {
        expands,
        optimizes: rng.u32(0..3) == 0,
        rng,
        used: BTreeSet::new(),
        files: BTreeMap::new(),
    };
    let network = Network::draw(&mut author);
    network.write(&mut author);
    settings::write(&mut author);
    policy::write(&mut author, &network);
    rules::write(&mut author, &network);
    translation::write(&mut author, &network);
    let old_spellings = match author.one_in(3) {
        true => old::spell(&mut author),
        false => BTreeMap::new(),
    };
    let bytes = |files: BTreeMap<&str, String>| {
        let files = files.into_iter();
        files
            .map(|(name, text)| (name.to_owned(), text.into_bytes()))
            .collect()
    };
    Generated {
        configuration: Configuration {
            files: bytes(author.files),
            old_spellings: bytes(old_spellings),
            ..Configuration::default()
        },
        used: author.used,
    }
}

/// Who writes a configuration, and keeps account of what it uses.
struct Author<'a> {
    rng: &'a mut Rng,
    /// EXPAND_POLICIES.
    expands: bool,
    /// OPTIMIZE=All, which makes Shorewall 5.2.8 forget all rules of a pair of zones whose policy is
    /// ACCEPT where one of them has no conditions.
    optimizes: bool,
    used: BTreeSet<&'static str>,
    files: BTreeMap<&'static str, String>,
}

impl Author<'_> {
    /// Whether to do something that one configuration in `n` does, or one line.
    fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(0..n) == 0
    }

    fn choose<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(0..from.len())].clone()
    }

    /// Says that a feature is used.
    fn uses(&mut self, feature: &'static str) {
        debug_assert!(FEATURES.contains(&feature), "{feature} is not listed");
        self.used.insert(feature);
    }

    /// Adds a line to a file.
    fn line(&mut self, file: &'static str, text: &str) {
        let lines = self.files.entry(file).or_default();
        lines.push_str(text);
        lines.push('\n');
    }

    /// Adds a line of columns to a file; empty ones at the end are left out. Now and then in one of
    /// the other ways to write a line.
    fn row(&mut self, file: &'static str, names: &[&str], columns: &[String]) {
        let last = columns.iter().rposition(|column| column != "-");
        let columns = &columns[..last.map_or(1, |last| last + 1)];
        let text = match self.rng.u32(0..24) {
            0 if columns.len() > 3 && names.len() >= columns.len() => {
                self.uses("alternate input");
                let pairs = names.iter().zip(columns).skip(3);
                let pairs = pairs.filter(|(_, column)| *column != "-");
                let pairs: Vec<_> = pairs
                    .map(|(name, column)| format!("{name}={column}"))
                    .collect();
                format!("{} {{ {} }}", columns[..3].join(" "), pairs.join(" "))
            }
            1 if columns.len() > 2 => {
                self.uses("continued line");
                let (start, rest) = columns.split_at(2);
                format!("{} \\\n    {}", start.join(" "), rest.join(" "))
            }
            _ => columns.join("  "),
        };
        if self.one_in(30) {
            self.uses("?IF");
            let condition = self.choose(&["1", "$YES", "! $NO", "$YES && ! $NO"]);
            self.line(
                file,
                &format!("?IF {condition}\n{text}\n?ELSE\n?ERROR \"no\"\n?ENDIF"),
            );
        } else {
            self.line(file, &text);
        }
    }
}
