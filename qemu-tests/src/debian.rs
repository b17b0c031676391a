//! What every Debian guest of the lab has in common: its name, its configuration, its start.

use crate::channel::Command;
use crate::cpio::Archive;
use crate::disk;
use crate::initrd;
use crate::lab::Lab;
use crate::machine::Machine;
use anyhow::{Context, Result, ensure};
use std::fs;
use std::time::{Duration, Instant};

/// What the kernel runs to answer `xl shutdown`.
const POWER_OFF: &str = "#!/bin/sh\nexec /usr/bin/busybox poweroff -f\n";

/// How long `xl create` and the guest's own boot may take in the lab.
const CREATE_LIMIT: Duration = Duration::from_secs(300);
const READY_LIMIT: Duration = Duration::from_secs(600);

/// How often it is looked meanwhile whether the emulator has lost the guest.
const LOOK: Duration = Duration::from_secs(20);

/// How often a guest is created again that the emulator has lost.
const LOST_MAX: u32 = 2;

/// How Xen runs a Debian guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GuestType {
    /// Paravirtualized.
    #[default]
    Pv,
    /// In a hardware container, without any emulated device.
    Pvh,
    /// On the computer that Debian's device model emulates in dom0: its BIOS starts GRUB from a disk, and Linux finds
    /// Xen's own devices by the platform device.
    Hvm,
    /// The same, but the computer is emulated by a stub domain: `more` says which.
    HvmWithStub,
}

impl GuestType {
    /// As xl.cfg(5) calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::Pv => "pv",
            Self::Pvh => "pvh",
            Self::Hvm | Self::HvmWithStub => "hvm",
        }
    }
}

/// The command line of a guest's Linux.
pub(crate) const CMDLINE: &str = "console=hvc0 quiet panic=1";

/// What a guest starts from, where dom0 sees it.
pub(crate) enum Boot {
    /// Linux and its initrd.
    Files([String; 2]),
    /// An HVM guest's disk, which the device model in dom0 serves.
    Disk(String),
    /// The same, served by dom0's kernel: to the guest, and to the stub domain that emulates its computer.
    SharedDisk(String),
}

impl Boot {
    /// Where they are in dom0.
    pub(crate) fn files(self) -> Vec<String> {
        match self {
            Self::Files(files) => files.into(),
            Self::Disk(file) | Self::SharedDisk(file) => vec![file],
        }
    }

    /// As xl's configuration has it.
    fn lines(&self) -> String {
        match self {
            Self::Files([kernel, initrd]) => {
                format!("kernel = \"{kernel}\"\nramdisk = \"{initrd}\"\ncmdline = \"{CMDLINE}\"\n")
            }
            // The BIOS reads this kind of disk in pieces, and IDE's a word at a time. Nobody looks at the screen.
            Self::Disk(file) => format!(
                "disk = [ \"format=raw,vdev=hda,access=rw,backendtype=qdisk,target={file}\" ]\n\
                 hdtype = \"ahci\"\nvga = \"none\"\nvnc = 0\n"
            ),
            Self::SharedDisk(file) => format!(
                "disk = [ \"format=raw,vdev=hda,access=rw,target={file}\" ]\nhdtype = \"ahci\"\nvga = \"none\"\nvnc = 0\n"
            ),
        }
    }
}

/// Where dom0 has a file of the share in its memory.
fn kept(name: &str) -> String {
    format!("/tmp/{name}")
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
    boot: &Boot,
    vifs: &[String],
) -> String {
    let vifs: Vec<String> = vifs.iter().map(|vif| format!("\"{vif}\"")).collect();
    let features = match kind {
        GuestType::Pv => "",
        // With TCG a program of such a guest can die of an AVX instruction (#UD) that CPUID offers: the first one did,
        // start after start on one machine.
        GuestType::Pvh | GuestType::Hvm | GuestType::HvmWithStub => "cpuid = \"host,xsave=0\"\n",
    };
    format!(
        "name = \"{name}\"\ntype = \"{}\"\nvcpus = 1\nmemory = {memory_mib}\n{}{features}vif = [ {} ]\n\
         on_reboot = \"destroy\"\non_crash = \"destroy\"\n",
        kind.name(),
        boot.lines(),
        vifs.join(", "),
    )
}

