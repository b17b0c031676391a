//! The two driver domains.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use qemu_tests::{Command, DebianDriver, Lab, Machine};

use super::samples::ImageSizes;
use super::{DEVICE, SLOTS, index};
use crate::appliance::{Bare, Built};
use crate::bench::rounds::plain_configuration;
use crate::bench::samples::System;
use crate::run::scenario::ADDED;

/// The Debian driver domain's memory, in MiB: Linux' bounce buffers for the card take 64, and netback a page for each
/// slot of each guest's ring.
const DEBIAN_MIB: u32 = 256;

/// The bridge that each one's card is on.
const BRIDGE: &str = "xenbr0";

/// How long one may take to start.
pub(super) const START_LIMIT: Duration = Duration::from_secs(300);

/// A card, as `xl` calls it.
pub(super) fn card(slot: usize) -> String {
    format!("00:{slot:02x}.0")
}

/// A domain that has a card.
pub(super) struct Driver {
    pub(super) name: String,
    /// The path in dom0 of its xl configuration.
    pub(super) config: String,
    /// What its console says once guests' vifs can come.
    pub(super) ready: String,
    /// What `xl create` was given, without comments.
    pub(super) configuration: String,
}

/// Both.
pub(super) struct Drivers {
    both: [Driver; 2],
    pub(super) sizes: ImageSizes,
}

impl Drivers {
    /// Puts the files where dom0 sees them.
    pub(super) fn put(lab: &Lab, machine: &Machine, netdom: &Built) -> Result<Self> {
        let share = machine.share();
        let [ours, theirs] = SLOTS.map(card);
        let netdom_cfg = put_netdom(machine, netdom, &ours)?;
        let debian = DebianDriver {
            name: "debian".to_owned(),
            memory_mib: DEBIAN_MIB,
            card: theirs,
            module: DEVICE.to_owned(),
            bridge: BRIDGE.to_owned(),
        };
        let debian_cfg = machine.put_debian_driver(lab, &debian)?;
        let length = |name: &str| -> Result<u64> {
            let path = share.join(name);
            let metadata = fs::metadata(&path).with_context(|| path.display().to_string())?;
            Ok(metadata.len())
        };
        let sizes = ImageSizes {
            netdom_bytes: netdom.image.bytes.len() as u64,
            debian_kernel_bytes: length("vmlinuz")?,
            debian_ramdisk_bytes: length(&format!("{}.initrd", debian.name))?,
            target: netdom.image.target.triple().to_owned(),
        };
        let driver = |name: &str, config: String, ready: String| -> Result<Driver> {
            let text = fs::read_to_string(share.join(format!("{name}.cfg")))?;
            Ok(Driver {
                name: name.to_owned(),
                config,
                ready,
                configuration: plain_configuration(&text, &share),
            })
        };
        let ready = format!("is the wire of {BRIDGE}");
        Ok(Self {
            both: [
                driver(Bare::Netdom.name(), netdom_cfg, ready)?,
                driver(&debian.name, debian_cfg, debian.ready_line())?,
            ],
            sizes,
        })
    }

    pub(super) fn of(&self, system: System) -> &Driver {
        &self.both[index(system)]
    }
}

/// The image and its configuration, as `build` writes it, with a card of this machine and the path in dom0.
fn put_netdom(machine: &Machine, built: &Built, card: &str) -> Result<String> {
    let written = fs::read_to_string(&built.config)?;
    let folder = built.config.parent().context("it is in a folder")?;
    let config = written
        .replace("\"0000:03:00.0\"", &format!("\"{card}\""))
        .replace(&format!("{}/", folder.display()), "/share/");
    ensure!(
        config.contains(card) && config.contains("\"/share/"),
        "the configuration has no place for a card or an image: {written}"
    );
    let name = Bare::Netdom.name();
    fs::write(
        machine.share().join(format!("{name}.xen")),
        &built.image.bytes,
    )?;
    fs::write(machine.share().join(format!("{name}.cfg")), config)?;
    Ok(format!("/share/{name}.cfg"))
}

impl Driver {
    /// A guest's vif on its bridge.
    pub(super) fn vif(&self) -> String {
        format!("backend={},bridge={BRIDGE}", self.name)
    }

    /// Creates it, with as much memory as its configuration says unless told otherwise, and waits until it is ready.
    pub(super) fn create(&self, machine: &Machine, memory_mib: Option<u32>) -> Result<()> {
        machine.forget_guest_console(&self.name)?;
        let memory = memory_mib.map(|memory| format!("; memory={memory}"));
        let added = format!("{ADDED}{}", memory.unwrap_or_default());
        let create = Command::new(["xl", "create", "-q", &self.config, &added]);
        machine.check(&create.limit(START_LIMIT))?;
        machine.wait_for_console(&self.name, &self.ready, START_LIMIT)?;
        Ok(())
    }

    /// Ends it.
    pub(super) fn destroy(&self, machine: &Machine) -> Result<()> {
        let command = Command::new(["xl", "destroy", &self.name]);
        machine.check(&command.limit(START_LIMIT))?;
        Ok(())
    }

    /// The same, whether it is there or not.
    pub(super) fn make_sure_it_is_gone(&self, machine: &Machine) -> Result<()> {
        machine.dom0(&format!("xl destroy {} 2>/dev/null; true", self.name))?;
        Ok(())
    }
}
