use super::samples::*;
use super::*;

#[test]
fn segments_and_notes_stay_and_everything_else_goes() {
    let stripped = strip(&file(&sound())).expect("a sound image");
    assert_eq!(
        stripped.notes,
        XenNotes {
            entry: BASE,
            hypercall_page: Some(BASE + 0x1000),
            virt_base: 0,
            paddr_offset: 0,
            guest_os: "test".to_owned(),
        }
    );
    let header = Header::read(&stripped.bytes).unwrap();
    let segments = header.segments(&stripped.bytes).unwrap();
    assert_eq!(segments.len(), 3);
    assert_eq!(segments[0].bytes, [0x90; 0x2100]);
    assert_eq!(
        (segments[1].bytes, segments[1].memory_length),
        (&b"data"[..], 0x5000)
    );
    assert_eq!(segments[2].bytes, xen_notes());
    for segment in &segments[..2] {
        assert_eq!(segment.offset % ALIGNMENT, segment.address % ALIGNMENT);
        assert_eq!(segment.raw[48..56], ALIGNMENT.to_le_bytes(), "p_align");
    }
    assert_eq!(stripped.bytes[40..48], [0; 8], "no section table");
    assert_eq!(
        stripped.bytes.len(),
        (HEADER_LENGTH + 3 * PROGRAM_HEADER_LENGTH + xen_notes().len()).next_multiple_of(16)
            + 0x2100
            + 4,
        "no page is padded, and the last segment ends it"
    );
}

#[test]
fn stripping_twice_changes_nothing() {
    let once = strip(&file(&sound())).unwrap();
    assert_eq!(strip(&once.bytes).unwrap(), once);
}

#[test]
fn notes_inside_a_loaded_segment_are_not_stored_twice() {
    let mut pieces = sound();
    pieces[0].bytes[0x100..0x100 + xen_notes().len()].copy_from_slice(&xen_notes());
    let mut linked = file(&pieces);
    // Point the note's program header into the first segment, as a linker does.
    let first_offset = u64::from_le_bytes(linked[72..80].try_into().unwrap());
    let third = HEADER_LENGTH + 2 * PROGRAM_HEADER_LENGTH;
    linked[third + 8..third + 16].copy_from_slice(&(first_offset + 0x100).to_le_bytes());
    let stripped = strip(&linked).unwrap();
    let header = Header::read(&stripped.bytes).unwrap();
    let segments = header.segments(&stripped.bytes).unwrap();
    assert_eq!(segments[2].offset, segments[0].offset + 0x100);
    assert_eq!(segments[2].bytes, xen_notes());
}

#[test]
fn a_file_cut_anywhere_is_an_error_and_never_a_panic() {
    let linked = file(&sound());
    let whole = linked.len() - 500; // the tail belongs to nothing
    for length in 0..whole {
        let error = strip(&linked[..length]).expect_err("a cut file");
        assert!(
            matches!(error, ElfError::NotElf | ElfError::Truncated { .. }),
            "{length}: {error}"
        );
    }
    assert!(strip(&linked[..whole]).is_ok());
}

#[test]
fn any_byte_of_the_headers_may_be_wrong_without_a_panic() {
    let linked = file(&sound());
    for at in 0..HEADER_LENGTH + 3 * PROGRAM_HEADER_LENGTH {
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            let mut damaged = linked.clone();
            damaged[at] = value;
            let _ = strip(&damaged);
        }
    }
}

#[test]
fn what_cannot_be_loaded_is_named() {
    let mut overlapping = sound();
    overlapping[1].address = BASE + 0x2000;
    assert_eq!(
        strip(&file(&overlapping)),
        Err(ElfError::Overlap {
            first: 0,
            second: 1,
            at: BASE + 0x2000
        })
    );

    let mut larger_in_file = sound();
    larger_in_file[1].memory_length = 3;
    assert_eq!(
        strip(&file(&larger_in_file)),
        Err(ElfError::LargerInFile {
            index: 1,
            file: 4,
            memory: 3
        })
    );

    let mut wrapping = sound();
    wrapping[1].address = u64::MAX - 1;
    assert_eq!(strip(&file(&wrapping)), Err(ElfError::Wraps(1)));

    let mut dynamic = sound();
    dynamic[1].kind = DYNAMIC;
    assert_eq!(
        strip(&file(&dynamic)),
        Err(ElfError::NeedsLoader(SegmentName("PT_DYNAMIC")))
    );

    let mut no_code = sound();
    no_code[0].flags = READ_WRITE;
    assert_eq!(
        strip(&file(&no_code)),
        Err(ElfError::EntryOutsideText(BASE))
    );

    assert_eq!(
        strip(&file(&[notes_segment(xen_notes())])),
        Err(ElfError::NothingToLoad)
    );
}

#[test]
fn what_is_not_ours_is_named() {
    let linked = file(&sound());
    let with = |at: usize, value: u8| {
        let mut damaged = linked.clone();
        damaged[at] = value;
        strip(&damaged)
    };
    assert_eq!(strip(b"#!/bin/sh"), Err(ElfError::NotElf));
    assert_eq!(with(4, 1), Err(ElfError::WrongClass { class: 1, data: 1 }));
    assert_eq!(with(18, 183), Err(ElfError::WrongMachine(183)));
    assert_eq!(with(16, 3), Err(ElfError::NotExecutable(3)));
    assert_eq!(with(54, 32), Err(ElfError::ProgramHeaderSize(32)));
}

#[test]
fn missing_and_damaged_notes_are_named() {
    let with_notes = |notes: Vec<u8>| {
        let mut pieces = sound();
        pieces[2] = notes_segment(notes);
        strip(&file(&pieces))
    };
    assert_eq!(with_notes(Vec::new()), Err(ElfError::NoXenNotes));
    let foreign: Vec<u8> = note(1, b"build-id")
        .iter()
        .map(|&b| if b == b'X' { b'G' } else { b })
        .collect();
    assert_eq!(with_notes(foreign), Err(ElfError::NoXenNotes));
    assert_eq!(
        with_notes([note(5, b"xen-3.0\0"), note(8, b"generic\0")].concat()),
        Err(ElfError::NoteMissing("ENTRY (type 1)"))
    );
    assert_eq!(with_notes(note(1, &[0; 3])), Err(ElfError::BadNote(1)));
    let mut beyond = xen_notes();
    beyond[4] = 0xff; // the first value is longer than the segment
    beyond[5] = 0xff;
    assert_eq!(with_notes(beyond), Err(ElfError::BadNote(1)));

    let mut none = sound();
    none.pop();
    assert_eq!(strip(&file(&none)), Err(ElfError::NoXenNotes));
}

#[test]
fn every_error_says_what_is_wrong_in_words() {
    let error = strip(&file(&sound())[..100]).unwrap_err().to_string();
    assert_eq!(
        error,
        "truncated: the table of program headers ends at byte 232, the file at byte 100"
    );
}
