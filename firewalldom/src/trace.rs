//! What a packet met on its way, step by step: for whoever asks why it went where it did.

use crate::policy::{InterfaceId, Origin};
use crate::rule::Condition;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A rule was compared with the packet.
    Rule {
        /// What the rule is for.
        table: Table,
        /// Its line.
        origin: Origin,
        /// What came of it.
        outcome: Outcome,
    },
    /// From here on it is about what the firewall itself sends in answer.
    Answer,
    /// Where the destination lies, after DNAT.
    Route {
        /// The address that was looked up.
        destination: Ipv4Addr,
        /// The interface it lies behind; `None`: it is the firewall itself.
        egress: Option<InterfaceId>,
        /// The router that is asked; `None`: the address itself.
        gateway: Option<Ipv4Addr>,
    },
    /// The chain that judges, and why: the zones the packet comes from and goes to.
    Chain {
        /// Shorewall's name of the chain.
        name: String,
        /// Names of the zones; `None`: no zone claims the address.
        zones: [Option<String>; 2],
    },
}

/// What a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// DNAT and REDIRECT.
    DestinationNat,
    /// Whether a packet may pass.
    Filter,
    /// SNAT and MASQUERADE.
    SourceNat,
}

/// What came of comparing a rule with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The first condition that the packet does not fulfil.
    Unlike(Condition),
    /// Like it in all, but more of it than the rule's limits allow.
    BeyondLimit,
    /// The rule is for this packet.
    Struck,
}

/// Steps of the packet that came last, if somebody wants them.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) is_wanted: bool,
    steps: Vec<Step>,
}

impl Trace {
    pub(crate) fn note(&mut self, step: Step) {
        if self.is_wanted {
            self.steps.push(step);
        }
    }

    /// The rules that were compared in turn, up to the one that struck; they are told by their numbers
    /// among `origins`.
    pub(crate) fn compared(
        &mut self,
        table: Table,
        origins: &[Origin],
        rules: impl Iterator<Item = (u32, Option<Condition>)>,
        struck: Option<u32>,
    ) {
        if !self.is_wanted {
            return;
        }
        for (number, unlike) in rules {
            let origin = origins[number as usize];
            let outcome = match unlike {
                Some(condition) => Outcome::Unlike(condition),
                None if struck == Some(number) => Outcome::Struck,
                None => Outcome::BeyondLimit,
            };
            self.note(Step::Rule {
                table,
                origin,
                outcome,
            });
            if outcome == Outcome::Struck {
                return;
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.steps.clear();
    }

    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }
}
