//! The texts read, and places in them.

use std::ops::Range;

use crate::report::Location;

/// Index of a file in [`Sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileId(u16);

impl FileId {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    pub(crate) fn number(self) -> u16 {
        self.0
    }
}

/// A stretch of bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) file: FileId,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A file that was read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    path: String,
    short: String,
    text: String,
    line_starts: Vec<u32>,
}

impl Source {
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// Every file that was read, in that order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    files: Vec<Source>,
}

/// No file of a site may be longer: spans are 32 bits, and a longer one is a mistake.
pub(crate) const MAX_FILE_BYTES: usize = 64 << 20;
/// No site has more files than this, includes counted.
pub(crate) const MAX_FILES: usize = 1024;

impl Sources {
    /// Keeps a text; `None` when there are too many.
    pub(crate) fn add(&mut self, path: String, short: String, text: String) -> Option<FileId> {
        if self.files.len() >= MAX_FILES || text.len() > MAX_FILE_BYTES {
            return None;
        }
        let id = FileId(self.files.len() as u16);
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at as u32 + 1))
            .collect();
        self.files.push(Source {
            path,
            short,
            text,
            line_starts,
        });
        Some(id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Source> {
        self.files.iter()
    }

    pub(crate) fn path(&self, file: FileId) -> &str {
        &self.files[file.index()].path
    }

    pub(crate) fn find(&self, path: &str) -> Option<FileId> {
        let index = self.files.iter().position(|file| file.path == path)?;
        Some(FileId(index as u16))
    }

    pub(crate) fn text(&self, file: FileId) -> &str {
        &self.files[file.index()].text
    }

    /// The lines of a file, each with those that continue it. `piece` says what of a physical line
    /// counts, after what was joined so far.
    pub(crate) fn lines(
        &self,
        file: FileId,
        piece: impl for<'a> Fn(&Word, &'a str) -> Piece<'a>,
    ) -> Vec<Word> {
        let mut lines = Vec::new();
        let mut joined: Option<Word> = None;
        let mut start = 0u32;
        for physical in self.text(file).split_inclusive('\n') {
            let mut word = joined.take().unwrap_or_else(|| Word::empty(file, start));
            let piece = piece(&word, physical.trim_end_matches(['\n', '\r']));
            word.push_literal(piece.text, start + piece.skipped);
            start += physical.len() as u32;
            if piece.goes_on {
                joined = Some(word);
            } else {
                lines.push(word);
            }
        }
        lines.extend(joined);
        lines
    }

    pub(crate) fn short_names(&self) -> Vec<String> {
        self.files.iter().map(|file| file.short.clone()).collect()
    }

    /// Line of a byte, from 1.
    pub(crate) fn line(&self, file: FileId, at: u32) -> u32 {
        let starts = &self.files[file.index()].line_starts;
        starts.partition_point(|&start| start <= at) as u32
    }

    pub(crate) fn location(&self, span: Span) -> Location {
        let source = &self.files[span.file.index()];
        let column = |line: u32, at: u32| {
            let start = source.line_starts[line as usize - 1] as usize;
            let end = (at as usize).clamp(start, source.text.len());
            1 + source
                .text
                .get(start..end)
                .map_or(end - start, |before| before.chars().count()) as u32
        };
        let line = self.line(span.file, span.start);
        let end_line = self.line(span.file, span.end);
        Location {
            file: source.path.clone(),
            line,
            column: column(line, span.start),
            end_line,
            end_column: column(end_line, span.end),
        }
    }
}

/// What counts of a physical line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece<'a> {
    text: &'a str,
    /// Bytes of the line before it.
    skipped: u32,
    /// Whether the next line continues it.
    goes_on: bool,
}

impl<'a> Piece<'a> {
    /// A comment: nothing.
    pub(crate) const NONE: Self = Self {
        text: "",
        skipped: 0,
        goes_on: false,
    };

    /// All, but a backslash at the end, which says that the next line continues it.
    pub(crate) fn of(line: &'a str) -> Self {
        let continued = line.strip_suffix('\\');
        Self {
            text: continued.unwrap_or(line),
            skipped: 0,
            goes_on: continued.is_some(),
        }
    }

    /// The same without its indentation.
    pub(crate) fn without_indentation(self) -> Self {
        let text = self.text.trim_start();
        Self {
            text,
            skipped: self.skipped + (self.text.len() - text.len()) as u32,
            ..self
        }
    }

    /// The same as the last of its line.
    pub(crate) const fn last(self) -> Self {
        Self {
            goes_on: false,
            ..self
        }
    }
}

/// A piece of text after continuation lines were joined and variables replaced, that still knows
/// where each of its bytes was written.
#[derive(Clone, Debug)]
pub(crate) struct Word {
    file: FileId,
    text: String,
    /// For each byte of `text`, the stretch of the file it stands for.
    origins: Vec<(u32, u32)>,
    /// Where an empty word is.
    place: (u32, u32),
}

impl Word {
    pub(crate) fn empty(file: FileId, at: u32) -> Self {
        Self {
            file,
            text: String::new(),
            origins: Vec::new(),
            place: (at, at),
        }
    }

