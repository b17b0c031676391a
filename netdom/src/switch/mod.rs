//! Bridges: a card is the wire of each, guests' vifs are its other ports.
//!
//! A frame goes where its station is, and its payload is copied once: from guest to guest by Xen straight from
//! grant to grant; from a card's page into the guest's; of what a guest sends to the wire into a page that the
//! card reads, because no card may read what the guest can still change. What was looked at, the first bytes, is
//! a copy of our own, and that copy is what is sent.
//!
//! Nobody who takes nothing holds up others: what is for a guest whose ring is full waits, as much as there is
//! room for and as long as it takes something now and then; then it is lost. A guest that sends faster than its
//! card waits, a little while, for its own ring to be taken from.

mod flood;
mod guard;
mod pass;
mod stat;
#[cfg(test)]
mod tests;

use crate::cards::Traffic;
use crate::nic::Nic;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;
use flood::Floods;
use minios_rs::hardware::Hardware;
use minios_rs::net::back::{self, BRIDGE_DEFAULT};
use minios_rs::net::bridge::{AttachError, Bridge, Learning, PORTS_MAX, PortId};
use minios_rs::net::front::Wake;
use minios_rs::net::{Back, Backends, MacAddress, Outlet, RxBuffer};
use minios_rs::pci::Address;
use minios_rs::time::Instant;
use minios_rs::xen::PAGE_SIZE;
use pass::{Frame, Header, Wire};
use thiserror::Error;

/// What guests' frontends are offered.
pub const OFFER: back::Config = back::Config {
    queues_max: 1,
    event_channels: back::EventChannels::Shared,
    fetch_pages_max: 64,
    multicast: back::MulticastControl::Withheld,
    ipv6_offloads: back::Ipv6Offloads::Offered,
};

/// Bridges, where no configuration names them: `xenbr0` for the first card, and so on.
pub const BRIDGES_MAX: usize = 8;

/// What the names of such begin with.
const BRIDGE_PREFIX: &str = "xenbr";

/// Bytes of an IP packet on a bridge.
const MTU: u16 = 1500;

/// A bridge's own address: it has no end of its own, so nobody has it.
const NOBODY: MacAddress = MacAddress([0; 6]);

/// When a guest that is kept from sending is looked at again, because the card, or what is lent to it, is full.
const LOOK: Duration = Duration::from_millis(1);

/// Why a guest's vif is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{}", self.reason())]
pub enum Refused {
    /// Its `bridge=` is not called as one is here.
    Bridge,
    /// It was told that it may send longer packets than the bridge takes.
    Mtu,
    /// No station's address.
    Mac,
    /// Another guest on the same bridge has that one.
    MacTaken,
    /// Another guest on the same bridge has one of its IP addresses.
    AddressTaken,
    /// The bridge has no more ports.
    Full,
}

impl From<AttachError> for Refused {
    fn from(error: AttachError) -> Self {
        match error {
            AttachError::Mac => Self::Mac,
            AttachError::MacTaken => Self::MacTaken,
            AttachError::Full => Self::Full,
        }
    }
}

impl Refused {
    /// In words, for the toolstack's error node.
    const fn reason(self) -> &'static str {
        match self {
            Self::Bridge => {
                "bridge= names no bridge of this domain, which are xenbr0 to xenbr7, for each card one"
            }
            Self::Mtu => "mtu= is more than the bridge takes",
            Self::Mac => "mac= is not an address that a guest can have",
            Self::MacTaken => "mac= is another guest's already",
            Self::AddressTaken => "ip= is another guest's already",
            Self::Full => "the bridge has no more ports",
        }
    }
}

/// Frames of a bridge that were lost, by reason. All of them only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// No frame, or from no station.
    pub malformed: u64,
    /// In the name of somebody else: another port's station, or an address that the sender has not.
    pub spoofed: u64,
    /// For the bridges themselves, or for where it came from.
    pub not_forwarded: u64,
    /// What was said of checksum or segments cannot be.
    pub false_offload: u64,
    /// The ring that it was for had no room.
    pub full: u64,
    /// For all others, from a port that has sent too much of that.
    pub flooded: u64,
    /// For the wire, of which there is none, or it is unplugged.
    pub no_wire: u64,
    /// Whoever it is for does not take such: too long, too many pieces, not offered.
    pub not_sendable: u64,
}

