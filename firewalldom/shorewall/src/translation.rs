//! Rules of `rules` that translate destination addresses: DNAT, REDIRECT, NONAT, ACCEPT+.

use firewalldom::policy::{
    Addresses, DestinationNat, DestinationTarget, Disposition, Limits, Log, Match, Ports, Rule,
    ZoneId,
};

use crate::action::Part;
use crate::address;
use crate::ends::{End, IntraZone, redirect_port, server, zones};
use crate::packet_set::both_addresses;
use crate::report::Finding;
use crate::rules::{Line, Rules, columns};
use crate::session::Session;
use crate::spread::with_sources;
use crate::target::Nat;
use crate::traffic::{has_ports, one_port};

impl Rules<'_> {
    /// The sources but the firewall itself, which opens no connections to translate.
    fn nat_sources(&self, session: &mut Session<'_>, line: &Line<'_>) -> Vec<End> {
        let mut sources = line.sources.ends.clone();
        if !line.sources.wild
            && let Some(end) = sources.iter().find(|end| end.zone == ZoneId::FIREWALL)
        {
            session.report(Finding::warning("this rule translates nothing").at(
                end.span,
                "the firewall itself opens no connections to translate",
            ));
        }
        sources.retain(|end| end.zone != ZoneId::FIREWALL);
        if let Some(end) = sources.iter().find(|end| !end.hosts.except_macs.is_empty()) {
            session.error(
                end.span,
                "MAC addresses cannot be left out of address translation yet",
                "here",
                "name the addresses",
            );
            sources.clear();
        }
        sources
    }

    fn push_nat(
        &mut self,
        session: &mut Session<'_>,
        line: &Line<'_>,
        source: &End,
        matches: &Match,
        target: &DestinationTarget,
        log: Option<Log>,
    ) {
        let first = line.limits.place(session);
        let original = Match {
            destination: line.original_destination.clone(),
            ..matches.clone()
        };
        let alternatives = with_sources(&source.hosts, &original);
        for (index, matches) in alternatives.into_iter().enumerate() {
            let limits = match index {
                0 => first.clone(),
                _ => line.limits.place_beside(session, &first),
            };
            self.nat.push(DestinationNat {
                source_zone: source.zone,
                matches,
                // Only the first packet of a connection is translated, and counts.
                limits,
                target: target.clone(),
                log: log.clone(),
                origin: session.origin(line.row.span),
            });
        }
    }

    pub(crate) fn destination_nat(
        &mut self,
        session: &mut Session<'_>,
        line: &Line<'_>,
        part: &Part,
        nat: Nat,
    ) -> bool {
        let Some(word) = line.row.get(2) else {
            session.error(
                line.row.span,
                "DNAT needs a server",
                "to which address?",
                "write: DNAT net loc:10.0.3.9 tcp 80",
            );
            return true;
        };
        let Some(server) = server(session, self.world, word, nat, &line.original_destination)
        else {
            return true;
        };
        let Some(matches) = part.matches(session, line.action_word, columns(line.row)) else {
            return true;
        };
        if server.ports.is_some() && !has_ports(&matches.protocol) {
            session.error(
                word.span(),
                "a new port needs a protocol that has ports",
                "which protocol?",
                "write tcp or udp in the PROTO column",
            );
            return true;
        }
        let mut sources = self.nat_sources(session, line);
        if line.sources.wild && line.sources.intra_zone != IntraZone::Included {
            // As everywhere, a list of zones is about what passes between them.
            sources.retain(|source| Some(source.zone) != server.zone);
        }
        let target = DestinationTarget::Server {
            addresses: server.addresses,
            ports: server.ports,
        };
        for source in &sources {
            if let Some(zone) = server.zone.filter(|_| nat == Nat::AndAccept)
                && !self.may_hold(session, line, part, (source.zone, zone), line.sources.wild)
            {
                continue;
            }
            let log = line.action.log_for(part);
            self.push_nat(session, line, source, &matches, &target, log);
            let Some(zone) = server.zone.filter(|_| nat == Nat::AndAccept) else {
                continue;
            };
            let rule = self.accept(
                session,
                line,
                &matches,
                server.ports.map(|range| Ports {
                    ranges: vec![range],
                    negated: false,
                }),
            );
            let destination = End {
                zone,
                hosts: address::Hosts {
                    interfaces: server.interface.map(|interface| vec![interface]),
                    addresses: Addresses {
                        ranges: vec![server.addresses],
                        ..Addresses::default()
                    },
                    ..address::Hosts::default()
                },
                hosts_of: 0,
                span: word.span(),
            };
            self.push(session, source, &destination, &rule);
        }
        true
    }

    pub(crate) fn redirect(
        &mut self,
        session: &mut Session<'_>,
        line: &Line<'_>,
        part: &Part,
        nat: Nat,
    ) -> bool {
        let Some(matches) = part.matches(session, line.action_word, columns(line.row)) else {
            return true;
        };
        let port = match line.row.get(2) {
            None => None,
            Some(word) => match redirect_port(session, self.world, word) {
                Some(port) => port,
                None => return true,
            },
        };
        if port.is_some() && !has_ports(&matches.protocol) {
            session.error(
                line.row.span,
                "REDIRECT to a port needs a protocol that has ports",
                "which protocol?",
                "write tcp or udp in the PROTO column",
            );
            return true;
        }
        for source in &self.nat_sources(session, line) {
            let pair = (source.zone, ZoneId::FIREWALL);
            if nat == Nat::AndAccept && !self.may_hold(session, line, part, pair, line.sources.wild)
            {
                continue;
            }
            let log = line.action.log_for(part);
            self.push_nat(
                session,
                line,
                source,
                &matches,
                &DestinationTarget::Redirect { port },
                log,
            );
            if nat == Nat::AndAccept {
                let ports = port.map(one_port);
                let rule = self.accept(session, line, &matches, ports);
                let destination = End::of(ZoneId::FIREWALL, line.row.span);
                self.push(session, source, &destination, &rule);
            }
        }
        true
    }

    /// Lets through what a rule of NAT has translated.
    fn accept(
        &self,
        session: &Session<'_>,
        line: &Line<'_>,
        matches: &Match,
        new_ports: Option<Ports>,
    ) -> Rule {
        let (destination_port, original_port) = match new_ports {
            Some(ports) => (ports, matches.destination_port.clone()),
            None => (matches.destination_port.clone(), Ports::default()),
        };
        Rule {
            states: self.section_states(),
            matches: Match {
                original_destination: line.original_destination.clone(),
                original_port,
                destination_port,
                ..matches.clone()
            },
            limits: Limits::default(),
            action: firewalldom::policy::Action::Decide(Disposition::Accept),
            log: None,
            origin: session.origin(line.row.span),
        }
    }

    /// What later rules of NAT leave alone.
    pub(crate) fn exempt(
        &mut self,
        session: &mut Session<'_>,
        line: &Line<'_>,
        part: &Part,
    ) -> bool {
        let Some(mut matches) = part.matches(session, line.action_word, columns(line.row)) else {
            return true;
        };
        let mut destinations: Vec<Addresses> = Vec::new();
        if let Some(word) = line.row.get(2)
            && let Some(named) = zones(session, self.world, word)
        {
            for end in named.ends {
                if !destinations.contains(&end.hosts.addresses) {
                    destinations.push(end.hosts.addresses);
                }
            }
        }
        if destinations.is_empty() {
            destinations.push(Addresses::default());
        }
        // Nothing is translated yet: the original destination is the packet's.
        let original = &line.original_destination;
        let destinations = destinations.iter();
        let destinations: Vec<Addresses> = destinations
            .filter_map(|addresses| both_addresses(addresses, original))
            .collect();
        for source in &self.nat_sources(session, line) {
            for destination in &destinations {
                matches.destination = destination.clone();
                for matches in with_sources(&source.hosts, &matches) {
                    self.nat.push(DestinationNat {
                        source_zone: source.zone,
                        matches,
                        limits: line.limits.place(session),
                        target: DestinationTarget::Exempt,
                        log: None,
                        origin: session.origin(line.row.span),
                    });
                }
            }
        }
        true
    }
}
