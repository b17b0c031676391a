//! `build`.

use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use image::appliance::{self, Bare, Built, FirewallSettings, PolicyPlace, Role, Written};
use image::build::DOM0_PROGRAM;
use image::findings::Findings;
use image::options::{Options, Words};
use image::output::OutputSet;
use image::site::SitePaths;
use image::workspace::Workspace;
use serde::Serialize;
use stubdom::bundle::Kind;

use super::file::read;
use super::site::{Diagnostic, Found, bridges_of, counted, not_yet, programs, wrong};
use crate::args::{Appliance, Build};
use crate::terminal::print;

/// What came of it, for programs.
#[derive(Default, Serialize)]
struct Outcome {
    /// As `check --json` prints them.
    diagnostics: Vec<Diagnostic>,
    /// Rust's name of the target that was built for.
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'static str>,
    /// The bytes of the policy, wherever it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy_bytes: Option<usize>,
    files: Vec<Written>,
    /// Why nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

pub(crate) fn perform(build: &Build) -> Result<ExitCode> {
    let mut outcome = Outcome::default();
    let done = build_and_tell(build, &mut outcome);
    if build.json {
        outcome.error = done.as_ref().err().map(|error| format!("{error:#}"));
        print(&serde_json::to_string_pretty(&outcome)?)?;
    }
    done
}

fn build_and_tell(build: &Build, outcome: &mut Outcome) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    if build.appliance != Appliance::Stubdom && build.kernel.is_some() {
        bail!("only stubdom has files of guests inside: leave --kernel and --initrd out");
    }
    let built = match build.appliance {
        Appliance::Firewalldom => firewall(&workspace, build, outcome)?,
        Appliance::Netdom => driver(&workspace, build, outcome)?,
        Appliance::Stubdom => device_model(&workspace, build)?,
        Appliance::Dom0 => return dom0(&workspace, build, outcome),
    };
    if !build.json {
        print(&written(&built, place(build)))?;
        if build.appliance == Appliance::Stubdom {
            print(
                "its disk and its bridge are examples; a guest of yours: cargo image stubdom-convert",
            )?;
        }
    }
    outcome.target = Some(built.image.target.triple());
    outcome.policy_bytes = built.policy_bytes;
    outcome.files = built.files;
    Ok(ExitCode::SUCCESS)
}

fn words(build: &Build) -> Words<'_> {
    Words {
        name: build.name.as_deref(),
        memory: build.memory.as_deref(),
        vifs: &build.vifs,
    }
}

fn place(build: &Build) -> PolicyPlace {
    if build.embed {
        PolicyPlace::Embedded
    } else {
        PolicyPlace::Beside
    }
}

fn firewall(workspace: &Workspace, build: &Build, outcome: &mut Outcome) -> Result<Built> {
    let paths = SitePaths {
        config: build.config.clone().context("--config DIR is missing")?,
        network: build.network.clone(),
        programs: programs(build.shell),
    };
    // All that is wrong is said at once: with the options, with the files, and between them.
    let mut findings = Findings::default();
    let options = Options::parse(words(build), &mut findings);
    let site = paths.site().inspect_err(|_| {
        let found = Found {
            report: None,
            findings: &findings,
        };
        // What stands in the way of all the rest comes last, as the error.
        let _ = tell(build, &found, outcome);
    })?;
    let compiled = shorewall::compile(&site);
    let (report, policy) = match &compiled {
        Ok(compiled) => {
            options.fit(&compiled.policy, &site, &mut findings);
            (&compiled.warnings, Some(&compiled.policy))
        }
        Err(report) => (report, None),
    };
    let found = Found {
        report: Some(report),
        findings: &findings,
    };
    tell(build, &found, outcome)?;
    let policy = match policy {
        Some(policy) if found.errors() == 0 => policy,
        _ if found.errors() == report.errors() => bail!(
            "{}; nothing was written",
            wrong(&paths.config, report.errors())
        ),
        _ => bail!("{}; nothing was written", counted(found.errors(), "error")),
    };
    if !build.json {
        print(&not_yet(policy))?;
    }
    let settings = FirewallSettings {
        options,
        place: place(build),
        target: build.target,
    };
    appliance::build_site(workspace, policy, &build.out, &settings)
}

fn driver(workspace: &Workspace, build: &Build, outcome: &mut Outcome) -> Result<Built> {
    let Some(file) = &build.config else {
        return bare(workspace, Bare::Netdom, build, outcome);
    };
    refuse_vifs(build, "netdom")?;
    if build.network.is_some() || build.shell {
        bail!("netdom has no Shorewall: leave --network and --shell out");
    }
    let mut findings = Findings::default();
    let options = Options::parse(words(build), &mut findings);
    let config = bridges_of(file, &mut findings)?;
    let found = Found {
        report: None,
        findings: &findings,
    };
    tell(build, &found, outcome)?;
    match config {
        Some(config) if found.errors() == 0 => {
            appliance::build_netdom(workspace, &config, &build.out, &options, build.target)
        }
        _ => bail!("{}; nothing was written", wrong(file, found.errors())),
    }
}

