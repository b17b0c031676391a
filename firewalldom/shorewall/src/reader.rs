//! From a file's bytes to rows of columns: comments, continuation lines, `?` directives, variables,
//! includes and the alternate `{name=value}` input. The same for every column-oriented file.

use std::path::Path;

use crate::columns::{Row, Schema, row};
use crate::expression;
use crate::program;
use crate::report::{Edit, Finding};
use crate::session::{Session, is_name};
use crate::source::{FileId, Piece, Span, Word};
use crate::suggest::did_you_mean;

/// Includes may be this deep, as in Shorewall.
const MAX_INCLUDE_DEPTH: usize = 4;
/// One line, variables replaced, may be this long.
const MAX_LINE_BYTES: usize = 1 << 20;

/// A line of a file, or a directive that the file's own parser understands.
pub(crate) enum Item {
    /// Columns.
    Row(Row),
    /// `?SECTION NAME`.
    Section(Word),
    /// `?FORMAT N`.
    Format(Word),
}

/// `?IF` levels that are open.
struct Conditional {
    span: Span,
    /// Lines count now.
    active: bool,
    /// One of the branches was taken.
    taken: bool,
    /// `?ELSE` was seen.
    ended: bool,
}

/// Reads a file and what it includes.
pub(crate) fn read(session: &mut Session<'_>, file: FileId, schema: &Schema) -> Vec<Item> {
    let mut items = Vec::new();
    read_into(session, file, schema, 0, &mut items);
    items
}

/// Reads one of Shorewall's files; `None` when there is none.
pub(crate) fn read_named(
    session: &mut Session<'_>,
    name: &str,
    schema: &Schema,
) -> Option<Vec<Item>> {
    let path = session.shorewall_file(name);
    let file = session.open(&path)?;
    Some(read(session, file, schema))
}

/// Reads a file that no site can do without: where there is none, `note` says what it is for.
pub(crate) fn read_required(
    session: &mut Session<'_>,
    name: &str,
    schema: &Schema,
    note: &str,
) -> Option<Vec<Item>> {
    let before = session.findings.len();
    let items = read_named(session, name, schema);
    // One that cannot be read has been reported.
    if items.is_none() && session.findings.len() == before {
        let path = session.shorewall_file(name);
        session.report(Finding::error(format!("there is no file {}", path.display())).note(note));
    }
    items
}

/// The rows of one of Shorewall's files that has neither sections nor formats, if there is one.
pub(crate) fn rows(session: &mut Session<'_>, name: &str, schema: &Schema) -> Vec<Row> {
    let items = read_named(session, name, schema).unwrap_or_default();
    only_rows(session, items)
}

/// The rows among these; sections and formats are refused.
pub(crate) fn only_rows(session: &mut Session<'_>, items: Vec<Item>) -> Vec<Row> {
    let mut rows = Vec::new();
    for item in items {
        match item {
            Item::Row(row) => rows.push(row),
            Item::Section(word) => unexpected_section(session, &word),
            Item::Format(word) => session.error(
                word.span(),
                "this file has no formats",
                "",
                "take the line out",
            ),
        }
    }
    rows
}

/// `?SECTION` in a file that has none.
pub(crate) fn unexpected_section(session: &mut Session<'_>, word: &Word) {
    session.error(
        word.span(),
        "this file has no sections",
        "sections are for rules",
        "take the line out",
    );
}

/// `?FORMAT N`: how the columns of the lines below are laid out. `None`: reported.
pub(crate) fn read_format(session: &mut Session<'_>, word: &Word, known: &[u8]) -> Option<u8> {
    let format = word.text().parse().ok();
    let format = format.filter(|format| known.contains(format));
    if format.is_none() {
        let known: Vec<_> = known.iter().map(u8::to_string).collect();
        session.error(
            word.span(),
            format!("there is no format {} of this file", word.text()),
            format!("expected {}", known.join(" or ")),
            "write: ?FORMAT 2",
        );
    }
    format
}

