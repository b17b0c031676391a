//! Small packets from a guest of ours to another, counted.

use anyhow::{Context, Result};

use super::{Guests, Place};
use crate::bench::figure::COMPARED_RATE;
use crate::bench::net_guest::Middle;
use crate::bench::samples::{AS_MANY_AS_PASS, Samples, System};

/// Packets each second that are asked of the sender, one after the other.
const RATES: [u32; 3] = [COMPARED_RATE, 2 * COMPARED_RATE, AS_MANY_AS_PASS];

const SOURCE: Place<'_> = Place {
    name: "source",
    address: "10.0.3.9",
    gateway: "10.0.3.1",
    vifname: "vif-loc-source",
};

const SINK: Place<'_> = Place {
    name: "sink",
    address: "10.0.4.9",
    gateway: "10.0.4.1",
    vifname: "vif-dmz-sink",
};

impl Guests<'_> {
    /// 64-byte packets of 16 connections, at each rate.
    pub(super) fn packets(&self, system: System, run: u32, samples: &mut Samples) -> Result<()> {
        let (machine, (gateway, _)) = (self.machine, self.of(system));
        let middle = Middle {
            machine,
            system,
            domain: &gateway.name,
            hypercalls: &|| gateway.hypercalls(machine, system),
        };
        let [source, sink] = [SOURCE, SINK].map(|place| place.net_guest(gateway));
        for rate in RATES {
            let packets = middle.packets(run, &source, &sink, rate);
            let packets = packets.with_context(|| format!("64-byte packets at {rate}/s"))?;
            samples.guest_packets.push(packets);
        }
        Ok(())
    }
}
