//! What becomes of the firewall's own answers: like all it says they meet the rules from `$FW`, as the
//! packets that they answer left them in connection tracking.

use crate::support::*;
use firewalldom::Reason;
use firewalldom::policy::{
    AddressRange, DestinationNat, DestinationTarget, Disposition, Exception, Policy, RawAction,
    RawRule,
};
use std::net::Ipv4Addr;

/// Index of the chain from the firewall to loc in [`policy`].
const FW_LOC_CHAIN: usize = 2;

fn exception(disposition: Disposition) -> Exception {
    Exception {
        disposition,
        log: None,
    }
}

/// Whether a frame that a rule rejects is answered.
#[track_caller]
fn is_answered(policy: &Policy, frame: &[u8]) -> bool {
    let mut site = Site::new(policy.clone());
    site.send(LOC, frame).dropped(Reason::Rejected);
    !site.outputs().is_empty()
}

#[test]
fn the_answer_to_a_packet_of_no_connection_meets_the_firewalls_own_rules() {
    let open = {
        let mut policy = policy();
        policy.chains[FW_LOC_CHAIN].policy = Disposition::Accept;
        policy
    };
    let stray = tcp(LOC, (CLIENT, 4000), (FAR, 25), FIN | ACK);
    assert!(!is_answered(&policy(), &stray), "fw to loc is REJECT");
    assert!(is_answered(&open, &stray), "fw to loc is ACCEPT");
    // That of a packet that would have begun one does not.
    let first = tcp(LOC, (CLIENT, 4000), (FAR, 25), SYN);
    assert!(is_answered(&policy(), &first));
    assert!(is_answered(&open, &first));
}

#[test]
fn the_answer_to_a_packet_that_is_not_tracked_meets_the_firewalls_own_rules() {
    let mut untracking = policy();
    untracking.raw = vec![RawRule {
        source_zone: LOC_ZONE,
        matches: Default::default(),
        action: RawAction::Untrack,
        origin: line(50),
    }];
    let first = tcp(LOC, (CLIENT, 4000), (FAR, 25), SYN);
    assert!(is_answered(&policy(), &first));
    assert!(!is_answered(&untracking, &first));
    // From fw to loc a rule accepts ICMP: an error may leave.
    let datagram = udp(LOC, (CLIENT, 4000), (FAR, 69), b"");
    assert!(is_answered(&untracking, &datagram));
}

#[test]
fn an_answer_is_related_to_what_it_answers() {
    for (disposition, answered) in [(Disposition::Accept, true), (Disposition::Drop, false)] {
        let mut policy = policy();
        policy.settings.related = Some(exception(disposition));
        let first = tcp(LOC, (CLIENT, 4000), (FAR, 25), SYN);
        assert_eq!(is_answered(&policy, &first), answered, "{disposition:?}");
    }
}

#[test]
fn a_reset_that_rejects_a_stray_segment_ends_the_attempt_it_strayed_into() {
    let mut policy = policy();
    policy.source_nat.clear();
    policy.settings.invalid = Some(exception(Disposition::Reject));
    let mut site = Site::new(policy);
    let to = (FAR, 80);
    let segment = |flags, numbers| tcp_with(LOC, (CLIENT, 4000), to, flags, numbers, &[]);
    site.send(LOC, &segment(SYN, (1000, 0))).forwarded(NET);
    // Before anything came back: no segment of this connection.
    site.send(LOC, &segment(ACK, (1001, 7000)))
        .dropped(Reason::Rejected);
    assert_eq!(site.output(LOC)[47], RST);
    assert_eq!(site.firewall.flows().now, 0);
    // So the next one is picked up, as that of a connection older than the firewall.
    site.send(LOC, &segment(ACK, (1009, 8400))).forwarded(NET);
}

