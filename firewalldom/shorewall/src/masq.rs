//! The file `masq`: source NAT as Shorewall 4 wrote it. Each line is read as the line of `snat` that
//! took its place, which a warning shows.

use crate::columns::{Row, Schema};
use crate::reader::rows;
use crate::report::{Edit, Finding};
use crate::session::Session;
use crate::snat::{self, SourceRules};
use crate::source::Word;
use crate::world::World;

const MASQ: Schema = Schema {
    columns: &[
        "interface",
        "source",
        "address",
        "proto",
        "port|dport",
        "ipsec",
        "mark",
        "user",
        "switch",
        "origdest",
        "probability",
    ],
    required: 1,
};

/// Reads the file, if there is one, after `snat`.
pub(crate) fn read(session: &mut Session<'_>, world: &World, rules: &mut SourceRules) {
    let snat_has_rules = !(rules.ahead.is_empty() && rules.rest.is_empty());
    for row in rows(session, "masq", &MASQ) {
        if snat_has_rules {
            session.error(
                row.span,
                "both snat and masq have lines",
                "which of them are meant?",
                "move the lines of masq to snat",
            );
            return;
        }
        let Some(today) = today(&row) else {
            continue;
        };
        session.report(
            Finding::warning("the file masq is called snat today, and its lines differ")
                .at(row.span, "an old file")
                .note(format!("write in snat: {}", today.text()))
                .edit(Edit::remove_line(row.span))
                .edit(Edit::append("snat", session.written(&today))),
        );
        snat::read_row(session, world, &today, 1, rules);
    }
}

/// The line of `snat` that says the same.
pub(crate) fn today(row: &Row) -> Option<Row> {
    let interface = row.get(0)?;
    let (interface, plus) = match interface.strip_prefix("+") {
        Some(plain) => (plain, "+"),
        None => (interface.clone(), ""),
    };
    let place = row.get(2).map_or(interface.span(), Word::span);
    let action = match row.get(2).map(Word::text) {
        None => format!("MASQUERADE{plus}"),
        Some("NONAT") => format!("CONTINUE{plus}"),
        Some(address) => match address.strip_prefix(':') {
            Some(ports) => format!("MASQUERADE{plus}({ports})"),
            None => format!("SNAT{plus}({address})"),
        },
    };
    let dash = || Word::replacing(row.span, "-");
    let mut columns = vec![
        Word::replacing(place, &action),
        row.raw(1).cloned().unwrap_or_else(dash),
        without_alias(&interface),
    ];
    columns.extend((3..11).map(|column| row.raw(column).cloned().unwrap_or_else(dash)));
    while columns.last().is_some_and(|last| last.text() == "-") && columns.len() > 3 {
        columns.pop();
    }
    Some(Row::made(columns, row.span))
}

/// `eth0:1:10.9.0.0/16`: the number of an alias says nothing about packets.
fn without_alias(interface: &Word) -> Word {
    let Some((name, rest)) = interface.split_once(':') else {
        return interface.clone();
    };
    let (alias, destination) = match rest.split_once(':') {
        Some((alias, destination)) => (alias, Some(destination)),
        None => (rest.clone(), None),
    };
    if !alias.text().chars().all(|c| c.is_ascii_digit()) {
        return interface.clone();
    }
    match destination.filter(|destination| !destination.is_empty()) {
        None => name,
        Some(destination) => {
            let mut joined = name;
            joined.push(&Word::before(destination.span(), ":"));
            joined.push(&destination);
            joined
        }
    }
}
