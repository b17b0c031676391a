//! `clean`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use image::workspace::Workspace;

use crate::terminal::print;

/// Folders under `target/` that this tool fills.
const KEPT: [&str; 3] = ["lab", "appliance", "image"];

pub(crate) fn perform() -> Result<ExitCode> {
    let target = Workspace::find()?.target();
    let mut removed: Vec<PathBuf> = Vec::new();
    for name in KEPT {
        let directory = target.join(name);
        match fs::remove_dir_all(&directory) {
            Ok(()) => removed.push(directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot remove {}", directory.display()));
            }
        }
    }
    for directory in &removed {
        print(&format!("removed {}", directory.display()))?;
    }
    if removed.is_empty() {
        print("there was nothing to remove")?;
    }
    // Named by the user, so it may hold what is not ours.
    if let Some(lab) = std::env::var_os("XEN_LAB_DIR") {
        print(&format!(
            "left alone: {} (XEN_LAB_DIR)",
            Path::new(&lab).display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
