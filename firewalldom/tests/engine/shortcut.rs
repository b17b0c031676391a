//! The shortest way of an established packet against the whole way: whatever comes, both come to the
//! same frames, verdicts, counters and flows.

use crate::support::*;
use firewalldom::policy::{Disposition, InterfaceId, Policy, RouteFilter, SourceTarget};
use firewalldom::{AHEAD, Checksum, Counters, Gso, GsoKind, Head, Shortcut, Timeouts};
use proptest::prelude::*;
use std::net::Ipv4Addr;

/// The conversation whose packets leave by the link that they came by.
const HAIRPIN: u8 = 2;

const PSH: u8 = 8;
const URG: u8 = 32;

/// A packet of one of a few conversations, mostly what its ends would really send next.
#[derive(Clone, Debug)]
struct Event {
    conversation: u8,
    from_server: bool,
    what: What,
    sequence_off: i32,
    acknowledgement_off: i32,
    window: u16,
    payload: u16,
    options: u8,
    padding: u8,
    offload: u8,
    damage: Option<(prop::sample::Index, u8)>,
    tenths: u16,
    is_astray: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Ack,
    Syn,
    Fin,
    Reset,
    Odd(u8),
    Datagram,
    Echo,
    Error,
}

fn events() -> impl Strategy<Value = Event> {
    let what = prop_oneof![
        20 => Just(What::Ack),
        4 => Just(What::Syn),
        1 => Just(What::Fin),
        1 => Just(What::Reset),
        1 => any::<u8>().prop_map(What::Odd),
        8 => Just(What::Datagram),
        1 => Just(What::Echo),
        1 => Just(What::Error),
    ];
    let off =
        || prop_oneof![20 => Just(0), 3 => -3..3i32, 2 => -70_000..70_000i32, 1 => any::<i32>()];
    let damage = proptest::option::weighted(0.05, any::<(prop::sample::Index, u8)>());
    let tenths = prop_oneof![20 => Just(0u16), 2 => 0..50u16, 1 => 0..4000u16];
    let window = prop_oneof![8 => 1000..u16::MAX, 1 => 0..3u16];
    let payload = prop_oneof![3 => Just(0u16), 3 => 1..40u16, 1 => 1..2000u16];
    let is_astray = proptest::bool::weighted(0.03);
    (
        (0u8..3, any::<bool>(), what, off(), off(), window, payload),
        (0u8..5, 0u8..20, 0u8..8, damage, tenths, is_astray),
    )
        .prop_map(
            |(
                (
                    conversation,
                    from_server,
                    what,
                    sequence_off,
                    acknowledgement_off,
                    window,
                    payload,
                ),
                (options, padding, offload, damage, tenths, is_astray),
            )| Event {
                conversation,
                from_server,
                what,
                sequence_off,
                acknowledgement_off,
                window,
                payload,
                options,
                padding,
                offload,
                damage,
                tenths,
                is_astray,
            },
        )
}

/// What both ends of a conversation have sent.
#[derive(Clone, Copy, Default)]
struct Ends {
    next: [u32; 2],
}

const OPTIONS: [&[u8]; 5] = [
    &[],
    &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2],
    &[2, 4, 5, 180, 4, 2, 3, 3, 7, 0, 0, 0],
    &[1, 1, 5, 10, 0, 0, 4, 0, 0, 0, 8, 0],
    &[1, 1, 1, 1],
];

