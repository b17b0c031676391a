//! The policy as bytes: header, checksum, postcard.
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | `XENFWPOL` |
//! | 8 | 2 | version, little endian |
//! | 10 | 2 | 0 |
//! | 12 | 4 | length of the body in bytes |
//! | 16 | 8 | SipHash-2-4 of the body with a key of zeros |
//! | 24 | | body: [`Policy`] as postcard |
//!
//! From its first release on, an image reads its own version and the one released before it, so that a
//! site can put a new image beside the policy it has. No other was released yet.
//!
//! Xen pads a module to whole pages, so bytes after the body are ignored. The hash finds damage, not
//! malice: who may write the blob may write any policy. It is 64 bits rather than CRC-32's 32
//! because the hash is in the image anyway, for the flow table.

use super::{Policy, Stored, check};
use alloc::vec::Vec;
use core::hash::Hasher;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

/// First bytes of every blob.
pub const MAGIC: [u8; 8] = *b"XENFWPOL";

/// The version that [`encode`] writes and [`open`] reads.
pub const VERSION: u16 = 5;

/// Bytes before the body.
pub const HEADER: usize = 24;

/// Why bytes are not a policy. The engine then drops everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a policy at all.
    #[error("not a policy: it does not begin with XENFWPOL")]
    Magic,
    /// A version this image does not read.
    #[error("policy version {found}, but this image reads version {VERSION}: rebuild the policy")]
    Version {
        /// What the header says.
        found: u16,
    },
    /// Cut short.
    #[error("policy is cut short: {needed} bytes are announced, {found} are there")]
    Truncated {
        /// Header and body in bytes.
        needed: u64,
        /// What is there.
        found: u64,
    },
    /// Damaged.
    #[error("policy is damaged: its checksum is wrong")]
    Checksum,
    /// The body is not what the header promises.
    #[error("policy body does not decode")]
    Body,
    /// Decodes, but makes no sense.
    #[error("policy makes no sense: {0}")]
    Nonsense(#[from] check::Nonsense),
    /// More than a header can announce.
    #[error("policy is larger than 4 GiB")]
    TooLarge,
}

/// Writes a policy.
///
/// # Errors
/// [`Error::Nonsense`] for what [`open`] would refuse, [`Error::TooLarge`].
pub fn encode(policy: &Policy) -> Result<Vec<u8>, Error> {
    check::check(policy)?;
    let body = postcard::to_allocvec(policy).map_err(|_| Error::TooLarge)?;
    let length = u32::try_from(body.len()).map_err(|_| Error::TooLarge)?;
    let mut blob = Vec::with_capacity(HEADER + body.len());
    blob.extend_from_slice(&MAGIC);
    blob.extend_from_slice(&VERSION.to_le_bytes());
    blob.extend_from_slice(&[0, 0]);
    blob.extend_from_slice(&length.to_le_bytes());
    blob.extend_from_slice(&hash(&body).to_le_bytes());
    blob.extend_from_slice(&body);
    Ok(blob)
}

/// Reads a policy into memory, rules and all.
///
/// # Errors
/// Those of [`open`].
pub fn decode(blob: &[u8]) -> Result<Policy, Error> {
    open(blob).map(|stored| stored.to_policy())
}

/// Reads a policy, and checks all that the engine relies on. Its rules stay bytes.
///
/// # Errors
/// See [`Error`]; no bytes make it panic.
pub fn open(blob: &[u8]) -> Result<Stored<'_>, Error> {
    if blob.get(..8) != Some(&MAGIC) {
        return Err(Error::Magic);
    }
    let truncated = |needed: u64| Error::Truncated {
        needed,
        found: blob.len() as u64,
    };
    let header: &[u8; HEADER] = blob.first_chunk().ok_or(truncated(HEADER as u64))?;
    let version = u16::from_le_bytes([header[8], header[9]]);
    if version != VERSION {
        return Err(Error::Version { found: version });
    }
    let length = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
    let needed = HEADER as u64 + u64::from(length);
    let end = usize::try_from(needed).map_err(|_| truncated(needed))?;
    let body = blob.get(HEADER..end).ok_or(truncated(needed))?;
    let stored = header
        .last_chunk::<8>()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
    if hash(body) != stored {
        return Err(Error::Checksum);
    }
    Stored::read(body)
}

/// Which policy a blob holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The blob's version.
    pub version: u16,
    /// The hash in its header: two policies that differ have different ones.
    pub checksum: u64,
}

/// Which policy a blob holds, as its header says it; `None` if that is cut short.
pub fn identity(blob: &[u8]) -> Option<Identity> {
    let header: &[u8; HEADER] = blob.first_chunk()?;
    Some(Identity {
        version: u16::from_le_bytes([header[8], header[9]]),
        checksum: u64::from_le_bytes(*header.last_chunk()?),
    })
}

fn hash(body: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(body);
    hasher.finish()
}
