//! The file `policy`.

use firewalldom::policy::{Action, Disposition, Limits, Log, Match, Origin, Rule, States, ZoneId};

use crate::action::{self, TrafficColumns};
use crate::chains::optimizes_policies;
use crate::columns::{Row, Schema};
use crate::level;
use crate::limits::{self, LimitColumns};
use crate::policy_pairs::{self as pairs, Side};
use crate::reader::{only_rows, read_required};
use crate::report::{Edit, Finding};
use crate::session::Session;
use crate::settings::Configuration;
use crate::source::Word;
use crate::suggest::did_you_mean;
use crate::target::Target;
use crate::world::World;

const POLICY: Schema = Schema {
    columns: &[
        "source",
        "dest",
        "policy",
        "loglevel|log_level",
        "limit|rate",
        "connlimit",
    ],
    required: 3,
};

/// What a policy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Decide(Disposition),
    /// On to what is said about no zone in particular.
    Continue,
    /// No traffic is expected: the pair gets no rules.
    None,
}

/// A line of `policy`.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) source: Side,
    pub(crate) destination: Side,
    pub(crate) verdict: Verdict,
    pub(crate) log: Option<Log>,
    pub(crate) default_action: Vec<Rule>,
    pub(crate) origin: Origin,
    pub(crate) ending: Ending,
    /// RATE and CONNLIMIT: of new TCP connections.
    limits: LimitColumns,
}

/// Where Shorewall puts the policy of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// At the end of the chain of each of its pairs.
    Own,
    /// Into a chain of this name that all pairs share (EXPAND_POLICIES=No). It says nothing of
    /// states, and pairs without rules have no other.
    Shared(String),
    /// Into a chain of this name that Shorewall 5.2 leaves without it: `all+` without an `all`. What
    /// gets there goes on as after CONTINUE.
    Forgotten(String),
}

impl Ending {
    /// Name of the chain that pairs share.
    pub(crate) fn shared(&self) -> Option<&str> {
        match self {
            Self::Own => None,
            Self::Shared(name) | Self::Forgotten(name) => Some(name),
        }
    }
}

impl Line {
    /// The list that asks for the line's limits, if it has any: what is beyond them is dropped, and
    /// logged if the policy is.
    pub(crate) fn limit_list(
        &self,
        session: &mut Session<'_>,
        world: &World,
        (source, destination): (ZoneId, ZoneId),
        separator: &str,
    ) -> Option<u16> {
        if self.limits.is_empty() {
            return None;
        }
        let name_of = |side: &Side, zone: ZoneId| match side.wild {
            true => "all".to_owned(),
            false => world.zones[usize::from(zone.0)].name.clone(),
        };
        let name = format!(
            "@{}{separator}{}",
            name_of(&self.source, source),
            name_of(&self.destination, destination)
        );
        let key = format!("{name} {}:{}", self.origin.file, self.origin.line);
        if let Some(list) = session.tables.named_list(&key) {
            return Some(list);
        }
        let rule = |limits, action, log| Rule {
            states: States::ALL,
            matches: Match::default(),
            limits,
            action,
            log,
            origin: self.origin,
        };
        let log = self.log.as_ref().map(|log| Log {
            disposition: level::disposition_word(Disposition::Drop).to_owned(),
            ..log.clone()
        });
        let rules = vec![
            rule(self.limits.place(session), Action::Return, None),
            rule(Limits::default(), Action::Decide(Disposition::Drop), log),
        ];
        let list = session.tables.rule_list(Some(&name), rules);
        session.tables.name_list(key, list);
        Some(list)
    }
}

/// Reads the file.
pub(crate) fn read(
    session: &mut Session<'_>,
    world: &World,
    configuration: &Configuration,
) -> Vec<Line> {
    let note = "it says what happens between zones: all all REJECT info";
    let Some(items) = read_required(session, "policy", &POLICY, note) else {
        return Vec::new();
    };
    // Also where no line of the file comes back to them.
    for setting in ["ACCEPT_DEFAULT", "DROP_DEFAULT", "REJECT_DEFAULT"] {
        for item in configuration
            .get(setting)
            .map(|list| list.split(','))
            .unwrap_or_default()
        {
            today(session, item);
        }
    }
    let mut lines: Vec<Line> = Vec::new();
    for row in only_rows(session, items) {
        let Some(line) = read_line(session, world, configuration, &row) else {
            continue;
        };
        pairs::check_earlier(session, configuration, world, &lines, &line, row.span);
        lines.push(line);
    }
    lines
}

