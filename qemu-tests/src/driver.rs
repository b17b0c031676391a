//! A Debian guest that drives a network card for others: the peer our driver domain is compared with.
//!
//! It is what Xen's own guides make of a Linux driver domain: Debian's kernel with its driver of the card, a bridge
//! with the card on it, netback, and `xl devd`, which runs a hotplug script for each guest's vif. It has an initrd with
//! these and no more, as it starts the sooner the less it has to unpack.

use crate::debian::{self, Boot, GuestType};
use crate::initrd;
use crate::lab::Lab;
use crate::machine::Machine;
use anyhow::{Result, ensure};
use std::fs;

const INIT: &str = include_str!("dom0/driver.sh");

/// A Debian PV guest with one vCPU and one card, whose bridge guests' vifs join by `bridge=`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DebianDriver {
    /// The domain's name: letters, digits, dashes.
    pub name: String,
    /// Its memory, in MiB.
    pub memory_mib: u32,
    /// The card, as `xl pci-assignable-add` takes it: `00:03.0`.
    pub card: String,
    /// The card's module.
    pub module: String,
    /// The bridge that the card is on.
    pub bridge: String,
}

impl DebianDriver {
    /// What its console says once guests' vifs can come.
    #[must_use]
    pub fn ready_line(&self) -> String {
        format!("driver domain {}: ready", self.name)
    }

    /// Its xl configuration, with the files where dom0 sees them.
    fn config(&self, boot: &Boot) -> String {
        let config = debian::config(&self.name, GuestType::Pv, self.memory_mib, boot, &[]);
        format!("{config}pci = [ \"{}\" ]\ndriver_domain = 1\n", self.card)
    }
}

impl Machine {
    /// Puts its files (`vmlinuz`, `NAME.initrd`, `NAME.cfg`) into the share: the path in dom0 of its xl configuration.
    ///
    /// # Errors
    /// When a name is unusable, or dom0 does not take the files.
    pub fn put_debian_driver(&self, lab: &Lab, driver: &DebianDriver) -> Result<String> {
        let DebianDriver {
            name,
            module,
            bridge,
            ..
        } = driver;
        debian::check_name(name)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        ensure!(
            [module, bridge].iter().all(|word| word.chars().all(plain)),
            "a module and a bridge have plain names: {module:?}, {bridge:?}"
        );
        let mut archive = initrd::driver(lab.tree(), module)?;
        debian::add_programs(&mut archive, INIT);
        archive.file("driver/words", 0o644, format!("{name} {module} {bridge}\n"));
        let initrd = format!("{name}.initrd");
        fs::copy(lab.linux()?, self.share().join("vmlinuz"))?;
        fs::write(self.share().join(&initrd), archive.gzip()?)?;
        // Packed, as a user's is.
        let kernel = self.keep_in_memory("vmlinuz")?;
        let boot = Boot::Files([kernel, self.keep_in_memory(&initrd)?]);
        let file = format!("{name}.cfg");
        fs::write(self.share().join(&file), driver.config(&boot))?;
        Ok(format!("/share/{file}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_domain_has_a_card_and_may_be_a_backend() {
        let driver = DebianDriver {
            name: "debian".to_owned(),
            memory_mib: 256,
            card: "00:04.0".to_owned(),
            module: "e1000e".to_owned(),
            bridge: "xenbr0".to_owned(),
        };
        let boot = Boot::Files(["/tmp/linux", "/tmp/debian.initrd"].map(str::to_owned));
        let config = driver.config(&boot);
        for line in [
            "memory = 256",
            "pci = [ \"00:04.0\" ]",
            "driver_domain = 1",
            "vif = [  ]",
        ] {
            assert!(config.lines().any(|found| found == line), "{config}");
        }
    }
}
