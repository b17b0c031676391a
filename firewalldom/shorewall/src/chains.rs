//! The chains: one for each pair of zones, as the file `policy` decides, in Shorewall's order.

use firewalldom::policy::{Chain, Disposition, Log, Origin, Rule, States, ZoneId};

use crate::action::{self, Target};
use crate::level;
use crate::reader::{Item, Row, Schema, read_named};
use crate::report::Finding;
use crate::session::Session;
use crate::settings::Configuration;
use crate::source::Word;
use crate::suggest::did_you_mean;
use crate::world::{World, unexpected_directive};

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
enum Verdict {
    Decide(Disposition),
    /// On to what is said about no zone in particular.
    Continue,
    /// No traffic is expected: the pair gets no rules.
    None,
}

/// A line of `policy`.
#[derive(Clone, Debug)]
struct Line {
    source: Side,
    destination: Side,
    verdict: Verdict,
    log: Option<Log>,
    default_action: Vec<Rule>,
    origin: Origin,
    /// Name of the chain that all pairs of the line share.
    shared: Option<String>,
}

/// A column SOURCE or DEST of `policy`.
#[derive(Clone, Debug)]
struct Side {
    zones: Vec<ZoneId>,
    /// `all`, `any` or a list: zones are not paired with themselves…
    many: bool,
    /// …unless a `+` follows.
    intra_zone: bool,
    /// `all` or `any`, and nothing taken out.
    all: bool,
    name: String,
}

/// The chains, and which pair of zones uses which.
pub(crate) struct Chains {
    pub(crate) chains: Vec<Chain>,
    pub(crate) pairs: Vec<u16>,
    side: usize,
    /// Pairs with the policy NONE.
    unused: Vec<bool>,
}

impl Chains {
    pub(crate) fn read(
        session: &mut Session<'_>,
        world: &World,
        configuration: &Configuration,
    ) -> Self {
        let lines = read_policies(session, world, configuration);
        let side = world.zones.len() + 1;
        let none = side - 1;
        let separator = separator(session, configuration);
        let mut chains = Vec::new();
        // What belongs to no zone gets the policy `all all`, under the names of netfilter's hooks.
        let forward = catch_all("FORWARD", last_all(&lines, None), Disposition::Reject);
        let input = catch_all(
            "INPUT",
            last_all(&lines, Some(ZoneId::FIREWALL)),
            Disposition::Drop,
        );
        let output = catch_all("OUTPUT", from_firewall_to_all(&lines), Disposition::Reject);
        chains.extend([forward, input, output]);
        let mut pairs = vec![0u16; side * side];
        let mut unused = vec![false; side * side];
        for source in 0..side {
            for destination in 0..side {
                let cell = source * side + destination;
                pairs[cell] = if source == none || destination == none {
                    hook((ZoneId(source as u16), ZoneId(destination as u16)))
                } else {
                    let pair = (ZoneId(source as u16), ZoneId(destination as u16));
                    let fallback = usize::from(hook(pair));
                    match pair_chain(session, world, &lines, pair, &separator, &chains[fallback]) {
                        Some(chain) => {
                            chains.push(chain);
                            (chains.len() - 1) as u16
                        }
                        None => {
                            unused[cell] = true;
                            hook(pair)
                        }
                    }
                };
            }
        }
        Self {
            chains,
            pairs,
            side,
            unused,
        }
    }

    /// Whether a pair of zones has the policy NONE.
    pub(crate) fn is_unused(&self, source: ZoneId, destination: ZoneId) -> bool {
        self.unused[self.cell(source, destination)]
    }

    /// Appends a rule to the chain of a pair.
    pub(crate) fn push(&mut self, source: ZoneId, destination: ZoneId, rule: Rule) {
        let chain = self.pairs[self.cell(source, destination)];
        self.chains[usize::from(chain)].rules.push(rule);
    }

    fn cell(&self, source: ZoneId, destination: ZoneId) -> usize {
        usize::from(source.0) * self.side + usize::from(destination.0)
    }
}

/// Index of the chain for what belongs to no zone: FORWARD, INPUT or OUTPUT.
fn hook((source, destination): (ZoneId, ZoneId)) -> u16 {
    match (source, destination) {
        (_, ZoneId::FIREWALL) => 1,
        (ZoneId::FIREWALL, _) => 2,
        _ => 0,
    }
}

