//! The figures that the project is judged by: what each is, how it follows from the samples, and
//! what was asked of it.

use serde::{Deserialize, Serialize};

use super::Benchmark;
use super::samples::{
    AS_MANY_AS_PASS, GuestStream, GuestWay, Packets, Samples, Start, Stream, System, Way,
};

/// Packets each second at which both systems are compared.
pub const COMPARED_RATE: u32 = 20_000;

/// The middle and the ends of some samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The smallest.
    pub min: f64,
    /// The middle one; of an even number the mean of the middle two.
    pub median: f64,
    /// The largest.
    pub max: f64,
    /// How many there are.
    pub samples: usize,
}

impl Spread {
    /// `None` without samples.
    pub fn of(mut samples: Vec<f64>) -> Option<Self> {
        samples.sort_by(f64::total_cmp);
        let (min, max) = (*samples.first()?, *samples.last()?);
        let middle = samples.len() / 2;
        let median = if samples.len().is_multiple_of(2) {
            f64::midpoint(samples[middle - 1], samples[middle])
        } else {
            samples[middle]
        };
        Some(Self {
            min: rounded(min),
            median: rounded(median),
            max: rounded(max),
            samples: samples.len(),
        })
    }
}

/// Six digits behind the point: no figure is known better, and a file reads the better.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// MiB of memory.
    Mebibytes,
    /// Seconds.
    Seconds,
    /// Megabits a second.
    Megabits,
    /// CPU seconds for each 10⁹ bytes.
    CpuPerGigabyte,
    /// Packets in a hundred.
    Percent,
    /// Microseconds.
    Microseconds,
    /// Guests.
    Guests,
    /// A plain number.
    Count,
}

impl Unit {
    /// Its name behind a number, with the blank between.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Bytes => " bytes",
            Self::Mebibytes => " MiB",
            Self::Seconds | Self::CpuPerGigabyte => " s",
            Self::Megabits => " Mbit/s",
            Self::Percent => " %",
            Self::Microseconds => " µs",
            Self::Guests => " guests",
            Self::Count => "",
        }
    }

    /// A number of it as people write it.
    pub fn number(self, value: f64) -> String {
        match self {
            Self::Bytes => grouped(value),
            Self::Mebibytes | Self::Megabits | Self::Guests => format!("{value:.0}"),
            Self::Seconds | Self::CpuPerGigabyte => format!("{value:.2}"),
            Self::Microseconds => format!("{value:.1}"),
            Self::Percent if value == 0.0 => "0".to_owned(),
            Self::Percent => format!("{value:.3}"),
            Self::Count if value >= 100.0 => grouped(value),
            Self::Count => format!("{value:.3}"),
        }
    }
}

/// A whole number with a comma before each three digits.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What is asked of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// The median, at most so much.
    AtMost(f64),
    /// The median, at least so much.
    AtLeast(f64),
    /// A median of 0: in single runs the emulated machine itself may be held up.
    Zero,
    /// The ratio of the medians, ours to Debian's, at most one in so many.
    OneIn(f64),
    /// The ratio of the medians, ours to Debian's, at least this.
    RatioAtLeast(f64),
    /// Nothing: shown because it explains others.
    None,
}

/// How a figure stands to its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Reached.
    Pass,
    /// Not reached.
    Miss,
    /// Nothing was asked.
    NoTarget,
    /// There are no samples to tell by.
    NotMeasured,
}

/// One of the figures.
#[derive(Clone, Copy)]
pub struct Figure {
    /// Its name in files.
    pub id: &'static str,
    /// The benchmark whose samples it is made of.
    pub benchmark: Benchmark,
    /// What it is.
    pub title: &'static str,
    /// In what.
    pub unit: Unit,
    /// What was asked.
    pub target: Target,
    /// Its picture of bars, shared with others of the same unit.
    pub picture: &'static str,
    /// The samples of one system.
    pub values: Values,
}

