//! Tests of [`figure`](super): what follows from which samples.

use super::*;
use crate::bench::samples::{
    AS_MANY_AS_PASS, Crowd, GuestStream, GuestWay, Hypercalls, Packets, Start,
};

fn start(system: System, xl_create_us: u64, first_packet_us: u64) -> Start {
    Start {
        system,
        run: 0,
        xl_create_us,
        first_packet_us,
    }
}

fn figure(id: &str) -> &'static Figure {
    figures().find(|figure| figure.id == id).unwrap()
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
    assert_eq!(first.ours.unwrap().samples, 3);
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
    assert_eq!(cpu.ours.unwrap().median, 5.0);
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
    assert_eq!(copies.ours.unwrap().median, 1.01);
    assert_eq!(copies.verdict, Verdict::Pass);
    let passed = figure("guest_packets").measured(&samples);
    assert_eq!((passed.ratio, passed.verdict), (Some(3.0), Verdict::Pass));
    let of_linux = figure("linux_packet_cpu").measured(&samples);
    assert_eq!(of_linux.debian.unwrap().median, 25.0);
    assert_eq!(of_linux.ours, None);
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
fn ids_are_unique_and_pictures_have_one_unit_and_the_same_two() {
    for (index, figure) in figures().enumerate() {
        for other in figures().skip(index + 1) {
            assert_ne!(figure.id, other.id);
            let is_shared = figure.picture == other.picture;
            assert!(!is_shared || figure.unit == other.unit);
            assert!(!is_shared || figure.benchmark.systems() == other.benchmark.systems());
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

#[test]
fn a_driver_domain_is_judged_by_its_own_samples() {
    use crate::bench::netdom::samples::{Crowd, DriverDomains, ImageSizes};

    let (ours, theirs) = (System::Netdom, System::Debian);
    let packets = |system, asked_per_second, received, cpu_us| Packets {
        system,
        run: 0,
        asked_per_second,
        sent: 100_000,
        sent_us: 5_000_000,
        received,
        cpu_us,
        hypercalls: None,
    };
    let crowd = |memory_mib, wanted, vifs| Crowd {
        memory_mib,
        wanted,
        vifs,
        sent: 1_000,
        received: 1_000,
    };
    let mut samples = Samples {
        netdom: DriverDomains {
            sizes: Some(ImageSizes {
                netdom_bytes: 307_200,
                debian_kernel_bytes: 8_000_000,
                debian_ramdisk_bytes: 7_000_000,
                target: String::new(),
            }),
            starts: vec![
                start(ours, 900_000, 2_000_000),
                start(theirs, 1, 19_000_000),
            ],
            packets: vec![
                packets(ours, AS_MANY_AS_PASS, 90_000, 1),
                packets(theirs, AS_MANY_AS_PASS, 45_000, 1),
            ],
            packets_out: vec![
                packets(ours, WIRE_RATE, 10_000, 100_000),
                packets(theirs, WIRE_RATE, 5_000, 100_000),
            ],
            crowds: vec![crowd(8, 16, 16), crowd(16, 64, 63)],
            ..DriverDomains::default()
        },
        ..Samples::default()
    };
    let verdict = |samples: &Samples, id| figure(id).measured(samples).verdict;
    for (id, expected) in [
        ("netdom_xen", Verdict::Pass),
        ("netdom_first_reply", Verdict::Miss),
        ("netdom_packets", Verdict::Pass),
        ("netdom_packet_out_cpu", Verdict::Pass),
        ("netdom_packet_in_cpu", Verdict::NotMeasured),
        ("netdom_packets_out", Verdict::NoTarget),
        ("netdom_memory", Verdict::Pass),
        ("netdom_memory_many", Verdict::Miss),
        ("netdom_between", Verdict::NotMeasured),
        ("guest_between", Verdict::NotMeasured),
    ] {
        assert_eq!(verdict(&samples, id), expected, "{id}");
    }
    samples.netdom.crowds[0].received -= 1;
    let lost = verdict(&samples, "netdom_memory");
    assert_eq!(lost, Verdict::NotMeasured, "a packet was lost");
    let text = serde_json::to_string(&samples).unwrap();
    assert_eq!(serde_json::from_str::<Samples>(&text).unwrap(), samples);
}
