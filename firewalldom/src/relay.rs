//! Between the interfaces' rings and the engine: frames come out of one ring, are judged, and go
//! into another, their payload untouched in the pages it came in.

mod bridge;
mod ends;
mod guests;
mod queue;
mod send;

use crate::offload::{from_ring, gso_from_ring};
use crate::policy::InterfaceId;
use crate::time::Instant;
use crate::{AHEAD, ConfigError, Firewall, Frame, Head, Link, NoTail, Tail, TailError, Verdict};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bridge::{Bridged, clock};
use core::cell::RefCell;
use core::time::Duration;
use ends::{Ends, Guest, Ingress, Port};
pub use guests::OFFER;
use minios_rs::net;
use minios_rs::net::moderation::{self, Found, Moderation};
use minios_rs::ring::Pending;
use minios_rs::xen::Xen;
use send::Unsent;

/// Frames taken from one interface before the others get their turn.
const BURST: usize = 96;

/// How long until a closed backend is asked again for the pages that it still uses.
const RELEASE_RETRY: Duration = Duration::from_millis(100);

/// A frame this long or shorter is copied whole: its pages go back to its sender at once.
const WHOLE: usize = Head::CAPACITY;

/// Bytes of a longer frame that are copied: all headers, unless there are many options.
const HEADERS: usize = 128;

/// Frames lost between rings and engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// The egress ring and the queue before it were full.
    pub egress_full: u64,
    /// The egress ring does not take such a frame: too many pages, too long, or the interface is gone.
    pub not_sendable: u64,
}

impl Losses {
    fn count(&mut self, error: net::TransmitError) {
        match error {
            net::TransmitError::Full => self.egress_full += 1,
            _ => self.not_sendable += 1,
        }
    }

    /// Each kind with its name for tables and statistics.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("egress ring full", self.egress_full),
            ("not sendable on the egress ring", self.not_sendable),
        ]
        .into_iter()
    }
}

/// The firewall at work: every interface's rings, and the engine between them.
pub struct Relay<X: Xen> {
    ends: Ends<X>,
    firewall: Firewall,
    losses: Losses,
    /// What the engine said, in its order, for which there was no room.
    unsent: Vec<Unsent>,
    moderation: Moderation,
    /// Nothing in it is needed from one turn to the next. In a turn it is elsewhere.
    burst: Option<Box<Burst<X>>>,
}

/// Room for the frames that are taken together: in one place, because they are large, and moving or
/// clearing them would be most of a small packet's cost.
struct Burst<X: Xen> {
    received: [net::Received<X::Page>; AHEAD],
    heads: [Head; AHEAD],
}

impl<X: Xen> Default for Burst<X> {
    fn default() -> Self {
        Self {
            received: core::array::from_fn(|_| net::Received::default()),
            heads: [const { Head::new() }; AHEAD],
        }
    }
}

/// The payload of a frame that still lies in its sender's pages.
struct InPages<'a, X: Xen>(&'a net::Received<X::Page>);

impl<X: Xen> Tail for InPages<'_, X> {
    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), TailError> {
        if self.0.read(offset, into) == into.len() {
            Ok(())
        } else {
            Err(TailError)
        }
    }
}

/// The payload of a guest's frame. It stays in the guest's own pages unless the engine wants to read of it, to
/// compute a checksum that nobody vouches for, to put fragments together, to cut the frame or to keep it until
/// its next hop is known; then Xen copies it into pages of ours, once.
struct InGuest<'a, X: Xen>(RefCell<(&'a mut net::Back<X>, &'a mut net::Received<X::Page>)>);

impl<X: Xen> Tail for InGuest<'_, X> {
    fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), TailError> {
        let (guest, received) = &mut *self.0.borrow_mut();
        let fetched = guest.fetch(received.slots.as_mut_view());
        fetched.map_err(|_| TailError)?;
        InPages::<X>(received).read(offset, into)
    }
}

impl<X: Xen> Relay<X> {
    /// `fronts` in the order of the policy's interfaces, behind none of which are guests.
    pub fn new(fronts: Vec<net::Front<X>>, firewall: Firewall) -> Self {
        Self::with_guests(fronts.into_iter().map(Some).collect(), firewall)
    }

    /// For each of the policy's interfaces, in order, its front, or none if guests are behind it.
    pub fn with_guests(fronts: Vec<Option<net::Front<X>>>, firewall: Firewall) -> Self {
        Self {
            ends: Ends::new(fronts, bridge::segments(&firewall).collect()),
            firewall,
            losses: Losses::default(),
            unsent: Vec::new(),
            moderation: Moderation::default(),
            burst: Some(Box::default()),
        }
    }

    /// The engine.
    pub fn firewall(&self) -> &Firewall {
        &self.firewall
    }

    /// The engine.
    pub fn firewall_mut(&mut self) -> &mut Firewall {
        &mut self.firewall
    }

