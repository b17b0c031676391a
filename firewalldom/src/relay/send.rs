//! A judged frame on its way out: its pages are trimmed and lent, and it goes into a ring or waits.

use super::Relay;
use super::ends::{Egress, Ingress};
use super::queue::Payload;
use crate::offload::{gso_to_ring, offload, to_ring};
use crate::policy::InterfaceId;
use crate::time::Instant;
use crate::{Head, OwnedFrame};
use core::time::Duration;
use minios_rs::net;
use minios_rs::xen::Xen;

/// Buffers of an interface that are never lent: what it receives for others goes on while one
/// egress stands still.
const RESERVED: u16 = 64;

impl<X: Xen> Relay<X> {
    /// Leaves the pages that hold `wanted` bytes of a frame from `offset` on; the others go back at
    /// once. False: they are too short; all went back.
    pub(super) fn trim(&mut self, slots: &mut Payload<X>, offset: usize, wanted: usize) -> bool {
        let (mut skip, mut wanted) = (offset, wanted);
        for slice in slots.iter_mut() {
            let skipped = skip.min(usize::from(slice.len));
            skip -= skipped;
            slice.offset += skipped as u16;
            slice.len = (usize::from(slice.len) - skipped).min(wanted) as u16;
            wanted -= usize::from(slice.len);
        }
        if wanted > 0 {
            self.ends.recycle_all(slots);
            return false;
        }
        // Those with bytes lie together: empty are the first, used up, and the last, not wanted.
        while slots.last().is_some_and(|slice| slice.len == 0)
            && let Some(slice) = slots.pop()
        {
            self.ends.recycle(slice.buffer);
        }
        while slots.first().is_some_and(|slice| slice.len == 0) {
            self.ends.recycle(slots.remove(0).buffer);
        }
        true
    }

    /// Notes that pages of one front go to another, or to guests; false, and the frame is lost, if that is
    /// more than its share.
    ///
    /// Each egress may hold an equal part of what is not [`RESERVED`]: a backend that stops
    /// answering costs the others nothing. A guest's pages are its own copies, and there are no more of
    /// them than it may have.
    fn lend(&mut self, ingress: Ingress, egress: usize, payload: &mut Payload<X>) -> bool {
        let Ingress::Front(ingress) = ingress else {
            return true;
        };
        let guests = self.ends.all_guests();
        let has_guests = !self.ends.guests.is_empty();
        let others = guests.saturating_sub(1) + usize::from(has_guests);
        let share = usize::from(net::Config::default().rx_buffers - RESERVED) / others.max(1);
        for is_last in [egress != guests, true] {
            let lent = self.ends.ports.get_mut(ingress);
            let lent = lent.and_then(|port| port.lent.get_mut(egress));
            if let Some(lent) = lent
                && usize::from(*lent) + payload.len() <= share
            {
                *lent += payload.len() as u16;
                return true;
            }
            if is_last {
                break;
            }
            // What guests have got is copied at once.
            self.ends.settle();
        }
        self.losses.egress_full += 1;
        self.ends.recycle_all(payload);
        false
    }

    /// Puts a frame into its egress ring, unless others wait for it already: frames of one flow keep
    /// their order.
    fn offer(
        &mut self,
        egress: Egress,
        head: &[u8],
        payload: &mut Payload<X>,
        offload: net::Offload,
    ) -> Result<(), net::TransmitError> {
        match egress {
            Egress::Front(number) => {
                let port = &mut self.ends.ports[number];
                if port.waiting.is_empty() {
                    let payload = payload.as_mut_view();
                    return port.front.transmit_slots(head, payload, offload);
                }
            }
            Egress::Guest(number) => {
                let back = &mut self.ends.guests[number].back;
                return back.offer(head, payload.as_mut_view(), offload);
            }
            Egress::Flood { .. } | Egress::Nowhere => return Err(net::TransmitError::NotOpen),
        }
        Err(net::TransmitError::Full)
    }

    /// Counts a frame that was lent pages but not sent, and takes them back.
    pub(super) fn lose(
        &mut self,
        egress: usize,
        payload: &mut Payload<X>,
        error: net::TransmitError,
    ) {
        self.losses.count(error);
        self.ends.give_back(egress, payload);
    }

    /// Sends a frame, or lets it wait if `waits`, its headers, are in one piece.
    fn pass(
        &mut self,
        ingress: Ingress,
        egress: Egress,
        head: &[u8],
        waits: Option<&Head>,
        payload: &mut Payload<X>,
        offload: net::Offload,
    ) {
        let lent = match egress {
            Egress::Front(number) => match self.ends.fetch(ingress, payload) {
                Ok(()) => number,
                Err(error) => {
                    self.losses.count(error);
                    return self.ends.recycle_all(payload);
                }
            },
            Egress::Guest(_) => self.ends.all_guests(),
            Egress::Flood {
                interface,
                from,
                decision,
            } => {
                let to = (interface, from, decision);
                return self.flood_forwarded(ingress, to, head, payload, offload);
            }
            Egress::Nowhere => {
                self.losses.not_sendable += 1;
                return self.ends.recycle_all(payload);
            }
        };
        if !self.lend(ingress, lent, payload) {
            return;
        }
        let Err(error) = self.offer(egress, head, payload, offload) else {
            return;
        };
        let waits = waits.filter(|_| error == net::TransmitError::Full);
        let is_kept = waits.is_some_and(|head| match egress {
            Egress::Guest(number) => self.ends.guests[number].back.keep(head, payload, offload),
            _ => self.ends.ports[lent].waiting.push(head, payload, offload),
        });
        if !is_kept {
            self.lose(lent, payload, error);
        }
    }

