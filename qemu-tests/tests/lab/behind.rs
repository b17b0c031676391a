//! Small guests of our own behind one of our backends: some send a counted stream to others, which say what came.

use crate::bench::PATIENCE;
use crate::guests::{FIREWALL, beside, beside_firewall};
use crate::images;
use crate::netdom::NETDOM;
use anyhow::{Context, Result, anyhow};
use guests::stream::Report;
use image::build::TargetChoice;
use qemu_tests::Machine;

/// The firewall's configuration.
pub(crate) const SITE: &str = "qemu-tests/sites/strangers";

/// Who receives a stream, and its address.
pub(crate) const SINK: &str = "sink";
pub(crate) const SINK_ADDRESS: &str = "10.0.4.2";

/// The backend that guests are behind.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// The firewall of [`SITE`]: each zone is a network of its own.
    Firewall,
    /// netdom: all of them are on one bridge, which has no wire.
    Netdom,
}

impl Behind {
    /// The domain's name.
    pub(crate) const fn backend(self) -> &'static str {
        match self {
            Self::Firewall => FIREWALL,
            Self::Netdom => NETDOM,
        }
    }

    /// Starts the backend and runs `tries` beside it; then it and the guests of these names are gone, whatever came of
    /// it.
    pub(crate) fn with(
        self,
        machine: &Machine,
        guests: &[&str],
        tries: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Firewall => beside_firewall(machine, SITE, guests, tries),
            Self::Netdom => {
                start_netdom(machine)?;
                beside(machine, NETDOM, guests, tries)
            }
        }
    }

    /// The vif of a guest, without its backend.
    pub(crate) fn vif(self, zone: &str, name: &str, address: &str) -> String {
        let place = match self {
            Self::Firewall => format!("vifname=vif-{zone}-{name}"),
            Self::Netdom => "bridge=xenbr0".to_owned(),
        };
        format!("mac={},ip={address},{place}", mac(address))
    }

    /// Whom a guest of this address hands what is for `to`: its station, or a gateway.
    pub(crate) fn next_hop(self, address: &str, to: &str) -> String {
        match (self, address.rsplit_once('.')) {
            (Self::Firewall, Some((network, _))) => format!("{network}.1"),
            _ => to.to_owned(),
        }
    }

    /// A `net-guest` with these vifs, as xl takes it.
    fn config(self, machine: &Machine, name: &str, vifs: &[&str], words: &str) -> Result<String> {
        let kernel = images::put(machine, "guests", "net-guest", TargetChoice::Auto)?;
        let backend = self.backend();
        let vifs = vifs.iter().map(|vif| format!("'backend={backend},{vif}'"));
        let vifs: Vec<String> = vifs.collect();
        Ok(format!(
            "name = '{name}'\ntype = 'pv'\nkernel = '{kernel}'\nmemory = 8\n\
             extra = '{words}'\nvif = [{}]\n",
            vifs.join(", ")
        ))
    }

    /// Creates a `net-guest`.
    pub(crate) fn create(
        self,
        machine: &Machine,
        name: &str,
        vifs: &[&str],
        words: &str,
    ) -> Result<()> {
        let config = self.config(machine, name, vifs, words)?;
        machine.put(&format!("/tmp/{name}.cfg"), config.as_bytes())?;
        machine.dom0(&format!("xl create -q -e /tmp/{name}.cfg"))?;
        Ok(())
    }

    /// Creates a guest that counts, and waits until it does.
    pub(crate) fn create_sink(self, machine: &Machine, name: &str, address: &str) -> Result<()> {
        // Where there is no gateway it asks for itself, and everybody hears where it is.
        let gateway = self.next_hop(address, address);
        let words =
            format!("role=receive port=7000 closed=666 address={address} gateway={gateway}");
        self.create(machine, name, &[&self.vif("dmz", name, address)], &words)?;
        machine.wait_for_console(name, "listening", PATIENCE)?;
        Ok(())
    }

    /// Creates a guest that sends as `words` say.
    pub(crate) fn create_source(
        self,
        machine: &Machine,
        name: &str,
        (address, to): (&str, &str),
        words: &str,
    ) -> Result<()> {
        let gateway = self.next_hop(address, to);
        let words = format!("role=send address={address} gateway={gateway} to={to} {words}");
        self.create(machine, name, &[&self.vif("loc", name, address)], &words)
    }
}

/// The station that the guest of an address is.
pub(crate) fn mac(address: &str) -> String {
    let numbers = address.split('.').skip(1);
    let octets = numbers.map(|number| number.parse().unwrap_or(0_u8));
    octets.fold("00:16:3e".to_owned(), |mac, octet| {
        format!("{mac}:{octet:02x}")
    })
}

/// Starts netdom without a card.
fn start_netdom(machine: &Machine) -> Result<()> {
    let kernel = images::put(machine, NETDOM, NETDOM, TargetChoice::Auto)?;
    let config = format!(
        "name = '{NETDOM}'\ntype = 'pv'\nkernel = '{kernel}'\nmemory = 16\n\
         driver_domain = 1\non_crash = 'preserve'\n"
    );
    machine.put("/tmp/netdom.cfg", config.as_bytes())?;
    machine.forget_guest_console(NETDOM)?;
    machine.dom0("xl create -q /tmp/netdom.cfg")?;
    machine.wait_for_console(NETDOM, "and serves vifs", PATIENCE)?;
    Ok(())
}

/// What a guest that counts says came of the stream from `address`, once it has ended.
pub(crate) fn report(machine: &Machine, sink: &str, address: &str) -> Result<Report> {
    let start = format!("{address}: received ");
    let console = machine.wait_for_console(sink, &start, PATIENCE)?;
    let line = console.lines().find(|line| line.contains(&start));
    let line = line.context("the line is there")?;
    eprintln!("{line}");
    line.parse().map_err(|_| anyhow!("no report: {line}"))
}

/// Types a character on a guest's console.
pub(crate) fn type_to(machine: &Machine, name: &str, key: char) -> Result<()> {
    machine.dom0(&format!(
        "echo {key} > $(xenstore-read /local/domain/$(xl domid {name})/console/tty)"
    ))?;
    Ok(())
}

/// What else came to a guest that counts: datagrams for other ports, and for the one that is closed.
pub(crate) fn others(machine: &Machine, name: &str) -> Result<(u64, u64)> {
    let known = machine.guest_console(name)?.len();
    type_to(machine, name, 't')?;
    let line = machine.dom0(&format!(
        "dom0-agent await +{known} /var/log/xen/guest-{name}.log 'for the closed port'"
    ))?;
    let mut numbers = line.split_whitespace().filter_map(|word| word.parse().ok());
    let mut number = || numbers.next().with_context(|| line.clone());
    Ok((number()?, number()?))
}