fn read_line(
    session: &mut Session<'_>,
    world: &World,
    configuration: &Configuration,
    row: &Row,
) -> Option<Line> {
    let limits = limits::read(session, row.get(4), row.get(5), None);
    let source = Side::read(session, world, row.get(0), row);
    let destination = Side::read(session, world, row.get(1), row);
    let policy = row.get(2);
    let (Some(source), Some(mut destination), Some(policy)) = (source, destination, policy) else {
        return None;
    };
    destination.forget_exclusion(session, world, &source);
    if policy.text() == "CONTINUE" {
        let nested = |side: &Side| {
            let mut zones = side.zones.iter();
            zones.any(|&zone| world.is_inner(zone))
        };
        if !nested(&source) && !nested(&destination) {
            session.report(
                Finding::warning("CONTINUE between zones that are in no other zone")
                    .at(policy.span(), "nothing is around them")
                    .note("the policy `all all` decides"),
            );
        }
    }
    let (verdict_word, default_word) = match policy.split_once(':') {
        Some((verdict, default)) => (verdict, Some(default)),
        None => (policy.clone(), None),
    };
    let verdict = verdict(session, &verdict_word)?;
    let is_of_firewall = |side: &Side| side.zones.contains(&ZoneId::FIREWALL);
    if verdict == Verdict::None
        && (source.wild
            || destination.wild
            || is_of_firewall(&source)
            || is_of_firewall(&destination))
    {
        session.error(
            policy.span(),
            "the policy NONE is for two zones besides the firewall",
            "`all` and the firewall always have traffic",
            "write: REJECT, or name the zones",
        );
        return None;
    }
    let limited = world.with_mss();
    let zones = || source.zones.iter().chain(&destination.zones);
    if verdict == Verdict::None && zones().any(|zone| limited.contains(zone)) {
        session.error(
            policy.span(),
            "the policy NONE for zones whose hosts have mss= is not supported yet",
            "without a chain, no segment size is lowered",
            "write: DROP, or take mss= out of shorewall/hosts",
        );
        return None;
    }
    let disposition = match verdict {
        Verdict::Decide(disposition) => disposition,
        Verdict::Continue | Verdict::None => Disposition::Drop,
    };
    let default_action = match verdict {
        Verdict::Decide(disposition) => {
            default_action(session, configuration, disposition, default_word.as_ref())?
        }
        Verdict::Continue | Verdict::None => Vec::new(),
    };
    let log = match (verdict, row.get(3)) {
        (Verdict::Continue | Verdict::None, Some(word)) => {
            if level::parse(session, word)?.is_some() {
                session.error(
                    word.span(),
                    format!(
                        "logging of the policy {} is not supported yet",
                        verdict_word.text()
                    ),
                    "nothing is decided by this line",
                    "put - here",
                );
            }
            None
        }
        (_, level) => level::log(session, level, None, level::disposition_word(disposition))?,
    };
    let ending = ending(configuration, &source, &destination);
    if let Ending::Forgotten(chain) = &ending {
        let loses_more =
            verdict == Verdict::Decide(Disposition::Accept) && optimizes_policies(configuration);
        session.report(
            Finding::warning("with EXPAND_POLICIES=No Shorewall forgets a policy of `all+`")
                .at(row.span, "decides nothing")
                .note(format!(
                    "its chain {chain} ends without it, here as on Linux"
                ))
                .maybe_note(loses_more.then(|| {
                    "with OPTIMIZE Linux loses the ACCEPTs at the end of its pairs' rules as well; \
                     here they hold"
                        .to_owned()
                }))
                .note("set EXPAND_POLICIES=Yes in shorewall.conf"),
        );
    }
    Some(Line {
        source,
        destination,
        verdict,
        log,
        default_action,
        origin: session.origin(row.span),
        ending,
        limits: limits?,
    })
}

fn ending(configuration: &Configuration, source: &Side, destination: &Side) -> Ending {
    if configuration.expands_policies() || !(source.wild || destination.wild) {
        return Ending::Own;
    }
    let name = |side: &Side| match side.wild && !side.is_seen_as_all() {
        true => "all+".to_owned(),
        false => side.name.clone(),
    };
    let separator = configuration.get("ZONE2ZONE").map_or("-", Word::text);
    let chain = format!("{}{separator}{}", name(source), name(destination));
    match source.is_seen_as_all() || destination.is_seen_as_all() {
        true => Ending::Shared(chain),
        false => Ending::Forgotten(chain),
    }
}