fn segment(event: &Event, ends: &mut Ends, flags: u8) -> Vec<u8> {
    let (own, other) = if event.from_server { (1, 0) } else { (0, 1) };
    let sequence = ends.next[own].wrapping_add_signed(event.sequence_off);
    let acknowledgement = ends.next[other].wrapping_add_signed(event.acknowledgement_off);
    let options = OPTIONS[usize::from(event.options)];
    let payload = if flags & 2 != 0 { 0 } else { event.payload };
    if event.sequence_off == 0 {
        let taken = u32::from(payload) + u32::from(flags & 2 != 0) + u32::from(flags & 1 != 0);
        ends.next[own] = sequence.wrapping_add(taken);
    }
    let mut bytes = Vec::new();
    bytes.extend([0; 4]);
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(acknowledgement.to_be_bytes());
    bytes.extend([(5 + options.len() as u8 / 4) << 4, flags]);
    bytes.extend(event.window.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(options);
    bytes.extend(std::iter::repeat_n(0x5a, usize::from(payload)));
    bytes
}

/// The frame of an event as its receiver's side of the firewall sees it arrive, and what the rings
/// say of it.
fn frame(
    event: &Event,
    all: &mut [Ends; 3],
    translated: bool,
) -> (InterfaceId, Vec<u8>, Checksum, Option<Gso>) {
    let ends = &mut all[usize::from(event.conversation)];
    let client_port = 4000 + u16::from(event.conversation);
    // One conversation stays on its link.
    let is_hairpin = event.conversation == HAIRPIN;
    let is_from_net = event.from_server && !is_hairpin;
    let from = match is_from_net != event.is_astray {
        true => NET,
        false => LOC,
    };
    let server = if is_hairpin { SERVER } else { FAR };
    let client = if is_hairpin { CLIENT } else { FW_NET };
    let (source, destination): ((Ipv4Addr, u16), (Ipv4Addr, u16)) = if event.from_server {
        ((server, 80), (client, client_port))
    } else {
        ((CLIENT, client_port), (server, 80))
    };
    let flags = match event.what {
        What::Ack => ACK | if event.payload > 20 { PSH } else { 0 },
        What::Syn if event.from_server => SYN | ACK,
        What::Syn => SYN,
        What::Fin => FIN | ACK,
        What::Reset => RST | ACK,
        What::Odd(flags) => flags & (SYN | ACK | FIN | RST | PSH | URG),
        _ => 0,
    };
    let mut bytes = match event.what {
        What::Datagram => {
            let data = vec![7; usize::from(event.payload)];
            udp(from, source, destination, &data)
        }
        What::Echo => {
            let kind = if event.from_server { 0 } else { 8 };
            echo(from, source.0, destination.0, kind, client_port)
        }
        What::Error => {
            let about = udp(from, destination, source, b"what was sent");
            icmp_error(from, source.0, (3, 1), &about, 8)
        }
        _ => {
            let mut segment = segment(event, ends, flags);
            segment[..2].copy_from_slice(&source.1.to_be_bytes());
            segment[2..4].copy_from_slice(&destination.1.to_be_bytes());
            ip(from, source.0, destination.0, 6, &segment)
        }
    };
    if let Some((at, value)) = &event.damage {
        let at = at.index(bytes.len());
        bytes[at] = *value;
        if value & 1 == 0 && bytes[14] & 15 >= 5 && bytes.len() >= 74 {
            fix_header(&mut bytes);
        }
    }
    let len = bytes.len();
    bytes.extend(std::iter::repeat_n(
        0xee,
        usize::from(event.padding.saturating_sub(14)),
    ));
    let (checksum, gso) = match event.offload {
        0..3 => (Checksum::Validated, None),
        3 | 4 => (Checksum::Unknown, None),
        5 => (Checksum::Blank, None),
        _ if len > 300 => {
            let kind = if event.offload == 6 {
                GsoKind::TcpV4
            } else {
                GsoKind::TcpV6
            };
            let size = event.window % 1800;
            (Checksum::Blank, Some(Gso { kind, size }))
        }
        _ => (Checksum::Blank, None),
    };
    if event.from_server && !is_hairpin && !translated && event.damage.is_none() {
        // Nothing is translated: the client is seen as itself.
        bytes[30..34].copy_from_slice(&CLIENT.octets());
        fix_header(&mut bytes);
        if checksum != Checksum::Blank && event.padding <= 14 {
            fix_transport(&mut bytes);
        }
    }
    (from, bytes, checksum, gso)
}

fn policies() -> impl Strategy<Value = Policy> {
    let filter = prop_oneof![
        Just(RouteFilter::Off),
        Just(RouteFilter::Loose),
        Just(RouteFilter::Strict)
    ];
    let settings = (any::<[bool; 5]>(), 0u8..4, filter, 0u8..6);
    settings.prop_map(
        |([translated, open, back, flags, asks], mtu, filter, wide)| {
            let mut policy = policy();
            // What comes in by one of them leaves by none.
            if let Some(interface) = policy.interfaces.get_mut(usize::from(wide)) {
                for other in [NET, LOC] {
                    interface.also.insert(other);
                }
            }
            if asks {
                policy.chains[WITHIN].rules.push(about_hairpins(6));
            }
            if !translated {
                policy.source_nat.clear();
            } else if back {
                // Another port, so that checksums change by more than addresses.
                policy.source_nat[0].target = SourceTarget::Masquerade {
                    ports: Some(firewalldom::policy::PortRange {
                        first: 4000,
                        last: 4002,
                    }),
                };
            }
            if open {
                policy.chains[NET_LOC].policy = Disposition::Accept;
            }
            for interface in &mut policy.interfaces {
                interface.tcp_flags = flags;
                interface.route_filter = filter;
                interface.route_back = back;
                interface.mtu = (mtu == 0).then_some(576);
            }
            policy
        },
    )
}

proptest! {
    #[test]
    fn both_ways_come_to_the_same(
        policy in policies(),
        events in proptest::collection::vec(events(), 1..120),
        start in any::<[u32; 6]>(),
    ) {
        let translated = !policy.source_nat.is_empty();
        let mut short = Site::with_flows(policy.clone(), 8);
        let mut whole = Site::with_flows(policy, 8);
        whole.firewall.set_shortcut(Shortcut::Avoided);
        let mut ends = [0, 1, 2].map(|n| Ends { next: [start[n], start[n + 3]] });
        for event in events {
            let (from, bytes, checksum, gso) = frame(&event, &mut ends, translated);
            let cut = if bytes.len() > 256 { 128 } else { 256 };
            let one = short.send_split(from, &bytes, cut, (checksum, gso));
            let other = whole.send_split(from, &bytes, cut, (checksum, gso));
            prop_assert_eq!(&one, &other, "{:?}", event);
            prop_assert_eq!(short.firewall.last_decision(), whole.firewall.last_decision());
            for site in [&mut short, &mut whole] {
                site.now.0 += u64::from(event.tenths) * 100_000_000;
                site.firewall.poll(site.now);
            }
            prop_assert_eq!(short.outputs(), whole.outputs());
            let flows = |site: &Site| format!("{:?}", site.firewall.debug_flows());
            prop_assert_eq!(flows(&short), flows(&whole));
        }
        let counters = |site: &Site| format!("{:?}", site.firewall.counters());
        prop_assert_eq!(counters(&short), counters(&whole));
    }

    #[test]
    fn frames_looked_ahead_for_are_judged_as_each_by_itself(
        policy in policies(),
        bursts in proptest::collection::vec(proptest::collection::vec(events(), 1..=AHEAD), 1..20),
        start in any::<[u32; 6]>(),
    ) {
        let translated = !policy.source_nat.is_empty();
        let mut together = Site::with_flows(policy.clone(), MANY);
        let mut alone = Site::with_flows(policy, MANY);
        let mut ends = [0, 1, 2].map(|n| Ends { next: [start[n], start[n + 3]] });
        for burst in bursts {
            let mut frames: Vec<_> = burst
                .iter()
                .map(|event| {
                    let (from, bytes, checksum, gso) = frame(event, &mut ends, translated);
                    let cut = if bytes.len() > 256 { 128 } else { 256 };
                    (from, bytes, cut, (checksum, gso))
                })
                .collect();
            let expected: Vec<_> = frames
                .iter()
                .map(|(from, bytes, cut, offload)| alone.send_split(*from, bytes, *cut, *offload))
                .collect();
            let mut heads: Vec<_> = frames
                .iter()
                .map(|(_, bytes, cut, _)| {
                    let mut head = Head::new();
                    head.load(&bytes[..bytes.len().min(*cut)]);
                    head
                })
                .collect();
            together.firewall.look_ahead(frames[0].0, &mut heads);
            let judged: Vec<_> = frames
                .drain(..)
                .zip(&mut heads)
                .map(|((from, bytes, _, offload), head)| together.send_head(from, head, &bytes, offload))
                .collect();
            prop_assert_eq!(judged, expected, "{:?}", burst);
            for site in [&mut together, &mut alone] {
                for event in &burst {
                    site.now.0 += u64::from(event.tenths) * 100_000_000;
                }
                site.firewall.poll(site.now);
            }
            prop_assert_eq!(together.outputs(), alone.outputs());
            let flows = |site: &Site| format!("{:?}", site.firewall.debug_flows());
            prop_assert_eq!(flows(&together), flows(&alone));
        }
        let counters = |site: &Site| format!("{:?}", site.firewall.counters());
        prop_assert_eq!(counters(&together), counters(&alone));
    }
}

#[test]
fn what_was_looked_ahead_for_takes_the_shortest_way() {
    let mut site = Site::with_flows(policy(), MANY);
    let client = |n: usize| (CLIENT, 4000 + n as u16);
    let all: Vec<_> = (0..AHEAD)
        .map(|n| udp(LOC, client(n), (FAR, 53), b"?"))
        .collect();
    for (n, sent) in all.iter().enumerate() {
        let out = site.send(LOC, sent).forwarded(NET);
        let port = u16::from_be_bytes([out[34], out[35]]);
        let answer = udp(NET, (FAR, 53), (FW_NET, port), b"!");
        site.send(NET, &answer).forwarded(LOC);
        assert_eq!(port, client(n).1);
    }
    let before = site.firewall.shortcuts_taken();
    let mut heads: Vec<_> = all.iter().map(|_| Head::new()).collect();
    for (head, bytes) in heads.iter_mut().zip(&all) {
        head.load(bytes);
    }
    site.firewall.look_ahead(LOC, &mut heads);
    for (head, bytes) in heads.iter_mut().zip(&all) {
        site.send_head(LOC, head, bytes, (Checksum::Unknown, None))
            .forwarded(NET);
    }
    assert_eq!(site.firewall.shortcuts_taken() - before, AHEAD as u64);
}

/// Flows of a table in which it is of use to look ahead.
const MANY: usize = 16_384;

/// Opens a connection and says how many packets took the shortest way since.
fn packets_the_short_way(mut policy: Policy, also: impl FnOnce(&mut Site)) -> u64 {
    policy.source_nat.clear();
    let mut site = Site::new(policy);
    let web = (FAR, 80);
    let client = (CLIENT, 4000);
    for (from, source, to, flags, numbers) in [
        (LOC, client, web, SYN, (1000, 0)),
        (NET, web, client, SYN | ACK, (5000, 1001)),
        (LOC, client, web, ACK, (1001, 5001)),
        (NET, web, client, ACK, (5001, 1001)),
    ] {
        let sent = tcp_with(from, source, to, flags, numbers, &[]);
        assert!(matches!(site.send(from, &sent), Outcome::Forwarded(..)));
    }
    let before = site.firewall.shortcuts_taken();
    also(&mut site);
    site.firewall.shortcuts_taken() - before
}

#[test]
fn what_there_is_nothing_special_about_takes_the_shortest_way() {
    let client = (CLIENT, 4000);
    let count = packets_the_short_way(policy(), |site| {
        for n in 0..20 {
            let sent = tcp_with(LOC, client, (FAR, 80), ACK, (1001 + n * 4, 5001), b"data");
            let checksum = match n % 2 {
                0 => Checksum::Unknown,
                _ => Checksum::Validated,
            };
            site.send_with(LOC, &sent, checksum, None).forwarded(NET);
        }
    });
    assert_eq!(count, 20);
}

#[test]
fn a_segment_that_only_repeats_the_one_before_takes_the_whole_way() {
    let count = packets_the_short_way(policy(), |site| {
        let sent = tcp_with(LOC, (CLIENT, 4000), (FAR, 80), ACK, (1001, 5001), b"data");
        for _ in 0..3 {
            site.send(LOC, &sent).forwarded(NET);
        }
    });
    assert_eq!(count, 1);
}

#[test]
fn a_segment_whose_packet_claims_to_end_before_it_is_refused() {
    packets_the_short_way(policy(), |site| {
        let mut cut = tcp_with(LOC, (CLIENT, 4000), (FAR, 80), ACK, (1001, 5001), b"data");
        for total in [0u16, 10, 20, 39] {
            cut[16..18].copy_from_slice(&total.to_be_bytes());
            fix_header(&mut cut);
            assert!(matches!(
                site.send_with(LOC, &cut, Checksum::Validated, None),
                Outcome::Other(firewalldom::Verdict::Drop(_))
            ));
        }
    });
}

#[test]
fn a_datagram_shorter_than_its_padding_is_counted_as_it_came() {
    let mut site = Site::new(policy());
    let ask = udp(LOC, (CLIENT, 1000), (FAR, 53), b"?");
    site.send(LOC, &ask).forwarded(NET);
    site.send(NET, &udp(NET, (FAR, 53), (FW_NET, 1000), b"!"))
        .forwarded(LOC);
    let mut padded = ask.clone();
    padded.resize(60, 0);
    let before = site.firewall.counters().interfaces[1].ingress.bytes;
    let out = site.send(LOC, &padded).forwarded(NET);
    assert_eq!(out.len(), ask.len());
    let after = site.firewall.counters().interfaces[1].ingress.bytes;
    assert_eq!(after - before, 60);
}

#[test]
fn what_rules_look_at_takes_the_whole_way() {
    let mut watched = policy();
    let mut rule = rule(6, 80, Disposition::Accept, 60);
    rule.states = firewalldom::policy::States::ESTABLISHED;
    watched.chains[0].rules.push(rule);
    let count = packets_the_short_way(watched, |site| {
        site.firewall.set_shortcut(Shortcut::Taken);
        let sent = tcp_with(LOC, (CLIENT, 4000), (FAR, 80), ACK, (1001, 5001), b"data");
        site.send(LOC, &sent).forwarded(NET);
    });
    assert_eq!(count, 0);
}

/// What stays within a zone meets this chain.
const WITHIN: usize = 7;

/// A rule against established packets of a protocol that leave by the inner link, where they came from.
fn about_hairpins(protocol: u8) -> firewalldom::policy::Rule {
    let mut rule = rule(protocol, 0, Disposition::Drop, 61);
    rule.states = firewalldom::policy::States::ESTABLISHED;
    rule.matches.ingress = Some(LOC);
    rule.matches.egress = Some(LOC);
    rule
}

#[test]
fn rules_about_hairpins_hold_for_them_and_cost_the_others_nothing() {
    let mut asking = policy();
    asking.chains[WITHIN].rules.push(about_hairpins(17));
    let count = packets_the_short_way(asking.clone(), |site| {
        let sent = tcp_with(LOC, (CLIENT, 4000), (FAR, 80), ACK, (1001, 5001), b"data");
        site.send(LOC, &sent).forwarded(NET);
    });
    assert_eq!(count, 1);
    asking.interfaces[1].route_back = true;
    let mut site = Site::new(asking);
    let there = udp(LOC, (CLIENT, 1000), (SERVER, 53), b"?");
    site.send(LOC, &there).forwarded(LOC);
    let answer = udp(LOC, (SERVER, 53), (CLIENT, 1000), b"!");
    site.send(LOC, &answer)
        .dropped(firewalldom::Reason::Dropped);
    site.send(LOC, &there).dropped(firewalldom::Reason::Dropped);
}

#[test]
fn a_flow_that_is_over_takes_no_way_at_all() {
    let mut site = Site::new(policy());
    site.firewall.set_timeouts(Timeouts {
        udp: 5,
        ..Timeouts::default()
    });
    let answer = udp(NET, (FAR, 53), (FW_NET, 1000), b"!");
    site.send(LOC, &udp(LOC, (CLIENT, 1000), (FAR, 53), b"?"))
        .forwarded(NET);
    site.send(NET, &answer).forwarded(LOC);
    site.send(NET, &answer).forwarded(LOC);
    site.wait(5);
    site.send(NET, &answer)
        .dropped(firewalldom::Reason::Dropped);
}

#[test]
fn a_source_that_a_route_filter_refuses_takes_no_way_at_all() {
    for (filter, reason) in [
        (RouteFilter::Off, None),
        (RouteFilter::Strict, Some(firewalldom::Reason::ReversePath)),
    ] {
        let mut filtered = policy();
        filtered.source_nat.clear();
        for interface in &mut filtered.interfaces {
            interface.route_filter = filter;
        }
        let mut site = Site::new(filtered);
        let there = udp(LOC, (CLIENT, 1000), (FAR, 53), b"is there anyone?");
        let answer = udp(NET, (FAR, 53), (CLIENT, 1000), b"here is someone");
        site.send(LOC, &there).forwarded(NET);
        site.send(NET, &answer).forwarded(LOC);
        let before = site.firewall.shortcuts_taken();
        // A packet of the flow, from the wrong side.
        let astray = udp(NET, (CLIENT, 1000), (FAR, 53), b"is there anyone?");
        let outcome = site.send(NET, &astray);
        match reason {
            Some(reason) => outcome.dropped(reason),
            // It would leave by where it came.
            None => outcome.dropped(firewalldom::Reason::Hairpin),
        };
        site.send(LOC, &there).forwarded(NET);
        assert_eq!(site.firewall.shortcuts_taken() - before, 1, "{filter:?}");
    }
}

#[test]
fn a_bad_checksum_that_nobody_vouches_for_is_no_shortcut() {
    let count = packets_the_short_way(policy(), |site| {
        let mut sent = tcp_with(LOC, (CLIENT, 4000), (FAR, 80), ACK, (1001, 5001), b"data");
        sent[50] ^= 1;
        site.send_with(LOC, &sent, Checksum::Unknown, None);
    });
    assert_eq!(count, 0);
}

#[test]
fn what_passed_is_counted_whatever_way_it_took() {
    let counted = [Shortcut::Taken, Shortcut::Avoided].map(|shortcut| {
        let mut site = Site::new(policy());
        site.firewall.set_shortcut(shortcut);
        let there = udp(LOC, (CLIENT, 1000), (FAR, 53), b"is there anyone?");
        let back = udp(NET, (FAR, 53), (FW_NET, 1000), b"here is someone");
        let before = site.firewall.counters();
        for _ in 0..3 {
            site.send(LOC, &there).forwarded(NET);
            site.send(NET, &back).forwarded(LOC);
        }
        let taken = site.firewall.shortcuts_taken();
        assert_eq!(taken, if shortcut == Shortcut::Taken { 4 } else { 0 });
        let after = site.firewall.counters();
        assert_eq!(after.forwarded - before.forwarded, 6);
        [NET, LOC].map(|interface| {
            let of = |counters: &Counters| counters.interfaces[usize::from(interface.0)];
            let (before, after) = (of(&before), of(&after));
            assert_eq!(after.ingress.packets - before.ingress.packets, 3);
            assert_eq!(after.egress.packets - before.egress.packets, 3);
            (
                after.ingress.bytes - before.ingress.bytes,
                after.egress.bytes - before.egress.bytes,
            )
        })
    });
    assert_eq!(counted[0], counted[1]);
}
