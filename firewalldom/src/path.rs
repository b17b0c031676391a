//! The data path, in the order a packet travels: parse, track, route, judge, translate, send.

use crate::firewall::{Firewall, Verdict, own};
use crate::flow::{Answered, Full, Handle, Hop, Standing};
use crate::frame::{Checksum, ETHERNET, Frame, Head, OwnedFrame, write_ethernet};
use crate::nat::{self, Exhausted, NoAddress};
use crate::neighbour::Found;
use crate::packet::{Cast, ICMP, Inner, Packet, TCP, Tuple, UDP, icmp_asks, icmp_is_error};
use crate::policy::{
    DestinationTarget, Disposition, Exception, InterfaceId, PortRange, Settings, States,
};
use crate::reason::Reason;
use crate::reject::{self, Answer, Error};
use crate::route::Route;
use crate::rule::{By, Facts, LogRequest, Ruling};
use crate::tcp;
use crate::time::{Instant, Tick};
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};

/// What conntrack makes of a packet.
#[derive(Clone, Copy, Debug)]
enum Tracked {
    /// Of a known flow.
    Flow(Handle, Standing),
    /// An error about a packet of a known flow; the handle is that of the error's direction.
    Related(Handle, Inner),
    /// The first of a new one.
    Start,
    /// Nothing that could be.
    Invalid,
}

impl Tracked {
    const fn state(&self) -> States {
        match self {
            Self::Flow(_, Standing::Established | Standing::Last(Answered::Yes)) => {
                States::ESTABLISHED
            }
            Self::Flow(_, Standing::New | Standing::Last(Answered::No)) | Self::Start => {
                States::NEW
            }
            Self::Flow(_, Standing::Invalid | Standing::Reopens) | Self::Invalid => States::INVALID,
            Self::Related(..) => States::RELATED,
        }
    }
}

