//! Whether a packet may pass: the forwarding checks, the interfaces' options, the zones' chain.

use crate::firewall::Firewall;
use crate::flow;
use crate::frame::{ETHERNET, Frame};
use crate::headers;
use crate::log::{Logger, Subject};
use crate::meter::Meters;
use crate::packet::{Cast, Packet, TCP, Tuple, UDP};
use crate::path::{Next, Tracked, Way, source_mac};
use crate::policy::{
    Disposition, Exception, InterfaceId, Limits, RejectWith, Settings, States, ZoneId,
};
use crate::reason::Reason;
use crate::reject::{self, Answer, Error};
use crate::route::Route;
use crate::rule::{By, Facts, Hooks, LogRequest, Ruling};
use crate::site::Site;
use crate::tcp;
use crate::time::{Instant, Tick};

impl Firewall {
    /// What Linux' `ip_forward` asks before any rule.
    pub(crate) fn may_forward(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        packet: &Packet,
        tracked: &Tracked,
        leaving: Tuple,
        next: Next,
    ) -> Result<(), Reason> {
        if !self.site.policy.settings.forwarding {
            return Err(Reason::ForwardingOff);
        }
        if packet.cast != Cast::Unicast {
            return Err(Reason::Broadcast);
        }
        if packet.ttl <= 1 {
            let (occasion, error) = (tracked.occasion(), Error::TimeExceeded);
            self.report(now, frame, packet, leaving, occasion, error);
            return Err(Reason::TimeExceeded);
        }
        let mtu = self.mtu(next.egress, next.address);
        let size = match (&self.assembled, frame.gso) {
            // It leaves in pieces no larger than it came in.
            (Some(geometry), _) => geometry.largest,
            (None, None) => packet.total,
            (None, Some(gso)) => {
                let tcp = usize::from(frame.head.bytes()[packet.transport + 12] >> 4) * 4;
                ((packet.transport - ETHERNET + tcp) as u16).saturating_add(gso.size)
            }
        };
        if size <= mtu {
            return Ok(());
        }
        let whole = frame.gso.is_some() || !reject::may_fragment(frame.head.bytes());
        if whole {
            let (occasion, error) = (tracked.occasion(), Error::FragmentationNeeded(mtu));
            self.report(now, frame, packet, leaving, occasion, error);
            return Err(Reason::TooBig);
        }
        Ok(())
    }

