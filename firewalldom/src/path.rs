//! The data path, in the order a packet travels: parse, track, route, judge, translate, send.

use crate::established::Summed;
use crate::firewall::{Firewall, Verdict};
use crate::flow::{Answered, Followed, Handle, Opening, Standing};
use crate::fragment::{Added, is_fragment};
use crate::frame::{ETHERNET, Frame, Head};
use crate::headers::{self, Headers, TRANSPORT};
use crate::nat;
use crate::packet::{
    GRE, ICMP, ICMP_REDIRECT, Inner, Packet, SCTP, Tuple, check_header, gre_call, icmp_asks,
    icmp_is_error,
};
use crate::policy::{InterfaceId, RawAction, States, ZoneId};
use crate::reason::Reason;
use crate::reject::Error;
use crate::route::Route;
use crate::sctp::Chunks;
use crate::tcp::Segment;
use crate::time::{Instant, Tick};

/// What conntrack makes of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tracked {
    /// Of a known flow.
    Flow(Handle, Standing),
    /// An error about a packet of a known flow; the handle is that of the error's direction.
    Related(Handle, Inner),
    /// The first of a new one.
    Start(Opening),
    /// Nothing that could be.
    Invalid,
    /// Exempt by a line of `conntrack`.
    Untracked,
    /// The firewall's answer to a packet that conntrack knows: related to it, whatever it is.
    Answer,
}

/// Why the firewall says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Occasion {
    /// A packet that conntrack knows is answered: so the answer is known, too.
    Answer,
    /// Any other; conntrack sees it for the first time.
    Own,
}

impl Tracked {
    pub(crate) const fn state(&self) -> States {
        match self {
            Self::Flow(_, Standing::Established | Standing::Last(Answered::Yes)) => {
                States::ESTABLISHED
            }
            Self::Flow(_, Standing::New | Standing::Last(Answered::No)) | Self::Start(_) => {
                States::NEW
            }
            Self::Invalid => States::INVALID,
            Self::Untracked => States::UNTRACKED,
            Self::Related(..) | Self::Answer => States::RELATED,
        }
    }

