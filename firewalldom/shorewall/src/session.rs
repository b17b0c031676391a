//! One compilation: the texts read so far, the findings, the variables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use firewalldom::policy::Origin;

use crate::columns::Row;
use crate::ipset::Ipsets;
use crate::report::{Edit, Finding};
use crate::site::Site;
use crate::source::{FileId, MAX_FILES, Sources, Span, Word};
use crate::state_actions::Asking;
use crate::tables::Tables;
use crate::variables::Variables;

/// State shared by the parsers of all files.
pub(crate) struct Session<'a> {
    pub(crate) site: &'a Site,
    pub(crate) sources: Sources,
    pub(crate) findings: Vec<Finding>,
    pub(crate) variables: Variables,
    /// Changes towards today's spelling that no finding asks for by itself.
    pub(crate) other_edits: Vec<Edit>,
    /// How deep macros and actions use each other just now.
    pub(crate) nesting: usize,
    /// How many of them the rule being read has come to.
    pub(crate) expansions: usize,
    /// Those with a file that are being read, with their parameters, the outermost first.
    pub(crate) within: Vec<String>,
    /// The same of those that an error was reported in: they are not read again.
    pub(crate) unusable: BTreeSet<String>,
    /// Actions of the file `actions` that are `inline`: a rule's columns override theirs.
    pub(crate) inline_actions: BTreeSet<String>,
    /// What `+set` names.
    pub(crate) ipsets: Ipsets,
    /// Tables of the policy that rules share.
    pub(crate) tables: Tables,
    /// What the Linux kernel can do that the site was written for, if the site says it.
    pub(crate) capabilities: Option<BTreeMap<String, String>>,
    /// `$1`, `$2`… while the file of an action is read.
    pub(crate) arguments: Option<Vec<Word>>,
    /// What actions about a state of connections come to just now.
    pub(crate) asking: Asking,
}

impl<'a> Session<'a> {
    pub(crate) fn new(site: &'a Site) -> Self {
        Self {
            site,
            sources: Sources::default(),
            findings: Vec::new(),
            variables: Variables::default(),
            other_edits: Vec::new(),
            nesting: 0,
            expansions: 0,
            within: Vec::new(),
            unusable: BTreeSet::new(),
            inline_actions: BTreeSet::new(),
            ipsets: Ipsets::default(),
            tables: Tables::default(),
            capabilities: None,
            arguments: None,
            asking: Asking::default(),
        }
    }

    pub(crate) fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Reports an error at a place.
    pub(crate) fn error(
        &mut self,
        span: Span,
        message: impl Into<String>,
        label: impl Into<String>,
        note: impl Into<String>,
    ) {
        let finding = Finding::error(message).at(span, label);
        let note = note.into();
        self.report(if note.is_empty() {
            finding
        } else {
            finding.note(note)
        });
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }

    /// Path of one of Shorewall's files.
    pub(crate) fn shorewall_file(&self, name: &str) -> PathBuf {
        self.site.shorewall().join(name)
    }

