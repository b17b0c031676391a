//! Configurations of others: `XEN_CORPUS` names a folder with one in each of its subfolders. Without
//! it the test is ignored.
//!
//! What real Shorewall takes, once it is spelled as today ([`oracle::older`]) and its own `update` has
//! seen it, our compiler must take as it stands, and as `check --fix` writes it; and both must treat
//! traffic alike. What ours refuses, Shorewall must refuse as well, or it is on the list of what is
//! not supported yet ([`FEATURES`]).

use fastrand::Rng;
use libtest_mimic::{Arguments, Failed, Trial};
use oracle::campaign::Summary;
use oracle::configuration::Configuration;
use oracle::linux::Host;
use oracle::protocol::Age;
use oracle::traffic::Kind;
use qemu_tests::{Tier, lab_is_required, to_stderr};
use shorewall::{Programs, Report, Severity, Site};
use std::fs;
use std::path::{Path, PathBuf};

/// What a refusal may be about although Shorewall takes it: how its message begins.
const FEATURES: [&str; 5] = [
    "zones of type `ipv6`",
    "the file mangle",
    "the file routes",
    "the file tcinterfaces",
    "the file tunnels",
];

/// The errors that are about no such feature.
fn other_errors(report: &Report) -> Vec<&str> {
    report
        .diagnostics()
        .iter()
        .filter(|found| found.severity == Severity::Error)
        .map(|found| found.message.as_str())
        .filter(|message| !FEATURES.iter().any(|known| message.starts_with(known)))
        .collect()
}

/// What is said of a configuration when a shell may run what only a shell can read.
fn compile_with_shell(configuration: &Configuration) -> Result<Result<(), Report>, Failed> {
    let folder = tempfile::tempdir()?;
    configuration.write_to(folder.path())?;
    let site = Site::from_etc(folder.path()).with_programs(Programs::Run);
    Ok(shorewall::compile(&site).map(drop))
}

/// Compares both sides; what they say if they agree.
fn compare(host: &Host, configuration: &Configuration, frames: usize) -> Result<String, Failed> {
    let mut summary = Summary::default();
    let mut rng = Rng::with_seed(1);
    summary.try_site(host, configuration, &mut rng, frames, &Kind::ALL)?;
    if !summary.unexplained.is_empty() {
        let texts = summary.unexplained.iter();
        let texts: Vec<_> = texts
            .map(|found| format!("{} x {}\n{}", found.count, found.class, found.text))
            .collect();
        return Err(format!("{}\n{configuration}", texts.join("\n")).into());
    }
    Ok(match summary.only_shorewall_refused.first() {
        Some(words) => format!("only Shorewall refuses it: {}", error_line(words)),
        None => format!("agrees in {} frames", summary.frames),
    })
}

/// The line of Shorewall's words that says what is wrong.
fn error_line(words: &str) -> &str {
    let mut lines = words.lines().map(str::trim);
    let error = lines.find(|line| line.starts_with("ERROR: "));
    error.unwrap_or(words)
}

fn folder_agrees(host: &Host, folder: &Path) -> Result<(), Failed> {
    let configuration = Configuration {
        age: Age::Older,
        ..Configuration::of_folder(folder)?
    };
    let frames = match Tier::current() {
        Tier::Short => 1_000,
        Tier::Full => 10_000,
    };
    let name = folder.display();
    if let Err(report) = configuration.compile() {
        let errors = other_errors(&report);
        if errors.is_empty() {
            eprintln!("{name}: refused for what is not supported yet");
            return Ok(());
        }
        let Some(words) = configuration.refusal(host)? else {
            return match compile_with_shell(&configuration)? {
                Ok(()) => {
                    eprintln!("{name}: taken with --shell; NOT COMPARED, as no shell runs here");
                    Ok(())
                }
                Err(report) if other_errors(&report).is_empty() => {
                    eprintln!("{name}: with --shell refused for what is not supported yet");
                    Ok(())
                }
                Err(report) => Err(format!("only our compiler refuses it:\n{report}").into()),
            };
        };
        let words = error_line(&words);
        eprintln!("{name}: both refuse it: {}; {words}", errors.join("; "));
        return Ok(());
    }
    let words = compare(host, &configuration, frames)?;
    eprintln!("{name}: {words}");
    let modern = configuration.modernized();
    if let Err(report) = modern.compile() {
        return Err(format!("as check --fix writes it, it is refused:\n{report}").into());
    }
    let words_of_modern = compare(host, &modern, frames)?;
    eprintln!("{name}, fixed: {words_of_modern}");
    match (
        words.starts_with("agrees"),
        words_of_modern.starts_with("agrees"),
    ) {
        (true, false) => Err(format!("what check --fix writes, {words_of_modern}").into()),
        _ => Ok(()),
    }
}

fn folders(corpus: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(corpus)
        .unwrap_or_else(|error| panic!("XEN_CORPUS={}: {error}", corpus.display()));
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.expect("a readable folder").path())
        .filter(|path| path.join("zones").is_file() || path.join("shorewall/zones").is_file())
        .collect();
    folders.sort();
    assert!(!folders.is_empty(), "{} holds none", corpus.display());
    folders
}

fn ignored(reason: &str) -> Vec<Trial> {
    vec![Trial::test(reason, || Ok(())).with_ignored_flag(true)]
}

fn trials() -> Vec<Trial> {
    let Some(corpus) = std::env::var_os("XEN_CORPUS").map(PathBuf::from) else {
        return ignored("XEN_CORPUS names no folder of configurations");
    };
    let program = Path::new(env!("CARGO_BIN_EXE_oracle-namespace"));
    let host = match Host::prepare(program, &to_stderr()) {
        Ok(host) => host,
        Err(error) if lab_is_required() => panic!("{error:#}"),
        Err(error) => return ignored(&format!("{error:#}")),
    };
    let folders = folders(&corpus).into_iter();
    let trial = |folder: PathBuf| {
        let host = host.clone();
        Trial::test(folder.display().to_string(), move || {
            folder_agrees(&host, &folder)
        })
    };
    folders.map(trial).collect()
}

fn main() {
    libtest_mimic::run(&Arguments::from_args(), trials()).exit();
}
