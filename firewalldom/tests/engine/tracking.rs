//! Connection tracking: states, time-outs, and a table that never grows.

use crate::support::*;
use firewalldom::{Checksum, Decider, Reason, Timeouts};
use std::net::Ipv4Addr;

const WEB: (Ipv4Addr, u16) = (FAR, 80);

/// Opens a connection from the client; the reply's destination port.
fn open(site: &mut Site, from: u16) -> u16 {
    let syn = site
        .send(LOC, &tcp(LOC, (CLIENT, from), WEB, SYN))
        .forwarded(NET);
    let port = ports_of(&syn).0;
    site.send(NET, &tcp(NET, WEB, (FW_NET, port), SYN | ACK))
        .forwarded(LOC);
    site.send(LOC, &tcp(LOC, (CLIENT, from), WEB, ACK))
        .forwarded(NET);
    port
}

#[test]
fn replies_pass_where_nothing_else_does() {
    let mut site = Site::new(policy());
    site.send(NET, &tcp(NET, WEB, (FW_NET, 4000), SYN | ACK))
        .dropped(Reason::Dropped);
    let port = open(&mut site, 4000);
    assert_eq!(port, 4000);
    let reply = site
        .send(NET, &tcp(NET, WEB, (FW_NET, port), ACK))
        .forwarded(LOC);
    assert_eq!(destination_of(&reply), CLIENT);
    assert_checksums(&reply);
    let decision = site.firewall.last_decision().unwrap();
    assert_eq!(
        decision.by,
        Decider::Flow(firewalldom::policy::Origin { file: 1, line: 1 })
    );
    site.send(NET, &tcp(NET, (FAR, 81), (FW_NET, port), ACK))
        .dropped(Reason::Dropped);
}

#[test]
fn a_segment_that_fits_no_state_is_invalid() {
    let mut site = Site::new(policy());
    // A stray RST towards the server meets the rules untranslated, as INVALID, and passes by policy.
    let out = site
        .send(LOC, &tcp(LOC, (CLIENT, 4000), WEB, RST))
        .forwarded(NET);
    assert_eq!(source_of(&out), CLIENT);
    assert_eq!(site.firewall.flows().now, 0);
    let mut strict = policy();
    strict.settings.invalid = Some(firewalldom::policy::Exception {
        disposition: firewalldom::policy::Disposition::Drop,
        log: None,
    });
    let mut site = Site::new(strict);
    site.send(LOC, &tcp(LOC, (CLIENT, 4000), WEB, RST))
        .dropped(Reason::StateDisposition);
    site.send(LOC, &tcp(LOC, (CLIENT, 4000), WEB, SYN | ACK))
        .dropped(Reason::StateDisposition);
    site.send(LOC, &echo(LOC, CLIENT, FAR, 0, 1))
        .dropped(Reason::StateDisposition);
}

#[test]
fn a_wrong_checksum_makes_a_packet_invalid_unless_it_is_vouched_for() {
    let mut site = Site::new(policy());
    let port = open(&mut site, 4000);
    let mut reply = tcp(NET, WEB, (FW_NET, port), ACK);
    reply[50] ^= 0x10;
    site.send(NET, &reply).dropped(Reason::Dropped);
    site.send_with(NET, &reply, Checksum::Validated, None)
        .forwarded(LOC);
}

#[test]
fn an_open_connection_is_picked_up_in_the_middle() {
    let mut site = Site::new(policy());
    site.send(LOC, &tcp(LOC, (CLIENT, 4000), WEB, ACK))
        .forwarded(NET);
    site.send(NET, &tcp(NET, WEB, (FW_NET, 4000), ACK))
        .forwarded(LOC);
}

#[test]
fn an_unanswered_flow_expires_and_an_open_one_stays() {
    let mut site = Site::new(policy());
    site.send(LOC, &tcp(LOC, (CLIENT, 4001), WEB, SYN))
        .forwarded(NET);
    let port = open(&mut site, 4000);
    site.wait(119);
    site.send(NET, &tcp(NET, WEB, (FW_NET, 4001), SYN | ACK))
        .forwarded(LOC);
    site.send(LOC, &tcp(LOC, (CLIENT, 4002), WEB, SYN))
        .forwarded(NET);
    site.wait(120);
    site.send(NET, &tcp(NET, WEB, (FW_NET, 4002), SYN | ACK))
        .dropped(Reason::Dropped);
    site.wait(400_000);
    site.send(NET, &tcp(NET, WEB, (FW_NET, port), ACK))
        .forwarded(LOC);
}

