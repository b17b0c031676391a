//! The smallest disk that a BIOS starts: a boot sector that talks on the serial port, and a sector that it reads.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::process::Command;

const SECTOR: usize = 512;

/// Where a BIOS puts a boot sector.
const LOADED_AT: &str = "0x7c00";

/// What its last two bytes are.
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

/// Bytes of the disk: as few as need no questions.
const DISK: usize = 1 << 20;

/// What the boot sector says when it runs.
pub const READY: &str = "boot sector: ready";

/// A disk whose boot sector says [`READY`] on the first serial port, and obeys letters that come there: `r` prints
/// `text`, which is read from the disk, and then `done`; `p` reads a port 10,000 times, then prints `done`; `o`
/// turns the computer off, `b` restarts it, and so does `t`, by a triple fault; `l` reads a port until the next letter
/// comes, then prints `done`; any other comes back.
///
/// # Errors
/// There is no assembler, or `text` is longer than a sector.
pub fn boot_sector_disk(text: &str) -> Result<Vec<u8>> {
    let mut disk = assemble(include_str!("boot_sector.s"))?;
    ensure!(
        disk.len() <= SECTOR - SIGNATURE.len(),
        "the boot sector is too long"
    );
    disk.resize(SECTOR - SIGNATURE.len(), 0);
    disk.extend(SIGNATURE);
    disk.extend(text.as_bytes());
    ensure!(disk.len() < 2 * SECTOR, "the text is too long");
    disk.resize(DISK, 0);
    Ok(disk)
}

/// What a program is that runs where a BIOS puts a boot sector.
///
/// # Errors
/// There is no assembler, or it does not understand the program.
pub(crate) fn assemble(text: &str) -> Result<Vec<u8>> {
    let scratch = tempfile::tempdir()?;
    let [source, object, program] =
        ["source.s", "object.o", "program"].map(|name| scratch.path().join(name));
    fs::write(&source, text)?;
    let mut assemble = Command::new("as");
    assemble.arg("--32").arg(&source).arg("-o").arg(&object);
    let mut link = Command::new("ld");
    link.args(["-m", "elf_i386", "-e", "start", "--oformat", "binary"])
        .args(["-Ttext", LOADED_AT, "-o"])
        .args([&program, &object]);
    for command in [&mut assemble, &mut link] {
        let name = command.get_program().to_owned();
        let name = name.to_string_lossy();
        let output = command
            .output()
            .with_context(|| format!("{name}, which comes with gcc"))?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{name}: {errors}");
    }
    Ok(fs::read(&program)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_has_a_boot_sector_and_the_text() {
        let disk = boot_sector_disk("hello").unwrap();
        assert_eq!(disk[510..512], SIGNATURE);
        assert_eq!(&disk[512..518], b"hello\0");
        let is_in = |text: &str| {
            disk[..510]
                .windows(text.len())
                .any(|at| at == text.as_bytes())
        };
        assert!(is_in(READY));
        assert!(boot_sector_disk(&"x".repeat(512)).is_err());
    }
}
