//! Zones within zones, blacklists, and macros and actions of one's own, as real Shorewall's
//! generated chains show them.

use super::*;

/// The zone `kid` lies in `loc`.
const KID: [(&str, &str); 6] = [
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
];

fn with_kid(files: &[(&str, &str)]) -> Policy {
    policy_of(&KID, files)
}

/// The rules that a chain leads through, in order: those of the lists that it calls stand where the
/// call was.
fn walked<'p>(policy: &'p Policy, rules: &'p [Rule]) -> Vec<&'p Rule> {
    let mut all = Vec::new();
    for rule in rules {
        match rule.action {
            Action::Call(list) => {
                all.extend(walked(policy, &policy.rule_lists[usize::from(list)].rules));
            }
            _ => all.push(rule),
        }
    }
    all
}

/// The list of `blrules` of a chain.
fn blacklist<'p>(policy: &'p Policy, chain: &Chain) -> &'p [Rule] {
    match chain.blacklist {
        Some(list) => &policy.rule_lists[usize::from(list)].rules,
        None => &[],
    }
}

/// Destination port and verdict of each rule that looks at one port.
fn ports(policy: &Policy, chain: &Chain) -> Vec<(u16, Action)> {
    let rules = walked(policy, &chain.rules).into_iter();
    rules
        .filter(|rule| !rule.matches.destination_port.ranges.is_empty())
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
    let policy = with_kid(&[]);
    assert_eq!(zone_of(&policy, [10, 0, 3, 65]), Some("kid"));
    assert_eq!(zone_of(&policy, [10, 0, 3, 80]), Some("loc"));
    assert_eq!(zone_of(&policy, [10, 0, 3, 99]), None);
    assert_eq!(zone_of(&policy, [10, 0, 4, 1]), None);
    assert_eq!(policy.zones[3].parents.len(), 1);
}

#[test]
fn what_an_inner_zone_continues_meets_the_rules_and_the_policy_around() {
    let policy = with_kid(&[(
        "shorewall/rules",
        "?SECTION ESTABLISHED\nDROP loc net tcp 1\n?SECTION NEW\n\
         ACCEPT kid net tcp 25\nDROP kid net tcp 27\nREJECT loc net tcp 27\n",
    )]);
    let kid = chain(&policy, "kid", "net");
    // Established packets never get as far as the chain around: the inner one accepts them.
    assert_eq!(
        ports(&policy, kid),
        [(25, ACCEPT), (27, DROP), (1, DROP), (27, REJECT)]
    );
    let rules = walked(&policy, &kid.rules);
    assert_eq!(
        (rules[2].states, rules[2].action),
        (States::ESTABLISHED, ACCEPT)
    );
    assert_eq!(kid.policy, Disposition::Accept);
    assert_eq!(kid.policy_chain.as_deref(), Some("loc-net"));
    // Without rules of its own there is nothing to accept them.
    let around = chain(&policy, "kid", "fw");
    assert_eq!(around.policy, Disposition::Reject);
    let policy = with_kid(&[(
        "shorewall/rules",
        "?SECTION ESTABLISHED\nDROP loc net tcp 1\n",
    )]);
    assert_eq!(
        walked(&policy, &chain(&policy, "kid", "net").rules)[0].states,
        States::ESTABLISHED
    );
    // To an inner zone it is the same.
    assert_eq!(chain(&policy, "net", "kid").policy, Disposition::Drop);
}

#[test]
fn continue_leaves_the_inner_rules_for_those_around() {
    let policy = with_kid(&[(
        "shorewall/rules",
        "CONTINUE kid net tcp 26\nDROP kid net tcp 20:30\nREJECT loc net tcp 26\n",
    )]);
    let kid = chain(&policy, "kid", "net");
    assert_eq!(
        ports(&policy, kid),
        [(26, Action::Return), (20, DROP), (26, REJECT)]
    );
    // What returns leaves the inner rules only: those around stand in another list.
    let calls: Vec<_> = kid.rules.iter().map(|rule| rule.action).collect();
    assert!(matches!(calls[..], [Action::Call(_), Action::Call(_)]));
    assert_eq!(kid.policy_chain.as_deref(), Some("loc-net"));
}

