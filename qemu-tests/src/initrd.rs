//! The initial RAM disks of dom0 and of Debian guests.

use crate::cpio::Archive;
use crate::recipe::{
    BACKEND_MODULES, BACKEND_PROGRAMS, BIOS, CARD_ROMS, DEVICE_MODEL, DEVICE_MODEL_FILES,
    DOM0_MODULES, DOM0_PROGRAMS, DRIVER_MODULES, GUEST_MODULES, GUEST_PROGRAMS, IPTABLES, PROGRAMS,
    PROTOCOLS, ROUTER_MODULES, ROUTER_PROGRAMS, XEN_PROGRAMS, XTABLES,
};
use crate::tree::Tree;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::Command;

pub(crate) const DOM0_INIT: &str = include_str!("dom0/init.sh");
pub(crate) const VIF_SCRIPT: &str = include_str!("dom0/vif-lab.sh");
pub(crate) const BLOCK_SCRIPT: &str = include_str!("dom0/block-lab.sh");
pub(crate) const XL_CONF: &str = "autoballoon=\"off\"\nvif.default.script=\"vif-lab\"\n";

/// What dom0 and guests have in common: iproute2, kmod, busybox.
fn base(tree: &Tree) -> Result<Archive> {
    let mut archive = Archive::default();
    for folder in [
        "dev",
        "etc",
        "proc",
        "root",
        "run",
        "sys",
        "tmp",
        "usr/lib64",
        "var/log",
    ] {
        archive.directory(folder);
    }
    for (link, target) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/sbin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
        ("var/run", "/run"),
        ("var/lock", "/run/lock"),
        ("etc/mtab", "/proc/mounts"),
    ] {
        archive.symlink(link, target);
    }
    for (file, content) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/bash\n"),
        ("etc/group", "root:x:0:\n"),
        ("etc/hosts", "127.0.0.1 localhost\n"),
        (
            "etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files\n",
        ),
        ("etc/protocols", PROTOCOLS),
    ] {
        archive.file(file, 0o644, content);
    }
    for program in PROGRAMS {
        tree.add_program(&mut archive, program)?;
    }
    tree.add_program(&mut archive, "bin/busybox")?;
    // Loaded by name at run time: pthread_cancel aborts without the one, and
    // kmod reads compressed modules with the other.
    tree.add_program(&mut archive, "lib/x86_64-linux-gnu/libgcc_s.so.1")?;
    tree.add_program(&mut archive, "lib/x86_64-linux-gnu/liblzma.so.5")?;
    for applet in busybox_applets(tree)? {
        archive.symlink(&format!("usr/lib/busybox/{applet}"), "/usr/bin/busybox");
    }
    Ok(archive)
}

/// A Debian guest's that routes: iptables, and what Shorewall's script expects on its PATH.
pub(crate) fn router(tree: &Tree) -> Result<Archive> {
    router_with(tree, &[])
}

/// The same of one that guests hang off: with netback, and what `xl devd` needs.
pub(crate) fn gateway(tree: &Tree) -> Result<Archive> {
    let mut archive = router_with(tree, BACKEND_MODULES)?;
    add_devd(tree, &mut archive)?;
    Ok(archive)
}

/// A Debian guest's that drives a card of this module for others.
pub(crate) fn driver(tree: &Tree, module: &str) -> Result<Archive> {
    let mut archive = plain(tree)?;
    tree.add_modules(
        &mut archive,
        &[DRIVER_MODULES, BACKEND_MODULES, &[module]].concat(),
    )?;
    add_devd(tree, &mut archive)?;
    // libxl names the script that dom0's configuration names, wherever the backend is; it puts a vif on a bridge.
    archive.file("etc/xen/scripts/vif-lab", 0o755, VIF_SCRIPT);
    Ok(archive)
}

/// What `xl devd` needs.
fn add_devd(tree: &Tree, archive: &mut Archive) -> Result<()> {
    for program in BACKEND_PROGRAMS {
        tree.add_program(archive, program)?;
    }
    let xl = format!("{}/bin/xl", tree.xen_folder()?);
    tree.add_program(archive, &xl)?;
    archive.symlink("usr/sbin/xl", &format!("/{xl}"));
    archive.file("etc/xen/xl.conf", 0o644, "");
    for folder in ["var/lib/xen", "var/log/xen"] {
        archive.directory(folder);
    }
    Ok(())
}

