//! Where a site's files come from.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A site's configuration: a Shorewall folder and an interfaces(5) file.
#[derive(Clone, Debug)]
pub struct Site {
    name: String,
    shorewall: PathBuf,
    network: PathBuf,
    /// Whether a shell may run what only a shell can read.
    programs: Programs,
    /// Where an installed Shorewall keeps its macros and actions.
    share: Option<PathBuf>,
    tree: Tree,
}

/// What becomes of `params` that need a shell, and of `?SHELL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Programs {
    /// An error: nothing runs.
    Refused,
    /// A shell runs them, in an empty environment. Only for files on disk.
    Run,
}

/// Files on disk, or held in memory.
#[derive(Clone, Debug)]
enum Tree {
    Disk,
    Memory(BTreeMap<PathBuf, Vec<u8>>),
}

impl Site {
    /// A directory laid out like `/etc`: `shorewall/` and `network/interfaces`.
    ///
    /// The site is called as the directory is.
    pub fn from_etc(directory: impl AsRef<Path>) -> Self {
        let directory = directory.as_ref();
        Self {
            name: base_name(directory),
            shorewall: directory.join("shorewall"),
            network: directory.join("network/interfaces"),
            programs: Programs::Refused,
            share: None,
            tree: Tree::Disk,
        }
    }

    /// A bare Shorewall folder, and the interfaces(5) file that goes with it.
    pub fn new(shorewall: impl AsRef<Path>, network: impl AsRef<Path>) -> Self {
        Self {
            name: base_name(shorewall.as_ref()),
            shorewall: shorewall.as_ref().to_path_buf(),
            network: network.as_ref().to_path_buf(),
            programs: Programs::Refused,
            share: None,
            tree: Tree::Disk,
        }
    }

    /// Files in memory, laid out like `/etc` (`shorewall/zones`, `network/interfaces`).
    pub fn from_files<P, B>(
        name: impl Into<String>,
        files: impl IntoIterator<Item = (P, B)>,
    ) -> Self
    where
        P: Into<PathBuf>,
        B: Into<Vec<u8>>,
    {
        Self {
            name: name.into(),
            shorewall: PathBuf::from("shorewall"),
            network: PathBuf::from("network/interfaces"),
            programs: Programs::Refused,
            share: None,
            tree: Tree::Memory(
                files
                    .into_iter()
                    .map(|(path, bytes)| (path.into(), bytes.into()))
                    .collect(),
            ),
        }
    }

    /// The same site under another name.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same site, with the macros and actions of the Shorewall that is installed there
    /// (Debian's: `/usr/share/shorewall`). The site's own files come before them.
    #[must_use]
    pub fn with_share(mut self, share: impl Into<PathBuf>) -> Self {
        self.share = Some(share.into());
        self
    }

    /// The same site, with its programs run or refused (as without this).
    #[must_use]
    pub fn with_programs(mut self, programs: Programs) -> Self {
        self.programs = programs;
        self
    }

    /// Whether a shell may run what only a shell can read.
    pub(crate) fn runs_programs(&self) -> bool {
        self.programs == Programs::Run && matches!(self.tree, Tree::Disk)
    }

    /// Where macros and actions of an installed Shorewall are.
    pub fn share(&self) -> Option<&Path> {
        self.share.as_deref()
    }

    /// The name of the site, as the domain's console shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Shorewall folder.
    pub fn shorewall(&self) -> &Path {
        &self.shorewall
    }

    /// The interfaces(5) file.
    pub fn network(&self) -> &Path {
        &self.network
    }

    /// The bytes of a file; `None` when it does not exist.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match &self.tree {
            Tree::Memory(files) => Ok(files.get(path).cloned()),
            Tree::Disk => match std::fs::read(path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(error),
            },
        }
    }

    /// Names of the plain files in a directory, sorted; empty when there is no such directory.
    pub(crate) fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let mut names = match &self.tree {
            Tree::Memory(files) => files
                .keys()
                .filter(|path| path.parent() == Some(directory))
                .filter_map(|path| path.file_name()?.to_str().map(String::from))
                .collect(),
            Tree::Disk => {
                let entries = match std::fs::read_dir(directory) {
                    Ok(entries) => entries,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                    Err(error) => return Err(error),
                };
                let mut names = Vec::new();
                for entry in entries {
                    let entry = entry?;
                    if entry.path().is_file()
                        && let Some(name) = entry.file_name().to_str()
                    {
                        names.push(name.to_owned());
                    }
                }
                names
            }
        };
        names.sort();
        Ok(names)
    }

    /// The name a policy carries for a file: independent of where the configuration lies.
    pub(crate) fn short_name(&self, path: &Path) -> String {
        if path == self.network {
            return "network/interfaces".to_owned();
        }
        if let Some(inner) = self.share().and_then(|share| path.strip_prefix(share).ok()) {
            return format!("share/{}", inner.display());
        }
        if let Ok(inner) = path.strip_prefix(&self.shorewall) {
            return format!("shorewall/{}", inner.display());
        }
        path.display().to_string()
    }
}

fn base_name(directory: &Path) -> String {
    let resolved = directory.canonicalize();
    resolved
        .as_deref()
        .unwrap_or(directory)
        .file_name()
        .map_or_else(
            || "site".to_owned(),
            |name| name.to_string_lossy().into_owned(),
        )
}
