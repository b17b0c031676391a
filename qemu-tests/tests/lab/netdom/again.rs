//! netdom ends while all that is behind it is in use, and another one comes.

use super::served::{GATEWAY, Part, Served};
use super::trunk::{self, Forwarding};
use super::{NETDOM, create, fetch, is_in_order};
use crate::bench::expect;
use anyhow::{Context, Result};
use image::workspace::Workspace;
use qemu_tests::{Command, Machine, RunningGuest};
use std::time::{Duration, Instant};

/// What a host's administrator has.
const REATTACH: &str = "examples/netdom-host/reattach-vifs";

const LIMIT: Duration = Duration::from_secs(400);

/// Notes when the gateway does not answer any more, and when it does again.
const WATCH: &str = "while ping -c 1 -W 1 GATEWAY; do :; done >/dev/null 2>&1; echo lost $(cat /proc/uptime); \
    until ping -c 1 -W 1 GATEWAY; do sleep 0.1; done >/dev/null 2>&1; echo found $(cat /proc/uptime)";

/// dom0's own network, which is dom0's to bring up when its vif comes (Debian: allow-hotplug).
const HOTPLUG: &str = "
    index=$(cat /sys/class/net/eth1/ifindex)
    until [ -e /sys/class/net/eth1/ifindex ] && read -r now < /sys/class/net/eth1/ifindex && [ $now != $index ]; do sleep 0.5; done";

/// A guest of Debian's, firewalldom and dom0 have vifs of netdom's. They are attached to the next one by one command,
/// and carry traffic again; nothing is typed in any of them.
pub(super) fn netdom_ends_and_comes(
    machine: &Machine,
    guest: &RunningGuest<'_>,
    firewall: &Forwarding<'_, '_>,
    served: &Served,
) -> Result<()> {
    let command = std::fs::read(Workspace::find()?.root().join(REATTACH))?;
    machine.put("/usr/sbin/reattach-vifs", &command)?;
    machine.dom0("chmod +x /usr/sbin/reattach-vifs")?;
    // Something flows all the time, both ways.
    let flow = format!(
        "until [ -e /run/enough ]; do wget -q -T 5 -O - {}; done",
        Part::WHOLE.url()
    );
    guest.check(&format!("({flow}) >/dev/null 2>&1 &"))?;
    let watch = guest.begin(&WATCH.replace("GATEWAY", GATEWAY))?;
    is_in_order(machine)?;
    let before = machine.dom0(&format!("xl domid {NETDOM}"))?;

    // The inside asks the provider all the while, too.
    let hotplug = Command::bash(format!("{HOTPLUG}\n{}", trunk::PROVIDER));
    let hotplug = machine.spawn(&hotplug.limit(LIMIT))?;
    let asking = machine.spawn(&firewall.asks_all_the_while()?)?;

    let begun = Instant::now();
    machine.dom0(&format!("xl destroy {NETDOM}"))?;
    machine.forget_guest_console(NETDOM)?;
    create(machine, 1)?;
    trunk::wait_for_wires(machine)?;
    let is_back = begun.elapsed();
    // A card that was taken away while it worked reached for pages that it had no longer: the IOMMU told of it. From
    // here on there is nothing to tell.
    machine.dom0("xl dmesg -c >/dev/null")?;
    let after = machine.dom0(&format!("xl domid {NETDOM}"))?;
    expect(before != after, || format!("still domain {before}"))?;

    let command = format!("reattach-vifs {NETDOM}");
    let said = machine.check(&Command::bash(command).limit(LIMIT))?;
    let is_attached = begun.elapsed() - is_back;
    // Two of dom0's, and one of each.
    expect(said.lines().count() == 4, || said.clone())?;
    let (watched, _) = guest.finish(&watch, LIMIT)?;
    let at = |word: &str| -> Result<f64> {
        let line = watched.lines().find_map(|line| line.strip_prefix(word));
        let uptime = line.and_then(|line| line.split_whitespace().next());
        Ok(uptime.context(watched.clone())?.parse()?)
    };
    let guest_without = at("lost")?..at("found")?;
    let hotplug = hotplug.wait()?;
    expect(hotplug.status.is_success(), || hotplug.errors())?;
    firewall.waits_for_a_reply()?;
    let firewall_without = firewall.longest_silence(asking)?;
    println!(
        "netdom destroyed: the next one has its cards after {is_back:.1?}, 4 vifs are attached to it in \
         {is_attached:.1?}; a Debian guest was without its gateway for {:.1} s, all behind firewalldom \
         without theirs for {firewall_without:.1} s",
        guest_without.end - guest_without.start
    );
    guest.check("touch /run/enough")?;
    fetch(&[(guest, Part::short())], served)?;
    // There is nothing left to do, which is no error.
    let said = machine.dom0(&format!("reattach-vifs {NETDOM}"))?;
    expect(said.is_empty(), || said.clone())
}
