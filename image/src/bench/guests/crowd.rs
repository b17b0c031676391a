//! Many guests and many flows behind a firewalldom of little memory.

use std::time::Duration;

use anyhow::{Context, Result};

use super::packets::received_line;
use super::{Guests, Place, SAYING_LIMIT};
use crate::bench::MEMORY_MIB;
use crate::bench::samples::{Crowd, System, WANTED_GUESTS};

/// Guests, of which one only counts.
const GUESTS: u32 = WANTED_GUESTS;

/// Flows of each of the others.
const FLOWS: u64 = 1_100;

/// Datagrams a second of each: all of them together are far fewer than pass, for none is to be lost.
const RATE: u32 = 100;

/// What a guest says that there is no memory for.
const REFUSED: &str = "the backend closed the device";

const LIMIT: Duration = Duration::from_secs(120);

const SINK: Place<'_> = Place {
    name: "crowd-0",
    address: "10.0.4.20",
    gateway: "10.0.4.1",
    vifname: "vif-dmz-crowd",
};

impl Guests<'_> {
    /// Each sends a datagram in each of its flows, and the last of them is counted while the first still stands. Who is
    /// refused is not among them.
    pub(super) fn crowd(&self) -> Result<Crowd> {
        let (machine, (gateway, pair)) = (self.machine, self.of(System::Firewalldom));
        // There are to be so many, not more.
        for guest in pair {
            self.destroy(&[guest.name()])?;
        }
        self.create(gateway, SINK, "role=receive port=7000")?;
        machine.wait_for_console(SINK.name, "listening", SAYING_LIMIT)?;
        let mut addresses = Vec::new();
        for number in 1..GUESTS {
            let address = format!("10.0.3.{}", 20 + number);
            let name = format!("crowd-{number}");
            let vifname = format!("vif-loc-{number}");
            let place = Place {
                name: &name,
                address: &address,
                gateway: "10.0.3.1",
                vifname: &vifname,
            };
            let words = format!(
                "role=send wait=true to={} frame=64 flows={FLOWS} count={FLOWS} rate={RATE}",
                SINK.address
            );
            self.create(gateway, place, &words)?;
            if let Err(error) = machine.wait_for_console(&name, "connected", SAYING_LIMIT) {
                if machine.guest_console(&name)?.contains(REFUSED) {
                    self.destroy(&[&name])?;
                    break;
                }
                return Err(error);
            }
            addresses.push((name, address));
        }
        for (name, _) in &addresses {
            self.type_to(name, 'g')?;
        }
        let mut received = 0;
        for (_, address) in &addresses {
            let start = format!("{address}: received ");
            let console = machine.wait_for_console(SINK.name, &start, LIMIT)?;
            let line = console.lines().find(|line| line.contains(&start));
            received += line.and_then(received_line).context("a report")?;
        }
        let flows = gateway.flows(machine)?;
        for (name, _) in &addresses {
            self.destroy(&[name])?;
        }
        self.destroy(&[SINK.name])?;
        Ok(Crowd {
            firewalldom_mib: MEMORY_MIB,
            guests: u32::try_from(addresses.len())? + 1,
            flows,
            sent: FLOWS * addresses.len() as u64,
            received,
        })
    }
}