impl Firewall {
    /// A frame from a link.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        frame: &mut Frame<'_>,
    ) -> Result<Verdict, Reason> {
        frame.head.truncate(frame.len);
        let bytes = frame.head.bytes();
        if bytes.len() < ETHERNET {
            return Err(Reason::Truncated);
        }
        if bytes[0] & 1 == 0 && bytes[..6] != self.site.ports[usize::from(interface.0)].mac.0 {
            return Err(Reason::OtherHost);
        }
        match [bytes[12], bytes[13]] {
            [0x08, 0x00] => self.ipv4(now, Some(interface), frame),
            [0x08, 0x06] => self.arp(now, interface, frame),
            [0x86, 0xdd] => Err(Reason::Ipv6),
            _ => Err(Reason::NotIp),
        }
    }

    /// An IPv4 packet from a link, or (`None`) of the firewall's own.
    pub(crate) fn ipv4(
        &mut self,
        now: Instant,
        from: Option<InterfaceId>,
        frame: &mut Frame<'_>,
    ) -> Result<Verdict, Reason> {
        let packet = Packet::parse(frame)?;
        let tick = Tick::of(now);
        let tracked = self.track(tick, frame.head.bytes(), &packet);
        let mut leaving = self.leaving(&tracked, &packet);
        if matches!(tracked, Tracked::Start) {
            leaving = self.translate_destination(now, from, frame, &packet);
        }
        let route = self.route(from, &tracked, &packet, leaving)?;
        let egress = match route {
            Route::Via { egress, .. } => Some(egress),
            Route::Unreachable => {
                self.report(now, frame, &packet, Error::NetUnreachable);
                return Err(Reason::NoRoute);
            }
            _ => None,
        };
        if let (Some(_), Some(egress)) = (from, egress) {
            self.may_forward(now, frame, &packet, egress)?;
        }
        let way = Way {
            from,
            egress,
            route,
            leaving,
        };
        self.judge(now, frame, &packet, &tracked, way)?;
        let accepted = self.accept(tick, &packet, &tracked, way)?;
        let new = match tracked {
            Tracked::Related(handle, inner) => {
                let (arriving, leaving) = (self.flows.tuple(handle), self.flows.translated(handle));
                nat::rewrite_error(frame.head.bytes_mut(), &packet, &inner, arriving, leaving)
            }
            _ => {
                nat::rewrite(
                    frame.head.bytes_mut(),
                    &packet,
                    accepted.leaving,
                    frame.checksum,
                );
                accepted.leaving
            }
        };
        let verdict = match egress {
            Some(egress) => {
                if from.is_some() {
                    nat::decrement_ttl(frame.head.bytes_mut());
                }
                self.send(
                    now,
                    frame,
                    &packet,
                    Next {
                        egress,
                        address: new.destination,
                    },
                    accepted.flow,
                )
            }
            None => self.deliver(now, frame, &packet, route, accepted.flow),
        };
        if let Tracked::Flow(handle, Standing::Last(_)) = tracked {
            self.flows.remove(handle);
        }
        verdict
    }

    /// Which flow a packet belongs to.
    fn track(&mut self, tick: Tick, head: &[u8], packet: &Packet) -> Tracked {
        if packet.bad_checksum {
            return Tracked::Invalid;
        }
        let (kind, _) = packet.icmp;
        if packet.tuple.protocol == ICMP && icmp_is_error(kind) {
            let inner = Inner::parse(head, packet);
            let flow = inner.and_then(|inner| {
                self.flows
                    .find(tick, inner.tuple.reversed())
                    .map(|handle| Tracked::Related(handle, inner))
            });
            return flow.unwrap_or(Tracked::Invalid);
        }
        match self.flows.find(tick, packet.tuple) {
            Some(handle) => match self.flows.standing(handle, packet.tcp_flags) {
                Standing::Reopens => Tracked::Start,
                Standing::Invalid => Tracked::Invalid,
                standing => Tracked::Flow(handle, standing),
            },
            None if starts(packet) => Tracked::Start,
            None => Tracked::Invalid,
        }
    }

    /// Addresses and ports behind the translation that is known already.
    fn leaving(&self, tracked: &Tracked, packet: &Packet) -> Tuple {
        match tracked {
            Tracked::Flow(handle, _) => self.flows.translated(*handle),
            Tracked::Related(handle, _) => {
                let (arriving, leaving) =
                    (self.flows.tuple(*handle), self.flows.translated(*handle));
                let Tuple { destination, .. } = nat::error_tuple(packet.tuple, arriving, leaving);
                Tuple {
                    destination,
                    ..packet.tuple
                }
            }
            Tracked::Start | Tracked::Invalid => packet.tuple,
        }
    }

    /// DNAT and REDIRECT for the first packet of a flow.
    fn translate_destination(
        &mut self,
        now: Instant,
        from: Option<InterfaceId>,
        frame: &Frame<'_>,
        packet: &Packet,
    ) -> Tuple {
        let mut leaving = packet.tuple;
        let facts = Facts {
            packet,
            tuple: leaving,
            original: (leaving.destination, leaving.destination_port),
            ingress: from,
            egress: None,
            mac: source_mac(from, frame),
            kind: self.site.routes.get(leaving.destination).kind(),
        };
        let zone = self.site.zone(from.map(|from| from.0), leaving.source);
        let Some(rule) = self.site.nat.destination(zone, &facts) else {
            return leaving;
        };
        self.hits[rule.origin as usize] += 1;
        match &rule.target {
            DestinationTarget::Exempt => {}
            DestinationTarget::Redirect { port } => {
                if let Some(address) = from.and_then(|from| self.site.routes.primary(from)) {
                    leaving.destination = address;
                    leaving.destination_port = port.unwrap_or(leaving.destination_port);
                }
            }
            DestinationTarget::Server { addresses, ports } => {
                leaving.destination = nat::spread(&self.flows, *addresses, leaving);
                if let Some(range) = ports {
                    leaving.destination_port =
                        pick(&mut self.key, *range, leaving.destination_port);
                }
            }
        }
        if let Some(log) = &rule.log {
            let chain = alloc::format!("{}_dnat", self.site.policy.zones[usize::from(zone.0)].name);
            let subject = crate::log::Subject {
                head: frame.head.bytes(),
                packet,
                tuple: packet.tuple,
                ttl: packet.ttl,
                ingress: self.site.name(from.map(|from| from.0)),
                egress: "",
            };
            let hash = self.flows.spread(packet.tuple.source, 0);
            self.logger.log(now, hash, &chain, log, &subject);
        }
        leaving
    }

    /// Where the packet goes, and whether its addresses can be real.
    fn route(
        &self,
        from: Option<InterfaceId>,
        tracked: &Tracked,
        packet: &Packet,
        leaving: Tuple,
    ) -> Result<Route, Reason> {
        if let Tracked::Flow(handle, _) = tracked {
            // Its addresses were found good when the flow began.
            match self.flows.hop(*handle).egress {
                Hop::LOCAL => return Ok(Route::Local),
                Hop::UNKNOWN => {}
                egress => {
                    return Ok(Route::Via {
                        egress: InterfaceId(egress),
                        gateway: 0,
                    });
                }
            }
        }
        let Tuple { source, .. } = packet.tuple;
        let route = self.site.routes.get(leaving.destination);
        if from.is_some() {
            let broadcast = leaving.destination == u32::MAX;
            match self.site.routes.get(source) {
                Route::Local => return Err(Reason::OwnSource),
                Route::AllHosts | Route::Multicast => return Err(Reason::Martian),
                Route::Martian if !(source == 0 && broadcast) => return Err(Reason::Martian),
                Route::Broadcast if source == u32::MAX => return Err(Reason::Martian),
                _ => {}
            }
            if source == packet.tuple.destination {
                return Err(Reason::Land);
            }
        }
        match route {
            Route::Martian => Err(Reason::Martian),
            Route::Multicast => Err(Reason::Multicast),
            Route::Local | Route::Broadcast | Route::AllHosts if from.is_none() => {
                Err(Reason::NotSpoken)
            }
            route => Ok(route),
        }
    }
}

