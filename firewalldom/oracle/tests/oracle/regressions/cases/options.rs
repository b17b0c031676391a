//! Limits, sets and what options of interfaces and hosts ask for.

use super::super::*;
use oracle::packet::flag::{ACK, FIN};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a rule's set of addresses has the members of the file ipsets, and no others",
        files: &[
            (
                "ipsets",
                "create known hash:net family inet\nadd known 198.51.100.0/24\n\
                 add known 198.51.100.7/32 nomatch\n",
            ),
            ("policy", "all all DROP\n"),
            ("rules", "ACCEPT net:+known $FW udp\n"),
        ],
        steps: || {
            let from = |address| send(NET, &udp_packet(address, OUTSIDE, 31_505, 68, 4));
            vec![
                from("198.51.100.6"),
                from("198.51.100.7"),
                from("198.51.101.6"),
            ]
        },
        linux: &["answers ICMP 3/3", "nothing", "nothing"],
    },
    Case {
        name: "what DHCP needs is not forwarded for it",
        files: &[
            ("policy", "all all DROP\n"),
            ("interfaces", "?FORMAT 2\nnet eth0 -\nloc eth1 dhcp\n"),
        ],
        steps: || vec![udp(LOC, HOST, FAR, 67)],
        linux: &["nothing"],
    },
    Case {
        name: "with blrules DHCP's option gives $FW a chain to a zone that lets answers pass",
        files: &[
            ("interfaces", "?FORMAT 2\nnet eth0 -\nloc eth1 dhcp\n"),
            ("blrules", "DROP net:203.0.113.9 all\n"),
            ("policy", "loc $FW REJECT\nall all DROP\n"),
            ("rules", "DROP net $FW udp 77\n"),
            ("shorewall.conf", "+EXPAND_POLICIES=No\n"),
        ],
        steps: || vec![udp(LOC, HOST, INSIDE, 9)],
        linux: &["answers ICMP 3/3"],
    },
    Case {
        name: "mss= of hosts gives their zone chains to all others that let answers pass",
        files: &[
            ("interfaces", "?FORMAT 2\nnet eth0\n- eth1\n"),
            ("hosts", "loc eth1:10.0.3.0/24 mss=1200\n"),
            ("policy", "loc net ACCEPT\nall all DROP\n"),
            ("rules", "DROP loc net udp 77\n"),
            ("shorewall.conf", "+EXPAND_POLICIES=No\n"),
        ],
        steps: || vec![udp(LOC, HOST, FAR, 9), reply(0)],
        linux: &["translates", "translates"],
    },
    Case {
        name: "mss= of hosts lowers what their SYNs announce, and what is announced to them",
        files: &[
            ("interfaces", "?FORMAT 2\nnet eth0\n- eth1\n"),
            ("hosts", "loc eth1:10.0.3.0/24 mss=1200\n"),
            ("policy", "all all ACCEPT\n"),
        ],
        steps: || {
            vec![
                with_size(LOC, HOST, FAR, SYN),
                with_size(NET, FAR, HOST, SYN),
            ]
        },
        linux: &["translates", "forwards"],
    },
    Case {
        name: "CLAMPMSS leaves alone what an interface has a size for",
        files: &[
            (
                "interfaces",
                "?FORMAT 2\nnet eth0 mss=1400\nloc eth1 mss=1300\n",
            ),
            ("policy", "all all ACCEPT\n"),
            ("shorewall.conf", "+CLAMPMSS=Yes\n"),
        ],
        steps: || {
            vec![
                with_size(LOC, HOST, FAR, SYN),
                segment(LOC, SYN, 1, 0, 8_192),
            ]
        },
        linux: &["translates", "translates"],
    },
    Case {
        name: "CLAMPMSS goes by the links, whatever path somebody says that the firewall's own packets take",
        files: &[
            ("policy", "all all ACCEPT\n"),
            ("shorewall.conf", "+CLAMPMSS=Yes\n"),
        ],
        steps: || {
            let with = Answer::Error {
                kind: 3,
                code: 4,
                rest: [0, 0, 5, 20],
                quoted: 8,
                from: None,
            };
            vec![
                icmp(LOC, HOST, INSIDE, 8, 0),
                Step::Answer { to: 0, with },
                with_size(NET, FAR, HOST, SYN),
            ]
        },
        linux: &["answers ICMP 0/0", "nothing", "forwards"],
    },
    Case {
        name: "a SYN that is rejected is quoted with the size that it would have had",
        files: &[
            ("policy", "$FW all ACCEPT\nall all DROP\n"),
            ("rules", "REJECT(icmp-port-unreachable) loc net tcp\n"),
            ("shorewall.conf", "+CLAMPMSS=1400\n"),
        ],
        steps: || vec![with_size(LOC, HOST, FAR, SYN)],
        linux: &["answers ICMP 3/3"],
    },
    Case {
        name: "of a rate per hour the burst passes, and no more",
        files: &[
            ("policy", "$FW all ACCEPT\nall all DROP\n"),
            ("rules", "ACCEPT net $FW icmp 8 - - 1/hour:2\n"),
        ],
        steps: || {
            let ask = |n: u8| icmp(NET, &format!("198.51.100.{n}"), OUTSIDE, 8, 0);
            vec![ask(1), ask(2), ask(3), ask(4)]
        },
        linux: &["answers ICMP 0/0", "answers ICMP 0/0", "nothing", "nothing"],
    },
    Case {
        name: "of a rate for each source the burst passes for each",
        files: &[
            ("policy", "$FW all ACCEPT\nall all DROP\n"),
            ("rules", "ACCEPT net $FW icmp 8 - - s:1/day:1\n"),
        ],
        steps: || {
            let ask = |n: u8, id: u8| {
                let from = format!("198.51.100.{n}");
                let echo = Transport::Icmp(8, 0, [9, id, 0, 1], vec![7; 8]);
                send(NET, &Packet::new(at(&from), at(OUTSIDE), echo))
            };
            vec![ask(1, 1), ask(2, 2), ask(1, 3), ask(2, 4)]
        },
        linux: &["answers ICMP 0/0", "answers ICMP 0/0", "nothing", "nothing"],
    },
    Case {
        name: "a chain that mss= of hosts makes asks for states ahead of the zones around",
        files: &[
            ("zones", "fw firewall\nnet ipv4\nloc ipv4\nadm:loc ipv4\n"),
            ("hosts", "adm eth1:10.0.3.0/28 mss=1200\n"),
            ("policy", "all all ACCEPT\n"),
            (
                "shorewall.conf",
                "+IMPLICIT_CONTINUE=Yes\nEXPAND_POLICIES=No\nINVALID_DISPOSITION=REJECT\n",
            ),
        ],
        // The reset is no part of a connection, either.
        steps: || vec![tcp(LOC, HOST, FAR, SYN | ACK)],
        linux: &["nothing"],
    },
    Case {
        name: "mss= of hosts is for what passes between zones",
        files: &[
            ("interfaces", "?FORMAT 2\n- eth0\n- eth1\n"),
            (
                "hosts",
                "loc eth1:10.0.3.64/26\nnet eth0:0.0.0.0/0 mss=1200\n",
            ),
            ("policy", "all all ACCEPT\n"),
            ("rules", ""),
            ("snat", ""),
        ],
        steps: || vec![with_size(LOC, HOST, FAR, SYN)],
        linux: &["forwards"],
    },
    Case {
        name: "a rejected segment with strange flags is quoted ahead of mss= of hosts",
        files: &[
            ("zones", "fw firewall\nnet ipv4\nloc ipv4\nadm:loc ipv4\n"),
            ("interfaces", "?FORMAT 2\nnet eth0\nloc eth1 tcpflags\n"),
            ("hosts", "adm eth1:10.0.3.0/28 mss=1200\n"),
            ("policy", "all all ACCEPT\n"),
            ("rules", ""),
            ("shorewall.conf", "+TCP_FLAGS_DISPOSITION=REJECT\n"),
        ],
        steps: || vec![with_size(LOC, HOST, FAR, SYN | FIN)],
        linux: &["answers ICMP 3/3"],
    },
    Case {
        name: "mss= of hosts makes chains that drop answers without a line of the section NEW",
        files: &[
            ("zones", "fw firewall\nnet ipv4\nloc ipv4\n"),
            ("interfaces", "?FORMAT 2\nnet eth0\n- eth1\n"),
            ("hosts", "loc eth1:10.0.3.0/24 mss=1200\n"),
            ("policy", "loc net ACCEPT\nall all DROP\n"),
            ("rules", ""),
        ],
        steps: || vec![udp(LOC, HOST, FAR, 9), reply(0)],
        linux: &["translates", "nothing"],
    },
];
