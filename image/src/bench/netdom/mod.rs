//! netdom with a network card, and a Debian PV guest in its place with another of the same model.
//!
//! ```text
//!   guests ══ vifs ══ netdom xenbr0 ══ card 00:03.0 ── wire
//!   guests ══ vifs ══ debian xenbr0 ══ card 00:04.0 ── wire
//! ```
//!
//! Each has a wire and guests of its own that are alike. Both are started from nothing first, one after the other and
//! again and again; then both are there, and measured in turn: who is not sleeps.

mod crowd;
mod domain;
mod packets;
pub mod samples;
mod start;
mod streams;
mod wire;

use std::collections::BTreeMap;

use anyhow::Result;
use qemu_tests::{DebianGuest, GuestType, Iommu, Lab, Machine, Options, RunningGuest};

use super::net_guest;
use super::rounds::in_turn;
use super::samples::System;
use crate::appliance::Built;
use crate::run::scenario::ADDED;
use domain::{Driver, Drivers};
use samples::DriverDomains;
use wire::Wire;

/// The emulated cards, as QEMU calls them.
const DEVICE: &str = "e1000e";

/// The slot of each one's card, in the order of [`System::DRIVERS`].
const SLOTS: [usize; 2] = [3, 4];

/// A Debian guest's memory, in MiB.
const GUEST_MIB: u32 = 160;

/// The Debian guests behind each: name and address.
const DESK: (&str, &str) = ("desk", "10.0.2.31");
const WEB: (&str, &str) = ("web", "10.0.2.32");

/// What both cards' cables lead to.
pub(super) struct Wires([Wire; 2]);

impl Wires {
    pub(super) fn new() -> Result<Self> {
        Ok(Self([Wire::new()?, Wire::new()?]))
    }

    /// A machine with the cards.
    pub(super) fn machine(&self) -> Result<Options> {
        let mut qemu_arguments = Vec::new();
        for (wire, slot) in self.0.iter().zip(SLOTS) {
            qemu_arguments.extend(wire.qemu_arguments(DEVICE, slot)?);
        }
        Ok(Options {
            iommu: Iommu::VtD,
            qemu_arguments,
            ..Options::default()
        })
    }

    fn of(&self, system: System) -> &Wire {
        &self.0[index(system)]
    }
}

/// The place of a driver domain in [`System::DRIVERS`].
fn index(system: System) -> usize {
    usize::from(system == System::Debian)
}

/// The benchmark's machine, and what is needed to put driver domains on it.
pub(super) struct Bench<'m> {
    lab: &'m Lab,
    machine: &'m Machine,
    wires: &'m Wires,
    drivers: Drivers,
    tell: &'m dyn Fn(&str),
}

/// The guests behind each driver domain: who opens connections, and who is connected to.
struct Pairs<'m>([[RunningGuest<'m>; 2]; 2]);

impl<'m> Bench<'m> {
    /// Puts the files of both where dom0 sees them, and has it let go of the cards.
    pub(super) fn prepare(
        lab: &'m Lab,
        machine: &'m Machine,
        wires: &'m Wires,
        netdom: &Built,
        net_guest: &[u8],
        tell: &'m dyn Fn(&str),
    ) -> Result<Self> {
        net_guest::put(machine, net_guest)?;
        machine.dom0("modprobe xen-pciback")?;
        for slot in SLOTS {
            machine.dom0(&format!("xl pci-assignable-add {}", domain::card(slot)))?;
        }
        Ok(Self {
            drivers: Drivers::put(lab, machine, netdom)?,
            lab,
            machine,
            wires,
            tell,
        })
    }

    /// What was given to `xl create`, by the name of the driver domain; without comments.
    pub(super) fn configurations(&self) -> BTreeMap<String, String> {
        System::DRIVERS
            .into_iter()
            .map(|system| {
                let driver = self.drivers.of(system);
                let name = format!("{} with a card", driver.name);
                (name, driver.configuration.clone())
            })
            .collect()
    }

    /// Takes all samples anew; how many runs had to be repeated.
    pub(super) fn all(&self, runs: u32, samples: &mut DriverDomains) -> Result<u32> {
        *samples = DriverDomains {
            sizes: Some(self.drivers.sizes.clone()),
            ..DriverDomains::default()
        };
        (self.tell)("starting driver domains, to a guest's first reply");
        let mut repeated = in_turn(
            System::DRIVERS,
            runs,
            samples,
            self.tell,
            |system, run, samples| {
                samples.starts.push(self.first_reply(system, run)?);
                Ok(())
            },
            |system| {
                self.clear()?;
                self.drivers.of(system).make_sure_it_is_gone(self.machine)
            },
        )?;
        (self.tell)("starting both, and two Debian guests behind each");
        let pairs = self.start()?;
        repeated += in_turn(
            System::DRIVERS,
            runs,
            samples,
            self.tell,
            |system, run, samples| {
                self.streams(&pairs, system, run, samples)?;
                self.packets(system, run, samples)
            },
            |_| self.clear(),
        )?;
        self.stop(pairs)?;
        (self.tell)("many vifs in little memory");
        samples.crowds = self.crowds()?;
        Ok(repeated)
    }

    /// Starts both, with guests behind them.
    fn start(&self) -> Result<Pairs<'m>> {
        for system in System::DRIVERS {
            self.drivers.of(system).create(self.machine, None)?;
        }
        let pair = |system| -> Result<[RunningGuest<'m>; 2]> {
            let driver = self.drivers.of(system);
            let pair = [self.debian(driver, DESK)?, self.debian(driver, WEB)?];
            let [desk, web] = &pair;
            web.check("iperf3 --server --daemon")?;
            let (_, address) = WEB;
            desk.check(&format!("ping -c 3 -i 0.2 -W 5 {address}"))?;
            Ok(pair)
        };
        let [ours, theirs] = System::DRIVERS;
        Ok(Pairs([pair(ours)?, pair(theirs)?]))
    }

    fn debian(&self, driver: &Driver, (name, address): (&str, &str)) -> Result<RunningGuest<'m>> {
        let guest = DebianGuest {
            name: format!("{name}-{}", driver.name),
            kind: GuestType::Pv,
            memory_mib: GUEST_MIB,
            vif: driver.vif(),
            address: format!("{address}/24"),
            gateway: wire::GATEWAY.to_owned(),
            more: ADDED.replace("; ", "\n") + "\n",
        };
        let guest = self.machine.start_debian_guest(self.lab, &guest)?;
        let wait = "until [ -e /sys/class/net/eth0 ] && cmp -s /run/up /sys/class/net/eth0/ifindex; do sleep 0.2; done";
        guest.check(&format!("{wait}; ping -c 3 -i 0.2 -W 5 {}", wire::GATEWAY))?;
        Ok(guest)
    }

    /// Ends both, and the guests.
    fn stop(&self, Pairs(pairs): Pairs<'m>) -> Result<()> {
        for guest in pairs.iter().flatten() {
            self.machine.dom0(&format!("xl destroy {}", guest.name()))?;
        }
        for system in System::DRIVERS {
            self.drivers.of(system).destroy(self.machine)?;
        }
        Ok(())
    }

    /// Makes sure that whatever a run that failed had started is gone.
    fn clear(&self) -> Result<()> {
        self.machine.dom0(
            "killall -q xentop
             for guest in source sink first $(xl list | grep -o '^crowd-[0-9-]*'); do xl destroy $guest 2>/dev/null; done; true",
        )?;
        Ok(())
    }
}