/// All of them, in the order of the page.
pub const FIGURES: &[Figure] = &[
    Figure {
        id: "firewalldom_image",
        benchmark: Benchmark::Sizes,
        title: "the firewall: kernel and RAM disk (Debian's: Linux and initrd)",
        unit: Unit::Bytes,
        target: Target::None,
        picture: "sizes",
        values: |samples, system| {
            sizes(samples, |sizes| match system {
                System::Firewalldom => Some(sizes.firewalldom_bytes + sizes.policy_bytes),
                System::Debian => Some(sizes.debian_kernel_bytes + sizes.debian_ramdisk_bytes),
            })
        },
    },
    Figure {
        id: "firewalldom_xen",
        benchmark: Benchmark::Sizes,
        title: "firewalldom.xen, stripped",
        unit: Unit::Bytes,
        target: Target::AtMost(409_600.0),
        picture: "sizes",
        values: |samples, system| {
            sizes(samples, |sizes| {
                (system == System::Firewalldom).then_some(sizes.firewalldom_bytes)
            })
        },
    },
    Figure {
        id: "empty_xen",
        benchmark: Benchmark::Sizes,
        title: "minios-rs/examples/empty, stripped",
        unit: Unit::Bytes,
        target: Target::AtMost(66_912.0),
        picture: "sizes",
        values: |samples, system| {
            sizes(samples, |sizes| {
                (system == System::Firewalldom).then_some(sizes.empty_bytes)
            })
        },
    },
    Figure {
        id: "memory",
        benchmark: Benchmark::Memory,
        title: "memory in which the whole job is done",
        unit: Unit::Mebibytes,
        target: Target::AtMost(8.0),
        picture: "memory",
        values: |samples, system| match (&samples.memory, system) {
            // What did not do all of its job did not do it in that memory.
            (Some(memory), System::Firewalldom) if memory.as_expected == memory.cases => {
                vec![f64::from(memory.firewalldom_mib)]
            }
            (Some(memory), System::Debian) => vec![f64::from(memory.debian_mib)],
            _ => Vec::new(),
        },
    },
    Figure {
        id: "first_packet",
        benchmark: Benchmark::Start,
        title: "start of xl create to first forwarded packet",
        unit: Unit::Seconds,
        target: Target::OneIn(8.0),
        picture: "start",
        values: |samples, system| starts(samples, system, |start| start.first_packet_us),
    },
    Figure {
        id: "after_create",
        benchmark: Benchmark::Start,
        title: "of this, after xl create returned",
        unit: Unit::Seconds,
        target: Target::OneIn(20.0),
        picture: "start",
        values: |samples, system| {
            starts(samples, system, |start| {
                start.first_packet_us.saturating_sub(start.xl_create_us)
            })
        },
    },
    Figure {
        id: "tcp_out",
        benchmark: Benchmark::Tcp,
        title: "iperf3 TCP from the inside out",
        unit: Unit::Megabits,
        target: Target::RatioAtLeast(0.95),
        picture: "tcp",
        values: |samples, system| streams(samples, system, Way::Out, megabits),
    },
    Figure {
        id: "tcp_in",
        benchmark: Benchmark::Tcp,
        title: "iperf3 TCP from the outside in",
        unit: Unit::Megabits,
        target: Target::RatioAtLeast(0.95),
        picture: "tcp",
        values: |samples, system| streams(samples, system, Way::In, megabits),
    },
    Figure {
        id: "tcp_out_cpu",
        benchmark: Benchmark::Tcp,
        title: "the domain's CPU time for each GB out",
        unit: Unit::CpuPerGigabyte,
        target: Target::OneIn(3.0),
        picture: "tcp-cpu",
        values: |samples, system| streams(samples, system, Way::Out, cpu_per_gigabyte),
    },
    Figure {
        id: "tcp_in_cpu",
        benchmark: Benchmark::Tcp,
        title: "the domain's CPU time for each GB in",
        unit: Unit::CpuPerGigabyte,
        target: Target::OneIn(3.0),
        picture: "tcp-cpu",
        values: |samples, system| streams(samples, system, Way::In, cpu_per_gigabyte),
    },
    Figure {
        id: "loss",
        benchmark: Benchmark::Packets,
        title: "64-byte packets at 20,000/s: lost",
        unit: Unit::Percent,
        target: Target::Zero,
        picture: "loss",
        values: |samples, system| compared(samples, system, |packets| Some(packets.loss_percent())),
    },
    Figure {
        id: "packet_cpu",
        benchmark: Benchmark::Packets,
        title: "64-byte packets at 20,000/s: the domain's CPU time for each",
        unit: Unit::Microseconds,
        target: Target::OneIn(3.0),
        picture: "packet-cpu",
        values: |samples, system| compared(samples, system, Packets::cpu_us_per_packet),
    },
    Figure {
        id: "hypercalls",
        benchmark: Benchmark::Packets,
        title: "hypercalls for each packet at 20,000/s",
        unit: Unit::Count,
        target: Target::AtMost(0.2),
        picture: "hypercalls",
        values: |samples, system| compared(samples, system, Packets::hypercalls_per_packet),
    },
    Figure {
        id: "hypercalls_above",
        benchmark: Benchmark::Packets,
        title: "hypercalls for each packet at the higher rates",
        unit: Unit::Count,
        target: Target::AtMost(0.2),
        picture: "hypercalls",
        values: |samples, system| {
            packets(samples, system, |packets| {
                (packets.asked_per_second > COMPARED_RATE)
                    .then(|| packets.hypercalls_per_packet())
                    .flatten()
            })
        },
    },
    Figure {
        id: "instructions",
        benchmark: Benchmark::Cost,
        title: "instructions of the engine for a packet of an established connection",
        unit: Unit::Count,
        target: Target::None,
        picture: "cost",
        values: |samples, system| match (&samples.cost, system) {
            (Some(cost), System::Firewalldom) => {
                vec![cost.instructions as f64 / cost.packets.max(1) as f64]
            }
            _ => Vec::new(),
        },
    },
    Figure {
        id: "flow_bytes",
        benchmark: Benchmark::Cost,
        title: "memory for a connection",
        unit: Unit::Bytes,
        target: Target::None,
        picture: "flow",
        values: |samples, system| match (&samples.cost, system) {
            (Some(cost), System::Firewalldom) => vec![cost.flow_bytes as f64],
            _ => Vec::new(),
        },
    },
    guest_tcp(
        "guest_between",
        "iperf3 TCP from guest to guest",
        |samples, system| guest_streams(samples, system, GuestWay::Between, guest_megabits),
    ),
    guest_tcp(
        "guest_between_back",
        "iperf3 TCP from guest to guest, back",
        |samples, system| guest_streams(samples, system, GuestWay::BetweenBack, guest_megabits),
    ),
    guest_tcp(
        "guest_out",
        "iperf3 TCP from a guest out",
        |samples, system| guest_streams(samples, system, GuestWay::Out, guest_megabits),
    ),
    guest_tcp(
        "guest_in",
        "iperf3 TCP from outside to a guest",
        |samples, system| guest_streams(samples, system, GuestWay::In, guest_megabits),
    ),
    guest_tcp_cpu(
        "guest_between_cpu",
        "the gateway's CPU time for each GB from guest to guest",
        |samples, system| guest_streams(samples, system, GuestWay::Between, guest_cpu),
    ),
    guest_tcp_cpu(
        "guest_between_back_cpu",
        "the gateway's CPU time for each GB from guest to guest, back",
        |samples, system| guest_streams(samples, system, GuestWay::BetweenBack, guest_cpu),
    ),
    guest_tcp_cpu(
        "guest_out_cpu",
        "the gateway's CPU time for each GB from a guest out",
        |samples, system| guest_streams(samples, system, GuestWay::Out, guest_cpu),
    ),
    guest_tcp_cpu(
        "guest_in_cpu",
        "the gateway's CPU time for each GB from outside to a guest",
        |samples, system| guest_streams(samples, system, GuestWay::In, guest_cpu),
    ),
    Figure {
        id: "guest_copies",
        benchmark: Benchmark::Guests,
        title: "bytes that Xen copied for each byte of payload from guest to guest",
        unit: Unit::Count,
        // Once, but for what is copied to be looked at: 256 bytes of a frame of up to 64 KiB.
        target: Target::AtMost(1.05),
        picture: "guest-copies",
        values: |samples, system| {
            let between = |way| guest_streams(samples, system, way, GuestStream::copies_per_byte);
            [between(GuestWay::Between), between(GuestWay::BetweenBack)].concat()
        },
    },
    Figure {
        id: "guest_packets",
        benchmark: Benchmark::Guests,
        title: "64-byte packets from guest to guest each second, as many as pass",
        unit: Unit::Count,
        target: Target::RatioAtLeast(3.0),
        picture: "guest-packets",
        values: |samples, system| {
            guest_packets(samples, system, |one| {
                (one.asked_per_second == AS_MANY_AS_PASS).then(|| one.forwarded_per_second())
            })
        },
    },
    Figure {
        id: "linux_packet_cpu",
        benchmark: Benchmark::Guests,
        title: "64-byte packets at 20,000/s between Debian guests: the gateway's CPU time for each",
        unit: Unit::Microseconds,
        target: Target::OneIn(4.0),
        picture: "guest-packet-cpu",
        values: |samples, system| {
            let own = samples.linux_packets.iter();
            let own = own.filter(|one| one.system == system);
            own.filter_map(Packets::cpu_us_per_packet).collect()
        },
    },
    Figure {
        id: "guest_packet_cpu",
        benchmark: Benchmark::Guests,
        title: "the same between guests of our own",
        unit: Unit::Microseconds,
        target: Target::None,
        picture: "guest-packet-cpu",
        values: |samples, system| {
            guest_packets(samples, system, |one| {
                (one.asked_per_second == COMPARED_RATE)
                    .then(|| one.cpu_us_per_packet())
                    .flatten()
            })
        },
    },
    Figure {
        id: "guest_hypercalls",
        benchmark: Benchmark::Guests,
        title: "hypercalls for each packet at 20,000/s",
        unit: Unit::Count,
        target: Target::AtMost(0.2),
        picture: "guest-hypercalls",
        values: |samples, system| {
            guest_packets(samples, system, |one| {
                (one.asked_per_second == COMPARED_RATE)
                    .then(|| one.hypercalls_per_packet())
                    .flatten()
            })
        },
    },
    Figure {
        id: "guest_hypercalls_above",
        benchmark: Benchmark::Guests,
        title: "hypercalls for each packet above that rate",
        unit: Unit::Count,
        target: Target::AtMost(0.2),
        picture: "guest-hypercalls",
        values: |samples, system| {
            guest_packets(samples, system, |one| {
                (one.asked_per_second != COMPARED_RATE)
                    .then(|| one.hypercalls_per_packet())
                    .flatten()
            })
        },
    },
    Figure {
        id: "guest_memory",
        benchmark: Benchmark::Guests,
        title: "of 16 guests with 1,000 flows each: so many are served by 8 MiB",
        unit: Unit::Guests,
        target: Target::AtLeast(16.0),
        picture: "guest-memory",
        values: |samples, system| match (&samples.guest_crowd, system) {
            (Some(crowd), System::Firewalldom) => crowd.served().into_iter().collect(),
            _ => Vec::new(),
        },
    },
    Figure {
        id: "guest_first_packet",
        benchmark: Benchmark::Guests,
        title: "start of xl create of a guest to its first packet outside",
        unit: Unit::Seconds,
        target: Target::None,
        picture: "guest-start",
        values: |samples, system| {
            let own = samples.guest_starts.iter();
            let own = own.filter(|start| start.system == system);
            own.map(|start| start.first_packet_us as f64 / 1e6)
                .collect()
        },
    },
];

