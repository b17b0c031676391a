//! Chains of rules, compiled when the policy is loaded: tables that find the first rule that a packet
//! matches, whatever their number, and the walk from rule to rule that Shorewall's order asks for.
//!
//! `entry`, `tree`, `wide` and `interval` are how rules are found, `matcher` what boxes cannot say,
//! `list` a list of rules ready to be asked, `chain` the order in which they are, `ahead` several packets'
//! look-ups at once.

mod ahead;
mod chain;
mod entry;
mod interval;
mod list;
mod matcher;
mod origin;
mod tree;
mod wide;

pub(crate) use ahead::Ahead;
pub(crate) use chain::{By, Chain, Hooks, LogRequest, Ruling};
pub(crate) use list::List;
pub use matcher::Condition;
pub(crate) use matcher::{Matcher, NamedSets, named_sets};
pub(crate) use origin::Origins;

use crate::packet::{DCCP, Packet, SCTP, TCP, Tuple, UDP, UDP_LITE};
use crate::policy::{DestinationKind, InterfaceId};

#[cfg(test)]
mod tests;

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) packet: &'a Packet,
    /// Source as it came, destination after DNAT.
    pub(crate) tuple: Tuple,
    /// Destination address and port before DNAT, of the flow's first packet. `None`: conntrack knows no
    /// flow of the packet; whatever a rule asks of these, even with `!`, does not hold.
    pub(crate) original: Option<(u32, u16)>,
    pub(crate) ingress: Option<InterfaceId>,
    pub(crate) egress: Option<InterfaceId>,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) kind: DestinationKind,
}

/// Whether a protocol's header starts with source and destination port.
pub(crate) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | UDP_LITE | SCTP | DCCP)
}
