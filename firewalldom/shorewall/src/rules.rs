//! The files `blrules` and `rules`: their lines, in order.

use std::collections::BTreeMap;

use firewalldom::policy::{
    self, Addresses, DestinationNat, Disposition, Exception, Match, Rule, Settings, States,
};

use crate::action::{self, Action, Part, TrafficColumns};
use crate::address;
use crate::blacklist;
use crate::chains::{Chains, Stage};
use crate::columns::{Row, Schema};
use crate::ends::{Ends, zones};
use crate::ipset;
use crate::limits::{self, LimitColumns};
use crate::made::{NOWHERE, of_states};
use crate::optimized;
use crate::reader::{Item, read_named, rows};
use crate::report::Finding;
use crate::session::Session;
use crate::source::{Span, Word};
use crate::state_actions::Place;
use crate::suggest::did_you_mean;
use crate::target::Target;
use crate::unreachable;
use crate::world::World;

/// The columns of rules, in `rules` and wherever else rules are written.
pub(crate) const COLUMNS: &[&str] = &[
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
];

const RULES: Schema = Schema {
    columns: COLUMNS,
    required: 2,
};

const ORIGINAL_DESTINATION: usize = 6;
const RATE: usize = 7;
const CONNLIMIT: usize = 10;
const TIME: usize = 11;
const HELPER: usize = 14;

/// The sections, in the order that the file must have.
const SECTIONS: [&str; 6] = [
    "ALL",
    "ESTABLISHED",
    "RELATED",
    "INVALID",
    "UNTRACKED",
    "NEW",
];

/// The states that they are about.
const STATES: [States; 6] = [
    States::ALL,
    States::ESTABLISHED,
    States::RELATED,
    States::INVALID,
    States::UNTRACKED,
    States::NEW,
];

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
    pub(crate) chains: &'w mut Chains,
    undecided: Undecided,
    section: usize,
    /// Sections that have begun; they come in order, and once.
    begun: usize,
    /// The section of the last line.
    last_section: Option<usize>,
    /// Rules made so far.
    pub(crate) total: usize,
    /// While `blrules` is read.
    pub(crate) blacklist: Option<Blacklist>,
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
    pub(crate) limits: LimitColumns,
}