/// What the samples of one system say.
type Values = fn(&Samples, System) -> Vec<f64>;

const fn guest_tcp(id: &'static str, title: &'static str, values: Values) -> Figure {
    Figure {
        id,
        benchmark: Benchmark::Guests,
        title,
        unit: Unit::Megabits,
        target: Target::RatioAtLeast(1.2),
        picture: "guest-tcp",
        values,
    }
}

const fn guest_tcp_cpu(id: &'static str, title: &'static str, values: Values) -> Figure {
    Figure {
        id,
        benchmark: Benchmark::Guests,
        title,
        unit: Unit::CpuPerGigabyte,
        target: Target::OneIn(3.0),
        picture: "guest-tcp-cpu",
        values,
    }
}

fn guest_streams(
    samples: &Samples,
    system: System,
    way: GuestWay,
    of: impl Fn(&GuestStream) -> Option<f64>,
) -> Vec<f64> {
    let own = |stream: &&GuestStream| stream.system == system && stream.way == way;
    let own = samples.guest_streams.iter().filter(own);
    own.filter_map(of).collect()
}

fn guest_megabits(stream: &GuestStream) -> Option<f64> {
    Some(stream.bits_per_second as f64 / 1e6)
}

fn guest_cpu(stream: &GuestStream) -> Option<f64> {
    (stream.bytes > 0).then(|| stream.cpu_us as f64 * 1e3 / stream.bytes as f64)
}

