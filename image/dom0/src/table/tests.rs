use super::*;
use crate::document::document;
use firewalldom::policy::blob::Identity;
use firewalldom::stat::{APPLIANCE, Flows, RuleHits};
use minios_rs::stat::Memory;
use minios_rs::xen::DomId;

fn sample() -> (Domain, Report) {
    let direction = |frames, errors| Direction {
        frames,
        bytes: frames * 1000,
        errors,
    };
    let statistics = Statistics {
        site: "two-interfaces".to_owned(),
        policy: Identity {
            version: 1,
            checksum: 0x0123_4567_89ab_cdef,
        },
        forwarded: 71_234,
        local: 12,
        drops: vec![Count::new("DROP", 3), Count::new("egress ring full", 1044)],
        flows: Flows {
            now: 17,
            peak: 300,
            capacity: 9000,
            evicted: 1,
        },
        log_lines_suppressed: 2,
        files: vec!["shorewall/rules".to_owned()],
        rules: vec![
            RuleHits {
                file: 0,
                line: 0,
                hits: 1,
            },
            RuleHits {
                file: 0,
                line: 19,
                hits: 200,
            },
        ],
        rules_left_out: 0,
    };
    let report = Report {
        appliance: APPLIANCE.to_owned(),
        version: "0.1.0".to_owned(),
        state: "forwarding".to_owned(),
        uptime_ns: 93_784_500_000_000,
        memory: Memory {
            total: 7 << 20,
            free: 1_234_567,
            heap: 3 << 20,
            heap_used: 600_000,
            heap_used_max: 700_000,
        },
        hypercalls: vec![
            Count::new("event_channel_op", 1234),
            Count::new("sched_op", 5),
        ],
        interfaces: vec![Interface {
            name: "eth0".to_owned(),
            mac: [0, 0x16, 0x3e, 1, 2, 3],
            backend: 0,
            mtu: 1500,
            state: "open".to_owned(),
            received: direction(300, vec![Count::new("runt", 3)]),
            transmitted: direction(71_000, Vec::new()),
            events_sent: 40,
            pages_lent: 2,
            pages_in_quarantine: 1,
        }],
        detail: Some(statistics.encode()),
    };
    let domain = Domain {
        id: DomId(3),
        name: "firewalldom".to_owned(),
    };
    (domain, report)
}

/// The README of a crate, and what stands there between two lines.
fn readme(from: &str) -> &'static str {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once(from).expect(from);
    rest.split_once("```").expect("the end of the block").0
}

#[test]
fn the_table_is_what_the_readme_shows() {
    let (domain, report) = sample();
    assert_eq!(
        table(&domain, &report),
        readme("# xen-image-dom0 stat firewalldom\n")
    );
}

#[test]
fn the_json_is_what_the_readme_shows() {
    let (domain, report) = sample();
    let text = serde_json::to_string_pretty(&document(&domain, &report)).unwrap();
    assert_eq!(
        format!("{text}\n"),
        readme("# xen-image-dom0 stat firewalldom --json\n")
    );
}

#[test]
fn what_is_not_understood_is_said() {
    let (domain, mut report) = sample();
    report.appliance = "netdom".to_owned();
    let text = table(&domain, &report);
    assert!(
        text.contains("not shown   this program does not know the appliance"),
        "{text}"
    );
    report.appliance = APPLIANCE.to_owned();
    if let Some(detail) = &mut report.detail {
        detail.version = 2;
    }
    let text = table(&domain, &report);
    assert!(
        text.contains("version 2 of the firewall's statistics"),
        "{text}"
    );
    assert!(text.contains("eth0: open"), "the rest is shown: {text}");
    report.detail = None;
    assert!(!table(&domain, &report).contains("not shown"));
}

#[test]
fn numbers_and_times_read_well() {
    let numbers = [0, 999, 1000, 1_234_567, u64::MAX].map(thousands);
    let shown = [
        "0",
        "999",
        "1,000",
        "1,234,567",
        "18,446,744,073,709,551,615",
    ];
    assert_eq!(numbers, shown);
    let sizes = [0, 1023, 1024, 1_048_575, 1_572_864].map(size);
    assert_eq!(
        sizes,
        ["0 bytes", "1023 bytes", "1 KiB", "1023 KiB", "1.5 MiB"]
    );
    let times = [1.55, 61.0, 3661.0, 90_000.0].map(|s| uptime(Duration::from_secs_f64(s)));
    assert_eq!(times, ["1.6 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"]);
}
