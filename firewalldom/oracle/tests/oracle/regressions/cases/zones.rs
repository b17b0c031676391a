//! Zones that share interfaces and addresses, and their policies.

use super::super::*;
use oracle::packet::flag::{ACK, FIN};

/// `adm` claims addresses ahead of `loc`, whose interface they are behind, without lying in it; its
/// policies towards `net` and from there.
macro_rules! shared_addresses {
    ($verdict:literal) => {
        &[
            ("zones", "fw firewall\nadm ipv4\nnet ipv4\nloc ipv4\n"),
            ("interfaces", "?FORMAT 2\nnet eth0\nloc eth1\n"),
            ("hosts", "adm eth1:10.0.3.0/28\n"),
            (
                "policy",
                concat!(
                    "adm net ",
                    $verdict,
                    "\nnet adm ",
                    $verdict,
                    "\nloc net DROP\nnet loc DROP\nall all ACCEPT\n"
                ),
            ),
            ("rules", "?SECTION NEW\nACCEPT loc net udp 9\n"),
            ("snat", ""),
        ]
    };
}

fn across_shared_addresses() -> Vec<Step> {
    vec![
        udp(LOC, HOST, FAR, 9),
        udp(LOC, HOST, FAR, 10),
        udp(NET, FAR, HOST, 10),
    ]
}

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a zone alone on its interface has only a policy to forward by",
        files: &[
            ("zones", "fw firewall\nnet ipv4\n"),
            ("interfaces", "?FORMAT 2\nnet eth0 tcpflags\n"),
            ("policy", "$FW net ACCEPT\nnet all REJECT\nall all REJECT\n"),
            ("rules", ""),
            ("snat", ""),
            ("../network/interfaces", ONE_LINK),
        ],
        steps: || vec![udp(NET, "192.0.2.7", "192.0.2.8", 9)],
        linux: &["answers ICMP 3/3"],
    },
    Case {
        name: "within a zone that shares its addresses the later zone's rules hold",
        files: &[
            ("zones", "fw firewall\nnet ipv4\nadm ipv4\nloc ipv4\n"),
            ("hosts", "adm eth1:10.0.3.0/26\n"),
            ("policy", "adm loc ACCEPT\nall all REJECT\n"),
            ("rules", ""),
        ],
        steps: || vec![udp(LOC, HOST, "10.0.3.10", 9)],
        linux: &["forwards"],
    },
    Case {
        name: "without EXPAND_POLICIES `all+` stands for all that belong to no zone",
        files: &[
            ("policy", "$FW all+ ACCEPT\nloc $FW REJECT\nall all DROP\n"),
            ("rules", ""),
            ("shorewall.conf", "+EXPAND_POLICIES=No\n"),
        ],
        steps: || vec![tcp(LOC, HOST, INSIDE, FIN | ACK)],
        linux: &["answers TCP RST"],
    },
    Case {
        name: "a policy CONTINUE within a zone without rules lets everything through",
        files: &[
            ("zones", "fw firewall\nnet ipv4\nloc ipv4\nadm:loc ipv4\n"),
            ("hosts", "adm eth1:10.0.3.0/28 routeback\n"),
            (
                "policy",
                "adm adm CONTINUE\n$FW all ACCEPT\nall all REJECT\n",
            ),
            ("rules", ""),
        ],
        steps: || vec![udp(LOC, HOST, "10.0.3.10", 9)],
        linux: &["forwards"],
    },
    Case {
        name: "without EXPAND_POLICIES an ACCEPT for `all+` holds within a zone that OPTIMIZE has no chain for",
        files: &[
            (
                "policy",
                "$FW all ACCEPT\nloc all+ ACCEPT\nall all REJECT\n",
            ),
            ("rules", ""),
            ("shorewall.conf", "+OPTIMIZE=All\nEXPAND_POLICIES=No\n"),
        ],
        steps: || vec![udp(LOC, HOST, "10.0.3.10", 9), udp(LOC, HOST, FAR, 9)],
        linux: &["forwards", "answers ICMP 3/3"],
    },
    Case {
        name: "hosts of no zone get no answer that the policy from $FW forbids",
        files: &[
            ("interfaces", "?FORMAT 2\nnet eth0\n- eth1\n"),
            ("hosts", "loc eth1:10.0.3.0/24!10.0.3.9\n"),
            ("policy", "$FW all DROP\nall all ACCEPT\n"),
            ("rules", ""),
        ],
        steps: || {
            vec![
                icmp(LOC, HOST, INSIDE, 8, 0),
                icmp(LOC, "10.0.3.8", INSIDE, 8, 0),
            ]
        },
        linux: &["nothing", "answers ICMP 0/0"],
    },
    Case {
        name: "a list of destinations without `+` keeps a zone from itself, whatever the source says",
        files: &[
            ("policy", "all all ACCEPT\n"),
            ("rules", "REJECT all+ net,loc udp 9\n"),
        ],
        steps: || vec![udp(LOC, HOST, "10.0.3.10", 9), udp(LOC, HOST, FAR, 9)],
        linux: &["forwards", "answers ICMP 3/3"],
    },
    Case {
        name: "after CONTINUE comes the zone that claims the addresses later, whatever its declaration says",
        files: shared_addresses!("CONTINUE"),
        steps: across_shared_addresses,
        linux: &["forwards", "nothing", "nothing"],
    },
    Case {
        name: "zones that share addresses: the policy NONE leaves them to the other",
        files: shared_addresses!("NONE"),
        steps: across_shared_addresses,
        linux: &["forwards", "nothing", "nothing"],
    },
];