/// Where a packet comes from and goes to.
#[derive(Clone, Copy, Debug)]
struct Way {
    from: Option<InterfaceId>,
    egress: Option<InterfaceId>,
    route: Route,
    /// Addresses and ports after DNAT.
    leaving: Tuple,
}

/// Where a packet is sent.
#[derive(Clone, Copy, Debug)]
struct Next {
    egress: InterfaceId,
    /// Its destination, which the next hop may be a gateway to.
    address: u32,
}

/// A packet that may go on.
#[derive(Clone, Copy, Debug)]
struct Accepted {
    flow: Option<Handle>,
    leaving: Tuple,
}

impl Firewall {
    /// What Linux' `ip_forward` asks before any rule.
    fn may_forward(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        packet: &Packet,
        egress: InterfaceId,
    ) -> Result<(), Reason> {
        if !self.site.policy.settings.forwarding {
            return Err(Reason::ForwardingOff);
        }
        if packet.cast != Cast::Unicast {
            return Err(Reason::Broadcast);
        }
        if packet.ttl <= 1 {
            self.report(now, frame, packet, Error::TimeExceeded);
            return Err(Reason::TimeExceeded);
        }
        let mtu = self.site.ports[usize::from(egress.0)].mtu;
        let size = match frame.gso {
            None => packet.total,
            Some(gso) => {
                let tcp = usize::from(frame.head.bytes()[packet.transport + 12] >> 4) * 4;
                ((packet.transport - ETHERNET + tcp) as u16).saturating_add(gso.size)
            }
        };
        if size <= mtu {
            return Ok(());
        }
        let whole = frame.gso.is_some() || !reject::may_fragment(frame.head.bytes());
        if whole {
            self.report(now, frame, packet, Error::FragmentationNeeded(mtu));
            return Err(Reason::TooBig);
        }
        Ok(())
    }

