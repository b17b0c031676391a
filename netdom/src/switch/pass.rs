//! Frames of one bridge: taken, decided about, passed on.

use super::guard::may_send;
use super::wire::{TAG, Wire};
use super::{Floods, Guest, Losses, Segment, Switch};
use crate::nic::offload::holds;
use alloc::vec::Vec;
use minios_rs::hardware::Hardware;
use minios_rs::net::back::HEAD_MAX;
use minios_rs::net::bridge::{Decision, PortId, Refusal};
use minios_rs::net::moderation::Found;
use minios_rs::net::{ETHERNET_HEADER, Offload, Received, RxBuffer, TransmitError};
use minios_rs::pci::Address;
use minios_rs::time::Instant;
use minios_rs::xen::PAGE_SIZE;

/// Frames taken from a guest before the others get their turn: as many as an event may be waited for.
const BURST: usize = 96;

/// The same of a card, which many are behind.
const WIRE_BURST: usize = 256;

/// Pages that wait for guests, of all, beyond which none of a card's is left waiting: it needs them to receive
/// for others.
const WIRE_PAGES_WAITING: usize = 96;

/// Bytes of a long frame from the wire that are copied to be looked at.
const HEADERS: usize = 128;

/// Where a frame came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ingress {
    Wire,
    Guest(usize),
}

/// The first bytes of a frame.
pub(super) type Header = heapless::Vec<u8, HEAD_MAX>;

/// A frame on its way: in one place, because it is large.
pub(super) struct Frame<X: Hardware> {
    received: Received<X::Page>,
    /// Its first bytes, copied once: they are what is looked at, and what is sent.
    head: Header,
}

impl<X: Hardware> Default for Frame<X> {
    fn default() -> Self {
        Self {
            received: Received::default(),
            head: Header::new(),
        }
    }
}

impl<X: Hardware> Frame<X> {
    fn len(&self) -> usize {
        self.received.len as usize
    }

    /// What it counts for, before anything is taken off it.
    fn found(&self) -> Found {
        Found {
            frames: 1,
            slots: self.received.slots.len().max(1),
        }
    }

    /// The VLAN that its tag names; none: it has no tag, or one that says only how urgent it is.
    fn vlan(&self) -> Option<u16> {
        let [0x81, 0, high, low] = *self.head.get(12..16)? else {
            return None;
        };
        let vlan = u16::from_be_bytes([high, low]) & 0xfff;
        (vlan != 0).then_some(vlan)
    }

    /// Whether it has a tag, of a VLAN or of a provider's.
    fn is_tagged(&self) -> bool {
        matches!(self.head.get(12..14), Some([0x81, 0] | [0x88, 0xa8]))
    }

    /// Takes the tag off that it has.
    fn untag(&mut self) {
        self.head.copy_within(12 + TAG.., 12);
        self.head.truncate(self.head.len() - TAG);
        self.received.len -= TAG as u32;
    }

    fn offload(&self) -> Offload {
        Offload {
            checksum: self.received.checksum,
            gso: self.received.gso,
        }
    }

    /// Copies the first bytes; what is left in the slots follows them. A page that is used up is handed to
    /// `done`.
    fn read_head(&mut self, ingress: Ingress, mut done: impl FnMut(RxBuffer<X::Page>)) {
        let wanted = match ingress {
            // Whole as far as it lies in memory of ours.
            Ingress::Guest(_) => HEAD_MAX,
            Ingress::Wire if self.len() <= HEAD_MAX => HEAD_MAX,
            Ingress::Wire => HEADERS,
        };
        // As many as fit.
        let _ = self.head.resize(wanted, 0);
        let mut left = self.received.read(0, &mut self.head);
        self.head.truncate(left);
        while left > 0 {
            let Some(first) = self.received.slots.first_mut() else {
                return;
            };
            if usize::from(first.len) > left {
                first.advance(left as u16);
                return;
            }
            left -= usize::from(first.len);
            done(self.received.slots.remove(0).buffer);
        }
    }
}

impl Losses {
    fn count_refusal(&mut self, refusal: Refusal) {
        match refusal {
            Refusal::Malformed => self.malformed += 1,
            Refusal::Spoofed => self.spoofed += 1,
            Refusal::Reserved | Refusal::Returning => self.not_forwarded += 1,
        }
    }

    fn count(&mut self, sent: Result<(), TransmitError>) {
        match sent {
            Ok(()) => {}
            Err(TransmitError::Full) => self.full += 1,
            Err(_) => self.not_sendable += 1,
        }
    }
}

