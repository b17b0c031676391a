//! Lines of `interfaces`, and the interfaces that each of them is about: with a `+`, all that are called so.
//!
//! To Shorewall an interface is whatever its line's name matches, and one that two lines match is asked for
//! in the order of their zones: what the first of them leaves undecided comes to the second. So each link, and
//! each name of guests' vifs, is an [`Interface`] of its own here, behind which the zones of all lines are that
//! match it, and the options hold of the line that it comes to first.

use std::net::Ipv4Addr;

use firewalldom::policy::{
    AddressRange, Exception, Interface, InterfaceId, InterfaceSet, ZoneId, is_called,
};

use crate::chains::{Chains, Standing};
use crate::interface_options::Options;
use crate::packet_set;
use crate::report::Finding;
use crate::session::Session;
use crate::source::Word;
use crate::tables::Tables;
use crate::world::World;

/// A line.
pub(crate) struct Line {
    /// The interface as it stands there.
    pub(crate) name: Word,
    /// What its interfaces are called: `tun+`, and of one alone its name.
    pub(crate) physical: String,
    pub(crate) zone: Option<ZoneId>,
    pub(crate) options: Options,
    /// `routeback`, of the line or of hosts behind it.
    pub(crate) route_back: bool,
    /// Whether the kernel is to check where packets come from. On a line with a `+` the option does nothing but
    /// take Shorewall's own check of hairpins away.
    pub(crate) filters: bool,
}

impl Line {
    /// Whether an interface is what the line is about.
    pub(crate) fn matches(&self, interface: &Interface) -> bool {
        is_called(&interface.name, &self.physical)
    }

    /// Whether it stands for interfaces(5)' links of which none is named: `tun+`. Guests' vifs come and go, and
    /// all behind one line are one interface.
    pub(crate) fn is_wildcard(&self) -> bool {
        self.physical.ends_with('+') && !Interface::is_backends_name(&self.physical)
    }

    /// Whether what comes in here and would leave by what the line matches is let to the rules.
    pub(crate) fn is_unchecked(&self) -> bool {
        self.route_back || self.filters || self.options.rpfilter || self.physical == "+"
    }

    /// What the files call one of its interfaces: `LAN1`, of `LAN+ physical=tun+`.
    pub(crate) fn logical(&self, interface: &str) -> String {
        let name = self.name.text();
        let stems = name.strip_suffix('+').zip(self.physical.strip_suffix('+'));
        match stems
            .and_then(|(logical, physical)| Some((logical, interface.strip_prefix(physical)?)))
        {
            Some((logical, rest)) => format!("{logical}{rest}"),
            None => name.to_owned(),
        }
    }
}

impl World {
    /// The interfaces that a line is about.
    pub(crate) fn members(&self, line: usize) -> Vec<InterfaceId> {
        self.members_of(&self.lines[line])
    }

    fn members_of(&self, line: &Line) -> Vec<InterfaceId> {
        let interfaces = self.interfaces.iter().enumerate();
        interfaces
            .filter(|(_, interface)| line.matches(interface))
            .map(|(number, _)| InterfaceId(number as u8))
            .collect()
    }

    /// Whether the line of some zone is for all interfaces.
    pub(crate) fn has_line_for_all(&self) -> bool {
        let mut groups = self.groups.iter();
        groups.any(|group| self.lines[group.line].physical == "+")
    }

    /// The line of a name.
    pub(crate) fn find_line(&self, name: &str) -> Option<usize> {
        let by = |is_so: &dyn Fn(&Line) -> bool| self.lines.iter().position(is_so);
        by(&|line| line.name.text() == name).or_else(|| by(&|line| line.physical == name))
    }

    /// When packets come to a line: those that come first do so to the zone that claims its addresses first.
    fn turn(&self, line: usize, order: &[ZoneId]) -> usize {
        let groups = self.groups.iter().filter(|group| group.line == line);
        let turns = groups.filter_map(|group| order.iter().position(|&zone| zone == group.zone));
        turns.min().unwrap_or(usize::MAX)
    }

    /// The lines that match an interface, and how many of them packets come to first: of several in one zone
    /// Shorewall takes any first.
    fn lines_of(&self, interface: &Interface) -> (Vec<usize>, usize) {
        let order = self.claiming_order();
        let turn = |&line: &usize| self.turn(line, &order);
        let lines = 0..self.lines.len();
        let mut lines: Vec<usize> = lines
            .filter(|&line| self.lines[line].matches(interface))
            .collect();
        lines.sort_by_key(turn);
        let first = lines.first().map(turn);
        let count = lines.iter().filter(|line| Some(turn(line)) == first);
        let count = count.count();
        (lines, count)
    }

