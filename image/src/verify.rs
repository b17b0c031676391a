//! Whether Xen starts a file, and whether it is a sound appliance if so.
//!
//! The first is what [`crate::loader`] finds. The second are [`Warning`]s, by names that stay: a
//! file with any of them loads, and then crashes, is weaker than ours, or cannot be followed up.

use std::fmt;

use serde::Serialize;

use crate::elf::view::{Elf, Segment, SegmentKind};
use crate::loader::{
    self, Kind, Loaded, Machine, NoteSource, NoteValue, Outcome, Packing, Refusal,
};

/// What loads but is no sound appliance.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// A gzip file around the image.
    Compressed,
    /// A Linux kernel, with its payload's compression.
    BzImage(&'static str),
    /// No ELF file, but a multiboot table.
    Multiboot,
    /// A 32-bit guest.
    ThirtyTwoBit,
    /// No `HYPERCALL_PAGE` note.
    NoHypercallPage,
    /// The hypercall page is not inside an executable segment: its address.
    HypercallPageOutsideText(u64),
    /// The entry point is not inside an executable segment.
    EntryOutsideText(u64),
    /// This segment may be written and executed.
    WritableText {
        /// Index of the program header.
        index: usize,
        /// Its address.
        address: u64,
    },
    /// This segment's bytes end beyond the file; Xen leaves zeros.
    Truncated {
        /// Index of the program header.
        index: usize,
        /// Where its bytes end.
        end: u64,
        /// Where the file ends.
        length: u64,
    },
    /// This segment has more bytes than memory; Xen overwrites what follows.
    LargerInFile(usize),
    /// This segment ends beyond the 64-bit address space; Xen leaves it out.
    Wraps(usize),
    /// Two segments share memory.
    Overlap(usize, usize),
    /// A segment that only a dynamic loader makes sense of.
    NeedsLoader(&'static str),
    /// Headers that Xen puts up with and this tool does not: why.
    OddHeaders(&'static str),
    /// `e_type` is not EXEC.
    NotExecutable(u16),
    /// A note's value has a size that no number has, or no end.
    MalformedNote(&'static str),
    /// Xen's notes are in a section and not in a segment.
    NotesOutsideSegment,
    /// No GNU build-id.
    NoBuildId,
}

impl Warning {
    /// A stable name, for programs and for `--strict`'s readers.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Compressed => "compressed",
            Self::BzImage(_) => "bzimage",
            Self::Multiboot => "multiboot",
            Self::ThirtyTwoBit => "32-bit-guest",
            Self::NoHypercallPage => "no-hypercall-page",
            Self::HypercallPageOutsideText(_) => "hypercall-page-outside-text",
            Self::EntryOutsideText(_) => "entry-outside-text",
            Self::WritableText { .. } => "writable-text",
            Self::Truncated { .. } => "truncated-segment",
            Self::LargerInFile(_) => "segment-larger-in-file",
            Self::Wraps(_) => "wrapping-segment",
            Self::Overlap(..) => "overlapping-segments",
            Self::NeedsLoader(_) => "needs-dynamic-loader",
            Self::OddHeaders(_) => "odd-headers",
            Self::NotExecutable(_) => "not-executable",
            Self::MalformedNote(_) => "malformed-note",
            Self::NotesOutsideSegment => "notes-outside-segment",
            Self::NoBuildId => "no-build-id",
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compressed => f.write_str(
                "it is a gzip file: Xen's toolstack unpacks it in dom0, where every start then \
                 depends on zlib; unpack it with `gzip -d`",
            ),
            Self::BzImage(compression) => write!(
                f,
                "it is a Linux kernel (bzImage, {compression}), which Xen's toolstack unpacks in \
                 dom0; whether it runs as a PV guest is not looked at"
            ),
            Self::Multiboot => f.write_str(
                "it is no ELF file: only a multiboot table says where it goes, and nothing its \
                 rights",
            ),
            Self::ThirtyTwoBit => {
                f.write_str("it is a 32-bit guest, which many Xen hosts are set up to refuse")
            }
            Self::NoHypercallPage => f.write_str(
                "it has no HYPERCALL_PAGE note, so it cannot call Xen without finding out how by \
                 itself; minios-rs has one in its first page",
            ),
            Self::HypercallPageOutsideText(at) => write!(
                f,
                "Xen writes its calls to {at:#x}, which is not inside an executable segment"
            ),
            Self::EntryOutsideText(at) => write!(
                f,
                "it is entered at {at:#x}, which is not inside an executable segment: it would \
                 crash at its first instruction, or its segments' rights are wrong"
            ),
            Self::WritableText { index, address } => write!(
                f,
                "segment {index} at {address:#x} may be both written and executed: what overwrites \
                 it, runs; keep code and data in segments of their own (minios-rs/link.ld does)"
            ),
            Self::Truncated { index, end, length } => write!(
                f,
                "segment {index} ends at byte {end} and the file at byte {length}: Xen starts it \
                 with zeros there; copy or build it again"
            ),
            Self::LargerInFile(index) => write!(
                f,
                "segment {index} has more bytes in the file than in memory: Xen writes the rest \
                 over what follows"
            ),
            Self::Wraps(index) => write!(
                f,
                "segment {index} ends beyond the 64-bit address space: Xen leaves it out"
            ),
            Self::Overlap(first, second) => write!(
                f,
                "segments {first} and {second} overlap in memory: one overwrites the other"
            ),
            Self::NeedsLoader(name) => write!(
                f,
                "it has a {name} segment, but nothing relocates it or loads libraries in a domain: \
                 link it static"
            ),
            Self::OddHeaders(why) => {
                write!(
                    f,
                    "{why}, which Xen puts up with: nothing else is known of it"
                )
            }
            Self::NotExecutable(kind) => write!(
                f,
                "its ELF type is {kind}, not 2 (EXEC): Xen loads it without relocating it"
            ),
            Self::MalformedNote(name) => write!(
                f,
                "its {name} note has a value that Xen cannot read, and takes for 0 or absent"
            ),
            Self::NotesOutsideSegment => f.write_str(
                "Xen's notes are in a section only: `strip` makes it a file that Xen refuses; put \
                 them into a PT_NOTE segment (minios-rs/link.ld does)",
            ),
            Self::NoBuildId => f.write_str(
                "it has no GNU build-id: no crash report tells which build it is; link it with \
                 --build-id=sha1",
            ),
        }
    }
}

/// What was found out about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Where Xen loads it, or why it refuses.
    pub verdict: Result<Loaded, Refusal>,
    /// What keeps it from being a sound appliance. None when it is refused.
    pub warnings: Vec<Warning>,
}

