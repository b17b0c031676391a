//! From a line to its columns: between blanks, or as `{name=value}`.

use crate::report::Finding;
use crate::session::Session;
use crate::source::{Span, Word};
use crate::suggest::did_you_mean;

/// The columns of a file.
pub(crate) struct Schema {
    /// Names, lower case, as the alternate input spells them. `a|b`: both are understood.
    pub(crate) columns: &'static [&'static str],
    /// How many of them a line must have.
    pub(crate) required: usize,
}

/// A line, split into columns.
#[derive(Clone)]
pub(crate) struct Row {
    columns: Vec<Word>,
    /// All of it.
    pub(crate) span: Span,
}

impl Row {
    /// A line made of the columns of another.
    pub(crate) fn made(columns: Vec<Word>, span: Span) -> Self {
        Self { columns, span }
    }

    /// A column; `None` when it is left out or `-`.
    pub(crate) fn get(&self, column: usize) -> Option<&Word> {
        self.columns
            .get(column)
            .filter(|word| word.text() != "-" && !word.is_empty())
    }

    pub(crate) fn columns(&self) -> &[Word] {
        &self.columns
    }

    /// The columns with a blank between them.
    pub(crate) fn text(&self) -> String {
        self.columns
            .iter()
            .map(Word::text)
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// A column as it is written, `-` included.
    pub(crate) fn raw(&self, column: usize) -> Option<&Word> {
        self.columns.get(column)
    }
}

/// Splits a line into columns; `None` when nothing of it can be used.
pub(crate) fn row(
    session: &mut Session<'_>,
    line: &Word,
    span: Span,
    schema: &Schema,
) -> Option<Row> {
    let text = line.text();
    if let Some(at) = text.find(";;") {
        session.error(
            line.slice(at..text.len()).span(),
            "raw iptables matches are not supported",
            "text for iptables itself",
            "say it with Shorewall's columns; there is no iptables here",
        );
        return None;
    }
    let (plain, pairs) = alternate(session, line)?;
    if let Some(at) = plain.text().find(['"', '`', '\\']) {
        session.error(
            plain.slice(at..at + 1).span(),
            "quotes and backslashes do not belong in a column",
            "here",
            "a backslash continues a line only at its very end",
        );
        return None;
    }
    let mut columns: Vec<Word> = words(&plain);
    if columns.is_empty() && pairs.is_none() {
        return None;
    }
    if columns.len() > schema.columns.len() {
        let extra = columns[schema.columns.len()].span();
        session.error(
            extra,
            format!("too many columns: this file has {}", schema.columns.len()),
            "one too many",
            format!("the columns are: {}", column_names(schema)),
        );
        columns.truncate(schema.columns.len());
    }
    if let Some(pairs) = pairs {
        assign_pairs(session, &pairs, schema, &mut columns)?;
    }
    if columns.len() < schema.required {
        session.error(
            span,
            format!("too few columns: at least {} are needed", schema.required),
            format!("only {}", columns.len()),
            format!("the columns are: {}", column_names(schema)),
        );
        return None;
    }
    Some(Row { columns, span })
}

/// Takes `{…}` or `; …` off a line.
fn alternate(session: &mut Session<'_>, line: &Word) -> Option<(Word, Option<Word>)> {
    let text = line.text();
    if let Some(open) = text.find('{') {
        let Some(close) = text.rfind('}').filter(|&close| close > open) else {
            session.error(
                line.slice(open..open + 1).span(),
                "`{` without `}`",
                "opened here",
                "write: {name=value, name=value}",
            );
            return None;
        };
        let after = line.slice(close + 1..text.len()).trim();
        if !after.is_empty() {
            session.error(after.span(), "columns after `}`", "nothing may follow", "");
            return None;
        }
        return Some((line.slice(0..open), Some(line.slice(open + 1..close))));
    }
    match text.find(';') {
        Some(at) => Some((line.slice(0..at), Some(line.slice(at + 1..text.len())))),
        None => Some((line.clone(), None)),
    }
}

/// `name=value`, `name:value` or `name=>value`, between commas or blanks.
fn assign_pairs(
    session: &mut Session<'_>,
    pairs: &Word,
    schema: &Schema,
    columns: &mut Vec<Word>,
) -> Option<()> {
    let mut rest = pairs.trim();
    while !rest.is_empty() {
        let text = rest.text();
        let Some(at) = text.find(['=', ':']) else {
            session.error(
                rest.span(),
                "expected `name=value`",
                "no `=` here",
                format!("the columns are: {}", column_names(schema)),
            );
            return None;
        };
        let name = rest.slice(0..at).trim();
        let after = if text[at..].starts_with("=>") {
            at + 2
        } else {
            at + 1
        };
        let value_part = rest.slice(after..text.len()).trim();
        let (value, remaining) = pair_value(&value_part);
        let key = name.text().to_ascii_lowercase();
        let index = schema
            .columns
            .iter()
            .position(|column| column.split('|').any(|spelling| spelling == key));
        match index {
            Some(index) => {
                while columns.len() <= index {
                    columns.push(Word::literal(pairs.file(), "-", pairs.span().start));
                }
                if !matches!(columns[index].text(), "-" | "") {
                    session.error(
                        name.span(),
                        format!("the column `{key}` is given twice"),
                        "again here",
                        "",
                    );
                    return None;
                }
                columns[index] = value;
            }
            None if key == "comment" => {}
            None => {
                let known = schema.columns.iter().flat_map(|column| column.split('|'));
                session.report(
                    Finding::error(format!("this file has no column `{}`", name.text()))
                        .at(name.span(), "unknown column")
                        .maybe_note(did_you_mean(&key, known))
                        .note(format!("the columns are: {}", column_names(schema))),
                );
                return None;
            }
        }
        rest = remaining;
    }
    Some(())
}

/// A value, perhaps in quotes, and what follows it.
fn pair_value(text: &Word) -> (Word, Word) {
    let whole = text.text();
    if let Some(inner) = whole.strip_prefix('"')
        && let Some(close) = inner.find('"')
    {
        let rest = text.slice(close + 2..whole.len());
        let rest = rest.strip_prefix(",").unwrap_or(rest).trim();
        return (text.slice(1..close + 1), rest);
    }
    // A comma ends the value only if another `name=` follows: values are lists, too.
    let mut end = whole.len();
    let mut next = whole.len();
    for (at, character) in whole.char_indices() {
        let after = at + character.len_utf8();
        if character.is_whitespace() {
            end = at;
            next = after;
            break;
        }
        if character == ',' {
            let following = whole[after..].trim_start();
            let name = following
                .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                .unwrap_or(following.len());
            if name > 0
                && following.starts_with(|c: char| c.is_ascii_alphabetic())
                && following[name..].trim_start().starts_with('=')
            {
                end = at;
                next = after;
                break;
            }
        }
    }
    let value = text.slice(0..end).trim();
    let value = value.strip_suffix(",").unwrap_or(value);
    let rest = text.slice(next..whole.len()).trim();
    let rest = rest.strip_prefix(",").unwrap_or(rest).trim();
    (value, rest)
}

fn column_names(schema: &Schema) -> String {
    schema
        .columns
        .iter()
        .map(|column| {
            column
                .split('|')
                .next()
                .unwrap_or(column)
                .to_ascii_uppercase()
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// What a column says that is Yes or No; anything else is reported.
pub(crate) fn yes(session: &mut Session<'_>, word: Option<&Word>) -> Option<bool> {
    let word = word?;
    match word.text().to_ascii_lowercase().as_str() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => {
            session.error(
                word.span(),
                format!("`{}` is neither Yes nor No", word.text()),
                "expected Yes or No",
                "",
            );
            None
        }
    }
}

/// Pieces between blanks.
pub(crate) fn words(line: &Word) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, character) in line.text().char_indices() {
        match (character.is_whitespace(), start) {
            (true, Some(from)) => {
                words.push(line.slice(from..at));
                start = None;
            }
            (false, None) => start = Some(at),
            _ => {}
        }
    }
    if let Some(from) = start {
        words.push(line.slice(from..line.text().len()));
    }
    words
}
