//! An HVM guest behind the firewall: Debian's kernel, started by a BIOS on the computer that Debian's device model
//! emulates in dom0. (Behind netdom: [`crate::netdom`].)

use crate::backend::states;
use crate::bench::{LabTest, Setup, expect};
use crate::guests::{DRIVER, FIREWALL, UP, beside_firewall, fetch_from_outside, file_bytes, guest};
use anyhow::{Context, Result};
use qemu_tests::{DebianGuest, GuestType, Machine, RunningGuest, Tier};

pub(crate) fn tests() -> Vec<LabTest> {
    // A BIOS, a boot loader and a kernel that unpacks itself take minutes on a busy host.
    match Tier::current() {
        Tier::Short => Vec::new(),
        Tier::Full => vec![LabTest::new(
            "hvm::hangs_off_the_firewall",
            hangs_off_the_firewall,
        )],
    }
}

/// `examples/xen-routed`: its web server is an HVM guest.
fn hangs_off_the_firewall(setup: &Setup) -> Result<()> {
    let Setup { lab, machine } = setup;
    beside_firewall(machine, "examples/xen-routed", &["web"], || {
        let pv = guest("web", "192.0.2.10", "192.0.2.1", "");
        let web = machine.start_debian_guest(
            lab,
            &DebianGuest {
                kind: GuestType::Hvm,
                vif: format!("type=vif,{}", pv.vif),
                ..pv
            },
        )?;
        is_hvm(&web)?;
        fetch_from_outside(machine, &[&web])?;
        is_reached_by_rule_only(machine, &web)?;
        changes_over_to_its_other_vif(machine, &web)
    })
}

/// Two vifs with one MAC and IP address, as a guest has whose emulated card is somebody else's: it uses one, and the
/// other is offered all the time. Then it changes over.
fn changes_over_to_its_other_vif(machine: &Machine, web: &RunningGuest<'_>) -> Result<()> {
    web.check("echo 0 > /sys/bus/xen/drivers_autoprobe")?;
    machine.dom0(&format!(
        "mac=$(xenstore-read /local/domain/$(xl domid web)/device/vif/0/mac)
         xl network-attach web type=vif backend={FIREWALL} ip=192.0.2.10 mac=$mac"
    ))?;
    let offered = states(machine, "web")?;
    expect(offered == "4\n2\n", || offered.clone())?;
    fetch_from_outside(machine, &[web])?;
    web.check(&format!(
        "echo vif-0 > {DRIVER}/unbind && echo vif-1 > {DRIVER}/bind"
    ))?;
    web.check(UP)?;
    fetch_from_outside(machine, &[web])?;
    let changed = states(machine, "web")?;
    expect(changed.ends_with("\n4\n") && changed != "4\n4\n", || {
        changed.clone()
    })?;
    machine
        .dom0("ip netns exec out ping -c 3 -i 0.2 -W 20 192.0.2.10")
        .map(drop)
}

/// It is one, and its interface is Xen's: it has found that by the platform device, and made the emulated card go if
/// there was one.
pub(crate) fn is_hvm(guest: &RunningGuest<'_>) -> Result<()> {
    guest.check(UP)?;
    let said = guest.check(
        "cat /sys/hypervisor/guest_type; ls -d /sys/bus/pci/drivers/xen-platform-pci/0000:*; \
         readlink /sys/class/net/eth0/device/driver; ls /sys/class/net; \
         cat /sys/bus/pci/devices/*/class",
    )?;
    let says = |line: &str| said.lines().any(|said| said.trim() == line);
    let driver = said.contains("/xen-platform-pci/") && said.contains("/xen/drivers/vif");
    let is_so = says("HVM") && driver && !says("eth1") && !says("0x020000");
    expect(is_so, || said.clone())
}

fn is_reached_by_rule_only(machine: &Machine, web: &RunningGuest<'_>) -> Result<()> {
    let hash = web.check(&format!(
        "mkdir -p /srv && head -c {} /dev/urandom > /srv/file && busybox httpd -p 80 -h /srv && busybox httpd -p 81 -h /srv && sha256sum < /srv/file",
        file_bytes()
    ))?;
    let hash = hash.split_whitespace().next().context("no hash")?;
    let fetched = machine
        .dom0("ip netns exec out busybox wget -q -O - http://192.0.2.10/file | sha256sum")?;
    expect(fetched.contains(hash), || fetched.clone())?;
    // Nobody comes in to another port, where it listens as well.
    machine.dom0("! ip netns exec out nc -w 3 192.0.2.10 81 </dev/null")?;
    Ok(())
}
