//! Zones within zones, blacklists, and macros and actions of one's own, as real Shorewall's
//! generated chains show them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use firewalldom::policy::{Action, Chain, Disposition, Policy, Protocol, Rule, States};
use shorewall::Site;

fn compile(files: &[(&str, &str)]) -> Policy {
    let mut all: BTreeMap<&str, &str> = BTreeMap::from([
        (
            "network/interfaces",
            "iface eth0 inet static\n address 192.0.2.2/24\n gateway 192.0.2.1\n\
             iface eth1 inet static\n address 10.0.3.1/24\n",
        ),
        (
            "shorewall/zones",
            "fw firewall\nnet ipv4\nloc ipv4\nkid:loc ipv4\n",
        ),
        ("shorewall/interfaces", "?FORMAT 2\nnet eth0\n- eth1\n"),
        (
            "shorewall/hosts",
            "loc eth1:10.0.3.0/24!10.0.3.99\nkid eth1:10.0.3.64/28\n",
        ),
        (
            "shorewall/policy",
            "kid all CONTINUE\nall kid CONTINUE\nloc net ACCEPT\nnet all DROP info\nall all REJECT info\n",
        ),
        (
            "shorewall/shorewall.conf",
            "BLACKLIST=NEW,INVALID,UNTRACKED\n",
        ),
    ]);
    all.extend(files.iter().copied());
    let compiled = shorewall::compile(&Site::from_files("test", all)).unwrap();
    firewalldom::policy::check::check(&compiled.policy).unwrap();
    compiled.policy
}

fn chain<'p>(policy: &'p Policy, source: &str, destination: &str) -> &'p Chain {
    let index = |name: &str| {
        let mut names = policy.zones.iter().map(|zone| zone.name.as_str());
        names.position(|zone| zone == name).unwrap()
    };
    let side = policy.zones.len() + 1;
    &policy.chains[usize::from(policy.pairs[index(source) * side + index(destination)])]
}

/// Destination port and verdict of each rule that looks at one port.
fn ports(chain: &Chain) -> Vec<(u16, Action)> {
    let rules = chain.rules.iter();
    rules
        .map(|rule| (rule.matches.destination_port.ranges[0].first, rule.action))
        .collect()
}

const ACCEPT: Action = Action::Decide(Disposition::Accept);
const DROP: Action = Action::Decide(Disposition::Drop);
const REJECT: Action = Action::Decide(Disposition::Reject);

/// The zone that an address behind eth1 belongs to: the first that claims it.
fn zone_of(policy: &Policy, address: [u8; 4]) -> Option<&str> {
    let address = u32::from(Ipv4Addr::from(address));
    let host = policy.hosts.iter().find(|host| {
        let bits = 32 - u32::from(host.prefix.length);
        host.interface.0 == 1
            && u64::from(address) >> bits == u64::from(u32::from(host.prefix.address)) >> bits
    })?;
    Some(&policy.zones[usize::from(host.zone.0)].name)
}

#[test]
fn inner_zones_claim_first_and_what_is_taken_out_belongs_to_no_zone() {
    let policy = compile(&[]);
    assert_eq!(zone_of(&policy, [10, 0, 3, 65]), Some("kid"));
    assert_eq!(zone_of(&policy, [10, 0, 3, 80]), Some("loc"));
    assert_eq!(zone_of(&policy, [10, 0, 3, 99]), None);
    assert_eq!(zone_of(&policy, [10, 0, 4, 1]), None);
    assert_eq!(policy.zones[3].parents.len(), 1);
}

#[test]
fn what_an_inner_zone_continues_meets_the_rules_and_the_policy_around() {
    let policy = compile(&[(
        "shorewall/rules",
        "?SECTION ESTABLISHED\nDROP loc net tcp 1\n?SECTION NEW\n\
         ACCEPT kid net tcp 25\nDROP kid net tcp 27\nREJECT loc net tcp 27\n",
    )]);
    let kid = chain(&policy, "kid", "net");
    // Established packets never get as far as the chain around: the inner one accepts them.
    assert_eq!(ports(kid), [(25, ACCEPT), (27, DROP), (27, REJECT)]);
    assert_eq!(kid.policy, Disposition::Accept);
    assert_eq!(kid.policy_chain.as_deref(), Some("loc-net"));
    // Without rules of its own there is nothing to accept them.
    let around = chain(&policy, "kid", "fw");
    assert_eq!(around.policy, Disposition::Reject);
    let policy = compile(&[(
        "shorewall/rules",
        "?SECTION ESTABLISHED\nDROP loc net tcp 1\n",
    )]);
    assert_eq!(
        chain(&policy, "kid", "net").rules[0].states,
        States::ESTABLISHED
    );
    // To an inner zone it is the same.
    assert_eq!(chain(&policy, "net", "kid").policy, Disposition::Drop);
}

