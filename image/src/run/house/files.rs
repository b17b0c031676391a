//! The files of the example, and the images that they name.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use qemu_tests::Machine;

use super::HOUSE;
use crate::appliance::{FIREWALLDOM, build_netdom, build_stubdom};
use crate::build::TargetChoice;
use crate::findings::Findings;
use crate::options::Options;
use crate::run::{Firewall, RunOptions};
use crate::stubdom;
use crate::workspace::Workspace;

/// Where a host has configurations and images.
pub const DIRECTORY: &str = "/etc/xen/house";

/// The folder in a machine's share that is copied there.
const SHARED: &str = "house";

/// Files of the example, and of another, that a host has elsewhere.
const SCRIPTS: [(&str, &str); 3] = [
    ("examples/house", "start-house"),
    ("examples/house", "stop-house"),
    ("examples/netdom-host", "stop-guests"),
];
const CONFIGS: [&str; 4] = ["netdom.cfg", "firewalldom.cfg", "web.cfg", "desk.cfg"];

/// All that a host gets.
pub struct Files(Vec<PathBuf>);

impl Files {
    /// Builds the images of netdom, firewalldom and stubdom, as the example's README says.
    ///
    /// # Errors
    /// When a configuration has errors or an image cannot be built.
    pub fn build(workspace: &Workspace, target: TargetChoice) -> Result<Self> {
        let example = workspace.root().join(HOUSE);
        // The memory is that of the example's file for xl, whatever is said here.
        let memory_mib = 16;
        let options = RunOptions { memory_mib, target };
        let firewall = Firewall::of(workspace, &example, options)?;
        let name = example.join("netdom.toml");
        let text = fs::read_to_string(&name).with_context(|| name.display().to_string())?;
        let mut findings = Findings::default();
        let Some(bridges) = crate::netdom::read("netdom.toml", &text, &mut findings) else {
            bail!("{}", findings.render(shorewall::Style::Plain));
        };
        let out = |name: &str| workspace.target().join("image").join(name);
        let netdom = out("house-netdom");
        build_netdom(workspace, &bridges, &netdom, &Options::default(), target)?;
        let device_model = out("house-stubdom");
        build_stubdom(workspace, &[], &device_model, target)?;
        let firewall =
            ["xen", "policy"].map(|kind| firewall.directory.join(format!("{FIREWALLDOM}.{kind}")));
        let netdom = ["netdom.xen", "netdom.policy"].map(|name| netdom.join(name));
        let stubdom =
            [stubdom::IMAGE, stubdom::RAMDISK, stubdom::HELPER].map(|name| device_model.join(name));
        let mut files = [&firewall[..], &netdom, &stubdom].concat();
        files.extend(CONFIGS.map(|name| example.join(name)));
        let scripts = SCRIPTS.map(|(folder, name)| workspace.root().join(folder).join(name));
        files.extend(scripts);
        files.push(example.join("modprobe.conf"));
        Ok(Self(files))
    }

