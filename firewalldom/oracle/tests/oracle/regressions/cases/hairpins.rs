//! What goes back by the interface that it came by.

use super::super::*;
use oracle::packet::flag::{ACK, FIN};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "what goes back within an inner zone meets blrules of the zone around before it is caught",
        files: &[
            ("interfaces", "?FORMAT 2\nnet eth0 -\nloc eth1 -\n"),
            ("zones", "fw firewall\nnet ipv4\nloc ipv4\nadm:loc ipv4\n"),
            ("hosts", "adm eth1:10.0.3.64/26\n"),
            ("blrules", "REJECT all all udp 99\n"),
            ("policy", "all all DROP\n"),
        ],
        steps: || {
            vec![
                udp(LOC, "10.0.3.70", "10.0.3.80", 99),
                udp(LOC, "10.0.3.70", "10.0.3.80", 9),
            ]
        },
        linux: &["answers ICMP 3/3", "nothing"],
    },
    Case {
        name: "with blrules a hairpin meets the policy all all",
        files: &[
            ("blrules", "DROP net:203.0.113.9 all\n"),
            (
                "interfaces",
                "?FORMAT 2\nnet eth0 tcpflags\nloc eth1 tcpflags\n",
            ),
        ],
        steps: || vec![udp(LOC, HOST, "10.0.3.10", 9)],
        linux: &["answers ICMP 3/3"],
    },
    Case {
        name: "an answer that goes back where the kernel checks sources meets the policy all all",
        files: &[
            (
                "interfaces",
                "?FORMAT 2\nnet eth0 routefilter\nloc eth1 -\n",
            ),
            ("snat", ""),
        ],
        steps: || vec![udp(LOC, FAR, "192.0.2.77", 9), reply(0)],
        linux: &["forwards", "answers ICMP 3/3"],
    },
    Case {
        name: "with blrules an answer that goes back meets the policy all all",
        files: &[
            ("interfaces", "?FORMAT 2\nnet eth0 -\nloc eth1 -\n"),
            ("blrules", "DROP net:203.0.113.9 all\n"),
            ("snat", ""),
        ],
        steps: || vec![udp(LOC, FAR, "192.0.2.77", 9), reply(0)],
        linux: &["forwards", "answers ICMP 3/3"],
    },
    Case {
        name: "what goes back meets the default action of the policy all all first",
        files: &[
            ("interfaces", "?FORMAT 2\nnet eth0 -\nloc eth1 -\n"),
            ("blrules", "DROP net:203.0.113.9 all\n"),
            ("shorewall.conf", "+REJECT_DEFAULT=dropInvalid\n"),
        ],
        steps: || {
            vec![
                tcp(LOC, HOST, "10.0.3.10", SYN | ACK),
                udp(LOC, HOST, "10.0.3.10", 9),
            ]
        },
        linux: &["nothing", "answers ICMP 3/3"],
    },
    Case {
        name: "what goes back without being a connection is no hairpin to Shorewall's rules",
        files: &[("interfaces", "?FORMAT 2\nnet eth0 -\nloc eth1 -\n")],
        steps: || vec![sctp(LOC, HOST, "10.0.3.10", 0x0102_0304, &[0, 3, 0, 4])],
        linux: &["nothing"],
    },
    Case {
        name: "what a section leaves unsettled meets the policy of the zone that a hairpin is left to",
        files: &[
            (
                "zones",
                "fw firewall\nnet ipv4\nloc ipv4\nadm:loc,net ipv4\n",
            ),
            ("interfaces", "?FORMAT 2\nnet eth0\nloc eth1\n"),
            ("hosts", "adm eth1:10.0.3.64/26\n"),
            ("policy", "$FW all ACCEPT\nall all DROP\n"),
            (
                "rules",
                "?SECTION RELATED\nCOUNT adm loc udp\nLOG:info all+ all!net udp 1024\n\
                 ?SECTION NEW\nACCEPT all all tcp 22\n",
            ),
            (
                "shorewall.conf",
                "+ROUTE_FILTER=Yes\nINVALID_DISPOSITION=REJECT\n",
            ),
        ],
        steps: || vec![tcp(LOC, "10.0.3.127", "10.0.3.95", FIN | ACK)],
        linux: &["nothing"],
    },
];