impl Losses {
    /// Each with its name for tables.
    fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("no frame", self.malformed),
            ("in another's name", self.spoofed),
            ("not to be forwarded", self.not_forwarded),
            ("impossible checksum or segments", self.false_offload),
            ("no room", self.full),
            ("too much for all", self.flooded),
            ("no wire", self.no_wire),
            ("not taken by the receiver", self.not_sendable),
        ]
        .into_iter()
    }
}

struct Segment {
    name: String,
    losses: Losses,
    bridge: Bridge,
    /// The card that is its wire, from when it first came; and its port, while it is there.
    card: Option<Address>,
    wire: Option<PortId>,
    /// What the wire has sent for all.
    floods: Floods,
    /// For each port the number of its guest.
    guests: [u8; PORTS_MAX],
    /// Its frames were exchanged in this turn.
    is_served: bool,
    /// There may be more to take at once.
    is_busy: bool,
}

/// A guest's vif.
struct Guest<X: Hardware> {
    back: Outlet<X, Header>,
    /// As people know the vif.
    name: String,
    /// The bridge that it is on, and its port there.
    segment: usize,
    port: PortId,
    /// What it has sent for all.
    floods: Floods,
    /// It ended, and has given back what is others'.
    is_gone: bool,
}

/// The bridges of this domain.
pub struct Switch<X: Hardware> {
    segments: Vec<Segment>,
    guests: Vec<Guest<X>>,
    /// Pages that wait for them all.
    waiting_pages: usize,
    frame: Option<Box<Frame<X>>>,
    /// Where a frame is put together that several get.
    copy: Vec<u8>,
}

impl<X: Hardware> Default for Switch<X> {
    fn default() -> Self {
        Self {
            segments: Vec::new(),
            guests: Vec::new(),
            waiting_pages: 0,
            frame: None,
            copy: Vec::with_capacity(PAGE_SIZE),
        }
    }
}

impl<X: Hardware> Switch<X> {
    /// The bridges that cards or guests are on, and what got lost there.
    pub fn bridges(&self) -> impl Iterator<Item = (&str, Losses)> {
        let segments = self.segments.iter();
        segments.map(|segment| (segment.name.as_str(), segment.losses))
    }

    /// The vifs that are served: their names and their bridges'.
    pub fn guests(&self) -> impl Iterator<Item = (&str, &str)> {
        let guests = self.guests.iter();
        guests.map(|guest| {
            let segment = &self.segments[guest.segment];
            (guest.name.as_str(), segment.name.as_str())
        })
    }

    /// Takes the vifs that have come, and lets go of those that end.
    pub fn admit(&mut self, backends: &Backends<X>) {
        while let Some(ended) = self.guests.iter().position(|guest| guest.is_gone) {
            let guest = self.guests.swap_remove(ended);
            self.segments[guest.segment].bridge.detach(guest.port);
            if let Some(moved) = self.guests.get(ended) {
                self.segments[moved.segment].guests[moved.port.number()] = ended as u8;
            }
            log::info!("{} is gone", guest.name);
        }
        while let Some(back) = backends.arrived() {
            let name = back.name();
            match self.attach(&back) {
                Ok((segment, port)) => {
                    log::info!("{name} is on {}", self.segments[segment].name);
                    self.segments[segment].guests[port.number()] = self.guests.len() as u8;
                    self.guests.push(Guest {
                        back: Outlet::new(back),
                        name,
                        segment,
                        port,
                        floods: Floods::default(),
                        is_gone: false,
                    });
                }
                Err(refused) => {
                    log::error!("{name} is not served: {refused}");
                    back.refuse(refused.reason());
                }
            }
        }
    }

