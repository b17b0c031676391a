//! Disks on real Xen: minios-rs' frontend, and Linux' own backend in dom0 over a file.

use crate::bench::{LabTest, PATIENCE, Setup, expect};
use crate::images;
use crate::minios::ENDED;
use anyhow::{Context, Result};
use image::build::TargetChoice;
use std::fs::File;
use std::process::Command;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![LabTest::new(
        "disks::what_is_written_stays_whatever_becomes_of_the_backend",
        written_stays,
    )]
}

/// A domain of ours fills a disk. dom0 looks whether that is what its file holds; ends the connection while the disk is
/// written; lets it grow while it is read; takes it away.
fn written_stays(setup: &Setup) -> Result<()> {
    let machine = &setup.machine;
    let kernel = images::put(machine, "guests", "disk-guest", TargetChoice::Auto)?;
    let name = format!("disks-{}", machine.age().as_millis());
    let config = format!(
        "name = '{name}'\nkernel = '{kernel}'\nmemory = 8\n\
         disk = [ '/tmp/{name}.disk,raw,xvda,w', '/tmp/{name}.fixed,raw,xvdb,r' ]\n"
    );
    machine.put(&format!("/tmp/{name}.cfg"), config.as_bytes())?;
    machine.dom0(&format!(
        "truncate -s 32M /tmp/{name}.disk
         printf 'only to be read' > /tmp/{name}.fixed; truncate -s 1M /tmp/{name}.fixed
         xl create -q /tmp/{name}.cfg"
    ))?;
    let outcome = follow(setup, &name);
    let console = machine.guest_console(&name).unwrap_or_default();
    machine.dom0(&format!(
        "xl destroy {name} 2>/dev/null; rm -f /tmp/{name}.* /share/{name}.disk; true"
    ))?;
    for line in console.lines().filter(|line| line.contains("MB/s")) {
        eprintln!("{line}");
    }
    outcome.with_context(|| console)
}

fn follow(setup: &Setup, name: &str) -> Result<()> {
    let machine = &setup.machine;
    let says = |text: &str| machine.wait_for_console(name, text, PATIENCE);
    let console = says("the disk's cksum is")?;
    // dom0 has no such program.
    machine.dom0(&format!("cp /tmp/{name}.disk /share/{name}.disk"))?;
    let file = machine.share().join(format!("{name}.disk"));
    let output = Command::new("cksum").stdin(File::open(&file)?).output()?;
    let sum = String::from_utf8_lossy(&output.stdout);
    let told = format!("the disk's cksum is {}", sum.trim());
    expect(console.contains(&told), || format!("the file's is {sum}"))?;
    let back = format!("back=/local/domain/0/backend/vbd/$(xl domid {name})/51712");
    machine.dom0(&format!(
        "xenstore-write /local/domain/$(xl domid {name})/data/go 1"
    ))?;
    says("writing until the backend came back")?;
    machine.dom0(&format!("{back}; sleep 0.3; xenstore-write $back/state 5"))?;
    says("reading until the disk is longer")?;
    machine.dom0(&format!(
        "{back}; truncate -s 33M /tmp/{name}.disk; losetup -c $(xenstore-read $back/node)"
    ))?;
    says("reading until the disk is gone")?;
    machine.dom0(&format!("xl block-detach {name} xvda"))?;
    let console = says("Test result: ")?;
    machine.dom0(&format!(
        "dom0-agent await /var/log/xen/xl-{name}.log '{ENDED}' >/dev/null"
    ))?;
    expect(
        console.contains("Test result: SUCCESS") && console.contains("requests were sent again"),
        || "it did not succeed".to_owned(),
    )
}
