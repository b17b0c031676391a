//! The same input gives the same bytes: in whatever folder, with whatever cargo home, whenever.
//!
//! Two copies of the sources at paths of different lengths, each built from nothing with a cargo home
//! at another path, side by side. What a domain's configuration names its files by is the folder
//! written to, so that it differs by that and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use qemu_tests::Tier;

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    root.to_owned()
}

/// Copies the sources: all but what cargo and git keep.
fn copy_sources(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("sources") {
        let entry = entry.expect("an entry");
        let name = entry.file_name();
        if name == "target" || name == ".git" {
            continue;
        }
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            copy_sources(&entry.path(), &to.join(&name));
        } else if kind.is_file() {
            fs::copy(entry.path(), to.join(&name)).expect("a copy");
        }
    }
}

/// Another cargo home with the same downloads.
fn other_cargo_home(at: &Path) {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
        .expect("a cargo home");
    fs::create_dir_all(at).expect("a folder");
    for name in ["registry", "git", "config.toml", "config"] {
        if home.join(name).exists() {
            symlink(home.join(name), at.join(name)).expect("a link");
        }
    }
}

/// Builds in a copy of the sources below `place`. What is written names the folder it is in as `OUT`.
fn build(place: &Path, options: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let sources = place.join("sources");
    if !sources.is_dir() {
        copy_sources(&root(), &sources);
        other_cargo_home(&place.join("cargo"));
    }
    let out = place.join("out");
    let output = Command::new(env!("CARGO_BIN_EXE_xen-image"))
        .current_dir(&sources)
        .env("CARGO_HOME", place.join("cargo"))
        .env_remove("CARGO_TARGET_DIR")
        .arg("build")
        .args(options)
        .arg("--out")
        .arg(&out)
        .output()
        .expect("xen-image runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let files = fs::read_dir(&out)
        .expect("a folder")
        .map(|entry| {
            let entry = entry.expect("an entry");
            let name = entry.file_name().into_string().expect("a name");
            let mut bytes = fs::read(entry.path()).expect("a file");
            if name.ends_with(".cfg") {
                let text = String::from_utf8(bytes).expect("text");
                let here = out.to_str().expect("UTF-8");
                assert!(text.contains(here), "{name} names no file");
                bytes = text.replace(here, "OUT").into_bytes();
            }
            (name, bytes)
        })
        .collect();
    fs::remove_dir_all(out).expect("the folder goes");
    files
}

/// No folder of the machine it was built on is in a file.
fn names_no_folder(files: &BTreeMap<String, Vec<u8>>, folders: &[&Path]) {
    for (name, bytes) in files {
        for folder in folders {
            let folder = folder.to_str().expect("UTF-8").as_bytes();
            assert!(
                !bytes.windows(folder.len()).any(|window| window == folder),
                "{name} names {}",
                String::from_utf8_lossy(folder)
            );
        }
    }
}

fn the_same_twice(builds: &[&[&str]], expected: &[&str]) {
    let temporary = tempfile::tempdir().expect("a folder");
    let one = temporary.path().join("a");
    let other = temporary.path().join("another place, with a longer name");
    let mut names = Vec::new();
    for options in builds {
        let (first, second) = thread::scope(|scope| {
            let second = scope.spawn(|| build(&other, options));
            let first = build(&one, options);
            (first, second.join().expect("it builds"))
        });
        assert_eq!(
            first.keys().collect::<Vec<_>>(),
            second.keys().collect::<Vec<_>>()
        );
        for (name, bytes) in &first {
            assert!(*bytes == second[name], "{name} differs ({options:?})");
        }
        names_no_folder(&first, &[&one, &other, &root()]);
        names.extend(first.into_keys());
    }
    assert_eq!(names, expected);
}

#[test]
fn an_appliance_is_the_same_in_whatever_folder() {
    the_same_twice(
        &[&["netdom"]],
        &["netdom.cfg", "netdom.debug", "netdom.xen"],
    );
}

#[test]
fn a_firewall_is_the_same_in_whatever_folder() {
    if Tier::current() == Tier::Short {
        eprintln!("only in the full tier (XEN_TESTS=full): it builds two firewalls from nothing");
        return;
    }
    let site = ["firewalldom", "--config", "examples/two-interfaces"];
    let with = |more: &[&'static str]| [&site[..], more].concat();
    the_same_twice(
        &[
            &with(&[]),
            &with(&["--embed", "--name", "edge"]),
            &with(&["--target", "host", "--name", "host"]),
        ],
        &[
            "firewalldom.cfg",
            "firewalldom.debug",
            "firewalldom.policy",
            "firewalldom.xen",
            "edge.cfg",
            "edge.debug",
            "edge.xen",
            "host.cfg",
            "host.debug",
            "host.policy",
            "host.xen",
        ],
    );
}
