//! TCP between Debian guests, and between one of them and the wire.

use std::time::Duration;

use anyhow::{Context, Result};
use qemu_tests::RunningGuest;

use super::samples::DriverDomains;
use super::wire::{SERVER, STREAM_BYTES};
use super::{Bench, Pairs, WEB, index};
use crate::bench::iperf::{self, Received};
use crate::bench::metered::metered;
use crate::bench::samples::{GuestStream, GuestWay, System};

/// How long a stream over the wire may take, which is emulated.
const WIRE_LIMIT: Duration = Duration::from_secs(150);

impl Bench<'_> {
    /// One stream each way.
    pub(super) fn streams(
        &self,
        pairs: &Pairs<'_>,
        system: System,
        run: u32,
        samples: &mut DriverDomains,
    ) -> Result<()> {
        let [desk, _] = &pairs.0[index(system)];
        let driver = self.drivers.of(system);
        for way in GuestWay::ALL {
            let (_, web) = WEB;
            let stream = || match way {
                GuestWay::Between => iperf::stream(desk, web, ""),
                GuestWay::BetweenBack => iperf::stream(desk, web, "--reverse"),
                GuestWay::Out => by_wire(
                    desk,
                    &format!("head -c {STREAM_BYTES} /dev/zero | nc {SERVER} 81 | head -c 100"),
                ),
                GuestWay::In => by_wire(desk, &format!("wget -q -O - http://{SERVER}/ | wc -c")),
            };
            let metered = metered(self.machine, &driver.name, stream);
            let (received, cpu_us) = metered.with_context(|| format!("a stream {}", way.text()))?;
            samples.streams.push(GuestStream {
                system,
                run,
                way,
                bits_per_second: received.bits_per_second,
                bytes: received.bytes,
                cpu_us,
                hypercalls: None,
            });
        }
        Ok(())
    }
}

/// Has a guest do what prints how many bytes were received, and take the time.
fn by_wire(guest: &RunningGuest<'_>, line: &str) -> Result<Received> {
    let now = "read -r now _ </proc/uptime";
    let line = format!("{now}; begun=$now; count=$({line}); {now}; echo came $count $begun $now");
    let (said, _) = guest.run(&line, WIRE_LIMIT)?;
    parse(&said).with_context(|| format!("over the wire: {said:?}"))
}

/// `came BYTES BEGUN ENDED`, in seconds.
fn parse(said: &str) -> Option<Received> {
    let line = said.lines().find_map(|line| line.strip_prefix("came "))?;
    let mut words = line.split_whitespace();
    let bytes: u64 = words.next()?.parse().ok()?;
    let begun: f64 = words.next()?.parse().ok()?;
    let ended: f64 = words.next()?.parse().ok()?;
    (bytes == STREAM_BYTES && ended > begun).then(|| Received {
        bytes,
        bits_per_second: (bytes as f64 * 8.0 / (ended - begun)) as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_over_the_wire_is_all_of_it_and_its_time() {
        let said = format!("came {STREAM_BYTES} 20.50 22.50\r\n");
        let received = Received {
            bytes: STREAM_BYTES,
            bits_per_second: STREAM_BYTES * 4,
        };
        assert_eq!(parse(&said), Some(received));
        assert_eq!(parse("came 20.50 22.50\r\n"), None);
        assert_eq!(parse("came 17 20.50 22.50\r\n"), None);
    }
}
