//! The end of a packet's way: to the next hop, to the firewall itself, or an error to its sender.

use crate::firewall::{Firewall, Verdict, own};
use crate::flow::{Handle, Hop};
use crate::fragment::cut_to;
use crate::frame::{Checksum, Frame, Head, OwnedFrame, fill_ethernet, write_ethernet};
use crate::neighbour::{self, Found};
use crate::packet::{Packet, Tuple};
use crate::path::{Next, Occasion};
use crate::policy::InterfaceId;
use crate::reason::Reason;
use crate::reject::{self, Error};
use crate::route::Route;
use crate::time::Instant;
use smoltcp::wire::EthernetAddress;

impl Firewall {
    /// Out to the next hop, or to wait for it.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        frame: &mut Frame<'_>,
        packet: &Packet,
        next: Next,
        flow: Option<Handle>,
    ) -> Result<Verdict, Reason> {
        let Next { egress, address } = next;
        let (own_mac, mtu) = (
            self.site.ports[usize::from(egress.0)].mac,
            self.mtu(egress, address),
        );
        let (neighbour, found) = self.next_hop(now, next, flow);
        let cut = frame.gso.is_none() && (packet.total > mtu || self.assembled.is_some());
        if let (Found::Known(mac), false) = (found, cut) {
            fill_ethernet(frame.head.first_mut(), own_mac, mac);
            return Ok(Verdict::Forward { egress });
        }
        if found == Found::Waiting && !self.neighbours.has_room(neighbour, frame.len) {
            return Err(Reason::ParkingFull);
        }
        let mut whole = own(frame)?;
        if !cut {
            self.put(egress, own_mac, neighbour, found, whole);
            return Ok(Verdict::Parked);
        }
        if self.assembled.is_none() && !reject::may_fragment(&whole.bytes) {
            return Err(Reason::TooBig);
        }
        if whole.checksum == Checksum::Blank {
            reject::complete_checksum(&mut whole.bytes, packet.transport, packet.tuple.protocol);
        }
        let pieces = match &self.assembled {
            Some(geometry) => geometry.cut(&whole.bytes, mtu),
            None => cut_to(&whole.bytes, mtu),
        };
        for bytes in pieces {
            let piece = OwnedFrame {
                bytes,
                checksum: Checksum::Validated,
                gso: None,
            };
            self.put(egress, own_mac, neighbour, found, piece);
        }
        Ok(Verdict::Parked)
    }

    /// A frame of the engine's own keeping: to the queue, or to wait.
    fn put(
        &mut self,
        egress: InterfaceId,
        own: EthernetAddress,
        neighbour: neighbour::Handle,
        found: Found,
        mut frame: OwnedFrame,
    ) {
        match found {
            Found::Known(mac) => {
                frame.address(own, mac);
                self.push_output(egress, frame);
            }
            Found::Waiting => {
                if self.neighbours.park(neighbour, frame).is_err() {
                    self.counters.drops.count(Reason::ParkingFull);
                }
            }
        }
    }

    /// The neighbour a packet is handed to; its flow remembers it.
    fn next_hop(
        &mut self,
        now: Instant,
        next: Next,
        flow: Option<Handle>,
    ) -> (neighbour::Handle, Found) {
        let Next { egress, address } = next;
        let (neighbour, found) = self.neighbours.resolve(now, egress, address);
        if let Some(flow) = flow {
            self.flows.set_hop(flow, Hop::via(neighbour));
        }
        if self.neighbours.has_asks() {
            self.send_asks();
        }
        (neighbour, found)
    }

    /// Sends an ICMP error about a packet from a link, if there may be one. `leaving` is how the packet
    /// would have gone on.
    pub(crate) fn report(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        packet: &Packet,
        leaving: Tuple,
        occasion: Occasion,
        error: Error,
    ) {
        let Tuple {
            source,
            destination,
            ..
        } = packet.tuple;
        let Route::Via { egress, gateway } = self.site.routes.get(source) else {
            return;
        };
        let to_many = matches!(
            self.site.routes.get(destination),
            Route::Broadcast | Route::AllHosts | Route::Multicast
        );
        if to_many {
            return;
        }
        let next = if gateway == 0 { source } else { gateway };
        // Where the destination was translated, the error is translated back.
        let own = if self.site.is_own(destination) || leaving.destination != destination {
            Some(destination)
        } else {
            self.site.routes.source(egress, next)
        };
        if let Some(own) = own {
            self.send_error(now, frame, packet, own, occasion, error);
        }
    }

    /// Sends an ICMP error from `own` to the sender of a packet, unless it is one that nothing is said
    /// about, or so much was said to that address already.
    fn send_error(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        packet: &Packet,
        own: u32,
        occasion: Occasion,
        error: Error,
    ) {
        let source = packet.tuple.source;
        let hash = self.flows.spread(source, 0);
        if !reject::may_report(packet) || !self.errors.allows(now, error, source, hash) {
            return;
        }
        let ident = self.key.next() as u16;
        match reject::error(frame, own, ident, error) {
            Ok(bytes) => self.emit(now, &bytes, occasion),
            Err(reason) => self.counters.drops.count(reason),
        }
    }

    /// Sends a reset or an error.
    pub(crate) fn emit(&mut self, now: Instant, bytes: &[u8], occasion: Occasion) {
        // Why it did not leave is counted.
        let _ = self.send_own(now, bytes, occasion);
    }

    /// A parked frame's next hop never answered: its sender gets to know.
    pub(crate) fn give_up(&mut self, now: Instant, egress: InterfaceId, owned: &OwnedFrame) {
        self.counters.drops.count(Reason::Unresolved);
        let mut head = Head::new();
        head.load(&owned.bytes);
        // Any unicast station: the header was not filled in yet.
        write_ethernet(
            head.bytes_mut(),
            EthernetAddress([0; 6]),
            EthernetAddress([0; 6]),
        );
        let bytes = owned.bytes.as_slice();
        let mut frame = Frame {
            head: &mut head,
            len: bytes.len(),
            tail: &bytes,
            checksum: Checksum::Validated,
            gso: None,
        };
        let Ok(packet) = Packet::parse(&mut frame) else {
            return;
        };
        let (source, error) = (packet.tuple.source, Error::HostUnreachable);
        if !self.site.is_own(source) {
            self.report(now, &frame, &packet, packet.tuple, Occasion::Own, error);
        } else if let Some(own) = self.site.routes.source(egress, source) {
            // Its source was translated: the error finds the way back through the flow.
            self.send_error(now, &frame, &packet, own, Occasion::Own, error);
        }
    }
}
