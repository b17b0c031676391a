//! What the firewall itself answers and refuses.

use super::super::*;
use oracle::packet::flag::{ACK, FIN, PSH, RST};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a reset for a segment of no connection meets the rules from $FW",
        files: &[("policy", "loc $FW REJECT\n$FW loc DROP\nall all REJECT\n")],
        steps: || vec![tcp(LOC, HOST, INSIDE, FIN | ACK)],
        linux: &["nothing"],
    },
    Case {
        name: "a reset for a segment of no connection leaves where the rules let it",
        files: &[("policy", "$FW loc ACCEPT\nall all REJECT\n")],
        steps: || vec![tcp(LOC, HOST, INSIDE, FIN | ACK)],
        linux: &["answers TCP RST"],
    },
    Case {
        name: "an echo reply of the firewall may be fragmented",
        files: &[],
        steps: || vec![icmp(NET, FAR, OUTSIDE, 8, 0)],
        linux: &["answers ICMP 0/0"],
    },
    Case {
        name: "a port unreachable quotes the datagram as it came, options and all",
        files: &[("rules", "ACCEPT net $FW udp\n")],
        steps: || {
            let mut packet = udp_packet(FAR, OUTSIDE, 31_505, 68, 4);
            packet.options = vec![1, 1, 1, 0];
            vec![udp(NET, FAR, OUTSIDE, 68), send(NET, &packet)]
        },
        linux: &["answers ICMP 3/3", "answers ICMP 3/3"],
    },
    Case {
        name: "a port unreachable has the datagram's precedence and quotes 548 bytes",
        files: &[("rules", "ACCEPT net $FW udp\n")],
        steps: || {
            let mut packet = udp_packet(FAR, OUTSIDE, 31_505, 68, 600);
            packet.tos = 0xb8;
            vec![send(NET, &packet)]
        },
        linux: &["answers ICMP 3/3"],
    },
    Case {
        name: "a rejected segment with strange flags gets a port unreachable, if the rules let it",
        files: &[
            ("policy", "$FW net DROP\n$FW loc ACCEPT\nall all DROP\n"),
            ("shorewall.conf", "+TCP_FLAGS_DISPOSITION=REJECT\n"),
        ],
        steps: || {
            vec![
                tcp(NET, FAR, OUTSIDE, FIN | PSH),
                tcp(LOC, HOST, INSIDE, SYN | RST),
            ]
        },
        linux: &["nothing", "answers ICMP 3/3"],
    },
    Case {
        name: "strange flags that are accepted go past the rules",
        files: &[
            ("policy", "$FW loc ACCEPT\nall all DROP\n"),
            ("shorewall.conf", "+TCP_FLAGS_DISPOSITION=ACCEPT\n"),
        ],
        steps: || vec![tcp(LOC, HOST, INSIDE, FIN | PSH)],
        linux: &["answers TCP ACK/RST"],
    },
    Case {
        name: "the firewall says what time it is, and echoes whatever the code",
        files: &[("rules", "ACCEPT net $FW icmp\n")],
        steps: || {
            vec![
                icmp(NET, FAR, OUTSIDE, 13, 0),
                icmp(NET, FAR, OUTSIDE, 8, 1),
            ]
        },
        linux: &["answers ICMP 14/0", "answers ICMP 0/1"],
    },
    Case {
        name: "a rejected hairpin is told by its protocol",
        files: &[
            (
                "interfaces",
                "?FORMAT 2\nnet eth0 tcpflags\nloc eth1 tcpflags\n",
            ),
            ("shorewall.conf", "+SFILTER_DISPOSITION=REJECT\n"),
        ],
        steps: || {
            vec![
                udp(LOC, HOST, "10.0.3.10", 9),
                tcp(LOC, HOST, "10.0.3.10", SYN),
                icmp(LOC, HOST, "10.0.3.10", 8, 0),
            ]
        },
        linux: &[
            "answers ICMP 3/3",
            "answers TCP ACK/RST",
            "answers ICMP 3/1",
        ],
    },
    Case {
        name: "a segment without flags gets a reset that acknowledges it",
        files: &[
            ("interfaces", "?FORMAT 2\nnet eth0 tcpflags=0\nloc eth1\n"),
            ("rules", "ACCEPT net $FW tcp\n"),
        ],
        steps: || vec![tcp(NET, FAR, OUTSIDE, 0)],
        linux: &["answers TCP ACK/RST"],
    },
    Case {
        name: "a protocol that nobody speaks is said to be so, or prohibited",
        files: &[("rules", "ACCEPT net $FW 50\nREJECT net $FW 51\n")],
        steps: || vec![other(NET, FAR, OUTSIDE, 50), other(NET, FAR, OUTSIDE, 51)],
        linux: &["answers ICMP 3/2", "answers ICMP 3/10"],
    },
    Case {
        name: "what netfilter cannot vouch for is rejected in silence",
        files: &[("rules", "REJECT net $FW\n")],
        steps: || vec![other(NET, FAR, OUTSIDE, 200)],
        linux: &["nothing"],
    },
    Case {
        name: "netfilter vouches for zeros of a protocol that it does not know",
        files: &[("rules", "REJECT net $FW\n")],
        steps: || {
            let zeros = Transport::Other(200, vec![0; 40]);
            vec![send(NET, &Packet::new(at(FAR), at(OUTSIDE), zeros))]
        },
        linux: &["answers ICMP 3/10"],
    },
    Case {
        name: "a rejection's reset never has the checksum 0",
        files: &[
            ("policy", "$FW all ACCEPT\nall all REJECT\n"),
            ("rules", ""),
        ],
        // That of its reset comes to 0.
        steps: || vec![segment(LOC, SYN, 18_860, 0, 0)],
        linux: &["answers TCP ACK/RST"],
    },
    Case {
        name: "a reset answers what came to all stations and was translated to one",
        files: &[
            ("policy", "$FW all ACCEPT\nall all REJECT\n"),
            ("rules", "DNAT loc net:192.0.2.2:8080 tcp 35616\n"),
        ],
        steps: || {
            let mut to_all = tcp(LOC, HOST, "10.0.3.255", SYN);
            if let Step::Send { bytes, .. } = &mut to_all {
                bytes[..6].fill(0xff);
            }
            vec![to_all]
        },
        linux: &["answers TCP ACK/RST"],
    },
];
