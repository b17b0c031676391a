//! Examples built as the appliance is.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds an example with the appliance's own optimisation, and without what other packages of the
/// workspace ask of the engine; the path of the program.
pub(crate) fn example(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--profile", "appliance"])
        .args(["--package", "firewalldom", "--example", name])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root)
        .output()
        .expect("cargo runs");
    let messages = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "the example {name} does not compile: {errors}"
    );
    let (_, path) = messages
        .rsplit_once("\"executable\":\"")
        .expect("cargo says where it is");
    let (path, _) = path.split_once('"').expect("the path ends");
    PathBuf::from(path)
}