    /// Reads a file. `None`: there is none, or the reason is reported.
    pub(crate) fn open(&mut self, path: &Path) -> Option<FileId> {
        let bytes = match self.site.read(path) {
            Ok(bytes) => bytes?,
            Err(error) => {
                self.report(Finding::error(format!(
                    "cannot read {}: {error}",
                    path.display()
                )));
                return None;
            }
        };
        let text = match String::from_utf8(bytes) {
            Ok(text) => text,
            // Old configurations have Latin-1 in their comments; anywhere else the parsers object.
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        let short = self.site.short_name(path);
        let file = self.sources.add(path.display().to_string(), short, text);
        if file.is_none() {
            self.report(Finding::error(format!(
                "{}: too long, or more than {MAX_FILES} files",
                path.display()
            )));
        }
        file
    }

    /// The lines of a file without their comments, blanks around them taken away: for files that
    /// are no rows of columns.
    pub(crate) fn plain_lines(&self, file: FileId) -> Vec<Word> {
        let mut start = 0u32;
        let mut lines = Vec::new();
        for line in self.sources.text(file).split_inclusive('\n') {
            let content = line.split('#').next().unwrap_or_default();
            lines.push(Word::literal(file, content, start).trim());
            start += line.len() as u32;
        }
        lines
    }

    /// A file that has been opened before.
    pub(crate) fn opened(&self, path: &Path) -> Option<FileId> {
        self.sources.find(&path.display().to_string())
    }

    /// Whether one of Shorewall's files has been opened, as an include perhaps.
    pub(crate) fn has_read(&self, name: &str) -> bool {
        let path = self.shorewall_file(name).display().to_string();
        self.sources.iter().any(|source| source.path() == path)
    }

    /// The line of a place, as policies carry it.
    pub(crate) fn origin(&self, span: Span) -> Origin {
        Origin {
            file: span.file.number(),
            line: self.sources.line(span.file, span.start),
        }
    }

    /// Text for a place in a file, in quotes if it becomes a value that the shell would read.
    pub(crate) fn quoted_like(&self, span: Span, text: &str) -> String {
        let before = &self.sources.text(span.file)[..span.start as usize];
        if before.ends_with('=') {
            format!("\"{text}\"")
        } else {
            text.to_owned()
        }
    }

    /// Whether a word is written in its file just so, not by way of a variable.
    pub(crate) fn is_literal(&self, word: &Word) -> bool {
        let span = word.span();
        let text = self.sources.text(span.file);
        text.get(span.start as usize..span.end as usize) == Some(word.text())
    }

    /// A line as its columns are written in the files, variables and all.
    pub(crate) fn written(&self, row: &Row) -> String {
        row.columns()
            .iter()
            .map(|word| self.written_word(word))
            .collect::<Vec<_>>()
            .join("\t")
    }

    /// A word with what was replaced put back; text that stands nowhere stays as it is.
    pub(crate) fn written_word(&self, word: &Word) -> String {
        let source = self.sources.text(word.file());
        let mut text = String::new();
        for (piece, (start, end)) in word.pieces() {
            let written = source.get(start as usize..end as usize).unwrap_or_default();
            // A variable, not a word that was made up for a line.
            let is_variable = written
                .strip_prefix('$')
                .and_then(variable)
                .is_some_and(|(name, _)| self.variables.get(name).is_some_and(|v| v == piece));
            if is_variable {
                text.push_str(written);
            } else {
                text.push_str(piece);
            }
        }
        text
    }

    /// A place as `rules:3`; `None`: nowhere.
    pub(crate) fn place(&self, origin: Origin) -> Option<String> {
        let names = self.sources.short_names();
        let file = names.get(usize::from(origin.file))?;
        (origin.line > 0).then(|| format!("{file}:{}", origin.line))
    }

    /// Replaces `$NAME` and `${NAME}`.
    pub(crate) fn expand(&mut self, word: &Word) -> Word {
        self.expand_outside(word, None)
    }

    /// As `expand`, but leaves what stands between two `quote`s alone.
    pub(crate) fn expand_outside(&mut self, word: &Word, quote: Option<char>) -> Word {
        if !word.text().contains(['$', '@']) {
            return word.clone();
        }
        let text = word.text().to_owned();
        let mut expanded = Word::empty(word.file(), word.span().start);
        let mut quoted = false;
        let mut at = 0;
        while let Some(character) = text[at..].chars().next() {
            let next = at + character.len_utf8();
            if Some(character) == quote {
                quoted = !quoted;
            }
            if matches!(character, '$' | '@')
                && !quoted
                && let Some((number, length)) = argument(&text[next..])
                && let Some(arguments) = &self.arguments
            {
                let reference = word.slice(at..next + length).span();
                // An argument that is not given, or `-`, is empty: a column that is not looked at.
                let value = arguments.get(number - 1).map_or("-", Word::text).to_owned();
                expanded.push_replacement(&value, (reference.start, reference.end));
                at = next + length;
                continue;
            }
            if character != '$' || quoted {
                expanded.push(&word.slice(at..next));
                at = next;
                continue;
            }
            let Some((name, length)) = variable(&text[next..]) else {
                self.error(
                    word.slice(at..next).span(),
                    "a `$` without the name of a variable",
                    "here",
                    "write $NAME or ${NAME}",
                );
                at = next;
                continue;
            };
            let end = next + length;
            let reference = word.slice(at..end).span();
            match self.variables.get(name) {
                Some(value) => {
                    let value = value.to_owned();
                    expanded.push_replacement(&value, (reference.start, reference.end));
                }
                None => {
                    let hint = crate::suggest::did_you_mean(name, self.variables.names());
                    self.report(
                        Finding::error(format!("the variable `{name}` is not set"))
                            .at(reference, "unknown here")
                            .maybe_note(hint)
                            .note(format!("set it in `params`: {name}=value")),
                    );
                }
            }
            at = end;
        }
        expanded
    }
}

/// `1` or `{1}` at the start of `text`: the number of an argument, and how long the reference is.
pub(crate) fn argument(text: &str) -> Option<(usize, usize)> {
    let (digits, around) = match text.strip_prefix('{') {
        Some(inner) => (&inner[..inner.find('}')?], 2),
        None => {
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            (&text[..end], 0)
        }
    };
    let number = digits
        .parse()
        .ok()
        .filter(|number| (1..=99).contains(number))?;
    Some((number, digits.len() + around))
}

/// The name of a variable at the start of `text` (after the `$`), and how long the reference is.
pub(crate) fn variable(text: &str) -> Option<(&str, usize)> {
    if let Some(inner) = text.strip_prefix('{') {
        let close = inner.find('}')?;
        let name = &inner[..close];
        return is_name(name).then_some((name, close + 2));
    }
    let length = text
        .find(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        .unwrap_or(text.len());
    let name = &text[..length];
    is_name(name).then_some((name, length))
}

/// Whether a shell would take this as the name of a variable.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && text
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || character == '_')
}
