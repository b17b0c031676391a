//! The file `rules`.

use std::collections::BTreeMap;

use firewalldom::policy::{
    self, Addresses, DestinationNat, Disposition, Exception, Limits, Match, Rule, States, ZoneId,
};

use crate::action::{self, Action, Part, Target, TrafficColumns};
use crate::address;
use crate::blacklist;
use crate::chains::{Chains, Standing};
use crate::columns::{Row, Schema};
use crate::ends::{End, Ends, zones};
use crate::packet_set;
use crate::reader::{Item, read_named};
use crate::report::Finding;
use crate::session::Session;
use crate::source::{Span, Word};
use crate::suggest::did_you_mean;
use crate::unreachable;
use crate::world::{World, unexpected_directive};

const RULES: Schema = Schema {
    columns: &[
        "action",
        "source",
        "dest",
        "proto",
        "dport|destport",
        "sport|sourceport",
        "origdest",
        "rate",
        "user",
        "mark",
        "connlimit",
        "time",
        "headers",
        "switch",
        "helper",
    ],
    required: 3,
};

const ORIGINAL_DESTINATION: usize = 6;
/// The sections, in the order that the file must have.
const SECTIONS: [&str; 6] = [
    "ALL",
    "ESTABLISHED",
    "RELATED",
    "INVALID",
    "UNTRACKED",
    "NEW",
];
/// A rule for many zones may become this many; the policy must stay loadable.
const MAX_RULES: usize = 1_000_000;

/// Dispositions of shorewall.conf decide which states get as far as the section NEW.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Undecided(pub(crate) States);

/// What becomes of packets that `blrules` lists.
pub(crate) struct Blacklist {
    /// BLACKLIST.
    pub(crate) states: States,
    /// BLACKLIST_DISPOSITION and BLACKLIST_LOG_LEVEL.
    pub(crate) exception: Exception,
}

/// What `rules` adds to the policy besides rules in chains.
pub(crate) struct Rules<'w> {
    pub(crate) world: &'w World,
    chains: &'w mut Chains,
    undecided: Undecided,
    section: usize,
    /// Sections that have begun; they come in order, and once.
    begun: usize,
    total: usize,
    /// While `blrules` is read.
    blacklist: Option<Blacklist>,
    pub(crate) nat: Vec<DestinationNat>,
    /// Where the lines are that have been read.
    lines: BTreeMap<(u16, u32), Span>,
}

/// A rule of the file before it is spread over zones.
pub(crate) struct Line<'r> {
    pub(crate) row: &'r Row,
    pub(crate) action_word: &'r Word,
    pub(crate) action: Action,
    pub(crate) sources: Ends,
    pub(crate) original_destination: Addresses,
}

impl<'w> Rules<'w> {
    /// Reads `blrules` and `rules`, if there are such files, into the chains.
    pub(crate) fn read(
        session: &mut Session<'_>,
        world: &'w World,
        chains: &'w mut Chains,
        undecided: Undecided,
        listed: Blacklist,
    ) -> Vec<DestinationNat> {
        let mut rules = Self {
            world,
            chains,
            undecided,
            section: SECTIONS.len() - 1,
            begun: 0,
            total: 0,
            blacklist: Some(listed),
            nat: Vec::new(),
            lines: BTreeMap::new(),
        };
        for item in read_named(session, "blrules", &RULES).unwrap_or_default() {
            match item {
                Item::Row(row) => rules.read_row(session, &row),
                Item::Section(_) | Item::Format(_) => unexpected_directive(session, &item),
            }
        }
        for row in blacklist::read(session) {
            rules.read_row(session, &row);
        }
        rules.chains.resolve_returns(session);
        rules.blacklist = None;
        rules.begun = 0;
        for item in read_named(session, "rules", &RULES).unwrap_or_default() {
            match item {
                Item::Section(word) => rules.begin_section(session, &word),
                Item::Format(word) => session.error(
                    word.span(),
                    "rules has only one format",
                    "",
                    "take the line out",
                ),
                Item::Row(row) => rules.read_row(session, &row),
            }
        }
        rules.chains.resolve_returns(session);
        if !session.has_errors() {
            unreachable::warn(session, &rules.chains.chains, &rules.nat, &rules.lines);
        }
        rules.nat
    }

