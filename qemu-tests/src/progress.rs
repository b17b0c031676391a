//! What preparing the lab tells whoever waits for it.

use indicatif::{ProgressBar, ProgressStyle};
use std::sync::{Mutex, PoisonError};

/// One thing to show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A sentence to read.
    Note(&'a str),
    /// The one command that needs root, before it is run.
    Root(&'a str),
    /// How far a step is, in bytes. Ends with `done == total`.
    Bytes {
        /// The step, such as `download`.
        what: &'a str,
        /// Bytes so far.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
}

/// Shows progress on standard error: sentences, and a bar if it is a terminal.
pub fn to_stderr() -> impl Fn(Progress<'_>) {
    let bar: Mutex<Option<ProgressBar>> = Mutex::new(None);
    move |progress| {
        let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Progress::Note(text) => eprintln!("lab: {text}"),
            Progress::Root(command) => eprintln!("lab: as root: {command}"),
            Progress::Bytes { what, done, total } => {
                let shown = bar.get_or_insert_with(|| new_bar(what, total));
                shown.set_position(done);
                if done >= total {
                    shown.finish_and_clear();
                    *bar = None;
                }
            }
        }
    }
}

fn new_bar(what: &str, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    let template = "lab: {prefix} [{bar:30}] {bytes}/{total_bytes} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.with_prefix(what.to_owned())
}
