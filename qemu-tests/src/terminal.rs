//! The user's terminal, by stty.

use std::process::{Command, Stdio};

/// The user's terminal in raw mode, and back when dropped.
pub(crate) struct Terminal {
    saved: Option<String>,
}

impl Terminal {
    pub(crate) fn raw() -> Self {
        let saved = stty(&["-g"]);
        if saved.is_some() {
            stty(&["raw", "-echo"]);
        }
        Self { saved }
    }

    /// Its size as arguments of stty; none if it is no terminal.
    pub(crate) fn size(&self) -> Option<String> {
        let size = stty(&["size"])?;
        let (rows, columns) = size.split_once(' ')?;
        Some(format!("rows {rows} cols {columns}"))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            stty(&[saved]);
        }
    }
}

fn stty(arguments: &[&str]) -> Option<String> {
    let output = Command::new("stty")
        .args(arguments)
        .stdin(Stdio::inherit())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
