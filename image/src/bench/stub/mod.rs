//! A guest whose computer is emulated: by Debian's QEMU in dom0, and by stubdom.
//!
//! Both guests are alike but for who is their device model, and one of them is there at a time.

mod linux;
mod page;
mod samples;

use std::time::Duration;

use anyhow::{Context, Result};
use qemu_tests::{Command, Lab, Machine, READY, boot_sector_disk};

use super::BenchOptions;
use super::conditions::{Conditions, Watch};
use crate::build::{self, Program};
use crate::workspace::Workspace;
pub(super) use page::render;
pub use page::summary;
pub use samples::{
    Controller, DeviceModel, DiskLoad, LinuxStart, Pattern, PortReads, Record, Start,
};

/// What a round may take, on a busy host.
const LIMIT: Duration = Duration::from_secs(900);

/// How often the guest is told to read ports in one round, and how many it reads each time.
const TELLS: u32 = 2;
const READS_EACH: u32 = 10_000;

/// `stubdomain_memory=`, in MiB.
const MEMORY_MIB: u32 = 12;

/// Where dom0 has the helper, the stub domain's image, and the disk of the guest without Linux.
const HELPER: &str = "/usr/sbin/xen-image-stubdom-helper";
const IMAGE: &str = "/tmp/stubdom.xen";
const DISK: &str = "/tmp/figures.disk";

/// Bash functions for the scripts in dom0.
const FUNCTIONS: &str = include_str!("functions.sh");

/// Measures both device models in turn, as often as the options say.
///
/// # Errors
/// When something cannot be built, or a guest does not do what it is to do.
pub fn measure(
    workspace: &Workspace,
    lab: &Lab,
    machine: &Machine,
    options: &BenchOptions,
    tell: &dyn Fn(&str),
) -> Result<Record> {
    let BenchOptions { runs, target, .. } = *options;
    let image = build::program(workspace, &Program::appliance("stubdom"), target)?.bytes;
    let mut record = Record {
        suite: lab.suite().code_name().to_owned(),
        conditions: Conditions::of(workspace, lab, machine, runs)?,
        image_bytes: image.len() as u64,
        memory_mib: MEMORY_MIB,
        starts: Vec::new(),
        port_reads: Vec::new(),
        linux_starts: Vec::new(),
        disk_loads: Vec::new(),
    };
    let models = Models::prepare(workspace, lab, machine, &image)?;
    // What is compiled is compiled before this.
    let watch = Watch::begin(machine)?;
    for run in 0..runs {
        // Who goes first changes: neither shall always find the machine as the other left it.
        let mut order = DeviceModel::BOTH;
        if run % 2 == 1 {
            order.reverse();
        }
        for model in order {
            tell(&format!("run {} of {runs}: {}", run + 1, model.name()));
            models.once(model, &mut record)?;
            models.linux(model, &mut record)?;
            models.linux_on_ide(model, &mut record)?;
        }
    }
    record.conditions.load = watch.end()?;
    Ok(record)
}

/// The benchmark's machine, which has what both need.
struct Models<'m> {
    lab: &'m Lab,
    machine: &'m Machine,
    /// What the guests read and write disks with.
    disk_load: Vec<u8>,
}

impl<'m> Models<'m> {
    fn prepare(
        workspace: &Workspace,
        lab: &'m Lab,
        machine: &'m Machine,
        image: &[u8],
    ) -> Result<Self> {
        machine.keep_device_model(lab)?;
        machine.put(HELPER, &build::dom0(workspace)?)?;
        machine.put(IMAGE, image)?;
        machine.put(DISK, &boot_sector_disk("of the benchmark\r\n")?)?;
        machine.dom0(&format!(
            "chmod 755 {HELPER}; ip link add {} type bridge; ip link set {} up",
            linux::BRIDGE,
            linux::BRIDGE
        ))?;
        for model in DeviceModel::BOTH {
            machine.put(&config_path(model), configuration(model).as_bytes())?;
        }
        let models = Self {
            lab,
            machine,
            disk_load: linux::build_program(machine.folder())?,
        };
        for model in DeviceModel::BOTH {
            models.keep_linux(model)?;
        }
        Ok(models)
    }

    /// A guest that starts, reads ports and ends.
    fn once(&self, model: DeviceModel, record: &mut Record) -> Result<()> {
        let (name, config) = (model.domain(), config_path(model));
        let script = format!(
            "{FUNCTIONS}
             begin=$EPOCHREALTIME
             xl create -q {config} >&2
             created=$EPOCHREALTIME
             open_serial {name}
             until_says '{READY}'
             ready=$EPOCHREALTIME
             memory=$(resident)
             reading=$EPOCHREALTIME
             for ((turn = 0; turn < {TELLS}; turn++)); do
                 printf p >&3
                 until_says done
             done
             end=$EPOCHREALTIME
             xl destroy {name}
             echo \"$begin $created $ready $reading $end $memory\""
        );
        let command = Command::bash(script).limit(LIMIT);
        let said = self.machine.check(&command)?;
        let words: Result<Vec<f64>, _> = said.split_whitespace().map(str::parse).collect();
        let words = words.with_context(|| said.clone())?;
        let [begin, created, ready, reading, end, resident] = words[..] else {
            anyhow::bail!("dom0 said {said:?}");
        };
        let between = |from: f64, to: f64| ((to - from) * 1e6) as u64;
        record.starts.push(Start {
            model,
            xl_create_us: between(begin, created),
            prompt_us: between(begin, ready),
            resident_kib: resident as u64,
        });
        record.port_reads.push(PortReads {
            model,
            reads: u64::from(TELLS * READS_EACH),
            us: between(reading, end),
        });
        Ok(())
    }
}

fn config_path(model: DeviceModel) -> String {
    format!("/tmp/{}.cfg", model.domain())
}

/// What `xl create` is given.
fn configuration(model: DeviceModel) -> String {
    format!(
        "name = '{}'\ntype = 'hvm'\nmemory = 64\ncpuid = 'host,xsave=0'\nvga = 'none'\nvnc = 0\n\
         disk = [ 'format=raw,vdev=hda,access=rw,target={DISK}' ]\n{}",
        model.domain(),
        lines(model, IMAGE, 0)
    )
}

/// What is different between the configurations. The stub domain's ramdisk has to be a file, and takes so many MiB of
/// its memory.
fn lines(model: DeviceModel, ramdisk: &str, ramdisk_mib: u32) -> String {
    let serial = "serial = 'pty'\n";
    match model {
        DeviceModel::Qemu => serial.to_owned(),
        DeviceModel::Stubdom => format!(
            "{serial}device_model_version = 'qemu-xen'\ndevice_model_stubdomain_override = 1\n\
             device_model_override = '{HELPER}'\nstubdomain_kernel = '{IMAGE}'\n\
             stubdomain_ramdisk = '{ramdisk}'\nstubdomain_memory = {}\n",
            MEMORY_MIB + ramdisk_mib
        ),
    }
}
