//! How much of a zone lies in another: what no zone around holds never meets its chains.

use firewalldom::policy::{AddressRange, InterfaceId, ZoneId};

use crate::chains::{Chains, Standing};
use crate::nested;
use crate::packet_set;
use crate::report::Finding;
use crate::session::Session;
use crate::world::World;

/// How much of a zone lies in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coverage {
    Whole,
    Part,
    Nothing,
}

impl World {
    /// How much of a zone lies in another, by interfaces and addresses; the zones' own words say nothing
    /// of that.
    pub(crate) fn coverage(&self, inner: ZoneId, around: ZoneId) -> Coverage {
        if inner == around {
            return Coverage::Whole;
        }
        let ranges = |zone: ZoneId, interface: InterfaceId| {
            let groups = self.groups.iter();
            let groups = groups
                .filter(move |group| group.zone == zone && group.interface == interface)
                .map(|group| packet_set::flatten(&group.addresses));
            groups.flatten().collect::<Vec<_>>()
        };
        let (mut inside, mut outside) = (false, false);
        for group in self.groups.iter().filter(|group| group.zone == inner) {
            let theirs = ranges(around, group.interface);
            for range in packet_set::flatten(&group.addresses) {
                let touches =
                    |other: &&AddressRange| range.first <= other.last && other.first <= range.last;
                let holds =
                    |other: &AddressRange| other.first <= range.first && range.last <= other.last;
                inside |= theirs.iter().any(|other| touches(&other));
                outside |= !theirs.iter().any(holds);
            }
        }
        match (inside, outside) {
            (true, false) => Coverage::Whole,
            (true, true) => Coverage::Part,
            (false, _) => Coverage::Nothing,
        }
    }
}

/// Refuses zones that leave packets to a zone which only some of them are in: their chains would have to
/// ask where each packet is.
pub(crate) fn check(session: &mut Session<'_>, world: &World, chains: &Chains) {
    for zone in world.zones_but_firewall() {
        let mut parts = world.claiming_after(zone).into_iter();
        let is_part = |around: ZoneId| world.coverage(zone, around) == Coverage::Part;
        if let Some(around) = parts.find(|&around| is_part(around) && leaves(chains, zone, around))
        {
            let [zone, around] = [zone, around].map(|zone| &world.zones[usize::from(zone.0)]);
            session.report(
                Finding::error(format!(
                    "what the zone `{}` leaves to others is not supported yet: only part of it lies in `{}`",
                    zone.name, around.name
                ))
                .maybe_note(session.place(zone.origin))
                .note("it does so by CONTINUE, NONE, or an interface without routeback")
                .note(
                    "see interfaces and hosts; make it two zones, or give it policies that decide",
                ),
            );
        }
    }
}

/// Whether packets of `zone` may come to its chains' end undecided, and it matters if they are in
/// `around` as well.
fn leaves(chains: &Chains, zone: ZoneId, around: ZoneId) -> bool {
    chains.zones().any(|other| {
        [(zone, other), (other, zone)].into_iter().any(|pair| {
            let draft = &chains.drafts[chains.index(pair)];
            match chains.standing(pair) {
                _ if other == zone && chains.left_to_others.contains(&zone) => {
                    !says_as_of_nobody(chains, zone, around)
                }
                Standing::Continues | Standing::Forgotten => true,
                Standing::Unused => chains.index(pair) >= nested::HOOKS,
                Standing::Decides => draft.sections.iter().chain(&draft.new).any(nested::returns),
            }
        })
    })
}

/// Whether what goes back by its interface is let through or not as what belongs to no zone, all the
/// same if it is in `around`.
fn says_as_of_nobody(chains: &Chains, zone: ZoneId, around: ZoneId) -> bool {
    let nobodys = &chains.drafts[nested::FORWARD].chain;
    let pairs = [(zone, around), (around, zone), (around, around)];
    !chains.has_blacklist()
        && pairs.into_iter().all(|pair| {
            let draft = &chains.drafts[chains.index(pair)];
            chains.standing(pair) == Standing::Decides
                // What goes back has a rule already that says just so.
                && !draft.is_mentioned
                && draft.chain.policy == nobodys.policy
        })
}
