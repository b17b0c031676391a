//! What rules ask besides the packet, and what is asked before any rule: limits, lists that are
//! called, sets, `routefilter`, `conntrack`.

use crate::support::*;
use firewalldom::policy::{
    Action, AddressRange, AddressSet, Addresses, Clock, ConnectionKey, ConnectionLimit,
    ConnectionUse, Disposition, InterfaceId, Limits, Match, Member, Policy, Protocol, Rate,
    RateKey, RateUse, RawAction, RawRule, RecentOperation, RecentUse, RejectWith, RouteFilter,
    Rule, RuleList, Seen, SetMatch, Side, TimeWindow,
};
use firewalldom::{Reason, Verdict};
use std::net::Ipv4Addr;
use std::time::Duration;

const NET_FW: usize = 3;
const LOC_NET: usize = 6;

/// The first rule from net to the firewall accepts SSH, within limits.
fn ssh_within(limits: Limits) -> Policy {
    let mut policy = policy();
    let rule = Rule {
        limits,
        ..rule(6, 22, Disposition::Accept, 60)
    };
    policy.chains[NET_FW].rules.insert(0, rule);
    policy
}

fn rate(key: RateKey) -> Rate {
    Rate {
        name: "ssh".into(),
        packets: 1,
        period_ms: 1000,
        burst: 3,
        key,
    }
}

fn host(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, number)
}

fn syn(source: Ipv4Addr, port: u16) -> Vec<u8> {
    tcp(NET, (source, port), (FW_NET, 22), SYN)
}

/// How many of so many connections from a host are accepted.
fn accepted(site: &mut Site, source: Ipv4Addr, first_port: u16, count: u16) -> usize {
    (first_port..first_port + count)
        .filter(|&port| site.send(NET, &syn(source, port)) == Outcome::Other(Verdict::Local))
        .count()
}

fn within_rate() -> Limits {
    Limits {
        rates: vec![RateUse {
            rate: 0,
            side: Side::Within,
        }],
        ..Limits::default()
    }
}

#[test]
fn a_rate_is_its_burst_and_then_so_many_a_second_for_all() {
    let mut policy = ssh_within(within_rate());
    policy.rates = vec![rate(RateKey::All)];
    let mut site = Site::new(policy);
    assert_eq!(accepted(&mut site, host(1), 1000, 10), 3);
    assert_eq!(accepted(&mut site, host(2), 1000, 10), 0);
    site.wait(2);
    assert_eq!(accepted(&mut site, host(2), 2000, 10), 2);
}

#[test]
fn a_rate_for_each_source_leaves_the_others_theirs() {
    let mut policy = ssh_within(within_rate());
    policy.rates = vec![rate(RateKey::Source(32))];
    let mut site = Site::new(policy);
    assert_eq!(accepted(&mut site, host(1), 1000, 10), 3);
    assert_eq!(accepted(&mut site, host(2), 1000, 10), 3);
}

#[test]
fn a_rate_for_each_network_is_shared_in_it() {
    let mut policy = ssh_within(within_rate());
    policy.rates = vec![rate(RateKey::Source(24))];
    let mut site = Site::new(policy);
    assert_eq!(accepted(&mut site, host(1), 1000, 10), 3);
    assert_eq!(accepted(&mut site, host(2), 1000, 10), 0);
}

#[test]
fn what_goes_beyond_a_policys_rate_is_dropped_before_its_rules() {
    let mut policy = policy();
    policy.rates = vec![rate(RateKey::Source(32))];
    // As Shorewall writes a policy's limit: a list that what is within returns from.
    let returns = Rule {
        limits: within_rate(),
        action: Action::Return,
        ..rule(0, 0, Disposition::Drop, 2)
    };
    policy.rule_lists = vec![RuleList {
        log_chain: Some("@loc-net".into()),
        rules: vec![returns, rule(0, 0, Disposition::Drop, 2)],
    }];
    let call = Rule {
        matches: Match {
            protocol: Protocol::TcpSyn(true),
            ..Match::default()
        },
        action: Action::Call(0),
        ..rule(0, 0, Disposition::Drop, 2)
    };
    policy.chains[LOC_NET].rules.insert(0, call);
    let mut site = Site::new(policy);
    for port in 0..5 {
        let outcome = site.send(LOC, &tcp(LOC, (CLIENT, 4000 + port), (FAR, 443), SYN));
        if port < 3 {
            outcome.forwarded(NET);
        } else {
            outcome.dropped(Reason::Dropped);
        }
    }
    // The rules behind the call still decide.
    let outcome = site.send(LOC, &tcp(LOC, (OTHER, 4000), (FAR, 25), SYN));
    outcome.dropped(Reason::Rejected);
}