    /// The checks of the interfaces' options and the chain of the two zones, in the order of
    /// Shorewall's chains: `blrules`, sfilter, smurfs, DHCP, tcpflags, then the sections.
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        frame: &mut Frame<'_>,
        packet: &Packet,
        tracked: &Tracked,
        way: &Way,
    ) -> Result<(), Reason> {
        let state = tracked.state();
        if state == States::ESTABLISHED && !self.site.judges_established(way) {
            if self.check_options(now, frame, packet, tracked, way)? == Checked::Passed {
                self.clamp_mss_of_hosts(frame, packet, way);
            }
            if let Tracked::Flow(handle, _) = tracked {
                self.decision = Some((By::State, self.flows.decided(*handle), Disposition::Accept));
            }
            return Ok(());
        }
        let zones = self.zones(packet, way);
        let pair = self.site.zones.chain(zones);
        #[cfg(feature = "trace")]
        self.note_chain(zones, pair);
        let facts = Facts {
            packet,
            tuple: seen_by_rules(packet, way),
            original: match tracked {
                Tracked::Flow(handle, _) | Tracked::Related(handle, _) => {
                    Some(self.flows.original_destination(*handle))
                }
                Tracked::Start(_) | Tracked::Answer => {
                    Some((packet.tuple.destination, packet.tuple.destination_port))
                }
                Tracked::Invalid | Tracked::Untracked => None,
            },
            ingress: way.from,
            egress: way.egress,
            mac: source_mac(way.from, frame),
            kind: way.route.kind(),
        };
        let chain = &self.site.chains[pair];
        if chain.may_blacklist(&self.site.lists, &facts.tuple, state)
            && let Some(ruling) =
                self.ask_chain(now, frame, &facts, state, (way, pair), Part::Blacklist)
        {
            return self.obey(now, frame, packet, tracked, way, ruling);
        }
        if self.check_options(now, frame, packet, tracked, way)? == Checked::Accepted {
            return Ok(());
        }
        self.clamp_mss_of_hosts(frame, packet, way);
        match self.ask_chain(now, frame, &facts, state, (way, pair), Part::Rules) {
            Some(ruling) => self.obey(now, frame, packet, tracked, way, ruling),
            None => Ok(()),
        }
    }

    /// The interfaces' options: routeback, `nosmurfs`, `tcpflags`.
    #[inline(always)]
    fn check_options(
        &mut self,
        now: Instant,
        frame: &mut Frame<'_>,
        packet: &Packet,
        tracked: &Tracked,
        way: &Way,
    ) -> Result<Checked, Reason> {
        let Some(from) = way.from else {
            return Ok(Checked::Passed);
        };
        // Of new flows nearly all are so.
        let port = &self.site.ports[usize::from(from.0)];
        let is_usual = way.egress != Some(from)
            && port.also.is_empty()
            && matches!(way.back, Some(Route::Via { .. }))
            && !is_scanner(packet);
        if is_usual {
            return Ok(Checked::Passed);
        }
        self.check_closely(now, frame, packet, tracked, way, from)
    }

    #[inline(never)]
    fn check_closely(
        &mut self,
        now: Instant,
        frame: &mut Frame<'_>,
        packet: &Packet,
        tracked: &Tracked,
        way: &Way,
        from: InterfaceId,
    ) -> Result<Checked, Reason> {
        let state = tracked.state();
        let port = &self.site.ports[usize::from(from.0)];
        let (tcp_flags, no_smurfs) = (port.tcp_flags, port.no_smurfs);
        let held_back = way
            .egress
            .is_some_and(|egress| egress == from && !port.route_back || port.also.contains(egress));
        if held_back {
            self.except(now, frame, packet, tracked, way, Check::Hairpin)?;
        }
        let unsure = States::NEW.union(States::INVALID).union(States::UNTRACKED);
        if no_smurfs
            && unsure.contains(state)
            && packet.tuple.source != 0
            && way
                .back
                .unwrap_or_else(|| self.site.routes.get(packet.tuple.source))
                == Route::Broadcast
        {
            self.except(now, frame, packet, tracked, way, Check::Smurf)?;
        }
        if tcp_flags && is_scanner(packet) {
            return self.except(now, frame, packet, tracked, way, Check::TcpFlags);
        }
        Ok(Checked::Passed)
    }

    /// Does what was ruled.
    fn obey(
        &mut self,
        now: Instant,
        frame: &mut Frame<'_>,
        packet: &Packet,
        tracked: &Tracked,
        way: &Way,
        ruling: Ruling,
    ) -> Result<(), Reason> {
        let origin = match (tracked, ruling.by) {
            (Tracked::Flow(handle, _), By::State) => self.flows.decided(*handle),
            _ => ruling.origin,
        };
        self.decision = Some((ruling.by, origin, ruling.disposition));
        match ruling.disposition {
            Disposition::Accept => Ok(()),
            Disposition::Drop if ruling.by == By::State => Err(Reason::StateDisposition),
            Disposition::Drop => Err(Reason::Dropped),
            Disposition::Reject => {
                self.reject(now, frame, packet, tracked, way, ruling.reject_with);
                Err(Reason::Rejected)
            }
        }
    }

    /// The zones that a packet goes from and to.
    pub(crate) fn zones(&self, packet: &Packet, way: &Way) -> [ZoneId; 2] {
        // As rules see them: the source as it came, the destination after DNAT.
        let source = way.from.map(|from| from.0);
        let destination = way.egress.map(|egress| egress.0);
        [
            way.source_zone
                .unwrap_or_else(|| self.site.zone(source, packet.tuple.source)),
            self.site.zone(destination, way.leaving.destination),
        ]
    }

    #[cfg(feature = "trace")]
    fn note_chain(&mut self, zones: [ZoneId; 2], pair: usize) {
        let all = &self.site.policy.zones;
        self.trace.note(crate::trace::Step::Chain {
            name: self.site.chains[pair].name.clone(),
            zones: zones
                .map(|zone| all.get(usize::from(zone.0)))
                .map(|zone| zone.map(|zone| zone.name.clone())),
        });
    }

    /// A part of the chain of a pair of zones; `None`: it says nothing.
    fn ask_chain(
        &mut self,
        now: Instant,
        frame: &Frame<'_>,
        facts: &Facts<'_>,
        state: States,
        (way, pair): (&Way, usize),
        part: Part,
    ) -> Option<Ruling> {
        let Self {
            site,
            hits,
            logger,
            flows,
            meters,
            ahead,
            #[cfg(feature = "trace")]
            trace,
            ..
        } = self;
        let chain = &site.chains[pair];
        if part == Part::Rules && dhcp(site, facts.packet, way) {
            return Some(chain.state_ruling(Disposition::Accept));
        }
        let mut hooks = Asked {
            now,
            meters,
            flows,
            logger,
            hits,
            subject: &|| subject(site, frame, facts.packet, way),
            #[cfg(feature = "trace")]
            trace,
            #[cfg(feature = "trace")]
            origins: &site.origins.list,
        };
        match part {
            Part::Blacklist => chain.blacklisted(&site.lists, state, facts, &mut hooks),
            Part::Rules => {
                let settings = &site.policy.settings;
                let ahead = ahead.get(frame.head.sought, pair);
                Some(chain.judge(&site.lists, state, facts, ahead, settings, &mut hooks))
            }
        }
    }

    /// A check outside the rules caught a packet: what shorewall.conf says of it.
    pub(crate) fn except(
        &mut self,
        now: Instant,
        frame: &mut Frame<'_>,
        packet: &Packet,
        tracked: &Tracked,
        way: &Way,
        check: Check,
    ) -> Result<Checked, Reason> {
        let (exception, chain, reason) = check.of(&self.site.policy.settings);
        let disposition = exception.disposition;
        if let Some(log) = &exception.log {
            let hash = self.flows.spread(packet.tuple.source, 0);
            let subject = subject(&self.site, frame, packet, way);
            self.logger.log(now, hash, chain, log, &subject);
        }
        match disposition {
            Disposition::Accept => Ok(Checked::Accepted),
            Disposition::Drop => Err(reason),
            Disposition::Reject => {
                self.reject(now, frame, packet, tracked, way, check.reject_with());
                Err(reason)
            }
        }
    }

    /// REJECT: tells the sender, as the protocol has it or as the rule says.
    fn reject(
        &mut self,
        now: Instant,
        frame: &mut Frame<'_>,
        packet: &Packet,
        tracked: &Tracked,
        way: &Way,
        with: Option<RejectWith>,
    ) {
        let refuse = way.from.is_none()
            || packet.is_damaged()
            || matches!(
                way.route,
                Route::Broadcast | Route::AllHosts | Route::Multicast
            )
            || self.site.routes.get(packet.tuple.source) == Route::Broadcast
            || !reject::is_vouched_for(frame, packet);
        if refuse {
            return;
        }
        let answer = match with {
            None => reject::answer(packet),
            Some(with) => reject::answer_with(packet, with),
        };
        match answer {
            None => {}
            Some(Answer::Reset) => {
                if let Some(mut bytes) = reject::reset(frame.head.bytes(), packet, 0) {
                    reject::avoid_zero_checksum(&mut bytes);
                    self.emit(now, &bytes, tracked.occasion());
                    if let Tracked::Flow(handle, _) = tracked {
                        self.flows.close(Tick::of(now), *handle);
                    }
                }
            }
            Some(Answer::Error(error)) => {
                // As in netfilter's FORWARD hook: the quoted packet has had its hop taken.
                if way.egress.is_some() {
                    headers::decrement_ttl(frame.head.first_mut());
                }
                let occasion = tracked.occasion();
                self.report(now, frame, packet, way.leaving, occasion, error);
            }
        }
    }
}

