//! Bridges: guests' vifs as ports, and the engine as the bridge's own end. What goes from port to port never
//! meets the engine, as on a Linux bridge whose frames netfilter does not see.

use super::ends::{Egress, Ends, Guest, Ingress, Segment};
use super::queue::Payload;
use super::{Relay, WHOLE};
use crate::frame::ETHERNET;
use crate::offload::offload;
use crate::policy::InterfaceId;
use crate::reason::Reason;
use crate::time::Instant;
use crate::{Firewall, Head};
use minios_rs::net;
use minios_rs::net::bridge::{Bridge, Decision, Learning, PortId, Refusal};
use minios_rs::xen::{PAGE_SIZE, Xen};

/// What became of a frame that came in at a bridge.
pub(super) enum Bridged {
    /// It has an end here: copies that were sent.
    Passed(usize),
    /// The engine is to have it as well, or alone: copies that were sent.
    ToEngine(usize),
}

/// A bridge for each interface of the site's that is one.
pub(super) fn segments(firewall: &Firewall) -> impl Iterator<Item = Segment> {
    let interfaces = firewall.policy().interfaces.iter().enumerate();
    interfaces
        .filter(|(_, interface)| interface.bridge)
        .map(|(number, _)| Segment {
            interface: InterfaceId(number as u8),
            bridge: Bridge::new(net::MacAddress(firewall.station(number).0)),
        })
}

/// What a bridge and a vif call the time.
pub(super) fn clock(now: Instant) -> minios_rs::time::Instant {
    minios_rs::time::Instant(now.0)
}

impl<X: Xen> Ends<X> {
    pub(super) fn segment(&mut self, interface: InterfaceId) -> Option<&mut Segment> {
        let mut segments = self.segments.iter_mut();
        segments.find(|segment| segment.interface == interface)
    }

    /// Makes a guest's vif a port, if its interface is a bridge.
    pub(super) fn plug(
        &mut self,
        interface: InterfaceId,
        settings: &net::back::Settings,
    ) -> Result<Option<PortId>, net::bridge::AttachError> {
        let Some(segment) = self.segment(interface) else {
            return Ok(None);
        };
        let learning = match settings.addresses.is_empty() {
            true => Learning::On,
            false => Learning::Off,
        };
        segment.bridge.attach(settings.mac, learning).map(Some)
    }

    pub(super) fn unplug(&mut self, guest: &Guest<X>) {
        if let (Some(port), Some(segment)) = (guest.port, self.segment(guest.interface)) {
            segment.bridge.detach(port);
        }
    }

    /// Where what a bridge decided about goes; `from` is the port that it came in by, if not the engine's end.
    fn toward(&self, interface: InterfaceId, from: Option<PortId>, decision: Decision) -> Egress {
        match decision {
            Decision::Port(port) => {
                let mut guests = self.guests.iter();
                let is_it =
                    |guest: &Guest<X>| guest.interface == interface && guest.port == Some(port);
                guests
                    .position(is_it)
                    .map_or(Egress::Nowhere, Egress::Guest)
            }
            Decision::Everyone | Decision::Learners => Egress::Flood {
                interface,
                from,
                decision,
            },
            Decision::Local | Decision::Drop(_) => Egress::Nowhere,
        }
    }

    /// Where a frame of the engine's goes whose Ethernet header is written. None: the interface is no bridge.
    pub(super) fn across(
        &self,
        now: Instant,
        interface: InterfaceId,
        head: &[u8],
    ) -> Option<Egress> {
        let mut segments = self.segments.iter();
        let segment = segments.find(|segment| segment.interface == interface)?;
        let destination = net::MacAddress(*head.first_chunk()?);
        let decision = segment.bridge.egress(clock(now), destination);
        Some(self.toward(interface, None, decision))
    }
}

impl<X: Xen> Relay<X> {
    /// Has a bridge decide about a frame that came in at one of its ports.
    pub(super) fn bridge(
        &mut self,
        now: Instant,
        number: usize,
        received: &mut net::Received<X::Page>,
        head: &Head,
    ) -> Bridged {
        let Guest {
            id,
            interface,
            port,
            ..
        } = self.ends.guests[number];
        let (Some(port), Some(segment)) = (port, self.ends.segment(interface)) else {
            return Bridged::ToEngine(0);
        };
        let decision = match self.firewall.may_bridge(id, head.bytes()) {
            true => segment.bridge.ingress(clock(now), port, head.bytes()),
            false => Decision::Drop(Refusal::Spoofed),
        };
        let refused = match decision {
            Decision::Local => return Bridged::ToEngine(0),
            Decision::Drop(Refusal::Malformed) => Some(Reason::Truncated),
            Decision::Drop(Refusal::Spoofed) => Some(Reason::GuestSource),
            Decision::Drop(Refusal::Reserved | Refusal::Returning) => Some(Reason::OtherHost),
            _ if !holds(head.bytes(), received) => Some(Reason::BadTransport),
            _ => None,
        };
        if let Some(reason) = refused {
            self.firewall.refuse(reason);
            self.ends.recycle_all(&mut received.slots);
            return Bridged::Passed(0);
        }
        let ingress = Ingress::Guest(number);
        match self.ends.toward(interface, Some(port), decision) {
            Egress::Flood {
                interface,
                from,
                decision,
            } => {
                let to = (interface, from, decision);
                let copies = self.flood_received(ingress, to, received, head);
                if decision == Decision::Everyone {
                    return Bridged::ToEngine(copies);
                }
                self.ends.recycle_all(&mut received.slots);
                Bridged::Passed(copies)
            }
            egress => {
                self.pass_whole(ingress, egress, received, head);
                Bridged::Passed(1)
            }
        }
    }

