//! What dom0 gives the domain beside its image, as `ramdisk=`: files that it could read nowhere else.
//!
//! ```text
//! 0   magic, 8 bytes         12  length of the header, u32
//! 8   version, u16           16  hash of the header, u64
//! 10  0, u16                 24  the header (postcard), and behind it each entry's bytes
//! ```
//!
//! The header's hash is checked when the bundle is opened, an entry's when it is asked for: a guest's
//! kernel has megabytes that nobody reads unless the guest is started with it.

use alloc::vec::Vec;
use core::hash::Hasher as _;
use heapless::Vec as BoundedVec;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use thiserror::Error;

/// Begins every bundle.
pub const MAGIC: [u8; 8] = *b"STUBRAMD";

/// The version written, and the only one read.
pub const VERSION: u16 = 1;

/// Bytes before the header.
const PREAMBLE: usize = 24;

/// One of each kind, and room for kinds to come.
const ENTRIES_MAX: usize = 8;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// The guest's kernel, which `kernel=` in its configuration names in dom0.
    Kernel,
    /// Its initial RAM disk.
    Initrd,
    /// The BIOS of its graphics card.
    VgaBios,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    kind: Kind,
    length: u32,
    hash: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    entries: BoundedVec<Entry, ENTRIES_MAX>,
}

/// Why a bundle cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BundleError {
    /// Something else is `ramdisk=`.
    #[error("the file of stubdomain_ramdisk= is none of `build stubdom`")]
    Magic,
    /// Written for another image.
    #[error(
        "the file of stubdomain_ramdisk= has version {0}, and this image reads version {VERSION}"
    )]
    Version(u16),
    /// It ends too soon.
    #[error("the file of stubdomain_ramdisk= is cut short")]
    Truncated,
    /// It is not as it was written.
    #[error("the file of stubdomain_ramdisk= is damaged")]
    Checksum,
    /// More of it than there can be.
    #[error("more or larger files than a bundle holds")]
    TooLarge,
}

/// Writes a bundle.
///
/// # Errors
/// [`BundleError::TooLarge`].
pub fn encode(entries: &[(Kind, &[u8])]) -> Result<Vec<u8>, BundleError> {
    let mut header = Header::default();
    for (kind, bytes) in entries {
        let entry = Entry {
            kind: *kind,
            length: u32::try_from(bytes.len()).map_err(|_| BundleError::TooLarge)?,
            hash: hash(bytes),
        };
        let pushed = header.entries.push(entry);
        pushed.map_err(|_| BundleError::TooLarge)?;
    }
    let header = postcard::to_allocvec(&header).map_err(|_| BundleError::TooLarge)?;
    let mut bundle = MAGIC.to_vec();
    bundle.extend(VERSION.to_le_bytes());
    bundle.extend([0, 0]);
    bundle.extend((header.len() as u32).to_le_bytes());
    bundle.extend(hash(&header).to_le_bytes());
    bundle.extend(&header);
    for (_, bytes) in entries {
        bundle.extend(*bytes);
    }
    Ok(bundle)
}

/// A bundle, in the memory that it came in.
#[derive(Clone, Debug)]
pub struct Bundle<'b> {
    header: Header,
    contents: &'b [u8],
}