    /// Gives the interfaces their options, once it is known who is behind which line.
    pub(crate) fn settle_options(&mut self) {
        for number in 0..self.interfaces.len() {
            let (lines, first) = self.lines_of(&self.interfaces[number]);
            let options = lines.iter().map(|&line| &self.lines[line].options);
            let firsts = options.take(first);
            // To Shorewall `+` has none of these.
            let named = lines.iter().map(|&line| &self.lines[line]);
            let named = named.filter(|line| line.physical != "+");
            // Of several that are asked first in no order, the stricter ones.
            let tcp_flags = firsts.clone().any(|options| options.tcp_flags);
            let no_smurfs = firsts.clone().any(|options| options.no_smurfs);
            let all_named = lines[..first]
                .iter()
                .all(|&line| self.lines[line].physical != "+");
            let dhcp = all_named && firsts.clone().all(|options| options.dhcp);
            // Shorewall asks these outside of the zones' chains.
            let rpfilter = named.clone().any(|line| line.options.rpfilter);
            let mss = named.filter_map(|line| line.options.mss).min();
            let interface = &mut self.interfaces[number];
            interface.tcp_flags = tcp_flags;
            interface.no_smurfs = no_smurfs;
            interface.dhcp = dhcp;
            interface.rpfilter = rpfilter;
            interface.mss = mss;
        }
    }

    /// Says what becomes of an interface with a line of its own that another line matches as well.
    pub(crate) fn warn_of_overlaps(&self, session: &mut Session<'_>) {
        for interface in &self.interfaces {
            let name = &interface.name;
            let (lines, first) = self.lines_of(interface);
            let named = |&line: &usize| self.lines[line].physical == *name;
            let Some(own) = lines.iter().position(named) else {
                continue;
            };
            let line = |place: usize| &self.lines[lines[place]];
            let zone = |zone: ZoneId| &self.zones[usize::from(zone.0)].name;
            if own >= first {
                if let (Some(ahead), Some(lost)) = (line(0).zone, line(own).zone) {
                    let (ahead, lost) = (zone(ahead), zone(lost));
                    let other = line(0).name.text();
                    session.report(
                        Finding::warning(format!(
                            "what is behind `{name}` is in the zone `{ahead}`"
                        ))
                        .at(line(own).name.span(), format!("not in `{lost}`"))
                        .note(format!(
                            "`{other}` matches it as well, and packets come to `{ahead}` first"
                        ))
                        .note(format!("declare `{lost}` before it in zones")),
                    );
                }
                continue;
            }
            for place in (0..lines.len()).filter(|&place| place != own) {
                let other = line(place);
                if other.is_unchecked() {
                    continue;
                }
                let text = other.name.text();
                session.report(
                    Finding::warning(format!("nothing passes from `{text}` to `{name}`"))
                        .at(other.name.span(), format!("matches `{name}` as well, and has no routeback"))
                        .note("as in Shorewall, whatever the rules say, and so no answer comes back either")
                        .note("choose names of which none begins as another"),
                );
            }
        }
    }

    /// Refuses an interface whose zones are asked in one order of what comes from there and in another of what
    /// goes there: Shorewall asks the former line by line. It would be in two zones at once.
    pub(crate) fn refuse_two_orders(&self, session: &mut Session<'_>) {
        let order = self.claiming_order();
        for (number, interface) in self.interfaces.iter().enumerate() {
            let (lines, _) = self.lines_of(interface);
            let id = InterfaceId(number as u8);
            let zones_of = |line: usize| {
                let behind = self.zones_behind(line, id);
                let order = order.iter().copied();
                order.filter(move |zone| behind.contains(zone))
            };
            let mut incoming: Vec<ZoneId> = Vec::new();
            for zone in lines.iter().flat_map(|&line| zones_of(line)) {
                if !incoming.contains(&zone) {
                    incoming.push(zone);
                }
            }
            let outgoing = order.iter().filter(|zone| incoming.contains(zone));
            let mut differing = incoming.iter().zip(outgoing).filter(|(a, b)| a != b);
            let Some((from, to)) = differing.next() else {
                continue;
            };
            let [from, to] = [from, to].map(|zone| &self.zones[usize::from(zone.0)].name);
            let name = &interface.name;
            let line = &self.lines[lines[0]];
            session.report(
                Finding::error(format!(
                    "`{name}` in two zones is not supported yet: {from} and {to}"
                ))
                .at(line.name.span(), "also matches it, and a zone of it comes first")
                .note(format!(
                    "to Shorewall what comes from there is of `{from}`, and what goes there is for `{to}`"
                ))
                .note("choose names of which none begins as another"),
            );
        }
    }