    fn attach(&mut self, back: &Back<X>) -> Result<(usize, PortId), Refused> {
        let settings = back.settings();
        let segment = self.named(&settings.bridge).ok_or(Refused::Bridge)?;
        if settings.mtu > MTU {
            return Err(Refused::Mtu);
        }
        let mut others = self.guests.iter().filter(|guest| guest.segment == segment);
        let is_taken = |guest: &Guest<X>| {
            let theirs = &guest.back.settings().addresses;
            settings.addresses.iter().any(|own| theirs.contains(own))
        };
        if others.any(is_taken) {
            return Err(Refused::AddressTaken);
        }
        let learning = match settings.addresses.is_empty() {
            true => Learning::On,
            false => Learning::Off,
        };
        let port = self.segments[segment]
            .bridge
            .attach(settings.mac, learning)?;
        Ok((segment, port))
    }

    /// The bridge of that name, which is made if there is none yet.
    fn named(&mut self, name: &str) -> Option<usize> {
        let name = if name.is_empty() {
            BRIDGE_DEFAULT
        } else {
            name
        };
        let known = self.segments.iter().position(|it| it.name == name);
        if known.is_some() {
            return known;
        }
        (0..BRIDGES_MAX)
            .any(|number| name == format!("{BRIDGE_PREFIX}{number}"))
            .then(|| self.make(name.to_string()))
    }

    fn make(&mut self, name: String) -> usize {
        self.segments.push(Segment {
            name,
            losses: Losses::default(),
            bridge: Bridge::new(NOBODY),
            card: None,
            wire: None,
            floods: Floods::default(),
            guests: [0; PORTS_MAX],
            is_served: false,
            is_busy: false,
        });
        self.segments.len() - 1
    }

    /// The bridge that a card is the wire of: the one that it had, or the first that never had any.
    fn of_card(&mut self, address: Address) -> Option<usize> {
        let had = |segment: &Segment| segment.card == Some(address);
        if let Some(known) = self.segments.iter().position(had) {
            return Some(known);
        }
        let segment = (0..BRIDGES_MAX).find_map(|number| {
            let segment = self.named(&format!("{BRIDGE_PREFIX}{number}"))?;
            self.segments[segment].card.is_none().then_some(segment)
        })?;
        self.segments[segment].card = Some(address);
        log::info!("{address} is the wire of {}", self.segments[segment].name);
        Some(segment)
    }

    /// The end of a turn: exchanges frames on bridges without a card, and looks for what came meanwhile. When
    /// to call again if nothing happens.
    pub fn finish(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut earlier = |other: Option<Instant>| {
            next = [next, other].into_iter().flatten().min();
        };
        for number in 0..self.segments.len() {
            if !core::mem::take(&mut self.segments[number].is_served) {
                let segment = &mut self.segments[number];
                if let Some(wire) = segment.wire.take() {
                    segment.bridge.detach(wire);
                }
                self.serve(now, number, &mut Wire(None));
                self.segments[number].is_served = false;
            }
            let is_busy = core::mem::take(&mut self.segments[number].is_busy);
            earlier(is_busy.then_some(now));
        }
        for guest in &mut self.guests {
            earlier(guest.back.park(now, Wake::FirstSlot, LOOK));
            earlier(guest.is_gone.then_some(now));
        }
        next
    }
}

impl<X: Hardware> Traffic<X> for Switch<X> {
    fn exchange(
        &mut self,
        now: Instant,
        address: Address,
        nic: &mut dyn Nic<X>,
    ) -> Option<Instant> {
        let number = self.of_card(address)?;
        let segment = &mut self.segments[number];
        if segment.wire.is_none() {
            segment.wire = segment.bridge.attach_wire().ok();
        }
        self.serve(now, number, &mut Wire(Some(nic)));
        // The end of the turn tells when to come again.
        None
    }

    fn take_back(&mut self, buffer: RxBuffer<X::Page>) {
        Wire(None).give_back(&mut self.guests, buffer);
    }
}
