//! What was measured of driver domains, as it was measured.

use serde::{Deserialize, Serialize};

use crate::bench::samples::{GuestStream, Packets, Start};

/// Everything, each sample in the order it was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriverDomains {
    /// Lengths of files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizes: Option<ImageSizes>,
    /// To a guest's first reply over the wire.
    #[serde(default)]
    pub starts: Vec<Start>,
    /// TCP between Debian guests, and with the wire.
    #[serde(default)]
    pub streams: Vec<GuestStream>,
    /// Small packets between two guests of our own.
    #[serde(default)]
    pub packets: Vec<Packets>,
    /// From one of them to the wire.
    #[serde(default)]
    pub packets_out: Vec<Packets>,
    /// From the wire to one of them.
    #[serde(default)]
    pub packets_in: Vec<Packets>,
    /// Many vifs in little memory.
    #[serde(default)]
    pub crowds: Vec<Crowd>,
}

impl DriverDomains {
    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Lengths of files, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSizes {
    /// `netdom.xen`, stripped.
    pub netdom_bytes: u64,
    /// Linux, as Debian ships it.
    pub debian_kernel_bytes: u64,
    /// The Debian driver domain's initial RAM disk.
    pub debian_ramdisk_bytes: u64,
    /// What the image was built for.
    pub target: String,
}

/// As many guests as were wanted, or as found room, each of which sends or receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crowd {
    /// `memory=` of netdom.
    pub memory_mib: u32,
    /// Vifs that were wanted.
    pub wanted: u32,
    /// Vifs there were at once.
    pub vifs: u32,
    /// Packets sent.
    pub sent: u64,
    /// Packets that arrived.
    pub received: u64,
}

impl Crowd {
    /// Vifs that were served; `None` if a packet was lost.
    pub fn served(&self) -> Option<f64> {
        (self.sent > 0 && self.received == self.sent).then_some(f64::from(self.vifs))
    }
}
