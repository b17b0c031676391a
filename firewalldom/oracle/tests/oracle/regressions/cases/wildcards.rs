//! Lines of `interfaces` that are for all interfaces called so.

use super::super::*;

/// A second link of loc's, or of vpn's.
const OTHER: u8 = 2;
const BEHIND_OTHER: &str = "10.0.11.9";

const NETWORK: (&str, &str) = (
    "../network/interfaces",
    "auto eth0\niface eth0 inet static\n    address 192.0.2.2/24\n    gateway 192.0.2.1\n\
     auto eth1\niface eth1 inet static\n    address 10.0.3.1/24\n\
     auto eth11\niface eth11 inet static\n    address 10.0.11.1/24\n",
);

const VPN: (&str, &str) = (
    "interfaces",
    "?FORMAT 2\nnet eth0 -\nloc eth1+ -\nvpn eth11 -\n",
);

const VPN_POLICY: (&str, &str) = (
    "policy",
    "loc net ACCEPT\nvpn loc ACCEPT\nloc vpn ACCEPT\nall all REJECT\n",
);

pub(super) const CASES: &[Case] = &[
    Case {
        name: "between two links of a wildcard nothing passes",
        files: &[
            NETWORK,
            ("interfaces", "?FORMAT 2\nnet eth0 -\nloc eth1+ -\n"),
        ],
        steps: || {
            vec![
                udp(LOC, HOST, BEHIND_OTHER, 9),
                udp(OTHER, BEHIND_OTHER, HOST, 9),
                udp(LOC, HOST, "10.0.3.10", 9),
                udp(OTHER, BEHIND_OTHER, FAR, 9),
            ]
        },
        linux: &["nothing", "nothing", "nothing", "forwards"],
    },
    Case {
        name: "with routeback the rules decide between two links of a wildcard",
        files: &[
            NETWORK,
            (
                "interfaces",
                "?FORMAT 2\nnet eth0 -\nloc LAN+ physical=eth1+,routeback\n",
            ),
        ],
        steps: || vec![udp(LOC, HOST, BEHIND_OTHER, 9), reply(0)],
        linux: &["forwards", "forwards"],
    },
    Case {
        name: "what has a line of its own may send to what a wildcard is for, and gets no answer",
        files: &[
            NETWORK,
            VPN,
            VPN_POLICY,
            ("zones", "fw firewall\nnet ipv4\nvpn ipv4\nloc ipv4\n"),
        ],
        steps: || {
            vec![
                udp(OTHER, BEHIND_OTHER, HOST, 9),
                reply(0),
                udp(OTHER, BEHIND_OTHER, HOST, 9),
                udp(LOC, HOST, BEHIND_OTHER, 99),
                udp(OTHER, BEHIND_OTHER, FAR, 9),
            ]
        },
        linux: &[
            "forwards",
            "nothing",
            "forwards",
            "nothing",
            "answers ICMP 3/3",
        ],
    },
    Case {
        name: "of two lines that match a link the one whose zone is declared first has it",
        files: &[
            NETWORK,
            VPN,
            VPN_POLICY,
            ("zones", "fw firewall\nnet ipv4\nloc ipv4\nvpn ipv4\n"),
        ],
        steps: || {
            vec![
                udp(OTHER, BEHIND_OTHER, FAR, 9),
                udp(OTHER, BEHIND_OTHER, HOST, 9),
            ]
        },
        linux: &["forwards", "nothing"],
    },
    Case {
        name: "what an exclusion leaves to a wildcard is a hairpin of that one",
        files: &[
            NETWORK,
            VPN_POLICY,
            (
                "interfaces",
                "?FORMAT 2\nnet eth0 -\nloc eth1+ -\n- eth11 -\n",
            ),
            ("hosts", "vpn eth11:10.0.11.0/24!10.0.11.8/29\n"),
            ("zones", "fw firewall\nnet ipv4\nvpn ipv4\nloc ipv4\n"),
        ],
        steps: || {
            vec![
                udp(OTHER, BEHIND_OTHER, HOST, 9),
                udp(OTHER, "10.0.11.16", HOST, 9),
            ]
        },
        linux: &["nothing", "forwards"],
    },
    Case {
        name: "what a nested zone leaves to a wildcard is a hairpin of that one",
        files: &[
            NETWORK,
            VPN,
            (
                "policy",
                "vpn all CONTINUE\nloc all ACCEPT\nall all REJECT\n",
            ),
            ("rules", "ACCEPT vpn loc udp 9\n"),
            ("zones", "fw firewall\nnet ipv4\nloc ipv4\nvpn:loc ipv4\n"),
        ],
        steps: || {
            vec![
                udp(OTHER, BEHIND_OTHER, HOST, 9),
                udp(OTHER, BEHIND_OTHER, HOST, 99),
                udp(OTHER, BEHIND_OTHER, FAR, 99),
            ]
        },
        linux: &["forwards", "nothing", "forwards"],
    },
    Case {
        name: "what goes back within the zone of a link's own line comes to the wildcard, which catches it",
        files: &[
            NETWORK,
            (
                "interfaces",
                "?FORMAT 2\nnet eth0 -\n- eth11 routeback\n- eth1+ -\n",
            ),
            ("hosts", "vpn eth11:10.0.11.0/24\nloc eth1+:10.0.3.0/24\n"),
            ("policy", "loc net REJECT\nall all ACCEPT\n"),
            ("shorewall.conf", "+OPTIMIZE=0\n"),
            ("zones", "fw firewall\nvpn ipv4\nnet ipv4\nloc ipv4\n"),
        ],
        steps: || {
            vec![
                udp(1, BEHIND_OTHER, "10.0.11.10", 9),
                udp(1, BEHIND_OTHER, FAR, 9),
            ]
        },
        linux: &["nothing", "forwards"],
    },
    Case {
        name: "translations of a zone hold for its link where a wildcard of another is asked first",
        files: &[
            NETWORK,
            VPN,
            ("policy", "all all ACCEPT\n"),
            ("rules", "DNAT vpn loc:10.0.3.9 udp 99\n"),
            ("zones", "fw firewall\nnet ipv4\nloc ipv4\nvpn ipv4\n"),
        ],
        steps: || {
            vec![
                udp(OTHER, BEHIND_OTHER, FAR, 9),
                udp(OTHER, BEHIND_OTHER, "10.0.11.1", 99),
                udp(LOC, HOST, FAR, 99),
            ]
        },
        linux: &["forwards", "nothing", "translates"],
    },
    Case {
        name: "routefilter of a wildcard only takes the check of hairpins away",
        files: &[
            NETWORK,
            (
                "interfaces",
                "?FORMAT 2\nnet eth0 -\nloc eth1+ routefilter\n",
            ),
        ],
        steps: || {
            vec![
                udp(LOC, HOST, BEHIND_OTHER, 9),
                udp(LOC, "10.0.11.77", FAR, 9),
            ]
        },
        linux: &["answers ICMP 3/3", "forwards"],
    },
    Case {
        name: "with blrules what goes from link to link of a wildcard meets the policy all all",
        files: &[
            NETWORK,
            ("blrules", "DROP net:203.0.113.9 all\n"),
            ("interfaces", "?FORMAT 2\nnet eth0 -\nloc eth1+ -\n"),
        ],
        steps: || vec![udp(LOC, HOST, BEHIND_OTHER, 9)],
        linux: &["answers ICMP 3/3"],
    },
    Case {
        name: "between the interfaces of a line for all of them the policy all all decides, whatever the rules say",
        files: &[
            NETWORK,
            ("zones", "fw firewall\nloc ipv4\n"),
            ("policy", "loc loc REJECT\nall all REJECT\n"),
            ("rules", "ACCEPT loc loc udp 9\n"),
            ("interfaces", "?FORMAT 2\nloc + -\n"),
        ],
        steps: || {
            vec![
                udp(LOC, HOST, BEHIND_OTHER, 99),
                udp(LOC, HOST, BEHIND_OTHER, 9),
                udp(OTHER, BEHIND_OTHER, FAR, 9),
            ]
        },
        linux: &["answers ICMP 3/3"; 3],
    },
    Case {
        name: "a rule and a translation for a wildcard are for each of its links",
        files: &[
            NETWORK,
            ("interfaces", "?FORMAT 2\nnet eth0 -\nloc eth1+ -\n"),
            (
                "rules",
                "DROP loc:eth1+ net udp 9\nDROP net loc:eth11 udp 98\nACCEPT net loc:eth1+ udp 98:99\n",
            ),
            ("snat", "SNAT(10.0.3.1) 192.0.2.0/24 eth1+\n"),
        ],
        steps: || {
            vec![
                udp(LOC, HOST, FAR, 9),
                udp(OTHER, BEHIND_OTHER, FAR, 9),
                udp(OTHER, BEHIND_OTHER, FAR, 10),
                udp(NET, "192.0.2.77", HOST, 99),
                udp(NET, "192.0.2.77", BEHIND_OTHER, 99),
                udp(NET, "192.0.2.77", BEHIND_OTHER, 98),
            ]
        },
        linux: &[
            "nothing",
            "nothing",
            "forwards",
            "translates",
            "translates",
            "nothing",
        ],
    },
];
