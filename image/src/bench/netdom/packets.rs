//! Small packets between guests of our own, and between one of them and the wire.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Bench;
use super::samples::DriverDomains;
use super::wire::PEER;
use crate::bench::figure::{COMPARED_RATE, WIRE_RATE};
use crate::bench::metered::{let_work, metered};
use crate::bench::net_guest::{Middle, NetGuest, SAYING_LIMIT, SECONDS, others_line};
use crate::bench::samples::{AS_MANY_AS_PASS, Packets, System};

/// Packets each second that are asked of a sender to another guest, one after the other.
const RATES: [u32; 2] = [COMPARED_RATE, AS_MANY_AS_PASS];

const SOURCE: &str = "10.0.2.41";
const SINK: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 42);
const SINK_STATION: [u8; 6] = [0, 0x16, 0x3e, 0, 2, 42];

impl Bench<'_> {
    /// 64-byte packets of 16 connections: from guest to guest at each rate, to the wire and from there.
    pub(super) fn packets(
        &self,
        system: System,
        run: u32,
        samples: &mut DriverDomains,
    ) -> Result<()> {
        let middle = Middle {
            machine: self.machine,
            system,
            domain: &self.drivers.of(system).name,
            hypercalls: &|| Ok(None),
        };
        let (source, sink) = (
            self.source(system, &SINK.to_string()),
            self.sink(system, SOURCE),
        );
        for rate in RATES {
            let packets = middle.packets(run, &source, &sink, rate);
            let packets = packets.with_context(|| format!("64-byte packets at {rate}/s"))?;
            samples.packets.push(packets);
        }
        let out = self.packets_out(system, run);
        samples
            .packets_out
            .push(out.context("64-byte packets to the wire")?);
        let back = self.packets_in(system, run);
        samples
            .packets_in
            .push(back.context("64-byte packets from the wire")?);
        Ok(())
    }

    fn source(&self, system: System, to: &str) -> NetGuest {
        NetGuest {
            name: "source".to_owned(),
            address: SOURCE.to_owned(),
            gateway: to.to_owned(),
            vif: self.drivers.of(system).vif(),
        }
    }

    fn sink(&self, system: System, from: &str) -> NetGuest {
        let mac = SINK_STATION.map(|byte| format!("{byte:02x}")).join(":");
        NetGuest {
            name: "sink".to_owned(),
            address: SINK.to_string(),
            gateway: from.to_owned(),
            vif: format!("mac={mac},{}", self.drivers.of(system).vif()),
        }
    }

    fn packets_out(&self, system: System, run: u32) -> Result<Packets> {
        let (machine, driver) = (self.machine, self.drivers.of(system));
        let peer = PEER.to_string();
        let source = self.source(system, &peer);
        let send = || {
            source.create_sender(machine, &peer, WIRE_RATE)?;
            let_work(2);
            metered(machine, &driver.name, || source.send(machine))
        };
        let (((sent, sent_us), cpu_us), received) = self.wires.of(system).while_there(send)?;
        source.destroy(machine)?;
        Ok(Packets {
            system,
            run,
            asked_per_second: WIRE_RATE,
            sent,
            sent_us,
            received,
            cpu_us,
            hypercalls: None,
        })
    }

    fn packets_in(&self, system: System, run: u32) -> Result<Packets> {
        let (machine, driver, wire) =
            (self.machine, self.drivers.of(system), self.wires.of(system));
        let sink = self.sink(system, &PEER.to_string());
        // It asks for its gateway, and so is known to be there.
        wire.while_there(|| {
            sink.create(machine, "role=receive")?;
            machine.wait_for_console(&sink.name, "listening", SAYING_LIMIT)?;
            let_work(2);
            Ok(())
        })?;
        let ((sent, sent_us), cpu_us) = metered(machine, &driver.name, || {
            wire.send(SINK_STATION, SINK, WIRE_RATE, Duration::from_secs(SECONDS))
        })?;
        sink.type_to(machine, 't')?;
        let said = machine.wait_for_console(&sink.name, "for other ports", SAYING_LIMIT)?;
        let received = others_line(&said).with_context(|| format!("it said {said:?}"))?;
        sink.destroy(machine)?;
        Ok(Packets {
            system,
            run,
            asked_per_second: WIRE_RATE,
            sent,
            sent_us,
            received,
            cpu_us,
            hypercalls: None,
        })
    }
}
