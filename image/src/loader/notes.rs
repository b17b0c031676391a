//! What `libelf` takes from an image's notes (`xen/common/libelf/libelf-dominfo.c`), and when it
//! refuses them. The types are those of `xen/include/public/elfnote.h`.

use super::binary::{Binary, Note, PT_NOTE, Pointer, SHT_NOTE, header, program, section};
use super::refusal::Refusal;

/// `ELF_MAX_TOTAL_NOTE_COUNT`.
const NOTES_MAX: usize = 65_536;
/// Bytes that the loader keeps of a string, without the NUL.
const TEXT_KEPT: usize = 15;

const EM_386: u64 = 3;
const EM_ARM: u64 = 40;
const EM_X86_64: u64 = 62;

/// How the value of a known note is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Number,
    Text,
    /// Said by its presence, or read otherwise.
    Raw,
}

/// The notes that `libelf` knows, by their types.
const KNOWN: [(u32, &str, Shape); 19] = [
    (1, "ENTRY", Shape::Number),
    (2, "HYPERCALL_PAGE", Shape::Number),
    (3, "VIRT_BASE", Shape::Number),
    (4, "PADDR_OFFSET", Shape::Number),
    (5, "XEN_VERSION", Shape::Text),
    (6, "GUEST_OS", Shape::Text),
    (7, "GUEST_VERSION", Shape::Text),
    (8, "LOADER", Shape::Text),
    (9, "PAE_MODE", Shape::Text),
    (10, "FEATURES", Shape::Text),
    (11, "BSD_SYMTAB", Shape::Text),
    (12, "HV_START_LOW", Shape::Number),
    (13, "L1_MFN_VALID", Shape::Raw),
    (14, "SUSPEND_CANCEL", Shape::Number),
    (15, "INIT_P2M", Shape::Number),
    (16, "MOD_START_PFN", Shape::Number),
    (17, "SUPPORTED_FEATURES", Shape::Number),
    (18, "PHYS32_ENTRY", Shape::Number),
    (19, "PHYS32_RELOC", Shape::Raw),
];

/// Features that a guest may ask for by name, and their bits (`xen/include/public/features.h`).
const FEATURES: [(&str, u32); 7] = [
    ("writable_page_tables", 0),
    ("writable_descriptor_tables", 1),
    ("auto_translated_physmap", 2),
    ("supervisor_mode_kernel", 3),
    ("pae_pgdir_above_4gb", 4),
    ("hvm_callback_vector", 8),
    ("dom0", 11),
];

/// A note named "Xen".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XenNote {
    /// `n_type`.
    pub kind: u32,
    /// Its name in `elfnote.h` without the prefix. `None`: libelf does not know it.
    pub name: Option<&'static str>,
    /// Its value as the loader reads it.
    pub value: NoteValue,
}

/// The value of a note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoteValue {
    /// Little endian, of 1, 2, 4 or 8 bytes.
    Number(u64),
    /// A number of a size that no number has, which the loader takes for 0.
    NoNumber {
        /// `n_descsz`.
        length: u32,
    },
    /// Up to the first NUL.
    Text(String),
    /// A string without an end in the file, which the loader passes over.
    NoText,
    /// Neither.
    Bytes(Vec<u8>),
}

/// What of an image's notes decides how it is started (`struct elf_dom_parms`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// All notes named "Xen", in the order of the file.
    pub notes: Vec<XenNote>,
    /// The GNU build-id, if the file has one.
    pub build_id: Option<Vec<u8>>,
    /// Where the notes were found.
    pub source: NoteSource,
    /// `LOADER`, cut as the loader cuts it.
    pub loader: String,
    /// `GUEST_OS`, likewise.
    pub guest_os: String,
    /// `XEN_VERSION`, likewise.
    pub xen_version: String,
    pub(super) pae: Pae,
    pub(super) virt_base: Option<u64>,
    pub(super) paddr_offset: Option<u64>,
    pub(super) entry: Option<u64>,
    /// The page that Xen fills with its calls.
    pub hypercall_page: Option<u64>,
    pub(super) init_p2m: Option<u64>,
    pub(super) needs_dom0: bool,
}

