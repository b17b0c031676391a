//! Address translation.

use super::{AddressRange, InterfaceId, Limits, Log, Match, Origin, PortRange, ZoneId};
use serde::{Deserialize, Serialize};

/// DNAT and REDIRECT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestinationNat {
    /// Zone the packet comes from; one past the last: none.
    pub source_zone: ZoneId,
    /// On the packet as it came: `destination` is the original destination.
    pub matches: Match,
    /// What must hold besides.
    pub limits: Limits,
    /// What to do.
    pub target: DestinationTarget,
    /// Logged when it applies.
    pub log: Option<Log>,
    /// Its line in `shorewall/rules`.
    pub origin: Origin,
}

/// Where DNAT sends a packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DestinationTarget {
    /// To a server. Several addresses: the flows are spread over them.
    Server {
        /// New destination address.
        addresses: AddressRange,
        /// New destination port; `None`: as it was.
        ports: Option<PortRange>,
    },
    /// To the firewall itself (the ingress interface's primary address).
    Redirect {
        /// New destination port; `None`: as it was.
        port: Option<u16>,
    },
    /// No DNAT for this flow (NONAT, ACCEPT+).
    Exempt,
}

/// SNAT and MASQUERADE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceNat {
    /// Interface the packet leaves by.
    pub egress: InterfaceId,
    /// On the packet after DNAT.
    pub matches: Match,
    /// What to do.
    pub target: SourceTarget,
    /// Its line in `shorewall/snat`.
    pub origin: Origin,
}

/// What source NAT does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceTarget {
    /// The egress interface's address, as the next hop sees it.
    Masquerade {
        /// Ports to choose from; `None`: keep the port when it is free, else one of its class.
        ports: Option<PortRange>,
    },
    /// A given address.
    Address {
        /// New source addresses.
        addresses: AddressRange,
        /// Ports to choose from.
        ports: Option<PortRange>,
    },
    /// No source NAT for this flow (CONTINUE).
    Exempt,
}

/// A line of the file `conntrack` that keeps packets from being tracked, or drops them: asked before
/// anything else, of every packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawRule {
    /// Zone the packet comes from; one past the last: none.
    pub source_zone: ZoneId,
    /// On the packet as it came.
    pub matches: Match,
    /// What becomes of it.
    pub action: RawAction,
    /// Its line in `shorewall/conntrack`.
    pub origin: Origin,
}

/// What a line of `conntrack` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RawAction {
    /// NOTRACK: the packet is UNTRACKED.
    Untrack,
    /// DROP.
    Drop,
}