fn guest_packets(
    samples: &Samples,
    system: System,
    of: impl Fn(&Packets) -> Option<f64>,
) -> Vec<f64> {
    let own = samples
        .guest_packets
        .iter()
        .filter(|one| one.system == system);
    own.filter_map(of).collect()
}

fn sizes(samples: &Samples, of: impl Fn(&super::samples::Sizes) -> Option<u64>) -> Vec<f64> {
    let bytes = samples.sizes.as_ref().and_then(of);
    bytes.map(|bytes| bytes as f64).into_iter().collect()
}

fn starts(samples: &Samples, system: System, of: impl Fn(&Start) -> u64) -> Vec<f64> {
    let own = samples.starts.iter().filter(|start| start.system == system);
    own.map(|start| of(start) as f64 / 1e6).collect()
}

fn streams(
    samples: &Samples,
    system: System,
    way: Way,
    of: impl Fn(&Stream) -> Option<f64>,
) -> Vec<f64> {
    let own = |stream: &&Stream| stream.system == system && stream.way == way;
    samples.streams.iter().filter(own).filter_map(of).collect()
}

fn megabits(stream: &Stream) -> Option<f64> {
    Some(stream.bits_per_second as f64 / 1e6)
}

fn cpu_per_gigabyte(stream: &Stream) -> Option<f64> {
    (stream.bytes > 0).then(|| stream.cpu_us as f64 * 1e3 / stream.bytes as f64)
}

