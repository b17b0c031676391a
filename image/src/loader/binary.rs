//! An ELF file as `libelf` reads it (`xen/common/libelf/libelf-tools.c`).
//!
//! Nothing here fails: what lies outside the file reads as 0, strings there are absent, and
//! addresses wrap. That is how Xen's loader gets on with a damaged file, so it decides which
//! damaged files it starts.

/// Where the file lies in the toolstack's memory: some place in the middle of user space, so that
/// sums wrap, or not, as they do there.
const IMAGE_BASE: u64 = 0x7f00_0000_0000;

/// `ELF_MAX_STRING_LENGTH`.
const STRING_LENGTH_MAX: u64 = 4096;
/// `sizeof(Elf32_Ehdr)`: what a file must have to be looked at.
const SMALLEST_HEADER: usize = 52;
/// `sizeof(Elf32_Shdr)`.
const SMALLEST_SECTION_HEADER: u64 = 40;
/// Bytes of an `Elf_Note` before its name.
const NOTE_HEADER: u64 = 12;

pub(super) const PT_LOAD: u64 = 1;
pub(super) const PT_NOTE: u64 = 4;
pub(super) const SHT_NOTE: u64 = 7;
const ELFCLASS64: u8 = 2;
const ELFDATA2LSB: u8 = 1;

/// A field of a structure that has two layouts: offset and size in the 32-bit one, then in the
/// 64-bit one.
#[derive(Clone, Copy)]
pub(super) struct Field(u64, u64, u64, u64);

/// `Elf_Ehdr`.
pub(super) mod header {
    use super::Field;
    pub(crate) const MACHINE: Field = Field(18, 2, 18, 2);
    pub(crate) const ENTRY: Field = Field(24, 4, 24, 8);
    pub(crate) const PHOFF: Field = Field(28, 4, 32, 8);
    pub(crate) const SHOFF: Field = Field(32, 4, 40, 8);
    pub(crate) const PHENTSIZE: Field = Field(42, 2, 54, 2);
    pub(crate) const PHNUM: Field = Field(44, 2, 56, 2);
    pub(crate) const SHENTSIZE: Field = Field(46, 2, 58, 2);
    pub(crate) const SHNUM: Field = Field(48, 2, 60, 2);
    pub(crate) const SHSTRNDX: Field = Field(50, 2, 62, 2);
}

/// `Elf_Phdr`.
pub(super) mod program {
    use super::Field;
    pub(crate) const TYPE: Field = Field(0, 4, 0, 4);
    pub(crate) const OFFSET: Field = Field(4, 4, 8, 8);
    pub(crate) const PADDR: Field = Field(12, 4, 24, 8);
    pub(crate) const FILESZ: Field = Field(16, 4, 32, 8);
    pub(crate) const MEMSZ: Field = Field(20, 4, 40, 8);
    pub(crate) const FLAGS: Field = Field(24, 4, 4, 4);
}

/// `Elf_Shdr`.
pub(super) mod section {
    use super::Field;
    pub(crate) const NAME: Field = Field(0, 4, 0, 4);
    pub(crate) const TYPE: Field = Field(4, 4, 4, 4);
    pub(crate) const OFFSET: Field = Field(16, 4, 24, 8);
    pub(crate) const SIZE: Field = Field(20, 4, 32, 8);
}

/// An address in the toolstack's memory, perhaps outside the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pointer(u64);

impl Pointer {
    /// The end of every loop.
    const MAX: Self = Self(u64::MAX);

    pub(super) fn plus(self, bytes: u64) -> Self {
        Self(self.0.wrapping_add(bytes))
    }
}

/// Why `elf_init` gives a file up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InitError {
    NotElf,
    /// The table of program headers ends at this byte, beyond the file.
    ProgramHeaders(u64),
    /// The section table ends at this byte, beyond the file.
    SectionHeaders(u64),
}

/// A file that `elf_init` took.
#[derive(Clone, Copy)]
pub(super) struct Binary<'a> {
    bytes: &'a [u8],
    is_64_bit: bool,
    is_swapped: bool,
}

impl<'a> Binary<'a> {
    pub(super) fn init(bytes: &'a [u8]) -> Result<Self, InitError> {
        if bytes.len() < SMALLEST_HEADER || !bytes.starts_with(b"\x7fELF") {
            return Err(InitError::NotElf);
        }
        let binary = Self {
            bytes,
            is_64_bit: bytes[4] == ELFCLASS64,
            is_swapped: bytes[5] != ELFDATA2LSB,
        };
        let length = bytes.len() as u64;
        let end = |offset: Field, entry: Field, count: u64| {
            let size = binary.header(entry) * count;
            binary.header(offset).wrapping_add(size)
        };
        let programs = end(
            header::PHOFF,
            header::PHENTSIZE,
            binary.header(header::PHNUM),
        );
        if programs > length {
            return Err(InitError::ProgramHeaders(programs));
        }
        let sections = end(header::SHOFF, header::SHENTSIZE, binary.section_count());
        if sections > length {
            return Err(InitError::SectionHeaders(sections));
        }
        Ok(binary)
    }

    pub(super) fn is_64_bit(&self) -> bool {
        self.is_64_bit
    }

    fn start(&self) -> Pointer {
        Pointer(IMAGE_BASE)
    }