    /// The checks of the interfaces' options, then the chain of the two zones.
    fn judge(
        &mut self,
        now: Instant,
        frame: &mut Frame<'_>,
        packet: &Packet,
        tracked: &Tracked,
        way: Way,
    ) -> Result<(), Reason> {
        let state = tracked.state();
        let ingress = way.from.map(|from| &self.site.ports[usize::from(from.0)]);
        let hairpin = way.from.is_some()
            && way.from == way.egress
            && ingress.is_some_and(|port| !port.route_back);
        if hairpin {
            self.except(now, frame, packet, way, Check::Hairpin)?;
        }
        let ingress = way.from.map(|from| &self.site.ports[usize::from(from.0)]);
        let unsure = state == States::NEW || state == States::INVALID;
        if unsure
            && packet.tuple.source != 0
            && ingress.is_some_and(|port| port.no_smurfs)
            && self.site.routes.get(packet.tuple.source) == Route::Broadcast
        {
            self.except(now, frame, packet, way, Check::Smurf)?;
        }
        if packet.tuple.protocol == TCP
            && way
                .from
                .is_some_and(|from| self.site.ports[usize::from(from.0)].tcp_flags)
            && tcp::scanner(packet.tcp_flags, packet.tuple.source_port)
        {
            self.except(now, frame, packet, way, Check::TcpFlags)?;
        }
        if let Tracked::Flow(handle, _) = tracked
            && state == States::ESTABLISHED
            && !self.site.judges_established
        {
            self.decision = Some((By::State, self.flows.decided(*handle), Disposition::Accept));
            return Ok(());
        }
        let ruling = self.ask_chain(now, frame, packet, tracked, way);
        self.decision = Some((ruling.by, ruling.origin, ruling.disposition));
        if let (Tracked::Flow(handle, _), By::State) = (tracked, ruling.by) {
            self.decision = Some((By::State, self.flows.decided(*handle), ruling.disposition));
        }
        match ruling.disposition {
            Disposition::Accept => Ok(()),
            Disposition::Drop if ruling.by == By::State => Err(Reason::StateDisposition),
            Disposition::Drop => Err(Reason::Dropped),
            Disposition::Reject => {
                self.reject(now, frame, packet, way);
                Err(Reason::Rejected)
            }
        }
    }

    /// The chain from the source's zone to the destination's.
    fn ask_chain(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        packet: &Packet,
        tracked: &Tracked,
        way: Way,
    ) -> Ruling {
        let Self {
            site,
            hits,
            logger,
            flows,
            ..
        } = self;
        let tuple = Tuple {
            source: packet.tuple.source,
            source_port: packet.tuple.source_port,
            ..way.leaving
        };
        let source = site.zone(way.from.map(|from| from.0), tuple.source);
        let destination = site.zone(way.egress.map(|egress| egress.0), tuple.destination);
        let chain = &site.chains[site.zones.chain(source, destination)];
        if dhcp(site, packet, way) {
            return chain.state_ruling(Disposition::Accept);
        }
        let original = match tracked {
            Tracked::Flow(handle, _) => flows.original_destination(*handle),
            _ => (packet.tuple.destination, packet.tuple.destination_port),
        };
        let facts = Facts {
            packet,
            tuple,
            original,
            ingress: way.from,
            egress: way.egress,
            mac: source_mac(way.from, frame),
            kind: way.route.kind(),
        };
        let forwarded = way.from.is_some() && way.egress.is_some();
        let subject = crate::log::Subject {
            head: frame.head.bytes(),
            packet,
            tuple,
            ttl: packet.ttl - u8::from(forwarded),
            ingress: site.name(way.from.map(|from| from.0)),
            egress: site.name(way.egress.map(|egress| egress.0)),
        };
        let settings: &Settings = &site.policy.settings;
        chain.judge(tracked.state(), &facts, settings, |origin, request| {
            hits[origin as usize] += 1;
            if let Some(LogRequest { chain, log }) = request {
                logger.log(now, flows.spread(tuple.source, 0), chain, log, &subject);
            }
        })
    }

