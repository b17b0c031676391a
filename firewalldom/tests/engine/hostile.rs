//! Whatever comes in: no panic, nothing grows.

use crate::support::*;
use firewalldom::policy::{Disposition, InterfaceId, Policy};
use firewalldom::{Checksum, Gso, GsoKind, Reason};
use proptest::prelude::*;

fn dispositions() -> impl Strategy<Value = Disposition> {
    prop_oneof![
        Just(Disposition::Accept),
        Just(Disposition::Drop),
        Just(Disposition::Reject)
    ]
}

/// The test site with rules and options nobody thought of together.
fn policies() -> impl Strategy<Value = Policy> {
    let rule = (0u8..20, 0u16..100, dispositions()).prop_map(|(protocol, port, disposition)| {
        // Only protocols with ports may be asked for one.
        let port = if protocol == 6 || protocol == 17 {
            port
        } else {
            0
        };
        rule(protocol, port, disposition, 60)
    });
    let chains =
        proptest::collection::vec((proptest::collection::vec(rule, 0..4), dispositions()), 8);
    (chains, any::<[bool; 6]>()).prop_map(|(chains, options)| {
        let mut policy = policy();
        for (chain, (rules, disposition)) in policy.chains.iter_mut().zip(chains) {
            chain.rules = rules;
            chain.policy = disposition;
        }
        let [flags, smurfs, back, dhcp, nat, forwarding] = options;
        for interface in &mut policy.interfaces {
            interface.tcp_flags = flags;
            interface.no_smurfs = smurfs;
            interface.route_back = back;
            interface.dhcp = dhcp;
        }
        if nat {
            policy.source_nat.clear();
        }
        policy.settings.forwarding = forwarding;
        policy
    })
}

fn frames() -> impl Strategy<Value = (InterfaceId, Vec<u8>)> {
    let interface = prop_oneof![Just(NET), Just(LOC)];
    let addresses = prop_oneof![
        Just(CLIENT),
        Just(SERVER),
        Just(FAR),
        Just(FW_NET),
        Just(FW_LOC),
        Just(ROUTER),
        any::<u32>().prop_map(std::net::Ipv4Addr::from_bits),
    ];
    let payload = proptest::collection::vec(any::<u8>(), 0..1700);
    let kind = 0u8..5;
    (
        interface,
        addresses.clone(),
        addresses,
        any::<(u8, u16, u16)>(),
        payload,
        kind,
    )
        .prop_map(
            |(interface, source, destination, (flags, from, to), payload, kind)| {
                let (from, to) = (from % 8, to % 100);
                let frame = match kind {
                    0 => udp(interface, (source, from), (destination, to), &payload),
                    1 => echo(interface, source, destination, flags % 20, from),
                    2 => {
                        let about = udp(interface, (destination, to), (source, from), &payload);
                        icmp_error(
                            interface,
                            source,
                            (flags % 16, 0),
                            &about,
                            payload.len() % 64,
                        )
                    }
                    3 => ip(interface, source, destination, flags, &payload),
                    _ => tcp_with(
                        interface,
                        (source, from),
                        (destination, to),
                        flags,
                        (1, 1),
                        &payload,
                    ),
                };
                (interface, frame)
            },
        )
}

fn offloads() -> impl Strategy<Value = (Checksum, Option<Gso>)> {
    let checksum = prop_oneof![
        Just(Checksum::Unknown),
        Just(Checksum::Validated),
        Just(Checksum::Blank)
    ];
    let kind = prop_oneof![Just(GsoKind::TcpV4), Just(GsoKind::TcpV6)];
    let gso = proptest::option::weighted(
        0.2,
        (kind, any::<u16>()).prop_map(|(kind, size)| Gso { kind, size }),
    );
    (checksum, gso)
}

const FLOWS: usize = 16;

/// What must hold after any frame.
fn assert_bounded(site: &mut Site) {
    let flows = site.firewall.flows();
    assert!(flows.now <= FLOWS && flows.peak <= FLOWS);
    assert!(site.outputs().len() <= 256);
    assert!(std::iter::from_fn(|| site.firewall.take_log()).count() <= 256);
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_survived(
        policy in policies(),
        frames in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 1..20),
        (checksum, gso) in offloads(),
    ) {
        let mut site = Site::with_flows(policy, FLOWS);
        for mut bytes in frames {
            site.send_with(LOC, &bytes, checksum, gso);
            if bytes.len() > 14 {
                bytes[..6].copy_from_slice(&FW_MAC[1]);
                bytes[13] = if bytes[12] & 3 == 0 { 6 } else { 0 };
                bytes[12] = 8;
                site.send_with(LOC, &bytes, checksum, gso);
            }
            if bytes.len() > 34 {
                bytes[14] = 0x45 + (bytes[14] & 1);
                fix_header_if_whole(&mut bytes);
                site.send_with(LOC, &bytes, checksum, gso);
            }
        }
        assert_bounded(&mut site);
    }

    #[test]
    fn plausible_frames_with_bytes_changed_are_survived(
        policy in policies(),
        frames in proptest::collection::vec((frames(), any::<[(prop::sample::Index, u8); 2]>(), 0u8..4, offloads(), 0u64..40), 1..40),
    ) {
        let mut site = Site::with_flows(policy, FLOWS);
        for ((interface, mut bytes), changes, how, (checksum, gso), seconds) in frames {
            if how > 0 {
                for (at, value) in changes {
                    let at = at.index(bytes.len());
                    bytes[at] = value;
                }
            }
            if how > 1 {
                fix_header_if_whole(&mut bytes);
            }
            if how > 2 {
                bytes.truncate(changes[0].0.index(bytes.len()) + 1);
            }
            if let Outcome::Forwarded(_, out) = site.send_with(interface, &bytes, checksum, gso) {
                prop_assert!(out.len() <= bytes.len());
                prop_assert_eq!(crate::support::checksum(&[&out[14..14 + usize::from(out[14] & 15) * 4]]), 0);
            }
            site.wait(seconds);
            site.firewall.poll(site.now);
        }
        assert_bounded(&mut site);
    }
}

