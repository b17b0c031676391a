//! Files that appear whole or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result, bail};

/// A set of files for one directory, written beside their final names, flushed to disk, and only
/// then renamed: whoever looks sees each file as it was before or as it is now, never a part of
/// it. When anything fails, the directory is as it was before.
///
/// A process that is killed leaves at most hidden files, which the next one takes away. Between the
/// renames of a set lie microseconds; killed there, a set of new files may stand beside old ones,
/// each of them whole.
#[derive(Debug)]
pub struct OutputSet {
    directory: PathBuf,
    /// The topmost folder that did not exist before.
    created: Option<PathBuf>,
    staged: Vec<Staged>,
    published: bool,
}

#[derive(Debug)]
struct Staged {
    name: OsString,
    progress: Progress,
}

/// How far a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Beside its final name, perhaps in part.
    Beside,
    /// In place of a file that is kept beside.
    Replaced,
    /// In place, where nothing was.
    New,
}

/// Ends the names of files on their way.
const PART: &str = "part";
/// Ends the names of what they replace, until all are in place.
const OLD: &str = "old";

impl OutputSet {
    /// Prepares to write into `directory`, which is created when it does not exist.
    ///
    /// # Errors
    /// When the directory cannot be created or written to.
    pub fn new(directory: &Path) -> Result<Self> {
        let created = first_missing(directory);
        if directory.exists() && !directory.is_dir() {
            bail!(
                "{} is a file: name a folder to write to",
                directory.display()
            );
        }
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create the folder {}", directory.display()))?;
        let set = Self {
            directory: directory.to_owned(),
            created,
            staged: Vec::new(),
            published: false,
        };
        sweep(directory);
        let probe = set.hidden(OsStr::new("xen-image"), PART);
        File::create(&probe)
            .with_context(|| format!("cannot write to the folder {}", directory.display()))?;
        fs::remove_file(&probe)
            .with_context(|| format!("cannot write to the folder {}", directory.display()))?;
        Ok(set)
    }

    /// Tries whether a set of these names could be written, before the work for it is done. The
    /// directory is as before, whatever comes of it.
    ///
    /// # Errors
    /// When the directory cannot be created or written to, or a folder has one of the names.
    pub fn rehearse(directory: &Path, names: &[String]) -> Result<()> {
        let set = Self::new(directory)?;
        names.iter().try_for_each(|name| set.refuse_folder(name))
    }

    fn refuse_folder(&self, name: &str) -> Result<()> {
        let to = self.directory.join(name);
        if to.is_dir() {
            bail!(
                "{} is a folder: move it away, a file of that name is to be written",
                to.display()
            );
        }
        Ok(())
    }

    /// Writes `bytes` beside the final name `name` and flushes them to disk.
    ///
    /// # Errors
    /// When writing fails (no space, no permission) or `name` is a folder's; nothing of the set
    /// becomes visible then.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.refuse_folder(name)?;
        let to = self.directory.join(name);
        // Known to the set before it exists, so that it is removed when writing it fails half-way.
        self.staged.push(Staged {
            name: name.into(),
            progress: Progress::Beside,
        });
        write_and_flush(&self.hidden(OsStr::new(name), PART), bytes)
            .with_context(|| format!("cannot write {}", to.display()))
    }

    /// [`Self::add`] for a file that can be run.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_program(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.add(name, bytes)?;
        let path = self.hidden(OsStr::new(name), PART);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .with_context(|| format!("cannot make {name} a program"))
    }

    /// Gives every file its final name.
    ///
    /// # Errors
    /// When one cannot be renamed; all of them are then as before.
    pub fn publish(mut self) -> Result<()> {
        // Files are renamed in the order they were added, and what names the others (the
        // domain's configuration) is added last.
        for index in 0..self.staged.len() {
            let to = self.directory.join(&self.staged[index].name);
            self.staged[index].progress = self
                .put(index)
                .with_context(|| format!("cannot put {} in place", to.display()))?;
        }
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .with_context(|| format!("cannot flush {} to disk", self.directory.display()))?;
        self.published = true;
        Ok(())
    }

    /// Renames one file, keeping what was there.
    fn put(&self, index: usize) -> io::Result<Progress> {
        let name = &self.staged[index].name;
        let (from, to) = (self.hidden(name, PART), self.directory.join(name));
        let old = self.hidden(name, OLD);
        let progress = match keep(&to, &old) {
            Ok(()) => Progress::Replaced,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Progress::New,
            Err(error) => return Err(error),
        };
        fs::rename(from, &to).inspect_err(|_| {
            let _ = fs::remove_file(&old);
        })?;
        Ok(progress)
    }

    /// `.NAME.PID.END` in the folder.
    fn hidden(&self, name: &OsStr, end: &str) -> PathBuf {
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.{end}", process::id()));
        self.directory.join(hidden)
    }
}

impl Drop for OutputSet {
    fn drop(&mut self) {
        for Staged { name, progress } in &self.staged {
            let (to, old) = (self.directory.join(name), self.hidden(name, OLD));
            // Already failing, or the file was never created: there is nobody left to tell.
            let _ = match (progress, self.published) {
                (Progress::Beside, _) => fs::remove_file(self.hidden(name, PART)),
                (Progress::Replaced, true) => fs::remove_file(old),
                (Progress::Replaced, false) => fs::rename(old, to),
                (Progress::New, true) => Ok(()),
                (Progress::New, false) => fs::remove_file(to),
            };
        }
        if let (false, Some(created)) = (self.published, &self.created) {
            // From the innermost up to the topmost that is ours, while nobody put anything there.
            for folder in self.directory.ancestors() {
                if fs::remove_dir(folder).is_err() || folder == created {
                    break;
                }
            }
        }
    }
}

/// The topmost of a path's folders that does not exist.
fn first_missing(directory: &Path) -> Option<PathBuf> {
    directory
        .ancestors()
        .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
        .last()
        .map(Path::to_owned)
}

/// A second name for what is at `from`, or a copy where the file system has no second names.
fn keep(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(_) => fs::copy(from, to).map(|_| ()),
    }
}

/// Takes away what processes that were killed have left in a folder.
fn sweep(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(owner) = name.to_str().and_then(owner) else {
            continue;
        };
        let is_alive = Path::new("/proc").join(owner.to_string()).exists();
        if !is_alive {
            // It is in nobody's way.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// The process that a hidden file belongs to.
fn owner(name: &str) -> Option<u32> {
    let rest = name.strip_prefix('.')?;
    let (rest, end) = rest.rsplit_once('.')?;
    if end != PART && end != OLD {
        return None;
    }
    rest.rsplit_once('.')?.1.parse().ok()
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
mod tests;
