//! What was measured, as it was measured: whole numbers, so that a file holds exactly what the
//! page is made of.

use serde::{Deserialize, Serialize};

use super::netdom::samples::DriverDomains;

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// Our firewall.
    Firewalldom,
    /// Our driver domain.
    Netdom,
    /// The Debian PV guest in its place.
    Debian,
}

impl System {
    /// Who forwards: ours first.
    pub const BOTH: [Self; 2] = [Self::Firewalldom, Self::Debian];

    /// Who has a network card for others: ours first.
    pub const DRIVERS: [Self; 2] = [Self::Netdom, Self::Debian];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firewalldom => "firewalldom",
            Self::Netdom => "netdom",
            Self::Debian => "Debian PV guest",
        }
    }
}

/// Everything that was measured with one suite, each sample in the order it was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Samples {
    /// Of the benchmark `sizes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<Sizes>,
    /// Of `memory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Of `start`.
    #[serde(default)]
    pub starts: Vec<Start>,
    /// Of `tcp`.
    #[serde(default)]
    pub streams: Vec<Stream>,
    /// Of `packets`.
    #[serde(default)]
    pub packets: Vec<Packets>,
    /// Of `cost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<Cost>,
    /// Of `guests`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guest_streams: Vec<GuestStream>,
    /// Of `guests`: between two of our own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guest_packets: Vec<Packets>,
    /// Of `guests`: between two Debian guests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub linux_packets: Vec<Packets>,
    /// Of `guests`: a guest's, behind a gateway that is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guest_starts: Vec<Start>,
    /// Of `guests`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest_crowd: Option<Crowd>,
    /// Of `netdom`.
    #[serde(default, skip_serializing_if = "DriverDomains::is_empty")]
    pub netdom: DriverDomains,
}

/// Lengths of files, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// `firewalldom.xen`, stripped.
    pub firewalldom_bytes: u64,
    /// `firewalldom.policy` of the example.
    pub policy_bytes: u64,
    /// The image of `minios-rs/examples/empty`, stripped.
    pub empty_bytes: u64,
    /// Linux, as Debian ships it.
    pub debian_kernel_bytes: u64,
    /// The Debian guest's initial RAM disk.
    pub debian_ramdisk_bytes: u64,
    /// What the images were built for.
    pub target: String,
}

/// Whether the firewall does its whole job in the memory it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// `memory=` of firewalldom.
    pub firewalldom_mib: u32,
    /// `memory=` of the Debian guest.
    pub debian_mib: u32,
    /// Cases that `cargo image run` tries.
    pub cases: u32,
    /// Of them, those that came out as the configuration says.
    pub as_expected: u32,
}

/// One start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Who.
    pub system: System,
    /// From 0.
    pub run: u32,
    /// From the start of `xl create` to its end.
    pub xl_create_us: u64,
    /// From the start of `xl create` to the first packet forwarded.
    pub first_packet_us: u64,
}

/// Which way the payload of a TCP connection goes. The inside opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// From the inside.
    Out,
    /// From the outside.
    In,
}

/// Between whom a guest's TCP stream is, and which way its payload goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestWay {
    /// To another guest.
    Between,
    /// From another guest, over a connection that the one who gets it opened.
    BetweenBack,
    /// To the outside.
    Out,
    /// From the outside, likewise.
    In,
}

impl GuestWay {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Between, Self::BetweenBack, Self::Out, Self::In];

    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Between => "from guest to guest",
            Self::BetweenBack => "from guest to guest, back",
            Self::Out => "from a guest out",
            Self::In => "from outside to a guest",
        }
    }
}

/// One iperf3 TCP stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream<W = Way> {
    /// Who forwarded.
    pub system: System,
    /// From 0.
    pub run: u32,
    /// Its direction.
    pub way: W,
    /// Received payload.
    pub bits_per_second: u64,
    /// Received payload.
    pub bytes: u64,
    /// CPU time of the domain meanwhile.
    pub cpu_us: u64,
    /// What the domain called Xen for, where it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypercalls: Option<Hypercalls>,
}

/// One of a guest's.
pub type GuestStream = Stream<GuestWay>;

/// Many guests, each with many flows, behind a firewall of little memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crowd {
    /// `memory=` of firewalldom.
    pub firewalldom_mib: u32,
    /// Guests at once.
    pub guests: u32,
    /// Flows at once.
    pub flows: u64,
    /// Packets sent.
    pub sent: u64,
    /// Packets that arrived.
    pub received: u64,
}

/// In [`Packets::asked_per_second`]: as many as the sender's ring takes.
pub const AS_MANY_AS_PASS: u32 = 0;

/// Some seconds of 64-byte packets at one rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    /// Who forwarded.
    pub system: System,
    /// From 0.
    pub run: u32,
    /// Packets each second that were asked of the sender.
    pub asked_per_second: u32,
    /// Packets sent.
    pub sent: u64,
    /// Time it took to send them.
    pub sent_us: u64,
    /// Packets that arrived.
    pub received: u64,
    /// CPU time of the domain meanwhile.
    pub cpu_us: u64,
    /// Hypercalls of the domain, where it counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypercalls: Option<Hypercalls>,
}

