//! What is wrong with a configuration, where, and what to write instead.

use std::fmt;
use std::sync::Arc;

use codespan_reporting::diagnostic as codespan;
use codespan_reporting::files::SimpleFiles;
use codespan_reporting::term;
use serde::Serialize;

use crate::source::{Sources, Span};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing is compiled.
    Error,
    /// Compiled, but the user should know.
    Warning,
}

/// Where in the user's files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Location {
    /// The file, as the user named it.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column of the first character, from 1.
    pub column: u32,
    /// Line of the last character.
    pub end_line: u32,
    /// Column after the last character.
    pub end_column: u32,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// One sentence, without a full stop.
    pub message: String,
    /// The place; `None`: the configuration as a whole.
    pub location: Option<Location>,
    /// What is said at the place itself.
    pub label: String,
    /// What to write instead, and why.
    pub notes: Vec<String>,
    #[serde(skip)]
    span: Option<Span>,
}

/// Whether a rendered report is coloured for a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text only.
    Plain,
    /// ANSI escape sequences.
    Colour,
}

/// All that was found in one configuration, in the order of its files and lines.
#[derive(Clone, Default)]
pub struct Report {
    sources: Arc<Sources>,
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub(crate) fn new(sources: Arc<Sources>, mut findings: Vec<Finding>) -> Self {
        // Files in the order they were read, then lines, then what has no place.
        findings.sort_by_key(|finding| {
            let place = finding.span.map(|span| (span.file, span.start));
            (place.is_none(), place)
        });
        let mut diagnostics: Vec<Diagnostic> = Vec::new();
        for finding in findings {
            let diagnostic = Diagnostic {
                severity: finding.severity,
                location: finding.span.map(|span| sources.location(span)),
                message: finding.message,
                label: finding.label,
                notes: finding.notes,
                span: finding.span,
            };
            // A rule for many zone pairs would otherwise say the same thing for each.
            let said = diagnostics
                .iter()
                .rev()
                .take_while(|earlier| earlier.span == diagnostic.span)
                .any(|earlier| *earlier == diagnostic);
            if !said {
                diagnostics.push(diagnostic);
            }
        }
        Self {
            sources,
            diagnostics,
        }
    }

    /// Every finding.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// How many errors.
    pub fn errors(&self) -> usize {
        self.count(Severity::Error)
    }

    /// How many warnings.
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning)
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// The report as a person reads it: each finding with its line, marked.
    pub fn render(&self, style: Style) -> String {
        let mut files = SimpleFiles::new();
        // Only what has findings: of each the lines are counted.
        let ids: Vec<Option<usize>> = (self.sources.iter().enumerate())
            .map(|(number, source)| {
                let is_shown = |diagnostic: &Diagnostic| {
                    diagnostic
                        .span
                        .is_some_and(|span| span.file.index() == number)
                };
                let shown = self.diagnostics.iter().any(is_shown);
                shown.then(|| files.add(source.path(), source.text()))
            })
            .collect();
        let config = term::Config::default();
        let mut buffer = match style {
            Style::Plain => term::termcolor::Buffer::no_color(),
            Style::Colour => term::termcolor::Buffer::ansi(),
        };
        for diagnostic in &self.diagnostics {
            let severity = match diagnostic.severity {
                Severity::Error => codespan::Severity::Error,
                Severity::Warning => codespan::Severity::Warning,
            };
            let labels = diagnostic
                .span
                .and_then(|span| {
                    let id = ids[span.file.index()]?;
                    let place = span.start as usize..span.end as usize;
                    Some(codespan::Label::primary(id, place).with_message(&diagnostic.label))
                })
                .into_iter()
                .collect();
            let rendered = codespan::Diagnostic::new(severity)
                .with_message(&diagnostic.message)
                .with_labels(labels)
                .with_notes(diagnostic.notes.clone());
            // Writing to memory cannot fail, and every span lies in its file.
            let _ = term::emit_to_write_style(&mut buffer, &config, &files, &rendered);
        }
        String::from_utf8_lossy(buffer.as_slice()).into_owned()
    }

    fn count(&self, severity: Severity) -> usize {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(Style::Plain))
    }
}

impl fmt::Debug for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.render(Style::Plain))
    }
}

impl std::error::Error for Report {}

/// A change of the files that makes a finding go away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Edit {
    /// Other text in place of what is written there.
    Replace(Span, String),
    /// The whole of the lines that a place touches goes.
    RemoveLine(Span),
    /// One more line of one of Shorewall's files.
    Append(&'static str, String),
}

impl Edit {
    pub(crate) fn replace(span: Span, text: impl Into<String>) -> Self {
        Self::Replace(span, text.into())
    }

    pub(crate) fn remove_line(span: Span) -> Self {
        Self::RemoveLine(span)
    }

    pub(crate) fn append(file: &'static str, line: impl Into<String>) -> Self {
        Self::Append(file, line.into())
    }
}

/// A finding under construction.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    severity: Severity,
    message: String,
    span: Option<Span>,
    label: String,
    notes: Vec<String>,
    edits: Vec<Edit>,
}

impl Finding {
    pub(crate) fn error(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            message: message.into(),
            span: None,
            label: String::new(),
            notes: Vec::new(),
            edits: Vec::new(),
        }
    }

    pub(crate) fn warning(message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(message)
        }
    }

    pub(crate) fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// Marks the place, and says something there.
    pub(crate) fn at(mut self, span: Span, label: impl Into<String>) -> Self {
        self.span = Some(span);
        self.label = label.into();
        self
    }

    /// How to write it instead.
    pub(crate) fn edit(mut self, edit: Edit) -> Self {
        self.edits.push(edit);
        self
    }

    /// How to write it instead, where that is known.
    pub(crate) fn maybe_edit(self, edit: Option<Edit>) -> Self {
        match edit {
            Some(edit) => self.edit(edit),
            None => self,
        }
    }

    pub(crate) fn edits(&self) -> &[Edit] {
        &self.edits
    }

    /// What to write instead, or why.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// `note`, when there is something to say.
    pub(crate) fn maybe_note(self, note: Option<String>) -> Self {
        match note {
            Some(note) => self.note(note),
            None => self,
        }
    }
}
