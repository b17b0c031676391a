//! Debian packages without installing them: an apt whose state is all ours,
//! with the mirror and the keys of the host's own.

use crate::host;
use crate::impossible;
use crate::progress::Progress;
use crate::recipe::{LEFT_OUT, packages};
use crate::suite::Suite;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

/// The keys Debian signs its releases with, as hosts have them.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// A private apt: lists, cache and an (almost) empty dpkg status.
pub(crate) struct Apt {
    folder: PathBuf,
    suite: Suite,
}

/// One package file to download.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Download {
    pub(crate) file: String,
    pub(crate) bytes: u64,
}

impl Apt {
    pub(crate) fn new(folder: PathBuf, suite: Suite) -> Result<Self> {
        for part in [
            "state/lists/partial",
            "cache/archives/partial",
            "none/partial",
        ] {
            fs::create_dir_all(folder.join(part))?;
        }
        fs::write(folder.join("status"), "")?;
        Ok(Self { folder, suite })
    }

    pub(crate) fn archives(&self) -> PathBuf {
        self.folder.join("cache/archives")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |part: &str| self.folder.join(part).display().to_string();
        for option in [
            format!("Dir::State={}", at("state")),
            format!("Dir::State::status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            format!("Dir::Etc::sourcelist={}", at("lab.sources")),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            // Hooks of the host, such as a container's "delete what you
            // downloaded", are not for us.
            "DPkg::Post-Invoke::=true".to_owned(),
            "APT::Architecture=amd64".to_owned(),
            // The sandbox user could not read a folder below a home.
            "APT::Sandbox::User=".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
            .env("LC_ALL", "C.UTF-8")
            .env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    /// Writes the sources and fetches the package lists.
    pub(crate) fn update(&self) -> Result<()> {
        let host = host::code_name()?;
        let output = Command::new("apt-get")
            .args([
                "indextargets",
                "--format",
                "$(RELEASE) $(COMPONENT) $(REPO_URI)",
            ])
            .arg("Created-By: Packages")
            .output()
            .context("apt-get indextargets")?;
        let Some(keyring) = KEYRINGS.into_iter().find(|file| Path::new(file).exists()) else {
            return impossible("the host has no package debian-archive-keyring");
        };
        let targets = String::from_utf8(output.stdout)?;
        let sources = sources(&targets, &host, self.suite, keyring);
        if sources.is_empty() {
            return impossible("the host's apt has no Debian mirror to take packages from");
        }
        fs::write(self.folder.join("lab.sources"), sources)?;
        let output = self.command("apt-get").args(["-q", "update"]).output()?;
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        // A mirror that cannot be reached is only a warning to apt.
        if !output.status.success() || errors.contains("Failed to fetch") {
            let hint = keyring_hint(&errors, self.suite);
            return impossible(&format!(
                "the package lists cannot be fetched:\n{errors}{hint}"
            ));
        }
        Ok(())
    }

    /// What the suite's packages and their dependencies are.
    pub(crate) fn plan(&self) -> Result<Vec<Download>> {
        let output = self
            .command("apt-cache")
            .args(["show", "--no-all-versions"])
            .args(LEFT_OUT)
            .output()?;
        fs::write(self.folder.join("status"), left_out(&stdout(output)?))?;
        // apt does not name what it has already: let it look where nothing is.
        let nothing = format!(
            "Dir::Cache::archives={}",
            self.folder.join("none").display()
        );
        let output = self.install(&["--print-uris", "-o", &nothing]).output()?;
        let plan = downloads(&stdout(output)?);
        ensure!(!plan.is_empty(), "apt-get named no package to download");
        Ok(plan)
    }

    fn install(&self, options: &[&str]) -> Command {
        let mut command = self.command("apt-get");
        command
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(options)
            .args(packages(self.suite));
        command
    }

    /// How many bytes of the plan are there already (apt checks the hashes).
    fn have(&self, plan: &[Download]) -> u64 {
        let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        let have = |download: &Download| {
            let whole = size(&self.archives().join(&download.file));
            let part = size(&self.archives().join("partial").join(&download.file));
            whole.max(part).min(download.bytes)
        };
        plan.iter().map(have).sum()
    }

    /// Removes what an earlier plan had downloaded and this one does not want.
    fn forget_others(&self, plan: &[Download]) -> Result<()> {
        for entry in fs::read_dir(self.archives())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".deb") && !plan.iter().any(|download| download.file == name) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Says how much is to come, then fetches it, going on where an
    /// interrupted run stopped.
    pub(crate) fn fetch(&self, plan: &[Download], progress: &dyn Fn(Progress<'_>)) -> Result<()> {
        self.forget_others(plan)?;
        let total: u64 = plan.iter().map(|download| download.bytes).sum();
        let missing = total - self.have(plan);
        if missing > 0 {
            progress(Progress::Note(&format!(
                "downloading {} MB of Debian packages once (of {} MB; {} at 10 Mbit/s, seconds on a \
                 fast line), then about half a minute to unpack; kept in {}",
                missing.div_ceil(1_000_000),
                total.div_ceil(1_000_000),
                minutes(missing * 8 / 10_000_000),
                self.archives().display(),
            )));
        }
        // Killed with us, not left behind holding apt's lock.
        let apt = self.install(&["--download-only"]);
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(apt.get_program())
            .args(apt.get_args())
            .stdout(fs::File::create(self.folder.join("download.log"))?)
            .stderr(fs::File::create(self.folder.join("download.errors"))?)
            .spawn()?;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            progress(Progress::Bytes {
                what: "download",
                done: self.have(plan).min(total - 1),
                total,
            });
            thread::sleep(Duration::from_millis(200));
        };
        progress(Progress::Bytes {
            what: "download",
            done: total,
            total,
        });
        if !status.success() {
            let errors = fs::read_to_string(self.folder.join("download.errors"))?;
            return impossible(&format!(
                "downloading Debian packages failed (run again to go on where it stopped):\n{errors}"
            ));
        }
        Ok(())
    }

    /// Unpacks the plan's packages below `root`.
    pub(crate) fn unpack(
        &self,
        plan: &[Download],
        root: &Path,
        progress: &dyn Fn(Progress<'_>),
    ) -> Result<()> {
        fs::create_dir_all(root)?;
        let total = plan.iter().map(|download| download.bytes).sum();
        let mut done = 0;
        for download in plan {
            let output = Command::new("dpkg-deb")
                .arg("-x")
                .arg(self.archives().join(&download.file))
                .arg(root)
                .output()?;
            if !output.status.success() {
                let errors = String::from_utf8_lossy(&output.stderr);
                bail!("dpkg-deb -x {}: {errors}", download.file);
            }
            done += download.bytes;
            progress(Progress::Bytes {
                what: "unpack",
                done,
                total,
            });
        }
        Ok(())
    }
}

fn stdout(output: Output) -> Result<String> {
    if !output.status.success() {
        bail!("apt: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn minutes(seconds: u64) -> String {
    match seconds.div_ceil(60) {
        0 | 1 => "a minute".to_owned(),
        minutes => format!("{minutes} minutes"),
    }
}

/// The host's Debian sources in `main`, for the wanted suite.
fn sources(index_targets: &str, host: &str, suite: Suite, keyring: &str) -> String {
    let mut sources = String::new();
    for line in index_targets.lines() {
        let mut words = line.split_whitespace();
        let (Some(release), Some("main"), Some(uri)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let (name, part) = release.split_at(release.find(['-', '/']).unwrap_or(release.len()));
        let known = ["stable", "oldstable", "testing"].contains(&name) || name == host;
        let stanza = format!(
            "Types: deb\nURIs: {uri}\nSuites: {}{part}\nComponents: main\nSigned-By: {keyring}\n\n",
            suite.code_name()
        );
        if known && ["", "-updates", "-security"].contains(&part) && !sources.contains(&stanza) {
            sources.push_str(&stanza);
        }
    }
    sources
}

/// What to do when apt's errors say that the keyring lacks the suite's keys:
/// a release older than the suite got them with a later update.
fn keyring_hint(errors: &str, suite: Suite) -> String {
    // As gpgv and as sqv put it.
    let missing = ["NO_PUBKEY", "Missing key"]
        .iter()
        .any(|words| errors.contains(words));
    match missing {
        false => String::new(),
        true => format!(
            "The host has no keys of {suite}: `apt-get update && apt-get install \
             debian-archive-keyring` as root brings them."
        ),
    }
}

/// A dpkg status in which the packages shown are installed already, so that
/// apt does not add them as dependencies.
fn left_out(shown: &str) -> String {
    let keep = [
        "Package: ",
        "Version: ",
        "Architecture: ",
        "Multi-Arch: ",
        "Provides: ",
    ];
    let mut status = String::new();
    for stanza in shown
        .split("\n\n")
        .filter(|stanza| !stanza.trim().is_empty())
    {
        for line in stanza.lines() {
            if keep.iter().any(|field| line.starts_with(field)) {
                status.push_str(line);
                status.push('\n');
            }
        }
        status
            .push_str("Status: install ok installed\nMaintainer: none\nDescription: left out\n\n");
    }
    status
}

/// Reads `'URI' FILE BYTES HASH` lines.
fn downloads(uris: &str) -> Vec<Download> {
    let read = |line: &str| {
        let mut words = line.strip_prefix('\'')?.split_whitespace().skip(1);
        Some(Download {
            file: words.next()?.to_owned(),
            bytes: words.next()?.parse().ok()?,
        })
    };
    uris.lines().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debians_own_main_sources_are_taken() {
        let targets = "bookworm main http://mirror.example/debian/\n\
            bookworm-security main http://mirror.example/security/\n\
            bookworm-backports main http://mirror.example/debian/\n\
            bookworm contrib http://mirror.example/debian/\n\
            cloud-sdk-bookworm main https://cloud.example/apt/\n\
            nodistro main https://node.example/\n";
        let sources = sources(targets, "bookworm", Suite::Bookworm, "/keys");
        let suites: Vec<_> = sources
            .lines()
            .filter(|l| l.starts_with("Suites"))
            .collect();
        assert_eq!(suites, ["Suites: bookworm", "Suites: bookworm-security"]);
        assert!(!sources.contains("cloud.example") && !sources.contains("node.example"));
    }

    #[test]
    fn another_suite_comes_from_the_hosts_mirror() {
        let targets = "bookworm main http://mirror.example/debian/\n\
            bookworm-updates main http://mirror.example/debian/\n\
            stable-security main http://mirror.example/security/\n";
        let sources = sources(targets, "bookworm", Suite::Trixie, "/keys");
        let starts = ["URIs", "Suites"];
        let lines: Vec<_> = sources
            .lines()
            .filter(|line| starts.iter().any(|start| line.starts_with(start)))
            .collect();
        let expected = [
            "URIs: http://mirror.example/debian/",
            "Suites: trixie",
            "URIs: http://mirror.example/debian/",
            "Suites: trixie-updates",
            "URIs: http://mirror.example/security/",
            "Suites: trixie-security",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_keyring_that_is_too_old_is_named() {
        let gpgv = "W: GPG error: NO_PUBKEY 6ED0E7B82643E131";
        assert!(keyring_hint(gpgv, Suite::Trixie).contains("no keys of trixie"));
        assert_eq!(keyring_hint("E: no route to host", Suite::Trixie), "");
    }

    #[test]
    fn print_uris_is_read_and_everything_else_skipped() {
        let text = "Reading package lists...\n\
            'http://m.example/b/bash_5.2_amd64.deb' bash_5.2_amd64.deb 1490652 SHA256:00\n";
        let expected = Download {
            file: "bash_5.2_amd64.deb".to_owned(),
            bytes: 1_490_652,
        };
        assert_eq!(downloads(text), [expected]);
    }

    #[test]
    fn what_is_left_out_counts_as_installed() {
        let status =
            left_out("Package: perl\nVersion: 5\nDepends: libperl\n\nPackage: ucf\nVersion: 3\n");
        assert_eq!(status.matches("Status: install ok installed").count(), 2);
        assert!(!status.contains("Depends"));
    }
}