#[test]
fn an_address_has_so_many_connections_at_once() {
    let mut policy = policy();
    policy.connection_limits = vec![ConnectionLimit {
        count: 2,
        key: ConnectionKey::Source(32),
    }];
    let above = Rule {
        limits: Limits {
            connections: Some(ConnectionUse {
                limit: 0,
                side: Side::Above,
            }),
            ..Limits::default()
        },
        ..rule(6, 443, Disposition::Drop, 60)
    };
    policy.chains[LOC_NET].rules.insert(0, above);
    let mut site = Site::new(policy);
    let open = |site: &mut Site, source, first_port| {
        let frames =
            (first_port..first_port + 5).map(|port| tcp(LOC, (source, port), (FAR, 443), SYN));
        let outcomes = frames.map(|frame| site.send(LOC, &frame));
        outcomes
            .filter(|outcome| matches!(outcome, Outcome::Forwarded(..)))
            .count()
    };
    assert_eq!(open(&mut site, CLIENT, 1000), 2);
    assert_eq!(open(&mut site, OTHER, 1000), 2);
    // Never answered, and forgotten after a while.
    site.wait(200);
    site.hear_neighbours();
    assert_eq!(open(&mut site, CLIENT, 2000), 2);
    // What is over does not count, though it is remembered.
    assert_eq!(open(&mut site, CLIENT, 3000), 0);
    let close = |site: &mut Site, port: u16, flags: u8| {
        site.send(LOC, &tcp(LOC, (CLIENT, port), (FAR, 443), flags))
            .forwarded(NET);
    };
    let answer = tcp(NET, (FAR, 443), (FW_NET, 2000), SYN | ACK);
    site.send(NET, &answer).forwarded(LOC);
    close(&mut site, 2000, ACK);
    close(&mut site, 2000, RST | ACK);
    assert_eq!(site.firewall.flows().now, 4);
    assert_eq!(open(&mut site, CLIENT, 4000), 1);
}

#[test]
fn a_time_is_when_a_rule_holds() {
    let mut policy = ssh_within(Limits {
        time: Some(0),
        ..Limits::default()
    });
    policy.times = vec![TimeWindow {
        day_start_s: 9 * 3600,
        day_stop_s: 17 * 3600,
        week_days: 0x1f,
        month_days: 0xffff_fffe,
        date_start_s: None,
        date_stop_s: None,
        clock: Clock::Utc,
    }];
    let mut site = Site::new(policy);
    // 2026-11-20, a Friday, at noon.
    let friday = Duration::from_secs(1_795_176_000);
    site.firewall.set_wall_clock(site.now, friday);
    assert_eq!(accepted(&mut site, host(1), 1000, 1), 1);
    site.wait(6 * 3600);
    assert_eq!(accepted(&mut site, host(1), 2000, 1), 0, "evening");
    site.wait(18 * 3600);
    assert_eq!(accepted(&mut site, host(1), 3000, 1), 0, "Saturday");
    site.wait(48 * 3600);
    assert_eq!(accepted(&mut site, host(1), 4000, 1), 1, "Monday");
}

#[test]
fn who_was_seen_too_often_is_told_from_others() {
    let mut policy = policy();
    policy.recent_lists = 1;
    let recent = |operation| Limits {
        recent: Some(RecentUse { list: 0, operation }),
        ..Limits::default()
    };
    let seen = Seen {
        seconds: 60,
        hits: 3,
    };
    // As the action Limit: note, drop who comes the third time in a minute, accept.
    let rules = [
        (recent(RecentOperation::Set), Action::Continue),
        (
            recent(RecentOperation::Update(seen)),
            Action::Decide(Disposition::Drop),
        ),
        (Limits::default(), Action::Decide(Disposition::Accept)),
    ];
    policy.chains[NET_FW].rules = rules
        .map(|(limits, action)| Rule {
            limits,
            action,
            ..rule(6, 22, Disposition::Drop, 60)
        })
        .into();
    let mut site = Site::new(policy);
    assert_eq!(accepted(&mut site, host(1), 1000, 5), 2);
    assert_eq!(accepted(&mut site, host(2), 1000, 1), 1);
    site.wait(61);
    assert_eq!(accepted(&mut site, host(1), 2000, 1), 1);
}

