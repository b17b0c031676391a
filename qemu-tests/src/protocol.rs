//! The frames between the host and the agent in dom0.
//!
//! Both ends compile this file, so it uses nothing but std. A frame is, in
//! little-endian order:
//!
//! ```text
//! u32 length of what follows | u32 command id | u8 kind | payload
//! ```
//!
//! The host chooses the ids; frames of several commands may be interleaved.

#![allow(dead_code, reason = "each end uses its half")]

use std::io::{self, Error, ErrorKind, Read, Write};

/// The name of the virtio-serial port the agent listens on.
pub(crate) const PORT: &str = "agent";

/// The longest payload one frame may carry, in bytes.
pub(crate) const MAX_PAYLOAD: usize = 64 * 1024;

/// Id and kind.
const HEADER: usize = 5;

/// What a frame means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Kind(pub(crate) u8);

impl Kind {
    /// Host: start a command; the payload is its argv, NUL-separated.
    pub(crate) const RUN: Self = Self(1);
    /// Host: bytes for the command's standard input.
    pub(crate) const STDIN: Self = Self(2);
    /// Host: the end of standard input.
    pub(crate) const STDIN_END: Self = Self(3);
    /// Host: kill the command and its process group.
    pub(crate) const KILL: Self = Self(4);
    /// Host: power the machine off.
    pub(crate) const POWER_OFF: Self = Self(5);
    /// Agent: dom0 is up. Sent once, with id 0.
    pub(crate) const HELLO: Self = Self(101);
    /// Agent: bytes the command wrote to standard output.
    pub(crate) const STDOUT: Self = Self(102);
    /// Agent: bytes the command wrote to standard error.
    pub(crate) const STDERR: Self = Self(103);
    /// Agent: the command ended with an exit code (i32).
    pub(crate) const EXITED: Self = Self(104);
    /// Agent: a signal (i32) ended the command.
    pub(crate) const SIGNALLED: Self = Self(105);
    /// Agent: the command could not be started; the payload says why.
    pub(crate) const FAILED: Self = Self(106);
}

/// One message in either direction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Frame {
    /// The command it belongs to.
    pub(crate) id: u32,
    /// What it means.
    pub(crate) kind: Kind,
    /// At most [`MAX_PAYLOAD`] bytes.
    pub(crate) payload: Vec<u8>,
}

/// Writes one frame with a single `write_all`.
///
/// # Errors
/// Those of the writer, and `InvalidInput` for a payload over [`MAX_PAYLOAD`].
pub(crate) fn write_frame(
    to: &mut impl Write,
    id: u32,
    kind: Kind,
    payload: &[u8],
) -> io::Result<()> {
    if payload.len() > MAX_PAYLOAD {
        return Err(Error::from(ErrorKind::InvalidInput));
    }
    let length = u32::try_from(HEADER + payload.len()).map_err(Error::other)?;
    let mut bytes = Vec::with_capacity(4 + HEADER + payload.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.push(kind.0);
    bytes.extend_from_slice(payload);
    to.write_all(&bytes)
}

/// Reads one frame, blocking until it is complete.
///
/// # Errors
/// Those of the reader, and `InvalidData` for a length no frame can have.
pub(crate) fn read_frame(from: &mut impl Read) -> io::Result<Frame> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if !(HEADER..=HEADER + MAX_PAYLOAD).contains(&length) {
        return Err(Error::from(ErrorKind::InvalidData));
    }
    let mut header = [0; HEADER];
    from.read_exact(&mut header)?;
    let [a, b, c, d, kind] = header;
    let mut payload = vec![0; length - HEADER];
    from.read_exact(&mut payload)?;
    Ok(Frame {
        id: u32::from_le_bytes([a, b, c, d]),
        kind: Kind(kind),
        payload,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_the_wire() {
        let mut wire = Vec::new();
        write_frame(&mut wire, 7, Kind::STDOUT, b"hello").unwrap();
        write_frame(&mut wire, 8, Kind::STDIN_END, b"").unwrap();
        let mut wire = wire.as_slice();
        let first = read_frame(&mut wire).unwrap();
        assert_eq!((first.id, first.kind), (7, Kind::STDOUT));
        assert_eq!(first.payload, b"hello");
        assert_eq!(read_frame(&mut wire).unwrap().kind, Kind::STDIN_END);
        assert_eq!(
            read_frame(&mut wire).unwrap_err().kind(),
            ErrorKind::UnexpectedEof
        );
    }

    #[test]
    fn an_impossible_length_is_refused_before_it_is_allocated() {
        for length in [0_u32, 4, u32::MAX] {
            let error = read_frame(&mut length.to_le_bytes().as_slice()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{length}");
        }
        let long = vec![0; MAX_PAYLOAD + 1];
        let error = write_frame(&mut Vec::new(), 1, Kind::STDIN, &long).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
