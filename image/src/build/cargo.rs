//! Runs cargo for an image.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use super::target::rustc;
use super::{Program, Target};
use crate::workspace::Workspace;

/// The linker script, relative to the workspace.
const LINKER_SCRIPT: &str = "minios-rs/link.ld";

/// Compiles and links `program` as an image; the path of the linked file.
pub(super) fn build(workspace: &Workspace, program: &Program, target: Target) -> Result<PathBuf> {
    let script = match &program.manifest {
        // The linker runs in the workspace's folder. An absolute path in the flags would enter
        // the symbols' hashes, and with them the order of what is linked.
        None => PathBuf::from(LINKER_SCRIPT),
        Some(_) => workspace.root().join(LINKER_SCRIPT),
    };
    let flags = rustflags(target, &script, &path_prefixes(workspace)?);
    link(workspace, program, target, &flags)
}

/// Compiles and links `program` for Linux, so that it needs nothing but the kernel: the path of
/// the stripped file.
pub(super) fn build_static(workspace: &Workspace, program: &Program) -> Result<PathBuf> {
    let mut flags: Vec<OsString> = ["-Ctarget-feature=+crt-static", "-Cstrip=symbols"]
        .map(OsString::from)
        .to_vec();
    flags.extend(remappings(&path_prefixes(workspace)?));
    link(workspace, program, Target::HostTriple, &flags)
}

/// Where cargo builds appliances.
pub(super) fn directory(workspace: &Workspace) -> PathBuf {
    workspace.target().join("appliance")
}

fn link(
    workspace: &Workspace,
    program: &Program,
    target: Target,
    flags: &[OsString],
) -> Result<PathBuf> {
    let output = command(workspace, program, target, flags)
        .output()
        .context("cannot run cargo: install Rust from https://rustup.rs")?;
    if !output.status.success() {
        bail!(
            "cargo could not build {} for {} (its own message stands above)",
            program.binary,
            target.triple()
        );
    }
    executable(&output.stdout, &program.binary)
        .ok_or_else(|| anyhow!("cargo built {} but named no file", program.binary))
}

fn command(
    workspace: &Workspace,
    program: &Program,
    target: Target,
    flags: &[OsString],
) -> Command {
    // Under `cargo image` this is the very cargo that runs us.
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .current_dir(workspace.root())
        .args([
            "build",
            "--locked",
            "--profile",
            "appliance",
            "--no-default-features",
        ])
        .args(["--package", &program.package, "--bin", &program.binary])
        // Explicit even where it is the host's, so that the flags spare build scripts.
        .args(["--target", target.triple()])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--target-dir")
        .arg(directory(workspace));
    if !program.features.is_empty() {
        command.args(["--features", &program.features.join(",")]);
    }
    if let Some(manifest) = &program.manifest {
        command.arg("--manifest-path").arg(manifest);
    }
    command.env(
        "CARGO_ENCODED_RUSTFLAGS",
        flags.join(&OsString::from("\x1f")),
    );
    // What else in the environment changes the code, as cargo's documentation lists it. An
    // incremental build divides it into other units than a plain one.
    command.env("CARGO_INCREMENTAL", "0");
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("CARGO_PROFILE_") {
            command.env_remove(name);
        }
    }
    command
        .envs(
            program
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit());
    command
}

/// The compiler's and the linker's flags for an image.
fn rustflags(target: Target, script: &Path, prefixes: &[(PathBuf, String)]) -> Vec<OsString> {
    let mut flags: Vec<OsString> = [
        // Linked at 1 MiB, never moved.
        "-Crelocation-model=static",
        // So that a backtrace is a walk along rbp.
        "-Cforce-frame-pointers=yes",
        // Nothing relocates, so nothing can be made read-only after relocation.
        "-Crelro-level=off",
    ]
    .map(OsString::from)
    .to_vec();

    let linker: &[&str] = &[
        "-static",
        // A hash of what was linked, debug information included: the same for the same sources.
        "--build-id=sha1",
        "-zmax-page-size=4096",
        "-znognustack",
    ];
    let prefix = match target {
        Target::BareMetal => {
            // The linker is rust-lld itself: plain arguments. The target's code model, `kernel`, is
            // meant for the top 2 GiB, but its sign-extended 32-bit addresses reach the lowest
            // 2 GiB as well, and LTO cannot mix another model with that of `core`.
            flags.push("-Clink-arg=--no-pie".into());
            ""
        }
        Target::HostTriple => {
            flags.extend(
                [
                    "-Ctarget-feature=+crt-static",
                    // An upcall or a trap may land on the stack in use.
                    "-Cno-redzone=yes",
                    "-Cpanic=abort",
                    "-Clink-arg=-nostartfiles",
                    "-Clink-arg=-nostdlib",
                    "-Clink-arg=-static",
                    "-Clink-arg=-no-pie",
                ]
                .map(OsString::from),
            );
            "-Wl,"
        }
    };
    let mut script_argument = OsString::from(format!("-Clink-arg={prefix}-T"));
    script_argument.push(script);
    flags.push(script_argument);
    flags.extend(
        linker
            .iter()
            .map(|argument| format!("-Clink-arg={prefix}{argument}").into()),
    );

    flags.extend(remappings(prefixes));
    flags
}

