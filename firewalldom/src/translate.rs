//! New flows: their translation, and their entry into the table.

use crate::firewall::Firewall;
use crate::flow::Full;
use crate::frame::Frame;
use crate::nat::{self, Exhausted, NoAddress};
use crate::packet::{Packet, Tuple};
use crate::path::{Accepted, Tracked, Way, source_mac};
use crate::policy::{DestinationTarget, InterfaceId, PortRange, ZoneId};
use crate::reason::Reason;
use crate::route::Route;
use crate::rule::{Facts, has_ports};
use crate::time::{Instant, Tick};

impl Firewall {
    /// DNAT and REDIRECT for the first packet of a flow, whose source is in `zone`.
    pub(crate) fn translate_destination(
        &mut self,
        now: Instant,
        from: Option<InterfaceId>,
        zone: ZoneId,
        frame: &Frame<'_>,
        packet: &Packet,
    ) -> Tuple {
        let mut leaving = packet.tuple;
        // Who follows the rules sees every one that is passed over.
        if !cfg!(feature = "trace") && !self.site.nat.looks_at(zone) {
            return leaving;
        }
        let facts = Facts {
            packet,
            tuple: leaving,
            original: Some((leaving.destination, leaving.destination_port)),
            ingress: from,
            egress: None,
            mac: source_mac(from, frame),
            kind: self.site.routes.get(leaving.destination).kind(),
        };
        let (meters, flows) = (&mut self.meters, &mut self.flows);
        let rule = self.site.nat.destination(zone, &facts, |limits| {
            meters.hold(limits, now, leaving, leaving, flows)
        });
        #[cfg(feature = "trace")]
        self.trace.compared(
            crate::trace::Table::DestinationNat,
            &self.site.origins.list,
            { self.site.nat.destinations().iter() }
                .map(|rule| (rule.origin, rule.unlike(zone, &facts))),
            rule.map(|rule| rule.origin),
        );
        let Some(rule) = rule else {
            return leaving;
        };
        self.hits[rule.origin as usize] += 1;
        // An ICMP query's type and code stand where others have a destination port.
        let movable = has_ports(leaving.protocol);
        match &rule.target {
            DestinationTarget::Exempt => {}
            DestinationTarget::Redirect { port } => {
                if let Some(address) = from.and_then(|from| self.site.routes.primary(from)) {
                    leaving.destination = address;
                    leaving.destination_port =
                        port.filter(|_| movable).unwrap_or(leaving.destination_port);
                }
            }
            DestinationTarget::Server { addresses, ports } => {
                leaving.destination = nat::spread(&self.flows, *addresses, leaving);
                if let Some(range) = ports.filter(|_| movable) {
                    leaving.destination_port = pick(&mut self.key, range, leaving.destination_port);
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

    /// Enters a new flow, source NAT included.
    pub(crate) fn accept(
        &mut self,
        tick: Tick,
        packet: &Packet,
        tracked: &Tracked,
        way: &Way,
    ) -> Result<Accepted, Reason> {
        match tracked {
            Tracked::Flow(handle, _) => Ok(Accepted {
                flow: Some(*handle),
                leaving: way.leaving,
            }),
            Tracked::Start(opening) => {
                let reply = self.translate_source(tick, packet, way)?;
                let origin = self.decision.map_or(0, |(_, origin, _)| origin);
                let handle = self
                    .flows
                    .insert(tick, packet.tuple, reply, opening, origin)
                    .map_err(|Full| Reason::TableFull)?;
                Ok(Accepted {
                    flow: Some(handle),
                    leaving: reply.reversed(),
                })
            }
            Tracked::Related(..) | Tracked::Invalid | Tracked::Untracked | Tracked::Answer => {
                Ok(Accepted {
                    flow: None,
                    leaving: way.leaving,
                })
            }
        }
    }

    /// The reply tuple of a new flow, by the first SNAT or MASQUERADE rule that fits.
    fn translate_source(
        &mut self,
        tick: Tick,
        packet: &Packet,
        way: &Way,
    ) -> Result<Tuple, Reason> {
        let mut leaving = way.leaving;
        let mut ports = None;
        if let Some(egress) = way.egress {
            let facts = Facts {
                packet,
                tuple: leaving,
                original: Some((packet.tuple.destination, packet.tuple.destination_port)),
                ingress: None,
                egress: Some(egress),
                mac: None,
                kind: way.route.kind(),
            };
            let rule = self.site.nat.source(egress, &facts);
            #[cfg(feature = "trace")]
            self.trace.compared(
                crate::trace::Table::SourceNat,
                &self.site.origins.list,
                { self.site.nat.sources().iter() }
                    .map(|rule| (rule.origin, rule.unlike(egress, &facts))),
                rule.map(|rule| rule.origin),
            );
            if let Some(rule) = rule {
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
}

/// A port of a range: the packet's own if it is in it, else any.
fn pick(key: &mut crate::random::Key, range: PortRange, port: u16) -> u16 {
    if (range.first..=range.last).contains(&port) {
        return port;
    }
    range.first + key.next_below(u64::from(range.last - range.first) + 1) as u16
}