/// How strictly a report is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// What Xen starts is good.
    Lenient,
    /// Warnings are errors.
    Strict,
}

impl Report {
    /// Whether the file passes.
    pub fn passes(&self, strictness: Strictness) -> bool {
        self.verdict.is_ok() && (strictness == Strictness::Lenient || self.warnings.is_empty())
    }

    /// For people: a line with the verdict, and one for each warning. `name` is the file's.
    pub fn text(&self, name: &str, strictness: Strictness) -> String {
        let mut text = match &self.verdict {
            Err(refusal) => {
                return format!(
                    "{name}: refused by Xen: {refusal}\n  = [{}] xl create says: {}",
                    refusal.name(),
                    refusal.message()
                );
            }
            Ok(_) if self.warnings.is_empty() => {
                format!("{name}: Xen loads it, and it is a sound appliance")
            }
            Ok(_) => format!("{name}: Xen loads it, but it is no sound appliance"),
        };
        let what = match strictness {
            Strictness::Lenient => "warning",
            Strictness::Strict => "error",
        };
        for warning in &self.warnings {
            text.push_str(&format!("\n  {what}[{}]: {warning}", warning.name()));
        }
        text
    }

    /// For programs: one object. `file` is the name as given.
    pub fn json(&self, file: &str) -> serde_json::Value {
        #[derive(Serialize)]
        struct Finding {
            name: &'static str,
            text: String,
        }
        let warnings: Vec<Finding> = self
            .warnings
            .iter()
            .map(|warning| Finding {
                name: warning.name(),
                text: warning.to_string(),
            })
            .collect();
        let mut object = serde_json::json!({ "file": file, "warnings": warnings });
        match &self.verdict {
            Ok(_) => object["verdict"] = "loads".into(),
            Err(refusal) => {
                object["verdict"] = "refused".into();
                object["reason"] = serde_json::json!({
                    "name": refusal.name(),
                    "text": refusal.to_string(),
                    "xl_says": refusal.message(),
                });
            }
        }
        object
    }
}

