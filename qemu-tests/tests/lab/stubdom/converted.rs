//! The way of somebody who has a guest: his configuration, written for QEMU in dom0, is converted.

use anyhow::{Result, anyhow};
use image::appliance::build_stubdom;
use image::build::TargetChoice;
use image::findings::Findings;
use image::stubdom::{Place, RAMDISK, convert};
use image::workspace::Workspace;
use qemu_tests::Machine;
use shorewall::Style;
use std::fs;
use stubdom::bundle::Kind;

/// The files of `cargo image build stubdom`, in dom0.
pub(crate) struct Files {
    place: Place,
}

impl Files {
    /// Builds them, with these files inside, and puts them into a folder of dom0's memory of this name.
    pub(crate) fn build(machine: &Machine, name: &str, inside: &[(Kind, &[u8])]) -> Result<Self> {
        let out = machine.share().join(name);
        fs::create_dir_all(&out)?;
        build_stubdom(&Workspace::find()?, inside, &out, TargetChoice::Auto)?;
        let ramdisk_bytes = fs::metadata(out.join(RAMDISK))?.len();
        let folder = format!("/tmp/{name}");
        machine.dom0(&format!("cp -r /share/{name} {folder}"))?;
        fs::remove_dir_all(&out)?;
        Ok(Self {
            place: Place {
                folder: folder.into(),
                ramdisk_bytes,
            },
        })
    }

    /// Converts a guest's configuration, and puts what comes of it into dom0: its path.
    pub(crate) fn convert(&self, machine: &Machine, name: &str, config: &str) -> Result<String> {
        let mut findings = Findings::default();
        let conversion = convert(name, config, &self.place, &mut findings)
            .ok_or_else(|| anyhow!(findings.render(Style::Plain)))?;
        let path = format!("/tmp/{name}.cfg");
        machine.put(&path, conversion.text.as_bytes())?;
        Ok(path)
    }

    /// Takes them out of dom0's memory.
    pub(crate) fn remove(self, machine: &Machine) -> Result<()> {
        machine.dom0(&format!("rm -r {}", self.place.folder.display()))?;
        Ok(())
    }
}
