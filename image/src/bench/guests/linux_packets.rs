//! Small packets from a Debian guest to another, by Linux' pktgen.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{DESK, Guests, Place, WEB};
use crate::bench::figure::COMPARED_RATE;
use crate::bench::metered::{let_work, metered};
use crate::bench::samples::{Packets, System};

/// Seconds that are measured, after two to settle.
const SECONDS: u64 = 5;

/// Packets that pktgen sends at a time: one that waited less than 100 us between two would spin.
const BURST: u32 = 16;

/// Connections that packets are of.
const FLOWS: u32 = 16;

const PKTGEN: &str = "/proc/net/pktgen";

const LIMIT: Duration = Duration::from_secs(60);

impl Guests<'_> {
    /// Gets pktgen ready in both guests.
    pub(super) fn prepare_linux_packets(&self, system: System) -> Result<()> {
        let (_, [desk, web]) = self.of(system);
        let (from, to) = ((40_000, 40_000 + FLOWS), (7_000, 7_000));
        let pace = (COMPARED_RATE / BURST, BURST, 0);
        desk.check(&settings((DESK, from), (WEB, to), pace))?;
        web.check(&settings((WEB, to), (DESK, from), (200, 1, 4 * FLOWS)))?;
        Ok(())
    }

    /// Some seconds of 64-byte packets of established connections at the rate that is compared.
    pub(super) fn linux_packets(&self, system: System, run: u32) -> Result<Packets> {
        let (machine, (gateway, [desk, web])) = (self.machine, self.of(system));
        self.flood(system, 2)?;
        web.check(&format!("echo start >{PKTGEN}/pgctrl"))?;
        let before = (self.counted(system)?, gateway.hypercalls(machine, system)?);
        let flood = || self.flood(system, SECONDS);
        let (said, cpu_us) = metered(machine, &gateway.name, flood)?;
        let after = (self.counted(system)?, gateway.hypercalls(machine, system)?);
        let (sent, sent_us) =
            result(&said).with_context(|| format!("{}: {said:?}", desk.name()))?;
        Ok(Packets {
            system,
            run,
            asked_per_second: COMPARED_RATE,
            sent,
            sent_us,
            received: after.0.saturating_sub(before.0),
            cpu_us,
            hypercalls: before
                .1
                .zip(after.1)
                .map(|(before, after)| after.since(before)),
        })
    }

    /// Sends for so many seconds: what pktgen says.
    fn flood(&self, system: System, seconds: u64) -> Result<String> {
        let (_, [desk, _]) = self.of(system);
        let told = desk.begin(&format!(
            "(sleep {seconds}; echo stop >{PKTGEN}/pgctrl) & echo start >{PKTGEN}/pgctrl; grep Result {PKTGEN}/eth0"
        ))?;
        let_work(seconds + 1);
        Ok(desk.finish(&told, LIMIT)?.0)
    }

    /// Packets that came so far. Nobody listens there, which Linux counts; it tells the sender once a second.
    fn counted(&self, system: System) -> Result<u64> {
        let (_, [_, web]) = self.of(system);
        let said = web.check("cat /proc/net/snmp")?;
        for_closed_ports(&said).with_context(|| format!("{}: {said:?}", web.name()))
    }
}

/// A line of shell that gets pktgen ready: where packets come from and go to, with the ports, of which the last of
/// several is none; how often it sends a second, how many at once, and how often in all (0: without end).
fn settings(
    (from, from_ports): (Place<'_>, (u32, u32)),
    (to, to_ports): (Place<'_>, (u32, u32)),
    (rate, burst, count): (u32, u32, u32),
) -> String {
    let settings = [
        format!("burst {burst}"),
        "clone_skb 0".to_owned(),
        "pkt_size 60".to_owned(),
        format!("ratep {rate}"),
        format!("count {count}"),
        format!("dst {}", to.address),
        format!("src_min {}", from.address),
        format!("src_max {}", from.address),
        format!("udp_src_min {}", from_ports.0),
        format!("udp_src_max {}", from_ports.1),
        format!("udp_dst_min {}", to_ports.0),
        format!("udp_dst_max {}", to_ports.1),
    ];
    let settings = settings.map(|setting| format!("tell eth0 '{setting}'"));
    format!(
        "set -e; tell() {{ echo \"$2\" >{PKTGEN}/$1; }}; modprobe pktgen; tell kpktgend_0 'add_device eth0'; {}; \
         tell eth0 \"dst_mac $(ip neigh show {} dev eth0 | cut -d ' ' -f 3)\"",
        settings.join("; "),
        from.gateway
    )
}

/// `Result: OK: 5000123(c1+d2) usec, 99984 (60byte,0frags)`: packets sent, and microseconds.
fn result(said: &str) -> Option<(u64, u64)> {
    let (_, rest) = said.split_once("OK: ")?;
    let (microseconds, rest) = rest.split_once('(')?;
    let (_, rest) = rest.split_once(" usec, ")?;
    let sent = rest.split_whitespace().next()?.parse().ok()?;
    Some((sent, microseconds.parse().ok()?))
}

/// `NoPorts` of UDP in proc_net(5)'s `snmp`, where a line of names goes before one of numbers.
fn for_closed_ports(snmp: &str) -> Option<u64> {
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let place = lines
        .next()?
        .split_whitespace()
        .position(|name| name == "NoPorts")?;
    lines.next()?.split_whitespace().nth(place)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_for_closed_ports_are_found() {
        let said =
            "Tcp: InSegs\r\nTcp: 5\r\nUdp: InDatagrams NoPorts InErrors\r\nUdp: 7 99984 3\r\n";
        assert_eq!(for_closed_ports(said), Some(99_984));
        assert_eq!(for_closed_ports("Udp: InDatagrams NoPorts\r\n"), None);
    }

    #[test]
    fn what_pktgen_says_is_read() {
        let said = "Result: OK: 5000123(c3210+d4996913) usec, 99984 (60byte,0frags)\r\n";
        assert_eq!(result(said), Some((99_984, 5_000_123)));
        assert_eq!(result("Result: Idle\r\n"), None);
    }
}
