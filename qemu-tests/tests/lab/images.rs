//! Images of ours, built once each for all tests.

use anyhow::{Context, Result};
use image::build::{Program, TargetChoice, program};
use image::workspace::Workspace;
use qemu_tests::Machine;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What was built so far: package, binary and target to the image's bytes.
static BUILT: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());

/// Builds a binary, or takes it from earlier, and puts it where dom0 sees it as `/share/NAME`; that path.
pub(crate) fn put(
    machine: &Machine,
    package: &str,
    binary: &str,
    target: TargetChoice,
) -> Result<String> {
    let name = format!("{binary}-{target:?}.xen").to_lowercase();
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.contains_key(&name) {
        let wanted = Program {
            package: package.to_owned(),
            binary: binary.to_owned(),
            features: vec!["xen".to_owned()],
            manifest: None,
            environment: Vec::new(),
        };
        let image = program(&Workspace::find()?, &wanted, target)
            .with_context(|| format!("building {binary} for {target:?}"))?;
        built.insert(name.clone(), image.bytes);
    }
    std::fs::write(machine.share().join(&name), &built[&name])?;
    Ok(format!("/share/{name}"))
}
