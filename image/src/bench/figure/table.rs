//! The firewall's figures, and which samples each is made of.

use super::{COMPARED_RATE, Figure, Target, Unit, Values};
use crate::bench::Benchmark;
use crate::bench::samples::{
    AS_MANY_AS_PASS, GuestWay, Packets, Samples, Sizes, Start, Stream, System, Way,
};

/// What the figures of one picture of bars have in common.
#[derive(Clone, Copy)]
pub(super) struct Picture {
    name: &'static str,
    benchmark: Benchmark,
    unit: Unit,
}

impl Picture {
    pub(super) const fn new(name: &'static str, benchmark: Benchmark, unit: Unit) -> Self {
        Self {
            name,
            benchmark,
            unit,
        }
    }

    const fn of_guests(name: &'static str, unit: Unit) -> Self {
        Self::new(name, Benchmark::Guests, unit)
    }

    pub(super) const fn figure(
        self,
        id: &'static str,
        title: &'static str,
        target: Target,
        values: Values,
    ) -> Figure {
        Figure {
            id,
            benchmark: self.benchmark,
            title,
            unit: self.unit,
            target,
            picture: self.name,
            values,
        }
    }
}

const SIZES: Picture = Picture::new("sizes", Benchmark::Sizes, Unit::Bytes);
const MEMORY: Picture = Picture::new("memory", Benchmark::Memory, Unit::Mebibytes);
const START: Picture = Picture::new("start", Benchmark::Start, Unit::Seconds);
const TCP: Picture = Picture::new("tcp", Benchmark::Tcp, Unit::Megabits);
const TCP_CPU: Picture = Picture::new("tcp-cpu", Benchmark::Tcp, Unit::CpuPerGigabyte);
const LOSS: Picture = Picture::new("loss", Benchmark::Packets, Unit::Percent);
const PACKET_CPU: Picture = Picture::new("packet-cpu", Benchmark::Packets, Unit::Microseconds);
const HYPERCALLS: Picture = Picture::new("hypercalls", Benchmark::Packets, Unit::Count);
const COST: Picture = Picture::new("cost", Benchmark::Cost, Unit::Count);
const FLOW: Picture = Picture::new("flow", Benchmark::Cost, Unit::Bytes);
const GUEST_TCP: Picture = Picture::of_guests("guest-tcp", Unit::Megabits);
const GUEST_TCP_CPU: Picture = Picture::of_guests("guest-tcp-cpu", Unit::CpuPerGigabyte);
const GUEST_COPIES: Picture = Picture::of_guests("guest-copies", Unit::Count);
const GUEST_PACKETS: Picture = Picture::of_guests("guest-packets", Unit::Count);
const GUEST_PACKET_CPU: Picture = Picture::of_guests("guest-packet-cpu", Unit::Microseconds);
const GUEST_HYPERCALLS: Picture = Picture::of_guests("guest-hypercalls", Unit::Count);
const GUEST_MEMORY: Picture = Picture::of_guests("guest-memory", Unit::Guests);
const GUEST_START: Picture = Picture::of_guests("guest-start", Unit::Seconds);

