//! The column ACTION: targets, standard actions, macros, log level and tag.

use firewalldom::policy::{Limits, Log, Match, RecentUse, Rule, States};

use crate::address;
use crate::level;
use crate::macros::{self, Entry, MACROS, Macro};
use crate::packet_set;
use crate::report::{Edit, Finding};
use crate::session::Session;
use crate::source::Word;
use crate::standard_actions::{self, STANDARD_ACTIONS};
use crate::suggest::did_you_mean;
use crate::target::{REFUSED_TARGETS, TARGETS, Target, reject_with, reject_words, target};
use crate::traffic::traffic;
use crate::user_files;

/// An action as the column says it.
pub(crate) struct Action {
    /// In the order they are tried.
    pub(crate) parts: Vec<Part>,
    pub(crate) log: Option<Log>,
}

/// One rule of an action.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) target: Target,
    /// States that the action itself asks for.
    pub(crate) states: Option<States>,
    /// Columns of a macro, which those of the rule override.
    pub(crate) columns: OwnColumns,
    /// Conditions besides those of the rule.
    pub(crate) within: Match,
    /// An event that must have been seen, or is noted.
    pub(crate) recent: Option<RecentUse>,
    /// From the rule's destination to its source.
    pub(crate) reversed: bool,
    /// Its own log line, instead of the rule's.
    pub(crate) log: Option<Log>,
    /// What is said when the rule's columns and the action's conditions have no packet in common.
    pub(crate) contradiction: &'static str,
}

/// The columns PROTO, DPORT and SPORT of a macro.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnColumns {
    pub(crate) protocol: Option<Word>,
    pub(crate) destination_port: Option<Word>,
    pub(crate) source_port: Option<Word>,
}

/// The columns PROTO, DPORT and SPORT of the rule that uses an action.
#[derive(Clone, Copy, Default)]
pub(crate) struct TrafficColumns<'r> {
    pub(crate) protocol: Option<&'r Word>,
    pub(crate) destination_port: Option<&'r Word>,
    pub(crate) source_port: Option<&'r Word>,
}

impl Action {
    /// Whether any part of it translates addresses.
    pub(crate) fn translates(&self) -> bool {
        self.parts.iter().any(|part| part.target.translates())
    }

    /// The log line of one of the parts. The rules of a list log for themselves.
    pub(crate) fn log_for(&self, part: &Part) -> Option<Log> {
        if matches!(part.target, Target::Call(_)) {
            return None;
        }
        part.log
            .clone()
            .or_else(|| self.log.clone())
            .map(|log| match log.disposition.as_str() {
                "" => Log {
                    disposition: part.target.word(),
                    ..log
                },
                _ => log,
            })
    }
}

impl Part {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            target,
            states: None,
            columns: OwnColumns::default(),
            within: Match::default(),
            recent: None,
            reversed: false,
            log: None,
            contradiction: "the action is about other packets",
        }
    }

    /// A part with conditions of its own.
    pub(crate) fn within(target: Target, within: Match) -> Self {
        Self {
            within,
            ..Self::new(target)
        }
    }

    /// A part that is about an event.
    pub(crate) fn recent(target: Target, recent: RecentUse) -> Self {
        Self {
            recent: Some(recent),
            ..Self::new(target)
        }
    }

    /// An entry of the table of services, written where the service's name is.
    pub(crate) fn service(target: Target, entry: &Entry<'_>, name: &Word) -> Self {
        let made = |text: &str| Word::replacing(name.span(), text);
        let mut within = Match::default();
        if let Some(address) = entry.destination.and_then(|address| address.parse().ok()) {
            let only = address::range_of(address::masked(address, 32));
            within.destination.ranges.push(only);
        }
        Self {
            columns: OwnColumns {
                protocol: Some(made(entry.protocol)),
                destination_port: entry.destination_ports.map(made),
                source_port: entry.source_ports.map(made),
            },
            reversed: entry.reversed,
            contradiction: "this service goes to an address of its own",
            ..Self::within(target, within)
        }
    }

    /// What the part looks at, without the rule's zones and addresses. `None`: reported, or no
    /// packet is meant.
    pub(crate) fn matches(
        &self,
        session: &mut Session<'_>,
        action: &Word,
        columns: TrafficColumns<'_>,
    ) -> Option<Match> {
        let matches = self.traffic(session, columns)?;
        self.narrow(session, action, &matches)
    }

    /// Protocol and ports: a rule's own columns override those of a macro.
    pub(crate) fn traffic(
        &self,
        session: &mut Session<'_>,
        columns: TrafficColumns<'_>,
    ) -> Option<Match> {
        let own = &self.columns;
        let traffic = traffic(
            session,
            columns.protocol.or(own.protocol.as_ref()),
            columns.destination_port.or(own.destination_port.as_ref()),
            columns.source_port.or(own.source_port.as_ref()),
        )?;
        Some(Match {
            protocol: traffic.protocol,
            source_port: traffic.source_port,
            destination_port: traffic.destination_port,
            ..Match::default()
        })
    }

    /// Adds the part's own conditions.
    pub(crate) fn narrow(
        &self,
        session: &mut Session<'_>,
        action: &Word,
        matches: &Match,
    ) -> Option<Match> {
        let both = packet_set::both(matches, &self.within);
        if both.is_none() {
            session.error(
                action.span(),
                self.contradiction,
                "the rule asks for others",
                "no packet could match",
            );
        }
        both
    }

    /// The part as a rule that is about every state it does not name. `None`: it decides nothing.
    pub(crate) fn rule(
        &self,
        session: &Session<'_>,
        place: &Word,
        matches: Match,
        log: Option<Log>,
    ) -> Option<Rule> {
        let states = self.states.unwrap_or(States::ALL);
        if states == States(0) {
            return None;
        }
        Some(Rule {
            states,
            matches,
            limits: Limits {
                recent: self.recent,
                ..Limits::default()
            },
            action: self.target.rule_action()?,
            log,
            origin: session.origin(place.span()),
        })
    }
}