fn router_with(tree: &Tree, modules: &[&str]) -> Result<Archive> {
    let mut archive = plain(tree)?;
    for name in IPTABLES {
        archive.symlink(&format!("usr/sbin/{name}"), "xtables-nft-multi");
    }
    for name in XTABLES {
        let path = format!("usr/lib/x86_64-linux-gnu/xtables/{name}.so");
        tree.add_program(&mut archive, &path)?;
    }
    for program in ROUTER_PROGRAMS {
        tree.add_program(&mut archive, program)?;
    }
    tree.add_modules(&mut archive, &[ROUTER_MODULES, modules].concat())?;
    Ok(archive)
}

/// What every Debian guest has: dash, and busybox for all else on its PATH.
fn plain(tree: &Tree) -> Result<Archive> {
    let mut archive = base(tree)?;
    tree.add_program(&mut archive, "bin/dash")?;
    archive.symlink("usr/bin/sh", "dash");
    for applet in busybox_applets(tree)? {
        let known = ["bin", "sbin"].map(|folder| format!("usr/{folder}/{applet}"));
        if !known.iter().any(|path| archive.contains(path)) {
            archive.symlink(&known[0], "busybox");
        }
    }
    Ok(archive)
}

/// A Debian guest's that does as it is told: no more than it is told to use, since what it unpacks it is waited for.
pub(crate) fn guest(tree: &Tree) -> Result<Archive> {
    let mut archive = plain(tree)?;
    for program in GUEST_PROGRAMS {
        tree.add_program(&mut archive, program)?;
    }
    tree.add_modules(&mut archive, GUEST_MODULES)?;
    Ok(archive)
}

/// A Linux' that runs a script and speaks to xenstore.
pub(crate) fn scripted(tree: &Tree) -> Result<Archive> {
    let mut archive = plain(tree)?;
    for program in BACKEND_PROGRAMS {
        tree.add_program(&mut archive, program)?;
    }
    Ok(archive)
}

/// dom0's, with the toolstack and the host's agent.
pub(crate) fn dom0(tree: &Tree, agent: Vec<u8>) -> Result<Archive> {
    let mut archive = base(tree)?;
    for program in DOM0_PROGRAMS {
        tree.add_program(&mut archive, program)?;
    }
    for shell in ["bash", "sh"] {
        archive.symlink(&format!("usr/bin/{shell}"), "bash-static");
    }
    archive.symlink("usr/bin/nc", "nc.openbsd");
    tree.add_modules(&mut archive, DOM0_MODULES)?;
    let xen = tree.xen_folder()?;
    for program in XEN_PROGRAMS {
        let path = format!("{xen}/bin/{program}");
        tree.add_program(&mut archive, &path)?;
        archive.symlink(&format!("usr/sbin/{program}"), &format!("/{path}"));
    }
    tree.add_program(&mut archive, &format!("{xen}/boot/hvmloader"))?;
    tree.add_program(&mut archive, BIOS)?;
    archive.file("usr/sbin/dom0-agent", 0o755, agent);
    archive.file("init", 0o755, DOM0_INIT);
    archive.file("etc/xen/xl.conf", 0o644, XL_CONF);
    let quotas = fs::read(tree.find("etc/xen/oxenstored.conf")?)?;
    archive.file("etc/xen/oxenstored.conf", 0o644, quotas);
    archive.file("etc/xen/scripts/vif-lab", 0o755, VIF_SCRIPT);
    archive.symlink("etc/xen/scripts/vif-bridge", "vif-lab");
    archive.file("etc/xen/scripts/block", 0o755, BLOCK_SCRIPT);
    for folder in ["var/lib/xen", "var/lib/xenstored", "var/log/xen", "share"] {
        archive.directory(folder);
    }
    Ok(archive)
}

/// What dom0 has besides once it is to run HVM guests: their device model.
pub(crate) fn device_model(tree: &Tree) -> Result<Archive> {
    let mut archive = Archive::default();
    let rom = CARD_ROMS.iter().find(|path| tree.find(path).is_ok());
    let rom = rom.context("no package of the lab has the ROM of an emulated card")?;
    for file in DEVICE_MODEL_FILES.iter().chain([rom, &DEVICE_MODEL]) {
        tree.add_program(&mut archive, file)?;
    }
    Ok(archive)
}

/// Busybox is static and for this machine: it can be asked itself.
fn busybox_applets(tree: &Tree) -> Result<Vec<String>> {
    let output = Command::new(tree.find("bin/busybox")?)
        .arg("--list")
        .output()
        .context("busybox --list")?;
    ensure!(output.status.success(), "busybox --list: {}", output.status);
    let list = String::from_utf8(output.stdout)?;
    Ok(list
        .lines()
        .filter(|name| *name != "busybox")
        .map(str::to_owned)
        .collect())
}
