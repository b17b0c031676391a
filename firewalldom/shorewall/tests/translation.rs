//! Address translation and what goes with it: one-to-one NAT, `masq`, `routefilter`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use firewalldom::policy::{
    Action, ClampMss, DestinationTarget, Disposition, InterfaceId, Policy, RouteFilter,
    SourceTarget,
};
use shorewall::Site;

fn compile(files: &[(&str, &str)]) -> Policy {
    let mut all: BTreeMap<&str, &str> = BTreeMap::from([
        (
            "network/interfaces",
            "iface eth0 inet static\n address 192.0.2.2/24\n gateway 192.0.2.1\n\
             iface eth1 inet static\n address 10.0.3.1/24\n\
             \x20up ip route add 10.9.0.0/16 via 10.0.3.254\n\
             iface tun0 inet static\n address 10.0.4.1/24\n\
             iface tun1 inet static\n address 10.0.5.1/24\n",
        ),
        (
            "shorewall/zones",
            "fw firewall\nnet ipv4\nloc ipv4\nvpn ipv4\n",
        ),
        (
            "shorewall/interfaces",
            "?FORMAT 2\nnet eth0\nloc eth1\nvpn tun+\n",
        ),
        ("shorewall/policy", "all all DROP\n"),
    ]);
    all.extend(files.iter().copied());
    let compiled = shorewall::compile(&Site::from_files("test", all)).unwrap();
    firewalldom::policy::check::check(&compiled.policy).unwrap();
    compiled.policy
}

#[test]
fn a_wildcard_is_every_interface_that_begins_so_and_has_no_line_of_its_own() {
    let names = |policy: &Policy| -> Vec<String> {
        let names = policy.interfaces.iter();
        names.map(|interface| interface.name.clone()).collect()
    };
    let policy = compile(&[]);
    assert_eq!(names(&policy), ["eth0", "eth1", "tun0", "tun1"]);
    assert_eq!(
        policy.hosts.iter().filter(|host| host.zone.0 == 3).count(),
        2
    );
    let policy = compile(&[(
        "shorewall/interfaces",
        "?FORMAT 2\nnet eth0\nloc eth1\nloc tun1 dhcp\nvpn tun+\n- lo ignore\n",
    )]);
    assert_eq!(names(&policy), ["eth0", "eth1", "tun1", "tun0"]);
    assert!(policy.interfaces[2].dhcp && !policy.interfaces[3].dhcp);
}

#[test]
fn one_to_one_nat_goes_both_ways_and_gives_the_firewall_the_address() {
    let policy = compile(&[
        (
            "shorewall/nat",
            "192.0.2.9 eth0 10.0.3.9\n192.0.2.10 eth0: 10.0.3.10 Yes\n",
        ),
        (
            "shorewall/snat",
            "SNAT+(192.0.2.3) 10.0.3.9 eth0 tcp 25\nMASQUERADE 10.0.3.0/24 eth0\n",
        ),
        ("shorewall/rules", "DNAT net loc:10.0.3.8 tcp 80\n"),
    ]);
    let own: Vec<_> = policy.interfaces[0]
        .addresses
        .iter()
        .map(|own| own.address)
        .collect();
    assert_eq!(
        own,
        [Ipv4Addr::new(192, 0, 2, 2), Ipv4Addr::new(192, 0, 2, 9)]
    );
    let inbound: Vec<_> = policy
        .destination_nat
        .iter()
        .map(|nat| {
            let DestinationTarget::Server {
                addresses,
                ports: None,
            } = &nat.target
            else {
                panic!("{:?}", nat.target);
            };
            (
                nat.source_zone.0,
                nat.matches.ingress,
                addresses.first.octets()[3],
            )
        })
        .collect();
    // The rule first; the second line holds for every interface.
    let eth0 = Some(InterfaceId(0));
    assert_eq!(
        inbound,
        [
            (1, None, 8),
            (1, eth0, 9),
            (1, None, 10),
            (2, None, 10),
            (3, None, 10)
        ]
    );
    let outbound: Vec<_> = policy
        .source_nat
        .iter()
        .map(|nat| match &nat.target {
            SourceTarget::Address { addresses, .. } => (nat.egress.0, addresses.first.octets()[3]),
            SourceTarget::Masquerade { .. } => (nat.egress.0, 0),
            SourceTarget::Exempt => panic!("{nat:?}"),
        })
        .collect();
    assert_eq!(
        outbound,
        [(0, 10), (1, 10), (2, 10), (3, 10), (0, 3), (0, 9), (0, 0)]
    );
}

#[test]
fn masq_means_what_the_lines_of_snat_that_replace_it_mean() {
    let old = compile(&[(
        "shorewall/masq",
        "eth0 10.0.3.0/24\n+eth0:0:198.51.100.0/24 eth1!10.0.3.7 192.0.2.2 tcp 25\neth0:: 10.0.4.0/24 :1024-2048 udp\n\
         eth0 10.0.5.0/24 NONAT\n",
    )]);
    let new = compile(&[(
        "shorewall/snat",
        "MASQUERADE 10.0.3.0/24 eth0\nSNAT+(192.0.2.2) eth1!10.0.3.7 eth0:198.51.100.0/24 tcp 25\n\
         MASQUERADE(1024-2048) 10.0.4.0/24 eth0 udp\nCONTINUE 10.0.5.0/24 eth0\n",
    )]);
    assert_eq!(old.source_nat.len(), 4);
    for (old, new) in old.source_nat.iter().zip(&new.source_nat) {
        assert_eq!(
            (old.egress, &old.matches, &old.target),
            (new.egress, &new.matches, &new.target)
        );
    }
}

#[test]
fn routefilter_is_an_interfaces_own_and_leaves_hairpins_to_the_policy_of_everything() {
    let policy = compile(&[
        (
            "shorewall/interfaces",
            "?FORMAT 2\nnet eth0 routefilter\nloc eth1 routefilter=1,rpfilter,mss=1400\nvpn tun+ routefilter=2\n",
        ),
        ("shorewall/shorewall.conf", "CLAMPMSS=1300\n"),
    ]);
    let filters: Vec<_> = policy
        .interfaces
        .iter()
        .map(|interface| interface.route_filter)
        .collect();
    assert_eq!(
        filters,
        [
            RouteFilter::Strict,
            RouteFilter::Strict,
            RouteFilter::Loose,
            RouteFilter::Loose
        ]
    );
    assert!(policy.interfaces[1].rpfilter && !policy.interfaces[0].rpfilter);
    assert_eq!(policy.interfaces[1].mss, Some(1400));
    assert_eq!(policy.settings.clamp_mss, Some(ClampMss::At(1300)));
    assert!(
        policy
            .interfaces
            .iter()
            .all(|interface| interface.route_back)
    );
    let side = policy.zones.len() + 1;
    let within_net = &policy.chains[usize::from(policy.pairs[side + 1])];
    let hairpin = &within_net.rules[0];
    // As `all all` says.
    assert_eq!(hairpin.action, Action::Decide(Disposition::Drop));
    assert_eq!(
        (hairpin.matches.ingress, hairpin.matches.egress),
        (Some(InterfaceId(0)), Some(InterfaceId(0)))
    );
}

#[test]
fn dnat_of_everybody_leaves_out_the_firewall_which_opens_no_connections() {
    let policy = compile(&[("shorewall/rules", "DNAT all loc:10.0.3.9 tcp 80\n")]);
    let zones: Vec<u16> = policy
        .destination_nat
        .iter()
        .map(|nat| nat.source_zone.0)
        .collect();
    // Nor the server's own zone, unless it is all+.
    assert_eq!(zones, [1, 3]);
}
