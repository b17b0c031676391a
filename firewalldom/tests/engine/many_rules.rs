//! Very many rules: those of several frames are looked for together, and each is judged as by itself.

use crate::support::*;
use firewalldom::policy::{
    AddressRange, Addresses, DestinationNat, DestinationTarget, Disposition, Limits, Match, Policy,
};
use firewalldom::{AHEAD, Checksum, Head};
use std::net::Ipv4Addr;

const RULES: u32 = 30_000;
const FIRST: u32 = 0x6400_0000;
/// The chain from loc to net in [`policy`].
const LOC_NET: usize = 6;

fn addresses(first: u32, last: u32) -> Addresses {
    Addresses {
        ranges: vec![AddressRange {
            first: Ipv4Addr::from_bits(first),
            last: Ipv4Addr::from_bits(last),
        }],
        ..Addresses::default()
    }
}

/// Networks with gaps between them, in the order of a shuffle, and ports of all of them; every third rule
/// drops. What is sent to [`FAR`] goes to one of the networks.
fn many_rules() -> Policy {
    let mut policy = policy();
    let rules = (0..RULES).map(|number| {
        let place = FIRST + number.wrapping_mul(7_919) % RULES * 256;
        let disposition = if number % 3 == 0 {
            Disposition::Drop
        } else {
            Disposition::Accept
        };
        let mut rule = rule(17, 0, disposition, 100 + number);
        if number % 10 == 0 {
            rule.matches.destination_port = port(number as u16);
        } else {
            rule.matches.destination = addresses(place, place + 199);
        }
        rule
    });
    policy.chains[LOC_NET].rules = rules.collect();
    policy.destination_nat = vec![DestinationNat {
        source_zone: LOC_ZONE,
        matches: Match {
            destination: only(FAR),
            ..Match::default()
        },
        limits: Limits::default(),
        target: DestinationTarget::Server {
            addresses: AddressRange {
                first: Ipv4Addr::from_bits(FIRST + 256),
                last: Ipv4Addr::from_bits(FIRST + 256),
            },
            ports: None,
        },
        log: None,
        origin: line(50),
    }];
    policy
}

#[test]
fn frames_whose_rules_were_looked_for_are_judged_as_each_by_itself() {
    let mut together = Site::with_flows(many_rules(), 1000);
    let mut alone = Site::with_flows(many_rules(), 1000);
    let mut state = 1u64;
    let mut random = |below: u32| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((state >> 33) % u64::from(below)) as u32
    };
    let (mut forwarded, mut dropped) = (0, 0);
    for _ in 0..60 {
        let mut frames: Vec<Vec<u8>> = (0..AHEAD)
            .map(|_| {
                let to = match random(8) {
                    0 => FAR,
                    1 => FW_LOC,
                    _ => Ipv4Addr::from_bits(FIRST + random(RULES * 256)),
                };
                let ports = (1024 + random(60_000) as u16, random(40_000) as u16);
                udp(LOC, (CLIENT, ports.0), (to, ports.1), b"?")
            })
            .collect();
        // A flow that is there when it is this one's turn.
        frames[AHEAD - 1] = frames[0].clone();
        let mut heads: Vec<_> = frames
            .iter()
            .map(|bytes| {
                let mut head = Head::new();
                head.load(bytes);
                head
            })
            .collect();
        together.firewall.look_ahead(LOC, &mut heads);
        for (bytes, head) in frames.iter().zip(&mut heads) {
            let judged = together.send_head(LOC, head, bytes, (Checksum::Unknown, None));
            assert_eq!(judged, alone.send(LOC, bytes));
            match judged {
                Outcome::Forwarded(..) => forwarded += 1,
                Outcome::Other(_) => dropped += 1,
            }
        }
        assert_eq!(together.outputs(), alone.outputs());
    }
    assert!(forwarded > 100 && dropped > 100, "{forwarded}, {dropped}");
    assert!(together.firewall.hits().eq(alone.firewall.hits()));
}
