use object::{Object as _, ObjectSymbol as _};
use proptest::prelude::*;

use super::*;

/// A function of this very program, whose debug information is at hand.
#[inline(never)]
fn found_by_its_address(number: u64) -> u64 {
    std::hint::black_box(number) + 1
}

/// This program's file.
fn ourselves() -> Vec<u8> {
    assert_eq!(found_by_its_address(1), 2);
    std::fs::read(std::env::current_exe().unwrap()).unwrap()
}

/// What names a program's functions, and the address of the one above in its file.
fn debug_file(file: &[u8]) -> (DebugFile<'_>, u64) {
    let object = object::File::parse(file).unwrap();
    let address = object
        .symbols()
        .find(|symbol| symbol.name().unwrap().contains("found_by_its_address"))
        .expect("a symbol")
        .address();
    (DebugFile::read(file).unwrap(), address)
}

fn symbolize(debug: &DebugFile<'_>, log: &str) -> (String, Summary) {
    let mut out = Vec::new();
    let mut symbolizer = Symbolizer::new(debug);
    for line in log.split_inclusive('\n') {
        symbolizer.line(line.as_bytes(), &mut out).unwrap();
    }
    (
        String::from_utf8(out).unwrap(),
        symbolizer.summary().clone(),
    )
}

#[test]
fn a_backtrace_gets_names_files_and_lines_and_the_rest_stays() {
    let file = ourselves();
    let (debug, address) = debug_file(&file);
    let after = address + 1;
    let log = format!(
        "before 0x{address:016x}\r\n\
         CRASH: panicked at src/main.rs:7:1:\r\n\
         oh no\r\n  \
           backtrace:\r\n    \
             0x{after:016x}\r\n\
         after\r\n    \
             0x{after:016x}\r\n"
    );
    let (text, summary) = symbolize(&debug, &log);
    let lines: Vec<&str> = text.split("\r\n").collect();
    let named = lines[4];
    assert!(
        named.starts_with(&format!("    0x{after:016x}  image::")),
        "{text}"
    );
    assert!(named.contains("symbolize/tests.rs:"), "{text}");
    assert_eq!(lines[0], format!("before 0x{address:016x}"));
    assert!(
        text.ends_with(&format!("\r\nafter\r\n    0x{after:016x}\r\n")),
        "{text}"
    );
    assert_eq!(
        summary,
        Summary {
            reports: 1,
            named: 1,
            ..Summary::default()
        }
    );
}

#[test]
fn an_exceptions_first_address_is_the_instruction_itself() {
    let file = ourselves();
    let (debug, address) = debug_file(&file);
    let log = format!(
        "[2026-01-01] CRASH: page fault (vector 14, error 0x4) at 0x{address:016x}\n\
         [2026-01-01]   backtrace:\n\
         [2026-01-01]     0x{address:016x}\n"
    );
    // The byte before a function is not in it.
    let (text, summary) = symbolize(&debug, &log);
    assert_eq!((summary.reports, summary.named), (1, 2), "{text}");
    assert_eq!(
        text.matches("::found_by_its_address at ").count(),
        2,
        "{text}"
    );
}

#[test]
fn what_xen_says_of_a_crashed_guest_is_named() {
    let file = ourselves();
    let (debug, address) = debug_file(&file);
    let log = format!(
        "(XEN) RIP:    e033:[<{address:016x}>]\n\
         (XEN) Guest stack trace from rsp=000000000010ff00:\n\
         (XEN)    0000000000000000 {:016x} ffffffffffffffff\n\
         (XEN) and on\n",
        address + 1
    );
    let (text, summary) = symbolize(&debug, &log);
    assert_eq!(
        text.matches("::found_by_its_address at ").count(),
        2,
        "{text}"
    );
    assert_eq!(summary.unnamed, 0);
    assert!(text.ends_with("\n(XEN) and on\n"));
}

#[test]
fn another_builds_report_is_a_warning() {
    let file = ourselves();
    let (debug, _) = debug_file(&file);
    let log = "CRASH: panicked\n  build-id 00112233\n  backtrace:\n";
    let (text, summary) = symbolize(&debug, log);
    assert_eq!(summary.foreign, ["00112233"]);
    assert!(
        text.contains("\n  WARNING: this report is of another build"),
        "{text}"
    );
    if let Some(id) = debug.build_id() {
        let log = log.replace("00112233", id);
        let (text, summary) = symbolize(&debug, &log);
        assert_eq!((summary.matching, text), (1, log));
    }
}

#[test]
fn a_file_without_names_says_what_to_give_instead() {
    let error = DebugFile::read(&crate::elf::samples::without_sections(
        &crate::elf::samples::sound(),
    ))
    .unwrap_err();
    assert!(error.to_string().contains(".debug"), "{error}");
    assert!(matches!(
        DebugFile::read(b"no ELF").unwrap_err(),
        DebugFileError::Unreadable(_)
    ));
}

proptest! {
    #[test]
    fn any_log_passes_through(log in "(CRASH: |RIP:|\\[<|>\\]|0x[0-9a-f]{16}|build-id [0-9a-f]{8}|backtrace:|Guest stack trace from |[0-9a-f]{16}|[ \r\n]|é){0,40}") {
        let debug = DebugFile::nothing();
        let (text, summary) = symbolize(&debug, &log);
        if summary.foreign.is_empty() {
            prop_assert_eq!(text, log);
        }
    }
}
