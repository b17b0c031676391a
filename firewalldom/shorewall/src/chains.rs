//! The chains: one for each pair of zones, as the file `policy` decides, in Shorewall's order.

use std::collections::BTreeSet;
use std::sync::Arc;

use firewalldom::policy::{
    Action, Addresses, Chain, Disposition, Exception, InterfaceId, Match, Origin, Rule, States,
    ZoneId,
};

use crate::made::of_states;
use crate::pair_policy::{Decider, Hook, catch_all, deciding_line, last_line, pair_chain};
use crate::policies::{self, Ending, Line};
use crate::report::Finding;
use crate::session::Session;
use crate::settings::Configuration;
use crate::source::Word;
use crate::tables::Tables;
use crate::world::World;

/// The chains while their rules are read, and which pair of zones uses which.
pub(crate) struct Chains {
    pub(crate) drafts: Vec<Draft>,
    pub(crate) pairs: Vec<u16>,
    /// One more than zones: whoever belongs to none comes last.
    side: usize,
    standings: Vec<Standing>,
    /// Rules of all drafts, those that they share counted for each.
    entries: usize,
    /// Zones with an interface that has `dhcp`.
    with_dhcp: Vec<ZoneId>,
    /// Zones with hosts that have `mss=`: Shorewall makes the chains of all of their pairs for it.
    with_mss: Vec<ZoneId>,
    /// Zones whose packets within them are left to the zones around.
    pub(crate) left_to_others: BTreeSet<ZoneId>,
    /// OPTIMIZE: Shorewall makes no chain where there is nothing but a policy ACCEPT.
    pub(crate) optimizes_policies: bool,
    /// FASTACCEPT: what is established is let through ahead of all chains.
    pub(crate) accepts_established_first: bool,
}

/// A chain while its rules are read. Rules that are the same for many pairs of zones are shared.
pub(crate) struct Draft {
    /// All but its rules.
    pub(crate) chain: Chain,
    /// `blrules`.
    pub(crate) blacklist: Vec<Arc<Rule>>,
    /// Of the sections before NEW.
    pub(crate) sections: Vec<Arc<Rule>>,
    /// A policy's RATE and CONNLIMIT: the list that new TCP connections go through before the
    /// section NEW.
    pub(crate) connection_limit: Option<u16>,
    /// Of the section NEW.
    pub(crate) new: Vec<Arc<Rule>>,
    /// Whether its policy is in a chain that it shares with others.
    pub(crate) shares_policy: bool,
    /// Whether a line of `rules` or `blrules` is about it, even one that can never match.
    pub(crate) is_mentioned: bool,
    /// States that go on to the section NEW whatever shorewall.conf says of them.
    pub(crate) unsettled: States,
    /// States that Shorewall has not come to: it takes none of the others for open ahead of the policy.
    pub(crate) unfinished: States,
}

/// Where in a chain a rule belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Blacklist,
    Sections,
    New,
}

/// What the end of a pair's chain means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A policy decides.
    Decides,
    /// The policy CONTINUE: the zones around decide.
    Continues,
    /// A policy that Shorewall forgets: after its states are decided, as after CONTINUE.
    Forgotten,
    /// The policy NONE: no rules can be added.
    Unused,
}

/// All chains together have at most so many rules, shared ones counted for each.
pub(crate) const MAX_ENTRIES: usize = 20_000_000;

impl Draft {
    fn new(chain: Chain, connection_limit: Option<u16>) -> Self {
        Self {
            chain,
            blacklist: Vec::new(),
            sections: Vec::new(),
            connection_limit,
            new: Vec::new(),
            shares_policy: false,
            is_mentioned: false,
            unsettled: States(0),
            unfinished: States(0),
        }
    }

    /// Whether the files have rules for it.
    pub(crate) fn has_rules(&self) -> bool {
        let lists = [&self.blacklist, &self.sections, &self.new];
        self.is_mentioned || lists.iter().any(|rules| !rules.is_empty())
    }
}

