//! Which line of the file `policy` decides about a pair of zones, and about what belongs to none.

use firewalldom::policy::{Chain, Disposition, Log, ZoneId};

use crate::chains::Standing;
use crate::level;
use crate::made::NOWHERE;
use crate::policies::{Ending, Line, Verdict};
use crate::policy_pairs::Side;
use crate::report::Finding;
use crate::session::Session;
use crate::world::World;

/// Who decides about a pair of zones.
pub(crate) enum Decider<'l> {
    Line(&'l Line),
    /// IMPLICIT_CONTINUE: the zones around, unless a line names both zones.
    Around,
    Nobody,
}

impl Decider<'_> {
    /// What the end of the pair's chain means.
    pub(crate) fn standing(&self) -> Standing {
        match self {
            Self::Line(line) => match (line.verdict, &line.ending) {
                (Verdict::None, _) => Standing::Unused,
                (Verdict::Continue, _) => Standing::Continues,
                (Verdict::Decide(_), Ending::Forgotten(_)) => Standing::Forgotten,
                (Verdict::Decide(_), _) => Standing::Decides,
            },
            Self::Around => Standing::Continues,
            Self::Nobody => Standing::Decides,
        }
    }
}

/// The line that decides about a pair of zones.
pub(crate) fn deciding_line<'l>(
    world: &World,
    lines: &'l [Line],
    (source, destination): (ZoneId, ZoneId),
    implicit: bool,
) -> Decider<'l> {
    let covers = |line: &&Line| line.covers(source, destination);
    let is_nested = world.is_nested(source) || world.is_nested(destination);
    if implicit && source != destination && is_nested {
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

/// The chain of a pair of zones, without rules; none where the policy NONE leaves none. `fallback` is the
/// chain of what belongs to no zone.
pub(crate) fn pair_chain(
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
    let around = || {
        chain(
            fallback.policy,
            fallback.policy_log.clone(),
            fallback.default_action.clone(),
            fallback.origin,
            Some(fallback.name.clone()),
        )
    };
    match line {
        Decider::Line(line) => match line.verdict {
            Verdict::Decide(policy) => Some(chain(
                policy,
                line.log.clone(),
                line.default_action.clone(),
                line.origin,
                line.ending
                    .shared()
                    .filter(|shared| *shared != name)
                    .map(str::to_owned),
            )),
            Verdict::Continue => Some(Chain {
                origin: line.origin,
                ..around()
            }),
            // On to the zones around, if there are any.
            Verdict::None if world.is_inside(source) || world.is_inside(destination) => {
                Some(around())
            }
            Verdict::None => None,
        },
        Decider::Around => Some(around()),
        Decider::Nobody if source == destination => {
            Some(chain(Disposition::Accept, None, Vec::new(), NOWHERE, None))
        }
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
            Some(chain(Disposition::Drop, None, Vec::new(), NOWHERE, None))
        }
    }
}

/// Who meets the end of one of netfilter's own chains: everybody but the firewall on one side, and on
/// the other the firewall, or everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hook {
    Forward,
    Input,
    Output,
}

/// The line whose policy ends one of netfilter's own chains. Shorewall looks it up under the pair
/// `all all`, or `all` and the firewall, as if `all` were a zone: a line that says just so has made
/// that pair, and where policies are not expanded, so has the first whose `all`, of whatever form,
/// stands for it.
pub(crate) fn last_line(lines: &[Line], hook: Hook, expands: bool) -> Option<&Line> {
    let is_firewall = |side: &Side| !side.wild && side.zones.contains(&ZoneId::FIREWALL);
    let stands_for_all = |side: &Side| match expands {
        true => side.is_seen_as_all(),
        false => side.wild,
    };
    let both = |line: &Line| stands_for_all(&line.source) && stands_for_all(&line.destination);
    let own = |line: &&Line| match hook {
        Hook::Forward => both(line),
        Hook::Input => {
            line.source.is_seen_as_all() && is_firewall(&line.destination) || !expands && both(line)
        }
        Hook::Output => {
            is_firewall(&line.source) && stands_for_all(&line.destination)
                || !expands && both(line) && line.source.zones.contains(&ZoneId::FIREWALL)
        }
    };
    let fallback = || lines.iter().find(|line| both(line));
    lines.iter().find(own).or_else(fallback)
}

/// The chain that what belongs to no zone meets. `default` is Shorewall's where no line says anything;
/// after CONTINUE there is only netfilter's own policy, which Shorewall sets to DROP.
pub(crate) fn catch_all(name: &str, line: Option<&Line>, default: Disposition) -> Chain {
    let chain = |policy, policy_log| Chain {
        name: name.to_owned(),
        blacklist: None,
        rules: Vec::new(),
        policy,
        policy_log,
        default_action: Vec::new(),
        origin: NOWHERE,
        policy_chain: None,
    };
    let Some(line) = line else {
        let log = Log {
            level: 6,
            disposition: level::disposition_word(default).to_owned(),
            tag: None,
        };
        return chain(default, Some(log));
    };
    match line.verdict {
        Verdict::Decide(policy) => Chain {
            default_action: line.default_action.clone(),
            origin: line.origin,
            ..chain(policy, line.log.clone())
        },
        Verdict::Continue | Verdict::None => Chain {
            origin: line.origin,
            ..chain(Disposition::Drop, None)
        },
    }
}
