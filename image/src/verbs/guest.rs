//! `guest`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use image::build as compile;
use image::output::OutputSet;
use image::workspace::Workspace;

use crate::args::Guest;
use crate::terminal::print;

pub(crate) fn perform(guest: &Guest) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let manifest = guest.manifest_path.as_ref().map(|path| {
        path.canonicalize()
            .with_context(|| format!("cannot find {}", path.display()))
    });
    let program = compile::Program {
        package: guest.package.clone(),
        binary: guest.binary.clone(),
        features: guest.features.clone(),
        manifest: manifest.transpose()?,
        environment: Vec::new(),
    };
    let image = compile::program(&workspace, &program, guest.target)?;
    let directory = guest
        .out
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let mut output = OutputSet::new(directory.unwrap_or(Path::new(".")))?;
    let name = guest.out.file_name().context("--out names no file")?;
    output.add(&name.to_string_lossy(), &image.bytes)?;
    output.publish()?;
    print(&format!(
        "{}: {} bytes, built for {}, entry {:#x}; symbols in {}",
        guest.out.display(),
        image.bytes.len(),
        image.target.triple(),
        image.notes.entry,
        image.unstripped.display(),
    ))?;
    Ok(ExitCode::SUCCESS)
}
