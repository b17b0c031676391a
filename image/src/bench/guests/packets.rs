//! Small packets from a guest of ours to another, counted.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};

use super::{Guests, Place, SAYING_LIMIT, let_work};
use crate::bench::figure::COMPARED_RATE;
use crate::bench::samples::{AS_MANY_AS_PASS, Packets, Samples, System};

/// Packets each second that are asked of the sender, one after the other.
const RATES: [u32; 3] = [COMPARED_RATE, 2 * COMPARED_RATE, AS_MANY_AS_PASS];

/// Packets that the sender may send at once: half of what a ring holds. It is not always let run in time.
const BURST: u32 = 128;

/// Seconds at each.
const SECONDS: u64 = 5;

/// What the sender asks of the guest that counts, at the end: it is said for two seconds.
const END_LIMIT: Duration = Duration::from_secs(30);

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
        for rate in RATES {
            let packets = self.small_packets(system, run, rate);
            let packets = packets.with_context(|| format!("64-byte packets at {rate}/s"))?;
            samples.guest_packets.push(packets);
        }
        Ok(())
    }

    fn small_packets(&self, system: System, run: u32, rate: u32) -> Result<Packets> {
        let (machine, (gateway, _)) = (self.machine, self.of(system));
        self.create(gateway, SINK, "role=receive port=7000 answer=64")?;
        machine.wait_for_console(SINK.name, "listening", SAYING_LIMIT)?;
        let words = format!(
            "role=send wait=true to={} frame=64 flows=16 rate={rate} burst={BURST}",
            SINK.address
        );
        self.create(gateway, SOURCE, &words)?;
        machine.wait_for_console(SOURCE.name, "connected", SAYING_LIMIT)?;
        // Whatever of their coming the gateway still works on.
        let_work(2);
        let before = gateway.hypercalls(machine, system)?;
        let (report, cpu_us) = self.metered(gateway, || {
            self.type_to(SOURCE.name, 'g')?;
            let_work(SECONDS);
            self.type_to(SOURCE.name, 's')?;
            let line = format!("{}: received ", SOURCE.address);
            machine.wait_for_console(SINK.name, &line, END_LIMIT)
        })?;
        let after = gateway.hypercalls(machine, system)?;
        let sent = machine.wait_for_console(SOURCE.name, "packets/s", SAYING_LIMIT)?;
        self.destroy(&[SOURCE.name, SINK.name])?;
        let (sent, sent_us) = sent_line(&sent).ok_or_else(|| anyhow!("it said {sent:?}"))?;
        let received = received_line(&report).ok_or_else(|| anyhow!("it said {report:?}"))?;
        Ok(Packets {
            system,
            run,
            asked_per_second: rate,
            sent,
            sent_us,
            received,
            cpu_us,
            hypercalls: before.zip(after).map(|(before, after)| after.since(before)),
        })
    }
}

/// `sent 5000 datagrams to each of 1 in 10003 ms, 499 packets/s`: how many, and microseconds.
fn sent_line(console: &str) -> Option<(u64, u64)> {
    let (_, rest) = console.split_once("sent ")?;
    let (count, rest) = rest.split_once(" datagrams to each of ")?;
    let (_, rest) = rest.split_once(" in ")?;
    let (milliseconds, _) = rest.split_once(" ms")?;
    let milliseconds: u64 = milliseconds.parse().ok()?;
    Some((count.parse().ok()?, milliseconds * 1000))
}

/// `10.0.3.9: received 5000 of 5000, …`: how many.
pub(super) fn received_line(console: &str) -> Option<u64> {
    let (_, rest) = console.split_once(": received ")?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_small_guests_say_is_read() {
        let sent = "10.0.3.9 is 00:16:3e:00:00:01, connected\r\nsending\r\nsent 5000 datagrams to each of 1 in 10003 ms, 499 packets/s\r\n";
        assert_eq!(sent_line(sent), Some((5000, 10_003_000)));
        assert_eq!(sent_line("sending\r\n"), None);
        let received = "listening\r\n10.0.3.9: received 4999 of 5000, 1 missing, 0 twice, 0 out of order, 0 with wrong bytes; 500 packets/s\r\n";
        assert_eq!(received_line(received), Some(4999));
        assert_eq!(received_line("listening\r\n"), None);
    }
}
