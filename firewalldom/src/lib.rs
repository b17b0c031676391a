#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod arp;
mod checksum;
pub mod command;
mod egress;
mod firewall;
mod flow;
mod frame;
mod host;
mod judge;
mod limit;
mod log;
mod nat;
mod neighbour;
mod packet;
mod path;
pub mod policy;
mod random;
mod ranges;
mod reason;
mod reject;
pub mod relay;
mod route;
mod rule;
mod site;
mod tcp;
pub mod time;
mod timeout;
mod translate;
mod zone;

pub use firewall::{
    Budget, Counters, Decider, Decision, Firewall, InterfaceTraffic, Traffic, Verdict,
};
pub use flow::FlowCount;
pub use frame::{Checksum, Frame, Gso, GsoKind, Head, NoTail, OwnedFrame, Tail, TailError};
pub use host::{PingOutcome, PingResult};
pub use log::LogLine;
pub use reason::{Drops, Reason};
pub use site::{ConfigError, Link};
pub use timeout::Timeouts;