/// All of them, in the order of the page.
pub(super) const FIGURES: &[Figure] = &[
    SIZES.figure(
        "firewalldom_image",
        "the firewall: kernel and RAM disk (Debian's: Linux and initrd)",
        Target::None,
        |samples, system| {
            sizes(samples, |sizes| match system {
                System::Debian => Some(sizes.debian_kernel_bytes + sizes.debian_ramdisk_bytes),
                _ => Some(sizes.firewalldom_bytes + sizes.policy_bytes),
            })
        },
    ),
    SIZES.figure(
        "firewalldom_xen",
        "firewalldom.xen, stripped",
        Target::AtMost(409_600.0),
        |samples, system| our_size(samples, system, |sizes| sizes.firewalldom_bytes),
    ),
    SIZES.figure(
        "empty_xen",
        "minios-rs/examples/empty, stripped",
        Target::AtMost(66_912.0),
        |samples, system| our_size(samples, system, |sizes| sizes.empty_bytes),
    ),
    MEMORY.figure(
        "memory",
        "memory in which the whole job is done",
        Target::AtMost(8.0),
        |samples, system| match (&samples.memory, system) {
            // What did not do all of its job did not do it in that memory.
            (Some(memory), System::Firewalldom) if memory.as_expected == memory.cases => {
                vec![f64::from(memory.firewalldom_mib)]
            }
            (Some(memory), System::Debian) => vec![f64::from(memory.debian_mib)],
            _ => Vec::new(),
        },
    ),
    START.figure(
        "first_packet",
        "start of xl create to first forwarded packet",
        Target::OneIn(8.0),
        |samples, system| starts(&samples.starts, system, |start| start.first_packet_us),
    ),
    START.figure(
        "after_create",
        "of this, after xl create returned",
        Target::OneIn(20.0),
        |samples, system| {
            starts(&samples.starts, system, |start| {
                start.first_packet_us.saturating_sub(start.xl_create_us)
            })
        },
    ),
    TCP.figure(
        "tcp_out",
        "iperf3 TCP from the inside out",
        Target::RatioAtLeast(0.95),
        |samples, system| streams(&samples.streams, system, Way::Out, Stream::megabits),
    ),
    TCP.figure(
        "tcp_in",
        "iperf3 TCP from the outside in",
        Target::RatioAtLeast(0.95),
        |samples, system| streams(&samples.streams, system, Way::In, Stream::megabits),
    ),
    TCP_CPU.figure(
        "tcp_out_cpu",
        "the domain's CPU time for each GB out",
        Target::OneIn(3.0),
        |samples, system| streams(&samples.streams, system, Way::Out, Stream::cpu_per_gigabyte),
    ),
    TCP_CPU.figure(
        "tcp_in_cpu",
        "the domain's CPU time for each GB in",
        Target::OneIn(3.0),
        |samples, system| streams(&samples.streams, system, Way::In, Stream::cpu_per_gigabyte),
    ),
    LOSS.figure(
        "loss",
        "64-byte packets at 20,000/s: lost",
        Target::Zero,
        |samples, system| {
            let loss = |packets: &Packets| Some(packets.loss_percent());
            packets(&samples.packets, system, is_compared, loss)
        },
    ),
    PACKET_CPU.figure(
        "packet_cpu",
        "64-byte packets at 20,000/s: the domain's CPU time for each",
        Target::OneIn(3.0),
        |samples, system| {
            let cpu = Packets::cpu_us_per_packet;
            packets(&samples.packets, system, is_compared, cpu)
        },
    ),
    HYPERCALLS.figure(
        "hypercalls",
        "hypercalls for each packet at 20,000/s",
        Target::AtMost(0.2),
        |samples, system| {
            let calls = Packets::hypercalls_per_packet;
            packets(&samples.packets, system, is_compared, calls)
        },
    ),
    HYPERCALLS.figure(
        "hypercalls_above",
        "hypercalls for each packet at the higher rates",
        Target::AtMost(0.2),
        |samples, system| {
            let calls = Packets::hypercalls_per_packet;
            packets(&samples.packets, system, is_above, calls)
        },
    ),
    COST.figure(
        "instructions",
        "instructions of the engine for a packet of an established connection",
        Target::None,
        |samples, system| match (&samples.cost, system) {
            (Some(cost), System::Firewalldom) => {
                vec![cost.instructions as f64 / cost.packets.max(1) as f64]
            }
            _ => Vec::new(),
        },
    ),
    FLOW.figure(
        "flow_bytes",
        "memory for a connection",
        Target::None,
        |samples, system| match (&samples.cost, system) {
            (Some(cost), System::Firewalldom) => vec![cost.flow_bytes as f64],
            _ => Vec::new(),
        },
    ),
    guest_tcp(
        "guest_between",
        "iperf3 TCP from guest to guest",
        |samples, system| guest_megabits(samples, system, GuestWay::Between),
    ),
    guest_tcp(
        "guest_between_back",
        "iperf3 TCP from guest to guest, back",
        |samples, system| guest_megabits(samples, system, GuestWay::BetweenBack),
    ),
    guest_tcp(
        "guest_out",
        "iperf3 TCP from a guest out",
        |samples, system| guest_megabits(samples, system, GuestWay::Out),
    ),
    guest_tcp(
        "guest_in",
        "iperf3 TCP from outside to a guest",
        |samples, system| guest_megabits(samples, system, GuestWay::In),
    ),
    guest_tcp_cpu(
        "guest_between_cpu",
        "the gateway's CPU time for each GB from guest to guest",
        |samples, system| guest_cpu(samples, system, GuestWay::Between),
    ),
    guest_tcp_cpu(
        "guest_between_back_cpu",
        "the gateway's CPU time for each GB from guest to guest, back",
        |samples, system| guest_cpu(samples, system, GuestWay::BetweenBack),
    ),
    guest_tcp_cpu(
        "guest_out_cpu",
        "the gateway's CPU time for each GB from a guest out",
        |samples, system| guest_cpu(samples, system, GuestWay::Out),
    ),
    guest_tcp_cpu(
        "guest_in_cpu",
        "the gateway's CPU time for each GB from outside to a guest",
        |samples, system| guest_cpu(samples, system, GuestWay::In),
    ),
    GUEST_COPIES.figure(
        "guest_copies",
        "bytes that Xen copied for each byte of payload from guest to guest",
        // Once, but for what is copied to be looked at: 256 bytes of a frame of up to 64 KiB.
        Target::AtMost(1.05),
        |samples, system| {
            let of = |way| streams(&samples.guest_streams, system, way, Stream::copies_per_byte);
            [of(GuestWay::Between), of(GuestWay::BetweenBack)].concat()
        },
    ),
    GUEST_PACKETS.figure(
        "guest_packets",
        "64-byte packets from guest to guest each second, as many as pass",
        Target::RatioAtLeast(3.0),
        |samples, system| {
            let forwarded = |packets: &Packets| Some(packets.forwarded_per_second());
            packets(
                &samples.guest_packets,
                system,
                |rate| rate == AS_MANY_AS_PASS,
                forwarded,
            )
        },
    ),
    GUEST_PACKET_CPU.figure(
        "linux_packet_cpu",
        "64-byte packets at 20,000/s between Debian guests: the gateway's CPU time for each",
        Target::OneIn(4.0),
        |samples, system| {
            let cpu = Packets::cpu_us_per_packet;
            packets(&samples.linux_packets, system, is_compared, cpu)
        },
    ),
    GUEST_PACKET_CPU.figure(
        "guest_packet_cpu",
        "the same between guests of our own",
        Target::None,
        |samples, system| {
            let cpu = Packets::cpu_us_per_packet;
            packets(&samples.guest_packets, system, is_compared, cpu)
        },
    ),
    GUEST_HYPERCALLS.figure(
        "guest_hypercalls",
        "hypercalls for each packet at 20,000/s",
        Target::AtMost(0.2),
        |samples, system| {
            let calls = Packets::hypercalls_per_packet;
            packets(&samples.guest_packets, system, is_compared, calls)
        },
    ),
    GUEST_HYPERCALLS.figure(
        "guest_hypercalls_above",
        "hypercalls for each packet above that rate",
        Target::AtMost(0.2),
        |samples, system| {
            let calls = Packets::hypercalls_per_packet;
            packets(&samples.guest_packets, system, is_above, calls)
        },
    ),
    GUEST_MEMORY.figure(
        "guest_memory",
        "of 16 guests with 1,000 flows each: so many are served by 8 MiB",
        Target::AtLeast(16.0),
        |samples, system| match (&samples.guest_crowd, system) {
            (Some(crowd), System::Firewalldom) => crowd.served().into_iter().collect(),
            _ => Vec::new(),
        },
    ),
    GUEST_START.figure(
        "guest_first_packet",
        "start of xl create of a guest to its first packet outside",
        Target::None,
        |samples, system| starts(&samples.guest_starts, system, |start| start.first_packet_us),
    ),
];