    /// A check outside the rules caught a packet: what shorewall.conf says of it.
    fn except(
        &mut self,
        now: Instant,
        frame: &mut Frame<'_>,
        packet: &Packet,
        way: Way,
        check: Check,
    ) -> Result<(), Reason> {
        let (exception, chain, reason) = check.of(&self.site.policy.settings);
        let disposition = exception.disposition;
        if let Some(log) = &exception.log {
            let forwarded = way.from.is_some() && way.egress.is_some();
            let subject = crate::log::Subject {
                head: frame.head.bytes(),
                packet,
                tuple: Tuple {
                    source: packet.tuple.source,
                    source_port: packet.tuple.source_port,
                    ..way.leaving
                },
                ttl: packet.ttl - u8::from(forwarded),
                ingress: self.site.name(way.from.map(|from| from.0)),
                egress: self.site.name(way.egress.map(|egress| egress.0)),
            };
            let hash = self.flows.spread(packet.tuple.source, 0);
            self.logger.log(now, hash, chain, log, &subject);
        }
        match disposition {
            Disposition::Accept => Ok(()),
            Disposition::Drop => Err(reason),
            Disposition::Reject => {
                self.reject(now, frame, packet, way);
                Err(reason)
            }
        }
    }

    /// Enters a new flow, source NAT included, or follows a known one.
    fn accept(
        &mut self,
        tick: Tick,
        packet: &Packet,
        tracked: &Tracked,
        way: Way,
    ) -> Result<Accepted, Reason> {
        match tracked {
            Tracked::Flow(handle, standing) => {
                if !matches!(standing, Standing::Last(_)) {
                    self.flows.follow(tick, *handle, packet.tcp_flags);
                }
                Ok(Accepted {
                    flow: Some(*handle),
                    leaving: way.leaving,
                })
            }
            Tracked::Start => {
                let reply = self.translate_source(tick, packet, way)?;
                let origin = self.decision.map_or(0, |(_, origin, _)| origin);
                let handle = self
                    .flows
                    .insert(tick, packet.tuple, reply, packet.tcp_flags, origin)
                    .map_err(|Full| Reason::TableFull)?;
                Ok(Accepted {
                    flow: Some(handle),
                    leaving: reply.reversed(),
                })
            }
            Tracked::Related(..) | Tracked::Invalid => Ok(Accepted {
                flow: None,
                leaving: way.leaving,
            }),
        }
    }

    /// The reply tuple of a new flow, by the first SNAT or MASQUERADE rule that fits.
    fn translate_source(&mut self, tick: Tick, packet: &Packet, way: Way) -> Result<Tuple, Reason> {
        let mut leaving = way.leaving;
        let mut ports = None;
        if let Some(egress) = way.egress {
            let facts = Facts {
                packet,
                tuple: leaving,
                original: (packet.tuple.destination, packet.tuple.destination_port),
                ingress: None,
                egress: Some(egress),
                mac: None,
                kind: way.route.kind(),
            };
            if let Some(rule) = self.site.nat.source(egress, &facts) {
                self.hits[rule.origin as usize] += 1;
                let hop = match way.route {
                    Route::Via { gateway, .. } if gateway != 0 => gateway,
                    _ => leaving.destination,
                };
                let own = self.site.routes.source(egress, hop);
                if let Some((range, wanted)) =
                    rule.wanted(own).map_err(|NoAddress| Reason::NoRoute)?
                {
                    leaving.source = nat::spread(&self.flows, range, leaving);
                    ports = wanted;
                }
            }
        }
        nat::unique_reply(&mut self.flows, tick, leaving, ports)
            .map_err(|Exhausted| Reason::PortsExhausted)
    }

    /// For the firewall itself.
    fn deliver(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        packet: &Packet,
        route: Route,
        flow: Option<Handle>,
    ) -> Result<Verdict, Reason> {
        if packet.bad_checksum {
            return Err(Reason::BadChecksum);
        }
        if route != Route::Local || !crate::host::speaks(packet.tuple.protocol) {
            return Err(Reason::NotSpoken);
        }
        if let Some(flow) = flow {
            self.flows.set_hop(
                flow,
                Hop {
                    egress: Hop::LOCAL,
                    ..Hop::NONE
                },
            );
        }
        self.host.receive(now, frame.copy_from(ETHERNET)?);
        self.counters.local += 1;
        Ok(Verdict::Local)
    }

