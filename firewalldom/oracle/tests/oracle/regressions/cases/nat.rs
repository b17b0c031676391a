//! Other destinations and sources.

use super::super::*;
use oracle::packet::flag::{ACK, FIN};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "an inner zone without DNAT in a zone with some does not come to 1:1 NAT",
        files: &[
            ("zones", "fw firewall\nnet ipv4\nloc ipv4\nadm:loc ipv4\n"),
            ("hosts", "adm eth1:10.0.3.0/26\n"),
            ("policy", "all all ACCEPT\n"),
            ("rules", "DNAT loc net:192.0.2.7 tcp 99\n"),
            ("nat", "192.0.2.77 eth0 10.0.3.9 Yes No\n"),
            ("snat", ""),
        ],
        steps: || {
            vec![
                udp(LOC, HOST, "192.0.2.77", 9),
                udp(LOC, "10.0.3.90", "192.0.2.77", 9),
            ]
        },
        linux: &["answers ICMP 3/3", "translates"],
    },
    Case {
        name: "ORIGDEST does not hold for what conntrack does not know, even with !",
        files: &[
            ("policy", "$FW all ACCEPT\nall all DROP\n"),
            (
                "rules",
                "ACCEPT net $FW - - - 192.0.2.2\nACCEPT loc $FW - - - !192.0.2.2\n",
            ),
        ],
        steps: || {
            vec![
                tcp(NET, FAR, OUTSIDE, SYN),
                tcp(NET, FAR, OUTSIDE, FIN | ACK),
                tcp(LOC, HOST, INSIDE, FIN | ACK),
            ]
        },
        linux: &["answers TCP ACK/RST", "nothing", "nothing"],
    },
    Case {
        name: "a redirect of what is translated never passes",
        files: &[("policy", "all all ACCEPT\n"), ("rules", "")],
        steps: || {
            let with = Answer::Error {
                from: None,
                kind: 5,
                code: 1,
                rest: [192, 0, 2, 9],
                quoted: 8,
            };
            vec![udp(LOC, HOST, FAR, 9), Step::Answer { to: 0, with }]
        },
        linux: &["translates", "nothing"],
    },
    Case {
        name: "one-to-one NAT on all interfaces is for hosts of no zone as well",
        files: &[
            ("interfaces", "?FORMAT 2\nnet eth0\n- eth1 routeback\n"),
            ("hosts", "loc eth1:10.0.3.0/24!10.0.3.9\n"),
            ("policy", "all all ACCEPT\n"),
            ("rules", ""),
            ("nat", "192.0.2.77 eth0 10.0.3.20 Yes\n"),
        ],
        steps: || {
            vec![
                udp(LOC, HOST, "10.0.3.20", 9),
                udp(LOC, HOST, "192.0.2.77", 9),
            ]
        },
        linux: &["forwards", "translates"],
    },
    Case {
        name: "a zone of addresses meets the DNAT of the zone of its interface",
        files: &[
            ("zones", "fw firewall\nadm ipv4\nnet ipv4\nloc ipv4\n"),
            ("hosts", "adm eth1:10.0.3.0/28\n"),
            ("policy", "all all ACCEPT\n"),
            ("rules", "DNAT loc net:198.51.100.9 udp 1002\n"),
        ],
        steps: || vec![udp(LOC, HOST, OUTSIDE, 1002)],
        linux: &["translates"],
    },
    Case {
        name: "what DNAT sends to the firewall is refused by the address it was for, even that of all",
        files: &[
            ("policy", "$FW all ACCEPT\nall all REJECT\n"),
            ("rules", "DNAT loc net:192.0.2.2:8080 tcp 35616\n"),
        ],
        steps: || vec![tcp(LOC, HOST, "10.0.3.255", SYN)],
        linux: &["answers TCP ACK/RST"],
    },
    Case {
        name: "hosts of no zone are kept from being tracked as well",
        files: &[
            ("interfaces", "?FORMAT 2\nnet eth0\n- eth1\n"),
            ("hosts", "loc eth1:10.0.3.0/24!10.0.3.9\n"),
            ("policy", "$FW all DROP\nall all ACCEPT\n"),
            ("rules", ""),
            (
                "conntrack",
                "?FORMAT 3\nNOTRACK - 10.0.3.1 icmp 8\nNOTRACK - 192.0.2.2 icmp 8\n",
            ),
        ],
        steps: || {
            vec![
                icmp(LOC, HOST, INSIDE, 8, 0),
                icmp(NET, HOST, OUTSIDE, 8, 0),
                icmp(LOC, "198.51.100.7", OUTSIDE, 8, 0),
            ]
        },
        linux: &["nothing", "nothing", "nothing"],
    },
    Case {
        name: "what is taken out of an inner zone is kept from DNAT with it",
        files: &[
            ("zones", "fw firewall\nnet ipv4\nloc ipv4\nadm:loc ipv4\n"),
            ("hosts", "adm eth1:10.0.3.0/28!10.0.3.9\n"),
            ("policy", "all all ACCEPT\n"),
            ("rules", "DNAT loc net:198.51.100.9 udp 1002\n"),
        ],
        steps: || {
            vec![
                udp(LOC, HOST, OUTSIDE, 1002),
                udp(LOC, "10.0.3.20", OUTSIDE, 1002),
            ]
        },
        linux: &["answers ICMP 3/3", "translates"],
    },
    Case {
        name: "NONAT and ACCEPT+ are about the original destinations that they name",
        files: &[
            (
                "rules",
                "NONAT loc all udp 1002 - 192.0.2.2,203.0.113.77\n\
                 ACCEPT+ loc $FW udp 1003 - !192.0.2.2\nDNAT loc net:198.51.100.9 udp 1002:1003\n",
            ),
            ("policy", "all all ACCEPT\n"),
        ],
        steps: || {
            vec![
                udp(LOC, HOST, OUTSIDE, 1002),
                udp(LOC, HOST, FAR, 1002),
                udp(LOC, HOST, OUTSIDE, 1003),
                udp(LOC, HOST, INSIDE, 1003),
            ]
        },
        linux: &[
            "answers ICMP 3/3",
            "translates",
            "translates",
            "answers ICMP 3/3",
        ],
    },
];
