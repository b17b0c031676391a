//! Guests: domains whose vifs end here. What the toolstack said of each (`ip=`, `mac=`) is its route, its
//! neighbour, and all that it may claim to be.
//!
//! As Xen's `vif-route` script does it on Linux: a host route for every address, and nothing passes that
//! comes from another. ARP is answered but never believed, so no guest can take another's place.
//!
//! Guests on a bridge are found by ARP, like hosts behind a vif of the firewall's own. Those with `ip=` are
//! held to what it says, as Xen's `vif-bridge` does with antispoofing, and to their `mac=`; of the others
//! none can claim what is the firewall's or such a guest's.

use crate::firewall::{Firewall, Verdict};
use crate::flow::Passed;
use crate::frame::Frame;
use crate::neighbour::Station;
use crate::policy::{Interface, InterfaceId};
use crate::reason::Reason;
use crate::route::Route;
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use minios_rs::net::back::BRIDGE_DEFAULT;
use minios_rs::net::{Claim, MacAddress};
use smoltcp::wire::EthernetAddress;

/// Guests' vifs at a time.
pub const GUESTS_MAX: usize = 64;

/// Addresses of them all.
const ADDRESSES_MAX: usize = 4 * GUESTS_MAX;

/// A guest's vif, until it is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestId(u8);

/// Why a guest's vif is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum GuestError {
    /// No interface of the site is called as the vif is.
    Interface,
    /// The site has bridges, and none is called as the toolstack said.
    Bridge,
    /// The toolstack named no address.
    NoAddress,
    /// An address of the firewall's own, or none that a host can have.
    Address,
    /// Another guest has that address.
    AddressTaken,
    /// No station's address, or the firewall's own.
    Mac,
    /// Another guest behind the same interface has that one.
    MacTaken,
    /// More vifs or addresses than there is room for.
    Full,
}

impl GuestError {
    /// In words, for the toolstack's error node.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Interface => {
                "no interface of the firewall's configuration has a name that fits this vif's"
            }
            Self::Bridge => "bridge= names no bridge of the firewall's configuration",
            Self::NoAddress => {
                "ip= is missing: a guest of the firewall's is reached by the addresses given there"
            }
            Self::Address => {
                "ip= is an address of the firewall's own, or none that a host can have"
            }
            Self::AddressTaken => "ip= is another guest's already",
            Self::Mac => "mac= is not an address that a guest can have",
            Self::MacTaken => "mac= is another guest's already",
            Self::Full => "the firewall serves no more guests",
        }
    }
}

#[derive(Debug)]
struct Guest {
    interface: InterfaceId,
    is_on_bridge: bool,
    mac: EthernetAddress,
    /// Bytes of an IP packet that it takes.
    mtu: u16,
    addresses: Vec<u32>,
}

impl Guest {
    /// Whether a frame's sender is this guest, as far as the frame says. What is neither IPv4 nor ARP says
    /// nothing, and goes nowhere.
    fn has_sent(&self, frame: &[u8]) -> bool {
        let is_own = frame.get(6..).and_then(<[u8]>::first_chunk) == Some(&self.mac.0);
        is_own
            && Claim::of(frame).is_some_and(|claim| match claim {
                Claim::Address(address) => self.addresses.contains(&address),
                Claim::Nobody => frame[13] == 0x06,
                Claim::Unknown => true,
            })
    }
}

/// All guests, by number.
#[derive(Debug, Default)]
pub(crate) struct Guests(Vec<Option<Guest>>);

impl Guests {
    fn iter(&self) -> impl Iterator<Item = &Guest> {
        self.0.iter().flatten()
    }

    fn get(&self, id: GuestId) -> Option<&Guest> {
        self.0.get(usize::from(id.0))?.as_ref()
    }

    /// Whether one of them has `address`.
    fn have(&self, address: u32) -> bool {
        self.iter().any(|guest| guest.addresses.contains(&address))
    }

    /// Whether both addresses are the same guest's.
    pub(crate) fn are_one(&self, first: u32, second: u32) -> bool {
        self.iter()
            .any(|guest| guest.addresses.contains(&first) && guest.addresses.contains(&second))
    }

    /// Where the next one goes.
    fn free(&mut self) -> Option<usize> {
        let free = self.0.iter().position(Option::is_none);
        if free.is_none() && self.0.len() < GUESTS_MAX {
            self.0.push(None);
            return Some(self.0.len() - 1);
        }
        free
    }
}

impl Firewall {
    /// The interface that a vif belongs to: the bridge that the toolstack named for it, else the first of the
    /// site's that its own name fits. Where there are bridges, it must not name another, unless it is the one
    /// that the toolstack names if nobody does.
    ///
    /// # Errors
    /// [`GuestError::Interface`], [`GuestError::Bridge`].
    pub fn interface_of_vif(&self, name: &str, bridge: &str) -> Result<InterfaceId, GuestError> {
        let interfaces = &self.site.policy.interfaces;
        let is_meant = |interface: &Interface| interface.bridge && interface.name == bridge;
        let meant = interfaces.iter().position(is_meant);
        let is_unsaid = bridge.is_empty() || bridge == BRIDGE_DEFAULT;
        if meant.is_none() && !is_unsaid && interfaces.iter().any(|interface| interface.bridge) {
            return Err(GuestError::Bridge);
        }
        let fitting = || interfaces.iter().position(|interface| interface.fits(name));
        let number = meant.or_else(fitting).ok_or(GuestError::Interface)?;
        Ok(InterfaceId(number as u8))
    }