impl Chains {
    pub(crate) fn read(
        session: &mut Session<'_>,
        world: &World,
        configuration: &Configuration,
    ) -> Self {
        let lines = policies::read(session, world, configuration);
        let side = world.zones.len() + 1;
        let none = side - 1;
        let separator = separator(session, configuration);
        // What belongs to no zone gets the policy `all all`, under the names of netfilter's hooks.
        let expands = configuration.expands_policies();
        let last = |hook| last_line(&lines, hook, expands);
        let forward = catch_all("FORWARD", last(Hook::Forward), Disposition::Reject);
        let input = catch_all("INPUT", last(Hook::Input), Disposition::Drop);
        let output = catch_all("OUTPUT", last(Hook::Output), Disposition::Reject);
        let mut drafts: Vec<Draft> = [forward, input, output]
            .map(|chain| Draft::new(chain, None))
            .into();
        let mut pairs = vec![0u16; side * side];
        let mut standings = vec![Standing::Decides; side * side];
        let implicit = configuration.flag("IMPLICIT_CONTINUE", false);
        for source in 0..side {
            for destination in 0..side {
                let cell = source * side + destination;
                let pair = (ZoneId(source as u16), ZoneId(destination as u16));
                pairs[cell] = hook(pair);
                if source == none || destination == none {
                    continue;
                }
                let decider = deciding_line(world, &lines, pair, implicit);
                standings[cell] = decider.standing();
                let fallback = &drafts[usize::from(hook(pair))].chain;
                let chain = pair_chain(session, world, &decider, pair, &separator, fallback);
                if let Some(chain) = chain {
                    let limit = match &decider {
                        Decider::Line(line) => line.limit_list(session, world, pair, &separator),
                        Decider::Around | Decider::Nobody => None,
                    };
                    let mut draft = Draft::new(chain, limit);
                    draft.shares_policy = matches!(
                        decider,
                        Decider::Line(Line {
                            ending: Ending::Shared(_),
                            ..
                        })
                    );
                    drafts.push(draft);
                    pairs[cell] = (drafts.len() - 1) as u16;
                }
            }
        }
        Self {
            drafts,
            pairs,
            side,
            standings,
            entries: 0,
            with_dhcp: world.with_dhcp(),
            with_mss: world.with_mss(),
            left_to_others: BTreeSet::new(),
            optimizes_policies: optimizes_policies(configuration),
            accepts_established_first: configuration.flag("FASTACCEPT", false),
        }
    }

    /// The zones, the firewall first.
    pub(crate) fn zones(&self) -> impl Iterator<Item = ZoneId> + Clone + use<> {
        (0..self.side - 1).map(|index| ZoneId(index as u16))
    }

    /// Every pair of zones, also of a zone with itself.
    pub(crate) fn zone_pairs(&self) -> impl Iterator<Item = (ZoneId, ZoneId)> + use<> {
        let zones = self.zones();
        zones
            .clone()
            .flat_map(move |source| zones.clone().map(move |to| (source, to)))
    }

    /// What the end of a pair's chain means.
    pub(crate) fn standing(&self, (source, destination): (ZoneId, ZoneId)) -> Standing {
        self.standings[self.cell(source, destination)]
    }

    /// The chain of a pair.
    pub(crate) fn index(&self, (source, destination): (ZoneId, ZoneId)) -> usize {
        usize::from(self.pairs[self.cell(source, destination)])
    }

    /// Whether nothing is asked about a pair but the policy in a chain that others share: Shorewall
    /// makes no chain of its own for a pair without rules, unless it must hold the checks of the
    /// interfaces' options.
    pub(crate) fn is_bare(&self, pair: (ZoneId, ZoneId)) -> bool {
        let draft = &self.drafts[self.index(pair)];
        let has_options = self.has_options(pair);
        pair.0 != pair.1
            && self.standing(pair) == Standing::Decides
            && draft.shares_policy
            && !draft.has_rules()
            && !has_options
    }