/// What stands between the zones in the name of a chain.
fn separator(session: &mut Session<'_>, configuration: &Configuration) -> String {
    let Some(value) = configuration.get("ZONE2ZONE") else {
        return "-".to_owned();
    };
    if !matches!(value.text(), "-" | "2") {
        session.error(
            value.span(),
            format!("ZONE2ZONE cannot be `{}`", value.text()),
            "expected - or 2",
            "",
        );
    }
    value.text().to_owned()
}

fn pair_chain(
    session: &mut Session<'_>,
    world: &World,
    lines: &[Line],
    (source, destination): (ZoneId, ZoneId),
    separator: &str,
    fallback: &Chain,
) -> Option<Chain> {
    let name_of = |zone: ZoneId| &world.zones[usize::from(zone.0)].name;
    let name = format!("{}{separator}{}", name_of(source), name_of(destination));
    let line = lines.iter().find(|line| line.covers(source, destination));
    let chain = |policy, policy_log, default_action, origin, policy_chain| Chain {
        name: name.clone(),
        rules: Vec::new(),
        policy,
        policy_log,
        default_action,
        origin,
        policy_chain,
    };
    match line {
        Some(line) => match line.verdict {
            Verdict::Decide(policy) => Some(chain(
                policy,
                line.log.clone(),
                line.default_action.clone(),
                line.origin,
                line.shared.clone().filter(|shared| *shared != name),
            )),
            Verdict::Continue => Some(chain(
                fallback.policy,
                fallback.policy_log.clone(),
                fallback.default_action.clone(),
                line.origin,
                Some(fallback.name.clone()),
            )),
            Verdict::None => None,
        },
        None if source == destination => Some(chain(
            Disposition::Accept,
            None,
            Vec::new(),
            Origin { file: 0, line: 0 },
            None,
        )),
        None => {
            if !session.has_errors() {
                session.report(
                    Finding::error(format!(
                        "no policy from zone `{}` to zone `{}`",
                        name_of(source),
                        name_of(destination)
                    ))
                    .note("end the file policy with a line for the rest: all all REJECT info"),
                );
            }
            Some(chain(
                Disposition::Drop,
                None,
                Vec::new(),
                Origin { file: 0, line: 0 },
                None,
            ))
        }
    }
}

impl Line {
    fn covers(&self, source: ZoneId, destination: ZoneId) -> bool {
        if source == destination
            && (self.source.many || self.destination.many)
            && !(self.source.intra_zone || self.destination.intra_zone)
        {
            return false;
        }
        self.source.zones.contains(&source) && self.destination.zones.contains(&destination)
    }
}

fn last_all(lines: &[Line], destination: Option<ZoneId>) -> Option<&Line> {
    let to = |line: &&Line| {
        destination.is_some_and(|zone| !line.destination.all && line.destination.zones == [zone])
    };
    lines
        .iter()
        .find(|line| line.source.all && to(line))
        .or_else(|| all_to_all(lines))
}

fn from_firewall_to_all(lines: &[Line]) -> Option<&Line> {
    lines
        .iter()
        .find(|line| {
            !line.source.all && line.source.zones == [ZoneId::FIREWALL] && line.destination.all
        })
        .or_else(|| all_to_all(lines))
}

fn all_to_all(lines: &[Line]) -> Option<&Line> {
    lines
        .iter()
        .find(|line| line.source.all && line.destination.all)
}

fn catch_all(name: &str, line: Option<&Line>, default: Disposition) -> Chain {
    let decided = line.and_then(|line| match line.verdict {
        Verdict::Decide(policy) => Some((policy, line)),
        Verdict::Continue | Verdict::None => None,
    });
    match decided {
        Some((policy, line)) => Chain {
            name: name.to_owned(),
            rules: Vec::new(),
            policy,
            policy_log: line.log.clone(),
            default_action: line.default_action.clone(),
            origin: line.origin,
            policy_chain: None,
        },
        None => Chain {
            name: name.to_owned(),
            rules: Vec::new(),
            policy: default,
            policy_log: Some(Log {
                level: 6,
                disposition: level::disposition_word(default).to_owned(),
                tag: None,
            }),
            default_action: Vec::new(),
            origin: Origin { file: 0, line: 0 },
            policy_chain: None,
        },
    }
}

fn read_policies(
    session: &mut Session<'_>,
    world: &World,
    configuration: &Configuration,
) -> Vec<Line> {
    let before = session.findings.len();
    let Some(items) = read_named(session, "policy", &POLICY) else {
        if session.findings.len() == before {
            let path = session.shorewall_file("policy");
            session.report(
                Finding::error(format!("there is no file {}", path.display()))
                    .note("it says what happens between zones: all all REJECT info"),
            );
        }
        return Vec::new();
    };
    let mut lines: Vec<Line> = Vec::new();
    for item in items {
        let Item::Row(row) = item else {
            unexpected_directive(session, &item);
            continue;
        };
        let Some(line) = read_line(session, world, configuration, &row) else {
            continue;
        };
        if let Some(earlier) = shadowing(&lines, &line) {
            session.report(
                Finding::warning("this policy is never reached")
                    .at(row.span, "all of its pairs are decided before")
                    .note(format!("line {earlier} covers them")),
            );
        }
        lines.push(line);
    }
    lines
}