#[test]
fn an_answer_does_not_change_what_is_said_of_the_packet_it_answers() {
    let mut policy = policy();
    policy.chains[FW_LOC_CHAIN].policy = Disposition::Accept;
    let mut site = Site::new(policy);
    let stray = tcp(LOC, (CLIENT, 4000), (FAR, 25), FIN | ACK);
    site.send(LOC, &stray).dropped(Reason::Rejected);
    let decision = site.firewall.last_decision().unwrap();
    assert_eq!(site.firewall.explain(decision), "shorewall/rules:30");
    assert_eq!(decision.disposition, Disposition::Reject);
}

#[test]
fn impossible_flags_are_dropped_answered_or_let_through_as_the_setting_says() {
    let christmas = tcp(LOC, (CLIENT, 4000), (FAR, 25), FIN | 0x28);
    let with = |disposition| {
        let mut policy = policy();
        policy.chains[FW_LOC_CHAIN].policy = Disposition::Accept;
        policy.settings.tcp_flags = exception(disposition);
        Site::new(policy)
    };
    let mut site = with(Disposition::Drop);
    site.send(LOC, &christmas).dropped(Reason::TcpFlags);
    assert_eq!(site.outputs(), []);
    let mut site = with(Disposition::Reject);
    site.send(LOC, &christmas).dropped(Reason::TcpFlags);
    let error = site.output(LOC);
    assert_eq!((error[23], error[34], error[35]), (1, 3, 3));
    // Accepted, though a rule rejects port 25.
    with(Disposition::Accept)
        .send(LOC, &christmas)
        .forwarded(NET);
}

#[test]
fn what_must_not_go_back_where_it_came_from_is_rejected_by_its_protocol() {
    let mut policy = policy();
    policy.settings.hairpin = exception(Disposition::Reject);
    for (frame, answer) in [
        (tcp(LOC, (CLIENT, 4000), (OTHER, 80), SYN), (6, 0, 0)),
        (udp(LOC, (CLIENT, 4000), (OTHER, 80), b""), (1, 3, 3)),
        (echo(LOC, CLIENT, OTHER, 8, 1), (1, 3, 1)),
        (ip(LOC, CLIENT, OTHER, 200, &[0xff; 40]), (1, 3, 10)),
        (ip(LOC, CLIENT, OTHER, 47, &[0; 40]), (1, 3, 10)),
    ] {
        let mut site = Site::new(policy.clone());
        site.send(LOC, &frame).dropped(Reason::Hairpin);
        let sent = site.output(LOC);
        assert_eq!(sent[23], answer.0);
        if answer.0 == 1 {
            assert_eq!((sent[34], sent[35]), (answer.1, answer.2));
        }
    }
}

#[test]
fn what_carries_no_sound_checksum_is_not_answered() {
    let mut policy = policy();
    policy.settings.hairpin = exception(Disposition::Reject);
    for protocol in [4, 89, 200] {
        let mut site = Site::new(policy.clone());
        let frame = ip(LOC, CLIENT, OTHER, protocol, &[7; 40]);
        site.send(LOC, &frame).dropped(Reason::Hairpin);
        assert_eq!(site.outputs(), []);
        // Linux takes zeros for sound: its sum has the header in it.
        let frame = ip(LOC, CLIENT, OTHER, protocol, &[0; 40]);
        site.send(LOC, &frame);
        assert_eq!(site.outputs().len(), 1);
    }
}

#[test]
fn an_error_about_a_translated_packet_comes_from_where_that_was_sent() {
    let mut policy = policy();
    policy.chains[NET_LOC].policy = Disposition::Reject;
    policy.destination_nat = vec![DestinationNat {
        source_zone: NET_ZONE,
        matches: Default::default(),
        limits: Default::default(),
        target: DestinationTarget::Server {
            addresses: AddressRange {
                first: SERVER,
                last: SERVER,
            },
            ports: None,
        },
        log: None,
        origin: line(60),
    }];
    let mut site = Site::new(policy);
    let elsewhere = Ipv4Addr::new(192, 0, 2, 127);
    for to in [FW_NET, elsewhere] {
        site.send(NET, &udp(NET, (FAR, 4000), (to, 53), b""))
            .dropped(Reason::Rejected);
        let error = site.output(NET);
        assert_eq!((error[34], error[35], source_of(&error)), (3, 3, to));
    }
}
