//! netdom with a configuration: a trunk, long frames, a cable that is pulled; and firewalldom at one of its bridges.

use super::NETDOM;
use super::served::Served;
use crate::bench::{PATIENCE, expect};
use anyhow::{Context, Result};
use image::build::TargetChoice;
use image::run::hits::Source;
use image::run::scenario::Scenario;
use image::run::{Firewall, INSIDE, OUTSIDE, RunOptions, network, traffic};
use image::workspace::Workspace;
use qemu_tests::{Command, Machine, Running};
use std::net::Ipv4Addr;

/// Two bridges at one cable: VLAN 20 with a card that stands by, and whatever comes. And one with a card and a network
/// of its own.
pub(super) const BRIDGES: &str = "
[bridge.xenbr0]
card = 1
[bridge.office]
card = \"0000:00:01.0\"
standby = 3
vlan = 20
mtu = 9000
[bridge.peer]
card = 4
mtu = 9000
";

/// dom0 has a vif on each of the bridges, and waits until netdom serves them.
pub(super) fn wait_for_wires(machine: &Machine) -> Result<()> {
    machine.wait_for_console(NETDOM, "stands by for office", PATIENCE)?;
    machine.wait_for_console(NETDOM, "is the wire of peer", PATIENCE)?;
    Ok(())
}

/// dom0 is at both ends, once where no tags are and once where they are its own.
pub(super) fn at_both_ends(machine: &Machine, served: &Served) -> Result<()> {
    wait_for_wires(machine)?;
    // Their own cards' addresses have to differ, or the kernel would answer itself.
    machine.dom0(&format!(
        "modprobe xen-netfront; modprobe 8021q
         for bridge in office peer; do xl network-attach 0 backend={NETDOM} bridge=$bridge mtu=9000; done
         until [ -e /sys/class/net/eth1 ]; do sleep 0.1; done
         ip netns add far
         ip link set eth0 mtu 9000 up
         ip addr add 10.20.0.1/24 dev eth0
         ip link set eth1 mtu 9000 up
         ip link add link eth1 name eth1.20 type vlan id 20
         ip link add link eth1 name eth1.30 type vlan id 30
         ip link set eth1.20 netns far
         ip link set eth1.30 netns far
         ip netns exec far sh -c 'echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore'
         ip netns exec far ip link set eth1.20 up
         ip netns exec far ip addr add 10.20.0.2/24 dev eth1.20
         ip netns exec far ip link set eth1.30 up
         ip netns exec far ip addr add 10.20.0.3/24 dev eth1.30"
    ))?;
    let ping = |address: &str, bytes: usize| {
        machine.dom0(&format!(
            "until busybox ping -c 1 -W 2 -s {bytes} {address}; do :; done"
        ))
    };
    ping("10.20.0.2", 56)?;
    ping("10.20.0.2", 8900).context("long frames")?;
    let other = machine.dom0("busybox ping -c 1 -W 2 -I eth0 10.20.0.3 || echo nobody")?;
    expect(other.contains("nobody"), || other.clone())?;
    for (state, active) in [("off", "00:02.0"), ("on", "00:01.0")] {
        served.set_link("own", state)?;
        machine.wait_for_console(
            NETDOM,
            &format!("{active} is the wire of office now"),
            PATIENCE,
        )?;
        ping("10.20.0.2", 56).with_context(|| format!("the cable is {state}"))?;
        ping("10.20.0.2", 8900).with_context(|| format!("the cable is {state}, long frames"))?;
    }
    machine
        .dom0("for vlan in 20 30; do ip -n far link del eth1.$vlan; done; ip netns del far; ip addr flush dev eth0")
        .map(drop)
}

/// The provider's end of the cable: by VLAN 20 of dom0's own vif on the other bridge.
pub(super) const PROVIDER: &str = "
    until [ -e /sys/class/net/eth1 ]; do sleep 0.1; done
    ip link set eth1 up
    ip link add link eth1 name eth1.20 type vlan id 20
    ip link set eth1.20 master br-net up";

