//! Zones, rules, policies, and the checks before them.

use crate::support::*;
use firewalldom::policy::{Disposition, Exception, Log, LogLimit, Match, Origin, Prefix, States};
use firewalldom::{Checksum, Decider, Gso, GsoKind, Reason, Verdict};
use std::net::Ipv4Addr;

#[test]
fn a_frame_is_forwarded_with_new_link_addresses_and_one_hop_less() {
    let mut site = Site::new(policy());
    let sent = tcp(LOC, (CLIENT, 4000), (FAR, 80), SYN);
    let out = site.send(LOC, &sent).forwarded(NET);
    assert_eq!(out[..6], ROUTER_MAC);
    assert_eq!(out[6..12], FW_MAC[0]);
    assert_eq!(out[22], sent[22] - 1);
    assert_checksums(&out);
}

#[test]
fn the_first_rule_that_fits_decides_and_is_named() {
    let mut policy = policy();
    policy.chains[6]
        .rules
        .insert(0, rule(6, 25, Disposition::Drop, 29));
    let mut site = Site::new(policy);
    site.send(LOC, &tcp(LOC, (CLIENT, 4000), (FAR, 25), SYN))
        .dropped(Reason::Dropped);
    let decision = site.firewall.last_decision().unwrap();
    assert_eq!(decision.by, Decider::Rule(line(29)));
    assert_eq!(site.firewall.explain(decision), "shorewall/rules:29");
    let hits: Vec<_> = site.firewall.hits().filter(|&(_, hits)| hits > 0).collect();
    assert_eq!(hits, [(line(29), 1)]);
}

#[test]
fn without_a_rule_the_policy_decides_and_logs() {
    let mut site = Site::new(policy());
    site.send(NET, &tcp(NET, (FAR, 4000), (FW_NET, 22), SYN))
        .dropped(Reason::Dropped);
    let decision = site.firewall.last_decision().unwrap();
    assert_eq!(decision.by, Decider::Policy(Origin { file: 1, line: 2 }));
    let line = site.firewall.take_log().unwrap();
    assert_eq!(line.level, 6);
    assert_eq!(
        line.text,
        "Shorewall:net-fw:DROP:IN=eth0 OUT= MAC=02:00:00:00:00:10:02:00:00:00:00:20:08:00 \
         SRC=198.51.100.7 DST=192.0.2.2 LEN=40 TOS=0x00 PREC=0x00 TTL=63 ID=4660 DF \
         PROTO=TCP SPT=4000 DPT=22 WINDOW=8192 RES=0x00 SYN URGP=0 "
    );
    assert_eq!(site.firewall.take_log(), None);
}

#[test]
fn a_forwarded_packet_is_logged_with_its_hop_taken() {
    let mut site = Site::new(policy());
    site.send(NET, &udp(NET, (FAR, 53), (CLIENT, 4000), b"answer"))
        .dropped(Reason::Dropped);
    let text = site.firewall.take_log().unwrap().text;
    assert!(
        text.starts_with("Shorewall:net-loc:DROP:IN=eth0 OUT=eth1 MAC="),
        "{text}"
    );
    assert!(
        text.ends_with("TTL=62 ID=4660 DF PROTO=UDP SPT=53 DPT=4000 LEN=14 "),
        "{text}"
    );
}

#[test]
fn log_lines_are_limited_for_each_source() {
    let mut policy = policy();
    policy.settings.log_limit = Some(LogLimit {
        rate: 1,
        period_ms: 1000,
        burst: 3,
        per_source: true,
    });
    let mut site = Site::new(policy);
    let lines = |site: &mut Site| std::iter::from_fn(|| site.firewall.take_log()).count();
    for port in 0..10 {
        site.send(NET, &udp(NET, (FAR, 1000 + port), (FW_NET, 161), b""));
    }
    assert_eq!(lines(&mut site), 3);
    assert_eq!(site.firewall.suppressed_log_lines(), 7);
    site.wait(2);
    for port in 0..10 {
        site.send(NET, &udp(NET, (FAR, 1000 + port), (FW_NET, 161), b""));
    }
    assert_eq!(lines(&mut site), 2);
}