    /// What an answer to the packet is, as netfilter's `nf_ct_attach` has it.
    pub(crate) const fn occasion(&self) -> Occasion {
        match self {
            Self::Invalid | Self::Untracked => Occasion::Own,
            _ => Occasion::Answer,
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
            [0x08, 0x00] => self.ipv4(now, Some(interface), frame, Summed::Not),
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
        summed: Summed,
    ) -> Result<Verdict, Reason> {
        let header_len = match summed {
            Summed::Up => TRANSPORT - ETHERNET,
            Summed::Not => {
                let header_len = check_header(frame)?;
                let head: &Headers = frame.head.start();
                if from.is_some() && is_fragment(&head[ETHERNET..]) {
                    return self.assemble(now, from, frame);
                }
                header_len
            }
        };
        let mut packet = Packet::of(frame, header_len);
        packet.parse_transport(frame)?;
        packet.check_offload(frame, summed)?;
        self.packet(now, from, frame, &mut packet)
    }

    /// The firewall's own answer to a packet that conntrack knows.
    pub(crate) fn answer(
        &mut self,
        now: Instant,
        frame: &mut Frame<'_>,
    ) -> Result<Verdict, Reason> {
        let mut packet = Packet::parse(frame)?;
        self.pass(now, None, frame, &mut packet, &Tracked::Answer)
    }

    /// A fragment: its packet goes on when it is complete.
    fn assemble(
        &mut self,
        now: Instant,
        from: Option<InterfaceId>,
        fragment: &Frame<'_>,
    ) -> Result<Verdict, Reason> {
        let drops = &mut self.counters.drops;
        let added = self
            .fragments
            .add(now, fragment, |lost| drops.add(lost.reason, lost.fragments))?;
        let Added::Complete(whole) = added else {
            return Ok(Verdict::Parked);
        };
        let mut head = Head::new();
        head.load(&whole.bytes);
        let mut frame = Frame {
            head: &mut head,
            len: whole.bytes.len(),
            tail: &whole.bytes.as_slice(),
            checksum: whole.checksum,
            gso: None,
        };
        self.assembled = Some(whole.geometry);
        let packet = Packet::parse(&mut frame);
        let verdict = packet.and_then(|packet| self.whole(now, from, &mut frame, packet));
        self.assembled = None;
        verdict
    }

    /// A packet that came in fragments.
    #[cold]
    #[inline(never)]
    fn whole(
        &mut self,
        now: Instant,
        from: Option<InterfaceId>,
        frame: &mut Frame<'_>,
        mut packet: Packet,
    ) -> Result<Verdict, Reason> {
        self.packet(now, from, frame, &mut packet)
    }

    /// A whole packet.
    #[inline(always)]
    fn packet(
        &mut self,
        now: Instant,
        from: Option<InterfaceId>,
        frame: &mut Frame<'_>,
        packet: &mut Packet,
    ) -> Result<Verdict, Reason> {
        self.site.prefetch(&packet.tuple);
        let tick = Tick::of(now);
        let tracked = match self.raw(from, frame, packet) {
            None => self.track(tick, frame, packet),
            Some(RawAction::Untrack) => Tracked::Untracked,
            Some(RawAction::Drop) => return Err(Reason::Dropped),
        };
        let verdict = self.pass(now, from, frame, packet, &tracked);
        if let Tracked::Flow(handle, Standing::Last(_)) = tracked {
            self.flows.remove(handle);
        }
        verdict
    }

    /// A tracked packet's way out.
    fn pass(
        &mut self,
        now: Instant,
        from: Option<InterfaceId>,
        frame: &mut Frame<'_>,
        packet: &mut Packet,
        tracked: &Tracked,
    ) -> Result<Verdict, Reason> {
        if let Some(from) = from {
            self.check_reverse_path(now, frame, packet, tracked, from)?;
        }
        // A redirect names a router of the link it comes from, which means nothing where the
        // addresses are others.
        if let Tracked::Related(handle, _) = tracked
            && packet.icmp.0 == ICMP_REDIRECT
            && self.flows.tuple(*handle) != self.flows.translated(*handle)
        {
            return Err(Reason::BadTransport);
        }
        let (source_zone, leaving) = if let Tracked::Start(_) = tracked {
            let zone = self.site.zone(from.map(|from| from.0), packet.tuple.source);
            let leaving = self.translate_destination(now, from, zone, frame, packet);
            (Some(zone), leaving)
        } else {
            (None, self.leaving(tracked, packet))
        };
        if !nat::can_rewrite(frame.head.bytes(), packet, leaving) {
            return Err(Reason::BadTransport);
        }
        let (route, back) = self.route(from, tracked, packet, leaving)?;
        let egress = match route {
            Route::Via { egress, .. } => Some(egress),
            Route::Unreachable => {
                let (occasion, error) = (tracked.occasion(), Error::NetUnreachable);
                self.report(now, frame, packet, leaving, occasion, error);
                return Err(Reason::NoRoute);
            }
            _ => None,
        };
        #[cfg(feature = "trace")]
        if from.is_none() {
            self.trace.note(crate::trace::Step::Answer);
        }
        #[cfg(feature = "trace")]
        self.trace.note(crate::trace::Step::Route {
            destination: leaving.destination.into(),
            egress,
            gateway: match route {
                Route::Via { gateway, .. } if gateway != 0 => Some(gateway.into()),
                _ => None,
            },
        });
        if let (Some(_), Some(egress)) = (from, egress) {
            let next = Next::of(egress, route, leaving);
            self.may_forward(now, frame, packet, tracked, leaving, next)?;
        }
        let way = Way {
            from,
            egress,
            route,
            back,
            source_zone,
            leaving,
        };
        // Ahead of the rules, as in netfilter: a SYN that is rejected is quoted with its new size.
        self.clamp_mss(frame, packet, &way);
        self.judge(now, frame, packet, tracked, &way)?;
        let accepted = self.accept(Tick::of(now), packet, tracked, &way)?;
        if !nat::can_rewrite(frame.head.bytes(), packet, accepted.leaving) {
            if let (Tracked::Start(_), Some(handle)) = (tracked, accepted.flow) {
                self.flows.remove(handle);
            }
            return Err(Reason::BadTransport);
        }
        let new = match tracked {
            Tracked::Related(handle, inner) => {
                let (arriving, leaving) =
                    (self.flows.tuple(*handle), self.flows.translated(*handle));
                if !nat::can_rewrite_inner(frame.head.bytes(), inner, leaving.reversed()) {
                    return Err(Reason::BadTransport);
                }
                nat::rewrite_error(frame.head.bytes_mut(), packet, inner, arriving, leaving)
            }
            _ => {
                nat::rewrite(frame.head, packet, accepted.leaving, frame.checksum);
                accepted.leaving
            }
        };
        if egress.is_none() {
            packet.tuple = new;
        }
        match egress {
            Some(egress) => {
                if from.is_some() {
                    headers::decrement_ttl(frame.head.first_mut());
                }
                // Nothing but what comes before the route changes where a packet goes.
                debug_assert_eq!(new.destination, leaving.destination);
                let next = Next::of(egress, route, new);
                self.send(now, frame, packet, next, accepted.flow)
            }
            None => self.deliver(now, frame, packet, route),
        }
    }

    /// Which flow a packet belongs to.
    #[inline(always)]
    fn track(&mut self, tick: Tick, frame: &Frame<'_>, packet: &Packet) -> Tracked {
        let head = frame.head.bytes();
        if packet.bad_checksum {
            return Tracked::Invalid;
        }
        if packet.tuple.protocol == SCTP {
            let tracked = self.track_association(tick, frame, packet);
            return tracked.unwrap_or(Tracked::Invalid);
        }
        let is_no_flows = packet.tuple.protocol == GRE
            && head.get(packet.transport..).and_then(gre_call).is_none();
        if is_no_flows {
            return Tracked::Invalid;
        }
        let (kind, _) = packet.icmp;
        if packet.tuple.protocol == ICMP && icmp_is_error(kind) {
            return self.related(tick, head, packet).unwrap_or(Tracked::Invalid);
        }
        let segment = Segment::of(head, packet);
        if let Some(handle) = self.flows.find(tick, packet.tuple) {
            match self.flows.follow(tick, handle, segment.as_ref()) {
                Followed::Belongs(standing) => return Tracked::Flow(handle, standing),
                Followed::Invalid => return Tracked::Invalid,
                Followed::Reopens => {}
            }
        }
        if packet.tuple.protocol == ICMP && !icmp_asks(kind) {
            return Tracked::Invalid;
        }
        let opening = self.flows.opening(packet.tuple.protocol, segment.as_ref());
        opening.map_or(Tracked::Invalid, Tracked::Start)
    }

    /// The same of a packet of SCTP.
    fn track_association(
        &mut self,
        tick: Tick,
        frame: &Frame<'_>,
        packet: &Packet,
    ) -> Option<Tracked> {
        let chunks = Chunks::of(frame, packet)?;
        let Some(handle) = self.flows.find(tick, packet.tuple) else {
            return self.flows.opening_of(&chunks).map(Tracked::Start);
        };
        match self.flows.follow_association(tick, handle, &chunks) {
            Followed::Belongs(standing) => Some(Tracked::Flow(handle, standing)),
            Followed::Invalid | Followed::Reopens => None,
        }
    }

    /// The flow that an ICMP error is about.
    fn related(&mut self, tick: Tick, head: &[u8], packet: &Packet) -> Option<Tracked> {
        let inner = Inner::parse(head, packet)?;
        // Only whoever sent the quoted packet is told of it. Otherwise anyone who knows of one flow
        // could quote it to reach any host, whatever the rules say.
        if packet.tuple.destination != inner.tuple.source {
            return None;
        }
        let handle = self.flows.find(tick, inner.tuple.reversed())?;
        Some(Tracked::Related(handle, inner))
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
            Tracked::Start(_) | Tracked::Invalid | Tracked::Untracked | Tracked::Answer => {
                packet.tuple
            }
        }
    }

