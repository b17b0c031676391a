//! Address translation: MASQUERADE, SNAT, DNAT, REDIRECT, hairpins, and errors about translated flows.

use crate::support::*;
use firewalldom::policy::{
    AddressRange, DestinationNat, DestinationTarget, Disposition, Match, Policy, PortRange,
    SourceNat, SourceTarget,
};
use firewalldom::{Checksum, Reason, Verdict};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Port 8080 of the firewall's outer address is the server's port 80.
fn with_server() -> Policy {
    let mut policy = policy();
    policy.destination_nat.push(DestinationNat {
        source_zone: NET_ZONE,
        matches: Match {
            destination: only(FW_NET),
            destination_port: port(8080),
            ..tcp_match()
        },
        limits: Default::default(),
        target: DestinationTarget::Server {
            addresses: AddressRange {
                first: SERVER,
                last: SERVER,
            },
            ports: Some(PortRange {
                first: 80,
                last: 80,
            }),
        },
        log: None,
        origin: line(50),
    });
    let mut allow = rule(6, 80, Disposition::Accept, 50);
    allow.matches.destination = only(SERVER);
    allow.matches.original_port = port(8080);
    policy.chains[NET_LOC].rules.push(allow);
    policy
}

fn tcp_match() -> Match {
    Match {
        protocol: firewalldom::policy::Protocol::OneOf(vec![6]),
        ..Match::default()
    }
}

#[test]
fn only_what_a_rule_names_is_translated() {
    let mut policy = with_server();
    // Whatever was translated would come through.
    let open = rule(6, 80, Disposition::Accept, 51);
    policy.chains[NET_LOC].rules.push(open);
    let mut site = Site::new(policy);
    let seen = |outcome: Outcome| destination_of(&outcome.forwarded(LOC));
    let asked = tcp(NET, (FAR, 4000), (FW_NET, 8080), SYN);
    assert_eq!(seen(site.send(NET, &asked)), SERVER);
    for (interface, frame) in [
        (NET, tcp(NET, (FAR, 4001), (FW_NET, 8081), SYN)),
        (NET, udp(NET, (FAR, 4002), (FW_NET, 8080), b"")),
        // The rule is for another zone.
        (LOC, tcp(LOC, (CLIENT, 4003), (FW_NET, 8080), SYN)),
    ] {
        let outcome = site.send(interface, &frame);
        assert!(matches!(outcome, Outcome::Other(_)), "{outcome:?}");
    }
}

#[test]
fn masquerade_keeps_a_free_port_and_finds_another_for_the_next() {
    let mut site = Site::new(policy());
    let first = site
        .send(LOC, &udp(LOC, (CLIENT, 5000), (FAR, 53), b"one"))
        .forwarded(NET);
    let second = site
        .send(LOC, &udp(LOC, (OTHER, 5000), (FAR, 53), b"two"))
        .forwarded(NET);
    assert_eq!((source_of(&first), ports_of(&first)), (FW_NET, (5000, 53)));
    assert_eq!(source_of(&second), FW_NET);
    let port = ports_of(&second).0;
    assert!(port != 5000 && port >= 1024);
    assert_checksums(&first);
    assert_checksums(&second);
    let back = site
        .send(NET, &udp(NET, (FAR, 53), (FW_NET, port), b"!"))
        .forwarded(LOC);
    assert_eq!(
        (destination_of(&back), ports_of(&back)),
        (OTHER, (53, 5000))
    );
    assert_checksums(&back);
    // Another peer: the same port is free again.
    let third = site
        .send(LOC, &udp(LOC, (OTHER, 5000), (FAR, 54), b""))
        .forwarded(NET);
    assert_eq!(ports_of(&third).0, 5000);
}

#[test]
fn a_port_is_replaced_by_one_of_its_class() {
    let mut site = Site::new(policy());
    for (wanted, class) in [
        (123, 1..512),
        (600, 600..1024),
        (1024, 1024..u32::from(u16::MAX) + 1),
    ] {
        site.send(LOC, &udp(LOC, (CLIENT, wanted), (FAR, 123), b""))
            .forwarded(NET);
        for host in 6..40 {
            let source = Ipv4Addr::new(10, 0, 0, host);
            let out = site
                .send(LOC, &udp(LOC, (source, wanted), (FAR, 123), b""))
                .forwarded(NET);
            assert!(class.contains(&u32::from(ports_of(&out).0)), "{wanted}");
        }
    }
}