    fn begin_section(&mut self, session: &mut Session<'_>, word: &Word) {
        let name = word.text().to_ascii_uppercase();
        let Some(index) = SECTIONS.iter().position(|section| *section == name) else {
            session.report(
                Finding::error(format!("there is no section `{}`", word.text()))
                    .at(word.span(), "unknown section")
                    .maybe_note(did_you_mean(&name, SECTIONS))
                    .note(format!(
                        "the sections, in this order: {}",
                        SECTIONS.join(" ")
                    )),
            );
            return;
        };
        if index < self.begun {
            session.error(
                word.span(),
                format!("the section {name} comes too late, or twice"),
                "out of order",
                format!("the order is: {}", SECTIONS.join(" ")),
            );
        }
        self.begun = index + 1;
        self.section = index;
    }

    /// The states that the section is about.
    pub(crate) fn section_states(&self) -> States {
        if let Some(blacklist) = &self.blacklist {
            return blacklist.states;
        }
        match SECTIONS[self.section] {
            "ALL" => States::ALL,
            "ESTABLISHED" => States::ESTABLISHED,
            "RELATED" => States::RELATED,
            "INVALID" => States::INVALID,
            "UNTRACKED" => States::UNTRACKED,
            _ => States(States::NEW.0 | self.undecided.0.0),
        }
    }

    fn read_row(&mut self, session: &mut Session<'_>, row: &Row) {
        // Rules before any section belong to NEW, after which no other section can begin.
        if self.begun == 0 {
            self.begun = SECTIONS.len();
        }
        for (column, name) in [
            (7, "RATE"),
            (8, "USER"),
            (9, "MARK"),
            (10, "CONNLIMIT"),
            (11, "TIME"),
            (12, "HEADERS"),
            (13, "SWITCH"),
            (14, "HELPER"),
        ] {
            if let Some(word) = row.get(column) {
                session.error(
                    word.span(),
                    format!("the column {name} is not supported yet"),
                    "would narrow the rule",
                    "put - here if the rule is right without",
                );
            }
        }
        let Some(action_word) = row.get(0) else {
            session.error(
                row.span,
                "the action is missing",
                "",
                "write: ACCEPT net fw tcp 22",
            );
            return;
        };
        let Some(source_word) = row.get(1) else {
            session.error(
                row.span,
                "the source is missing",
                "from which zone?",
                "all: from every zone",
            );
            return;
        };
        if source_word.text() == "none" || row.get(2).is_some_and(|word| word.text() == "none") {
            // Shorewall's way to switch a rule off, through a variable.
            return;
        }
        let action = action::parse(session, action_word);
        let action_names_server = action.as_ref().map(Action::translates);
        let sources = zones(session, self.world, source_word);
        let original = match row.get(ORIGINAL_DESTINATION) {
            None => Some(Addresses::default()),
            Some(word) => {
                let mut macs = Vec::new();
                let list = address::list(session, self.world, word, &mut macs);
                if macs.is_empty() {
                    list
                } else {
                    session.error(
                        word.span(),
                        "a MAC address cannot be an original destination",
                        "",
                        "",
                    );
                    None
                }
            }
        };
        let (Some(action), Some(sources), Some(original_destination)) = (action, sources, original)
        else {
            // The other columns' own mistakes are worth knowing, too.
            let is_server = match &action_names_server {
                Some(is_server) => *is_server,
                None => row.get(2).is_some_and(|word| word.text().contains(':')),
            };
            if let Some(word) = row.get(2).filter(|_| !is_server) {
                zones(session, self.world, word);
            }
            return;
        };
        let line = Line {
            row,
            action_word,
            action,
            sources,
            original_destination,
        };
        self.compile(session, &line);
    }

