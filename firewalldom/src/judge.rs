//! Whether a packet may pass: the forwarding checks, the interfaces' options, the zones' chain.

use crate::firewall::Firewall;
use crate::frame::{ETHERNET, Frame};
use crate::nat;
use crate::packet::{Cast, Packet, TCP, Tuple, UDP};
use crate::path::{Tracked, Way, source_mac};
use crate::policy::{Disposition, Exception, InterfaceId, Settings, States};
use crate::reason::Reason;
use crate::reject::{self, Answer, Error};
use crate::route::Route;
use crate::rule::{By, Facts, LogRequest, Ruling};
use crate::tcp;
use crate::time::Instant;

impl Firewall {
    /// What Linux' `ip_forward` asks before any rule.
    pub(crate) fn may_forward(
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
    pub(crate) fn judge(
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
        chain.judge(
            &site.lists,
            tracked.state(),
            &facts,
            settings,
            |origin, request| {
                hits[origin as usize] += 1;
                if let Some(LogRequest { chain, log }) = request {
                    logger.log(now, flows.spread(tuple.source, 0), chain, log, &subject);
                }
            },
        )
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

    /// REJECT: tells the sender.
    fn reject(&mut self, now: Instant, frame: &mut Frame<'_>, packet: &Packet, way: Way) {
        let refuse = way.from.is_none()
            || packet.bad_checksum
            || packet.cast != Cast::Unicast
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
