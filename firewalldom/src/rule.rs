//! Chains of rules, compiled when the policy is loaded and tried in order, first match wins.
//!
//! This module is the only one that knows how rules are looked up.

use crate::packet::{DCCP, ICMP, Packet, SCTP, TCP, Tuple, UDP, UDP_LITE, flags};
use crate::policy::{
    self, Action, Addresses, DestinationKind, Disposition, IcmpType, InterfaceId, Log, Match,
    Member, Origin, Ports, RejectWith, States, TcpFlags,
};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) packet: &'a Packet,
    /// Source as it came, destination after DNAT.
    pub(crate) tuple: Tuple,
    /// Destination address and port before DNAT.
    pub(crate) original: (u32, u16),
    pub(crate) ingress: Option<InterfaceId>,
    pub(crate) egress: Option<InterfaceId>,
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) kind: DestinationKind,
}

/// Origins, numbered: what hit counters and flows refer to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origins {
    pub(crate) list: Vec<Origin>,
    numbers: BTreeMap<(u16, u32), u32>,
}

impl Origins {
    pub(crate) fn number(&mut self, origin: Origin) -> u32 {
        let list = &mut self.list;
        *self
            .numbers
            .entry((origin.file, origin.line))
            .or_insert_with(|| {
                list.push(origin);
                list.len() as u32 - 1
            })
    }
}

/// Whether a protocol's header starts with source and destination port.
pub(crate) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, TCP | UDP | UDP_LITE | SCTP | DCCP)
}

/// Whether NAT can change those ports: SCTP's checksum is over the whole packet, and not by difference.
pub(crate) const fn has_movable_ports(protocol: u8) -> bool {
    has_ports(protocol) && protocol != SCTP
}

#[derive(Clone, Debug)]
struct AddressSet {
    ranges: Box<[(u32, u32)]>,
    except: Box<[(u32, u32)]>,
    sets: Box<[(Rc<[(u32, u32)]>, Member)]>,
}

/// Named sets, each there once.
pub(crate) type NamedSets = [Rc<[(u32, u32)]>];

/// The policy's named sets, ready to be searched.
pub(crate) fn named_sets(policy: &policy::Policy) -> Vec<Rc<[(u32, u32)]>> {
    let sets = policy.address_sets.iter();
    sets.map(|set| sorted(&set.ranges).into()).collect()
}

impl AddressSet {
    fn new(addresses: &Addresses, named: &NamedSets) -> Option<Self> {
        if *addresses == Addresses::default() {
            return None;
        }
        Some(Self {
            ranges: sorted(&addresses.ranges),
            except: sorted(&addresses.except),
            sets: addresses
                .sets
                .iter()
                .map(|set| (named[usize::from(set.set)].clone(), set.member))
                .collect(),
        })
    }

    fn holds(&self, address: u32) -> bool {
        (self.ranges.is_empty() || within(&self.ranges, address))
            && !within(&self.except, address)
            && self
                .sets
                .iter()
                .all(|(set, member)| within(set, address) == (*member == Member::Yes))
    }
}

/// Ascending and disjoint, whatever order and overlap the user wrote.
fn sorted(ranges: &[policy::AddressRange]) -> Box<[(u32, u32)]> {
    let mut ranges: Vec<_> = ranges
        .iter()
        .map(|range| (range.first.to_bits(), range.last.to_bits()))
        .collect();
    ranges.sort_unstable();
    let mut merged: Vec<(u32, u32)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = (*end).max(last),
            _ => merged.push((first, last)),
        }
    }
    merged.into()
}

fn within(ranges: &[(u32, u32)], address: u32) -> bool {
    let after = ranges.partition_point(|&(first, _)| first <= address);
    after > 0 && address <= ranges[after - 1].1
}

fn port_within(ports: &Ports, port: u16) -> bool {
    let listed = ports
        .ranges
        .iter()
        .any(|range| (range.first..=range.last).contains(&port));
    listed != ports.negated
}

/// Conditions, with what is not asked left out.
#[derive(Clone, Debug)]
pub(crate) struct Matcher {
    ingress: Option<InterfaceId>,
    egress: Option<InterfaceId>,
    protocol: policy::Protocol,
    source: Option<AddressSet>,
    destination: Option<AddressSet>,
    original_destination: Option<AddressSet>,
    source_port: Option<Ports>,
    destination_port: Option<Ports>,
    original_port: Option<Ports>,
    source_mac: Box<[[u8; 6]]>,
    kind: DestinationKind,
    tcp_flags: Option<TcpFlags>,
}

impl Matcher {
    pub(crate) fn new(matches: &Match, named: &NamedSets) -> Self {
        let ports = |ports: &Ports| (!ports.ranges.is_empty()).then(|| ports.clone());
        Self {
            ingress: matches.ingress,
            egress: matches.egress,
            protocol: matches.protocol.clone(),
            source: AddressSet::new(&matches.source, named),
            destination: AddressSet::new(&matches.destination, named),
            original_destination: AddressSet::new(&matches.original_destination, named),
            source_port: ports(&matches.source_port),
            destination_port: ports(&matches.destination_port),
            original_port: ports(&matches.original_port),
            source_mac: matches.source_mac.clone().into(),
            kind: matches.destination_kind,
            tcp_flags: matches.tcp_flags,
        }
    }