#[test]
fn no_two_flows_share_a_port_and_none_is_left_at_the_end() {
    let mut policy = policy();
    policy.source_nat[0].target = SourceTarget::Masquerade {
        ports: Some(PortRange {
            first: 2000,
            last: 2009,
        }),
    };
    let mut site = Site::new(policy);
    let mut used = BTreeSet::new();
    for n in 0..10 {
        let source = Ipv4Addr::from_bits(CLIENT.to_bits() + n);
        let out = site
            .send(LOC, &udp(LOC, (source, 5000), (FAR, 53), b""))
            .forwarded(NET);
        assert!(used.insert(ports_of(&out).0));
    }
    assert_eq!(used, (2000..2010).collect());
    site.send(LOC, &udp(LOC, (SERVER, 5000), (FAR, 53), b""))
        .dropped(Reason::PortsExhausted);
}

#[test]
fn a_range_of_addresses_is_used_whole_and_the_same_peers_get_the_same_one() {
    let (first, last) = ([192, 0, 2, 10].into(), [192, 0, 2, 13].into());
    let mut policy = policy();
    policy.source_nat[0].target = SourceTarget::Address {
        addresses: AddressRange { first, last },
        ports: None,
    };
    let mut site = Site::new(policy);
    let mut used = BTreeSet::new();
    for host in 1..=40 {
        let far = Ipv4Addr::new(198, 51, 100, host);
        let addresses = [1000, 1001].map(|port| {
            let frame = udp(LOC, (CLIENT, port), (far, 53), b"");
            source_of(&site.send(LOC, &frame).forwarded(NET))
        });
        assert!((first..=last).contains(&addresses[0]), "{addresses:?}");
        assert_eq!(addresses[0], addresses[1]);
        used.insert(addresses[0]);
    }
    assert_eq!(used.len(), 4, "one host inside, but all of them: {used:?}");
}

#[test]
fn ping_is_masqueraded_by_its_identifier() {
    let mut site = Site::new(policy());
    let first = site
        .send(LOC, &echo(LOC, CLIENT, FAR, 8, 77))
        .forwarded(NET);
    let second = site.send(LOC, &echo(LOC, OTHER, FAR, 8, 77)).forwarded(NET);
    assert_checksums(&second);
    assert_eq!(word(&first, 38), 77);
    let ident = word(&second, 38);
    assert_ne!(ident, 77);
    let back = site
        .send(NET, &echo(NET, FAR, FW_NET, 0, ident))
        .forwarded(LOC);
    assert_eq!((destination_of(&back), word(&back, 38)), (OTHER, 77));
    assert_checksums(&back);
}

#[test]
fn an_exempt_flow_keeps_its_source() {
    let mut policy = policy();
    policy.source_nat.insert(
        0,
        SourceNat {
            egress: NET,
            matches: Match {
                source: only(OTHER),
                ..Match::default()
            },
            target: SourceTarget::Exempt,
            origin: line(39),
        },
    );
    let mut site = Site::new(policy);
    let out = site
        .send(LOC, &udp(LOC, (OTHER, 1), (FAR, 2), b""))
        .forwarded(NET);
    assert_eq!(source_of(&out), OTHER);
    let out = site
        .send(LOC, &udp(LOC, (CLIENT, 1), (FAR, 2), b""))
        .forwarded(NET);
    assert_eq!(source_of(&out), FW_NET);
}

#[test]
fn dnat_leads_to_the_server_and_back() {
    let mut site = Site::new(with_server());
    let syn = site
        .send(NET, &tcp(NET, (FAR, 4000), (FW_NET, 8080), SYN))
        .forwarded(LOC);
    assert_eq!((destination_of(&syn), ports_of(&syn)), (SERVER, (4000, 80)));
    assert_eq!(syn[..6], SERVER_MAC);
    assert_checksums(&syn);
    let answer = site
        .send(LOC, &tcp(LOC, (SERVER, 80), (FAR, 4000), SYN | ACK))
        .forwarded(NET);
    assert_eq!(
        (source_of(&answer), ports_of(&answer)),
        (FW_NET, (8080, 4000))
    );
    assert_checksums(&answer);
    // The server's own port is not open.
    site.send(NET, &tcp(NET, (FAR, 4001), (SERVER, 80), SYN))
        .dropped(Reason::Dropped);
}

