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
mod wire;

use crate::cards::Traffic;
use crate::config::{self, Config, Limit, Lock};
use crate::nic::{Link, Nic};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use flood::Floods;
use minios_rs::hardware::Hardware;
use minios_rs::net::back::{self, BRIDGE_DEFAULT};
use minios_rs::net::bridge::{AttachError, Bridge, Learning, PORTS_MAX, PortId};
use minios_rs::net::moderation::{Found, Moderation};
use minios_rs::net::{Back, Backends, ETHERNET_HEADER, MacAddress, Outlet, RxBuffer};
use minios_rs::pci::Address;
use minios_rs::time::Instant;
use minios_rs::xen::PAGE_SIZE;
use pass::{Frame, Header};
use thiserror::Error;
use wire::{Side, TAG, Wire};

/// What guests' frontends are offered.
pub const OFFER: back::Config = back::Config {
    queues_max: 1,
    event_channels: back::EventChannels::Shared,
    fetch_pages_max: 64,
    multicast: back::MulticastControl::Withheld,
    ipv6_offloads: back::Ipv6Offloads::Offered,
};

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
    /// It is to be locked to its addresses, and has none.
    NoAddress,
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
            Self::NoAddress => "it is to have ip=: lock = \"address\" in netdom's configuration",
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
    /// From the wire, of a VLAN that is no bridge's of this card; or tagged by a guest where tags tell bridges
    /// apart.
    pub other_vlan: u64,
    /// From the wire of the card that only stands by.
    pub standing_by: u64,
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
            ("of no VLAN here", self.other_vlan),
            ("by the card that stands by", self.standing_by),
            ("not taken by the receiver", self.not_sendable),
        ]
        .into_iter()
    }
}

struct Segment {
    config: config::Bridge,
    losses: Losses,
    bridge: Bridge,
    /// Its card and the one that stands by, and which of them is its wire.
    sides: [Side; 2],
    active: usize,
    /// The wire's port, while it is there.
    wire: Option<PortId>,
    /// The wire is another: who is behind it has to be told where stations are now.
    has_moved: bool,
    /// Tags tell its frames from those of other bridges on the same card.
    is_trunk: bool,
    /// It has had a card or a guest.
    is_used: bool,
    /// Its frames are being exchanged.
    is_mine: bool,
    /// What the wire has sent for all.
    floods: Floods,
    /// For each port the number of its guest.
    guests: [u8; PORTS_MAX],
    /// Its frames were exchanged in this turn.
    is_served: bool,
    /// There may be more to take at once.
    is_busy: bool,
}

impl Segment {
    fn new(config: config::Bridge) -> Self {
        Self {
            config,
            losses: Losses::default(),
            bridge: Bridge::new(NOBODY),
            sides: Default::default(),
            active: 0,
            wire: None,
            has_moved: false,
            is_trunk: false,
            is_used: true,
            is_mine: false,
            floods: Floods::default(),
            guests: [0; PORTS_MAX],
            is_served: false,
            is_busy: false,
        }
    }
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
    vifs: Vec<config::Vif>,
    /// The cards in the order in which they came.
    cards: Vec<Address>,
    segments: Vec<Segment>,
    guests: Vec<Guest<X>>,
    /// Pages that wait for them all.
    waiting_pages: usize,
    /// Pages that wait for their card's turn: those of this turn, and of the one before.
    astray: [Vec<RxBuffer<X::Page>>; 2],
    frame: Option<Box<Frame<X>>>,
    moderation: Moderation,
    /// What this turn has taken so far.
    found: Found,
    /// Where a frame is put together that several get: none that has no room there is.
    copy: Vec<u8>,
}

impl<X: Hardware> Default for Switch<X> {
    fn default() -> Self {
        let mut switch = Self::new(Config::default());
        for segment in &mut switch.segments {
            segment.is_used = false;
        }
        switch
    }
}

impl<X: Hardware> Switch<X> {
    /// The bridges of a configuration.
    pub fn new(config: Config) -> Self {
        let frame_max = usize::from(config.mtu()) + ETHERNET_HEADER + TAG;
        Self {
            vifs: config.vifs,
            cards: Vec::new(),
            segments: config.bridges.into_iter().map(Segment::new).collect(),
            guests: Vec::new(),
            waiting_pages: 0,
            astray: Default::default(),
            frame: None,
            moderation: Moderation::default(),
            found: Found::default(),
            copy: Vec::with_capacity(frame_max.max(PAGE_SIZE)),
        }
    }

    /// The bridges that cards or guests are on, and what got lost there.
    pub fn bridges(&self) -> impl Iterator<Item = (&str, Losses)> {
        let segments = self.segments.iter().filter(|segment| segment.is_used);
        segments.map(|segment| (segment.config.name.as_str(), segment.losses))
    }