fn bare(
    workspace: &Workspace,
    appliance: Bare,
    build: &Build,
    outcome: &mut Outcome,
) -> Result<Built> {
    refuse_a_site(build, appliance.name())?;
    let mut findings = Findings::default();
    let options = Options::parse(words(build), &mut findings);
    let found = Found {
        report: None,
        findings: &findings,
    };
    tell(build, &found, outcome)?;
    if found.errors() > 0 {
        bail!("{}; nothing was written", counted(found.errors(), "error"));
    }
    appliance::build_bare(workspace, appliance, &build.out, &options, build.target)
}

fn device_model(workspace: &Workspace, build: &Build) -> Result<Built> {
    refuse_a_site(build, "stubdom")?;
    if build.name.is_some() || build.memory.is_some() {
        bail!(
            "stubdom is started by xl with each guest, and named after it: leave --name out, and say \
             stubdomain_memory= in the guest's configuration"
        );
    }
    let kernel = build.kernel.as_deref().map(read).transpose()?;
    let initrd = build.initrd.as_deref().map(read).transpose()?;
    let inside: Vec<(Kind, &[u8])> = [(Kind::Kernel, &kernel), (Kind::Initrd, &initrd)]
        .into_iter()
        .filter_map(|(kind, bytes)| Some((kind, bytes.as_deref()?)))
        .collect();
    appliance::build_stubdom(workspace, &inside, &build.out, build.target)
}

/// Options that only a firewall has.
fn refuse_a_site(build: &Build, name: &str) -> Result<()> {
    if build.config.is_some() {
        bail!("{name} has no configuration yet: leave --config out");
    }
    refuse_vifs(build, name)
}

/// Options about interfaces and policies.
fn refuse_vifs(build: &Build, name: &str) -> Result<()> {
    if !build.vifs.is_empty() {
        bail!("{name} has no interfaces yet: leave --vif out");
    }
    if build.embed {
        bail!("{name} has no policy to put into its image: leave --embed out");
    }
    Ok(())
}

/// Writes the program for dom0.
fn dom0(workspace: &Workspace, build: &Build, outcome: &mut Outcome) -> Result<ExitCode> {
    refuse_a_site(build, "the program for dom0")?;
    if build.name.is_some() || build.memory.is_some() {
        bail!("the program for dom0 is no domain: leave --name and --memory out");
    }
    OutputSet::rehearse(&build.out, &[DOM0_PROGRAM.to_owned()])?;
    let program = image::build::dom0(workspace)?;
    let mut output = OutputSet::new(&build.out)?;
    let path = build.out.canonicalize()?.join(DOM0_PROGRAM);
    output.add_program(DOM0_PROGRAM, &program)?;
    output.publish()?;
    if !build.json {
        print(&format!(
            "{} bytes, static, for any x86-64 Linux\n{} stat DOMAIN    (in dom0, as root)",
            program.len(),
            path.display()
        ))?;
    }
    outcome.files = vec![Written {
        role: Role::Program,
        path,
        bytes: program.len() as u64,
    }];
    Ok(ExitCode::SUCCESS)
}

/// Diagnostics go to standard error, or, for programs, into the outcome.
fn tell(build: &Build, found: &Found<'_>, outcome: &mut Outcome) -> Result<()> {
    outcome.diagnostics = found.diagnostics();
    if build.json { Ok(()) } else { found.show() }
}

fn written(built: &Built, place: PolicyPlace) -> String {
    let notes = &built.image.notes;
    let mut text = format!(
        "{} bytes, built for {}, entry {:#x}",
        built.image.bytes.len(),
        built.image.target.triple(),
        notes.entry,
    );
    if let Some(bytes) = built.policy_bytes {
        let place = match place {
            PolicyPlace::Beside => "",
            PolicyPlace::Embedded => ", inside the image",
        };
        text.push_str(&format!("; policy {bytes} bytes{place}"));
    }
    format!("{text}\nxl create {}", built.config.display())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn an_outcome_has_files_and_says_nothing_of_what_there_is_not() {
        let outcome = Outcome {
            files: vec![Written {
                role: Role::Kernel,
                path: PathBuf::from("/o/a.xen"),
                bytes: 7,
            }],
            ..Outcome::default()
        };
        assert_eq!(
            serde_json::to_string(&outcome).unwrap(),
            r#"{"diagnostics":[],"files":[{"role":"kernel","path":"/o/a.xen","bytes":7}]}"#
        );
    }
}
