//! The disk that an HVM guest starts from: GRUB, which the BIOS starts, and a partition that is a cpio archive of
//! Linux and its initrd.
//!
//! (`kernel=` of an HVM guest is slower by minutes: Debian's device model hands it over a byte at a time.)

use crate::cpio::Archive;
use crate::tree::Tree;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;

/// GRUB's modules: the BIOS' disks, the partition table, the archive, and what starts Linux.
const MODULES: [&str; 5] = ["biosdisk", "boot", "linux", "newc", "part_msdos"];

const SECTOR: usize = 512;

/// Where the partition begins, as tools have it that make partitions.
const PARTITION: usize = 2048 * SECTOR;

/// The table in the first sector. GRUB's own has code there, for floppy disks.
const TABLE: usize = 446;
const TABLE_END: usize = 510;

/// An entry: active; no addresses by cylinder; Linux'.
const ACTIVE: u8 = 0x80;
const NO_CYLINDER: [u8; 3] = [0xfe, 0xff, 0xff];
const LINUX: u8 = 0x83;

/// GRUB, as far as the partition: it starts the partition's Linux with this command line. `scratch` is a folder for
/// files that do not stay.
pub(crate) fn loader(tree: &Tree, cmdline: &str, scratch: &Path) -> Result<Vec<u8>> {
    let grub = tree.find("usr/lib/grub/i386-pc")?;
    let [config, core] = ["grub.cfg", "core.img"].map(|name| scratch.join(name));
    let place = "(hd0,msdos1)";
    fs::write(
        &config,
        format!("linux {place}/vmlinuz {cmdline}\ninitrd {place}/initrd\nboot\n"),
    )?;
    let output = tree
        .host_command("grub-mkimage", &tree.resolve("usr/bin/grub-mkimage")?)?
        .args(["--format", "i386-pc", "--prefix", place, "--directory"])
        .arg(&grub)
        .arg("--config")
        .arg(&config)
        .arg("--output")
        .arg(&core)
        .args(MODULES)
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "grub-mkimage: {errors}");
    // The first sector loads the one behind it, and that one the rest, which is where it lies here.
    let mut loader = fs::read(grub.join("boot.img"))?;
    ensure!(loader.len() == SECTOR, "GRUB's boot.img is no sector");
    loader.append(&mut fs::read(&core)?);
    ensure!(loader.len() <= PARTITION, "GRUB is too long");
    for file in [config, core] {
        fs::remove_file(file)?;
    }
    Ok(loader)
}

/// A disk with what [`loader`] has made.
pub(crate) fn bootable(mut loader: Vec<u8>, linux: Vec<u8>, initrd: Vec<u8>) -> Result<Vec<u8>> {
    let mut files = Archive::default();
    files.file("vmlinuz", 0o644, linux);
    files.file("initrd", 0o644, initrd);
    let mut partition = files.plain()?;
    partition.resize(partition.len().next_multiple_of(SECTOR), 0);
    let table = loader.get_mut(TABLE..TABLE_END).context("no loader")?;
    table.fill(0);
    let sectors = |bytes: usize| u32::try_from(bytes / SECTOR).map(u32::to_le_bytes);
    let entry = [
        &[ACTIVE][..],
        &NO_CYLINDER,
        &[LINUX],
        &NO_CYLINDER,
        &sectors(PARTITION)?,
        &sectors(partition.len())?,
    ]
    .concat();
    table[..entry.len()].copy_from_slice(&entry);
    loader.resize(PARTITION, 0);
    loader.append(&mut partition);
    Ok(loader)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_the_archive_where_its_partition_is() {
        let disk = bootable(vec![0xcc; 3 * SECTOR], b"a kernel".into(), b"files".into())
            .expect("all of it fits");
        let number = |at: usize| {
            let bytes = disk[at..at + 4].try_into().expect("four bytes");
            usize::try_from(u32::from_le_bytes(bytes)).expect("it is short")
        };
        let [begin, length] = [TABLE + 8, TABLE + 12].map(|at| number(at) * SECTOR);
        assert_eq!(begin + length, disk.len());
        assert!(disk[begin..].starts_with(b"070701"));
        let holds = |text: &[u8]| disk[begin..].windows(text.len()).any(|part| part == text);
        assert!(holds(b"a kernel") && holds(b"files"));
        // Three more entries that are none, and the loader as it was.
        assert!(disk[TABLE + 16..TABLE_END].iter().all(|byte| *byte == 0));
        assert!(disk[..TABLE].iter().all(|byte| *byte == 0xcc));
        assert_eq!(disk[TABLE_END..3 * SECTOR], [0xcc; 2 * SECTOR + 2]);
    }
}