#[test]
fn an_address_no_zone_claims_gets_the_policy_for_all() {
    let mut policy = policy();
    policy.hosts[1].prefix = Prefix {
        address: Ipv4Addr::new(10, 0, 0, 0),
        length: 25,
    };
    let mut site = Site::new(policy);
    let stranger = Ipv4Addr::new(10, 0, 0, 200);
    site.send(LOC, &tcp(LOC, (stranger, 4000), (FAR, 80), SYN))
        .dropped(Reason::Rejected);
    let decision = site.firewall.last_decision().unwrap();
    assert_eq!(decision.by, Decider::Policy(Origin { file: 1, line: 3 }));
}

#[test]
fn default_actions_come_before_the_log_line() {
    let mut policy = policy();
    let mut quiet = rule(0, 0, Disposition::Drop, 0);
    quiet.states = States::ALL;
    quiet.matches = Match {
        destination_kind: firewalldom::policy::DestinationKind::Broadcast,
        ..Match::default()
    };
    policy.chains[3].default_action = vec![quiet];
    let mut site = Site::new(policy);
    let broadcast = Ipv4Addr::new(192, 0, 2, 255);
    site.send(NET, &udp(NET, (ROUTER, 137), (broadcast, 137), b""))
        .dropped(Reason::Dropped);
    assert_eq!(site.firewall.take_log(), None);
    site.send(NET, &udp(NET, (ROUTER, 137), (FW_NET, 137), b""))
        .dropped(Reason::Dropped);
    assert!(site.firewall.take_log().is_some());
}

#[test]
fn a_rule_that_only_logs_lets_the_next_one_decide() {
    let mut policy = policy();
    let mut log = rule(6, 80, Disposition::Accept, 28);
    log.action = firewalldom::policy::Action::Continue;
    log.log = Some(Log {
        level: 5,
        disposition: "LOG".into(),
        tag: None,
    });
    policy.chains[6].rules.insert(0, log);
    let mut site = Site::new(policy);
    site.send(LOC, &tcp(LOC, (CLIENT, 4000), (FAR, 80), SYN))
        .forwarded(NET);
    assert!(
        site.firewall
            .take_log()
            .unwrap()
            .text
            .starts_with("Shorewall:loc-net:LOG:")
    );
}

#[test]
fn a_frame_does_not_leave_where_it_came_in_without_routeback() {
    let mut site = Site::new(policy());
    let sent = udp(LOC, (CLIENT, 1), (SERVER, 2), b"");
    site.send(LOC, &sent).dropped(Reason::Hairpin);
    let mut policy = policy();
    policy.interfaces[1].route_back = true;
    Site::new(policy).send(LOC, &sent).forwarded(LOC);
}

#[test]
fn a_frame_does_not_leave_by_what_its_interfaces_line_matches() {
    let there = udp(LOC, (CLIENT, 1), (FAR, 2), b"");
    let back = udp(NET, (FAR, 2), (FW_NET, 1), b"");
    // The line that the client is behind is for both.
    let mut wide = policy();
    wide.interfaces[1].also.insert(NET);
    Site::new(wide).send(LOC, &there).dropped(Reason::Hairpin);
    // The other one is, which answers come back by.
    let mut wide = policy();
    wide.interfaces[0].also.insert(LOC);
    let mut site = Site::new(wide);
    for _ in 0..3 {
        site.send(LOC, &there).forwarded(NET);
        site.send(NET, &back).dropped(Reason::Hairpin);
    }
}

#[test]
fn scans_are_dropped_even_on_an_open_connection() {
    let mut site = Site::new(policy());
    for flags in [0, FIN | 0x28, SYN | FIN, SYN | RST] {
        site.send(LOC, &tcp(LOC, (CLIENT, 4000), (FAR, 80), flags))
            .dropped(Reason::TcpFlags);
    }
    site.send(LOC, &tcp(LOC, (CLIENT, 4000), (FAR, 80), SYN))
        .forwarded(NET);
    site.send(LOC, &tcp(LOC, (CLIENT, 4000), (FAR, 80), SYN | FIN))
        .dropped(Reason::TcpFlags);
}