    /// Out to the next hop, or to wait for it.
    fn send(
        &mut self,
        now: Instant,
        frame: &mut Frame<'_>,
        packet: &Packet,
        next: Next,
        flow: Option<Handle>,
    ) -> Result<Verdict, Reason> {
        let Next { egress, .. } = next;
        let Port { mac: own_mac, mtu } = self.port(egress);
        let (neighbour, found) = self.next_hop(now, next, flow);
        let cut = frame.gso.is_none() && packet.total > mtu;
        if let (Found::Known(mac), false) = (found, cut) {
            write_ethernet(frame.head.bytes_mut(), own_mac, mac);
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
        if !reject::may_fragment(&whole.bytes) {
            return Err(Reason::TooBig);
        }
        if whole.checksum == Checksum::Blank {
            reject::complete_checksum(&mut whole.bytes, packet.transport, packet.tuple.protocol);
        }
        for bytes in reject::fragment(&whole.bytes, mtu) {
            let piece = OwnedFrame {
                bytes,
                checksum: Checksum::Validated,
                gso: None,
            };
            self.put(egress, own_mac, neighbour, found, piece);
        }
        Ok(Verdict::Parked)
    }

    fn port(&self, interface: InterfaceId) -> Port {
        let port = &self.site.ports[usize::from(interface.0)];
        Port {
            mac: port.mac,
            mtu: port.mtu,
        }
    }

    /// A frame of the engine's own keeping: to the queue, or to wait.
    fn put(
        &mut self,
        egress: InterfaceId,
        own: EthernetAddress,
        neighbour: crate::neighbour::Handle,
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

    /// The neighbour a packet is handed to: the flow remembers it.
    fn next_hop(
        &mut self,
        now: Instant,
        next: Next,
        flow: Option<Handle>,
    ) -> (crate::neighbour::Handle, Found) {
        let Next { egress, address } = next;
        if let Some(flow) = flow {
            let hop = self.flows.hop(flow);
            if hop.egress == egress.0
                && let Some(mac) = self.neighbours.get(now, hop.neighbour)
            {
                return (hop.neighbour, Found::Known(mac));
            }
        }
        let gateway = match self.site.routes.get(address) {
            Route::Via { gateway, .. } if gateway != 0 => gateway,
            _ => address,
        };
        let (neighbour, found) = self.neighbours.resolve(now, egress, gateway);
        if let Some(flow) = flow {
            self.flows.set_hop(
                flow,
                Hop {
                    egress: egress.0,
                    neighbour,
                },
            );
        }
        self.send_asks();
        (neighbour, found)
    }

    /// REJECT: tells the sender.
    fn reject(&mut self, now: Instant, frame: &mut Frame<'_>, packet: &Packet, way: Way) {
        let refuse = way.from.is_none()
            || packet.bad_checksum
            || matches!(
                way.route,
                Route::Broadcast | Route::AllHosts | Route::Multicast
            )
            || self.site.routes.get(packet.tuple.source) == Route::Broadcast;
        if refuse {
            return;
        }
        match reject::answer(packet) {
            None => {}
            Some(Answer::Reset) => {
                if let Some(bytes) = reject::reset(frame.head.bytes(), packet) {
                    self.emit(now, bytes);
                }
            }
            Some(Answer::Error(error)) => {
                // As in netfilter's FORWARD hook: the quoted packet has had its hop taken.
                if way.egress.is_some() {
                    nat::decrement_ttl(frame.head.bytes_mut());
                }
                self.report(now, frame, packet, error);
            }
        }
    }

    /// Sends an ICMP error about a packet from a link, if there may be one.
    fn report(&mut self, now: Instant, frame: &Frame<'_>, packet: &Packet, error: Error) {
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
        if to_many || !reject::may_report(packet) || !self.errors.take(now) {
            return;
        }
        let next = if gateway == 0 { source } else { gateway };
        let own = if self.site.is_own(destination) {
            Some(destination)
        } else {
            self.site.routes.source(egress, next)
        };
        let Some(own) = own else { return };
        let ident = self.key.next() as u16;
        match reject::error(frame, own, ident, error) {
            Ok(bytes) => self.emit(now, bytes),
            Err(reason) => self.counters.drops.count(reason),
        }
    }

    /// Sends a reset or an error, which is related to what it answers and needs no rule.
    fn emit(&mut self, now: Instant, bytes: alloc::vec::Vec<u8>) {
        let destination = crate::checksum::get32(&bytes, ETHERNET + 16);
        let Route::Via { egress, .. } = self.site.routes.get(destination) else {
            return;
        };
        let Port { mac, .. } = self.port(egress);
        let (neighbour, found) = self.next_hop(
            now,
            Next {
                egress,
                address: destination,
            },
            None,
        );
        let frame = OwnedFrame {
            bytes,
            checksum: Checksum::Validated,
            gso: None,
        };
        self.put(egress, mac, neighbour, found, frame);
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
        let source = packet.tuple.source;
        if !self.site.is_own(source) {
            self.report(now, &frame, &packet, Error::HostUnreachable);
            return;
        }
        // Its source was translated: the error finds the way back through the flow.
        let Some(own) = self.site.routes.source(egress, source) else {
            return;
        };
        if !reject::may_report(&packet) || !self.errors.take(now) {
            return;
        }
        let ident = self.key.next() as u16;
        if let Ok(error) = reject::error(&frame, own, ident, Error::HostUnreachable) {
            self.send_error_back(now, &error);
        }
    }

    /// ARP: answers for own addresses, learns from who asked for them.
    fn arp(
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
        let plausible = mac.is_unicast()
            && mac.0 != [0; 6]
            && self.site.ports[usize::from(interface.0)].mac != mac;
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
        let ours = operation == ArpOperation::Request && self.site.is_own(target);
        if ours {
            self.send_arp(interface, ArpOperation::Reply, target, source, Some(mac));
        }
        let released = if source == 0 || !self.site.routes.on_link(interface, source) {
            alloc::vec::Vec::new()
        } else if ours {
            self.neighbours.learn(now, interface, source, mac)
        } else {
            self.neighbours.update(now, interface, source, mac)
        };
        let own = self.port(interface).mac;
        for mut parked in released {
            parked.address(own, mac);
            self.push_output(interface, parked);
        }
        Ok(Verdict::Local)
    }
}

/// What `send` needs of an interface.
struct Port {
    mac: EthernetAddress,
    mtu: u16,
}

/// The checks that shorewall.conf has a disposition for.
#[derive(Clone, Copy, Debug)]
enum Check {
    Hairpin,
    Smurf,
    TcpFlags,
}

impl Check {
    /// The setting, Shorewall's name of the chain, and the reason to count.
    const fn of(self, settings: &Settings) -> (&Exception, &'static str, Reason) {
        match self {
            Self::Hairpin => (&settings.hairpin, "sfilter", Reason::Hairpin),
            Self::Smurf => (&settings.smurfs, "smurfs", Reason::Smurf),
            Self::TcpFlags => (&settings.tcp_flags, "logflags", Reason::TcpFlags),
        }
    }
}

/// Whether a packet may begin a flow.
fn starts(packet: &Packet) -> bool {
    match packet.tuple.protocol {
        TCP => {
            let segment = tcp::Segment::of(packet.tcp_flags);
            tcp::plausible(packet.tcp_flags) && tcp::starts(segment)
        }
        ICMP => icmp_asks(packet.icmp.0),
        _ => true,
    }
}

/// `dhcp`: DHCP between an interface's link and the firewall itself.
fn dhcp(site: &crate::site::Site, packet: &Packet, way: Way) -> bool {
    let link = match (way.from, way.egress) {
        (Some(link), None) | (None, Some(link)) => link,
        _ => return false,
    };
    packet.tuple.protocol == UDP
        && matches!(way.leaving.destination_port, 67 | 68)
        && site.ports[usize::from(link.0)].dhcp
}

fn source_mac(from: Option<InterfaceId>, frame: &Frame<'_>) -> Option<[u8; 6]> {
    from?;
    frame.head.bytes()[6..].first_chunk().copied()
}

/// A port of a range: the packet's own if it is in it, else any.
fn pick(key: &mut crate::random::Key, range: PortRange, port: u16) -> u16 {
    if (range.first..=range.last).contains(&port) {
        return port;
    }
    range.first + key.next_below(u64::from(range.last - range.first) + 1) as u16
}