/// Puts in the first program that it runs, and the last.
pub(crate) fn add_programs(archive: &mut Archive, init: &str) {
    archive.file("init", 0o755, init);
    archive.file("usr/sbin/poweroff", 0o755, POWER_OFF);
}

impl Lab {
    /// An initrd for [`Lab::linux`], compressed: its first program is this script, with busybox, xenstore's clients
    /// and these kernel modules, by name, with what they depend on.
    ///
    /// # Errors
    /// When the packages have no such module.
    pub fn initrd(&self, init: &str, modules: &[&str]) -> Result<Vec<u8>> {
        let mut archive = initrd::scripted(self.tree())?;
        self.tree().add_modules(&mut archive, modules)?;
        add_programs(&mut archive, init);
        Ok(archive.gzip()?)
    }
}

impl Machine {
    /// Puts what a guest of this name and kind starts from where dom0 has it in memory.
    pub(crate) fn keep_boot(
        &self,
        lab: &Lab,
        name: &str,
        kind: GuestType,
        initrd: &Archive,
        cmdline: &str,
    ) -> Result<Boot> {
        match kind {
            GuestType::Pv | GuestType::Pvh => {
                ensure!(cmdline.is_empty(), "{name}: only HVM guests have more");
                let file = format!("{name}.initrd");
                // The toolstack would unpack it first.
                fs::write(self.share().join(&file), initrd.plain()?)?;
                let files = [self.keep_linux(lab)?, self.keep_in_memory(&file)?];
                Ok(Boot::Files(files))
            }
            GuestType::Hvm | GuestType::HvmWithStub => {
                let file = format!("{name}.disk");
                // The less there is, the less its BIOS has to read.
                let initrd = initrd.gzip()?;
                let loader = match cmdline {
                    "" => lab.loader()?,
                    more => {
                        let scratch = tempfile::tempdir()?;
                        let cmdline = format!("{CMDLINE} {more}");
                        disk::loader(lab.tree(), &cmdline, scratch.path())?
                    }
                };
                let disk = disk::bootable(loader, fs::read(lab.linux()?)?, initrd)?;
                fs::write(self.share().join(&file), disk)?;
                let file = self.keep_in_memory(&file)?;
                if kind == GuestType::HvmWithStub {
                    return Ok(Boot::SharedDisk(file));
                }
                self.keep_device_model(lab)?;
                Ok(Boot::Disk(file))
            }
        }
    }

    /// Puts the kernel of Debian guests there: its path.
    fn keep_linux(&self, lab: &Lab) -> Result<String> {
        const NAME: &str = "linux";
        let kept = kept(NAME);
        if self
            .run(&Command::new(["test", "-e", &kept]))?
            .status
            .is_success()
        {
            return Ok(kept);
        }
        let linux = lab.unpacked_linux();
        fs::copy(&linux, self.share().join(NAME)).with_context(|| linux.display().to_string())?;
        self.keep_in_memory(NAME)
    }

    /// Puts Linux into dom0's memory, and an initrd whose first program is this script, with busybox and xenstore's
    /// clients: their paths.
    ///
    /// # Errors
    /// When the name is unusable, or dom0 does not take them.
    pub fn keep_linux_with(&self, lab: &Lab, name: &str, init: &str) -> Result<[String; 2]> {
        check_name(name)?;
        let mut archive = initrd::scripted(lab.tree())?;
        add_programs(&mut archive, init);
        let file = format!("{name}.initrd");
        fs::write(self.share().join(&file), archive.plain()?)?;
        Ok([self.keep_linux(lab)?, self.keep_in_memory(&file)?])
    }

    /// Makes sure that dom0 has Debian's device model.
    ///
    /// # Errors
    /// When dom0 does not take it.
    pub fn keep_device_model(&self, lab: &Lab) -> Result<()> {
        const NAME: &str = "device-model.cpio";
        // Guests may be made side by side.
        let mut has_device_model = self.has_device_model();
        if !*has_device_model {
            let archive = lab.device_model();
            fs::copy(&archive, self.share().join(NAME))
                .with_context(|| archive.display().to_string())?;
            // What an emulated card sends comes out of a tap device.
            let unpack = format!("modprobe tun && cd / && busybox cpio -i < /share/{NAME}");
            self.check(&Command::bash(unpack).limit(CREATE_LIMIT))?;
            *has_device_model = true;
        }
        Ok(())
    }