    /// The vifs that are served: their names and their bridges'.
    pub fn guests(&self) -> impl Iterator<Item = (&str, &str)> {
        let guests = self.guests.iter();
        guests.map(|guest| {
            let segment = &self.segments[guest.segment];
            (guest.name.as_str(), segment.config.name.as_str())
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
        while let Some(mut back) = backends.arrived() {
            let name = back.name();
            match self.attach(&name, &back) {
                Ok((segment, port)) => {
                    log::info!("{name} is on {}", self.segments[segment].config.name);
                    back.limit(self.limit(&name, segment).rate());
                    self.segments[segment].is_used = true;
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

    /// What the configuration says of a vif.
    fn said(&self, name: &str) -> Option<&config::Vif> {
        self.vifs.iter().find(|vif| vif.name == name)
    }

    /// How much a vif on a bridge may send.
    fn limit(&self, name: &str, segment: usize) -> Limit {
        let own = self.said(name).and_then(|vif| vif.rate);
        own.unwrap_or(self.segments[segment].config.rate)
    }

    fn attach(&mut self, name: &str, back: &Back<X>) -> Result<(usize, PortId), Refused> {
        let settings = back.settings();
        let bridge = match settings.bridge.as_str() {
            "" => BRIDGE_DEFAULT,
            named => named,
        };
        let mut segments = self.segments.iter();
        let segment = segments.position(|it| it.config.name == bridge);
        let segment = segment.ok_or(Refused::Bridge)?;
        let config = &self.segments[segment].config;
        if settings.mtu > config.mtu {
            return Err(Refused::Mtu);
        }
        let lock = self.said(name).and_then(|vif| vif.lock);
        let lock = lock.unwrap_or(config.lock);
        if lock == Lock::Address && settings.addresses.is_empty() {
            return Err(Refused::NoAddress);
        }
        let mut others = self.guests.iter().filter(|guest| guest.segment == segment);
        let is_taken = |guest: &Guest<X>| {
            let theirs = &guest.back.settings().addresses;
            settings.addresses.iter().any(|own| theirs.contains(own))
        };
        if others.any(is_taken) {
            return Err(Refused::AddressTaken);
        }
        let learning = match lock == Lock::Open && settings.addresses.is_empty() {
            true => Learning::On,
            false => Learning::Off,
        };
        let port = self.segments[segment]
            .bridge
            .attach(settings.mac, learning)?;
        Ok((segment, port))
    }

    /// The end of a turn: exchanges frames on bridges without a card, and looks for what came meanwhile. When
    /// to call again if nothing happens.
    pub fn finish(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut earlier = |other: Option<Instant>| {
            next = [next, other].into_iter().flatten().min();
        };
        for segment in &mut self.segments {
            if !segment.is_served
                && let Some(wire) = segment.wire.take()
            {
                segment.bridge.detach(wire);
            }
        }
        self.serve(now, None, &mut Wire::new(None));
        // Those of the turn before have met every card that there is: whose they were is gone, and they are free.
        let [new, old] = &mut self.astray;
        old.clear();
        core::mem::swap(new, old);
        for segment in &mut self.segments {
            segment.is_served = false;
            earlier(core::mem::take(&mut segment.is_busy).then_some(now));
            earlier(segment.choose(now));
        }
        self.moderation.count(now, core::mem::take(&mut self.found));
        let wake = self.moderation.wake();
        for guest in &mut self.guests {
            earlier(guest.back.park(now, wake, LOOK));
            earlier(guest.is_gone.then_some(now));
        }
        earlier(self.moderation.deadline(now));
        next
    }

    /// What the last turn took, from being woken to going to sleep: how long frames may wait for each other depends
    /// on it.
    pub fn took(&mut self, time: Duration) {
        self.moderation.took(time);
    }
}

impl<X: Hardware> Traffic<X> for Switch<X> {
    fn exchange(
        &mut self,
        now: Instant,
        address: Address,
        nic: &mut dyn Nic<X>,
    ) -> Option<Instant> {
        self.welcome(address);
        for pages in &mut self.astray {
            for buffer in core::mem::take(pages) {
                match buffer.owner() == nic.id() {
                    true => nic.recycle(buffer),
                    false => pages.push(buffer),
                }
            }
        }
        let is_up = nic.is_open() && nic.link() != Link::Down;
        for segment in &mut self.segments {
            segment.note(now, address, is_up);
        }
        self.serve(now, Some(address), &mut Wire::new(Some(nic)));
        // The end of the turn tells when to come again.
        None
    }

    fn take_back(&mut self, buffer: RxBuffer<X::Page>) {
        Wire::new(None).give_back(&mut self.guests, buffer);
    }
}
