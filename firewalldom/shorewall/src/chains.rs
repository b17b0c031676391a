//! The chains: one for each pair of zones, as the file `policy` decides, in Shorewall's order.

use std::collections::BTreeMap;

use firewalldom::policy::{Chain, Disposition, Log, Match, Origin, Rule, States, ZoneId};

use crate::level;
use crate::packet_difference::{Inexpressible, MAX_PIECES, minus};
use crate::policies::{self, Line, Verdict};
use crate::report::Finding;
use crate::session::Session;
use crate::settings::Configuration;
use crate::source::Span;
use crate::world::World;

/// The chains, and which pair of zones uses which.
pub(crate) struct Chains {
    pub(crate) chains: Vec<Chain>,
    pub(crate) pairs: Vec<u16>,
    side: usize,
    standings: Vec<Standing>,
    /// For a chain, which packets leave its rules where.
    returns: BTreeMap<u16, Vec<Return>>,
}

/// CONTINUE and WHITELIST: packets that the rules of a chain from `at` on are not about.
struct Return {
    at: usize,
    states: States,
    matches: Match,
    span: Span,
}

/// What the end of a pair's chain means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A policy decides.
    Decides,
    /// The policy CONTINUE: the zones around decide.
    Continues,
    /// The policy NONE: no rules can be added.
    Unused,
}

impl Chains {
    pub(crate) fn read(
        session: &mut Session<'_>,
        world: &World,
        configuration: &Configuration,
    ) -> Self {
        let lines = policies::read(session, world, configuration);
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
        let mut standings = vec![Standing::Decides; side * side];
        let implicit = configuration.flag("IMPLICIT_CONTINUE", false);
        for source in 0..side {
            for destination in 0..side {
                let cell = source * side + destination;
                pairs[cell] = if source == none || destination == none {
                    hook((ZoneId(source as u16), ZoneId(destination as u16)))
                } else {
                    let pair = (ZoneId(source as u16), ZoneId(destination as u16));
                    let fallback = usize::from(hook(pair));
                    let line = deciding_line(world, &lines, pair, implicit);
                    standings[cell] = match &line {
                        Decider::Line(line) if line.verdict == Verdict::None => Standing::Unused,
                        Decider::Line(line) if line.verdict == Verdict::Continue => {
                            Standing::Continues
                        }
                        Decider::Around => Standing::Continues,
                        Decider::Line(_) | Decider::Nobody => Standing::Decides,
                    };
                    let fallback = &chains[fallback];
                    match pair_chain(session, world, &line, pair, &separator, fallback) {
                        Some(chain) => {
                            chains.push(chain);
                            (chains.len() - 1) as u16
                        }
                        None => hook(pair),
                    }
                };
            }
        }
        Self {
            chains,
            pairs,
            side,
            standings,
            returns: BTreeMap::new(),
        }
    }

    /// What the end of a pair's chain means.
    pub(crate) fn standing(&self, (source, destination): (ZoneId, ZoneId)) -> Standing {
        self.standings[self.cell(source, destination)]
    }

    /// The chain of a pair.
    pub(crate) fn index(&self, (source, destination): (ZoneId, ZoneId)) -> usize {
        usize::from(self.pairs[self.cell(source, destination)])
    }

    /// The chain of a pair.
    pub(crate) fn chain_mut(&mut self, pair: (ZoneId, ZoneId)) -> &mut Chain {
        let index = self.index(pair);
        &mut self.chains[index]
    }

    /// Whether a pair of zones has the policy NONE.
    pub(crate) fn is_unused(&self, source: ZoneId, destination: ZoneId) -> bool {
        self.standing((source, destination)) == Standing::Unused
    }

    /// Appends a rule to the chain of a pair.
    pub(crate) fn push(&mut self, source: ZoneId, destination: ZoneId, rule: Rule) {
        let chain = self.pairs[self.cell(source, destination)];
        self.chains[usize::from(chain)].rules.push(rule);
    }

    /// Lets packets leave the rules of a pair's chain at its present end.
    pub(crate) fn push_return(
        &mut self,
        source: ZoneId,
        destination: ZoneId,
        rule: &Rule,
        span: Span,
    ) {
        let chain = self.pairs[self.cell(source, destination)];
        let at = self.chains[usize::from(chain)].rules.len();
        self.returns.entry(chain).or_default().push(Return {
            at,
            states: rule.states,
            matches: rule.matches.clone(),
            span,
        });
    }

