//! A list of rules, ready to be asked for the next one that a packet matches.

use super::entry::{self, Entry, Key};
use super::interval::Intervals;
use super::matcher::{Matcher, NamedSets};
use super::tree::{Descent, Tree};
use super::{Facts, Origins};
use crate::packet::Tuple;
use crate::policy::{self, Action, Limits, Log, States};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// Rules of a chain, or rules that chains share or call.
#[derive(Clone, Debug)]
pub(crate) struct List {
    pub(super) log_chain: Option<String>,
    index: Index,
    rules: Box<[Rule]>,
    extras: Box<[Extra]>,
    /// States that some rule looks at.
    pub(super) states: u8,
    /// The same of rules that are about more than what leaves by the interface it came by.
    pub(super) crossing_states: u8,
    /// All conditions of each rule.
    #[cfg(feature = "trace")]
    conditions: Box<[(States, Matcher)]>,
}

/// Where rules are found.
#[derive(Clone, Debug)]
enum Index {
    Tree(Tree),
    Intervals(Intervals),
}

impl Index {
    /// `boxes` in the order of their rules; `last_words` if each of those that matches has the last
    /// word.
    fn new(boxes: &[Entry], last_words: LastWords) -> Self {
        let exact = boxes.iter().all(Entry::is_exact);
        let intervals = (exact && last_words == LastWords::All)
            .then(|| Intervals::new(boxes))
            .flatten();
        intervals.map_or_else(|| Self::Tree(Tree::new(boxes)), Self::Intervals)
    }
}

/// Which rules have the last word on what they match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastWords {
    All,
    NotAll,
}

/// Whether only what leaves by the interface that it came by can match.
fn is_about_hairpins(matches: &policy::Match) -> bool {
    matches.ingress.is_some() && matches.ingress == matches.egress
}

/// Whether no rule behind one that matches is looked at.
fn has_last_word(rule: &policy::Rule) -> bool {
    let ends = match rule.action {
        Action::Continue | Action::Call(_) => false,
        Action::Policy | Action::Return | Action::Decide(_) | Action::Reject(_) => true,
    };
    ends && rule.limits.is_empty()
}

/// What a rule does: 12 bytes; what it looks at is in the tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) action: Action,
    /// Number of its origin.
    pub(super) origin: u32,
    /// Index into [`List::extras`] plus one; 0: it has none.
    extra: u32,
}

const _: () = assert!(size_of::<Rule>() == 12);

/// What few rules have.
#[derive(Clone, Debug)]
pub(super) struct Extra {
    /// All conditions, of a rule that is more than its boxes.
    matcher: Option<Matcher>,
    pub(super) log: Option<Log>,
    pub(super) limits: Limits,
}

impl List {
    pub(crate) fn new(
        log_chain: Option<String>,
        rules: impl Iterator<Item = policy::Rule>,
        named: &NamedSets,
        origins: &mut Origins,
    ) -> Self {
        let (count, _) = rules.size_hint();
        let mut boxes: Vec<Entry> = Vec::with_capacity(count);
        let mut compiled = Vec::with_capacity(count);
        let mut extras: Vec<Extra> = Vec::new();
        let (mut states, mut crossing_states) = (0, 0);
        let mut last_words = LastWords::All;
        #[cfg(feature = "trace")]
        let mut conditions = Vec::new();
        for (number, rule) in rules.enumerate() {
            states |= rule.states.0;
            if !is_about_hairpins(&rule.matches) {
                crossing_states |= rule.states.0;
            }
            if !has_last_word(&rule) {
                last_words = LastWords::NotAll;
            }
            #[cfg(feature = "trace")]
            conditions.push((rule.states, Matcher::new(&rule.matches, named)));
            let exact = entry::boxes(&rule, number as u32, &mut boxes);
            let extra = if exact && rule.log.is_none() && rule.limits.is_empty() {
                0
            } else {
                let extra = Extra {
                    matcher: (!exact).then(|| Matcher::new(&rule.matches, named)),
                    log: rule.log,
                    limits: rule.limits,
                };
                // The rules of a long list are often logged alike.
                let same = extras.last().is_some_and(|last| last.is_like(&extra));
                if !same {
                    extras.push(extra);
                }
                extras.len() as u32
            };
            compiled.push(Rule {
                action: rule.action,
                origin: origins.number(rule.origin),
                extra,
            });
        }
        Self {
            log_chain,
            index: Index::new(&boxes, last_words),
            rules: compiled.into(),
            extras: extras.into(),
            states,
            crossing_states,
            #[cfg(feature = "trace")]
            conditions: conditions.into(),
        }
    }

