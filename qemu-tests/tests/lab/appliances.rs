//! The appliances as images: each boots at the memory it promises, and answers the toolstack.

use crate::bench::{LabTest, PATIENCE, Setup, expect};
use crate::images;
use anyhow::{Result, anyhow};
use image::appliance::{FirewallSettings, PolicyPlace, build_site};
use image::build::TargetChoice;
use image::options::Options;
use image::run::{EXAMPLE, Firewall, RunOptions};
use image::workspace::Workspace;
use shorewall::Site;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new(
            "appliances::netdom_without_a_card_says_so_and_stops",
            |setup| {
                let console = start(setup, "netdom", "", "drives the cards of pci=")?;
                expect(console.contains("and serves vifs"), || console.clone())
            },
        ),
        LabTest::new(
            "appliances::stubdom_without_a_guest_says_so_and_stops",
            no_guest,
        ),
        LabTest::new(
            "appliances::firewalldom_without_a_policy_says_why_and_forwards_nothing",
            no_policy,
        ),
        LabTest::new(
            "appliances::firewalldom_with_a_damaged_policy_says_why",
            damaged_policy,
        ),
        LabTest::new(
            "appliances::firewalldom_with_the_policy_inside_forwards_and_refuses_a_second",
            embedded_policy,
        ),
        LabTest::new(
            "appliances::firewalldom_without_randomness_says_so_and_forwards_nothing",
            no_randomness,
        ),
    ]
}

/// Starts an image at 8 MiB, waits for `words` on its console, and returns the console.
fn start(setup: &Setup, name: &str, more: &str, words: &str) -> Result<String> {
    let kernel = images::put(&setup.machine, name, name, TargetChoice::Auto)?;
    let domain = format!("{name}-{}", setup.machine.age().as_millis());
    let config = format!(
        "name = '{domain}'\nkernel = '{kernel}'\nmemory = 8\non_crash = 'preserve'\n{more}\n"
    );
    setup.machine.put("/tmp/appliance.cfg", config.as_bytes())?;
    setup.machine.dom0("xl create -q /tmp/appliance.cfg")?;
    let console = setup.machine.wait_for_console(&domain, words, PATIENCE)?;
    setup.machine.dom0(&format!(
        "id=$(xl domid {domain})
         until xenstore-exists /local/domain/$id/control/feature-poweroff; do sleep 0.1; done
         test \"$(xenstore-read /local/domain/$id/data/ready 2>/dev/null)\" != 1
         xl shutdown -w {domain}"
    ))?;
    expect(!console.contains("CRASH"), || console.clone())?;
    Ok(console)
}

/// As a domain of its own it is nobody's device model.
fn no_guest(setup: &Setup) -> Result<()> {
    let console = start(setup, "stubdom", "", "no device model: ")?;
    let says = "started by device_model_stubdomain_override=1";
    expect(console.contains(says), || console.clone())
}

fn no_policy(setup: &Setup) -> Result<()> {
    let console = start(setup, "firewalldom", "", "everything is dropped")?;
    expect(console.contains("the policy (ramdisk="), || console.clone())
}

fn damaged_policy(setup: &Setup) -> Result<()> {
    std::fs::write(
        setup.machine.share().join("damaged"),
        b"XENFWPOL and then nonsense",
    )?;
    let console = start(
        setup,
        "firewalldom",
        "ramdisk = '/share/damaged'",
        "everything is dropped",
    )?;
    expect(console.contains("the policy (ramdisk="), || console.clone())
}

/// One file instead of two; and with a ramdisk as well, nobody knows which is meant.
fn embedded_policy(setup: &Setup) -> Result<()> {
    let workspace = Workspace::find()?;
    let compiled = shorewall::compile(&Site::from_etc(workspace.root().join(EXAMPLE)))
        .map_err(|report| anyhow!("{report}"))?;
    let out = workspace.target().join("image/embedded");
    let settings = FirewallSettings {
        options: Options {
            name: Some("embedded".to_owned()),
            ..Options::default()
        },
        place: PolicyPlace::Embedded,
        target: TargetChoice::Auto,
    };
    let built = build_site(&workspace, &compiled.policy, &out, &settings)?;
    std::fs::write(setup.machine.share().join("embedded"), &built.image.bytes)?;
    let options = RunOptions {
        memory_mib: 8,
        target: TargetChoice::Auto,
    };
    let beside = Firewall::build(&workspace, options)?.directory;
    std::fs::copy(
        beside.join("firewalldom.policy"),
        setup.machine.share().join("policy"),
    )?;
    let says = |more: &str, words: &str| -> Result<String> {
        setup.machine.put(
            "/tmp/embedded.cfg",
            format!("name = 'embedded'\nkernel = '/share/embedded'\nmemory = 8\n{more}\n")
                .as_bytes(),
        )?;
        setup.machine.dom0("xl create -q /tmp/embedded.cfg")?;
        let console = setup.machine.wait_for_console("embedded", words, PATIENCE);
        setup
            .machine
            .dom0("xl destroy embedded; rm -f /var/log/xen/guest-embedded.log")?;
        console
    };
    // No vif: it reads its policy, and then waits for the first interface of it.
    let alone = says("", "inside the image")?;
    expect(alone.contains("two-interfaces"), || alone.clone())?;
    let both = says("ramdisk = '/share/policy'", "everything is dropped")?;
    expect(both.contains("there are two policies"), || both.clone())
}

/// Port numbers and hash keys that an attacker can guess are worse than no firewall.
fn no_randomness(setup: &Setup) -> Result<()> {
    let options = RunOptions {
        memory_mib: 8,
        target: TargetChoice::Auto,
    };
    let firewall = Firewall::build(&Workspace::find()?, options)?;
    std::fs::copy(
        firewall.directory.join("firewalldom.policy"),
        setup.machine.share().join("policy"),
    )?;
    let console = start(
        setup,
        "firewalldom",
        "ramdisk = '/share/policy'\ncpuid = 'host,rdrand=0,rdseed=0'",
        "everything is dropped",
    )?;
    expect(console.contains("no source of randomness"), || {
        console.clone()
    })
}
