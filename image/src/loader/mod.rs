//! What Xen's domain builder does with a file that is given as `kernel=` of a PV domain: the same
//! steps with the same outcome, so that a file can be judged without Xen.
//!
//! ```text
//!   unpack ─► ELF? notes? addresses? ─► memory ─► hypercall page, first register values
//!   (gzip, bzImage)    parse              build              boot
//! ```
//!
//! Followed is Xen 4.17's toolstack (`tools/libs/guest/xg_dom_*.c`, `xen/common/libelf`); for PV
//! domains that of 4.20 decides alike. The loader is lenient: it reads zeros where the file has
//! ended, and never looks at an ELF file's type or its segments' rights. So a file that loads may
//! be far from one that runs; see [`crate::verify`] for that.

mod binary;
mod memory;
mod multiboot;
mod notes;
mod refusal;
mod unpack;

use std::borrow::Cow;

use binary::{Binary, InitError, PT_LOAD, header, program};
use memory::Placement;
use notes::Pae;

pub use notes::{NoteSource, NoteValue, Parameters, XenNote};
pub use refusal::Refusal;
pub(crate) use refusal::machine_name;
pub use unpack::Packing;

const EM_386: u64 = 3;
const EM_X86_64: u64 = 62;
/// The largest domain has fewer pages than this: an address beyond it is in no domain.
const PAGES_MAX: u64 = 1 << 34;

/// What a file is going to be started on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// `memory=` of the domain, in MiB. `None`: as much as it takes.
    pub memory_mib: Option<u32>,
    /// Whether Xen runs PV guests of 32 bits.
    pub narrow_guests: NarrowGuests,
}

/// Whether `xl info` names `xen-3.0-x86_32p` among `xen_caps`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NarrowGuests {
    /// It does; Debian's does unless it was booted with `pv=no-32`, or the processor has shadow
    /// stacks.
    #[default]
    Supported,
    /// It does not.
    Absent,
}

/// A file as far as the loader came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<'a> {
    /// How it is packed; `None` when that could not even be told.
    pub packing: Option<Packing>,
    /// The ELF file inside: `file` itself, or what was unpacked.
    pub elf: Option<Cow<'a, [u8]>>,
    /// What its notes say, when the loader got to read them.
    pub parameters: Option<Parameters>,
    /// Where it is loaded, or why it is not.
    pub verdict: Result<Loaded, Refusal>,
}

/// What a file becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// What kind of file it is.
    pub kind: Kind,
    /// First address of the image.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Address of the domain's first byte of memory.
    pub base: u64,
    /// Where the domain is entered.
    pub entry: u64,
    /// Smallest `memory=` that holds the image and what the builder puts beside it, without a
    /// module, in MiB.
    pub needed_mib: Option<u32>,
}

/// The loader that takes a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ELF with Xen's notes.
    Elf,
    /// No ELF, but a multiboot table.
    Multiboot,
    /// A Linux kernel with a payload that this tool cannot unpack: the addresses are unknown, and
    /// so is whether the kernel can be a PV guest.
    Opaque,
}

/// Follows the domain builder with `file`.
pub fn load<'a>(file: &'a [u8], machine: &Machine) -> Outcome<'a> {
    let mut outcome = Outcome {
        packing: None,
        elf: None,
        parameters: None,
        verdict: Err(Refusal::Empty),
    };
    let unpacked = match unpack::unpack(file) {
        Ok(unpacked) => unpacked,
        Err(refusal) => {
            outcome.verdict = Err(refusal);
            return outcome;
        }
    };
    outcome.packing = Some(unpacked.packing);
    let Some(bytes) = unpacked.bytes else {
        outcome.verdict = Ok(Loaded {
            kind: Kind::Opaque,
            start: 0,
            end: 0,
            base: 0,
            entry: 0,
            needed_mib: None,
        });
        return outcome;
    };
    let elf = parse(&bytes);
    let (parameters, parsed) = match elf {
        Ok((parameters, parsed)) => (Some(parameters), parsed),
        Err(refusal) => (None, Err(refusal)),
    };
    let parsed = match (parsed, multiboot::find(&bytes)) {
        (Err(_), Some(table)) => table.map(|table| Parsed {
            kind: Kind::Multiboot,
            placement: Placement {
                start: table.start,
                end: table.end,
                base: table.base,
                frame_list: None,
            },
            entry: table.entry,
            hypercall_page: None,
            guest: Ok(()),
        }),
        (parsed, _) => parsed,
    };
    outcome.verdict = parsed.and_then(|parsed| parsed.build(machine));
    outcome.elf = bytes.starts_with(b"\x7fELF").then_some(bytes);
    outcome.parameters = parameters;
    outcome
}

/// What is known of a file before there is a domain.
struct Parsed {
    kind: Kind,
    placement: Placement,
    entry: u64,
    hypercall_page: Option<u64>,
    /// Whether its kind of guest can be run.
    guest: Result<(), Refusal>,
}

type WithNotes = (Parameters, Result<Parsed, Refusal>);