    /// The firewall's own vifs with the interfaces they are, in the order of the policy.
    pub fn fronts(&self) -> impl Iterator<Item = (InterfaceId, &net::Front<X>)> {
        let ports = self.ends.ports.iter();
        ports.map(|port| (port.interface, &port.front))
    }

    /// What got lost here.
    pub fn losses(&self) -> Losses {
        self.losses
    }

    /// What the interface's backend did that cannot be, if anything.
    pub fn breach(&self, number: usize) -> Option<net::front::Breach> {
        match self.ends.ports.get(number)?.front.state() {
            net::State::Broken(breach) => Some(breach),
            net::State::Open | net::State::Closed => None,
        }
    }

    /// Stops an interface whose backend is gone, and lets go of its rings as soon as the backend has.
    /// Frames for it are lost from here on, and counted.
    pub fn close(&mut self, number: usize) {
        let Some(port) = self.ends.ports.get_mut(number) else {
            return;
        };
        if port.front.state() != net::State::Closed {
            port.front.close();
            while let Some(mut payload) = self.ends.ports[number].waiting.drop_first() {
                self.losses.not_sendable += 1;
                self.ends.give_back(number, &mut payload);
            }
        }
    }

    /// Whether a closed interface's backend uses nothing of it any more, so that there may be another.
    pub fn is_released(&self, number: usize) -> bool {
        self.ends
            .ports
            .get(number)
            .is_some_and(|port| port.is_released)
    }

    /// Goes on with another front in place of one that is closed and released: it is the same interface,
    /// with its zone, its addresses and its flows.
    ///
    /// # Errors
    /// [`ConfigError`], if its address is none that it may have; there is no change then.
    ///
    /// # Panics
    /// If there is no such interface, or it is not released.
    pub fn reopen(
        &mut self,
        now: Instant,
        number: usize,
        front: net::Front<X>,
    ) -> Result<(), ConfigError> {
        let port = &mut self.ends.ports[number];
        assert!(port.is_released, "the one before is gone");
        let interface = &self.firewall.policy().interfaces[usize::from(port.interface.0)];
        let link = Link::of(interface, front.mac().0, front.mtu());
        self.firewall.set_link(now, port.interface, &link)?;
        // What others hold of the one before is nobody's when they give it back.
        port.lent.fill(0);
        port.is_released = false;
        port.front = front;
        Ok(())
    }

    /// Does what there is to do, and says when to call again if no event comes before: `now` or
    /// earlier means at once.
    pub fn turn(&mut self, now: Instant) -> Option<Instant> {
        for number in 0..self.ends.ports.len() {
            self.finish(number);
        }
        for number in 0..self.ends.guests.len() {
            self.finish_guest(number, now);
        }
        let mut again = false;
        let mut unreleased = false;
        let mut found = Found::default();
        let mut burst = self.burst.take().unwrap_or_default();
        for number in 0..self.ends.ports.len() {
            if self.ends.ports[number].front.state() == net::State::Closed {
                unreleased |= !self.release(number);
            } else {
                let taken = self.take(Ingress::Front(number), now, &mut burst);
                again |= taken.frames >= BURST;
                found += taken;
            }
        }
        for number in 0..self.ends.guests.len() {
            let taken = self.take(Ingress::Guest(number), now, &mut burst);
            again |= taken.frames >= BURST;
            found += taken;
        }
        self.burst = Some(burst);
        self.moderation.count(clock(now), found);
        let deadline = self.firewall.poll(now);
        self.send_own(now);
        self.ends.settle();
        // What the guests sent is answered once it was copied.
        for guest in self.ends.guests.iter_mut() {
            guest.back.flush();
        }
        for port in &mut self.ends.ports {
            port.front.flush();
        }
        let wake = self.moderation.wake();
        for port in &mut self.ends.ports {
            again |= port.front.state() == net::State::Open
                && port.front.park_until(wake) == Pending::Work;
        }
        let guests = self.park_guests(now, wake);
        if again {
            return Some(now);
        }
        let retry = unreleased.then(|| now + RELEASE_RETRY);
        let look = match self.unsent.is_empty() {
            true => {
                let deadline = self.moderation.deadline(clock(now));
                deadline.map(|deadline| Instant(deadline.0))
            }
            // Nobody is asked to say when there is room for these.
            false => Some(now + moderation::DELAY_MIN),
        };
        [deadline, retry, look, guests].into_iter().flatten().min()
    }

    /// What the last turn took, from being woken to going to sleep: how long frames may wait for each other
    /// depends on it.
    pub fn took(&mut self, time: Duration) {
        self.moderation.took(time);
    }

    /// Takes a closed interface's pages back; whether all came.
    fn release(&mut self, number: usize) -> bool {
        let port = &mut self.ends.ports[number];
        port.is_released = port.is_released || port.front.release().is_ok();
        port.is_released
    }