    /// Where the packet goes, and whether its addresses can be real; then where its source lies, if that
    /// was asked.
    fn route(
        &self,
        from: Option<InterfaceId>,
        tracked: &Tracked,
        packet: &Packet,
        leaving: Tuple,
    ) -> Result<(Route, Option<Route>), Reason> {
        let Tuple { source, .. } = packet.tuple;
        let route = self.site.routes.get(leaving.destination);
        let mut back = None;
        // Those of a known flow were found good when it began.
        if from.is_some() && !matches!(tracked, Tracked::Flow(..)) {
            let broadcast = leaving.destination == u32::MAX;
            let lies = self.site.routes.get(source);
            back = Some(lies);
            match lies {
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
        if let Some(from) = from
            && route != Route::Unreachable
        {
            self.site.filter_route(from, source)?;
        }
        match route {
            Route::Martian => Err(Reason::Martian),
            Route::Multicast => Err(Reason::Multicast),
            Route::Local | Route::Broadcast | Route::AllHosts if from.is_none() => {
                Err(Reason::NotSpoken)
            }
            route => Ok((route, back)),
        }
    }
}

/// Where a packet comes from and goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) from: Option<InterfaceId>,
    pub(crate) egress: Option<InterfaceId>,
    pub(crate) route: Route,
    /// Where the source lies, if it was asked already.
    pub(crate) back: Option<Route>,
    /// The zone of the source, if it was asked already.
    pub(crate) source_zone: Option<ZoneId>,
    /// Addresses and ports after DNAT.
    pub(crate) leaving: Tuple,
}

/// Where a packet is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    pub(crate) egress: InterfaceId,
    /// The next hop's: the destination's own, or that of a gateway to it.
    pub(crate) address: u32,
}

impl Next {
    fn of(egress: InterfaceId, route: Route, leaving: Tuple) -> Self {
        let address = match route {
            Route::Via { gateway, .. } if gateway != 0 => gateway,
            _ => leaving.destination,
        };
        Self { egress, address }
    }
}

/// A packet that may go on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    pub(crate) flow: Option<Handle>,
    pub(crate) leaving: Tuple,
}

#[inline(always)]
pub(crate) fn source_mac(from: Option<InterfaceId>, frame: &Frame<'_>) -> Option<[u8; 6]> {
    from?;
    Some(headers::bytes(frame.head.start(), 6))
}