    /// Whether every condition holds.
    pub(crate) fn holds(&self, facts: &Facts<'_>) -> bool {
        let tuple = &facts.tuple;
        let address =
            |set: &Option<AddressSet>, address| set.as_ref().is_none_or(|set| set.holds(address));
        let port = |set: &Option<Ports>, port| {
            set.as_ref()
                .is_none_or(|set| has_ports(tuple.protocol) && port_within(set, port))
        };
        self.ingress
            .is_none_or(|interface| facts.ingress == Some(interface))
            && self
                .egress
                .is_none_or(|interface| facts.egress == Some(interface))
            && protocol(&self.protocol, facts.packet)
            && port(&self.destination_port, tuple.destination_port)
            && port(&self.source_port, tuple.source_port)
            && address(&self.source, tuple.source)
            && address(&self.destination, tuple.destination)
            && address(&self.original_destination, facts.original.0)
            && port(&self.original_port, facts.original.1)
            && (self.source_mac.is_empty()
                || facts.mac.is_some_and(|mac| self.source_mac.contains(&mac)))
            && (self.kind == DestinationKind::Any || self.kind == facts.kind)
            && self.tcp_flags.is_none_or(|wanted| {
                tuple.protocol == TCP && facts.packet.tcp_flags & wanted.mask == wanted.set
            })
    }
}

fn protocol(wanted: &policy::Protocol, packet: &Packet) -> bool {
    let number = packet.tuple.protocol;
    match wanted {
        policy::Protocol::Any => true,
        policy::Protocol::OneOf(numbers) => numbers.contains(&number),
        policy::Protocol::NoneOf(numbers) => !numbers.contains(&number),
        policy::Protocol::TcpSyn(wanted) => {
            let opening = packet.tcp_flags & (flags::SYN | flags::ACK | flags::RST | flags::FIN)
                == flags::SYN;
            number == TCP && opening == *wanted
        }
        policy::Protocol::Icmp(types) => {
            let (kind, code) = packet.icmp;
            let one = |wanted: &IcmpType| {
                wanted.kind == kind && wanted.code.is_none_or(|wanted| wanted == code)
            };
            number == ICMP && (types.is_empty() || types.iter().any(one))
        }
    }
}

#[derive(Clone, Debug)]
struct Rule {
    states: States,
    matcher: Matcher,
    action: Action,
    log: Option<Log>,
    origin: u32,
}

impl Rule {
    fn new(rule: &policy::Rule, named: &NamedSets, origins: &mut Origins) -> Self {
        Self {
            states: rule.states,
            matcher: Matcher::new(&rule.matches, named),
            action: rule.action,
            log: rule.log.clone(),
            origin: origins.number(rule.origin),
        }
    }
}

/// Rules that chains share, or call.
#[derive(Clone, Debug)]
pub(crate) struct List {
    log_chain: Option<String>,
    rules: Box<[Rule]>,
    states: u8,
}

impl List {
    pub(crate) fn new(list: &policy::RuleList, named: &NamedSets, origins: &mut Origins) -> Self {
        Self {
            log_chain: list.log_chain.clone(),
            rules: compile(&list.rules, named, origins),
            states: states(&list.rules),
        }
    }
}

fn compile(rules: &[policy::Rule], named: &NamedSets, origins: &mut Origins) -> Box<[Rule]> {
    let rules = rules.iter();
    rules.map(|rule| Rule::new(rule, named, origins)).collect()
}

/// States that some of these rules look at. A rule that calls others decides for them.
fn states(rules: &[policy::Rule]) -> u8 {
    rules.iter().fold(0, |states, rule| states | rule.states.0)
}

/// The rules and the policy of one or more zone pairs.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) name: String,
    blacklist: Option<u16>,
    rules: Box<[Rule]>,
    default_action: Box<[Rule]>,
    policy: Disposition,
    policy_log: Option<Log>,
    policy_chain: Option<String>,
    origin: u32,
    /// States that some rule looks at; the others go straight to what follows the rules.
    states: u8,
}

/// What decided about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ruling {
    pub(crate) disposition: Disposition,
    /// Number of the origin of the rule or policy.
    pub(crate) origin: u32,
    pub(crate) by: By,
    /// How a REJECT tells the sender; `None`: as the protocol has it.
    pub(crate) reject_with: Option<RejectWith>,
}

/// The kind of thing that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Rule,
    Policy,
    /// The implicit ACCEPT of ESTABLISHED, or a disposition of shorewall.conf.
    State,
}

/// A log line somebody asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogRequest<'a> {
    pub(crate) chain: &'a str,
    pub(crate) log: &'a Log,
}

