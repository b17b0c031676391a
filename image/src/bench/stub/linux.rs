//! Debian's Linux, whose disks are emulated: how soon it is there, and how fast they are.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu_tests::{DebianGuest, Extras, GuestType, RunningGuest};
use stubdom::bundle::{self, Kind};

use super::samples::{Controller, DeviceModel, DiskLoad, LinuxStart, Record};
use super::{IMAGE, Models, lines};

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

/// Memory of a guest, in MiB.
const MEMORY_MIB: u32 = 192;

/// Its emulated disks are not taken away.
const CMDLINE: &str = "xen_emul_unplug=never";

/// Beside Xen's own drivers it has those of a PC.
const MODULES: [&str; 3] = ["ahci", "ata_piix", "sd_mod"];

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
        self.make_disk(&sata)?;
        let more = format!(
            "disk = [ {}, {} ]\n{}",
            disk("hda", &format!("/tmp/{name}.disk")),
            disk("hdb", &sata),
            lines(model, IMAGE, 0)
        );
        let guest = guest(&name, model, more);
        let programs = [(PROGRAM, self.disk_load.as_slice())];
        let guest = self
            .machine
            .start_debian_guest_with(self.lab, &guest, extras(&programs))?;
        record.linux_starts.push(LinuxStart {
            model,
            shell_us: u64::try_from(guest.start().as_micros())?,
        });
        load(&guest, model, Controller::Ahci, "/dev/sdb", record)?;
        self.machine
            .dom0(&format!("xl destroy {name}; rm -f {sata}"))?;
        Ok(())
    }

    /// Puts into dom0 what a guest starts from that has no boot loader, which would read an IDE disk a word at a time.
    pub(super) fn keep_linux(&self, model: DeviceModel) -> Result<()> {
        let name = ide_name(model);
        let programs = [(PROGRAM, self.disk_load.as_slice())];
        let kernel = self.lab.linux()?;
        let kernel = std::fs::read(&kernel).with_context(|| kernel.display().to_string())?;
        let initrd = guest(&name, model, String::new()).initrd(self.lab, extras(&programs))?;
        let [
            kernel_path,
            initrd_path,
            bundle_path,
            disk_path,
            config_path,
        ] = ide_files(model);
        let bytes = kernel.len() + initrd.len();
        let ramdisk_mib = bytes.div_ceil(1 << 20) as u32;
        match model {
            DeviceModel::Qemu => {
                self.machine.put(&kernel_path, &kernel)?;
                self.machine.put(&initrd_path, &initrd)?;
            }
            DeviceModel::Stubdom => {
                let inside = [(Kind::Kernel, &*kernel), (Kind::Initrd, &*initrd)];
                let bundle = bundle::encode(&inside).context("the stub domain's ramdisk")?;
                self.machine.put(&bundle_path, &bundle)?;
            }
        }
        let config = format!(
            "name = '{name}'\ntype = 'hvm'\nmemory = {MEMORY_MIB}\ncpuid = 'host,xsave=0'\nvga = 'none'\nvnc = 0\n\
             kernel = '{kernel_path}'\nramdisk = '{initrd_path}'\n\
             cmdline = 'console=hvc0 quiet panic=1 {CMDLINE}'\ndisk = [ {} ]\n\
             on_reboot = 'destroy'\non_crash = 'destroy'\n{}",
            disk("hda", &disk_path),
            lines(model, &bundle_path, ramdisk_mib),
        );
        self.machine.put(&config_path, config.as_bytes())
    }

    /// A guest that reads and writes an IDE disk.
    pub(super) fn linux_on_ide(&self, model: DeviceModel, record: &mut Record) -> Result<()> {
        let name = ide_name(model);
        let [_, _, _, disk, config] = ide_files(model);
        self.make_disk(&disk)?;
        let guest = self.machine.create_debian_guest(&name, &[&config])?;
        load(&guest, model, Controller::Ide, "/dev/sda", record)?;
        self.machine
            .dom0(&format!("xl destroy {name}; rm -f {disk}"))?;
        Ok(())
    }

    /// A file to measure a disk with. Not sparse: neither is to find out how dom0 makes files longer.
    fn make_disk(&self, path: &str) -> Result<()> {
        let script = format!("busybox dd if=/dev/zero bs=1M count={DISK_MIB} of={path}");
        self.machine.dom0(&script).map(drop)
    }
}

fn ide_name(model: DeviceModel) -> String {
    format!("{}-ide", model.domain())
}

/// Where dom0 has the kernel of a guest with an IDE disk, its initrd, both as the stub domain's ramdisk, the disk, and
/// the configuration.
fn ide_files(model: DeviceModel) -> [String; 5] {
    ["linux", "initrd", "ramdisk", "disk", "cfg"]
        .map(|kind| format!("/tmp/{}.{kind}", ide_name(model)))
}

fn extras<'a>(programs: &'a [(&'a str, &'a [u8])]) -> Extras<'a> {
    Extras {
        cmdline: CMDLINE,
        modules: &MODULES,
        programs,
    }
}

fn disk(vdev: &str, file: &str) -> String {
    format!("'format=raw,vdev={vdev},access=rw,target={file}'")
}

fn guest(name: &str, model: DeviceModel, more: String) -> DebianGuest {
    DebianGuest {
        name: name.to_owned(),
        kind: match model {
            DeviceModel::Stubdom => GuestType::HvmWithStub,
            DeviceModel::Qemu => GuestType::Hvm,
        },
        memory_mib: MEMORY_MIB,
        vif: format!("type=vif,bridge={BRIDGE}"),
        address: "10.0.9.2/24".to_owned(),
        gateway: "10.0.9.1".to_owned(),
        more,
    }
}

/// Has a guest read and write the disk of a controller's last port, once there is this one.
fn load(
    guest: &RunningGuest<'_>,
    model: DeviceModel,
    controller: Controller,
    last: &str,
    record: &mut Record,
) -> Result<()> {
    let modules = MODULES.join(" ");
    let found = guest.check(&format!(
        "modprobe -a {modules}; until [ -e {last} ]; do sleep 0.2; done; \
         for disk in /sys/block/sd*; do readlink $disk; done"
    ))?;
    let disk = disk_of(controller, &found)?;
    let (answer, is_done) = guest.run(&format!("/{PROGRAM} /dev/{disk}"), LIMIT)?;
    ensure!(is_done, "{answer}");
    let loads = answer
        .lines()
        .filter_map(|line| DiskLoad::parse(model, controller, line));
    record.disk_loads.extend(loads);
    Ok(())
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