#[test]
fn the_sweep_forgets_what_expired() {
    let mut site = Site::with_flows(policy(), 5000);
    for port in 0..1000 {
        site.send(LOC, &udp(LOC, (CLIENT, 1000 + port), (FAR, 53), b"?"))
            .forwarded(NET);
    }
    assert_eq!(site.firewall.flows().now, 1000);
    site.wait(30);
    site.sweep(5000_usize.div_ceil(256));
    assert_eq!(site.firewall.flows().now, 0);
    assert_eq!(site.firewall.flows().peak, 1000);
}

#[test]
fn udp_answers_lengthen_a_flows_life() {
    let mut site = Site::new(policy());
    let (ask, answer) = (
        udp(LOC, (CLIENT, 1000), (FAR, 53), b"?"),
        udp(NET, (FAR, 53), (FW_NET, 1000), b"!"),
    );
    site.send(LOC, &ask).forwarded(NET);
    site.wait(3);
    site.send(NET, &answer).forwarded(LOC);
    site.send(NET, &answer).forwarded(LOC);
    site.wait(119);
    site.send(NET, &answer).forwarded(LOC);
    site.wait(121);
    site.send(NET, &answer).dropped(Reason::Dropped);
}

#[test]
fn time_outs_can_be_set() {
    let mut site = Site::new(policy());
    site.firewall.set_timeouts(Timeouts {
        udp: 5,
        ..Timeouts::default()
    });
    site.send(LOC, &udp(LOC, (CLIENT, 1000), (FAR, 53), b"?"))
        .forwarded(NET);
    site.wait(6);
    site.send(NET, &udp(NET, (FAR, 53), (FW_NET, 1000), b"!"))
        .dropped(Reason::Dropped);
}

#[test]
fn a_reset_in_answer_to_a_syn_passes_and_ends_the_flow() {
    let mut site = Site::new(policy());
    site.send(LOC, &tcp(LOC, (CLIENT, 4000), WEB, SYN))
        .forwarded(NET);
    let reset = site
        .send(NET, &tcp(NET, WEB, (FW_NET, 4000), RST | ACK))
        .forwarded(LOC);
    assert_eq!(destination_of(&reset), CLIENT);
    assert_eq!(site.firewall.flows().now, 0);
}

#[test]
fn a_closed_connection_opens_again_on_the_same_ports() {
    let mut site = Site::new(policy());
    let port = open(&mut site, 4000);
    site.send(LOC, &tcp(LOC, (CLIENT, 4000), WEB, FIN | ACK))
        .forwarded(NET);
    site.send(NET, &tcp(NET, WEB, (FW_NET, port), FIN | ACK))
        .forwarded(LOC);
    site.send(LOC, &tcp(LOC, (CLIENT, 4000), WEB, ACK))
        .forwarded(NET);
    assert_eq!(open(&mut site, 4000), 4000);
    assert_eq!(site.firewall.flows().now, 1);
}

#[test]
fn a_full_table_gives_up_unanswered_flows_but_never_open_ones() {
    let mut site = Site::with_flows(policy(), 64);
    let ports: Vec<u16> = (0..32).map(|n| open(&mut site, 4000 + n)).collect();
    for n in 0..10_000u32 {
        let source = Ipv4Addr::from_bits(CLIENT.to_bits() + 1 + n % 50);
        site.send(
            LOC,
            &tcp(LOC, (source, (10_000 + n) as u16), (FAR, 443), SYN),
        );
    }
    let flows = site.firewall.flows();
    assert_eq!((flows.now, flows.capacity), (64, 64));
    for port in ports {
        site.send(NET, &tcp(NET, WEB, (FW_NET, port), ACK))
            .forwarded(LOC);
    }
}

