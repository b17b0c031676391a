//! Configurations of others: `XEN_CORPUS` names a folder with a Shorewall folder in each of its
//! subfolders; without it the tests are ignored.
//!
//! Each must compile, or be refused for a reason that [`BEYOND`] names. A configuration comes
//! without the machine it was written for, so its interfaces are given addresses here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use shorewall::{Programs, Report, Severity, Site};

/// Errors that are no mistake of the compiler's: the beginnings of their messages, and why.
const BEYOND: [(&str, &str); 12] = [
    ("too few columns", "behind a slip in the line before"),
    ("there is no file", "an include is missing"),
    (
        "the variable",
        "set by an include that is missing, or a slip",
    ),
    (
        "this is not an assignment",
        "a slip, which Shorewall refuses",
    ),
    ("unknown zone", "a slip, which Shorewall refuses"),
    ("the section", "out of order, which Shorewall refuses"),
    (
        "quotes and backslashes do not belong",
        "a slip, which Shorewall refuses",
    ),
    ("zones of type `ipv6`", "published: IPv6"),
    ("the file mangle", "published: packet marks"),
    ("the file routes", "published: routes of providers"),
    ("the file tcinterfaces", "published: traffic shaping"),
    ("the file tunnels", "published: tunnels"),
];

/// Interfaces that `shorewall/interfaces` names, with `$NAME` of `params` replaced.
fn interfaces(folder: &Path) -> Vec<String> {
    let read = |name: &str| {
        let bytes = std::fs::read(folder.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let params = read("params");
    let variables: BTreeMap<&str, &str> = params
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name, value.split('#').next().unwrap_or_default().trim()))
        .collect();
    let mut names: Vec<String> = Vec::new();
    for line in read("interfaces").lines() {
        let line = line.split('#').next().unwrap_or_default();
        let Some(word) = line.split_whitespace().nth(1) else {
            continue;
        };
        let physical = line
            .split([',', ' ', '\t'])
            .find_map(|option| option.strip_prefix("physical="));
        let word = physical.unwrap_or(word);
        let named = match word.strip_prefix('$') {
            Some(name) => variables.get(name).copied().unwrap_or(name),
            None => word,
        };
        let name = match named.split(':').next().unwrap_or_default() {
            "lo" | "" => continue,
            name => name.replace('+', "0"),
        };
        let directive = line.starts_with('?') || line.starts_with("FORMAT");
        if !directive && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn network(folder: &Path) -> String {
    let mut text = String::new();
    for (index, name) in interfaces(folder).iter().enumerate() {
        writeln!(
            text,
            "iface {name} inet static\n address 198.18.{index}.1/24"
        )
        .unwrap();
        if index == 0 {
            writeln!(text, " gateway 198.18.0.254").unwrap();
        }
    }
    text
}

fn refused_for(report: &Report) -> Vec<String> {
    report
        .diagnostics()
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .filter(|diagnostic| {
            !BEYOND
                .iter()
                .any(|(known, _)| diagnostic.message.starts_with(known))
        })
        .map(|diagnostic| diagnostic.message.clone())
        .collect()
}

fn compiles(folder: &Path) -> Result<(), Failed> {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("interfaces");
    std::fs::write(&file, network(folder))?;
    // `params` is a shell's in Shorewall: loops and the like need one here, too.
    let site = Site::new(folder, file);
    let shell = || site.clone().with_programs(Programs::Run);
    let compiled = shorewall::compile(&site).or_else(|report| match refused_for(&report) {
        refused if refused.is_empty() => Err(report),
        _ => shorewall::compile(&shell()),
    });
    match compiled {
        Ok(compiled) => Ok(firewalldom::policy::check::check(&compiled.policy)?),
        Err(report) if refused_for(&report).is_empty() => Ok(()),
        Err(report) => Err(report.to_string().into()),
    }
}

fn folders(corpus: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(corpus)
        .unwrap_or_else(|error| panic!("XEN_CORPUS={}: {error}", corpus.display()));
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.join("zones").is_file())
        .collect();
    folders.sort();
    assert!(!folders.is_empty(), "{} holds none", corpus.display());
    folders
}

fn main() {
    let trials = match std::env::var_os("XEN_CORPUS").map(PathBuf::from) {
        Some(corpus) => folders(&corpus)
            .into_iter()
            .map(|folder| Trial::test(folder.display().to_string(), move || compiles(&folder)))
            .collect(),
        None => {
            let reason = "XEN_CORPUS names no folder of configurations";
            vec![Trial::test(reason, || Ok(())).with_ignored_flag(true)]
        }
    };
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