#[test]
fn a_broadcast_source_is_a_smurf() {
    let mut site = Site::new(policy());
    let broadcast = Ipv4Addr::new(10, 0, 0, 255);
    site.send(LOC, &echo(LOC, broadcast, FAR, 8, 1))
        .dropped(Reason::Smurf);
}

#[test]
fn addresses_that_cannot_be_are_martians() {
    let mut site = Site::new(policy());
    for source in [
        [127, 0, 0, 1],
        [0, 0, 0, 7],
        [224, 0, 0, 5],
        [255, 255, 255, 255],
    ] {
        site.send(LOC, &udp(LOC, (source.into(), 1), (FAR, 2), b""))
            .dropped(Reason::Martian);
    }
    site.send(LOC, &udp(LOC, (CLIENT, 1), ([127, 0, 0, 1].into(), 2), b""))
        .dropped(Reason::Martian);
    // Who has no address yet may ask everybody, and nobody else.
    let unspecified = Ipv4Addr::UNSPECIFIED;
    site.send(LOC, &udp(LOC, (unspecified, 68), (FW_LOC, 5353), b""))
        .dropped(Reason::Martian);
    site.send(
        LOC,
        &udp(LOC, (unspecified, 68), (Ipv4Addr::BROADCAST, 67), b""),
    )
    .dropped(Reason::Rejected);
    site.send(LOC, &udp(LOC, (FW_NET, 1), (FAR, 2), b""))
        .dropped(Reason::OwnSource);
    site.send(LOC, &udp(LOC, (CLIENT, 1), (CLIENT, 1), b""))
        .dropped(Reason::Land);
    site.send(
        LOC,
        &udp(LOC, (CLIENT, 1), ([224, 0, 0, 251].into(), 2), b""),
    )
    .dropped(Reason::Multicast);
}

#[test]
fn headers_that_contradict_themselves_are_dropped_by_name() {
    let mut site = Site::new(policy());
    let good = udp(LOC, (CLIENT, 1), (FAR, 2), b"payload");
    let mut try_with = |reason: Reason, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bad = good.clone();
        change(&mut bad);
        site.send(LOC, &bad).dropped(reason);
    };
    try_with(Reason::Truncated, &|frame| frame.truncate(13));
    try_with(Reason::BadHeader, &|frame| frame.truncate(33));
    try_with(Reason::BadHeader, &|frame| frame[14] = 0x65);
    try_with(Reason::BadHeader, &|frame| frame[14] = 0x44);
    try_with(Reason::BadHeader, &|frame| frame[14] = 0x4f);
    try_with(Reason::BadHeader, &|frame| {
        frame[16..18].copy_from_slice(&[0, 19]);
    });
    try_with(Reason::BadHeader, &|frame| {
        frame[16..18].copy_from_slice(&[0xff, 0xff]);
    });
    try_with(Reason::BadHeaderChecksum, &|frame| frame[24] ^= 1);
    try_with(Reason::BadTransport, &|frame| {
        frame[38..40].copy_from_slice(&[0, 7]);
    });
    try_with(Reason::BadTransport, &|frame| {
        frame[38..40].copy_from_slice(&[0, 200]);
    });
    try_with(Reason::NotIp, &|frame| {
        frame[12..14].copy_from_slice(&[0x81, 0]);
    });
    try_with(Reason::Ipv6, &|frame| {
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    });
    try_with(Reason::OtherHost, &|frame| frame[5] = 0x99);
    try_with(Reason::FragmentTooLong, &|frame| {
        frame[20..22].copy_from_slice(&[0x1f, 0xff]);
        fix_header(frame);
    });
    try_with(Reason::Broadcast, &|frame| frame[..6].fill(0xff));
}

#[test]
fn one_byte_that_is_announced_and_missing_is_one_too_many() {
    let mut site = Site::new(policy());
    let mut cut = udp(LOC, (CLIENT, 1), (FAR, 2), b"x");
    cut.pop();
    site.send(LOC, &cut).dropped(Reason::BadHeader);
    for (there, wanted) in [(0, false), (3, false), (4, true)] {
        let mut segment = tcp_with(
            LOC,
            (CLIENT, 4000),
            (FAR, 80),
            SYN,
            (1, 0),
            &[1; 4][..there],
        );
        segment[46] = 0x60;
        fix_transport(&mut segment);
        let outcome = site.send(LOC, &segment);
        if wanted {
            outcome.forwarded(NET);
        } else {
            outcome.dropped(Reason::BadTransport);
        }
    }
}

