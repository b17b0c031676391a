//! Who is answered that asks for an address.

use super::super::*;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "the option proxyarp answers for what lies behind other interfaces",
        files: &[("interfaces", "?FORMAT 2\nnet eth0\nloc eth1 proxyarp\n")],
        steps: || {
            vec![
                arp(LOC, HOST, INSIDE),
                arp(LOC, HOST, FAR),
                arp(LOC, HOST, "192.0.2.1"),
                arp(LOC, HOST, "10.0.3.77"),
                arp(LOC, HOST, "224.0.0.9"),
                arp(LOC, "0.0.0.0", FAR),
                arp(LOC, FAR, "192.0.2.1"),
                arp(NET, "192.0.2.1", HOST),
                arp(NET, "192.0.2.1", INSIDE),
            ]
        },
        linux: &[
            "answers ARP",
            "answers ARP",
            "answers ARP",
            "nothing",
            "nothing",
            "nothing",
            "answers ARP",
            "nothing",
            "answers ARP",
        ],
    },
    Case {
        name: "with routefilter nobody is answered who is elsewhere",
        files: &[(
            "interfaces",
            "?FORMAT 2\nnet eth0\nloc eth1 proxyarp,routefilter\n",
        )],
        steps: || vec![arp(LOC, HOST, FAR), arp(LOC, FAR, "192.0.2.1")],
        linux: &["answers ARP", "nothing"],
    },
    Case {
        name: "a line of proxyarp answers outside for a host that it makes a route to",
        files: &[
            (
                "proxyarp",
                "192.0.2.77 eth1 eth0\n10.0.3.9 - eth0 Yes\n192.0.2.78 - eth0 Yes\n",
            ),
            ("policy", "net loc ACCEPT\nall all REJECT\n"),
        ],
        steps: || {
            vec![
                arp(NET, "192.0.2.1", "192.0.2.77"),
                arp(NET, "192.0.2.1", HOST),
                arp(NET, "192.0.2.1", "192.0.2.78"),
                arp(NET, "192.0.2.1", "10.0.3.10"),
                arp(LOC, "192.0.2.77", "192.0.2.1"),
                arp(LOC, "192.0.2.77", "10.0.3.10"),
                udp(NET, FAR, "192.0.2.77", 9),
            ]
        },
        linux: &[
            "answers ARP",
            "answers ARP",
            "nothing",
            "nothing",
            "answers ARP",
            "nothing",
            "forwards",
        ],
    },
    Case {
        name: "the option of an interface holds whatever the file proxyarp says",
        files: &[
            (
                "interfaces",
                "?FORMAT 2\nnet eth0 proxyarp\nloc eth1 proxyarp=0\n",
            ),
            ("proxyarp", "192.0.2.77 eth1 eth0\n"),
        ],
        steps: || {
            vec![
                arp(NET, "192.0.2.1", "192.0.2.77"),
                arp(NET, "192.0.2.1", HOST),
                arp(LOC, HOST, FAR),
            ]
        },
        linux: &["answers ARP", "answers ARP", "nothing"],
    },
];
