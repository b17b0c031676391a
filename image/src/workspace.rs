//! Where this project's sources and its `target` folder are.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The checkout that this tool was built from.
#[derive(Clone, Debug)]
pub struct Workspace {
    root: PathBuf,
}

impl Workspace {
    /// Finds the checkout: the current directory or one of its parents, else the place where this
    /// tool was compiled.
    ///
    /// # Errors
    /// When neither place holds the project.
    pub fn find() -> Result<Self> {
        let compiled_in = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let here = std::env::current_dir().ok();
        let candidates = here
            .iter()
            .flat_map(|dir| dir.ancestors())
            .chain(compiled_in);
        for root in candidates {
            if root.join("Cargo.lock").is_file() && root.join("minios-rs").is_dir() {
                return Ok(Self {
                    root: root.canonicalize()?,
                });
            }
        }
        bail!(
            "the project's sources are neither around the current directory nor in {}: run \
             xen-image as `cargo image` inside a checkout",
            compiled_in.unwrap_or(Path::new("?")).display()
        )
    }

    /// The top folder, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's output folder of this workspace. Everything the tool writes by itself lies in it.
    pub fn target(&self) -> PathBuf {
        self.root.join("target")
    }
}
