//! The unpacked packages, and copies from them into an initrd.

use crate::cpio::Archive;
use anyhow::{Context, Result, anyhow, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use xmas_elf::ElfFile;
use xmas_elf::dynamic::Tag;
use xmas_elf::sections::SectionData;

/// Where Debian's loader looks without a cache of its own.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// The folders of / that are links into /usr wherever these packages are
/// installed.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// How many symbolic links one path may lead through; releases have two.
const LINKS: u32 = 8;

/// What modprobe reads; the same as text would only make initrds larger.
const INDICES: [&str; 5] = [
    "modules.alias.bin",
    "modules.builtin.alias.bin",
    "modules.builtin.bin",
    "modules.dep.bin",
    "modules.softdep",
];

/// A folder the packages were unpacked into.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    root: PathBuf,
}

impl Tree {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the links from / into /usr that an installed system has, for the
    /// folders that no package brought as such: Debian 13 ships everything in
    /// /usr, and depmod looks in /lib.
    pub(crate) fn link_merged_folders(&self) -> Result<()> {
        for folder in MERGED {
            let link = self.root.join(folder);
            if fs::symlink_metadata(&link).is_err() {
                symlink(format!("usr/{folder}"), &link)
                    .with_context(|| link.display().to_string())?;
            }
        }
        Ok(())
    }

    /// The file at `path`, wherever the release put it: older packages still
    /// ship /bin, /sbin and /lib beside /usr.
    pub(crate) fn find(&self, path: &str) -> Result<PathBuf> {
        let other = match path.strip_prefix("usr/") {
            Some(short) => short.to_owned(),
            None => format!("usr/{path}"),
        };
        [path, &other]
            .iter()
            .map(|path| self.root.join(path))
            .find(|path| fs::symlink_metadata(path).is_ok())
            .ok_or_else(|| anyhow!("no package of the lab has /{path}"))
    }

