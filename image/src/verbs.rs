//! What each verb does: reading arguments, calling the library, telling the user.

use std::fs;
use std::io::{self, IsTerminal, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use image::appliance::{self, Bare, Built};
use image::build as compile;
use image::output::OutputSet;
use image::run::{RunOptions, table};
use image::site::{self, SitePaths};
use image::workspace::Workspace;
use shorewall::{Compiled, Report};

use crate::args::{Appliance, Build, Check, Guest, Run};

pub(crate) fn check(check: &Check) -> Result<ExitCode> {
    let paths = SitePaths {
        config: check.config.clone(),
        network: check.network.clone(),
    };
    let site = paths.site()?;
    let compiled = shorewall::compile(&site);
    let (report, policy) = match &compiled {
        Ok(compiled) => (&compiled.warnings, Some(&compiled.policy)),
        Err(report) => (report, None),
    };
    if check.json {
        print(&serde_json::to_string_pretty(report.diagnostics())?)?;
    } else {
        show(report)?;
        match policy {
            Some(policy) => {
                let warnings = match report.warnings() {
                    0 => String::new(),
                    1 => ", with 1 warning".to_owned(),
                    many => format!(", with {many} warnings"),
                };
                let summary = site::summary(policy);
                print(&format!(
                    "{} is right{warnings}: {summary}",
                    check.config.display()
                ))?;
                print(&not_yet())?;
            }
            None => print(&wrong(&check.config, report))?,
        }
    }
    Ok(if policy.is_some() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(crate) fn build(build: &Build) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let built = match build.appliance {
        Appliance::Firewalldom => {
            let config = build.config.clone().context("--config DIR is missing")?;
            let paths = SitePaths {
                config,
                network: build.network.clone(),
            };
            let compiled = compile_site(&paths)?;
            print(&not_yet())?;
            appliance::build_firewall(&workspace, &compiled.policy, &build.out, None, build.target)?
        }
        Appliance::Netdom => bare(&workspace, Bare::Netdom, build)?,
        Appliance::Stubdom => bare(&workspace, Bare::Stubdom, build)?,
    };
    print(&written(&built))?;
    Ok(ExitCode::SUCCESS)
}

fn bare(workspace: &Workspace, appliance: Bare, build: &Build) -> Result<Built> {
    if build.config.is_some() {
        bail!(
            "{} has no configuration yet: leave --config out",
            appliance.name()
        );
    }
    appliance::build_bare(workspace, appliance, &build.out, build.target)
}

/// Compiles a site; shows its warnings, or its errors and ends there.
fn compile_site(paths: &SitePaths) -> Result<Compiled> {
    let site = paths.site()?;
    match shorewall::compile(&site) {
        Ok(compiled) => {
            show(&compiled.warnings)?;
            Ok(compiled)
        }
        Err(report) => {
            show(&report)?;
            bail!("{}; nothing was written", wrong(&paths.config, &report))
        }
    }
}

/// What no file can change: nobody shall find out by surprise.
fn not_yet() -> String {
    let mut text =
        "unlike a Linux gateway with these files, firewalldom does not handle yet:".to_owned();
    for line in firewalldom::NOT_YET {
        text.push_str("\n  - ");
        text.push_str(line);
    }
    text
}

fn wrong(config: &Path, report: &Report) -> String {
    let config = config.display();
    match report.errors() {
        1 => format!("{config} has 1 error"),
        many => format!("{config} has {many} errors"),
    }
}

/// Diagnostics go to standard error, in colour only when that is a terminal.
fn show(report: &Report) -> Result<()> {
    if report.is_empty() {
        return Ok(());
    }
    let style = if colours(&io::stderr()) {
        shorewall::Style::Colour
    } else {
        shorewall::Style::Plain
    };
    io::stderr()
        .write_all(report.render(style).as_bytes())
        .context("cannot write to standard error")
}

fn colours(stream: &impl IsTerminal) -> bool {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    stream.is_terminal()
        && !dumb
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A line to standard output; a reader that went away is an error here, not a panic.
fn print(text: &str) -> Result<()> {
    writeln!(io::stdout(), "{text}").context("cannot write to standard output")
}

fn written(built: &Built) -> String {
    let notes = &built.image.notes;
    let mut text = format!(
        "{} bytes, built for {}, entry {:#x}",
        built.image.bytes.len(),
        built.image.target.triple(),
        notes.entry,
    );
    if let Some(bytes) = built.policy_bytes {
        text.push_str(&format!("; policy {bytes} bytes"));
    }
    format!("{text}\nxl create {}", built.config.display())
}

pub(crate) fn guest(guest: &Guest) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let manifest = guest.manifest_path.as_ref().map(|path| {
        path.canonicalize()
            .with_context(|| format!("cannot find {}", path.display()))
    });
    let program = compile::Program {
        package: guest.package.clone(),
        binary: guest.binary.clone(),
        features: guest.features.clone(),
        manifest: manifest.transpose()?,
    };
    let image = compile::program(&workspace, &program, guest.target)?;
    let directory = guest
        .out
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let mut output = OutputSet::new(directory.unwrap_or(Path::new(".")))?;
    let name = guest.out.file_name().context("--out names no file")?;
    output.add(&name.to_string_lossy(), &image.bytes)?;
    output.publish()?;
    print(&format!(
        "{}: {} bytes, built for {}, entry {:#x}; symbols in {}",
        guest.out.display(),
        image.bytes.len(),
        image.target.triple(),
        image.notes.entry,
        image.unstripped.display(),
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Folders under `target/` that this tool fills.
const KEPT: [&str; 3] = ["lab", "appliance", "image"];

pub(crate) fn clean() -> Result<ExitCode> {
    let target = Workspace::find()?.target();
    let mut removed: Vec<PathBuf> = Vec::new();
    for name in KEPT {
        let directory = target.join(name);
        match fs::remove_dir_all(&directory) {
            Ok(()) => removed.push(directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot remove {}", directory.display()));
            }
        }
    }
    for directory in &removed {
        print(&format!("removed {}", directory.display()))?;
    }
    if removed.is_empty() {
        print("there was nothing to remove")?;
    }
    // Named by the user, so it may hold what is not ours.
    if let Some(lab) = std::env::var_os("XEN_LAB_DIR") {
        print(&format!(
            "left alone: {} (XEN_LAB_DIR)",
            Path::new(&lab).display()
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn run(run: &Run) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let options = RunOptions {
        memory_mib: run.memory,
        target: run.target,
    };
    let tell = |what: &str| eprintln!("xen-image: {what}");
    let finished = image::run::perform(&workspace, run.suite.into(), options, &tell)?;
    let report = &finished.report;
    if run.json {
        print(&serde_json::to_string_pretty(report)?)?;
    } else {
        let style = if colours(&io::stdout()) {
            table::Style::Colour
        } else {
            table::Style::Plain
        };
        print(&format!("\n{}", table::render(report, style)))?;
    }
    let as_expected = report.as_expected();
    if run.keep {
        finished.keep()?;
    } else {
        finished.machine.stop()?;
    }
    Ok(if as_expected {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
