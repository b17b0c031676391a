//! The driver domain at work: dom0 has no driver for any card, and guests have their network by netdom.

use crate::bench::{LabTest, PATIENCE, expect};
use crate::cards::{CARDS, bdf};
use crate::guests::UP;
use crate::hvm::is_hvm;
use crate::save;
use anyhow::{Context, Result};
use image::appliance::{Bare, build_bare, build_netdom};
use image::build::TargetChoice;
use image::workspace::Workspace;
use qemu_tests::{
    Command, DebianGuest, GuestType, Iommu, Lab, Machine, Options, RunningGuest, Tier,
};
use served::{Part, SERVER, Served, TRUNK};
use std::time::Duration;

mod again;
mod served;
mod trunk;

pub(crate) const NETDOM: &str = "netdom";

/// How long a file may take, by a wire that is emulated.
const FETCH: Duration = Duration::from_secs(600);

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::own("netdom::guests_reach_the_wire_through_any_card", any_card),
        LabTest::own(
            "netdom::firewalldom_behind_netdom_and_guests_on_its_bridges",
            bridges,
        ),
    ]
}

/// Runs `tries` on a machine with these cards and those of [`TRUNK`], which netdom has as well if it is told of
/// bridges.
fn beside_netdom(
    lab: &Lab,
    cards: &[usize],
    bridges: Option<&str>,
    served: &Served,
    tries: impl FnOnce(&Machine) -> Result<()>,
) -> Result<()> {
    let cards_there = cards.iter().flat_map(|card| served.card(*card));
    let options = Options {
        name: NETDOM.to_owned(),
        iommu: Iommu::VtD,
        qemu_arguments: cards_there.chain(served.trunk()).collect(),
        ..Options::default()
    };
    let machine = Machine::start(lab, &options)?;
    let tried = start_netdom(&machine, cards, bridges).and_then(|()| tries(&machine));
    let tried = tried.with_context(|| {
        let console = machine.guest_console(NETDOM).unwrap_or_default();
        let log = machine.dom0("xl dmesg | tail -20; dmesg | tail -20");
        format!("netdom's console:\n{console}{}", log.unwrap_or_default())
    });
    let ended = tried.and_then(|()| is_in_order(&machine));
    machine.stop()?;
    ended
}

/// Neither netdom nor Xen has anything to complain about.
fn is_in_order(machine: &Machine) -> Result<()> {
    let console = machine.guest_console(NETDOM)?;
    let is_in_order = !["error:", "CRASH"]
        .iter()
        .any(|word| console.contains(word));
    expect(is_in_order, || console.clone())?;
    let log = machine.dom0("xl dmesg")?;
    expect(!log.contains("DMAR:[DMA"), || log.clone())
}

fn start_netdom(machine: &Machine, cards: &[usize], bridges: Option<&str>) -> Result<()> {
    // dom0 knows no card: it has not even the drivers.
    let links = machine.dom0("ls /sys/class/net; lsmod")?;
    let knows = ["e1000", "virtio_net", "eth0"]
        .iter()
        .any(|word| links.contains(word));
    expect(!knows, || links.clone())?;
    let mut bdfs: Vec<String> = cards.iter().map(|card| bdf(*card)).collect();
    let workspace = Workspace::find()?;
    let options = image::options::Options::default();
    let target = TargetChoice::Auto;
    let out = workspace.target().join("image/netdom");
    let built = match bridges {
        None => build_bare(&workspace, Bare::Netdom, &out, &options, target)?,
        Some(text) => {
            bdfs.extend(TRUNK.map(|(_, _, bdf)| bdf.to_owned()));
            let mut findings = image::findings::Findings::default();
            let bridges = image::netdom::read("netdom.toml", text, &mut findings);
            let bridges = bridges.context("the configuration is wrong")?;
            let out = workspace.target().join("image/netdom-configured");
            build_netdom(&workspace, &bridges, &out, &options, target)?
        }
    };
    let out = built.config.parent().context("it is in a folder")?;
    for entry in std::fs::read_dir(out)? {
        let entry = entry?;
        std::fs::copy(entry.path(), machine.share().join(entry.file_name()))?;
    }
    let written = std::fs::read_to_string(&built.config)?;
    let config = written
        .replace("\"0000:03:00.0\",", &format!("'{}'", bdfs.join("', '")))
        .replace(&format!("{}/", out.display()), "/share/");
    expect(config != written, || written.clone())?;
    machine.put("/tmp/netdom.cfg", config.as_bytes())?;
    let add: Vec<String> = bdfs
        .iter()
        .map(|bdf| format!("xl pci-assignable-add {bdf}"))
        .collect();
    machine.dom0(&format!("modprobe xen-pciback; {}", add.join("; ")))?;
    create(machine, cards.len())
}

/// Creates it, and waits until it has as many bridges with a card as the tests know by these names.
fn create(machine: &Machine, wires: usize) -> Result<()> {
    machine.dom0("xl create -q /tmp/netdom.cfg")?;
    for number in 0..wires {
        // By the numbers that they have in netdom, one after the other.
        let wire = format!("{number:02x}.0 is the wire of xenbr{number}");
        machine.wait_for_console(NETDOM, &wire, PATIENCE)?;
    }
    Ok(())
}

fn guest(name: &str, bridge: usize, kind: GuestType) -> DebianGuest {
    // As an HVM guest's vif is by default: there is an emulated card as well, until Linux finds Xen.
    let emulated = match kind {
        GuestType::Hvm | GuestType::HvmWithStub => "type=ioemu,",
        GuestType::Pv | GuestType::Pvh => "",
    };
    DebianGuest {
        name: name.to_owned(),
        kind,
        memory_mib: 160,
        vif: format!("{emulated}backend={NETDOM},bridge=xenbr{bridge}"),
        address: String::new(),
        gateway: String::new(),
        more: String::new(),
    }
}

