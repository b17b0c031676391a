//! Nested zones: what the policy CONTINUE leaves to the zones around.
//!
//! Shorewall tries the chain of the inner zones first; where its policy is CONTINUE, the packet
//! goes on to the chains of the zones around, in the order source, then destination. Here such a
//! chain is joined from all of them, so that a packet meets one chain.

use firewalldom::policy::{Chain, DestinationNat, States, ZoneId};

use crate::chains::{Chains, Standing};
use crate::world::World;

/// Joins every chain whose policy is CONTINUE. `new` are the states that reach the end of a chain:
/// the others are decided by the first that has rules at all.
pub(crate) fn join(world: &World, chains: &mut Chains, new: States) {
    let original = chains.chains.clone();
    for source in 0..world.zones.len() {
        for destination in 0..world.zones.len() {
            let pair = (ZoneId(source as u16), ZoneId(destination as u16));
            if chains.standing(pair) == Standing::Continues {
                let joined = joined(world, chains, &original, pair, new);
                *chains.chain_mut(pair) = joined;
            }
        }
    }
}

fn joined(
    world: &World,
    chains: &Chains,
    original: &[Chain],
    pair: (ZoneId, ZoneId),
    new: States,
) -> Chain {
    let mut chain = original[chains.index(pair)].clone();
    for source in world.inside_out(pair.0) {
        for destination in world.inside_out(pair.1) {
            let around = (source, destination);
            if around == pair {
                continue;
            }
            let next = &original[chains.index(around)];
            let standing = chains.standing(around);
            if standing == Standing::Unused {
                continue;
            }
            let is_first = chain.rules.is_empty();
            for rule in &next.rules {
                let states = if is_first {
                    rule.states
                } else {
                    States(rule.states.0 & new.0)
                };
                if states.0 != 0 {
                    let mut rule = rule.clone();
                    rule.states = states;
                    chain.rules.push(rule);
                }
            }
            if standing == Standing::Decides {
                chain.policy = next.policy;
                chain.policy_log.clone_from(&next.policy_log);
                chain.default_action.clone_from(&next.default_action);
                let name = next.policy_chain.as_ref().unwrap_or(&next.name);
                chain.policy_chain = Some(name.clone()).filter(|name| *name != chain.name);
                return chain;
            }
        }
    }
    chain
}

/// Destination NAT of the zones around: what no rule of an inner zone decides goes on to theirs,
/// if the inner zone has the policy CONTINUE to any zone.
pub(crate) fn inherit_nat(world: &World, chains: &Chains, nat: &mut Vec<DestinationNat>) {
    let own = nat.clone();
    for zone in 1..world.zones.len() {
        let inner = ZoneId(zone as u16);
        let continues = (0..world.zones.len())
            .any(|to| chains.standing((inner, ZoneId(to as u16))) == Standing::Continues);
        if !continues {
            continue;
        }
        for around in world.inside_out(inner).into_iter().skip(1) {
            let theirs = own.iter().filter(|nat| nat.source_zone == around);
            nat.extend(theirs.map(|nat| DestinationNat {
                source_zone: inner,
                ..nat.clone()
            }));
        }
    }
}
