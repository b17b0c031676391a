//! A good image, and what becomes of it when one thing is wrong with it.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write as _;

/// A file for `kernel=`.
pub(crate) struct Member {
    /// Its name, and its domain's.
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
    pub(crate) memory_mib: u32,
    /// Why it is refused, or what it is warned of, by the stable names.
    pub(crate) expected: &'static str,
}

/// Offsets in the ELF header.
mod header {
    pub(super) const CLASS: usize = 4;
    pub(super) const DATA: usize = 5;
    pub(super) const TYPE: usize = 16;
    pub(super) const MACHINE: usize = 18;
    pub(super) const PHOFF: usize = 32;
}

/// Offsets in a program header.
mod segment {
    pub(super) const TYPE: usize = 0;
    pub(super) const FLAGS: usize = 4;
    pub(super) const OFFSET: usize = 8;
    pub(super) const VADDR: usize = 16;
    pub(super) const PADDR: usize = 24;
    pub(super) const MEMSZ: usize = 40;
}

/// The order in which minios-rs/link.ld has them.
#[derive(Clone, Copy)]
enum Segment {
    Text = 0,
    Data = 2,
    Note = 3,
}

/// Types of notes.
mod note {
    pub(super) const ENTRY: u32 = 1;
    pub(super) const HYPERCALL_PAGE: u32 = 2;
    pub(super) const VIRT_BASE: u32 = 3;
    pub(super) const XEN_VERSION: u32 = 5;
    pub(super) const GUEST_VERSION: u32 = 7;
    pub(super) const LOADER: u32 = 8;
    pub(super) const FEATURES: u32 = 10;
    pub(super) const UNKNOWN: u32 = 0x99;
}

/// An image to be damaged.
#[derive(Clone)]
struct Draft(Vec<u8>);