    /// Takes what has left a chain out of the rules that were added since.
    pub(crate) fn resolve_returns(&mut self, session: &mut Session<'_>) {
        for (chain, returns) in std::mem::take(&mut self.returns) {
            let rules = &mut self.chains[usize::from(chain)].rules;
            let mut resolved = Vec::with_capacity(rules.len());
            for (index, rule) in std::mem::take(rules).into_iter().enumerate() {
                let earlier = returns.iter().filter(|gone| gone.at <= index);
                let mut pieces = vec![rule];
                for gone in earlier {
                    match pieces.iter().map(|piece| left_of(piece, gone)).collect() {
                        Ok::<Vec<_>, _>(left) => pieces = left.into_iter().flatten().collect(),
                        Err(Inexpressible(what)) => {
                            session.error(
                                gone.span,
                                format!("an exemption by {what} is not supported yet"),
                                "the rules below cannot leave it out",
                                "name addresses, protocols and ports",
                            );
                            break;
                        }
                    }
                    if pieces.len() > MAX_PIECES {
                        session.error(
                            gone.span,
                            "too many exemptions for the rules below",
                            format!("a rule falls into more than {MAX_PIECES}"),
                            "put the rules that they exempt from first",
                        );
                        break;
                    }
                }
                resolved.extend(pieces);
            }
            self.chains[usize::from(chain)].rules = resolved;
        }
    }

    /// Puts a rule at the head of every chain from one of these zones.
    pub(crate) fn push_from(&mut self, sources: &[ZoneId], rule: &Rule) {
        let cells = sources
            .iter()
            .flat_map(|source| (0..self.side).map(|to| usize::from(source.0) * self.side + to));
        let mut chains: Vec<u16> = cells.map(|cell| self.pairs[cell]).collect();
        chains.sort_unstable();
        chains.dedup();
        for chain in chains {
            self.chains[usize::from(chain)]
                .rules
                .insert(0, rule.clone());
        }
    }

    fn cell(&self, source: ZoneId, destination: ZoneId) -> usize {
        usize::from(source.0) * self.side + usize::from(destination.0)
    }
}

/// The packets of a rule that have not left before it.
fn left_of(rule: &Rule, gone: &Return) -> Result<Vec<Rule>, Inexpressible> {
    let common = States(rule.states.0 & gone.states.0);
    if common.0 == 0 {
        return Ok(vec![rule.clone()]);
    }
    let others = States(rule.states.0 & !gone.states.0);
    let with = |states, matches| Rule {
        states,
        matches,
        ..rule.clone()
    };
    let left = minus(&rule.matches, &gone.matches)?;
    if left == [rule.matches.clone()] {
        return Ok(vec![rule.clone()]);
    }
    let mut pieces: Vec<Rule> = left
        .into_iter()
        .map(|matches| with(common, matches))
        .collect();
    if others.0 != 0 {
        pieces.push(with(others, rule.matches.clone()));
    }
    Ok(pieces)
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

/// Who decides about a pair of zones.
enum Decider<'l> {
    Line(&'l Line),
    /// IMPLICIT_CONTINUE: the zones around, unless a line names both zones.
    Around,
    Nobody,
}

fn deciding_line<'l>(
    world: &World,
    lines: &'l [Line],
    (source, destination): (ZoneId, ZoneId),
    implicit: bool,
) -> Decider<'l> {
    let covers = |line: &&Line| line.covers(source, destination);
    let is_nested = |zone: ZoneId| !world.zones[usize::from(zone.0)].parents.is_empty();
    if implicit && source != destination && (is_nested(source) || is_nested(destination)) {
        let named = |line: &&Line| !line.source.wild && !line.destination.wild;
        return match lines.iter().filter(named).find(covers) {
            Some(line) => Decider::Line(line),
            None => Decider::Around,
        };
    }
    lines
        .iter()
        .find(covers)
        .map_or(Decider::Nobody, Decider::Line)
}

fn pair_chain(
    session: &mut Session<'_>,
    world: &World,
    line: &Decider<'_>,
    (source, destination): (ZoneId, ZoneId),
    separator: &str,
    fallback: &Chain,
) -> Option<Chain> {
    let name_of = |zone: ZoneId| &world.zones[usize::from(zone.0)].name;
    let name = format!("{}{separator}{}", name_of(source), name_of(destination));
    let chain = |policy, policy_log, default_action, origin, policy_chain| Chain {
        name: name.clone(),
        blacklist: None,
        rules: Vec::new(),
        policy,
        policy_log,
        default_action,
        origin,
        policy_chain,
    };
    match line {
        Decider::Line(line) => match line.verdict {
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
        Decider::Around => Some(chain(
            fallback.policy,
            fallback.policy_log.clone(),
            fallback.default_action.clone(),
            fallback.origin,
            Some(fallback.name.clone()),
        )),
        Decider::Nobody if source == destination => Some(chain(
            Disposition::Accept,
            None,
            Vec::new(),
            Origin { file: 0, line: 0 },
            None,
        )),
        Decider::Nobody => {
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
            blacklist: None,
            rules: Vec::new(),
            policy,
            policy_log: line.log.clone(),
            default_action: line.default_action.clone(),
            origin: line.origin,
            policy_chain: None,
        },
        None => Chain {
            name: name.to_owned(),
            blacklist: None,
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