    /// Pages whose frames were sent go back to the interface they came in by; then what waited is sent.
    fn finish(&mut self, number: usize) {
        while let Some(buffer) = self.ends.ports[number].front.completed() {
            self.ends.return_lent(number, buffer);
        }
        loop {
            let Port { front, waiting, .. } = &mut self.ends.ports[number];
            let offered = waiting.try_first(|head, payload, offload| {
                front.transmit_slots(head, payload.as_mut_view(), offload)
            });
            match offered {
                None | Some((Err(net::TransmitError::Full), _)) => return,
                Some((Ok(()), _)) => {}
                Some((Err(_), mut payload)) => {
                    self.losses.not_sendable += 1;
                    self.ends.give_back(number, &mut payload);
                }
            }
        }
    }

    /// Takes, judges and passes on up to [`BURST`] frames; what came.
    fn take(&mut self, ingress: Ingress, now: Instant, burst: &mut Burst<X>) -> Found {
        let Burst { received, heads } = burst;
        // What a guest may send depends on what became of the frame before.
        let together = match ingress {
            Ingress::Front(_) => AHEAD,
            Ingress::Guest(_) => 1,
        };
        let mut taken = Found::default();
        while taken.frames < BURST {
            let mut came = 0;
            for (received, head) in received[..together].iter_mut().zip(&mut *heads) {
                if !self.may_send(ingress, now) || !self.ends.receive_into(ingress, received) {
                    break;
                }
                fill(head, received);
                came += 1;
            }
            if let Ingress::Front(number) = ingress {
                let interface = self.ends.ports[number].interface;
                self.firewall.look_ahead(interface, &mut heads[..came]);
            }
            for (received, head) in received[..came].iter_mut().zip(&mut *heads) {
                taken.slots += received.slots.len().max(1);
                taken.frames += self.pass_on(ingress, now, received, head);
            }
            // A ring that was empty may have been filled meanwhile: to take it now is cheaper than to
            // be woken for it.
            if came == 0 {
                break;
            }
            taken.frames += came;
        }
        if taken.frames > 0 {
            // What the engine has to say to one is not to fill the room for what it has to say to the next.
            self.firewall.send_asks();
            self.send_own(now);
            self.ends.settle();
        }
        taken
    }

    /// Judges a frame, and sends it on its way: how many copies besides one.
    #[inline]
    fn pass_on(
        &mut self,
        ingress: Ingress,
        now: Instant,
        received: &mut net::Received<X::Page>,
        head: &mut Head,
    ) -> usize {
        let mut copies = 0;
        if let Ingress::Guest(number) = ingress
            && self.ends.guests[number].port.is_some()
        {
            match self.bridge(now, number, received, head) {
                Bridged::Passed(copies) => return copies,
                Bridged::ToEngine(sent) => copies = sent,
            }
        }
        let (in_pages, in_guest);
        let mut frame = Frame {
            head,
            len: received.len as usize,
            tail: &NoTail,
            checksum: from_ring(received.checksum),
            gso: received.gso.map(gso_from_ring),
        };
        let verdict = match ingress {
            Ingress::Front(number) => {
                in_pages = InPages::<X>(received);
                frame.tail = &in_pages;
                let interface = self.ends.ports[number].interface;
                self.firewall.ingress(now, interface, &mut frame)
            }
            Ingress::Guest(number) => {
                let Guest {
                    back,
                    id,
                    interface,
                    port,
                    ..
                } = &mut self.ends.guests[number];
                in_guest = InGuest::<X>(RefCell::new((&mut **back, &mut *received)));
                frame.tail = &in_guest;
                match port {
                    // The bridge has looked who it is.
                    Some(_) => self.firewall.ingress(now, *interface, &mut frame),
                    None => self.firewall.ingress_from(now, *id, &mut frame),
                }
            }
        };
        let (len, payload_at) = (frame.len, frame.tail_offset());
        match verdict {
            Verdict::Forward { egress } => {
                let egress = self.ends.egress(now, egress, head.bytes());
                self.send_received(ingress, egress, head, received, payload_at, len);
            }
            Verdict::Local | Verdict::Parked | Verdict::Drop(_) => {
                self.ends.recycle_all(&mut received.slots);
            }
        }
        copies
    }
}

/// Copies the headers out of the sender's pages, once: whole frames if they are small.
fn fill<P: minios_rs::xen::SharedPage>(head: &mut Head, received: &net::Received<P>) {
    let len = received.len as usize;
    let copy = |count: usize, head: &mut Head| {
        head.fill(count, |bytes| {
            received.read(0, bytes);
        });
    };
    if len <= WHOLE {
        return copy(len, head);
    }
    copy(HEADERS, head);
    let bytes = head.bytes();
    let has_long_headers =
        bytes[12..14] == [0x08, 0x00] && (bytes[14] & 0x0f > 5 || bytes[23] == 1);
    if has_long_headers {
        copy(WHOLE, head);
    }
}
