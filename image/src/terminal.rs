//! What goes to the terminal: when in colours, and what if the reader went away.

use std::io::{self, IsTerminal, Write as _};

use anyhow::{Context as _, Error, Result};

/// Whether `stream` wants colours: a terminal that can, and a user who did not set `NO_COLOR`.
pub(crate) fn colours(stream: &impl IsTerminal) -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal()
        && !dumb
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A line to standard output; a reader that went away is an error here, not a panic.
pub(crate) fn print(text: &str) -> Result<()> {
    writeln!(io::stdout(), "{text}").context("cannot write to standard output")
}

/// Says on standard error why nothing more is done, as the diagnostics before it are said.
pub(crate) fn complain(error: &Error) {
    let closed = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    // `cargo image check /etc | head`: whoever closed the pipe has read enough.
    if error.chain().any(closed) {
        return;
    }
    let (bold, plain) = if colours(&io::stderr()) {
        ("\u{1b}[0m\u{1b}[1m\u{1b}[38;5;9m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    // Standard error is the last place to tell: when it is closed too, the exit status remains.
    let _ = writeln!(io::stderr(), "{bold}error{plain}: {error:#}");
}
