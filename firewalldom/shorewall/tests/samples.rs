//! Shorewall's own samples, given addresses for their interfaces: `SHOREWALL_SAMPLES` names the
//! folder they lie in (`/usr/share/doc/shorewall/examples`); without it the tests are ignored.

use std::path::{Path, PathBuf};

use libtest_mimic::{Arguments, Failed, Trial};
use shorewall::Site;

const NETWORK: &str = "\
iface eth0 inet static
    address 192.0.2.2/24
    gateway 192.0.2.1
iface eth1 inet static
    address 10.0.3.1/24
iface eth2 inet static
    address 10.0.4.1/24
";

fn compiles(sample: &Path) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let network = folder.path().join("interfaces");
    std::fs::write(&network, NETWORK)?;
    let compiled = shorewall::compile(&Site::new(sample, network))?;
    firewalldom::policy::check::check(&compiled.policy)?;
    Ok(())
}

fn main() {
    let folder = std::env::var_os("SHOREWALL_SAMPLES").map(PathBuf::from);
    let trials = ["one-interface", "two-interfaces", "three-interfaces"]
        .into_iter()
        .map(|name| {
            let sample = folder.as_ref().map(|folder| folder.join(name));
            let ignored = sample.is_none();
            let title = format!("the sample {name} compiles unchanged");
            Trial::test(title, move || {
                sample.map_or(Ok(()), |sample| compiles(&sample))
            })
            .with_ignored_flag(ignored)
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
