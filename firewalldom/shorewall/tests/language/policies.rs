//! Which pairs of zones a policy decides about, and what is refused because Shorewall refuses it or
//! because it could be weaker here.

use super::*;

/// A bridge whose port has a zone of its own, within the bridge's.
fn with_bridge_port(policy: &str, rules: &str) -> Result<(), String> {
    let files = [
        (
            "network/interfaces",
            "iface eth0 inet static\n address 192.0.2.2/24\n gateway 192.0.2.1\n\
             iface br0 inet static\n address 10.0.3.1/24\n",
        ),
        (
            "shorewall/zones",
            "fw firewall\nnet ipv4\nloc ipv4\nvm:loc bport\n",
        ),
        (
            "shorewall/interfaces",
            "?FORMAT 2\nnet eth0\nloc br0 bridge\nvm br0:vif1.0\n",
        ),
        ("shorewall/policy", policy),
        ("shorewall/rules", rules),
    ];
    match shorewall::compile(&Site::from_files("test", files)) {
        Ok(_) => Ok(()),
        Err(report) => Err(report.to_string()),
    }
}

#[test]
fn a_bridge_port_counts_as_its_bridge_only_where_nothing_is_weaker_by_it() {
    let rest = "all all REJECT\n";
    let with = |policy: &str, rules: &str| with_bridge_port(&format!("{policy}{rest}"), rules);
    assert_eq!(with("", ""), Ok(()));
    assert_eq!(with("vm all ACCEPT\n", ""), Ok(()));
    assert_eq!(with("vm all CONTINUE\nloc net ACCEPT\n", ""), Ok(()));
    assert_eq!(
        with("", "ACCEPT vm net tcp 80\nACCEPT all all tcp 22\n"),
        Ok(())
    );
    // What goes to the port, or from it back to its bridge, is dom0's to deliver.
    assert_eq!(with("", "DROP net vm tcp 80\n"), Ok(()));
    for (policy, rules, place) in [
        ("loc net ACCEPT\n", "", "policy:2"),
        ("", "DROP vm net tcp 80\n", "rules:1"),
        ("", "ACCEPT loc net tcp 80\n", "rules:1"),
        ("", "DNAT- loc 192.0.2.9 tcp 80\n", "rules:1"),
        (
            "vm net CONTINUE\nloc net ACCEPT\n",
            "DROP vm net\n",
            "rules:1",
        ),
    ] {
        let report = with(policy, rules).unwrap_err();
        assert!(
            report.contains("told from others of its bridge"),
            "{report}"
        );
        assert!(report.contains(place), "{report}");
    }
}

#[test]
fn between_nested_zones_with_the_policy_none_those_around_decide() {
    let policy = compile(&[
        (
            "shorewall/zones",
            "fw firewall\nnet ipv4\nloc ipv4\ndmz ipv4\nkid:loc ipv4\n",
        ),
        ("shorewall/hosts", "kid eth1:10.0.3.64/26\n"),
        (
            "shorewall/policy",
            "kid net NONE\nloc net ACCEPT\nall all REJECT\n",
        ),
        ("shorewall/rules", "DROP loc net tcp 25\n"),
    ]);
    let chain = chain(&policy, "kid", "net");
    assert_eq!(chain.policy, Disposition::Accept);
    let Action::Call(list) = chain.rules[0].action else {
        panic!("{:?}", chain.rules);
    };
    let list = &policy.rule_lists[usize::from(list)];
    assert_eq!(list.log_chain.as_deref(), Some("loc-net"));
    assert_eq!(list.rules[0].action, Action::Decide(Disposition::Drop));
}

/// The report about a `policy` and `rules` that are refused.
fn refusal(files: &[(&str, &str)]) -> String {
    let mut all = BTreeMap::from([
        (
            "network/interfaces",
            "iface eth0 inet static\n address 192.0.2.2/24\n\
             iface eth1 inet static\n address 10.0.3.1/24\n",
        ),
        ("shorewall/zones", "fw firewall\nnet ipv4\nloc ipv4\n"),
        ("shorewall/interfaces", "?FORMAT 2\nnet eth0\nloc eth1\n"),
        ("shorewall/policy", "all all REJECT\n"),
    ]);
    all.extend(files.iter().copied());
    let report = shorewall::compile(&Site::from_files("test", all)).unwrap_err();
    report.to_string()
}

