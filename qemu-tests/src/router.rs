//! A Debian guest that routes: the peer our firewall is compared with.
//!
//! It is as a Debian administrator would have it: Debian's kernel, iptables and Shorewall, with
//! Shorewall's rules out of the very folder that ours are compiled from. What it does without is
//! what only costs time at its start: a disk, an init system, modules of hardware it has not.
//!
//! Guests hang off it where it is told so: then it runs Linux' netback and Xen's own `xl devd`, as
//! any Linux driver domain does.

use crate::debian::{self, Boot, GuestType};
use crate::initrd;
use crate::lab::Lab;
use crate::machine::Machine;
use crate::shorewall;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

const INIT: &str = include_str!("dom0/router.sh");

/// What `xl devd` runs when a guest's vif comes. libxl names the script that dom0's configuration
/// names, wherever the backend is.
const VIF_SCRIPT: &str = include_str!("dom0/vif-router.sh");
const VIF_SCRIPT_PLACE: &str = "etc/xen/scripts/vif-lab";

/// A Debian PV guest with one vCPU that forwards between its vifs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DebianRouter {
    /// The domain's name: letters, digits, dashes.
    pub name: String,
    /// Its memory, in MiB; 192 is enough.
    pub memory_mib: u32,
    /// Its vifs, eth0 first.
    pub vifs: Vec<RouterVif>,
    /// Routes as `ip route add` takes them, such as `default via 192.0.2.1`.
    pub routes: Vec<String>,
    /// The Shorewall configuration, a folder on the host.
    pub shorewall: PathBuf,
    /// What guests' vifs are to be; without, it is no backend.
    pub guests: Vec<RouterGuests>,
}

/// Vifs of guests that hang off a [`DebianRouter`]. The first that fits decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouterGuests {
    /// What their names begin with: `vif-dmz`, or `vif` for every one.
    pub prefix: String,
    /// The address that they have for their gateway.
    pub gateway: String,
}

/// One interface of a [`DebianRouter`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouterVif {
    /// Its address with the prefix length, such as `192.0.2.1/24`.
    pub address: String,
    /// The bridge in dom0 that its other end joins.
    pub bridge: String,
    /// Its hardware address, or one that xl picks.
    pub mac: Option<[u8; 6]>,
}

/// The files of a router, for `xl create`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouterFiles {
    /// Linux.
    pub kernel: PathBuf,
    /// Its initial RAM disk, with rules and addresses.
    pub initrd: PathBuf,
}

impl RouterVif {
    /// An entry of xl.cfg(5)'s `vif=`.
    fn config(&self) -> String {
        let mac = self.mac.map(|mac| {
            let bytes = mac.map(|byte| format!("{byte:02x}"));
            format!("mac={},", bytes.join(":"))
        });
        format!("{}bridge={}", mac.unwrap_or_default(), self.bridge)
    }
}

impl DebianRouter {
    /// What its console says once it forwards.
    #[must_use]
    pub fn ready_line(&self) -> String {
        format!("router {}: ready", self.name)
    }

    /// Its xl configuration, with the files where dom0 sees them.
    #[must_use]
    pub fn config(&self, kernel: &str, initrd: &str) -> String {
        let vifs: Vec<String> = self.vifs.iter().map(RouterVif::config).collect();
        let boot = Boot::Files([kernel, initrd].map(str::to_owned));
        let config = debian::config(&self.name, GuestType::Pv, self.memory_mib, &boot, &vifs);
        match self.guests.as_slice() {
            [] => config,
            // It deletes what libxl wrote about a vif that is gone.
            _ => config + "driver_domain = 1\n",
        }
    }
}

impl Lab {
    /// Writes a router's files into `folder`. Its rules are compiled by Debian's own Shorewall, out
    /// of the unpacked packages.
    ///
    /// # Errors
    /// When Shorewall finds errors in the configuration, the files cannot be written, or the name
    /// is unusable.
    pub fn debian_router(&self, router: &DebianRouter, folder: &Path) -> Result<RouterFiles> {
        debian::check_name(&router.name)?;
        let mut interfaces = String::new();
        for (number, vif) in router.vifs.iter().enumerate() {
            writeln!(interfaces, "eth{number} {}", vif.address)?;
        }
        let routes: String = router
            .routes
            .iter()
            .map(|route| format!("{route}\n"))
            .collect();
        let firewall = shorewall::compile(self.tree(), &router.shorewall)?;

        let mut archive = match router.guests.as_slice() {
            [] => initrd::router(self.tree())?,
            _ => initrd::gateway(self.tree())?,
        };
        debian::add_programs(&mut archive, INIT);
        if !router.guests.is_empty() {
            let mut guests = String::new();
            for RouterGuests { prefix, gateway } in &router.guests {
                writeln!(guests, "{prefix} {gateway}")?;
            }
            archive.file("router/guests", 0o644, guests);
            archive.file(VIF_SCRIPT_PLACE, 0o755, VIF_SCRIPT);
        }
        archive.file("router/name", 0o644, format!("{}\n", router.name));
        archive.file("router/interfaces", 0o644, interfaces);
        archive.file("router/routes", 0o644, routes);
        archive.file("router/firewall", 0o755, firewall);
        let files = RouterFiles {
            kernel: folder.join("vmlinuz"),
            initrd: folder.join(format!("{}.initrd", router.name)),
        };
        fs::copy(self.linux()?, &files.kernel)?;
        fs::write(&files.initrd, archive.gzip()?)
            .with_context(|| files.initrd.display().to_string())?;
        Ok(files)
    }

    /// The version of Debian's Shorewall in the lab, such as `5.2.8`.
    ///
    /// # Errors
    /// When the unpacked packages have been tampered with.
    pub fn shorewall_version(&self) -> Result<String> {
        let file = self.tree().find("usr/share/shorewall/version")?;
        Ok(fs::read_to_string(file)?.trim().to_owned())
    }
}

impl Machine {
    /// Puts a router's files into the share and returns the path its xl
    /// configuration has in dom0.
    ///
    /// # Errors
    /// Those of [`Lab::debian_router`].
    pub fn put_debian_router(&self, lab: &Lab, router: &DebianRouter) -> Result<String> {
        lab.debian_router(router, &self.share())?;
        // Packed, as a user's is.
        let kernel = self.keep_in_memory("vmlinuz")?;
        let initrd = self.keep_in_memory(&format!("{}.initrd", router.name))?;
        let file = format!("{}.cfg", router.name);
        fs::write(self.share().join(&file), router.config(&kernel, &initrd))?;
        Ok(format!("/share/{file}"))
    }

    /// Creates a router and waits until it says that it forwards.
    ///
    /// # Errors
    /// When xl fails or the router does not come up; the error shows its
    /// console.
    pub fn start_debian_router(&self, lab: &Lab, router: &DebianRouter) -> Result<()> {
        let config = self.put_debian_router(lab, router)?;
        self.create_debian(&router.name, &[&config], &router.ready_line())
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vif_names_its_bridge_and_the_hardware_address_it_must_have() {
        let mut vif = RouterVif {
            address: "192.0.2.1/24".to_owned(),
            bridge: "br-net".to_owned(),
            mac: None,
        };
        assert_eq!(vif.config(), "bridge=br-net");
        vif.mac = Some([0, 0x16, 0x3e, 1, 2, 0xff]);
        assert_eq!(vif.config(), "mac=00:16:3e:01:02:ff,bridge=br-net");
    }
}