/// The compiler's flags that write other folders in place of this machine's.
fn remappings(prefixes: &[(PathBuf, String)]) -> impl Iterator<Item = OsString> {
    prefixes.iter().map(|(from, to)| {
        let mut flag = OsString::from("--remap-path-prefix=");
        flag.push(from);
        flag.push(format!("={to}"));
        flag
    })
}

/// Folders of this machine that would otherwise stand in panic messages and line tables, and what
/// stands there instead. Where several match, rustc takes the last.
fn path_prefixes(workspace: &Workspace) -> Result<Vec<(PathBuf, String)>> {
    let mut prefixes = Vec::new();
    if let Some(cargo_home) = cargo_home() {
        prefixes.push((cargo_home.clone(), "cargo".to_owned()));
        // One folder for each registry or mirror, named after its host.
        let mut registries: Vec<PathBuf> = fs::read_dir(cargo_home.join("registry/src"))
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        registries.sort();
        prefixes.extend(
            registries
                .into_iter()
                .map(|path| (path, "registry".to_owned())),
        );
    }
    // With the component rust-src, rustc names the files of `core` where they lie here.
    let sysroot = rustc(workspace, &["--print", "sysroot"])?;
    let version = rustc(workspace, &["--version", "--verbose"])?;
    let commit = version
        .lines()
        .find_map(|line| line.strip_prefix("commit-hash: "));
    prefixes.push((
        Path::new(&sysroot).join("lib/rustlib/src/rust"),
        format!("/rustc/{}", commit.unwrap_or("unknown")),
    ));
    prefixes.push((workspace.root().to_owned(), String::new()));
    Ok(prefixes)
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
}

/// Finds the path of the linked binary in cargo's JSON messages, one a line.
fn executable(messages: &[u8], binary: &str) -> Option<PathBuf> {
    messages.split(|&byte| byte == b'\n').find_map(|line| {
        let message: serde_json::Value = serde_json::from_slice(line).ok()?;
        let is_ours =
            message["reason"] == "compiler-artifact" && message["target"]["name"] == binary;
        is_ours
            .then(|| message["executable"].as_str().map(PathBuf::from))
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(target: Target) -> Vec<String> {
        let prefixes = [(PathBuf::from("/home/me/project"), String::new())];
        rustflags(target, Path::new(LINKER_SCRIPT), &prefixes)
            .into_iter()
            .map(|flag| flag.into_string().unwrap())
            .collect()
    }

    #[test]
    fn bare_metal_speaks_to_the_linker_and_the_host_triple_to_the_compiler_driver() {
        assert!(flags(Target::BareMetal).contains(&"-Clink-arg=-Tminios-rs/link.ld".to_owned()));
        assert!(
            flags(Target::HostTriple).contains(&"-Clink-arg=-Wl,-Tminios-rs/link.ld".to_owned())
        );
        assert!(flags(Target::HostTriple).contains(&"-Cno-redzone=yes".to_owned()));
    }

    #[test]
    fn no_flag_but_a_remapping_names_a_folder_of_this_machine() {
        for target in [Target::BareMetal, Target::HostTriple] {
            for flag in flags(target) {
                assert!(
                    flag.starts_with("--remap-path-prefix=")
                        || !flag.contains('/')
                        || flag.ends_with(LINKER_SCRIPT),
                    "{flag}"
                );
            }
        }
    }

    #[test]
    fn the_linked_file_is_found_among_cargos_messages() {
        let messages =
            br#"{"reason":"compiler-artifact","target":{"name":"minios_rs"},"executable":null}
not json
{"reason":"compiler-artifact","target":{"name":"netdom"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"netdom"},"executable":"/t/netdom"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(
            executable(messages, "netdom"),
            Some(PathBuf::from("/t/netdom"))
        );
        assert_eq!(executable(messages, "stubdom"), None);
    }
}
