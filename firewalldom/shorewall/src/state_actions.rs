//! Actions about a state of connections, such as `Invalid` and `New`: where Shorewall takes the state for
//! decided, it leaves them out, and where nothing else is left, it asks for none.

use std::collections::BTreeMap;

use firewalldom::policy::{Rule, Settings, States};

use crate::action::Part;
use crate::report::Finding;
use crate::session::Session;
use crate::source::Word;
use crate::target::Target;

/// Where an action is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Place {
    /// In `blrules`.
    Blacklist,
    /// In a section of `rules` before NEW.
    Earlier,
    /// In the section NEW.
    New,
    /// Ahead of a policy's verdict. Whether its chain comes to decide about a state is not known yet: see
    /// [`settle_default_action`].
    #[default]
    Policy,
}

/// What an action about a state comes to.
#[derive(Debug, Default)]
pub(crate) struct Asking {
    pub(crate) place: Place,
    /// States of which shorewall.conf says anything but CONTINUE.
    decided: States,
    /// States that `blrules` is about.
    blacklisted: States,
    /// How many actions with chains of their own are being read.
    within_chains: usize,
    /// States that actions have asked for since this was last cleared.
    asked: States,
    /// Of the actions with chains of their own: where the first use was, and the states it asked for.
    chains: BTreeMap<String, (Place, States)>,
}

impl Asking {
    pub(crate) fn new(settings: &Settings, blacklisted: States) -> Self {
        let said = [
            (&settings.related, States::RELATED),
            (&settings.invalid, States::INVALID),
            (&settings.untracked, States::UNTRACKED),
        ];
        let said = said.into_iter().filter(|(said, _)| said.is_some());
        Self {
            decided: said.fold(States(0), |all, (_, state)| all.union(state)),
            blacklisted,
            ..Self::default()
        }
    }

    /// The states that an action about one asks for; `None`: it asks for none, and all are meant.
    fn states(&self, state: States) -> Option<States> {
        let decides = self.decided.contains(OTHERS);
        match self.place {
            Place::New if state == States::NEW && decides && self.within_chains == 0 => None,
            place => self.states_in_chain(place, state),
        }
    }

    /// The same where the action is used by one that has a chain of its own, of which Shorewall does not know
    /// what is decided by then.
    fn states_in_chain(&self, place: Place, state: States) -> Option<States> {
        match place {
            Place::Blacklist if self.blacklisted == state => None,
            Place::Blacklist if !self.blacklisted.contains(state) => Some(States(0)),
            // Whatever shorewall.conf says of it.
            Place::New | Place::Policy if state == States::RELATED => Some(States(0)),
            _ => Some(state),
        }
    }
}

/// States that get as far as the section NEW where shorewall.conf says CONTINUE, and are named there.
const OTHERS: States = States(States::INVALID.0 | States::UNTRACKED.0);

/// Every state.
const EACH: [States; 5] = [
    States::NEW,
    States::ESTABLISHED,
    States::RELATED,
    States::INVALID,
    States::UNTRACKED,
];

/// The rule of an action about a state, if Shorewall has one there.
pub(crate) fn parts(session: &mut Session<'_>, target: Target, state: States) -> Vec<Part> {
    session.asking.asked = session.asking.asked.union(state);
    vec![Part {
        states: session.asking.states(state),
        ..Part::new(target)
    }]
}

/// Reads an action that gets a chain of its own. Shorewall makes it where it is first used and takes it for
/// all other uses: where that would not mean the same, none is meant.
pub(crate) fn in_chain<T>(
    session: &mut Session<'_>,
    (name, key): (&Word, &str),
    read: impl FnOnce(&mut Session<'_>) -> T,
) -> T {
    let outside = std::mem::replace(&mut session.asking.asked, States(0));
    session.asking.within_chains += 1;
    let read = read(session);
    session.asking.within_chains -= 1;
    let place = session.asking.place;
    let asked = session.asking.asked;
    let chains = &mut session.asking.chains;
    let &mut (first, states) = chains.entry(key.to_owned()).or_insert((place, asked));
    session.asking.asked = outside.union(states);
    let asking = &session.asking;
    let differs = EACH.into_iter().any(|state| {
        states.contains(state)
            && asking.states_in_chain(first, state) != asking.states_in_chain(place, state)
    });
    if differs {
        session.report(
            Finding::error(format!(
                "`{}` asks for the state of connections, and is used both in {} and in {}",
                name.text(),
                first.words(),
                place.words()
            ))
            .at(name.span(), "not the same there")
            .note("Shorewall reads it once and means what its first use comes to")
            .note("write an action of its own for each, or make it `inline`"),
        );
    }
    read
}

impl Place {
    fn words(self) -> &'static str {
        match self {
            Self::Blacklist => "blrules",
            Self::Earlier => "a section before NEW",
            Self::New => "the section NEW",
            Self::Policy => "a policy",
        }
    }
}

/// Takes out of the rules ahead of a policy's verdict what Shorewall leaves out, in a chain that has come to
/// decide about all states but `unfinished`.
pub(crate) fn settle_default_action(rules: &mut Vec<Rule>, asking: &Asking, unfinished: States) {
    let finished = |states: States| states.0 & unfinished.0 == 0;
    let is_left_out = |state: &States| {
        finished(*state) && (*state == States::ESTABLISHED || asking.decided.contains(*state))
    };
    let left_out = EACH[1..].iter().filter(|state| is_left_out(state));
    let left_out = left_out.fold(States(0), |all, &state| all.union(state));
    let asks_for_new = !(finished(OTHERS) && asking.decided.contains(OTHERS));
    rules.retain_mut(|rule| {
        if rule.states == States::NEW && !asks_for_new {
            rule.states = States::ALL;
        } else if rule.states != States::ALL {
            rule.states = States(rule.states.0 & !left_out.0);
        }
        rule.states != States(0)
    });
}
