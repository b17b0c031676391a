//! The chains: one for each pair of zones, as the file `policy` decides, in Shorewall's order.

use firewalldom::policy::{Chain, Disposition, Log, Origin, Rule, ZoneId};

use crate::level;
use crate::policies::{self, Line, Verdict};
use crate::report::Finding;
use crate::session::Session;
use crate::settings::Configuration;
use crate::world::World;

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

    /// Appends a rule to every chain from one of these zones.
    pub(crate) fn push_from(&mut self, sources: &[ZoneId], rule: &Rule) {
        let cells = sources
            .iter()
            .flat_map(|source| (0..self.side).map(|to| usize::from(source.0) * self.side + to));
        let mut chains: Vec<u16> = cells.map(|cell| self.pairs[cell]).collect();
        chains.sort_unstable();
        chains.dedup();
        for chain in chains {
            self.chains[usize::from(chain)].rules.push(rule.clone());
        }
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
