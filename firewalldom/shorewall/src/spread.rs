//! From a line of `rules` to the chains of all pairs of zones that it is about.

use std::sync::Arc;

use firewalldom::policy::{Action, Addresses, Limits, Match, Ports, Rule, States, ZoneId};

use crate::action::Part;
use crate::address::Hosts;
use crate::chains::{MAX_ENTRIES, Standing};
use crate::ends::{End, IntraZone, zones};
use crate::limits::LimitColumns;
use crate::packet_set;
use crate::rules::{Line, Rules, columns};
use crate::session::Session;
use crate::source::Span;
use crate::target::Target;

/// A rule for many zones may become this many; the policy must stay loadable.
const MAX_RULES: usize = 1_000_000;

/// Rules made for one line, by the hosts that they are about: pairs of zones share them.
type Made = Vec<((usize, usize), Vec<Arc<Rule>>)>;

impl Rules<'_> {
    /// A rule in the chains. Whether it is in any.
    pub(crate) fn filter(
        &mut self,
        session: &mut Session<'_>,
        line: &Line<'_>,
        part: &Part,
    ) -> bool {
        let Some(word) = line.row.get(2) else {
            session.error(
                line.row.span,
                "the destination is missing",
                "to which zone?",
                "all: to every zone",
            );
            return true;
        };
        let Some(destinations) = zones(session, self.world, word) else {
            return true;
        };
        let states = match part.states {
            None => self.section_states(),
            Some(states) => States(states.0 & self.section_states().0),
        };
        let Some(either_port) = self.alternatives(session, line, part) else {
            return true;
        };
        let (from, to) = if part.reversed {
            (&destinations, &line.sources)
        } else {
            (&line.sources, &destinations)
        };
        let wild = from.wild || to.wild;
        // Shorewall reads the source first, and what a list says of it takes the place of a `+` there.
        let intra_zone = match destinations.intra_zone {
            IntraZone::Unsaid => line.sources.intra_zone,
            said => said,
        } == IntraZone::Included;
        let mut used = false;
        let pairs = |source: &End| {
            let zone = source.zone;
            to.ends.iter().map(move |end| (zone, end.zone))
        };
        for (source, destination) in from.ends.iter().flat_map(pairs) {
            if !wild || intra_zone || source != destination {
                self.chains.mention((source, destination));
            }
        }
        if states == States(0) {
            return false;
        }
        for matches in either_port {
            let Some(rule) = part.rule(session, line.action_word, matches, None) else {
                continue;
            };
            let rule = Rule {
                states,
                log: line.action.log_for(part),
                origin: session.origin(line.row.span),
                ..rule
            };
            let mut made = Made::new();
            for source in &from.ends {
                for destination in &to.ends {
                    let pair = (source.zone, destination.zone);
                    if wild && !intra_zone && source.zone == destination.zone {
                        continue;
                    }
                    if !self.may_hold(session, line, part, pair, wild) {
                        continue;
                    }
                    self.push_part(session, line, (source, destination), part, &rule, &mut made);
                    used = true;
                }
            }
        }
        used
    }

    /// The conditions of the columns PROTO, DPORT and SPORT: two of them where `=` asks for either
    /// port.
    fn alternatives(
        &self,
        session: &mut Session<'_>,
        line: &Line<'_>,
        part: &Part,
    ) -> Option<Vec<Match>> {
        let mut traffic = columns(line.row);
        let either = traffic.source_port.is_some_and(|word| word.text() == "=");
        if either {
            traffic.source_port = None;
        }
        let matches = part.traffic(session, traffic)?;
        if !either {
            return Some(vec![matches]);
        }
        if matches.destination_port.ranges.is_empty() {
            session.error(
                line.row.span,
                "`=` in SPORT needs ports in DPORT",
                "either port, but which?",
                "write the ports in the column DPORT",
            );
            return None;
        }
        let ports = &matches.destination_port;
        let by_source = Match {
            source_port: ports.clone(),
            destination_port: Ports {
                ranges: ports.ranges.clone(),
                negated: !ports.negated,
            },
            ..matches.clone()
        };
        Some(vec![matches, by_source])
    }

    /// Whether rules can be added for a pair of zones; what is a mistake is reported.
    pub(crate) fn may_hold(
        &self,
        session: &mut Session<'_>,
        line: &Line<'_>,
        part: &Part,
        pair: (ZoneId, ZoneId),
        wild: bool,
    ) -> bool {
        if self.chains.is_unused(pair) {
            if !wild {
                session.error(
                    line.row.span,
                    "this pair of zones has the policy NONE",
                    "no rules can be added",
                    "give it another policy, such as REJECT",
                );
            }
            return false;
        }
        // Zones that share an interface without lying in each other would be tried in turn.
        let leaves = part.target == Target::Return && self.blacklist.is_none();
        if leaves && let Some(other) = self.world.overlapping(pair) {
            session.error(
                line.action_word.span(),
                "CONTINUE between zones that share an interface is not supported yet",
                format!(
                    "the packet may be of the zone `{}`, too",
                    self.world.zones[usize::from(other.0)].name
                ),
                "write the verdict: ACCEPT, DROP or REJECT",
            );
            return false;
        }
        debug_assert!(self.chains.standing(pair) != Standing::Unused);
        true
    }

    /// A part's rules between two ends.
    fn push_part(
        &mut self,
        session: &mut Session<'_>,
        line: &Line<'_>,
        (source, destination): (&End, &End),
        part: &Part,
        rule: &Rule,
        made: &mut Made,
    ) {
        let hosts = (source.hosts_of, destination.hosts_of);
        let known = made.iter().find(|(known, _)| *known == hosts);
        let rules = match known {
            Some((_, rules)) if !line.limits.counts() => rules.clone(),
            _ => {
                let rules = self.part_rules(session, line, (source, destination), part, rule);
                made.push((hosts, rules.clone()));
                rules
            }
        };
        let stage = self.stage();
        for rule in rules {
            let pair = (source.zone, destination.zone);
            if !self.chains.push(pair, stage, rule) {
                too_many(session, line.row.span, MAX_ENTRIES);
                return;
            }
        }
    }

    fn part_rules(
        &mut self,
        session: &mut Session<'_>,
        line: &Line<'_>,
        (source, destination): (&End, &End),
        part: &Part,
        rule: &Rule,
    ) -> Vec<Arc<Rule>> {
        let columns = Match {
            original_destination: line.original_destination.clone(),
            ..Match::default()
        };
        let mut rules = Vec::new();
        for mut rule in self.between(session, source, destination, rule) {
            let whole = packet_set::both(&rule.matches, &columns)
                .and_then(|matches| part.narrow(session, line.action_word, &matches));
            let Some(matches) = whole else {
                continue;
            };
            rule.matches = matches;
            rules.push(rule);
        }
        let rules = limited(session, rules, &line.limits);
        rules.into_iter().map(Arc::new).collect()
    }

    /// The rule between two ends, in their chain.
    pub(crate) fn push(
        &mut self,
        session: &mut Session<'_>,
        source: &End,
        destination: &End,
        rule: &Rule,
    ) {
        let stage = self.stage();
        for rule in self.between(session, source, destination, rule) {
            let pair = (source.zone, destination.zone);
            if !self.chains.push(pair, stage, Arc::new(rule)) {
                too_many(session, source.span, MAX_ENTRIES);
                return;
            }
        }
    }

    /// The rule with the addresses of two ends. Addresses and MAC addresses in one list are
    /// alternatives.
    fn between(
        &mut self,
        session: &mut Session<'_>,
        source: &End,
        destination: &End,
        rule: &Rule,
    ) -> Vec<Rule> {
        if !destination.hosts.macs.is_empty() || !destination.hosts.except_macs.is_empty() {
            session.error(
                destination.span,
                "a destination cannot be a MAC address",
                "known only for what arrives",
                "",
            );
            return Vec::new();
        }
        let to = destination.hosts.ways().into_iter().map(|egress| Match {
            egress,
            destination: destination.hosts.addresses.clone(),
            ..Match::default()
        });
        let mut rules = Vec::new();
        for ends in to.flat_map(|to| with_sources(&source.hosts, &to)) {
            self.total += 1;
            if self.total > MAX_RULES {
                if self.total == MAX_RULES + 1 {
                    too_many(session, source.span, MAX_RULES);
                }
                return Vec::new();
            }
            if let Some(matches) = packet_set::both(&rule.matches, &ends) {
                rules.push(Rule {
                    matches,
                    ..rule.clone()
                });
            }
        }
        if !source.hosts.except_macs.is_empty() {
            for rule in &mut rules {
                except(session, rule, &source.hosts.except_macs);
            }
        }
        rules
    }
}