#[test]
fn options_are_checked_and_source_routes_refused() {
    let mut site = Site::new(policy());
    let mut with = |options: &[u8; 4]| {
        let mut frame = udp(LOC, (CLIENT, 1), (FAR, 2), b"");
        frame.splice(34..34, *options);
        frame[14] = 0x46;
        frame[17] += 4;
        fix_header(&mut frame);
        site.send(LOC, &frame)
    };
    with(&[131, 3, 4, 0]).dropped(Reason::SourceRoute);
    with(&[137, 3, 4, 0]).dropped(Reason::SourceRoute);
    with(&[7, 3, 4, 0]).dropped(Reason::RecordOption);
    with(&[148, 9, 0, 0]).dropped(Reason::BadOption);
    with(&[148, 1, 0, 0]).dropped(Reason::BadOption);
    with(&[148, 5, 0, 0]).dropped(Reason::BadOption);
    with(&[1, 1, 1, 148]).dropped(Reason::BadOption);
    with(&[148, 4, 0, 0]).forwarded(NET);
}

#[test]
fn padding_behind_the_packet_is_cut() {
    let mut site = Site::new(policy());
    let mut sent = udp(LOC, (CLIENT, 1), (FAR, 2), b"x");
    let length = sent.len();
    sent.resize(60, 0xaa);
    assert_eq!(site.send(LOC, &sent).forwarded(NET).len(), length);
}

#[test]
fn a_long_frame_passes_with_its_payload_unread() {
    struct Untouchable;
    impl firewalldom::Tail for Untouchable {
        fn read(&self, _: usize, _: &mut [u8]) -> Result<(), firewalldom::TailError> {
            panic!("the payload was read");
        }
    }
    let mut site = Site::new(policy());
    let sent = udp(LOC, (CLIENT, 1), (FAR, 2), &[7; 1400]);
    let mut head = firewalldom::Head::new();
    head.load(&sent[..128]);
    for checksum in [Checksum::Validated, Checksum::Blank] {
        let mut frame = firewalldom::Frame {
            head: &mut head.clone(),
            len: sent.len(),
            tail: &Untouchable,
            checksum,
            gso: None,
        };
        let verdict = site.firewall.ingress(site.now, LOC, &mut frame);
        assert_eq!(verdict, Verdict::Forward { egress: NET });
        assert_eq!((frame.len, frame.tail_offset()), (sent.len(), 128));
    }
}

#[test]
fn a_frame_larger_than_the_next_link_is_refused_or_cut() {
    let mut policy = policy();
    policy.interfaces[0].mtu = Some(1000);
    let mut site = Site::new(policy);
    let mut sent = udp(LOC, (CLIENT, 1), (FAR, 2), &[7; 1400]);
    site.send(LOC, &sent).dropped(Reason::TooBig);
    let answer = site.output(LOC);
    assert_eq!((answer[34], answer[35], word(&answer, 40)), (3, 4, 1000));
    assert_checksums(&answer);
    assert_eq!(answer.len(), 14 + 576);

    sent[20] = 0;
    fix_header(&mut sent);
    assert_eq!(site.send(LOC, &sent), Outcome::Other(Verdict::Parked));
    let pieces = site.outputs();
    assert_eq!(pieces.len(), 2);
    let mut payload = Vec::new();
    for (egress, piece) in &pieces {
        assert_eq!(*egress, NET);
        assert_eq!(checksum(&[&piece.bytes[14..34]]), 0);
        assert!(piece.bytes.len() <= 14 + 1000);
        assert_eq!(
            usize::from(word(&piece.bytes, 20) & 0x1fff) * 8,
            payload.len()
        );
        payload.extend(&piece.bytes[34..]);
    }
    assert_eq!(word(&pieces[0].1.bytes, 20) & 0x2000, 0x2000);
    assert_eq!(word(&pieces[1].1.bytes, 20) & 0x2000, 0);
    let mut whole = [&pieces[0].1.bytes[..34], &payload].concat();
    let total = (whole.len() - 14) as u16;
    whole[16..18].copy_from_slice(&total.to_be_bytes());
    whole[20..22].fill(0);
    fix_header(&mut whole);
    assert_checksums(&whole);
    assert_eq!(payload[8..], [7; 1400]);
}

