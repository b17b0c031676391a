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
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use qemu_tests::{Command, DebianGuest, GuestType, Lab, Machine, RunningGuest};

use super::rounds::in_turn;
use super::samples::{Samples, System};
use crate::build::{self, Program, TargetChoice};
use crate::run::Firewall;
use crate::run::meter::METER;
use crate::run::scenario::ADDED;
use crate::workspace::Workspace;
use gateway::{Gateway, Gateways};

/// The site: `examples/xen-guests`, and rules for what is sent.
pub(super) const SITE: &str = "qemu-tests/sites/gateway";

/// A Debian guest's memory, in MiB.
const GUEST_MIB: u32 = 160;

/// How long `xl create` of a small guest may take.
const CREATE_LIMIT: Duration = Duration::from_secs(60);

/// How long a guest may take to say something.
const SAYING_LIMIT: Duration = Duration::from_secs(30);

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
        std::fs::write(machine.share().join("net-guest.xen"), net_guest)?;
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

    /// Creates a `net-guest` at a place behind a gateway.
    fn create(&self, gateway: &Gateway, place: Place<'_>, words: &str) -> Result<()> {
        self.machine.forget_guest_console(place.name)?;
        let config = self.put_config(gateway, place, words)?;
        let command = Command::new(["xl", "create", "-q", "-e", &config]).limit(CREATE_LIMIT);
        self.machine.check(&command)?;
        Ok(())
    }

    /// Writes the configuration of a `net-guest`; its path in dom0.
    fn put_config(&self, gateway: &Gateway, place: Place<'_>, words: &str) -> Result<String> {
        let vif = place.vif(&gateway.name);
        let Place {
            name,
            address,
            gateway: router,
            ..
        } = place;
        let added = ADDED.replace("; ", "\n");
        let config = format!(
            "name = '{name}'\ntype = 'pv'\nkernel = '/share/net-guest.xen'\nmemory = 8\n\
             extra = 'address={address} gateway={router} {words}'\nvif = ['{vif}']\n{added}\n"
        );
        let path = format!("/tmp/{name}.cfg");
        self.machine.put(&path, config.as_bytes())?;
        Ok(path)
    }

    /// Types a character on a guest's console.
    fn type_to(&self, name: &str, key: char) -> Result<()> {
        self.machine.dom0(&format!(
            "printf {key} > $(xenstore-read /local/domain/$(xl domid {name})/console/tty)"
        ))?;
        Ok(())
    }

    fn destroy(&self, names: &[&str]) -> Result<()> {
        for name in names {
            self.machine.dom0(&format!("xl destroy {name}"))?;
        }
        Ok(())
    }

    /// Does something, and says how many microseconds of CPU time the gateway took meanwhile.
    fn metered<T>(&self, gateway: &Gateway, what: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
        const BEGUN: &str = "/tmp/metering";
        let machine = self.machine;
        machine.dom0(&format!("rm -f {BEGUN}"))?;
        let script = format!(
            "{METER}\nmeter_start '{}'\n: >{BEGUN}\nread -r _\nmeter_end\n",
            gateway.name
        );
        let metering = machine.spawn(&Command::bash(script).limit(Duration::from_secs(180)))?;
        machine.dom0(&format!("until [ -e {BEGUN} ]; do sleep 0.1; done"))?;
        let value = what()?;
        let output = metering.wait()?;
        let text = output.text();
        let cpu_us = text.trim().parse();
        let cpu_us =
            cpu_us.with_context(|| format!("xentop printed {text:?}{}", output.errors()))?;
        Ok((value, cpu_us))
    }
}

/// Lets the machine work for so long, undisturbed.
fn let_work(seconds: u64) {
    thread::sleep(Duration::from_secs(seconds));
}

/// The guest that sends and counts.
pub(super) fn build_net_guest(workspace: &Workspace, target: TargetChoice) -> Result<Vec<u8>> {
    let wanted = Program {
        package: "guests".to_owned(),
        binary: "net-guest".to_owned(),
        features: vec!["xen".to_owned()],
        manifest: None,
        environment: Vec::new(),
    };
    Ok(build::program(workspace, &wanted, target)?.bytes)
}
