//! What the firewall tells senders, and when it keeps silent.

use crate::support::*;
use firewalldom::Reason;
use firewalldom::policy::Disposition;
use std::net::Ipv4Addr;

#[test]
fn a_rejected_syn_gets_a_reset_that_acknowledges_it() {
    let mut site = Site::new(policy());
    let syn = tcp_with(LOC, (CLIENT, 4000), (FAR, 25), SYN, (0xffff_ffff, 0), &[]);
    site.send(LOC, &syn).dropped(Reason::Rejected);
    let reset = site.output(LOC);
    assert_eq!(reset[..6], CLIENT_MAC);
    assert_eq!((source_of(&reset), destination_of(&reset)), (FAR, CLIENT));
    assert_eq!(ports_of(&reset), (25, 4000));
    assert_eq!(
        reset[38..46],
        [0, 0, 0, 0, 0, 0, 0, 0],
        "sequence 0, acknowledgement wraps to 0"
    );
    assert_eq!(reset[47], RST | ACK);
    assert_eq!(
        (reset[22], word(&reset, 18), word(&reset, 20)),
        (64, 0, 0x4000)
    );
    assert_checksums(&reset);
}

#[test]
fn a_rejected_ack_gets_a_reset_where_it_acknowledged() {
    let mut site = Site::new(policy());
    let data = tcp_with(
        LOC,
        (CLIENT, 4000),
        (FAR, 25),
        ACK,
        (7, 0x0102_0304),
        b"data",
    );
    site.send(LOC, &data).dropped(Reason::Rejected);
    let reset = site.output(LOC);
    assert_eq!(reset[38..42], [1, 2, 3, 4]);
    assert_eq!(reset[47], RST);
    assert_checksums(&reset);
}

#[test]
fn udp_gets_port_unreachable_and_others_host_prohibited() {
    let mut site = Site::new(policy());
    let datagram = udp(LOC, (CLIENT, 4000), (FAR, 69), &[5; 900]);
    site.send(LOC, &datagram).dropped(Reason::Rejected);
    let error = site.output(LOC);
    assert_eq!((error[34], error[35]), (3, 3));
    assert_eq!(
        (source_of(&error), destination_of(&error)),
        (FW_LOC, CLIENT)
    );
    assert_eq!(error.len(), 14 + 576);
    assert_checksums(&error);
    // The quoted packet has had its hop taken, as in netfilter's FORWARD hook.
    assert_eq!(error[42 + 8], 62);
    assert_eq!(error[42 + 20..42 + 548], datagram[34..34 + 528]);

    site.send(LOC, &ip(LOC, CLIENT, FAR, 47, &[0; 8]))
        .dropped(Reason::Rejected);
    let error = site.output(LOC);
    assert_eq!((error[34], error[35]), (3, 10));
}

#[test]
fn a_rejected_ping_gets_host_unreachable() {
    let mut policy = policy();
    policy.chains[6].policy = Disposition::Reject;
    let mut site = Site::new(policy);
    site.send(LOC, &echo(LOC, CLIENT, FAR, 8, 1))
        .dropped(Reason::Rejected);
    let error = site.output(LOC);
    assert_eq!((error[34], error[35]), (3, 1));
}

#[test]
fn a_reject_of_the_firewalls_own_address_comes_from_it() {
    let mut site = Site::new(policy());
    site.send(LOC, &udp(LOC, (CLIENT, 4000), (FW_NET, 161), b""))
        .dropped(Reason::Rejected);
    assert_eq!(source_of(&site.output(LOC)), FW_NET);
}

