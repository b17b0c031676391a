//! Macros and actions of the user's own, and those of an installed Shorewall: files `macro.Name`
//! and `action.Name`.
//!
//! A macro is text that a rule stands for: the rule's columns override those of the file. An action
//! is a chain that a rule leads to: a packet has to satisfy both. Either way the rules of the file
//! become parts of the rule that uses it.

use std::path::PathBuf;

use firewalldom::policy::{Addresses, Match};

use crate::action::{self, Contradiction, OwnColumns, Part, Target, TrafficColumns};
use crate::address;
use crate::columns::{Row, Schema, words};
use crate::packet_set;
use crate::reader::{Item, read, read_named};
use crate::session::Session;
use crate::source::{FileId, Word};
use crate::standard_actions::STANDARD_ACTIONS;
use crate::world::unexpected_directive;

/// The columns of both kinds of files.
const COLUMNS: Schema = Schema {
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
    required: 1,
};

/// The columns of the file `actions`.
const ACTIONS: Schema = Schema {
    columns: &["action", "options"],
    required: 1,
};

/// Files may use each other this deep.
const MAX_DEPTH: usize = 8;
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
) -> Option<Option<Vec<Part>>> {
    let text = name.text();
    let is_plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if text.is_empty() || !is_plain || action::target(text).is_some() {
        return None;
    }
    let (kind, path) = find(session, text)?;
    if session.nesting >= MAX_DEPTH {
        session.error(
            name.span(),
            "macros and actions use each other too deeply",
            format!("the {}th level", MAX_DEPTH + 1),
            "does one use itself?",
        );
        return Some(None);
    }
    let file = match session.opened(&path) {
        Some(file) => file,
        None => session.open(&path)?,
    };
    session.nesting += 1;
    let parts = expand(session, file, kind, name, parameter);
    session.nesting -= 1;
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
    for item in read_named(session, "actions", &ACTIONS).unwrap_or_default() {
        let Item::Row(row) = item else {
            unexpected_directive(session, &item);
            continue;
        };
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
    let text = session.sources.text(file);
    let mut start = 0u32;
    for line in text.split_inclusive('\n') {
        let mut words = words(&Word::literal(file, line, start)).into_iter();
        start += line.len() as u32;
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

fn expand(
    session: &mut Session<'_>,
    file: FileId,
    kind: Kind,
    name: &Word,
    parameter: Option<&Word>,
) -> Option<Vec<Part>> {
    let arguments: Vec<Word> = match (kind, parameter) {
        (Kind::Action, Some(parameter)) if !parameter.is_empty() => parameter.split(','),
        _ => Vec::new(),
    };
    let before = session.findings.len();
    let arguments = match kind {
        Kind::Action => Some(with_defaults(session, file, arguments)),
        Kind::Macro => None,
    };
    let outer = std::mem::replace(&mut session.arguments, arguments);
    let items = read(session, file, &COLUMNS);
    session.arguments = outer;
    let mut default: Option<Word> = None;
    let mut parts = Vec::new();
    for item in items {
        let Item::Row(row) = item else {
            continue;
        };
        let first = row.get(0)?;
        match first.text() {
            "DEFAULT" => {
                default = row.get(1).cloned();
                continue;
            }
            // Arguments that are not given are filled in when the lines are read.
            "DEFAULTS" => continue,
            _ => {}
        }
        let parameter = parameter.or(default.as_ref());
        if let Some(mut more) = read_row(session, &row, kind, name, parameter) {
            parts.append(&mut more);
        }
        if parts.len() > MAX_PARTS {
            session.error(
                name.span(),
                format!("{} stands for more than {MAX_PARTS} rules", name.text()),
                "too many",
                "",
            );
            return None;
        }
    }
    let failed = session.findings[before..]
        .iter()
        .any(crate::report::Finding::is_error);
    (!failed).then_some(parts)
}

fn read_row(
    session: &mut Session<'_>,
    row: &Row,
    kind: Kind,
    name: &Word,
    parameter: Option<&Word>,
) -> Option<Vec<Part>> {
    for (column, title) in [
        (7, "RATE"),
        (8, "USER"),
        (9, "MARK"),
        (10, "CONNLIMIT"),
        (11, "TIME"),
        (12, "HEADERS"),
        (13, "SWITCH"),
    ] {
        if let Some(word) = row.get(column) {
            session.error(
                word.span(),
                format!("the column {title} is not supported yet"),
                "would narrow the rule",
                "put - here if the rule is right without",
            );
            return None;
        }
    }
    let target = with_parameter(session, row.get(0)?, name, parameter)?;
    let inner = action::parse(session, &target)?;
    let (within, reversed) = ends(session, row, kind)?;
    let columns = TrafficColumns {
        protocol: row.get(3),
        destination_port: row.get(4),
        source_port: row.get(5),
    };
    let mut parts = Vec::new();
    for part in &inner.parts {
        if !matches!(part.target, Target::Decide(_) | Target::Continue(_)) && kind == Kind::Action {
            session.error(
                target.span(),
                format!("`{}` is not supported in an action yet", target.text()),
                "not a verdict",
                "write the rule into the file rules",
            );
            return None;
        }
        let log = inner.log_for(part);
        let combined = match kind {
            Kind::Macro => {
                let own = &part.columns;
                let given = |column: Option<&Word>, own: &Option<Word>| {
                    column.cloned().or_else(|| own.clone())
                };
                Part {
                    columns: OwnColumns {
                        protocol: given(columns.protocol, &own.protocol),
                        destination_port: given(columns.destination_port, &own.destination_port),
                        source_port: given(columns.source_port, &own.source_port),
                    },
                    within: packet_set::both(&part.within, &within)?,
                    reversed: part.reversed != reversed,
                    log,
                    ..part.clone()
                }
            }
            Kind::Action => {
                let Some(matches) = part.matches(session, &target, columns) else {
                    continue;
                };
                let Some(within) = packet_set::both(&matches, &within) else {
                    continue;
                };
                Part {
                    columns: OwnColumns::default(),
                    within,
                    log,
                    contradiction: Contradiction::NoMatch,
                    ..part.clone()
                }
            }
        };
        parts.push(combined);
    }
    Some(parts)
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

/// The columns SOURCE and DEST: hosts without zones, or, in a macro, which way round.
fn ends(session: &mut Session<'_>, row: &Row, kind: Kind) -> Option<(Match, bool)> {
    let mut within = Match::default();
    let mut reversed = false;
    for (column, own, other) in [(1, "SOURCE", "DEST"), (2, "DEST", "SOURCE")] {
        let Some(word) = row.get(column) else {
            continue;
        };
        let is_source = column == 1;
        let mut hosts = word.clone();
        let turned = word.strip_prefix(own).or_else(|| word.strip_prefix(other));
        if let Some(rest) = turned.filter(|_| kind == Kind::Macro) {
            reversed |= word.text().starts_with(other);
            if rest.is_empty() {
                continue;
            }
            hosts = rest.strip_prefix(":").unwrap_or(rest);
        }
        let mut macs = Vec::new();
        let list = plain_hosts(session, &hosts, &mut macs)?;
        if is_source {
            within.source = list;
            within.source_mac = macs;
        } else if macs.is_empty() {
            within.destination = list;
        } else {
            session.error(
                word.span(),
                "a destination cannot be a MAC address",
                "known only for what arrives",
                "",
            );
            return None;
        }
    }
    if let Some(word) = row.get(6) {
        let mut macs = Vec::new();
        within.original_destination = plain_hosts(session, word, &mut macs)?;
    }
    Some((within, reversed))
}

fn plain_hosts(
    session: &mut Session<'_>,
    word: &Word,
    macs: &mut Vec<[u8; 6]>,
) -> Option<Addresses> {
    let list = address::list_without_interfaces(session, word, macs)?;
    if !macs.is_empty() && !list.ranges.is_empty() {
        session.error(
            word.span(),
            "addresses and MAC addresses in one list are not supported here",
            "two kinds",
            "write a line for each",
        );
        return None;
    }
    Some(list)
}