/// Judges a file that is to be `kernel=` of a PV domain.
pub fn verify(file: &[u8], machine: &Machine) -> Report {
    let outcome = loader::load(file, machine);
    let warnings = match &outcome.verdict {
        Ok(loaded) => warnings(&outcome, loaded),
        Err(_) => Vec::new(),
    };
    Report {
        verdict: outcome.verdict,
        warnings,
    }
}

fn warnings(outcome: &Outcome<'_>, loaded: &Loaded) -> Vec<Warning> {
    let mut warnings = Vec::new();
    match outcome.packing {
        Some(Packing::Gzip) => warnings.push(Warning::Compressed),
        Some(Packing::BzImage(compression)) => warnings.push(Warning::BzImage(compression)),
        Some(Packing::Plain) | None => {}
    }
    if loaded.kind == Kind::Multiboot {
        warnings.push(Warning::Multiboot);
    }
    let Some(elf) = outcome.elf.as_ref().filter(|_| loaded.kind == Kind::Elf) else {
        return warnings;
    };
    of_notes(outcome, &mut warnings);
    match Elf::read(elf) {
        Ok(elf) => of_segments(outcome, loaded, &elf, &mut warnings),
        Err(why) => warnings.push(Warning::OddHeaders(why)),
    }
    warnings
}

fn of_notes(outcome: &Outcome<'_>, warnings: &mut Vec<Warning>) {
    let Some(parameters) = &outcome.parameters else {
        return;
    };
    if parameters.source != NoteSource::Segment {
        warnings.push(Warning::NotesOutsideSegment);
    }
    for note in &parameters.notes {
        let is_malformed = match note.value {
            NoteValue::NoNumber { .. } | NoteValue::NoText => true,
            NoteValue::Number(_) | NoteValue::Text(_) | NoteValue::Bytes(_) => false,
        };
        if let (true, Some(name)) = (is_malformed, note.name) {
            warnings.push(Warning::MalformedNote(name));
        }
    }
    if parameters.hypercall_page.is_none() {
        warnings.push(Warning::NoHypercallPage);
    }
    if parameters.build_id.is_none() {
        warnings.push(Warning::NoBuildId);
    }
}

