//! The dependencies as cargo resolves them, against docs/dependencies.md and deny.toml: what
//! `cargo deny check` says of licences, duplicates and sources, where only cargo is there.
//!
//! `UPDATE_DOCS=1 cargo test -p image --test dependencies` writes the second table of the page anew.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

const PAGE: &str = "docs/dependencies.md";
/// Heading of the table that is generated.
const INDIRECT: &str = "\n## What they bring along\n";
const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// What cargo resolves for Linux, with every feature of ours.
static METADATA: LazyLock<Value> = LazyLock::new(|| {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(root())
        .args(["metadata", "--locked", "--all-features"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .args(["--format-version", "1"])
        .output()
        .expect("cargo runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {said}");
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
});

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("the workspace").to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().expect("an array")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// A resolved package.
struct Package {
    name: &'static str,
    version: &'static str,
    licence: &'static str,
    source: Option<&'static str>,
    /// Ids of what it needs in this resolution.
    needs: Vec<&'static str>,
    is_ours: bool,
}

/// The packages of the resolution, by id.
fn packages() -> BTreeMap<&'static str, Package> {
    let metadata: &'static Value = &METADATA;
    let members: BTreeSet<&str> = array(metadata, "workspace_members")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let by_id: BTreeMap<&str, &'static Value> = array(metadata, "packages")
        .iter()
        .map(|package| (text(package, "id"), package))
        .collect();
    array(&metadata["resolve"], "nodes")
        .iter()
        .map(|node| {
            let id = text(node, "id");
            let package = by_id[id];
            let needs = array(node, "dependencies").iter().filter_map(Value::as_str);
            let resolved = Package {
                name: text(package, "name"),
                version: text(package, "version"),
                licence: text(package, "license"),
                source: package["source"].as_str(),
                needs: needs.collect(),
                is_ours: members.contains(id),
            };
            (id, resolved)
        })
        .collect()
}

/// The crates that ours name, and which of ours do.
fn direct() -> BTreeMap<String, BTreeSet<String>> {
    let packages = packages();
    let mut direct: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for ours in packages.values().filter(|package| package.is_ours) {
        for id in &ours.needs {
            let needed = &packages[id];
            if !needed.is_ours {
                let users = direct.entry(needed.name.to_owned()).or_default();
                users.insert(ours.name.to_owned());
            }
        }
    }
    direct
}

/// For each crate that none of ours names: its licence, and the direct dependencies it comes with.
fn indirect() -> BTreeMap<&'static str, (BTreeSet<&'static str>, BTreeSet<&'static str>)> {
    let packages = packages();
    let direct = direct();
    let mut indirect: BTreeMap<_, (BTreeSet<_>, BTreeSet<_>)> = BTreeMap::new();
    for (start, package) in &packages {
        if package.is_ours || !direct.contains_key(package.name) {
            continue;
        }
        let mut seen = BTreeSet::from([*start]);
        let mut next = vec![*start];
        while let Some(id) = next.pop() {
            next.extend(packages[id].needs.iter().filter(|id| seen.insert(id)));
        }
        for id in seen {
            let brought = &packages[id];
            if !direct.contains_key(brought.name) {
                let (licences, roots) = indirect.entry(brought.name).or_default();
                licences.insert(brought.licence);
                roots.insert(package.name);
            }
        }
    }
    indirect
}

/// Rows of the first table of a text: the cells of each.
fn rows(text: &str) -> Vec<Vec<String>> {
    let table = text.lines().filter_map(|line| line.strip_prefix("| "));
    table
        .skip(1)
        .filter_map(|line| line.strip_suffix(" |"))
        .map(|line| line.split(" | ").map(str::to_owned).collect())
        .collect()
}

#[test]
fn each_direct_dependency_has_its_reason_and_users_on_the_page() {
    let page = read(PAGE);
    let (hand_written, _) = page.split_once(INDIRECT).expect("two tables");
    let mut listed = BTreeMap::new();
    for row in rows(hand_written) {
        let [name, users, reason] = &row[..] else {
            panic!("three columns: {row:?}");
        };
        assert!(reason.len() > 20, "{name}: what for, and why this one?");
        let users: BTreeSet<String> = users.split(", ").map(str::to_owned).collect();
        listed.insert(name.trim_matches('`').to_owned(), users);
    }
    for (name, users) in direct() {
        assert_eq!(
            listed.remove(&name).as_ref(),
            Some(&users),
            "{PAGE} on `{name}`, left, is not what the manifests say, right"
        );
    }
    assert!(listed.is_empty(), "used by none of ours: {listed:?}");
}