fn too_many(session: &mut Session<'_>, span: Span, most: usize) {
    session.error(
        span,
        format!("more than {most} rules, all zones counted"),
        "one too many",
        "name the zones that the rules are about",
    );
}

/// Leaves sources with these MAC addresses out of a rule, by a list that they return from.
fn except(session: &mut Session<'_>, rule: &mut Rule, macs: &[[u8; 6]]) {
    let inner = |matches, action, log| Rule {
        states: States::ALL,
        matches,
        limits: Limits::default(),
        action,
        log,
        origin: rule.origin,
    };
    let excepted = Match {
        source_mac: macs.to_vec(),
        ..Match::default()
    };
    let rules = vec![
        inner(excepted, Action::Return, None),
        inner(Match::default(), rule.action, rule.log.take()),
    ];
    rule.action = Action::Call(session.tables.rule_list(None, rules));
}

/// The rules with limits of their own. netfilter counts for each rule, and has one for each address.
fn limited(session: &mut Session<'_>, rules: Vec<Rule>, limits: &LimitColumns) -> Vec<Rule> {
    if limits.is_empty() {
        return rules;
    }
    let mut first: Option<Limits> = None;
    let mut limited = Vec::new();
    for rule in rules {
        for mut rule in single_addresses(rule, limits) {
            let own = match &first {
                None => limits.place(session),
                Some(first) => limits.place_beside(session, first),
            };
            first.get_or_insert_with(|| own.clone());
            rule.limits = Limits {
                recent: rule.limits.recent,
                ..own
            };
            limited.push(rule);
        }
    }
    limited
}