#[test]
fn a_second_policy_for_a_pair_is_refused_as_shorewall_does() {
    let refused = |policy: &str| refusal(&[("shorewall/policy", policy)]);
    for policy in [
        "net all DROP\nnet loc ACCEPT\nall all REJECT\n",
        "loc net ACCEPT\nloc net ACCEPT\nall all REJECT\n",
        "all all REJECT\nall!net all DROP\n",
        "net,loc net,loc DROP\nnet loc ACCEPT\nall all REJECT\n",
        "all+ all DROP\nloc loc ACCEPT\n",
    ] {
        let report = refused(policy);
        assert!(
            report.contains("a second policy for the same zones"),
            "{report}"
        );
    }
    for policy in ["any all REJECT\n", "net+ all DROP\nall all REJECT\n"] {
        assert!(refused(policy).contains("unknown zone"), "{policy}");
    }
    assert!(refused("net all NONE\nall all REJECT\n").contains("the policy NONE"));
    let accepted = |policy: &str| compile(&[("shorewall/policy", policy)]);
    accepted("all all REJECT\nall fw DROP\n");
    accepted("loc loc DROP\nALL all REJECT\n");
    let within = accepted("loc net ACCEPT\nnet all REJECT\nall+!net all DROP\n");
    assert_eq!(chain(&within, "dmz", "dmz").policy, Disposition::Drop);
}

#[test]
fn shorewall_forgets_an_exclusion_behind_all_all() {
    let policy = compile(&[("shorewall/policy", "all all!dmz DROP\n")]);
    assert_eq!(chain(&policy, "net", "dmz").policy, Disposition::Drop);
}

#[test]
fn nat_is_not_for_zones_with_the_policy_none() {
    let report = refusal(&[
        ("shorewall/policy", "net loc NONE\nall all REJECT\n"),
        ("shorewall/rules", "DNAT net loc:10.0.3.9 tcp 80\n"),
    ]);
    assert!(report.contains("the policy NONE"), "{report}");
}

#[test]
fn the_plus_of_source_nat_belongs_to_the_name() {
    let report = refusal(&[("shorewall/snat", "SNAT(192.0.2.9)+ - eth0\n")]);
    assert!(report.contains("write: SNAT+(192.0.2.9)"), "{report}");
}

#[test]
fn chains_of_a_zone_around_are_for_what_lies_in_it() {
    let zones = "fw firewall\nnet ipv4\nloc ipv4\ndmz ipv4\nkid:loc,net ipv4\n";
    let with = |hosts: &str| {
        let files = [
            ("shorewall/zones", zones),
            ("shorewall/hosts", hosts),
            (
                "shorewall/policy",
                "kid all CONTINUE\nloc fw DROP\nnet dmz ACCEPT\nall all REJECT\n",
            ),
            ("shorewall/rules", "ACCEPT net fw tcp 22\n"),
        ];
        compile(&files)
    };
    // Nobody of it is in `net`, whatever the file zones says.
    let policy = with("kid eth1:10.0.3.64/26\n");
    assert_eq!(chain(&policy, "kid", "fw").policy, Disposition::Drop);
    assert!(chain(&policy, "kid", "dmz").policy == Disposition::Reject);
    let with_part = |hosts| {
        refusal(&[
            ("shorewall/zones", zones),
            ("shorewall/hosts", hosts),
            ("shorewall/policy", "kid all CONTINUE\nall all REJECT\n"),
            ("shorewall/interfaces", "?FORMAT 2\nnet eth0\nloc eth1\n"),
        ])
    };
    let with_hairpin = |hosts| {
        refusal(&[
            ("shorewall/hosts", hosts),
            ("shorewall/policy", "all all REJECT\n"),
            (
                "shorewall/interfaces",
                "?FORMAT 2\n- eth0 routeback\nloc eth1\n",
            ),
        ])
    };
    let report = with_part("kid eth1:10.0.3.64/26\nkid eth0:198.51.100.0/24\n");
    assert!(report.contains("only part of it lies in `net`"), "{report}");
    // It must say so itself where it may go back by its own interface.
    let report = with_hairpin("net eth0:198.51.100.0/24\nloc eth0:198.51.100.128/25\n");
    assert!(report.contains("only part of it lies in `loc`"), "{report}");
}

