//! Ports of a bridge as zones (`br0:vif1.0`, the type `bport`).
//!
//! The bridge is dom0's. What is routed comes to the domain by one vif, whatever the port; what passes
//! from port to port need not come at all, and is dom0's to filter. So a port's traffic counts as that
//! of the zone of its bridge, which is refused where the port's own zone would let less through to others.

use std::sync::Arc;

use firewalldom::policy::{Action, DestinationNat, Disposition, InterfaceId, Origin, Rule, ZoneId};

use crate::chains::{Chains, Draft, Standing};
use crate::network::Network;
use crate::report::Finding;
use crate::session::Session;
use crate::source::{Span, Word};
use crate::world::World;

/// A line of `interfaces` for a port.
pub(crate) struct BridgePort {
    zone: ZoneId,
    bridge: InterfaceId,
    span: Span,
}

impl World {
    /// Reads the interface column of a port's line.
    pub(crate) fn read_bridge_port(
        &mut self,
        session: &mut Session<'_>,
        network: &Network,
        (bridge, port): (&Word, &Word),
        zone: Option<ZoneId>,
    ) {
        let Some(interface) = self.interface(session, bridge) else {
            return;
        };
        let Some(zone) = zone.filter(|zone| self.bridge_zones.contains(zone)) else {
            session.error(
                port.span(),
                format!("`{}` cannot be in this zone", port.text()),
                "a bridge port, or an alias",
                "ports of a bridge are for zones of the type bport",
            );
            return;
        };
        if self.interfaces[usize::from(interface.0)].bridge {
            session.error(
                port.span(),
                "ports of a bridge inside of the domain have no zones of their own",
                format!("`{}` is such a bridge", bridge.text()),
                "what passes from port to port meets no rule: give the guest a bridge of its own, or vif+",
            );
            return;
        }
        let stem = port.text().trim_end_matches('+');
        let is_port = |link: &str| match port.text().ends_with('+') {
            true => link.starts_with(stem),
            false => link == stem,
        };
        if let Some(link) = network.links.iter().find(|link| is_port(link.name.text())) {
            session.error(
                port.span(),
                "bridges inside of the domain are not supported yet",
                format!("`{}` is an interface of its own", link.name.text()),
                "route between the two, or leave the bridge to dom0",
            );
            return;
        }
        session.report(
            Finding::warning(format!("`{}` is a port of dom0's bridge", port.text()))
                .at(
                    port.span(),
                    "the domain does not see by which port a frame came",
                )
                .note(format!(
                    "what is routed belongs to the zone of `{}`, whatever the port",
                    bridge.text()
                ))
                .note("what passes from port to port is not filtered here: dom0's bridge has to"),
        );
        self.bridge_ports.push(BridgePort {
            zone,
            bridge: interface,
            span: port.span(),
        });
    }

    /// The zones of a bridge, its ports' apart; or nobody's, if it has none.
    fn zones_of_bridge(&self, bridge: InterfaceId) -> Vec<ZoneId> {
        let groups = self.groups.iter();
        let mut zones: Vec<_> = groups
            .filter(|group| group.interface == bridge && !self.bridge_zones.contains(&group.zone))
            .map(|group| group.zone)
            .collect();
        if zones.is_empty() {
            zones.push(self.nobody());
        }
        zones
    }
}

/// Refuses ports whose own zone lets less through than that of the bridge.
pub(crate) fn check(
    session: &mut Session<'_>,
    world: &World,
    chains: &Chains,
    nat: &[DestinationNat],
) {
    for port in &world.bridge_ports {
        let stricter = world
            .zones_of_bridge(port.bridge)
            .into_iter()
            .find_map(|around| stricter_line(world, chains, nat, (port.zone, around)));
        let Some(origin) = stricter else {
            continue;
        };
        let name = &world.zones[usize::from(port.zone.0)].name;
        let finding = Finding::error(format!(
            "the zone `{name}` would have to be told from others of its bridge"
        ))
        .at(port.span, "a bridge port, which the domain does not see");
        let place = session
            .place(origin)
            .map(|place| format!("less is let through from it than from the bridge: {place}"));
        session.report(
            finding
                .maybe_note(place)
                .note("give it a vif and a bridge of its own, and write that interface here"),
        );
    }
}

/// A line by which less is let through from a port's zone than from the zone around it.
fn stricter_line(
    world: &World,
    chains: &Chains,
    nat: &[DestinationNat],
    (zone, around): (ZoneId, ZoneId),
) -> Option<Origin> {
    let of = |zone: ZoneId| nat.iter().filter(move |nat| nat.source_zone == zone);
    let moved = |nat: &DestinationNat| DestinationNat {
        source_zone: zone,
        ..nat.clone()
    };
    let lacking = of(around).find(|nat| of(zone).all(|own| *own != moved(nat)));
    let lacking = lacking.map(|nat| nat.origin);
    let mut routed = world
        .all_zones()
        .filter(|to| !world.bridge_zones.contains(to) && *to != around);
    lacking.or_else(|| {
        routed.find_map(|to| {
            let own = &chains.drafts[chains.index((zone, to))];
            let theirs = &chains.drafts[chains.index((around, to))];
            stricter_rule(own, theirs, chains.standing((zone, to)))
        })
    })
}

/// A rule or policy of one chain that lets less through than another chain would. Both have their rules
/// in the order of the files, so that what both have is asked in the same order.
fn stricter_rule(own: &Draft, theirs: &Draft, standing: Standing) -> Option<Origin> {
    let rules = |draft: &Draft| -> Vec<Arc<Rule>> {
        let stages = [&draft.blacklist, &draft.sections, &draft.new];
        stages.into_iter().flatten().cloned().collect()
    };
    let (own_rules, their_rules) = (rules(own), rules(theirs));
    let accepts = |rule: &&Arc<Rule>| rule.action == Action::Decide(Disposition::Accept);
    let goes_on = |rule: &&Arc<Rule>| rule.action == Action::Continue;
    let refused = own_rules
        .iter()
        .filter(|rule| !accepts(rule) && !goes_on(rule))
        .find(|rule| !their_rules.contains(rule));
    if let Some(rule) = refused {
        return Some(rule.origin);
    }
    if standing != Standing::Decides {
        // Past its own rules, a packet meets those of the zone around.
        return None;
    }
    // What a list of theirs accepts, or what goes past their blacklist, may be let through as well.
    let lacking = their_rules
        .iter()
        .filter(|rule| accepts(rule) || matches!(rule.action, Action::Call(_) | Action::Return))
        .find(|rule| !own_rules.contains(rule));
    let ends_alike = own.chain.default_action == theirs.chain.default_action;
    let refuses_at_its_end = match own.chain.policy {
        Disposition::Accept => !own.chain.default_action.is_empty() && !ends_alike,
        _ => theirs.chain.policy == Disposition::Accept || !ends_alike,
    };
    let is_limited =
        own.connection_limit.is_some() && own.connection_limit != theirs.connection_limit;
    let is_policy = refuses_at_its_end || is_limited;
    lacking
        .map(|rule| rule.origin)
        .or_else(|| is_policy.then_some(own.chain.origin))
}
