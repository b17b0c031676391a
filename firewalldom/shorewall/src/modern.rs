//! Old spellings written as they are today: the edits of a compilation's findings, applied.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::report::{Edit, Finding, Report};
use crate::session::Session;
use crate::site::Site;
use crate::source::{FileId, Span};

/// A configuration in today's spelling.
#[derive(Debug)]
pub struct Modern {
    /// Files that change, by their paths; `None`: nothing is left of them.
    pub files: BTreeMap<PathBuf, Option<String>>,
    /// How many places changed.
    pub changes: usize,
    /// Errors and warnings of the configuration as it was.
    pub report: Report,
}

/// Applies the edits of all findings to the files that were read.
pub(crate) fn apply(
    site: &Site,
    session: &Session<'_>,
) -> (BTreeMap<PathBuf, Option<String>>, usize) {
    let mut replacements: BTreeMap<FileId, Vec<(u32, u32, String)>> = BTreeMap::new();
    let mut appended: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let mut seen: Vec<&Edit> = Vec::new();
    let asked_for = session.findings.iter().flat_map(Finding::edits);
    for edit in asked_for.chain(&session.other_edits) {
        // A line that is used many times is changed once; two equal lines are two.
        if seen.contains(&edit) && !matches!(edit, Edit::Append(..)) {
            continue;
        }
        seen.push(edit);
        let (span, text) = match edit {
            Edit::Append(file, line) => {
                appended.entry(file).or_default().push(line.clone());
                continue;
            }
            Edit::Replace(span, text) => (*span, text.clone()),
            Edit::RemoveLine(span) => (whole_lines(session, *span), String::new()),
        };
        replacements
            .entry(span.file)
            .or_default()
            .push((span.start, span.end, text));
    }
    let changes = seen
        .iter()
        .filter(|edit| !matches!(edit, Edit::Append(..)))
        .count();
    let mut files = BTreeMap::new();
    for (file, mut edits) in replacements {
        edits.sort();
        let source = session.sources.text(file);
        let mut text = String::with_capacity(source.len());
        let mut at = 0usize;
        for (start, end, replacement) in edits {
            // Of edits that overlap the first counts; the next run finds the other.
            if (start as usize) < at {
                continue;
            }
            text.push_str(&source[at..start as usize]);
            text.push_str(&replacement);
            at = end as usize;
        }
        text.push_str(&source[at..]);
        let nothing_left = text.lines().all(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#') || line.starts_with('?')
        });
        let path = PathBuf::from(session.sources.path(file));
        let is_old = ["masq", "blacklist", "routestopped"]
            .iter()
            .any(|name| path == site.shorewall().join(name));
        files.insert(path, Some(text).filter(|_| !(is_old && nothing_left)));
    }
    for (name, lines) in appended {
        let path = site.shorewall().join(name);
        let present = session.sources.find(&path.display().to_string());
        let before = match files.remove(&path) {
            Some(changed) => changed.unwrap_or_default(),
            None => present
                .map(|file| session.sources.text(file).to_owned())
                .unwrap_or_default(),
        };
        let mut text = before;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        for line in lines {
            text.push_str(&line);
            text.push('\n');
        }
        files.insert(path, Some(text));
    }
    (files, changes)
}

/// From the start of a line to the end of the last that the place touches, its end included.
fn whole_lines(session: &Session<'_>, span: Span) -> Span {
    let text = session.sources.text(span.file);
    let start = text[..span.start as usize]
        .rfind('\n')
        .map_or(0, |at| at + 1);
    let end = text[span.end as usize..]
        .find('\n')
        .map_or(text.len(), |at| span.end as usize + at + 1);
    Span {
        file: span.file,
        start: start as u32,
        end: end as u32,
    }
}
