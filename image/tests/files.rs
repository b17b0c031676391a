//! `inspect`, `verify` and `symbolize` as a user calls them: what they print, and their exit
//! statuses.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const TOOL: &str = env!("CARGO_BIN_EXE_xen-image");

fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(TOOL)
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    parts(output.expect("the tool runs"))
}

fn parts(output: Output) -> (i32, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (
        output.status.code().expect("an exit status"),
        text(output.stdout),
        text(output.stderr),
    )
}

/// A folder with a script in it, and the script.
fn script() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    fs::write(&path, "#!/bin/sh\n").unwrap();
    (folder, path)
}

fn name(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn what_xen_refuses_has_status_1_and_says_why() {
    let (_folder, script) = script();
    let (status, out, err) = run(&["verify", name(&script)]);
    assert_eq!((status, err.as_str()), (1, ""));
    assert!(
        out.contains(": refused by Xen: Not a Xen-ELF image: it is a script"),
        "{out}"
    );
    assert!(out.contains("xl create says: no loader found"), "{out}");
    let (status, out, _) = run(&["verify", "--json", name(&script)]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(status, 1);
    assert_eq!(report["verdict"], "refused");
    assert_eq!(report["reason"]["name"], "not-elf");
}

#[test]
fn netdoms_configuration_is_shown_before_and_after_it_is_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("netdom.toml");
    fs::write(&file, "[bridge.lan]\ncard = 1\nrate = \"10Mb/s\"\n").unwrap();
    let (status, text, err) = run(&["inspect", name(&file)]);
    assert_eq!((status, err.as_str()), (0, ""));
    assert!(
        text.contains("bridge          lan\n  wire          card 1\n"),
        "{text}"
    );
    let (status, json, _) = run(&["inspect", "--json", name(&file)]);
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, &report["kind"]), (0, &"netdom".into()));
    assert_eq!(report["bridges"][0]["rate"]["limit"]["bytes"], 62_500);
    // As it is passed to the domain.
    let mut findings = image::findings::Findings::default();
    let source = fs::read_to_string(&file).unwrap();
    let config = image::netdom::read("netdom.toml", &source, &mut findings).unwrap();
    let blob = folder.path().join("netdom.policy");
    fs::write(&blob, netdom::config::encode(&config).unwrap()).unwrap();
    assert_eq!(run(&["inspect", name(&blob)]).1, text);
    // What is wrong has its place.
    fs::write(&file, "[bridge.lan]\nrate = 10\n").unwrap();
    let (status, out, err) = run(&["inspect", name(&file)]);
    assert_eq!(status, 1);
    let said = format!("{out}{err}");
    assert!(
        said.contains("not a rate") && said.contains("netdom.toml:2:8"),
        "{said}"
    );
    let (status, json, _) = run(&["inspect", "--json", name(&file)]);
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, &found[0]["message"]), (1, &"not a rate".into()));
}

#[test]
fn a_program_of_this_machine_is_no_image() {
    let (status, out, _) = run(&["verify", TOOL]);
    assert_eq!(status, 1);
    assert!(out.contains("no Xen notes"), "{out}");
    let (status, out, _) = run(&["inspect", TOOL]);
    assert_eq!(status, 0);
    assert!(
        out.contains("refused: Not a Xen-ELF image") && out.contains("64 bits, x86-64"),
        "{out}"
    );
    let (status, out, _) = run(&["inspect", "--json", TOOL]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &report["kind"]), (0, &"image".into()));
}

#[test]
fn what_cannot_be_read_is_named() {
    let (folder, script) = script();
    for verb in ["inspect", "verify"] {
        let (status, out, err) = run(&[verb, name(&folder.path().join("absent"))]);
        assert_eq!((status, out.as_str()), (1, ""));
        assert!(
            err.contains("cannot read") && err.contains("absent"),
            "{err}"
        );
        let (status, _, err) = run(&[verb, name(folder.path())]);
        assert!(status == 1 && err.contains("is a folder"), "{err}");
    }
    let (status, out, err) = run(&["symbolize", name(&script), name(&script)]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(
        err.contains("cannot use") && err.contains("not an ELF file"),
        "{err}"
    );
}

#[test]
fn a_log_passes_through_symbolize_and_a_foreign_report_has_status_1() {
    let symbolize = |log: &str| {
        let mut child = Command::new(TOOL)
            .args(["symbolize", "-", TOOL])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(log.as_bytes()).unwrap();
        drop(stdin);
        parts(child.wait_with_output().unwrap())
    };
    let log = "hello\r\nno crash here, and no newline at the end";
    let (status, out, err) = symbolize(log);
    assert_eq!((status, out.as_str()), (0, log));
    assert!(err.contains("no crash report"), "{err}");
    let (status, out, err) = symbolize("CRASH: oh\n  build-id 0123\n  backtrace:\n");
    assert_eq!(status, 1);
    assert!(err.contains("WARNING: a report is of build 0123"), "{err}");
    assert!(
        out.contains("WARNING: this report is of another build"),
        "{out}"
    );
}
