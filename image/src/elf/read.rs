//! ELF64's header and program headers, read with every bound checked.

use super::{ALIGNMENT, ElfError, HEADER_LENGTH, PROGRAM_HEADER_LENGTH, Part, SegmentName};

const EI_CLASS: usize = 4;
const EI_DATA: usize = 5;
const ELFCLASS64: u8 = 2;
const ELFDATA2LSB: u8 = 1;
const ET_EXEC: u16 = 2;
const EM_X86_64: u16 = 62;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
const PT_TLS: u32 = 7;
const PF_X: u32 = 1;

/// What is needed of an `Elf64_Ehdr`.
pub(super) struct Header {
    /// The 64 bytes as they were.
    raw: [u8; HEADER_LENGTH],
    /// Virtual address of the entry point.
    pub(super) entry: u64,
    program_headers_offset: u64,
    program_headers: u16,
}

/// What a segment is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SegmentKind {
    Load,
    Note,
    /// Of no use without a dynamic loader or a C library.
    NeedsLoader(SegmentName),
    /// Says nothing to Xen (PT_PHDR, PT_GNU_STACK, PT_GNU_RELRO).
    Other,
}

impl SegmentKind {
    pub(super) fn is_kept(self) -> bool {
        matches!(self, Self::Load | Self::Note)
    }
}

/// One program header and the bytes it names.
pub(super) struct Segment<'a> {
    /// Index in the table of program headers.
    pub(super) index: usize,
    pub(super) raw: [u8; PROGRAM_HEADER_LENGTH],
    pub(super) kind: SegmentKind,
    flags: u32,
    /// `p_offset`.
    pub(super) offset: u64,
    /// `p_vaddr`.
    pub(super) address: u64,
    /// `p_memsz`.
    pub(super) memory_length: u64,
    /// `p_filesz` bytes.
    pub(super) bytes: &'a [u8],
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    // Only called with constant offsets inside the fixed-size headers below.
    bytes[at..at + N].try_into().expect("a slice of N bytes")
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(field(bytes, at))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(field(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(field(bytes, at))
}

/// `file[start..start + length]`, or which part is cut off.
fn slice(file: &[u8], start: u64, length: u64, what: Part) -> Result<&[u8], ElfError> {
    let end = start.saturating_add(length);
    let truncated = ElfError::Truncated {
        what,
        end,
        length: file.len() as u64,
    };
    if end > file.len() as u64 {
        return Err(truncated);
    }
    // Both fit: they are at most the length of a slice.
    Ok(&file[start as usize..end as usize])
}

impl Header {
    pub(super) fn read(file: &[u8]) -> Result<Self, ElfError> {
        if !file.starts_with(b"\x7fELF") {
            return Err(ElfError::NotElf);
        }
        let raw: [u8; HEADER_LENGTH] =
            field(slice(file, 0, HEADER_LENGTH as u64, Part::Header)?, 0);
        if (raw[EI_CLASS], raw[EI_DATA]) != (ELFCLASS64, ELFDATA2LSB) {
            return Err(ElfError::WrongClass {
                class: raw[EI_CLASS],
                data: raw[EI_DATA],
            });
        }
        let machine = u16_at(&raw, 18);
        if machine != EM_X86_64 {
            return Err(ElfError::WrongMachine(machine));
        }
        let kind = u16_at(&raw, 16);
        if kind != ET_EXEC {
            return Err(ElfError::NotExecutable(kind));
        }
        let entry_size = u16_at(&raw, 54);
        let program_headers = u16_at(&raw, 56);
        if program_headers > 0 && usize::from(entry_size) != PROGRAM_HEADER_LENGTH {
            return Err(ElfError::ProgramHeaderSize(entry_size));
        }
        Ok(Self {
            raw,
            entry: u64_at(&raw, 24),
            program_headers_offset: u64_at(&raw, 32),
            program_headers,
        })
    }

    pub(super) fn segments<'a>(&self, file: &'a [u8]) -> Result<Vec<Segment<'a>>, ElfError> {
        let length = u64::from(self.program_headers) * PROGRAM_HEADER_LENGTH as u64;
        let table = slice(
            file,
            self.program_headers_offset,
            length,
            Part::ProgramHeaders,
        )?;
        table
            .chunks_exact(PROGRAM_HEADER_LENGTH)
            .enumerate()
            .map(|(index, raw)| Segment::read(file, index, field(raw, 0)))
            .collect()
    }

    /// The header of a file without sections, whose `program_headers` follow directly.
    pub(super) fn stripped(&self, program_headers: usize) -> Vec<u8> {
        let mut raw = self.raw;
        raw[32..40].copy_from_slice(&(HEADER_LENGTH as u64).to_le_bytes()); // e_phoff
        raw[40..48].fill(0); // e_shoff
        // There were no more than a u16 of them in the input.
        raw[56..58].copy_from_slice(&(program_headers as u16).to_le_bytes()); // e_phnum
        raw[58..64].fill(0); // e_shentsize, e_shnum, e_shstrndx
        raw.to_vec()
    }
}

impl<'a> Segment<'a> {
    fn read(
        file: &'a [u8],
        index: usize,
        raw: [u8; PROGRAM_HEADER_LENGTH],
    ) -> Result<Self, ElfError> {
        let kind = match u32_at(&raw, 0) {
            PT_LOAD => SegmentKind::Load,
            PT_NOTE => SegmentKind::Note,
            PT_DYNAMIC => SegmentKind::NeedsLoader(SegmentName("PT_DYNAMIC")),
            PT_INTERP => SegmentKind::NeedsLoader(SegmentName("PT_INTERP")),
            PT_TLS => SegmentKind::NeedsLoader(SegmentName("PT_TLS")),
            _ => SegmentKind::Other,
        };
        let (offset, address) = (u64_at(&raw, 8), u64_at(&raw, 16));
        let (file_length, memory_length) = (u64_at(&raw, 32), u64_at(&raw, 40));
        if offset.checked_add(file_length).is_none() || address.checked_add(memory_length).is_none()
        {
            return Err(ElfError::Wraps(index));
        }
        if kind == SegmentKind::Load && file_length > memory_length {
            return Err(ElfError::LargerInFile {
                index,
                file: file_length,
                memory: memory_length,
            });
        }
        let bytes = match kind {
            SegmentKind::Load | SegmentKind::Note => {
                slice(file, offset, file_length, Part::Segment(index))?
            }
            SegmentKind::NeedsLoader(_) | SegmentKind::Other => &[],
        };
        let flags = u32_at(&raw, 4);
        Ok(Self {
            index,
            raw,
            kind,
            flags,
            offset,
            address,
            memory_length,
            bytes,
        })
    }

    pub(super) fn is_executable(&self) -> bool {
        self.flags & PF_X != 0
    }

    /// Whether `address` lies in this segment's part of memory.
    pub(super) fn covers(&self, address: u64) -> bool {
        (self.address..self.address + self.memory_length).contains(&address)
    }

    /// The program header with its bytes at `offset` of the file.
    pub(super) fn program_header(&self, offset: u64) -> [u8; PROGRAM_HEADER_LENGTH] {
        let mut raw = self.raw;
        raw[8..16].copy_from_slice(&offset.to_le_bytes());
        if self.kind == SegmentKind::Load {
            raw[48..56].copy_from_slice(&ALIGNMENT.to_le_bytes()); // p_align
        }
        raw
    }
}
