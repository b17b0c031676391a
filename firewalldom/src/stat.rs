//! What the firewall counts, for whoever asks in dom0 ([`minios_rs::stat`]).

use crate::Firewall;
use crate::policy::blob::Identity;
use crate::reason::Drops;
use crate::relay::{Losses, Relay};
use crate::sort::sort;
use alloc::string::String;
use alloc::vec::Vec;
use minios_rs::stat::{Count, Detail, Interface, Report};
use minios_rs::xen::Xen;
use serde::{Deserialize, Serialize};

/// The name of this appliance in a [`Report`].
pub const APPLIANCE: &str = "firewalldom";

/// The version of [`Statistics`] that is written here.
pub const VERSION: u16 = 1;

/// Lines of the configuration that are told of, at most: those that decided most often.
pub const RULES_MAX: usize = 1024;

/// What a firewall counts besides its interfaces: the [`Detail`] of its [`Report`]. Counters only
/// grow while the domain lives.
///
/// The fields and their order are [`VERSION`] 1 of the format: a change is a new version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// The site's name.
    pub site: String,
    /// The policy it runs.
    pub policy: Identity,
    /// Packets forwarded at once; those that waited for ARP, or were cut, show only in what the
    /// interfaces transmitted.
    pub forwarded: u64,
    /// Packets for the firewall itself.
    pub local: u64,
    /// Frames dropped, by reason; only reasons that struck.
    pub drops: Vec<Count>,
    /// Connections.
    pub flows: Flows,
    /// Log lines that the limit or a full queue suppressed.
    pub log_lines_suppressed: u64,
    /// Names of the configuration's files, which [`RuleHits::file`] counts.
    pub files: Vec<String>,
    /// How often each line decided, in the order of files and lines; only lines that did.
    pub rules: Vec<RuleHits>,
    /// Lines that decided and are not told of.
    pub rules_left_out: u32,
}

/// How many connections are tracked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flows {
    /// In the table now, expired ones that were not swept yet included.
    pub now: u64,
    /// The most there ever were.
    pub peak: u64,
    /// The most there can be.
    pub capacity: u64,
    /// Unassured ones evicted to make room.
    pub evicted: u64,
}

/// How often a line of the configuration decided about the first packet of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleHits {
    /// Index of the file's name; line 0 of any is Shorewall's default.
    pub file: u16,
    /// Its line, from 1.
    pub line: u32,
    /// How often.
    pub hits: u64,
}

/// Why a report's detail is no firewall's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A version this code does not read.
    #[error("version {found} of the firewall's statistics, of which {VERSION} is known here")]
    Version {
        /// What it says it is.
        found: u16,
    },
    /// Not what the version promises.
    #[error("the firewall's statistics do not decode")]
    Malformed,
}

impl Statistics {
    /// What a firewall counts now.
    pub fn of(firewall: &Firewall, losses: Losses, policy: Identity) -> Self {
        let counters = firewall.counters();
        let flows = firewall.flows();
        let (rules, rules_left_out) = rules(firewall);
        Self {
            site: firewall.policy().site.clone(),
            policy,
            forwarded: counters.forwarded,
            local: counters.local,
            drops: drops(&counters.drops, losses),
            flows: Flows {
                now: flows.now as u64,
                peak: flows.peak as u64,
                capacity: flows.capacity as u64,
                evicted: flows.evicted,
            },
            log_lines_suppressed: firewall.suppressed_log_lines(),
            files: firewall.policy().files.clone(),
            rules,
            rules_left_out,
        }
    }

    /// As the detail of a report.
    pub fn encode(&self) -> Detail {
        Detail {
            version: VERSION,
            // Nothing here can fail to serialise: there are no maps and no sequences of unknown
            // length.
            bytes: postcard::to_allocvec(self).unwrap_or_default(),
        }
    }

    /// Reads what [`Statistics::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`]; no bytes make it panic, and what it allocates is bounded by how many there
    /// are.
    pub fn decode(detail: &Detail) -> Result<Self, DecodeError> {
        if detail.version != VERSION {
            return Err(DecodeError::Version {
                found: detail.version,
            });
        }
        match postcard::take_from_bytes(&detail.bytes) {
            Ok((statistics, [])) => Ok(statistics),
            _ => Err(DecodeError::Malformed),
        }
    }

    /// The name of a file; `?` if there is no such file.
    pub fn file(&self, rule: &RuleHits) -> &str {
        let name = self.files.get(usize::from(rule.file));
        name.map_or("?", String::as_str)
    }
}

/// Adds a firewall at work to what its domain counts.
pub fn fill<X: Xen>(report: &mut Report, relay: &Relay<X>, policy: Identity) {
    let firewall = relay.firewall();
    let interfaces = &firewall.policy().interfaces;
    report.interfaces = relay
        .fronts()
        .map(|(interface, front)| Interface::of(&interfaces[usize::from(interface.0)].name, front))
        .collect();
    let guests = relay.guests();
    let guests = guests.map(|(name, back)| Interface::of_back(name, back));
    report.interfaces.extend(guests);
    report.detail = Some(Statistics::of(firewall, relay.losses(), policy).encode());
}

fn drops(drops: &Drops, losses: Losses) -> Vec<Count> {
    let lost = losses.iter().filter(|(_, count)| *count > 0);
    drops
        .iter()
        .map(|(reason, count)| (reason.name(), count))
        .chain(lost)
        .map(|(name, count)| Count::new(name, count))
        .collect()
}

/// The [`RULES_MAX`] lines that decided most often, and how many others did.
fn rules(firewall: &Firewall) -> (Vec<RuleHits>, u32) {
    let mut rules: Vec<(u64, u16, u32)> = firewall
        .hits()
        .filter(|(_, hits)| *hits > 0)
        .map(|(origin, hits)| (hits, origin.file, origin.line))
        .collect();
    let left_out = rules.len().saturating_sub(RULES_MAX);
    if left_out > 0 {
        sort(&mut rules);
        rules.drain(..left_out);
    }
    let mut rules: Vec<(u16, u32, u64)> = rules
        .into_iter()
        .map(|(hits, file, line)| (file, line, hits))
        .collect();
    sort(&mut rules);
    let rules = rules
        .into_iter()
        .map(|(file, line, hits)| RuleHits { file, line, hits })
        .collect();
    (rules, left_out as u32)
}
