//! The smallest appliance, and how large images are.

use crate::bench::{LabTest, PATIENCE, Setup, expect};
use crate::images;
use crate::minios::ENDED;
use anyhow::Result;
use image::build::{Target, TargetChoice, appliance};
use image::workspace::Workspace;

/// Bytes of the stripped images, at most. What an image grows by is paid on every host's disk, and
/// read by whoever audits it: a deliberate change moves the limit.
const SIZES: [(&str, usize); 4] = [
    ("empty", 53_512),
    ("firewalldom", 400 * 1024),
    ("netdom", 300 * 1024),
    ("stubdom", 400 * 1024),
];

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new("empty::images_are_as_small_as_promised", sizes),
        LabTest::new("empty::boots_prints_and_answers_shutdown", shutdown),
        LabTest::new("empty::a_panic_leaves_a_backtrace_and_a_crash", panics),
    ]
}

/// Of the target that releases are built for, where it can be had.
fn sizes(_: &Setup) -> Result<()> {
    for (name, limit) in SIZES {
        let image = appliance(&Workspace::find()?, name, TargetChoice::Auto)?;
        let bytes = image.bytes.len();
        eprintln!("{name}: {bytes} bytes of {limit}");
        expect(bytes <= limit || image.target != Target::BareMetal, || {
            format!("{name} has {bytes} bytes, {} too many", bytes - limit)
        })?;
    }
    Ok(())
}

/// Starts it with `extra`, and waits for `words`: the domain's name, and the console.
fn start(setup: &Setup, extra: &str, words: &str) -> Result<(String, String)> {
    let machine = &setup.machine;
    let kernel = images::put(machine, "empty", "empty", TargetChoice::Auto)?;
    let domain = format!("empty-{}", machine.age().as_millis());
    let config = format!(
        "name = '{domain}'\ntype = 'pv'\nkernel = '{kernel}'\nmemory = 8\nextra = '{extra}'\non_crash = 'preserve'\n"
    );
    machine.put("/tmp/empty.cfg", config.as_bytes())?;
    machine.dom0("xl create -q /tmp/empty.cfg")?;
    let console = machine.wait_for_console(&domain, words, PATIENCE)?;
    Ok((domain, console))
}

fn shutdown(setup: &Setup) -> Result<()> {
    let (domain, console) = start(setup, "", "nothing to do")?;
    expect(!console.contains("CRASH"), || console.clone())?;
    setup.machine.dom0(&format!(
        "id=$(xl domid {domain})
         until xenstore-exists /local/domain/$id/control/feature-poweroff; do sleep 0.1; done
         xl shutdown -w {domain} || exit 1
         while xl domid {domain} >/dev/null 2>&1; do sleep 0.1; done"
    ))?;
    Ok(())
}

fn panics(setup: &Setup) -> Result<()> {
    let (domain, console) = start(setup, "panic", "backtrace:")?;
    let state = setup.machine.dom0(&format!(
        "dom0-agent await /var/log/xen/xl-{domain}.log '{ENDED}' >/dev/null
         xl list {domain} | awk 'NR == 2 {{ print $5 }}'; xl destroy {domain}"
    ))?;
    let console = [console, setup.machine.guest_console(&domain)?].concat();
    let addresses = console
        .split_once("backtrace:")
        .map_or("", |(_, behind)| behind)
        .lines()
        .filter(|line| line.trim().starts_with("0x00000000001"));
    expect(
        state.trim() == "---sc-"
            && console.contains("told to")
            && console.contains("main.rs:")
            && addresses.count() >= 2,
        || format!("state {state}, console:\n{console}"),
    )
}
