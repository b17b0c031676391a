//! What the toolstack unpacks before it looks for a kernel: gzip, and Linux' bzImage
//! (`tools/libs/guest/xg_dom_core.c`, `xg_dom_bzimageloader.c`).

use std::borrow::Cow;
use std::io::Read as _;

use flate2::read::GzDecoder;

use super::refusal::Refusal;

/// `XC_DOM_DECOMPRESS_MAX`: no file, packed or not, may be longer.
const LENGTH_MAX: u64 = 1 << 30;
/// Bytes of zeros that follow what was unpacked, in the buffer that is then taken for the file.
const GZIP_SLACK: usize = 16;

/// `sizeof(struct setup_header)`, up to the last field that the loader reads.
const SETUP_HEADER: usize = 0x250;
/// The first boot protocol with a payload: 2.8.
const OLDEST_PROTOCOL: u16 = 0x208;

/// How a kernel is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// As a gzip file.
    Gzip,
    /// As the payload of a Linux kernel, compressed with this.
    BzImage(&'static str),
}

/// A kernel as the loaders see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unpacked<'a> {
    pub(super) packing: Packing,
    /// `None`: a payload that is compressed in a way that only Xen's toolstack unpacks.
    pub(super) bytes: Option<Cow<'a, [u8]>>,
}

/// Compressed files by their first bytes, and what `file` would call them.
const MAGICS: [(&[u8], &str); 6] = [
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x5d\0", "lzma"),
    (b"\x89LZO", "lzo"),
    (b"\x02\x21", "lz4"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
];

/// Unpacks what the toolstack would unpack.
pub(super) fn unpack(file: &[u8]) -> Result<Unpacked<'_>, Refusal> {
    if file.is_empty() {
        return Err(Refusal::Empty);
    }
    let length = file.len() as u64;
    if length > LENGTH_MAX {
        return Err(Refusal::TooLarge { length });
    }
    let (packing, bytes) = match gunzip(file)? {
        Some(unpacked) => (Packing::Gzip, Cow::Owned(unpacked)),
        None => (Packing::Plain, Cow::Borrowed(file)),
    };
    match payload(&bytes)? {
        None => Ok(Unpacked {
            packing,
            bytes: Some(bytes),
        }),
        Some((compression, payload)) => Ok(Unpacked {
            packing: Packing::BzImage(compression),
            bytes: match compression {
                "gzip" => gunzip(payload)
                    .map_err(|_| Refusal::DamagedBzImage("its gzip payload cannot be unpacked"))?
                    .map(Cow::Owned),
                _ => None,
            },
        }),
    }
}

/// `xc_dom_try_gunzip`: `None` when the file is none, or says a length that is not believed.
fn gunzip(file: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
    let Some(last) = file.last_chunk::<4>().filter(|_| file.len() >= 6) else {
        return Ok(None);
    };
    let length = u64::from(u32::from_le_bytes(*last));
    if !file.starts_with(b"\x1f\x8b") || length > LENGTH_MAX {
        return Ok(None);
    }
    let room = length + GZIP_SLACK as u64;
    if room > LENGTH_MAX {
        // Not unpacked, and so no kernel.
        return Ok(None);
    }
    let mut unpacked = Vec::new();
    GzDecoder::new(file)
        .take(room + 1)
        .read_to_end(&mut unpacked)
        .map_err(|error| Refusal::DamagedGzip(error.to_string()))?;
    if unpacked.len() as u64 > room {
        let why = format!("it holds more than the {length} bytes that it says at its end");
        return Err(Refusal::DamagedGzip(why));
    }
    // The toolstack has zeros up to `room`. Of a file that promises more than it holds, these few do.
    unpacked.resize(unpacked.len() + GZIP_SLACK, 0);
    Ok(Some(unpacked))
}

/// The payload of a bzImage and what it is compressed with.
fn payload(file: &[u8]) -> Result<Option<(&'static str, &[u8])>, Refusal> {
    if file.len() < SETUP_HEADER || &file[0x202..0x206] != b"HdrS" {
        return Ok(None);
    }
    let word = |at: usize| {
        u32::from_le_bytes([file[at], file[at + 1], file[at + 2], file[at + 3]]) as usize
    };
    if u16::from_le_bytes([file[0x206], file[0x207]]) < OLDEST_PROTOCOL {
        return Err(Refusal::DamagedBzImage(
            "its boot protocol is older than 2.8",
        ));
    }
    let start = (usize::from(file[0x1f1]) + 1) * 512 + word(0x248);
    if start >= file.len() {
        return Err(Refusal::DamagedBzImage(
            "its payload begins after the file's end",
        ));
    }
    let Some(payload) = file.get(start..start + word(0x24c)) else {
        return Err(Refusal::DamagedBzImage(
            "it is truncated: its payload ends after the file's end",
        ));
    };
    if payload.starts_with(b"\x1f\x8b") {
        return Ok(Some(("gzip", payload)));
    }
    match compression(payload) {
        Some(compression) => Ok(Some((compression, payload))),
        None => Err(Refusal::DamagedBzImage(
            "its payload is compressed with nothing that Xen's toolstack knows",
        )),
    }
}

/// What a file that is no kernel is compressed with, but for gzip.
pub(super) fn compression(file: &[u8]) -> Option<&'static str> {
    MAGICS
        .iter()
        .find(|(magic, _)| file.starts_with(magic))
        .map(|(_, name)| *name)
}
