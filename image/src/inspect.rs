//! What Xen's loader will see in an image, and what a policy file or netdom's configuration says: for people and
//! programs.

use std::fmt::Write as _;

pub use bridges::{BridgeReport, BridgesReport, RateReport, VifReport};
use firewalldom::policy::{Policy, blob};
use serde::Serialize;

use crate::elf::view::{Elf, SegmentKind};
use crate::loader::{self, Kind, Machine, NoteValue, Outcome, Packing, XenNote, machine_name};
use crate::site;

/// How many bytes of a note without a name are shown.
const SHOWN_BYTES: usize = 32;

/// A file, taken apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Report {
    /// An image, or what is given for one.
    Image(Box<Image>),
    /// A policy by itself.
    Policy(PolicyReport),
    /// What netdom is told of its bridges.
    Netdom(BridgesReport),
}

/// An image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Image {
    /// Length of the file in bytes.
    pub file_bytes: u64,
    /// `plain`, `gzip`, or a bzImage's compression.
    pub packing: String,
    /// Whether Xen loads it, and if not, why.
    pub loader: String,
    /// Where it goes. `None`: Xen refuses it, or cannot be followed.
    pub load: Option<Load>,
    /// The ELF headers. `None`: none could be read.
    pub elf: Option<ElfReport>,
    /// Xen's notes, in the file's order.
    pub xen_notes: Vec<Note>,
    /// The page that Xen fills with its calls.
    pub hypercall_page: Option<u64>,
    /// The GNU build-id in hexadecimal.
    pub build_id: Option<String>,
    /// What it was compiled for, if its `GUEST_VERSION` note says so.
    pub target: Option<String>,
    /// The policy inside, if there is one.
    pub policy: Option<PolicyReport>,
}

/// Where an image goes. All addresses are virtual.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Load {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Where the domain is entered.
    pub entry: u64,
    /// Address of the domain's first byte of memory.
    pub memory_base: u64,
    /// Bytes of memory that the image takes.
    pub memory_bytes: u64,
    /// Smallest `memory=`, in MiB, without a module.
    pub needed_mib: Option<u32>,
}

/// ELF headers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ElfReport {
    /// 32 or 64.
    pub bits: u8,
    /// The machine's name.
    pub machine: String,
    /// `e_entry`. Xen prefers the `ENTRY` note.
    pub entry: u64,
    /// The program headers.
    pub segments: Vec<SegmentReport>,
}

/// A program header.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SegmentReport {
    /// `p_type` without `PT_`.
    pub kind: &'static str,
    /// `rwx`, with `-` for what is absent.
    pub rights: String,
    /// `p_vaddr`.
    pub address: u64,
    /// `p_offset`.
    pub file_offset: u64,
    /// `p_filesz`.
    pub file_bytes: u64,
    /// `p_memsz`.
    pub memory_bytes: u64,
}

/// A note named "Xen".
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Note {
    /// Its number.
    pub type_number: u32,
    /// Its name in `elfnote.h`, or `unknown`.
    pub name: &'static str,
    /// Its value as the loader reads it.
    pub value: String,
}

/// A policy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyReport {
    /// Length in bytes, with its header.
    pub bytes: u64,
    /// The version in its header, when it has one.
    pub version: Option<u16>,
    /// The site in a line, when it decodes.
    pub summary: Option<String>,
    /// The interfaces' names, when it decodes.
    pub interfaces: Vec<String>,
    /// The zones' names, when it decodes.
    pub zones: Vec<String>,
    /// Why it does not decode.
    pub error: Option<String>,
}

/// Takes a file apart. No bytes make it fail: what cannot be read is said to be so.
pub fn inspect(file: &[u8]) -> Report {
    if file.starts_with(&blob::MAGIC) {
        return Report::Policy(policy(file));
    }
    if file.starts_with(&netdom::config::MAGIC) {
        return Report::Netdom(bridges::bridges(file));
    }
    let outcome = loader::load(file, &Machine::default());
    Report::Image(Box::new(Image {
        file_bytes: file.len() as u64,
        packing: match outcome.packing {
            Some(Packing::Gzip) => "gzip".to_owned(),
            Some(Packing::BzImage(compression)) => format!("bzImage, {compression}"),
            Some(Packing::Plain) | None => "plain".to_owned(),
        },
        loader: match &outcome.verdict {
            Ok(loaded) => match loaded.kind {
                Kind::Elf => "loads".to_owned(),
                Kind::Multiboot => "loads by its multiboot table".to_owned(),
                Kind::Opaque => "unpacked by the toolstack only".to_owned(),
            },
            Err(refusal) => format!("refused: {refusal}"),
        },
        load: load(&outcome),
        elf: outcome
            .elf
            .as_deref()
            .and_then(|elf| Elf::read(elf).ok())
            .map(|elf| elf_report(&elf)),
        policy: outcome.elf.as_deref().and_then(embedded_policy),
        ..notes(&outcome)
    }))
}

