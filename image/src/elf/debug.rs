//! The debug file beside a stripped image: names and line numbers, without the code.
//!
//! As `objcopy --only-keep-debug` makes it: sections that are loaded keep their addresses and lose
//! their bytes, notes excepted. The build-id says which image it belongs to.

use object::build::elf::{Builder, SectionData};
use object::elf::{SHF_ALLOC, SHT_NOBITS};
use object::read::elf::ElfFile64;
use object::{Endianness, Object as _};

use super::{ElfError, HEADER_LENGTH};
use crate::loader::{self, Machine};

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
        if let SectionData::Note(note) = &section.data {
            offset = (offset + note.len() as u64).next_multiple_of(8);
        } else {
            section.data = SectionData::UninitializedData(section.sh_size);
            section.sh_type = SHT_NOBITS;
        }
    }
    let mut out = Vec::new();
    builder.write(&mut out)?;
    Ok(out)
}

/// The GNU build-id of an ELF file: of its sections, or of its segments when it is stripped.
pub fn build_id(file: &[u8]) -> Option<Vec<u8>> {
    let of_sections = || {
        let elf = ElfFile64::<Endianness>::parse(file).ok()?;
        Some(elf.build_id().ok()??.to_vec())
    };
    of_sections().or_else(|| {
        let outcome = loader::load(file, &Machine::default());
        outcome.parameters?.build_id
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::samples;

    #[test]
    fn a_build_id_is_found_without_sections() {
        let mut pieces = samples::sound();
        assert_eq!(build_id(&samples::without_sections(&pieces)), None);
        let notes = [samples::xen_notes(), samples::build_id(&[9; 20])];
        pieces[2] = samples::notes_segment(notes.concat());
        assert_eq!(
            build_id(&samples::without_sections(&pieces)),
            Some(vec![9; 20])
        );
    }

    #[test]
    fn what_was_not_linked_is_an_error() {
        assert!(matches!(debug_file(b"no ELF"), Err(ElfError::Debug(_))));
        assert_eq!(build_id(b"no ELF"), None);
    }
}
