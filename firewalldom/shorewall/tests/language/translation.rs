//! Address translation and what goes with it: DNAT, SNAT, one-to-one NAT, `masq`, `routefilter`.

use super::*;

/// Two tunnels that one line of `interfaces` is about.
const TUNNELS: [(&str, &str); 4] = [
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
];

fn with_tunnels(files: &[(&str, &str)]) -> Policy {
    policy_of(&TUNNELS, files)
}

#[test]
fn a_wildcard_is_every_interface_that_begins_so_and_has_no_line_of_its_own() {
    let names = |policy: &Policy| -> Vec<String> {
        let names = policy.interfaces.iter();
        names.map(|interface| interface.name.clone()).collect()
    };
    let policy = with_tunnels(&[]);
    assert_eq!(names(&policy), ["eth0", "eth1", "tun0", "tun1"]);
    assert_eq!(
        policy.hosts.iter().filter(|host| host.zone.0 == 3).count(),
        2
    );
    let policy = with_tunnels(&[(
        "shorewall/interfaces",
        "?FORMAT 2\nnet eth0\nloc eth1\nloc tun1 dhcp\nvpn tun+\n- lo ignore\n",
    )]);
    assert_eq!(names(&policy), ["eth0", "eth1", "tun1", "tun0"]);
    assert!(policy.interfaces[2].dhcp && !policy.interfaces[3].dhcp);
}

#[test]
fn one_to_one_nat_goes_both_ways_and_gives_the_firewall_the_address() {
    let policy = with_tunnels(&[
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
    let old = with_tunnels(&[(
        "shorewall/masq",
        "eth0 10.0.3.0/24\n+eth0:0:198.51.100.0/24 eth1!10.0.3.7 192.0.2.2 tcp 25\neth0:: 10.0.4.0/24 :1024-2048 udp\n\
         eth0 10.0.5.0/24 NONAT\n",
    )]);
    let new = with_tunnels(&[(
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
    let policy = with_tunnels(&[
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
            // The kernel is told of an interface by name, and Shorewall has none.
            RouteFilter::Off,
            RouteFilter::Off
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
    let policy = with_tunnels(&[("shorewall/rules", "DNAT all loc:10.0.3.9 tcp 80\n")]);
    let zones: Vec<u16> = policy
        .destination_nat
        .iter()
        .map(|nat| nat.source_zone.0)
        .collect();
    // Nor the server's own zone, unless it is all+.
    assert_eq!(zones, [1, 3]);
}

#[test]
fn dnat_translates_and_lets_through_what_it_translated() {
    let policy = rules("DNAT:info net loc:10.0.3.9:80 tcp 8080 - 192.0.2.2\n");
    let nat = &policy.destination_nat[0];
    assert_eq!(nat.source_zone, ZoneId(1));
    assert_eq!(
        nat.matches.destination.ranges,
        [range([192, 0, 2, 2], [192, 0, 2, 2])]
    );
    assert_eq!(nat.matches.destination_port.ranges, ports(8080, 8080));
    assert_eq!(nat.log.as_ref().unwrap().disposition, "DNAT");
    let [rule] = chain(&policy, "net", "loc").rules.as_slice() else {
        panic!("one rule expected");
    };
    assert_eq!(rule.action, Action::Decide(Disposition::Accept));
    assert_eq!(
        rule.matches.destination.ranges,
        [range([10, 0, 3, 9], [10, 0, 3, 9])]
    );
    assert_eq!(rule.matches.destination_port.ranges, ports(80, 80));
    assert_eq!(rule.matches.original_port.ranges, ports(8080, 8080));
    assert_eq!(
        rule.matches.original_destination.ranges,
        [range([192, 0, 2, 2], [192, 0, 2, 2])]
    );
    assert_eq!(rule.log, None);
}

#[test]
fn dnat_that_keeps_the_port_does_not_look_at_the_original_one() {
    let policy = rules("HTTP(DNAT) net loc:10.0.3.8-10.0.3.9\nDNAT- loc 10.0.4.9 tcp 83\n");
    let rule = &chain(&policy, "net", "loc").rules[0];
    assert_eq!(rule.matches.destination_port.ranges, ports(80, 80));
    assert!(rule.matches.original_port.ranges.is_empty());
    assert_eq!(pairs_with_rules(&policy), ["net-loc"]);
    assert_eq!(policy.destination_nat.len(), 2);
    let DestinationTarget::Server {
        addresses,
        ports: None,
    } = &policy.destination_nat[0].target
    else {
        panic!("{:?}", policy.destination_nat[0]);
    };
    assert_eq!(*addresses, range([10, 0, 3, 8], [10, 0, 3, 9]));
}

#[test]
fn redirect_goes_to_the_firewall_under_the_new_port() {
    let policy = rules("REDIRECT loc 3128 tcp 80\n");
    assert_eq!(
        policy.destination_nat[0].target,
        DestinationTarget::Redirect { port: Some(3128) }
    );
    let rule = &chain(&policy, "loc", "fw").rules[0];
    assert_eq!(rule.matches.destination_port.ranges, ports(3128, 3128));
    assert_eq!(rule.matches.original_port.ranges, ports(80, 80));
}

#[test]
fn exempted_flows_are_left_alone_and_only_accept_plus_lets_them_through() {
    let policy = rules("ACCEPT+ loc net tcp 81\nNONAT loc net tcp 82\n");
    let targets: Vec<_> = policy
        .destination_nat
        .iter()
        .map(|nat| &nat.target)
        .collect();
    assert_eq!(
        targets,
        [&DestinationTarget::Exempt, &DestinationTarget::Exempt]
    );
    assert_eq!(chain(&policy, "loc", "net").rules.len(), 1);
}

#[test]
fn snat_knows_interfaces_as_sources_ranges_and_exceptions() {
    let policy = compile(&[(
        "shorewall/snat",
        "?FORMAT 2\nMASQUERADE eth2 eth0\nSNAT(192.0.2.2-192.0.2.3:1024-2048) 10.0.4.0/24!10.0.4.8 eth0:198.51.100.0/24 tcp 25\n\
         MASQUERADE(1000-2000) 10.0.4.7 eth0 udp\nCONTINUE 10.0.4.6 eth0\n",
    )]);
    let nat = &policy.source_nat;
    assert_eq!(
        nat[0].matches.source.ranges,
        [
            range([10, 0, 4, 0], [10, 0, 4, 255]),
            range([10, 9, 0, 0], [10, 9, 255, 255])
        ]
    );
    assert_eq!(
        nat[1].matches.source.except,
        [range([10, 0, 4, 8], [10, 0, 4, 8])]
    );
    assert_eq!(
        nat[1].matches.destination.ranges,
        [range([198, 51, 100, 0], [198, 51, 100, 255])]
    );
    let SourceTarget::Address {
        addresses,
        ports: Some(chosen),
    } = &nat[1].target
    else {
        panic!("{:?}", nat[1].target);
    };
    assert_eq!(*addresses, range([192, 0, 2, 2], [192, 0, 2, 3]));
    assert_eq!((chosen.first, chosen.last), (1024, 2048));
    assert_eq!(nat[3].target, SourceTarget::Exempt);
}
