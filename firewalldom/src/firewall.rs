//! The engine as its owner sees it: frames in, verdicts and frames out, time as a parameter.

use crate::counters::{Counters, InterfaceTraffic};
use crate::established::{Shortcut, Summed};
use crate::flow::{self, FlowCount, Passed};
use crate::fragment::{Assembler, Geometry};
use crate::frame::{Checksum, ETHERNET, Frame, Head, OwnedFrame};
use crate::gate::Gates;
use crate::guest::Guests;
use crate::headers;
use crate::host::{Host, PingResult};
use crate::log::{LogLine, Logger};
use crate::meter::Meters;
use crate::neighbour;
use crate::path::Occasion;
use crate::policy::{Disposition, InterfaceId, Origin, Policy, blob};
use crate::random::Key;
use crate::reason::Reason;
use crate::reject::{self, ErrorRate};
use crate::route::Route;
use crate::rule::{self, By};
use crate::site::{ConfigError, Link, Port, Site};
use crate::time::{Instant, Tick};
use crate::timeout::Timeouts;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use core::time::Duration;
use smoltcp::wire::{ArpOperation, ArpPacket, ArpRepr, EthernetAddress};

/// How much the engine may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Flows (1 to 2^27); each takes [`Budget::BYTES_PER_FLOW`], all taken at start.
    pub flows: usize,
}

impl Budget {
    /// Bytes of the flow table for each flow, both directions and index included.
    pub const BYTES_PER_FLOW: usize = flow::BYTES_PER_FLOW;
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the head as it is now, and the rest of the frame as it came, up to [`Frame::len`].
    Forward {
        /// The interface it leaves by.
        egress: InterfaceId,
    },
    /// For the firewall itself; all that was needed was copied.
    Local,
    /// Copied: kept until the next hop is known, or queued in pieces that fit the next link.
    Parked,
    /// Gone; counted already.
    Drop(Reason),
}

/// A site's firewall.
pub struct Firewall {
    pub(crate) site: Site,
    pub(crate) flows: flow::Table,
    next_sweep: Instant,
    pub(crate) neighbours: neighbour::Table,
    pub(crate) fragments: Assembler,
    /// How the packet came that is on its way, if in fragments.
    pub(crate) assembled: Option<Geometry>,
    pub(crate) host: Host,
    pub(crate) logger: Logger,
    pub(crate) meters: Meters,
    pub(crate) errors: reject::Limit,
    pub(crate) key: Key,
    pub(crate) hits: Vec<u64>,
    pub(crate) ahead: rule::Ahead,
    /// Without what came in, and what left by the shortest way: that is counted at the gates.
    pub(crate) counters: Counters,
    pub(crate) decision: Option<(By, u32, Disposition)>,
    /// What decided about it if it took the shortest way.
    pub(crate) passed: Passed,
    pub(crate) gates: Gates,
    pub(crate) guests: Guests,
    /// The check outside the rules that decided about the last frame.
    pub(crate) checked: Option<Reason>,
    output: VecDeque<(InterfaceId, OwnedFrame)>,
    output_bytes: usize,
    #[cfg(feature = "trace")]
    pub(crate) trace: crate::trace::Trace,
}

impl Firewall {
    /// Most frames that wait to be taken, and most bytes of them.
    const MAX_OUTPUT: usize = 256;
    const MAX_OUTPUT_BYTES: usize = 256 * 1024;
    /// Flows looked at for whether they have expired, at most so often: it is [`Firewall::poll`] that does it,
    /// which is called whenever a frame or two have come.
    const SWEEP: usize = 256;
    const SWEEP_PAUSE: Duration = Duration::from_millis(5);

