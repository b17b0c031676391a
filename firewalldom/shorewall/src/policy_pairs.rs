//! The columns SOURCE and DEST of `policy`: which pairs of zones a line decides about, and whether an
//! earlier one has.

use firewalldom::policy::ZoneId;

use crate::columns::Row;
use crate::policies::Line;
use crate::report::Finding;
use crate::session::Session;
use crate::settings::Configuration;
use crate::source::{Span, Word};
use crate::world::World;

/// A column SOURCE or DEST of `policy`.
#[derive(Clone, Debug)]
pub(crate) struct Side {
    pub(crate) zones: Vec<ZoneId>,
    /// `all` or a list: zones are not paired with themselves…
    pub(crate) many: bool,
    /// …unless a `+` follows.
    pub(crate) intra_zone: bool,
    /// `all`, and nothing taken out.
    pub(crate) all: bool,
    /// `all`, whatever is taken out.
    pub(crate) wild: bool,
    pub(crate) name: String,
    /// What is taken out.
    exclusion: Option<Span>,
}

impl Side {
    /// Reads `zone`, `zone,zone[+]` or `all[+][!zone,…]`.
    pub(crate) fn read(
        session: &mut Session<'_>,
        world: &World,
        word: Option<&Word>,
        row: &Row,
    ) -> Option<Self> {
        let Some(word) = word else {
            session.error(
                row.span,
                "a zone is missing",
                "expected zones first",
                "write: all all REJECT info",
            );
            return None;
        };
        let (list, excluded) = match word.split_once('!') {
            Some((list, excluded)) => (list, Some(excluded)),
            None => (word.clone(), None),
        };
        let wild = matches!(list.text().to_ascii_lowercase().as_str(), "all" | "all+");
        let plus = list
            .strip_suffix("+")
            .filter(|list| wild || list.text().contains(','));
        let intra_zone = plus.is_some();
        let list = plus.unwrap_or(list);
        let mut zones = match wild {
            true => world.all_zones().collect(),
            false => zone_list(session, world, &list)?,
        };
        if let Some(excluded) = &excluded {
            if !wild {
                session.error(
                    excluded.span(),
                    "an exclusion needs `all` before it",
                    "taken out of what?",
                    "write: all!net",
                );
                return None;
            }
            let taken = zone_list(session, world, excluded)?;
            zones.retain(|zone| !taken.contains(zone));
        }
        Some(Self {
            many: wild || zones.len() > 1,
            all: wild && excluded.is_none(),
            wild,
            intra_zone,
            name: match wild {
                true => "all".to_owned(),
                false => list.text().to_owned(),
            },
            zones,
            exclusion: excluded.map(|excluded| excluded.span()),
        })
    }

    /// Whether Shorewall takes it for the word `all`, which it also makes of `all+!net`.
    pub(crate) fn is_seen_as_all(&self) -> bool {
        self.wild && !(self.intra_zone && self.exclusion.is_none())
    }

    /// Shorewall 5.2 does not look at what DEST takes out of `all` where SOURCE is `all`, too.
    pub(crate) fn forget_exclusion(
        &mut self,
        session: &mut Session<'_>,
        world: &World,
        source: &Self,
    ) {
        let Some(exclusion) = self.exclusion.filter(|_| source.wild) else {
            return;
        };
        session.report(
            Finding::warning("Shorewall 5.2 forgets what is taken out of `all` here")
                .at(exclusion, "decided about as well, here as on Linux")
                .note("write the lines for these zones above this one, and `all` here"),
        );
        self.zones = world.all_zones().collect();
        self.all = true;
    }
}

fn zone_list(session: &mut Session<'_>, world: &World, list: &Word) -> Option<Vec<ZoneId>> {
    let mut zones = Vec::new();
    let mut complete = true;
    for item in list.split(',') {
        match world.zone(session, &item) {
            Some(zone) => zones.push(zone),
            None => complete = false,
        }
    }
    complete.then_some(zones)
}

impl Line {
    /// Whether it decides about a pair, unless an earlier line has.
    pub(crate) fn covers(&self, source: ZoneId, destination: ZoneId) -> bool {
        if source == destination
            && (self.source.many || self.destination.many)
            && !(self.source.intra_zone || self.destination.intra_zone)
        {
            return false;
        }
        self.source.zones.contains(&source) && self.destination.zones.contains(&destination)
    }

    /// The pairs of zones that it decides about.
    fn pairs(&self) -> impl Iterator<Item = (ZoneId, ZoneId)> + '_ {
        let sources = self.source.zones.iter();
        let pairs = sources.flat_map(|&source| {
            let destinations = self.destination.zones.iter();
            destinations.map(move |&destination| (source, destination))
        });
        pairs.filter(|&(source, destination)| self.covers(source, destination))
    }
}

/// What earlier lines have decided: that a line says it again is an error, as in Shorewall, and that
/// nothing is left to it is a warning.
pub(crate) fn check_earlier(
    session: &mut Session<'_>,
    configuration: &Configuration,
    world: &World,
    earlier: &[Line],
    line: &Line,
    span: Span,
) {
    if let Some(other) = earlier
        .iter()
        .find(|other| is_duplicate(configuration, world, other, line))
    {
        session.report(
            Finding::error("a second policy for the same zones")
                .at(span, "decided before")
                .note(format!("line {} is about them", other.origin.line))
                .note("the first line counts: take one out, or move the narrower one up"),
        );
        return;
    }
    let mut shadows = earlier
        .iter()
        .filter(|other| line.pairs().all(|(from, to)| other.covers(from, to)));
    if let Some(other) = shadows.next() {
        session.report(
            Finding::warning("this policy is never reached")
                .at(span, "all of its pairs are decided before")
                .note(format!("line {} covers them", other.origin.line)),
        );
    }
}

/// Whether Shorewall would refuse `line` for what `earlier` says.
fn is_duplicate(configuration: &Configuration, world: &World, earlier: &Line, line: &Line) -> bool {
    let share = |one: &Side, other: &Side| one.zones.iter().any(|zone| other.zones.contains(zone));
    // A line for `all` has a name of its own among the policies; without EXPAND_POLICIES, one for
    // `all all` takes those of the others, too.
    let is_same = |one: &Side, other: &Side| match (one.wild, other.wild) {
        (true, true) => true,
        (false, false) => share(one, other),
        (earlier_is_wild, _) => earlier_is_wild && !configuration.expands_policies(),
    };
    if line.source.wild || line.destination.wild {
        return is_same(&earlier.source, &line.source)
            && is_same(&earlier.destination, &line.destination);
    }
    let implicit = configuration.flag("IMPLICIT_CONTINUE", false);
    let is_wild = earlier.source.wild || earlier.destination.wild;
    line.pairs().any(|(from, to)| {
        let is_left_open =
            implicit && is_wild && from != to && (world.is_nested(from) || world.is_nested(to));
        earlier.covers(from, to) && !is_left_open
    })
}