/// A rule for each of the addresses in a list.
fn single_addresses(rule: Rule, limits: &LimitColumns) -> Vec<Rule> {
    if !limits.counts() {
        return vec![rule];
    }
    let one_each = |addresses: &Addresses| -> Vec<Addresses> {
        if addresses.ranges.len() < 2 {
            return vec![addresses.clone()];
        }
        let with = |range| Addresses {
            ranges: vec![range],
            ..addresses.clone()
        };
        addresses.ranges.iter().copied().map(with).collect()
    };
    let mut rules = Vec::new();
    for source in one_each(&rule.matches.source) {
        for destination in one_each(&rule.matches.destination) {
            let mut single = rule.clone();
            single.matches.source.clone_from(&source);
            single.matches.destination = destination;
            rules.push(single);
        }
    }
    rules
}

/// The same conditions for each alternative of a source: its interfaces, and its addresses or its MAC
/// addresses.
pub(crate) fn with_sources(hosts: &Hosts, matches: &Match) -> Vec<Match> {
    let addresses = &hosts.addresses;
    let any_address = Addresses {
        ranges: Vec::new(),
        ..addresses.clone()
    };
    let mut alternatives = Vec::new();
    for ingress in hosts.ways() {
        let mut push = |source: &Addresses, source_mac| {
            alternatives.push(Match {
                ingress,
                source: source.clone(),
                source_mac,
                ..matches.clone()
            });
        };
        if hosts.macs.is_empty() {
            push(addresses, Vec::new());
            continue;
        }
        push(&any_address, hosts.macs.clone());
        if !addresses.ranges.is_empty() {
            push(addresses, Vec::new());
        }
    }
    alternatives
}

impl End {
    /// All of a zone.
    pub(crate) fn of(zone: ZoneId, span: Span) -> Self {
        Self {
            zone,
            hosts: Hosts::default(),
            hosts_of: 0,
            span,
        }
    }
}
