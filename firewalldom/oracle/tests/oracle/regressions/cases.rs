//! The cases: each the smallest site and steps that show a difference.

use super::*;
use oracle::packet::fix_header;
use oracle::packet::flag::{ACK, FIN, PSH, RST};

pub(crate) const CASES: [Case; 71] = [
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
            let ports = Ports {
                source: 4_000,
                destination: 0,
            };
            let syn = Transport::Tcp(ports, plain(SYN, 9, 0, 8_192));
            vec![
                udp(NET, FAR, OUTSIDE, 0),
                send(NET, &Packet::new(at(FAR), at(OUTSIDE), syn)),
            ]
        },
        linux: &["answers ICMP 3/3", "answers TCP ACK/RST"],
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
        name: "within a zone without rules no disposition of a state holds",
        files: &[("shorewall.conf", "+INVALID_DISPOSITION=REJECT\n")],
        steps: || vec![tcp(LOC, HOST, "10.0.3.10", SYN | ACK)],
        linux: &["forwards"],
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
        name: "all the fragments of a datagram to a new neighbour arrive",
        files: &[("policy", "all all ACCEPT\n"), ("snat", "")],
        steps: || fragments(NET, FAR, HOST, 6),
        linux: &["nothing", "nothing", "nothing", "nothing", "nothing", SIX],
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
            let mut syn = plain(SYN, 9, 0, 8_192);
            syn.options = vec![2, 4, 5, 180];
            let ports = Ports {
                source: 4_000,
                destination: 80,
            };
            let out = Packet::new(at(HOST), at(FAR), Transport::Tcp(ports, syn.clone()));
            let back = Packet::new(at(FAR), at(HOST), Transport::Tcp(ports, syn));
            vec![send(LOC, &out), send(NET, &back)]
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
        steps: || vec![syn_with_size(), segment(LOC, SYN, 1, 0, 8_192)],
        linux: &["translates", "translates"],
    },
    Case {
        name: "a SYN that is rejected is quoted with the size that it would have had",
        files: &[
            ("policy", "$FW all ACCEPT\nall all DROP\n"),
            ("rules", "REJECT(icmp-port-unreachable) loc net tcp\n"),
            ("shorewall.conf", "+CLAMPMSS=1400\n"),
        ],
        steps: || vec![syn_with_size()],
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
        name: "what goes back without being a connection is no hairpin to Shorewall's rules",
        files: &[("interfaces", "?FORMAT 2\nnet eth0 -\nloc eth1 -\n")],
        steps: || vec![sctp(LOC, HOST, "10.0.3.10", 0x0102_0304, &[0, 3, 0, 4])],
        linux: &["nothing"],
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
        name: "a reset that answers the SYN of its own sender must be in the window",
        files: &[
            ("policy", "all all ACCEPT\n"),
            ("rules", ""),
            ("snat", ""),
            ("shorewall.conf", "+INVALID_DISPOSITION=DROP\n"),
        ],
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
        files: &[
            ("policy", "all all ACCEPT\n"),
            ("rules", ""),
            ("snat", ""),
            ("shorewall.conf", "+INVALID_DISPOSITION=DROP\n"),
        ],
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
        name: "after CONTINUE comes the zone that claims the addresses later, whatever its declaration says",
        files: &[
            ("zones", "fw firewall\nadm ipv4\nnet ipv4\nloc ipv4\n"),
            ("interfaces", "?FORMAT 2\nnet eth0\nloc eth1\n"),
            ("hosts", "adm eth1:10.0.3.0/28\n"),
            (
                "policy",
                "adm net CONTINUE\nnet adm CONTINUE\nloc net DROP\nnet loc DROP\nall all ACCEPT\n",
            ),
            ("rules", "?SECTION NEW\nACCEPT loc net udp 9\n"),
            ("snat", ""),
        ],
        steps: || {
            vec![
                udp(LOC, HOST, FAR, 9),
                udp(LOC, HOST, FAR, 10),
                udp(NET, FAR, HOST, 10),
            ]
        },
        linux: &["forwards", "nothing", "nothing"],
    },
    Case {
        name: "zones that share addresses: the policy NONE leaves them to the other",
        files: &[
            ("zones", "fw firewall\nadm ipv4\nnet ipv4\nloc ipv4\n"),
            ("interfaces", "?FORMAT 2\nnet eth0\nloc eth1\n"),
            ("hosts", "adm eth1:10.0.3.0/28\n"),
            (
                "policy",
                "adm net NONE\nnet adm NONE\nloc net DROP\nnet loc DROP\nall all ACCEPT\n",
            ),
            ("rules", "?SECTION NEW\nACCEPT loc net udp 9\n"),
            ("snat", ""),
        ],
        steps: || {
            vec![
                udp(LOC, HOST, FAR, 9),
                udp(LOC, HOST, FAR, 10),
                udp(NET, FAR, HOST, 10),
            ]
        },
        linux: &["forwards", "nothing", "nothing"],
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
        steps: || vec![syn_with_size()],
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
        steps: || {
            let mut strange = plain(SYN | FIN, 9, 0, 8_192);
            strange.options = vec![2, 4, 5, 180];
            let ports = Ports {
                source: 4_001,
                destination: 80,
            };
            let transport = Transport::Tcp(ports, strange);
            vec![send(LOC, &Packet::new(at(HOST), at(FAR), transport))]
        },
        linux: &["answers ICMP 3/3"],
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

/// Differences that are meant, by their names.
pub(crate) const WANTED_CASES: [(&str, Case); 3] = [
    (
        "land",
        Case {
            name: "what is its own answer",
            files: &[],
            steps: || vec![tcp(LOC, HOST, HOST, SYN)],
            linux: &["forwards"],
        },
    ),
    (
        "malformed option",
        Case {
            name: "an option that points beyond its header",
            files: &[("policy", "all all ACCEPT\n")],
            steps: || {
                let mut packet = udp_packet(HOST, FAR, 31_505, 9, 4);
                packet.options = vec![7, 40, 4, 0];
                vec![send(LOC, &packet)]
            },
            linux: &["answers ICMP 12/0"],
        },
    ),
    (
        "broadcast source",
        Case {
            name: "a segment for port 0 from a broadcast address",
            files: &[
                ("interfaces", "?FORMAT 2\nnet eth0 -\nloc eth1 -\n"),
                ("policy", "all all ACCEPT\n"),
            ],
            steps: || vec![tcp(NET, "10.0.3.255", OUTSIDE, SYN)],
            linux: &["answers TCP ACK/RST"],
        },
    ),
];

pub(crate) const REFUSALS: [Refusal; 3] = [
    Refusal {
        name: "a service of another protocol",
        files: &[("rules", "ACCEPT loc $FW udp ssh\n")],
        words: "udp port/service (ssh)",
        ours: Ours::Takes,
    },
    Refusal {
        name: "a second policy for the same zones",
        files: &[("policy", "loc net ACCEPT\nloc net REJECT\nall all REJECT\n")],
        words: "duplicates earlier policy",
        ours: Ours::Refuses,
    },
    Refusal {
        name: "a plus behind the addresses of SNAT",
        files: &[("snat", "SNAT(192.0.2.9)+ 10.0.3.0/24 eth0\n")],
        words: "SNAT",
        ours: Ours::Refuses,
    },
];