    /// `elf_access_ok`: the range of the file, if it is one.
    fn range(&self, at: Pointer, size: u64) -> Option<&'a [u8]> {
        let start = usize::try_from(at.0.checked_sub(IMAGE_BASE)?).ok()?;
        let end = start.checked_add(usize::try_from(size).ok()?)?;
        self.bytes.get(start..end)
    }

    /// `elf_access_unsigned`, for 1, 2, 4 and 8 bytes.
    pub(super) fn unsigned(&self, at: Pointer, size: u64) -> u64 {
        let Some(bytes) = self.range(at, size) else {
            return 0;
        };
        let digits = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
        if self.is_swapped {
            bytes.iter().fold(0, digits)
        } else {
            bytes.iter().rev().fold(0, digits)
        }
    }

    /// `elf_uval`.
    pub(super) fn field(&self, of: Pointer, Field(at_32, size_32, at_64, size_64): Field) -> u64 {
        if self.is_64_bit {
            self.unsigned(of.plus(at_64), size_64)
        } else {
            self.unsigned(of.plus(at_32), size_32)
        }
    }

    /// A field of the ELF header.
    pub(super) fn header(&self, field: Field) -> u64 {
        self.field(self.start(), field)
    }

    /// `elf_strval`.
    pub(super) fn string(&self, at: Pointer) -> Option<&'a [u8]> {
        let start = usize::try_from(at.0.checked_sub(IMAGE_BASE)?).ok()?;
        let rest = self.bytes.get(start..)?;
        let limit = rest.len().min(STRING_LENGTH_MAX as usize);
        let end = rest[..limit].iter().position(|&byte| byte == 0)?;
        Some(&rest[..end])
    }

    /// The program headers, up to the first that lies outside the file.
    pub(super) fn program_headers(&self) -> impl Iterator<Item = Pointer> {
        let (offset, size) = (self.header(header::PHOFF), self.header(header::PHENTSIZE));
        (0..self.header(header::PHNUM))
            .map(move |index| self.start().plus(offset).plus(size * index))
            .take_while(|&at| self.range(at, 1).is_some())
    }

    fn section_count(&self) -> u64 {
        let most = self.bytes.len() as u64 / SMALLEST_SECTION_HEADER;
        self.header(header::SHNUM).min(most)
    }

    fn section(&self, index: u64) -> Pointer {
        let (offset, size) = (self.header(header::SHOFF), self.header(header::SHENTSIZE));
        self.start().plus(offset).plus(size * index)
    }

    /// The section headers but the first, up to the first that lies outside the file.
    pub(super) fn sections(&self) -> impl Iterator<Item = Pointer> {
        (1..self.section_count())
            .map(|index| self.section(index))
            .take_while(|&at| self.range(at, 1).is_some())
    }

    /// `elf_shdr_by_name`.
    pub(super) fn section_called(&self, name: &[u8]) -> Option<Pointer> {
        let table = self.header(header::SHSTRNDX);
        if table >= self.section_count() {
            return None;
        }
        let names = self.contents(self.field(self.section(table), section::OFFSET));
        self.sections().find(|&section| {
            let at = names.plus(self.field(section, section::NAME));
            self.string(at) == Some(name)
        })
    }

    /// Where the byte at `offset` of the file lies.
    pub(super) fn contents(&self, offset: u64) -> Pointer {
        self.start().plus(offset)
    }

    /// The notes from `start` to `end`, as `elf_note_next` finds them.
    pub(super) fn notes(&self, start: Pointer, end: Pointer) -> impl Iterator<Item = Note<'a>> {
        let mut next = start;
        let binary = *self;
        std::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            let note = Note { binary, at: next };
            let after = note.at.plus(NOTE_HEADER + note.padded(0) + note.padded(4));
            let is_stuck = after <= note.at || binary.range(note.at, 1).is_none();
            next = if is_stuck { Pointer::MAX } else { after };
            Some(note)
        })
    }
}

/// A note, perhaps outside the file.
#[derive(Clone, Copy)]
pub(super) struct Note<'a> {
    binary: Binary<'a>,
    at: Pointer,
}

impl<'a> Note<'a> {
    fn word(&self, at: u64) -> u64 {
        self.binary.unsigned(self.at.plus(at), 4)
    }

    /// A length, rounded up to 4 in 32 bits, as C does it.
    fn padded(&self, at: u64) -> u64 {
        u64::from((self.word(at) as u32).wrapping_add(3) & !3)
    }

    pub(super) fn kind(&self) -> u32 {
        self.word(8) as u32
    }

    pub(super) fn name(&self) -> Option<&'a [u8]> {
        self.binary.string(self.at.plus(NOTE_HEADER))
    }

    fn value(&self) -> Pointer {
        self.at.plus(NOTE_HEADER + self.padded(0))
    }

    /// `n_descsz`.
    pub(super) fn value_length(&self) -> u64 {
        self.word(4)
    }

    /// The value as bytes, if all of it is in the file.
    pub(super) fn bytes(&self) -> Option<&'a [u8]> {
        self.binary.range(self.value(), self.value_length())
    }

    /// The value as a number: 0 when its size is none of a number's, or it is outside the file.
    pub(super) fn number(&self) -> u64 {
        match self.value_length() {
            size @ (1 | 2 | 4 | 8) => self.binary.unsigned(self.value(), size),
            _ => 0,
        }
    }

    /// The value up to its first NUL, whatever its length says.
    pub(super) fn text(&self) -> Option<&'a [u8]> {
        self.binary.string(self.value())
    }
}
