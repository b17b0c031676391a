//! A crash report's addresses as names, files and lines.
//!
//! Understood are the reports of minios-rs, on a console or in its log, and what Xen itself says
//! of a domain that crashed (`xl dmesg`), when no handler of the domain could run.

mod debug_file;
mod report;

use std::io::{self, Write};

pub use debug_file::{DebugFile, DebugFileError, Frame};
use report::{Address, Found, Reader};

/// Names the addresses of a log that passes through it, line by line.
#[derive(Debug)]
pub struct Symbolizer<'d, 'f> {
    debug: &'d DebugFile<'f>,
    reader: Reader,
    summary: Summary,
}

/// What became of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Crash reports seen.
    pub reports: usize,
    /// Addresses that got a name.
    pub named: usize,
    /// Addresses of a report without one.
    pub unnamed: usize,
    /// Reports that say they are of the debug file's build.
    pub matching: usize,
    /// Build-ids of other builds: the names in their reports are wrong.
    pub foreign: Vec<String>,
}

impl<'d, 'f> Symbolizer<'d, 'f> {
    /// Starts at the begin of a log.
    pub fn new(debug: &'d DebugFile<'f>) -> Self {
        Self {
            debug,
            reader: Reader::default(),
            summary: Summary::default(),
        }
    }

    /// Writes `line`, which ends as it does in the log, with the names of its addresses. A line
    /// without any is written as it is.
    ///
    /// # Errors
    /// As `out` fails.
    pub fn line(&mut self, line: &[u8], out: &mut impl Write) -> io::Result<()> {
        let end = line
            .iter()
            .rposition(|byte| !b"\r\n".contains(byte))
            .map_or(0, |last| last + 1);
        let (content, ending) = line.split_at(end);
        out.write_all(content)?;
        let text = String::from_utf8_lossy(content);
        let newline = if ending.is_empty() { b"\n" } else { ending };
        match self.reader.line(&text) {
            Found::Nothing => {}
            Found::Report => self.summary.reports += 1,
            Found::ReportAt(address) => {
                self.summary.reports += 1;
                self.name(&[address], Layout::Below, newline, out)?;
            }
            Found::BuildId(id) => self.compare(&id, newline, out)?,
            Found::Frame(address) => self.name(&[address], Layout::Beside(end), newline, out)?,
            Found::StackWords(words) => {
                // Most of them are data: only those that are in a function are of interest.
                let in_text: Vec<Address> = words
                    .into_iter()
                    .filter(|word| self.debug.is_text(word.lookup()))
                    .collect();
                self.name(&in_text, Layout::Below, newline, out)?;
            }
        }
        out.write_all(ending)
    }

    /// What became of the log up to here.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    fn compare(&mut self, id: &str, newline: &[u8], out: &mut impl Write) -> io::Result<()> {
        let ours = self.debug.build_id();
        if ours == Some(id) {
            self.summary.matching += 1;
            return Ok(());
        }
        self.summary.foreign.push(id.to_owned());
        out.write_all(newline)?;
        write!(
            out,
            "  WARNING: this report is of another build than the debug file ({}): the names below \
             are wrong",
            ours.unwrap_or("which has no build-id")
        )
    }

    fn name(
        &mut self,
        addresses: &[Address],
        layout: Layout,
        newline: &[u8],
        out: &mut impl Write,
    ) -> io::Result<()> {
        for address in addresses {
            let frames = self.debug.frames(address.lookup());
            if frames.is_empty() {
                self.summary.unnamed += 1;
                continue;
            }
            self.summary.named += 1;
            for (index, frame) in frames.iter().enumerate() {
                let inlined = if index + 1 < frames.len() {
                    " (inlined)"
                } else {
                    ""
                };
                match layout {
                    Layout::Beside(_) if index == 0 => write!(out, "  {frame}{inlined}")?,
                    Layout::Beside(column) => {
                        out.write_all(newline)?;
                        write!(out, "{:column$}  {frame}{inlined}", "")?;
                    }
                    Layout::Below => {
                        out.write_all(newline)?;
                        let shown = if index == 0 {
                            format!("{:#018x}", address.value())
                        } else {
                            String::new()
                        };
                        write!(out, "    {shown:18}  {frame}{inlined}")?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where the names go.
#[derive(Clone, Copy)]
enum Layout {
    /// Into the line, which has so many characters, and below in the same column.
    Beside(usize),
    /// On lines of their own, with the address.
    Below,
}

#[cfg(test)]
mod tests;
