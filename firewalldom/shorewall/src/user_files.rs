//! Macros and actions of the user's own, and those of an installed Shorewall: files `macro.Name`
//! and `action.Name`.
//!
//! A macro is text that a rule stands for: the rule's columns override those of the file. An action
//! is a chain that a rule leads to: the rules of its file become a list that the rule calls.

use std::path::PathBuf;

use firewalldom::policy::{Limits, Log, Match, Rule};

use crate::action::{self, Action, OwnColumns, Part, TrafficColumns};
use crate::address::{self, Hosts};
use crate::columns::{Row, Schema, words};
use crate::limits;
use crate::packet_set;
use crate::reader::{Item, read, rows};
use crate::rules;
use crate::session::Session;
use crate::source::{FileId, Word};
use crate::standard_actions::STANDARD_ACTIONS;
use crate::state_actions;
use crate::target::{self, Target};

/// The columns of both kinds of files.
const COLUMNS: Schema = Schema {
    columns: rules::COLUMNS,
    required: 1,
};

/// The columns of the file `actions`.
const ACTIONS: Schema = Schema {
    columns: &["action", "options"],
    required: 1,
};

/// A rule may become this many.
const MAX_PARTS: usize = 1000;

/// How a file's rules and the rule that uses them go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The rule's columns take the place of the file's.
    Macro,
    /// A packet must satisfy both.
    Action,
}

/// The parts of a macro or action that has a file. `None`: it has none; `Some(None)`: reported.
pub(crate) fn parts(
    session: &mut Session<'_>,
    name: &Word,
    parameter: Option<&Word>,
    log: Option<&Log>,
) -> Option<Option<Vec<Part>>> {
    let text = name.text();
    let is_plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if text.is_empty() || !is_plain || target::target(text).is_some() {
        return None;
    }
    let (kind, path) = find(session, text)?;
    let file = match session.opened(&path) {
        Some(file) => file,
        None => session.open(&path)?,
    };
    let whole = match parameter {
        Some(parameter) => format!("{text}({})", parameter.text()),
        None => text.to_owned(),
    };
    if session.unusable.contains(&whole) {
        return Some(None);
    }
    // With other parameters it may come to an end.
    if session.within.contains(&whole) {
        session.error(
            name.span(),
            format!("`{text}` uses itself"),
            "within itself",
            "a macro or an action cannot, not even by way of others",
        );
        return Some(None);
    }
    session.within.push(whole);
    let parts = match kind {
        Kind::Macro => macro_parts(session, file, name, parameter),
        Kind::Action => {
            let key = format!("{text}({}):{log:?}", parameter.map_or("", Word::text));
            let list = state_actions::in_chain(session, (name, &key), |session| {
                action_list(session, file, name, parameter, log, &key)
            });
            list.map(|list| vec![Part::new(Target::Call(list))])
        }
    };
    if let (Some(whole), true) = (session.within.pop(), parts.is_none()) {
        session.unusable.insert(whole);
    }
    Some(parts)
}

/// Where a name's file is: the site's own comes before that of an installed Shorewall.
fn find(session: &Session<'_>, name: &str) -> Option<(Kind, PathBuf)> {
    let own = session.site.shorewall().to_path_buf();
    let action = if session.inline_actions.contains(name) {
        Kind::Macro
    } else {
        Kind::Action
    };
    let exists = |path: &PathBuf| session.site.read(path).is_ok_and(|bytes| bytes.is_some());
    let candidates = |folder: PathBuf| {
        [
            (action, folder.join(format!("action.{name}"))),
            (Kind::Macro, folder.join(format!("macro.{name}"))),
        ]
    };
    let mut found = candidates(own).into_iter().find(|(_, path)| exists(path));
    // The installed actions are the standard ones, which are known here.
    if found.is_none()
        && !STANDARD_ACTIONS.contains(&name)
        && let Some(share) = session.site.share()
    {
        found = Some((Kind::Macro, share.join(format!("macro.{name}"))))
            .filter(|(_, path)| exists(path));
    }
    found
}

