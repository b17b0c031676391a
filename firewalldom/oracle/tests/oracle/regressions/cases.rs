//! The cases: each the smallest site and steps that show a difference.

use super::*;

mod arp;
mod connections;
mod hairpins;
mod nat;
mod options;
mod replies;
mod sections;
mod wildcards;
mod zones;

pub(crate) fn cases() -> impl Iterator<Item = &'static Case> {
    let subjects = [
        arp::CASES,
        connections::CASES,
        hairpins::CASES,
        nat::CASES,
        options::CASES,
        replies::CASES,
        sections::CASES,
        wildcards::CASES,
        zones::CASES,
    ];
    subjects.into_iter().flatten()
}

/// Differences that are meant, by their names.
pub(crate) const WANTED_CASES: [(&str, Case); 3] = [
    (
        "land",
        Case {
            name: "what is its own answer",
            files: &[],
            steps: || vec![tcp(LOC, HOST, HOST, SYN)],
            linux: &["forwards"],
        },
    ),
    (
        "malformed option",
        Case {
            name: "an option that points beyond its header",
            files: &[("policy", "all all ACCEPT\n")],
            steps: || {
                let mut packet = udp_packet(HOST, FAR, 31_505, 9, 4);
                packet.options = vec![7, 40, 4, 0];
                vec![send(LOC, &packet)]
            },
            linux: &["answers ICMP 12/0"],
        },
    ),
    (
        "broadcast source",
        Case {
            name: "a segment for port 0 from a broadcast address",
            files: &[
                ("interfaces", "?FORMAT 2\nnet eth0 -\nloc eth1 -\n"),
                ("policy", "all all ACCEPT\n"),
            ],
            steps: || vec![tcp(NET, "10.0.3.255", OUTSIDE, SYN)],
            linux: &["answers TCP ACK/RST"],
        },
    ),
];

pub(crate) const REFUSALS: [Refusal; 3] = [
    Refusal {
        name: "a service of another protocol",
        files: &[("rules", "ACCEPT loc $FW udp ssh\n")],
        words: "udp port/service (ssh)",
        ours: Ours::Takes,
    },
    Refusal {
        name: "a second policy for the same zones",
        files: &[("policy", "loc net ACCEPT\nloc net REJECT\nall all REJECT\n")],
        words: "duplicates earlier policy",
        ours: Ours::Refuses,
    },
    Refusal {
        name: "a plus behind the addresses of SNAT",
        files: &[("snat", "SNAT(192.0.2.9)+ 10.0.3.0/24 eth0\n")],
        words: "SNAT",
        ours: Ours::Refuses,
    },
];
