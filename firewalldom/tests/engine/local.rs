//! What is addressed to the firewall itself.

use crate::support::*;
use firewalldom::{Checksum, PingOutcome, Reason, Verdict};
use std::net::Ipv4Addr;
use std::time::Duration;

#[test]
fn a_ping_that_a_rule_allows_is_answered_from_the_address_it_was_sent_to() {
    for address in [FW_LOC, FW_NET] {
        let mut site = Site::new(policy());
        let outcome = site.send(LOC, &echo(LOC, CLIENT, address, 8, 9));
        assert_eq!(outcome, Outcome::Other(Verdict::Local));
        let reply = site.output(LOC);
        assert_eq!(
            (source_of(&reply), destination_of(&reply)),
            (address, CLIENT)
        );
        assert_eq!((reply[34], word(&reply, 38), reply[22]), (0, 9, 64));
        assert_eq!(reply[..6], CLIENT_MAC);
        assert_checksums(&reply);
    }
}

#[test]
fn a_ping_that_no_rule_allows_is_not_answered() {
    let mut site = Site::new(policy());
    site.send(NET, &echo(NET, FAR, FW_NET, 8, 9))
        .dropped(Reason::Dropped);
    assert_eq!(site.outputs(), []);
}

#[test]
fn a_closed_port_answers_as_a_host_does() {
    let mut site = Site::new(policy());
    let outcome = site.send(LOC, &tcp(LOC, (CLIENT, 4000), (FW_LOC, 22), SYN));
    assert_eq!(outcome, Outcome::Other(Verdict::Local));
    let reset = site.output(LOC);
    assert_eq!((reset[47] & RST, ports_of(&reset)), (RST, (22, 4000)));
    assert_checksums(&reset);
    site.send(LOC, &udp(LOC, (CLIENT, 4000), (FW_LOC, 5353), b"anyone?"));
    let error = site.output(LOC);
    assert_eq!((error[34], error[35], source_of(&error)), (3, 3, FW_LOC));
    assert_checksums(&error);
}

/// A site where loc and the firewall may send each other anything.
fn open_site() -> Site {
    let mut policy = policy();
    for chain in [2, 5] {
        policy.chains[chain].policy = firewalldom::policy::Disposition::Accept;
        policy.chains[chain].policy_log = None;
    }
    policy.interfaces[1].tcp_flags = false;
    Site::new(policy)
}

/// A frame with another type of service.
fn with_tos(mut frame: Vec<u8>, tos: u8) -> Vec<u8> {
    frame[15] = tos;
    fix_header(&mut frame);
    frame
}

#[test]
fn an_answer_to_a_ping_may_be_fragmented_and_keeps_type_of_service_code_and_data() {
    let mut request = with_tos(echo(LOC, CLIENT, FW_LOC, 8, 9), 0xb8);
    request[35] = 7;
    fix_transport(&mut request);
    let mut site = open_site();
    site.send(LOC, &request);
    let reply = site.output(LOC);
    assert_eq!((reply[34], reply[35], reply[15]), (0, 7, 0xb8));
    assert_eq!(word(&reply, 20), 0, "neither DF nor a fragment");
    assert_ne!(word(&reply, 18), 0);
    assert_eq!(reply[38..], request[38..]);
    assert_checksums(&reply);
}

#[test]
fn a_long_ping_is_answered_in_fragments() {
    let mut message = vec![8, 0, 0, 0, 0, 1, 0, 1];
    message.resize(3000, 0x55);
    let whole = ip(LOC, CLIENT, FW_LOC, 1, &message);
    let mut site = open_site();
    for (from, to, flags) in [(0, 1480, 0x2000), (1480, 2960, 0x2000), (2960, 3000, 0)] {
        let mut piece = whole[..34].to_vec();
        piece.extend(&whole[34 + from..34 + to]);
        let total = (piece.len() - 14) as u16;
        piece[16..18].copy_from_slice(&total.to_be_bytes());
        piece[20..22].copy_from_slice(&(flags | (from / 8) as u16).to_be_bytes());
        fix_header(&mut piece);
        site.send(LOC, &piece);
    }
    let pieces = site.outputs();
    let bytes: usize = pieces.iter().map(|(_, piece)| piece.bytes.len() - 34).sum();
    assert_eq!((pieces.len(), bytes), (3, 3000));
}