    /// Sends `len` bytes of a frame that was received: the head, and what lies from `payload_at` on.
    pub(super) fn send_received(
        &mut self,
        ingress: Ingress,
        egress: Egress,
        head: &Head,
        received: &mut net::Received<X::Page>,
        payload_at: usize,
        len: usize,
    ) {
        if is_full(received, payload_at) {
            return self.send_merged(ingress, egress, head, received, payload_at, len);
        }
        let wanted = len.saturating_sub(head.bytes().len());
        if self.trim(&mut received.slots, payload_at, wanted) {
            let offload = offload(received);
            self.send(ingress, egress, head, &mut received.slots, offload);
        } else {
            self.losses.not_sendable += 1;
        }
    }

    pub(super) fn send(
        &mut self,
        ingress: Ingress,
        egress: Egress,
        head: &Head,
        payload: &mut Payload<X>,
        offload: net::Offload,
    ) {
        self.pass(ingress, egress, head.bytes(), Some(head), payload, offload);
    }

    /// Sends a frame of as many slots as there may be: a header slot before them would be one too
    /// many, so all of the first slot is copied behind the headers. Rare (no Linux sends such), so
    /// it may allocate, and it does not wait for room.
    pub(super) fn send_merged(
        &mut self,
        ingress: Ingress,
        egress: Egress,
        head: &Head,
        received: &mut net::Received<X::Page>,
        payload_at: usize,
        len: usize,
    ) {
        let first = received
            .slots
            .first()
            .map_or(0, |slice| usize::from(slice.len));
        let mut bytes = head.bytes().to_vec();
        let headers = bytes.len();
        // Not what lies behind the packet: the engine may have cut the frame within this slot.
        bytes.resize((headers + first - payload_at).min(len), 0);
        received.read(payload_at, &mut bytes[headers..]);
        let wanted = len.saturating_sub(bytes.len());
        let offload = offload(received);
        let payload = &mut received.slots;
        if !self.trim(payload, first, wanted) {
            self.losses.not_sendable += 1;
            return;
        }
        self.pass(ingress, egress, &bytes, None, payload, offload);
    }

    /// Frames that the engine made itself, or kept.
    pub(super) fn send_own(&mut self, now: Instant) {
        for unsent in core::mem::take(&mut self.unsent) {
            self.send_owned(now, unsent);
        }
        while let Some((interface, frame)) = self.firewall.take_output() {
            self.send_owned(
                now,
                Unsent {
                    since: now,
                    interface,
                    frame,
                },
            );
        }
    }

    fn send_owned(&mut self, now: Instant, own: Unsent) {
        let (bytes, offload) = (
            &own.frame.bytes,
            net::Offload {
                checksum: to_ring(own.frame.checksum),
                gso: own.frame.gso.map(gso_to_ring),
            },
        );
        let egress = self.ends.egress(now, own.interface, bytes);
        let sent = match egress {
            Egress::Front(number) => {
                let front = &mut self.ends.ports[number].front;
                front.transmit_bytes(bytes, offload)
            }
            Egress::Guest(number) => self.ends.guests[number].back.send_first(bytes, offload),
            Egress::Flood {
                interface,
                from,
                decision,
            } => {
                self.flood((interface, from, decision), bytes, offload);
                return;
            }
            // Nobody is asked where a guest is that is not there.
            Egress::Nowhere => return,
        };
        let Err(error) = sent else { return };
        let is_patient = error == net::TransmitError::Full && matches!(egress, Egress::Front(_));
        let held = self.unsent.iter().map(|other| other.frame.bytes.len());
        if is_patient
            && bytes.len() > net::front::HEAD_MAX
            && now < own.since + UNSENT_FOR
            && held.sum::<usize>() + bytes.len() <= UNSENT_BYTES
        {
            self.unsent.push(own);
        } else {
            self.losses.count(error);
        }
    }
}

/// A frame of the engine's keeping that is too long to find room at once, because many have waited for the same
/// neighbour: a front has few pages for such.
pub(super) struct Unsent {
    since: Instant,
    interface: InterfaceId,
    frame: OwnedFrame,
}

/// How long such frames wait for the backend to let go of the ones before, and how many bytes they may have.
const UNSENT_FOR: Duration = Duration::from_secs(1);
const UNSENT_BYTES: usize = 256 * 1024;

/// Whether what lies behind the headers fills every slot a frame may have.
fn is_full<P>(received: &net::Received<P>, payload_at: usize) -> bool {
    let first = received
        .slots
        .first()
        .map_or(0, |slice| usize::from(slice.len));
    received.slots.len() > net::front::TAIL_MAX && payload_at < first
}
