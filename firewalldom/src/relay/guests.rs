//! Guests' vifs: who comes and goes, and how one is waited for.

use super::Relay;
use super::bridge::clock;
use super::ends::{Guest, Ingress};
use crate::policy::InterfaceId;
use crate::time::Instant;
use crate::{GUESTS_MAX, GuestError, GuestId};
use alloc::string::String;
use minios_rs::net;
use minios_rs::net::bridge::PortId;
use minios_rs::net::moderation;
use minios_rs::xen::Xen;

/// What guests' frontends are offered. The pages are for frames of 64 KiB on their way to a backend, seven of
/// each guest's. Neither IPv6 nor multicast goes through the firewall.
pub const OFFER: net::back::Config = net::back::Config {
    queues_max: 1,
    event_channels: net::back::EventChannels::Shared,
    fetch_pages_max: 128,
    multicast: net::back::MulticastControl::Withheld,
    ipv6_offloads: net::back::Ipv6Offloads::Withheld,
};

impl<X: Xen> Relay<X> {
    /// The guests' vifs, with their names.
    pub fn guests(&self) -> impl Iterator<Item = (&str, &net::Back<X>)> {
        let guests = self.ends.guests.iter();
        guests.map(|guest| (guest.name.as_str(), &*guest.back))
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
            back: net::Outlet::new(back),
            id,
            interface,
            port,
            name: name.clone(),
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
        while let Some((error, mut payload)) =
            self.ends.guests[number].back.send_waiting(clock(now))
        {
            self.lose(self.ends.all_guests(), &mut payload, error);
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
        let back = &mut self.ends.guests[number].back;
        if !has_fronts || back.has_room_to_fetch() {
            back.release();
            return true;
        }
        back.hold(clock(now))
    }

    /// The final check before sleeping, for guests: when one of them is to be looked at, `now` for at once.
    pub(super) fn park_guests(&mut self, now: Instant, wake: net::Wake) -> Option<Instant> {
        let guests = self.ends.guests.iter_mut();
        let next =
            guests.filter_map(|guest| guest.back.park(clock(now), wake, moderation::DELAY_MIN));
        next.min().map(|next| Instant(next.0))
    }
}