const fn guest_tcp(id: &'static str, title: &'static str, values: Values) -> Figure {
    GUEST_TCP.figure(id, title, Target::RatioAtLeast(1.2), values)
}

const fn guest_tcp_cpu(id: &'static str, title: &'static str, values: Values) -> Figure {
    GUEST_TCP_CPU.figure(id, title, Target::OneIn(3.0), values)
}

fn guest_megabits(samples: &Samples, system: System, way: GuestWay) -> Vec<f64> {
    streams(&samples.guest_streams, system, way, Stream::megabits)
}

fn guest_cpu(samples: &Samples, system: System, way: GuestWay) -> Vec<f64> {
    streams(
        &samples.guest_streams,
        system,
        way,
        Stream::cpu_per_gigabyte,
    )
}

fn sizes(samples: &Samples, of: impl Fn(&Sizes) -> Option<u64>) -> Vec<f64> {
    let bytes = samples.sizes.as_ref().and_then(of);
    bytes.map(|bytes| bytes as f64).into_iter().collect()
}

/// Of what only we have.
fn our_size(samples: &Samples, system: System, of: impl Fn(&Sizes) -> u64) -> Vec<f64> {
    sizes(samples, |sizes| {
        (system == System::Firewalldom).then(|| of(sizes))
    })
}

/// In seconds.
pub(super) fn starts(starts: &[Start], system: System, of: impl Fn(&Start) -> u64) -> Vec<f64> {
    let own = starts.iter().filter(|start| start.system == system);
    own.map(|start| of(start) as f64 / 1e6).collect()
}

pub(super) fn streams<W: PartialEq>(
    streams: &[Stream<W>],
    system: System,
    way: W,
    of: impl Fn(&Stream<W>) -> Option<f64>,
) -> Vec<f64> {
    let own = |stream: &&Stream<W>| stream.system == system && stream.way == way;
    streams.iter().filter(own).filter_map(of).collect()
}

/// Of those that were asked for at such a rate.
pub(super) fn packets(
    packets: &[Packets],
    system: System,
    at: impl Fn(u32) -> bool,
    of: impl Fn(&Packets) -> Option<f64>,
) -> Vec<f64> {
    let own = |one: &&Packets| one.system == system && at(one.asked_per_second);
    packets.iter().filter(own).filter_map(of).collect()
}

fn is_compared(asked_per_second: u32) -> bool {
    asked_per_second == COMPARED_RATE
}

fn is_above(asked_per_second: u32) -> bool {
    asked_per_second > COMPARED_RATE || asked_per_second == AS_MANY_AS_PASS
}
