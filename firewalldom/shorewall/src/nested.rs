//! The chains of the policy: the rules of each pair of zones put together, and behind them those of
//! the zones around, where CONTINUE leads.
//!
//! Shorewall tries the chain of the inner zones first. What its policy CONTINUE or a rule CONTINUE
//! lets go meets the chains of the zones around, in the order source, then destination, and at last
//! the policy `all all`. Here such a chain calls the lists of all of them.

mod ends;

use std::collections::HashMap;
use std::sync::Arc;

use firewalldom::policy::{
    Action, Chain, Disposition, Match, Origin, Protocol, Rule, RuleList, Settings, States, ZoneId,
};

use crate::chains::{Chains, Draft, Standing};
use crate::made::{NOWHERE, of_states};
use crate::rules::Undecided;
use crate::tables::Tables;
use crate::world::World;
use ends::{accept_exceptions, to_policy};

/// Rules that several pairs of zones have in common are called from this many on; fewer are copied.
const SHARED_FROM: usize = 64;

type Pair = (ZoneId, ZoneId);

/// Makes the policy's chains of the drafts, in the same order.
pub(crate) fn assemble(
    tables: &mut Tables,
    world: &World,
    chains: &Chains,
    settings: &Settings,
    undecided: Undecided,
) -> Vec<Chain> {
    let mut assembly = Assembly {
        tables,
        world,
        chains,
        settings,
        reaching_the_end: States(States::NEW.0 | undecided.0.0),
        known: HashMap::new(),
        users: HashMap::new(),
    };
    for draft in &chains.drafts {
        *assembly.users.entry(key(&assembly.own(draft))).or_default() += 1;
    }
    let mut policy: Vec<Chain> = chains
        .drafts
        .iter()
        .map(|draft| assembly.plain(draft))
        .collect();
    for pair in chains.zone_pairs() {
        let draft = &chains.drafts[chains.index(pair)];
        let leaves = draft.sections.iter().chain(&draft.new).any(returns);
        let goes_on = match chains.standing(pair) {
            Standing::Continues | Standing::Forgotten => true,
            Standing::Decides => leaves,
            // Without a chain of its own, but with those of the zones around.
            Standing::Unused => chains.index(pair) >= HOOKS,
        };
        if assembly.is_target(pair) {
            let chain = &mut policy[chains.index(pair)];
            *chain = Chain {
                rules: accept_exceptions(settings).into_iter().collect(),
                ..target(chain)
            };
        } else if goes_on {
            policy[chains.index(pair)] = assembly.joined(pair);
        } else if chains.is_bare(pair) {
            let rules = assembly.stateless(&draft.chain);
            policy[chains.index(pair)].rules.extend(rules);
        }
    }
    for (hook, chain) in policy.iter_mut().enumerate().take(HOOKS) {
        let (rules, blacklist) = assembly.stateless_hook(hook);
        chain.rules.extend(rules);
        chain.blacklist = blacklist;
    }
    policy
}

/// The chains FORWARD, INPUT and OUTPUT come first.
pub(crate) const HOOKS: usize = 3;
pub(crate) const FORWARD: usize = 0;
const OUTPUT: usize = 2;

pub(crate) fn returns(rule: &Arc<Rule>) -> bool {
    rule.action == Action::Return
}

/// Which rules these are: shared ones are the same.
fn key(rules: &[Arc<Rule>]) -> Vec<usize> {
    rules.iter().map(|rule| Arc::as_ptr(rule).addr()).collect()
}

fn copied(rules: &[Arc<Rule>]) -> Vec<Rule> {
    rules.iter().map(|rule| Rule::clone(rule)).collect()
}

struct Assembly<'a> {
    tables: &'a mut Tables,
    world: &'a World,
    chains: &'a Chains,
    settings: &'a Settings,
    /// States that no section and no disposition decides about.
    reaching_the_end: States,
    /// Lists that are made already, by their rules and the name they log by.
    known: HashMap<(Option<String>, Vec<usize>), u16>,
    /// How many drafts have the same rules.
    users: HashMap<Vec<usize>, usize>,
}