/// Actions may use each other this deep.
const MAX_DEPTH: usize = 8;
/// So many of them may one rule come to: a few on each of those levels are more than anybody can wait for.
const MAX_EXPANSIONS: usize = 2000;

/// Reads `ACTION[(PARAMETER)][:level[:tag]]`.
pub(crate) fn parse(session: &mut Session<'_>, word: &Word) -> Option<Action> {
    if session.nesting >= MAX_DEPTH {
        session.error(
            word.span(),
            "macros and actions use each other too deeply",
            format!("the {}th level", MAX_DEPTH + 1),
            "write what the innermost does where it is used",
        );
        return None;
    }
    if session.nesting == 0 {
        session.expansions = 0;
    }
    session.expansions += 1;
    if session.expansions > MAX_EXPANSIONS {
        session.error(
            word.span(),
            "macros and actions use each other too often",
            format!("more than {MAX_EXPANSIONS} for one rule"),
            "write fewer rules into them",
        );
        return None;
    }
    session.nesting += 1;
    let action = parse_nested(session, word);
    session.nesting -= 1;
    action
}

fn parse_nested(session: &mut Session<'_>, word: &Word) -> Option<Action> {
    let mut pieces = word.split(':').into_iter();
    let name = pieces.next()?;
    let level_word = pieces.next();
    let tag = pieces.next();
    let log = level::log(session, level_word.as_ref(), tag.as_ref(), "")?;
    let (name, parameter) = parameter(session, &name);
    let parameter = parameter.filter(|parameter| !parameter.is_empty());
    let name = unaudited(session, name);
    if let Some(parts) = user_files::parts(session, &name, parameter.as_ref(), log.as_ref()) {
        return parts.map(|parts| Action { parts, log });
    }
    let text = name.text();
    if let Some(target) = target(text) {
        return plain_target(session, &name, target, parameter.as_ref(), log);
    }
    if STANDARD_ACTIONS.contains(&text) {
        let parts = standard_actions::parts(session, &name, parameter.as_ref(), log.as_ref())?;
        return Some(Action { parts, log });
    }
    match macros::find(text) {
        Some(service) => service_parts(session, &name, service, parameter.as_ref(), log),
        None => {
            unknown(session, &name);
            None
        }
    }
}

/// `NAME(PARAMETER)`, or `NAME/PARAMETER` as it was once written.
fn parameter(session: &mut Session<'_>, name: &Word) -> (Word, Option<Word>) {
    if let Some((name, parameter)) = name.call() {
        return (name, Some(parameter));
    }
    if let Some((service, parameter)) = name.split_once('/') {
        session.report(
            Finding::warning(format!("`{}` is an old spelling", name.text()))
                .at(name.span(), "a slash")
                .note(format!("write: {}({})", service.text(), parameter.text()))
                .maybe_edit(session.written_word(name).contains('/').then(|| {
                    let service = session.written_word(&service);
                    let parameter = session.written_word(&parameter);
                    Edit::replace(name.span(), format!("{service}({parameter})"))
                })),
        );
        return (service, Some(parameter));
    }
    (name.clone(), None)
}