#[test]
fn continue_where_a_policy_decides_leads_to_the_policy_of_everything() {
    let policy = with_kid(&[(
        "shorewall/rules",
        "CONTINUE loc net tcp 26\nACCEPT net loc tcp 1\n",
    )]);
    let loc = chain(&policy, "loc", "net");
    let rules = walked(&policy, &loc.rules);
    // What stays to the end of the rules meets their own policy.
    assert_eq!((rules[0].action, rules[1].action), (Action::Return, ACCEPT));
    assert_eq!(loc.policy, Disposition::Reject);
    assert_eq!(loc.policy_chain.as_deref(), Some("FORWARD"));
}

#[test]
fn within_a_zone_of_one_interface_packets_go_back_only_to_hosts_with_routeback() {
    let with = |interfaces: &str, hosts: &str| {
        let policy = with_kid(&[
            ("shorewall/interfaces", interfaces),
            ("shorewall/hosts", hosts),
        ]);
        let within = chain(&policy, "loc", "loc");
        let back = walked(&policy, &within.rules)
            .iter()
            .map(|rule| rule.action)
            .collect::<Vec<_>>();
        (policy.interfaces[1].route_back, back)
    };
    let interfaces = |options: &str| format!("?FORMAT 2\nnet eth0\n- eth1 {options}\n");
    let hosts = |options: &str| format!("loc eth1:10.0.3.0/24 {options}\nkid eth1:10.0.3.64/28\n");
    // Neither: a hairpin, which the interface's own check catches.
    assert_eq!(with(&interfaces(""), &hosts("")), (false, vec![]));
    assert_eq!(with(&interfaces(""), &hosts("routeback")), (true, vec![]));
    // The interface has it, but the hosts have not: the policy `all all`.
    assert_eq!(
        with(&interfaces("routeback"), &hosts("")),
        (true, vec![REJECT])
    );
    assert_eq!(
        with("?FORMAT 2\nnet eth0\nloc eth1 routeback\n", ""),
        (true, vec![])
    );
}

#[test]
fn within_a_zone_without_rules_no_disposition_is_asked() {
    let dispositions = (
        "shorewall/shorewall.conf",
        "INVALID_DISPOSITION=DROP\nRELATED_DISPOSITION=REJECT\n",
    );
    let policy = with_kid(&[dispositions]);
    let within = &chain(&policy, "net", "net").rules;
    assert_eq!(
        (within[0].states, within[0].action),
        (States::RELATED.union(States::INVALID), ACCEPT)
    );
    let policy = with_kid(&[dispositions, ("shorewall/rules", "ACCEPT net net tcp 1\n")]);
    assert_eq!(ports(&policy, chain(&policy, "net", "net")), [(1, ACCEPT)]);
    assert_eq!(chain(&policy, "net", "net").rules.len(), 1);
    assert!(chain(&with_kid(&[]), "net", "net").rules.is_empty());
}

#[test]
fn implicit_continue_holds_unless_a_line_names_both_zones() {
    let policy = with_kid(&[
        ("shorewall/shorewall.conf", "IMPLICIT_CONTINUE=Yes\n"),
        (
            "shorewall/policy",
            "kid net DROP\nloc net ACCEPT\nall all REJECT info\n",
        ),
        ("shorewall/rules", "ACCEPT loc fw tcp 22\n"),
    ]);
    assert_eq!(chain(&policy, "kid", "net").policy, Disposition::Drop);
    assert_eq!(ports(&policy, chain(&policy, "kid", "fw")), [(22, ACCEPT)]);
}