impl Draft {
    fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    fn word(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.0[at..at + 8].try_into().expect("8 bytes"))
    }

    fn at(&self, segment: Segment, field: usize) -> usize {
        self.word(header::PHOFF) as usize + 56 * segment as usize + field
    }

    fn field(&self, segment: Segment, field: usize) -> u64 {
        self.word(self.at(segment, field))
    }

    fn set(self, segment: Segment, field: usize, bytes: &[u8]) -> Self {
        let at = self.at(segment, field);
        self.put(at, bytes)
    }

    /// Where the note of this type and name is in the file.
    fn note(&self, name: &[u8; 4], kind: u32) -> usize {
        let mut at = self.field(Segment::Note, segment::OFFSET) as usize;
        loop {
            let word = |at: usize| u32::from_le_bytes(self.0[at..at + 4].try_into().expect("4"));
            if word(at + 8) == kind && self.0[at + 12..at + 16] == name[..] {
                return at;
            }
            at += 16 + word(at + 4).next_multiple_of(4) as usize;
        }
    }

    fn set_note(self, kind: u32, value: &[u8]) -> Self {
        let at = self.note(b"Xen\0", kind) + 16;
        self.put(at, value)
    }

    /// As if the note were not there: its type becomes one that nobody knows.
    fn without_note(self, kind: u32) -> Self {
        self.with_type(kind, note::UNKNOWN)
    }

    fn with_type(self, kind: u32, other: u32) -> Self {
        let at = self.note(b"Xen\0", kind) + 8;
        self.put(at, &other.to_le_bytes())
    }

    /// Everything moved to where no x86-64 processor can go.
    fn moved_to(self, base: u64) -> Self {
        let moved = |draft: &Self, kind| draft.word(draft.note(b"Xen\0", kind) + 16) + base;
        let (entry, page) = (
            moved(&self, note::ENTRY),
            moved(&self, note::HYPERCALL_PAGE),
        );
        self.set_note(note::ENTRY, &entry.to_le_bytes())
            .set_note(note::HYPERCALL_PAGE, &page.to_le_bytes())
            .set_note(note::VIRT_BASE, &base.to_le_bytes())
    }

    fn cut(mut self, length: usize) -> Self {
        self.0.truncate(length);
        self
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

/// No ELF file, but a multiboot table that says where it goes.
fn multiboot() -> Vec<u8> {
    let (magic, flags) = (0x336e_c578_u32, 0x1_0000 | 2 << 14);
    let checksum = 0_u32.wrapping_sub(magic).wrapping_sub(flags);
    let table = [
        magic, flags, checksum, 0x10_0000, 0x10_0000, 0, 0x10_8000, 0x10_0100,
    ];
    let mut file: Vec<u8> = table.iter().flat_map(|word| word.to_le_bytes()).collect();
    file.resize(0x3000, 0xf4);
    file
}

/// The family of `good`, an image of ours, with Debian's kernel `linux` beside it.
pub(crate) fn of(good: &[u8], linux: &[u8]) -> Vec<Member> {
    let image = || Draft(good.to_vec());
    let segment_at = |segment: Segment| image().field(segment, segment::VADDR);
    let length = good.len();
    let mut damaged_gzip = gzip(good);
    let middle = damaged_gzip.len() / 2;
    damaged_gzip[middle] ^= 0x55;
    let mut family: Vec<Member> = Vec::new();
    let mut add = |name, expected, draft: Draft| {
        family.push(Member {
            name,
            bytes: draft.0,
            memory_mib: 8,
            expected,
        });
    };
    add("good", "", image());

    // No image at all.
    add("empty", "empty", Draft(Vec::new()));
    add(
        "script",
        "not-elf",
        Draft(b"#!/bin/sh\nexit 0\n".repeat(10)),
    );
    add("xz", "not-elf", Draft([b"\xfd7zXZ\0", good].concat()));
    add("policy", "not-elf", Draft(b"XENFWPOL\x01\0\0\0".repeat(20)));

    // Cut off.
    add("cut-in-header", "truncated", image().cut(60));
    add("cut-in-table", "truncated", image().cut(100));
    add("cut-before-text", "no-xen-notes", image().cut(0x1000));
    add("cut-in-text", "no-xen-notes", image().cut(0x3000));
    add("cut-in-data", "truncated-segment", image().cut(length - 32));

    // The ELF header.
    add("class-32", "32-bit", image().put(header::CLASS, &[1]));
    add("big-endian", "truncated", image().put(header::DATA, &[2]));
    add("arm", "wrong-machine", image().put(header::MACHINE, &[183]));
    add("i386", "32-bit-guest", image().put(header::MACHINE, &[3]));
    add("shared", "not-executable", image().put(header::TYPE, &[3]));
    add(
        "table-outside",
        "truncated",
        image().put(header::PHOFF + 3, &[1]),
    );

    // Segments.
    let set = |at, field, bytes: &[u8]| image().set(at, field, bytes);
    add(
        "no-note-segment",
        "no-xen-notes",
        set(Segment::Note, segment::TYPE, &[0]),
    );
    add(
        "note-outside",
        "no-xen-notes",
        set(Segment::Note, segment::OFFSET + 3, &[1]),
    );
    add(
        "text-outside",
        "truncated-segment",
        set(Segment::Text, segment::OFFSET + 3, &[1]),
    );
    add(
        "text-writable",
        "writable-text",
        set(Segment::Text, segment::FLAGS, &[7]),
    );
    add(
        "text-not-executable",
        "entry-outside-text hypercall-page-outside-text",
        set(Segment::Text, segment::FLAGS, &[4]),
    );
    add(
        "unaligned",
        "unaligned",
        set(Segment::Text, segment::PADDR, &[0x10]),
    );
    add(
        "huge",
        "not-enough-memory",
        set(Segment::Data, segment::MEMSZ + 3, &[0x40]),
    );
    add(
        "wrapping",
        "wrapping-segment",
        set(Segment::Data, segment::MEMSZ, &[0xff; 8]),
    );
    let text = segment_at(Segment::Text).to_le_bytes();
    add(
        "overlapping",
        "overlapping-segments overlapping-segments",
        set(Segment::Data, segment::VADDR, &text).set(Segment::Data, segment::PADDR, &text),
    );
    add(
        "larger-in-file",
        "segment-larger-in-file",
        set(Segment::Data, segment::MEMSZ, &8_u64.to_le_bytes()),
    );

    // Notes.
    let name = image().note(b"Xen\0", note::ENTRY) + 12;
    add("first-note-renamed", "", image().put(name, b"Xem\0"));
    add(
        "note-size",
        "wrong-loader",
        image().put(name - 12, &[0xf0, 0xff, 0xff]),
    );
    let set = |kind, value: &[u8]| image().set_note(kind, value);
    add("loader-grub", "wrong-loader", set(note::LOADER, b"grub\0"));
    add(
        "xen-9",
        "wrong-xen-version",
        set(note::XEN_VERSION, b"xen-9.9"),
    );
    add(
        "no-virt-base",
        "no-virt-base",
        image().without_note(note::VIRT_BASE),
    );
    add(
        "entry-far",
        "out-of-bounds",
        set(note::ENTRY, &0x4000_0000_u64.to_le_bytes()),
    );
    let data = segment_at(Segment::Data).to_le_bytes();
    add(
        "entry-in-data",
        "entry-outside-text",
        set(note::ENTRY, &data),
    );
    add(
        "no-hypercall-page",
        "no-hypercall-page",
        image().without_note(note::HYPERCALL_PAGE),
    );
    add(
        "hypercall-page-far",
        "hypercall-page-outside-memory",
        set(note::HYPERCALL_PAGE, &0x80_0000_u64.to_le_bytes()),
    );
    let features = |text: &[u8]| {
        image()
            .set_note(note::GUEST_VERSION, text)
            .with_type(note::GUEST_VERSION, note::FEATURES)
    };
    add("feature-unknown", "unknown-feature", features(b"!flying\0"));
    add("feature-dom0", "needs-dom0", features(b"!dom0\0"));
    add("feature-wished", "", features(b"flying\0"));
    add(
        "non-canonical",
        "non-canonical-entry",
        image().moved_to(1 << 50),
    );
    let build_id = image().note(b"GNU\0", 3) + 8;
    add("no-build-id", "no-build-id", image().put(build_id, &[9]));

    // Packed, and other formats.
    add("gzip", "compressed", Draft(gzip(good)));
    add("gzip-damaged", "damaged-gzip", Draft(damaged_gzip));
    add(
        "gzip-of-text",
        "not-elf",
        Draft(gzip(&b"no kernel ".repeat(50))),
    );
    add("multiboot", "multiboot", Draft(multiboot()));
    add(
        "bzimage-cut",
        "damaged-bzimage",
        Draft(linux[..linux.len() / 2].to_vec()),
    );
    family.push(Member {
        name: "bzimage",
        bytes: linux.to_vec(),
        memory_mib: 256,
        expected: "bzimage",
    });
    family
}