/// A domain's own count over some time, a little longer than that in which packets were counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hypercalls {
    /// Calls into Xen.
    pub calls: u64,
    /// Packets it forwarded.
    pub packets: u64,
    /// Bytes it had Xen copy by grant, as a backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copied_bytes: Option<u64>,
}

impl Hypercalls {
    /// What the domain's console command of that name printed.
    pub fn parse(answer: &str) -> Option<Self> {
        let (_, rest) = answer.rsplit_once("hypercalls in all ")?;
        let (calls, rest) = rest.split_once(", packets forwarded ")?;
        let (packets, rest) = rest.split_once(", bytes copied ")?;
        Some(Self {
            calls: calls.parse().ok()?,
            packets: packets.parse().ok()?,
            copied_bytes: Some(rest.split_whitespace().next()?.parse().ok()?),
        })
    }

    /// What was counted between two answers.
    pub fn since(self, before: Self) -> Self {
        let copied = self.copied_bytes.zip(before.copied_bytes);
        Self {
            calls: self.calls.saturating_sub(before.calls),
            packets: self.packets.saturating_sub(before.packets),
            copied_bytes: copied.map(|(after, before)| after.saturating_sub(before)),
        }
    }
}

impl<W> Stream<W> {
    /// Megabits of payload each second.
    pub fn megabits(&self) -> Option<f64> {
        Some(self.bits_per_second as f64 / 1e6)
    }

    /// Seconds of the domain's CPU time for each 10⁹ bytes. `None` when nothing was received.
    pub fn cpu_per_gigabyte(&self) -> Option<f64> {
        (self.bytes > 0).then(|| self.cpu_us as f64 * 1e3 / self.bytes as f64)
    }

    /// Bytes that the gateway had Xen copy for each that was received. `None` when nobody counted.
    pub fn copies_per_byte(&self) -> Option<f64> {
        let copied = self.hypercalls?.copied_bytes?;
        (self.bytes > 0).then(|| copied as f64 / self.bytes as f64)
    }
}

/// Guests that there should be at once in [`Crowd`].
pub const WANTED_GUESTS: u32 = 16;

/// Flows for each of them.
const WANTED_FLOWS: u64 = 1_000;

impl Crowd {
    /// Guests that were served, each with a thousand flows at once; `None` if a packet was lost.
    pub fn served(&self) -> Option<f64> {
        let has_room = self.flows >= u64::from(self.guests) * WANTED_FLOWS;
        (has_room && self.received == self.sent).then_some(f64::from(self.guests))
    }
}

impl Packets {
    /// Packets each second that were really sent.
    pub fn offered_per_second(&self) -> f64 {
        self.sent as f64 * 1e6 / (self.sent_us.max(1) as f64)
    }

    /// Packets each second that arrived.
    pub fn forwarded_per_second(&self) -> f64 {
        self.received as f64 * 1e6 / (self.sent_us.max(1) as f64)
    }

    /// Lost packets in a hundred.
    pub fn loss_percent(&self) -> f64 {
        let lost = self.sent.saturating_sub(self.received);
        lost as f64 * 100.0 / (self.sent.max(1) as f64)
    }

    /// Microseconds of the domain's CPU time for each packet that arrived. `None` when none did.
    pub fn cpu_us_per_packet(&self) -> Option<f64> {
        (self.received > 0).then(|| self.cpu_us as f64 / self.received as f64)
    }

    /// Hypercalls for each packet forwarded. `None` when nobody counted.
    pub fn hypercalls_per_packet(&self) -> Option<f64> {
        let Hypercalls { calls, packets, .. } = self.hypercalls?;
        (packets > 0).then(|| calls as f64 / packets as f64)
    }
}

/// What the engine costs whatever machine it runs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Packets of established connections that were counted.
    pub packets: u64,
    /// Instructions they took.
    pub instructions: u64,
    /// Bytes of a connection in the table.
    pub flow_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domains_own_counts_are_read() {
        let answer = "hypercalls event_channel_op 7\r\n\
                      hypercalls in all 12, packets forwarded 30, bytes copied 500\r\n";
        let counted = Hypercalls::parse(answer).unwrap();
        let expected = Hypercalls {
            calls: 12,
            packets: 30,
            copied_bytes: Some(500),
        };
        assert_eq!(counted, expected);
        let later = Hypercalls {
            calls: 15,
            packets: 90,
            copied_bytes: Some(700),
        };
        assert_eq!(
            later.since(counted),
            Hypercalls {
                calls: 3,
                packets: 60,
                copied_bytes: Some(200),
            }
        );
        assert_eq!(
            Hypercalls::parse("hypercalls: no such command; try help"),
            None
        );
    }
}
