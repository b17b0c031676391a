//! From a linker's output to what Xen's domain builder reads.
//!
//! `libelf` (`tools/libs/guest/xg_dom_elfloader.c` and `xen/common/libelf`) looks at the ELF
//! header, the program headers, the bytes of `PT_LOAD` segments and the Xen notes in a `PT_NOTE`
//! segment. [`strip`] keeps exactly these; symbols, debug information and the section table stay
//! in the file it was given.
//!
//! ```text
//!   ELF header | program headers | PT_NOTE not part of a PT_LOAD | PT_LOAD | PT_LOAD …
//! ```
//!
//! In memory each segment begins with a page of its own, in the file with the next 16 bytes: nothing maps
//! the file.

mod debug;
mod notes;
mod read;
pub mod view;

use std::fmt;

pub use debug::{build_id, debug_file};
pub use notes::XenNotes;
use read::{Header, Segment, SegmentKind};

/// Alignment of segments in the file, which is less than a page: Xen's domain builder copies them, and
/// what is aligned to pages is padding by half a page each.
const ALIGNMENT: u64 = 16;
/// `sizeof(Elf64_Ehdr)`.
const HEADER_LENGTH: usize = 64;
/// `sizeof(Elf64_Phdr)`.
const PROGRAM_HEADER_LENGTH: usize = 56;

/// Why a file is not an image that this tool lets out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The file does not begin with `\x7fELF`.
    #[error("not an ELF file: it does not begin with \\x7fELF")]
    NotElf,
    /// The file ends inside `what`.
    #[error("truncated: {what} ends at byte {end}, the file at byte {length}")]
    Truncated {
        /// The part that is cut off.
        what: Part,
        /// Offset of its end in a whole file.
        end: u64,
        /// Length of the file.
        length: u64,
    },
    /// 32-bit, or big endian.
    #[error(
        "not a 64-bit little-endian ELF file (EI_CLASS {class}, EI_DATA {data}; 2 and 1 expected)"
    )]
    WrongClass {
        /// `EI_CLASS`.
        class: u8,
        /// `EI_DATA`.
        data: u8,
    },
    /// Another architecture.
    #[error("built for ELF machine {0}; x86-64 is 62")]
    WrongMachine(u16),
    /// Relocatable, shared or position independent.
    #[error(
        "ELF type {0}, not 2 (EXEC): the image must be linked at a fixed address; build it with \
         `-C relocation-model=static` and without `-pie`"
    )]
    NotExecutable(u16),
    /// `e_phentsize` is not that of ELF64.
    #[error("program headers of {0} bytes; ELF64's are 56")]
    ProgramHeaderSize(u16),
    /// A segment that asks for a dynamic loader.
    #[error(
        "has a {0} segment, but nothing relocates or loads libraries inside a domain: link it static"
    )]
    NeedsLoader(SegmentName),
    /// No `PT_LOAD`.
    #[error("has no PT_LOAD segment: there is nothing to load")]
    NothingToLoad,
    /// `p_filesz` is greater than `p_memsz`.
    #[error("segment {index} has {file} bytes in the file but only {memory} in memory")]
    LargerInFile {
        /// Index of the program header.
        index: usize,
        /// `p_filesz`.
        file: u64,
        /// `p_memsz`.
        memory: u64,
    },
    /// `p_vaddr + p_memsz` or `p_offset + p_filesz` is beyond 64 bits.
    #[error("segment {0} ends beyond the 64-bit address space")]
    Wraps(usize),
    /// Two `PT_LOAD` segments share an address.
    #[error(
        "segments {first} and {second} overlap in memory at {at:#x}: both cannot be loaded; see the linker script"
    )]
    Overlap {
        /// Index of the lower segment's program header.
        first: usize,
        /// Index of the other's.
        second: usize,
        /// First address that both claim.
        at: u64,
    },
    /// The entry point is not in an executable segment.
    #[error("the entry point {0:#x} is not inside an executable segment")]
    EntryOutsideText(u64),
    /// No `PT_NOTE` with a note by "Xen".
    #[error(
        "has no Xen ELF note, so Xen would refuse it (`Not a Xen-ELF image`): link it with \
         minios-rs/link.ld, whose PT_NOTE segment keeps the `.note.Xen` section"
    )]
    NoXenNotes,
    /// A note that Xen needs is absent.
    #[error("has Xen notes, but {0} is not among them")]
    NoteMissing(&'static str),
    /// A note does not fit its segment, or its value is not what its type says.
    #[error("the Xen note of type {0} is malformed")]
    BadNote(u32),
    /// The linker's output cannot be turned into a debug file.
    #[error("no debug file can be made of what was linked: {0}")]
    Debug(String),
    /// What we wrote was not understood by `xmas-elf`, or not what it should be: a fault of ours.
    #[error("the stripped image failed its own check: {0}")]
    SelfCheck(&'static str),
}

/// A part of an ELF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The ELF header.
    Header,
    /// The table of program headers.
    ProgramHeaders,
    /// The bytes of the segment with this index.
    Segment(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header => f.write_str("the ELF header"),
            Self::ProgramHeaders => f.write_str("the table of program headers"),
            Self::Segment(index) => write!(f, "segment {index}"),
        }
    }
}

