//! Rules that the compiler makes of more than one line, or of none.

use firewalldom::policy::{Action, Limits, Match, Origin, Rule, States};

/// What no line says.
pub(crate) const NOWHERE: Origin = Origin { file: 0, line: 0 };

/// A rule for all packets of these states.
pub(crate) fn of_states(states: States, action: Action, origin: Origin) -> Rule {
    Rule {
        states,
        matches: Match::default(),
        limits: Limits::default(),
        action,
        log: None,
        origin,
    }
}
