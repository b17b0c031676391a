//! Words of xl's configuration language.

use std::ops::Range;

use super::Wrong;

/// A word and where it stands.
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) place: Range<usize>,
}

pub(super) enum Kind {
    Key(String),
    /// A string without its quotes, or a number.
    Text(String),
    Comma,
    Open,
    Close,
    Equals,
    Adds,
    Semicolon,
    Newline,
    End,
}

pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self { text, at: 0 }
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// The bytes from here on that `belongs` takes.
    fn run(&self, belongs: impl Fn(u8) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.bytes().position(|byte| !belongs(byte));
        // Only ASCII belongs anywhere, so that this is a boundary.
        &rest[..end.unwrap_or(rest.len())]
    }

    fn token(&mut self, kind: Kind, length: usize) -> Token {
        let place = self.at..self.at + length;
        self.at = place.end;
        Token { kind, place }
    }

    pub(super) fn next(&mut self) -> Result<Token, Wrong> {
        self.at += self.run(|byte| matches!(byte, b' ' | b'\t')).len();
        // A comment goes to the end of its line, and ends no list.
        if self.rest().starts_with('#') {
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
        let Some(first) = self.rest().chars().next() else {
            return Ok(self.token(Kind::End, 0));
        };
        let one = |kind| Ok((kind, 1));
        let (kind, length) = match first {
            '\n' => one(Kind::Newline),
            ',' => one(Kind::Comma),
            '[' => one(Kind::Open),
            ']' => one(Kind::Close),
            '=' => one(Kind::Equals),
            ';' => one(Kind::Semicolon),
            '+' if self.rest().starts_with("+=") => Ok((Kind::Adds, 2)),
            'a'..='z' => {
                let word = self.run(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_'));
                Ok((Kind::Key(word.to_owned()), word.len()))
            }
            '0'..='9' => {
                let word = self.run(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'x'));
                Ok((Kind::Text(word.to_owned()), word.len()))
            }
            '"' | '\'' => self.string(first),
            other => Err(self.unknown(other)),
        }?;
        Ok(self.token(kind, length))
    }

    fn unknown(&self, first: char) -> Wrong {
        let (label, note) = match first {
            '\r' => (
                "a carriage return",
                Some("the file has the line ends of Windows: `dos2unix FILE` makes them Linux'"),
            ),
            'A'..='Z' => (
                "no key begins with a capital letter",
                Some(
                    "xl knows no True and False, and no names: write 1 or 0, and strings in quotes",
                ),
            ),
            '+' | '-' | '.' | '(' | ')' | ':' => (
                "not a part of this language",
                Some(
                    "it looks like Python, but xl computes nothing: write the value itself, a string in quotes",
                ),
            ),
            _ => ("not a part of this language", None),
        };
        Wrong {
            message: "xl does not understand this",
            place: self.at..self.at + first.len_utf8(),
            label: label.to_owned(),
            note,
        }
    }

    /// A string that begins here, and its length with its quotes.
    fn string(&self, quote: char) -> Result<(Kind, usize), Wrong> {
        let mut text = String::new();
        let mut characters = self.rest().char_indices().skip(1);
        let wrong = |place: Range<usize>, label: &str| Wrong {
            message: "xl does not understand this string",
            place: self.at + place.start..self.at + place.end,
            label: label.to_owned(),
            note: None,
        };
        while let Some((at, character)) = characters.next() {
            match character {
                '\n' => return Err(wrong(0..at, "it does not end on its line")),
                '\\' => {
                    let escaped = characters.next();
                    text.push(match escaped {
                        Some((_, quoted @ ('"' | '\'' | '\\'))) => quoted,
                        Some((_, 'n')) => '\n',
                        Some((_, 'r')) => '\r',
                        Some((_, 't')) => '\t',
                        Some((end, other)) if other != '\n' => {
                            let place = at..end + other.len_utf8();
                            return Err(wrong(place, "write the character itself"));
                        }
                        _ => return Err(wrong(0..at, "it does not end on its line")),
                    });
                }
                other if other == quote => return Ok((Kind::Text(text), at + 1)),
                other => text.push(other),
            }
        }
        Err(wrong(0..self.rest().len(), "it does not end"))
    }

    /// To the next line; false if there is none.
    pub(super) fn skip_line(&mut self) -> bool {
        match self.rest().find('\n') {
            Some(length) => {
                self.at += length + 1;
                true
            }
            None => false,
        }
    }
}