/// The bridges of one card, and all that their frames come from and go to.
pub(super) struct Exchange<'a, 'wire, X: Hardware> {
    now: Instant,
    segments: &'a mut [Segment],
    /// The bridge that the present frame is on.
    number: usize,
    guests: &'a mut [Guest<X>],
    waiting_pages: &'a mut usize,
    pub(super) wire: &'a mut Wire<'wire, X>,
    found: &'a mut Found,
    copy: &'a mut Vec<u8>,
}

impl<X: Hardware> Switch<X> {
    /// Exchanges the frames of a card's bridges; without one, of those that have none now.
    pub(super) fn serve(&mut self, now: Instant, card: Option<Address>, wire: &mut Wire<'_, X>) {
        for segment in &mut self.segments {
            segment.is_mine = match card {
                Some(_) => segment.sides[segment.active].address == card,
                None => !segment.is_served,
            };
            if card.is_some() && segment.is_mine {
                segment.is_served = true;
                if segment.wire.is_none() {
                    segment.wire = segment.bridge.attach_wire().ok();
                }
            }
        }
        let mut frame = self.frame.take().unwrap_or_default();
        let mut exchange = Exchange {
            now,
            segments: &mut self.segments,
            number: 0,
            guests: &mut self.guests,
            waiting_pages: &mut self.waiting_pages,
            wire,
            found: &mut self.found,
            copy: &mut self.copy,
        };
        exchange.take_sent();
        for guest in 0..exchange.guests.len() {
            if !exchange.enter(guest) {
                continue;
            }
            match exchange.guests[guest].back.is_ending() {
                true => exchange.end(guest),
                false => exchange.send_waiting(guest),
            }
        }
        exchange.tell_moves();
        let mut is_busy = exchange.take_from_wire(card, &mut frame);
        for guest in 0..exchange.guests.len() {
            if exchange.enter(guest) {
                is_busy |= exchange.take_from_guest(guest, &mut frame);
            }
        }
        exchange.settle();
        self.astray[0].append(&mut wire.astray);
        for segment in self.segments.iter_mut().filter(|segment| segment.is_mine) {
            segment.is_busy |= is_busy;
        }
        self.frame = Some(frame);
    }
}

impl<X: Hardware> Exchange<'_, '_, X> {
    /// Goes to a guest's bridge; false: that is not looked at now.
    fn enter(&mut self, guest: usize) -> bool {
        self.number = self.guests[guest].segment;
        self.segments[self.number].is_mine
    }

    /// What the card has sent goes back to whose it is.
    fn take_sent(&mut self) {
        while let Some(buffer) = self.wire.nic.as_mut().and_then(|nic| nic.completed()) {
            self.wire.give_back(self.guests, buffer);
        }
    }

    /// Takes what the card received, and passes it on; whether there may be more.
    fn take_from_wire(&mut self, card: Option<Address>, frame: &mut Frame<X>) -> bool {
        for _ in 0..WIRE_BURST {
            let nic = self.wire.nic.as_mut();
            if !nic.is_some_and(|nic| nic.receive_into(&mut frame.received)) {
                return false;
            }
            *self.found += frame.found();
            self.read_head(Ingress::Wire, frame);
            let vlan = frame.vlan();
            let mut segments = self.segments.iter();
            let found = segments.position(|it| it.is_mine && it.has(vlan));
            let Some(number) = found else {
                self.lose_stray(card);
                self.wire
                    .give_back_all(self.guests, &mut frame.received.slots);
                continue;
            };
            self.number = number;
            if self.segments[number].config.vlan.is_some() {
                frame.untag();
            }
            self.pass(Ingress::Wire, self.segments[number].wire, frame);
        }
        true
    }

    /// Counts a frame that is for no bridge of its card.
    fn lose_stray(&mut self, card: Option<Address>) {
        let losses = match self.segments.iter_mut().find(|segment| segment.is_mine) {
            Some(segment) => &mut segment.losses.other_vlan,
            None => {
                let names =
                    |segment: &&mut Segment| segment.sides.iter().any(|side| side.address == card);
                match self.segments.iter_mut().find(names) {
                    Some(segment) => &mut segment.losses.standing_by,
                    None => return,
                }
            }
        };
        *losses += 1;
    }

    fn read_head(&mut self, ingress: Ingress, frame: &mut Frame<X>) {
        frame.read_head(ingress, |buffer| self.wire.give_back(self.guests, buffer));
    }

    /// The same of a guest.
    fn take_from_guest(&mut self, number: usize, frame: &mut Frame<X>) -> bool {
        for _ in 0..BURST {
            if !self.may_send(number) {
                return false;
            }
            let guest = &mut self.guests[number];
            if !guest.back.receive_into(&mut frame.received) {
                return false;
            }
            let port = Some(guest.port);
            *self.found += frame.found();
            self.read_head(Ingress::Guest(number), frame);
            self.pass(Ingress::Guest(number), port, frame);
        }
        true
    }

