//! Connections, by protocol, and datagrams in pieces.

use super::super::*;
use oracle::packet::fix_header;
use oracle::packet::flag::{ACK, PSH, RST};

/// Whatever is part of a connection passes, under its own address.
const ONLY_VALID: &[(&str, &str)] = &[
    ("policy", "all all ACCEPT\n"),
    ("rules", ""),
    ("snat", ""),
    ("shorewall.conf", "+INVALID_DISPOSITION=DROP\n"),
];

pub(super) const CASES: &[Case] = &[
    Case {
        name: "what acknowledges more than was sent is no part of a connection",
        files: &[("policy", "all all ACCEPT\n")],
        steps: || {
            vec![
                segment(LOC, SYN, 1_000, 0, 0),
                answer(0, SYN | ACK, 5_000, 1_001, 1),
                answer(0, ACK | PSH, 5_001, 1_128, 1),
                answer(0, ACK, 5_001, 1_126, 1),
            ]
        },
        linux: &[
            "translates",
            "translates",
            "answers TCP RST",
            "answers TCP RST",
        ],
    },
    Case {
        name: "a SYN in a connection that stands is let through and remembered",
        files: &[("policy", "all all ACCEPT\n")],
        steps: || {
            vec![
                segment(LOC, SYN, 1_000, 0, 8_192),
                answer(0, SYN | ACK, 5_000, 1_001, 8_192),
                answer(0, ACK | PSH, 5_010, 1_002, 1),
                segment(LOC, SYN, 1_001, 0, 8_192),
                answer(0, ACK, 5_009, 1_001, 1),
            ]
        },
        linux: &[
            "translates",
            "translates",
            "answers TCP RST",
            "translates",
            "translates",
        ],
    },
    Case {
        name: "a reset of ours closes the connection that it is about",
        files: &[
            ("policy", "loc net ACCEPT\n$FW net ACCEPT\nall all REJECT\n"),
            ("rules", "?SECTION NEW\n"),
            ("snat", "SNAT(192.0.2.9) 10.0.3.0/24 eth0\n"),
            ("shorewall.conf", "+EXPAND_POLICIES=No\n"),
        ],
        steps: || {
            vec![
                segment(LOC, SYN, 1_000, 0, 8_192),
                answer(0, SYN, 5_000, 0, 8_192),
                segment(LOC, SYN | ACK, 1_000, 5_001, 8_192),
            ]
        },
        linux: &["translates", "answers TCP ACK/RST", "forwards"],
    },
    Case {
        name: "SCTP that does not begin with INIT is translated by nobody",
        files: &[("policy", "all all ACCEPT\n")],
        steps: || {
            vec![
                sctp(LOC, HOST, FAR, 0x0102_0304, &[0, 3, 0, 4]),
                sctp(LOC, HOST, FAR, 0, &INIT),
            ]
        },
        linux: &["forwards", "translates"],
    },
    Case {
        name: "port 0 is a closed port like any other",
        files: &[("rules", "ACCEPT all $FW\n")],
        steps: || {
            let syn = Transport::Tcp(ports(4_000, 0), plain(SYN, 9, 0, 8_192));
            vec![
                udp(NET, FAR, OUTSIDE, 0),
                send(NET, &Packet::new(at(FAR), at(OUTSIDE), syn)),
            ]
        },
        linux: &["answers ICMP 3/3", "answers TCP ACK/RST"],
    },
    Case {
        name: "all the fragments of a datagram to a new neighbour arrive",
        files: &[("policy", "all all ACCEPT\n"), ("snat", "")],
        steps: || fragments(NET, FAR, HOST, 6),
        linux: &["nothing", "nothing", "nothing", "nothing", "nothing", SIX],
    },
    Case {
        name: "GRE of an unknown version gets no other destination",
        files: &[("rules", "DNAT net loc:10.0.3.9 47\n")],
        steps: || {
            vec![
                gre(NET, FAR, OUTSIDE, 2),
                gre(NET, FAR, OUTSIDE, 0),
                gre(LOC, HOST, INSIDE, 0),
            ]
        },
        linux: &["nothing", "translates", "answers ICMP 3/10"],
    },
    Case {
        name: "GRE of an unknown version is translated on its way out, and its answer is not",
        files: &[("rules", "")],
        steps: || vec![gre(LOC, HOST, FAR, 2), mirror(0), gre(LOC, HOST, INSIDE, 2)],
        linux: &["translates", "nothing", "answers ICMP 3/10"],
    },
    Case {
        name: "a datagram in pieces may get a port of NAT's choice",
        files: &[
            ("policy", "all all ACCEPT\n"),
            ("snat", "MASQUERADE(40000-40999) 10.0.3.0/24 eth0 udp\n"),
        ],
        steps: || fragments(LOC, HOST, FAR, 6),
        linux: &[
            "nothing", "nothing", "nothing", "nothing", "nothing", ALL_SIX,
        ],
    },
    Case {
        name: "a reset that answers the SYN of its own sender must be in the window",
        files: ONLY_VALID,
        steps: || {
            vec![
                segment(LOC, SYN, 1_127, 0, 0),
                answer(0, SYN, 5_001, 0, 0),
                answer(0, RST, 13_194, 0, 0),
                segment(LOC, RST, 9_127, 0, 0),
            ]
        },
        linux: &["forwards", "forwards", "nothing", "forwards"],
    },
    Case {
        name: "a reset that answers an acknowledgement may be of its sender",
        files: ONLY_VALID,
        steps: || {
            vec![
                segment(LOC, SYN, 1_127, 0, 0),
                answer(0, SYN, 5_001, 0, 0),
                answer(0, ACK, 5_002, 1_128, 0),
                answer(0, RST | ACK, 99_300, 5_002, 0),
            ]
        },
        linux: &["forwards", "forwards", "forwards", "forwards"],
    },
    Case {
        name: "a fragment that is there already may still say where the packet ends",
        files: &[("policy", "all all ACCEPT\n"), ("rules", "")],
        steps: || {
            let pieces = fragments(LOC, HOST, FAR, 3);
            let mut last = pieces[1].clone();
            if let Step::Send { bytes, .. } = &mut last {
                bytes[20] &= !0x20;
                fix_header(bytes);
            }
            let [first, second, third] = pieces.try_into().expect("three pieces");
            vec![first, second, last, third]
        },
        linux: &["nothing", "nothing", "nothing", "nothing"],
    },
];
