//! Lines of `conntrack` that keep packets from being tracked, as netfilter's table `raw`: asked first,
//! of every packet.

use crate::firewall::Firewall;
use crate::frame::Frame;
use crate::packet::Packet;
use crate::path::source_mac;
use crate::policy::{self, InterfaceId, RawAction, ZoneId};
use crate::rule::{Facts, Matcher, NamedSets, Origins};
use alloc::boxed::Box;

/// A line of `conntrack`.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    zone: ZoneId,
    matcher: Matcher,
    action: RawAction,
    origin: u32,
}

/// The lines in order.
pub(crate) fn rules(
    policy: &policy::Policy,
    named: &NamedSets,
    origins: &mut Origins,
) -> Box<[Rule]> {
    let rules = policy.raw.iter().map(|rule| Rule {
        zone: rule.source_zone,
        matcher: Matcher::new(&rule.matches, named),
        action: rule.action,
        origin: origins.number(rule.origin),
    });
    rules.collect()
}

impl Firewall {
    /// What `conntrack` says of a packet, if anything.
    pub(crate) fn raw(
        &mut self,
        from: Option<InterfaceId>,
        frame: &Frame<'_>,
        packet: &Packet,
    ) -> Option<RawAction> {
        if self.site.raw.is_empty() {
            return None;
        }
        let tuple = packet.tuple;
        let facts = Facts {
            packet,
            tuple,
            original: Some((tuple.destination, tuple.destination_port)),
            ingress: from,
            egress: None,
            mac: source_mac(from, frame),
            kind: self.site.routes.get(tuple.destination).kind(),
        };
        let zone = self.site.zone(from.map(|from| from.0), tuple.source);
        let mut rules = self.site.raw.iter();
        let rule = rules.find(|rule| rule.zone == zone && rule.matcher.holds(&facts))?;
        self.hits[rule.origin as usize] += 1;
        Some(rule.action)
    }
}