    /// Whether a guest's frames are taken now: not while there is no room for them on the way to the wire,
    /// unless that lasts.
    fn may_send(&mut self, number: usize) -> bool {
        let back = &mut self.guests[number].back;
        if !self.wire.is_plugged() || back.has_room_to_fetch() && self.wire.has_room() {
            back.release();
            return true;
        }
        back.hold(self.now)
    }

    /// Decides about a frame, and sends it on its way.
    fn pass(&mut self, ingress: Ingress, port: Option<PortId>, frame: &mut Frame<X>) {
        let segment = &mut self.segments[self.number];
        let is_own = match ingress {
            Ingress::Wire => true,
            Ingress::Guest(number) => may_send(self.guests, number, &frame.head),
        };
        let decision = match port {
            Some(port) if is_own => segment.bridge.ingress(self.now, port, &frame.head),
            _ => Decision::Drop(Refusal::Spoofed),
        };
        let leaves_vlan = segment.is_trunk && ingress != Ingress::Wire && frame.is_tagged();
        match decision {
            _ if leaves_vlan => segment.losses.other_vlan += 1,
            Decision::Drop(refusal) => segment.losses.count_refusal(refusal),
            _ if !holds(&frame.head, frame.len(), frame.offload()) => {
                segment.losses.false_offload += 1;
            }
            Decision::Port(to) if Some(to) == segment.wire => self.send_out(ingress, frame),
            Decision::Port(to) => self.send_to(ingress, to, frame),
            Decision::Everyone | Decision::Learners => self.flood(ingress, port, decision, frame),
            // It has no end of its own.
            Decision::Local => segment.losses.not_forwarded += 1,
        }
        let slots = &mut frame.received.slots;
        self.wire.give_back_all(self.guests, slots);
    }

    /// Sends a frame to the guest at a port.
    fn send_to(&mut self, ingress: Ingress, port: PortId, frame: &mut Frame<X>) {
        let segment = &mut self.segments[self.number];
        let guest = usize::from(segment.guests[port.number()]);
        let has_room = ingress != Ingress::Wire || *self.waiting_pages < WIRE_PAGES_WAITING;
        let Some(guest) = self.guests.get_mut(guest) else {
            return;
        };
        let offload = frame.offload();
        if !guest.back.takes(frame.len(), offload) {
            segment.losses.not_sendable += 1;
            return;
        }
        let slots = &mut frame.received.slots;
        let mut sent = guest.back.offer(&frame.head, slots.as_mut_view(), offload);
        let pages = slots.len();
        if sent == Err(TransmitError::Full)
            && has_room
            && guest.back.keep(&frame.head, slots, offload)
        {
            *self.waiting_pages += pages;
            sent = Ok(());
        }
        segment.losses.count(sent);
    }

    /// Sends what waited for a guest. One that takes nothing for long loses it.
    fn send_waiting(&mut self, number: usize) {
        let others = *self.waiting_pages - self.guests[number].back.waiting_pages();
        while let Some((error, mut payload)) = self.guests[number].back.send_waiting(self.now) {
            self.segments[self.number].losses.count(Err(error));
            self.wire.give_back_all(self.guests, &mut payload);
        }
        *self.waiting_pages = others + self.guests[number].back.waiting_pages();
    }

    /// Lets go of a guest that ends, and of all that it holds of others'.
    fn end(&mut self, number: usize) {
        *self.waiting_pages -= self.guests[number].back.waiting_pages();
        while let Some(mut payload) = self.guests[number].back.drop_waiting() {
            self.wire.give_back_all(self.guests, &mut payload);
        }
        self.guests[number].back.close();
        self.take_completed(number);
        self.guests[number].is_gone = true;
    }

    /// Gives back the pages that a guest's frames were copied from.
    fn take_completed(&mut self, number: usize) {
        while let Some(buffer) = self.guests[number].back.completed() {
            self.wire.give_back(self.guests, buffer);
        }
    }

    /// Makes what is left of a frame lie in pages that a card may read.
    fn fetch(&mut self, ingress: Ingress, frame: &mut Frame<X>) -> Result<(), TransmitError> {
        match ingress {
            Ingress::Wire => Ok(()),
            Ingress::Guest(number) => {
                let slots = frame.received.slots.as_mut_view();
                self.guests[number].back.fetch(slots)
            }
        }
    }

