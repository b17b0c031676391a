//! As many guests behind firewalldom at once as a large host has, PV and PVH, Debian's and our own, and what they
//! cost it. (One event channel each: that it sleeps as well with more than SCHEDOP_poll takes is a check of minios.rs.)

use crate::behind::{Behind, SITE, report, type_to};
use crate::bench::{LabTest, Setup, expect};
use crate::guests::{FIREWALL, NODES_MAX, UP, beside_firewall_of, guest};
use crate::holdings::Holdings;
use anyhow::{Context, Result};
use qemu_tests::{Command, DebianGuest, GuestType, Machine, Tier};
use std::time::Duration;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![
        LabTest::new(
            "crowd::many_guests_pass_their_streams_at_once",
            many_guests_pass_their_streams_at_once,
        )
        .alone(),
    ]
}

/// Of the firewall, in MiB: what its configuration has for a few guests, and half a MiB for each of 64.
const MEMORY_MIB: u32 = 48;

/// Datagrams a second of each stream. It is the number of streams that is tried here.
const RATE: u32 = 5;

/// Watches the firewall may have, of the 128 that xenstored grants a domain.
const WATCHES: u64 = 90;

/// Pairs of our own guests, of which one sends to the other.
fn pairs() -> u8 {
    match Tier::current() {
        Tier::Short => 3,
        Tier::Full => 30,
    }
}

/// Debian's guests: name, type, zone and address. The short tier has the first half.
const DEBIAN: [(&str, GuestType, Zone, &str); 4] = [
    ("web-pv", GuestType::Pv, Zone::Dmz, "10.0.4.201"),
    ("pc-pvh", GuestType::Pvh, Zone::Loc, "10.0.3.202"),
    ("web-pvh", GuestType::Pvh, Zone::Dmz, "10.0.4.202"),
    ("pc-pv", GuestType::Pv, Zone::Loc, "10.0.3.201"),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Zone {
    Dmz,
    Loc,
}

fn debian() -> &'static [(&'static str, GuestType, Zone, &'static str)] {
    match Tier::current() {
        Tier::Short => &DEBIAN[..2],
        Tier::Full => &DEBIAN,
    }
}

fn sink(number: u8) -> (String, String) {
    (format!("sink-{number}"), format!("10.0.4.{}", 10 + number))
}

fn source(number: u8) -> (String, String) {
    (format!("send-{number}"), format!("10.0.3.{}", 10 + number))
}

fn many_guests_pass_their_streams_at_once(setup: &Setup) -> Result<()> {
    let Setup { lab, machine } = setup;
    crate::stat::install(machine)?;
    let ours: Vec<String> = { 0..pairs() }
        .flat_map(|number| [sink(number).0, source(number).0])
        .collect();
    let theirs = debian().iter().map(|(name, ..)| *name);
    let names: Vec<&str> = ours.iter().map(String::as_str).chain(theirs).collect();
    beside_firewall_of(machine, SITE, MEMORY_MIB, &names, || {
        let before = Holdings::of(machine, FIREWALL)?;
        for number in 0..pairs() {
            let ((sink, to), (source, address)) = (sink(number), source(number));
            let behind = Behind::Firewall;
            behind.create_sink(machine, &sink, &to)?;
            let words = format!("rate={RATE} frame=64,1514 wait=true");
            behind.create_source(machine, &source, (&address, &to), &words)?;
        }
        let mut webs = Vec::new();
        let mut desks = Vec::new();
        for &(name, kind, zone, address) in debian() {
            let (network, _) = address.rsplit_once('.').context("an address")?;
            let (vif, of_zone) = match zone {
                Zone::Dmz => ("vif-dmz", &mut webs),
                Zone::Loc => ("vif-loc", &mut desks),
            };
            let vif = format!(",vifname={vif}-{name}");
            let wanted = DebianGuest {
                kind,
                ..guest(name, address, &format!("{network}.1"), &vif)
            };
            of_zone.push((machine.start_debian_guest(lab, &wanted)?, address));
        }
        for (guest, _) in webs.iter().chain(&desks) {
            guest.check(UP)?;
        }
        for number in 0..pairs() {
            type_to(machine, &source(number).0, 'g')?;
        }
        for (web, _) in &webs {
            web.check("mkdir -p /srv && echo here > /srv/file && busybox httpd -p 80 -h /srv")?;
        }
        for (desk, _) in &desks {
            for (_, address) in &webs {
                let fetched = desk.check(&format!("wget -q -O - http://{address}/file"))?;
                expect(fetched.trim() == "here", || fetched.clone())?;
            }
        }
        cost_xenstore_little(machine)?;
        let all = Holdings::of(machine, FIREWALL)?;
        eprintln!(
            "{} guests: {} event channels, {} bytes of memory",
            names.len(),
            all.ports.trim(),
            before.memory.saturating_sub(all.memory)
        );
        let ports: usize = all.ports.trim().parse()?;
        expect(ports >= names.len(), || format!("{ports} event channels"))?;
        for number in 0..pairs() {
            type_to(machine, &source(number).0, 's')?;
        }
        let mut wrong = String::new();
        for number in 0..pairs() {
            let report = report(machine, &sink(number).0, &source(number).1)?;
            if !report.is_whole() || report.total == 0 {
                wrong += &format!("{}: {report}\n", source(number).0);
            }
        }
        expect(wrong.is_empty(), || wrong.clone())?;
        // One that the emulator has crashed meanwhile has left as well.
        let leave =
            { names.iter() }.map(|name| format!("! xl domid {name} || xl destroy {name}\n"));
        let leave = Command::bash(format!("set -e\n{}", leave.collect::<String>()));
        machine.check(&leave.limit(Duration::from_secs(600)))?;
        let after = Holdings::of(machine, FIREWALL)?;
        expect(before.are_same_after_many(&after, names.len()), || {
            format!("before {before:?}\nafter  {after:?}")
        })
    })
}

/// Nodes of each vif, and what xenstored counts as the firewall's.
fn cost_xenstore_little(machine: &Machine) -> Result<()> {
    let counts = machine.dom0(&format!(
        "home=/local/domain/$(xl domid {FIREWALL})/backend/vif
         for guest in $(xenstore-list $home); do xenstore-ls -f $home/$guest/0 | wc -l; done"
    ))?;
    for count in counts.split_whitespace() {
        // And the directory itself.
        expect(count.parse::<usize>()? < NODES_MAX, || counts.clone())?;
    }
    let quota = machine.dom0(&format!("xenstore-control quota $(xl domid {FIREWALL})"))?;
    eprint!("{quota}");
    let watches = { quota.lines() }
        .find(|line| line.trim_start().starts_with("watches"))
        .and_then(|line| {
            line.split_whitespace()
                .find_map(|word| word.parse::<u64>().ok())
        });
    expect(watches.is_some_and(|watches| watches < WATCHES), || {
        format!("watches of {WATCHES}: {quota}")
    })
}
