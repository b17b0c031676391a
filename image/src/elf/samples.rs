//! ELF files made for tests.

use super::{HEADER_LENGTH, PROGRAM_HEADER_LENGTH};

/// A `PT_LOAD` or other segment of a file made for a test.
pub(crate) struct Piece {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) address: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) memory_length: u64,
}

pub(crate) const LOAD: u32 = 1;
pub(crate) const DYNAMIC: u32 = 2;
pub(crate) const NOTE: u32 = 4;
pub(crate) const READ_EXECUTE: u32 = 5;
pub(crate) const READ_WRITE: u32 = 6;
pub(crate) const BASE: u64 = 0x10_0000;

pub(crate) fn load(flags: u32, address: u64, bytes: &[u8]) -> Piece {
    Piece {
        kind: LOAD,
        flags,
        address,
        bytes: bytes.to_vec(),
        memory_length: bytes.len() as u64,
    }
}

pub(crate) fn note(kind: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for word in [4, value.len() as u32, kind] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(b"Xen\0");
    out.extend_from_slice(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

/// Type and value of each note of a sound image.
pub(crate) const XEN_NOTES: [(u32, &[u8]); 7] = [
    (1, &BASE.to_le_bytes()),
    (2, &(BASE + 0x1000).to_le_bytes()),
    (3, &[0; 8]),
    (4, &[0; 8]),
    (5, b"xen-3.0\0"),
    (6, b"test\0"),
    (8, b"generic\0"),
];

pub(crate) fn xen_notes() -> Vec<u8> {
    XEN_NOTES.map(|(kind, value)| note(kind, value)).concat()
}

pub(crate) fn notes_segment(bytes: Vec<u8>) -> Piece {
    Piece {
        kind: NOTE,
        flags: 4,
        address: 0,
        memory_length: bytes.len() as u64,
        bytes,
    }
}

/// A linked file: header, program headers, each piece's bytes, and a tail as sections would be.
pub(crate) fn file(pieces: &[Piece]) -> Vec<u8> {
    let mut out = vec![0; HEADER_LENGTH];
    out[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    out[16] = 2; // ET_EXEC
    out[18] = 62; // EM_X86_64
    out[20] = 1;
    out[24..32].copy_from_slice(&BASE.to_le_bytes());
    out[32..40].copy_from_slice(&(HEADER_LENGTH as u64).to_le_bytes());
    out[40..48].copy_from_slice(&12_345_u64.to_le_bytes()); // e_shoff
    out[52] = 64;
    out[54] = 56;
    out[56] = pieces.len() as u8;
    out[60] = 9; // e_shnum
    let mut offset = (HEADER_LENGTH + pieces.len() * PROGRAM_HEADER_LENGTH) as u64 + 40;
    for piece in pieces {
        out.extend_from_slice(&piece.kind.to_le_bytes());
        out.extend_from_slice(&piece.flags.to_le_bytes());
        let length = piece.bytes.len() as u64;
        let words = [
            offset,
            piece.address,
            piece.address,
            length,
            piece.memory_length,
            4096,
        ];
        for word in words {
            out.extend_from_slice(&word.to_le_bytes());
        }
        offset += length;
    }
    out.resize(out.len() + 40, 0xee);
    for piece in pieces {
        out.extend_from_slice(&piece.bytes);
    }
    out.extend_from_slice(&[0xdd; 500]);
    out
}

pub(crate) fn sound() -> Vec<Piece> {
    let mut data = load(READ_WRITE, BASE + 0x3000, b"data");
    data.memory_length = 0x5000;
    vec![
        load(READ_EXECUTE, BASE, &[0x90; 0x2100]),
        data,
        notes_segment(xen_notes()),
    ]
}

/// The same without a section table.
pub(crate) fn without_sections(pieces: &[Piece]) -> Vec<u8> {
    let mut out = file(pieces);
    out[40..48].fill(0); // e_shoff
    out[60] = 0; // e_shnum
    out
}

/// A GNU build-id note.
pub(crate) fn build_id(hash: &[u8]) -> Vec<u8> {
    let mut out = note(3, hash);
    out[12..16].copy_from_slice(b"GNU\0");
    out
}