    /// A firewall for `policy` on `links`, one for each of the policy's interfaces, in order. `seed`
    /// must be random: hashing and port choice depend on it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(
        policy: &Policy,
        links: &[Link],
        budget: Budget,
        seed: [u8; 32],
        now: Instant,
    ) -> Result<Self, ConfigError> {
        let bytes = blob::encode(policy)?;
        let site = Site::new(blob::open(&bytes)?, links)?;
        Ok(Self::of(site, budget, seed, now))
    }

    /// The firewall of a site whose tables are built. `seed` as for [`Firewall::new`].
    pub fn of(site: Site, budget: Budget, seed: [u8; 32], now: Instant) -> Self {
        let mut key = Key::new(&seed);
        let settings = &site.policy.settings;
        let mut firewall = Self {
            flows: flow::Table::new(budget.flows, key.clone()),
            next_sweep: now,
            neighbours: neighbour::Table::new(
                site.ports.iter().map(Port::station).collect(),
                site.policy
                    .routes
                    .iter()
                    .filter_map(|route| Some((route.interface, route.gateway?.to_bits()))),
            ),
            fragments: Assembler::default(),
            assembled: None,
            host: Host::new(key.next()),
            logger: Logger::new(&settings.log_format, settings.log_limit),
            meters: Meters::new(&site.policy, budget.flows, now),
            errors: reject::Limit::new(),
            hits: vec![0; site.origins.list.len()],
            ahead: rule::Ahead::default(),
            counters: Counters {
                interfaces: vec![InterfaceTraffic::default(); site.ports.len()],
                ..Counters::default()
            },
            key,
            gates: Gates::new(),
            guests: Guests::default(),
            site,
            decision: None,
            passed: Passed::NONE,
            checked: None,
            output: VecDeque::new(),
            output_bytes: 0,
            #[cfg(feature = "trace")]
            trace: Default::default(),
        };
        firewall.set_shortcut(Shortcut::Taken);
        firewall.announce();
        firewall
    }

    /// The tables of its site, for another firewall: no packet changes them.
    pub fn into_site(self) -> Site {
        self.site
    }

    /// Tells each link which addresses are here now.
    fn announce(&mut self) {
        for number in 0..self.site.ports.len() {
            // Whoever will be behind those that guests hang off is not there yet.
            if !self.site.policy.interfaces[number].has_guests() {
                self.announce_at(InterfaceId(number as u8));
            }
        }
    }

    /// Tells a link which addresses are here now (gratuitous ARP, RFC 5227, 3).
    fn announce_at(&mut self, interface: InterfaceId) {
        let own: Vec<u32> = self.site.routes.own(interface).collect();
        for address in own {
            self.send_arp(interface, ArpOperation::Request, address, address, None);
        }
    }

    /// An interface has another link, the one it had being gone: flows, and whom it knows there, stay; its
    /// neighbours are told.
    ///
    /// # Errors
    /// [`ConfigError::Mac`]: no station may have this address. Everything is as it was.
    ///
    /// # Panics
    /// If the policy has no such interface.
    pub fn set_link(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        link: &Link,
    ) -> Result<(), ConfigError> {
        let station = self.site.set_link(interface, link)?;
        self.gates
            .move_to(interface, &self.site.ports[usize::from(interface.0)]);
        self.neighbours.set_station(now, interface, station);
        self.announce_at(interface);
        Ok(())
    }

    /// Looks for the flows of frames that are judged next, a few at a time: what that reads of large tables
    /// comes for all of them at once. It is not needed: a frame that comes without this is looked for then.
    #[inline]
    pub fn look_ahead(&mut self, interface: InterfaceId, heads: &mut [Head]) {
        if self.site.has_far_rules {
            self.look_far_ahead(interface, heads);
        } else {
            self.flows.look_ahead(heads);
        }
    }

    /// Looks for the rules, too, that will decide about those of the frames that begin a flow.
    #[cold]
    #[inline(never)]
    fn look_far_ahead(&mut self, interface: InterfaceId, heads: &mut [Head]) {
        self.flows.look_ahead(heads);
        self.ahead.clear();
        let gate = self.gates.of(interface);
        for head in heads {
            let Some(tuple) = headers::tuple(head, gate.station) else {
                continue;
            };
            if self.flows.perhaps(head, tuple.protocol) {
                continue;
            }
            let Route::Via { egress, .. } = self.site.routes.get(tuple.destination) else {
                continue;
            };
            let zones = [
                self.site.zone(Some(interface.0), tuple.source),
                self.site.zone(Some(egress.0), tuple.destination),
            ];
            let chain = self.site.zones.chain(zones);
            let kept = self.ahead.add(&self.site.chains, chain, &tuple);
            head.sought = kept.unwrap_or(u8::MAX);
        }
        self.ahead.descend(&self.site.chains);
    }

    /// Judges a frame that came in on `interface`, and rewrites its head if it is to be forwarded.
    pub fn ingress(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        frame: &mut Frame<'_>,
    ) -> Verdict {
        self.gates.came_in(interface, frame.len);
        let summed = if frame.checksum == Checksum::Unknown {
            Some(Summed::of(frame, self.gates.of(interface).station))
        } else {
            None
        };
        if summed != Some(Summed::Not)
            && let Some(egress) = self.send_established(now, interface, frame)
        {
            return Verdict::Forward { egress };
        }
        self.judge_frame(now, interface, frame, summed.unwrap_or(Summed::Not))
    }

    /// The whole way.
    #[inline(never)]
    fn judge_frame(
        &mut self,
        now: Instant,
        interface: InterfaceId,
        frame: &mut Frame<'_>,
        summed: Summed,
    ) -> Verdict {
        self.passed = Passed::NONE;
        self.decision = None;
        #[cfg(feature = "trace")]
        self.trace.clear();
        self.checked = None;
        if usize::from(interface.0) >= self.site.ports.len() {
            return self.refuse(Reason::OtherHost);
        }
        let judged = match summed {
            Summed::Up => self.ipv4(now, Some(interface), frame, summed),
            Summed::Not => self.receive(now, interface, frame),
        };
        match judged {
            Ok(Verdict::Forward { egress }) => {
                self.counters.forwarded += 1;
                self.counters.interfaces[usize::from(egress.0)]
                    .egress
                    .count(frame.len);
                Verdict::Forward { egress }
            }
            Ok(verdict) => verdict,
            Err(reason) => self.refuse(reason),
        }
    }

    pub(crate) fn refuse(&mut self, reason: Reason) -> Verdict {
        self.counters.drops.count(reason);
        self.checked = Some(reason);
        Verdict::Drop(reason)
    }

    /// Judges and sends a packet of the firewall's own, behind room for an Ethernet header.
    pub(crate) fn send_own(
        &mut self,
        now: Instant,
        bytes: &[u8],
        occasion: Occasion,
    ) -> Result<(), Reason> {
        // What is known of the frame under way is not true of this one.
        let (assembled, decision) = (self.assembled.take(), self.decision.take());
        let mut head = Head::new();
        head.load(bytes);
        let mut frame = Frame {
            head: &mut head,
            len: bytes.len(),
            tail: &bytes,
            checksum: Checksum::Validated,
            gso: None,
        };
        let result = match occasion {
            Occasion::Answer => self.answer(now, &mut frame),
            Occasion::Own => self.ipv4(now, None, &mut frame, Summed::Not),
        };
        (self.assembled, self.decision) = (assembled, decision);
        match result {
            Ok(Verdict::Forward { egress }) => {
                let owned = own(&frame)?;
                self.push_output(egress, owned);
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(reason) => {
                self.counters.drops.count(reason);
                Err(reason)
            }
        }
    }

    /// A frame that the engine made or kept, to be sent out of this interface.
    pub fn take_output(&mut self) -> Option<(InterfaceId, OwnedFrame)> {
        let (interface, frame) = self.output.pop_front()?;
        self.output_bytes -= frame.bytes.len();
        Some((interface, frame))
    }

    pub(crate) fn push_output(&mut self, interface: InterfaceId, frame: OwnedFrame) {
        let len = frame.bytes.len();
        if self.output.len() >= Self::MAX_OUTPUT || self.output_bytes + len > Self::MAX_OUTPUT_BYTES
        {
            self.counters.drops.count(Reason::OutputFull);
            return;
        }
        self.counters.interfaces[usize::from(interface.0)]
            .egress
            .count(len);
        self.output_bytes += len;
        self.output.push_back((interface, frame));
    }

    /// The firewall's own link-layer address on an interface that there is.
    pub(crate) fn station(&self, interface: usize) -> EthernetAddress {
        self.site.ports[interface].mac
    }

    /// Does what is due; when something will be due next. Work per call is bounded.
    pub fn poll(&mut self, now: Instant) -> Option<Instant> {
        if now >= self.next_sweep {
            self.next_sweep = now + Self::SWEEP_PAUSE;
            self.flows.sweep(Tick::of(now), Self::SWEEP);
        }
        let drops = &mut self.counters.drops;
        self.fragments
            .expire(now, |lost| drops.add(lost.reason, lost.fragments));
        for (interface, owned) in self.neighbours.poll(now) {
            self.give_up(now, interface, &owned);
        }
        for _ in 0..self.neighbours.take_lost() {
            self.counters.drops.count(Reason::ParkingFull);
        }
        self.send_asks();
        let sweep = (self.flows.count.now > 0).then(|| now + Duration::from_secs(1));
        let incomplete = self.fragments.deadline();
        let neighbours = self.neighbours.deadline();
        [sweep, incomplete, neighbours, self.host.poll(now)]
            .into_iter()
            .flatten()
            .min()
    }

    pub(crate) fn send_asks(&mut self) {
        while let Some(ask) = self.neighbours.take_ask() {
            let source = self
                .site
                .routes
                .source(ask.interface, ask.address)
                .unwrap_or(0);
            self.send_arp(
                ask.interface,
                ArpOperation::Request,
                source,
                ask.address,
                ask.mac,
            );
        }
    }

    pub(crate) fn send_arp(
        &mut self,
        interface: InterfaceId,
        operation: ArpOperation,
        source: u32,
        target: u32,
        mac: Option<EthernetAddress>,
    ) {
        let own = self.site.ports[usize::from(interface.0)].mac;
        let unknown = match operation {
            ArpOperation::Request => EthernetAddress([0; 6]),
            _ => EthernetAddress::BROADCAST,
        };
        let repr = ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr: own,
            source_protocol_addr: Ipv4Addr::from_bits(source),
            target_hardware_addr: mac.unwrap_or(unknown),
            target_protocol_addr: Ipv4Addr::from_bits(target),
        };
        let mut bytes = vec![0; ETHERNET + repr.buffer_len()];
        crate::frame::write_ethernet(&mut bytes, own, mac.unwrap_or(EthernetAddress::BROADCAST));
        bytes[12..14].copy_from_slice(&[0x08, 0x06]);
        repr.emit(&mut ArpPacket::new_unchecked(&mut bytes[ETHERNET..]));
        self.push_output(
            interface,
            OwnedFrame {
                bytes,
                checksum: Checksum::Validated,
                gso: None,
            },
        );
    }

    /// A log line, oldest first.
    pub fn take_log(&mut self) -> Option<LogLine> {
        self.logger.take()
    }

    /// Log lines that the limit or a full queue suppressed.
    pub fn suppressed_log_lines(&self) -> u64 {
        self.logger.suppressed
    }

    /// Asks an address for an echo, as the firewall itself and by its rules; the result comes from
    /// [`Firewall::take_ping`].
    pub fn ping(&mut self, now: Instant, address: Ipv4Addr) {
        let target = address.to_bits();
        let source = match self.site.routes.get(target) {
            Route::Via { egress, gateway } => self
                .site
                .routes
                .source(egress, if gateway == 0 { target } else { gateway }),
            _ => None,
        };
        let request = source.and_then(|source| self.host.ping(now, source, target));
        let sent = request.is_some_and(|bytes| self.send_own(now, &bytes, Occasion::Own).is_ok());
        if !sent {
            self.host.refuse_ping(target);
        }
    }

    /// The result of a ping, oldest first.
    pub fn take_ping(&mut self) -> Option<PingResult> {
        self.host.take_result()
    }

    /// From now on, notes what each packet meets.
    #[cfg(feature = "trace")]
    pub fn start_trace(&mut self) {
        self.trace.is_wanted = true;
    }

    /// What the packet that came last has met.
    #[cfg(feature = "trace")]
    pub fn trace(&self) -> &[crate::trace::Step] {
        self.trace.steps()
    }

    /// What happened so far, put together from where it is counted.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters.clone();
        counters.forwarded += self.shortcuts_taken();
        for (whole, short) in counters.interfaces.iter_mut().zip(self.gates.traffic()) {
            *whole = whole.and(short);
        }
        counters
    }

    /// How often each line of the user's files was hit by the first packet of a flow.
    pub fn hits(&self) -> impl Iterator<Item = (Origin, u64)> + '_ {
        self.site
            .origins
            .list
            .iter()
            .copied()
            .zip(self.hits.iter().copied())
    }

    /// Bytes that the rules take in memory, with their counters.
    pub fn rule_bytes(&self) -> usize {
        self.site.rule_bytes() + size_of_val(self.hits.as_slice())
    }

    /// How many flows there are.
    pub fn flows(&self) -> FlowCount {
        self.flows.count
    }

    /// Of the packets forwarded, those that took the shortest way.
    pub fn shortcuts_taken(&self) -> u64 {
        self.gates.traffic().map(|short| short.egress.packets).sum()
    }

    /// Every flow with all that is remembered of it, for people.
    pub fn debug_flows(&self) -> impl core::fmt::Debug + '_ {
        &self.flows
    }

    /// The policy it runs, without its rules and translations, which are tables now.
    pub fn policy(&self) -> &Policy {
        &self.site.policy
    }

    /// Lets established packets take the shortest way (as they do unless told otherwise), or not.
    pub fn set_shortcut(&mut self, shortcut: Shortcut) {
        let ports: &[Port] = match shortcut {
            Shortcut::Taken if self.site.has_shortcut() => &self.site.ports,
            _ => &[],
        };
        self.gates.open(ports, self.site.hairpins());
    }

    /// What time it is: at `now`, so long after 1970-01-01 UTC. Rules with TIME go by it; until it is
    /// said, it is 1970.
    pub fn set_wall_clock(&mut self, now: Instant, unix: Duration) {
        self.meters.clock.set(now, unix.as_secs());
    }

    /// Limits ICMP errors in number (as they are unless told otherwise), or not.
    pub fn set_error_rate(&mut self, rate: ErrorRate) {
        self.errors.rate = rate;
    }

    /// Sets the time-outs of flows from now on.
    pub fn set_timeouts(&mut self, timeouts: Timeouts) {
        self.flows.set_timeouts(timeouts);
    }
}

/// A private copy of a frame.
pub(crate) fn own(frame: &Frame<'_>) -> Result<OwnedFrame, Reason> {
    let bytes = frame.copy_from(0)?;
    Ok(OwnedFrame {
        bytes,
        checksum: frame.checksum,
        gso: frame.gso,
    })
}