#[test]
fn continue_leaves_the_inner_rules_for_those_around() {
    let policy = compile(&[(
        "shorewall/rules",
        "CONTINUE kid net tcp 26\nDROP kid net tcp 20:30\nREJECT loc net tcp 26\n",
    )]);
    let kid = chain(&policy, "kid", "net");
    let dropped = &kid.rules[0].matches.destination_port.ranges;
    let bounds: Vec<_> = dropped
        .iter()
        .map(|range| (range.first, range.last))
        .collect();
    assert_eq!(
        (bounds, kid.rules[0].action),
        (vec![(20, 25), (27, 30)], DROP)
    );
    assert_eq!(ports(kid)[1], (26, REJECT));
}

#[test]
fn implicit_continue_holds_unless_a_line_names_both_zones() {
    let policy = compile(&[
        ("shorewall/shorewall.conf", "IMPLICIT_CONTINUE=Yes\n"),
        (
            "shorewall/policy",
            "kid net DROP\nloc net ACCEPT\nall all REJECT info\n",
        ),
        ("shorewall/rules", "ACCEPT loc fw tcp 22\n"),
    ]);
    assert_eq!(chain(&policy, "kid", "net").policy, Disposition::Drop);
    assert_eq!(ports(chain(&policy, "kid", "fw")), [(22, ACCEPT)]);
}

#[test]
fn inner_zones_meet_the_address_translation_around_them() {
    let policy = compile(&[(
        "shorewall/rules",
        "DNAT loc net:192.0.2.9 tcp 81\nREDIRECT kid 3128 tcp 80\n",
    )]);
    let kid: Vec<_> = policy
        .destination_nat
        .iter()
        .filter(|nat| nat.source_zone.0 == 3)
        .map(|nat| nat.matches.destination_port.ranges[0].first)
        .collect();
    assert_eq!(kid, [80, 81]);
}

#[test]
fn any_is_the_outer_zones_and_all_is_every_zone() {
    let policy = compile(&[("shorewall/rules", "DROP any fw tcp 1\nDROP all fw tcp 2\n")]);
    assert_eq!(ports(chain(&policy, "loc", "fw")).len(), 2);
    // The zone's own rule, then both of the zone around.
    assert_eq!(
        ports(chain(&policy, "kid", "fw")),
        [(2, DROP), (1, DROP), (2, DROP)]
    );
}

#[test]
fn blrules_come_first_and_an_exemption_is_from_them_alone() {
    let policy = compile(&[
        (
            "shorewall/blrules",
            "WHITELIST net:198.51.100.67 all\nACCEPT net all tcp 22\n\
             DROP net:198.51.100.0/24 all\nBLACKLIST net all udp 9\n",
        ),
        (
            "shorewall/rules",
            "?SECTION NEW\nACCEPT net:198.51.100.9 fw tcp 80\n",
        ),
        (
            "shorewall/shorewall.conf",
            "BLACKLIST=NEW,INVALID,UNTRACKED\nBLACKLIST_DISPOSITION=REJECT\nBLACKLIST_LOG_LEVEL=info\n",
        ),
    ]);
    let rules = &chain(&policy, "net", "fw").rules;
    let new = States::NEW.union(States::INVALID).union(States::UNTRACKED);
    assert!(rules.iter().take(3).all(|rule| rule.states == new));
    let listed = |rule: &Rule, last: u8| {
        let address = Ipv4Addr::new(198, 51, 100, last);
        let within = |range: &firewalldom::policy::AddressRange| {
            (range.first..=range.last).contains(&address)
        };
        rule.matches.source.ranges.iter().any(within)
            && !rule.matches.source.except.iter().any(within)
    };
    // Not TCP; TCP but for port 22; the one address never.
    assert!(
        rules[..2]
            .iter()
            .all(|rule| listed(rule, 9) && !listed(rule, 67))
    );
    assert_eq!(rules[0].matches.protocol, Protocol::NoneOf(vec![6]));
    assert!(rules[1].matches.destination_port.negated);
    assert_eq!(
        (rules[2].action, rules[2].log.as_ref().unwrap().level),
        (REJECT, 6)
    );
    assert_eq!(rules[3].action, ACCEPT);
    // Each pair once, and none towards the firewall's own.
    assert_eq!(chain(&policy, "net", "loc").rules.len(), 3);
    assert!(chain(&policy, "loc", "fw").rules.is_empty());
}