    /// Puts them where a host has them.
    ///
    /// # Errors
    /// When they cannot be copied.
    pub fn put(&self, machine: &Machine) -> Result<()> {
        let share = machine.share().join(SHARED);
        fs::create_dir_all(&share)?;
        for path in &self.0 {
            let name = path.file_name().context("a file has a name")?;
            fs::copy(path, share.join(name)).with_context(|| path.display().to_string())?;
        }
        let scripts = SCRIPTS.map(|(_, name)| name).join(" ");
        machine.dom0(&format!(
            "set -e
             cp -r /share/{SHARED} {DIRECTORY}
             cd {DIRECTORY}
             mkdir -p /usr/local/sbin /etc/modprobe.d
             mv {scripts} /usr/local/sbin
             mv modprobe.conf /etc/modprobe.d/house.conf"
        ))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use shorewall::{Site, Style};

    use super::*;
    use crate::config::{DomainConfig, memory_for};
    use crate::options::Words;
    use crate::stubdom::{Place, convert};
    use crate::xlcfg;

    fn example(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(HOUSE);
        fs::read_to_string(path.join(name)).expect(name)
    }

    fn file(name: &str) -> PathBuf {
        Path::new(DIRECTORY).join(name)
    }

    /// `build firewalldom --config examples/house --vif eth0=backend=netdom,bridge=wan --out /etc/xen/house`.
    #[test]
    fn the_firewalls_configuration_is_what_build_writes() {
        let etc = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(HOUSE);
        let compiled = shorewall::compile(&Site::from_etc(etc))
            .unwrap_or_else(|report| panic!("{}", report.render(Style::Plain)));
        assert!(compiled.warnings.is_empty());
        let mut findings = Findings::default();
        let vifs = ["eth0=backend=netdom,bridge=wan".to_owned()];
        let words = Words {
            vifs: &vifs,
            ..Words::default()
        };
        let options = Options::parse(words, &mut findings);
        assert!(findings.is_empty());
        let policy = &compiled.policy;
        let memory_mib = memory_for(&policy.interfaces);
        let (image, beside) = (file("firewalldom.xen"), file("firewalldom.policy"));
        let config = DomainConfig::firewall(policy, &image, &beside, memory_mib).with(&options);
        assert_eq!(example("firewalldom.cfg"), config.render());
    }

    /// `build netdom --config examples/house/netdom.toml --out /etc/xen/house`, and the card.
    #[test]
    fn netdoms_configuration_is_what_build_writes_but_for_the_card() {
        let mut findings = Findings::default();
        let bridges = crate::netdom::read("netdom.toml", &example("netdom.toml"), &mut findings)
            .unwrap_or_else(|| panic!("{}", findings.render(Style::Plain)));
        assert!(findings.is_empty());
        let config =
            DomainConfig::driver_with(&file("netdom.xen"), &file("netdom.policy"), &bridges);
        let written = config.render();
        let card = written.replace("0000:03:00.0", "0000:00:03.0");
        assert_ne!(card, written);
        assert_eq!(example("netdom.cfg"), card);
        let bridge = bridges.bridges.first().expect("there is one");
        assert_eq!(bridge.name.as_str(), "wan");
    }

    #[test]
    fn the_guest_with_a_stub_domain_needs_no_conversion() {
        let text = example("desk.cfg");
        let mut findings = Findings::default();
        let place = Place {
            folder: DIRECTORY.into(),
            ramdisk_bytes: 0,
        };
        let conversion = convert("desk.cfg", &text, &place, &mut findings)
            .unwrap_or_else(|| panic!("{}", findings.render(Style::Plain)));
        assert_eq!(conversion.changes, []);
        assert!(findings.is_empty());
    }

    /// Each guest says where it hangs, so that the site's files find it there.
    #[test]
    fn guests_hang_off_the_firewall_in_their_zones() {
        for (name, zone, vifname, address) in [
            ("web", "dmz", "vif-dmz-web", "10.0.4.2"),
            // With room for "-emu" behind it, which xl calls the stub domain's.
            ("desk", "loc", "vif-loc-pc", "10.0.3.2"),
        ] {
            let text = example(&format!("{name}.cfg"));
            let mut findings = Findings::default();
            let source = findings.source(name, text.clone());
            let settings = xlcfg::parse(&text, source, &mut findings);
            assert!(settings.is_some(), "{}", findings.render(Style::Plain));
            let vif = format!("backend=firewalldom,vifname={vifname},");
            assert!(text.contains(&vif), "{text}");
            assert!(text.contains(&format!(",ip={address}\"")), "{text}");
            let prefix = format!("vif-{zone}+");
            for file in ["shorewall/interfaces", "network/interfaces"] {
                assert!(example(file).contains(&prefix), "{file}");
            }
        }
    }

    /// What the units and the README name is there.
    #[test]
    fn every_file_has_its_place() {
        let readme = example("README.md");
        let units = ["house.service", "xendomains.conf"].map(example).concat();
        for (_, script) in SCRIPTS {
            assert!(
                units.contains(&format!("/usr/local/sbin/{script}")),
                "{script}"
            );
            assert!(readme.contains(script), "{script}");
        }
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(HOUSE);
        for entry in fs::read_dir(folder).expect("the example") {
            let name = entry.expect("a file").file_name();
            let name = name.to_str().expect("UTF-8");
            assert!(name == "README.md" || readme.contains(name), "{name}");
        }
    }
}
