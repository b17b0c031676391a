//! What the language means, as real Shorewall's generated rules show it.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use firewalldom::policy::{
    Action, AddressRange, Chain, ClampMss, DestinationTarget, Disposition, InterfaceId, Policy,
    PortRange, Protocol, RouteFilter, Rule, SourceTarget, States, ZoneId,
};
use shorewall::Site;

mod bridges;
mod files;
mod nested;
mod policies;
mod proxy_arp;
mod rules;
mod sections;
mod translation;

/// Three zones, each behind an interface of its own.
const THREE_ZONES: [(&str, &str); 4] = [
    (
        "network/interfaces",
        "iface eth0 inet static\n address 192.0.2.2/24\n gateway 192.0.2.1\n\
         iface eth1 inet static\n address 10.0.3.1/24\n\
         iface eth2 inet static\n address 10.0.4.1\n netmask 255.255.255.0\n mtu 1400\n\
         \x20up ip route add 10.9.0.0/16 via 10.0.4.254\n",
    ),
    (
        "shorewall/zones",
        "net ipv4\nfw firewall\nloc ipv4\ndmz ipv4\n",
    ),
    (
        "shorewall/interfaces",
        "?FORMAT 2\nnet eth0 tcpflags=0\nloc eth1 routeback\ndmz eth2 dhcp,nosmurfs,logmartians=0\n",
    ),
    (
        "shorewall/policy",
        "loc net ACCEPT\nnet all DROP info\nall all REJECT info\n",
    ),
];

/// The policy of a site whose other files are these.
fn policy_of(site: &[(&str, &str)], files: &[(&str, &str)]) -> Policy {
    let all: BTreeMap<&str, &str> = site.iter().chain(files).copied().collect();
    let compiled = shorewall::compile(&Site::from_files("test", all)).unwrap();
    firewalldom::policy::check::check(&compiled.policy).unwrap();
    compiled.policy
}

fn compile(files: &[(&str, &str)]) -> Policy {
    policy_of(&THREE_ZONES, files)
}

fn rules(text: &str) -> Policy {
    compile(&[("shorewall/rules", text)])
}

/// The chain of two zones; `nowhere` is what belongs to none.
fn chain<'p>(policy: &'p Policy, source: &str, destination: &str) -> &'p Chain {
    let index = |name: &str| {
        let mut names = policy.zones.iter().map(|zone| zone.name.as_str());
        match name {
            "nowhere" => policy.zones.len(),
            _ => names.position(|zone| zone == name).unwrap(),
        }
    };
    let side = policy.zones.len() + 1;
    &policy.chains[usize::from(policy.pairs[index(source) * side + index(destination)])]
}

/// Pairs of zones that have a rule, as `source-destination`.
fn pairs_with_rules(policy: &Policy) -> Vec<String> {
    let names = ["fw", "net", "loc", "dmz"];
    let mut pairs = Vec::new();
    for source in names {
        for destination in names {
            if !chain(policy, source, destination).rules.is_empty() {
                pairs.push(format!("{source}-{destination}"));
            }
        }
    }
    pairs
}

fn ports(first: u16, last: u16) -> Vec<PortRange> {
    vec![PortRange { first, last }]
}

fn range(first: [u8; 4], last: [u8; 4]) -> AddressRange {
    AddressRange {
        first: Ipv4Addr::from(first),
        last: Ipv4Addr::from(last),
    }
}