#[test]
fn a_frame_that_stands_for_many_is_as_large_as_its_pieces() {
    let mut site = Site::new(policy());
    let sent = tcp_with(LOC, (CLIENT, 1), (FAR, 2), ACK, (1, 1), &[1; 20_000]);
    let gso = |size| {
        Some(Gso {
            kind: GsoKind::TcpV4,
            size,
        })
    };
    let out = site
        .send_with(LOC, &sent, Checksum::Blank, gso(1448))
        .forwarded(NET);
    assert_eq!(out.len(), sent.len());
    site.send_with(LOC, &sent, Checksum::Blank, gso(9000))
        .dropped(Reason::TooBig);
    site.send_with(LOC, &sent, Checksum::Blank, gso(0))
        .dropped(Reason::BadOffload);
    let datagram = udp(LOC, (CLIENT, 1), (FAR, 2), &[1; 3000]);
    site.send_with(LOC, &datagram, Checksum::Blank, gso(1448))
        .dropped(Reason::BadOffload);
    let other = Some(Gso {
        kind: GsoKind::TcpV6,
        size: 1448,
    });
    site.send_with(LOC, &sent, Checksum::Blank, other)
        .dropped(Reason::BadOffload);
    // Only TCP and UDP have a pseudo-header whose sum the field could hold.
    for frame in [
        echo(LOC, CLIENT, FAR, 8, 1),
        ip(LOC, CLIENT, FAR, 136, &[0; 20]),
    ] {
        site.send_with(LOC, &frame, Checksum::Blank, None)
            .dropped(Reason::BadOffload);
    }
}

#[test]
fn an_answered_connection_takes_no_odd_offload_either() {
    let mut site = Site::new(policy());
    let [client, far] = [(CLIENT, 1), (FAR, 2)];
    site.send(LOC, &tcp_with(LOC, client, far, SYN, (1, 0), b""))
        .forwarded(NET);
    let answer = tcp_with(NET, far, (FW_NET, 1), SYN | ACK, (9, 2), b"");
    site.send(NET, &answer).forwarded(LOC);
    let sent = tcp_with(LOC, client, far, ACK, (2, 10), &[1; 4000]);
    for (kind, size, goes) in [
        (GsoKind::TcpV4, 1448, true),
        (GsoKind::TcpV4, 0, false),
        (GsoKind::TcpV6, 1448, false),
    ] {
        let outcome = site.send_with(LOC, &sent, Checksum::Blank, Some(Gso { kind, size }));
        match goes {
            true => drop(outcome.forwarded(NET)),
            false => outcome.dropped(Reason::BadOffload),
        }
    }
    let [client, far] = [(CLIENT, 3), (FAR, 4)];
    site.send(LOC, &udp(LOC, client, far, b"?")).forwarded(NET);
    site.send(NET, &udp(NET, far, (FW_NET, 3), b"!"))
        .forwarded(LOC);
    let gso = Some(Gso {
        kind: GsoKind::TcpV4,
        size: 1448,
    });
    site.send_with(
        LOC,
        &udp(LOC, client, far, &[1; 1000]),
        Checksum::Blank,
        gso,
    )
    .dropped(Reason::BadOffload);
}

#[test]
fn a_rule_for_a_hardware_address_is_for_no_other() {
    let mut mac = policy();
    let mut drop = rule(17, 7777, Disposition::Drop, 60);
    drop.matches.source_mac = vec![CLIENT_MAC];
    let loc_net = mac.chains.iter_mut().find(|chain| chain.name == "loc-net");
    loc_net.unwrap().rules.insert(0, drop);
    let mut site = Site::new(mac);
    let datagram = udp(LOC, (CLIENT, 1), (FAR, 7777), b"");
    site.send(LOC, &datagram).dropped(Reason::Dropped);
    let mut other = datagram;
    other[6..12].copy_from_slice(&SERVER_MAC);
    site.send(LOC, &other).forwarded(NET);
}

