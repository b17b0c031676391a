//! TCP between Debian guests, and between one of them and the outside.

use std::time::Duration;

use anyhow::{Context, Result};

use super::gateway::OUTSIDE;
use super::{Guests, WEB, let_work};
use crate::bench::samples::{GuestStream, GuestWay, Samples, System};

/// Seconds that a stream is sent.
const SECONDS: u64 = 5;

const LIMIT: Duration = Duration::from_secs(60);

impl Guests<'_> {
    /// One stream each way.
    pub(super) fn streams(&self, system: System, run: u32, samples: &mut Samples) -> Result<()> {
        for way in GuestWay::ALL {
            let stream = self.stream(system, run, way);
            let stream = stream.with_context(|| format!("a stream {}", way.text()))?;
            samples.guest_streams.push(stream);
        }
        Ok(())
    }

    fn stream(&self, system: System, run: u32, way: GuestWay) -> Result<GuestStream> {
        let (gateway, [desk, _]) = self.of(system);
        let (server, option) = match way {
            GuestWay::Between => (WEB.address, ""),
            GuestWay::BetweenBack => (WEB.address, "--reverse"),
            GuestWay::Out => (OUTSIDE, ""),
            GuestWay::In => (OUTSIDE, "--reverse"),
        };
        // A console is slow, and the whole report ten thousand bytes.
        let line = format!(
            "iperf3 --client {server} --time {SECONDS} {option} --json | tr -d ' \\t\\n' | \
             sed -n 's/.*\"sum_received\":{{\\([^}}]*\\)}}.*/\\1/p'"
        );
        let before = gateway.hypercalls(self.machine, system)?;
        let (said, cpu_us) = self.metered(gateway, || {
            let told = desk.begin(&line)?;
            let_work(SECONDS + 1);
            Ok(desk.finish(&told, LIMIT)?.0)
        })?;
        let after = gateway.hypercalls(self.machine, system)?;
        let (bytes, bits_per_second) = parse(&said).with_context(|| format!("iperf3: {said:?}"))?;
        Ok(GuestStream {
            system,
            run,
            way,
            bits_per_second,
            bytes,
            cpu_us,
            hypercalls: before.zip(after).map(|(before, after)| after.since(before)),
        })
    }
}

/// The members of iperf3's `sum_received`: bytes, and bits a second.
fn parse(said: &str) -> Option<(u64, u64)> {
    let line = said.lines().find(|line| line.contains("bits_per_second"))?;
    let members: serde_json::Value = serde_json::from_str(&format!("{{{}}}", line.trim())).ok()?;
    let bits = members["bits_per_second"].as_f64()?;
    Some((members["bytes"].as_u64()?, bits as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_what_was_received() {
        let said = "\"start\":0,\"end\":5.1,\"seconds\":5.1,\"bytes\":250000000,\"bits_per_second\":392156862.7,\"sender\":true\r\n";
        assert_eq!(parse(said), Some((250_000_000, 392_156_862)));
        assert_eq!(parse("sh: iperf3: not found\r\n"), None);
    }
}
