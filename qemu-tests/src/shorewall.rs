//! Debian's own Shorewall: compiles the peer's rules on the host, without being installed.
//!
//! It runs from the unpacked packages with their perl and their libraries, as an ordinary user. What
//! the rules may use is told by a file (`capabilities(5)` in Shorewall's words) instead of probed:
//! the host's kernel is not the one they are for.

use crate::tree::Tree;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;

/// What Debian's kernel and iptables can do in the guest, as `shorewall show -f capabilities`
/// printed it in the lab; the same on Debian 12 and 13.
const CAPABILITIES: &str = include_str!("shorewall/capabilities");

/// Makes perl look service names up in the packages' own `/etc/services`: a bare host has none.
const SERVICES: &str = include_str!("shorewall/Services.pm");

/// Compiles a Shorewall configuration folder to the script that starts that firewall: for
/// `shorewall-lite`'s place, on a machine that has no Shorewall.
///
/// # Errors
/// When Shorewall finds errors in the folder; the error holds its own words.
pub(crate) fn compile(tree: &Tree, configuration: &Path) -> Result<Vec<u8>> {
    let scratch = tempfile::tempdir()?;
    let at = |name: &str| scratch.path().join(name);
    fs::write(at("capabilities"), CAPABILITIES)?;
    fs::write(at("Services.pm"), SERVICES)?;
    let root = tree.root().display();
    let rc = format!(
        "HOST=debian\nPREFIX={root}/usr\nSHAREDIR={root}/usr/share\nLIBEXECDIR={root}/usr/share\n\
         PERLLIBDIR={root}/usr/share/shorewall\nCONFDIR={root}/etc\nSBINDIR={root}/sbin\n\
         VARLIB={0}\nVARDIR={0}\n",
        scratch.path().display()
    );
    fs::write(at("shorewallrc"), rc)?;
    let share = tree.find("usr/share/shorewall")?;
    let path = [configuration, scratch.path(), &share].map(|folder| folder.display().to_string());

    let (perl, script) = (tree.resolve("usr/bin/perl")?, at("firewall"));
    let output = tree
        .host_command("perl", &perl)?
        .env("LC_ALL", "C")
        .env("PERL5LIB", perl_folders(tree, scratch.path())?)
        .env("LAB_SERVICES", tree.find("etc/services")?)
        .arg("-MServices")
        .arg(share.join("compiler.pl"))
        // For a machine of its own: the script brings Shorewall's library along.
        .arg("--export")
        .arg(format!("--directory={}", configuration.display()))
        .arg(format!("--shorewallrc={}", at("shorewallrc").display()))
        .arg(format!(
            "--shorewallrc1={}",
            share.join("shorewallrc").display()
        ))
        .arg(format!("--config_path={}", path.join(":")))
        .arg(&script)
        .output()
        .context("perl of the lab's packages")?;
    if !output.status.success() {
        bail!(
            "Shorewall does not compile {}:\n{}{}",
            configuration.display(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    fs::read(&script).context("Shorewall wrote no script")
}

/// Where the packages' perl finds its own modules, and ours.
fn perl_folders(tree: &Tree, own: &Path) -> Result<String> {
    let mut folders = vec![own.display().to_string()];
    for place in ["usr/share/perl", "usr/lib/x86_64-linux-gnu/perl"] {
        // Two numbers: the third only tells point releases apart, and a link leads there.
        let version = tree.only(place, |name| name.matches('.').count() == 1)?;
        folders.push(
            tree.find(&format!("{place}/{version}"))?
                .display()
                .to_string(),
        );
    }
    folders.push(
        tree.find("usr/lib/x86_64-linux-gnu/perl-base")?
            .display()
            .to_string(),
    );
    Ok(folders.join(":"))
}
