//! Conditions asked one by one: what a rule is when it is more than a box, and what translation asks.

use super::{Facts, has_ports};
use crate::packet::{ICMP, Packet, TCP, flags};
use crate::policy::{
    self, Addresses, DestinationKind, IcmpType, InterfaceId, Match, Member, Ports, TcpFlags,
};
use crate::sort::sort;
use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::vec::Vec;

#[derive(Clone, Debug)]
struct AddressSet {
    ranges: Box<[(u32, u32)]>,
    except: Box<[(u32, u32)]>,
    sets: Box<[(NamedSet, Member)]>,
}

/// A named set's ranges, ascending and disjoint.
pub(crate) type NamedSet = Rc<[(u32, u32)]>;

/// Named sets, each there once.
pub(crate) type NamedSets = [NamedSet];

/// The policy's named sets, ready to be searched.
pub(crate) fn named_sets(policy: &policy::Policy) -> Vec<NamedSet> {
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
pub(super) fn sorted(ranges: &[policy::AddressRange]) -> Box<[(u32, u32)]> {
    let ranges = ranges
        .iter()
        .map(|range| (range.first.to_bits(), range.last.to_bits()));
    disjoint(ranges.collect()).into()
}

/// The same ranges, ascending and disjoint.
pub(super) fn disjoint(mut ranges: Vec<(u32, u32)>) -> Vec<(u32, u32)> {
    sort(&mut ranges);
    ranges.dedup_by(|next, before| {
        let meets = next.0 <= before.1.saturating_add(1);
        if meets {
            before.1 = before.1.max(next.1);
        }
        meets
    });
    ranges
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

/// What a rule asks and a packet is not. In the order in which it is asked: a condition is looked at
/// only if all those before it hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Of a connection in one of the rule's states.
    State,
    /// From the rule's zone.
    Zone,
    /// In by the rule's interface.
    Ingress,
    /// Out by the rule's interface.
    Egress,
    /// Of the rule's protocol, or ICMP type.
    Protocol,
    /// To one of the rule's ports.
    DestinationPort,
    /// From one of the rule's ports.
    SourcePort,
    /// From one of the rule's addresses.
    Source,
    /// To one of the rule's addresses.
    Destination,
    /// To one of the rule's addresses, before DNAT.
    OriginalDestination,
    /// To one of the rule's ports, before DNAT.
    OriginalPort,
    /// From one of the rule's hardware addresses.
    Mac,
    /// To a broadcast or multicast address, as the rule asks.
    Kind,
    /// With the rule's TCP flags.
    TcpFlags,
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
        self.unlike(facts).is_none()
    }

    /// The first condition that does not hold.
    #[inline(always)]
    pub(crate) fn unlike(&self, facts: &Facts<'_>) -> Option<Condition> {
        let tuple = &facts.tuple;
        let address =
            |set: &Option<AddressSet>, address| set.as_ref().is_none_or(|set| set.holds(address));
        let port = |set: &Option<Ports>, port| {
            set.as_ref()
                .is_none_or(|set| has_ports(tuple.protocol) && port_within(set, port))
        };
        let interface = |wanted: Option<InterfaceId>, found| wanted.is_none() || wanted == found;
        let mac = || facts.mac.is_some_and(|mac| self.source_mac.contains(&mac));
        let flags = |wanted: TcpFlags| {
            tuple.protocol == TCP && facts.packet.tcp_flags & wanted.mask == wanted.set
        };
        let original = facts.original;
        // Each is asked only if all before it hold.
        Some(if !interface(self.ingress, facts.ingress) {
            Condition::Ingress
        } else if !interface(self.egress, facts.egress) {
            Condition::Egress
        } else if !protocol(&self.protocol, facts.packet) {
            Condition::Protocol
        } else if !port(&self.destination_port, tuple.destination_port) {
            Condition::DestinationPort
        } else if !port(&self.source_port, tuple.source_port) {
            Condition::SourcePort
        } else if !address(&self.source, tuple.source) {
            Condition::Source
        } else if !address(&self.destination, tuple.destination) {
            Condition::Destination
        } else if self.original_destination.is_some()
            && !original.is_some_and(|(to, _)| address(&self.original_destination, to))
        {
            Condition::OriginalDestination
        } else if self.original_port.is_some()
            && !original.is_some_and(|(_, to)| port(&self.original_port, to))
        {
            Condition::OriginalPort
        } else if !self.source_mac.is_empty() && !mac() {
            Condition::Mac
        } else if self.kind != DestinationKind::Any && self.kind != facts.kind {
            Condition::Kind
        } else if !self.tcp_flags.is_none_or(flags) {
            Condition::TcpFlags
        } else {
            return None;
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
