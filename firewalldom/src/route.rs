//! Where an address lies: one table of own addresses, broadcasts and routes, longest prefix first.

use crate::policy::{DestinationKind, InterfaceId, Policy};
use crate::ranges::{RangeTable, prefix_bounds};
use crate::sort::sort;
use alloc::vec::Vec;

/// What an address means to the firewall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// One of the firewall's own.
    Local,
    /// 255.255.255.255, or the broadcast address of one of the firewall's prefixes.
    Broadcast,
    /// 224.0.0.1: every host is a member.
    AllHosts,
    /// Every other multicast group.
    Multicast,
    /// Cannot be on a wire: 0.0.0.0/8 and 127.0.0.0/8.
    Martian,
    /// Out of this interface, to `gateway`, or to the address itself if that is 0.
    Via { egress: InterfaceId, gateway: u32 },
    /// No route.
    Unreachable,
}

impl Route {
    /// What `addrtype` would say.
    pub(crate) const fn kind(self) -> DestinationKind {
        match self {
            Self::Broadcast => DestinationKind::Broadcast,
            Self::AllHosts | Self::Multicast => DestinationKind::Multicast,
            _ => DestinationKind::Any,
        }
    }
}

/// The site's routes and own addresses.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    table: RangeTable<Route>,
    /// Per interface: own addresses with the bounds of their prefixes; the primary one first.
    addresses: Vec<Vec<(u32, u32, u32)>>,
    /// Where guests are, by address, ascending.
    guests: Vec<(u32, InterfaceId)>,
}

impl Routes {
    pub(crate) fn new(policy: &Policy) -> Self {
        let mut ranges = Vec::new();
        let mut prefixes = Vec::new();
        let mut addresses = Vec::new();
        for (number, interface) in policy.interfaces.iter().enumerate() {
            let egress = InterfaceId(number as u8);
            let mut own = Vec::new();
            for assigned in &interface.addresses {
                let address = assigned.address.to_bits();
                let (first, last) = prefix_bounds(address, assigned.length);
                own.push((address, first, last));
                ranges.push((address, address, Route::Local));
                prefixes.push((
                    assigned.length,
                    0,
                    (first, last, Route::Via { egress, gateway: 0 }),
                ));
            }
            addresses.push(own);
        }
        let broadcasts = policy
            .interfaces
            .iter()
            .flat_map(|interface| &interface.addresses);
        for broadcast in broadcasts.filter_map(|assigned| assigned.broadcast) {
            ranges.push((broadcast.to_bits(), broadcast.to_bits(), Route::Broadcast));
        }
        ranges.extend([
            (u32::MAX, u32::MAX, Route::Broadcast),
            (0xe000_0001, 0xe000_0001, Route::AllHosts),
            (0xe000_0000, 0xefff_ffff, Route::Multicast),
            (0, 0x00ff_ffff, Route::Martian),
            (0x7f00_0000, 0x7fff_ffff, Route::Martian),
        ]);
        for route in &policy.routes {
            let (first, last) = prefix_bounds(
                route.destination.address.to_bits(),
                route.destination.length,
            );
            let gateway = route.gateway.map_or(0, core::net::Ipv4Addr::to_bits);
            let via = Route::Via {
                egress: route.interface,
                gateway,
            };
            prefixes.push((route.destination.length, route.metric, (first, last, via)));
        }
        // Among equals the first one written wins.
        let mut order: Vec<(u8, u32, usize)> = prefixes
            .iter()
            .enumerate()
            .map(|(written, &(length, metric, _))| (u8::MAX - length, metric, written))
            .collect();
        sort(&mut order);
        ranges.extend(order.iter().map(|&(.., written)| prefixes[written].2));
        Self {
            table: RangeTable::new(&ranges, Route::Unreachable),
            addresses,
            guests: Vec::new(),
        }
    }

    /// What `address` means.
    pub(crate) fn get(&self, address: u32) -> Route {
        if !self.guests.is_empty()
            && let Some(route) = self.to_guest(address)
        {
            return route;
        }
        self.table.get(address)
    }

    // By itself: most sites have none.
    #[inline(never)]
    fn to_guest(&self, address: u32) -> Option<Route> {
        let at = self.guest(address).ok()?;
        Some(Route::Via {
            egress: self.guests[at].1,
            gateway: 0,
        })
    }

    fn guest(&self, address: u32) -> Result<usize, usize> {
        self.guests.binary_search_by_key(&address, |guest| guest.0)
    }

    /// Whether a guest has `address`.
    pub(crate) fn is_guest(&self, address: u32) -> bool {
        self.guest(address).is_ok()
    }

    /// Adds the route to a guest.
    pub(crate) fn attach(&mut self, address: u32, interface: InterfaceId) {
        match self.guest(address) {
            Ok(at) => self.guests[at].1 = interface,
            Err(at) => self.guests.insert(at, (address, interface)),
        }
    }

    /// Removes it.
    pub(crate) fn detach(&mut self, address: u32) {
        if let Ok(at) = self.guest(address) {
            self.guests.remove(at);
        }
    }

    /// The address of the firewall's that `peer` would expect to hear from: the interface's own, or of
    /// one that has none, the first there is, as on Linux.
    pub(crate) fn source(&self, interface: InterfaceId, peer: u32) -> Option<u32> {
        let own = &self.addresses[usize::from(interface.0)];
        let on_link = own
            .iter()
            .find(|(_, first, last)| (*first..=*last).contains(&peer));
        let any = || self.addresses.iter().flatten().next();
        let source = on_link.or(own.first()).or_else(any);
        source.map(|&(address, ..)| address)
    }

    /// The interface's primary address.
    pub(crate) fn primary(&self, interface: InterfaceId) -> Option<u32> {
        self.addresses[usize::from(interface.0)]
            .first()
            .map(|&(address, ..)| address)
    }

    /// The interface's own addresses.
    pub(crate) fn own(&self, interface: InterfaceId) -> impl Iterator<Item = u32> + '_ {
        self.addresses[usize::from(interface.0)]
            .iter()
            .map(|&(address, ..)| address)
    }

    /// Whether `address` is a host on the interface's link: of a prefix of it, or by a route of its own.
    pub(crate) fn is_neighbour(&self, interface: InterfaceId, address: u32) -> bool {
        let way = Route::Via {
            egress: interface,
            gateway: 0,
        };
        self.on_link(interface, address) || self.get(address) == way
    }

    /// Whether `address` lies in a prefix of the interface.
    pub(crate) fn on_link(&self, interface: InterfaceId, address: u32) -> bool {
        let own = &self.addresses[usize::from(interface.0)];
        own.iter()
            .any(|(_, first, last)| (*first..=*last).contains(&address))
    }
}
