//! States that a chain has come to no decision about: what is of them meets its policy.

use std::sync::Arc;

use firewalldom::policy::{Action, Disposition, States};

use crate::chains::{Chains, Draft, Standing};
use crate::made::{NOWHERE, of_states};
use crate::report::Finding;
use crate::session::Session;
use crate::state_actions::{Asking, settle_default_action};

impl Chains {
    /// Where there are rules for the states `had`, what shorewall.conf says of another state does not
    /// hold: it is accepted, or goes on to the section NEW.
    pub(crate) fn forget_exception(&mut self, had: States, state: States, is_accepted: bool) {
        let accept = Action::Decide(Disposition::Accept);
        let accept = Arc::new(of_states(state, accept, NOWHERE));
        for draft in &mut self.drafts {
            if !draft.sections.iter().any(|rule| rule.states == had) {
                continue;
            }
            match is_accepted {
                true => draft.sections.push(Arc::clone(&accept)),
                false => draft.unsettled = draft.unsettled.union(state),
            }
        }
    }

    /// Where the file `rules` has no line of the section NEW, chains that exist by then do not decide about
    /// these states: whatever they are of meets the policy, answers included. Chains that are made for
    /// the policy decide as ever.
    pub(crate) fn leave_unsettled(&mut self, states: States) {
        let states = match self.accepts_established_first {
            true => States(states.0 & !States::ESTABLISHED.0),
            false => states,
        };
        for pair in self.zone_pairs() {
            let draft = &self.drafts[self.index(pair)];
            let exists = draft.has_rules() || self.has_options(pair);
            if self.is_unused(pair) || !exists {
                continue;
            }
            let decides = self.standing(pair) == Standing::Decides;
            let index = self.index(pair);
            let draft = &mut self.drafts[index];
            draft.unfinished = states;
            let chain = &draft.chain;
            let accepts = chain.policy == Disposition::Accept && chain.default_action.is_empty();
            draft.unsettled = match decides && accepts {
                // It comes to the same, and established flows keep their short way.
                true => States(states.0 & !States::ESTABLISHED.0),
                false => states,
            };
        }
    }

    /// Leaves out ahead of the policies what Shorewall takes for decided. A chain that pairs share says nothing of
    /// states, and counts as done with all of them.
    pub(crate) fn settle_default_actions(&mut self, asking: &Asking) {
        for pair in self.zone_pairs() {
            if self.standing(pair) != Standing::Decides {
                continue;
            }
            let index = self.index(pair);
            let draft = &mut self.drafts[index];
            let unfinished = match draft.shares_policy {
                true => States(0),
                false => draft.unfinished,
            };
            settle_default_action(&mut draft.chain.default_action, asking, unfinished);
        }
    }

    /// Says where it does the same for want of a line of the section NEW: see
    /// [`Chains::leave_unsettled`].
    pub(crate) fn warn_of_unsettled_answers(&self, session: &mut Session<'_>) {
        let drops_answers = |draft: &&Draft| draft.unsettled.0 & States::ESTABLISHED.0 != 0;
        let mut lost = self.drafts.iter().filter(drops_answers);
        if let Some(draft) = lost.next()
            && !session.has_errors()
        {
            session.report(
                Finding::warning(
                    "without a line of the section NEW in rules Shorewall 5.2 drops answers",
                )
                .note(format!(
                    "what is established meets the policy in chain {}; others: {}",
                    draft.chain.name,
                    lost.count()
                ))
                .note("end the file rules with a line of that section"),
            );
        }
    }
}