    /// Gives dom0 more kernel modules, by name, with what they depend on: those of devices that it mostly has none of.
    ///
    /// # Errors
    /// When Debian's Linux has none of a name, or dom0 does not take them.
    pub fn put_modules(&self, lab: &Lab, names: &[&str]) -> Result<()> {
        const NAME: &str = "modules.cpio";
        let mut archive = Archive::default();
        lab.tree().add_modules(&mut archive, names)?;
        fs::write(self.share().join(NAME), archive.plain()?)?;
        // Folders on the way are links there, and stay.
        let unpack = format!("cd / && busybox cpio -idu < /share/{NAME}");
        self.check(&Command::bash(unpack).limit(CREATE_LIMIT))
            .map(drop)
    }

    /// Has dom0 copy a file of the share into its memory: its path there. What libxl maps out of the share comes
    /// a page at a time, each by way of the host.
    pub(crate) fn keep_in_memory(&self, name: &str) -> Result<String> {
        let kept = kept(name);
        // Guests may be made side by side: it is there when all of it is.
        self.dom0(&format!(
            "cp '/share/{name}' '{kept}'.$$ && mv '{kept}'.$$ '{kept}'"
        ))?;
        Ok(kept)
    }

    /// Creates a guest by `xl create` with these words, the first of which is its configuration in dom0, and waits until
    /// its console says `ready`: how long that took.
    pub(crate) fn create_debian(
        &self,
        name: &str,
        words: &[&str],
        ready: &str,
    ) -> Result<Duration> {
        for _ in 0..LOST_MAX {
            if let Some(took) = self.try_debian(name, words, ready)? {
                return Ok(took);
            }
            eprintln!("lab: QEMU has taken Xen's state for {name}'s; created again");
            self.dom0(&format!("xl destroy {name} 2>/dev/null; true"))?;
        }
        let took = self.try_debian(name, words, ready)?;
        took.with_context(|| format!("QEMU takes Xen's state for {name}'s each time"))
    }

    /// The same; `None` if the emulator has lost it.
    fn try_debian(&self, name: &str, words: &[&str], ready: &str) -> Result<Option<Duration>> {
        self.forget_guest_console(name)?;
        let begin = Instant::now();
        let create = ["xl", "create"].iter().chain(words).copied();
        self.check(&Command::new(create).limit(CREATE_LIMIT))?;
        let id = self.dom0(&format!("xl domid {name} 2>/dev/null; true"))?;
        let created = Instant::now();
        loop {
            match self.wait_for_console(name, ready, LOOK) {
                Ok(_) => return Ok(Some(begin.elapsed())),
                Err(_) if is_lost(&self.console_log(), id.trim()) => return Ok(None),
                Err(error) if created.elapsed() >= READY_LIMIT => return Err(error),
                Err(_) => {}
            }
        }
    }
}

/// Whether Xen's console says that a PVH guest ran into a triple fault in Xen's own code segment, where no guest
/// ever is: on a busy host TCG sometimes leaves a guest with the state of the hypervisor that it was to return to.
fn is_lost(console: &str, id: &str) -> bool {
    const XEN_CODE: &str = "e008:[<";
    let fault = format!("(XEN) d{id}v0 Triple fault");
    let dump = console.rsplit_once(&fault).map(|(_, dump)| dump);
    let place = dump.and_then(|dump| dump.split_once("RIP:"));
    place.is_some_and(|(_, place)| place.trim_start().starts_with(XEN_CODE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_lost_by_the_emulator_only_where_no_guest_can_be() {
        let console = |id: u32, place: &str| {
            format!(
                "(XEN) d{id}v0 Triple fault - invoking HVM shutdown action 1\r\n\
                 (XEN) *** Dumping Dom{id} vcpu#0 state: ***\r\n(XEN) CPU:    0\r\n\
                 (XEN) RIP:    {place}\r\n"
            )
        };
        let lost = console(171, "e008:[<ffff82d040215abd>]");
        assert!(is_lost(&lost, "171"));
        assert!(!is_lost(&lost, "17"));
        assert!(!is_lost(&console(171, "0010:[<ffffffff81000000>]"), "171"));
        assert!(!is_lost("", "171"));
    }
}
