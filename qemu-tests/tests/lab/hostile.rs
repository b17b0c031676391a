//! Small guests of our own behind firewalldom, which send a counted stream to others.

use crate::bench::{LabTest, Setup, expect};
use crate::guests::beside_firewall;
use crate::images;
use anyhow::{Context, Result, anyhow};
use guests::stream::Report;
use image::build::TargetChoice;
use qemu_tests::{Command, Machine};
use std::time::Duration;

pub(crate) fn tests() -> Vec<LabTest> {
    vec![LabTest::new(
        "hostile::a_counted_stream_arrives_whole",
        a_counted_stream_arrives_whole,
    )]
}

const SITE: &str = "qemu-tests/sites/strangers";

/// Who receives, and its address.
const SINK: &str = "sink";
const SINK_ADDRESS: &str = "10.0.4.2";

/// How long `xl create` of a small guest may take here.
const CREATE_LIMIT: Duration = Duration::from_secs(60);

/// How long a guest may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Creates a `net-guest` with one vif behind the firewall.
fn create(machine: &Machine, name: &str, vif: &str, words: &str) -> Result<()> {
    let kernel = images::put(machine, "guests", "net-guest", TargetChoice::Auto)?;
    let config = format!(
        "name = '{name}'\ntype = 'pv'\nkernel = '{kernel}'\nmemory = 8\n\
         extra = '{words}'\nvif = ['backend=firewalldom,{vif}']\n"
    );
    machine.put(&format!("/tmp/{name}.cfg"), config.as_bytes())?;
    let script = format!("xl create -q -e /tmp/{name}.cfg");
    machine.check(&Command::bash(script).limit(CREATE_LIMIT))?;
    Ok(())
}

/// Creates the guest that counts, and waits until it does.
fn create_sink(machine: &Machine) -> Result<()> {
    create(
        machine,
        SINK,
        &format!("ip={SINK_ADDRESS},vifname=vif-dmz-sink"),
        &format!("role=receive port=7000 closed=666 address={SINK_ADDRESS} gateway=10.0.4.1"),
    )?;
    machine.wait_for_console(SINK, "listening", CONNECT_LIMIT)?;
    Ok(())
}

/// Creates a guest that sends as `words` say.
fn create_source(machine: &Machine, name: &str, address: &str, words: &str) -> Result<()> {
    create(
        machine,
        name,
        &format!("ip={address}"),
        &format!("role=send address={address} gateway=10.0.3.1 {words}"),
    )
}

/// What the sink says came of the stream from `address`, once it has ended.
fn report(machine: &Machine, address: &str, limit: Duration) -> Result<Report> {
    let start = format!("{address}: received ");
    let console = machine.wait_for_console(SINK, &start, limit)?;
    let line = console.lines().find(|line| line.contains(&start));
    let line = line.context("the line is there")?;
    eprintln!("{line}");
    line.parse().map_err(|_| anyhow!("no report: {line}"))
}

/// Has the sink say what else came, and waits for the answer.
fn others(machine: &Machine, number: usize) -> Result<String> {
    let script = format!(
        "tty=$(xenstore-read /local/domain/$(xl domid {SINK})/console/tty); echo t > $tty
         until [ $(grep -c 'for the closed port' /var/log/xen/guest-{SINK}.log) -ge {number} ]; do sleep 0.1; done
         grep 'for the closed port' /var/log/xen/guest-{SINK}.log | tail -n 1"
    );
    machine.check(&Command::bash(script).limit(CONNECT_LIMIT))
}

fn a_counted_stream_arrives_whole(setup: &Setup) -> Result<()> {
    const COUNT: u64 = 3000;
    let machine = &setup.machine;
    beside_firewall(machine, SITE, &[SINK, "small", "large", "shut"], || {
        create_sink(machine)?;
        // Headers only, which the firewall copies; and payload, which Xen copies from guest to guest, or to the
        // firewall where it has to know the checksum.
        for (name, address, words) in [
            ("small", "10.0.3.2", "frame=64"),
            ("large", "10.0.3.3", "frame=64,1514,300 checksum=whole"),
        ] {
            let words = format!("to={SINK_ADDRESS} rate=1000 count={COUNT} {words}");
            create_source(machine, name, address, &words)?;
        }
        for address in ["10.0.3.2", "10.0.3.3"] {
            let report = report(machine, address, Duration::from_secs(60))?;
            expect(report.is_whole() && report.total == COUNT, || {
                format!("{address}: {report}")
            })?;
        }
        // And what no rule lets through does not arrive.
        let words = format!("to={SINK_ADDRESS} rate=1000 count=500 port=666");
        create_source(machine, "shut", "10.0.3.4", &words)?;
        machine.wait_for_console("shut", "sent 500 datagrams", CONNECT_LIMIT)?;
        let others = others(machine, 3)?;
        expect(
            others.contains("0 for other ports, 0 for the closed port"),
            || others.clone(),
        )
    })
}