    fn compile(&mut self, session: &mut Session<'_>, line: &Line<'_>) {
        let origin = session.origin(line.row.span);
        self.lines.insert((origin.file, origin.line), line.row.span);
        if line.action.translates() && SECTIONS[self.section] != "NEW" {
            session.error(
                line.action_word.span(),
                "address translation is decided for new connections only",
                format!("in the section {}", SECTIONS[self.section]),
                "move the rule below ?SECTION NEW",
            );
            return;
        }
        if line.action.translates() && self.blacklist.is_some() {
            session.error(
                line.action_word.span(),
                "no addresses are translated in blrules",
                "here packets are only listed",
                "move the rule to the file rules",
            );
            return;
        }
        let mut used = false;
        for part in &line.action.parts {
            let part = &self.listed(part);
            let own_ends = part.reversed || part.within != Match::default();
            if part.target.translates() && own_ends {
                session.error(
                    line.action_word.span(),
                    "what has addresses of its own cannot be translated",
                    "it goes to other hosts than the rule's",
                    "write its protocols and ports as rules of their own",
                );
                return;
            }
            used |= match part.target {
                Target::DestinationNat(nat) => self.destination_nat(session, line, part, nat),
                Target::Redirect(nat) => self.redirect(session, line, part, nat),
                Target::AcceptUntranslated => {
                    self.exempt(session, line, part) && self.filter(session, line, part)
                }
                Target::Untranslated => self.exempt(session, line, part),
                Target::Blacklist => {
                    session.error(
                        line.action_word.span(),
                        format!("{} is for the file blrules", line.action_word.text()),
                        "nothing is listed while the firewall runs",
                        "write: DROP",
                    );
                    true
                }
                Target::Decide(_) | Target::Continue(_) | Target::Return => {
                    self.filter(session, line, part)
                }
            };
        }
        if !used && !session.has_errors() {
            session.report(
                Finding::warning("this rule matches nothing")
                    .at(line.row.span, "no pair of zones, or no state, is left"),
            );
        }
    }

    /// In `blrules`, ACCEPT exempts from it and no more, and BLACKLIST is what shorewall.conf says.
    fn listed(&self, part: &Part) -> Part {
        let mut part = part.clone();
        if let Some(Blacklist { exception, .. }) = &self.blacklist {
            match part.target {
                Target::Decide(Disposition::Accept) => part.target = Target::Return,
                Target::Blacklist => {
                    part.target = Target::Decide(exception.disposition);
                    part.log.clone_from(&exception.log);
                }
                _ => {}
            }
        }
        part
    }

    /// A rule in the chains. Whether it is in any.
    fn filter(&mut self, session: &mut Session<'_>, line: &Line<'_>, part: &Part) -> bool {
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
        let Some(matches) = part.traffic(session, columns(line.row)) else {
            return true;
        };
        let action = part.target.rule_action();
        let states = match part.states {
            None => self.section_states(),
            Some(states) => States(states.0 & self.section_states().0),
        };
        if states.0 == 0 {
            return false;
        }
        let rule = Rule {
            states,
            matches,
            limits: Limits::default(),
            // Of a return only its log line is a rule.
            action: action.unwrap_or(policy::Action::Continue),
            log: line.action.log_for(part),
            origin: session.origin(line.row.span),
        };
        let (from, to) = if part.reversed {
            (&destinations, &line.sources)
        } else {
            (&line.sources, &destinations)
        };
        let wild = from.wild || to.wild;
        let intra_zone = from.intra_zone || to.intra_zone;
        let mut used = false;
        for source in &from.ends {
            for destination in &to.ends {
                if wild && !intra_zone && source.zone == destination.zone {
                    continue;
                }
                if self.chains.is_unused(source.zone, destination.zone) {
                    if !wild {
                        session.error(
                            line.row.span,
                            "this pair of zones has the policy NONE",
                            "no rules can be added",
                            "give it another policy, such as REJECT",
                        );
                    }
                    continue;
                }
                if part.target == Target::Return
                    && self.blacklist.is_none()
                    && self.chains.standing((source.zone, destination.zone)) != Standing::Continues
                {
                    session.error(
                        line.action_word.span(),
                        "CONTINUE where the policy is not CONTINUE is not supported yet",
                        "would go on to what is said of the zones around",
                        "write the verdict: ACCEPT, DROP or REJECT",
                    );
                    return true;
                }
                self.push_part(session, line, (source, destination), part, &rule);
                used = true;
            }
        }
        used
    }

