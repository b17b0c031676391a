//! Why Xen's domain builder does not start a file.

use std::fmt;

/// The step at which `xl create` gives up, with what is needed to say why and what to do.
///
/// [`Refusal::name`] is stable, and for programs. [`Refusal::message`] is part of what
/// `xl create` itself prints.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// A file of no bytes.
    Empty,
    /// More than 1 GiB, packed or unpacked.
    TooLarge {
        /// Length in bytes.
        length: u64,
    },
    /// Begins as a gzip file and cannot be unpacked.
    DamagedGzip(String),
    /// A Linux kernel whose boot protocol the loader does not know, or whose payload lies outside
    /// the file, or cannot be unpacked.
    DamagedBzImage(&'static str),
    /// Neither ELF nor anything else that the loader knows.
    NotElf {
        /// What it seems to be.
        looks_like: Option<&'static str>,
    },
    /// The table of program headers or of sections ends beyond the file.
    Truncated {
        /// The table.
        what: &'static str,
        /// Where it ends.
        end: u64,
        /// Length of the file in bytes.
        length: u64,
    },
    /// An ELF file for x86 without Xen's notes.
    NoXenNotes,
    /// The same, and of 32 bits.
    ThirtyTwoBit,
    /// `LOADER` is not `generic`, and `GUEST_OS` not `linux`.
    Loader {
        /// `LOADER` as the loader reads it.
        loader: String,
        /// `GUEST_OS` as the loader reads it.
        guest_os: String,
    },
    /// `XEN_VERSION` is not `xen-3.0`.
    XenVersion(String),
    /// `FEATURES` demands one that Xen does not know.
    Feature(String),
    /// `FEATURES` demands to be dom0.
    NeedsDom0,
    /// `PADDR_OFFSET` without `VIRT_BASE`.
    PaddrOffsetAlone,
    /// The addresses contradict each other.
    OutOfBounds {
        /// First address of the image.
        start: u64,
        /// First address after it.
        end: u64,
        /// Entry point.
        entry: u64,
        /// Address of the domain's first byte.
        base: u64,
    },
    /// No segment is loaded.
    NothingToLoad,
    /// `INIT_P2M` lies inside the image.
    P2mInImage(u64),
    /// Built for another processor.
    WrongMachine(u16),
    /// Built for 32-bit PV guests, which this Xen cannot run.
    NoThirtyTwoBitGuests(&'static str),
    /// The image does not begin on a page.
    Unaligned(u64),
    /// The domain's memory is too small.
    Memory {
        /// What no longer fits.
        what: &'static str,
        /// Smallest `memory=` that would do, in MiB; `None` when none would.
        needed_mib: Option<u32>,
    },
    /// The hypercall page is no page of the domain's memory.
    HypercallPage(u64),
    /// An entry point that no x86-64 processor can go to.
    NonCanonicalEntry(u64),
    /// A multiboot header that makes no sense.
    Multiboot(&'static str),
}

/// What `xl create` prints when no loader wants the file.
const NO_LOADER: &str = "no loader found";

impl Refusal {
    /// A stable name, for programs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLarge { .. } => "too-large",
            Self::DamagedGzip(_) => "damaged-gzip",
            Self::DamagedBzImage(_) => "damaged-bzimage",
            Self::NotElf { .. } => "not-elf",
            Self::Truncated { .. } => "truncated",
            Self::NoXenNotes => "no-xen-notes",
            Self::ThirtyTwoBit => "32-bit",
            Self::Loader { .. } => "wrong-loader",
            Self::XenVersion(_) => "wrong-xen-version",
            Self::Feature(_) => "unknown-feature",
            Self::NeedsDom0 => "needs-dom0",
            Self::PaddrOffsetAlone => "no-virt-base",
            Self::OutOfBounds { .. } => "out-of-bounds",
            Self::NothingToLoad => "nothing-to-load",
            Self::P2mInImage(_) => "p2m-in-image",
            Self::WrongMachine(_) => "wrong-machine",
            Self::NoThirtyTwoBitGuests(_) => "32-bit-guest",
            Self::Unaligned(_) => "unaligned",
            Self::Memory { .. } => "not-enough-memory",
            Self::HypercallPage(_) => "hypercall-page-outside-memory",
            Self::NonCanonicalEntry(_) => "non-canonical-entry",
            Self::Multiboot(_) => "damaged-multiboot",
        }
    }

    /// A part of what the toolstack prints: with `xl create`, or with `xl -vvv create` where it is
    /// only a detail there.
    pub fn message(&self) -> &'static str {
        match self {
            Self::Empty => "zero length file",
            Self::TooLarge { .. } => "too large",
            Self::DamagedGzip(_) => "inflate failed",
            // Each step has a message of its own; this one always follows.
            Self::DamagedBzImage(_)
            | Self::NotElf { .. }
            | Self::Truncated { .. }
            | Self::NoXenNotes
            | Self::ThirtyTwoBit
            | Self::Loader { .. }
            | Self::XenVersion(_)
            | Self::Feature(_)
            | Self::PaddrOffsetAlone
            | Self::OutOfBounds { .. }
            | Self::NothingToLoad
            | Self::P2mInImage(_) => NO_LOADER,
            Self::NeedsDom0 => "Kernel does not support unprivileged (DomU) operation",
            Self::WrongMachine(_) => "unknown image type",
            Self::NoThirtyTwoBitGuests(_) => "not supported by xen kernel, sorry",
            Self::Unaligned(_) => "segment boundary isn't page aligned",
            Self::Memory { .. } => "xc_dom_build_image failed",
            Self::HypercallPage(_) => "HYPERCALL_INIT failed",
            Self::NonCanonicalEntry(_) => "SETVCPUCONTEXT failed",
            Self::Multiboot(_) => "xc_dom_parse_image failed",
        }
    }
}