    /// Says where Shorewall lets nothing through, not even answers: see [`Chains::is_bare`].
    pub(crate) fn warn_of_lost_answers(&self, session: &mut Session<'_>) {
        let mut lost = self.zone_pairs().filter(|&pair| {
            let is_open = |pair| match self.standing(pair) {
                Standing::Decides => {
                    let draft = &self.drafts[self.index(pair)];
                    draft.has_rules() || draft.chain.policy == Disposition::Accept
                }
                _ => false,
            };
            let policy = self.drafts[self.index(pair)].chain.policy;
            policy != Disposition::Accept && self.is_bare(pair) && is_open((pair.1, pair.0))
        });
        if let Some(pair) = lost.next()
            && !session.has_errors()
        {
            let chain = &self.drafts[self.index(pair)].chain;
            session.report(
                Finding::warning("with EXPAND_POLICIES=No Shorewall 5.2 drops answers, too")
                    .note(format!(
                        "from {} nothing passes, whatever it answers; other pairs: {}",
                        chain.name.replacen('-', " to ", 1),
                        lost.count()
                    ))
                    .note("set EXPAND_POLICIES=Yes in shorewall.conf"),
            );
        }
    }

    /// Whether any pair of zones has the policy NONE.
    pub(crate) fn has_unused(&self) -> bool {
        self.standings.contains(&Standing::Unused)
    }

    /// Whether a pair of zones has the policy NONE.
    pub(crate) fn is_unused(&self, pair: (ZoneId, ZoneId)) -> bool {
        self.standing(pair) == Standing::Unused
    }

