//! Rules that never match, because rules above them decide about all of their packets.

use std::collections::{BTreeMap, BTreeSet};

use firewalldom::policy::{Action, Chain, DestinationNat, Origin, Rule};

use crate::packet_set::holds_all;
use crate::report::Finding;
use crate::session::Session;
use crate::source::Span;

/// Pairs of rules that are compared at most: a long blacklist is not worth seconds.
const MAX_COMPARISONS: usize = 2_000_000;

/// A line of a file.
type Line = (u16, u32);

fn line(origin: Origin) -> Line {
    (origin.file, origin.line)
}

/// Warns of each line all of whose rules, in every chain, are decided before. What translates
/// addresses matters even if its packets are let through by another rule.
pub(crate) fn warn(
    session: &mut Session<'_>,
    chains: &[Chain],
    nat: &[DestinationNat],
    lines: &BTreeMap<Line, Span>,
) {
    let mut shadowed: BTreeMap<Line, Line> = BTreeMap::new();
    let mut alive: BTreeSet<Line> = nat.iter().map(|nat| line(nat.origin)).collect();
    let mut comparisons = 0;
    for chain in chains {
        for (index, rule) in chain.rules.iter().enumerate() {
            let place = line(rule.origin);
            if alive.contains(&place) {
                continue;
            }
            comparisons += index;
            if comparisons > MAX_COMPARISONS {
                return;
            }
            let earlier = chain.rules[..index]
                .iter()
                .find(|earlier| line(earlier.origin) != place && decides_all(earlier, rule));
            match earlier {
                Some(earlier) => {
                    shadowed.entry(place).or_insert(line(earlier.origin));
                }
                None => {
                    alive.insert(place);
                }
            }
        }
    }
    for (place, earlier) in shadowed {
        let (Some(&span), false) = (lines.get(&place), alive.contains(&place)) else {
            continue;
        };
        let by = match lines.get(&earlier) {
            Some(earlier) => session.sources.location(*earlier),
            None => continue,
        };
        session.report(
            Finding::warning("this rule never matches")
                .at(span, "all of its packets are decided before")
                .note(format!("{}:{} decides about them", by.file, by.line)),
        );
    }
}

fn decides_all(earlier: &Rule, rule: &Rule) -> bool {
    matches!(earlier.action, Action::Decide(_) | Action::Reject(_))
        && earlier.limits.is_empty()
        && earlier.states.contains(rule.states)
        && holds_all(&earlier.matches, &rule.matches)
}
