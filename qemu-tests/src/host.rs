//! What the host must have: Debian's tools and QEMU, nothing of Xen.

use crate::progress::Progress;
use crate::{Impossible, impossible};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// The emulator of the lab.
pub(crate) const QEMU: &str = "qemu-system-x86_64";

const INSTALL: &str = "apt-get install -y --no-install-recommends qemu-system-x86";

/// Finds what is missing and installs it, if it is only QEMU.
///
/// # Errors
/// [`Impossible`] when this host cannot run a lab.
pub(crate) fn require_tools(progress: &dyn Fn(Progress<'_>)) -> Result<()> {
    require_package_tools()?;
    if on_path(QEMU) {
        return Ok(());
    }
    install_qemu(progress)?;
    match on_path(QEMU) {
        true => Ok(()),
        false => bail!("{QEMU} is still missing after `{INSTALL}`"),
    }
}

/// Finds what unpacks Debian's packages.
///
/// # Errors
/// [`Impossible`] when this host has no use for them.
pub(crate) fn require_package_tools() -> Result<()> {
    if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
        return impossible("the lab needs Linux on x86-64");
    }
    for tool in ["apt-get", "apt-cache", "dpkg-deb", "setpriv"] {
        if !on_path(tool) {
            return impossible(&format!(
                "{tool} is missing: the lab is made of Debian's packages and needs a Debian host"
            ));
        }
    }
    Ok(())
}

fn install_qemu(progress: &dyn Fn(Progress<'_>)) -> Result<()> {
    // A fresh container has no package lists at all.
    let known = Command::new("apt-cache")
        .args(["show", "qemu-system-x86"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    let command = match known.success() {
        true => INSTALL.to_owned(),
        false => format!("apt-get update && {INSTALL}"),
    };
    let mut run = if is_root()? {
        Command::new("sh")
    } else if on_path("sudo") {
        let mut sudo = Command::new("sudo");
        sudo.arg("sh");
        sudo
    } else {
        return impossible(&format!(
            "{QEMU} is missing, and this user cannot become root: run `{command}` as root"
        ));
    };
    progress(Progress::Root(&command));
    let status = run
        .args(["-c", &format!("{command} >&2")])
        .env("DEBIAN_FRONTEND", "noninteractive")
        .status()
        .context("apt-get")?;
    match status.success() {
        true => Ok(()),
        false => impossible(&format!("`{command}` ended with {status}")),
    }
}

fn is_root() -> Result<bool> {
    let output = Command::new("id").arg("-u").output().context("id -u")?;
    Ok(output.stdout.trim_ascii() == b"0")
}

fn on_path(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([Path::new("/usr/sbin").into(), Path::new("/sbin").into()])
        .any(|folder| folder.join(tool).is_file())
}

/// The host's own Debian release, such as `bookworm`.
pub(crate) fn code_name() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .map(|name| name.trim_matches('"').to_owned());
    name.ok_or_else(|| Impossible("/etc/os-release names no VERSION_CODENAME".to_owned()).into())
}