fn packets(samples: &Samples, system: System, of: impl Fn(&Packets) -> Option<f64>) -> Vec<f64> {
    let own = samples.packets.iter().filter(|one| one.system == system);
    own.filter_map(of).collect()
}

fn compared(samples: &Samples, system: System, of: impl Fn(&Packets) -> Option<f64>) -> Vec<f64> {
    packets(samples, system, |one| {
        (one.asked_per_second == COMPARED_RATE)
            .then(|| of(one))
            .flatten()
    })
}

/// A figure with what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// [`Figure::id`].
    pub figure: String,
    /// Ours.
    pub firewalldom: Option<Spread>,
    /// The Debian guest's.
    pub debian: Option<Spread>,
    /// The median of ours for one of Debian's.
    pub ratio: Option<f64>,
    /// How it stands to its target.
    pub verdict: Verdict,
}

impl Figure {
    /// What the samples say.
    pub fn measured(&self, samples: &Samples) -> Measured {
        let [ours, theirs] = System::BOTH.map(|system| Spread::of((self.values)(samples, system)));
        let ratio = match (ours, theirs) {
            (Some(ours), Some(theirs)) if theirs.median > 0.0 => {
                Some(rounded(ours.median / theirs.median))
            }
            _ => None,
        };
        Measured {
            figure: self.id.to_owned(),
            firewalldom: ours,
            debian: theirs,
            ratio,
            verdict: self.target.verdict(ours, ratio),
        }
    }

    /// Every figure of every benchmark, measured or not.
    pub fn all_measured(samples: &Samples) -> Vec<Measured> {
        FIGURES
            .iter()
            .map(|figure| figure.measured(samples))
            .collect()
    }
}

