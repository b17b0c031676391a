//! The figures of the driver domain.

use super::table::{Picture, packets, starts, streams};
use super::{COMPARED_RATE, CROWDS, Figure, Target, Unit, Values, WIRE_RATE};
use crate::bench::Benchmark;
use crate::bench::netdom::samples::Crowd;
use crate::bench::samples::{AS_MANY_AS_PASS, GuestWay, Packets, Samples, Stream, System};

const fn picture(name: &'static str, unit: Unit) -> Picture {
    Picture::new(name, Benchmark::Netdom, unit)
}

const SIZES: Picture = picture("netdom-sizes", Unit::Bytes);
const MEMORY: Picture = picture("netdom-memory", Unit::Guests);
const START: Picture = picture("netdom-start", Unit::Seconds);
const TCP: Picture = picture("netdom-tcp", Unit::Megabits);
const TCP_CPU: Picture = picture("netdom-tcp-cpu", Unit::CpuPerGigabyte);
const PACKETS: Picture = picture("netdom-packets", Unit::Count);
const PACKET_CPU: Picture = picture("netdom-packet-cpu", Unit::Microseconds);

/// All of them, in the order of the page.
pub(super) const FIGURES: &[Figure] = &[
    SIZES.figure(
        "netdom_xen",
        "netdom.xen, stripped (Debian's: Linux and initrd)",
        Target::AtMost(307_200.0),
        |samples, system| {
            let sizes = samples.netdom.sizes.iter();
            let bytes = sizes.map(|sizes| match system {
                System::Debian => sizes.debian_kernel_bytes + sizes.debian_ramdisk_bytes,
                _ => sizes.netdom_bytes,
            });
            bytes.map(|bytes| bytes as f64).collect()
        },
    ),
    MEMORY.figure(
        "netdom_memory",
        "of 16 vifs: so many are served by 8 MiB",
        Target::AtLeast(16.0),
        |samples, system| served(samples, system, CROWDS[0]),
    ),
    MEMORY.figure(
        "netdom_memory_many",
        "of 64 vifs: so many are served by 16 MiB",
        Target::AtLeast(64.0),
        |samples, system| served(samples, system, CROWDS[1]),
    ),
    START.figure(
        "netdom_first_reply",
        "start of xl create to a guest's first reply over the wire",
        Target::OneIn(10.0),
        |samples, system| {
            starts(&samples.netdom.starts, system, |start| {
                start.first_packet_us
            })
        },
    ),
    tcp(
        "netdom_between",
        "iperf3 TCP from guest to guest",
        Target::RatioAtLeast(1.0),
        |samples, system| megabits(samples, system, GuestWay::Between),
    ),
    tcp(
        "netdom_between_back",
        "iperf3 TCP from guest to guest, back",
        Target::RatioAtLeast(1.0),
        |samples, system| megabits(samples, system, GuestWay::BetweenBack),
    ),
    tcp(
        "netdom_out",
        "TCP from a guest to the wire, which is emulated",
        Target::None,
        |samples, system| megabits(samples, system, GuestWay::Out),
    ),
    tcp(
        "netdom_in",
        "TCP from the wire to a guest, likewise",
        Target::None,
        |samples, system| megabits(samples, system, GuestWay::In),
    ),
    tcp_cpu(
        "netdom_between_cpu",
        "the driver domain's CPU time for each GB from guest to guest",
        |samples, system| cpu(samples, system, GuestWay::Between),
    ),
    tcp_cpu(
        "netdom_between_back_cpu",
        "the driver domain's CPU time for each GB from guest to guest, back",
        |samples, system| cpu(samples, system, GuestWay::BetweenBack),
    ),
    tcp_cpu(
        "netdom_out_cpu",
        "the driver domain's CPU time for each GB from a guest to the wire",
        |samples, system| cpu(samples, system, GuestWay::Out),
    ),
    tcp_cpu(
        "netdom_in_cpu",
        "the driver domain's CPU time for each GB from the wire to a guest",
        |samples, system| cpu(samples, system, GuestWay::In),
    ),
    PACKETS.figure(
        "netdom_packets",
        "64-byte packets from guest to guest each second, as many as pass",
        Target::RatioAtLeast(2.0),
        |samples, system| {
            let forwarded = |packets: &Packets| Some(packets.forwarded_per_second());
            let at = |rate| rate == AS_MANY_AS_PASS;
            packets(&samples.netdom.packets, system, at, forwarded)
        },
    ),
    PACKETS.figure(
        "netdom_packets_out",
        "64-byte packets from a guest to the wire each second, of 5,000",
        Target::None,
        |samples, system| {
            let forwarded = |packets: &Packets| Some(packets.forwarded_per_second());
            packets(&samples.netdom.packets_out, system, is_of_wire, forwarded)
        },
    ),
    PACKETS.figure(
        "netdom_packets_in",
        "64-byte packets from the wire to a guest each second, of 5,000",
        Target::None,
        |samples, system| {
            let forwarded = |packets: &Packets| Some(packets.forwarded_per_second());
            packets(&samples.netdom.packets_in, system, is_of_wire, forwarded)
        },
    ),
    PACKET_CPU.figure(
        "netdom_packet_cpu",
        "64-byte packets at 20,000/s from guest to guest: the driver domain's CPU time for each",
        Target::None,
        |samples, system| {
            let at = |rate| rate == COMPARED_RATE;
            let cpu = Packets::cpu_us_per_packet;
            packets(&samples.netdom.packets, system, at, cpu)
        },
    ),
    PACKET_CPU.figure(
        "netdom_packet_out_cpu",
        "64-byte packets from a guest to the wire: the driver domain's CPU time for each",
        Target::OneIn(2.0),
        |samples, system| {
            let cpu = Packets::cpu_us_per_packet;
            packets(&samples.netdom.packets_out, system, is_of_wire, cpu)
        },
    ),
    PACKET_CPU.figure(
        "netdom_packet_in_cpu",
        "64-byte packets from the wire to a guest: the driver domain's CPU time for each",
        Target::OneIn(2.0),
        |samples, system| {
            let cpu = Packets::cpu_us_per_packet;
            packets(&samples.netdom.packets_in, system, is_of_wire, cpu)
        },
    ),
];

const fn tcp(id: &'static str, title: &'static str, target: Target, values: Values) -> Figure {
    TCP.figure(id, title, target, values)
}

const fn tcp_cpu(id: &'static str, title: &'static str, values: Values) -> Figure {
    TCP_CPU.figure(id, title, Target::OneIn(2.0), values)
}

fn megabits(samples: &Samples, system: System, way: GuestWay) -> Vec<f64> {
    streams(&samples.netdom.streams, system, way, Stream::megabits)
}

fn cpu(samples: &Samples, system: System, way: GuestWay) -> Vec<f64> {
    let cpu = Stream::cpu_per_gigabyte;
    streams(&samples.netdom.streams, system, way, cpu)
}

/// Of so many vifs in so much memory, those that were served.
fn served(samples: &Samples, system: System, (memory_mib, wanted): (u32, u32)) -> Vec<f64> {
    let crowds = samples.netdom.crowds.iter().filter(|crowd| {
        system == System::Netdom && crowd.memory_mib == memory_mib && crowd.wanted == wanted
    });
    crowds.filter_map(Crowd::served).collect()
}

fn is_of_wire(asked_per_second: u32) -> bool {
    asked_per_second == WIRE_RATE
}