    /// A part's rule between two ends.
    fn push_part(
        &mut self,
        session: &mut Session<'_>,
        line: &Line<'_>,
        (source, destination): (&End, &End),
        part: &Part,
        rule: &Rule,
    ) {
        for mut rule in self.between(session, source, destination, rule) {
            let columns = Match {
                original_destination: line.original_destination.clone(),
                ..Match::default()
            };
            let whole = packet_set::both(&rule.matches, &columns)
                .and_then(|matches| part.narrow(session, line.action_word, &matches));
            let Some(matches) = whole else {
                continue;
            };
            rule.matches = matches;
            let is_return = part.target == Target::Return;
            if is_return {
                let (source, destination) = (source.zone, destination.zone);
                self.chains
                    .push_return(source, destination, &rule, line.row.span);
            }
            if !is_return || rule.log.is_some() {
                self.chains.push(source.zone, destination.zone, rule);
            }
        }
    }

    /// The rule between two ends.
    pub(crate) fn push(
        &mut self,
        session: &mut Session<'_>,
        source: &End,
        destination: &End,
        rule: &Rule,
    ) {
        for rule in self.between(session, source, destination, rule) {
            self.chains.push(source.zone, destination.zone, rule);
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
        if !destination.hosts.macs.is_empty() {
            session.error(
                destination.span,
                "a destination cannot be a MAC address",
                "known only for what arrives",
                "",
            );
            return Vec::new();
        }
        let mut rules = Vec::new();
        for (addresses, source_mac) in source_alternatives(source) {
            self.total += 1;
            if self.total > MAX_RULES {
                if self.total == MAX_RULES + 1 {
                    session.error(
                        source.span,
                        format!("more than {MAX_RULES} rules, all zones counted"),
                        "one too many",
                        "name the zones that the rules are about",
                    );
                }
                return Vec::new();
            }
            let ends = Match {
                ingress: source.hosts.interface,
                egress: destination.hosts.interface,
                source: addresses,
                source_mac,
                destination: destination.hosts.addresses.clone(),
                ..Match::default()
            };
            if let Some(matches) = packet_set::both(&rule.matches, &ends) {
                rules.push(Rule {
                    matches,
                    ..rule.clone()
                });
            }
        }
        rules
    }
}

/// The alternatives of a source: its addresses, or its MAC addresses.
pub(crate) fn source_alternatives(source: &End) -> Vec<(Addresses, Vec<[u8; 6]>)> {
    let hosts = &source.hosts;
    if hosts.macs.is_empty() {
        return vec![(hosts.addresses.clone(), Vec::new())];
    }
    let mut alternatives = vec![(
        Addresses {
            ranges: Vec::new(),
            except: hosts.addresses.except.clone(),
            sets: Vec::new(),
        },
        hosts.macs.clone(),
    )];
    if !hosts.addresses.ranges.is_empty() {
        alternatives.push((hosts.addresses.clone(), Vec::new()));
    }
    alternatives
}

pub(crate) fn columns(row: &Row) -> TrafficColumns<'_> {
    TrafficColumns {
        protocol: row.get(3),
        destination_port: row.get(4),
        source_port: row.get(5),
    }
}

impl End {
    /// All of a zone.
    pub(crate) fn of(zone: ZoneId, span: Span) -> Self {
        Self {
            zone,
            hosts: address::Hosts::default(),
            span,
        }
    }
}
