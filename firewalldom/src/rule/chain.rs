//! The chain of a pair of zones: which of its rules a packet meets, in Shorewall's order.

use super::ahead::Sought;
use super::entry::Key;
use super::list::List;
use super::matcher::NamedSets;
use super::tree::{Descent, Tree};
use super::{Facts, Origins};
use crate::packet::Tuple;
use crate::policy::{self, Action, ChainRules, Disposition, Limits, Log, RejectWith, States};
use alloc::string::String;

/// The rules and the policy of one or more zone pairs.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) name: String,
    blacklist: Option<u16>,
    /// The name of the chain of `blrules` in log lines.
    blacklist_name: String,
    rules: List,
    default_action: List,
    policy: Disposition,
    policy_log: Option<Log>,
    policy_chain: Option<String>,
    origin: u32,
    /// States that some rule looks at; the others go straight to what follows the rules.
    states: u8,
    /// The same of rules that are about more than what leaves by the interface it came by.
    crossing_states: u8,
}

/// What decided about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) disposition: Disposition,
    /// Number of the origin of the rule or policy.
    pub(crate) origin: u32,
    pub(crate) by: By,
    /// How a REJECT tells the sender; `None`: as the protocol has it.
    pub(crate) reject_with: Option<RejectWith>,
}

/// The kind of thing that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Rule,
    Policy,
    /// The implicit ACCEPT of ESTABLISHED, or a disposition of shorewall.conf.
    State,
}

/// A log line somebody asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogRequest<'a> {
    pub(crate) chain: &'a str,
    pub(crate) log: &'a Log,
}

