//! Guests' vifs: who comes and goes, and how long one may be waited for.

use super::Relay;
use super::ends::{Guest, Ingress};
use super::queue::{GUEST_ROOM, Queue};
use crate::moderation;
use crate::policy::InterfaceId;
use crate::time::Instant;
use crate::{GUESTS_MAX, GuestError, GuestId};
use alloc::string::String;
use core::time::Duration;
use minios_rs::net;
use minios_rs::net::bridge::PortId;
use minios_rs::ring::Pending;
use minios_rs::xen::Xen;

/// How long frames wait for a guest that takes none, and how long a guest waits until backends let go of
/// its pages: a guest that is merely not running is back before that, and others are not held up longer.
const PATIENCE: Duration = Duration::from_millis(100);

/// What guests' frontends are offered. The pages are for frames of 64 KiB on their way to a backend, three of
/// each guest's. Neither IPv6 nor multicast goes through the firewall.
pub const OFFER: net::back::Config = net::back::Config {
    queues_max: 1,
    event_channels: net::back::EventChannels::Shared,
    fetch_pages_max: 64,
    multicast: net::back::MulticastControl::Withheld,
    ipv6_offloads: net::back::Ipv6Offloads::Withheld,
};

impl<X: Xen> Relay<X> {
    /// The guests' vifs, with their names.
    pub fn guests(&self) -> impl Iterator<Item = (&str, &net::Back<X>)> {
        let guests = self.ends.guests.iter();
        guests.map(|guest| (guest.name.as_str(), &guest.back))
    }

    /// Serves a guest's vif from now on: its name, and that of the interface it is behind.
    ///
    /// # Errors
    /// Why not. The vif is closed, and the toolstack told.
    pub fn attach(&mut self, back: net::Back<X>) -> Result<(String, String), (String, GuestError)> {
        let name = back.name();
        let (interface, id, port) = match self.admit(&name, back.settings()) {
            Ok(admitted) => admitted,
            Err(error) => {
                back.refuse(error.reason());
                return Err((name, error));
            }
        };
        let behind = &self.firewall.policy().interfaces[usize::from(interface.0)];
        let behind = behind.name.clone();
        self.ends.guests.push(Guest {
            back,
            id,
            interface,
            port,
            name: name.clone(),
            is_filled: false,
            waiting: Queue::new(GUEST_ROOM),
            is_stalled: false,
            waiting_since: None,
            held_since: None,
        });
        Ok((name, behind))
    }

    /// Has the engine know a guest, if there is a place for it.
    fn admit(
        &mut self,
        name: &str,
        settings: &net::back::Settings,
    ) -> Result<(InterfaceId, GuestId, Option<PortId>), GuestError> {
        let interface = self.firewall.interface_of_vif(name, &settings.bridge)?;
        if self.ends.guests.len() >= GUESTS_MAX {
            return Err(GuestError::Full);
        }
        let (mac, addresses) = (settings.mac.0, &settings.addresses);
        let id = self
            .firewall
            .attach_guest(interface, mac, addresses, settings.mtu)?;
        match self.ends.plug(interface, settings) {
            Ok(port) => Ok((interface, id, port)),
            // Not reached: the engine has as many places, and takes no address twice.
            Err(_) => {
                self.firewall.detach_guest(id);
                Err(GuestError::Mac)
            }
        }
    }

    /// Lets go of a guest's vif that is to be, if there is one: its name.
    pub fn detach_ended(&mut self) -> Option<String> {
        let mut guests = self.ends.guests.iter();
        let ended = guests.position(|guest| guest.back.is_ending())?;
        let guest = self.ends.remove_guest(ended);
        self.firewall.detach_guest(guest.id);
        Some(guest.name)
    }

    /// Sends what waited for a guest. One that takes nothing for long loses it.
    pub(super) fn finish_guest(&mut self, number: usize, now: Instant) {
        loop {
            let guest = &mut self.ends.guests[number];
            let offered = guest.waiting.try_first(|head, payload, offload| {
                guest.back.transmit(head, payload.as_mut_view(), offload)
            });
            match offered {
                None => {
                    guest.waiting_since = None;
                    return;
                }
                Some((Ok(()), _)) => {
                    guest.is_filled = true;
                    guest.waiting_since = None;
                }
                Some((Err(net::TransmitError::Full), _)) => {
                    if now >= *guest.waiting_since.get_or_insert(now) + PATIENCE {
                        guest.is_stalled = true;
                        self.losses.egress_full += self.ends.give_up(number);
                    }
                    return;
                }
                Some((Err(_), mut payload)) => {
                    self.losses.not_sendable += 1;
                    self.ends.give_back(self.ends.all_guests(), &mut payload);
                }
            }
        }
    }

    /// Whether frames are taken now: not from a guest while it has no page for what may go to a backend,
    /// unless that lasts.
    #[inline]
    pub(super) fn may_send(&mut self, ingress: Ingress, now: Instant) -> bool {
        let Ingress::Guest(number) = ingress else {
            return true;
        };
        let has_fronts = !self.ends.ports.is_empty();
        let guest = &mut self.ends.guests[number];
        if !has_fronts || guest.back.has_room_to_fetch() {
            guest.held_since = None;
            return true;
        }
        now >= *guest.held_since.get_or_insert(now) + PATIENCE
    }

    /// The final check before sleeping, for guests: when one of them is to be looked at, and whether at once.
    pub(super) fn park_guests(
        &mut self,
        now: Instant,
        wake: net::Wake,
    ) -> (Option<Instant>, Pending) {
        let (mut next, mut pending) = (None, Pending::Nothing);
        for guest in self.ends.guests.iter_mut() {
            let patience = |since: Option<Instant>| {
                let end = since? + PATIENCE;
                (end > now).then_some(end)
            };
            let (waits, held) = (patience(guest.waiting_since), patience(guest.held_since));
            if guest.back.park_until(wake) == Pending::Work && held.is_none() {
                pending = Pending::Work;
            }
            // A backend that is lent little is not asked to say when it is done.
            let held = held.map(|end| end.min(now + moderation::DELAY));
            // While it may not send, what it may send again then is not looked at.
            let credit = guest.back.next_credit().filter(|_| held.is_none());
            let credit = credit.map(|next| Instant(next.0));
            next = [next, credit, waits, held].into_iter().flatten().min();
        }
        (next, pending)
    }
}
