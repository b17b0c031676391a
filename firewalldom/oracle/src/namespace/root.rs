//! A root made of unpacked packages: nothing is installed, nothing of the host is seen.

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, mount, mount_bind, mount_bind_recursive, mount_remount};
use std::env;
use std::fs;
use std::os::unix::fs::{chroot, symlink};
use std::path::Path;
use std::process::Command;

/// Where a script finds programs: ours for a shell's everyday, then the packages'.
const PATH: &str = "/bin:/usr/sbin:/sbin:/usr/bin:/packages/bin";

/// Folders of the packages that appear under their own names, read-only.
const SHARED: [&str; 4] = ["usr", "lib", "lib64", "sbin"];

/// Folders that the packages do not bring and a running system has.
const EMPTY: [&str; 10] = [
    "bin",
    "dev",
    "packages/bin",
    "proc",
    "run/lock",
    "run/netns",
    "tmp",
    "var/lib/shorewall",
    "var/log",
    "trial",
];

const DEVICES: [&str; 2] = ["dev/null", "dev/urandom"];

/// Names that Debian's alternatives or its postinst make links for.
const LINKS: [(&str, &str); 7] = [
    ("sh", "/packages/bin/dash"),
    ("bash", "/packages/bin/bash"),
    ("ip", "/packages/bin/ip"),
    ("kmod", "/packages/bin/kmod"),
    ("iptables", "/usr/sbin/xtables-nft-multi"),
    ("iptables-restore", "/usr/sbin/xtables-nft-multi"),
    ("iptables-save", "/usr/sbin/xtables-nft-multi"),
];

/// Furnishes `root` out of `packages` and makes it this process's root.
pub(super) fn enter(packages: &Path, root: &Path) -> Result<()> {
    mount("tmpfs", root, "tmpfs", MountFlags::empty(), None).context("mounting a tmpfs")?;
    for folder in SHARED.iter().chain(&EMPTY) {
        fs::create_dir_all(root.join(folder))?;
    }
    for folder in SHARED {
        bind_read_only(&packages.join(folder), &root.join(folder))?;
    }
    bind_read_only(&packages.join("bin"), &root.join("packages/bin"))?;
    copy(&packages.join("etc"), &root.join("etc"))?;
    for device in DEVICES {
        fs::write(root.join(device), "")?;
        mount_bind(Path::new("/").join(device), root.join(device)).context(device)?;
    }
    let proc = root.join("proc");
    // Its own, or, where part of the host's is hidden (in a container), the host's.
    if mount("proc", &proc, "proc", MountFlags::empty(), None).is_err() {
        mount_bind_recursive("/proc", &proc).context("mounting /proc")?;
    }
    link_programs(packages, root)?;
    // Shorewall wants its log there before it says what the kernel can do.
    fs::write(root.join("var/log/messages"), "")?;
    chroot(root)?;
    env::set_current_dir("/")?;
    Ok(())
}

/// A command that finds what a script of Debian's expects.
pub(super) fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", PATH)
        .env("LC_ALL", "C")
        .env("HOME", "/tmp");
    command
}

fn bind_read_only(from: &Path, to: &Path) -> Result<()> {
    mount_bind(from, to).with_context(|| format!("mounting {}", from.display()))?;
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    mount_remount(to, flags, "").with_context(|| format!("making {} read-only", to.display()))?;
    Ok(())
}

/// A shell's everyday programs are busybox's; its package is among the lab's, coreutils is not.
fn link_programs(packages: &Path, root: &Path) -> Result<()> {
    let list = Command::new(packages.join("bin/busybox"))
        .arg("--list")
        .output()
        .context("busybox")?;
    ensure!(list.status.success(), "busybox: {}", list.status);
    let bin = root.join("bin");
    for (name, target) in LINKS {
        symlink(target, bin.join(name))?;
    }
    for name in String::from_utf8(list.stdout)?.lines() {
        if !bin.join(name).is_symlink() {
            symlink("/packages/bin/busybox", bin.join(name))?;
        }
    }
    Ok(())
}

/// Copies files and folders; links and whatever else /etc has are not needed.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