/// Whether a packet has flags that only scanners send.
fn is_scanner(packet: &Packet) -> bool {
    packet.tuple.protocol == TCP && tcp::scanner(packet.tcp_flags, packet.tuple.source_port)
}

/// What came of the interfaces' options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Nothing: the rules decide.
    Passed,
    /// One of them let the packet pass, whatever the rules say.
    Accepted,
}

/// The parts of a chain, between which come the interfaces' options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// `blrules`.
    Blacklist,
    /// All else.
    Rules,
}

/// What rules ask while they judge a packet, and what they leave behind.
struct Asked<'a> {
    now: Instant,
    meters: &'a mut Meters,
    flows: &'a mut flow::Table,
    logger: &'a mut Logger,
    hits: &'a mut [u64],
    /// Only asked for what is logged.
    subject: &'a dyn Fn() -> Subject<'a>,
    #[cfg(feature = "trace")]
    trace: &'a mut crate::trace::Trace,
    #[cfg(feature = "trace")]
    origins: &'a [crate::policy::Origin],
}

impl Hooks for Asked<'_> {
    fn holds(&mut self, limits: &Limits, facts: &Facts<'_>) -> bool {
        let arrived = facts.packet.tuple;
        self.meters
            .hold(limits, self.now, arrived, facts.tuple, self.flows)
    }

    #[cfg(feature = "trace")]
    fn is_traced(&self) -> bool {
        self.trace.is_wanted
    }

    #[cfg(feature = "trace")]
    fn compared(&mut self, origin: u32, outcome: crate::trace::Outcome) {
        self.trace.note(crate::trace::Step::Rule {
            table: crate::trace::Table::Filter,
            origin: self.origins[origin as usize],
            outcome,
        });
    }

    fn hit(&mut self, origin: u32, request: Option<LogRequest<'_>>) {
        self.hits[origin as usize] += 1;
        if let Some(request) = request {
            self.log(request);
        }
    }

    fn log(&mut self, LogRequest { chain, log }: LogRequest<'_>) {
        let subject = (self.subject)();
        let hash = self.flows.spread(subject.tuple.source, 0);
        self.logger.log(self.now, hash, chain, log, &subject);
    }
}

