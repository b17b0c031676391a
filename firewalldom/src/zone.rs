//! Zones: which one an address behind an interface belongs to, and the chain of a pair of them.

use crate::policy::{Policy, ZoneId};
use crate::ranges::{RangeTable, prefix_bounds};
use alloc::vec::Vec;

/// From interface and address to zone, from two zones to a chain.
#[derive(Clone, Debug)]
pub(crate) struct Zones {
    by_interface: Vec<RangeTable<ZoneId>>,
    pairs: Vec<u16>,
    side: usize,
}

impl Zones {
    pub(crate) fn new(policy: &Policy) -> Self {
        let none = ZoneId(policy.zones.len() as u16);
        let by_interface = (0..policy.interfaces.len()).map(|interface| {
            let hosts = policy
                .hosts
                .iter()
                .filter(|host| usize::from(host.interface.0) == interface);
            let ranges: Vec<_> = hosts
                .map(|host| {
                    let (first, last) =
                        prefix_bounds(host.prefix.address.to_bits(), host.prefix.length);
                    (first, last, host.zone)
                })
                .collect();
            RangeTable::new(&ranges, none)
        });
        Self {
            by_interface: by_interface.collect(),
            pairs: policy.pairs.clone(),
            side: policy.zones.len() + 1,
        }
    }

    /// The zone of `address` behind an interface; one past the last zone if none claims it.
    pub(crate) fn of(&self, interface: u8, address: u32) -> ZoneId {
        self.by_interface[usize::from(interface)].get(address)
    }

    /// Index of the chain from one zone to another.
    pub(crate) fn chain(&self, [source, destination]: [ZoneId; 2]) -> usize {
        usize::from(self.pairs[usize::from(source.0) * self.side + usize::from(destination.0)])
    }
}