fn of_segments(outcome: &Outcome<'_>, loaded: &Loaded, elf: &Elf, warnings: &mut Vec<Warning>) {
    if elf.machine != 62 {
        warnings.push(Warning::ThirtyTwoBit);
    }
    if elf.kind != 2 {
        warnings.push(Warning::NotExecutable(elf.kind));
    }
    let loads: Vec<&Segment> = elf
        .segments
        .iter()
        .filter(|segment| segment.kind == SegmentKind::Load)
        .collect();
    let in_text = |address: u64| {
        loads
            .iter()
            .any(|segment| segment.rights.execute && segment.covers(address))
    };
    if !in_text(loaded.entry) {
        warnings.push(Warning::EntryOutsideText(loaded.entry));
    }
    let hypercall_page = outcome
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.hypercall_page);
    if let Some(at) = hypercall_page.filter(|&at| !in_text(at)) {
        warnings.push(Warning::HypercallPageOutsideText(at));
    }
    for segment in &elf.segments {
        let index = segment.index;
        if let SegmentKind::Other(name) = segment.kind
            && matches!(name, "DYNAMIC" | "INTERP" | "TLS")
        {
            warnings.push(Warning::NeedsLoader(name));
        }
        if segment.kind != SegmentKind::Load {
            continue;
        }
        if segment.rights.write && segment.rights.execute {
            warnings.push(Warning::WritableText {
                index,
                address: segment.address,
            });
        }
        let end = segment.offset.saturating_add(segment.file_bytes);
        if end > elf.length && segment.file_bytes > 0 {
            warnings.push(Warning::Truncated {
                index,
                end,
                length: elf.length,
            });
        }
        if segment.address.checked_add(segment.memory_bytes).is_none() {
            warnings.push(Warning::Wraps(index));
        }
        if segment.file_bytes > segment.memory_bytes {
            warnings.push(Warning::LargerInFile(index));
        }
    }
    let mut sorted = loads;
    sorted.sort_by_key(|segment| segment.address);
    for pair in sorted.windows(2) {
        if pair[0].address.saturating_add(pair[0].memory_bytes) > pair[1].address {
            warnings.push(Warning::Overlap(pair[0].index, pair[1].index));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elf::samples;

    fn names(file: &[u8]) -> Vec<&'static str> {
        let report = verify(file, &Machine::default());
        assert!(report.verdict.is_ok(), "{:?}", report.verdict);
        report.warnings.iter().map(Warning::name).collect()
    }

    fn sound() -> Vec<samples::Piece> {
        let mut pieces = samples::sound();
        pieces[2] =
            samples::notes_segment([samples::xen_notes(), samples::build_id(&[7; 20])].concat());
        pieces
    }

    #[test]
    fn a_sound_appliance_has_no_warnings() {
        let file = samples::without_sections(&sound());
        assert!(names(&file).is_empty());
        let report = verify(&file, &Machine::default());
        assert!(report.passes(Strictness::Strict));
        assert_eq!(
            report.text("a.xen", Strictness::Strict),
            "a.xen: Xen loads it, and it is a sound appliance"
        );
    }

    #[test]
    fn each_defect_of_a_segment_has_its_name() {
        let changed = |change: &dyn Fn(&mut Vec<samples::Piece>)| {
            let mut pieces = sound();
            change(&mut pieces);
            names(&samples::without_sections(&pieces))
        };
        assert_eq!(changed(&|pieces| pieces[0].flags = 7), ["writable-text"]);
        assert_eq!(
            changed(&|pieces| pieces[0].flags = 6),
            ["entry-outside-text", "hypercall-page-outside-text"]
        );
        assert_eq!(
            changed(&|pieces| pieces[1].address = samples::BASE + 0x2000),
            ["overlapping-segments"]
        );
        assert_eq!(
            changed(&|pieces| pieces[1].memory_length = u64::MAX),
            ["wrapping-segment"]
        );
        assert_eq!(
            changed(&|pieces| pieces[1].memory_length = 3),
            ["segment-larger-in-file"]
        );
        assert_eq!(
            changed(&|pieces| pieces.push(samples::Piece {
                kind: samples::DYNAMIC,
                ..samples::load(4, samples::BASE, b"")
            })),
            ["needs-dynamic-loader"]
        );
        assert_eq!(
            changed(&|pieces| pieces[2] = samples::notes_segment(samples::xen_notes())),
            ["no-build-id"]
        );
    }

    #[test]
    fn a_cut_file_that_xen_starts_all_the_same_is_named() {
        let mut pieces = sound();
        let notes = pieces.remove(2);
        pieces.insert(0, notes);
        let file = samples::without_sections(&pieces);
        assert_eq!(names(&file[..file.len() - 502]), ["truncated-segment"]);
    }

    #[test]
    fn strict_makes_warnings_errors_and_a_refusal_is_always_one() {
        let mut pieces = sound();
        pieces[0].flags = 7;
        let report = verify(&samples::without_sections(&pieces), &Machine::default());
        assert!(report.passes(Strictness::Lenient) && !report.passes(Strictness::Strict));
        let text = report.text("a.xen", Strictness::Strict);
        assert!(
            text.contains("\n  error[writable-text]: segment 0"),
            "{text}"
        );
        let refused = verify(b"nothing", &Machine::default());
        assert!(!refused.passes(Strictness::Lenient));
        let text = refused.text("a", Strictness::Lenient);
        assert!(
            text.starts_with("a: refused by Xen: Not a Xen-ELF image: "),
            "{text}"
        );
        assert_eq!(refused.json("a")["reason"]["name"], "not-elf");
    }
}
