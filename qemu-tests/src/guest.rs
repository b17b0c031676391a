//! A Debian guest that does as it is told: somebody to be behind a firewall or a driver domain.

use crate::channel::Command;
use crate::cpio::Archive;
use crate::debian::{self, Boot, GuestType};
use crate::initrd;
use crate::lab::Lab;
use crate::machine::{Machine, console_log};
use anyhow::{Context, Result, bail, ensure};
use std::cell::Cell;
use std::fs;
use std::time::Duration;

const INIT: &str = include_str!("dom0/guest.sh");

/// What udhcpc has done with a lease.
const LEASE: &str = "#!/bin/sh\n\
    case $1 in bound | renew)\n\
    ip addr replace \"$ip/$mask\" dev \"$interface\"\n\
    ip route replace default via \"$router\"\n\
    esac\n";

/// A Debian guest with one vCPU and one vif.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DebianGuest {
    /// The domain's name: letters, digits, dashes.
    pub name: String,
    /// How Xen runs it.
    pub kind: GuestType,
    /// Its memory, in MiB; 160 is enough.
    pub memory_mib: u32,
    /// Its vif, as xl.cfg(5) has it: `backend=firewalldom,ip=10.0.3.2`.
    pub vif: String,
    /// Its address with the prefix length: `10.0.3.2/24`. Empty: it asks for one by DHCP.
    pub address: String,
    /// Its default gateway, where it is told none by DHCP.
    pub gateway: String,
    /// More lines of its xl configuration.
    pub more: String,
}

/// What a guest has that others have not.
#[derive(Clone, Copy, Default, Debug)]
pub struct Extras<'a> {
    /// More of an HVM guest's command line.
    pub cmdline: &'a str,
    /// More kernel modules, by name.
    pub modules: &'a [&'a str],
    /// More programs: their paths below the root, and what they are.
    pub programs: &'a [(&'a str, &'a [u8])],
}

/// A guest that runs.
pub struct RunningGuest<'m> {
    machine: &'m Machine,
    name: String,
    console_tty: String,
    start: Duration,
    /// Commands it was given.
    told: Cell<u32>,
}

/// A line of shell that a guest was told to run.
#[derive(Clone, Debug)]
pub struct Told {
    /// What it said when the line before was done.
    before: String,
    /// What it says when this one is.
    done: String,
}

/// What a guest says that takes commands.
fn ready(name: &str) -> String {
    format!("{name}: ready")
}

/// What it says when it has run so many, before the status of the last.
fn done(name: &str, number: u32) -> String {
    format!("{name}: done {number} ")
}

impl DebianGuest {
    fn config(&self, boot: &Boot) -> String {
        let vifs = [self.vif.clone()];
        debian::config(&self.name, self.kind, self.memory_mib, boot, &vifs) + &self.more
    }

    /// Its initrd, compressed, for whoever starts it by [`Lab::linux`] and a configuration of his own. Linux' command
    /// line has to name `console=hvc0`.
    ///
    /// # Errors
    /// When its name is unusable, or Debian's Linux has no module of a name.
    pub fn initrd(&self, lab: &Lab, extras: Extras<'_>) -> Result<Vec<u8>> {
        Ok(self.archive(lab, extras)?.gzip()?)
    }

    fn archive(&self, lab: &Lab, extras: Extras<'_>) -> Result<Archive> {
        debian::check_name(&self.name)?;
        let mut archive = initrd::guest(lab.tree())?;
        lab.tree().add_modules(&mut archive, extras.modules)?;
        debian::add_programs(&mut archive, INIT);
        for (path, program) in extras.programs {
            archive.file(path, 0o755, *program);
        }
        archive.file("guest/name", 0o644, format!("{}\n", self.name));
        archive.file("guest/network", 0o644, self.network());
        archive.file("guest/lease", 0o755, LEASE);
        Ok(archive)
    }

    /// What gives it its address, as often as the interface appears.
    fn network(&self) -> String {
        if self.address.is_empty() {
            return "set -e\nip link set eth0 up\nudhcpc -i eth0 -n -q -t 20 -T 1 -s /guest/lease\n"
                .to_owned();
        }
        format!(
            "set -e\nsysctl -qw net.ipv6.conf.eth0.disable_ipv6=1 || true\n\
             ip addr replace {} dev eth0\nip link set eth0 up\nip route replace default via {}\n",
            self.address, self.gateway
        )
    }
}

