//! The wire of a bridge: which card it is, and with which tag. Another card may stand by, on the same network: it is
//! the wire while the first has no link.

use super::{Guest, Segment, Switch};
use crate::config::CARDS_MAX;
use crate::nic::{Link, Nic};
use alloc::vec::Vec;
use core::time::Duration;
use minios_rs::hardware::Hardware;
use minios_rs::net::back::HEAD_MAX;
use minios_rs::net::queue::Payload;
use minios_rs::net::{MacAddress, Offload, RxBuffer, Slice, TransmitError};
use minios_rs::pci::Address;
use minios_rs::time::Instant;

/// Bytes of a tag (802.1Q).
pub(super) const TAG: usize = 4;

/// How long a card's link has to be there again before the card is the wire again.
const HOLD: Duration = Duration::from_secs(5);

/// A card of a bridge's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Side {
    /// From when it first came.
    pub(super) address: Option<Address>,
    /// Since when it can be sent to.
    up_since: Option<Instant>,
    /// It was there in this turn.
    is_here: bool,
}

impl Segment {
    /// Whether frames of that VLAN are on it, or such without a tag.
    pub(super) fn has(&self, vlan: Option<u16>) -> bool {
        !self.is_trunk || self.config.vlan == vlan
    }

    fn names(&self, address: Address) -> bool {
        self.sides.iter().any(|side| side.address == Some(address))
    }

    /// Notes how a card is.
    pub(super) fn note(&mut self, now: Instant, address: Address, is_up: bool) {
        for side in &mut self.sides {
            if side.address == Some(address) {
                side.is_here = true;
                side.up_since = is_up.then(|| side.up_since.unwrap_or(now));
            }
        }
    }

    /// The end of a turn: chooses the card that is the wire. When to choose again.
    pub(super) fn choose(&mut self, now: Instant) -> Option<Instant> {
        for side in &mut self.sides {
            if !core::mem::take(&mut side.is_here) {
                side.up_since = None;
            }
        }
        let [own, other] = self.sides.map(|side| side.up_since);
        let back = own.map(|since| since.after(HOLD));
        let wanted = match self.active {
            0 if own.is_none() && other.is_some() => 1,
            1 if own.is_some() && (other.is_none() || back <= Some(now)) => 0,
            active => active,
        };
        if wanted != self.active {
            self.active = wanted;
            self.has_moved = true;
            if let Some(address) = self.sides[wanted].address {
                log::warn!("{address} is the wire of {} now", self.config.name);
            }
            return Some(now);
        }
        back.filter(|_| self.active == 1)
    }
}

impl<X: Hardware> Switch<X> {
    /// Finds out, when a card first comes, of which bridges it is the wire.
    pub(super) fn welcome(&mut self, address: Address) {
        if self.cards.contains(&address) || self.cards.len() >= usize::from(CARDS_MAX) {
            return;
        }
        self.cards.push(address);
        let number = self.cards.len();
        for segment in &mut self.segments {
            let config = &segment.config;
            let is_it = |card: &Option<_>| {
                card.is_some_and(|card: crate::config::Card| card.is(address, number))
            };
            let Some(side) = config.cards().iter().position(is_it) else {
                continue;
            };
            let what = ["is the wire of", "stands by for"][side];
            log::info!("{address} {what} {}", config.name);
            segment.sides[side].address = Some(address);
            segment.is_used = true;
        }
        let here = |segment: &&mut Segment| segment.names(address);
        let mut all = self
            .segments
            .iter()
            .filter(|segment| segment.names(address));
        if all.any(|segment| segment.config.vlan.is_some()) {
            for segment in self.segments.iter_mut().filter(here) {
                segment.is_trunk = true;
            }
        }
    }
}

/// The card that is a bridge's wire, if it has one now.
pub(super) struct Wire<'a, X: Hardware> {
    pub(super) nic: Option<&'a mut dyn Nic<X>>,
    /// Pages of nobody's who is looked at now: of another card's, or of one that is gone.
    pub(super) astray: Vec<RxBuffer<X::Page>>,
}

impl<'a, X: Hardware> Wire<'a, X> {
    pub(super) fn new(nic: Option<&'a mut dyn Nic<X>>) -> Self {
        Self {
            nic,
            astray: Vec::new(),
        }
    }
}

impl<X: Hardware> Wire<'_, X> {
    /// Gives a page back to whose it is.
    pub(super) fn give_back(&mut self, guests: &mut [Guest<X>], buffer: RxBuffer<X::Page>) {
        let owner = buffer.owner();
        if let Some(nic) = self.nic.as_mut().filter(|nic| nic.id() == owner) {
            nic.recycle(buffer);
        } else if let Some(guest) = guests.iter_mut().find(|it| it.back.id() == owner) {
            guest.back.recycle(buffer);
        } else {
            self.astray.push(buffer);
        }
    }

    pub(super) fn give_back_all(&mut self, guests: &mut [Guest<X>], payload: &mut Payload<X>) {
        while let Some(slice) = payload.pop() {
            self.give_back(guests, slice.buffer);
        }
    }

    /// Whether frames can be sent there.
    pub(super) fn is_plugged(&self) -> bool {
        let nic = self.nic.as_ref();
        nic.is_some_and(|nic| nic.is_open() && nic.link() != Link::Down)
    }

    /// Sends a frame, with the tag of a VLAN.
    pub(super) fn send(
        &mut self,
        vlan: Option<u16>,
        head: &[u8],
        tail: &mut heapless::VecView<Slice<X::Page>>,
        offload: Offload,
    ) -> Result<(), TransmitError> {
        let Some(nic) = &mut self.nic else {
            return Err(TransmitError::NotOpen);
        };
        let Some(vlan) = vlan else {
            return nic.transmit_slots(head, tail, offload);
        };
        let mut tagged = heapless::Vec::<u8, { HEAD_MAX + TAG }>::new();
        let [high, low] = vlan.to_be_bytes();
        let (stations, rest) = head.split_at_checked(12).ok_or(TransmitError::Size)?;
        for part in [stations, &[0x81, 0, high, low], rest] {
            let fits = tagged.extend_from_slice(part);
            fits.map_err(|_| TransmitError::Size)?;
        }
        nic.transmit_slots(&tagged, tail, offload)
    }

    /// Says on the wire, as a station that asks who it is (RARP), that it is behind this card.
    pub(super) fn tell(&mut self, vlan: Option<u16>, mac: MacAddress) {
        let mut frame = [0; 60];
        frame[..6].fill(0xff);
        frame[6..12].copy_from_slice(&mac.0);
        frame[12..22].copy_from_slice(&[0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]);
        frame[22..28].copy_from_slice(&mac.0);
        frame[32..38].copy_from_slice(&mac.0);
        let mut none = Payload::<X>::new();
        // Whoever is not told hears the station when it speaks.
        let _ = self.send(vlan, &frame, none.as_mut_view(), Offload::default());
    }

    pub(super) fn has_room(&mut self) -> bool {
        !self.is_plugged() || self.nic.as_mut().is_none_or(|nic| nic.has_room())
    }
}