    /// Refuses an interface of two lines where the second is asked about what the first leaves, and has other
    /// checks: they would be made for some packets only.
    pub(crate) fn refuse_two_checks(&self, session: &mut Session<'_>, chains: &Chains) {
        for (number, interface) in self.interfaces.iter().enumerate() {
            let (lines, first) = self.lines_of(interface);
            let id = InterfaceId(number as u8);
            let checks = |line: usize| {
                let options = &self.lines[line].options;
                (options.tcp_flags, options.no_smurfs)
            };
            let (firsts, later) = lines.split_at(first);
            let passes = firsts.iter().any(|&line| self.passes_on(chains, line, id));
            let mut others = later.iter().filter(|_| passes);
            let Some(&other) = others.find(|&&line| checks(line) != checks(firsts[0])) else {
                continue;
            };
            let (name, line) = (&interface.name, &self.lines[other]);
            session.report(
                Finding::error(format!(
                    "other checks for some of what comes in by `{name}` are not supported yet"
                ))
                .at(line.name.span(), "matches it as well")
                .note("give both lines the same nosmurfs and tcpflags, or choose names of which none begins as another"),
            );
        }
    }

    /// Has hairpins caught: by the interfaces for the line that packets come to first, and by rules where
    /// something of that one is left to another.
    pub(crate) fn catch_hairpins(
        &mut self,
        tables: &mut Tables,
        chains: &mut Chains,
        caught: &Exception,
    ) {
        for number in 0..self.interfaces.len() {
            let interface = &self.interfaces[number];
            let origin = interface.origin;
            let ingress = InterfaceId(number as u8);
            let (lines, first) = self.lines_of(interface);
            let (firsts, later) = lines.split_at(first);
            let checked = firsts.iter().map(|&line| &self.lines[line]);
            let checked = checked.filter(|line| !line.is_unchecked());
            // All of them match this interface: the shortest holds what the others do.
            let widest = checked.min_by_key(|line| line.physical.trim_end_matches('+').len());
            let mut also = InterfaceSet::NONE;
            let held = widest.iter().flat_map(|line| self.members_of(line));
            held.filter(|&held| held != ingress)
                .for_each(|held| also.insert(held));
            let route_back = widest.is_none();
            let passes = firsts
                .iter()
                .any(|&line| self.passes_on(chains, line, ingress));
            let later = later.iter().filter(|_| passes);
            for &line in later.filter(|&&line| !self.lines[line].is_unchecked()) {
                let mut zones: Vec<ZoneId> = self.zones_behind(line, ingress);
                zones.push(self.nobody());
                let others = self.zones_but_firewall().chain([self.nobody()]);
                let pairs = zones
                    .into_iter()
                    .flat_map(|from| others.clone().map(move |to| (from, to)));
                for egress in self.members(line) {
                    chains.caught(tables, pairs.clone(), (ingress, egress, origin), caught);
                }
            }
            let interface = &mut self.interfaces[number];
            interface.route_back = route_back;
            interface.also = also;
        }
    }

    /// The ways by which what goes back within the zones of a line comes to one that has it caught, and that its
    /// packets come to later.
    pub(crate) fn ways_caught_later(&self, line: usize) -> Vec<(InterfaceId, InterfaceId)> {
        let members = self.members(line);
        let mut ways = Vec::new();
        for &ingress in &members {
            let (lines, _) = self.lines_of(&self.interfaces[usize::from(ingress.0)]);
            let later = lines.iter().skip_while(|&&other| other != line).skip(1);
            for &other in later.filter(|&&other| !self.lines[other].is_unchecked()) {
                let theirs = self.members(other);
                let leave = members.iter().filter(|egress| theirs.contains(egress));
                ways.extend(leave.map(|&egress| (ingress, egress)));
            }
        }
        ways
    }

    fn zones_behind(&self, line: usize, interface: InterfaceId) -> Vec<ZoneId> {
        let groups = self.groups.iter();
        let mut zones: Vec<ZoneId> = groups
            .filter(|group| group.line == line && group.interface == interface)
            .map(|group| group.zone)
            .collect();
        zones.sort();
        zones.dedup();
        zones
    }

    /// Whether something of what comes in by a line is left to the next that matches its interface.
    fn passes_on(&self, chains: &Chains, line: usize, interface: InterfaceId) -> bool {
        let groups = self.groups.iter();
        let groups = groups.filter(|group| group.line == line && group.interface == interface);
        let leaves = |zone: ZoneId| {
            let others = chains.zones().filter(|other| *other != zone);
            let mut standings = others.map(|other| chains.standing((zone, other)));
            standings.any(|standing| standing != Standing::Decides)
        };
        let all = AddressRange {
            first: Ipv4Addr::UNSPECIFIED,
            last: Ipv4Addr::BROADCAST,
        };
        let mut ranges = groups
            .clone()
            .flat_map(|group| packet_set::flatten(&group.addresses));
        !ranges.any(|range| range == all) || groups.clone().any(|group| leaves(group.zone))
    }
}
