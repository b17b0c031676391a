//! The file `blacklist` of Shorewall 4. Each line is read as the line of `blrules` that took its
//! place, which a warning shows.

use crate::columns::{Row, Schema};
use crate::reader::rows;
use crate::report::{Edit, Finding};
use crate::session::Session;
use crate::source::Word;

const BLACKLIST: Schema = Schema {
    columns: &["networks", "proto|protocol", "port", "options"],
    required: 1,
};

/// The lines of `blrules` that say the same.
pub(crate) fn read(session: &mut Session<'_>) -> Vec<Row> {
    let mut lines = Vec::new();
    for row in rows(session, "blacklist", &BLACKLIST) {
        let mut today = Vec::new();
        match row.get(3).map_or("src", Word::text) {
            "src" | "from" => today.push(line(&row, "all:", "")),
            "dst" | "to" => today.push(line(&row, "", "all:")),
            "src,dst" | "dst,src" | "from,to" | "to,from" => {
                today.extend([line(&row, "all:", ""), line(&row, "", "all:")]);
            }
            other => {
                session.error(
                    row.get(3).map_or(row.span, Word::span),
                    format!("the option `{other}` of blacklist is not supported"),
                    "expected src or dst",
                    "write the line into blrules",
                );
                continue;
            }
        }
        let mut finding = Finding::warning("the file blacklist is called blrules today")
            .at(row.span, "an old file")
            .edit(Edit::remove_line(row.span));
        for today in &today {
            finding = finding
                .note(format!("write in blrules: {}", today.text()))
                .edit(Edit::append("blrules", session.written(today)));
        }
        session.report(finding);
        lines.extend(today);
    }
    lines
}

fn line(row: &Row, source: &str, destination: &str) -> Row {
    let made = |text: &str| Word::replacing(row.span, text);
    let end = |prefix: &str| {
        let mut word = made(if prefix.is_empty() { "all" } else { prefix });
        if let (Some(networks), false) = (row.get(0), prefix.is_empty()) {
            word.push(networks);
        }
        word
    };
    let mut columns = vec![made("BLACKLIST"), end(source), end(destination)];
    columns.extend((1..3).filter_map(|column| row.get(column).cloned()));
    Row::made(columns, row.span)
}
