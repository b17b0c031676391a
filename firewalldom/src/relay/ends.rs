//! The rings that frames come from and go to: of the firewall's own vifs, and of the guests that hang off it.

use super::queue::{FRONT_ROOM, Payload, Queue};
use crate::policy::InterfaceId;
use crate::time::Instant;
use crate::{GuestId, Head};
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::{Deref, DerefMut};
use minios_rs::net;
use minios_rs::net::bridge::{Bridge, Decision, PortId};
use minios_rs::xen::{PAGE_SIZE, Xen};

/// A vif of the firewall's own.
pub(super) struct Port<X: Xen> {
    pub(super) front: net::Front<X>,
    /// The interface that it is.
    pub(super) interface: InterfaceId,
    pub(super) waiting: Queue<X>,
    /// How many of its buffers each other front holds, waiting or sent, and behind those, all guests.
    pub(super) lent: Vec<u16>,
    /// Closed, and all its pages are ours again.
    pub(super) is_released: bool,
}

/// A guest's vif.
pub(super) struct Guest<X: Xen> {
    pub(super) back: net::Outlet<X, Head>,
    pub(super) id: GuestId,
    /// The interface that it is behind.
    pub(super) interface: InterfaceId,
    /// Its port, if that is a bridge.
    pub(super) port: Option<PortId>,
    /// As people know the vif.
    pub(super) name: String,
}

/// A bridge that guests' vifs are ports of.
pub(super) struct Segment {
    /// The interface that it is.
    pub(super) interface: InterfaceId,
    pub(super) bridge: Bridge,
}

/// Where a frame came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ingress {
    /// At one of the firewall's own vifs, by number.
    Front(usize),
    /// At a guest's, by number.
    Guest(usize),
}

/// Where a frame goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Egress {
    Front(usize),
    Guest(usize),
    /// To more than one port of a bridge, as it decided.
    Flood {
        interface: InterfaceId,
        /// Where it came in.
        from: Option<PortId>,
        decision: Decision,
    },
    /// To nobody who is there.
    Nowhere,
}

/// Guests' vifs, and what they are ports of. In an image for sites without any the compiler sees that there are
/// none, and leaves out whatever is done with them.
pub(super) struct OfGuests<T>(Vec<T>);

impl<T> OfGuests<T> {
    const ARE_SERVED: bool = cfg!(feature = "guests") || cfg!(not(feature = "xen"));

    pub(super) fn push(&mut self, one: T) {
        self.0.push(one);
    }

    fn swap_remove(&mut self, number: usize) -> T {
        self.0.swap_remove(number)
    }
}

impl<T> FromIterator<T> for OfGuests<T> {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        Self(if Self::ARE_SERVED {
            all.into_iter().collect()
        } else {
            Vec::new()
        })
    }
}

impl<T> Deref for OfGuests<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        if Self::ARE_SERVED { &self.0 } else { &[] }
    }
}

impl<T> DerefMut for OfGuests<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        if Self::ARE_SERVED {
            &mut self.0
        } else {
            &mut []
        }
    }
}

/// All of them.
pub(super) struct Ends<X: Xen> {
    /// In the order of the interfaces that are no guests'.
    pub(super) ports: Vec<Port<X>>,
    /// In no order: the last takes the place of one that goes.
    pub(super) guests: OfGuests<Guest<X>>,
    /// For each interface the number of its front; none of guests'.
    fronts: Vec<Option<u8>>,
    /// In the order of their interfaces.
    pub(super) segments: OfGuests<Segment>,
    /// Where a frame is put together that several get. What is in it nobody needs any more.
    pub(super) copy: Vec<u8>,
}

impl<X: Xen> Ends<X> {
    /// For each interface its front, or none if guests are behind it; and those that are bridges.
    pub(super) fn new(fronts: Vec<Option<net::Front<X>>>, segments: OfGuests<Segment>) -> Self {
        let count = fronts.iter().flatten().count();
        let mut ends = Self {
            ports: Vec::with_capacity(count),
            guests: OfGuests(Vec::new()),
            fronts: Vec::with_capacity(fronts.len()),
            copy: match segments.is_empty() {
                true => Vec::new(),
                false => Vec::with_capacity(PAGE_SIZE),
            },
            segments,
        };
        for (interface, front) in fronts.into_iter().enumerate() {
            let number = front.map(|front| {
                ends.ports.push(Port {
                    front,
                    interface: InterfaceId(interface as u8),
                    waiting: Queue::new(FRONT_ROOM),
                    lent: alloc::vec![0; count + 1],
                    is_released: false,
                });
                (ends.ports.len() - 1) as u8
            });
            ends.fronts.push(number);
        }
        ends
    }

