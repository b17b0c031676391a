//! Destination NAT of zones that lie in others: theirs, or none.

use firewalldom::policy::{Addresses, DestinationNat, DestinationTarget, Limits, Match, ZoneId};

use crate::chains::{Chains, Standing};
use crate::coverage::Coverage;
use crate::made::NOWHERE;
use crate::world::World;

/// Inner zones whose packets Shorewall keeps from the destination NAT of the zones around, which have
/// some, by leaving netfilter's chain: so they do not come to 1:1 NAT either.
pub(crate) fn kept_from_nat(world: &World, chains: &Chains, nat: &[DestinationNat]) -> Vec<ZoneId> {
    let has_nat = |zone: &ZoneId| nat.iter().any(|nat| nat.source_zone == *zone);
    let is_kept = |inner: &ZoneId| {
        let parents = &world.zones[usize::from(inner.0)].parents;
        let continues = world
            .all_zones()
            .any(|to| chains.standing((*inner, to)) == Standing::Continues);
        parents.iter().any(has_nat) && !continues
    };
    world.all_zones().filter(is_kept).collect()
}

/// What keeps from destination NAT the addresses that the file `hosts` takes out of zones that are kept
/// from it: netfilter's chain is left for all that the exclusion is taken out of. Ahead of the rules of
/// the zones that these addresses belong to, or behind them where those claim addresses earlier.
pub(crate) fn kept_with(world: &World, kept: &[ZoneId]) -> [Vec<DestinationNat>; 2] {
    let (mut ahead, mut behind) = (Vec::new(), Vec::new());
    let mut order = world.claiming_order();
    order.push(world.nobody());
    for group in &world.groups {
        let Some(place) = order.iter().position(|&zone| zone == group.zone) else {
            continue;
        };
        if !kept.contains(&group.zone) || group.addresses.except.is_empty() {
            continue;
        }
        for (index, &source_zone) in order.iter().enumerate() {
            let rules = match index > place {
                true => &mut ahead,
                false => &mut behind,
            };
            rules.push(DestinationNat {
                source_zone,
                matches: Match {
                    ingress: Some(group.interface),
                    source: Addresses {
                        except: Vec::new(),
                        ..group.addresses.clone()
                    },
                    ..Match::default()
                },
                limits: Limits::default(),
                target: DestinationTarget::Exempt,
                log: None,
                origin: NOWHERE,
            });
        }
    }
    [ahead, behind]
}

/// Destination NAT of the zones around: what no rule of an inner zone decides goes on to theirs,
/// if the inner zone has the policy CONTINUE to any zone.
pub(crate) fn inherit_nat(world: &World, chains: &Chains, nat: &mut Vec<DestinationNat>) {
    let own = nat.clone();
    for inner in world.zones_but_firewall() {
        let continues = world
            .all_zones()
            .any(|to| chains.standing((inner, to)) == Standing::Continues);
        let mut around: Vec<ZoneId> = world.inside_out(inner).into_iter().skip(1).collect();
        around.retain(|&zone| continues && world.coverage(inner, zone) != Coverage::Nothing);
        // What claims its addresses after it, without being said to be around it.
        for zone in world.all_covering(inner) {
            if !around.contains(&zone) {
                around.push(zone);
            }
        }
        for around in &around {
            let theirs = own.iter().filter(|nat| nat.source_zone == *around);
            nat.extend(theirs.map(|nat| DestinationNat {
                source_zone: inner,
                ..nat.clone()
            }));
        }
        // What does so behind some of its interfaces only: a line with a `+` has others besides.
        for interface in world.interfaces_behind(inner) {
            let here = world.covering(inner, interface).into_iter();
            for zone in here.filter(|zone| !around.contains(zone)) {
                let theirs = own.iter().filter(|nat| {
                    let ingress = nat.matches.ingress.unwrap_or(interface);
                    nat.source_zone == zone && ingress == interface
                });
                nat.extend(theirs.map(|nat| DestinationNat {
                    source_zone: inner,
                    matches: Match {
                        ingress: Some(interface),
                        ..nat.matches.clone()
                    },
                    ..nat.clone()
                }));
            }
        }
    }
}
