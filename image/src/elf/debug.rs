//! The debug file beside a stripped image: names and line numbers, without the code.
//!
//! As `objcopy --only-keep-debug` makes it: sections that are loaded keep their addresses and lose
//! their bytes, notes excepted. The build-id says which image it belongs to.

use object::build::elf::{Builder, SectionData};
use object::elf::{SHF_ALLOC, SHT_NOBITS};
use object::read::elf::{ElfFile64, FileHeader as _};
use object::{Endianness, Object as _};

use super::{ElfError, HEADER_LENGTH};

/// Makes the debug file of a linked image.
///
/// # Errors
/// [`ElfError::Debug`], when the linker's output cannot be read.
pub fn debug_file(linked: &[u8]) -> Result<Vec<u8>, ElfError> {
    make(linked).map_err(|error| ElfError::Debug(error.to_string()))
}

fn make(linked: &[u8]) -> object::build::Result<Vec<u8>> {
    let mut builder = Builder::read(linked)?;
    for segment in &mut builder.segments {
        segment.delete = true;
    }
    // Where the bytes of the few sections that are still loaded go: after the header.
    let mut offset = HEADER_LENGTH as u64;
    for section in &mut builder.sections {
        if !section.sh_flags.contains(SHF_ALLOC) {
            continue;
        }
        section.sh_offset = offset;
        match &section.data {
            SectionData::Note(note) => {
                offset = (offset + note.len() as u64).next_multiple_of(8);
            }
            SectionData::Data(bytes) => {
                section.data = SectionData::UninitializedData(bytes.len() as u64);
                section.sh_type = SHT_NOBITS;
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    builder.write(&mut out)?;
    Ok(out)
}

/// The GNU build-id of an ELF file, by its sections.
pub fn build_id(file: &[u8]) -> Option<Vec<u8>> {
    let elf = ElfFile64::<Endianness>::parse(file).ok()?;
    if let Some(id) = elf.build_id().ok().flatten() {
        return Some(id.to_vec());
    }
    // A stripped image has only segments.
    let header = elf.elf_header();
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, file).ok()?;
    segments.iter().find_map(|segment| {
        use object::read::elf::ProgramHeader as _;
        let mut notes = segment.notes(endian, file).ok()??;
        std::iter::from_fn(|| notes.next().ok().flatten()).find_map(|note| {
            let is_build_id =
                note.name() == b"GNU" && note.n_type(endian) == object::elf::NT_GNU_BUILD_ID;
            is_build_id.then(|| note.desc().to_vec())
        })
    })
}
