//! ARP from the links (RFC 826): answers for own addresses and for those it is proxy of (RFC 1027), and
//! what is learned from asking.

use crate::firewall::{Firewall, Verdict};
use crate::frame::{ETHERNET, Frame, OwnedFrame};
use crate::policy::{InterfaceId, Proxied};
use crate::reason::Reason;
use crate::route::Route;
use crate::time::Instant;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use minios_rs::net::MacAddress;
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};

impl Firewall {
    /// ARP: answers for own addresses and proxied ones, learns from who asked for them.
    pub(crate) fn arp(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        frame: &Frame<'_>,
    ) -> Result<Verdict, Reason> {
        let bytes = &frame.head.bytes()[ETHERNET..];
        let arp = ArpPacket::new_checked(bytes).map_err(|_| Reason::BadArp)?;
        let ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: mac,
            source_protocol_addr,
            target_protocol_addr,
            ..
        } = ArpRepr::parse(&arp).map_err(|_| Reason::BadArp)?
        else {
            return Err(Reason::BadArp);
        };
        let (source, target) = (
            source_protocol_addr.to_bits(),
            target_protocol_addr.to_bits(),
        );
        let plausible =
            MacAddress(mac.0).is_station() && self.site.ports[usize::from(interface.0)].mac != mac;
        if !plausible
            || matches!(
                self.site.routes.get(target),
                Route::Martian | Route::Multicast
            )
        {
            return Err(Reason::BadArp);
        }
        if self.site.is_own(source) {
            return Err(Reason::OwnSource);
        }
        let ours = operation == ArpOperation::Request
            && (self.site.is_own(target) || self.is_proxy(interface, source, target));
        if ours {
            self.send_arp(interface, ArpOperation::Reply, target, source, Some(mac));
        }
        let is_known = self.site.ports[usize::from(interface.0)].is_backend;
        let released =
            if source == 0 || is_known || !self.site.routes.is_neighbour(interface, source) {
                Vec::new()
            } else if ours {
                self.neighbours.learn(now, interface, source, mac)
            } else {
                self.neighbours.update(now, interface, source, mac)
            };
        self.send_parked(interface, mac, released);
        Ok(Verdict::Local)
    }

    /// Sends what waited for a neighbour whose address is known now.
    pub(crate) fn send_parked(
        &mut self,
        interface: InterfaceId,
        mac: EthernetAddress,
        parked: Vec<OwnedFrame>,
    ) {
        let own = self.site.ports[usize::from(interface.0)].mac;
        for mut frame in parked {
            frame.address(own, mac);
            self.push_output(interface, frame);
        }
    }

    /// Whether a request of `asker`'s is answered for another host, as Linux does it: one that is reached by
    /// another interface than that it was asked for on. A probe whether an address is taken (RFC 5227) says
    /// no asker, and gets no such answer.
    fn is_proxy(&self, on: InterfaceId, asker: u32, target: u32) -> bool {
        let site = &self.site;
        let port = &site.ports[usize::from(on.0)];
        let line = Proxied {
            address: Ipv4Addr::from_bits(target),
            interface: on,
        };
        let is_asked_for = port.proxy_arp || site.policy.proxied.binary_search(&line).is_ok();
        if asker == 0 || !is_asked_for || !site.policy.settings.forwarding {
            return false;
        }
        let is_elsewhere = match site.routes.get(target) {
            // Each guest's vif is an interface of its own to Linux.
            Route::Via { egress, .. } if egress == on => {
                port.is_backend
                    && site.routes.is_guest(target)
                    && !self.guests.are_one(asker, target)
            }
            Route::Via { .. } => true,
            _ => false,
        };
        is_elsewhere && site.filter_route(on, asker).is_ok()
    }
}
