//! Compiles the example's configuration, so that the targets that only run it do not link the
//! compiler: every counter of its code would be cleared and read again at each execution.

use firewalldom::policy::blob;
use shorewall::Site;
use std::error::Error;
use std::path::Path;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let example = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../examples/two-interfaces");
    println!("cargo::rerun-if-changed={}", example.display());
    let compiled =
        shorewall::compile(&Site::from_etc(&example)).map_err(|report| report.to_string())?;
    let written = blob::encode(&compiled.policy)?;
    fs::write(
        Path::new(&env::var("OUT_DIR")?).join("site.policy"),
        written,
    )?;
    Ok(())
}