#[test]
fn inner_zones_meet_the_address_translation_around_them() {
    let policy = with_kid(&[(
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
    let policy = with_kid(&[("shorewall/rules", "DROP any fw tcp 1\nDROP all fw tcp 2\n")]);
    assert_eq!(ports(&policy, chain(&policy, "loc", "fw")).len(), 2);
    // The zone's own rule, then both of the zone around.
    assert_eq!(
        ports(&policy, chain(&policy, "kid", "fw")),
        [(2, DROP), (1, DROP), (2, DROP)]
    );
}

#[test]
fn blrules_come_first_and_an_exemption_is_from_them_alone() {
    let policy = with_kid(&[
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
    let to_firewall = chain(&policy, "net", "fw");
    let listed = blacklist(&policy, to_firewall);
    let new = States::NEW.union(States::INVALID).union(States::UNTRACKED);
    assert!(listed.iter().all(|rule| rule.states == new));
    let actions: Vec<_> = listed.iter().map(|rule| rule.action).collect();
    let [Action::Return, Action::Return, DROP, Action::Call(said)] = actions[..] else {
        panic!("{actions:?}");
    };
    // BLACKLIST is what shorewall.conf says, under a name of its own.
    let said = &policy.rule_lists[usize::from(said)];
    assert_eq!(said.log_chain.as_deref(), Some("blacklog"));
    assert_eq!(
        (
            said.rules[0].action,
            said.rules[0].log.as_ref().unwrap().level
        ),
        (REJECT, 6)
    );
    assert_eq!(ports(&policy, to_firewall), [(80, ACCEPT)]);
    // Pairs with the same lines share the list; none leads towards the firewall's own.
    assert_eq!(
        chain(&policy, "net", "loc").blacklist,
        to_firewall.blacklist
    );
    assert_eq!(chain(&policy, "loc", "fw").blacklist, None);
}

#[test]
fn without_the_setting_the_blacklist_is_asked_about_established_packets_too() {
    let policy = with_kid(&[
        ("shorewall/shorewall.conf", ""),
        ("shorewall/blrules", "DROP net:198.51.100.9 fw\n"),
    ]);
    let states = blacklist(&policy, chain(&policy, "net", "fw"))[0].states;
    assert!(states.contains(States::ESTABLISHED) && !states.contains(States::RELATED));
}

#[test]
fn a_macro_gives_way_to_the_rules_columns_and_an_action_is_a_list_that_it_calls() {
    let policy = with_kid(&[
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
    assert_eq!(
        ports(&policy, chain(&policy, "loc", "fw")),
        [(7, ACCEPT), (8, DROP)]
    );
    assert_eq!(
        ports(&policy, chain(&policy, "fw", "loc")),
        [(9, ACCEPT), (8, DROP)]
    );
    let logged = |rule: &Rule| rule.log.as_ref().map(|log| log.level);
    let back = &chain(&policy, "fw", "loc").rules;
    assert_eq!((logged(&back[0]), logged(&back[1])), (Some(7), Some(7)));
    let out = &chain(&policy, "loc", "net").rules;
    let [Action::Call(first), Action::Call(second), ACCEPT] =
        [out[0].action, out[1].action, out[2].action]
    else {
        panic!("{out:?}");
    };
    // The rule's conditions stand at the call, those of the file in the list.
    assert_eq!(
        out[0].matches.source.ranges[0].first,
        Ipv4Addr::new(10, 0, 3, 64)
    );
    let list = &policy.rule_lists[usize::from(first)];
    assert_eq!(list.log_chain.as_deref(), Some("Mine"));
    let ranges = &list.rules[0].matches.destination_port.ranges[0];
    assert_eq!(
        (list.rules[0].action, ranges.first, ranges.last),
        (DROP, 40, 50)
    );
    assert_eq!(
        list.rules[0].matches.source.ranges[0].last,
        Ipv4Addr::new(10, 0, 3, 127)
    );
    assert_eq!(list.rules[1].action, REJECT);
    assert_eq!(
        (list.rules[2].action, logged(&list.rules[2])),
        (Action::Continue, Some(7))
    );
    // Other arguments, another list; the third is an inline action.
    let list = &policy.rule_lists[usize::from(second)];
    assert_eq!(list.rules[0].action, ACCEPT);
    assert_eq!(out[2].matches.destination_port.ranges[0].first, 61);
    assert_eq!(out.len(), 3);
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
        ports(&policy, chain(&policy, "net", "fw")),
        [(1, ACCEPT), (3, ACCEPT), (4, ACCEPT)]
    );
}