#[test]
fn who_asks_for_the_time_is_told_the_milliseconds_of_the_day() {
    let mut message = vec![13, 0, 0, 0, 0, 9, 0, 1, 1, 2, 3, 4];
    message.resize(20, 0);
    let request = ip(LOC, CLIENT, FW_LOC, 1, &message);
    let mut site = open_site();
    site.send(LOC, &request);
    let reply = site.output(LOC);
    assert_eq!(reply[34..36], [14, 0]);
    assert_eq!(reply[38..46], message[4..12]);
    assert_eq!(reply[46] & 0x80, 0x80, "nobody said what time it is");
    assert_checksums(&reply);
    // 1970-01-03, a second after two.
    let unix = Duration::from_secs(2 * 86_400 + 2 * 3600 + 1);
    site.firewall.set_wall_clock(site.now, unix);
    site.send(LOC, &request);
    let reply = site.output(LOC);
    assert_eq!(reply[46..50], (7_201_000u32).to_be_bytes());
    assert_eq!(reply[50..54], reply[46..50]);
    // Without room for the time of whoever asks there is nothing to answer.
    let short = ip(LOC, CLIENT, FW_LOC, 1, &message[..8]);
    assert_eq!(site.send(LOC, &short), Outcome::Other(Verdict::Local));
    assert_eq!(site.outputs(), []);
}

#[test]
fn other_icmp_questions_are_not_answered() {
    for kind in [15, 17] {
        let mut site = open_site();
        site.send(
            LOC,
            &ip(LOC, CLIENT, FW_LOC, 1, &[kind, 0, 0, 0, 0, 1, 0, 1]),
        );
        assert_eq!(site.outputs(), [], "type {kind}");
    }
}

#[test]
fn a_refused_datagram_is_quoted_as_it_came() {
    // Three options of one octet, and their end.
    let datagram = udp(LOC, (CLIENT, 4000), (FW_LOC, 0), &[7; 900]);
    let mut frame = datagram[..34].to_vec();
    frame[14] = 0x46;
    frame[15] = 0xb8;
    frame.extend([1, 1, 1, 0]);
    frame.extend(&datagram[34..]);
    frame[16..18].copy_from_slice(&(932u16).to_be_bytes());
    fix_header(&mut frame);
    let mut site = open_site();
    site.send(LOC, &frame);
    let error = site.output(LOC);
    assert_eq!((error[34], error[35]), (3, 3));
    assert_eq!(
        error[15], 0xd8,
        "internetwork control, and the rest as asked"
    );
    assert_eq!(word(&error, 20), 0, "it may be fragmented");
    assert_eq!(error[42..], frame[14..14 + 548]);
    assert_checksums(&error);
}

#[test]
fn port_0_is_closed_like_any_other() {
    let mut site = open_site();
    site.send(LOC, &udp(LOC, (CLIENT, 4000), (FW_LOC, 0), b""));
    let error = site.output(LOC);
    assert_eq!((error[34], error[35]), (3, 3));
    site.send(LOC, &tcp(LOC, (CLIENT, 4000), (FW_LOC, 0), SYN));
    assert_eq!(site.output(LOC)[47], RST | ACK);
}

#[test]
fn a_reset_acknowledges_what_acknowledged_nothing() {
    let mut site = open_site();
    let bare = tcp_with(LOC, (CLIENT, 4000), (FW_LOC, 22), 0, (77, 0), b"four");
    site.send(LOC, &with_tos(bare, 0x11));
    let reset = site.output(LOC);
    assert_eq!(reset[47], RST | ACK);
    assert_eq!(reset[38..46], [0, 0, 0, 0, 0, 0, 0, 81]);
    assert_eq!(reset[15], 0x10, "without what says something of congestion");
    assert_checksums(&reset);
}

#[test]
fn a_protocol_that_the_firewall_does_not_speak_is_unreachable() {
    let mut site = open_site();
    for protocol in [47, 132, 200] {
        let mut message = [0; 24];
        message[12] = 1;
        message[15] = 4;
        site.send(LOC, &ip(LOC, CLIENT, FW_LOC, protocol, &message))
            .dropped(Reason::NotSpoken);
        let error = site.output(LOC);
        assert_eq!((error[34], error[35]), (3, 2), "protocol {protocol}");
    }
    site.send(
        LOC,
        &ip(LOC, CLIENT, FW_LOC, 2, &[0x16, 0, 0, 0, 0, 0, 0, 0]),
    )
    .dropped(Reason::NotSpoken);
    assert_eq!(site.outputs(), []);
}