/// Where an image's notes are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoteSource {
    /// There is nothing of the kind.
    #[default]
    Nowhere,
    /// In a `PT_NOTE` segment, or there is such a segment, without Xen's notes in it.
    Segment,
    /// In an `SHT_NOTE` section only: stripping the file removes them.
    Section,
    /// As text in a section named `__xen_guest`, which predates the notes.
    XenGuest,
}

/// The page tables that a 32-bit guest says it can work with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pae {
    #[default]
    No,
    Yes,
}

impl Parameters {
    /// Reads all notes; `Err` beside what was read when one of them cannot be met.
    pub(super) fn read(binary: &Binary<'_>) -> (Self, Result<(), Refusal>) {
        let mut reader = Reader::default();
        let outcome = reader.read(binary);
        (reader.parameters, outcome)
    }

    /// `elf_xen_note_check`.
    pub(super) fn check(&self, binary: &Binary<'_>) -> Result<(), Refusal> {
        let machine = binary.header(header::MACHINE);
        if self.source == NoteSource::Nowhere {
            return match machine {
                EM_386 | EM_X86_64 => Err(Refusal::NoXenNotes),
                _ => Ok(()),
            };
        }
        if machine == EM_ARM {
            return Ok(());
        }
        if !self.loader.starts_with("generic") && !self.guest_os.starts_with("linux") {
            return Err(if self.notes.is_empty() {
                Refusal::NoXenNotes
            } else {
                Refusal::Loader {
                    loader: self.loader.clone(),
                    guest_os: self.guest_os.clone(),
                }
            });
        }
        if !self.xen_version.starts_with("xen-3.0") {
            return Err(Refusal::XenVersion(self.xen_version.clone()));
        }
        Ok(())
    }
}

#[derive(Default)]
struct Reader {
    parameters: Parameters,
    seen: usize,
}

impl Reader {
    fn read(&mut self, binary: &Binary<'_>) -> Result<(), Refusal> {
        for segment in binary.program_headers() {
            let offset = binary.field(segment, program::OFFSET);
            // An offset of 0 is how some linkers say that there is nothing.
            if binary.field(segment, program::TYPE) != PT_NOTE || offset == 0 {
                continue;
            }
            self.parameters.source = NoteSource::Segment;
            let start = binary.contents(offset);
            let end = start.plus(binary.field(segment, program::FILESZ));
            self.read_notes(binary, start, end)?;
        }
        if !self.parameters.notes.is_empty() {
            return Ok(());
        }
        for at in binary.sections() {
            if binary.field(at, section::TYPE) != SHT_NOTE {
                continue;
            }
            self.parameters.source = NoteSource::Section;
            let start = binary.contents(binary.field(at, section::OFFSET));
            let end = start.plus(binary.field(at, section::SIZE));
            self.read_notes(binary, start, end)?;
        }
        if !self.parameters.notes.is_empty() {
            return Ok(());
        }
        if let Some(at) = binary.section_called(b"__xen_guest") {
            self.parameters.source = NoteSource::XenGuest;
            let text = binary.contents(binary.field(at, section::OFFSET));
            self.read_xen_guest(binary.string(text).unwrap_or(b""));
        }
        Ok(())
    }

