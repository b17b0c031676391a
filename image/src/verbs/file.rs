//! Reading a file that the user named.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

/// All of a file's bytes; a folder or a missing file is an error in words.
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    if path.is_dir() {
        bail!("{} is a folder: name a file in it", path.display());
    }
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}