/// `A_ACCEPT` and its like: the packet fares as without the `A_`.
fn unaudited(session: &mut Session<'_>, name: Word) -> Word {
    let plain = name.strip_prefix("A_").filter(|plain| {
        matches!(
            plain.text().trim_end_matches(['+', '!']),
            "ACCEPT" | "DROP" | "REJECT"
        )
    });
    let Some(plain) = plain else {
        return name;
    };
    session.report(
        Finding::warning(format!("{} is {} here", name.text(), plain.text()))
            .at(name.span(), "there is no audit daemon to tell")
            .note(format!("write: {}", plain.text())),
    );
    plain
}

fn plain_target(
    session: &mut Session<'_>,
    name: &Word,
    mut target: Target,
    parameter: Option<&Word>,
    mut log: Option<Log>,
) -> Option<Action> {
    let text = name.text();
    match (target, parameter) {
        (Target::Continue("NFLOG"), _) => {
            session.report(
                Finding::warning("NFLOG goes to the domain's console")
                    .at(name.span(), "no daemon for netlink logging runs here")
                    .note("logged as info; write: LOG:info"),
            );
            log = log.or(Some(Log {
                level: 6,
                disposition: String::new(),
                tag: None,
            }));
        }
        (_, None) => {}
        (Target::Decide(firewalldom::policy::Disposition::Reject), Some(parameter)) => {
            let Some(with) = reject_with(parameter.text()) else {
                session.report(
                    Finding::error(format!("REJECT cannot answer `{}`", parameter.text()))
                        .at(parameter.span(), "expected for example tcp-reset")
                        .maybe_note(did_you_mean(parameter.text(), reject_words())),
                );
                return None;
            };
            target = Target::Reject(with);
        }
        (_, Some(parameter)) => {
            session.error(
                parameter.span(),
                format!("a parameter of {text} is not supported yet"),
                "only the plain form",
                format!("write: {text}"),
            );
            return None;
        }
    }
    if target == Target::Continue("LOG") && log.is_none() {
        session.error(
            name.span(),
            "LOG needs a level",
            "how loud?",
            "write: LOG:info",
        );
        return None;
    }
    Some(Action {
        parts: vec![Part::new(target)],
        log,
    })
}

/// `Service(ACTION)`: each of the service's entries, with each of the action's rules.
fn service_parts(
    session: &mut Session<'_>,
    name: &Word,
    service: &Macro,
    parameter: Option<&Word>,
    log: Option<Log>,
) -> Option<Action> {
    let text = name.text();
    let Some(parameter) = parameter else {
        session.error(
            name.span(),
            format!("what about {text}?"),
            "a service, but no target",
            format!("write: {text}(ACCEPT)"),
        );
        return None;
    };
    let inner = parse(session, parameter)?;
    let lets_through = |part: &Part| !part.target.refuses();
    if let Some(helper) = service.helper
        && inner.parts.iter().any(lets_through)
    {
        session.report(
            Finding::warning(format!(
                "{text} needs the helper `{helper}`, which is not supported yet"
            ))
            .at(name.span(), "only the connection named here is let through")
            .note("connections that the two sides agree on inside of it are treated as new ones"),
        );
    }
    let mut parts = Vec::new();
    for entry in service.entries() {
        for part in &inner.parts {
            let own = Part::service(part.target, &entry, name);
            let within = packet_set::both(&own.within, &part.within)?;
            parts.push(Part {
                within,
                states: part.states,
                recent: part.recent,
                log: part.log.clone(),
                ..own
            });
        }
    }
    // Service(ACCEPT:info): a level inside counts as one outside.
    Some(Action {
        parts,
        log: log.or(inner.log),
    })
}

fn unknown(session: &mut Session<'_>, name: &Word) {
    let text = name.text();
    if let Some((_, reason)) = REFUSED_TARGETS
        .iter()
        .find(|(refused, _)| *refused == text.trim_end_matches(['!', '+', '-']))
    {
        session.error(
            name.span(),
            format!("the action {text} is not supported"),
            *reason,
            "",
        );
        return;
    }
    if matches!(text, "Drop" | "Reject") {
        session.error(
            name.span(),
            format!("Shorewall 5.2 has no action {text} any more"),
            "removed",
            "its usual replacement: Broadcast(DROP),Multicast(DROP)",
        );
        return;
    }
    let known = TARGETS
        .iter()
        .copied()
        .chain(STANDARD_ACTIONS.iter().copied())
        .chain(MACROS.iter().map(|service| service.name));
    session.report(
        Finding::error(format!("unknown action or service `{text}`"))
            .at(name.span(), "not known here")
            .maybe_note(did_you_mean(text, known))
            .note("an action of your own is a line in the file actions and a file action.NAME"),
    );
}
