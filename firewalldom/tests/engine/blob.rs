//! The policy as bytes.

use crate::support::{policy, rule};
use firewalldom::policy::blob::{self, Error};
use firewalldom::policy::{
    Action, ClampMss, Clock, ConnectionKey, ConnectionLimit, ConnectionUse, Disposition, Member,
    Rate, RateKey, RecentOperation, RecentUse, Rule, RuleList, Seen, SetMatch, Side, TimeWindow,
    UtcOffset,
};
use proptest::prelude::*;

#[test]
fn a_policy_survives_the_way_through_bytes_and_page_padding() {
    let mut bytes = blob::encode(&policy()).unwrap();
    assert_eq!(blob::decode(&bytes), Ok(policy()));
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    assert_eq!(blob::decode(&bytes), Ok(policy()));
}

/// Two rules, one of them a list's, and one in a default action.
fn with_rules_everywhere() -> firewalldom::policy::Policy {
    let mut full = policy();
    full.rule_lists = vec![list(vec![rule(0, 0, Disposition::Drop, 1)])];
    full.chains[6].default_action = vec![rule(0, 0, Disposition::Accept, 2)];
    full.recent_lists = 3;
    full
}

#[test]
fn a_stored_policy_is_the_same_with_its_rules_and_without() {
    let full = with_rules_everywhere();
    let bytes = blob::encode(&full).unwrap();
    let stored = blob::open(&bytes).unwrap();
    assert_eq!(stored.to_policy(), full);
    let mut without = full;
    for chain in &mut without.chains {
        chain.rules.clear();
        chain.default_action.clear();
    }
    without.rule_lists[0].rules.clear();
    assert_eq!(stored.policy(), &without);
}

#[test]
fn a_rule_that_makes_no_sense_is_found_wherever_it_is() {
    let sound = with_rules_everywhere();
    let places: [fn(&mut firewalldom::policy::Policy) -> &mut Rule; 3] = [
        |policy| &mut policy.chains[6].rules[0],
        |policy| &mut policy.chains[6].default_action[0],
        |policy| &mut policy.rule_lists[0].rules[0],
    ];
    for (number, place) in places.into_iter().enumerate() {
        let mut bad = sound.clone();
        place(&mut bad).origin.file = 40;
        assert!(
            matches!(blob::open(&sealed(&bad)), Err(Error::Nonsense(_))),
            "place {number}"
        );
    }
}