/// Reads the file `actions`, if there is one: which names are actions, and how they are used.
pub(crate) fn read_actions(session: &mut Session<'_>) {
    for row in rows(session, "actions", &ACTIONS) {
        let Some(name) = row.get(0) else {
            continue;
        };
        for option in row
            .get(1)
            .map(|options| options.split(','))
            .unwrap_or_default()
        {
            match option.text() {
                "inline" => {
                    session.inline_actions.insert(name.text().to_owned());
                }
                "noinline" | "audit" | "logjump" | "terminating" | "nolog" => {}
                other => session.error(
                    option.span(),
                    format!("the option `{other}` of an action is not supported yet"),
                    "only inline and noinline are understood",
                    "",
                ),
            }
        }
        let path = session.shorewall_file(&format!("action.{}", name.text()));
        if !session.site.read(&path).is_ok_and(|bytes| bytes.is_some()) {
            session.error(
                name.span(),
                format!("there is no file {}", path.display()),
                "its rules are unknown",
                "write them there, or take the line out",
            );
        }
    }
}

/// `DEFAULTS a,b`: what stands for arguments that are not given.
fn with_defaults(session: &Session<'_>, file: FileId, mut arguments: Vec<Word>) -> Vec<Word> {
    for line in session.plain_lines(file) {
        let mut words = words(&line).into_iter();
        if words.next().is_none_or(|first| first.text() != "DEFAULTS") {
            continue;
        }
        let defaults = words.next().map(|list| list.split(',')).unwrap_or_default();
        for (index, default) in defaults.into_iter().enumerate() {
            match arguments.get_mut(index) {
                Some(given) if given.is_empty() || given.text() == "-" => *given = default,
                Some(_) => {}
                None => arguments.push(default),
            }
        }
    }
    arguments
}

/// The lines of a file, with arguments filled in, and the action that a line `DEFAULT` names.
fn lines(
    session: &mut Session<'_>,
    file: FileId,
    arguments: Option<Vec<Word>>,
) -> (Vec<Row>, Option<Word>) {
    let outer = std::mem::replace(&mut session.arguments, arguments);
    let items = read(session, file, &COLUMNS);
    session.arguments = outer;
    let mut default = None;
    let mut rows = Vec::new();
    for item in items {
        let Item::Row(row) = item else {
            continue;
        };
        match row.get(0).map(Word::text) {
            Some("DEFAULT") => default = row.get(1).cloned(),
            // Arguments that are not given are filled in when the lines are read.
            None | Some("DEFAULTS") => {}
            Some(_) => rows.push(row),
        }
    }
    (rows, default)
}

/// What a macro stands for: the columns of the rule that uses it take the place of the file's.
fn macro_parts(
    session: &mut Session<'_>,
    file: FileId,
    name: &Word,
    parameter: Option<&Word>,
) -> Option<Vec<Part>> {
    let arguments = session
        .inline_actions
        .contains(name.text())
        .then(|| arguments(session, file, parameter));
    let before = session.findings.len();
    let (rows, default) = lines(session, file, arguments);
    let parameter = parameter.or(default.as_ref());
    let mut parts = Vec::new();
    for row in &rows {
        if let Some(more) = macro_row(session, row, name, parameter) {
            parts.extend(more);
        }
        if parts.len() > MAX_PARTS {
            too_many(session, name);
            return None;
        }
    }
    (!failed_since(session, before)).then_some(parts)
}

fn too_many(session: &mut Session<'_>, name: &Word) {
    session.error(
        name.span(),
        format!("{} stands for more than {MAX_PARTS} rules", name.text()),
        "too many",
        "",
    );
}

fn failed_since(session: &Session<'_>, before: usize) -> bool {
    session.findings[before..]
        .iter()
        .any(crate::report::Finding::is_error)
}