    fn read_notes(
        &mut self,
        binary: &Binary<'_>,
        start: Pointer,
        end: Pointer,
    ) -> Result<(), Refusal> {
        for note in binary.notes(start, end) {
            if self.seen >= NOTES_MAX {
                break;
            }
            self.seen += 1;
            match note.name() {
                Some(b"Xen") => self.take(&note)?,
                // NT_GNU_BUILD_ID
                Some(b"GNU") if note.kind() == 3 => {
                    self.parameters.build_id = note.bytes().map(<[u8]>::to_vec);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn take(&mut self, note: &Note<'_>) -> Result<(), Refusal> {
        let kind = note.kind();
        let known = KNOWN.iter().find(|(known, ..)| *known == kind);
        let value = match known {
            Some((_, _, Shape::Number)) if !matches!(note.value_length(), 1 | 2 | 4 | 8) => {
                NoteValue::NoNumber {
                    length: note.value_length() as u32,
                }
            }
            Some((_, _, Shape::Number)) => NoteValue::Number(note.number()),
            Some((_, _, Shape::Text)) => match note.text() {
                Some(text) => NoteValue::Text(String::from_utf8_lossy(text).into_owned()),
                None => NoteValue::NoText,
            },
            Some((_, _, Shape::Raw)) | None => {
                NoteValue::Bytes(note.bytes().unwrap_or(&[]).to_vec())
            }
        };
        let outcome = match &value {
            NoteValue::Text(text) => self.take_text(kind, text),
            NoteValue::Number(number) => {
                self.take_number(kind, *number);
                Ok(())
            }
            NoteValue::NoNumber { .. } => {
                self.take_number(kind, 0);
                Ok(())
            }
            NoteValue::NoText | NoteValue::Bytes(_) => Ok(()),
        };
        self.parameters.notes.push(XenNote {
            kind,
            name: known.map(|(_, name, _)| *name),
            value,
        });
        outcome
    }

    fn take_number(&mut self, kind: u32, number: u64) {
        let parameters = &mut self.parameters;
        // All ones is how the loader itself says that a note is absent.
        let number = Some(number).filter(|&number| number != u64::MAX);
        match kind {
            1 => parameters.entry = number,
            2 => parameters.hypercall_page = number,
            3 => parameters.virt_base = number,
            4 => parameters.paddr_offset = number,
            15 => parameters.init_p2m = number,
            _ => {}
        }
    }

    fn take_text(&mut self, kind: u32, text: &str) -> Result<(), Refusal> {
        let kept = || text.chars().take(TEXT_KEPT).collect::<String>();
        let parameters = &mut self.parameters;
        match kind {
            5 => parameters.xen_version = kept(),
            6 => parameters.guest_os = kept(),
            8 => parameters.loader = kept(),
            9 if text == "yes" || text.contains("bimodal") => parameters.pae = Pae::Yes,
            10 => return self.take_features(text),
            _ => {}
        }
        Ok(())
    }

    /// `elf_xen_parse_features`: names between bars, `!` before those that must be met.
    fn take_features(&mut self, text: &str) -> Result<(), Refusal> {
        for feature in text.split('|') {
            let Some(name) = feature.strip_prefix('!') else {
                continue;
            };
            match FEATURES.iter().find(|(known, _)| *known == name) {
                Some(("dom0", _)) => self.parameters.needs_dom0 = true,
                Some(_) => {}
                None => return Err(Refusal::Feature(name.to_owned())),
            }
        }
        Ok(())
    }

    /// `elf_xen_parse_guest_info`: `NAME=value,NAME=value`.
    fn read_xen_guest(&mut self, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        let number = |value: &str| {
            let digits = value.trim_start();
            let parsed = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
                Some(hex) => u64::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            // strtoull gives 0 for what is no number.
            Some(parsed.unwrap_or(0))
        };
        for pair in text.split(',') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let kept = || value.chars().take(TEXT_KEPT).collect::<String>();
            match name {
                "LOADER" => self.parameters.loader = kept(),
                "GUEST_OS" => self.parameters.guest_os = kept(),
                "XEN_VER" => self.parameters.xen_version = kept(),
                "PAE" if value.starts_with("yes") => self.parameters.pae = Pae::Yes,
                "VIRT_BASE" => self.parameters.virt_base = number(value),
                "VIRT_ENTRY" => self.parameters.entry = number(value),
                "ELF_PADDR_OFFSET" => self.parameters.paddr_offset = number(value),
                "HYPERCALL_PAGE" => {
                    self.parameters.hypercall_page = number(value).map(|page| page << 12);
                }
                _ => {}
            }
        }
        let Parameters {
            virt_base: Some(base),
            hypercall_page: Some(page),
            ..
        } = &mut self.parameters
        else {
            return;
        };
        *page = page.wrapping_add(*base);
    }
}
