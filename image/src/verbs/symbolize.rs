//! `symbolize`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use image::symbolize::{DebugFile, Summary, Symbolizer};

use super::file::read;
use crate::args::Symbolize;

/// A line of a log is not longer; what is, passes in pieces.
const LINE_MAX: u64 = 64 * 1024;

pub(crate) fn perform(symbolize: &Symbolize) -> Result<ExitCode> {
    let file = read(&symbolize.debug)?;
    let debug = DebugFile::read(&file)
        .with_context(|| format!("cannot use {}", symbolize.debug.display()))?;
    let mut log = open(&symbolize.log)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut symbolizer = Symbolizer::new(&debug);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = (&mut log)
            .take(LINE_MAX)
            .read_until(b'\n', &mut line)
            .with_context(|| format!("cannot read {}", symbolize.log.display()))?;
        if length == 0 {
            break;
        }
        symbolizer
            .line(&line, &mut out)
            .and_then(|()| {
                if line.ends_with(b"\n") {
                    out.flush()
                } else {
                    Ok(())
                }
            })
            .context("cannot write to standard output")?;
    }
    out.flush().context("cannot write to standard output")?;
    Ok(tell(symbolizer.summary(), &debug, &symbolize.debug))
}

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    if path == Path::new("-") {
        return Ok(Box::new(io::stdin().lock()));
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Box::new(BufReader::new(file)))
}

/// Says on standard error what a reader of the output should know.
fn tell(summary: &Summary, debug: &DebugFile<'_>, path: &Path) -> ExitCode {
    let path = path.display();
    if summary.reports == 0 {
        eprintln!("xen-image: there is no crash report in the log; it passed as it was");
    } else if summary.matching == 0 && summary.foreign.is_empty() {
        eprintln!(
            "xen-image: no report says of which build it is: the names are right only if {path} is \
             of the image that crashed"
        );
    }
    for id in &summary.foreign {
        eprintln!(
            "xen-image: WARNING: a report is of build {id}, and {path} of build {}: its names are \
             WRONG; find the .debug file that was built with that image",
            debug.build_id().unwrap_or("unknown")
        );
    }
    if summary.foreign.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
