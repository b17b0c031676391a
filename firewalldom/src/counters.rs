//! What went through and what did not, in numbers.

use crate::reason::Drops;
use alloc::vec::Vec;

/// Packets and bytes, Ethernet headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Frames; one that stands for many counts once.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Traffic {
    pub(crate) const NONE: Self = Self {
        packets: 0,
        bytes: 0,
    };

    #[inline(always)]
    pub(crate) const fn count(&mut self, len: usize) {
        self.packets += 1;
        self.bytes += len as u64;
    }

    const fn and(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            bytes: self.bytes + other.bytes,
        }
    }
}

/// Both directions of an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InterfaceTraffic {
    /// Received.
    pub ingress: Traffic,
    /// Given to be sent.
    pub egress: Traffic,
}

impl InterfaceTraffic {
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            ingress: self.ingress.and(other.ingress),
            egress: self.egress.and(other.egress),
        }
    }
}

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// In the order of the policy's interfaces.
    pub interfaces: Vec<InterfaceTraffic>,
    /// Frames dropped, by reason.
    pub drops: Drops,
    /// Packets forwarded at once; those that waited for ARP, or were cut, show only in the egress of
    /// [`Counters::interfaces`].
    pub forwarded: u64,
    /// Packets for the firewall itself.
    pub local: u64,
}
