//! The column ACTION: targets, standard actions, macros, log level and tag.

use firewalldom::policy::{self, Disposition, Log, Match, States};

use crate::address;
use crate::level;
use crate::macros::{self, Entry, MACROS};
use crate::packet_set;
use crate::report::{Edit, Finding};
use crate::session::Session;
use crate::source::Word;
use crate::standard_actions::{STANDARD_ACTIONS, standard};
use crate::suggest::did_you_mean;
use crate::traffic::traffic;
use crate::user_files;

/// What is done with a packet in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Decide(Disposition),
    /// On to the next rule; the word for the log line.
    Continue(&'static str),
    DestinationNat(Nat),
    Redirect(Nat),
    /// ACCEPT+: no destination NAT, and accepted.
    AcceptUntranslated,
    /// NONAT: no destination NAT.
    Untranslated,
    /// CONTINUE, WHITELIST: past the other rules of the chain, or of `blrules`.
    Return,
    /// BLACKLIST and blacklog: what shorewall.conf says of listed packets.
    Blacklist,
}

/// Whether a rule of NAT also lets the packet through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nat {
    /// DNAT, REDIRECT.
    AndAccept,
    /// DNAT-, REDIRECT-: another rule has to.
    Only,
}

impl Target {
    /// The action of a rule in a chain.
    pub(crate) fn rule_action(self) -> Option<policy::Action> {
        match self {
            Self::Decide(disposition) => Some(policy::Action::Decide(disposition)),
            Self::Continue(_) => Some(policy::Action::Continue),
            Self::AcceptUntranslated => Some(policy::Action::Decide(Disposition::Accept)),
            Self::DestinationNat(_)
            | Self::Redirect(_)
            | Self::Untranslated
            | Self::Return
            | Self::Blacklist => None,
        }
    }

    /// Whether it is about addresses.
    pub(crate) fn translates(self) -> bool {
        matches!(
            self,
            Self::DestinationNat(_)
                | Self::Redirect(_)
                | Self::AcceptUntranslated
                | Self::Untranslated
        )
    }

    fn word(self) -> &'static str {
        match self {
            Self::Decide(disposition) => level::disposition_word(disposition),
            Self::Continue(word) => word,
            Self::DestinationNat(_) => "DNAT",
            Self::Redirect(_) => "REDIRECT",
            Self::AcceptUntranslated => "ACCEPT",
            Self::Untranslated => "NONAT",
            Self::Return => "CONTINUE",
            Self::Blacklist => "BLACKLIST",
        }
    }
}

/// An action as the column says it.
pub(crate) struct Action {
    /// In the order they are tried.
    pub(crate) parts: Vec<Part>,
    log: Option<Log>,
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
    /// From the rule's destination to its source.
    pub(crate) reversed: bool,
    /// Its own log line, instead of the rule's.
    pub(crate) log: Option<Log>,
    /// What a contradiction between rule and action means.
    pub(crate) contradiction: Contradiction,
}

