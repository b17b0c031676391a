//! Rules that never match, because rules above them decide about all of their packets.
//!
//! A rule that holds all of another's packets has, among them, all of its source and destination
//! addresses. So the rules above are kept by the smallest prefixes that hold their addresses, and
//! only those are compared whose prefixes hold the rule's: a blacklist of any length takes a few
//! look-ups for each of its lines.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use firewalldom::policy::{Action, Addresses, DestinationNat, Origin, Rule};

use crate::chains::Chains;
use crate::packet_set::holds_all;
use crate::report::Finding;
use crate::session::Session;
use crate::source::Span;

/// Pairs of rules that are compared at most: a hint is not worth seconds.
const MAX_COMPARISONS: usize = 2_000_000;

/// Most lines that are named; a blacklist may have thousands.
const MAX_NAMED: usize = 100;

/// A line of a file.
type Line = (u16, u32);

/// A prefix: its first address and its length.
type Cover = (u32, u8);

fn line(origin: Origin) -> Line {
    (origin.file, origin.line)
}

/// Warns of each line all of whose rules, in every chain, are decided before. What translates
/// addresses matters even if its packets are let through by another rule.
pub(crate) fn warn(
    session: &mut Session<'_>,
    chains: &Chains,
    nat: &[DestinationNat],
    lines: &BTreeMap<Line, Span>,
) {
    let mut search = Search {
        shadowed: BTreeMap::new(),
        alive: nat.iter().map(|nat| line(nat.origin)).collect(),
        left: MAX_COMPARISONS,
    };
    // Chains with the same rules need to be looked at once.
    let mut seen: HashSet<Vec<usize>> = HashSet::new();
    for draft in &chains.drafts {
        let mut blocks: Vec<Vec<&Arc<Rule>>> = Vec::new();
        let own = draft.sections.iter().chain(&draft.new);
        // What an exemption lets go on from `blrules` meets the rules below all the same.
        if draft
            .blacklist
            .iter()
            .any(|rule| rule.action == Action::Return)
        {
            blocks.extend([draft.blacklist.iter().collect(), own.collect()]);
        } else {
            blocks.push(draft.blacklist.iter().chain(own).collect());
        }
        for rules in blocks {
            let key = rules.iter().map(|rule| Arc::as_ptr(rule).addr()).collect();
            if seen.insert(key) && search.look_through(&rules).is_none() {
                return;
            }
        }
    }
    let mut named = 0;
    for (place, earlier) in search.shadowed {
        let (Some(&span), false) = (lines.get(&place), search.alive.contains(&place)) else {
            continue;
        };
        let by = match lines.get(&earlier) {
            Some(earlier) => session.sources.location(*earlier),
            None => continue,
        };
        named += 1;
        if named > MAX_NAMED {
            continue;
        }
        session.report(
            Finding::warning("this rule never matches")
                .at(span, "all of its packets are decided before")
                .note(format!("{}:{} decides about them", by.file, by.line)),
        );
    }
    if let Some(more) = named.checked_sub(MAX_NAMED).filter(|more| *more > 0) {
        session.report(Finding::warning(format!(
            "{more} more rules never match, for the like reason"
        )));
    }
}

struct Search {
    shadowed: BTreeMap<Line, Line>,
    /// Lines of which a rule can match.
    alive: BTreeSet<Line>,
    /// Comparisons that are left.
    left: usize,
}

impl Search {
    /// `None`: it would take too long.
    fn look_through(&mut self, rules: &[&Arc<Rule>]) -> Option<()> {
        let mut index: HashMap<(Cover, Cover), Vec<usize>> = HashMap::new();
        let mut lengths: BTreeSet<(u8, u8)> = BTreeSet::new();
        for (position, rule) in rules.iter().enumerate() {
            let source = cover(&rule.matches.source);
            let destination = cover(&rule.matches.destination);
            let place = line(rule.origin);
            if !self.alive.contains(&place) {
                let mut found: Option<usize> = None;
                for &(source_length, destination_length) in &lengths {
                    let (Some(source), Some(destination)) = (
                        around(source, source_length),
                        around(destination, destination_length),
                    ) else {
                        continue;
                    };
                    for &earlier in index.get(&(source, destination)).into_iter().flatten() {
                        self.left = self.left.checked_sub(1)?;
                        let other = rules[earlier];
                        if found.is_none_or(|found| earlier < found)
                            && line(other.origin) != place
                            && decides_all(other, rule)
                        {
                            found = Some(earlier);
                            break;
                        }
                    }
                }
                match found {
                    Some(earlier) => {
                        let earlier = line(rules[earlier].origin);
                        self.shadowed.entry(place).or_insert(earlier);
                    }
                    None => {
                        self.alive.insert(place);
                    }
                }
            }
            if decides(rule) {
                index
                    .entry((source, destination))
                    .or_default()
                    .push(position);
                lengths.insert((source.1, destination.1));
            }
        }
        Some(())
    }
}

/// The smallest prefix that holds all of the addresses.
fn cover(addresses: &Addresses) -> Cover {
    let first = addresses.ranges.iter().map(|range| range.first).min();
    let last = addresses.ranges.iter().map(|range| range.last).max();
    match (first, last) {
        (Some(first), Some(last)) => {
            let (first, last) = (u32::from(first), u32::from(last));
            let length = (first ^ last).leading_zeros() as u8;
            (masked(first, length), length)
        }
        _ => (0, 0),
    }
}

/// The prefix of a length that holds another; `None`: it is longer.
fn around((address, length): Cover, wanted: u8) -> Option<Cover> {
    (wanted <= length).then(|| (masked(address, wanted), wanted))
}

fn masked(address: u32, length: u8) -> u32 {
    address & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn decides(rule: &Rule) -> bool {
    matches!(rule.action, Action::Decide(_) | Action::Reject(_)) && rule.limits.is_empty()
}

fn decides_all(earlier: &Rule, rule: &Rule) -> bool {
    decides(earlier)
        && earlier.states.contains(rule.states)
        && holds_all(&earlier.matches, &rule.matches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewalldom::policy::AddressRange;
    use std::net::Ipv4Addr;

    #[test]
    fn the_smallest_prefix_holds_all_ranges() {
        let range = |first: [u8; 4], last: [u8; 4]| AddressRange {
            first: Ipv4Addr::from(first),
            last: Ipv4Addr::from(last),
        };
        let cover_of = |ranges: &[AddressRange]| {
            cover(&Addresses {
                ranges: ranges.to_vec(),
                ..Addresses::default()
            })
        };
        assert_eq!(cover_of(&[]), (0, 0));
        assert_eq!(
            cover_of(&[range([10, 0, 0, 1], [10, 0, 0, 1])]),
            (0x0a00_0001, 32)
        );
        assert_eq!(
            cover_of(&[
                range([10, 0, 0, 1], [10, 0, 0, 2]),
                range([10, 0, 0, 9], [10, 0, 0, 9])
            ]),
            (0x0a00_0000, 28)
        );
        assert_eq!(cover_of(&[range([0; 4], [255; 4])]), (0, 0));
        assert_eq!(around((0x0a00_0001, 32), 24), Some((0x0a00_0000, 24)));
        assert_eq!(around((0x0a00_0000, 24), 32), None);
    }
}
