//! What `verify` says of a file against what Xen's real toolstack does with it, over a family of
//! images that are damaged in one way each; and real crash reports that `symbolize` names.

mod family;

use crate::bench::{LabTest, Setup, expect};
use crate::minios;
use anyhow::{Context, Result, anyhow};
use family::Member;
use image::build::{Image, Program, TargetChoice, program};
use image::loader::Machine;
use image::symbolize::{DebugFile, Summary, Symbolizer};
use image::verify::{Report, verify};
use image::workspace::Workspace;
use qemu_tests::Command;
use std::fs;
use std::time::Duration;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new(
            "loader::verify_says_what_the_real_loader_does",
            verify_says_what_the_real_loader_does,
        ),
        LabTest::new("loader::crash_reports_become_names_and_lines", |setup| {
            crash_reports_become_names_and_lines(setup, TargetChoice::Auto)
        }),
        LabTest::new(
            "loader::crash_reports_become_names_and_lines_built_for_the_host_triple",
            |setup| crash_reports_become_names_and_lines(setup, TargetChoice::Host),
        ),
    ]
}

fn checks(target: TargetChoice) -> Result<Image> {
    let wanted = Program {
        package: "guests".to_owned(),
        binary: "minios-checks".to_owned(),
        features: vec!["xen".to_owned()],
        manifest: None,
        environment: Vec::new(),
    };
    program(&Workspace::find()?, &wanted, target)
}

/// What the toolstack did with a file.
struct Tried {
    is_started: bool,
    /// Its errors.
    errors: String,
}

/// Builds a domain of each file, without ever letting it run.
fn try_all(setup: &Setup, family: &[Member]) -> Result<Vec<Tried>> {
    let folder = setup.machine.share().join("loader");
    fs::create_dir_all(&folder)?;
    let mut script = "cd /share/loader\n".to_owned();
    for member in family {
        fs::write(folder.join(member.name), &member.bytes)?;
        let config = format!(
            "name = '{name}'\nkernel = '/share/loader/{name}'\nmemory = {memory}\n",
            name = member.name,
            memory = member.memory_mib
        );
        fs::write(folder.join(format!("{}.cfg", member.name)), config)?;
        script.push_str(&format!("try {}\n", member.name));
    }
    let script = format!(
        "try() {{
             xl -vvv create -p $1.cfg >/tmp/loader.log 2>&1; echo \"=== $1 $?\"
             grep -aE 'error|panic' /tmp/loader.log
             xl destroy $1 2>/dev/null
         }}
         {script}true"
    );
    let out = setup
        .machine
        .check(&Command::bash(script).limit(Duration::from_secs(400)))?;
    fs::remove_dir_all(&folder)?;
    let tried: Vec<Tried> = out
        .split("=== ")
        .skip(1)
        .map(|part| {
            let (first, errors) = part.split_once('\n').unwrap_or((part, ""));
            Tried {
                is_started: first.ends_with(" 0"),
                errors: errors.to_owned(),
            }
        })
        .collect();
    expect(tried.len() == family.len(), || out)?;
    Ok(tried)
}

/// Why what `verify` says is not what happened, or not what the family was made for.
fn disagreement(member: &Member, report: &Report, tried: &Tried) -> Option<String> {
    let verdict = report.verdict.as_ref().err();
    let warnings: Vec<&str> = report
        .warnings
        .iter()
        .map(image::verify::Warning::name)
        .collect();
    let found = verdict.map_or_else(|| warnings.join(" "), |refusal| refusal.name().to_owned());
    let is_told = verdict.is_none_or(|refusal| tried.errors.contains(refusal.message()));
    let agrees = verdict.is_none() == tried.is_started && is_told && found == member.expected;
    (!agrees).then(|| {
        format!(
            "{}: expected `{}`, verify says {}, and xl: started {}\n{}",
            member.name,
            member.expected,
            report.text(member.name, image::verify::Strictness::Lenient),
            tried.is_started,
            tried.errors
        )
    })
}