#[test]
fn resets_errors_broadcasts_and_igmp_are_never_answered() {
    let mut policy = policy();
    policy.chains[6].policy = Disposition::Reject;
    let mut site = Site::new(policy);
    let broadcast = Ipv4Addr::new(10, 0, 0, 255);
    let quoted = udp(LOC, (CLIENT, 1), (FAR, 2), b"");
    for frame in [
        tcp(LOC, (CLIENT, 4000), (FAR, 25), RST),
        icmp_error(LOC, CLIENT, (3, 3), &quoted, 8),
        udp(LOC, (CLIENT, 137), (broadcast, 137), b""),
        ip(LOC, CLIENT, FAR, 2, &[0x16, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        site.send(LOC, &frame);
        assert_eq!(site.outputs(), []);
    }
    let mut to_many = udp(LOC, (CLIENT, 4000), (FW_LOC, 161), b"");
    to_many[..6].fill(0xff);
    site.send(LOC, &to_many).dropped(Reason::Rejected);
    assert_eq!(site.outputs(), []);
}

#[test]
fn a_reset_answers_what_all_stations_got_if_its_address_is_of_one() {
    let mut site = Site::new(policy());
    let mut to_many = tcp(LOC, (CLIENT, 4000), (FW_LOC, 161), SYN);
    to_many[..6].fill(0xff);
    site.send(LOC, &to_many).dropped(Reason::Rejected);
    assert_eq!(source_of(&site.output(LOC)), FW_LOC);
}

#[test]
fn a_packet_at_the_end_of_its_life_is_reported() {
    let mut site = Site::new(policy());
    let mut last = udp(LOC, (CLIENT, 1), (FAR, 2), b"traceroute");
    last[22] = 1;
    fix_header(&mut last);
    site.send(LOC, &last).dropped(Reason::TimeExceeded);
    let error = site.output(LOC);
    assert_eq!((error[34], error[35]), (11, 0));
    assert_eq!(error[42..], last[14..]);
}

#[test]
fn without_a_route_the_sender_hears_of_it() {
    let mut policy = policy();
    policy.routes.clear();
    let mut site = Site::new(policy);
    site.send(LOC, &udp(LOC, (CLIENT, 1), (FAR, 2), b""))
        .dropped(Reason::NoRoute);
    let error = site.output(LOC);
    assert_eq!((error[34], error[35]), (3, 0));
}

#[test]
fn a_flood_of_rejects_is_answered_within_a_limit() {
    let mut site = Site::new(policy());
    for port in 0..200 {
        site.send(LOC, &udp(LOC, (CLIENT, 1000 + port), (FAR, 69), b""))
            .dropped(Reason::Rejected);
    }
    assert_eq!(site.outputs().len(), 6, "to one address");
    site.wait(2);
    for port in 0..200 {
        site.send(LOC, &udp(LOC, (CLIENT, 1000 + port), (FAR, 69), b""))
            .dropped(Reason::Rejected);
    }
    assert_eq!(site.outputs().len(), 2, "one a second");
}

#[test]
fn a_flood_of_rejects_from_everywhere_is_answered_within_a_limit() {
    let mut policy = policy();
    policy.chains[3].policy = Disposition::Reject;
    let mut site = Site::new(policy);
    for host in 0..200 {
        let source = Ipv4Addr::new(198, 51, 100, host);
        site.send(NET, &udp(NET, (source, 1000), (FW_NET, 69), b""))
            .dropped(Reason::Rejected);
    }
    assert_eq!(site.outputs().len(), 50);
}

#[test]
fn errors_are_not_limited_where_nobody_wants_that() {
    let mut site = Site::new(policy());
    site.firewall
        .set_error_rate(firewalldom::ErrorRate::Unlimited);
    for port in 0..200 {
        site.send(LOC, &udp(LOC, (CLIENT, 1000 + port), (FAR, 69), b""))
            .dropped(Reason::Rejected);
    }
    assert_eq!(site.outputs().len(), 200);
}

#[test]
fn what_tells_the_path_mtu_is_not_lost_among_rejects() {
    let mut policy = policy();
    policy.interfaces[0].mtu = Some(1000);
    let mut site = Site::new(policy);
    for port in 0..200 {
        site.send(LOC, &udp(LOC, (CLIENT, 1000 + port), (FAR, 69), b""))
            .dropped(Reason::Rejected);
    }
    site.outputs();
    for port in 0..200 {
        site.send(LOC, &udp(LOC, (CLIENT, 1000 + port), (FAR, 53), &[0; 1100]))
            .dropped(Reason::TooBig);
    }
    let errors = site.outputs();
    assert_eq!(errors.len(), 50);
    assert_eq!((errors[0].1.bytes[34], errors[0].1.bytes[35]), (3, 4));
    assert_eq!(word(&errors[0].1.bytes, 40), 1000);
}

#[test]
fn a_flood_of_datagrams_that_nobody_takes_is_answered_within_a_limit() {
    let mut site = Site::new(policy());
    for port in 0..200 {
        let outcome = site.send(LOC, &udp(LOC, (CLIENT, 1000 + port), (FW_LOC, 5353), b""));
        assert_eq!(outcome, Outcome::Other(firewalldom::Verdict::Local));
    }
    assert_eq!(site.outputs().len(), 6);
    // Pings are no errors.
    for ident in 0..200 {
        site.send(LOC, &echo(LOC, CLIENT, FW_LOC, 8, ident));
    }
    assert_eq!(site.outputs().len(), 200);
}

#[test]
fn a_segment_with_a_wrong_checksum_is_not_answered() {
    let mut site = Site::new(policy());
    let mut damaged = tcp(LOC, (CLIENT, 4000), (FAR, 25), SYN);
    damaged[50] ^= 1;
    site.send(LOC, &damaged).dropped(Reason::Rejected);
    assert_eq!(site.outputs(), []);
}
