//! What an established packet costs in instructions, which is the same on every machine: nobody
//! makes it dearer without noticing.
//!
//! Counted by valgrind's callgrind in the example `forward`, built as the appliance is. Where there
//! is no valgrind this says so and counts nothing, but in continuous integration and in the full
//! tier that is a failure.

mod appliance;

use std::path::Path;
use std::process::Command;
use std::thread;

/// Instructions from headers in the cache to headers rewritten, for TCP and UDP, with and without
/// translated addresses. Change them with the code that changes them.
const EXPECTED: [(&str, &str, u64); 4] = [
    ("tcp", "nat", 300),
    ("tcp", "plain", 280),
    ("udp", "nat", 241),
    ("udp", "plain", 215),
];

/// Percent that a compiler may make of it.
const TOLERANCE: u64 = 5;

const FLOWS: u64 = 1024;
const PACKETS: u64 = 10_000;

fn is_required() -> bool {
    let set = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    set("CI", "true") || set("XEN_TESTS", "full")
}

/// Instructions of the engine in one run.
fn count(example: &Path, packets: u64, transport: &str, nat: &str) -> u64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*measured_*")
        .arg(example)
        .args([FLOWS.to_string(), packets.to_string()])
        .args([transport, nat])
        .output()
        .expect("valgrind runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let (_, collected) = text.rsplit_once("Collected : ").expect("a count");
    collected
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .expect("a number")
}

#[test]
fn an_established_packet_costs_what_it_did() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        assert!(!is_required(), "valgrind is missing: apt install valgrind");
        eprintln!("NOT COUNTED: no valgrind on this machine (apt install valgrind)");
        return;
    }
    let example = appliance::example("forward");
    let counted = thread::scope(|scope| {
        let counts = EXPECTED.map(|(transport, nat, _)| {
            let example = &example;
            scope.spawn(move || {
                // The difference leaves out what it takes to open the flows.
                let without = count(example, 0, transport, nat);
                let with = count(example, PACKETS, transport, nat);
                (with - without) / PACKETS
            })
        });
        counts.map(|count| count.join().expect("a count"))
    });
    let mut wrong = Vec::new();
    for ((transport, nat, expected), each) in EXPECTED.into_iter().zip(counted) {
        println!("{transport} {nat}: {each} instructions");
        if each.abs_diff(expected) * 100 > expected * TOLERANCE {
            wrong.push(format!("{transport} {nat}: {each} instead of {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}
