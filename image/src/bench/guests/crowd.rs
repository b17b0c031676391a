//! Many guests and many flows behind a firewalldom of little memory.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{Guests, Place};
use crate::bench::MEMORY_MIB;
use crate::bench::net_guest::{SAYING_LIMIT, received_line};
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
            machine.dom0(&format!("xl destroy {}", guest.name()))?;
        }
        let sink = SINK.net_guest(gateway);
        sink.create(machine, "role=receive port=7000")?;
        machine.wait_for_console(SINK.name, "listening", SAYING_LIMIT)?;
        let mut senders = Vec::new();
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
            let sender = place.net_guest(gateway);
            sender.create(machine, &words)?;
            if let Err(error) = machine.wait_for_console(&name, "connected", SAYING_LIMIT) {
                if machine.guest_console(&name)?.contains(REFUSED) {
                    sender.destroy(machine)?;
                    break;
                }
                return Err(error);
            }
            senders.push(sender);
        }
        for sender in &senders {
            sender.type_to(machine, 'g')?;
        }
        let mut received = 0;
        for sender in &senders {
            let start = format!("{}: received ", sender.address);
            let console = machine.wait_for_console(SINK.name, &start, LIMIT)?;
            let line = console.lines().find(|line| line.contains(&start));
            received += line.and_then(received_line).context("a report")?;
        }
        let flows = gateway.flows(machine)?;
        for guest in senders.iter().chain([&sink]) {
            guest.destroy(machine)?;
        }
        Ok(Crowd {
            firewalldom_mib: MEMORY_MIB,
            guests: u32::try_from(senders.len())? + 1,
            flows,
            sent: FLOWS * senders.len() as u64,
            received,
        })
    }
}