#[test]
fn what_was_redirected_to_the_firewall_is_answered_from_where_it_was_sent() {
    let mut policy = policy();
    policy.chains[5].policy = firewalldom::policy::Disposition::Accept;
    policy.destination_nat = vec![firewalldom::policy::DestinationNat {
        source_zone: LOC_ZONE,
        matches: Default::default(),
        limits: Default::default(),
        target: firewalldom::policy::DestinationTarget::Redirect { port: Some(3128) },
        log: None,
        origin: line(60),
    }];
    let mut site = Site::new(policy);
    site.send(LOC, &tcp(LOC, (CLIENT, 4000), (FAR, 80), SYN));
    let reset = site.output(LOC);
    assert_eq!((source_of(&reset), ports_of(&reset)), (FAR, (80, 4000)));
    let datagram = udp(LOC, (CLIENT, 4000), (FAR, 80), b"anyone?");
    site.send(LOC, &datagram);
    let error = site.output(LOC);
    assert_eq!((error[34], error[35], source_of(&error)), (3, 3, FAR));
    assert_eq!(error[42..], datagram[14..]);
    assert_checksums(&error);
}

#[test]
fn a_blank_checksum_is_no_obstacle() {
    let mut site = Site::new(policy());
    let mut syn = tcp(LOC, (CLIENT, 4000), (FW_LOC, 22), SYN);
    syn[50..52].copy_from_slice(&[0x12, 0x34]);
    site.send_with(LOC, &syn, Checksum::Blank, None);
    assert_eq!(site.output(LOC)[47] & RST, RST);
}

#[test]
fn the_firewall_pings_by_its_own_rules() {
    let mut site = Site::new(policy());
    site.firewall.ping(site.now, FAR);
    let request = site.output(NET);
    assert_eq!(
        (source_of(&request), destination_of(&request)),
        (FW_NET, FAR)
    );
    assert_checksums(&request);
    site.now = firewalldom::time::Instant(site.now.0 + 3_000_000);
    site.send(NET, &echo(NET, FAR, FW_NET, 0, word(&request, 38)));
    let result = site.firewall.take_ping().unwrap();
    assert_eq!(result.address, FAR);
    assert_eq!(
        result.outcome,
        PingOutcome::Reply {
            after: Duration::from_millis(3)
        }
    );

    site.firewall.ping(site.now, FAR);
    site.outputs();
    site.wait(5);
    site.firewall.poll(site.now);
    assert_eq!(
        site.firewall.take_ping().unwrap().outcome,
        PingOutcome::TimedOut
    );
}

#[test]
fn a_ping_that_the_rules_forbid_is_refused() {
    let mut forbidding = policy();
    forbidding.chains[1].policy = firewalldom::policy::Disposition::Drop;
    let mut site = Site::new(forbidding);
    site.firewall.ping(site.now, FAR);
    assert_eq!(site.outputs(), []);
    assert_eq!(
        site.firewall.take_ping().unwrap().outcome,
        PingOutcome::Refused
    );
    site.firewall.ping(site.now, Ipv4Addr::BROADCAST);
    assert_eq!(
        site.firewall.take_ping().unwrap().outcome,
        PingOutcome::Refused
    );
}

#[test]
fn dhcp_reaches_the_firewall_where_the_option_says_so() {
    let offer = udp(NET, (ROUTER, 67), (FW_NET, 68), b"offer");
    Site::new(policy())
        .send(NET, &offer)
        .dropped(Reason::Dropped);
    let mut policy = policy();
    policy.interfaces[0].dhcp = true;
    assert_eq!(
        Site::new(policy).send(NET, &offer),
        Outcome::Other(Verdict::Local)
    );
}

#[test]
fn a_wrong_checksum_never_reaches_the_firewall_itself() {
    let mut site = Site::new(policy());
    let mut damaged = udp(LOC, (CLIENT, 4000), (FW_LOC, 5353), b"anyone?");
    damaged[45] ^= 1;
    site.send(LOC, &damaged).dropped(Reason::BadChecksum);
    assert_eq!(site.outputs(), []);
}