/// Has each guest fetch a part of the file, all at once, and compares what came.
fn fetch(guests: &[(&RunningGuest<'_>, Part)], served: &Served) -> Result<()> {
    let mut told = Vec::new();
    for (guest, part) in guests {
        guest.check(UP)?;
        told.push(guest.begin(&format!("wget -q -O - {} | sha256sum", part.url()))?);
    }
    for ((guest, part), told) in guests.iter().zip(&told) {
        let (said, _) = guest.finish(told, FETCH)?;
        let hash = served.hash(*part)?;
        expect(said.contains(&hash), || format!("{}: {said}", guest.name()))?;
    }
    Ok(())
}

/// One netdom with a card of each model, and a Debian guest behind each.
fn any_card(lab: &Lab) -> Result<()> {
    let served = Served::new()?;
    beside_netdom(lab, &[0, 1, 2], None, &served, |machine| {
        let mut guests = Vec::new();
        for (number, card) in CARDS.iter().enumerate() {
            let name = format!("by-{}", card.name());
            let (kind, part) = match (number, Tier::current()) {
                // It takes minutes to start on a busy host.
                (0, Tier::Full) => (GuestType::Hvm, Part::WHOLE),
                (1, _) => (GuestType::Pvh, Part::WHOLE),
                _ => (GuestType::Pv, Part::short()),
            };
            let guest = machine.start_debian_guest(lab, &guest(&name, number, kind))?;
            if kind == GuestType::Hvm {
                is_hvm(&guest)?;
            }
            guests.push((guest, part));
        }
        let all: Vec<_> = guests.iter().map(|(guest, part)| (guest, *part)).collect();
        fetch(&all, &served)?;
        // Nor may the host's end that comes too early harm those who still use it.
        save::is_refused(machine, NETDOM)?;
        dom0_as_a_client(machine, &served)?;
        for (guest, _) in &guests {
            machine.dom0(&format!("xl destroy {}", guest.name()))?;
        }
        machine.dom0(&format!("xl shutdown -w {NETDOM}")).map(drop)
    })
}

/// dom0 has no card, and its network by a vif of netdom's.
fn dom0_as_a_client(machine: &Machine, served: &Served) -> Result<()> {
    machine.dom0(&format!(
        "modprobe xen-netfront
         xl network-attach 0 backend={NETDOM} bridge=xenbr2
         until [ -e /sys/class/net/eth0 ]; do sleep 0.1; done
         ip link set eth0 up
         printf '#!/bin/sh\\n[ \"$1\" = bound ] && ip addr replace $ip/$mask dev $interface\\n' > /tmp/lease
         chmod +x /tmp/lease
         busybox udhcpc -i eth0 -n -q -t 60 -T 1 -s /tmp/lease"
    ))?;
    let part = Part::short();
    let fetch = format!("busybox wget -q -O - {} | sha256sum", part.url());
    let said = machine.check(&Command::bash(fetch).limit(FETCH))?;
    expect(said.contains(&served.hash(part)?), || said.clone())?;
    machine.dom0("xl network-detach 0 0").map(drop)
}

/// Two guests on one bridge, and two bridges at one cable, with firewalldom on the one and its provider behind the
/// other. Then all of them lose netdom.
fn bridges(lab: &Lab) -> Result<()> {
    let served = Served::new()?;
    beside_netdom(lab, &[1], Some(trunk::BRIDGES), &served, |machine| {
        let start = |name| machine.start_debian_guest(lab, &guest(name, 0, GuestType::Pv));
        let guests = [start("one")?, start("two")?];
        reach_the_wire_and_each_other(&guests, &served)?;
        println!("{}", machine.dom0("xl list")?);
        machine.dom0("xl destroy two")?;
        let [one, _] = &guests;
        trunk::at_both_ends(machine, &served)?;
        trunk::beside_firewalldom(machine, |firewall| {
            again::netdom_ends_and_comes(machine, one, firewall, &served)
        })
    })
}

fn reach_the_wire_and_each_other(
    [one, two]: &[RunningGuest<'_>; 2],
    served: &Served,
) -> Result<()> {
    fetch(&[(one, Part::short()), (two, Part::short())], served)?;
    // Debian 13 has it coloured on a terminal.
    let said = two.check("ip -color=never -4 -o addr show eth0")?;
    let address = said
        .split_whitespace()
        .find(|word| word.starts_with("10.0.2."))
        .and_then(|word| word.split('/').next())
        .with_context(|| format!("no address: {said}"))?;
    two.check("iperf3 --server --daemon && mkdir -p /srv && head -c 8388608 /dev/urandom > /srv/file && busybox httpd -p 80 -h /srv")?;
    let hash = two.check("sha256sum < /srv/file")?;
    let hash = hash.split_whitespace().next().context("no hash")?;
    let fetched = one.check(&format!("wget -q -O - http://{address}/file | sha256sum"))?;
    expect(fetched.contains(hash), || fetched.clone())?;
    for more in ["", "--reverse"] {
        let line = format!("iperf3 --client {address} --time 3 --format m {more} | grep receiver");
        let (said, fine) = one.run(&line, PATIENCE)?;
        println!("guest to guest {more}: {}", said.trim());
        expect(fine && said.contains("Mbits/sec"), || said.clone())?;
    }
    // What a guest sends to the wire: segments that the card cuts.
    let line = format!("head -c 4194304 /dev/zero | nc {SERVER} 81 | head -c 100");
    let (said, _) = one.run(&line, FETCH)?;
    expect(said.contains("4194304"), || said.clone())
}
