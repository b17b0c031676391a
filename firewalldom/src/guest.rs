//! Guests: domains whose vifs end here. What the toolstack said of each (`ip=`, `mac=`) is its route, its
//! neighbour, and all that it may claim to be.
//!
//! As Xen's `vif-route` script does it on Linux: a host route for every address, and nothing passes that
//! comes from another. ARP is answered but never believed, so no guest can take another's place.

use crate::firewall::{Firewall, Verdict};
use crate::flow::Passed;
use crate::frame::{ETHERNET, Frame};
use crate::policy::InterfaceId;
use crate::reason::Reason;
use crate::route::Route;
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use minios_rs::net::MacAddress;
use smoltcp::wire::EthernetAddress;

/// Guests' vifs at a time.
pub const GUESTS_MAX: usize = 64;

/// Addresses of them all.
const ADDRESSES_MAX: usize = 4 * GUESTS_MAX;

/// Where an ARP packet's sender is said: its hardware address, then its protocol address.
const ARP_SENDER: usize = ETHERNET + 8;

/// Where an IPv4 packet's source is.
const IPV4_SOURCE: usize = ETHERNET + 12;

/// A guest's vif, until it is detached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestId(u8);

/// Why a guest's vif is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.reason())]
pub enum GuestError {
    /// No interface of the site is called as the vif is.
    Interface,
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
    /// The guest wants shorter packets than the others behind its interface.
    Mtu,
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
            Self::NoAddress => {
                "ip= is missing: a guest of the firewall's is reached by the addresses given there"
            }
            Self::Address => {
                "ip= is an address of the firewall's own, or none that a host can have"
            }
            Self::AddressTaken => "ip= is another guest's already",
            Self::Mac => "mac= is not an address that a guest can have",
            Self::MacTaken => "mac= is another guest's already",
            Self::Mtu => "mtu= is less than what the interface takes",
            Self::Full => "the firewall serves no more guests",
        }
    }
}

#[derive(Debug)]
struct Guest {
    interface: InterfaceId,
    mac: EthernetAddress,
    addresses: Vec<u32>,
}

impl Guest {
    /// Whether a frame's sender is this guest, as far as the frame says. What is neither IPv4 nor ARP says
    /// nothing, and goes nowhere.
    fn has_sent(&self, frame: &[u8]) -> bool {
        let is_own = |address: Option<&[u8; 4]>| {
            address.is_some_and(|address| self.addresses.contains(&u32::from_be_bytes(*address)))
        };
        let at = |offset: usize| frame.get(offset..);
        if at(6).and_then(<[u8]>::first_chunk) != Some(&self.mac.0) {
            return false;
        }
        match at(12).and_then(<[u8]>::first_chunk) {
            Some([0x08, 0x00]) => is_own(at(IPV4_SOURCE).and_then(<[u8]>::first_chunk)),
            Some([0x08, 0x06]) => {
                let sender = at(ARP_SENDER + 6).and_then(<[u8]>::first_chunk);
                // A probe says no address (RFC 5227).
                at(ARP_SENDER).and_then(<[u8]>::first_chunk) == Some(&self.mac.0)
                    && (sender == Some(&[0; 4]) || is_own(sender))
            }
            Some(_) => true,
            None => false,
        }
    }
}

/// All guests, by number.
#[derive(Debug, Default)]
pub(crate) struct Guests(Vec<Option<Guest>>);

impl Guests {
    fn iter(&self) -> impl Iterator<Item = &Guest> {
        self.0.iter().flatten()
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
    /// The interface behind which a vif of this name is, the first of the site's that fits.
    pub fn interface_of_vif(&self, name: &str) -> Option<InterfaceId> {
        let mut interfaces = self.site.policy.interfaces.iter();
        let number = interfaces.position(|interface| interface.fits(name))?;
        Some(InterfaceId(number as u8))
    }

    /// A guest is behind `interface` from now on, with these addresses and no other. It takes packets of
    /// `mtu` bytes.
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
        let port = self.site.ports.get(usize::from(interface.0));
        let port = port
            .filter(|port| port.is_backend)
            .ok_or(GuestError::Interface)?;
        let mac = EthernetAddress(mac);
        if !MacAddress(mac.0).is_station() || mac == port.mac {
            return Err(GuestError::Mac);
        }
        if mtu < port.mtu {
            return Err(GuestError::Mtu);
        }
        let is_taken = |other: &Guest| other.interface == interface && other.mac == mac;
        if self.guests.iter().any(is_taken) {
            return Err(GuestError::MacTaken);
        }
        let addresses: Vec<u32> = addresses.iter().map(|address| address.to_bits()).collect();
        if addresses.is_empty() {
            return Err(GuestError::NoAddress);
        }
        for &address in &addresses {
            if self.site.routes.is_guest(address) {
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
        for &address in &addresses {
            self.site.routes.attach(address, interface);
            let parked = self.neighbours.fix(interface, address, mac);
            self.send_parked(interface, mac, parked);
        }
        self.guests.0[number] = Some(Guest {
            interface,
            mac,
            addresses,
        });
        Ok(GuestId(number as u8))
    }

    /// A guest is gone, and the routes to it with it. Its flows end as all do that hear nothing more.
    pub fn detach_guest(&mut self, id: GuestId) {
        let slot = self.guests.0.get_mut(usize::from(id.0));
        let Some(guest) = slot.and_then(Option::take) else {
            return;
        };
        for address in guest.addresses {
            self.site.routes.detach(address);
            self.neighbours.unfix(guest.interface, address);
        }
    }

    /// Judges a frame that a guest sent, as [`Firewall::ingress`] does, if it is the guest's own.
    pub fn ingress_from(&mut self, now: Instant, id: GuestId, frame: &mut Frame<'_>) -> Verdict {
        let guest = self.guests.0.get(usize::from(id.0));
        let Some(guest) = guest.and_then(Option::as_ref) else {
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