#[test]
fn a_hairpin_through_dnat_and_snat_comes_back_translated() {
    let mut policy = with_server();
    policy.interfaces[1].route_back = true;
    policy.destination_nat[0].source_zone = LOC_ZONE;
    policy.source_nat.push(SourceNat {
        egress: LOC,
        matches: Match {
            destination: only(SERVER),
            ..Match::default()
        },
        target: SourceTarget::Masquerade { ports: None },
        origin: line(41),
    });
    let mut site = Site::new(policy);
    let syn = site
        .send(LOC, &tcp(LOC, (CLIENT, 4000), (FW_NET, 8080), SYN))
        .forwarded(LOC);
    assert_eq!((source_of(&syn), destination_of(&syn)), (FW_LOC, SERVER));
    let answer = site
        .send(LOC, &tcp(LOC, (SERVER, 80), (FW_LOC, 4000), SYN | ACK))
        .forwarded(LOC);
    assert_eq!(
        (source_of(&answer), destination_of(&answer)),
        (FW_NET, CLIENT)
    );
    assert_eq!(ports_of(&answer), (8080, 4000));
    assert_checksums(&answer);
    // The server reaches itself by its public address.
    let own = site
        .send(LOC, &tcp(LOC, (SERVER, 4000), (FW_NET, 8080), SYN))
        .forwarded(LOC);
    assert_eq!((source_of(&own), destination_of(&own)), (FW_LOC, SERVER));
}

#[test]
fn redirect_leads_to_the_firewall() {
    let mut policy = policy();
    policy.destination_nat.push(DestinationNat {
        source_zone: LOC_ZONE,
        matches: Match {
            destination_port: port(80),
            ..tcp_match()
        },
        limits: Default::default(),
        target: DestinationTarget::Redirect { port: Some(22) },
        log: None,
        origin: line(51),
    });
    let mut site = Site::new(policy);
    let outcome = site.send(LOC, &tcp(LOC, (CLIENT, 4000), (FAR, 80), SYN));
    assert_eq!(outcome, Outcome::Other(Verdict::Local));
    // Nobody listens: the reset seems to come from where the client wanted to go.
    let reset = site.output(LOC);
    assert_eq!((source_of(&reset), ports_of(&reset)), (FAR, (80, 4000)));
    assert_eq!(reset[47] & RST, RST);
    assert_checksums(&reset);
}

