//! The whole house: netdom with the card, firewalldom behind it, and behind that a Debian guest and another with a
//! computer of its own, which a stub domain emulates. And a host as it was before, to see what is left in dom0.
//!
//! ```text
//!   processes of this host ── cable ── card ─ netdom ─ firewalldom ─┬─ web   Debian, PV
//!   (QEMU's network)                                                └─ desk  Debian, HVM ─ stubdom
//! ```

pub mod attempt;
pub mod dom0;
pub mod files;
pub mod report;
pub mod wire;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use qemu_tests::{
    Command, DebianGuest, GuestType, Iommu, Lab, Machine, Options, RunningGuest, Suite,
};
use shorewall::Site;

use super::hits::{Hits, Source};
use super::report::Case;
use crate::build::TargetChoice;
use crate::workspace::Workspace;
use attempt::{ATTEMPTS, Attempt, Client, Seen, Server, Traffic};
use dom0::Dom0;
use files::{DIRECTORY, Files};
use report::{CARD_DRIVER, Report};
use wire::Wire;

/// The example that is shown.
pub const HOUSE: &str = "examples/house";

/// How long a command may take that waits for domains.
const DOMAINS: Duration = Duration::from_secs(300);

/// Bytes of the file that a guest serves.
const FILE_LENGTH: u32 = 2 << 20;

/// With TCG a program of an HVM guest can die of an AVX instruction (#UD) that CPUID offers.
const IN_TCG: &str = "cpuid=\"host,xsave=0\"";

/// Waits in a guest until its interface has its address.
const UP: &str = "until [ -e /sys/class/net/eth0 ] && cmp -s /run/up /sys/class/net/eth0/ifindex; do sleep 0.2; done";

/// A run that is over, with the house still up.
pub struct Finished {
    /// What came of it.
    pub report: Report,
    /// The machine.
    pub machine: Machine,
}

impl Finished {
    /// Leaves the machine to the user, with a shell in dom0.
    ///
    /// # Errors
    /// When the machine is gone.
    pub fn keep(self) -> Result<()> {
        self.machine.keep()
    }

    /// Stops the guests and the house, in the order of its units, and the machine.
    ///
    /// # Errors
    /// When a domain does not end.
    pub fn stop(self) -> Result<()> {
        // A headline and dom0 are left in the end: a stub domain goes a moment after its guest.
        let stop = "set -e
             stop-guests firewalldom netdom
             stop-house
             until test $(xl list | wc -l) = 2; do sleep 0.3; done";
        let stop = format!("export PATH=/usr/local/sbin:$PATH\n{stop}");
        with_logs(&self.machine, |machine| {
            let stopped = machine.check(&Command::bash(stop).limit(DOMAINS));
            stopped.with_context(|| machine.dom0("xl list").unwrap_or_default())
        })?;
        self.machine.stop()
    }
}

/// Builds, boots a stock host and the house, tries everything, and compares. `tell` hears what is being done.
///
/// # Errors
/// When it could not be carried out; the error names the folder with the logs. What did not come out as expected is no
/// error but stands in the report.
pub fn perform(
    workspace: &Workspace,
    suite: Suite,
    target: TargetChoice,
    tell: &dyn Fn(&str),
) -> Result<Finished> {
    tell(&format!("building the domains of {HOUSE}"));
    let files = Files::build(workspace, target)?;
    let wire = Wire::new(workspace, &attempt::tried_from_outside())?;
    let lab = Lab::prepare_suite(suite, &qemu_tests::to_stderr())?;
    tell("a stock host: its card, a bridge and QEMU in dom0, and the two guests (minutes)");
    let machine = start(&lab, &wire, "stock")?;
    let stock = with_logs(&machine, |machine| look_at_stock(&lab, machine))?;
    machine.stop()?;
    tell("the house: netdom, firewalldom, and the two guests behind them (minutes)");
    let machine = start(&lab, &wire, "house")?;
    let (platform, cases, house) = with_logs(&machine, |machine| {
        files.put(machine)?;
        let house = House::start(&lab, machine)?;
        tell("sending traffic through it");
        let cases = house.try_all(&wire, &workspace.root().join(HOUSE))?;
        Ok((super::platform(machine)?, cases, look(machine)?))
    })?;
    let logs = machine.folder().display().to_string();
    Ok(Finished {
        report: Report {
            platform,
            cases,
            house,
            stock,
            logs,
        },
        machine,
    })
}

fn start(lab: &Lab, wire: &Wire, name: &str) -> Result<Machine> {
    let options = Options {
        name: name.to_owned(),
        iommu: Iommu::VtD,
        qemu_arguments: wire.card(),
        ..Options::default()
    };
    Machine::start(lab, &options)
}

fn with_logs<T>(machine: &Machine, tries: impl FnOnce(&Machine) -> Result<T>) -> Result<T> {
    let logs = machine.folder().display();
    tries(machine).with_context(|| format!("consoles and logs are in {logs}"))
}

fn look(machine: &Machine) -> Result<Dom0> {
    Dom0::parse(&machine.dom0(dom0::SCRIPT)?)
}

/// The guests of the house, as a lab's.
fn guests(addresses: [&str; 2], gateways: [&str; 2], kinds: [GuestType; 2]) -> [DebianGuest; 2] {
    [0, 1].map(|index| DebianGuest {
        name: ["web", "desk"][index].to_owned(),
        kind: kinds[index],
        memory_mib: 256,
        vif: "bridge=xenbr0".to_owned(),
        address: format!("{}/24", addresses[index]),
        gateway: gateways[index].to_owned(),
        more: String::new(),
    })
}