#[test]
fn what_belongs_to_no_zone_meets_the_policy_all_all() {
    let policy = rules("");
    let forward = chain(&policy, "net", "nowhere");
    assert_eq!(
        (forward.name.as_str(), forward.policy),
        ("FORWARD", Disposition::Reject)
    );
    assert_eq!(chain(&policy, "nowhere", "fw").name, "INPUT");
    assert_eq!(chain(&policy, "fw", "nowhere").name, "OUTPUT");
    let policy = compile(&[(
        "shorewall/policy",
        "all $FW ACCEPT debug\nnet dmz NONE\ndmz net CONTINUE\nall all DROP\n",
    )]);
    assert_eq!(chain(&policy, "nowhere", "fw").policy, Disposition::Accept);
    assert_eq!(chain(&policy, "net", "dmz").name, "FORWARD");
    let passed_on = chain(&policy, "dmz", "net");
    assert_eq!(
        (passed_on.name.as_str(), passed_on.policy),
        ("dmz-net", Disposition::Drop)
    );
}

#[test]
fn a_policy_for_many_pairs_logs_under_its_own_name_unless_expanded() {
    let policy = compile(&[("shorewall/shorewall.conf", "EXPAND_POLICIES=No\n")]);
    assert_eq!(
        chain(&policy, "net", "loc").policy_chain.as_deref(),
        Some("net-all")
    );
    assert_eq!(chain(&policy, "loc", "net").policy_chain, None);
    let policy = compile(&[(
        "shorewall/shorewall.conf",
        "EXPAND_POLICIES=Yes\nZONE2ZONE=2\n",
    )]);
    assert_eq!(chain(&policy, "net", "loc").policy_chain, None);
    assert_eq!(chain(&policy, "net", "loc").name, "net2loc");
}

#[test]
fn within_a_zone_everything_is_accepted_unless_said_otherwise() {
    let inside = |policy: &str| {
        let policy = compile(&[("shorewall/policy", policy)]);
        chain(&policy, "loc", "loc").policy
    };
    assert_eq!(inside("all all DROP\n"), Disposition::Accept);
    assert_eq!(
        inside("loc,dmz loc,dmz DROP\nall all REJECT\n"),
        Disposition::Accept
    );
    assert_eq!(inside("loc loc DROP\nall all REJECT\n"), Disposition::Drop);
    assert_eq!(inside("all+ all DROP\n"), Disposition::Drop);
}

#[test]
fn what_goes_back_meets_the_policy_before_the_interfaces_options_where_there_are_blrules() {
    let list = |blrules: &str| {
        let policy = compile(&[
            (
                "shorewall/interfaces",
                "?FORMAT 2\nnet eth0\nloc eth1\ndmz eth2\n",
            ),
            ("shorewall/blrules", blrules),
        ]);
        let list = chain(&policy, "dmz", "dmz").blacklist?;
        let rules = &policy.rule_lists[usize::from(list)].rules;
        Some((rules[0].matches.ingress, rules[0].matches.egress))
    };
    let back = Some(InterfaceId(2));
    assert_eq!(list("DROP net:198.51.100.0/24 all\n"), Some((back, back)));
    assert_eq!(list(""), None);
}

#[test]
fn default_actions_come_from_the_line_or_else_from_the_settings() {
    let policy = compile(&[
        (
            "shorewall/shorewall.conf",
            "REJECT_DEFAULT=\"Broadcast(DROP),Multicast(DROP)\"\n",
        ),
        (
            "shorewall/policy",
            "net all DROP:dropNotSyn:info,DropDNSrep,AllowICMPs info\ndmz all REJECT:+DropDNSrep\n\
             loc all REJECT:none\nall all REJECT\n",
        ),
    ]);
    let count = |source| chain(&policy, source, "fw").default_action.len();
    assert_eq!((count("net"), count("dmz"), count("loc")), (3, 3, 0));
    assert_eq!(chain(&policy, "fw", "net").default_action.len(), 2);
    let first = &chain(&policy, "net", "fw").default_action[0];
    assert_eq!(first.matches.protocol, Protocol::TcpSyn(false));
    let Action::Call(list) = first.action else {
        panic!("{first:?}");
    };
    // A chain of its own in Shorewall, by whose name it logs.
    let list = &policy.rule_lists[usize::from(list)];
    assert_eq!(list.log_chain.as_deref(), Some("dropNotSyn"));
    assert_eq!(list.rules[0].log.as_ref().unwrap().disposition, "DROP");
}