fn read_into(
    session: &mut Session<'_>,
    file: FileId,
    schema: &Schema,
    depth: usize,
    items: &mut Vec<Item>,
) {
    let mut conditionals: Vec<Conditional> = Vec::new();
    // Between ?BEGIN and ?END stands a program; where its text begins.
    let mut in_program: Option<Word> = None;
    for word in logical_lines(session, file) {
        let word = word.trim();
        if word.is_empty() {
            continue;
        }
        if let Some(begin) = &in_program {
            let ends =
                directive(&word).is_some_and(|(name, _)| name.text().eq_ignore_ascii_case("END"));
            if ends {
                let text = session.sources.text(file);
                let (from, to) = (begin.span().end as usize, word.span().start as usize);
                let script = text.get(from..to).unwrap_or_default().to_owned();
                let active = conditionals.iter().all(|level| level.active);
                if active && runs(session, begin) {
                    run_program(session, begin, &script, schema, items);
                }
                in_program = None;
            }
            continue;
        }
        if let Some((name, argument)) = directive(&word) {
            let verb = name.text().to_ascii_uppercase();
            if conditional(session, &mut conditionals, &verb, &name, &argument) {
                continue;
            }
            if verb == "BEGIN" {
                in_program = Some(word.clone());
            }
            if conditionals.iter().all(|level| level.active) {
                run_directive(session, &verb, &name, &argument, schema, depth, items);
            }
            continue;
        }
        if !conditionals.iter().all(|level| level.active) {
            continue;
        }
        if let Some((verb, name, argument)) = legacy_directive(session, &word) {
            run_directive(session, verb, &name, &argument, schema, depth, items);
            continue;
        }
        let span = word.span();
        let before = session.findings.len();
        let expanded = session.expand(&word);
        if session.findings.len() > before {
            // A column is missing, or its value is: whatever else is found would mislead.
            continue;
        }
        if expanded.text().len() > MAX_LINE_BYTES {
            session.error(span, "this line is too long", "over a mebibyte", "");
            continue;
        }
        if let Some(row) = row(session, &expanded, span, schema) {
            items.push(Item::Row(row));
        }
    }
    for level in conditionals {
        session.error(
            level.span,
            "?IF without ?ENDIF",
            "opened here",
            "end it with a line `?ENDIF`",
        );
    }
}

/// Joins continuation lines and takes comments away.
fn logical_lines(session: &Session<'_>, file: FileId) -> Vec<Word> {
    let lines = session.sources.lines(file, |joined, line| {
        let piece = Piece::of(line);
        if joined.text().len() > MAX_LINE_BYTES {
            piece.last()
        } else if joined.text().ends_with([',', ':']) {
            // Shorewall drops the indentation of what continues a list.
            piece.without_indentation()
        } else {
            piece
        }
    });
    // The comment is cut only now: one that ends in a backslash swallows the next line, too.
    let without_comment = |line: &Word| {
        let end = line.text().find('#').unwrap_or(line.text().len());
        line.slice(0..end)
    };
    lines.iter().map(without_comment).collect()
}

/// `?NAME argument`.
fn directive(word: &Word) -> Option<(Word, Word)> {
    let rest = word.strip_prefix("?")?.trim();
    let end = rest
        .text()
        .find(char::is_whitespace)
        .unwrap_or(rest.text().len());
    Some((
        rest.slice(0..end),
        rest.slice(end..rest.text().len()).trim(),
    ))
}

/// Directives as old configurations spell them, without the question mark.
fn legacy_directive(session: &mut Session<'_>, word: &Word) -> Option<(&'static str, Word, Word)> {
    let end = word
        .text()
        .find(char::is_whitespace)
        .unwrap_or(word.text().len());
    let name = word.slice(0..end);
    let verb = match name.text() {
        "SECTION" => "SECTION",
        "FORMAT" => "FORMAT",
        "COMMENT" => "COMMENT",
        "INCLUDE" => "INCLUDE",
        "SHELL" => "SHELL",
        _ => return None,
    };
    let argument = word.slice(end..word.text().len()).trim();
    session.report(
        Finding::warning(format!("`{verb}` is written `?{verb}` today"))
            .at(name.span(), "old spelling")
            .note(format!("write: ?{verb} {}", argument.text()))
            .edit(Edit::replace(name.span(), format!("?{verb}"))),
    );
    Some((verb, name, argument))
}

/// `?IF` and its relatives. Whether it was one of them.
fn conditional(
    session: &mut Session<'_>,
    levels: &mut Vec<Conditional>,
    verb: &str,
    name: &Word,
    argument: &Word,
) -> bool {
    match verb {
        "IF" => {
            let outer = levels.iter().all(|level| level.active);
            let holds = outer && expression::holds(session, argument);
            levels.push(Conditional {
                span: name.span(),
                active: holds,
                taken: holds || !outer,
                ended: false,
            });
        }
        "ELSIF" | "ELSE" | "ENDIF" => {
            let Some(level) = levels.last_mut() else {
                session.error(
                    name.span(),
                    format!("?{verb} without ?IF"),
                    "no ?IF is open here",
                    "",
                );
                return true;
            };
            match verb {
                "ENDIF" => {
                    levels.pop();
                }
                _ if level.ended => session.error(
                    name.span(),
                    format!("?{verb} after ?ELSE"),
                    "this ?IF has had its ?ELSE",
                    "",
                ),
                "ELSE" => {
                    level.active = !level.taken;
                    level.taken = true;
                    level.ended = true;
                }
                _ if level.taken => level.active = false,
                _ => {
                    let holds = expression::holds(session, argument);
                    if let Some(level) = levels.last_mut() {
                        level.active = holds;
                        level.taken = holds;
                    }
                }
            }
        }
        _ => return false,
    }
    true
}