impl Assembly<'_> {
    /// A draft's rules but for `blrules`.
    fn own(&self, draft: &Draft) -> Vec<Arc<Rule>> {
        let mut own = draft.sections.clone();
        // Where there are no rules and nothing is let through, Shorewall does not ask for the limit.
        let has_rules = [&draft.blacklist, &draft.sections, &draft.new]
            .iter()
            .any(|rules| !rules.is_empty());
        if let Some(list) = draft.connection_limit
            && (has_rules || draft.chain.policy == Disposition::Accept)
        {
            own.push(Arc::new(Rule {
                matches: Match {
                    protocol: Protocol::TcpSyn(true),
                    ..Match::default()
                },
                ..call(list, self.reaching_the_end, draft.chain.origin)
            }));
        }
        if draft.unsettled == States(0) {
            own.extend(draft.new.iter().cloned());
            return own;
        }
        let all = |rule: &Arc<Rule>| {
            Arc::new(Rule {
                states: rule.states.union(draft.unsettled),
                ..Rule::clone(rule)
            })
        };
        own.extend(draft.new.iter().map(all));
        own
    }

    /// A list of these rules.
    fn list(&mut self, log_chain: Option<&str>, rules: &[Arc<Rule>]) -> u16 {
        let key = (log_chain.map(str::to_owned), key(rules));
        if let Some(&list) = self.known.get(&key) {
            return list;
        }
        let list = self.tables.push_list(RuleList {
            log_chain: key.0.clone(),
            rules: copied(rules),
        });
        self.known.insert(key, list);
        list
    }

    /// Whether a pair has no chain at all, but is let through at once: within a zone where nothing but
    /// its policy is said, be it none, CONTINUE or, if OPTIMIZE says so, ACCEPT; and if OPTIMIZE says
    /// so, wherever there is nothing but a policy ACCEPT.
    fn is_target(&self, pair: Pair) -> bool {
        let draft = &self.chains.drafts[self.chains.index(pair)];
        if draft.has_rules() || self.chains.has_options(pair) {
            return false;
        }
        let Chain {
            policy,
            policy_log,
            default_action,
            origin,
            ..
        } = &draft.chain;
        let is_within = pair.0 == pair.1;
        let standing = self.chains.standing(pair);
        // A chain that pairs share is not looked at within a zone, but for its policy.
        let shares = draft.shares_policy || standing == Standing::Forgotten;
        let says_no_more =
            policy_log.is_none() && default_action.is_empty() && draft.connection_limit.is_none();
        match standing {
            Standing::Unused => false,
            Standing::Continues => is_within && !self.chains.left_to_others.contains(&pair.0),
            Standing::Forgotten if !is_within => false,
            Standing::Decides | Standing::Forgotten => {
                let is_implicit = is_within && *origin == NOWHERE;
                let is_optimized =
                    self.chains.optimizes_policies && (is_within && shares || says_no_more);
                *policy == Disposition::Accept && (is_implicit || is_optimized)
            }
        }
    }

    /// The list of a draft's `blrules`, if it has any. One that logs does so by its own name.
    fn blacklist(&mut self, draft: &Draft) -> Option<u16> {
        if draft.blacklist.is_empty() {
            return None;
        }
        let logs = draft.blacklist.iter().any(|rule| rule.log.is_some());
        let name = logs.then(|| format!("{}~", draft.chain.name));
        Some(self.list(name.as_deref(), &draft.blacklist))
    }

    /// A chain that a policy ends.
    fn plain(&mut self, draft: &Draft) -> Chain {
        let own = self.own(draft);
        let is_shared =
            own.len() >= SHARED_FROM && self.users.get(&key(&own)).is_some_and(|&users| users > 1);
        let mut rules = if is_shared {
            let list = self.list(None, &own);
            vec![call(list, union_of(&own), draft.chain.origin)]
        } else {
            copied(&own)
        };
        rules.extend(to_policy(draft.unsettled, draft.chain.origin));
        Chain {
            blacklist: self.blacklist(draft),
            rules,
            ..draft.chain.clone()
        }
    }

    /// A chain that leads on to those of the zones around.
    fn joined(&mut self, pair: Pair) -> Chain {
        let chains = self.chains;
        let draft = &chains.drafts[chains.index(pair)];
        let mut chain = Chain {
            blacklist: self.blacklist(draft),
            rules: Vec::new(),
            ..draft.chain.clone()
        };
        let own = self.own(draft);
        let decides = chains.standing(pair) == Standing::Decides;
        let forgets = chains.standing(pair) == Standing::Forgotten;
        if !own.is_empty() || decides {
            let mut rules = copied(&own);
            if decides {
                // What comes to the end meets the policy; only what leaves goes on.
                let states = self.reaching_the_end.union(draft.unsettled);
                rules.extend(self.policy_as_rules(&draft.chain, states));
            }
            let states = union(rules.iter());
            let list = self.tables.push_list(RuleList {
                log_chain: Some(chain.name.clone()),
                rules,
            });
            chain.rules.push(call(list, states, chain.origin));
        }
        let mut is_first = own.is_empty() && !decides && !forgets && !chains.has_options(pair);
        let is_left = pair.0 == pair.1 && chains.left_to_others.contains(&pair.0);
        let mut is_asked = false;
        // States that no chain so far has let shorewall.conf decide about.
        let mut unsettled = draft.unsettled;
        let mut is_decided = false;
        let mut policy = &chains.drafts[usize::from(crate::chains::hook(pair))].chain;
        for around in self.around(pair) {
            let standing = chains.standing(around);
            if standing == Standing::Unused {
                continue;
            }
            let next = &chains.drafts[chains.index(around)];
            if self.is_target(around) {
                if is_first {
                    chain.rules.extend(accept_exceptions(self.settings));
                }
                return Chain {
                    policy_chain: Some(next.chain.name.clone()),
                    ..target(&chain)
                };
            }
            let mut theirs = Vec::new();
            match self.blacklist(next) {
                // Where there is no chain within the zone, this is the first to be asked: before the
                // checks of the interface's options.
                list @ Some(_) if is_left && !is_asked => chain.blacklist = list,
                Some(list) => {
                    let states = union_of(&next.blacklist);
                    theirs.push(Arc::new(call(list, states, next.chain.origin)));
                }
                None => {}
            }
            is_asked = true;
            theirs.extend(self.own(next));
            if chains.is_bare(around) {
                theirs.extend(self.stateless(&next.chain).into_iter().map(Arc::new));
            }
            let exists = !theirs.is_empty()
                || matches!(standing, Standing::Decides | Standing::Forgotten)
                || chains.has_options(around);
            let before = unsettled;
            if exists {
                unsettled = match is_first {
                    true => next.unsettled,
                    false => States(unsettled.0 & next.unsettled.0),
                };
            }
            if !theirs.is_empty() {
                if !is_first {
                    chain.rules.extend(self.decided_states(&theirs, before));
                }
                is_first = false;
                let list = self.list(Some(&next.chain.name), &theirs);
                chain
                    .rules
                    .push(call(list, union_of(&theirs), next.chain.origin));
            }
            match standing {
                Standing::Decides => {
                    policy = &next.chain;
                    is_decided = true;
                    break;
                }
                Standing::Forgotten => is_first = false,
                _ => is_first &= !chains.has_options(around),
            }
        }
        if is_first && !is_decided {
            chain.rules.extend(self.stateless(policy));
        } else {
            chain.rules.extend(to_policy(unsettled, chain.origin));
        }
        chain.policy = policy.policy;
        chain.policy_log.clone_from(&policy.policy_log);
        chain.default_action.clone_from(&policy.default_action);
        let name = policy.policy_chain.as_ref().unwrap_or(&policy.name);
        chain.policy_chain = Some(name.clone()).filter(|name| *name != chain.name);
        chain
    }

    /// The pairs whose chains a packet of a pair may meet after that pair's, in Shorewall's order: for
    /// each zone that its source is in, as they claim it, those that its destination is in.
    fn around(&self, pair: Pair) -> Vec<Pair> {
        let of = |zone: ZoneId| {
            let mut zones = vec![zone];
            zones.extend(self.world.claiming_after(zone));
            zones
        };
        let sources = of(pair.0).into_iter();
        let around = sources.flat_map(|source| {
            let destinations = of(pair.1).into_iter();
            destinations.map(move |destination| (source, destination))
        });
        around.filter(|&around| around != pair).collect()
    }
}

/// A chain that lets everything through which its rules do not decide about, in silence.
fn target(chain: &Chain) -> Chain {
    Chain {
        policy: Disposition::Accept,
        policy_log: None,
        default_action: Vec::new(),
        ..chain.clone()
    }
}

/// The states that any of these rules is about: of the others, none need be asked.
fn union<'r>(rules: impl Iterator<Item = &'r Rule>) -> States {
    rules.fold(States(0), |states, rule| states.union(rule.states))
}

fn union_of(rules: &[Arc<Rule>]) -> States {
    union(rules.iter().map(|rule| &**rule))
}

/// A rule that calls a list for packets of these states.
fn call(list: u16, states: States, origin: Origin) -> Rule {
    of_states(states, Action::Call(list), origin)
}