/// What links an image so that Xen takes it.
const LINK: &str = "link it with minios-rs/link.ld, or build it with `cargo image build`";

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty: copy or build it again"),
            Self::TooLarge { length } => write!(
                f,
                "{length} bytes, and Xen's toolstack takes no more than 1 GiB: is it a disk image?"
            ),
            Self::DamagedGzip(why) => write!(
                f,
                "it begins as a gzip file, but cannot be unpacked ({why}): copy or build it again"
            ),
            Self::DamagedBzImage(why) => {
                write!(f, "it begins as a Linux kernel (bzImage), but {why}")
            }
            Self::NotElf { looks_like: None } => write!(
                f,
                "Not a Xen-ELF image: it does not begin with \\x7fELF; {LINK}"
            ),
            Self::NotElf {
                looks_like: Some(what),
            } => write!(
                f,
                "Not a Xen-ELF image: it is {what}, and only gzip is unpacked for `kernel=`"
            ),
            Self::Truncated { what, end, length } => write!(
                f,
                "Not a Xen-ELF image: truncated, {what} ends at byte {end} and the file at byte \
                 {length}: copy or build it again"
            ),
            Self::NoXenNotes => write!(
                f,
                "Not a Xen-ELF image: it has no Xen notes in a PT_NOTE segment; {LINK}"
            ),
            Self::ThirtyTwoBit => write!(
                f,
                "Not a Xen-ELF image: it is a 32-bit file without Xen notes; build it for x86-64"
            ),
            Self::Loader { loader, guest_os } => write!(
                f,
                "Not a Xen-ELF image: its LOADER note says `{}`, not `generic`, and its GUEST_OS \
                 note `{}`, not `linux`; {LINK}",
                loader.escape_default(),
                guest_os.escape_default()
            ),
            Self::XenVersion(version) => write!(
                f,
                "its XEN_VERSION note says `{}`, not `xen-3.0`, which is the name of the interface \
                 in every Xen since; {LINK}",
                version.escape_default()
            ),
            Self::Feature(name) => write!(
                f,
                "its FEATURES note demands `{}`, which no Xen offers: leave it out, or take the \
                 exclamation mark away",
                name.escape_default()
            ),
            Self::NeedsDom0 => {
                f.write_str("its FEATURES note demands `!dom0`: it cannot be another domain")
            }
            Self::PaddrOffsetAlone => f.write_str(
                "it has a PADDR_OFFSET note and no VIRT_BASE note: give it both, or neither",
            ),
            Self::OutOfBounds {
                start,
                end,
                entry,
                base,
            } => write!(
                f,
                "its addresses contradict each other: it is loaded from {start:#x} to {end:#x}, \
                 entered at {entry:#x} (ENTRY), and memory begins at {base:#x} (VIRT_BASE); the \
                 entry must be inside, and the memory begin no later than the image"
            ),
            Self::NothingToLoad => f.write_str(
                "it has no PT_LOAD segment with bytes and rights: there is nothing to load",
            ),
            Self::P2mInImage(at) => write!(
                f,
                "its INIT_P2M note says {at:#x}, which is inside the image itself"
            ),
            Self::WrongMachine(machine) => write!(
                f,
                "it is built for {}, and Xen here runs x86-64",
                machine_name(*machine)
            ),
            Self::NoThirtyTwoBitGuests(kind) => write!(
                f,
                "it is a 32-bit guest ({kind}), and this Xen runs only 64-bit ones: build it for \
                 x86-64"
            ),
            Self::Unaligned(at) => write!(
                f,
                "it is loaded at {at:#x}, which is not the begin of a page (4 KiB): align the first \
                 segment's p_paddr"
            ),
            Self::Memory {
                what,
                needed_mib: Some(mib),
            } => write!(
                f,
                "the domain's memory is too small for its {what}: give it `memory = {mib}` or more"
            ),
            Self::Memory {
                what,
                needed_mib: None,
            } => write!(f, "no domain is large enough for its {what}"),
            Self::HypercallPage(at) => write!(
                f,
                "its HYPERCALL_PAGE note says {at:#x}, which is outside the domain's memory"
            ),
            Self::NonCanonicalEntry(at) => write!(
                f,
                "it is entered at {at:#x}, which is no address of an x86-64 processor"
            ),
            Self::Multiboot(why) => write!(f, "its multiboot header makes no sense: {why}"),
        }
    }
}

impl std::error::Error for Refusal {}

/// The name of an `EM_*` number.
pub(crate) fn machine_name(machine: u16) -> String {
    match machine {
        0 => "no machine (EM_NONE)".to_owned(),
        3 => "i386".to_owned(),
        8 => "MIPS".to_owned(),
        20 => "PowerPC".to_owned(),
        21 => "64-bit PowerPC".to_owned(),
        22 => "S/390".to_owned(),
        40 => "32-bit Arm".to_owned(),
        62 => "x86-64".to_owned(),
        183 => "64-bit Arm".to_owned(),
        243 => "RISC-V".to_owned(),
        other => format!("ELF machine {other}"),
    }
}
