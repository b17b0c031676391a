//! Sections of `rules`, and the states that they settle or leave.

use super::super::*;
use oracle::packet::flag::{ACK, FIN};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "within a zone without rules no disposition of a state holds",
        files: &[("shorewall.conf", "+INVALID_DISPOSITION=REJECT\n")],
        steps: || vec![tcp(LOC, HOST, "10.0.3.10", SYN | ACK)],
        linux: &["forwards"],
    },
    Case {
        name: "without EXPAND_POLICIES a pair without rules loses its answers",
        files: &[
            ("policy", "loc net ACCEPT\nall all DROP\n"),
            ("rules", ""),
            ("shorewall.conf", "+EXPAND_POLICIES=No\n"),
        ],
        steps: || vec![udp(LOC, HOST, FAR, 9), reply(0)],
        linux: &["translates", "nothing"],
    },
    Case {
        name: "RELATED packets that CONTINUE pass the policies of the section NEW",
        files: &[
            ("policy", "loc net ACCEPT\n$FW loc ACCEPT\nall all REJECT\n"),
            ("rules", "?SECTION NEW\nREJECT $FW any\n"),
            ("shorewall.conf", "+RELATED_DISPOSITION=CONTINUE\n"),
        ],
        steps: || vec![udp(LOC, HOST, INSIDE, 9)],
        linux: &["nothing"],
    },
    Case {
        name: "of a policy ACCEPT within a zone OPTIMIZE leaves no disposition of a state",
        files: &[
            ("policy", "loc loc ACCEPT\nall all REJECT\n"),
            ("rules", ""),
            (
                "shorewall.conf",
                "+OPTIMIZE=All\nINVALID_DISPOSITION=DROP\n",
            ),
        ],
        steps: || vec![tcp(LOC, HOST, "10.0.3.10", SYN | ACK)],
        linux: &["forwards"],
    },
    Case {
        name: "the policy NONE leaves no chain for checks of options that would ask for the state",
        files: &[
            ("zones", "fw firewall\nnet ipv4\nloc ipv4\nadm:loc ipv4\n"),
            ("interfaces", "?FORMAT 2\nnet eth0\nloc eth1\n"),
            ("hosts", "adm eth1:10.0.3.0/28 routeback\n"),
            ("policy", "adm loc NONE\nall all DROP\n"),
            ("rules", "?SECTION NEW\nACCEPT all all udp 9\n"),
            ("blrules", "DROP net:198.51.100.1 all\n"),
        ],
        steps: || vec![udp(LOC, "10.0.3.20", HOST, 9), reply(0)],
        linux: &["forwards", "nothing"],
    },
    Case {
        name: "without a line of the section NEW the chains that exist drop answers",
        files: &[
            ("policy", "$FW all ACCEPT\nloc net ACCEPT\nall all DROP\n"),
            ("rules", ""),
            ("blrules", "DROP net:198.51.100.1 all\n"),
        ],
        steps: || vec![udp(LOC, HOST, FAR, 9), reply(0), udp(LOC, HOST, INSIDE, 9)],
        linux: &["translates", "nothing", "nothing"],
    },
    Case {
        name: "where rules end with the section RELATED their chains let answers pass",
        files: &[
            ("policy", "$FW all ACCEPT\nloc net ACCEPT\nall all DROP\n"),
            (
                "rules",
                "?SECTION RELATED\nACCEPT net loc icmp 11\nDROP net $FW icmp\n",
            ),
            ("shorewall.conf", "+INVALID_DISPOSITION=REJECT\n"),
        ],
        steps: || {
            vec![
                udp(LOC, HOST, FAR, 9),
                reply(0),
                tcp(NET, FAR, OUTSIDE, FIN | ACK),
            ]
        },
        linux: &["translates", "translates", "nothing"],
    },
    Case {
        name: "dropInvalid adds nothing where rules for RELATED have INVALID forgotten",
        files: &[
            ("policy", "$FW all ACCEPT\nall all REJECT\n"),
            (
                "rules",
                "?SECTION RELATED\nACCEPT loc any\nACCEPT $FW loc\n\
                 ?SECTION NEW\nACCEPT all all udp 9\n",
            ),
            (
                "shorewall.conf",
                "+INVALID_DISPOSITION=DROP\nREJECT_DEFAULT=dropInvalid\n",
            ),
        ],
        steps: || {
            vec![
                tcp(LOC, HOST, FAR, FIN | ACK),
                tcp(NET, FAR, OUTSIDE, FIN | ACK),
            ]
        },
        linux: &["answers TCP RST", "nothing"],
    },
];