    /// The bytes of a file as they are.
    pub(crate) fn literal(file: FileId, text: &str, start: u32) -> Self {
        let mut word = Self::empty(file, start);
        word.push_literal(text, start);
        word
    }

    /// Text that stands for what was written at a place.
    pub(crate) fn replacing(span: Span, text: &str) -> Self {
        let mut word = Self::empty(span.file, span.start);
        word.push_replacement(text, (span.start, span.end));
        word
    }

    /// Text that is written nowhere, put before a place.
    pub(crate) fn before(span: Span, text: &str) -> Self {
        Self::replacing(
            Span {
                end: span.start,
                ..span
            },
            text,
        )
    }

    /// Appends text that stands in the file from `start`.
    pub(crate) fn push_literal(&mut self, text: &str, start: u32) {
        self.text.push_str(text);
        self.origins
            .extend((start..).take(text.len()).map(|at| (at, at + 1)));
    }

    /// Appends text that replaces something else (a variable).
    pub(crate) fn push_replacement(&mut self, text: &str, range: (u32, u32)) {
        self.text.push_str(text);
        self.origins.extend(std::iter::repeat_n(range, text.len()));
    }

    /// Appends another piece of the same file.
    pub(crate) fn push(&mut self, other: &Self) {
        self.text.push_str(&other.text);
        self.origins.extend_from_slice(&other.origins);
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    pub(crate) fn file(&self) -> FileId {
        self.file
    }

    pub(crate) fn span(&self) -> Span {
        let (start, end) = match (self.origins.first(), self.origins.last()) {
            (Some(_), Some(_)) => self.origins.iter().fold((u32::MAX, 0), |(low, high), at| {
                (low.min(at.0), high.max(at.1))
            }),
            _ => self.place,
        };
        Span {
            file: self.file,
            start,
            end,
        }
    }

    /// Stretches of the word that were written at one place: a replaced variable is one of them.
    pub(crate) fn pieces(&self) -> Vec<(&str, (u32, u32))> {
        let mut pieces: Vec<(&str, (u32, u32))> = Vec::new();
        let mut start = 0;
        for at in 0..self.origins.len() {
            let whole = self.text.is_char_boundary(at + 1);
            let ends = self.origins.get(at + 1) != self.origins.get(at);
            if whole && ends {
                pieces.push((&self.text[start..=at], self.origins[at]));
                start = at + 1;
            }
        }
        pieces
    }

    /// Where byte `index` was written.
    pub(crate) fn origin(&self, index: usize) -> (u32, u32) {
        self.origins
            .get(index)
            .copied()
            .unwrap_or_else(|| (self.span().end, self.span().end))
    }

    /// Part of the word. `range` must lie on character boundaries.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        let at = self
            .origins
            .get(range.start)
            .map_or_else(|| self.span().end, |origin| origin.0);
        Self {
            file: self.file,
            text: self.text[range.clone()].to_owned(),
            origins: self.origins[range].to_vec(),
            place: (at, at),
        }
    }

    /// Without blanks at both ends.
    pub(crate) fn trim(&self) -> Self {
        let start = self.text.len() - self.text.trim_start().len();
        let end = start + self.text.trim().len();
        self.slice(start..end)
    }

    /// Before and after the first `separator` outside of parentheses and brackets.
    pub(crate) fn split_once(&self, separator: char) -> Option<(Self, Self)> {
        let at = self.outer(separator).next()?;
        Some((
            self.slice(0..at),
            self.slice(at + separator.len_utf8()..self.text.len()),
        ))
    }

    /// Pieces between `separator`s outside of parentheses and brackets.
    pub(crate) fn split(&self, separator: char) -> Vec<Self> {
        let mut pieces = Vec::new();
        let mut start = 0;
        for at in self.outer(separator).collect::<Vec<_>>() {
            pieces.push(self.slice(start..at));
            start = at + separator.len_utf8();
        }
        pieces.push(self.slice(start..self.text.len()));
        pieces
    }

    pub(crate) fn strip_prefix(&self, prefix: &str) -> Option<Self> {
        self.text
            .starts_with(prefix)
            .then(|| self.slice(prefix.len()..self.text.len()))
    }

    pub(crate) fn strip_suffix(&self, suffix: &str) -> Option<Self> {
        self.text
            .ends_with(suffix)
            .then(|| self.slice(0..self.text.len() - suffix.len()))
    }

    /// `NAME(INNER)`: both parts.
    pub(crate) fn call(&self) -> Option<(Self, Self)> {
        let open = self.text.find('(')?;
        self.text.ends_with(')').then(|| {
            (
                self.slice(0..open),
                self.slice(open + 1..self.text.len() - 1),
            )
        })
    }

    fn outer(&self, separator: char) -> impl Iterator<Item = usize> + '_ {
        let mut depth = 0i32;
        self.text.char_indices().filter_map(move |(at, character)| {
            match character {
                '(' | '[' => depth += 1,
                ')' | ']' => depth -= 1,
                _ => {}
            }
            (depth <= 0 && character == separator).then_some(at)
        })
    }
}