    /// Sends a frame as it came.
    fn pass_whole(
        &mut self,
        ingress: Ingress,
        egress: Egress,
        received: &mut net::Received<X::Page>,
        head: &Head,
    ) {
        let (len, headers) = (received.len as usize, head.bytes().len());
        if let Egress::Guest(to) = egress
            && !self.ends.guests[to].back.takes(len, offload(received))
        {
            self.losses.not_sendable += 1;
            return self.ends.recycle_all(&mut received.slots);
        }
        self.send_received(ingress, egress, head, received, headers, len);
    }

    /// Sends copies of a frame that is to be kept as well: how many.
    fn flood_received(
        &mut self,
        ingress: Ingress,
        to: Flood,
        received: &mut net::Received<X::Page>,
        head: &Head,
    ) -> usize {
        let len = received.len as usize;
        if head.bytes().len() == len {
            return self.flood(to, head.bytes(), offload(received));
        }
        if len > PAGE_SIZE || self.ends.fetch(ingress, &mut received.slots).is_err() {
            self.losses.not_sendable += 1;
            return 0;
        }
        let mut bytes = core::mem::take(&mut self.ends.copy);
        bytes.resize(len, 0);
        let is_whole = received.read(0, &mut bytes) == len;
        let copies = match is_whole {
            true => self.flood(to, &bytes, offload(received)),
            false => 0,
        };
        self.losses.not_sendable += u64::from(!is_whole);
        self.ends.copy = bytes;
        copies
    }

    /// Sends copies of a frame that the engine forwards to a station that no port is known to have.
    pub(super) fn flood_forwarded(
        &mut self,
        ingress: Ingress,
        to: Flood,
        head: &[u8],
        payload: &mut Payload<X>,
        offload: net::Offload,
    ) {
        let lengths = payload.iter().map(|slice| usize::from(slice.len));
        let tail: usize = lengths.sum();
        if head.len() + tail > PAGE_SIZE || self.ends.fetch(ingress, payload).is_err() {
            self.losses.not_sendable += 1;
            return self.ends.recycle_all(payload);
        }
        let mut received = net::Received {
            slots: core::mem::take(payload),
            ..net::Received::default()
        };
        let mut bytes = core::mem::take(&mut self.ends.copy);
        bytes.resize(head.len() + tail, 0);
        bytes[..head.len()].copy_from_slice(head);
        received.read(0, &mut bytes[head.len()..]);
        self.flood(to, &bytes, offload);
        self.ends.copy = bytes;
        self.ends.recycle_all(&mut received.slots);
    }

    /// Sends copies of `frame`: how many. Who has no room has it only if it is short, and not
    /// many such wait already.
    pub(super) fn flood(
        &mut self,
        (interface, from, decision): Flood,
        frame: &[u8],
        offload: net::Offload,
    ) -> usize {
        let Ends {
            segments, guests, ..
        } = &mut self.ends;
        let mut segments = segments.iter();
        let Some(segment) = segments.find(|segment| segment.interface == interface) else {
            return 0;
        };
        let mut copies = 0;
        for guest in guests
            .iter_mut()
            .filter(|guest| guest.interface == interface)
        {
            let is_meant = |port| segment.bridge.floods(decision, from, port);
            if !guest.port.is_some_and(is_meant) {
                continue;
            }
            copies += 1;
            let whole = || {
                let mut head = Head::new();
                head.load(frame);
                (frame.len() <= WHOLE).then_some(head)
            };
            if let Err(error) = guest.back.offer_copy(frame, whole, offload) {
                self.losses.count(error);
            }
        }
        copies
    }
}

/// Whom copies are for: the bridge's interface, the port that is not to have one, and what was decided.
pub(super) type Flood = (InterfaceId, Option<PortId>, Decision);

/// Whether what a guest says of checksum and segmentation can be true of its frame: whoever gets it believes
/// its backend.
fn holds<P>(head: &[u8], received: &net::Received<P>) -> bool {
    if received.checksum != net::Checksum::Blank && received.gso.is_none() {
        return true;
    }
    let header = |head: &[u8]| {
        let ip = head.get(ETHERNET..ETHERNET + 20)?;
        let is_ipv4 = head[12..14] == [0x08, 0x00] && ip[0] >> 4 == 4;
        let is_fragment = ip[6] & 0x3f != 0 || ip[7] != 0;
        let transport = ETHERNET + usize::from(ip[0] & 0x0f) * 4;
        let end = ETHERNET + usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        let is_right = is_ipv4 && !is_fragment && transport >= ETHERNET + 20;
        // A protocol's header, and where in it the checksum is.
        let (least, is_tcp) = match ip[9] {
            6 => (20, true),
            17 => (8, false),
            _ => return None,
        };
        let fits = transport + least <= end && end <= received.len as usize;
        let headers = match is_tcp {
            true => transport + usize::from(head.get(transport + 12)? >> 4) * 4,
            false => transport + least,
        };
        let is_cut = received.gso.is_none_or(|gso| {
            is_tcp && gso.kind == net::GsoKind::TcpV4 && gso.size > 0 && headers < end
        });
        Some(is_right && fits && headers >= transport + least && headers <= end && is_cut)
    };
    header(head).unwrap_or(false)
}
