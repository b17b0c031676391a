//! Where chains end: what shorewall.conf says of states, the default action and the policy, as rules for
//! packets of the states that come there.

use std::sync::Arc;

use firewalldom::policy::{Action, Chain, Disposition, Exception, Origin, Rule, Settings, States};

use super::{Assembly, FORWARD, OUTPUT, call};
use crate::made::{NOWHERE, of_states};

impl Assembly<'_> {
    /// The default action and the policy for packets of any state: where no chain looks at states.
    pub(super) fn stateless(&mut self, chain: &Chain) -> Vec<Rule> {
        let settles_nothing =
            chain.policy == Disposition::Accept && chain.default_action.is_empty();
        let states = match settles_nothing {
            // As when nobody had looked; and established flows have a way of their own.
            true => States(States::ALL.0 & !States::NEW.0 & !States::ESTABLISHED.0),
            false => States(States::ALL.0 & !States::NEW.0),
        };
        self.policy_for(chain, states)
    }

    /// The same for what belongs to no zone, and where there are `blrules`, ahead of the checks of
    /// the interfaces' options, which are only in the chains of zones then.
    pub(super) fn stateless_hook(&mut self, hook: usize) -> (Vec<Rule>, Option<u16>) {
        let chains = self.chains;
        let chain = &chains.drafts[hook].chain;
        // A pair of zones may have flows whose answers it has no chain for; and what is let through here
        // may go back where it came from, which the checks of the options would not let.
        let is_strict = chain.policy != Disposition::Accept;
        // The firewall may be asked, but not answer, or the other way round; and an answer may go where
        // it has no zone, though the question came from one by another link.
        let is_met = hook != FORWARD || chains.has_unused() || self.world.has_hosts_of_no_zone();
        let established = match is_strict {
            true if is_met => States::ESTABLISHED,
            false if chains.has_blacklist() => States::ESTABLISHED,
            _ => States(0),
        };
        if chains.has_blacklist() && hook != OUTPUT {
            let others = States(States::ALL.0 & !States::ESTABLISHED.0);
            let rules = self.policy_for(chain, established.union(others));
            let rules: Vec<_> = rules.into_iter().map(Arc::new).collect();
            return (Vec::new(), Some(self.list(Some(&chain.name), &rules)));
        }
        let settled = settled_states(self.settings, |disposition| {
            is_strict || disposition != chain.policy
        });
        (self.policy_for(chain, established.union(settled)), None)
    }

    /// The default action and the policy of a chain for packets of these states.
    fn policy_for(&mut self, chain: &Chain, states: States) -> Vec<Rule> {
        let common = |rule: &mut Rule| {
            rule.states = States(rule.states.0 & states.0);
            rule.states != States(0)
        };
        let mut rules = self.policy_as_rules(chain, states);
        rules.retain_mut(common);
        rules
    }

    /// The first chain that a packet meets decides about its state, unless the state is to reach the
    /// end, or is `unsettled` there: rules for what a chain does not leave to the next, if that would
    /// ask.
    pub(super) fn decided_states(&self, next: &[Arc<Rule>], unsettled: States) -> Vec<Rule> {
        let asked = next
            .iter()
            .any(|rule| rule.states.0 & !self.reaching_the_end.0 != 0);
        if !asked {
            return Vec::new();
        }
        let accept = Exception {
            disposition: Disposition::Accept,
            log: None,
        };
        let settings = self.settings;
        [
            (States::ESTABLISHED, Some(&accept)),
            (States::RELATED, settings.related.as_ref()),
            (States::INVALID, settings.invalid.as_ref()),
            (States::UNTRACKED, settings.untracked.as_ref()),
        ]
        .into_iter()
        .filter(|(states, _)| states.0 & unsettled.0 == 0)
        .filter_map(|(states, exception)| {
            let exception = exception?;
            Some(Rule {
                log: exception.log.clone(),
                ..of_states(states, Action::Decide(exception.disposition), NOWHERE)
            })
        })
        .collect()
    }

    /// The default action and the policy of a chain, as rules at its end.
    pub(super) fn policy_as_rules(&mut self, chain: &Chain, states: States) -> Vec<Rule> {
        let mut rules = chain.default_action.clone();
        rules.push(Rule {
            log: chain.policy_log.clone(),
            ..of_states(states, Action::Decide(chain.policy), chain.origin)
        });
        match &chain.policy_chain {
            None => rules,
            Some(name) => {
                let list = self.tables.rule_list(Some(name), rules);
                vec![call(list, states, chain.origin)]
            }
        }
    }
}

/// Within a zone without rules Shorewall lets everything through at once: what shorewall.conf says
/// of states is never asked.
pub(super) fn accept_exceptions(settings: &Settings) -> Option<Rule> {
    let states = settled_states(settings, |disposition| disposition != Disposition::Accept);
    let accept = Action::Decide(Disposition::Accept);
    (states != States(0)).then(|| of_states(states, accept, NOWHERE))
}

/// Leads packets of these states on to the policy, past what shorewall.conf says of them.
pub(super) fn to_policy(states: States, origin: Origin) -> Option<Rule> {
    (states != States(0)).then(|| of_states(states, Action::Policy, origin))
}

/// The states that shorewall.conf decides about, as `is_meant` asks for.
fn settled_states(settings: &Settings, is_meant: impl Fn(Disposition) -> bool) -> States {
    [
        (States::RELATED, settings.related.as_ref()),
        (States::INVALID, settings.invalid.as_ref()),
        (States::UNTRACKED, settings.untracked.as_ref()),
    ]
    .into_iter()
    .filter(|(_, exception)| exception.is_some_and(|said| is_meant(said.disposition)))
    .fold(States(0), |all, (states, _)| all.union(states))
}
