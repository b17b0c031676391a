//! Debian's kernel, unpacked: in the emulator a toolstack takes some ten seconds to do that for each guest.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where a bzImage says what it is: boot protocol 2.08 and later, Documentation/arch/x86/boot.rst of Linux.
const SETUP_SECTORS: usize = 0x1f1;
const MAGIC: usize = 0x202;
const PAYLOAD_OFFSET: usize = 0x248;
const PAYLOAD_LENGTH: usize = 0x24c;

const SECTOR: usize = 512;

/// The build puts the unpacked length behind the payload.
const TRAILER: usize = 4;

/// What a payload begins with, and the name that `dpkg-deb` knows its compression by.
const COMPRESSIONS: [(&[u8], &str); 2] = [
    (b"\xfd7zXZ\0", "data.tar.xz"),
    (b"\x28\xb5\x2f\xfd", "data.tar.zst"),
];

/// The ELF file that is in a bzImage. `scratch` is a folder for a file that does not stay.
///
/// What is compressed here is compressed as Debian's packages are, so the tool that unpacks these is asked.
///
/// # Errors
/// When it is no bzImage, is compressed otherwise, or cannot be unpacked.
pub(crate) fn unpack(image: &[u8], scratch: &Path) -> Result<Vec<u8>> {
    let payload = payload(image).context("Linux is no bzImage as it is known here")?;
    let kind = COMPRESSIONS
        .iter()
        .find(|(begin, _)| payload.starts_with(begin));
    let (_, name) = kind.context("Linux is compressed in a way that is not known here")?;
    let package = scratch.join("linux.deb");
    fs::write(&package, archive(name, payload)).with_context(|| package.display().to_string())?;
    let output = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(&package)
        .output()
        .context("dpkg-deb")?;
    fs::remove_file(&package)?;
    ensure!(
        output.status.success() && output.stdout.starts_with(b"\x7fELF"),
        "unpacking Linux: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output.stdout)
}

/// The compressed kernel in a bzImage.
fn payload(image: &[u8]) -> Option<&[u8]> {
    let number = |at: usize| {
        let bytes = image.get(at..at + 4)?;
        usize::try_from(u32::from_le_bytes(bytes.try_into().ok()?)).ok()
    };
    if image.get(MAGIC..MAGIC + 4)? != b"HdrS" {
        return None;
    }
    // Zero means four.
    let sectors = match *image.get(SETUP_SECTORS)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let begin = ((sectors + 1) * SECTOR).checked_add(number(PAYLOAD_OFFSET)?)?;
    let end = begin.checked_add(number(PAYLOAD_LENGTH)?.checked_sub(TRAILER)?)?;
    image.get(begin..end)
}

/// A Debian package, deb(5), that has only this.
fn archive(name: &str, content: &[u8]) -> Vec<u8> {
    let mut archive = b"!<arch>\n".to_vec();
    for (name, content) in [
        ("debian-binary", b"2.0\n".as_slice()),
        ("control.tar", b""),
        (name, content),
    ] {
        let len = content.len();
        let header = format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{len:<10}`\n",
            0, 0, 0, "100644"
        );
        archive.extend(header.into_bytes());
        archive.extend(content);
        if len % 2 == 1 {
            archive.push(b'\n');
        }
    }
    archive
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ELF` and a line more, as xz has it.
    const PACKED: &[u8] = include_bytes!("linux/elf.xz");

    fn image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 3 * SECTOR];
        image[SETUP_SECTORS] = 1;
        image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        image[PAYLOAD_OFFSET] = 16;
        let len = u32::try_from(payload.len() + TRAILER).expect("it is short");
        image[PAYLOAD_LENGTH..PAYLOAD_LENGTH + 4].copy_from_slice(&len.to_le_bytes());
        image.splice(2 * SECTOR + 16.., payload.iter().copied());
        image.extend([0; TRAILER]);
        image
    }

    #[test]
    fn what_is_in_an_image_comes_out() {
        let scratch = tempfile::tempdir().expect("a folder");
        let unpacked = unpack(&image(PACKED), scratch.path()).expect("it is sound");
        assert_eq!(unpacked, b"\x7fELF\nand more of it\n");
        assert_eq!(fs::read_dir(scratch.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn what_is_none_or_is_cut_is_an_error() {
        let scratch = tempfile::tempdir().expect("a folder");
        let whole = image(PACKED);
        for (image, said) in [
            (&b"MZ"[..], "no bzImage"),
            (&whole[..whole.len() - 8], "no bzImage"),
            (&image(b"\x1f\x8b plain gzip"), "compressed in a way"),
            (&image(&PACKED[..PACKED.len() / 2]), "unpacking Linux"),
        ] {
            let error = unpack(image, scratch.path()).expect_err(said);
            assert!(error.to_string().contains(said), "{error:#}");
        }
    }
}
