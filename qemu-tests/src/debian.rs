//! What every Debian guest of the lab has in common: its name, its configuration, its start.

use crate::channel::Command;
use crate::cpio::Archive;
use crate::machine::Machine;
use anyhow::{Result, ensure};
use std::time::Duration;

/// What the kernel runs to answer `xl shutdown`.
const POWER_OFF: &str = "#!/bin/sh\nexec /usr/bin/busybox poweroff -f\n";

/// How long `xl create` and the guest's own boot may take in the lab.
const CREATE_LIMIT: Duration = Duration::from_secs(120);
const READY_LIMIT: Duration = Duration::from_secs(120);

/// How Xen runs a Debian guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GuestType {
    /// Paravirtualized.
    #[default]
    Pv,
    /// In a hardware container, without any emulated device.
    Pvh,
}

impl GuestType {
    /// As xl.cfg(5) calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::Pv => "pv",
            Self::Pvh => "pvh",
        }
    }
}

/// Its name is that of files and of a domain.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    ensure!(
        !name.is_empty() && name.chars().all(plain),
        "a guest's name has letters, digits and dashes: {name:?}"
    );
    Ok(())
}

/// Its xl configuration, with the files where dom0 sees them. What is not there has xl's default, as in
/// the appliances' configurations.
pub(crate) fn config(
    name: &str,
    kind: GuestType,
    memory_mib: u32,
    [kernel, initrd]: [&str; 2],
    vifs: &[String],
) -> String {
    let vifs: Vec<String> = vifs.iter().map(|vif| format!("\"{vif}\"")).collect();
    format!(
        "name = \"{name}\"\ntype = \"{}\"\nvcpus = 1\nmemory = {memory_mib}\nkernel = \"{kernel}\"\n\
         ramdisk = \"{initrd}\"\ncmdline = \"console=hvc0 quiet panic=1\"\nvif = [ {} ]\n\
         on_reboot = \"destroy\"\non_crash = \"destroy\"\n",
        kind.name(),
        vifs.join(", ")
    )
}

/// Puts in the first program that it runs, and the last.
pub(crate) fn add_programs(archive: &mut Archive, init: &str) {
    archive.file("init", 0o755, init);
    archive.file("usr/sbin/poweroff", 0o755, POWER_OFF);
}

impl Machine {
    /// Creates a guest from its xl configuration in dom0, and waits until its console says `ready`.
    pub(crate) fn create_debian(&self, name: &str, config: &str, ready: &str) -> Result<()> {
        self.forget_guest_console(name)?;
        self.check(&Command::new(["xl", "create", config]).limit(CREATE_LIMIT))?;
        self.wait_for_console(name, ready, READY_LIMIT)?;
        Ok(())
    }
}