impl<'b> Bundle<'b> {
    /// Reads a bundle. What stands behind the last entry, as where a loader filled a page, is passed over.
    ///
    /// # Errors
    /// See [`BundleError`]; no bytes make it panic.
    pub fn open(module: &'b [u8]) -> Result<Self, BundleError> {
        if !module.starts_with(&MAGIC) {
            return Err(BundleError::Magic);
        }
        let preamble: &[u8; PREAMBLE] = module.first_chunk().ok_or(BundleError::Truncated)?;
        let [
            ..,
            v0,
            v1,
            _,
            _,
            l0,
            l1,
            l2,
            l3,
            h0,
            h1,
            h2,
            h3,
            h4,
            h5,
            h6,
            h7,
        ] = *preamble;
        let version = u16::from_le_bytes([v0, v1]);
        if version != VERSION {
            return Err(BundleError::Version(version));
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let behind = &module[PREAMBLE..];
        let (header, contents) = behind
            .split_at_checked(length)
            .ok_or(BundleError::Truncated)?;
        if hash(header) != u64::from_le_bytes([h0, h1, h2, h3, h4, h5, h6, h7]) {
            return Err(BundleError::Checksum);
        }
        let header: Header = postcard::from_bytes(header).map_err(|_| BundleError::Checksum)?;
        let lengths = header.entries.iter().map(|entry| u64::from(entry.length));
        if lengths.sum::<u64>() > contents.len() as u64 {
            return Err(BundleError::Truncated);
        }
        Ok(Self { header, contents })
    }

    /// The bytes of the entry of a kind; `None`: there is none.
    ///
    /// # Errors
    /// [`BundleError::Checksum`]: they are not what was put in.
    pub fn get(&self, kind: Kind) -> Result<Option<&'b [u8]>, BundleError> {
        let mut left = self.contents;
        for entry in &self.header.entries {
            let Some((bytes, behind)) = left.split_at_checked(entry.length as usize) else {
                return Err(BundleError::Truncated);
            };
            if entry.kind == kind {
                return match hash(bytes) == entry.hash {
                    true => Ok(Some(bytes)),
                    false => Err(BundleError::Checksum),
                };
            }
            left = behind;
        }
        Ok(None)
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As version 1 writes it: what was built with one release is read by the next.
    const VERSION_1: &[u8] = b"STUBRAMD\x01\x00\x00\x00\x18\x00\x00\x00u\xebs\xbe\x84\xfb\x0d\x8a\x02\x02\x03\xb8\xed\xb8\xc2\x9e\x85\xf6\xfa\xf3\x01\x00\x01\xc3\xb0\xcb\xc1\xea\xe7\xa7\xa33romk";

    #[test]
    fn what_was_put_in_comes_out_whatever_stands_behind() {
        let entries: [(Kind, &[u8]); 2] = [(Kind::Kernel, b"a kernel"), (Kind::Initrd, b"")];
        let mut bytes = encode(&entries).unwrap();
        bytes.extend([0; 100]);
        let bundle = Bundle::open(&bytes).unwrap();
        assert_eq!(bundle.get(Kind::Kernel), Ok(Some(&b"a kernel"[..])));
        assert_eq!(bundle.get(Kind::Initrd), Ok(Some(&b""[..])));
        assert_eq!(bundle.get(Kind::VgaBios), Ok(None));
    }

    #[test]
    fn an_empty_bundle_is_no_empty_file() {
        let bytes = encode(&[]).unwrap();
        assert_eq!(bytes.len(), PREAMBLE + 1);
        let bundle = Bundle::open(&bytes).unwrap();
        assert_eq!(bundle.get(Kind::Kernel), Ok(None));
    }

    #[test]
    fn version_1_stays_as_it_is() {
        let bytes = encode(&[(Kind::VgaBios, b"rom"), (Kind::Kernel, b"k")]).unwrap();
        assert_eq!(bytes, VERSION_1);
        let bundle = Bundle::open(VERSION_1).unwrap();
        assert_eq!(bundle.get(Kind::Kernel), Ok(Some(&b"k"[..])));
    }

    #[test]
    fn other_files_are_refused_by_what_is_wrong_with_them() {
        let bytes = encode(&[(Kind::Kernel, b"a kernel")]).unwrap();
        let refused = |bytes: &[u8]| Bundle::open(bytes).err();
        assert_eq!(refused(b""), Some(BundleError::Magic));
        assert_eq!(refused(b"\x1f\x8b an initrd"), Some(BundleError::Magic));
        assert_eq!(refused(&MAGIC), Some(BundleError::Truncated));
        assert_eq!(
            refused(&bytes[..bytes.len() - 1]),
            Some(BundleError::Truncated)
        );
        let mut later = bytes.clone();
        later[8] = 2;
        assert_eq!(refused(&later), Some(BundleError::Version(2)));
        let mut header = bytes.clone();
        header[PREAMBLE] ^= 1;
        assert_eq!(refused(&header), Some(BundleError::Checksum));
        let mut content = bytes;
        *content.last_mut().unwrap() ^= 1;
        let bundle = Bundle::open(&content).unwrap();
        assert_eq!(bundle.get(Kind::Kernel), Err(BundleError::Checksum));
        let many = [(Kind::Kernel, &b""[..]); ENTRIES_MAX + 1];
        assert_eq!(encode(&many), Err(BundleError::TooLarge));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_bundle_or_refused(bytes: Vec<u8>, at in 0..64usize, flip: u8) {
            let mut bundle = encode(&[(Kind::Kernel, &bytes), (Kind::Initrd, b"initrd")]).unwrap();
            if let Some(byte) = bundle.get_mut(at) {
                *byte ^= flip;
            }
            for module in [&bundle, &bytes] {
                if let Ok(bundle) = Bundle::open(module) {
                    let _ = bundle.get(Kind::Initrd);
                }
            }
        }
    }
}
