//! TCP between Debian guests, and between one of them and the outside.

use anyhow::{Context, Result};

use super::gateway::OUTSIDE;
use super::{Guests, WEB};
use crate::bench::iperf;
use crate::bench::metered::metered;
use crate::bench::samples::{GuestStream, GuestWay, Samples, System};

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
        let before = gateway.hypercalls(self.machine, system)?;
        let (received, cpu_us) = metered(self.machine, &gateway.name, || {
            iperf::stream(desk, server, option)
        })?;
        let after = gateway.hypercalls(self.machine, system)?;
        Ok(GuestStream {
            system,
            run,
            way,
            bits_per_second: received.bits_per_second,
            bytes: received.bytes,
            cpu_us,
            hypercalls: before.zip(after).map(|(before, after)| after.since(before)),
        })
    }
}
