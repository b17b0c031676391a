//! Files that appear whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A set of files for one directory, written beside their final names, flushed to disk, and only
/// then renamed: whoever looks sees each file as it was before or as it is now, never a part of
/// it. When anything fails before the renames, the directory is as it was.
#[derive(Debug)]
pub struct OutputSet {
    directory: PathBuf,
    staged: Vec<Staged>,
}

#[derive(Debug)]
struct Staged {
    beside: PathBuf,
    name: OsString,
}

impl OutputSet {
    /// Prepares to write into `directory`, which is created when it does not exist.
    ///
    /// # Errors
    /// When the directory cannot be created.
    pub fn new(directory: &Path) -> Result<Self> {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create the folder {}", directory.display()))?;
        Ok(Self {
            directory: directory.to_owned(),
            staged: Vec::new(),
        })
    }

    /// Writes `bytes` beside the final name `name` and flushes them to disk.
    ///
    /// # Errors
    /// When writing fails (no space, no permission); nothing of the set becomes visible then.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let beside = self
            .directory
            .join(format!(".{name}.{}.part", std::process::id()));
        // Known to the set before it exists, so that it is removed when writing it fails half-way.
        self.staged.push(Staged {
            beside: beside.clone(),
            name: name.into(),
        });
        write_and_flush(&beside, bytes)
            .with_context(|| format!("cannot write {}", self.directory.join(name).display()))
    }

    /// Gives every file its final name.
    ///
    /// # Errors
    /// When a rename fails; what was not renamed is removed.
    pub fn publish(mut self) -> Result<()> {
        // Files are renamed in the order they were added, and what names the others (the
        // domain's configuration) is added last.
        while !self.staged.is_empty() {
            let to = self.directory.join(&self.staged[0].name);
            fs::rename(&self.staged[0].beside, &to)
                .with_context(|| format!("cannot put {} in place", to.display()))?;
            self.staged.remove(0);
        }
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .with_context(|| format!("cannot flush {} to disk", self.directory.display()))
    }
}

impl Drop for OutputSet {
    fn drop(&mut self) {
        for staged in &self.staged {
            // Already failing, or the file was never created: there is nobody left to tell.
            let _ = fs::remove_file(&staged.beside);
        }
    }
}

fn write_and_flush(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn published_files_replace_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), "old").unwrap();
        let mut set = OutputSet::new(directory.path()).unwrap();
        set.add("a", b"new").unwrap();
        set.add("b", b"more").unwrap();
        assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"old");
        set.publish().unwrap();
        assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["a", "b"]);
    }

    #[test]
    fn a_set_given_up_leaves_the_folder_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a"), "old").unwrap();
        let mut set = OutputSet::new(directory.path()).unwrap();
        set.add("a", b"new").unwrap();
        drop(set);
        assert_eq!(fs::read(directory.path().join("a")).unwrap(), b"old");
        assert_eq!(names(directory.path()), ["a"]);
    }

    #[test]
    fn a_name_taken_by_a_folder_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("a")).unwrap();
        let mut set = OutputSet::new(directory.path()).unwrap();
        set.add("a", b"new").unwrap();
        let error = set.publish().unwrap_err();
        assert!(format!("{error:#}").contains("/a in place"), "{error:#}");
        assert_eq!(names(directory.path()), ["a"]);
    }

    #[test]
    fn the_folder_is_created_with_its_parents() {
        let directory = tempfile::tempdir().unwrap();
        let nested = directory.path().join("x/y");
        let mut set = OutputSet::new(&nested).unwrap();
        set.add("a", b"1").unwrap();
        set.publish().unwrap();
        assert_eq!(names(&nested), ["a"]);
    }
}