impl Machine {
    /// Creates a guest and waits until it takes commands.
    ///
    /// # Errors
    /// When its name is unusable, xl fails, or the guest does not come up; the error shows its console.
    pub fn start_debian_guest(&self, lab: &Lab, guest: &DebianGuest) -> Result<RunningGuest<'_>> {
        self.start_debian_guest_with(lab, guest, Extras::default())
    }

    /// The same for a guest that needs more.
    ///
    /// # Errors
    /// The same.
    pub fn start_debian_guest_with(
        &self,
        lab: &Lab,
        guest: &DebianGuest,
        extras: Extras<'_>,
    ) -> Result<RunningGuest<'_>> {
        let boot = self.keep_guest(lab, guest, extras)?;
        let config = format!("{}.cfg", guest.name);
        fs::write(self.share().join(&config), guest.config(&boot))?;
        self.create_debian_guest(&guest.name, &[&format!("/share/{config}")])
    }

    /// Puts what a guest starts from into dom0's memory, for a configuration of one's own: the paths of Linux and its
    /// initrd, or of the disk of an HVM guest.
    ///
    /// # Errors
    /// When its name is unusable, or dom0 does not take them.
    pub fn keep_debian_guest(&self, lab: &Lab, guest: &DebianGuest) -> Result<Vec<String>> {
        let boot = self.keep_guest(lab, guest, Extras::default())?;
        Ok(boot.files())
    }

    fn keep_guest(&self, lab: &Lab, guest: &DebianGuest, extras: Extras<'_>) -> Result<Boot> {
        let archive = guest.archive(lab, extras)?;
        self.keep_boot(lab, &guest.name, guest.kind, &archive, extras.cmdline)
    }

    /// Creates a guest by `xl create` with these words, the first of which is a configuration in dom0 that names what
    /// [`Machine::keep_debian_guest`] has put there, and waits until it takes commands.
    ///
    /// # Errors
    /// When xl fails, or the guest does not come up; the error shows its console.
    pub fn create_debian_guest(&self, name: &str, words: &[&str]) -> Result<RunningGuest<'_>> {
        let start = self.create_debian(name, words, &ready(name))?;
        let console_tty = self.dom0(&format!(
            "xenstore-read /local/domain/$(xl domid {name})/console/tty"
        ))?;
        Ok(RunningGuest {
            machine: self,
            name: name.to_owned(),
            console_tty: console_tty.trim().to_owned(),
            start,
            told: Cell::new(0),
        })
    }
}

impl RunningGuest<'_> {
    /// The domain's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// From the beginning of `xl create` until it took commands.
    #[must_use]
    pub fn start(&self) -> Duration {
        self.start
    }

    /// Has it run a line of shell: what it said, and whether it succeeded.
    ///
    /// # Errors
    /// When it does not answer within `limit`.
    pub fn run(&self, line: &str, limit: Duration) -> Result<(String, bool)> {
        let told = self.next();
        let script = Command::bash(self.tell() + &self.wait(&told));
        self.answer(&told, script.stdin(format!("{line}\n")).limit(limit))
    }

    /// Has it begin to run a line of shell. Until [`RunningGuest::finish`] nobody in dom0 looks what came of it,
    /// which would take CPU time from whatever is measured.
    ///
    /// # Errors
    /// When dom0 does not answer.
    pub fn begin(&self, line: &str) -> Result<Told> {
        let told = self.next();
        let script = Command::bash(self.tell());
        self.machine.check(&script.stdin(format!("{line}\n")))?;
        Ok(told)
    }

    /// Waits until it has run a line: what it said, and whether it succeeded.
    ///
    /// # Errors
    /// When it does not answer within `limit`.
    pub fn finish(&self, told: &Told, limit: Duration) -> Result<(String, bool)> {
        self.answer(told, Command::bash(self.wait(told)).limit(limit))
    }

    fn next(&self) -> Told {
        let name = &self.name;
        let number = self.told.get() + 1;
        self.told.set(number);
        Told {
            before: match number {
                1 => ready(name),
                _ => done(name, number - 1),
            },
            done: done(name, number),
        }
    }

    /// A script for dom0: types what is on standard input. bash alone does it, as each process costs a tenth of a
    /// second there.
    fn tell(&self) -> String {
        format!(
            "IFS= read -rd '' line; printf %s \"$line\" > {}\n",
            self.console_tty
        )
    }

    /// A script for dom0: waits until a line was run, and shows the console from the line before.
    fn wait(&self, Told { before, done }: &Told) -> String {
        let log = console_log(&self.name);
        format!(
            "dom0-agent await {log} '{done}' >/dev/null; console=$(< {log})
             printf %s \"${{console##*'{before}'}}\""
        )
    }

    /// What came of such a script.
    fn answer(&self, Told { done, .. }: &Told, script: Command) -> Result<(String, bool)> {
        let output = self.machine.run(&script)?;
        if !output.status.is_success() {
            let console = self.machine.guest_console(&self.name)?;
            bail!("{}: no {done:?}; its console:\n{console}", self.name);
        }
        let console = output.text();
        let (said, status) = console.split_once(done).with_context(|| console.clone())?;
        // What follows the line before on its own line is its status.
        let said = said.split_once('\n').map_or("", |(_, said)| said);
        Ok((said.to_owned(), status.starts_with('0')))
    }

    /// Has it run a line of shell that must succeed: what it said.
    ///
    /// # Errors
    /// When the line fails, or is not done within [`Command::DEFAULT_LIMIT`].
    pub fn check(&self, line: &str) -> Result<String> {
        let (said, succeeded) = self.run(line, Command::DEFAULT_LIMIT)?;
        ensure!(succeeded, "{}: {line}: {said}", self.name);
        Ok(said)
    }
}
