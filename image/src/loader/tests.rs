use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::io::Write as _;

use super::*;
use crate::elf::samples;

fn verdict(file: &[u8]) -> Result<Loaded, Refusal> {
    load(file, &Machine::default()).verdict
}

fn refusal(file: &[u8]) -> &'static str {
    verdict(file).expect_err("loads").name()
}

fn with_notes(notes: Vec<u8>) -> Vec<u8> {
    let mut pieces = samples::sound();
    pieces[2] = samples::notes_segment(notes);
    samples::without_sections(&pieces)
}

/// The notes of a sound image, the one of this type replaced.
fn with_note(kind: u32, value: Option<&[u8]>) -> Vec<u8> {
    with_notes(
        samples::XEN_NOTES
            .iter()
            .filter_map(|&(other, default)| match (other == kind, value) {
                (false, _) => Some(samples::note(other, default)),
                (true, value) => value.map(|value| samples::note(kind, value)),
            })
            .collect::<Vec<_>>()
            .concat(),
    )
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_sound_image_loads_where_its_headers_say() {
    let file = samples::without_sections(&samples::sound());
    let outcome = load(&file, &Machine::default());
    assert_eq!(outcome.packing, Some(Packing::Plain));
    assert_eq!(
        outcome.verdict,
        Ok(Loaded {
            kind: Kind::Elf,
            start: samples::BASE,
            end: samples::BASE + 0x8000,
            base: 0,
            entry: samples::BASE,
            needed_mib: Some(4),
        })
    );
    let parameters = outcome.parameters.unwrap();
    assert_eq!(parameters.notes.len(), samples::XEN_NOTES.len());
    assert_eq!(parameters.notes[0].name, Some("ENTRY"));
    assert_eq!(
        parameters.notes[4].value,
        NoteValue::Text("xen-3.0".to_owned())
    );
}

#[test]
fn what_is_no_kernel_is_named() {
    assert_eq!(refusal(b""), "empty");
    assert_eq!(refusal(b"#!/bin/sh"), "not-elf");
    assert_eq!(refusal(b"\x7fELF"), "truncated");
    assert_eq!(
        verdict(b"\x28\xb5\x2f\xfd and so on"),
        Err(Refusal::NotElf {
            looks_like: Some("zstd")
        })
    );
}

#[test]
fn notes_decide() {
    assert_eq!(refusal(&with_notes(Vec::new())), "no-xen-notes");
    assert_eq!(refusal(&with_note(8, Some(b"grub\0"))), "wrong-loader");
    assert_eq!(refusal(&with_note(8, None)), "wrong-loader");
    assert_eq!(
        refusal(&with_note(5, Some(b"xen-4.0\0"))),
        "wrong-xen-version"
    );
    assert_eq!(refusal(&with_note(3, None)), "no-virt-base");
    assert_eq!(refusal(&with_note(1, Some(&[0; 8]))), "out-of-bounds");
    // A number of three bytes is none, and counts as 0.
    assert_eq!(refusal(&with_note(1, Some(&[0; 3]))), "out-of-bounds");
    let feature =
        |text: &[u8]| with_notes([samples::xen_notes(), samples::note(10, text)].concat());
    assert_eq!(refusal(&feature(b"!flying\0")), "unknown-feature");
    assert_eq!(refusal(&feature(b"flying|!dom0\0")), "needs-dom0");
    assert!(verdict(&feature(b"flying|writable_page_tables\0")).is_ok());
}

#[test]
fn notes_that_are_not_needed_may_be_absent() {
    // The ELF header's entry point takes the place of ENTRY.
    for kind in [1, 2, 4, 6] {
        assert!(verdict(&with_note(kind, None)).is_ok(), "{kind}");
    }
    // Linux needs no LOADER.
    let linux = [
        samples::note(5, b"xen-3.0\0"),
        samples::note(6, b"linux 2.6\0"),
    ];
    assert!(verdict(&with_notes(linux.concat())).is_ok());
}

#[test]
fn a_hypercall_page_outside_memory_is_refused() {
    let at = |address: u64| with_note(2, Some(&address.to_le_bytes()));
    let machine = Machine {
        memory_mib: Some(8),
        ..Machine::default()
    };
    assert!(load(&at(0x7f_f000), &machine).verdict.is_ok());
    assert_eq!(
        load(&at(0x80_0000), &machine).verdict,
        Err(Refusal::HypercallPage(0x80_0000))
    );
    assert!(verdict(&at(0x80_0000)).is_ok());
    assert_eq!(refusal(&at(1 << 60)), "hypercall-page-outside-memory");
}

#[test]
fn other_machines_and_word_sizes_are_refused() {
    let with = |changes: &[(usize, u8)]| {
        let mut file = samples::without_sections(&samples::sound());
        for &(at, value) in changes {
            file[at] = value;
        }
        file
    };
    assert_eq!(
        verdict(&with(&[(18, 183)])),
        Err(Refusal::WrongMachine(183))
    );
    assert_eq!(refusal(&with(&[(4, 1)])), "32-bit");
    assert_eq!(refusal(&with(&[(18, 3)])), "32-bit-guest");
    // Nobody looks at the type.
    assert!(verdict(&with(&[(16, 3)])).is_ok());
}

#[test]
fn a_small_domain_is_refused_with_the_memory_that_would_do() {
    let mut pieces = samples::sound();
    pieces[1].memory_length = 5 << 20;
    let file = samples::without_sections(&pieces);
    let machine = |mib| Machine {
        memory_mib: Some(mib),
        ..Machine::default()
    };
    assert_eq!(
        load(&file, &machine(4)).verdict,
        Err(Refusal::Memory {
            what: "image",
            needed_mib: Some(8)
        })
    );
    assert!(load(&file, &machine(8)).verdict.is_ok());
}

#[test]
fn a_file_without_its_end_loads_as_long_as_its_tables_are_whole() {
    let file = samples::without_sections(&samples::sound());
    let notes_at = file.len() - 500 - samples::xen_notes().len();
    assert!(verdict(&file[..file.len() - 500]).is_ok());
    assert_eq!(refusal(&file[..notes_at]), "no-xen-notes");
    assert_eq!(refusal(&file[..150]), "truncated");
}

#[test]
fn a_section_table_outside_the_file_is_refused() {
    let file = samples::file(&samples::sound());
    assert_eq!(
        verdict(&file),
        Err(Refusal::Truncated {
            what: "the section table",
            end: 12_345,
            length: file.len() as u64
        })
    );
}

#[test]
fn gzip_is_unpacked_and_nothing_else() {
    let file = samples::without_sections(&samples::sound());
    let packed = gzip(&file);
    let outcome = load(&packed, &Machine::default());
    assert_eq!(outcome.packing, Some(Packing::Gzip));
    assert!(outcome.verdict.is_ok());
    let mut damaged = packed.clone();
    damaged[40] ^= 0x10;
    assert_eq!(refusal(&damaged), "damaged-gzip");
    // What it says at its end is no length that the toolstack believes.
    let cut = [&packed[..40], &[0xff; 4]].concat();
    assert_eq!(refusal(&cut), "not-elf");
    assert_eq!(refusal(&gzip(b"no kernel")), "not-elf");
    assert_eq!(refusal(&gzip(&packed)), "not-elf");
}

/// A bzImage with this payload.
fn bzimage(payload: &[u8]) -> Vec<u8> {
    let mut file = vec![0; 1024];
    file[0x1f1] = 1;
    file[0x202..0x206].copy_from_slice(b"HdrS");
    file[0x206..0x208].copy_from_slice(&0x20f_u16.to_le_bytes());
    file[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    file.extend_from_slice(payload);
    file
}

#[test]
fn a_linux_kernel_is_as_good_as_its_payload() {
    let elf = samples::without_sections(&samples::sound());
    let outcome = |payload: &[u8]| load(&bzimage(payload), &Machine::default()).verdict;
    assert_eq!(
        outcome(&gzip(&elf)).map(|loaded| loaded.kind),
        Ok(Kind::Elf)
    );
    assert_eq!(
        outcome(b"\xfd7zXZ\0...").map(|loaded| loaded.kind),
        Ok(Kind::Opaque)
    );
    assert_eq!(refusal(&bzimage(&gzip(b"nothing"))), "not-elf");
    assert_eq!(refusal(&bzimage(&elf)), "damaged-bzimage");
    let whole = bzimage(&gzip(&elf));
    assert_eq!(refusal(&whole[..whole.len() - 1]), "damaged-bzimage");
}

#[test]
fn a_multiboot_table_is_enough() {
    let mut file = vec![0x90; 0x3000];
    let flags = 0x1_0000 | 2 << 14_u32;
    let magic = 0x336e_c578_u32;
    let table = [
        magic,
        flags,
        0_u32.wrapping_sub(magic).wrapping_sub(flags),
        0x10_0040,
        0x10_0000,
        0,
        0x10_8000,
        0x10_0100,
    ];
    for (index, word) in table.iter().enumerate() {
        file[0x40 + 4 * index..][..4].copy_from_slice(&word.to_le_bytes());
    }
    let loaded = verdict(&file).unwrap();
    assert_eq!(
        (loaded.kind, loaded.start, loaded.end, loaded.entry),
        (Kind::Multiboot, 0x10_0000, 0x10_8000, 0x10_0100)
    );
    file[0x44] ^= 1;
    assert_eq!(refusal(&file), "not-elf");
}

#[test]
fn every_refusal_says_what_to_do_in_a_line() {
    for file in [&b"#!"[..], b"", &with_note(8, Some(b"\x1b[31m\0"))] {
        let text = verdict(file).unwrap_err().to_string();
        assert!(!text.contains(['\n', '\x1b']), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_bytes_have_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = verdict(&bytes);
        let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
        elf.extend_from_slice(&bytes);
        let _ = verdict(&elf);
    }

    #[test]
    fn any_damage_has_a_verdict(
        changes in prop::collection::vec((0_usize..0x2400, any::<u8>()), 1..12),
        length in 0_usize..0x2600,
    ) {
        let mut file = samples::without_sections(&samples::sound());
        for (at, value) in changes {
            // Most of it in the headers and the notes, where it matters.
            let at = if at % 4 == 0 { at } else { at % 300 };
            let end = file.len();
            file[if at < 300 { at } else { end - (at % 700) - 1 }] = value;
        }
        file.truncate(length.max(64));
        let _ = verdict(&file);
        let _ = verdict(&gzip(&file));
    }
}