    /// Appends a rule to the chain of a pair. Whether there was room.
    pub(crate) fn push(
        &mut self,
        (source, destination): (ZoneId, ZoneId),
        stage: Stage,
        rule: Arc<Rule>,
    ) -> bool {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return false;
        }
        let index = self.index((source, destination));
        let draft = &mut self.drafts[index];
        match stage {
            Stage::Blacklist => draft.blacklist.push(rule),
            Stage::Sections => draft.sections.push(rule),
            Stage::New => draft.new.push(rule),
        }
        true
    }

    /// A line is about a pair: Shorewall makes a chain for it.
    pub(crate) fn mention(&mut self, pair: (ZoneId, ZoneId)) {
        if !self.is_unused(pair) {
            let index = self.index(pair);
            self.drafts[index].is_mentioned = true;
        }
    }

    /// Within a zone there is no way but by the chains of the zones around it, and of those that
    /// claim its addresses after it.
    pub(crate) fn leave_to_others(&mut self, zone: ZoneId) {
        self.left_to_others.insert(zone);
        let cell = self.cell(zone, zone);
        self.standings[cell] = Standing::Continues;
        let draft = &mut self.drafts[usize::from(self.pairs[cell])];
        draft.blacklist.clear();
        draft.sections.clear();
        draft.new.clear();
        draft.connection_limit = None;
        draft.unsettled = States(0);
    }

    /// Whether the chain of a pair exists for what interfaces' options ask: `mss=`, or their checks, see
    /// [`Chains::has_blacklist`]. What the firewall sends is only asked about DHCP. The policy NONE
    /// leaves no chain for that either.
    pub(crate) fn has_options(&self, pair: (ZoneId, ZoneId)) -> bool {
        if self.is_unused(pair) {
            return false;
        }
        let (source, destination) = pair;
        let asks = source != ZoneId::FIREWALL || self.with_dhcp.contains(&destination);
        let clamps = [source, destination]
            .iter()
            .any(|zone| self.with_mss.contains(zone));
        clamps || self.has_blacklist() && asks
    }

    /// Whether there are `blrules`. Then Shorewall has the checks of the interfaces' options in the
    /// chains of the zones, behind those rules; else they come first, whatever the zones.
    pub(crate) fn has_blacklist(&self) -> bool {
        self.drafts.iter().any(|draft| !draft.blacklist.is_empty())
    }

    /// The policy `all all` for what goes back by a zone's only line to these addresses of it, before
    /// or after the checks of the interface's options.
    pub(crate) fn forwarded_back(
        &mut self,
        tables: &mut Tables,
        zone: ZoneId,
        (ingress, egress, origin): (Option<InterfaceId>, InterfaceId, Origin),
        addresses: &Addresses,
        stage: Stage,
    ) {
        let forward = &self.drafts[0].chain;
        let mut action = Action::Decide(forward.policy);
        let mut log = forward.policy_log.clone();
        if !forward.default_action.is_empty() {
            let mut rules = forward.default_action.clone();
            rules.push(Rule {
                log: log.take(),
                ..of_states(States::ALL, action, origin)
            });
            action = Action::Call(tables.rule_list(Some(&forward.name), rules));
        }
        let rule = Rule {
            matches: Match {
                ingress,
                egress: Some(egress),
                destination: addresses.clone(),
                ..Match::default()
            },
            log,
            // Nothing is asked about connections, not even about established ones.
            ..of_states(States::ALL, action, origin)
        };
        let index = self.index((zone, zone));
        let draft = &mut self.drafts[index];
        let rules = match stage {
            Stage::Blacklist => &mut draft.blacklist,
            Stage::Sections => &mut draft.sections,
            Stage::New => &mut draft.new,
        };
        rules.insert(0, Arc::new(rule));
    }

    /// A hairpin of these pairs: it meets what shorewall.conf says of one, behind `blrules` and before all else.
    pub(crate) fn caught(
        &mut self,
        tables: &mut Tables,
        pairs: impl Iterator<Item = (ZoneId, ZoneId)>,
        (ingress, egress, origin): (InterfaceId, InterfaceId, Origin),
        caught: &Exception,
    ) {
        let ends = vec![Rule {
            log: caught.log.clone(),
            ..of_states(States::ALL, Action::Decide(caught.disposition), origin)
        }];
        let rule = Arc::new(Rule {
            matches: Match {
                ingress: Some(ingress),
                egress: Some(egress),
                ..Match::default()
            },
            ..of_states(
                States::ALL,
                Action::Call(tables.rule_list(Some("sfilter"), ends)),
                origin,
            )
        });
        let mut drafts: Vec<usize> = pairs.map(|pair| self.index(pair)).collect();
        drafts.sort_unstable();
        drafts.dedup();
        for draft in drafts {
            self.drafts[draft].sections.insert(0, Arc::clone(&rule));
        }
    }

    fn cell(&self, source: ZoneId, destination: ZoneId) -> usize {
        usize::from(source.0) * self.side + usize::from(destination.0)
    }
}

/// Index of the chain for what belongs to no zone: FORWARD, INPUT or OUTPUT.
pub(crate) fn hook((source, destination): (ZoneId, ZoneId)) -> u16 {
    match (source, destination) {
        (_, ZoneId::FIREWALL) => 1,
        (ZoneId::FIREWALL, _) => 2,
        _ => 0,
    }
}

/// Whether OPTIMIZE, a sum of powers of two or All, has the 2 in it.
pub(crate) fn optimizes_policies(configuration: &Configuration) -> bool {
    let value = configuration.get("OPTIMIZE").map_or("", Word::text);
    value.eq_ignore_ascii_case("all") || value.parse().is_ok_and(|value: u8| value & 2 != 0)
}

/// What stands between the zones in the name of a chain.
fn separator(session: &mut Session<'_>, configuration: &Configuration) -> String {
    let Some(value) = configuration.get("ZONE2ZONE") else {
        return "-".to_owned();
    };
    if !matches!(value.text(), "-" | "2") {
        session.error(
            value.span(),
            format!("ZONE2ZONE cannot be `{}`", value.text()),
            "expected - or 2",
            "",
        );
    }
    value.text().to_owned()
}
