//! Sets of rules as ClassBench makes them (Taylor and Turner, INFOCOM 2005): prefixes that lie in each
//! other and close together, the five classes of port ranges, few protocols, interleaved verdicts.
//! The shares are about those of its seeds for access lists, firewalls and IP chains.

use firewalldom::policy::{
    Action, AddressRange, Addresses, Disposition, Limits, Match, Origin, PortRange, Ports,
    Protocol, Rule, States,
};
use std::net::Ipv4Addr;

/// Whose rules they are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seed {
    /// Access lists: specific destinations, no source ports.
    Acl,
    /// Firewalls: many wildcards, ranges of ports on both sides.
    Fw,
    /// IP chains: between the two.
    Ipc,
}

/// Numbers that only look random (Vigna's SplitMix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        (((self.next() >> 32) * u64::from(bound)) >> 32) as u32
    }

    /// An index, each as often as its weight says.
    fn weighted(&mut self, weights: &[u32]) -> usize {
        let mut left = self.below(weights.iter().sum());
        weights
            .iter()
            .position(|&weight| {
                let is_it = left < weight;
                left = left.wrapping_sub(weight);
                is_it
            })
            .unwrap_or_default()
    }
}

/// An address that can be on a wire, skewed as real ones are: at each bit one side has more.
pub(crate) fn address(random: &mut Random, skew: u32) -> u32 {
    let mut address = 0u32;
    for bit in 0..32 {
        // Which side has more is the same for all that share the bits before.
        let seed = u64::from(address) << 6 | bit;
        let heavy = Random(seed).next() & 1 == 0;
        let side = (random.below(100) < skew) == heavy;
        address = address << 1 | u32::from(side);
    }
    match address >> 24 {
        0 => address | 0x0100_0000,
        127 => address ^ 0x0100_0000,
        224.. => address & 0x7fff_ffff | 0x4000_0000,
        _ => address,
    }
}

fn prefix(random: &mut Random, weights: [u32; 5], skew: u32) -> (u32, u32) {
    let length = match random.weighted(&weights) {
        0 => return (0, 0),
        1 => 8 + random.below(8),
        2 => 16 + random.below(8),
        3 => 24 + random.below(8),
        _ => 32,
    };
    let mask = u32::MAX << (32 - length);
    (address(random, skew) & mask, length)
}

fn range((address, length): (u32, u32)) -> Addresses {
    if length == 0 {
        return Addresses::default();
    }
    let host_bits = u32::MAX.checked_shr(length).unwrap_or(0);
    Addresses {
        ranges: vec![AddressRange {
            first: Ipv4Addr::from(address),
            last: Ipv4Addr::from(address | host_bits),
        }],
        ..Addresses::default()
    }
}

/// Wildcard, below 1024, from 1024 on, any range, one port.
fn ports(random: &mut Random, weights: [u32; 5]) -> Ports {
    let well_known = [80, 443, 53, 25, 22, 110, 143, 123, 3306, 8080, 1433, 5060];
    let (first, last) = match random.weighted(&weights) {
        0 => return Ports::default(),
        1 => (0, 1023),
        2 => (1024, u16::MAX),
        3 => {
            let first = random.below(50_000) as u16;
            (first, first + random.below(2000) as u16)
        }
        _ => {
            let port = match random.below(10) {
                0..6 => well_known[random.below(12) as usize],
                _ => random.below(65_536) as u16,
            };
            (port, port)
        }
    };
    Ports {
        ranges: vec![PortRange { first, last }],
        negated: false,
    }
}

/// `count` rules, specific ones mostly before wide ones, as whoever writes them would have it.
/// Rule number n is line n + 1 of file 0.
pub(crate) fn rules(seed: Seed, count: u32, random: &mut Random) -> Vec<Rule> {
    let (source, destination, source_port, destination_port) = match seed {
        Seed::Acl => (
            [25, 10, 20, 25, 20],
            [2, 3, 15, 30, 50],
            [97, 0, 2, 0, 1],
            [25, 1, 8, 16, 50],
        ),
        Seed::Fw => (
            [35, 5, 15, 20, 25],
            [25, 5, 20, 25, 25],
            [55, 2, 20, 3, 20],
            [35, 3, 17, 10, 35],
        ),
        Seed::Ipc => (
            [15, 10, 20, 25, 30],
            [12, 8, 20, 25, 35],
            [75, 1, 9, 2, 13],
            [40, 2, 10, 8, 40],
        ),
    };
    let mut rules: Vec<(u32, Rule)> = (0..count)
        .map(|_| {
            let from = prefix(random, source, 75);
            let to = prefix(random, destination, 70);
            let (protocol, has_ports) = match random.weighted(&[60, 25, 5, 10]) {
                0 => (Protocol::OneOf(vec![6]), true),
                1 => (Protocol::OneOf(vec![17]), true),
                2 => (Protocol::Icmp(Vec::new()), false),
                _ => (Protocol::Any, false),
            };
            let mut matches = Match {
                source: range(from),
                destination: range(to),
                protocol,
                ..Match::default()
            };
            if has_ports {
                matches.source_port = ports(random, source_port);
                matches.destination_port = ports(random, destination_port);
            }
            let disposition = match random.below(3) {
                0 => Disposition::Accept,
                1 => Disposition::Drop,
                _ => Disposition::Reject,
            };
            let wildcards = 64 - from.1 - to.1 + random.below(16);
            let rule = Rule {
                states: States::NEW,
                matches,
                limits: Limits::default(),
                action: Action::Decide(disposition),
                log: None,
                origin: Origin::default(),
            };
            (wildcards, rule)
        })
        .collect();
    // A rule for everything would hide those below it.
    rules.retain(|(_, rule)| {
        rule.matches.source != Addresses::default()
            || rule.matches.destination != Addresses::default()
    });
    rules.sort_by_key(|(wildcards, _)| *wildcards);
    let mut rules: Vec<Rule> = rules.into_iter().map(|(_, rule)| rule).collect();
    for (number, rule) in rules.iter_mut().enumerate() {
        rule.origin.line = number as u32 + 1;
    }
    rules
}