    /// Sends a frame to the wire, with the bridge's tag.
    fn send_out(&mut self, ingress: Ingress, frame: &mut Frame<X>) {
        let segment = &self.segments[self.number];
        let most = usize::from(segment.config.mtu) + ETHERNET_HEADER + TAG;
        let mut sent = match () {
            () if !self.wire.is_plugged() => {
                self.segments[self.number].losses.no_wire += 1;
                return;
            }
            () if frame.received.gso.is_none() && frame.len() > most => Err(TransmitError::Size),
            () => Ok(()),
        };
        let vlan = segment.config.vlan;
        if sent.is_ok() {
            sent = self.fetch(ingress, frame);
        }
        if sent.is_ok() {
            let offload = frame.offload();
            let tail = frame.received.slots.as_mut_view();
            sent = self.wire.send(vlan, &frame.head, tail, offload);
        }
        self.segments[self.number].losses.count(sent);
    }

    /// Tells whoever is behind a new wire which stations are here now: a switch would send to the old one, until
    /// it hears them.
    fn tell_moves(&mut self) {
        for guest in self.guests.iter() {
            let segment = &self.segments[guest.segment];
            if segment.is_mine && segment.has_moved && self.wire.is_plugged() {
                self.wire
                    .tell(segment.config.vlan, guest.back.settings().mac);
            }
        }
        let mine = self.segments.iter_mut().filter(|segment| segment.is_mine);
        for segment in mine {
            segment.has_moved &= !self.wire.is_plugged();
        }
    }

    /// Sends copies of a frame to the guests that are to have it, and the frame itself to the wire.
    fn flood(
        &mut self,
        ingress: Ingress,
        from: Option<PortId>,
        decision: Decision,
        frame: &mut Frame<X>,
    ) {
        let now = self.now;
        if !self.floods(ingress).may(now) {
            self.segments[self.number].losses.flooded += 1;
            return;
        }
        let number = self.number;
        let segment = &mut self.segments[number];
        let bridge = &segment.bridge;
        let is_meant =
            |guest: &Guest<X>| guest.segment == number && bridge.floods(decision, from, guest.port);
        let wire = segment.wire;
        let is_for_wire = wire.is_some_and(|wire| bridge.floods(decision, from, wire));
        if self.guests.iter().any(&is_meant) {
            let is_whole = frame.received.slots.is_empty();
            let fits = is_whole || self.gather(ingress, frame);
            // A long one costs as much as several.
            let each = frame.len().div_ceil(PAGE_SIZE);
            let mut copies = 0;
            let bytes: &[u8] = match is_whole {
                true => &frame.head,
                false => self.copy,
            };
            let segment = &mut self.segments[number];
            let rate = segment.config.flood;
            for guest in self.guests.iter_mut() {
                let is_meant =
                    guest.segment == number && segment.bridge.floods(decision, from, guest.port);
                if !is_meant {
                    continue;
                }
                if !fits {
                    segment.losses.not_sendable += 1;
                    continue;
                }
                copies += each;
                let whole = || is_whole.then(|| frame.head.clone());
                let sent = guest.back.offer_copy(bytes, whole, frame.offload());
                segment.losses.count(sent);
            }
            self.floods(ingress).count(now, copies, rate);
        }
        if is_for_wire {
            self.send_out(ingress, frame);
        }
    }

    /// What a port has sent for all.
    fn floods(&mut self, ingress: Ingress) -> &mut Floods {
        match ingress {
            Ingress::Wire => &mut self.segments[self.number].floods,
            Ingress::Guest(number) => &mut self.guests[number].floods,
        }
    }

    /// Puts a whole frame together; false: it is too long for that, or what is left of it cannot be read.
    fn gather(&mut self, ingress: Ingress, frame: &mut Frame<X>) -> bool {
        if frame.len() > self.copy.capacity() || self.fetch(ingress, frame).is_err() {
            return false;
        }
        self.copy.clear();
        self.copy.extend_from_slice(&frame.head);
        self.copy.resize(frame.len(), 0);
        let rest = frame.len() - frame.head.len();
        frame.received.read(0, &mut self.copy[frame.head.len()..]) == rest
    }

    /// Has Xen copy what guests are to get and gives back the pages that it came from; then what guests sent is
    /// answered.
    fn settle(&mut self) {
        for number in 0..self.guests.len() {
            if !self.enter(number) {
                continue;
            }
            let guest = &mut self.guests[number];
            guest.back.settle();
            if !guest.back.is_open() {
                // What was to be copied will not be: the pages are others'.
                guest.back.close();
            }
            self.take_completed(number);
        }
        for number in 0..self.guests.len() {
            if self.enter(number) {
                self.guests[number].back.flush();
            }
        }
        if let Some(nic) = &mut self.wire.nic {
            nic.flush();
        }
    }
}