/// A kind of segment by its name in the ELF specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentName(&'static str);

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// A stripped Xen-ELF image and what its notes say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XenElf {
    /// The file for `kernel=`.
    pub bytes: Vec<u8>,
    /// What Xen's domain builder will read.
    pub notes: XenNotes,
}

/// Keeps of a linked image what Xen's domain builder reads, and checks that it will take it.
///
/// # Errors
/// [`ElfError`], when the input is no static x86-64 ELF executable with Xen's notes.
pub fn strip(linked: &[u8]) -> Result<XenElf, ElfError> {
    let header = Header::read(linked)?;
    let segments = header.segments(linked)?;
    check_segments(&header, &segments)?;

    let kept: Vec<&Segment<'_>> = segments
        .iter()
        .filter(|segment| segment.kind.is_kept())
        .collect();
    let offsets = lay_out(&kept);
    let bytes = write(&header, &kept, &offsets);
    let notes = XenNotes::of_image(&bytes)?;
    Ok(XenElf { bytes, notes })
}

fn check_segments(header: &Header, segments: &[Segment<'_>]) -> Result<(), ElfError> {
    let mut loads: Vec<&Segment<'_>> = Vec::new();
    for segment in segments {
        match segment.kind {
            SegmentKind::Load => loads.push(segment),
            SegmentKind::NeedsLoader(name) => return Err(ElfError::NeedsLoader(name)),
            SegmentKind::Note | SegmentKind::Other => {}
        }
    }
    if loads.is_empty() {
        return Err(ElfError::NothingToLoad);
    }
    loads.sort_by_key(|segment| segment.address);
    for pair in loads.windows(2) {
        if pair[0].address + pair[0].memory_length > pair[1].address {
            return Err(ElfError::Overlap {
                first: pair[0].index,
                second: pair[1].index,
                at: pair[1].address,
            });
        }
    }
    let in_text = |segment: &&Segment<'_>| segment.is_executable() && segment.covers(header.entry);
    if !loads.iter().any(in_text) {
        return Err(ElfError::EntryOutsideText(header.entry));
    }
    Ok(())
}

/// Offset in the new file of each kept segment.
fn lay_out(kept: &[&Segment<'_>]) -> Vec<u64> {
    let mut end = (HEADER_LENGTH + kept.len() * PROGRAM_HEADER_LENGTH) as u64;
    let mut offsets = vec![0; kept.len()];
    let mut place = |offset: &mut u64, segment: &Segment<'_>, alignment: u64| {
        // Congruent with the address, as the ELF specification asks of loadable segments.
        let gap = segment.address.wrapping_sub(end) % alignment;
        *offset = end + gap;
        end = *offset + segment.bytes.len() as u64;
    };
    let is_load = |segment: &Segment<'_>| segment.kind == SegmentKind::Load;
    // Small notes first, so that they fill the space before the first segment.
    for (offset, segment) in offsets.iter_mut().zip(kept) {
        if !is_load(segment) && container(segment, kept).is_none() {
            place(offset, segment, 4);
        }
    }
    for (offset, segment) in offsets.iter_mut().zip(kept) {
        if is_load(segment) {
            place(offset, segment, ALIGNMENT);
        }
    }
    for index in 0..kept.len() {
        if let Some((outer, distance)) = container(kept[index], kept) {
            offsets[index] = offsets[outer] + distance;
        }
    }
    offsets
}

/// The `PT_LOAD` whose file bytes hold those of `inner`, and how far in they begin.
fn container(inner: &Segment<'_>, kept: &[&Segment<'_>]) -> Option<(usize, u64)> {
    if inner.kind == SegmentKind::Load {
        return None;
    }
    kept.iter().enumerate().find_map(|(index, outer)| {
        let distance = inner.offset.checked_sub(outer.offset)?;
        let end = distance + inner.bytes.len() as u64;
        let holds = outer.kind == SegmentKind::Load && end <= outer.bytes.len() as u64;
        holds.then_some((index, distance))
    })
}

fn write(header: &Header, kept: &[&Segment<'_>], offsets: &[u64]) -> Vec<u8> {
    let mut out = header.stripped(kept.len());
    for (segment, &offset) in kept.iter().zip(offsets) {
        out.extend_from_slice(&segment.program_header(offset));
    }
    for (segment, &offset) in kept.iter().zip(offsets) {
        let start = offset as usize;
        let end = start + segment.bytes.len();
        if out.len() < end {
            out.resize(end, 0);
        }
        out[start..end].copy_from_slice(segment.bytes);
    }
    out
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