impl Target {
    fn verdict(self, ours: Option<Spread>, ratio: Option<f64>) -> Verdict {
        let reached = match self {
            Self::None => None,
            Self::AtMost(limit) => ours.map(|ours| ours.median <= limit),
            Self::AtLeast(limit) => ours.map(|ours| ours.median >= limit),
            Self::Zero => ours.map(|ours| ours.median == 0.0),
            Self::OneIn(parts) => ratio.map(|ratio| ratio <= 1.0 / parts),
            Self::RatioAtLeast(limit) => ratio.map(|ratio| ratio >= limit),
        };
        match (self, reached) {
            (_, Some(true)) => Verdict::Pass,
            (_, Some(false)) => Verdict::Miss,
            (Self::None, None) if ours.is_some() => Verdict::NoTarget,
            (_, None) => Verdict::NotMeasured,
        }
    }

    /// The target in words.
    pub fn text(self, unit: Unit) -> String {
        match self {
            Self::AtMost(limit) => format!("≤ {}{}", unit.number(limit), unit.suffix()),
            Self::AtLeast(limit) => format!("≥ {}{}", unit.number(limit), unit.suffix()),
            Self::Zero => "none, in the median run".to_owned(),
            Self::OneIn(parts) => format!("≤ 1/{parts:.0} of Debian's"),
            Self::RatioAtLeast(limit) => format!("≥ {limit:.2} of Debian's"),
            Self::None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::samples::{Crowd, Hypercalls};

    fn start(system: System, xl_create_us: u64, first_packet_us: u64) -> Start {
        Start {
            system,
            run: 0,
            xl_create_us,
            first_packet_us,
        }
    }

    fn figure(id: &str) -> &'static Figure {
        FIGURES.iter().find(|figure| figure.id == id).unwrap()
    }

    #[test]
    fn a_median_is_the_middle_and_not_the_mean() {
        let spread = Spread::of(vec![9.0, 1.0, 2.0]).unwrap();
        assert_eq!((spread.min, spread.median, spread.max), (1.0, 2.0, 9.0));
        assert_eq!(Spread::of(vec![1.0, 4.0, 2.0, 9.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn a_ratio_is_that_of_the_medians_and_decides() {
        let samples = Samples {
            starts: vec![
                start(System::Firewalldom, 1_000_000, 1_100_000),
                start(System::Firewalldom, 1_000_000, 9_000_000),
                start(System::Firewalldom, 1_000_000, 1_000_000),
                start(System::Debian, 5_000_000, 11_000_000),
            ],
            ..Samples::default()
        };
        let first = figure("first_packet").measured(&samples);
        assert_eq!((first.ratio, first.verdict), (Some(0.1), Verdict::Pass));
        assert_eq!(first.firewalldom.unwrap().samples, 3);
        let after = figure("after_create").measured(&samples);
        assert_eq!(after.ratio, Some(0.016_667));
        assert_eq!(after.verdict, Verdict::Pass);
        assert_eq!(
            figure("tcp_out").measured(&samples).verdict,
            Verdict::NotMeasured
        );
    }

    #[test]
    fn loss_is_that_of_the_median_run() {
        let packets = |received| Packets {
            system: System::Firewalldom,
            run: 0,
            asked_per_second: COMPARED_RATE,
            sent: 100_000,
            sent_us: 5_000_000,
            received,
            cpu_us: 500_000,
            hypercalls: Some(Hypercalls {
                calls: received / 10,
                packets: received,
                copied_bytes: None,
            }),
        };
        let mut samples = Samples {
            packets: vec![packets(100_000); 3],
            ..Samples::default()
        };
        assert_eq!(figure("loss").measured(&samples).verdict, Verdict::Pass);
        samples.packets.extend(vec![packets(99_999); 2]);
        assert_eq!(figure("loss").measured(&samples).verdict, Verdict::Pass);
        samples.packets.extend(vec![packets(99_999); 2]);
        assert_eq!(figure("loss").measured(&samples).verdict, Verdict::Miss);
        samples.packets.truncate(4);
        let cpu = figure("packet_cpu").measured(&samples);
        assert_eq!(cpu.firewalldom.unwrap().median, 5.0);
        assert_eq!(cpu.verdict, Verdict::NotMeasured, "Debian has no sample");
    }

    #[test]
    fn a_job_half_done_counts_for_no_memory() {
        let memory = |as_expected| Samples {
            memory: Some(crate::bench::samples::Memory {
                firewalldom_mib: 8,
                debian_mib: 192,
                cases: 8,
                as_expected,
            }),
            ..Samples::default()
        };
        assert_eq!(figure("memory").measured(&memory(8)).verdict, Verdict::Pass);
        let half = figure("memory").measured(&memory(7));
        assert_eq!(half.verdict, Verdict::NotMeasured);
    }

    #[test]
    fn what_guests_come_to_is_told_apart_by_way_and_rate() {
        let stream = |system, way, bytes| GuestStream {
            system,
            run: 0,
            way,
            bits_per_second: bytes * 8,
            bytes,
            cpu_us: 2_000_000,
            hypercalls: (system == System::Firewalldom).then_some(Hypercalls {
                calls: 10,
                packets: 10,
                copied_bytes: Some(bytes + 10_000_000),
            }),
        };
        let packets = |system, asked_per_second, received| Packets {
            system,
            run: 0,
            asked_per_second,
            sent: 1_000_000,
            sent_us: 10_000_000,
            received,
            cpu_us: 5_000_000,
            hypercalls: None,
        };
        let (ours, theirs) = (System::Firewalldom, System::Debian);
        let mut samples = Samples {
            guest_streams: vec![
                stream(ours, GuestWay::Between, 1_000_000_000),
                stream(ours, GuestWay::Out, 300_000_000),
                stream(theirs, GuestWay::Between, 500_000_000),
            ],
            guest_packets: vec![
                packets(ours, AS_MANY_AS_PASS, 900_000),
                packets(ours, COMPARED_RATE, 200_000),
                packets(theirs, AS_MANY_AS_PASS, 300_000),
            ],
            linux_packets: vec![packets(theirs, COMPARED_RATE, 200_000)],
            guest_crowd: Some(Crowd {
                firewalldom_mib: 8,
                guests: 16,
                flows: 16_500,
                sent: 16_500,
                received: 16_500,
            }),
            ..Samples::default()
        };
        let between = figure("guest_between").measured(&samples);
        assert_eq!((between.ratio, between.verdict), (Some(2.0), Verdict::Pass));
        let cpu = figure("guest_between_cpu").measured(&samples);
        assert_eq!((cpu.ratio, cpu.verdict), (Some(0.5), Verdict::Miss));
        let out = figure("guest_out").measured(&samples);
        assert_eq!((out.ratio, out.verdict), (None, Verdict::NotMeasured));
        let copies = figure("guest_copies").measured(&samples);
        assert_eq!(copies.firewalldom.unwrap().median, 1.01);
        assert_eq!(copies.verdict, Verdict::Pass);
        let passed = figure("guest_packets").measured(&samples);
        assert_eq!((passed.ratio, passed.verdict), (Some(3.0), Verdict::Pass));
        let of_linux = figure("linux_packet_cpu").measured(&samples);
        assert_eq!(of_linux.debian.unwrap().median, 25.0);
        assert_eq!(of_linux.firewalldom, None);
        assert_eq!(
            figure("guest_memory").measured(&samples).verdict,
            Verdict::Pass
        );
        let crowd = samples.guest_crowd.as_mut().unwrap();
        (crowd.guests, crowd.flows) = (15, 15_999);
        assert_eq!(
            figure("guest_memory").measured(&samples).verdict,
            Verdict::Miss
        );
        samples.guest_crowd.as_mut().unwrap().received -= 1;
        assert_eq!(
            figure("guest_memory").measured(&samples).verdict,
            Verdict::NotMeasured,
            "a packet was lost"
        );
    }

    #[test]
    fn ids_are_unique_and_pictures_have_one_unit() {
        for (index, figure) in FIGURES.iter().enumerate() {
            for other in &FIGURES[index + 1..] {
                assert_ne!(figure.id, other.id);
                assert!(figure.picture != other.picture || figure.unit == other.unit);
            }
        }
    }

    #[test]
    fn numbers_read_as_people_write_them() {
        assert_eq!(Unit::Bytes.number(409_600.0), "409,600");
        assert_eq!(Unit::Count.number(1_600.4), "1,600");
        assert_eq!(Unit::Count.number(0.2), "0.200");
        assert_eq!(Target::OneIn(8.0).text(Unit::Seconds), "≤ 1/8 of Debian's");
    }
}