impl Chain {
    pub(crate) fn new(
        chain: &policy::Chain,
        lists: &[List],
        named: &NamedSets,
        origins: &mut Origins,
    ) -> Self {
        let blacklist = chain.blacklist.map(|list| &lists[usize::from(list)]);
        let states = states(&chain.rules) | blacklist.map_or(0, |list| list.states);
        Self {
            name: chain.name.clone(),
            blacklist: chain.blacklist,
            rules: compile(&chain.rules, named, origins),
            default_action: compile(&chain.default_action, named, origins),
            policy: chain.policy,
            policy_log: chain.policy_log.clone(),
            policy_chain: chain.policy_chain.clone(),
            origin: origins.number(chain.origin),
            states,
        }
    }

    /// Whether some rule looks at packets in this state.
    pub(crate) const fn looks_at(&self, state: States) -> bool {
        self.states & state.0 != 0
    }

    /// Judges a packet: sections in Shorewall's order, then what shorewall.conf says of its state,
    /// then default action and policy. `note` gets each origin that was hit and each log line.
    pub(crate) fn judge(
        &self,
        lists: &[List],
        state: States,
        facts: &Facts<'_>,
        settings: &policy::Settings,
        mut note: impl FnMut(u32, Option<LogRequest<'_>>),
    ) -> Ruling {
        let walk = Walk {
            lists,
            state,
            facts,
        };
        let blacklist = self.blacklist.map(|list| &lists[usize::from(list)]);
        if let Some(list) = blacklist
            && let Walked::Decided(ruling) = walk.list(list, &self.name, &mut note)
        {
            return ruling;
        }
        let sections = walk.rules(&self.rules, &self.name, &mut note);
        match sections {
            Walked::Decided(ruling) => return ruling,
            Walked::ToPolicy | Walked::Returned => {}
            Walked::Through => {
                let exception = match state {
                    States::ESTABLISHED => return self.state_ruling(Disposition::Accept),
                    States::RELATED => settings.related.as_ref(),
                    States::INVALID => settings.invalid.as_ref(),
                    States::UNTRACKED => settings.untracked.as_ref(),
                    _ => None,
                };
                if let Some(exception) = exception {
                    let log = exception.log.as_ref();
                    note(
                        self.origin,
                        log.map(|log| LogRequest {
                            chain: &self.name,
                            log,
                        }),
                    );
                    return self.state_ruling(exception.disposition);
                }
            }
        }
        if let Walked::Decided(ruling) = walk.rules(&self.default_action, &self.name, &mut note) {
            return ruling;
        }
        let chain = self.policy_chain.as_deref().unwrap_or(&self.name);
        note(
            self.origin,
            self.policy_log
                .as_ref()
                .map(|log| LogRequest { chain, log }),
        );
        Ruling {
            disposition: self.policy,
            origin: self.origin,
            by: By::Policy,
            reject_with: None,
        }
    }

    /// A disposition that no rule gave.
    pub(crate) const fn state_ruling(&self, disposition: Disposition) -> Ruling {
        Ruling {
            disposition,
            origin: self.origin,
            by: By::State,
            reject_with: None,
        }
    }
}

/// A packet on its way through lists of rules.
#[derive(Clone, Copy)]
struct Walk<'a> {
    lists: &'a [List],
    state: States,
    facts: &'a Facts<'a>,
}

impl Walk<'_> {
    fn list(
        &self,
        list: &List,
        chain: &str,
        note: &mut impl FnMut(u32, Option<LogRequest<'_>>),
    ) -> Walked {
        self.rules(
            &list.rules,
            list.log_chain.as_deref().unwrap_or(chain),
            note,
        )
    }

    /// Lists are called as deep as [`policy::check`] allows, no deeper.
    fn rules(
        &self,
        rules: &[Rule],
        chain: &str,
        note: &mut impl FnMut(u32, Option<LogRequest<'_>>),
    ) -> Walked {
        for rule in rules {
            if !rule.states.contains(self.state) || !rule.matcher.holds(self.facts) {
                continue;
            }
            let request = rule.log.as_ref().map(|log| LogRequest { chain, log });
            note(rule.origin, request);
            let (disposition, reject_with) = match rule.action {
                Action::Continue => continue,
                Action::Policy => return Walked::ToPolicy,
                Action::Return => return Walked::Returned,
                Action::Call(list) => {
                    match self.list(&self.lists[usize::from(list)], chain, note) {
                        Walked::Through | Walked::Returned => continue,
                        end => return end,
                    }
                }
                Action::Decide(disposition) => (disposition, None),
                Action::Reject(with) => (Disposition::Reject, Some(with)),
            };
            return Walked::Decided(Ruling {
                disposition,
                origin: rule.origin,
                by: By::Rule,
                reject_with,
            });
        }
        Walked::Through
    }
}

/// How a walk through rules ended.
enum Walked {
    Decided(Ruling),
    /// The rest of the chain's rules is to be skipped.
    ToPolicy,
    /// The rest of the list is to be skipped.
    Returned,
    Through,
}