fn load(outcome: &Outcome<'_>) -> Option<Load> {
    let loaded = outcome.verdict.as_ref().ok()?;
    (loaded.kind != Kind::Opaque).then_some(Load {
        start: loaded.start,
        end: loaded.end,
        entry: loaded.entry,
        memory_base: loaded.base,
        memory_bytes: loaded.end - loaded.start,
        needed_mib: loaded.needed_mib,
    })
}

fn elf_report(elf: &Elf) -> ElfReport {
    ElfReport {
        bits: elf.bits,
        machine: machine_name(elf.machine),
        entry: elf.entry,
        segments: elf
            .segments
            .iter()
            .map(|segment| SegmentReport {
                kind: match segment.kind {
                    SegmentKind::Load => "LOAD",
                    SegmentKind::Note => "NOTE",
                    SegmentKind::Other(name) => name,
                },
                rights: segment.rights.to_string(),
                address: segment.address,
                file_offset: segment.offset,
                file_bytes: segment.file_bytes,
                memory_bytes: segment.memory_bytes,
            })
            .collect(),
    }
}

/// An empty report but for what the notes say.
fn notes(outcome: &Outcome<'_>) -> Image {
    let parameters = outcome.parameters.clone().unwrap_or_default();
    let text_of = |kind: u32| {
        parameters.notes.iter().find_map(|note| match &note.value {
            NoteValue::Text(text) if note.kind == kind => Some(text.clone()),
            _ => None,
        })
    };
    Image {
        file_bytes: 0,
        packing: String::new(),
        loader: String::new(),
        load: None,
        elf: None,
        policy: None,
        hypercall_page: parameters.hypercall_page,
        build_id: parameters.build_id.as_deref().map(hex),
        // minios-rs writes its version and the triple.
        target: text_of(7)
            .and_then(|version| version.split_once(' ').map(|(_, triple)| triple.to_owned()))
            .filter(|triple| triple.starts_with("x86_64-")),
        xen_notes: parameters.notes.iter().map(note).collect(),
    }
}

fn note(note: &XenNote) -> Note {
    Note {
        type_number: note.kind,
        name: note.name.unwrap_or("unknown"),
        value: match &note.value {
            NoteValue::Number(number) => format!("{number:#x}"),
            NoteValue::NoNumber { length } => {
                format!("0x0 (malformed: {length} bytes are no number)")
            }
            NoteValue::Text(text) => format!("\"{}\"", text.escape_default()),
            NoteValue::NoText => "absent (malformed: a string without an end)".to_owned(),
            NoteValue::Bytes(bytes) if bytes.len() > SHOWN_BYTES => {
                format!("{}… ({} bytes)", hex(&bytes[..SHOWN_BYTES]), bytes.len())
            }
            NoteValue::Bytes(bytes) => hex(bytes),
        },
    }
}

/// A policy that was linked into an image: the first place that has a policy's magic and decodes.
fn embedded_policy(elf: &[u8]) -> Option<PolicyReport> {
    let places = elf
        .windows(blob::MAGIC.len())
        .enumerate()
        .filter(|(_, window)| **window == blob::MAGIC);
    places
        .map(|(at, _)| policy(&elf[at..]))
        .find(|report| report.error.is_none())
}

/// The length of a policy or of netdom's configuration with its header of so many bytes, and its version: both say them
/// in the same places. What does not decode is all that is there.
fn header(bytes: &[u8], header: usize, is_good: bool) -> (u64, Option<u16>) {
    let body = bytes.get(12..).and_then(<[u8]>::first_chunk);
    let announced = body
        .filter(|_| is_good)
        .map(|body| u64::from(u32::from_le_bytes(*body)) + header as u64);
    let version = bytes.get(8..).and_then(<[u8]>::first_chunk);
    (
        announced.unwrap_or(bytes.len() as u64),
        version.map(|version| u16::from_le_bytes(*version)),
    )
}

fn policy(bytes: &[u8]) -> PolicyReport {
    let decoded = blob::decode(bytes);
    let (length, version) = header(bytes, blob::HEADER, decoded.is_ok());
    let names = |names: fn(&Policy) -> Vec<String>| decoded.as_ref().map(names).unwrap_or_default();
    PolicyReport {
        bytes: length,
        version,
        summary: decoded.as_ref().ok().map(site::summary),
        interfaces: names(|policy| {
            let names = policy.interfaces.iter();
            names.map(|interface| interface.name.clone()).collect()
        }),
        zones: names(|policy| policy.zones.iter().map(|zone| zone.name.clone()).collect()),
        error: decoded.as_ref().err().map(ToString::to_string),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

mod bridges;
mod text;

#[cfg(test)]
mod tests;