    /// Where a frame for `interface` goes whose Ethernet header is written.
    pub(super) fn egress(&self, now: Instant, interface: InterfaceId, head: &[u8]) -> Egress {
        match self.fronts.get(usize::from(interface.0)) {
            Some(Some(front)) => Egress::Front(usize::from(*front)),
            Some(None) => {
                if let Some(egress) = self.across(now, interface, head) {
                    return egress;
                }
                let mut guests = self.guests.iter();
                let guest = guests.position(|guest| {
                    guest.interface == interface && head.starts_with(&guest.back.settings().mac.0)
                });
                guest.map_or(Egress::Nowhere, Egress::Guest)
            }
            None => Egress::Nowhere,
        }
    }

    /// Puts the next frame from `ingress` into `frame`; false: there is none.
    #[inline]
    pub(super) fn receive_into(
        &mut self,
        ingress: Ingress,
        frame: &mut net::Received<X::Page>,
    ) -> bool {
        match ingress {
            Ingress::Front(number) => self.ports[number].front.receive_into(frame),
            Ingress::Guest(number) => self.guests[number].back.receive_into(frame),
        }
    }

    /// Makes what was received at `ingress` readable, and such that it can be lent: what a guest sent still
    /// lies in its own pages.
    pub(super) fn fetch(
        &mut self,
        ingress: Ingress,
        payload: &mut Payload<X>,
    ) -> Result<(), net::TransmitError> {
        match ingress {
            Ingress::Front(_) => Ok(()),
            Ingress::Guest(number) => self.guests[number].back.fetch(payload.as_mut_view()),
        }
    }

    pub(super) fn recycle(&mut self, buffer: net::RxBuffer<X::Page>) {
        let owner = buffer.owner();
        if let Some(port) = self.ports.iter_mut().find(|port| port.front.id() == owner) {
            port.front.recycle(buffer);
        } else if let Some(guest) = self.guests.iter_mut().find(|it| it.back.id() == owner) {
            guest.back.recycle(buffer);
        }
        // One of a guest that is gone: its page is free again.
    }

    pub(super) fn recycle_all(&mut self, slots: &mut Payload<X>) {
        while let Some(slice) = slots.pop() {
            self.recycle(slice.buffer);
        }
    }

    /// What stands for all guests among the egresses that pages are lent to.
    pub(super) fn all_guests(&self) -> usize {
        self.ports.len()
    }

    /// A page that `egress` held, a front or the guests, goes back to the interface it came in by.
    pub(super) fn return_lent(&mut self, egress: usize, buffer: net::RxBuffer<X::Page>) {
        let owner = buffer.owner();
        let port = self.ports.iter_mut().find(|port| port.front.id() == owner);
        if let Some(lent) = port.and_then(|port| port.lent.get_mut(egress)) {
            *lent = lent.saturating_sub(1);
        }
        self.recycle(buffer);
    }

    pub(super) fn give_back(&mut self, egress: usize, payload: &mut Payload<X>) {
        while let Some(slice) = payload.pop() {
            self.return_lent(egress, slice.buffer);
        }
    }

    /// Has Xen copy what guests are to get, and gives back the pages that it came from.
    pub(super) fn settle(&mut self) {
        for number in 0..self.guests.len() {
            if self.guests[number].back.settle() {
                self.take_completed(number);
            }
        }
    }

    /// Gives back the pages that a guest's frames were copied from.
    fn take_completed(&mut self, number: usize) {
        while let Some(buffer) = self.guests[number].back.completed() {
            self.return_lent(self.all_guests(), buffer);
        }
    }

    /// Lets go of a guest's vif.
    pub(super) fn remove_guest(&mut self, number: usize) -> Guest<X> {
        while let Some(mut payload) = self.guests[number].back.drop_waiting() {
            self.give_back(self.all_guests(), &mut payload);
        }
        self.guests[number].back.close();
        self.take_completed(number);
        let guest = self.guests.swap_remove(number);
        self.unplug(&guest);
        guest
    }
}