impl<'w> Rules<'w> {
    /// Reads `blrules` and `rules`, if there are such files, into the chains.
    pub(crate) fn read(
        session: &mut Session<'_>,
        world: &'w World,
        chains: &'w mut Chains,
        settings: &Settings,
        undecided: Undecided,
        listed: Blacklist,
    ) -> Vec<DestinationNat> {
        let mut rules = Self {
            world,
            chains,
            undecided,
            section: SECTIONS.len() - 1,
            begun: 0,
            last_section: None,
            total: 0,
            blacklist: Some(listed),
            nat: Vec::new(),
            lines: BTreeMap::new(),
        };
        session.asking.place = Place::Blacklist;
        for row in rows(session, "blrules", &RULES) {
            rules.read_row(session, &row);
        }
        for row in blacklist::read(session) {
            rules.read_row(session, &row);
        }
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
                Item::Row(row) => {
                    rules.settle_states(settings);
                    session.asking.place = match rules.stage() {
                        Stage::New => Place::New,
                        Stage::Blacklist | Stage::Sections => Place::Earlier,
                    };
                    rules.read_row(session, &row);
                }
            }
        }
        rules.leave_unsettled();
        rules.chains.settle_default_actions(&session.asking);
        if !session.has_errors() {
            unreachable::warn(session, rules.chains, &rules.nat, &rules.lines);
            optimized::warn(session, rules.chains, &rules.lines);
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

    /// Before the first line of a section: Shorewall decides about the states that the file passed
    /// over since the last one. Where a pair of zones has rules in that one, it forgets what
    /// shorewall.conf says of them: what is RELATED is accepted, the others go on to the section NEW.
    fn settle_states(&mut self, settings: &Settings) {
        let last = self.last_section.replace(self.section);
        let Some(last @ 1..=4) = last.filter(|last| last + 1 < self.section) else {
            return;
        };
        let said = |state| match state {
            States::RELATED => settings.related.as_ref(),
            States::INVALID => settings.invalid.as_ref(),
            _ => settings.untracked.as_ref(),
        };
        for &state in &STATES[last + 1..self.section] {
            let exception = said(state);
            let accepts = exception.is_some_and(|said| said.disposition == Disposition::Accept);
            let is_accepted = state == States::RELATED || accepts;
            // That nothing is forgotten need not be said.
            if is_accepted != accepts || (!is_accepted && exception.is_some()) {
                self.chains
                    .forget_exception(STATES[last], state, is_accepted);
            }
        }
    }

    /// After the last line: where it is ahead of the section NEW, Shorewall has not come to decide about
    /// the states of the sections from there on.
    fn leave_unsettled(&mut self) {
        let settled = self.last_section.unwrap_or(0).max(1);
        let left = STATES[settled..STATES.len() - 1].iter();
        let left = left.fold(States(0), |all, &state| all.union(state));
        if self.last_section.is_none_or(|last| last < STATES.len() - 1) {
            self.chains.leave_unsettled(left);
        }
    }

    /// The states that the section is about.
    pub(crate) fn section_states(&self) -> States {
        if let Some(blacklist) = &self.blacklist {
            return blacklist.states;
        }
        match STATES[self.section] {
            States::NEW => States::NEW.union(self.undecided.0),
            states => states,
        }
    }

    /// Where the rules of the section belong.
    pub(crate) fn stage(&self) -> Stage {
        match (&self.blacklist, SECTIONS[self.section]) {
            (Some(_), _) => Stage::Blacklist,
            (None, "NEW") => Stage::New,
            (None, _) => Stage::Sections,
        }
    }

    fn read_row(&mut self, session: &mut Session<'_>, row: &Row) {
        // Rules before any section belong to NEW, after which no other section can begin.
        if self.begun == 0 {
            self.begun = SECTIONS.len();
        }
        refuse_columns(session, row);
        warn_of_helper(session, row);
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
        let wrong_way = ipset::refuse_direction(session, source_word, "[dst")
            || row
                .get(2)
                .is_some_and(|word| ipset::refuse_direction(session, word, "[src"));
        let action = action::parse(session, action_word);
        let action_names_server = action.as_ref().map(Action::translates);
        let sources = zones(session, self.world, source_word);
        let limits = limits::read(session, row.get(RATE), row.get(CONNLIMIT), row.get(TIME));
        let original = match row.get(ORIGINAL_DESTINATION) {
            None => Some(Addresses::default()),
            Some(word) => address::plain_list(session, Some(self.world), word),
        };
        let (Some(action), Some(sources), Some(original_destination), Some(limits), false) =
            (action, sources, original, limits, wrong_way)
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
            limits,
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
        let refuses = |part: &Part| part.target.refuses();
        if let Some(rate) = line.row.get(RATE)
            && line.action.parts.iter().any(refuses)
        {
            session.error(
                rate.span(),
                "a rate is for what is let through",
                "this rule refuses",
                "give the rate to an ACCEPT rule above, and let this one refuse the rest",
            );
            return;
        }
        let returns = |part: &Part| part.target == Target::Return;
        if matches!(self.section, 1..=4)
            && self.blacklist.is_none()
            && line.action.parts.iter().any(returns)
        {
            // There it leaves the rules of the state alone, not those of the pair of zones.
            session.error(
                line.action_word.span(),
                format!(
                    "CONTINUE in the section {} is not supported yet",
                    SECTIONS[self.section]
                ),
                "only in ALL and NEW",
                "write what is to become of these packets: ACCEPT, DROP or REJECT",
            );
            return;
        }
        let mut used = false;
        for part in &line.action.parts {
            let part = &self.listed(session, part);
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
                Target::Decide(_)
                | Target::Reject(_)
                | Target::Continue(_)
                | Target::Return
                | Target::Call(_) => self.filter(session, line, part),
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
    fn listed(&self, session: &mut Session<'_>, part: &Part) -> Part {
        let mut part = part.clone();
        let Some(Blacklist { exception, .. }) = &self.blacklist else {
            return part;
        };
        match part.target {
            Target::Decide(Disposition::Accept) => part.target = Target::Return,
            Target::Blacklist => {
                part.target = Target::Decide(exception.disposition);
                if exception.log.is_some() {
                    part.target = Target::Call(blacklog(session, exception));
                }
            }
            _ => {}
        }
        part
    }
}

/// The list by whose name listed packets are logged: one for all lines.
fn blacklog(session: &mut Session<'_>, exception: &Exception) -> u16 {
    let decide = policy::Action::Decide(exception.disposition);
    let rule = Rule {
        log: exception.log.clone(),
        ..of_states(States::ALL, decide, NOWHERE)
    };
    session.tables.rule_list(Some("blacklog"), vec![rule])
}

/// Columns that no policy can say yet. What is in them is reported.
pub(crate) fn refuse_columns(session: &mut Session<'_>, row: &Row) -> bool {
    let mut refused = false;
    for (column, name) in [(8, "USER"), (9, "MARK"), (12, "HEADERS"), (13, "SWITCH")] {
        if let Some(word) = row.get(column) {
            refused = true;
            session.error(
                word.span(),
                format!("the column {name} is not supported yet"),
                "would narrow the rule",
                "put - here if the rule is right without",
            );
        }
    }
    refused
}

/// The column HELPER only lets more through: what a connection of this kind would expect.
fn warn_of_helper(session: &mut Session<'_>, row: &Row) {
    if let Some(word) = row.get(HELPER) {
        session.report(
            Finding::warning(format!("the helper `{}` is not supported yet", word.text())).at(
                word.span(),
                "connections it would expect are treated as new ones",
            ),
        );
    }
}

pub(crate) fn columns(row: &Row) -> TrafficColumns<'_> {
    TrafficColumns {
        protocol: row.get(3),
        destination_port: row.get(4),
        source_port: row.get(5),
    }
}