#[test]
fn a_blank_checksum_covers_addresses_and_no_ports() {
    let mut site = Site::new(policy());
    site.send(LOC, &udp(LOC, (OTHER, 5000), (FAR, 53), b"takes the port"))
        .forwarded(NET);
    for (protocol, field) in [(6, 50), (17, 40)] {
        let mut sent = match protocol {
            6 => tcp(LOC, (CLIENT, 5000), (FAR, 53), SYN),
            _ => udp(LOC, (CLIENT, 5000), (FAR, 53), b"?"),
        };
        let pseudo = |frame: &[u8]| {
            let length = (frame.len() as u16 - 34).to_be_bytes();
            !checksum(&[&frame[26..34], &[0, protocol], &length])
        };
        let sum = pseudo(&sent);
        sent[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        let out = site
            .send_with(LOC, &sent, Checksum::Blank, None)
            .forwarded(NET);
        assert_eq!(source_of(&out), FW_NET);
        assert_eq!(word(&out, field), pseudo(&out));
    }
}

#[test]
fn a_udp_checksum_of_zero_stays_zero() {
    let mut site = Site::new(policy());
    let mut sent = udp(LOC, (CLIENT, 5000), (FAR, 53), b"?");
    sent[40..42].fill(0);
    let out = site.send(LOC, &sent).forwarded(NET);
    assert_eq!(word(&out, 40), 0);
    assert_eq!(source_of(&out), FW_NET);
}

#[test]
fn errors_about_a_translated_flow_are_translated_within() {
    for sent in [
        udp(LOC, (CLIENT, 5000), (FAR, 53), b"a question"),
        tcp(LOC, (CLIENT, 5000), (FAR, 53), SYN),
        echo(LOC, CLIENT, FAR, 8, 5000),
    ] {
        let mut site = Site::new(policy());
        // Take the port first, so that it must change too.
        let protocol = sent[23];
        let mut other = sent.clone();
        other[26..30].copy_from_slice(&OTHER.octets());
        fix_header(&mut other);
        fix_transport(&mut other);
        site.send(LOC, &other).forwarded(NET);
        let out = site.send(LOC, &sent).forwarded(NET);
        let error = icmp_error(NET, ROUTER, (11, 0), &out, 100);
        let back = site.send(NET, &error).forwarded(LOC);
        assert_eq!((source_of(&back), destination_of(&back)), (ROUTER, CLIENT));
        assert_checksums(&back);
        // The packet inside reads as it was sent, one hop later.
        let mut inside = [&sent[..14], &back[42..]].concat();
        assert_eq!(source_of(&inside), CLIENT);
        inside[22] += 1;
        fix_header(&mut inside);
        assert_eq!(inside, sent, "protocol {protocol}");
        // One that quotes only eight bytes is translated as well.
        let short = site
            .send(NET, &icmp_error(NET, ROUTER, (3, 1), &out, 8))
            .forwarded(LOC);
        assert_checksums(&short);
        assert_eq!(short.len(), 14 + 20 + 8 + 28);
    }
}

#[test]
fn an_error_about_a_dnat_flow_seems_to_come_from_the_public_address() {
    let mut site = Site::new(with_server());
    let syn = site
        .send(NET, &tcp(NET, (FAR, 4000), (FW_NET, 8080), SYN))
        .forwarded(LOC);
    let error = icmp_error(LOC, SERVER, (3, 10), &syn, 20);
    let back = site.send(LOC, &error).forwarded(NET);
    assert_eq!((source_of(&back), destination_of(&back)), (FW_NET, FAR));
    assert_eq!(
        Ipv4Addr::from_bits(u32::from_be_bytes(back[58..62].try_into().unwrap())),
        FW_NET
    );
    assert_eq!(word(&back, 64), 8080);
    assert_checksums(&back);
}

#[test]
fn an_error_about_no_flow_is_not_let_in() {
    let mut site = Site::new(policy());
    let invented = udp(LOC, (FW_NET, 5000), (FAR, 53), b"never sent");
    site.send(NET, &icmp_error(NET, ROUTER, (3, 1), &invented, 8))
        .dropped(Reason::Dropped);
}

#[test]
fn an_error_goes_only_to_who_sent_what_it_quotes() {
    let mut open = policy();
    open.source_nat.clear();
    let mut site = Site::new(open);
    let sent = site
        .send(LOC, &udp(LOC, (CLIENT, 5000), (FAR, 53), b"?"))
        .forwarded(NET);
    let error = icmp_error(NET, ROUTER, (3, 1), &sent, 8);
    site.send(NET, &error).forwarded(LOC);
    for victim in [SERVER, FW_LOC, FW_NET] {
        let mut stray = error.clone();
        stray[30..34].copy_from_slice(&victim.octets());
        fix_header(&mut stray);
        site.send(NET, &stray).dropped(Reason::Dropped);
    }
}

#[test]
fn a_redirect_about_a_translated_flow_is_not_let_in() {
    let sent = udp(LOC, (CLIENT, 5000), (FAR, 53), b"?");
    let mut site = Site::new(policy());
    let out = site.send(LOC, &sent).forwarded(NET);
    site.send(NET, &icmp_error(NET, ROUTER, (5, 1), &out, 8))
        .dropped(Reason::BadTransport);
    // Where nothing is translated it is an error like any other.
    let mut open = policy();
    open.source_nat.clear();
    let mut site = Site::new(open);
    let out = site.send(LOC, &sent).forwarded(NET);
    site.send(NET, &icmp_error(NET, ROUTER, (5, 1), &out, 8))
        .forwarded(LOC);
}

#[test]
fn a_server_rule_with_a_port_changes_nothing_but_the_address_where_no_port_can_change() {
    let mut policy = with_server();
    policy.destination_nat[0].matches = Match {
        destination: only(FW_NET),
        ..Match::default()
    };
    policy.chains[NET_LOC].policy = Disposition::Accept;
    let mut site = Site::new(policy);
    let ping = site.send(NET, &echo(NET, FAR, FW_NET, 8, 7)).forwarded(LOC);
    assert_eq!((destination_of(&ping), ping[34]), (SERVER, 8));
    assert_checksums(&ping);
    let answer = site.send(LOC, &echo(LOC, SERVER, FAR, 0, 7)).forwarded(NET);
    assert_eq!((source_of(&answer), answer[34]), (FW_NET, 0));
    assert_checksums(&answer);
    // GRE has no ports at all.
    let gre = site
        .send(NET, &ip(NET, FAR, FW_NET, 47, &[0x18; 16]))
        .forwarded(LOC);
    assert_eq!(destination_of(&gre), SERVER);
    assert_eq!(gre[34..], [0x18; 16]);
}

#[test]
fn gre_of_an_unknown_version_gets_no_other_destination() {
    let mut policy = with_server();
    policy.destination_nat[0].matches = Match {
        destination: only(FW_NET),
        ..Match::default()
    };
    policy.chains[NET_LOC].policy = Disposition::Accept;
    for chain in &mut policy.chains {
        chain.rules.clear();
    }
    let mut site = Site::new(policy.clone());
    let gre = |flags: u8| [0, flags, 0, 0, 0, 0, 0, 0];
    let there = |site: &mut Site, bytes: &[u8]| site.send(NET, &ip(NET, FAR, FW_NET, 47, bytes));
    there(&mut site, &gre(2)).dropped(Reason::BadTransport);
    there(&mut site, &gre(0)[..7]).dropped(Reason::BadTransport);
    // Nothing of it is remembered.
    assert_eq!(site.firewall.flows().now, 0);
    there(&mut site, &gre(0)).forwarded(LOC);
    // From another source it may well come.
    let mut site = Site::new(policy);
    let back = ip(LOC, CLIENT, FAR, 47, &gre(2));
    let back = site.send(LOC, &back).forwarded(NET);
    assert_eq!(source_of(&back), FW_NET);
    let answer = ip(NET, FAR, FW_NET, 47, &gre(2));
    site.send(NET, &answer).dropped(Reason::BadTransport);
}

#[test]
fn a_udp_checksum_that_comes_out_as_zero_is_written_as_all_ones() {
    let ask = |word: u16| udp(LOC, (CLIENT, 5000), (FAR, 53), &word.to_be_bytes());
    let translated = |sent: &[u8]| Site::new(policy()).send(LOC, sent).forwarded(NET);
    // What is missing to a sum of all ones is what the checksum says.
    let out = translated(&ask(word(&translated(&ask(0)), 40)));
    assert_eq!(word(&out, 40), 0xffff);

    // And back: the packet inside an error had such a checksum when it was sent.
    let mut sent = ask(word(&ask(0), 40));
    assert_eq!(word(&sent, 40), 0);
    sent[40..42].fill(0xff);
    let mut site = Site::new(policy());
    let out = site.send(LOC, &sent).forwarded(NET);
    let back = site
        .send(NET, &icmp_error(NET, ROUTER, (3, 1), &out, 8))
        .forwarded(LOC);
    assert_eq!(word(&back, 42 + 26), 0xffff);
    assert_checksums(&back);
}

#[test]
fn an_error_about_a_datagram_without_checksum_gives_it_none() {
    let mut sent = udp(LOC, (CLIENT, 5000), (FAR, 53), b"?");
    sent[40..42].fill(0);
    let mut site = Site::new(policy());
    let out = site.send(LOC, &sent).forwarded(NET);
    let back = site
        .send(NET, &icmp_error(NET, ROUTER, (3, 1), &out, 8))
        .forwarded(LOC);
    assert_eq!(word(&back, 42 + 26), 0);
    assert_checksums(&back);
}

#[test]
fn an_error_about_a_later_fragment_says_nothing_of_ports() {
    let mut site = Site::new(policy());
    let out = site
        .send(LOC, &udp(LOC, (CLIENT, 5000), (FAR, 53), b"?"))
        .forwarded(NET);
    let mut error = icmp_error(NET, ROUTER, (3, 1), &out, 8);
    error[42 + 7] = 1;
    fix_transport(&mut error);
    site.send(NET, &error).dropped(Reason::Dropped);
}
