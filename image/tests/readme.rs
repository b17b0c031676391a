//! The README's folder map, against the tree; and its commands, against the command line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace");
    root.to_owned()
}

fn readme() -> String {
    fs::read_to_string(root().join("README.md")).expect("a README")
}

/// The folders in the first column of the map.
fn mapped() -> Vec<String> {
    let text = readme();
    let (_, map) = text.split_once("## Folders").expect("a section on folders");
    let map = map.split("\n## ").next().unwrap_or_default();
    map.lines()
        .filter_map(|line| {
            line.strip_prefix("| [")?
                .split(']')
                .next()
                .map(str::to_owned)
        })
        .collect()
}

#[test]
fn every_folder_of_the_map_exists() {
    let mapped = mapped();
    assert!(!mapped.is_empty());
    for folder in mapped {
        assert!(
            root().join(&folder).is_dir(),
            "{folder} is in the README but not in the tree"
        );
    }
}

#[test]
fn every_member_of_the_workspace_is_on_the_map() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let (_, members) = manifest.split_once("members = [").expect("members");
    let (members, _) = members.split_once(']').expect("the end of the members");
    let mapped = mapped();
    let members: Vec<&str> = members
        .split(',')
        .map(|member| member.trim().trim_matches('"'))
        .filter(|m| !m.is_empty())
        .collect();
    assert!(members.contains(&"image"));
    for member in members {
        assert!(
            mapped.iter().any(|folder| folder == member),
            "{member} is not on the README's map"
        );
    }
}

#[test]
fn every_file_the_readme_links_to_exists() {
    let text = readme();
    let links = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next());
    let local: Vec<&str> = links.filter(|link| !link.starts_with("http")).collect();
    assert!(local.len() > 5);
    for link in local {
        assert!(root().join(link).exists(), "the README links to {link}");
    }
}

#[test]
fn every_verb_the_readme_uses_explains_itself() {
    let text = readme();
    let verbs: Vec<&str> = text
        .split("cargo image ")
        .skip(1)
        .filter_map(|rest| {
            let is_of_a_verb = |c: char| c.is_ascii_lowercase() || c == '-';
            rest.split(|c| !is_of_a_verb(c)).next()
        })
        .filter(|verb| !verb.is_empty())
        .collect();
    assert!(verbs.contains(&"run") && verbs.contains(&"build"));
    for verb in verbs {
        let output = Command::new(env!("CARGO_BIN_EXE_xen-image"))
            .args([verb, "--help"])
            .output()
            .expect("xen-image runs");
        assert!(output.status.success(), "xen-image {verb} --help");
    }
}
