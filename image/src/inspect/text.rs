//! A report for people.

use std::fmt::{self, Display, Formatter};

use super::{Image, PolicyReport, Report};

/// Width of the column of names.
const NAMES: usize = 16;

pub(super) fn row(f: &mut Formatter<'_>, name: &str, value: impl Display) -> fmt::Result {
    writeln!(f, "{name:NAMES$}{value}")
}

fn or_none<T: Display>(value: Option<&T>) -> String {
    value.map_or_else(|| "none".to_owned(), T::to_string)
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(image) => image.fmt(f),
            Self::Policy(policy) => policy.fmt(f),
            Self::Netdom(bridges) => bridges.fmt(f),
        }
    }
}

impl Display for Image {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        row(
            f,
            "file",
            format_args!("{} bytes, {}", self.file_bytes, self.packing),
        )?;
        row(f, "Xen's loader", &self.loader)?;
        if let Some(load) = &self.load {
            row(
                f,
                "memory",
                format_args!(
                    "{:#x} to {:#x}, {} KiB; {}",
                    load.start,
                    load.end,
                    load.memory_bytes.div_ceil(1024),
                    load.needed_mib.map_or_else(
                        || "no domain is large enough".to_owned(),
                        |mib| format!("memory = {mib} is enough to load it"),
                    ),
                ),
            )?;
            row(f, "entry", format_args!("{:#x}", load.entry))?;
        }
        let page = self.hypercall_page.map(|page| format!("{page:#x}"));
        row(f, "hypercall page", or_none(page.as_ref()))?;
        row(f, "build-id", or_none(self.build_id.as_ref()))?;
        if let Some(target) = &self.target {
            row(f, "target", target)?;
        }
        if let Some(elf) = &self.elf {
            row(f, "ELF", format_args!("{} bits, {}", elf.bits, elf.machine))?;
            for segment in &elf.segments {
                writeln!(
                    f,
                    "  {:<9} {}  {:#012x}  {:>8} bytes in memory, {:>8} in the file at {:#x}",
                    segment.kind,
                    segment.rights,
                    segment.address,
                    segment.memory_bytes,
                    segment.file_bytes,
                    segment.file_offset,
                )?;
            }
        }
        if !self.xen_notes.is_empty() {
            writeln!(f, "Xen notes")?;
            for note in &self.xen_notes {
                writeln!(
                    f,
                    "  {:>2} {:20} {}",
                    note.type_number, note.name, note.value
                )?;
            }
        }
        match &self.policy {
            Some(policy) => policy.fmt(f),
            None => row(f, "policy", "none inside: Xen passes it as `ramdisk=`"),
        }
    }
}

impl Display for PolicyReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let version = or_none(self.version.as_ref());
        row(
            f,
            "policy",
            format_args!("{} bytes, version {version}", self.bytes),
        )?;
        if let Some(error) = &self.error {
            return row(f, "", format_args!("error: {error}"));
        }
        if let Some(summary) = &self.summary {
            row(f, "", summary)?;
        }
        row(
            f,
            "",
            format_args!("interfaces {}", self.interfaces.join(", ")),
        )?;
        row(f, "", format_args!("zones {}", self.zones.join(", ")))
    }
}
