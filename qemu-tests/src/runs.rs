//! The folders of runs: one for each boot.

use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;
use tempfile::TempDir;

/// Folders of finished runs that are kept.
const KEPT_RUNS: usize = 20;

/// Makes the folder of a new run, and removes the oldest finished ones.
pub(crate) fn begin(runs: &Path, name: &str) -> Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    fs::create_dir_all(runs)?;
    let mut old: Vec<(SystemTime, PathBuf)> = fs::read_dir(runs)?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .filter(|(_, path)| !is_alive(path))
        .collect();
    old.sort();
    for (_, path) in &old[..old.len().saturating_sub(KEPT_RUNS)] {
        let _ = fs::remove_dir_all(path);
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let seconds = SystemTime::UNIX_EPOCH.elapsed()?.as_secs();
    let run = runs.join(format!("{seconds}-{name}-{}-{number}", process::id()));
    fs::create_dir_all(run.join("share")).with_context(|| run.display().to_string())?;
    Ok(run)
}

fn is_alive(run: &Path) -> bool {
    fs::read_to_string(run.join("pid"))
        .is_ok_and(|pid| Path::new("/proc").join(pid.trim()).exists())
}

/// Where the agent's socket is: in the run's folder, or, if that is deeper
/// than the name of a Unix socket may be long (108 bytes), in one of its own.
pub(crate) fn socket_path(run: &Path) -> Result<(PathBuf, Option<TempDir>)> {
    let path = run.join("agent");
    if path.as_os_str().len() < 108 {
        return Ok((path, None));
    }
    let folder = tempfile::Builder::new().prefix("xen-lab-").tempdir()?;
    Ok((folder.path().join("agent"), Some(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deep_folder_gets_its_socket_elsewhere() {
        let (near, folder) = socket_path(Path::new("/t/lab/runs/1")).unwrap();
        assert!(near.starts_with("/t/lab") && folder.is_none());
        let (far, folder) = socket_path(Path::new(&"/deep".repeat(30))).unwrap();
        assert!(far.as_os_str().len() < 108 && folder.is_some());
    }

    #[test]
    fn old_runs_go_and_live_ones_stay() {
        let runs = tempfile::tempdir().unwrap();
        let alive = begin(runs.path(), "alive").unwrap();
        fs::write(alive.join("pid"), process::id().to_string()).unwrap();
        for _ in 0..KEPT_RUNS + 5 {
            begin(runs.path(), "done").unwrap();
        }
        assert!(alive.is_dir());
        let left = fs::read_dir(runs.path()).unwrap().count();
        assert_eq!(left, KEPT_RUNS + 2, "kept, alive, and the newest");
    }
}