#[test]
fn what_is_listed_goes_before_all_else_and_what_is_exempt_goes_on() {
    let mut policy = policy();
    let from = |source: Ipv4Addr, action| Rule {
        matches: Match {
            source: only(source),
            ..Match::default()
        },
        action,
        ..rule(0, 0, Disposition::Drop, 70)
    };
    policy.rule_lists = vec![RuleList {
        log_chain: None,
        rules: vec![
            from(host(1), Action::Return),
            Rule {
                log: Some(firewalldom::policy::Log {
                    level: 6,
                    disposition: "DROP".into(),
                    tag: None,
                }),
                ..from(host(2), Action::Decide(Disposition::Drop))
            },
            Rule {
                matches: Match {
                    source: Addresses {
                        sets: vec![SetMatch {
                            set: 0,
                            member: Member::Yes,
                        }],
                        ..Addresses::default()
                    },
                    ..Match::default()
                },
                ..rule(0, 0, Disposition::Drop, 71)
            },
        ],
    }];
    policy.address_sets = vec![AddressSet {
        name: "blocked".into(),
        ranges: vec![AddressRange {
            first: host(1),
            last: host(5),
        }],
    }];
    policy.chains[NET_FW].blacklist = Some(0);
    policy.chains[NET_FW]
        .rules
        .push(rule(6, 22, Disposition::Accept, 60));
    let mut site = Site::new(policy);
    assert_eq!(accepted(&mut site, host(1), 1000, 1), 1, "exempt");
    assert_eq!(accepted(&mut site, host(2), 1000, 1), 0, "listed");
    let line = site.firewall.take_log().expect("it is logged").text;
    assert!(line.starts_with("Shorewall:net-fw~:DROP:"), "{line}");
    assert_eq!(accepted(&mut site, host(5), 1000, 1), 0, "in the set");
    assert_eq!(accepted(&mut site, host(6), 1000, 1), 1, "in no list");
    // Before tcpflags: what is listed is dropped for that reason.
    let scan = tcp(NET, (host(2), 1), (FW_NET, 22), SYN | RST);
    site.send(NET, &scan).dropped(Reason::Dropped);
    let scan = tcp(NET, (host(6), 1), (FW_NET, 22), SYN | RST);
    site.send(NET, &scan).dropped(Reason::TcpFlags);
}

#[test]
fn a_reject_that_says_how_answers_so() {
    let kinds = [
        (RejectWith::NetUnreachable, 0),
        (RejectWith::HostUnreachable, 1),
        (RejectWith::ProtocolUnreachable, 2),
        (RejectWith::PortUnreachable, 3),
        (RejectWith::NetProhibited, 9),
        (RejectWith::HostProhibited, 10),
        (RejectWith::AdminProhibited, 13),
    ];
    for (with, code) in kinds {
        let mut policy = policy();
        policy.chains[LOC_NET].rules[0].action = Action::Reject(with);
        let mut site = Site::new(policy);
        let syn = tcp(LOC, (CLIENT, 4000), (FAR, 25), SYN);
        site.send(LOC, &syn).dropped(Reason::Rejected);
        let answer = site.output(LOC);
        assert_eq!(
            (answer[23], answer[34], answer[35]),
            (1, 3, code),
            "{with:?}"
        );
        assert_checksums(&answer);
    }
    let mut policy = policy();
    policy.chains[LOC_NET].rules[0].action = Action::Reject(RejectWith::TcpReset);
    let mut site = Site::new(policy);
    let syn = tcp(LOC, (CLIENT, 4000), (FAR, 25), SYN);
    site.send(LOC, &syn).dropped(Reason::Rejected);
    assert_eq!(site.output(LOC)[47] & RST, RST);
}

/// A policy whose interfaces check where sources are.
fn filtering(filter: RouteFilter) -> Policy {
    let mut policy = policy();
    for interface in &mut policy.interfaces {
        interface.route_filter = filter;
    }
    policy
}

