//! An ELF file's headers, read with `xmas-elf`, for people and for judgement.
//!
//! `xmas-elf` panics on headers that lie outside the file or at odd offsets, so these are looked at
//! before it is.

use xmas_elf::ElfFile;
use xmas_elf::header::{Class, Data};
use xmas_elf::program::{ProgramHeader, Type};

/// The most that a structure in the file is aligned to, in bytes.
const ALIGNMENT: usize = 8;

/// What of an ELF file anyone wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elf {
    /// Length of the file in bytes.
    pub length: u64,
    /// 32 or 64.
    pub bits: u8,
    /// `e_type`.
    pub kind: u16,
    /// `e_machine`.
    pub machine: u16,
    /// `e_entry`.
    pub entry: u64,
    /// The program headers, in the file's order.
    pub segments: Vec<Segment>,
}

/// A program header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its place in the table.
    pub index: usize,
    /// `p_type`.
    pub kind: SegmentKind,
    /// `p_flags`.
    pub rights: Rights,
    /// `p_offset`.
    pub offset: u64,
    /// `p_vaddr`.
    pub address: u64,
    /// `p_paddr`.
    pub physical: u64,
    /// `p_filesz`.
    pub file_bytes: u64,
    /// `p_memsz`.
    pub memory_bytes: u64,
}

impl Segment {
    /// Whether `address` lies in it.
    pub fn covers(&self, address: u64) -> bool {
        address
            .checked_sub(self.address)
            .is_some_and(|distance| distance < self.memory_bytes)
    }
}

/// What a segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// To be loaded.
    Load,
    /// Notes.
    Note,
    /// Something else, by its name without `PT_`.
    Other(&'static str),
}

/// What a segment's pages may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// `PF_R`.
    pub read: bool,
    /// `PF_W`.
    pub write: bool,
    /// `PF_X`.
    pub execute: bool,
}

impl std::fmt::Display for Rights {
    /// As `ls` and `/proc/PID/maps` have it: `r-x`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (is_set, letter) in [(self.read, "r"), (self.write, "w"), (self.execute, "x")] {
            f.write_str(if is_set { letter } else { "-" })?;
        }
        Ok(())
    }
}

impl Elf {
    /// Reads the headers.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn read(file: &[u8]) -> Result<Self, &'static str> {
        // The structures are read where they are: they have to be aligned in memory, too.
        let mut room = vec![0; file.len() + ALIGNMENT];
        let start = room.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        room[start..start + file.len()].copy_from_slice(file);
        let file = &room[start..start + file.len()];
        let elf = ElfFile::new(file)?;
        if !matches!(elf.header.pt1.data(), Data::LittleEndian) {
            return Err("it is not little endian");
        }
        let header = &elf.header.pt2;
        // Smallest size and alignment of a program header.
        let (bits, smallest, alignment) = match elf.header.pt1.class() {
            Class::ThirtyTwo => (32, 32, 4),
            Class::SixtyFour => (64, 56, 8),
            Class::None | Class::Other(_) => return Err("it is neither of 32 nor of 64 bits"),
        };
        let length = file.len() as u64;
        let (offset, size) = (header.ph_offset(), header.ph_entry_size());
        let count = header.ph_count();
        if count > 0 {
            let end = offset.saturating_add(u64::from(size) * u64::from(count));
            if size < smallest || end > length {
                return Err("its table of program headers is not inside the file");
            }
            if !offset.is_multiple_of(alignment) || !u64::from(size).is_multiple_of(alignment) {
                return Err("its table of program headers is not aligned");
            }
        }
        Ok(Self {
            length,
            bits,
            kind: header.type_().0,
            machine: u16::from_le_bytes([file[18], file[19]]),
            entry: header.entry_point(),
            segments: elf
                .program_iter()
                .enumerate()
                .map(|(index, header)| segment(index, &header))
                .collect(),
        })
    }
}

fn segment(index: usize, header: &ProgramHeader<'_>) -> Segment {
    let flags = header.flags();
    Segment {
        index,
        kind: match header.get_type() {
            Ok(Type::Load) => SegmentKind::Load,
            Ok(Type::Note) => SegmentKind::Note,
            Ok(Type::Dynamic) => SegmentKind::Other("DYNAMIC"),
            Ok(Type::Interp) => SegmentKind::Other("INTERP"),
            Ok(Type::Phdr) => SegmentKind::Other("PHDR"),
            Ok(Type::Tls) => SegmentKind::Other("TLS"),
            Ok(Type::GnuRelro) => SegmentKind::Other("GNU_RELRO"),
            Ok(Type::Null) => SegmentKind::Other("NULL"),
            Ok(Type::ShLib | Type::OsSpecific(_) | Type::ProcessorSpecific(_)) | Err(_) => {
                SegmentKind::Other("other")
            }
        },
        rights: Rights {
            read: flags.is_read(),
            write: flags.is_write(),
            execute: flags.is_execute(),
        },
        offset: header.offset(),
        address: header.virtual_addr(),
        physical: header.physical_addr(),
        file_bytes: header.file_size(),
        memory_bytes: header.mem_size(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::elf::samples;

    #[test]
    fn headers_are_read_as_they_were_written() {
        let elf = Elf::read(&samples::file(&samples::sound())).unwrap();
        assert_eq!(
            (elf.bits, elf.kind, elf.machine, elf.entry),
            (64, 2, 62, samples::BASE)
        );
        let rights: Vec<String> = elf
            .segments
            .iter()
            .map(|segment| segment.rights.to_string())
            .collect();
        assert_eq!(rights, ["r-x", "rw-", "r--"]);
        assert!(elf.segments[1].covers(samples::BASE + 0x7fff));
        assert!(!elf.segments[1].covers(samples::BASE + 0x8000));
    }

    proptest! {
        #[test]
        fn no_damage_to_the_headers_panics(
            changes in prop::collection::vec((0_usize..300, any::<u8>()), 1..8),
            length in 0_usize..400,
        ) {
            let mut file = samples::file(&samples::sound());
            for (at, value) in changes {
                file[at] = value;
            }
            let _ = Elf::read(&file);
            file.truncate(length);
            let _ = Elf::read(&file);
        }
    }
}
