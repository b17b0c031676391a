//! Many vifs of a netdom of little memory.

use std::time::Duration;

use anyhow::{Context, Result};

use super::samples::Crowd;
use super::{Bench, wire};
use crate::bench::figure::CROWDS;
use crate::bench::net_guest::{NetGuest, SAYING_LIMIT, received_line};
use crate::bench::samples::System;

/// Guests of which one only counts: it tells so many senders apart, and itself makes them one more.
const GROUP: u32 = 16;

/// Datagrams of each sender.
const COUNT: u64 = 200;

/// Datagrams a second of each: who counts is not let run for seconds on a machine with so many, and its ring has to hold
/// all that comes meanwhile, for none is to be lost.
const RATE: u32 = 5;

/// What a guest says that there is no memory for.
const REFUSED: &str = "the backend closed the device";

const LIMIT: Duration = Duration::from_secs(120);

impl Bench<'_> {
    /// netdom alone, with so much memory and so many vifs.
    pub(super) fn crowds(&self) -> Result<Vec<Crowd>> {
        let driver = self.drivers.of(System::Netdom);
        let mut crowds = Vec::new();
        for (memory_mib, wanted) in CROWDS {
            driver.create(self.machine, Some(memory_mib))?;
            let crowd = self.crowd(memory_mib, wanted);
            let crowd = crowd.with_context(|| format!("{wanted} vifs in {memory_mib} MiB"))?;
            crowds.push(crowd);
            driver.destroy(self.machine)?;
        }
        Ok(crowds)
    }

    /// Each guest but one of a group sends to that one. Who is refused is not among them.
    fn crowd(&self, memory_mib: u32, wanted: u32) -> Result<Crowd> {
        let machine = self.machine;
        // Of each group, the first is who counts.
        let mut guests: Vec<NetGuest> = Vec::new();
        for number in 0..wanted {
            let (guest, words) = self.member(number);
            guest.create(machine, &words)?;
            let there = machine.wait_for_console(&guest.name, "connected", SAYING_LIMIT);
            if let Err(error) = there {
                if machine.guest_console(&guest.name)?.contains(REFUSED) {
                    guest.destroy(machine)?;
                    break;
                }
                return Err(error);
            }
            guests.push(guest);
        }
        let groups = || guests.chunks(GROUP as usize).filter_map(<[_]>::split_first);
        for (_, senders) in groups() {
            for sender in senders {
                sender.type_to(machine, 'g')?;
            }
        }
        let (mut sent, mut received) = (0, 0);
        for (sink, senders) in groups() {
            for sender in senders {
                let start = format!("{}: received ", sender.address);
                let console = machine.wait_for_console(&sink.name, &start, LIMIT)?;
                let line = console.lines().find(|line| line.contains(&start));
                received += line.and_then(received_line).context("a report")?;
                sent += COUNT;
            }
        }
        for guest in &guests {
            guest.destroy(machine)?;
        }
        Ok(Crowd {
            memory_mib,
            wanted,
            vifs: u32::try_from(guests.len())?,
            sent,
            received,
        })
    }

    /// One of them, and what it does.
    fn member(&self, number: u32) -> (NetGuest, String) {
        let address = |number: u32| format!("10.0.2.{}", 150 + number);
        let sink = address(number - number % GROUP);
        let words = match number % GROUP {
            0 => "role=receive port=7000".to_owned(),
            _ => format!("role=send wait=true to={sink} frame=64 count={COUNT} rate={RATE}"),
        };
        let guest = NetGuest {
            name: format!("crowd-{number}"),
            gateway: match number % GROUP {
                0 => wire::GATEWAY.to_owned(),
                _ => sink,
            },
            address: address(number),
            vif: self.drivers.of(System::Netdom).vif(),
        };
        (guest, words)
    }
}
