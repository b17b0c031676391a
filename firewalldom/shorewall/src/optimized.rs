//! Where Shorewall's OPTIMIZE makes something else of the files than they say.
//!
//! With the 2 in OPTIMIZE, Shorewall 5.2 removes the ACCEPTs at the end of a chain whose policy is
//! ACCEPT, and takes the chain's last rule for that policy. It is not where an unconditional DROP or
//! REJECT ends the chain: such a Linux box loses that rule, or the ACCEPTs ahead of it. Here they
//! hold as written, which is said.

use std::collections::BTreeMap;

use firewalldom::policy::{Action, Disposition, Match, Rule};

use crate::chains::{Chains, Draft};
use crate::report::Finding;
use crate::session::Session;
use crate::source::Span;

/// What Linux does with these files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    /// It lets all through.
    Opens,
    /// It has none of the ACCEPTs just ahead of the rule.
    LosesAccepts,
}

/// Warns of each rule that Shorewall mistakes for a policy. `lines` are those of the rules.
pub(crate) fn warn(session: &mut Session<'_>, chains: &Chains, lines: &BTreeMap<(u16, u32), Span>) {
    if !chains.optimizes_policies {
        return;
    }
    let mut told = BTreeMap::new();
    for draft in &chains.drafts {
        if let Some((rule, mistake)) = mistaken(draft) {
            let line = (rule.origin.file, rule.origin.line);
            told.entry(line).or_insert((&draft.chain.name, mistake));
        }
    }
    for (line, (chain, mistake)) in told {
        let Some(&span) = lines.get(&line) else {
            continue;
        };
        session.report(
            Finding::warning("with OPTIMIZE Shorewall 5.2 takes this rule for the policy")
                .at(span, "the last rule of zones whose policy is ACCEPT")
                .note(match mistake {
                    Mistake::Opens => {
                        format!("in chain {chain} Linux lets everything through; here the rule holds")
                    }
                    Mistake::LosesAccepts => {
                        format!(
                            "in chain {chain} Linux forgets the ACCEPTs just ahead of it; here they hold"
                        )
                    }
                })
                .note("write a policy instead of the rule, or take the 2 out of OPTIMIZE"),
        );
    }
}

/// The rule of a chain that is mistaken for its policy, if that changes anything.
fn mistaken(draft: &Draft) -> Option<(&Rule, Mistake)> {
    let (last, ahead) = draft.new.split_last()?;
    let refuses = matches!(
        last.action,
        Action::Decide(Disposition::Drop | Disposition::Reject) | Action::Reject(_)
    );
    let is_mistaken = draft.chain.policy == Disposition::Accept
        // Where EXPAND_POLICIES=No has pairs share a policy, their chains do not end with it.
        && draft.chain.policy_chain.is_none()
        && refuses
        && last.matches == Match::default()
        && last.limits.is_empty()
        && last.log.is_none();
    if !is_mistaken {
        return None;
    }
    let accepts =
        |rule: &Rule| rule.action == Action::Decide(Disposition::Accept) && rule.log.is_none();
    let lost = ahead.iter().rev().take_while(|rule| accepts(rule)).count();
    let left = ahead.len() - lost + draft.sections.len() + draft.blacklist.len();
    match (left, lost) {
        (0, _) => Some((last, Mistake::Opens)),
        (_, 0) => None,
        _ => Some((last, Mistake::LosesAccepts)),
    }
}
