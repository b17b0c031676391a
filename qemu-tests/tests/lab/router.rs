//! The Debian guest that our own domains are compared with forwards, as its Shorewall says.

use crate::bench::{LabTest, PATIENCE, Setup, expect};
use anyhow::{Context, Result};
use qemu_tests::{Command, DebianRouter, Machine, Net, RouterVif};

pub(crate) fn tests() -> Vec<LabTest> {
    vec![LabTest::new(
        "router::debian_forwards_and_masquerades",
        debian_forwards_and_masquerades,
    )]
}

/// Outside is eth0, inside eth1.
const EXAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../examples/two-interfaces/shorewall"
);

fn debian_forwards_and_masquerades(setup: &Setup) -> Result<()> {
    let Setup { lab, machine } = setup;
    let outside = Net {
        name: "out".to_owned(),
        address: "192.0.2.1/24".to_owned(),
        // It has no way back but to the router's own address.
        gateway: None,
    };
    let inside = Net {
        name: "in".to_owned(),
        address: "10.0.3.9/24".to_owned(),
        gateway: Some("10.0.3.1".to_owned()),
    };
    machine.add_net(&outside)?;
    machine.add_net(&inside)?;
    let vif = |address: &str, net: &Net| RouterVif {
        address: address.to_owned(),
        bridge: net.bridge(),
        mac: None,
    };
    let router = DebianRouter {
        name: "debian".to_owned(),
        memory_mib: 192,
        vifs: vec![vif("192.0.2.2/24", &outside), vif("10.0.3.1/24", &inside)],
        routes: Vec::new(),
        shorewall: EXAMPLE.into(),
        guests: Vec::new(),
    };
    machine.start_debian_router(lab, &router)?;

    machine.dom0("ip netns exec in ping -c 3 -i 0.2 -W 20 192.0.2.1")?;
    // Even with a route back, nothing unasked gets in.
    machine.dom0("ip -n out route add 10.0.3.0/24 via 192.0.2.2")?;
    let unasked = machine.run(&Command::bash(
        "ip netns exec out ping -c 2 -i 0.2 -W 2 10.0.3.9",
    ))?;
    expect(!unasked.status.is_success(), || unasked.text())?;
    let megabits = tcp_megabits_per_second(machine)?;
    println!("Debian router: TCP {megabits:.0} Mbit/s");
    expect(megabits > 1.0, || format!("{megabits} Mbit/s"))?;

    machine.check(&Command::bash("xl shutdown -w debian").limit(PATIENCE))?;
    machine.remove_net(&inside)?;
    machine.remove_net(&outside)
}

fn tcp_megabits_per_second(machine: &Machine) -> Result<f64> {
    let server = machine.spawn(&Command::bash("ip netns exec out iperf3 -s -1"))?;
    let report = machine.dom0(
        "until ip netns exec out ss -ltn | grep -q :5201; do sleep 0.1; done
         ip netns exec in iperf3 -c 192.0.2.1 -t 3 -f m | grep receiver",
    )?;
    server.wait()?;
    let words: Vec<&str> = report.split_whitespace().collect();
    let unit = words.iter().position(|word| *word == "Mbits/sec");
    let rate = unit.and_then(|at| words.get(at.checked_sub(1)?));
    rate.context(report.clone())?.parse().context(report)
}
