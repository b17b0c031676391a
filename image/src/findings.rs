//! What is wrong with what the user wrote, shown as a compiler shows it: the words themselves,
//! marked, and what to write instead.
//!
//! The compiler of Shorewall's files reports by itself ([`shorewall::Report`]). This is for the rest:
//! options of the command line, and what only an image needs to know about a site. Both look the
//! same, in text and as JSON.

use std::ops::Range;

use codespan_reporting::diagnostic as codespan;
use codespan_reporting::files::SimpleFiles;
use codespan_reporting::term;
use serde::Serialize;
use shorewall::{Location, Severity, Style};

/// A text that findings point into.
#[derive(Clone, Debug)]
struct Source {
    name: String,
    text: String,
}

/// One of the texts of a [`Findings`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceId(usize);

/// One finding; the methods build it.
#[derive(Clone, Debug)]
pub struct Finding {
    severity: Severity,
    message: String,
    place: Option<(SourceId, Range<usize>)>,
    label: String,
    notes: Vec<String>,
}

impl Finding {
    /// An error: nothing is written. One sentence, without a full stop.
    pub fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            place: None,
            label: String::new(),
            notes: Vec::new(),
        }
    }

    /// A warning: done all the same.
    pub fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }

    /// Marks the bytes `range` of a text, and says something there.
    #[must_use]
    pub fn at(mut self, source: SourceId, range: Range<usize>, label: impl Into<String>) -> Self {
        self.place = Some((source, range));
        self.label = label.into();
        self
    }

    /// What to write instead, or why.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// "Did you mean", when one of `known` is near enough to `word`.
    #[must_use]
    pub fn suggest<'k>(self, word: &str, known: impl IntoIterator<Item = &'k str>) -> Self {
        match nearest(word, known) {
            Some(meant) => self.note(format!("did you mean `{meant}`?")),
            None => self,
        }
    }
}

/// Findings, with the texts they point into.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    sources: Vec<Source>,
    findings: Vec<Finding>,
}

/// A finding for programs; the same fields as [`shorewall::Diagnostic`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// One sentence, without a full stop.
    pub message: String,
    /// The place; `None`: the whole.
    pub location: Option<Location>,
    /// What is said at the place itself.
    pub label: String,
    /// What to write instead, and why.
    pub notes: Vec<String>,
}

impl Findings {
    /// Keeps a text that findings can point into; `name` is shown as its file's.
    pub fn source(&mut self, name: impl Into<String>, text: impl Into<String>) -> SourceId {
        self.sources.push(Source {
            name: name.into(),
            text: text.into(),
        });
        SourceId(self.sources.len() - 1)
    }

    /// Adds a finding.
    pub fn push(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// How many errors.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// How many warnings.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    fn count(&self, severity: Severity) -> usize {
        let of_it = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(of_it).count()
    }

    /// For a person: each finding with its line, marked.
    pub fn render(&self, style: Style) -> String {
        let mut files = SimpleFiles::new();
        let ids: Vec<usize> = self
            .sources
            .iter()
            .map(|source| files.add(source.name.as_str(), source.text.as_str()))
            .collect();
        let mut buffer = match style {
            Style::Plain => term::termcolor::Buffer::no_color(),
            Style::Colour => term::termcolor::Buffer::ansi(),
        };
        for finding in &self.findings {
            let severity = match finding.severity {
                Severity::Error => codespan::Severity::Error,
                Severity::Warning => codespan::Severity::Warning,
            };
            let labels = finding
                .place
                .iter()
                .map(|(source, range)| {
                    codespan::Label::primary(ids[source.0], range.clone())
                        .with_message(&finding.label)
                })
                .collect();
            let diagnostic = codespan::Diagnostic::new(severity)
                .with_message(&finding.message)
                .with_labels(labels)
                .with_notes(finding.notes.clone());
            // Writing to memory cannot fail, and every range lies in its text.
            let _ = term::emit_to_write_style(
                &mut buffer,
                &term::Config::default(),
                &files,
                &diagnostic,
            );
        }
        String::from_utf8_lossy(buffer.as_slice()).into_owned()
    }

    /// For programs.
    pub fn diagnostics(&self) -> Vec<Diagnostic> {
        let diagnostic = |finding: &Finding| Diagnostic {
            severity: finding.severity,
            message: finding.message.clone(),
            location: finding
                .place
                .as_ref()
                .map(|(source, range)| self.location(*source, range)),
            label: finding.label.clone(),
            notes: finding.notes.clone(),
        };
        self.findings.iter().map(diagnostic).collect()
    }

    fn location(&self, source: SourceId, range: &Range<usize>) -> Location {
        let Source { name, text } = &self.sources[source.0];
        let place = |at: usize| {
            let before = text.get(..at).unwrap_or(text);
            let line = before.bytes().filter(|&byte| byte == b'\n').count();
            let start = before.rfind('\n').map_or(0, |newline| newline + 1);
            let column = before[start..].chars().count();
            (line as u32 + 1, column as u32 + 1)
        };
        let ((line, column), (end_line, end_column)) = (place(range.start), place(range.end));
        Location {
            file: name.clone(),
            line,
            column,
            end_line,
            end_column,
        }
    }
}

/// The one of `known` that `word` was probably meant to be.
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_ascii_lowercase();
    let limit = match word.chars().count() {
        0 | 1 => 0,
        2..=4 => 1,
        5..=7 => 2,
        8..=64 => 3,
        // Nobody mistypes a word that long.
        _ => return None,
    };
    known
        .into_iter()
        .map(|candidate| {
            let edits = strsim::osa_distance(&word, &candidate.to_ascii_lowercase());
            (edits, candidate)
        })
        .filter(|&(edits, _)| edits <= limit)
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_shows_the_words_marked() {
        let mut findings = Findings::default();
        let source = findings.source("command line", "--name a\n--vif eth9=bridge=b");
        findings.push(
            Finding::error("no such interface")
                .at(source, 15..19, "not in the site")
                .suggest("eth9", ["eth0", "wlan0"]),
        );
        assert_eq!(
            findings.render(Style::Plain),
            "\
error: no such interface
  ┌─ command line:2:7
  │
2 │ --vif eth9=bridge=b
  │       ^^^^ not in the site
  │
  = did you mean `eth0`?

"
        );
        assert!(findings.render(Style::Colour).contains("\u{1b}["));
        let [diagnostic] = &findings.diagnostics()[..] else {
            panic!("one finding")
        };
        let place = diagnostic.location.as_ref().expect("a place");
        assert_eq!((place.line, place.column, place.end_column), (2, 7, 11));
        assert_eq!((findings.errors(), findings.warnings()), (1, 0));
    }

    #[test]
    fn a_slip_of_the_fingers_finds_its_word_and_another_word_does_not() {
        assert_eq!(nearest("brigde", ["mac", "bridge"]), Some("bridge"));
        assert_eq!(nearest("eht0", ["eth0", "eth1"]), Some("eth0"));
        assert_eq!(nearest("wan", ["eth0", "eth1"]), None);
        assert_eq!(nearest("x", ["y"]), None);
    }

    #[test]
    fn a_finding_without_a_place_is_shown_as_well() {
        let mut findings = Findings::default();
        findings.push(Finding::warning("odd").note("write it so"));
        assert_eq!(
            findings.render(Style::Plain),
            "warning: odd\n = write it so\n\n"
        );
        assert_eq!(findings.diagnostics()[0].location, None);
    }
}
