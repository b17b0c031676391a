//! What decided about a frame, for whoever asks.

use crate::firewall::Firewall;
use crate::policy::{Disposition, Origin};
use crate::reason::Reason;
use crate::rule::By;
use alloc::format;
use alloc::string::String;

/// What decided about the last frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What.
    pub by: Decider,
    /// ACCEPT, DROP or REJECT.
    pub disposition: Disposition,
}

/// What can decide about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decider {
    /// A line of `rules`.
    Rule(Origin),
    /// A line of `policy`, or an implicit one.
    Policy(Origin),
    /// The flow it belongs to, which this line let in.
    Flow(Origin),
    /// A check that no line of the user's stands for.
    Check(Reason),
}

impl Firewall {
    /// What decided about the last frame given to [`Firewall::ingress`]; `None` if nothing had to
    /// (ARP, frames for other stations).
    pub fn last_decision(&self) -> Option<Decision> {
        let passed = self.passed.origin();
        let passed = passed.map(|origin| (By::State, origin, Disposition::Accept));
        if let Some((by, origin, disposition)) = passed.or(self.decision) {
            let origin = self.site.origin(origin);
            let by = match by {
                By::Rule => Decider::Rule(origin),
                By::Policy => Decider::Policy(origin),
                By::State => Decider::Flow(origin),
            };
            return Some(Decision { by, disposition });
        }
        let reason = self.checked?;
        Some(Decision {
            by: Decider::Check(reason),
            disposition: Disposition::Drop,
        })
    }

    /// A decision for people: `shorewall/rules:14`.
    pub fn explain(&self, decision: Decision) -> String {
        match decision.by {
            Decider::Rule(origin) => self.place(origin),
            Decider::Policy(origin) => format!("{} (policy)", self.place(origin)),
            Decider::Flow(origin) => format!("{} (established)", self.place(origin)),
            Decider::Check(reason) => String::from(reason.name()),
        }
    }

    /// A place in the user's files: `shorewall/rules:14`, or `default`.
    pub fn place(&self, origin: Origin) -> String {
        let file = self.site.policy.files.get(usize::from(origin.file));
        match file {
            Some(file) if origin.line > 0 => format!("{file}:{}", origin.line),
            _ => String::from("default"),
        }
    }
}
