//! Where a peer's value chooses a place in our memory: the list in SECURITY.md is the code's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules that read what another domain or a daemon wrote.
const PEER_FACING: [&str; 4] = ["src/ring", "src/net", "src/xenstore", "src/console.rs"];

fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(below: &Path) -> Vec<PathBuf> {
    if below.is_file() {
        return vec![below.to_owned()];
    }
    let mut files: Vec<PathBuf> = fs::read_dir(below)
        .unwrap()
        .flat_map(|entry| sources(&entry.unwrap().path()))
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .collect();
    files.sort();
    files
}

/// The code of a file: no comments, no tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let shipped = text.split("#[cfg(test)]").next().unwrap_or_default();
    let line = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    shipped.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_list_in_security_md_is_where_indices_are_masked() {
    let security = fs::read_to_string(crate_folder().join("../SECURITY.md")).unwrap();
    let listed: BTreeSet<String> = security
        .lines()
        .filter_map(|line| line.strip_prefix("| `minios-rs/")?.split('`').next())
        .map(str::to_owned)
        .collect();
    let masked: BTreeSet<String> = sources(&crate_folder().join("src"))
        .into_iter()
        .filter(|path| code(path).contains("nospec::"))
        .map(|path| {
            let path = path.strip_prefix(crate_folder()).unwrap();
            path.display().to_string()
        })
        .collect();
    assert!(!masked.is_empty());
    assert_eq!(listed, masked, "SECURITY.md, and the code");
}

/// A field of a peer's message between brackets, or asked of a slice, is an index that was not
/// masked.
fn unmasked(code: &str) -> Vec<&str> {
    let from_a_peer = |inner: &str| {
        ["response.", "request.", "header.", "info."]
            .iter()
            .any(|message| inner.contains(message))
    };
    let opens = ["[", ".get(", ".get_mut("];
    code.lines()
        .filter(|line| !line.trim_start().starts_with("#["))
        .filter(|line| {
            opens.iter().any(|open| {
                line.split(open)
                    .skip(1)
                    .any(|rest| from_a_peer(rest.split([']', ')']).next().unwrap_or_default()))
            })
        })
        .collect()
}

#[test]
fn no_field_of_a_peers_message_is_an_index_as_it_came() {
    for folder in PEER_FACING {
        for path in sources(&crate_folder().join(folder)) {
            let code = code(&path);
            // Looked up in a map, by comparisons.
            let code = code.replace(".get_mut(&header.req_id)", "");
            assert_eq!(unmasked(&code), [""; 0], "{}", path.display());
        }
    }
}

#[test]
fn the_search_finds_what_it_is_for() {
    for line in [
        "let lent = &self.lent[usize::from(response.id)];",
        "self.lent.get(usize::from(response.id))",
        "entry[request.gref as usize]",
        "slots.get_mut(header.req_id as usize)",
    ] {
        assert_eq!(unmasked(line), [line]);
    }
    assert_eq!(unmasked("self.lent[id] = response.id;"), [""; 0]);
}