#[test]
fn what_the_direct_dependencies_bring_along_is_on_the_page() {
    let mut table = String::from(INDIRECT);
    table.push_str(
        "\nWritten by `UPDATE_DOCS=1 cargo test --locked -p image --test dependencies`.\n\n\
         | crate | licence | comes with |\n|---|---|---|\n",
    );
    for (name, (licences, roots)) in indirect() {
        let licences: Vec<_> = licences.into_iter().collect();
        let roots: Vec<_> = roots.into_iter().collect();
        let row = format!(
            "| `{name}` | {} | {} |\n",
            licences.join("; "),
            roots.join(", ")
        );
        table.push_str(&row);
    }
    let page = read(PAGE);
    let (hand_written, generated) = page.split_once(INDIRECT).expect("two tables");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let whole = format!("{hand_written}{table}");
        fs::write(root().join(PAGE), whole).expect("the page can be written");
    } else {
        assert_eq!(
            format!("{INDIRECT}{generated}"),
            table,
            "UPDATE_DOCS=1 cargo test -p image --test dependencies writes the table anew; \
             look at what is new in it"
        );
    }
}

/// The strings of `key = [ … ]` in deny.toml, comments left out.
fn list(key: &str) -> BTreeSet<String> {
    let text = read("deny.toml");
    let start = format!("\n{key} = [\n");
    let (_, list) = text.split_once(&start).expect("the key is there");
    let (list, _) = list.split_once("\n]").expect("a list ends");
    list.lines()
        .filter_map(|line| line.split('"').nth(1))
        .map(str::to_owned)
        .collect()
}

/// Whether a licence expression (SPDX, or the old form with `/`) can be met with these licences.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let met = any_of(&mut words, allowed);
    met && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut met = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all_of(words, allowed);
    }
    met
}

fn all_of(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut met = one(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= one(words, allowed);
    }
    met
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> bool {
    let Some(word) = words.next() else {
        return false;
    };
    if word == "(" {
        let met = any_of(words, allowed);
        return words.next() == Some(")") && met;
    }
    match words.next_if_eq(&"WITH").and_then(|_| words.next()) {
        Some(exception) => allowed.contains(&format!("{word} WITH {exception}")),
        None => allowed.contains(word),
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"]
        .map(str::to_owned)
        .into();
    for good in [
        "MIT",
        "MIT/GPL-2.0",
        "(MIT OR GPL-2.0) AND Unicode-3.0",
        "GPL-2.0 OR Apache-2.0 WITH LLVM-exception",
    ] {
        assert!(is_met(good, &allowed), "{good}");
    }
    for bad in [
        "",
        "GPL-2.0",
        "MIT AND GPL-2.0",
        "Apache-2.0",
        "(MIT",
        "MIT GPL",
    ] {
        assert!(!is_met(bad, &allowed), "{bad}");
    }
}

#[test]
fn licences_are_among_those_allowed() {
    let allowed = list("allow");
    for package in packages().values() {
        assert!(
            is_met(package.licence, &allowed),
            "{} {} is under `{}`, which deny.toml does not allow",
            package.name,
            package.version,
            package.licence
        );
    }
}

#[test]
fn whatever_is_not_ours_comes_from_crates_io() {
    for package in packages().values().filter(|package| !package.is_ours) {
        assert_eq!(package.source, Some(CRATES_IO), "{}", package.name);
    }
}

/// `name@version`, as deny.toml writes it.
fn duplicates() -> BTreeSet<String> {
    let packages = packages();
    let mut versions: BTreeMap<&str, Vec<Vec<u64>>> = BTreeMap::new();
    for package in packages.values() {
        let release = package.version.split(['-', '+']).next();
        let numbers = release.unwrap_or_default().split('.');
        let numbers = numbers.filter_map(|number| number.parse().ok()).collect();
        versions.entry(package.name).or_default().push(numbers);
    }
    let mut duplicates = BTreeSet::new();
    for (name, mut versions) in versions {
        versions.sort();
        versions.pop();
        for version in versions {
            let version: Vec<String> = version.iter().map(u64::to_string).collect();
            duplicates.insert(format!("{name}@{}", version.join(".")));
        }
    }
    duplicates
}

#[test]
fn two_versions_of_a_crate_are_there_only_for_a_reason() {
    let with_a_reason = list("skip");
    assert_eq!(
        duplicates(),
        with_a_reason,
        "older versions of a crate that is there twice, left; those with a reason in deny.toml, right"
    );
}