/// What a rule gives an action in parentheses.
fn arguments(session: &Session<'_>, file: FileId, parameter: Option<&Word>) -> Vec<Word> {
    let given = parameter.map(|list| list.split(',')).unwrap_or_default();
    with_defaults(session, file, given)
}

fn macro_row(
    session: &mut Session<'_>,
    row: &Row,
    name: &Word,
    parameter: Option<&Word>,
) -> Option<Vec<Part>> {
    if rules::refuse_columns(session, row) {
        return None;
    }
    for column in [7, 10, 11] {
        if let Some(word) = row.get(column) {
            session.error(
                word.span(),
                "a limit in a macro is not supported yet",
                "would narrow the rule",
                "give it to the rule that uses the macro",
            );
            return None;
        }
    }
    let target = with_parameter(session, row.get(0)?, name, parameter)?;
    let inner = action::parse(session, &target)?;
    let (within, reversed) = macro_ends(session, row)?;
    let mut parts = Vec::new();
    for part in &inner.parts {
        let own = &part.columns;
        let given =
            |column: Option<&Word>, own: &Option<Word>| column.cloned().or_else(|| own.clone());
        parts.push(Part {
            columns: OwnColumns {
                protocol: given(row.get(3), &own.protocol),
                destination_port: given(row.get(4), &own.destination_port),
                source_port: given(row.get(5), &own.source_port),
            },
            within: packet_set::both(&part.within, &within)?,
            reversed: part.reversed != reversed,
            log: inner.log_for(part),
            ..part.clone()
        });
    }
    Some(parts)
}

/// The list of an action's rules, made once for each set of arguments.
fn action_list(
    session: &mut Session<'_>,
    file: FileId,
    name: &Word,
    parameter: Option<&Word>,
    log: Option<&Log>,
    key: &str,
) -> Option<u16> {
    if let Some(list) = session.tables.named_list(key) {
        return Some(list);
    }
    let before = session.findings.len();
    let arguments = arguments(session, file, parameter);
    let (rows, _) = lines(session, file, Some(arguments));
    let mut list = Vec::new();
    for row in &rows {
        if let Some(more) = action_row(session, row, log) {
            list.extend(more);
        }
        if list.len() > MAX_PARTS {
            too_many(session, name);
            return None;
        }
    }
    if failed_since(session, before) {
        return None;
    }
    let list = session.tables.rule_list(Some(name.text()), list);
    session.tables.name_list(key.to_owned(), list);
    Some(list)
}

/// The rules of a line of an action. They log as the rule that uses it, unless they say otherwise.
fn action_row(session: &mut Session<'_>, row: &Row, log: Option<&Log>) -> Option<Vec<Rule>> {
    if rules::refuse_columns(session, row) {
        return None;
    }
    let limits = limits::read(session, row.get(7), row.get(10), row.get(11))?;
    let word = row.get(0)?;
    let inner = action::parse(session, word)?;
    let inner = Action {
        log: inner.log.or_else(|| log.cloned()),
        ..inner
    };
    let columns = TrafficColumns {
        protocol: row.get(3),
        destination_port: row.get(4),
        source_port: row.get(5),
    };
    let mut list = Vec::new();
    for part in &inner.parts {
        let Some(_) = part
            .target
            .rule_action()
            .filter(|_| !part.target.translates())
        else {
            session.error(
                word.span(),
                format!("`{}` is not supported in an action yet", word.text()),
                "not a verdict",
                "write the rule into the file rules",
            );
            return None;
        };
        let ends = action_ends(session, row, part.reversed)?;
        let Some(matches) = part.matches(session, word, columns) else {
            continue;
        };
        for ends in ends {
            let Some(matches) = packet_set::both(&matches, &ends) else {
                continue;
            };
            if let Some(rule) = part.rule(session, word, matches, inner.log_for(part)) {
                list.push(Rule {
                    limits: Limits {
                        recent: rule.limits.recent,
                        ..limits.place(session)
                    },
                    ..rule
                });
            }
        }
    }
    Some(list)
}