/// What it means that a rule's columns and its action's conditions have no packet in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contradiction {
    /// A mistake, said so.
    Mistake(&'static str),
    /// One of an action's rules that is not about these packets.
    NoMatch,
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

    /// The log line of one of the parts.
    pub(crate) fn log_for(&self, part: &Part) -> Option<Log> {
        part.log
            .clone()
            .or_else(|| self.log.clone())
            .map(|log| Log {
                disposition: part.target.word().to_owned(),
                ..log
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
            reversed: false,
            log: None,
            contradiction: Contradiction::Mistake("the action is about other packets"),
        }
    }

    /// A part with conditions of its own.
    pub(crate) fn within(target: Target, within: Match) -> Self {
        Self {
            within,
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
            contradiction: Contradiction::Mistake("this service goes to an address of its own"),
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
        if both.is_none()
            && let Contradiction::Mistake(what) = self.contradiction
        {
            session.error(
                action.span(),
                what,
                "the rule asks for others",
                "no packet could match",
            );
        }
        both
    }
}

/// Targets that are refused, and why.
pub(crate) const REFUSED_TARGETS: &[(&str, &str)] = &[
    ("ADD", "ipsets are not supported yet"),
    ("AUDIT", "there is no audit daemon"),
    ("AutoBL", "tables of recent addresses are not supported yet"),
    ("CONNMARK", "marks are not supported yet"),
    ("DEL", "ipsets are not supported yet"),
    ("DNSAmp", "matches inside of packets are not supported"),
    ("FIN", "a set of TCP flags is not supported yet"),
    (
        "HELPER",
        "connection-tracking helpers are not supported yet",
    ),
    ("INLINE", "raw iptables text is not supported"),
    ("IPTABLES", "raw iptables text is not supported"),
    ("IfEvent", "events are not supported yet"),
    ("Limit", "tables of recent addresses are not supported yet"),
    ("MARK", "marks are not supported yet"),
    ("NFLOG", "log lines go to the console: write LOG:info"),
    ("NFQUEUE", "no program decides about packets here"),
    ("QUEUE", "no program decides about packets here"),
    ("RST", "a set of TCP flags is not supported yet"),
    ("ResetEvent", "events are not supported yet"),
    ("SetEvent", "events are not supported yet"),
    ("TARPIT", "not part of Linux either"),
    ("TCPFlags", "the interface option tcpflags does this"),
    ("ULOG", "log lines go to the console: write LOG:info"),
    ("allowinUPnP", "UPnP is not supported"),
    ("forwardUPnP", "UPnP is not supported"),
];

const TARGETS: [&str; 15] = [
    "ACCEPT",
    "ACCEPT+",
    "DROP",
    "REJECT",
    "DNAT",
    "DNAT-",
    "REDIRECT",
    "REDIRECT-",
    "LOG",
    "COUNT",
    "NONAT",
    "ACCEPT!",
    "CONTINUE",
    "WHITELIST",
    "BLACKLIST",
];

/// Reads `ACTION[(PARAMETER)][:level[:tag]]`.
pub(crate) fn parse(session: &mut Session<'_>, word: &Word) -> Option<Action> {
    let mut pieces = word.split(':').into_iter();
    let name = pieces.next()?;
    let level_word = pieces.next();
    let tag = pieces.next();
    let log = level::log(session, level_word.as_ref(), tag.as_ref(), "")?;
    let (name, parameter) = parameter(session, &name);
    if let Some(parts) = user_files::parts(session, &name, parameter.as_ref()) {
        return parts.map(|parts| Action { parts, log });
    }
    if parameter.as_ref().is_some_and(Word::is_empty) {
        return parse_named(session, &name, None, log);
    }
    parse_named(session, &name, parameter.as_ref(), log)
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

fn parse_named(
    session: &mut Session<'_>,
    name: &Word,
    parameter: Option<&Word>,
    mut log: Option<Log>,
) -> Option<Action> {
    let text = name.text();
    let parts = if let Some(target) = target(text) {
        if let Some(parameter) = parameter {
            session.error(
                parameter.span(),
                format!("a parameter of {text} is not supported yet"),
                "only the plain form",
                format!("write: {text}"),
            );
            return None;
        }
        vec![Part::new(target)]
    } else {
        // Service(ACCEPT:info): a level inside counts as one outside.
        let inner = match parameter {
            None => None,
            Some(parameter) => {
                let (target_word, inner_level) = match parameter.split_once(':') {
                    Some((target, level)) => (target, Some(level)),
                    None => (parameter.clone(), None),
                };
                if let Some(inner_level) = inner_level
                    && log.is_none()
                {
                    log = level::log(session, Some(&inner_level), None, "")?;
                }
                Some((parameter_target(session, &target_word)?, target_word))
            }
        };
        named_parts(session, name, inner)?
    };
    if let [part] = parts.as_slice()
        && part.target == Target::Continue("LOG")
        && log.is_none()
    {
        session.error(
            name.span(),
            "LOG needs a level",
            "how loud?",
            "write: LOG:info",
        );
        return None;
    }
    Some(Action { parts, log })
}

pub(crate) fn target(text: &str) -> Option<Target> {
    Some(match text {
        "ACCEPT" | "ACCEPT!" => Target::Decide(Disposition::Accept),
        "DROP" | "DROP!" => Target::Decide(Disposition::Drop),
        "REJECT" | "REJECT!" => Target::Decide(Disposition::Reject),
        "ACCEPT+" => Target::AcceptUntranslated,
        "NONAT" => Target::Untranslated,
        "DNAT" => Target::DestinationNat(Nat::AndAccept),
        "DNAT-" => Target::DestinationNat(Nat::Only),
        "REDIRECT" => Target::Redirect(Nat::AndAccept),
        "REDIRECT-" => Target::Redirect(Nat::Only),
        "LOG" => Target::Continue("LOG"),
        "COUNT" => Target::Continue("COUNT"),
        "CONTINUE" | "WHITELIST" => Target::Return,
        "BLACKLIST" | "blacklog" => Target::Blacklist,
        _ => return None,
    })
}

fn parameter_target(session: &mut Session<'_>, word: &Word) -> Option<Target> {
    let found = target(word.text());
    if found.is_none() {
        session.report(
            Finding::error(format!("`{}` is not a target", word.text()))
                .at(word.span(), "expected for example ACCEPT, DROP or REJECT")
                .maybe_note(did_you_mean(word.text(), TARGETS)),
        );
    }
    found
}

fn named_parts(
    session: &mut Session<'_>,
    name: &Word,
    inner: Option<(Target, Word)>,
) -> Option<Vec<Part>> {
    let text = name.text();
    if STANDARD_ACTIONS.contains(&text) {
        return Some(standard(name, inner.map(|(target, _)| target)));
    }
    if let Some(service) = macros::find(text) {
        let Some((target, _)) = inner else {
            session.error(
                name.span(),
                format!("what about {text}?"),
                "a service, but no target",
                format!("write: {text}(ACCEPT)"),
            );
            return None;
        };
        if let Some(helper) = service.helper
            && target != Target::Decide(Disposition::Drop)
            && target != Target::Decide(Disposition::Reject)
        {
            session.report(
                Finding::warning(format!(
                    "{text} needs the helper `{helper}`, which is not supported yet"
                ))
                .at(name.span(), "only the connection named here is let through")
                .note(
                    "connections that the two sides agree on inside of it are treated as new ones",
                ),
            );
        }
        return Some(
            service
                .entries()
                .into_iter()
                .map(|entry| Part::service(target, &entry, name))
                .collect(),
        );
    }
    unknown(session, name);
    None
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
    if let Some(plain) = text.strip_prefix("A_") {
        session.error(
            name.span(),
            format!("the action {text} is not supported"),
            "there is no audit daemon",
            format!("write: {plain}"),
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