fn run_directive(
    session: &mut Session<'_>,
    verb: &str,
    name: &Word,
    argument: &Word,
    schema: &Schema,
    depth: usize,
    items: &mut Vec<Item>,
) {
    match verb {
        // Shorewall shows comments in listings; they never reach a packet.
        "COMMENT" => {}
        "SECTION" => items.push(Item::Section(session.expand(argument))),
        "FORMAT" => items.push(Item::Format(session.expand(argument))),
        "INCLUDE" => include(session, argument, schema, depth, items),
        "SET" => set(session, argument),
        "RESET" => {
            session.variables.remove(argument.text());
        }
        "INFO" => {}
        "WARNING" => {
            let text = session.expand(argument);
            session.report(
                Finding::warning(text.text().to_owned()).at(name.span(), "says the file itself"),
            );
        }
        "ERROR" => {
            let text = session.expand(argument);
            session.report(
                Finding::error(text.text().to_owned()).at(name.span(), "says the file itself"),
            );
        }
        "SHELL" if session.site.runs_programs() => {
            run_program(session, argument, argument.text(), schema, items);
        }
        "BEGIN" if runs(session, argument) => {}
        "SHELL" | "BEGIN" if !argument.text().to_ascii_uppercase().starts_with("PERL") => session
            .error(
                name.span(),
                format!("?{verb} needs a shell"),
                "no program is run",
                "write the lines it would print, or let a shell run it: --shell",
            ),
        "PERL" | "BEGIN" | "END" => session.error(
            name.span(),
            format!("?{verb} is not supported: programs are not run"),
            "an embedded program",
            "write the lines it would print",
        ),
        "REQUIRE" | "AUTOHELPERS" => session.error(
            name.span(),
            format!("?{verb} is not supported yet"),
            "",
            "take the line out",
        ),
        _ => {
            let known = [
                "IF", "ELSIF", "ELSE", "ENDIF", "SECTION", "FORMAT", "COMMENT", "INCLUDE", "SET",
                "RESET", "INFO", "WARNING", "ERROR",
            ];
            session.report(
                Finding::error(format!("unknown directive ?{}", name.text()))
                    .at(name.span(), "not one of Shorewall's")
                    .maybe_note(did_you_mean(verb, known)),
            );
        }
    }
}

/// Whether what stands behind ?BEGIN is for a shell that may run.
fn runs(session: &Session<'_>, begin: &Word) -> bool {
    let last = begin
        .text()
        .split_whitespace()
        .next_back()
        .unwrap_or_default();
    session.site.runs_programs() && last.eq_ignore_ascii_case("SHELL")
}

/// Lets a shell run a program; what it prints are lines of the file.
fn run_program(
    session: &mut Session<'_>,
    place: &Word,
    script: &str,
    schema: &Schema,
    items: &mut Vec<Item>,
) {
    let folder = session.site.shorewall().to_path_buf();
    match program::run(&folder, script, session.variables.iter()) {
        Ok(output) => {
            for line in output.lines() {
                let end = line.find('#').unwrap_or(line.len());
                let word = Word::replacing(place.span(), line[..end].trim());
                let word = session.expand(&word);
                if word.is_empty() {
                    continue;
                }
                if let Some(row) = row(session, &word, place.span(), schema) {
                    items.push(Item::Row(row));
                }
            }
        }
        Err(reason) => session.error(
            place.span(),
            format!("the shell did not finish this program: {reason}"),
            "run here",
            "",
        ),
    }
}

fn include(
    session: &mut Session<'_>,
    argument: &Word,
    schema: &Schema,
    depth: usize,
    items: &mut Vec<Item>,
) {
    if let Some(file) = open_include(session, argument, depth) {
        read_into(session, file, schema, depth + 1, items);
    }
}

/// Opens a file that another one names; a name without a folder lies in the Shorewall folder.
pub(crate) fn open_include(
    session: &mut Session<'_>,
    argument: &Word,
    depth: usize,
) -> Option<FileId> {
    let name = session.expand(argument);
    if name.is_empty() {
        session.error(argument.span(), "INCLUDE needs the name of a file", "", "");
        return None;
    }
    if depth >= MAX_INCLUDE_DEPTH {
        session.error(
            name.span(),
            "files include each other too deeply",
            format!("the {}th level", MAX_INCLUDE_DEPTH + 1),
            "does a file include itself?",
        );
        return None;
    }
    let path = session.site.shorewall().join(Path::new(name.text()));
    let before = session.findings.len();
    let file = session.open(&path);
    if file.is_none() && session.findings.len() == before {
        session.error(
            name.span(),
            format!("there is no file {}", path.display()),
            "included here",
            "",
        );
    }
    file
}

/// `?SET name value`.
fn set(session: &mut Session<'_>, argument: &Word) {
    let end = argument
        .text()
        .find(char::is_whitespace)
        .unwrap_or(argument.text().len());
    let name = argument.slice(0..end);
    let bare = name.text().trim_start_matches('$').to_owned();
    if !is_name(&bare) {
        session.error(
            name.span(),
            "?SET needs the name of a variable",
            "not a name",
            "write: ?SET NAME value",
        );
        return;
    }
    let rest = argument.slice(end..argument.text().len()).trim();
    if let Some(value) = expression::value(session, &rest) {
        session.variables.insert(bare, value);
    }
}
