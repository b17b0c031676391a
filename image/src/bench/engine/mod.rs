//! What the engine costs on the host, beside Linux with the rules that Shorewall makes of the same
//! folder.
//!
//! Programs of their own measure, each in its own way: `oracle-figures` packets of both, firewalldom's
//! example `rules` new flows among many rules, valgrind instructions. Here they are built, run and read.

mod measure;
mod page;

use serde::{Deserialize, Serialize};
use std::path::Path;

use anyhow::{Context, Result};

pub(super) use measure::measure;
pub(super) use page::{pictures, render, summary};

/// Everything that is known: `docs/results/engine.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    /// The circumstances.
    pub conditions: Conditions,
    /// Of packets, in the order in which they were taken. Of new flows the first of each system are
    /// neighbours, and so on.
    pub packets: Vec<Packet>,
    /// Of new flows among many rules.
    pub rules: Vec<Rules>,
    /// Of a long blacklist.
    pub blacklists: Vec<Blacklist>,
    /// As valgrind counts them; none where there is no valgrind.
    pub instructions: Vec<Instructions>,
    /// What could not be measured, in words.
    pub missing: Vec<String>,
}

/// What the measurement ran on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// The sources measured.
    pub commit: String,
    /// When it began, UTC, as in RFC 3339.
    pub date: String,
    /// Repetitions.
    pub runs: u32,
    /// As `rustc --version` says.
    pub rustc: String,
    /// As `uname -r` says: the kernel that Linux' figures are of.
    pub linux: String,
    /// The host's processor and how many of it.
    pub processor: String,
    /// The load average of the last minute before and after; the measurement itself makes 1.
    pub load_average: [f64; 2],
}

/// What a sample of packets is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// A packet of a flow that has seen both directions.
    Established,
    /// The first packet of a flow.
    New,
    /// The same with a blacklist of 17,567 lines.
    NewListed,
    /// From the files of that blacklist to a firewall that has it.
    LoadListed,
    /// Memory of a flow.
    FlowBytes,
}

/// Who judges packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// Ours.
    Firewalldom,
    /// Linux' netfilter.
    Linux,
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// What of.
    pub figure: Figure,
    /// Whose.
    pub system: System,
    /// Flows that there were.
    pub flows: u32,
    /// Picoseconds; bytes, for [`Figure::FlowBytes`].
    pub value: u64,
}

/// One sample of new flows among so many rules.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// ClassBench's name of the kind of rules.
    pub seed: String,
    /// How many.
    pub rules: u32,
    /// Picoseconds of a new flow that the last rule decides.
    pub last_rule_ps: u64,
    /// Picoseconds of one that none does.
    pub no_rule_ps: u64,
    /// The former in what it takes among the fewest rules, of turns that were neighbours.
    pub last_rule_times: f64,
    /// The same of the latter.
    pub no_rule_times: f64,
}

/// One sample of new flows with and without a long blacklist.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blacklist {
    /// Its lines.
    pub lines: u32,
    /// Picoseconds of a new flow without it.
    pub without_ps: u64,
    /// Picoseconds with it.
    pub with_ps: u64,
    /// The latter in the former, of turns that were neighbours.
    pub times: f64,
    /// Microseconds from the policy's bytes to tables.
    pub load_us: u64,
}

/// Instructions of an established packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instructions {
    /// `tcp` or `udp`.
    pub transport: String,
    /// `nat` or `plain`.
    pub nat: String,
    /// From headers in the cache to headers rewritten.
    pub count: u64,
}

impl Engine {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn load(path: &Path) -> Result<Self> {
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path).with_context(name)?;
        serde_json::from_str(&text).with_context(name)
    }

    /// The file's text.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn text(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}
