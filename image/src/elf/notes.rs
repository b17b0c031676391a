//! Xen's ELF notes (`xen/include/public/elfnote.h`), read back from a finished image.

use xmas_elf::ElfFile;
use xmas_elf::program::{ProgramHeader, Type};

use super::ElfError;

const ENTRY: u32 = 1;
const HYPERCALL_PAGE: u32 = 2;
const VIRT_BASE: u32 = 3;
const PADDR_OFFSET: u32 = 4;
const XEN_VERSION: u32 = 5;
const GUEST_OS: u32 = 6;
const LOADER: u32 = 8;

/// What the notes of an image tell Xen's domain builder. Addresses are virtual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XenNotes {
    /// Where Xen enters.
    pub entry: u64,
    /// The page that Xen fills with its calls. `None`: the image has none.
    pub hypercall_page: Option<u64>,
    /// Virtual address of the domain's first byte of memory.
    pub virt_base: u64,
    /// What is subtracted from `p_paddr`.
    pub paddr_offset: u64,
    /// Name of the guest operating system.
    pub guest_os: String,
}

impl XenNotes {
    /// Reads the notes of a stripped image, with `xmas-elf`: an eye other than the one that wrote
    /// the file.
    pub(super) fn of_image(image: &[u8]) -> Result<Self, ElfError> {
        let file = ElfFile::new(image).map_err(ElfError::SelfCheck)?;
        let mut found = Found::default();
        for segment in file.program_iter() {
            if segment.get_type().map_err(ElfError::SelfCheck)? != Type::Note {
                continue;
            }
            // Not `get_data`, which reads only the first note and panics when there is none.
            let ProgramHeader::Ph64(segment) = segment else {
                return Err(ElfError::SelfCheck("a 32-bit program header"));
            };
            found.read(segment.raw_data(&file))?;
        }
        found.finish()
    }
}

#[derive(Default)]
struct Found {
    any: bool,
    entry: Option<u64>,
    hypercall_page: Option<u64>,
    virt_base: Option<u64>,
    paddr_offset: Option<u64>,
    xen_version: Option<String>,
    guest_os: Option<String>,
    loader: Option<String>,
}

impl Found {
    /// Reads a segment of notes: name length, value length, type, name, value; both padded to 4.
    fn read(&mut self, mut notes: &[u8]) -> Result<(), ElfError> {
        while notes.len() >= 12 {
            let word = |at: usize| {
                u32::from_le_bytes([notes[at], notes[at + 1], notes[at + 2], notes[at + 3]])
            };
            let (name_length, value_length, kind) = (word(0) as usize, word(4) as usize, word(8));
            let value_start = 12 + name_length.next_multiple_of(4);
            let value = notes.get(value_start..value_start + value_length);
            let (Some(name), Some(value)) = (notes.get(12..12 + name_length), value) else {
                return Err(ElfError::BadNote(kind));
            };
            if name == b"Xen\0" {
                self.any = true;
                self.take(kind, value)?;
            }
            let next = value_start + value_length.next_multiple_of(4);
            notes = notes.get(next..).unwrap_or(&[]);
        }
        Ok(())
    }

    fn take(&mut self, kind: u32, value: &[u8]) -> Result<(), ElfError> {
        match kind {
            ENTRY => self.entry = Some(number(kind, value)?),
            HYPERCALL_PAGE => self.hypercall_page = Some(number(kind, value)?),
            VIRT_BASE => self.virt_base = Some(number(kind, value)?),
            PADDR_OFFSET => self.paddr_offset = Some(number(kind, value)?),
            XEN_VERSION => self.xen_version = Some(text(kind, value)?),
            GUEST_OS => self.guest_os = Some(text(kind, value)?),
            LOADER => self.loader = Some(text(kind, value)?),
            // elfnote.h is an open set; libelf as well goes on after a type it does not know.
            _ => {}
        }
        Ok(())
    }

    fn finish(self) -> Result<XenNotes, ElfError> {
        if !self.any {
            return Err(ElfError::NoXenNotes);
        }
        if self.xen_version.as_deref() != Some("xen-3.0") {
            return Err(ElfError::NoteMissing("XEN_VERSION \"xen-3.0\" (type 5)"));
        }
        if self.loader.as_deref() != Some("generic") {
            return Err(ElfError::NoteMissing("LOADER \"generic\" (type 8)"));
        }
        Ok(XenNotes {
            entry: self.entry.ok_or(ElfError::NoteMissing("ENTRY (type 1)"))?,
            hypercall_page: self.hypercall_page,
            virt_base: self
                .virt_base
                .ok_or(ElfError::NoteMissing("VIRT_BASE (type 3)"))?,
            paddr_offset: self
                .paddr_offset
                .ok_or(ElfError::NoteMissing("PADDR_OFFSET (type 4)"))?,
            guest_os: self.guest_os.unwrap_or_default(),
        })
    }
}

fn number(kind: u32, value: &[u8]) -> Result<u64, ElfError> {
    if let Ok(bytes) = value.try_into() {
        return Ok(u64::from_le_bytes(bytes));
    }
    if let Ok(bytes) = value.try_into() {
        return Ok(u64::from(u32::from_le_bytes(bytes)));
    }
    Err(ElfError::BadNote(kind))
}

fn text(kind: u32, value: &[u8]) -> Result<String, ElfError> {
    let value = value.strip_suffix(b"\0").unwrap_or(value);
    String::from_utf8(value.to_vec()).map_err(|_| ElfError::BadNote(kind))
}
