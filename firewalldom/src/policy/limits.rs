//! What a rule asks besides the packet: how often, how many at once, when, and what was seen lately.

use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Conditions of a rule that depend on more than the packet; all must hold. They are asked in the
/// order of the fields, each only if those before it hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// The column TIME: index into [`Policy::times`](super::Policy::times).
    pub time: Option<u16>,
    /// The column RATE, and a policy's.
    pub rates: Vec<RateUse>,
    /// The column CONNLIMIT, and a policy's.
    pub connections: Option<ConnectionUse>,
    /// A list of sources seen lately, as the actions Limit and AutoBL keep.
    pub recent: Option<RecentUse>,
}

impl Limits {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.time.is_none()
            && self.rates.is_empty()
            && self.connections.is_none()
            && self.recent.is_none()
    }
}

/// Which side of a limit a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Side {
    /// What the limit allows.
    Within,
    /// What goes beyond it.
    Above,
}

/// A rule's use of a rate; a packet that is within takes a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RateUse {
    /// Index into [`Policy::rates`](super::Policy::rates). Rules of the same index share tokens.
    pub rate: u16,
    /// Which packets the rule is about.
    pub side: Side,
}

/// A token bucket, or one for each address or prefix (netfilter's `limit` and `hashlimit`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// What `s:NAME:…` calls it; may be empty.
    pub name: String,
    /// Packets in `period_ms`; not 0.
    pub packets: u32,
    /// Milliseconds for `packets` packets; not 0.
    pub period_ms: u32,
    /// Packets at once; not 0 (Shorewall's default is 5).
    pub burst: u32,
    /// Who shares a bucket.
    pub key: RateKey,
}

/// Who shares a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RateKey {
    /// Every packet.
    All,
    /// Packets from one prefix of this length, 0 to 32 (`s:`).
    Source(u8),
    /// Packets to one prefix of this length, 0 to 32 (`d:`).
    Destination(u8),
}

/// A rule's use of a limit of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConnectionUse {
    /// Index into [`Policy::connection_limits`](super::Policy::connection_limits). Rules of the
    /// same index count together.
    pub limit: u16,
    /// Which connections the rule is about.
    pub side: Side,
}

/// How many connections an address or prefix may have at once (netfilter's `connlimit`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionLimit {
    /// Connections that are within the limit.
    pub count: u32,
    /// Whose connections are counted together.
    pub key: ConnectionKey,
}

/// Whose connections are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConnectionKey {
    /// Those from one prefix of this length, 0 to 32.
    Source(u8),
    /// Those to one prefix of this length, 0 to 32 (`d:`).
    Destination(u8),
}

/// When a rule holds (netfilter's `time`); all must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeWindow {
    /// Second of the day it begins at, below 86,400.
    pub day_start_s: u32,
    /// Last second of the day, below 86,400. Before `day_start_s`: the next day's.
    pub day_stop_s: u32,
    /// Days of the week, bit 0 for Monday. 0x7f: all.
    pub week_days: u8,
    /// Days of the month, bit 1 for the first. 0xffff_fffe: all.
    pub month_days: u32,
    /// First second, counted from 1970 by `clock`.
    pub date_start_s: Option<u32>,
    /// Last second, counted from 1970 by `clock`.
    pub date_stop_s: Option<u32>,
    /// Which clock is meant.
    pub clock: Clock,
}

/// Which clock a time is by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Clock {
    /// UTC.
    Utc,
    /// The site's: UTC and [`Settings::utc_offsets`](super::Settings::utc_offsets).
    Local,
}

/// How far the site's clock is from UTC, from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UtcOffset {
    /// Seconds from 1970, UTC; it ascends from one entry to the next.
    pub from_s: i64,
    /// Seconds that the site's clock is ahead of UTC.
    pub ahead_s: i32,
}

/// A rule's use of a list of sources seen lately (netfilter's `recent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecentUse {
    /// Which list, below [`Policy::recent_lists`](super::Policy::recent_lists).
    pub list: u16,
    /// What is asked of it.
    pub operation: RecentOperation,
}

/// What a rule asks of a list of sources seen lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RecentOperation {
    /// Notes that the source was seen now. Always holds.
    Set,
    /// Whether the source was seen `hits` times in `seconds`.
    Check(Seen),
    /// The same, and if so it counts as seen now, too.
    Update(Seen),
    /// Whether the source was seen at all; it is forgotten.
    Remove,
}

/// How often in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Seen {
    /// Seconds to look back; 0: however long.
    pub seconds: u32,
    /// Times, 1 to [`MAX_RECENT_HITS`].
    pub hits: u8,
}

/// Most times that a source is remembered for (Linux' `ip_pkt_list_tot`).
pub const MAX_RECENT_HITS: u8 = 20;
