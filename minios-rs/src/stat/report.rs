//! The answer as bytes: the version, then [`Report`] as postcard.

#![forbid(unsafe_code)]

use super::VERSION;
use crate::net::{self, Back, Front};
use crate::xen::{Hypercalls, Xen};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What any domain counts, and what this one counts besides. Counters only grow while the domain
/// lives.
///
/// The fields and their order are [`VERSION`] 1 of the format: a change is a new version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which appliance it is: `firewalldom`.
    pub appliance: String,
    /// Its version: `0.1.0`.
    pub version: String,
    /// What it is doing, in a few words for people.
    pub state: String,
    /// Nanoseconds since it started.
    pub uptime_ns: u64,
    /// Its memory.
    pub memory: Memory,
    /// Calls into Xen, by kind.
    pub hypercalls: Vec<Count>,
    /// Its network interfaces, in the order of their numbers.
    pub interfaces: Vec<Interface>,
    /// What only this appliance counts.
    pub detail: Option<Detail>,
}

/// How memory is used, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// All that was there after boot.
    pub total: u64,
    /// Neither given to the heap nor taken as single pages.
    pub free: u64,
    /// Given to the heap, which never shrinks.
    pub heap: u64,
    /// Of that, what holds something now.
    pub heap_used: u64,
    /// The most that ever did.
    pub heap_used_max: u64,
}

/// How often something happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What.
    pub name: String,
    /// How often.
    pub count: u64,
}

impl Count {
    /// A counter.
    pub fn new(name: &str, count: u64) -> Self {
        Self {
            name: name.to_string(),
            count,
        }
    }
}

/// One direction of an interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Direction {
    /// Frames that were whole and right; one that is to be cut into many counts once.
    pub frames: u64,
    /// Their bytes, Ethernet headers included.
    pub bytes: u64,
    /// What went wrong, by reason; only what did.
    pub errors: Vec<Count>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name: `eth0`.
    pub name: String,
    /// Its address.
    pub mac: [u8; 6],
    /// The domain at its other end, which is the frontend's where this domain is the backend.
    pub backend: u16,
    /// Bytes of an IP packet that the network takes.
    pub mtu: u16,
    /// `open`, `closed`, or what its backend did that cannot be.
    pub state: String,
    /// What came in.
    pub received: Direction,
    /// What was given to the backend.
    pub transmitted: Direction,
    /// Events sent to the backend.
    pub events_sent: u64,
    /// Pages of other interfaces that the backend reads now.
    pub pages_lent: u16,
    /// Of those, pages that it answered and has not let go of.
    pub pages_in_quarantine: u16,
}

/// What one kind of appliance counts, in a format of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// The version of that format.
    pub version: u16,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Why bytes are not a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// A version this code does not read.
    #[error("version {found} of the format, of which {VERSION} is known here")]
    Version {
        /// What the bytes say they are.
        found: u16,
    },
    /// Cut short, or not what the version promises.
    #[error("the bytes do not decode")]
    Malformed,
}

impl Report {
    /// The report as bytes: [`VERSION`] in two bytes, little endian, and postcard.
    pub fn encode(&self) -> Vec<u8> {
        // Nothing here can fail to serialise: there are no maps and no sequences of unknown length.
        postcard::to_extend(self, VERSION.to_le_bytes().to_vec()).unwrap_or_default()
    }

    /// Reads what [`Report::encode`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`]; no bytes make it panic, and what it allocates is bounded by how many there
    /// are.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (version, body) = bytes.split_first_chunk().ok_or(DecodeError::Malformed)?;
        let found = u16::from_le_bytes(*version);
        if found != VERSION {
            return Err(DecodeError::Version { found });
        }
        match postcard::take_from_bytes(body) {
            Ok((report, [])) => Ok(report),
            _ => Err(DecodeError::Malformed),
        }
    }

    /// Takes the calls into Xen over.
    pub fn set_hypercalls(&mut self, hypercalls: &Hypercalls) {
        self.hypercalls = hypercalls
            .iter()
            .map(|(name, count)| Count::new(name, count))
            .collect();
    }
}

impl Interface {
    /// What a front counts, under the name its appliance gives it.
    pub fn of<X: Xen>(name: &str, front: &Front<X>) -> Self {
        let counters = front.counters();
        let state = match front.state() {
            net::State::Open => "open".to_string(),
            net::State::Closed => "closed".to_string(),
            net::State::Broken(breach) => breach.to_string(),
        };
        Self {
            name: name.to_string(),
            mac: front.mac().0,
            backend: front.backend().0,
            mtu: front.mtu(),
            state,
            received: Direction {
                frames: counters.received_frames,
                bytes: counters.received_bytes,
                errors: happened(&[
                    ("error reported by the backend", counters.dropped_error),
                    ("malformed", counters.dropped_malformed),
                    ("too many slots", counters.dropped_slots),
                    ("bad extra info", counters.dropped_extra),
                    ("wrong id", counters.dropped_id),
                    ("runt", counters.dropped_runt),
                ]),
            },
            transmitted: Direction {
                frames: counters.transmitted_frames,
                bytes: counters.transmitted_bytes,
                errors: happened(&[
                    ("slots answered with an error", counters.answered_error),
                    ("slots dropped by the backend", counters.answered_dropped),
                    ("pages kept after the answer", counters.quarantined),
                ]),
            },
            events_sent: counters.notifications,
            pages_lent: counters.tail_pages,
            pages_in_quarantine: counters.in_quarantine,
        }
    }

    /// The same of a guest's vif. The domain at its other end is the guest.
    pub fn of_back<X: Xen>(name: &str, back: &Back<X>) -> Self {
        let counters = back.counters();
        let state = match back.state() {
            net::back::State::Open => "open".to_string(),
            net::back::State::Closed => "closed".to_string(),
            net::back::State::Broken(breach) => breach.to_string(),
        };
        Self {
            name: name.to_string(),
            mac: back.settings().mac.0,
            backend: back.frontend().0,
            mtu: back.settings().mtu,
            state,
            received: Direction {
                frames: counters.received_frames,
                bytes: counters.received_bytes,
                errors: happened(&[
                    ("malformed", counters.dropped_malformed),
                    ("too many slots", counters.dropped_slots),
                    ("bad extra info", counters.dropped_extra),
                    ("runt", counters.dropped_runt),
                    ("unusable grant", counters.dropped_grant),
                ]),
            },
            transmitted: Direction {
                frames: counters.transmitted_frames,
                bytes: counters.transmitted_bytes,
                errors: happened(&[
                    ("no buffers posted", counters.refused_full),
                    ("unusable grant", counters.lost_grant),
                    ("unusable grant of the sender's", counters.lost_sender),
                ]),
            },
            events_sent: counters.notifications,
            pages_lent: 0,
            pages_in_quarantine: 0,
        }
    }
}

/// Those that are not 0.
fn happened(counters: &[(&str, u64)]) -> Vec<Count> {
    counters
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| Count::new(name, *count))
        .collect()
}
