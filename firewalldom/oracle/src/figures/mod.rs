//! What a packet costs: the engine and Linux with real Shorewall, the same directory, the same frames.
//!
//! Linux says what a packet costs by a difference: two gateways with the same links and routes, one
//! with Shorewall's rules, one without any (so that it tracks no connections either), take the same
//! frames in turn from a packet socket on the far end of a veth pair. Sending returns when the packet
//! has left by the other link, and all but the rules, the tracking and the translation is the same.

pub mod blacklist;
pub mod engine;
pub mod flood;
pub mod linux;

use crate::configuration::Configuration;
use anyhow::{Result, anyhow};
use firewalldom::policy::Policy;
use std::fmt;
use std::path::Path;

/// What is measured, in a line of its own for each sample: `established linux 65536 1432000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What of.
    pub figure: Figure,
    /// Whose.
    pub system: System,
    /// Flows that there are.
    pub flows: u32,
    /// Picoseconds for each packet, or of [`Figure::LoadListed`]; bytes, for [`Figure::FlowBytes`].
    pub value: u64,
}

/// What a sample is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Figure {
    /// A packet of a flow that has seen both directions, the flows in random order.
    Established,
    /// The first packet of a flow. Those of the engine and of Linux are taken in turn: the first of each
    /// are neighbours, and so on.
    New,
    /// The same with a long blacklist.
    NewListed,
    /// From the files of that blacklist to a firewall that has it, once for all flows.
    LoadListed,
    /// Memory of a flow.
    FlowBytes,
}

/// Who judges packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// Ours.
    Firewalldom,
    /// Linux' netfilter with the rules that Shorewall loads.
    Linux,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figure = match self.figure {
            Figure::Established => "established",
            Figure::New => "new",
            Figure::NewListed => "new_listed",
            Figure::LoadListed => "load_listed",
            Figure::FlowBytes => "flow_bytes",
        };
        let system = match self.system {
            System::Firewalldom => "firewalldom",
            System::Linux => "linux",
        };
        write!(f, "{figure} {system} {} {}", self.flows, self.value)
    }
}

/// Flows that there are when an established packet is measured.
pub const FLOWS: [u32; 3] = [1, 1 << 16, 1 << 20];

/// Flows that are begun when a new one is measured.
pub const NEW_FLOWS: u32 = 1 << 16;

/// New flows of a sample of Linux', before it is the engine's turn again.
pub const NEW_SLICE: u32 = NEW_FLOWS / 8;

/// Packets of each sample.
pub const PACKETS: u32 = 1 << 16;

/// A folder laid out like /etc, and what our compiler makes of it.
///
/// # Errors
/// When it cannot be read, or is not right.
pub fn site(folder: &Path) -> Result<(Configuration, Policy)> {
    let configuration = Configuration::of_folder(folder)?;
    let compiled = configuration
        .compile()
        .map_err(|report| anyhow!("{}: {report:?}", folder.display()))?;
    Ok((configuration, compiled.policy))
}