#[test]
fn a_table_full_of_open_connections_refuses_new_ones() {
    let mut site = Site::with_flows(policy(), 8);
    for n in 0..8 {
        open(&mut site, 4000 + n);
    }
    site.send(LOC, &tcp(LOC, (CLIENT, 5000), WEB, SYN))
        .dropped(Reason::TableFull);
}

#[test]
fn a_dropped_packet_leaves_no_flow() {
    let mut site = Site::new(policy());
    site.send(NET, &tcp(NET, (FAR, 4000), (FW_NET, 22), SYN))
        .dropped(Reason::Dropped);
    site.send(LOC, &tcp(LOC, (CLIENT, 4000), (FAR, 25), SYN))
        .dropped(Reason::Rejected);
    assert_eq!(site.firewall.flows().now, 0);
}

#[test]
fn every_flow_is_found_again_after_many_came_and_went() {
    let mut site = Site::with_flows(policy(), 2000);
    for round in 0..20u16 {
        for n in 0..200 {
            site.send(
                LOC,
                &udp(LOC, (CLIENT, 1024 + round * 200 + n), (FAR, 53), b"?"),
            )
            .forwarded(NET);
        }
        for n in 0..200 {
            let to = (FW_NET, 1024 + round * 200 + n);
            site.send(NET, &udp(NET, (FAR, 53), to, b"!"))
                .forwarded(LOC);
        }
        site.wait(10);
        site.hear_neighbours();
        site.sweep(8);
    }
    assert!(site.firewall.flows().now <= 800);
}

#[test]
fn a_connection_picked_up_and_never_answered_is_forgotten_soon() {
    let mut site = Site::new(policy());
    for port in [4000, 4001] {
        site.send(LOC, &tcp(LOC, (CLIENT, port), WEB, ACK))
            .forwarded(NET);
    }
    site.wait(299);
    site.send(NET, &tcp(NET, WEB, (FW_NET, 4000), ACK))
        .forwarded(LOC);
    site.wait(2);
    site.send(NET, &tcp(NET, WEB, (FW_NET, 4001), ACK))
        .dropped(Reason::Dropped);
}

#[test]
fn segments_that_are_never_answered_hold_no_place_in_a_full_table() {
    let mut site = Site::with_flows(policy(), 8);
    for port in 0..8 {
        for _ in 0..3 {
            site.send(LOC, &tcp(LOC, (CLIENT, 4000 + port), WEB, ACK))
                .forwarded(NET);
        }
    }
    site.send(LOC, &tcp(LOC, (CLIENT, 5000), WEB, SYN))
        .forwarded(NET);
    assert_eq!(site.firewall.flows().evicted, 1);
}

#[test]
fn a_quick_question_and_answer_is_no_stream() {
    let mut site = Site::new(policy());
    let answer = udp(NET, (FAR, 53), (FW_NET, 1000), b"!");
    site.send(LOC, &udp(LOC, (CLIENT, 1000), (FAR, 53), b"?"))
        .forwarded(NET);
    site.send(NET, &answer).forwarded(LOC);
    site.send(NET, &answer).forwarded(LOC);
    site.wait(31);
    site.send(NET, &answer).dropped(Reason::Dropped);
}

/// A segment of the connection that [`open`] opens, with numbers of its own.
fn numbered(from_client: bool, flags: u8, numbers: (u32, u32), payload: &[u8]) -> Vec<u8> {
    if from_client {
        tcp_with(LOC, (CLIENT, 4000), WEB, flags, numbers, payload)
    } else {
        tcp_with(NET, WEB, (FW_NET, 4000), flags, numbers, payload)
    }
}

#[test]
fn a_segment_beyond_the_window_is_invalid_and_changes_nothing() {
    let mut site = Site::new(policy());
    open(&mut site, 4000);
    // The client's window is 0x2000: twice as far is nothing it can have asked for.
    let far = 1001 + 2 * 0x2000;
    for flags in [ACK, FIN | ACK, RST | ACK] {
        site.send(NET, &numbered(false, flags, (far, 1001), b"guessed"))
            .dropped(Reason::Dropped);
    }
    site.send(
        NET,
        &numbered(false, ACK, (1001, 1002), b"acknowledges what was not sent"),
    )
    .dropped(Reason::Dropped);
    // Towards the net the rules let it pass, but nothing translates it.
    let out = site
        .send(LOC, &numbered(true, ACK, (far, 1001), b""))
        .forwarded(NET);
    assert_eq!(source_of(&out), CLIENT);
    let out = site
        .send(LOC, &numbered(true, ACK, (1001, 1001), b"as expected"))
        .forwarded(NET);
    assert_eq!(source_of(&out), FW_NET);
    site.send(NET, &numbered(false, ACK, (1001, 1012), b""))
        .forwarded(LOC);
}