/// What judging needs and does besides looking at rules.
pub(crate) trait Hooks {
    /// Whether a rule that the packet matches holds by its limits, too.
    fn holds(&mut self, limits: &Limits, facts: &Facts<'_>) -> bool;

    /// A rule or policy was hit, and perhaps wants a log line.
    fn hit(&mut self, origin: u32, request: Option<LogRequest<'_>>);

    /// Something else than a rule or policy wants a log line.
    fn log(&mut self, request: LogRequest<'_>);

    /// Whether somebody wants to know of every rule that is compared with the packet.
    #[cfg(feature = "trace")]
    fn is_traced(&self) -> bool;

    /// A rule was compared with the packet.
    #[cfg(feature = "trace")]
    fn compared(&mut self, origin: u32, outcome: crate::trace::Outcome);
}

impl Chain {
    pub(crate) fn new(
        chain: &policy::Chain,
        stored: ChainRules<'_>,
        lists: &[List],
        named: &NamedSets,
        origins: &mut Origins,
    ) -> Self {
        let mut list = |rules| List::new(None, rules, named, origins);
        let (rules, default_action) = (list(stored.rules), list(stored.default_action));
        let blacklist = chain.blacklist.map(|list| &lists[usize::from(list)]);
        Self {
            name: chain.name.clone(),
            blacklist: chain.blacklist,
            blacklist_name: chain.name.clone() + "~",
            states: rules.states | blacklist.map_or(0, |list| list.states),
            crossing_states: rules.crossing_states
                | blacklist.map_or(0, |list| list.crossing_states),
            rules,
            default_action,
            policy: chain.policy,
            policy_log: chain.policy_log.clone(),
            policy_chain: chain.policy_chain.clone(),
            origin: origins.number(chain.origin),
        }
    }

    /// Whether some rule looks at packets in this state.
    pub(crate) const fn looks_at(&self, state: States) -> bool {
        self.states & state.0 != 0
    }

    /// Whether some rule looks at packets in this state that need not leave by the interface that they
    /// came by.
    pub(crate) const fn looks_at_crossing(&self, state: States) -> bool {
        self.crossing_states & state.0 != 0
    }

    /// The number of the list that `blrules` is.
    pub(crate) fn blacklist(&self) -> Option<u16> {
        self.blacklist
    }

    /// Whether there are very many rules.
    pub(crate) fn has_far_rules(&self) -> bool {
        self.far_tree().is_some()
    }

    /// The tree of its rules, if there are very many.
    pub(super) fn far_tree(&self) -> Option<&Tree> {
        self.rules.far_tree()
    }

    /// Whether `blrules` may have something to say about a packet: for nearly all it has not.
    pub(crate) fn may_blacklist(&self, lists: &[List], tuple: &Tuple, state: States) -> bool {
        let list = self.blacklist.map(|list| &lists[usize::from(list)]);
        // Who follows the rules sees every one that is passed over.
        list.is_some_and(|list| cfg!(feature = "trace") || list.perhaps(tuple, state))
    }

    /// Bytes of its tables on the heap.
    pub(crate) fn bytes(&self) -> usize {
        self.rules.bytes() + self.default_action.bytes()
    }

    /// What `blrules` says, before any other check; `None`: nothing.
    pub(crate) fn blacklisted(
        &self,
        lists: &[List],
        state: States,
        facts: &Facts<'_>,
        hooks: &mut impl Hooks,
    ) -> Option<Ruling> {
        let list = &lists[usize::from(self.blacklist?)];
        match Walk::new(lists, state, facts).list(list, None, &self.blacklist_name, hooks) {
            Walked::Decided(ruling) => Some(ruling),
            _ => None,
        }
    }

    /// Judges a packet: sections in Shorewall's order, then what shorewall.conf says of its state,
    /// then default action and policy.
    pub(crate) fn judge(
        &self,
        lists: &[List],
        state: States,
        facts: &Facts<'_>,
        ahead: Option<&Sought>,
        settings: &policy::Settings,
        hooks: &mut impl Hooks,
    ) -> Ruling {
        let walk = Walk::new(lists, state, facts);
        let ahead = ahead.and_then(|sought| sought.descent_of(&walk.key));
        match walk.list(&self.rules, ahead, &self.name, hooks) {
            Walked::Decided(ruling) => return ruling,
            Walked::ToPolicy | Walked::Returned => {}
            Walked::Through => {
                let exception = match state {
                    States::ESTABLISHED => return self.state_ruling(Disposition::Accept),
                    States::RELATED => settings.related.as_ref(),
                    States::INVALID => settings.invalid.as_ref(),
                    States::UNTRACKED => settings.untracked.as_ref(),
                    _ => None,
                };
                if let Some(exception) = exception {
                    // No line of the policy file decides: none is counted.
                    if let Some(log) = &exception.log {
                        let chain = &self.name;
                        hooks.log(LogRequest { chain, log });
                    }
                    return self.state_ruling(exception.disposition);
                }
            }
        }
        if let Walked::Decided(ruling) = walk.list(&self.default_action, None, &self.name, hooks) {
            return ruling;
        }
        let chain = self.policy_chain.as_deref().unwrap_or(&self.name);
        let request = self
            .policy_log
            .as_ref()
            .map(|log| LogRequest { chain, log });
        hooks.hit(self.origin, request);
        Ruling {
            disposition: self.policy,
            origin: self.origin,
            by: By::Policy,
            reject_with: None,
        }
    }

    /// A disposition that no rule gave.
    pub(crate) const fn state_ruling(&self, disposition: Disposition) -> Ruling {
        Ruling {
            disposition,
            origin: self.origin,
            by: By::State,
            reject_with: None,
        }
    }
}

/// A packet on its way through lists of rules.
#[derive(Clone, Copy)]
struct Walk<'a> {
    lists: &'a [List],
    state: States,
    key: Key,
    facts: &'a Facts<'a>,
}

impl<'a> Walk<'a> {
    fn new(lists: &'a [List], state: States, facts: &'a Facts<'a>) -> Self {
        Self {
            lists,
            state,
            key: Key::new(&facts.tuple, state),
            facts,
        }
    }

    #[cfg(feature = "trace")]
    fn note_passed_over(&self, list: &List, from: u32, until: Option<u32>, hooks: &mut impl Hooks) {
        if hooks.is_traced() {
            list.passed_over(from, until, self.state, self.facts, |origin, condition| {
                hooks.compared(origin, crate::trace::Outcome::Unlike(condition));
            });
        }
    }

    #[inline(always)]
    fn list(
        &self,
        list: &List,
        ahead: Option<&Descent>,
        chain: &str,
        hooks: &mut impl Hooks,
    ) -> Walked {
        let found = if list.looks_at(self.state) {
            list.find(0, &self.key, ahead, self.facts)
        } else {
            None
        };
        #[cfg(feature = "trace")]
        self.note_passed_over(list, 0, found, hooks);
        match found {
            None => Walked::Through,
            Some(number) => self.rules(list, number, chain, hooks),
        }
    }

    /// From the first rule on that the packet matches. Lists are called as deep as [`policy::check`]
    /// allows, no deeper.
    #[inline(never)]
    fn rules(&self, list: &List, first: u32, chain: &str, hooks: &mut impl Hooks) -> Walked {
        let chain = list.log_chain.as_deref().unwrap_or(chain);
        let mut next = Some(first);
        let mut from = 0;
        loop {
            let found = next.take().or_else(|| {
                let found = list.find(from, &self.key, None, self.facts);
                #[cfg(feature = "trace")]
                self.note_passed_over(list, from, found, hooks);
                found
            });
            let Some(number) = found else {
                return Walked::Through;
            };
            from = number + 1;
            let rule = list.rule(number);
            let extra = list.extra(rule);
            if extra.is_some_and(|extra| !hooks.holds(&extra.limits, self.facts)) {
                #[cfg(feature = "trace")]
                hooks.compared(rule.origin, crate::trace::Outcome::BeyondLimit);
                continue;
            }
            #[cfg(feature = "trace")]
            hooks.compared(rule.origin, crate::trace::Outcome::Struck);
            let log = extra.and_then(|extra| extra.log.as_ref());
            hooks.hit(rule.origin, log.map(|log| LogRequest { chain, log }));
            let (disposition, reject_with) = match rule.action {
                Action::Continue => continue,
                Action::Policy => return Walked::ToPolicy,
                Action::Return => return Walked::Returned,
                Action::Call(list) => {
                    match self.list(&self.lists[usize::from(list)], None, chain, hooks) {
                        Walked::Through | Walked::Returned => continue,
                        end => return end,
                    }
                }
                Action::Decide(disposition) => (disposition, None),
                Action::Reject(with) => (Disposition::Reject, Some(with)),
            };
            return Walked::Decided(Ruling {
                disposition,
                origin: rule.origin,
                by: By::Rule,
                reject_with,
            });
        }
    }
}

/// How a walk through rules ended.
enum Walked {
    Decided(Ruling),
    /// The rest of the chain's rules is to be skipped.
    ToPolicy,
    /// The rest of the list is to be skipped.
    Returned,
    Through,
}
