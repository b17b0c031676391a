//! What goes to the terminal: when in colours, and what if the reader went away.

use std::io::{self, IsTerminal, Write as _};

use anyhow::{Context as _, Result};

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
