//! Small packets at a given rate: loss, CPU time and hypercalls for each.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use qemu_tests::{Command, Machine};

use super::figure::COMPARED_RATE;
use super::samples::{Hypercalls, Packets, System};
use crate::run::meter::METER;
use crate::run::network::Side;
use crate::run::scenario::Forwarder;

const SCRIPT: &str = include_str!("pktgen.sh");

/// Packets each second that are asked of the sender, one after the other.
pub(super) const RATES: [u32; 4] = [5_000, 10_000, COMPARED_RATE, 40_000];

/// Seconds at each rate, after one second to settle.
const SECONDS: u32 = 3;

const LIMIT: Duration = Duration::from_secs(90);

/// The sender, the receiver, and the domain between them.
pub(super) struct Path<'a> {
    pub(super) machine: &'a Machine,
    pub(super) inside: &'a Side,
    pub(super) outside: &'a Side,
    pub(super) forwarder: &'a Forwarder,
}

impl Path<'_> {
    /// Opens the connections whose packets are sent.
    pub(super) fn open(&self) -> Result<()> {
        self.run("open", &[])
            .map(drop)
            .context("no connections for small packets")
    }

    /// Sends at a rate. `hypercalls` asks the domain how many there were so far.
    pub(super) fn send(
        &self,
        system: System,
        run: u32,
        rate: u32,
        hypercalls: impl Fn() -> Result<Option<Hypercalls>>,
    ) -> Result<Packets> {
        let before = hypercalls()?;
        let arguments = [
            self.forwarder.name.clone(),
            rate.to_string(),
            SECONDS.to_string(),
        ];
        let text = self.run("send", &arguments)?;
        let after = hypercalls()?;
        let counted = match (before, after) {
            (Some(before), Some(after)) => Some(after.since(before)),
            _ => None,
        };
        let numbers: Vec<u64> = text
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        match numbers[..] {
            [sent, sent_us, received, cpu_us] => Ok(Packets {
                system,
                run,
                asked_per_second: rate,
                sent,
                sent_us,
                received,
                cpu_us,
                hypercalls: counted,
            }),
            _ => Err(anyhow!("pktgen in dom0 printed {text:?}")),
        }
    }

    fn run(&self, verb: &str, arguments: &[String]) -> Result<String> {
        let script = format!("{METER}{SCRIPT}");
        let (inside, outside) = (self.inside, self.outside);
        let places = [
            inside.namespace.clone(),
            outside.namespace.clone(),
            inside.firewall.to_string(),
            outside.host.to_string(),
            inside.host.to_string(),
        ];
        let words = ["bash", "-c", &script, "bash", verb].map(str::to_owned);
        let words = words
            .into_iter()
            .chain(places)
            .chain(arguments.iter().cloned());
        self.machine.check(&Command::new(words).limit(LIMIT))
    }
}
