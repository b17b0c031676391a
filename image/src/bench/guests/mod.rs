//! Guests behind firewalldom, and behind a Debian PV guest that is their backend in its place.
//!
//! ```text
//!   namespace net              dom0               gateway
//!   iperf3 ══ veth ══ br-net ══ netback ══ eth0 firewalldom vif… ══ guests
//!
//!   namespace debnet
//!   iperf3 ══ veth ══ br-debnet ══ netback ══ eth0 debian vif… ══ guests
//! ```
//!
//! Both gateways are there all the time, each with networks and guests of its own that are alike: nothing is moved from
//! the one to the other between two measurements, and who is not measured sleeps.

mod crowd;
mod gateway;
mod linux_packets;
mod packets;
mod start;
mod streams;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use qemu_tests::{DebianGuest, GuestType, Lab, Machine, RunningGuest};

use super::net_guest::{self, NetGuest};
use super::rounds::in_turn;
use super::samples::{Samples, System};
use crate::run::Firewall;
use crate::run::scenario::ADDED;
use gateway::{Gateway, Gateways};

/// The site: `examples/xen-guests`, and rules for what is sent.
pub(super) const SITE: &str = "qemu-tests/sites/gateway";

/// A Debian guest's memory, in MiB.
const GUEST_MIB: u32 = 160;

/// A guest's name, and where it is.
#[derive(Clone, Copy)]
struct Place<'a> {
    name: &'a str,
    address: &'a str,
    gateway: &'a str,
    vifname: &'a str,
}

/// Who opens connections, in the zone loc.
const DESK: Place<'_> = Place {
    name: "desk",
    address: "10.0.3.2",
    gateway: "10.0.3.1",
    vifname: "vif-loc-desk",
};
/// Who is connected to, in the zone dmz.
const WEB: Place<'_> = Place {
    name: "web",
    address: "10.0.4.2",
    gateway: "10.0.4.1",
    vifname: "vif-dmz-web",
};

impl Place<'_> {
    /// Its vif, behind a gateway.
    fn vif(&self, gateway: &str) -> String {
        format!(
            "backend={gateway},ip={},vifname={}",
            self.address, self.vifname
        )
    }

    /// A guest of our own there.
    fn net_guest(&self, gateway: &Gateway) -> NetGuest {
        NetGuest {
            name: self.name.to_owned(),
            address: self.address.to_owned(),
            gateway: self.gateway.to_owned(),
            vif: self.vif(&gateway.name),
        }
    }
}

/// The benchmark's machine, with both gateways and the Debian guests behind them.
pub(super) struct Guests<'m> {
    machine: &'m Machine,
    gateways: Gateways,
    /// Behind each gateway, in the order of [`System::BOTH`]: who opens connections, and who is connected to.
    pairs: Vec<[RunningGuest<'m>; 2]>,
    tell: &'m dyn Fn(&str),
}

impl<'m> Guests<'m> {
    /// Starts everything that is there all the time.
    pub(super) fn prepare(
        lab: &Lab,
        machine: &'m Machine,
        firewall: &Firewall,
        net_guest: &[u8],
        tell: &'m dyn Fn(&str),
    ) -> Result<Self> {
        net_guest::put(machine, net_guest)?;
        tell("starting both gateways, and two Debian guests behind each");
        let gateways = Gateways::start(lab, machine, firewall)?;
        let mut pairs = Vec::new();
        for system in System::BOTH {
            let gateway = gateways.of(system);
            let start = |place: Place<'_>| -> Result<RunningGuest<'m>> {
                let name = format!("{}-{}", place.name, gateway.name);
                let guest = DebianGuest {
                    vif: place.vif(&gateway.name),
                    name,
                    kind: GuestType::Pv,
                    memory_mib: GUEST_MIB,
                    address: format!("{}/24", place.address),
                    gateway: place.gateway.to_owned(),
                    more: ADDED.replace("; ", "\n") + "\n",
                };
                let guest = machine.start_debian_guest(lab, &guest)?;
                let wait = "until [ -e /sys/class/net/eth0 ] && cmp -s /run/up /sys/class/net/eth0/ifindex; do sleep 0.2; done";
                guest.check(&format!("{wait}; ping -c 3 -i 0.2 -W 5 {}", place.gateway))?;
                Ok(guest)
            };
            let pair = [start(DESK)?, start(WEB)?];
            pair[1].check("iperf3 --server --daemon")?;
            pairs.push(pair);
        }
        let guests = Self {
            machine,
            gateways,
            pairs,
            tell,
        };
        for system in System::BOTH {
            guests.prepare_linux_packets(system)?;
        }
        Ok(guests)
    }

    /// What was given to `xl create`, by the name of the gateway; without comments.
    pub(super) fn configurations(&self) -> BTreeMap<String, String> {
        System::BOTH
            .into_iter()
            .map(|system| {
                let gateway = self.gateways.of(system);
                let name = format!("{} with guests behind it", gateway.name);
                (name, gateway.configuration.clone())
            })
            .collect()
    }

    /// Takes all samples anew; how many runs had to be repeated.
    pub(super) fn all(&self, runs: u32, samples: &mut Samples) -> Result<u32> {
        samples.guest_streams.clear();
        samples.guest_packets.clear();
        samples.linux_packets.clear();
        samples.guest_starts.clear();
        let repeated = in_turn(
            System::BOTH,
            runs,
            samples,
            self.tell,
            |system, run, samples| self.once(system, run, samples),
            |_| self.clear(),
        )?;
        (self.tell)("many guests and flows in little memory");
        samples.guest_crowd = Some(self.crowd()?);
        Ok(repeated)
    }

    fn once(&self, system: System, run: u32, samples: &mut Samples) -> Result<()> {
        self.streams(system, run, samples)?;
        let packets = self.linux_packets(system, run);
        let packets = packets.context("64-byte packets between Debian guests")?;
        samples.linux_packets.push(packets);
        self.packets(system, run, samples)?;
        samples.guest_starts.push(self.first_packet(system, run)?);
        Ok(())
    }

    fn of(&self, system: System) -> (&Gateway, &[RunningGuest<'m>; 2]) {
        let at = System::BOTH.iter().position(|one| *one == system);
        (self.gateways.of(system), &self.pairs[at.unwrap_or(0)])
    }

    /// Makes sure that whatever a run that failed had started is gone.
    fn clear(&self) -> Result<()> {
        self.machine.dom0(
            "killall -q xentop tcpdump
             for guest in source sink first $(xl list | grep -o '^crowd-[0-9]*'); do xl destroy $guest 2>/dev/null; done; true",
        )?;
        Ok(())
    }
}