/// `xc_dom_probe_elf_kernel` and `xc_dom_parse_elf_kernel`.
fn parse(bytes: &[u8]) -> Result<WithNotes, Refusal> {
    let length = bytes.len() as u64;
    let truncated = |what, end| Refusal::Truncated { what, end, length };
    let binary = Binary::init(bytes).map_err(|error| match error {
        InitError::NotElf if bytes.starts_with(b"\x7fELF") => truncated("the ELF header", 64),
        InitError::NotElf => Refusal::NotElf {
            looks_like: unpack::compression(bytes).or(interpreter(bytes)),
        },
        InitError::ProgramHeaders(end) => truncated("the table of program headers", end),
        InitError::SectionHeaders(end) => truncated("the section table", end),
    })?;
    let (parameters, read) = Parameters::read(&binary);
    let parsed = read
        .and_then(|()| parameters.check(&binary))
        .map_err(|refusal| match refusal {
            Refusal::NoXenNotes if !binary.is_64_bit() => Refusal::ThirtyTwoBit,
            other => other,
        })
        .and_then(|()| addresses(&binary, &parameters));
    Ok((parameters, parsed))
}

/// What else is commonly given by mistake.
fn interpreter(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"#!") {
        Some("a script")
    } else if bytes.starts_with(&firewalldom::policy::blob::MAGIC) {
        Some("a policy: it belongs to `ramdisk=`, and the .xen file to `kernel=`; it is not packed")
    } else if bytes.starts_with(b"\x1f\x8b") {
        Some("a gzip file that says at its end that it holds more than 1 GiB (is it whole?)")
    } else if bytes.starts_with(b"MZ") {
        Some("a program for EFI")
    } else {
        None
    }
}

/// `elf_xen_addr_calc_check`, and what kind of guest the image is.
fn addresses(binary: &Binary<'_>, parameters: &Parameters) -> Result<Parsed, Refusal> {
    let (mut low, mut high) = (u64::MAX, 0);
    for segment in binary.program_headers() {
        let rights = binary.field(segment, program::FLAGS) & 7;
        if binary.field(segment, program::TYPE) != PT_LOAD || rights == 0 {
            continue;
        }
        let start = binary.field(segment, program::PADDR);
        low = low.min(start);
        high = high.max(start.wrapping_add(binary.field(segment, program::MEMSZ)));
    }
    if parameters.paddr_offset.is_some() && parameters.virt_base.is_none() {
        return Err(Refusal::PaddrOffsetAlone);
    }
    let base = parameters.virt_base.unwrap_or(0);
    let paddr_offset = parameters.paddr_offset.unwrap_or_else(|| {
        if parameters.source == NoteSource::XenGuest {
            base
        } else {
            0
        }
    });
    let shift = base.wrapping_sub(paddr_offset);
    let (start, end) = (low.wrapping_add(shift), high.wrapping_add(shift));
    let entry = parameters.entry.unwrap_or(binary.header(header::ENTRY));
    if start > end || entry < start || entry > end || base > start {
        if (low, high) == (u64::MAX, 0) {
            return Err(Refusal::NothingToLoad);
        }
        return Err(Refusal::OutOfBounds {
            start,
            end,
            entry,
            base,
        });
    }
    if let Some(at) = parameters.init_p2m.filter(|at| (start..end).contains(at)) {
        return Err(Refusal::P2mInImage(at));
    }
    let guest = match binary.header(header::MACHINE) {
        _ if parameters.needs_dom0 => Err(Refusal::NeedsDom0),
        EM_X86_64 => Ok(()),
        EM_386 if parameters.pae == Pae::Yes => {
            Err(Refusal::NoThirtyTwoBitGuests("xen-3.0-x86_32p"))
        }
        EM_386 => Err(Refusal::NoThirtyTwoBitGuests("xen-3.0-x86_32")),
        machine => Err(Refusal::WrongMachine(machine as u16)),
    };
    Ok(Parsed {
        kind: Kind::Elf,
        placement: Placement {
            start,
            end,
            base,
            frame_list: parameters.init_p2m,
        },
        entry,
        hypercall_page: parameters.hypercall_page,
        guest,
    })
}

impl Parsed {
    /// `xc_dom_build_image` and `xc_dom_boot_image`.
    fn build(self, machine: &Machine) -> Result<Loaded, Refusal> {
        match self.guest {
            Err(Refusal::NoThirtyTwoBitGuests("xen-3.0-x86_32p"))
                if machine.narrow_guests == NarrowGuests::Supported => {}
            guest => guest?,
        }
        let Placement {
            start, end, base, ..
        } = self.placement;
        self.placement.check(machine.memory_mib)?;
        if let Some(at) = self.hypercall_page {
            let pages = machine
                .memory_mib
                .map_or(PAGES_MAX, |mib| u64::from(mib) << 8);
            if at.wrapping_sub(base) >> 12 >= pages {
                return Err(Refusal::HypercallPage(at));
            }
        }
        if !is_canonical(self.entry) {
            return Err(Refusal::NonCanonicalEntry(self.entry));
        }
        Ok(Loaded {
            kind: self.kind,
            start,
            end,
            base,
            entry: self.entry,
            needed_mib: self.placement.needed_mib(),
        })
    }
}

/// Whether bits 47 to 63 are all the same.
fn is_canonical(address: u64) -> bool {
    matches!((address as i64) >> 47, 0 | -1)
}

#[cfg(test)]
mod tests;
