//! `check --fix`: a site's old spellings, written as Shorewall 5.2 writes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};

use anyhow::{Context as _, Result, bail};
use shorewall::Site;

use crate::terminal::print;

/// Writes a copy of the site to `out`, which must not exist; the site itself stays as it is.
pub(super) fn perform(site: &Site, config: &Path, out: &Path) -> Result<ExitCode> {
    if out.exists() {
        bail!(
            "{} is there already: --out names a folder to be made",
            out.display()
        );
    }
    let modern = shorewall::modernize(site);
    let mut files = copies(site, config)?;
    let mut changed = 0;
    for (path, text) in modern.files {
        let Some(name) = name_in_copy(site, config, &path) else {
            bail!(
                "{} lies outside of {} and would have to change: do it by hand, or copy it in",
                path.display(),
                config.display()
            );
        };
        let before = files.get(&name);
        if before.is_some_and(|bytes| str::from_utf8(bytes).is_err()) {
            bail!(
                "{} is not UTF-8: convert it first, as with `iconv -f latin1 -t utf-8`",
                path.display()
            );
        }
        changed += 1;
        match text {
            Some(text) => files.insert(name, text.into_bytes()),
            None => files.remove(&name),
        };
    }
    write(&files, out)?;
    let out = out.display();
    print(&match changed {
        0 => format!("{out} is a copy: nothing in it was written in an old way"),
        1 => format!("{out} is written as Shorewall 5.2 does: 1 file differs"),
        many => format!("{out} is written as Shorewall 5.2 does: {many} files differ"),
    })?;
    print(&format!(
        "what else there is to say of it: check {out}{}",
        if config == site.shorewall() {
            " --network FILE"
        } else {
            ""
        }
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// The files of the copy, by their names in it: Shorewall's folder, and beside it interfaces(5).
fn copies(site: &Site, config: &Path) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![site.shorewall().to_owned()];
    if let Some(network) = site.network().parent()
        && network.starts_with(config)
        && network != config
    {
        folders.push(network.to_owned());
    }
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            // That there are no interfaces is for `check` to say.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", folder.display()));
            }
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(name) = name_in_copy(site, config, &path) {
                let bytes =
                    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
                files.insert(name, bytes);
            }
        }
    }
    Ok(files)
}

fn name_in_copy(site: &Site, config: &Path, path: &Path) -> Option<PathBuf> {
    let inside = path.strip_prefix(config).ok()?;
    // A bare Shorewall folder has its files at the top, and nothing else belongs to the site.
    let belongs = path.starts_with(site.shorewall())
        || site
            .network()
            .parent()
            .is_some_and(|network| path.starts_with(network));
    belongs.then(|| inside.to_owned())
}

/// All of the files or none: written beside, then renamed.
fn write(files: &BTreeMap<PathBuf, Vec<u8>>, out: &Path) -> Result<()> {
    let name = out
        .file_name()
        .with_context(|| format!("{} names no folder", out.display()))?;
    let beside = out.with_file_name(format!(
        ".{}.{}.part",
        name.to_string_lossy(),
        process::id()
    ));
    let written = write_files(files, &beside).and_then(|()| {
        fs::rename(&beside, out).with_context(|| format!("cannot make {}", out.display()))
    });
    if written.is_err() {
        // The error that matters is the one above.
        let _ = fs::remove_dir_all(&beside);
    }
    written
}

fn write_files(files: &BTreeMap<PathBuf, Vec<u8>>, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (name, bytes) in files {
        let path = folder.join(name);
        let error = || format!("cannot write {}", path.display());
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(error)?;
        }
        fs::write(&path, bytes).with_context(error)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn old_site(root: &Path) -> PathBuf {
        let etc = root.join("etc");
        let write = |name: &str, bytes: &[u8]| {
            let path = etc.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        };
        write(
            "network/interfaces",
            b"source /etc/network/interfaces.d/*\n",
        );
        write(
            "network/interfaces.d/eth0",
            b"iface eth0 inet static\n address 192.0.2.2/24\n",
        );
        write("passwd", b"not ours\n");
        write("shorewall/zones", b"fw firewall\nnet ipv4\n");
        write("shorewall/interfaces", b"net eth0 detect\n");
        write("shorewall/policy", b"all all DROP\n");
        write("shorewall/masq", b"eth0 10.0.3.0/24\n");
        write("shorewall/rules", b"SECTION NEW\nSSH/ACCEPT net fw\n");
        write("shorewall/notes/why", b"\xe4lter\n");
        etc
    }

    #[test]
    fn a_copy_is_made_and_the_site_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let etc = old_site(root.path());
        let out = root.path().join("new");
        perform(&Site::from_etc(&etc), &etc, &out).unwrap();
        let read = |name: &str| fs::read_to_string(out.join(name));
        assert_eq!(
            read("shorewall/rules").unwrap(),
            "?SECTION NEW\nSSH(ACCEPT) net fw\n"
        );
        assert_eq!(
            read("shorewall/interfaces").unwrap(),
            "?FORMAT 2\nnet eth0 \n"
        );
        assert_eq!(
            read("shorewall/snat").unwrap(),
            "MASQUERADE\t10.0.3.0/24\teth0\n"
        );
        assert!(read("shorewall/masq").is_err() && read("passwd").is_err());
        assert!(read("network/interfaces.d/eth0").is_ok());
        assert_eq!(
            fs::read(out.join("shorewall/notes/why")).unwrap(),
            b"\xe4lter\n"
        );
        assert!(shorewall::compile(&Site::from_etc(&out)).is_ok());
        assert!(etc.join("shorewall/masq").exists());
        let again = perform(&Site::from_etc(&etc), &etc, &out).unwrap_err();
        assert!(again.to_string().contains("is there already"), "{again}");
    }

    #[test]
    fn nothing_is_written_when_a_file_cannot_be_changed_faithfully() {
        let root = tempfile::tempdir().unwrap();
        let etc = old_site(root.path());
        fs::write(etc.join("shorewall/rules"), b"SSH/ACCEPT net fw # f\xfcr\n").unwrap();
        let out = root.path().join("new");
        let error = perform(&Site::from_etc(&etc), &etc, &out).unwrap_err();
        assert!(error.to_string().contains("not UTF-8"), "{error}");
        assert!(!out.exists());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