#[test]
fn without_the_setting_the_blacklist_is_asked_about_established_packets_too() {
    let policy = compile(&[
        ("shorewall/shorewall.conf", ""),
        ("shorewall/blrules", "DROP net:198.51.100.9 fw\n"),
    ]);
    let states = chain(&policy, "net", "fw").rules[0].states;
    assert!(states.contains(States::ESTABLISHED) && !states.contains(States::RELATED));
}

#[test]
fn a_macro_gives_way_to_the_rules_columns_and_an_action_narrows_them() {
    let policy = compile(&[
        (
            "shorewall/macro.Ours",
            "DEFAULT ACCEPT\nPARAM - - tcp 7\nPARAM:debug DEST SOURCE udp 9\n",
        ),
        ("shorewall/actions", "Mine\nSwift inline\n"),
        (
            "shorewall/action.Mine",
            "DEFAULTS DROP,40\n@1 10.0.3.0/25 - tcp $2:50\nSSH(REJECT)\nLOG:debug:here - - udp\n",
        ),
        ("shorewall/action.Swift", "ACCEPT - - tcp 60\n"),
        (
            "shorewall/rules",
            "Ours loc fw\nOurs(DROP):info loc fw tcp 8\n\
             Mine loc:10.0.3.64-10.0.3.200 net tcp 22,45:99\nMine(ACCEPT) loc net udp\nSwift loc net tcp 61\n",
        ),
    ]);
    assert_eq!(ports(chain(&policy, "loc", "fw")), [(7, ACCEPT), (8, DROP)]);
    assert_eq!(ports(chain(&policy, "fw", "loc")), [(9, ACCEPT), (8, DROP)]);
    let logged = |rule: &Rule| rule.log.as_ref().map(|log| log.level);
    let back = &chain(&policy, "fw", "loc").rules;
    assert_eq!((logged(&back[0]), logged(&back[1])), (Some(7), Some(7)));
    let out = &chain(&policy, "loc", "net").rules;
    let first = |rule: &Rule| (rule.matches.destination_port.ranges[0].first, rule.action);
    assert_eq!((first(&out[0]), first(&out[1])), ((45, DROP), (22, REJECT)));
    assert_eq!(out[0].matches.destination_port.ranges[0].last, 50);
    assert_eq!(
        out[0].matches.source.ranges[0].first,
        Ipv4Addr::new(10, 0, 3, 64)
    );
    assert_eq!(
        out[0].matches.source.ranges[0].last,
        Ipv4Addr::new(10, 0, 3, 127)
    );
    // Of the second use only the line about UDP is left; the third is an inline action.
    assert_eq!(
        (out[2].action, logged(&out[2])),
        (Action::Continue, Some(7))
    );
    assert_eq!(out[3].matches.destination_port.ranges[0].first, 61);
    assert_eq!(out.len(), 4);
}

#[test]
fn macros_of_an_installed_shorewall_are_used_after_the_sites_own() {
    let files = [
        (
            "network/interfaces",
            "iface eth0 inet static\n address 192.0.2.2/24\n",
        ),
        ("shorewall/zones", "fw firewall\nnet ipv4\n"),
        ("shorewall/interfaces", "?FORMAT 2\nnet eth0\n"),
        ("shorewall/policy", "all all DROP\n"),
        ("shorewall/macro.Here", "PARAM - - tcp 1\n"),
        ("share/macro.Here", "PARAM - - tcp 2\n"),
        ("share/macro.There", "Here(PARAM)\nPARAM - - tcp 3\n"),
        ("share/macro.SSH", "PARAM - - tcp 4\n"),
        (
            "shorewall/rules",
            "There(ACCEPT) net fw\nSSH(ACCEPT) net fw\n",
        ),
    ];
    let site = Site::from_files("test", files).with_share("share");
    let policy = shorewall::compile(&site).unwrap().policy;
    assert_eq!(
        ports(chain(&policy, "net", "fw")),
        [(1, ACCEPT), (3, ACCEPT), (4, ACCEPT)]
    );
}
