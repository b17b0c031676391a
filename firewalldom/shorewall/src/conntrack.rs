//! The file `conntrack`: helpers, and what is not tracked.
//!
//! The file that Shorewall installs attaches helpers, each in its own `?if` for what the kernel can
//! do. Helpers let more through, and drop what they cannot read: their lines are warnings, by name, whatever
//! frames them.

use firewalldom::policy::{Match, RawAction, RawRule};

use crate::address::{self, Hosts};
use crate::columns::{Row, Schema, row, words};
use crate::report::Finding;
use crate::session::Session;
use crate::source::Word;
use crate::spread::with_sources;
use crate::traffic::traffic;
use crate::world::World;

const CONNTRACK: Schema = Schema {
    columns: &[
        "action",
        "source",
        "dest",
        "proto",
        "dport|destport",
        "sport|sourceport",
        "user",
        "switch",
    ],
    required: 1,
};

/// Reads the file, if there is one: NOTRACK and DROP of what comes in.
pub(crate) fn read(session: &mut Session<'_>, world: &World) -> Vec<RawRule> {
    let path = session.shorewall_file("conntrack");
    let Some(file) = session.open(&path) else {
        return Vec::new();
    };
    let mut rules = Vec::new();
    let mut format = "1".to_owned();
    let mut conditions = 0usize;
    for line in session.plain_lines(file) {
        let columns = words(&line);
        let Some(first) = columns.first() else {
            continue;
        };
        let directive = first.text().trim_start_matches('?').to_ascii_uppercase();
        let is_directive = first.text().starts_with('?');
        match directive.as_str() {
            "IF" if is_directive => conditions += 1,
            "ENDIF" if is_directive => conditions = conditions.saturating_sub(1),
            "FORMAT" => format = columns.get(1).map_or("1", Word::text).to_owned(),
            "COMMENT" => {}
            _ if is_directive && matches!(directive.as_str(), "ELSE" | "ELSIF") => {}
            _ if first.text().starts_with("CT:helper:") => warn_of_helper(session, first),
            _ => {
                let frame = Frame {
                    format: &format,
                    is_conditional: conditions > 0,
                };
                read_line(session, world, &line, frame, &mut rules);
            }
        }
    }
    rules
}

/// What surrounds a line.
#[derive(Clone, Copy)]
struct Frame<'f> {
    format: &'f str,
    is_conditional: bool,
}

fn warn_of_helper(session: &mut Session<'_>, action: &Word) {
    let helper = action.text().strip_prefix("CT:helper:").unwrap_or_default();
    let helper = helper.split([':', '(']).next().unwrap_or_default();
    session.report(
        Finding::warning(format!("the helper `{helper}` is not supported yet")).at(
            action.span(),
            "connections it would expect are treated as new ones",
        ),
    );
}

fn read_line(
    session: &mut Session<'_>,
    world: &World,
    line: &Word,
    frame: Frame<'_>,
    rules: &mut Vec<RawRule>,
) {
    let expanded = session.expand(line);
    let Some(row) = row(session, &expanded, line.span(), &CONNTRACK) else {
        return;
    };
    let Some(action) = row.get(0) else {
        return;
    };
    let (name, chains) = match action.text().rsplit_once(':') {
        Some((name, chains @ ("P" | "O" | "PO" | "OP"))) => (name, chains),
        _ => (action.text(), "P"),
    };
    let raw = match name {
        "NOTRACK" | "CT:notrack" => Some(RawAction::Untrack),
        "DROP" => Some(RawAction::Drop),
        _ => None,
    };
    let Some(raw) = raw.filter(|_| frame.format == "3" && !frame.is_conditional) else {
        session.error(
            action.span(),
            format!("`{}` in conntrack is not supported yet", action.text()),
            "changes how connections are tracked",
            "understood are CT:helper:…, and, with ?FORMAT 3 and outside of ?IF, NOTRACK and DROP",
        );
        return;
    };
    if chains.contains('O') {
        session.error(
            action.span(),
            "what the firewall itself sends is not looked up in conntrack yet",
            "about its answers as well",
            format!("write: {name}:P"),
        );
        return;
    }
    for column in [6, 7] {
        if let Some(word) = row.get(column) {
            session.error(
                word.span(),
                "this column of conntrack is not supported yet",
                "would narrow the line",
                "put - here",
            );
            return;
        }
    }
    if let Some(matches) = conditions(session, world, &row) {
        let origin = session.origin(row.span);
        for matches in matches {
            for source_zone in world.senders() {
                rules.push(RawRule {
                    source_zone,
                    matches: matches.clone(),
                    action: raw,
                    origin,
                });
            }
        }
    }
}

fn conditions(session: &mut Session<'_>, world: &World, row: &Row) -> Option<Vec<Match>> {
    let source = match row.get(1) {
        None => Hosts::default(),
        Some(word) => address::hosts(session, world, word)?,
    };
    let destination = match row.get(2) {
        None => Hosts::default(),
        Some(word) => address::hosts(session, world, word)?,
    };
    let refused = destination.interfaces.is_some()
        || !destination.macs.is_empty()
        || !destination.except_macs.is_empty()
        || !source.except_macs.is_empty();
    if refused {
        session.error(
            row.span,
            "these hosts are not supported in conntrack",
            "it is asked before the way of a packet is known",
            "name addresses",
        );
        return None;
    }
    let traffic = traffic(session, row.get(3), row.get(4), row.get(5))?;
    let matches = Match {
        destination: destination.addresses,
        protocol: traffic.protocol,
        source_port: traffic.source_port,
        destination_port: traffic.destination_port,
        ..Match::default()
    };
    Some(with_sources(&source, &matches))
}
