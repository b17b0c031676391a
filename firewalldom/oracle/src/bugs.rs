//! Faults to be seeded: mistakes that a compiler or an engine could make, each in one place. The
//! oracle must find every one of them, and the shrinker must say it shortly.

use crate::packet::{ETHERNET, View, checksum, fix_header};
use crate::step::Output;
use firewalldom::Timeouts;
use firewalldom::policy::{
    Action, Addresses, DestinationTarget, Disposition, Match, Policy, Ports, Protocol, Rule,
};

/// A mistake.
#[derive(Clone, Copy, Debug)]
pub struct Bug {
    /// What is done wrong.
    pub name: &'static str,
    pub(crate) change: Change,
}

/// Where it is made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// In the policy that the engine is given.
    Policy(fn(&mut Policy)),
    /// In its time-outs.
    Timeouts(fn(&mut Timeouts)),
    /// In each frame that comes out.
    Output(fn(&mut Output)),
    /// In which frames come out.
    Lost(fn(&Output) -> bool),
}

/// Twenty of them.
pub const BUGS: [Bug; 20] = [
    Bug {
        name: "the last rule of each pair is forgotten",
        change: Change::Policy(|policy| {
            each_list(policy, |rules| {
                rules.pop();
            });
        }),
    },
    Bug {
        name: "the last rule of each pair comes first",
        change: Change::Policy(|policy| {
            each_list(policy, |rules| {
                if !rules.is_empty() {
                    rules.rotate_right(1);
                }
            });
        }),
    },
    Bug {
        name: "a port range ends one too early",
        change: Change::Policy(|policy| {
            each_match(policy, |matches| {
                for range in &mut matches.destination_port.ranges {
                    range.last = range.last.saturating_sub(1).max(range.first);
                }
            });
        }),
    },
    Bug {
        name: "`!` before a port is overlooked",
        change: Change::Policy(|policy| {
            each_match(policy, |matches| matches.destination_port.negated = false);
        }),
    },
    Bug {
        name: "source ports are not looked at",
        change: Change::Policy(|policy| {
            each_match(policy, |matches| matches.source_port = Ports::default());
        }),
    },
    Bug {
        name: "source addresses are not looked at",
        change: Change::Policy(|policy| {
            each_match(policy, |matches| matches.source = Addresses::default());
        }),
    },
    Bug {
        name: "an exclusion from a list of addresses is overlooked",
        change: Change::Policy(|policy| {
            each_match(policy, |matches| matches.source.except.clear());
        }),
    },
    Bug {
        name: "the protocol is not looked at where there are no ports",
        change: Change::Policy(|policy| {
            each_match(policy, |matches| {
                if matches.destination_port.ranges.is_empty()
                    && matches.source_port.ranges.is_empty()
                {
                    matches.protocol = Protocol::Any;
                }
            });
        }),
    },
    Bug {
        name: "ICMP types are not looked at",
        change: Change::Policy(|policy| {
            each_match(policy, |matches| {
                if let Protocol::Icmp(types) = &mut matches.protocol {
                    types.clear();
                }
            });
        }),
    },
    Bug {
        name: "REJECT is silent",
        change: Change::Policy(|policy| {
            each_list(policy, |rules| {
                for rule in rules {
                    if matches!(rule.action, Action::Decide(Disposition::Reject)) {
                        rule.action = Action::Decide(Disposition::Drop);
                    }
                }
            });
        }),
    },
    Bug {
        name: "a policy of REJECT is silent",
        change: Change::Policy(|policy| {
            for chain in &mut policy.chains {
                if chain.policy == Disposition::Reject {
                    chain.policy = Disposition::Drop;
                }
            }
        }),
    },
    Bug {
        name: "tcpflags is forgotten",
        change: Change::Policy(|policy| {
            for interface in &mut policy.interfaces {
                interface.tcp_flags = false;
            }
        }),
    },
    Bug {
        name: "routeback is forgotten",
        change: Change::Policy(|policy| {
            for interface in &mut policy.interfaces {
                interface.route_back = false;
            }
        }),
    },
    Bug {
        name: "DNAT keeps the port",
        change: Change::Policy(|policy| {
            for rule in &mut policy.destination_nat {
                if let DestinationTarget::Server { ports, .. } = &mut rule.target {
                    *ports = None;
                }
            }
        }),
    },
    Bug {
        name: "source NAT is forgotten",
        change: Change::Policy(|policy| policy.source_nat.clear()),
    },
    Bug {
        name: "ICMP errors are not related to anything",
        change: Change::Policy(|policy| {
            if let Some(related) = &mut policy.settings.related {
                related.disposition = Disposition::Drop;
            }
        }),
    },
    Bug {
        name: "UDP flows without an answer live for a minute",
        change: Change::Timeouts(|timeouts| timeouts.udp = 60),
    },
    Bug {
        name: "the time to live is not counted down",
        change: Change::Output(|output| {
            let is_forwarded = |view: &View<'_>| view.bytes[8] == 63;
            if View::of_frame(&output.bytes)
                .as_ref()
                .is_some_and(is_forwarded)
            {
                output.bytes[ETHERNET + 8] = 64;
                fix_header(&mut output.bytes);
            }
        }),
    },
    Bug {
        name: "a datagram of odd length has a wrong checksum",
        change: Change::Output(|output| {
            let bytes = &mut output.bytes;
            if bytes.get(12..14) == Some(&[8, 0]) && bytes[23] == 17 && bytes.len() % 2 == 1 {
                bytes[ETHERNET + 26] ^= 1;
            }
        }),
    },
    Bug {
        name: "a SYN/ACK does not get through",
        change: Change::Lost(|output| {
            View::of_frame(&output.bytes).is_some_and(|view| {
                let valid = checksum(&[&view.bytes[..20]]) == 0;
                valid && view.protocol() == 6 && view.payload().get(13) == Some(&0x12)
            })
        }),
    },
];

/// Every list of rules that packets meet.
fn each_list(policy: &mut Policy, mut change: impl FnMut(&mut Vec<Rule>)) {
    for chain in &mut policy.chains {
        change(&mut chain.rules);
    }
}

/// Every match of a rule.
fn each_match(policy: &mut Policy, mut change: impl FnMut(&mut Match)) {
    each_list(policy, |rules| {
        for rule in rules {
            change(&mut rule.matches);
        }
    });
}