/// The same guests beside a card, a bridge and QEMU in dom0, and what there is then.
fn look_at_stock(lab: &Lab, machine: &Machine) -> Result<Dom0> {
    machine.put_modules(lab, &[CARD_DRIVER])?;
    machine.dom0(&format!(
        "set -e
         modprobe -r veth
         modprobe {CARD_DRIVER}
         until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done
         ip link add xenbr0 type bridge
         ip link set eth0 up master xenbr0
         ip link set xenbr0 up"
    ))?;
    let guests = guests(
        ["192.0.2.10", "192.0.2.11"],
        [wire::ROUTER; 2],
        [GuestType::Pv, GuestType::Hvm],
    );
    let guests = guests.map(|guest| machine.start_debian_guest(lab, &guest));
    for guest in guests {
        let guest = guest?;
        guest.check(UP)?;
        guest.check(&Traffic::Ping(wire::ROUTER).line())?;
    }
    look(machine)
}

/// Everything runs.
struct House<'m> {
    machine: &'m Machine,
    web: RunningGuest<'m>,
    desk: RunningGuest<'m>,
    /// The hash of the file that `web` serves.
    hash: String,
    /// The terminal in dom0 that is firewalldom's console.
    console_tty: String,
}

impl<'m> House<'m> {
    fn start(lab: &Lab, machine: &'m Machine) -> Result<Self> {
        let [web, desk] = guests(
            ["10.0.4.2", "10.0.3.2"],
            ["10.0.4.1", "10.0.3.1"],
            [GuestType::Pv, GuestType::HvmWithStub],
        );
        let kept = [
            machine.keep_debian_guest(lab, &web)?,
            machine.keep_debian_guest(lab, &desk)?,
        ];
        let ([linux, initrd], [disk]) = (kept[0].as_slice(), kept[1].as_slice()) else {
            bail!("a guest starts from other files than were thought: {kept:?}");
        };
        // What the lab's dom0 has loaded by now a Debian host with modprobe.conf never loads.
        machine.dom0(&format!(
            "set -e
             mkdir -p /srv/web /srv/desk
             ln -s {linux} /srv/web/vmlinuz
             ln -s {initrd} /srv/web/initrd.img
             ln -s {disk} /srv/desk/disk.img
             truncate -s 16M /srv/web/disk.img
             modprobe -r bridge xen-netback veth"
        ))?;
        machine.check(&Command::new(["/usr/local/sbin/start-house"]).limit(DOMAINS))?;
        let web = machine.create_debian_guest("web", &[&format!("{DIRECTORY}/web.cfg")])?;
        let desk =
            machine.create_debian_guest("desk", &[&format!("{DIRECTORY}/desk.cfg"), IN_TCG])?;
        // Each of them listens: what does not arrive was stopped on its way.
        let serve = format!(
            "mkdir -p /srv && head -c {FILE_LENGTH} /dev/urandom > /srv/file && busybox httpd -p 80 -h /srv && sha256sum < /srv/file"
        );
        let mut hashes = Vec::new();
        for guest in [&web, &desk] {
            guest.check(UP)?;
            hashes.push(guest.check(&serve)?);
        }
        let hash = hashes[0].split_whitespace().next().context("no hash")?;
        let console_tty =
            machine.dom0("xenstore-read /local/domain/$(xl domid firewalldom)/console/tty")?;
        Ok(Self {
            machine,
            web,
            desk,
            hash: hash.to_owned(),
            console_tty: console_tty.trim().to_owned(),
        })
    }

    /// Tries things in order, and asks the firewall after each which line decided.
    fn try_all(&self, wire: &Wire, etc: &Path) -> Result<Vec<Case>> {
        let source = Source::new(&Site::from_etc(etc));
        let ask = || {
            Hits::of(
                self.machine,
                crate::appliance::FIREWALLDOM,
                &self.console_tty,
            )
        };
        let mut before = ask()?;
        let mut cases = Vec::new();
        for attempt in &ATTEMPTS {
            let began = Instant::now();
            let seen = self.attempt(attempt, wire)?;
            let elapsed = began.elapsed();
            let hash = match attempt.traffic {
                Traffic::Fetch(_, _, Server::Web) => &self.hash,
                _ => wire.hash(),
            };
            let (outcome, detail) = attempt.traffic.judge(&seen, hash);
            let after = ask()?;
            let decided = after.since(&before);
            before = after;
            cases.push(Case {
                tried: attempt.tried.to_owned(),
                from: attempt.client.zone().to_owned(),
                to: attempt.to.to_owned(),
                expected: attempt.expected,
                outcome,
                detail,
                elapsed,
                decided_by: decided
                    .iter()
                    .map(|(file, line)| source.line(file, *line))
                    .collect(),
                expected_line: attempt.line.to_owned(),
            });
        }
        Ok(cases)
    }

    fn attempt(&self, attempt: &Attempt, wire: &Wire) -> Result<Seen> {
        let guest = match (attempt.client, attempt.traffic) {
            (Client::Outside, Traffic::Fetch(_, port, _)) => return wire.fetch(port),
            (Client::Outside, Traffic::Ping(_)) => bail!("nobody outside pings"),
            (Client::Web, _) => &self.web,
            (Client::Desk, _) => &self.desk,
        };
        let (said, _) = guest.run(&attempt.traffic.line(), DOMAINS)?;
        Ok(Seen { said })
    }
}
