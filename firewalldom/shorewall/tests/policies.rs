//! Which pairs of zones a policy decides about, and what is refused because Shorewall refuses it or
//! because it could be weaker here.

use std::collections::BTreeMap;

use firewalldom::policy::{Action, Chain, Disposition, Policy};
use shorewall::Site;

fn compile(files: &[(&str, &str)]) -> Policy {
    let mut all: BTreeMap<&str, &str> = BTreeMap::from([
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
    ]);
    all.extend(files.iter().copied());
    let site = Site::from_files("test", all);
    shorewall::compile(&site).unwrap().policy
}

fn chain<'p>(policy: &'p Policy, source: &str, destination: &str) -> &'p Chain {
    let index = |name: &str| {
        policy
            .zones
            .iter()
            .position(|zone| zone.name == name)
            .unwrap_or(policy.zones.len())
    };
    let side = policy.zones.len() + 1;
    &policy.chains[usize::from(policy.pairs[index(source) * side + index(destination)])]
}

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