    /// The one folder entry of `folder` whose name `matches`.
    pub(crate) fn only(&self, folder: &str, matches: impl Fn(&str) -> bool) -> Result<String> {
        let path = self.find(folder)?;
        let mut found = None;
        for entry in fs::read_dir(&path).with_context(|| path.display().to_string())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if matches(&name) && found.replace(name).is_some() {
                bail!("{} has more than one candidate", path.display());
            }
        }
        found.ok_or_else(|| anyhow!("{} has no candidate", path.display()))
    }

    /// The release of the one kernel that was unpacked.
    pub(crate) fn kernel_release(&self) -> Result<String> {
        self.only("lib/modules", |_| true)
    }

    /// Linux, as Xen and QEMU load it.
    pub(crate) fn kernel(&self) -> Result<PathBuf> {
        self.find(&format!("boot/vmlinuz-{}", self.kernel_release()?))
    }

    /// Xen's private folder, such as `usr/lib/xen-4.17`.
    pub(crate) fn xen_folder(&self) -> Result<String> {
        let name = self.only("usr/lib", |name| {
            name.strip_prefix("xen-")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        })?;
        Ok(format!("usr/lib/{name}"))
    }

    /// A command that runs an unpacked program on the host, by its release's own loader and
    /// libraries.
    pub(crate) fn host_command(&self, name: &str, program: &Path) -> Result<Command> {
        let libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"]
            .map(|path| self.root().join(path).display().to_string());
        let mut command = Command::new(self.resolve("lib64/ld-linux-x86-64.so.2")?);
        command
            .args(["--argv0", name, "--library-path", &libraries.join(":")])
            .arg(program);
        Ok(command)
    }

    /// The file at `path` itself, where that is a symbolic link.
    pub(crate) fn resolve(&self, path: &str) -> Result<PathBuf> {
        Ok(self.follow(path, |_, _| ())?.1)
    }

    /// Follows symbolic links as the release itself would: an absolute one
    /// stays below the root, since the host's file of that name may be of
    /// another release. `seen` is told each link's place and target; what is
    /// returned is the place of the file and where it was unpacked.
    fn follow(&self, path: &str, mut seen: impl FnMut(&str, &str)) -> Result<(String, PathBuf)> {
        let mut place = merged(path);
        let mut file = self.find(path)?;
        for _ in 0..LINKS {
            if !fs::symlink_metadata(&file)?.is_symlink() {
                return Ok((place, file));
            }
            let target = fs::read_link(&file)?;
            let target = target.to_string_lossy();
            seen(&place, &target);
            let absolute = match target.strip_prefix('/') {
                Some(absolute) => absolute.to_owned(),
                None => join(&place, &target),
            };
            place = merged(&absolute);
            file = self.find(&absolute)?;
        }
        bail!("/{path} is a symbolic link that does not end")
    }

    /// Adds a program with the libraries it needs, following symbolic links.
    pub(crate) fn add_program(&self, archive: &mut Archive, path: &str) -> Result<()> {
        let (place, file) = self.follow(path, |link, target| archive.symlink(link, target))?;
        let content = fs::read(&file).with_context(|| file.display().to_string())?;
        self.add_libraries(archive, &content)
            .with_context(|| format!("libraries of {}", file.display()))?;
        archive.file(&place, 0o755, content);
        Ok(())
    }

    fn add_libraries(&self, archive: &mut Archive, elf: &[u8]) -> Result<()> {
        for name in needed(elf)? {
            let place = match name.starts_with("ld-linux") {
                true => format!("usr/lib64/{name}"),
                false => format!("{LIBRARIES}/{name}"),
            };
            if archive.contains(&place) {
                continue;
            }
            let private = format!("{}/lib/x86_64-linux-gnu/{name}", self.xen_folder()?);
            let file = self.resolve(&place).or_else(|_| self.resolve(&private))?;
            let content = fs::read(&file).with_context(|| file.display().to_string())?;
            archive.file(&place, 0o755, content.clone());
            self.add_libraries(archive, &content)?;
        }
        Ok(())
    }

    /// Adds modules, what they depend on, and the indices modprobe reads.
    pub(crate) fn add_modules(&self, archive: &mut Archive, wanted: &[&str]) -> Result<()> {
        let release = self.kernel_release()?;
        let folder = self.find(&format!("lib/modules/{release}"))?;
        let dep = fs::read_to_string(folder.join("modules.dep"))?;
        let dependencies: BTreeMap<&str, &str> = dep
            .lines()
            .filter_map(|line| line.split_once(':'))
            .collect();
        let mut chosen = BTreeSet::new();
        for wanted in wanted {
            let before = chosen.len();
            for (&path, others) in &dependencies {
                let fits = match wanted.contains('/') {
                    true => path.starts_with(wanted),
                    false => module_name(path) == wanted.replace('-', "_"),
                };
                if fits {
                    chosen.insert(path);
                    chosen.extend(others.split_whitespace());
                }
            }
            let builtin = || -> Result<bool> {
                let list = fs::read_to_string(folder.join("modules.builtin"))?;
                Ok(list
                    .lines()
                    .any(|path| module_name(path) == wanted.replace('-', "_")))
            };
            let known = || {
                dependencies
                    .keys()
                    .any(|path| module_name(path) == wanted.replace('-', "_"))
            };
            if chosen.len() == before && !known() && !builtin()? {
                bail!("Linux {release} has no module {wanted}");
            }
        }
        let place = format!("usr/lib/modules/{release}");
        for path in chosen {
            archive.file(
                &format!("{place}/{path}"),
                0o644,
                fs::read(folder.join(path))?,
            );
        }
        for index in INDICES {
            let content = fs::read(folder.join(index)).context(index)?;
            archive.file(&format!("{place}/{index}"), 0o644, content);
        }
        Ok(())
    }
}

