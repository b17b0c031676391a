//! Long blacklists are held once, and no comparison of all pairs is made.

#[path = "../examples/compile/blacklist.rs"]
mod blacklist;

use firewalldom::policy::{Action, Disposition};

#[test]
fn a_long_blacklist_is_one_list_that_all_pairs_share() {
    let compiled = shorewall::compile(&blacklist::site(blacklist::LINES)).unwrap();
    let policy = &compiled.policy;
    firewalldom::policy::check::check(policy).unwrap();
    let lists: Vec<u16> = policy
        .chains
        .iter()
        .filter(|chain| ["net-fw", "net-loc", "net-dmz"].contains(&chain.name.as_str()))
        .filter_map(|chain| chain.blacklist)
        .collect();
    // From net to the firewall, loc and dmz.
    assert_eq!(lists.len(), 3);
    assert!(lists.iter().all(|list| *list == lists[0]));
    let rules = &policy.rule_lists[usize::from(lists[0])].rules;
    assert_eq!(rules.len(), blacklist::LINES);
    let drops = |action| action == Action::Decide(Disposition::Drop);
    assert!(rules.iter().all(|rule| drops(rule.action)));
    // Lines that a shorter prefix above holds are found in a list of any length; a hundred are named.
    assert_eq!(compiled.warnings.warnings(), 101);
}

#[test]
fn rules_that_many_pairs_share_are_called_and_short_ones_are_copied() {
    let lines = |count: u32| {
        (1..=count)
            .map(|port| format!("ACCEPT all all tcp {port}\n"))
            .collect::<String>()
    };
    let compile = |rules: String| {
        let files = [
            (
                "network/interfaces",
                "iface eth0 inet static\n address 192.0.2.2/24\n\
                 iface eth1 inet static\n address 10.0.3.1/24\n"
                    .to_owned(),
            ),
            (
                "shorewall/zones",
                "fw firewall\nnet ipv4\nloc ipv4\n".to_owned(),
            ),
            (
                "shorewall/interfaces",
                "?FORMAT 2\nnet eth0\nloc eth1\n".to_owned(),
            ),
            ("shorewall/policy", "all all DROP\n".to_owned()),
            ("shorewall/rules", rules),
        ];
        let site = shorewall::Site::from_files("test", files);
        shorewall::compile(&site).unwrap().policy
    };
    let long = compile(lines(100));
    assert_eq!(long.rule_lists.len(), 1);
    let calls = long
        .chains
        .iter()
        .filter(|chain| chain.rules.len() == 1 && chain.rules[0].action == Action::Call(0));
    assert_eq!(calls.count(), 6);
    assert!(compile(lines(10)).rule_lists.is_empty());
}
