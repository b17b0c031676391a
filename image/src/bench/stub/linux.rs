//! Debian's Linux, whose disks are emulated: how soon it is there, and how fast they are.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use qemu_tests::{DebianGuest, Extras, GuestType};

use super::samples::{Controller, DeviceModel, DiskLoad, LinuxStart, Record};
use super::{Models, lines};

/// The bridge of its vif.
pub(super) const BRIDGE: &str = "br-figures";

/// How long it may read and write a disk, on a busy host.
const LIMIT: Duration = Duration::from_secs(600);

/// The length of each disk that is measured.
const DISK_MIB: u32 = 32;

/// The program that reads and writes one.
const SOURCE: &str = include_str!("disk-load.rs");
const SOURCE_NAME: &str = "disk-load.rs";
const PROGRAM: &str = "usr/bin/disk-load";

/// Beside Xen's own drivers it has those of a PC, and does not have the emulated disks taken away.
const EXTRAS: Extras<'_> = Extras {
    cmdline: "xen_emul_unplug=never",
    modules: &["ahci", "ata_piix", "sd_mod"],
    programs: &[],
};

/// Compiles that program so that it needs nothing of the guest but the kernel.
pub(super) fn build_program(scratch: &Path) -> Result<Vec<u8>> {
    let [source, program] = [SOURCE_NAME, "disk-load"].map(|name| scratch.join(name));
    std::fs::write(&source, SOURCE)?;
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--edition", "2024", "-C", "opt-level=s"])
        .args(["-C", "strip=symbols", "-C", "target-feature=+crt-static"])
        .arg("-o")
        .args([&program, &source])
        .output()
        .context("rustc, which builds what the guests read and write disks with")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{SOURCE_NAME}: {errors}");
    std::fs::read(&program).with_context(|| program.display().to_string())
}

impl Models<'_> {
    /// A guest that GRUB starts from a SATA disk, and that reads and writes another one. It has no IDE disk: SeaBIOS
    /// would start that one.
    pub(super) fn linux(&self, model: DeviceModel, record: &mut Record) -> Result<()> {
        let name = format!("{}-linux", model.domain());
        let sata = format!("/tmp/{name}.sata");
        // Not sparse: neither is to find out how dom0 makes files longer.
        self.machine.dom0(&format!(
            "busybox dd if=/dev/zero bs=1M count={DISK_MIB} of={sata}"
        ))?;
        let kind = match model {
            DeviceModel::Stubdom => GuestType::HvmWithStub,
            DeviceModel::Qemu => GuestType::Hvm,
        };
        let disk = |vdev, file| format!("'format=raw,vdev={vdev},access=rw,target={file}'");
        let boot = format!("/tmp/{name}.disk");
        let more = format!(
            "disk = [ {}, {} ]\n{}",
            disk("hda", &boot),
            disk("hdb", &sata),
            lines(model)
        );
        let guest = DebianGuest {
            name: name.clone(),
            kind,
            memory_mib: 192,
            vif: format!("type=vif,bridge={BRIDGE}"),
            address: "10.0.9.2/24".to_owned(),
            gateway: "10.0.9.1".to_owned(),
            more,
        };
        let programs = [(PROGRAM, self.disk_load.as_slice())];
        let extras = Extras {
            programs: &programs,
            ..EXTRAS
        };
        let begin = Instant::now();
        let guest = self
            .machine
            .start_debian_guest_with(self.lab, &guest, extras)?;
        record.linux_starts.push(LinuxStart {
            model,
            shell_us: u64::try_from(begin.elapsed().as_micros())?,
        });
        let modules = EXTRAS.modules.join(" ");
        let found = guest.check(&format!(
            "modprobe -a {modules}; until [ -e /dev/sdb ]; do sleep 0.2; done; readlink /sys/block/sd*"
        ))?;
        let controller = Controller::Ahci;
        let disk = disk_of(controller, &found)?;
        let (answer, is_done) = guest.run(&format!("/{PROGRAM} /dev/{disk}"), LIMIT)?;
        ensure!(is_done, "{answer}");
        let loads = answer
            .lines()
            .filter_map(|line| DiskLoad::parse(model, controller, line));
        record.disk_loads.extend(loads);
        self.machine
            .dom0(&format!("xl destroy {name}; rm -f {sata}"))?;
        Ok(())
    }
}

/// The disk to measure, of the links in /sys/block: that of a controller's last port, as the first may have the one that
/// it was started from. Ports are named in their order, and fewer than ten; disks are not.
fn disk_of(controller: Controller, links: &str) -> Result<&str> {
    // The function of the PIIX3.
    let is_ide = |link: &&str| link.contains("/0000:00:01.1/");
    let links_of_controller = links
        .split_whitespace()
        .filter(|link| is_ide(link) == (controller == Controller::Ide));
    links_of_controller
        .max()
        .and_then(|link| link.rsplit('/').next())
        .with_context(|| format!("no disk of {}: {links}", controller.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_told_apart_by_their_controllers() {
        let links = "../devices/pci0000:00/0000:00:01.1/ata7/host6/target6:0:0/6:0:0:0/block/sda\r\n\
                     ../devices/pci0000:00/0000:00:03.0/ata1/host0/target0:0:0/0:0:0:0/block/sdc\r\n\
                     ../devices/pci0000:00/0000:00:03.0/ata2/host1/target1:0:0/1:0:0:0/block/sdb\r\n";
        assert_eq!(disk_of(Controller::Ide, links).unwrap(), "sda");
        assert_eq!(disk_of(Controller::Ahci, links).unwrap(), "sdb");
        assert!(disk_of(Controller::Ide, "").is_err());
    }
}