/// firewalldom, which forwards.
pub(super) struct Forwarding<'s, 'm> {
    scenario: &'s Scenario<'m>,
    machine: &'m Machine,
}

impl Forwarding<'_, '_> {
    /// The namespace of a host inside, and the provider's address.
    fn ends(&self) -> Result<(&str, Ipv4Addr)> {
        let sides = self.scenario.sides();
        let inside = traffic::side(sides, INSIDE)?;
        Ok((&inside.namespace, traffic::side(sides, OUTSIDE)?.host))
    }

    /// A host inside that asks the provider twice a second, until it is interrupted.
    pub(super) fn asks_all_the_while(&self) -> Result<Command> {
        let (inside, provider) = self.ends()?;
        let ping = format!("exec ip netns exec {inside} ping -n -D -i 0.5 {provider} >{ASKED}");
        Ok(Command::bash(ping).limit(4 * PATIENCE))
    }

    /// From the inside to the provider, as it stands in the table.
    pub(super) fn waits_for_a_reply(&self) -> Result<()> {
        let (inside, provider) = self.ends()?;
        let ping = format!("ip netns exec {inside} ping -c 1 -W 1 {provider}");
        self.machine
            .dom0(&format!("until {ping}; do :; done"))
            .map(drop)
    }

    /// Seconds between two replies to who has asked all the while.
    pub(super) fn longest_silence(&self, mut asking: Running) -> Result<f64> {
        // A reply may be the first one after a silence: there has to be one more.
        self.machine.dom0("sleep 2")?;
        asking.kill()?;
        asking.wait()?;
        let replies = String::from_utf8(self.machine.get(ASKED)?)?;
        let times = replies.lines().filter_map(|line| {
            let (time, _) = line.strip_prefix('[')?.split_once("] 64 bytes from")?;
            time.parse::<f64>().ok()
        });
        let times: Vec<f64> = times.collect();
        let silences = times.windows(2).map(|pair| pair[1] - pair[0]);
        silences.reduce(f64::max).context(replies)
    }
}

/// What became of that.
const ASKED: &str = "/tmp/asked";

/// The firewall of the example, whose outer vif is netdom's: `office`, at whose other end of the cable is its provider.
/// All that is in the table of `cargo image run` goes through both.
pub(super) fn beside_firewalldom(
    machine: &Machine,
    then: impl FnOnce(&Forwarding<'_, '_>) -> Result<()>,
) -> Result<()> {
    let options = RunOptions {
        memory_mib: 8,
        target: TargetChoice::Auto,
    };
    let firewall = Firewall::build(&Workspace::find()?, options)?;
    let written = machine.get(&firewall.put(machine)?)?;
    let written = String::from_utf8(written)?;
    let behind = written.replace("bridge=br-net", &format!("backend={NETDOM},bridge=office"));
    expect(behind != written, || written.clone())?;
    machine.put("/tmp/behind.cfg", behind.as_bytes())?;
    let scenario = Scenario::prepare(machine, firewall.sides()?, traffic::TWO_INTERFACES)?;
    machine.dom0(PROVIDER)?;
    let told = || machine.guest_console("firewalldom").unwrap_or_default();
    let domain = scenario.start("firewalldom", "/tmp/behind.cfg", INSIDE, OUTSIDE)?;
    scenario.wait_ready(&domain)?;
    let source = Source::new(&firewall.site);
    for case in scenario.try_all(traffic::TWO_INTERFACES, &domain, &source)? {
        expect(case.as_expected(), || {
            format!(
                "{} from {} to {}: {} (decided by {:?})\n{}",
                case.tried,
                case.from,
                case.to,
                case.detail,
                case.decided_by,
                told()
            )
        })?;
    }
    then(&Forwarding {
        scenario: &scenario,
        machine,
    })
    .with_context(told)?;
    scenario.shut_down(&domain)?;
    network::remove(machine, &firewall.sides()?)
}
