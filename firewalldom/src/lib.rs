#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod arp;
mod checksum;
pub mod command;
mod counters;
mod crc32c;
mod decision;
mod egress;
mod established;
mod firewall;
mod flow;
mod fragment;
mod frame;
mod gate;
mod guest;
mod headers;
mod host;
mod judge;
mod limit;
mod log;
mod meter;
mod mss;
mod nat;
mod neighbour;
mod offload;
mod packet;
mod path;
pub mod policy;
mod random;
mod ranges;
mod raw;
mod reason;
mod reject;
pub mod relay;
mod reverse_path;
mod route;
mod rule;
mod sctp;
mod site;
mod sort;
pub mod stat;
mod tcp;
pub mod time;
mod timeout;
#[cfg(feature = "trace")]
pub mod trace;
mod translate;
mod zone;

pub use counters::{Counters, InterfaceTraffic, Traffic};
pub use decision::{Decider, Decision};
pub use established::Shortcut;
pub use firewall::{Budget, Firewall, Verdict};
pub use flow::{AHEAD, FlowCount};
pub use frame::{Checksum, Frame, Gso, GsoKind, Head, NoTail, OwnedFrame, Tail, TailError};
pub use guest::{GUESTS_MAX, GuestError, GuestId};
pub use host::{PingOutcome, PingResult};
pub use log::LogLine;
pub use reason::{Drops, Reason};
pub use reject::ErrorRate;
pub use rule::Condition;
pub use site::{ConfigError, Link, Site};
pub use timeout::{SctpTimeouts, Timeouts};

/// What a Linux gateway with the same files does and this one does not, whatever the files say.
/// `xen-image` tells it whoever checks or builds a site.
pub const NOT_YET: [&str; 1] =
    ["IPv6, VLAN tags and whatever else is not IPv4 or ARP: dropped and counted"];

/// The same of a bridge, for sites that have one inside of the domain.
pub const NOT_YET_ON_BRIDGES: [&str; 2] = [
    "spanning tree, VLAN filtering and multicast snooping on its bridges: frames for bridges end there, other multicast goes to every port",
    "whatever is not IPv4 or ARP, from a guest on a bridge that has an ip=: dropped and counted",
];