    /// A guest is behind `interface` from now on, with these addresses and no other; on a bridge it may have
    /// none, which means any. It takes packets of `mtu` bytes, and so does a bridge as soon as one on it does: no
    /// longer ones are sent there.
    ///
    /// # Errors
    /// [`GuestError`]; then nothing has changed.
    pub fn attach_guest(
        &mut self,
        interface: InterfaceId,
        mac: [u8; 6],
        addresses: &[Ipv4Addr],
        mtu: u16,
    ) -> Result<GuestId, GuestError> {
        let number = usize::from(interface.0);
        let of_site = self.site.policy.interfaces.get(number);
        let of_site = of_site
            .filter(|of_site| of_site.has_guests())
            .ok_or(GuestError::Interface)?;
        let (port, is_on_bridge) = (&self.site.ports[number], of_site.bridge);
        let mac = EthernetAddress(mac);
        if !MacAddress(mac.0).is_station() || mac == port.mac {
            return Err(GuestError::Mac);
        }
        let is_taken = |other: &Guest| other.interface == interface && other.mac == mac;
        if self.guests.iter().any(is_taken) {
            return Err(GuestError::MacTaken);
        }
        let addresses: Vec<u32> = addresses.iter().map(|address| address.to_bits()).collect();
        if addresses.is_empty() && !is_on_bridge {
            return Err(GuestError::NoAddress);
        }
        for &address in &addresses {
            if self.guests.have(address) {
                return Err(GuestError::AddressTaken);
            }
            match self.site.routes.get(address) {
                Route::Via { .. } | Route::Unreachable => {}
                _ => return Err(GuestError::Address),
            }
        }
        let held: usize = self.guests.iter().map(|guest| guest.addresses.len()).sum();
        if held + addresses.len() > ADDRESSES_MAX {
            return Err(GuestError::Full);
        }
        let number = self.guests.free().ok_or(GuestError::Full)?;
        for &address in addresses.iter().filter(|_| !is_on_bridge) {
            self.site.routes.attach(address, interface);
            let parked = self
                .neighbours
                .fix(interface, address, Station { mac, mtu });
            self.send_parked(interface, mac, parked);
        }
        self.guests.0[number] = Some(Guest {
            interface,
            is_on_bridge,
            mac,
            mtu,
            addresses,
        });
        self.fit_bridge(interface);
        Ok(GuestId(number as u8))
    }

    /// A guest is gone, and the routes to it with it. Its flows end as all do that hear nothing more.
    pub fn detach_guest(&mut self, id: GuestId) {
        let slot = self.guests.0.get_mut(usize::from(id.0));
        let Some(guest) = slot.and_then(Option::take) else {
            return;
        };
        self.fit_bridge(guest.interface);
        for address in guest.addresses {
            if guest.is_on_bridge {
                break;
            }
            self.site.routes.detach(address);
            self.neighbours.unfix(guest.interface, address);
        }
    }

    /// Has a bridge take no longer packets than any guest on it, as Linux' does.
    fn fit_bridge(&mut self, interface: InterfaceId) {
        let port = &mut self.site.ports[usize::from(interface.0)];
        if port.is_backend {
            return;
        }
        let guests = self.guests.iter();
        let on_it = guests.filter(|guest| guest.interface == interface);
        let mtu = on_it.map(|guest| guest.mtu).fold(port.mtu_max, u16::min);
        if mtu != port.mtu {
            port.mtu = mtu;
            self.neighbours.set_mtu(interface, mtu);
        }
    }

    /// Bytes of an IP packet that may leave by `egress` for `address`, its next hop: a guest may take fewer than
    /// its interface.
    pub(crate) fn mtu(&self, egress: InterfaceId, address: u32) -> u16 {
        let port = &self.site.ports[usize::from(egress.0)];
        match port.is_backend {
            true => port.mtu.min(self.neighbours.mtu(egress, address)),
            false => port.mtu,
        }
    }

    /// Whether a guest on a bridge may send this, to whomever. By which station it goes, the bridge looks.
    pub(crate) fn may_bridge(&self, id: GuestId, frame: &[u8]) -> bool {
        let (Some(guest), Some(claim)) = (self.guests.get(id), Claim::of(frame)) else {
            return false;
        };
        match claim {
            Claim::Address(address) if guest.addresses.is_empty() => {
                !self.site.is_own(address) && !self.guests.have(address)
            }
            Claim::Address(address) => guest.addresses.contains(&address),
            Claim::Nobody => true,
            Claim::Unknown => guest.addresses.is_empty(),
        }
    }

    /// Judges a frame that a guest sent, as [`Firewall::ingress`] does, if it is the guest's own. Those of a guest
    /// on a bridge are for [`Firewall::ingress`].
    pub fn ingress_from(&mut self, now: Instant, id: GuestId, frame: &mut Frame<'_>) -> Verdict {
        let Some(guest) = self.guests.get(id).filter(|guest| !guest.is_on_bridge) else {
            return self.refuse(Reason::GuestSource);
        };
        let interface = guest.interface;
        if guest.has_sent(frame.head.bytes()) {
            return self.ingress(now, interface, frame);
        }
        self.gates.came_in(interface, frame.len);
        self.passed = Passed::NONE;
        self.decision = None;
        self.refuse(Reason::GuestSource)
    }
}