/// From a source that need not be behind the interface, to the firewall.
fn spoofed(interface: InterfaceId, source: Ipv4Addr) -> Vec<u8> {
    tcp(interface, (source, 4000), (FW_NET, 22), SYN)
}

#[test]
fn a_strict_route_filter_wants_a_source_where_its_route_is() {
    let mut site = Site::new(filtering(RouteFilter::Strict));
    let frame = spoofed(NET, CLIENT);
    site.send(NET, &frame).dropped(Reason::ReversePath);
    let frame = spoofed(LOC, FAR);
    site.send(LOC, &frame).dropped(Reason::ReversePath);
    // The broadcast address of the other link is nobody's.
    let frame = spoofed(NET, Ipv4Addr::new(10, 0, 0, 255));
    site.send(NET, &frame).dropped(Reason::ReversePath);
    let frame = tcp(LOC, (CLIENT, 4000), (FAR, 443), SYN);
    site.send(LOC, &frame).forwarded(NET);
}

#[test]
fn a_loose_route_filter_wants_a_route_at_all() {
    let mut site = Site::new(filtering(RouteFilter::Loose));
    site.send(NET, &spoofed(NET, CLIENT))
        .dropped(Reason::Dropped);
    let mut policy = filtering(RouteFilter::Loose);
    policy.routes.clear();
    let mut site = Site::new(policy);
    let frame = spoofed(NET, FAR);
    site.send(NET, &frame).dropped(Reason::ReversePath);
}

#[test]
fn an_established_flow_is_held_to_its_interface_too() {
    let mut policy = filtering(RouteFilter::Strict);
    policy.source_nat.clear();
    let mut site = Site::new(policy);
    let client = (CLIENT, 4000);
    site.send(LOC, &tcp(LOC, client, (FAR, 443), SYN))
        .forwarded(NET);
    let answer = tcp_with(NET, (FAR, 443), client, SYN | ACK, (5000, 1001), &[]);
    site.send(NET, &answer).forwarded(LOC);
    let ack = |from| tcp_with(from, client, (FAR, 443), ACK, (1001, 5001), &[]);
    site.send(NET, &ack(NET)).dropped(Reason::ReversePath);
    site.send(LOC, &ack(LOC)).forwarded(NET);
}

#[test]
fn netfilters_check_is_logged_and_lets_the_established_be() {
    let mut policy = policy();
    policy.interfaces[0].rpfilter = true;
    policy.settings.rpfilter.log = Some(firewalldom::policy::Log {
        level: 6,
        disposition: "DROP".into(),
        tag: None,
    });
    let mut site = Site::new(policy);
    site.send(NET, &spoofed(NET, CLIENT))
        .dropped(Reason::ReversePath);
    let line = site.firewall.take_log().expect("it is logged").text;
    assert!(
        line.starts_with("Shorewall:rplog:DROP:IN=eth0 OUT= "),
        "{line}"
    );
}

#[test]
fn what_is_not_tracked_leaves_no_flow_and_meets_rules_for_it() {
    let mut policy = policy();
    policy.raw = vec![
        RawRule {
            source_zone: LOC_ZONE,
            matches: Match {
                protocol: Protocol::OneOf(vec![17]),
                destination_port: port(123),
                ..Match::default()
            },
            action: RawAction::Untrack,
            origin: line(80),
        },
        RawRule {
            source_zone: LOC_ZONE,
            matches: Match {
                protocol: Protocol::OneOf(vec![17]),
                destination_port: port(1900),
                ..Match::default()
            },
            action: RawAction::Drop,
            origin: line(81),
        },
    ];
    let mut site = Site::new(policy);
    let frame = udp(LOC, (CLIENT, 4000), (FAR, 123), b"time");
    let out = site.send(LOC, &frame).forwarded(NET);
    // Not translated, for that takes a flow.
    assert_eq!(source_of(&out), CLIENT);
    assert_eq!(site.firewall.flows().now, 0);
    let frame = udp(LOC, (CLIENT, 4000), (FAR, 1900), b"search");
    site.send(LOC, &frame).dropped(Reason::Dropped);
    site.send(LOC, &udp(LOC, (CLIENT, 4000), (FAR, 53), b"name"))
        .forwarded(NET);
    assert_eq!(site.firewall.flows().now, 1);
}