/// The line of an earlier policy that covers all of this one.
fn shadowing(lines: &[Line], line: &Line) -> Option<u32> {
    lines
        .iter()
        .find(|earlier| {
            line.source.zones.iter().all(|&source| {
                line.destination.zones.iter().all(|&destination| {
                    !line.covers(source, destination) || earlier.covers(source, destination)
                })
            })
        })
        .map(|earlier| earlier.origin.line)
}

fn read_line(
    session: &mut Session<'_>,
    world: &World,
    configuration: &Configuration,
    row: &Row,
) -> Option<Line> {
    for (column, name) in [(4, "RATE"), (5, "CONNLIMIT")] {
        if let Some(word) = row.get(column) {
            session.error(
                word.span(),
                format!("the column {name} is not supported yet"),
                "a limit",
                "put - here",
            );
        }
    }
    let source = side(session, world, row.get(0), row);
    let destination = side(session, world, row.get(1), row);
    let policy = row.get(2);
    let (Some(source), Some(destination), Some(policy)) = (source, destination, policy) else {
        return None;
    };
    let (verdict_word, default_word) = match policy.split_once(':') {
        Some((verdict, default)) => (verdict, Some(default)),
        None => (policy.clone(), None),
    };
    let verdict = verdict(session, &verdict_word)?;
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
    let shared = (!configuration.flag("EXPAND_POLICIES", false) && (source.all || destination.all))
        .then(|| {
            let separator = configuration.get("ZONE2ZONE").map_or("-", Word::text);
            format!("{}{separator}{}", source.name, destination.name)
        });
    Some(Line {
        source,
        destination,
        verdict,
        log,
        default_action,
        origin: session.origin(row.span),
        shared,
    })
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

fn side(session: &mut Session<'_>, world: &World, word: Option<&Word>, row: &Row) -> Option<Side> {
    let Some(word) = word else {
        session.error(
            row.span,
            "a zone is missing",
            "expected zones first",
            "write: all all REJECT info",
        );
        return None;
    };
    let (list, intra_zone) = match word.strip_suffix("+") {
        Some(list) => (list, true),
        None => (word.clone(), false),
    };
    let (list, excluded) = match list.split_once('!') {
        Some((list, excluded)) => (list, Some(excluded)),
        None => (list, None),
    };
    let all = matches!(list.text(), "all" | "any");
    let mut zones = if all {
        (0..world.zones.len())
            .map(|index| ZoneId(index as u16))
            .collect()
    } else {
        zone_list(session, world, &list)?
    };
    if let Some(excluded) = &excluded {
        if !all {
            session.error(
                excluded.span(),
                "an exclusion needs `all` before it",
                "taken out of what?",
                "write: all!net",
            );
            return None;
        }
        let taken = zone_list(session, world, excluded)?;
        zones.retain(|zone| !taken.contains(zone));
    }
    Some(Side {
        many: all || zones.len() > 1,
        all: all && excluded.is_none(),
        intra_zone,
        name: if all {
            "all".to_owned()
        } else {
            list.text().to_owned()
        },
        zones,
    })
}

fn zone_list(session: &mut Session<'_>, world: &World, list: &Word) -> Option<Vec<ZoneId>> {
    let mut zones = Vec::new();
    let mut complete = true;
    for item in list.split(',') {
        match world.zone(session, &item) {
            Some(zone) => zones.push(zone),
            None => complete = false,
        }
    }
    complete.then_some(zones)
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
        let action = action::parse(session, &item)?;
        for part in &action.parts {
            let (Target::Decide(_) | Target::Continue(_)) = part.target else {
                session.error(
                    item.span(),
                    "this cannot be a default action",
                    "not a verdict",
                    "for example Broadcast(DROP),Multicast(DROP)",
                );
                return None;
            };
            let matches = part.matches(session, &item, None)?;
            rules.push(Rule {
                states: part.states.unwrap_or(States::ALL),
                matches,
                action: part.target.rule_action()?,
                log: action.log_for(part),
                origin: session.origin(item.span()),
            });
        }
    }
    Some(rules)
}