#[test]
fn a_ping_without_an_answer_is_forgotten_after_thirty_seconds() {
    let mut site = Site::new(policy());
    site.send(LOC, &echo(LOC, CLIENT, FAR, 8, 1)).forwarded(NET);
    for (seconds, flows) in [(29, 1), (2, 0)] {
        site.wait(seconds);
        site.hear_neighbours();
        site.sweep(10);
        assert_eq!(site.firewall.flows().now, flows);
    }
}

#[test]
fn a_frame_of_a_header_alone_is_told_by_its_type() {
    let mut site = Site::new(policy());
    let whole = udp(LOC, (CLIENT, 1), (FAR, 2), b"");
    let header = |kind: u16| [&whole[..12], &kind.to_be_bytes()].concat();
    site.send(LOC, &header(0x86dd)).dropped(Reason::Ipv6);
    site.send(LOC, &header(0x8100)).dropped(Reason::NotIp);
    site.send(LOC, &header(0x86dd)[..13])
        .dropped(Reason::Truncated);
}

#[test]
fn nothing_is_forwarded_when_forwarding_is_off() {
    let mut policy = policy();
    policy.settings.forwarding = false;
    let mut site = Site::new(policy);
    site.send(LOC, &udp(LOC, (CLIENT, 1), (FAR, 2), b""))
        .dropped(Reason::ForwardingOff);
}

#[test]
fn an_exception_may_reject() {
    let mut policy = policy();
    policy.settings.tcp_flags = Exception {
        disposition: Disposition::Reject,
        log: None,
    };
    let mut site = Site::new(policy);
    site.send(LOC, &tcp(LOC, (CLIENT, 4000), (FAR, 80), SYN | FIN))
        .dropped(Reason::TcpFlags);
    assert_eq!(site.output(LOC)[47] & RST, RST);
}

#[test]
fn a_packet_that_is_cut_gets_the_checksum_it_was_sent_without() {
    let mut policy = policy();
    policy.interfaces[0].mtu = Some(1000);
    let mut site = Site::new(policy);
    let mut sent = udp(LOC, (CLIENT, 1), (FAR, 2), &[7; 1400]);
    sent[20] = 0;
    sent[40..42].copy_from_slice(&[0x12, 0x34]);
    fix_header(&mut sent);
    let outcome = site.send_with(LOC, &sent, Checksum::Blank, None);
    assert_eq!(outcome, Outcome::Other(Verdict::Parked));
    let pieces = site.outputs();
    let mut whole = pieces[0].1.bytes.clone();
    whole.extend(&pieces[1].1.bytes[34..]);
    let total = (whole.len() - 14) as u16;
    whole[16..18].copy_from_slice(&total.to_be_bytes());
    whole[20..22].fill(0);
    fix_header(&mut whole);
    assert_checksums(&whole);
    assert!(
        pieces
            .iter()
            .all(|(_, piece)| piece.checksum == Checksum::Validated)
    );
}

#[test]
fn options_that_are_not_copied_stay_in_the_first_piece() {
    let mut policy = policy();
    policy.interfaces[0].mtu = Some(1000);
    let mut site = Site::new(policy);
    let mut sent = udp(LOC, (CLIENT, 1), (FAR, 2), &[7; 1400]);
    let options = [148, 4, 0, 0, 20, 4, 9, 9];
    sent.splice(34..34, options);
    sent[14] = 0x47;
    sent[20] = 0;
    let total = (sent.len() - 14) as u16;
    sent[16..18].copy_from_slice(&total.to_be_bytes());
    fix_header(&mut sent);
    fix_transport(&mut sent);
    site.send(LOC, &sent);
    let pieces = site.outputs();
    assert_eq!(pieces[0].1.bytes[34..42], options);
    assert_eq!(pieces[1].1.bytes[34..42], [148, 4, 0, 0, 1, 1, 1, 1]);
    assert_eq!(checksum(&[&pieces[1].1.bytes[14..42]]), 0);
}
