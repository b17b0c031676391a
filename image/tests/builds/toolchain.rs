//! Without `x86_64-unknown-none`, and without a rustup that could fetch it, every plain cargo
//! command works, and an appliance is built for the host's triple.
//!
//! The toolchain is this machine's own, seen through a sysroot of links in which that target is
//! missing; the rustup found first is one whose mirror cannot be reached.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use qemu_tests::Tier;
use tempfile::TempDir;

const MISSING: &str = "x86_64-unknown-none";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the workspace")
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// What a program prints, without the end of the line.
fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim_end()
        .to_owned()
}

/// Links to all that is in `from`, but for `without`.
fn links(from: &Path, to: &Path, without: &str) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("the toolchain") {
        let entry = entry.expect("an entry");
        if entry.file_name() != without {
            symlink(entry.path(), to.join(entry.file_name())).expect("a link");
        }
    }
}

fn script(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/sh\n{text}\n")).expect("a script");
    fs::set_permissions(path, Permissions::from_mode(0o755)).expect("a script that runs");
}

/// A program that runs `tool` with another sysroot. No script: a shell drops what cargo sets under
/// names that no shell's variable can have.
fn wrapper(tool: &Path, sysroot: &Path, at: &Path) {
    let source = at.with_extension("rs");
    let text = format!(
        "use std::os::unix::process::CommandExt;
         fn main() {{
             let error = std::process::Command::new({tool:?})
                 .arg(\"--sysroot\")
                 .arg({sysroot:?})
                 .args(std::env::args_os().skip(1))
                 .exec();
             panic!(\"{{error}}\");
         }}"
    );
    fs::write(&source, text).expect("a source");
    let compiled = Command::new("rustc")
        .current_dir(root())
        .args(["--edition=2024", "-o"])
        .args([at, &source])
        .output();
    succeeded(compiled.expect("rustc runs"));
}

/// The toolchain without the target.
struct Toolchain {
    folder: TempDir,
    /// All that is built here; kept between the commands.
    target: PathBuf,
}

impl Toolchain {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let here = folder.path();
        let sysroot = PathBuf::from(printed("rustc", &["--print", "sysroot"]));
        let shadow = here.join("sysroot");
        links(&sysroot, &shadow, "lib");
        links(&sysroot.join("lib"), &shadow.join("lib"), "rustlib");
        let libraries = "lib/rustlib";
        links(&sysroot.join(libraries), &shadow.join(libraries), MISSING);

        let bin = here.join("bin");
        fs::create_dir(&bin).expect("a folder");
        for tool in ["rustc", "rustdoc"] {
            wrapper(&sysroot.join("bin").join(tool), &shadow, &bin.join(tool));
        }
        script(
            &bin.join("rustup"),
            "echo \"$@\" >>\"$(dirname \"$0\")/asked\"\necho 'error: could not download' >&2\nexit 1",
        );
        let target = here.join("target");
        Self { folder, target }
    }

    /// Makes a command see this toolchain.
    fn dress(&self, command: &mut Command) {
        let bin = self.folder.path().join("bin");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths(std::iter::once(bin.clone()).chain(std::env::split_paths(&path)));
        command
            .current_dir(root())
            .env("PATH", path.expect("a search path"))
            .env("RUSTC", bin.join("rustc"))
            .env("RUSTDOC", bin.join("rustdoc"))
            // For clippy's driver, which is a compiler of its own.
            .env("SYSROOT", self.folder.path().join("sysroot"))
            .env("CARGO_TARGET_DIR", &self.target);
    }

    fn cargo(&self, arguments: &[&str]) {
        let mut command = Command::new(cargo());
        self.dress(&mut command);
        succeeded(command.args(arguments).output().expect("cargo runs"));
    }
}

fn succeeded(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn without_the_bare_target_every_command_works() {
    let toolchain = Toolchain::new();
    let rustc = toolchain.folder.path().join("bin/rustc");
    let refused = Command::new(rustc)
        .args([
            "--crate-type=lib",
            "--target",
            MISSING,
            "-o",
            "/dev/null",
            "-",
        ])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("rustc runs");
    assert!(!refused.status.success(), "the target is still there");

    toolchain.cargo(&["check", "--workspace", "--all-targets", "--locked"]);
    if Tier::current() == Tier::Full {
        toolchain.cargo(&["build", "--workspace", "--locked"]);
        toolchain.cargo(&["test", "--workspace", "--no-run", "--locked"]);
        toolchain.cargo(&["clippy", "--workspace", "--all-targets", "--locked"]);
        toolchain.cargo(&["doc", "--workspace", "--no-deps", "--locked"]);
        toolchain.cargo(&["image", "--version"]);
    }

    let out = toolchain.folder.path().join("out");
    let mut build = Command::new(env!("CARGO_BIN_EXE_xen-image"));
    toolchain.dress(&mut build);
    build.args(["build", "netdom", "--out"]).arg(&out);
    let said = succeeded(build.output().expect("xen-image runs"));
    let note = said.lines().find(|line| line.starts_with("note: "));
    assert!(
        note.is_some_and(|note| note.contains("x86_64-unknown-linux-gnu instead of")
            && note.contains("could not download")),
        "{said}"
    );
    let asked = fs::read_to_string(toolchain.folder.path().join("bin/asked")).expect("it asked");
    assert_eq!(asked, format!("target add {MISSING}\n"));
    let image = fs::read(out.join("netdom.xen")).expect("an image");
    image::elf::strip(&image).expect("one that Xen takes");
}