/// A policy that nobody checked, as bytes.
fn sealed(policy: &firewalldom::policy::Policy) -> Vec<u8> {
    let body = postcard::to_allocvec(policy).unwrap();
    let mut hasher = siphasher::sip::SipHasher24::new();
    std::hash::Hasher::write(&mut hasher, &body);
    let mut bytes = blob::MAGIC.to_vec();
    bytes.extend(blob::VERSION.to_le_bytes());
    bytes.extend([0; 2]);
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(std::hash::Hasher::finish(&hasher).to_le_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn foreign_cut_and_damaged_bytes_are_told_apart() {
    let good = blob::encode(&policy()).unwrap();
    assert_eq!(blob::decode(&[]), Err(Error::Magic));
    assert_eq!(blob::decode(b"\x1f\x8b\x08 an initrd"), Err(Error::Magic));
    assert!(matches!(
        blob::decode(&good[..20]),
        Err(Error::Truncated { needed: 24, .. })
    ));
    assert!(matches!(
        blob::decode(&good[..good.len() - 1]),
        Err(Error::Truncated { .. })
    ));
    let mut next = good.clone();
    next[8] = 9;
    assert_eq!(blob::decode(&next), Err(Error::Version { found: 9 }));
    let mut damaged = good;
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(blob::decode(&damaged), Err(Error::Checksum));
}

fn list(rules: Vec<Rule>) -> RuleList {
    RuleList {
        log_chain: None,
        rules,
    }
}

/// A list that calls another.
fn calls(called: u16) -> RuleList {
    list(vec![Rule {
        action: Action::Call(called),
        ..rule(0, 0, Disposition::Drop, 1)
    }])
}

fn set(set: u16) -> SetMatch {
    SetMatch {
        set,
        member: Member::Yes,
    }
}

fn connections(limit: u16) -> ConnectionUse {
    ConnectionUse {
        limit,
        side: Side::Within,
    }
}

#[test]
fn lists_within_lists_are_a_policy() {
    let mut nested = policy();
    nested.rule_lists = vec![list(vec![])];
    nested.rule_lists.extend((0..7).map(calls));
    let bytes = blob::encode(&nested).unwrap();
    assert_eq!(blob::decode(&bytes), Ok(nested));
}

#[test]
fn a_policy_the_engine_could_not_trust_is_neither_written_nor_run() {
    type Change = fn(&mut firewalldom::policy::Policy);
    let changes: [Change; 26] = [
        |policy| policy.pairs[3] = 99,
        |policy| _ = policy.pairs.pop(),
        |policy| policy.interfaces.clear(),
        |policy| policy.interfaces[0].name.clear(),
        |policy| policy.interfaces[0].addresses[0].length = 33,
        |policy| policy.interfaces[0].addresses[0].address = [224, 0, 0, 1].into(),
        |policy| policy.routes[0].interface.0 = 2,
        |policy| policy.routes[0].destination.address = [1, 0, 0, 0].into(),
        |policy| policy.hosts[0].zone.0 = 3,
        |policy| policy.source_nat[0].egress.0 = 7,
        |policy| policy.chains[6].rules[0].origin.file = 40,
        |policy| policy.chains[6].rules[0].states.0 = 0,
        |policy| policy.chains[6].blacklist = Some(0),
        |policy| policy.chains[6].rules[0].action = Action::Call(0),
        // A list that calls itself, one that calls a later one, and too many within each other.
        |policy| policy.rule_lists = vec![calls(0)],
        |policy| policy.rule_lists = vec![calls(1), list(vec![])],
        |policy| {
            policy.rule_lists = vec![list(vec![])];
            policy.rule_lists.extend((0..8).map(calls));
        },
        |policy| policy.chains[6].rules[0].matches.source.sets = vec![set(0)],
        |policy| policy.chains[6].rules[0].limits.time = Some(0),
        |policy| policy.chains[6].rules[0].limits.connections = Some(connections(0)),
        |policy| {
            policy.recent_lists = 1;
            policy.chains[6].rules[0].limits.recent = Some(RecentUse {
                list: 0,
                operation: RecentOperation::Check(Seen {
                    seconds: 60,
                    hits: 21,
                }),
            });
        },
        |policy| {
            policy.rates = vec![Rate {
                name: String::new(),
                packets: 0,
                period_ms: 1000,
                burst: 5,
                key: RateKey::All,
            }];
        },
        |policy| {
            policy.connection_limits = vec![ConnectionLimit {
                count: 1,
                key: ConnectionKey::Source(33),
            }];
        },
        |policy| {
            policy.times = vec![TimeWindow {
                day_start_s: 86_400,
                day_stop_s: 0,
                week_days: 0x7f,
                month_days: 0xffff_fffe,
                date_start_s: None,
                date_stop_s: None,
                clock: Clock::Utc,
            }];
        },
        |policy| policy.settings.clamp_mss = Some(ClampMss::At(27)),
        |policy| {
            let offset = UtcOffset {
                from_s: 0,
                ahead_s: 3600,
            };
            policy.settings.utc_offsets = vec![offset; 2];
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut bad = policy();
        change(&mut bad);
        assert!(
            matches!(blob::encode(&bad), Err(Error::Nonsense(_))),
            "change {number}"
        );
    }
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = blob::decode(&bytes);
        let mut good = blob::encode(&policy()).unwrap();
        good.truncate(24);
        good.extend(&bytes);
        prop_assert!(blob::decode(&good).is_err());
    }

    #[test]
    fn a_changed_bit_is_noticed(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = blob::encode(&policy()).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        // Two bytes of the header are reserved.
        prop_assume!(at != 10 && at != 11);
        prop_assert!(blob::decode(&bytes).is_err());
    }
}
