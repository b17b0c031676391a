//! Which packets of which zones a line of `rules` is about.

use super::*;

#[test]
fn all_leaves_out_pairs_within_a_zone_and_all_plus_does_not() {
    assert_eq!(
        pairs_with_rules(&rules("ACCEPT all fw udp 98\n")),
        ["net-fw", "loc-fw", "dmz-fw"]
    );
    assert_eq!(
        pairs_with_rules(&rules("ACCEPT all+ fw udp 98\n")),
        ["fw-fw", "net-fw", "loc-fw", "dmz-fw"]
    );
    assert_eq!(
        pairs_with_rules(&rules("ACCEPT all!net,$FW fw udp 98\n")),
        ["loc-fw", "dmz-fw"]
    );
    assert_eq!(
        pairs_with_rules(&rules("ACCEPT loc,dmz loc,dmz tcp 10\n")),
        ["loc-dmz", "dmz-loc"]
    );
    assert_eq!(
        pairs_with_rules(&rules("ACCEPT loc loc tcp 10\n")),
        ["loc-loc"]
    );
    assert!(pairs_with_rules(&rules("ACCEPT none fw tcp 10\n")).is_empty());
}

#[test]
fn lists_ranges_exclusions_and_mac_addresses() {
    let policy = rules(
        "ACCEPT net:192.0.2.7,192.0.2.9-192.0.2.20 fw tcp 1000:2000,3000 5000\n\
         ACCEPT net:!198.51.100.0/24 fw tcp 76\n\
         DROP loc:eth1:10.0.3.0/24!10.0.3.7 net udp !1:100\n\
         REJECT loc:~02-00-00-00-00-01,10.0.3.4 net tcp 23\n\
         ACCEPT net:&eth1 fw icmp 3/4,echo-request\n\
         ACCEPT loc net !tcp\n",
    );
    let input = &chain(&policy, "net", "fw").rules;
    assert_eq!(
        input[0].matches.source.ranges,
        [
            range([192, 0, 2, 7], [192, 0, 2, 7]),
            range([192, 0, 2, 9], [192, 0, 2, 20])
        ]
    );
    assert_eq!(input[0].matches.source_port.ranges, ports(5000, 5000));
    assert!(input[1].matches.source.ranges.is_empty());
    assert_eq!(
        input[1].matches.source.except,
        [range([198, 51, 100, 0], [198, 51, 100, 255])]
    );
    assert_eq!(
        input[2].matches.source.ranges,
        [range([10, 0, 3, 1], [10, 0, 3, 1])]
    );
    let Protocol::Icmp(types) = &input[2].matches.protocol else {
        panic!("{:?}", input[2].matches.protocol);
    };
    assert_eq!(
        (types[0].kind, types[0].code, types[1].kind),
        (3, Some(4), 8)
    );
    let out = &chain(&policy, "loc", "net").rules;
    assert_eq!(out[0].matches.ingress.unwrap().0, 1);
    assert!(out[0].matches.destination_port.negated);
    assert_eq!(out[1].matches.source_mac, [[2, 0, 0, 0, 0, 1]]);
    assert!(out[1].matches.source.ranges.is_empty());
    assert_eq!(
        out[2].matches.source.ranges,
        [range([10, 0, 3, 4], [10, 0, 3, 4])]
    );
    assert_eq!(out[3].matches.protocol, Protocol::NoneOf(vec![6]));
}

#[test]
fn a_rules_own_columns_override_those_of_a_macro() {
    let policy = rules("SSH(ACCEPT) net fw tcp 2222\nSSH(ACCEPT):debug:seen net fw\n");
    let rules = &chain(&policy, "net", "fw").rules;
    assert_eq!(rules[0].matches.destination_port.ranges, ports(2222, 2222));
    assert_eq!(rules[1].matches.destination_port.ranges, ports(22, 22));
    let log = rules[1].log.as_ref().unwrap();
    assert_eq!(
        (log.level, log.disposition.as_str(), log.tag.as_deref()),
        (7, "ACCEPT", Some("seen"))
    );
}

#[test]
fn a_macro_that_goes_both_ways_has_rules_both_ways() {
    let policy = rules("IPsec(ACCEPT) net fw\n");
    assert_eq!(chain(&policy, "net", "fw").rules.len(), 2);
    assert_eq!(chain(&policy, "fw", "net").rules.len(), 2);
}

#[test]
fn a_macro_for_a_group_names_it_as_the_destination_both_ways() {
    let policy = rules("mDNS(ACCEPT) loc fw\n");
    let group = range([224, 0, 0, 251], [224, 0, 0, 251]);
    let asked = &chain(&policy, "loc", "fw").rules;
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0].matches.destination.ranges, [group]);
    assert_eq!(asked[1].matches.source_port.ranges, ports(5353, 5353));
    let told = &chain(&policy, "fw", "loc").rules;
    assert_eq!(told.len(), 2);
    assert_eq!(told[1].matches.destination.ranges, [group]);
}