/// `kernel/net/8021q/8021q.ko.xz` to `8021q`, dashes as underscores.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// Where a path lies once /bin, /sbin and /lib are links into /usr.
pub(crate) fn merged(path: &str) -> String {
    match path.starts_with("bin/") || path.starts_with("sbin/") || path.starts_with("lib") {
        true => format!("usr/{path}"),
        false => path.to_owned(),
    }
}

/// A link target relative to the link's own path.
fn join(link: &str, target: &str) -> String {
    let mut parts: Vec<&str> = link.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            ".." => drop(parts.pop()),
            "." | "" => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The libraries an ELF file names as NEEDED; none if it is no ELF file.
fn needed(bytes: &[u8]) -> Result<Vec<String>> {
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(Vec::new());
    }
    let elf = ElfFile::new(bytes).map_err(|error| anyhow!(error))?;
    let mut names = Vec::new();
    for section in elf.section_iter() {
        let Ok(SectionData::Dynamic64(entries)) = section.get_data(&elf) else {
            continue;
        };
        for entry in entries {
            if matches!(entry.get_tag(), Ok(Tag::Needed)) {
                let offset = entry.get_val().map_err(|error| anyhow!(error))?;
                let offset = u32::try_from(offset)?;
                let name = elf.get_dyn_string(offset).map_err(|error| anyhow!(error))?;
                names.push(name.to_owned());
            }
        }
        // The loader itself is named by INTERP only, in programs.
        if let Some(interp) = elf.find_section_by_name(".interp") {
            let path = interp.raw_data(&elf);
            let path = String::from_utf8_lossy(path);
            let path = path.trim_end_matches('\0');
            names.extend(path.rsplit('/').next().map(str::to_owned));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_resolve_beside_themselves() {
        assert_eq!(join("usr/sbin/xl", "../lib/xen/xl"), "usr/lib/xen/xl");
        assert_eq!(join("usr/sbin/modprobe", "kmod"), "usr/sbin/kmod");
    }

    #[test]
    fn an_absolute_link_stays_in_the_tree_and_a_circle_ends() {
        let root = tempfile::tempdir().unwrap();
        let path = |path: &str| root.path().join(path);
        fs::create_dir_all(path("usr/bin")).unwrap();
        fs::write(path("usr/bin/real"), "of the release").unwrap();
        // As Debian 12 links its loader: where /bin is a link to /usr/bin.
        symlink("/bin/real", path("usr/bin/link")).unwrap();
        symlink("circle", path("usr/bin/circle")).unwrap();
        let tree = Tree::new(root.path().to_owned());
        assert_eq!(tree.resolve("bin/link").unwrap(), path("usr/bin/real"));
        let error = tree.resolve("bin/circle").unwrap_err().to_string();
        assert!(error.contains("does not end"), "{error}");
        assert!(tree.resolve("bin/missing").is_err());
    }

    #[test]
    fn folders_are_linked_into_usr_unless_a_package_has_them() {
        let root = tempfile::tempdir().unwrap();
        let path = |path: &str| root.path().join(path);
        fs::create_dir_all(path("usr/lib/modules")).unwrap();
        fs::create_dir_all(path("bin")).unwrap();
        Tree::new(root.path().to_owned())
            .link_merged_folders()
            .unwrap();
        assert!(path("lib/modules").is_dir());
        assert!(path("bin").is_dir() && !path("bin").is_symlink());
    }

    #[test]
    fn module_names_are_what_modprobe_takes() {
        assert_eq!(module_name("kernel/net/xen-netback.ko.xz"), "xen_netback");
    }

    #[test]
    fn the_running_program_needs_libc_and_a_loader() {
        let own = fs::read(std::env::current_exe().unwrap()).unwrap();
        let names = needed(&own).unwrap();
        assert!(
            names.iter().any(|name| name.starts_with("libc.so")),
            "{names:?}"
        );
        assert!(
            names.iter().any(|name| name.starts_with("ld-linux")),
            "{names:?}"
        );
        assert!(needed(b"#!/bin/sh\n").unwrap().is_empty());
    }
}