#[test]
fn a_blind_reset_does_not_close_a_connection() {
    let mut site = Site::new(policy());
    open(&mut site, 4000);
    site.send(NET, &numbered(false, ACK, (1001, 1001), b""))
        .forwarded(LOC);
    site.send(NET, &numbered(false, RST, (900, 0), b""))
        .dropped(Reason::Dropped);
    // In the window, and so for the client to answer: it counts as alive for ten seconds more.
    site.send(NET, &numbered(false, RST, (1500, 0), b""))
        .forwarded(LOC);
    site.send(LOC, &numbered(true, ACK, (1001, 1001), b"challenge"))
        .forwarded(NET);
    site.wait(60_000);
    site.send(NET, &numbered(false, ACK, (1001, 1001), b""))
        .dropped(Reason::Dropped);
}

#[test]
fn data_that_is_never_acknowledged_and_a_closed_window_are_remembered_for_minutes() {
    for (window, payload, seconds, alive) in [
        (0x2000u16, &b"data"[..], 299, true),
        (0x2000, b"data", 301, false),
        (0, b"", 301, false),
        (0x2000, b"", 400_000, true),
    ] {
        let mut site = Site::new(policy());
        open(&mut site, 4000);
        site.send(NET, &numbered(false, ACK, (1001, 1001), b""))
            .forwarded(LOC);
        let mut last = numbered(true, ACK, (1001, 1001), payload);
        last[48..50].copy_from_slice(&window.to_be_bytes());
        fix_transport(&mut last);
        site.send(LOC, &last).forwarded(NET);
        site.wait(seconds);
        let outcome = site.send(NET, &numbered(false, ACK, (1001, 1001), b""));
        assert_eq!(
            matches!(outcome, Outcome::Forwarded(..)),
            alive,
            "{seconds}"
        );
    }
}

#[test]
fn a_syn_that_is_only_repeated_does_not_keep_its_flow() {
    let mut site = Site::new(policy());
    let syn = tcp(LOC, (CLIENT, 4000), WEB, SYN);
    for _ in 0..4 {
        site.send(LOC, &syn).forwarded(NET);
        site.wait(29);
    }
    site.wait(5);
    site.send(NET, &tcp(NET, WEB, (FW_NET, 4000), SYN | ACK))
        .dropped(Reason::Dropped);
}

#[test]
fn gre_of_pptps_version_is_invalid_unless_it_is_pptps_and_then_each_call_is_a_flow() {
    let gre = |[high, low]: [u8; 2], call: u8| {
        let mut packet = vec![0x30, 1, high, low, 0, 0, 0, call];
        packet.resize(40, 0);
        ip(LOC, CLIENT, FAR, 47, &packet)
    };
    let mut policy = policy();
    // Else a rule rejects GRE.
    policy.chains[6].rules.remove(2);
    let mut site = Site::new(policy);
    let out = site.send(LOC, &gre([8, 0], 5)).forwarded(NET);
    assert_eq!((source_of(&out), site.firewall.flows().now), (CLIENT, 0));
    for (call, flows) in [(5, 1), (5, 1), (6, 2)] {
        let outcome = site.send(LOC, &gre([0x88, 0x0b], call));
        // The second call is masqueraded to the same address: it is told from the first.
        assert_eq!(source_of(&outcome.forwarded(NET)), FW_NET);
        assert_eq!(site.firewall.flows().now, flows);
    }
    // Of any other version there is one flow between two hosts.
    for key in [1, 2] {
        let mut other = gre([8, 0], key);
        other[35] = 0;
        assert_eq!(source_of(&site.send(LOC, &other).forwarded(NET)), FW_NET);
        assert_eq!(site.firewall.flows().now, 3);
    }
}