fn verify_says_what_the_real_loader_does(setup: &Setup) -> Result<()> {
    let good = checks(TargetChoice::Auto)?;
    let linux = fs::read(setup.lab.linux()?)?;
    let family = family::of(&good.bytes, &linux);
    let tried = try_all(setup, &family)?;
    let wrong: Vec<String> = family
        .iter()
        .zip(&tried)
        .filter_map(|(member, tried)| {
            let machine = Machine {
                memory_mib: Some(member.memory_mib),
                ..Machine::default()
            };
            disagreement(member, &verify(&member.bytes, &machine), tried)
        })
        .collect();
    expect(wrong.is_empty(), || {
        format!("{} of {}:\n{}", wrong.len(), family.len(), wrong.join("\n"))
    })
}

fn symbolize(debug: &DebugFile<'_>, log: &str) -> Result<(String, Summary)> {
    let mut out = Vec::new();
    let mut symbolizer = Symbolizer::new(debug);
    for line in log.split_inclusive('\n') {
        symbolizer.line(line.as_bytes(), &mut out)?;
    }
    Ok((String::from_utf8(out)?, symbolizer.summary().clone()))
}

/// A line of the checks' source, as a debug file names it.
fn place(words: &str) -> Result<String> {
    let path = "qemu-tests/guests/src/minios_checks.rs";
    let source = fs::read_to_string(Workspace::find()?.root().join(path))?;
    let at = source
        .lines()
        .position(|line| line.contains(words))
        .with_context(|| format!("{path} has no line with {words}"))?;
    Ok(format!("{path}:{}", at + 1))
}

fn crash_reports_become_names_and_lines(setup: &Setup, target: TargetChoice) -> Result<()> {
    let image = checks(target)?;
    let debug = DebugFile::read(&image.debug)?;
    // What crashes, and what is to be named: a function and its line.
    let cases = [
        ("panic", "minios_checks::inner", "list[black_box(memory)]"),
        (
            "null-read",
            "minios_checks::main",
            "as *const u64).read_volatile()",
        ),
        // Whoever called into nowhere has no frame yet: its caller is the first that is known.
        ("heap-execute", "minios_checks::main", "execute(alloc::vec!"),
    ];
    for (check, function, words) in cases {
        let (console, _) = minios::run(setup, target, check, "")?;
        let (text, summary) = symbolize(&debug, &console)?;
        let place = place(words)?;
        let is_named = text
            .lines()
            .any(|line| line.contains(function) && line.contains(&place));
        let is_right = summary.matching == 1 && summary.foreign.is_empty() && summary.named >= 2;
        expect(is_named && is_right, || {
            format!("{check}: no {function} at {place}: {summary:?}\n{text}")
        })?;
    }
    let (console, _) = minios::run(setup, target, "panic", "")?;
    let other = console.replace("build-id ", "build-id 00");
    let (text, summary) = symbolize(&debug, &other)?;
    expect(
        summary.foreign.len() == 1 && text.contains("WARNING: this report is of another build"),
        || text.clone(),
    )?;
    what_xen_reports_is_named(setup, &debug, target)
}

/// With its stack gone, no handler of the domain runs: Xen says where it was.
fn what_xen_reports_is_named(
    setup: &Setup,
    debug: &DebugFile<'_>,
    target: TargetChoice,
) -> Result<()> {
    minios::run(setup, target, "stack-overflow", "")?;
    let log = setup.machine.dom0("xl dmesg")?;
    let last = log
        .rfind("RIP:")
        .ok_or_else(|| anyhow!("Xen reported nothing:\n{log}"))?;
    let (text, summary) = symbolize(debug, &log[last..])?;
    expect(
        summary.reports == 1 && text.contains("minios_checks::recurse at "),
        || text.clone(),
    )
}
