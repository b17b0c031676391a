//! The two gateways, each with a network outside that is its own.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use qemu_tests::{Command, Lab, Machine, Net};

use crate::appliance::FIREWALLDOM;
use crate::bench::rounds::plain_configuration;
use crate::bench::samples::{Hypercalls, System};
use crate::run::scenario::ADDED;
use crate::run::{Firewall, debian, hits};

/// The Debian gateway's memory, in MiB: netback takes a page of it for each slot of each guest's ring.
pub(super) const DEBIAN_MIB: u32 = 256;

/// The host outside has this address on both networks, and each gateway the one of the site's files.
pub(super) const OUTSIDE: &str = "192.0.2.1";

/// A domain that guests hang off.
pub(super) struct Gateway {
    /// The domain's name.
    pub(super) name: String,
    /// Its console's terminal in dom0.
    console_tty: String,
    /// The network outside.
    pub(super) outside: Net,
    /// What `xl create` was given, without comments.
    pub(super) configuration: String,
}

/// Both of them.
pub(super) struct Gateways {
    firewalldom: Gateway,
    debian: Gateway,
}

impl Gateways {
    /// Makes the networks and starts both.
    pub(super) fn start(lab: &Lab, machine: &Machine, firewall: &Firewall) -> Result<Self> {
        let ours = outside(machine, "net")?;
        let config = firewall.put(machine)?;
        let text = fs::read_to_string(
            machine
                .share()
                .join(format!("{FIREWALLDOM}/{FIREWALLDOM}.cfg")),
        )?;
        let configuration = plain_configuration(&text, &firewall.directory);
        create(machine, FIREWALLDOM, &config, "forwarding between")?;
        let firewalldom = Gateway::of(machine, FIREWALLDOM, ours, configuration)?;

        let theirs = outside(machine, "debnet")?;
        let mut router = debian::router(&firewall.site, &firewall.policy, &firewall.config());
        router.memory_mib = DEBIAN_MIB;
        for vif in &mut router.vifs {
            vif.bridge = theirs.bridge();
        }
        let config = machine.put_debian_router(lab, &router)?;
        let text = fs::read_to_string(machine.share().join(format!("{}.cfg", router.name)))?;
        let configuration = plain_configuration(&text, &firewall.directory);
        create(machine, &router.name, &config, &router.ready_line())?;
        let debian = Gateway::of(machine, &router.name, theirs, configuration)?;
        Ok(Self {
            firewalldom,
            debian,
        })
    }

    pub(super) fn of(&self, system: System) -> &Gateway {
        match system {
            System::Debian => &self.debian,
            _ => &self.firewalldom,
        }
    }
}

/// A network with a host that serves iperf3. It has no way back but to the gateway's own address.
fn outside(machine: &Machine, name: &str) -> Result<Net> {
    let net = Net {
        name: name.to_owned(),
        address: format!("{OUTSIDE}/24"),
        gateway: None,
    };
    machine.add_net(&net)?;
    machine.dom0(&format!("ip netns exec {name} iperf3 --server --daemon"))?;
    Ok(net)
}

fn create(machine: &Machine, name: &str, config: &str, ready: &str) -> Result<()> {
    machine.forget_guest_console(name)?;
    let command = Command::new(["xl", "create", "-q", config, ADDED]);
    machine.check(&command.limit(Duration::from_secs(120)))?;
    machine.wait_for_console(name, ready, Duration::from_secs(120))?;
    Ok(())
}

impl Gateway {
    fn of(machine: &Machine, name: &str, outside: Net, configuration: String) -> Result<Self> {
        let tty = machine.dom0(&format!(
            "xenstore-read /local/domain/$(xl domid '{name}')/console/tty"
        ))?;
        Ok(Self {
            name: name.to_owned(),
            console_tty: tty.trim().to_owned(),
            outside,
            configuration,
        })
    }

    /// What a firewalldom says to a command on its console, to the line that `end` begins.
    pub(super) fn ask(&self, machine: &Machine, command: &str, end: &str) -> Result<String> {
        hits::ask(machine, &self.name, &self.console_tty, command, end)
    }

    /// What a firewalldom has counted since its start; `None` of Debian.
    pub(super) fn hypercalls(
        &self,
        machine: &Machine,
        system: System,
    ) -> Result<Option<Hypercalls>> {
        if system == System::Debian {
            return Ok(None);
        }
        // The second command only marks the end: a line may be seen before all of it is there.
        let answer = self.ask(machine, "hypercalls\\nrules", "end of rules")?;
        match Hypercalls::parse(&answer) {
            Some(counted) => Ok(Some(counted)),
            None => bail!("the domain does not tell its hypercalls: {answer:?}"),
        }
    }

    /// Flows that a firewalldom has now.
    pub(super) fn flows(&self, machine: &Machine) -> Result<u64> {
        let answer = self.ask(machine, "flows\\nrules", "end of rules")?;
        let flows = || {
            let (_, rest) = answer.rsplit_once("flows ")?;
            rest.split_whitespace().next()?.parse().ok()
        };
        flows().with_context(|| format!("the domain does not tell its flows: {answer:?}"))
    }
}