/// `PARAM` is what the rule gives in parentheses.
fn with_parameter(
    session: &mut Session<'_>,
    target: &Word,
    name: &Word,
    parameter: Option<&Word>,
) -> Option<Word> {
    let text = target.text();
    let Some(at) = text.find("PARAM") else {
        return Some(target.clone());
    };
    let Some(parameter) = parameter.filter(|parameter| !parameter.is_empty()) else {
        session.error(
            name.span(),
            format!("what about {}?", name.text()),
            "a macro, but no target",
            format!("write: {}(ACCEPT)", name.text()),
        );
        return None;
    };
    let mut whole = target.slice(0..at);
    whole.push(&Word::replacing(
        target.slice(at..at + 5).span(),
        parameter.text(),
    ));
    whole.push(&target.slice(at + 5..text.len()));
    Some(whole)
}

/// The columns SOURCE and DEST of a macro: hosts without zones, or which way round.
fn macro_ends(session: &mut Session<'_>, row: &Row) -> Option<(Match, bool)> {
    let mut within = Match::default();
    let mut reversed = false;
    for (column, own, other) in [(1, "SOURCE", "DEST"), (2, "DEST", "SOURCE")] {
        let Some(word) = row.get(column) else {
            continue;
        };
        let mut hosts = word.clone();
        if let Some(rest) = word.strip_prefix(own).or_else(|| word.strip_prefix(other)) {
            reversed |= word.text().starts_with(other);
            if rest.is_empty() {
                continue;
            }
            hosts = rest.strip_prefix(":").unwrap_or(rest);
        }
        let hosts = address::hosts_alone(session, &hosts)?;
        let mixed = !hosts.macs.is_empty() && !hosts.addresses.ranges.is_empty();
        if mixed || !hosts.except_macs.is_empty() || (column == 2 && !hosts.macs.is_empty()) {
            session.error(
                word.span(),
                "these hosts are not supported in a macro",
                "addresses, or MAC addresses of sources",
                "write a line for each",
            );
            return None;
        }
        if column == 1 {
            within.source = hosts.addresses;
            within.source_mac = hosts.macs;
        } else {
            within.destination = hosts.addresses;
        }
    }
    if let Some(word) = row.get(6) {
        within.original_destination = address::plain_list(session, None, word)?;
    }
    Some((within, reversed))
}

/// The columns SOURCE, DEST and ORIGDEST of an action: one condition, or two where addresses and MAC
/// addresses are alternatives.
fn action_ends(session: &mut Session<'_>, row: &Row, reversed: bool) -> Option<Vec<Match>> {
    let mut hosts = [Hosts::default(), Hosts::default()];
    for (column, side) in [(1, 0), (2, 1)] {
        if let Some(word) = row.get(column) {
            let side = if reversed { 1 - side } else { side };
            hosts[side] = address::hosts_alone(session, word)?;
            let macs = !hosts[side].macs.is_empty();
            if (side == 1 && macs) || !hosts[side].except_macs.is_empty() {
                session.error(
                    word.span(),
                    "these hosts are not supported in an action",
                    "addresses, or MAC addresses of sources",
                    "",
                );
                return None;
            }
        }
    }
    let original_destination = match row.get(6) {
        None => firewalldom::policy::Addresses::default(),
        Some(word) => address::plain_list(session, None, word)?,
    };
    let [source, destination] = hosts;
    let base = Match {
        destination: destination.addresses,
        original_destination,
        ..Match::default()
    };
    let mut ends = Vec::new();
    if !source.macs.is_empty() {
        ends.push(Match {
            source_mac: source.macs.clone(),
            ..base.clone()
        });
    }
    if source.macs.is_empty() || !source.addresses.ranges.is_empty() {
        ends.push(Match {
            source: source.addresses,
            ..base
        });
    }
    Some(ends)
}
