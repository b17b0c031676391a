//! What frontends are offered, by the choice of the domain.

#![forbid(unsafe_code)]

use super::multicast::MulticastControl;

/// Whether a queue has one event channel or one for each ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventChannels {
    /// One: fewer ports, and a domain that looks at both rings anyway loses nothing.
    Shared,
    /// Two, for frontends that want them (`feature-split-event-channels`).
    Split,
}

/// What frontends are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Queues of one vif, at most 16.
    pub queues_max: u8,
    /// Event channels of one queue.
    pub event_channels: EventChannels,
    /// Pages of one vif for what goes to backends ([`Back::fetch`](super::Back::fetch)), at most; taken when
    /// needed, and 64 of them kept.
    pub fetch_pages_max: u16,
    /// Whether a frontend may say which multicast groups it wants; a node of each vif's.
    pub multicast: MulticastControl,
    /// Whether what a frontend sends over IPv6 may be left for others to finish; two nodes of each vif's.
    pub ipv6_offloads: Ipv6Offloads,
}

/// Whether frontends may send frames over IPv6 with a blank checksum, and such as are to be segmented
/// (`feature-ipv6-csum-offload`, `feature-gso-tcpv6`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ipv6Offloads {
    /// They may.
    Offered,
    /// They may not: whoever forwards no IPv6 has the nodes for something else.
    Withheld,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queues_max: 1,
            event_channels: EventChannels::Shared,
            fetch_pages_max: 64,
            multicast: MulticastControl::Withheld,
            ipv6_offloads: Ipv6Offloads::Offered,
        }
    }
}

/// Queues that a buffer's index can tell apart.
pub(super) const QUEUES_MAX: u8 = 16;