fn verdict(session: &mut Session<'_>, word: &Word) -> Option<Verdict> {
    Some(match word.text() {
        "ACCEPT" => Verdict::Decide(Disposition::Accept),
        "DROP" => Verdict::Decide(Disposition::Drop),
        "REJECT" => Verdict::Decide(Disposition::Reject),
        "CONTINUE" => Verdict::Continue,
        "NONE" => Verdict::None,
        other => {
            let refused = ["QUEUE", "NFQUEUE", "BLACKLIST"]
                .iter()
                .any(|name| other.starts_with(name));
            session.report(if refused {
                Finding::error(format!("the policy {other} is not supported"))
                    .at(word.span(), "no program decides about packets here")
                    .note("one of: ACCEPT, DROP, REJECT, CONTINUE, NONE")
            } else {
                Finding::error(format!("unknown policy `{other}`"))
                    .at(word.span(), "expected ACCEPT, DROP or REJECT")
                    .maybe_note(did_you_mean(
                        other,
                        ["ACCEPT", "DROP", "REJECT", "CONTINUE", "NONE"],
                    ))
            });
            return None;
        }
    })
}

/// The rules that are tried before the policy.
fn default_action(
    session: &mut Session<'_>,
    configuration: &Configuration,
    disposition: Disposition,
    given: Option<&Word>,
) -> Option<Vec<Rule>> {
    let setting = match disposition {
        Disposition::Accept => "ACCEPT_DEFAULT",
        Disposition::Drop => "DROP_DEFAULT",
        Disposition::Reject => "REJECT_DEFAULT",
    };
    let inherited = configuration.get(setting).cloned();
    let mut rules = Vec::new();
    match given {
        None => {
            if let Some(list) = inherited {
                rules.extend(action_list(session, &list)?);
            }
        }
        Some(given) => match given.strip_prefix("+") {
            // Added to the one of shorewall.conf.
            Some(added) => {
                if let Some(list) = inherited {
                    rules.extend(action_list(session, &list)?);
                }
                rules.extend(action_list(session, &added)?);
            }
            None => rules.extend(action_list(session, given)?),
        },
    }
    Some(rules)
}

fn action_list(session: &mut Session<'_>, list: &Word) -> Option<Vec<Rule>> {
    let mut rules = Vec::new();
    if list.text().eq_ignore_ascii_case("none") {
        return Some(rules);
    }
    for item in list.split(',') {
        let item = today(session, item);
        for item in item.split(',') {
            rules.extend(default_rules(session, &item)?);
        }
    }
    Some(rules)
}

/// The default actions of Shorewall 4, `Drop` and `Reject`, as what is left of them in 5.2.
fn today(session: &mut Session<'_>, item: Word) -> Word {
    let name = item.text().split(['(', ':']).next().unwrap_or_default();
    if !matches!(name, "Drop" | "Reject") {
        return item;
    }
    let modern = "Broadcast(DROP),Multicast(DROP)";
    session.report(
        Finding::warning(format!("Shorewall 5.2 has no action {name} any more"))
            .at(item.span(), "an old default action")
            .note(format!("write: {modern}"))
            .note("what else it dropped now meets the policy, and is logged if the policy says so")
            .maybe_edit(
                session
                    .is_literal(&item)
                    .then(|| Edit::replace(item.span(), session.quoted_like(item.span(), modern))),
            ),
    );
    Word::replacing(item.span(), modern)
}

fn default_rules(session: &mut Session<'_>, item: &Word) -> Option<Vec<Rule>> {
    let action = action::parse(session, item)?;
    let mut rules = Vec::new();
    for part in &action.parts {
        let decides = matches!(
            part.target,
            Target::Decide(_) | Target::Reject(_) | Target::Continue(_) | Target::Call(_)
        );
        if !decides {
            session.error(
                item.span(),
                "this cannot be a default action",
                "not a verdict",
                "for example Broadcast(DROP),Multicast(DROP)",
            );
            return None;
        }
        let matches = part.matches(session, item, TrafficColumns::default())?;
        rules.extend(part.rule(session, item, matches, action.log_for(part)));
    }
    Some(rules)
}
