//! Sections of `rules`, and the states that they are about.

use super::*;

#[test]
fn sections_are_states_and_new_takes_what_dispositions_leave_open() {
    let policy = rules(
        "?SECTION ALL\nDROP net fw tcp 1\n?SECTION ESTABLISHED\nDROP net fw tcp 2\n\
         ?SECTION NEW\nACCEPT net fw tcp 3\nInvalid(DROP) net fw\n",
    );
    let states: Vec<_> = chain(&policy, "net", "fw")
        .rules
        .iter()
        .map(|rule| rule.states)
        .collect();
    let new = States::NEW.union(States::INVALID).union(States::UNTRACKED);
    assert_eq!(
        states,
        [States::ALL, States::ESTABLISHED, new, States::INVALID]
    );

    let policy = compile(&[
        (
            "shorewall/shorewall.conf",
            "INVALID_DISPOSITION=DROP\nRELATED_DISPOSITION=CONTINUE\n",
        ),
        ("shorewall/rules", "ACCEPT net fw tcp 3\n"),
    ]);
    let new = States::NEW.union(States::RELATED).union(States::UNTRACKED);
    assert_eq!(chain(&policy, "net", "fw").rules[0].states, new);
    assert!(policy.settings.related.is_none() && policy.settings.invalid.is_some());
}

#[test]
fn where_a_section_had_rules_what_the_file_passes_over_is_decided_as_shorewall_forgets_it() {
    let policy = compile(&[
        (
            "shorewall/shorewall.conf",
            "RELATED_DISPOSITION=DROP\nINVALID_DISPOSITION=DROP\n",
        ),
        (
            "shorewall/rules",
            "?SECTION ESTABLISHED\nDROP net fw tcp 2\n?SECTION NEW\nACCEPT net fw tcp 3\n\
             ACCEPT loc fw tcp 3\n",
        ),
    ]);
    let of = |source| {
        let rules = &chain(&policy, source, "fw").rules;
        let rules = rules.iter().map(|rule| (rule.states, rule.action));
        rules.collect::<Vec<_>>()
    };
    let new = States::NEW.union(States::UNTRACKED);
    let accept = Action::Decide(Disposition::Accept);
    assert_eq!(
        of("net"),
        [
            (States::ESTABLISHED, Action::Decide(Disposition::Drop)),
            (States::RELATED, accept),
            (new.union(States::INVALID), accept),
            (States::INVALID, Action::Policy),
        ]
    );
    assert_eq!(of("loc"), [(new, accept)]);
}

#[test]
fn without_expanded_policies_a_pair_without_rules_has_only_the_policy() {
    let states = |conf: &str, source, destination| {
        let policy = compile(&[
            ("shorewall/shorewall.conf", conf),
            ("shorewall/policy", "loc net ACCEPT\nall all DROP\n"),
            ("shorewall/rules", "ACCEPT dmz net tcp 3\n"),
        ]);
        let rules = &chain(&policy, source, destination).rules;
        rules
            .iter()
            .fold(States(0), |all, rule| all.union(rule.states))
    };
    let all_but_new = States(States::ALL.0 & !States::NEW.0);
    assert_eq!(states("EXPAND_POLICIES=No\n", "net", "loc"), all_but_new);
    assert_eq!(states("EXPAND_POLICIES=Yes\n", "net", "loc"), States(0));
    let new = States(States::ALL.0 & !States::ESTABLISHED.0 & !States::RELATED.0);
    assert_eq!(states("EXPAND_POLICIES=No\n", "dmz", "net"), new);
}

/// What an action of the site's own comes to, by the line of `rules` or the policy that uses it.
fn states_asked(rules: &str, action: &str) -> Vec<States> {
    let policy = compile(&[
        ("shorewall/actions", "Own\n"),
        ("shorewall/action.Own", action),
        ("shorewall/rules", rules),
        (
            "shorewall/shorewall.conf",
            "INVALID_DISPOSITION=DROP\nUNTRACKED_DISPOSITION=DROP\n",
        ),
    ]);
    let lists = policy.rule_lists.iter();
    let own = lists.filter(|list| list.log_chain.as_deref() == Some("Own"));
    own.flat_map(|list| list.rules.iter().map(|rule| rule.states))
        .collect()
}

#[test]
fn an_action_with_a_chain_of_its_own_asks_for_states_as_its_first_use_has_it() {
    let action = "New(DROP)\nRelated(DROP)\nEstablished(DROP)\nInvalid(DROP)\n";
    let (new, related) = (States::NEW, States::RELATED);
    let (established, invalid) = (States::ESTABLISHED, States::INVALID);
    // Nothing is said of the sections ahead of it there: NEW is asked for, unlike in a rule.
    assert_eq!(
        states_asked("Own net fw\n", action),
        [new, established, invalid]
    );
    assert_eq!(
        states_asked("?SECTION ALL\nOwn net fw\n", action),
        [new, related, established, invalid]
    );
}

#[test]
fn a_rule_about_new_connections_asks_for_no_state_where_the_others_are_decided() {
    let states = |conf: &str| {
        let policy = compile(&[
            ("shorewall/rules", "New(ACCEPT) net fw\n"),
            ("shorewall/shorewall.conf", conf),
        ]);
        chain(&policy, "net", "fw").rules[0].states
    };
    let decided = "INVALID_DISPOSITION=DROP\nUNTRACKED_DISPOSITION=DROP\n";
    assert_eq!(states(decided), States::NEW);
    assert_eq!(
        states(&format!("{decided}RELATED_DISPOSITION=CONTINUE\n")),
        States::NEW.union(States::RELATED)
    );
    assert_eq!(
        states("INVALID_DISPOSITION=DROP\nRELATED_DISPOSITION=CONTINUE\n"),
        States::NEW
    );
}
