//! The part of the shell that `params` and shorewall.conf use: `NAME=value`, quotes, `$NAME`.
//!
//! Shorewall lets a shell run `params`. Here that is done only if the user asks for it; else what
//! is more than an assignment is an error that says so.

use crate::program;
use crate::reader::open_include;
use crate::report::Finding;
use crate::session::{Session, is_name};
use crate::source::{FileId, Piece, Word};

/// `NAME=value`, quotes removed and variables replaced.
pub(crate) struct Assignment {
    pub(crate) name: Word,
    pub(crate) value: Word,
}

/// Reads `params`: every assignment becomes a variable.
pub(crate) fn read_params(session: &mut Session<'_>) {
    let path = session.shorewall_file("params");
    if session.site.runs_programs() {
        if session.open(&path).is_none() {
            return;
        }
        match program::params(session.site.shorewall()) {
            Ok(variables) => session.variables.extend(variables),
            Err(reason) => session.report(Finding::error(format!(
                "the shell did not finish {}: {reason}",
                path.display()
            ))),
        }
        return;
    }
    if let Some(file) = session.open(&path) {
        read_params_file(session, file, 0);
    }
}

fn read_params_file(session: &mut Session<'_>, file: FileId, depth: usize) {
    for line in lines(session, file) {
        let text = line.text().to_owned();
        let first = text.split_whitespace().next().unwrap_or_default();
        let rest = || line.slice(first.len()..text.len()).trim();
        match first {
            "INCLUDE" | "?INCLUDE" => {
                if let Some(included) = open_include(session, &rest(), depth) {
                    read_params_file(session, included, depth + 1);
                }
            }
            "export" => {
                // `export NAME` alone changes nothing: all of `params` is visible here.
                if rest().text().contains('=') {
                    assign(session, &rest());
                }
            }
            _ => assign(session, &line),
        }
    }
}

fn assign(session: &mut Session<'_>, line: &Word) {
    let mut rest = line.clone();
    while !rest.is_empty() {
        let Some((assignment, remaining)) = assignment(session, &rest) else {
            return;
        };
        session
            .variables
            .insert(assignment.name.text(), assignment.value.text());
        // Several on a line, with or without semicolons, are usual.
        rest = remaining.trim();
        rest = rest.strip_prefix(";").unwrap_or(rest).trim();
    }
}

/// Reads shorewall.conf: its assignments in order.
pub(crate) fn read_settings(session: &mut Session<'_>, file: FileId) -> Vec<Assignment> {
    let mut assignments = Vec::new();
    for line in lines(session, file) {
        if line.text().starts_with('?') {
            session.error(
                line.span(),
                "directives are not supported in shorewall.conf",
                "",
                "write NAME=value",
            );
            continue;
        }
        let Some((assignment, rest)) = assignment(session, &line) else {
            continue;
        };
        if !rest.trim().is_empty() {
            session.error(
                rest.trim().span(),
                "text after the value",
                "not part of the value",
                "put a value with blanks into quotes",
            );
            continue;
        }
        // Shorewall's own settings can be used as variables, in every file and further down here.
        let value = match assignment.value.text() {
            "No" | "no" => "",
            value => value,
        };
        session.variables.insert(assignment.name.text(), value);
        assignments.push(assignment);
    }
    assignments
}

/// Lines with continuation lines joined, without comments and empty ones.
fn lines(session: &Session<'_>, file: FileId) -> Vec<Word> {
    let lines = session.sources.lines(file, |joined, line| {
        // A comment runs to the end of its own line and is never continued.
        if joined.is_empty() && line.trim_start().starts_with('#') {
            Piece::NONE
        } else {
            Piece::of(line)
        }
    });
    let trimmed = lines.iter().map(Word::trim);
    trimmed.filter(|line| !line.is_empty()).collect()
}

/// The assignment at the start of a line, and what follows it (comments removed).
fn assignment(session: &mut Session<'_>, line: &Word) -> Option<(Assignment, Word)> {
    let text = line.text();
    let equals = text.find('=').filter(|&at| is_name(&text[..at]));
    let Some(equals) = equals else {
        session.error(
            line.span(),
            "this is not an assignment",
            "only NAME=value is read here; no shell runs it",
            "write what the shell would compute, NAME=value, or let one run the file: --shell",
        );
        return None;
    };
    let name = line.slice(0..equals);
    let mut value = Word::empty(line.file(), line.origin(equals + 1).0);
    let mut at = equals + 1;
    let mut quote = None;
    let mut end = text.len();
    // Pieces that `$` may be replaced in, and pieces (single quotes) that stay as they are.
    let mut open = Word::empty(line.file(), line.origin(at).0);
    let mut opened_at = at;
    while let Some(character) = text[at..].chars().next() {
        let next = at + character.len_utf8();
        match (quote, character) {
            (None, '\'' | '"') => {
                quote = Some(character);
                opened_at = at;
                if character == '\'' {
                    value.push(&session.expand(&open));
                    open = Word::empty(line.file(), line.origin(at).0);
                }
            }
            (Some(mark), _) if character == mark => {
                quote = None;
                if mark == '\'' {
                    value.push(&open);
                    open = Word::empty(line.file(), line.origin(at).0);
                }
            }
            (None, '#') if at == equals + 1 || text[..at].ends_with(char::is_whitespace) => {
                end = text.len();
                break;
            }
            (None, _) if character.is_whitespace() || character == ';' => {
                end = at;
                break;
            }
            (None | Some('"'), '`') => return program(session, &line.slice(at..next)),
            (None | Some('"'), '$') if text[next..].starts_with('(') => {
                return program(session, &line.slice(at..next + 1));
            }
            (None, '&' | '|' | '<' | '>' | '(' | ')') => {
                return program(session, &line.slice(at..next));
            }
            _ => open.push(&line.slice(at..next)),
        }
        at = next;
    }
    if let Some(mark) = quote {
        session.report(
            Finding::error(format!("a quote ({mark}) is not closed"))
                .at(line.slice(opened_at..opened_at + 1).span(), "opened here")
                .note("close it on the same line"),
        );
        return None;
    }
    value.push(&session.expand(&open));
    let rest = line.slice(end..text.len());
    let rest = if rest.trim().text().starts_with('#') {
        Word::empty(line.file(), rest.span().start)
    } else {
        rest
    };
    Some((Assignment { name, value }, rest))
}

fn program<T>(session: &mut Session<'_>, place: &Word) -> Option<T> {
    session.error(
        place.span(),
        "this needs a shell",
        "no program is run",
        "write what it would print, NAME=value, or let a shell run the file: --shell",
    );
    None
}
