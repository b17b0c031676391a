//! What loading a policy takes of memory, counted by the allocator itself: bytes at most and in the
//! end, for few lines of a blacklist and for as many as a public one has.

use firewalldom::policy::{
    Action, AddressRange, Addresses, Chain, Disposition, Interface, InterfacePrefix, Limits, Log,
    Match, Origin, Policy, Rule, RuleList, States, Zone, blob,
};
use firewalldom::{Link, Site};
use minios_rs::counting::{Counting, Taken, taken};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A few, and as many networks as a public blacklist has.
const LISTED: [u32; 2] = [17, 17_567];

fn listed(number: u32) -> Rule {
    // All over the addresses, in no order; neighbours here and there.
    let first = number.wrapping_mul(0x9e37_79b9) & !0xff;
    Rule {
        states: States::NEW,
        matches: Match {
            source: Addresses {
                ranges: vec![AddressRange {
                    first: first.into(),
                    last: (first | 0xff).into(),
                }],
                ..Addresses::default()
            },
            ..Match::default()
        },
        limits: Limits::default(),
        action: Action::Decide(Disposition::Drop),
        log: Some(Log {
            level: 6,
            disposition: "DROP".into(),
            tag: None,
        }),
        origin: Origin {
            file: 0,
            line: number + 1,
        },
    }
}

fn policy(lines: u32) -> Policy {
    let origin = Origin { file: 0, line: 1 };
    Policy {
        site: "bench".into(),
        files: vec!["shorewall/blrules".into()],
        interfaces: vec![Interface {
            name: "eth0".into(),
            addresses: vec![InterfacePrefix {
                address: [192, 0, 2, 2].into(),
                length: 24,
                broadcast: None,
            }],
            ..Interface::default()
        }],
        zones: vec![Zone {
            name: "fw".into(),
            parents: vec![],
            origin,
        }],
        chains: vec![Chain {
            name: "all-all".into(),
            blacklist: Some(0),
            origin,
            ..Chain::default()
        }],
        pairs: vec![0; 4],
        rule_lists: vec![RuleList {
            log_chain: None,
            rules: (0..lines).map(listed).collect(),
        }],
        ..Policy::default()
    }
}

/// What loading a policy takes.
fn loading(lines: u32) -> Taken {
    let bytes = blob::encode(&policy(lines)).unwrap();
    let links = [Link {
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
    }];
    taken(|| Site::new(blob::open(&bytes).unwrap(), &links).unwrap()).1
}

fn main() {
    for lines in LISTED {
        let Taken { most, kept } = loading(lines);
        println!("{lines} {most} {kept}");
    }
}