    /// Rules that a packet was compared with and is not like, and why.
    #[cfg(feature = "trace")]
    pub(super) fn passed_over(
        &self,
        from: u32,
        until: Option<u32>,
        state: States,
        facts: &Facts<'_>,
        mut note: impl FnMut(u32, super::Condition),
    ) {
        let all = from as usize..until.map_or(self.rules.len(), |number| number as usize);
        for (rule, (states, matcher)) in self.rules[all.clone()].iter().zip(&self.conditions[all]) {
            let unlike = if states.contains(state) {
                matcher.unlike(facts)
            } else {
                Some(super::Condition::State)
            };
            debug_assert!(unlike.is_some(), "the tables missed a rule");
            if let Some(condition) = unlike {
                note(rule.origin, condition);
            }
        }
    }

    /// Whether a rule may match; where this is false, none does.
    pub(super) fn perhaps(&self, tuple: &Tuple, state: States) -> bool {
        let may = match &self.index {
            Index::Tree(_) => true,
            Index::Intervals(intervals) => intervals.perhaps(tuple),
        };
        may && self.looks_at(state)
    }

    /// What [`Self::perhaps`] reads for a packet will be wanted soon.
    pub(crate) fn prefetch(&self, tuple: &Tuple) {
        if let Index::Intervals(intervals) = &self.index {
            intervals.prefetch(tuple);
        }
    }

    /// The tree of a list so long that it is of use to go down ahead, together with others.
    pub(super) fn far_tree(&self) -> Option<&Tree> {
        match &self.index {
            Index::Tree(tree) if tree.is_far() => Some(tree),
            _ => None,
        }
    }

    /// The number of the first rule from `from` on that the packet matches, limits apart.
    // By itself: nearly always it is asked once, and the walk would keep all that it reads for a next time.
    #[inline(never)]
    pub(super) fn find(
        &self,
        from: u32,
        key: &Key,
        ahead: Option<&Descent>,
        facts: &Facts<'_>,
    ) -> Option<u32> {
        let tree = match &self.index {
            Index::Tree(tree) => tree,
            // No rule behind the first is looked for.
            Index::Intervals(intervals) => return intervals.find(key).filter(|rule| *rule >= from),
        };
        tree.find(from, key, ahead, |number| {
            let extra = self.extra(&self.rules[number as usize]);
            extra
                .and_then(|extra| extra.matcher.as_ref())
                .is_none_or(|matcher| matcher.holds(facts))
        })
    }

    pub(super) fn rule(&self, number: u32) -> &Rule {
        &self.rules[number as usize]
    }

    pub(super) fn extra(&self, rule: &Rule) -> Option<&Extra> {
        self.extras.get((rule.extra as usize).wrapping_sub(1))
    }

    /// Whether some rule looks at packets in this state.
    pub(super) const fn looks_at(&self, state: States) -> bool {
        self.states & state.0 != 0
    }

    /// Bytes on the heap, but for what extras hold.
    pub(crate) fn bytes(&self) -> usize {
        let index = match &self.index {
            Index::Tree(tree) => tree.bytes(),
            Index::Intervals(intervals) => intervals.bytes(),
        };
        index + size_of_val(&*self.rules) + size_of_val(&*self.extras)
    }
}

impl Extra {
    /// Whether one can stand for the other. Conditions are not compared.
    fn is_like(&self, other: &Self) -> bool {
        self.matcher.is_none()
            && other.matcher.is_none()
            && self.log == other.log
            && self.limits == other.limits
    }
}