/// What must hold of a frame that goes out: it is as long as it says, and its header's sum is right.
fn assert_sound(bytes: &[u8]) {
    if bytes[12..14] == [8, 0] {
        assert_eq!(bytes.len(), 14 + usize::from(word(bytes, 16)));
        let end = 14 + usize::from(bytes[14] & 15) * 4;
        assert_eq!(checksum(&[&bytes[14..end]]), 0);
    } else {
        assert_eq!((&bytes[12..14], bytes.len()), (&[8, 6][..], 42));
    }
}

/// Bytes of a frame that are copied if it is longer than a head, as [`firewalldom::relay`] does.
fn copied(bytes: &[u8]) -> usize {
    let has_long_headers = bytes.len() > 23 && (bytes[14] & 15 > 5 || bytes[23] == 1);
    if bytes.len() <= 256 || has_long_headers {
        256
    } else {
        128
    }
}

proptest! {
    #[test]
    fn it_makes_no_difference_where_a_frame_is_cut_and_nothing_behind_the_packet_leaves(
        policy in policies(),
        frames in proptest::collection::vec(
            (frames(), any::<[(prop::sample::Index, u8); 2]>(), (5u8..16, 0u8..16), 0usize..300, offloads()), 1..30),
    ) {
        let mut whole = Site::with_flows(policy.clone(), FLOWS);
        let mut split = Site::with_flows(policy, FLOWS);
        for ((interface, mut bytes), changes, (words, tcp_words), padding, offload) in frames {
            // Options that say nothing, a TCP header of any length, and bytes that are no one's.
            let options = usize::from(words - 5) * 4;
            bytes.splice(34..34, vec![1; options]);
            bytes[14] = 0x40 | words;
            let total = (bytes.len() - 14) as u16;
            bytes[16..18].copy_from_slice(&total.to_be_bytes());
            if bytes[23] == 6 && bytes.len() > 46 + options {
                bytes[46 + options] = tcp_words << 4;
            }
            for (at, value) in changes {
                if bytes.len() > 34 + options {
                    let at = 34 + options + at.index(bytes.len() - 34 - options);
                    bytes[at] = value;
                }
            }
            fix_header(&mut bytes);
            fix_transport(&mut bytes);
            bytes.extend(std::iter::repeat_n(0xee, padding));
            let cut = copied(&bytes);
            let one = whole.send_with(interface, &bytes, offload.0, offload.1);
            let other = split.send_split(interface, &bytes, cut, offload);
            prop_assert_eq!(&one, &other);
            if let Outcome::Forwarded(_, out) = &one {
                assert_sound(out);
                prop_assert_eq!(out[22], bytes[22] - 1);
            }
            let (outputs, others) = (whole.outputs(), split.outputs());
            for (_, frame) in &outputs {
                assert_sound(&frame.bytes);
            }
            prop_assert_eq!(outputs, others);
        }
    }
}

fn fix_header_if_whole(frame: &mut [u8]) {
    if frame.len() >= 14 + usize::from(frame[14] & 15) * 4 && frame[14] & 15 >= 5 {
        fix_header(frame);
    }
}

#[test]
fn frames_and_lines_that_nobody_takes_are_bounded_in_number_and_in_bytes() {
    let mut site = Site::new(policy());
    for _ in 0..300 {
        site.send(LOC, &arp(CLIENT_MAC, 1, CLIENT, FW_LOC));
        site.send(NET, &udp(NET, (FAR, 53), (FW_NET, 161), b""));
    }
    let lost = site.firewall.counters().drops.of(Reason::OutputFull);
    assert_eq!((site.outputs().len(), lost), (256, 44));
    let lines = std::iter::from_fn(|| site.firewall.take_log()).count();
    assert_eq!((lines, site.firewall.suppressed_log_lines()), (256, 44));

    let mut large = udp(LOC, (CLIENT, 1), (FAR, 2), &[7; 2900]);
    large[20] = 0;
    fix_header(&mut large);
    for _ in 0..100 {
        site.send(LOC, &large);
    }
    let pieces = site.outputs();
    let bytes: usize = pieces.iter().map(|(_, piece)| piece.bytes.len()).sum();
    assert!(
        (250_000..=256 * 1024).contains(&bytes) && pieces.len() < 200,
        "{bytes} in {}",
        pieces.len()
    );
    // What was taken makes room again.
    site.send(LOC, &large);
    assert_eq!(site.outputs().len(), 2);
}

#[test]
fn a_datagram_longer_than_it_says_is_invalid() {
    let mut datagram = udp(LOC, (CLIENT, 4000), (FAR, 53), b"question and more");
    datagram[38..40].copy_from_slice(&16u16.to_be_bytes());
    // Its checksum is right for the 16 bytes that it says.
    datagram[40..42].fill(0);
    let pseudo = [&datagram[26..34], &[0, 17, 0, 16]].concat();
    let sum = checksum(&[&pseudo, &datagram[34..50]]);
    datagram[40..42].copy_from_slice(&sum.to_be_bytes());
    let mut site = Site::new(policy());
    let out = site.send(LOC, &datagram).forwarded(NET);
    assert_eq!(source_of(&out), CLIENT, "not translated");
    assert_eq!(site.firewall.flows().now, 0);
}