/// Addresses and ports as rules see them: the source as it came, the destination after DNAT.
fn seen_by_rules(packet: &Packet, way: &Way) -> Tuple {
    Tuple {
        source: packet.tuple.source,
        source_port: packet.tuple.source_port,
        ..way.leaving
    }
}

/// The packet as its log lines show it.
fn subject<'a>(site: &'a Site, frame: &'a Frame<'_>, packet: &'a Packet, way: &Way) -> Subject<'a> {
    let forwarded = way.from.is_some() && way.egress.is_some();
    Subject {
        head: frame.head.bytes(),
        packet,
        tuple: seen_by_rules(packet, way),
        ttl: packet.ttl - u8::from(forwarded),
        ingress: site.name(way.from.map(|from| from.0)),
        egress: site.name(way.egress.map(|egress| egress.0)),
    }
}

/// The checks that shorewall.conf has a disposition for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    Hairpin,
    Smurf,
    TcpFlags,
    ReversePath,
}

impl Check {
    /// How a REJECT tells the sender. Shorewall's chain `tcpflags` has iptables' own REJECT in it, the
    /// others jump to its chain `reject`.
    const fn reject_with(self) -> Option<RejectWith> {
        match self {
            Self::TcpFlags => Some(RejectWith::PortUnreachable),
            _ => None,
        }
    }

    /// The setting, Shorewall's name of the chain, and the reason to count.
    const fn of(self, settings: &Settings) -> (&Exception, &'static str, Reason) {
        match self {
            Self::Hairpin => (&settings.hairpin, "sfilter", Reason::Hairpin),
            Self::Smurf => (&settings.smurfs, "smurfs", Reason::Smurf),
            Self::TcpFlags => (&settings.tcp_flags, "logflags", Reason::TcpFlags),
            Self::ReversePath => (&settings.rpfilter, "rplog", Reason::ReversePath),
        }
    }
}

/// `dhcp`: DHCP between an interface's link and the firewall itself.
fn dhcp(site: &Site, packet: &Packet, way: &Way) -> bool {
    let link = match (way.from, way.egress) {
        (Some(link), None) | (None, Some(link)) => link,
        _ => return false,
    };
    packet.tuple.protocol == UDP
        && matches!(way.leaving.destination_port, 67 | 68)
        && site.ports[usize::from(link.0)].dhcp
}
