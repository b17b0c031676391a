//! What netdom is told of its bridges: the blob of its `ramdisk=`, for people and programs.

use std::fmt::{self, Display, Formatter};

use netdom::config::{self, Bridge, Config, Limit, Vif};
use serde::Serialize;

use super::header;
use super::text::row;
use crate::netdom::{lock_name, summary};

/// A configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BridgesReport {
    /// Length in bytes, with its header.
    pub bytes: u64,
    /// The version in its header, when it has one.
    pub version: Option<u16>,
    /// All of it in a line, when it decodes.
    pub summary: Option<String>,
    /// The bridges, when it decodes.
    pub bridges: Vec<BridgeReport>,
    /// The vifs of which there is more to say, when it decodes.
    pub vifs: Vec<VifReport>,
    /// Why it does not decode.
    pub error: Option<String>,
}

/// A bridge.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BridgeReport {
    /// What `bridge=` of a vif calls it.
    pub name: String,
    /// The card that is its wire: its place in `pci=[…]`, or its address.
    pub card: Option<String>,
    /// The one that stands by.
    pub standby: Option<String>,
    /// The VLAN that it is on the card. `None`: what has no tag.
    pub vlan: Option<u16>,
    /// Bytes of an IP packet.
    pub mtu: u16,
    /// What its guests may say that they are: `none`, `mac` or `address`.
    pub lock: &'static str,
    /// Copies a second that one port may cause of what is for all.
    pub flood: u32,
    /// How much each of its guests may send.
    pub rate: RateReport,
}

/// A vif. `None`: as its bridge has it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VifReport {
    /// Its name.
    pub name: String,
    /// What it may say that it is.
    pub lock: Option<&'static str>,
    /// How much it may send.
    pub rate: Option<RateReport>,
}

/// How much may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateReport {
    /// What `rate=` of the vif says.
    None,
    /// No more than this, either.
    Limit {
        /// Bytes in each interval.
        bytes: u32,
        /// Microseconds of an interval.
        interval_us: u32,
    },
}

impl From<Limit> for RateReport {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::None => Self::None,
            Limit::Rate(rate) => Self::Limit {
                bytes: rate.bytes,
                interval_us: rate.interval_us,
            },
        }
    }
}

impl From<&Bridge> for BridgeReport {
    fn from(bridge: &Bridge) -> Self {
        Self {
            name: bridge.name.clone(),
            card: bridge.card.map(|card| card.to_string()),
            standby: bridge.standby.map(|card| card.to_string()),
            vlan: bridge.vlan,
            mtu: bridge.mtu,
            lock: lock_name(bridge.lock),
            flood: bridge.flood,
            rate: bridge.rate.into(),
        }
    }
}

impl From<&Vif> for VifReport {
    fn from(vif: &Vif) -> Self {
        Self {
            name: vif.name.clone(),
            lock: vif.lock.map(lock_name),
            rate: vif.rate.map(RateReport::from),
        }
    }
}

/// Takes a blob apart.
pub(super) fn bridges(blob: &[u8]) -> BridgesReport {
    let opened = config::open(blob);
    let (bytes, version) = header(blob, config::HEADER, opened.is_ok());
    let (bridges, vifs) = match &opened {
        Ok(Config { bridges, vifs }) => (
            bridges.iter().map(BridgeReport::from).collect(),
            vifs.iter().map(VifReport::from).collect(),
        ),
        Err(_) => Default::default(),
    };
    BridgesReport {
        bytes,
        version,
        summary: opened.as_ref().ok().map(summary),
        bridges,
        vifs,
        error: opened.err().map(|error| error.to_string()),
    }
}

impl Display for RateReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self::Limit { bytes, interval_us } = *self else {
            return f.write_str("none but the vif's own");
        };
        let interval = match (interval_us % 1_000_000, interval_us % 1_000) {
            (0, _) => format!("{} s", interval_us / 1_000_000),
            (_, 0) => format!("{} ms", interval_us / 1_000),
            _ => format!("{interval_us} us"),
        };
        let each_second = u64::from(bytes) * 1_000_000 / u64::from(interval_us);
        write!(f, "{each_second} bytes a second: {bytes} in {interval}")
    }
}

impl Display for BridgeReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        row(f, "bridge", &self.name)?;
        let wire = match (&self.card, &self.standby) {
            (None, _) => "none: its guests reach each other and nobody else".to_owned(),
            (Some(card), None) => format!("card {card}"),
            (Some(card), Some(standby)) => format!("card {card}; {standby} stands by"),
        };
        row(f, "  wire", wire)?;
        match (&self.card, self.vlan) {
            (_, Some(vlan)) => row(f, "  vlan", vlan)?,
            (Some(_), None) => row(f, "  vlan", "none: what has no tag on the card")?,
            (None, None) => {}
        }
        row(f, "  mtu", self.mtu)?;
        row(f, "  lock", self.lock)?;
        row(
            f,
            "  flood",
            format_args!("{} copies a second for each port", self.flood),
        )?;
        row(f, "  rate", self.rate)
    }
}

impl Display for VifReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        row(f, "vif", &self.name)?;
        row(f, "  lock", self.lock.unwrap_or("its bridge's"))?;
        match &self.rate {
            Some(rate) => row(f, "  rate", rate),
            None => row(f, "  rate", "its bridge's"),
        }
    }
}

impl Display for BridgesReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let version = self.version.map(|version| version.to_string());
        row(
            f,
            "netdom",
            format_args!(
                "{} bytes, version {}",
                self.bytes,
                version.as_deref().unwrap_or("none")
            ),
        )?;
        if let Some(error) = &self.error {
            return row(f, "", format_args!("error: {error}"));
        }
        if let Some(summary) = &self.summary {
            row(f, "", summary)?;
        }
        self.bridges.iter().try_for_each(|bridge| bridge.fmt(f))?;
        self.vifs.iter().try_for_each(|vif| vif.fmt(f))
    }
}
