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
    Case {
        name: "dropInvalid adds nothing to the policy that pairs without rules share",
        files: &[
            ("policy", "$FW all ACCEPT\nall $FW REJECT\nall all DROP\n"),
            ("rules", ""),
            (
                "shorewall.conf",
                "+INVALID_DISPOSITION=DROP\nREJECT_DEFAULT=dropInvalid\nEXPAND_POLICIES=No\n",
            ),
        ],
        steps: || vec![tcp(NET, FAR, OUTSIDE, FIN | ACK)],
        linux: &["answers TCP RST"],
    },
    Case {
        name: "dropInvalid adds nothing to a shared policy where rules have INVALID forgotten",
        files: &[
            ("policy", "$FW all ACCEPT\nall all REJECT\n"),
            (
                "rules",
                "?SECTION RELATED\nACCEPT net $FW icmp\n?SECTION NEW\nACCEPT net $FW udp 9\n",
            ),
            (
                "shorewall.conf",
                "+INVALID_DISPOSITION=DROP\nREJECT_DEFAULT=dropInvalid\nEXPAND_POLICIES=No\n",
            ),
        ],
        steps: || {
            vec![
                tcp(NET, FAR, OUTSIDE, FIN | ACK),
                tcp(LOC, HOST, FAR, FIN | ACK),
            ]
        },
        linux: &["answers TCP RST", "answers TCP RST"],
    },
    Case {
        name: "dropInvalid holds in a policy while shorewall.conf leaves INVALID open",
        files: &[
            ("policy", "$FW all ACCEPT\nall $FW REJECT\nall all DROP\n"),
            ("rules", ""),
            (
                "shorewall.conf",
                "+REJECT_DEFAULT=dropInvalid\nEXPAND_POLICIES=No\n",
            ),
        ],
        steps: || vec![tcp(NET, FAR, OUTSIDE, FIN | ACK)],
        linux: &["nothing"],
    },
    Case {
        name: "New asks for no state where shorewall.conf decides about the others",
        files: &[
            ("policy", "loc $FW ACCEPT\nall all DROP\n"),
            ("rules", "?SECTION NEW\nNew(ACCEPT) $FW loc\n"),
            (
                "shorewall.conf",
                "+RELATED_DISPOSITION=CONTINUE\nINVALID_DISPOSITION=DROP\nUNTRACKED_DISPOSITION=DROP\n",
            ),
        ],
        steps: || vec![udp(LOC, HOST, INSIDE, 9)],
        linux: &["answers ICMP 3/3"],
    },
    Case {
        name: "New asks for the state where shorewall.conf leaves UNTRACKED open",
        files: &[
            ("policy", "loc $FW ACCEPT\nall all DROP\n"),
            ("rules", "?SECTION NEW\nNew(ACCEPT) $FW loc\n"),
            (
                "shorewall.conf",
                "+RELATED_DISPOSITION=CONTINUE\nINVALID_DISPOSITION=DROP\n",
            ),
        ],
        steps: || vec![udp(LOC, HOST, INSIDE, 9)],
        linux: &["nothing"],
    },
    Case {
        name: "Related adds nothing in the section NEW",
        files: &[
            ("policy", "loc $FW ACCEPT\nall all DROP\n"),
            ("rules", "?SECTION NEW\nRelated(ACCEPT) $FW loc\n"),
            ("shorewall.conf", "+RELATED_DISPOSITION=CONTINUE\n"),
        ],
        steps: || vec![udp(LOC, HOST, INSIDE, 9)],
        linux: &["nothing"],
    },
    Case {
        name: "Related adds nothing to an action that the section NEW uses",
        files: &[
            ("policy", "loc $FW ACCEPT\nall all DROP\n"),
            ("rules", "?SECTION NEW\nOwn $FW loc\n"),
            ("actions", "Own\n"),
            ("action.Own", "Related(ACCEPT)\n"),
            ("shorewall.conf", "+RELATED_DISPOSITION=CONTINUE\n"),
        ],
        steps: || vec![udp(LOC, HOST, INSIDE, 9)],
        linux: &["nothing"],
    },
    Case {
        name: "Related holds in an action that the section ALL uses",
        files: &[
            ("policy", "loc $FW ACCEPT\nall all DROP\n"),
            (
                "rules",
                "?SECTION ALL\nOwn $FW loc\n?SECTION NEW\nACCEPT all all udp 7\n",
            ),
            ("actions", "Own\n"),
            ("action.Own", "Related(ACCEPT)\n"),
            ("shorewall.conf", "+RELATED_DISPOSITION=CONTINUE\n"),
        ],
        steps: || vec![udp(LOC, HOST, INSIDE, 9)],
        linux: &["answers ICMP 3/3"],
    },
    Case {
        name: "Related adds nothing to a policy",
        files: &[
            ("policy", "loc $FW ACCEPT\nall all DROP:Related(ACCEPT)\n"),
            ("rules", "?SECTION NEW\nACCEPT all all udp 7\n"),
            ("shorewall.conf", "+RELATED_DISPOSITION=CONTINUE\n"),
        ],
        steps: || vec![udp(LOC, HOST, INSIDE, 9)],
        linux: &["nothing"],
    },
    Case {
        name: "New in a policy asks for no state where shorewall.conf decides about the others",
        files: &[
            ("policy", "loc $FW ACCEPT\nall all DROP:New(ACCEPT)\n"),
            ("rules", "?SECTION NEW\nACCEPT all all udp 7\n"),
            (
                "shorewall.conf",
                "+RELATED_DISPOSITION=CONTINUE\nINVALID_DISPOSITION=DROP\nUNTRACKED_DISPOSITION=DROP\n",
            ),
        ],
        steps: || vec![udp(LOC, HOST, INSIDE, 9)],
        linux: &["answers ICMP 3/3"],
    },
    Case {
        name: "Established adds nothing to the policy that pairs without rules share",
        files: &[
            (
                "policy",
                "loc net ACCEPT\nall all DROP:Established(ACCEPT)\n",
            ),
            ("rules", ""),
            ("shorewall.conf", "+EXPAND_POLICIES=No\n"),
        ],
        steps: || vec![udp(LOC, HOST, FAR, 9), reply(0)],
        linux: &["translates", "nothing"],
    },
    Case {
        name: "Established in a policy holds where there is no line of the section NEW",
        files: &[
            (
                "policy",
                "loc net ACCEPT\nall all DROP:Established(ACCEPT)\n",
            ),
            ("rules", ""),
            ("blrules", "DROP net:198.51.100.1 all\n"),
        ],
        steps: || vec![udp(LOC, HOST, FAR, 9), reply(0)],
        linux: &["translates", "translates"],
    },
    Case {
        name: "New in a policy asks for the state where there is no line of the section NEW",
        files: &[
            (
                "policy",
                "loc $FW ACCEPT\n$FW loc DROP:New(ACCEPT)\nall all DROP\n",
            ),
            ("rules", ""),
            (
                "blrules",
                "DROP net:198.51.100.1 all\nDROP $FW loc:10.0.3.77\n",
            ),
            (
                "shorewall.conf",
                "+RELATED_DISPOSITION=CONTINUE\nINVALID_DISPOSITION=DROP\nUNTRACKED_DISPOSITION=DROP\n",
            ),
        ],
        steps: || vec![udp(LOC, HOST, INSIDE, 9)],
        linux: &["nothing"],
    },
    Case {
        name: "what belongs to no zone meets every state that a policy names",
        files: &[
            ("interfaces", "?FORMAT 2\nnet eth0\n- eth1\n"),
            ("hosts", "loc eth1:10.0.3.0/28\n"),
            (
                "policy",
                "$FW all ACCEPT\nall $FW REJECT:dropInvalid\nall all REJECT:dropInvalid\n",
            ),
            ("rules", "?SECTION NEW\nACCEPT all all udp 7\n"),
            ("shorewall.conf", "+INVALID_DISPOSITION=DROP\n"),
        ],
        steps: || vec![tcp(LOC, "10.0.3.20", INSIDE, FIN | ACK)],
        linux: &["nothing"],
    },
];
