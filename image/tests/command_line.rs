//! The command line's manners: exit statuses, colours, and what stays on disk when all goes wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_xen-image");

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    root.to_owned()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("xen-image runs")
}

fn shell(script: &str) -> Output {
    Command::new("sh")
        .args(["-c", script, "sh", PROGRAM])
        .current_dir(root())
        .env_remove("NO_COLOR")
        .env("TERM", "xterm")
        .output()
        .expect("sh runs")
}

/// The files of a folder, hidden ones too.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(directory) else {
        return BTreeMap::new();
    };
    entries
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name");
            (name, fs::read(entry.path()).unwrap_or_default())
        })
        .collect()
}

/// The rows of the README's table on exit statuses.
fn documented() -> BTreeMap<i32, String> {
    let readme = fs::read_to_string(root().join("image/README.md")).expect("a README");
    let (_, table) = readme.split_once("## Exit statuses").expect("a section");
    table
        .split("\n## ")
        .next()
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let status = cells.next()?.trim().parse().ok()?;
            Some((status, cells.next()?.trim_end_matches(" |").to_owned()))
        })
        .collect()
}

#[test]
fn the_readme_has_the_exit_statuses_that_help_has() {
    let help = String::from_utf8(run(&["--help"]).stdout).expect("UTF-8");
    let (_, listed) = help.split_once("Exit status:").expect("a list");
    let listed: BTreeMap<i32, String> = listed
        .lines()
        .filter_map(|line| {
            let (status, meaning) = line.trim().split_once(' ')?;
            Some((status.parse().ok()?, meaning.trim().to_owned()))
        })
        .collect();
    assert_eq!(listed, documented());
}

#[test]
fn every_exit_status_is_what_the_readme_says() {
    let temporary = tempfile::tempdir().expect("a folder");
    let out = temporary.path().join("man");
    let out = out.to_str().expect("UTF-8");
    let mut seen = Vec::new();
    for (arguments, status) in [
        (&["check", "examples/two-interfaces"][..], 0),
        (&["man", "--out", out], 0),
        (&["--version"], 0),
        (&["check", "nowhere"], 1),
        (&["man", "--out", "Cargo.toml"], 1),
        (&["check"], 2),
        (&["nonsense"], 2),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
        seen.push(status);
    }
    // A shell reports a process that Ctrl-C ended as 128 + SIGINT. What runs in the background without a
    // terminal, and so these tests, may have been told to ignore it.
    let output = shell(
        "cargo=$(mktemp) && printf '#!/bin/sh\\nkill -INT $PPID\\nexec sleep 5\\n' >$cargo && chmod +x $cargo
         CARGO=$cargo env --default-signal=INT \"$1\" build netdom --target host --out \"$cargo.out\"
         status=$?; test ! -e \"$cargo.out\" || status=99; rm -f $cargo; exit $status",
    );
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    seen.push(130);
    seen.dedup();
    assert_eq!(seen, documented().into_keys().collect::<Vec<_>>());
}

#[test]
fn colours_are_for_terminals_whose_user_wants_them() {
    let escapes = |output: Output| {
        let text = [output.stdout, output.stderr].concat();
        assert!(!text.is_empty());
        text.contains(&0x1b)
    };
    // script(1) gives the command a terminal.
    let on_terminal = |before: &str| {
        shell(&format!(
            "{before} script -qec \"'$1' build netdom --out Cargo.toml --memory 1\" /dev/null"
        ))
    };
    assert!(escapes(on_terminal("")));
    assert!(!escapes(on_terminal("NO_COLOR=1")));
    assert!(!escapes(on_terminal("TERM=dumb")));
    assert!(!escapes(run(&[
        "build",
        "netdom",
        "--out",
        "Cargo.toml",
        "--memory",
        "1"
    ])));
}

#[test]
fn json_is_json_whatever_happens() {
    let json = |arguments: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&run(arguments).stdout).expect("JSON")
    };
    let checked = json(&["check", "examples/two-interfaces", "--json"]);
    assert!(checked.is_array());
    let site = [
        "build",
        "firewalldom",
        "--out",
        "Cargo.toml",
        "--json",
        "--config",
    ];
    let refused = json(
        &[
            &site[..],
            &["examples/two-interfaces", "--vif", "eht0=bridge=b"],
        ]
        .concat(),
    );
    assert_eq!(refused["diagnostics"][0]["severity"], "error");
    assert_eq!(
        refused["diagnostics"][0]["location"]["file"],
        "command line"
    );
    assert_eq!(refused["diagnostics"][0]["location"]["column"], 7);
    assert_eq!(refused["files"], serde_json::json!([]));
    let unwritable = json(&[&site[..], &["examples/two-interfaces"]].concat());
    assert!(
        unwritable["error"]
            .as_str()
            .is_some_and(|error| error.contains("is a file"))
    );
}

#[test]
fn a_reader_who_has_read_enough_is_no_error() {
    let output = shell("\"$1\" completions bash | head -n 1");
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_disk_that_is_full_changes_nothing() {
    let temporary = tempfile::tempdir().expect("a folder");
    let out = temporary.path().join("man");
    fs::create_dir(&out).expect("a folder");
    fs::write(out.join("xen-image.1"), "old").expect("a file");
    let before = files(&out);
    // A limit on the length of files fails a write as a full disk does.
    let limited = format!(
        "trap '' XFSZ; ulimit -f 1; exec \"$1\" man --out '{}'",
        out.display()
    );
    let output = shell(&limited);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains("cannot write") && said.contains(".1"),
        "{said}"
    );
    assert_eq!(files(&out), before);
}

/// Killed at any moment: whatever is to be seen is whole, and the next one tidies up.
#[test]
fn a_killed_process_leaves_no_part_of_a_file() {
    let temporary = tempfile::tempdir().expect("a folder");
    let whole = temporary.path().join("whole");
    let name = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    assert!(run(&["man", "--out", &name(&whole)]).status.success());
    let whole = files(&whole);
    assert!(whole.len() > 5);
    let out = temporary.path().join("out");
    for attempt in 0..24 {
        let mut child = Command::new(PROGRAM)
            .args(["man", "--out", &name(&out)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("xen-image starts");
        sleep(Duration::from_millis(2 * attempt));
        child.kill().expect("a kill");
        child.wait().expect("an end");
        for (file, bytes) in files(&out) {
            if !file.starts_with('.') {
                assert!(bytes == whole[&file], "{file} is not whole");
            }
        }
    }
    assert!(run(&["man", "--out", &name(&out)]).status.success());
    assert_eq!(files(&out), whole);
}

#[test]
fn manual_pages_are_what_man_reads_without_complaint() {
    let temporary = tempfile::tempdir().expect("a folder");
    let out = temporary.path().join("man");
    let name = out.to_str().expect("UTF-8").to_owned();
    assert!(run(&["man", "--out", &name]).status.success());
    for (file, page) in files(&out) {
        let page = String::from_utf8(page).expect("UTF-8");
        // Every request is one that man(7) has; a page begins with its title.
        for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
            let request = line.split(' ').next().unwrap_or_default();
            assert!(
                [
                    ".TH", ".SH", ".SS", ".TP", ".PP", ".RS", ".RE", ".IP", ".nf", ".fi", ".ie",
                    ".el", ".br",
                ]
                .contains(&request),
                "{file}: {line}"
            );
        }
        assert!(
            page.contains(&format!(".TH {} 1", file.trim_end_matches(".1"))),
            "{file}"
        );
    }
}
