//! xl's configuration language, with where each word stands: what `xl` itself reads, and nothing else.
//!
//! It looks like Python and is not: keys in small letters; numbers, strings and lists of them; `=` and
//! `+=`; a line or `;` ends a setting, and lists go over lines.

mod lexer;

use std::ops::Range;

use crate::findings::{Finding, Findings, SourceId};
use lexer::{Kind, Lexer, Token};

/// Errors after which a file is none of xl's.
const ERRORS_MAX: usize = 20;

/// Lists in lists; xl has no use for more than one.
const DEPTH_MAX: usize = 8;

/// `KEY = VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) key: String,
    /// Where the key stands.
    pub(crate) key_place: Range<usize>,
    /// `+=`: xl appends it to what the key has.
    pub(crate) adds: bool,
    pub(crate) value: Value,
}

impl Setting {
    /// From the key to the value's end.
    pub(crate) fn place(&self) -> Range<usize> {
        self.key_place.start..self.value.place().end
    }
}

/// What stands behind the `=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(Text),
    List {
        items: Vec<Value>,
        place: Range<usize>,
    },
}

/// A string or a number: xl makes no difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    /// Without quotes.
    pub(crate) text: String,
    /// With them.
    pub(crate) place: Range<usize>,
}

impl Value {
    pub(crate) fn place(&self) -> &Range<usize> {
        match self {
            Self::Text(text) => &text.place,
            Self::List { place, .. } => place,
        }
    }

    /// The string or number; `None` for a list.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(&text.text),
            Self::List { .. } => None,
        }
    }
}

/// A string of the language.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Reads a file's text to its end. All that is wrong is in `findings`; `None`: something is.
pub(crate) fn parse(text: &str, source: SourceId, findings: &mut Findings) -> Option<Vec<Setting>> {
    let before = findings.errors();
    let mut parser = Parser {
        lexer: Lexer::new(text),
        ahead: None,
        is_behind_newline: false,
    };
    let mut settings = Vec::new();
    loop {
        match parser.statement() {
            Ok(Some(setting)) => settings.push(setting),
            Ok(None) => break,
            Err(finding) => {
                findings.push(finding.into_finding(source));
                if findings.errors() - before >= ERRORS_MAX || !parser.skip_line() {
                    break;
                }
            }
        }
    }
    (findings.errors() == before).then_some(settings)
}

/// What is wrong, before it is known in which text.
struct Wrong {
    message: &'static str,
    place: Range<usize>,
    label: String,
    note: Option<&'static str>,
}

impl Wrong {
    fn into_finding(self, source: SourceId) -> Finding {
        let finding = Finding::error(self.message).at(source, self.place, self.label);
        match self.note {
            Some(note) => finding.note(note),
            None => finding,
        }
    }
}

struct Parser<'t> {
    lexer: Lexer<'t>,
    ahead: Option<Token>,
    /// The last word was a line's end.
    is_behind_newline: bool,
}

impl Parser<'_> {
    fn next(&mut self) -> Result<Token, Wrong> {
        self.is_behind_newline = false;
        let token = match self.ahead.take() {
            Some(token) => token,
            None => self.lexer.next()?,
        };
        self.is_behind_newline = matches!(token.kind, Kind::Newline);
        Ok(token)
    }

    fn peek(&mut self) -> Result<&Token, Wrong> {
        let token = self.next()?;
        Ok(self.ahead.insert(token))
    }

    /// The next setting; `None` at the end.
    fn statement(&mut self) -> Result<Option<Setting>, Wrong> {
        loop {
            let token = self.next()?;
            match token.kind {
                Kind::Newline | Kind::Semicolon => {}
                Kind::End => return Ok(None),
                Kind::Key(key) => return self.setting(key, token.place).map(Some),
                kind => return Err(expected("a setting", &kind, token.place)),
            }
        }
    }

    fn setting(&mut self, key: String, key_place: Range<usize>) -> Result<Setting, Wrong> {
        let token = self.next()?;
        let adds = match token.kind {
            Kind::Equals => false,
            Kind::Adds => true,
            kind => return Err(expected("`=`", &kind, token.place)),
        };
        let value = self.value(0)?;
        let token = self.peek()?;
        match &token.kind {
            Kind::Newline | Kind::Semicolon | Kind::End => {}
            kind => {
                let place = token.place.clone();
                return Err(expected("the end of the line", kind, place));
            }
        }
        Ok(Setting {
            key,
            key_place,
            adds,
            value,
        })
    }

    fn value(&mut self, depth: usize) -> Result<Value, Wrong> {
        let Token { kind, place } = self.next()?;
        match kind {
            Kind::Text(text) => Ok(Value::Text(Text { text, place })),
            Kind::Open if depth == DEPTH_MAX => Err(Wrong {
                message: "too many lists in lists",
                place,
                label: format!("at most {DEPTH_MAX}"),
                note: None,
            }),
            Kind::Open => self.list(place.start, depth),
            kind => Err(expected("a string, a number or a list", &kind, place)),
        }
    }

    /// The rest of a list.
    fn list(&mut self, start: usize, depth: usize) -> Result<Value, Wrong> {
        let mut items = Vec::new();
        loop {
            self.skip_newlines()?;
            if let Kind::Close = self.peek()?.kind {
                break;
            }
            items.push(self.value(depth + 1)?);
            self.skip_newlines()?;
            let token = self.peek()?;
            match &token.kind {
                Kind::Comma => drop(self.next()?),
                Kind::Close => break,
                kind => {
                    let place = token.place.clone();
                    return Err(expected("`,` or `]`", kind, place));
                }
            }
        }
        let end = self.next()?.place.end;
        Ok(Value::List {
            items,
            place: start..end,
        })
    }

    fn skip_newlines(&mut self) -> Result<(), Wrong> {
        while let Kind::Newline = self.peek()?.kind {
            self.ahead = None;
        }
        Ok(())
    }

    /// After an error: to the next line; false at the end.
    fn skip_line(&mut self) -> bool {
        let ahead = self.ahead.take().map(|token| token.kind);
        match ahead {
            Some(Kind::End) => false,
            Some(Kind::Newline) => true,
            None if self.is_behind_newline => true,
            _ => self.lexer.skip_line(),
        }
    }
}

fn expected(what: &str, kind: &Kind, place: Range<usize>) -> Wrong {
    let found = match kind {
        Kind::Key(_) => "a word without quotes",
        Kind::Text(_) => "a value",
        Kind::Comma => "`,`",
        Kind::Open => "`[`",
        Kind::Close => "`]`",
        Kind::Equals => "`=`",
        Kind::Adds => "`+=`",
        Kind::Semicolon => "`;`",
        Kind::Newline => "the end of the line",
        Kind::End => "the end of the file",
    };
    Wrong {
        message: "xl does not understand this",
        // Before a line's end, not over it.
        place: match kind {
            Kind::Newline => place.start..place.start,
            _ => place,
        },
        label: format!("expected {what}, found {found}"),
        note: None,
    }
}

#[cfg(test)]
mod tests;
