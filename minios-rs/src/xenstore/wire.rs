//! Messages as bytes (xen/io/xs_wire.h), for whoever speaks to xenstored, over whatever carries them.

#![forbid(unsafe_code)]

use super::Error;
use crate::abi::io::xs_wire::{Header, XENSTORE_PAYLOAD_MAX};
use alloc::string::String;
use alloc::vec::Vec;
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of a header.
pub const HEADER: usize = size_of::<Header>();

/// Appends a message to `out`: the header, then `parts` one after the other.
///
/// # Errors
/// [`Error::TooLong`] if the parts have more than [`XENSTORE_PAYLOAD_MAX`] bytes.
pub fn encode(
    out: &mut impl Extend<u8>,
    kind: u32,
    req_id: u32,
    tx_id: u32,
    parts: &[&[u8]],
) -> Result<(), Error> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    if len > XENSTORE_PAYLOAD_MAX {
        return Err(Error::TooLong);
    }
    let header = Header {
        kind,
        req_id,
        tx_id,
        len: len as u32,
    };
    out.extend(header.as_bytes().iter().copied());
    for part in parts {
        out.extend(part.iter().copied());
    }
    Ok(())
}

/// Puts a stream of bytes together to messages.
#[derive(Debug, Default)]
pub struct Assembler {
    bytes: Vec<u8>,
}

impl Assembler {
    /// How many bytes to feed next: the rest of the header, or of the message it announces.
    ///
    /// # Errors
    /// [`Error::Protocol`] if the announced payload is longer than any may be.
    pub fn wanted(&self) -> Result<usize, Error> {
        match self.header() {
            None => Ok(HEADER - self.bytes.len()),
            Some(header) if header.len as usize > XENSTORE_PAYLOAD_MAX => Err(Error::Protocol),
            Some(header) => Ok(HEADER + header.len as usize - self.bytes.len()),
        }
    }

    /// Adds bytes, no more than [`Assembler::wanted`].
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The message, once it is whole.
    pub fn take(&mut self) -> Option<(Header, Vec<u8>)> {
        let header = self.header()?;
        if self.bytes.len() < HEADER + header.len as usize {
            return None;
        }
        let payload = self.bytes[HEADER..].to_vec();
        self.bytes.clear();
        Some((header, payload))
    }

    fn header(&self) -> Option<Header> {
        Header::read_from_prefix(&self.bytes)
            .ok()
            .map(|(header, _)| header)
    }
}

/// The strings of a payload in which each ends with a zero byte.
///
/// # Errors
/// [`Error::Protocol`] if the last one does not, or one is not UTF-8.
pub fn strings(payload: &[u8]) -> Result<Vec<String>, Error> {
    if payload.is_empty() {
        return Ok(Vec::new());
    }
    let body = payload.strip_suffix(&[0]).ok_or(Error::Protocol)?;
    body.split(|byte| *byte == 0)
        .map(|text| {
            core::str::from_utf8(text)
                .map(String::from)
                .map_err(|_| Error::Protocol)
        })
        .collect()
}
