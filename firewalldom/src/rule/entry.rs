//! Rules as boxes: a range of each of five header fields, which is all that most rules ask for.
//!
//! A rule becomes one box or a few. What a box cannot say (flags, sets, MAC addresses) is asked of
//! the rule's `Matcher` once a packet lies in the box, so a box may be larger than
//! its rule, but never smaller.

use super::has_ports;
use super::matcher::{disjoint, sorted};
use crate::packet::{ICMP, TCP, Tuple};
use crate::policy::{Addresses, Match, Ports, Protocol, Rule, States};
use alloc::vec;
use alloc::vec::Vec;

/// Fields of a box, in the order of [`Key::fields`].
pub(super) const FIELDS: usize = 5;

/// A range of values, both ends inclusive.
pub(super) type Range = (u32, u32);

/// What a packet is to boxes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// Source and destination address, source and destination port, protocol. Eight, so that three
    /// bits are always an index.
    pub(super) fields: [u32; 8],
    state: u8,
    has_ports: bool,
}

impl Key {
    pub(crate) fn new(tuple: &Tuple, state: States) -> Self {
        Self {
            fields: [
                tuple.source,
                tuple.destination,
                u32::from(tuple.source_port),
                u32::from(tuple.destination_port),
                u32::from(tuple.protocol),
                0,
                0,
                0,
            ],
            state: state.0,
            has_ports: has_ports(tuple.protocol),
        }
    }
}

/// A box: 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    place: Place,
    rest: Rest,
}

const _: () = assert!(size_of::<Entry>() == 32);

/// The addresses of a box. Of each field the first value, and how many more there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    source: (u32, u32),
    destination: (u32, u32),
}

/// What else a box has. Of each field the first value, and how many more there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    source_port: (u16, u16),
    destination_port: (u16, u16),
    protocol: (u8, u8),
    states: u8,
    flags: u8,
    /// Number of the rule in its list.
    pub(super) rule: u32,
}

/// How far a value lies from the last one of a range of `more` behind `first`; below 0: outside.
#[inline(always)]
const fn room(value: u32, first: u16, more: u16) -> i64 {
    more as i64 - value.wrapping_sub(first as u32) as i64
}

/// Boxes that are compared at once.
pub(super) const GROUP: usize = 4;

/// The addresses of a group of boxes: a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Places([Place; GROUP]);

/// What else these boxes have: a cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(super) struct Rests(pub(super) [Rest; GROUP]);

const _: () = assert!(size_of::<Places>() == 64 && size_of::<Rests>() == 64);

impl Place {
    /// Of a place in a group that has no box.
    const NOWHERE: Self = Self {
        source: (u32::MAX, 0),
        destination: (u32::MAX, 0),
    };

    const fn holds(&self, key: &Key) -> bool {
        let [source, destination, ..] = key.fields;
        // One comparison a field: what lies before the first wraps to beyond the last. None is
        // skipped: a guess that proves wrong costs more than all of them.
        (destination.wrapping_sub(self.destination.0) <= self.destination.1)
            & (source.wrapping_sub(self.source.0) <= self.source.1)
    }
}

impl Places {
    /// At most [`GROUP`] boxes.
    pub(super) fn new<'e>(entries: impl Iterator<Item = &'e Entry>) -> Self {
        let mut places = [Place::NOWHERE; GROUP];
        for (place, entry) in places.iter_mut().zip(entries) {
            *place = entry.place;
        }
        Self(places)
    }

    /// A bit for each box that has the packet's addresses.
    #[inline(always)]
    pub(super) const fn holding(&self, key: &Key) -> u32 {
        let [a, b, c, d] = &self.0;
        a.holds(key) as u32
            | (b.holds(key) as u32) << 1
            | (c.holds(key) as u32) << 2
            | (d.holds(key) as u32) << 3
    }
}

impl Rests {
    /// At most [`GROUP`] boxes.
    pub(super) fn new<'e>(entries: impl Iterator<Item = &'e Entry>) -> Self {
        let mut rests = [Rest::NOTHING; GROUP];
        for (rest, entry) in rests.iter_mut().zip(entries) {
            *rest = entry.rest;
        }
        Self(rests)
    }
}

impl Rest {
    /// Only protocols with ports.
    const PORTS: u8 = 1;
    /// The rule's matcher has the last word.
    const INEXACT: u8 = 2;
    /// Of a place in a group that has no box: it holds nothing, in no state.
    const NOTHING: Self = Self {
        source_port: (0, 0),
        destination_port: (0, 0),
        protocol: (0, 0),
        states: 0,
        flags: 0,
        rule: u32::MAX,
    };

    /// Whether the packet's ports, protocol and state are the box's.
    #[inline(always)]
    pub(super) const fn holds(&self, key: &Key) -> bool {
        let [_, _, source_port, destination_port, protocol, ..] = key.fields;
        // Below 0 where a value lies outside: signs are put together without a jump, which nobody could
        // guess.
        let ports = room(
            destination_port,
            self.destination_port.0,
            self.destination_port.1,
        ) | room(source_port, self.source_port.0, self.source_port.1);
        let protocol = room(protocol, self.protocol.0 as u16, self.protocol.1 as u16);
        (ports | protocol >= 0)
            & (self.states & key.state != 0)
            & ((self.flags & Self::PORTS == 0) | key.has_ports)
    }

    /// Whether the box is all that the rule asks for.
    pub(super) const fn is_exact(&self) -> bool {
        self.flags & Self::INEXACT == 0
    }
}

impl Entry {
    /// Number of the rule in its list.
    pub(super) const fn rule(&self) -> u32 {
        self.rest.rule
    }

    /// Whether the packet lies in the box.
    pub(super) const fn holds(&self, key: &Key) -> bool {
        self.place.holds(key) && self.rest.holds(key)
    }

    /// Whether the box is all that the rule asks for.
    pub(super) const fn is_exact(&self) -> bool {
        self.rest.is_exact()
    }

    /// The range of a field.
    pub(super) const fn range(&self, field: usize) -> Range {
        let (first, more) = match field {
            0 => self.place.source,
            1 => self.place.destination,
            2 => (
                self.rest.source_port.0 as u32,
                self.rest.source_port.1 as u32,
            ),
            3 => (
                self.rest.destination_port.0 as u32,
                self.rest.destination_port.1 as u32,
            ),
            _ => (self.rest.protocol.0 as u32, self.rest.protocol.1 as u32),
        };
        (first, first + more)
    }

    /// The same box, wherever the packet lies in this field.
    pub(super) fn with_all_of(&self, field: usize) -> Self {
        let mut wide = *self;
        match field {
            0 => wide.place.source = (0, u32::MAX),
            1 => wide.place.destination = (0, u32::MAX),
            2 => wide.rest.source_port = (0, u16::MAX),
            3 => wide.rest.destination_port = (0, u16::MAX),
            _ => wide.rest.protocol = (0, u8::MAX),
        }
        wide
    }

    /// Whether both hold the same packets.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let rest = Rest {
            rule: other.rest.rule,
            ..self.rest
        };
        self.place == other.place && rest == other.rest
    }

    /// A box of these ranges.
    pub(super) const fn new(ranges: [Range; FIELDS], states: States, flags: u8, rule: u32) -> Self {
        let [source, destination, source_port, destination_port, protocol] = ranges;
        Self {
            place: Place {
                source: (source.0, source.1 - source.0),
                destination: (destination.0, destination.1 - destination.0),
            },
            rest: Rest {
                source_port: (source_port.0 as u16, (source_port.1 - source_port.0) as u16),
                destination_port: (
                    destination_port.0 as u16,
                    (destination_port.1 - destination_port.0) as u16,
                ),
                protocol: (protocol.0 as u8, (protocol.1 - protocol.0) as u8),
                states: states.0,
                flags,
                rule,
            },
        }
    }
}

/// Most boxes of a rule; one that would need more gets a larger box.
const MAX_BOXES: usize = 64;

/// A field's ranges, and whether they are exact.
struct Ranges {
    list: Vec<Range>,
    exact: bool,
}

impl Ranges {
    fn any(last: u32) -> Self {
        Self {
            list: vec![(0, last)],
            exact: true,
        }
    }

    /// One range that holds all of them.
    fn widen(&mut self) {
        // They ascend by where they begin; the one that ends last may be any of them.
        let last = self.list.iter().map(|range| range.1).max();
        if let (Some(&(first, _)), Some(last)) = (self.list.first(), last) {
            self.list = vec![(first, last)];
            self.exact = false;
        }
    }
}

/// Appends the boxes of a rule; `false`: they are not all that it asks for.
pub(super) fn boxes(rule: &Rule, number: u32, into: &mut Vec<Entry>) -> bool {
    let matches = &rule.matches;
    let (protocols, icmp) = protocols(&matches.protocol);
    let asks_ports =
        !matches.destination_port.ranges.is_empty() || !matches.source_port.ranges.is_empty();
    let mut fields = [
        addresses(&matches.source),
        addresses(&matches.destination),
        ports(&matches.source_port),
        match icmp {
            // ICMP's type and code stand where others have the destination port.
            Some(types) if !asks_ports => types,
            _ => ports(&matches.destination_port),
        },
        protocols,
    ];
    while fields
        .iter()
        .map(|field| field.list.len())
        .product::<usize>()
        > MAX_BOXES
    {
        if let Some(largest) = fields.iter_mut().max_by_key(|field| field.list.len()) {
            largest.widen();
        }
    }
    let exact = fields.iter().all(|field| field.exact) && !asks_more(matches);
    let [
        sources,
        destinations,
        source_ports,
        destination_ports,
        protocols,
    ] = fields;
    let flags = u8::from(asks_ports) * Rest::PORTS + u8::from(!exact) * Rest::INEXACT;
    for &source in &sources.list {
        for &destination in &destinations.list {
            for &source_port in &source_ports.list {
                for &destination_port in &destination_ports.list {
                    for &protocol in &protocols.list {
                        let ranges = [source, destination, source_port, destination_port, protocol];
                        into.push(Entry::new(ranges, rule.states, flags, number));
                    }
                }
            }
        }
    }
    exact
}

/// Whether the rule asks for what no box has.
fn asks_more(matches: &Match) -> bool {
    matches.original_destination != Addresses::default()
        || !matches.original_port.ranges.is_empty()
        || matches.ingress.is_some()
        || matches.egress.is_some()
        || !matches.source_mac.is_empty()
        || matches.destination_kind != crate::policy::DestinationKind::Any
        || matches.tcp_flags.is_some()
}

fn addresses(addresses: &Addresses) -> Ranges {
    let mut ranges = Ranges {
        list: sorted(&addresses.ranges).into(),
        exact: addresses.sets.is_empty(),
    };
    if ranges.list.is_empty() {
        ranges.list = vec![(0, u32::MAX)];
    }
    if !addresses.except.is_empty() {
        ranges.list = without(&ranges.list, &sorted(&addresses.except), u32::MAX);
    }
    ranges
}

fn ports(ports: &Ports) -> Ranges {
    const LAST: u32 = u16::MAX as u32;
    if ports.ranges.is_empty() {
        return Ranges::any(LAST);
    }
    let ranges = ports.ranges.iter();
    let ranges = ranges.map(|range| (u32::from(range.first), u32::from(range.last)));
    let mut list = disjoint(ranges.collect());
    if ports.negated {
        list = without(&[(0, LAST)], &list, LAST);
    }
    Ranges { list, exact: true }
}

/// Protocol numbers; for ICMP also types and codes.
fn protocols(protocol: &Protocol) -> (Ranges, Option<Ranges>) {
    let one = |number: u8| (u32::from(number), u32::from(number));
    let just = |number, exact| Ranges {
        list: vec![one(number)],
        exact,
    };
    match protocol {
        Protocol::Any => (Ranges::any(255), None),
        Protocol::OneOf(numbers) => {
            let list = disjoint(numbers.iter().map(|&number| one(number)).collect());
            (Ranges { list, exact: true }, None)
        }
        Protocol::NoneOf(numbers) => {
            let not = disjoint(numbers.iter().map(|&number| one(number)).collect());
            let list = without(&[(0, 255)], &not, 255);
            (Ranges { list, exact: true }, None)
        }
        Protocol::TcpSyn(_) => (just(TCP, false), None),
        Protocol::Icmp(types) if types.is_empty() => (just(ICMP, true), None),
        Protocol::Icmp(types) => {
            let ranges = types.iter().map(|wanted| {
                let first = u32::from(wanted.kind) << 8;
                match wanted.code {
                    None => (first, first | 0xff),
                    Some(code) => (first | u32::from(code), first | u32::from(code)),
                }
            });
            let list = disjoint(ranges.collect());
            (just(ICMP, true), Some(Ranges { list, exact: true }))
        }
    }
}

/// What of `ranges` is not in `holes`; both ascend, `last` is the largest value.
fn without(ranges: &[Range], holes: &[Range], last: u32) -> Vec<Range> {
    let mut left = Vec::new();
    for &(mut first, end) in ranges {
        let mut used_up = false;
        for &(low, high) in holes {
            if high < first || low > end {
                continue;
            }
            if low > first {
                left.push((first, low - 1));
            }
            if high >= end.min(last) {
                used_up = true;
                break;
            }
            first = high + 1;
        }
        if !used_up {
            left.push((first, end));
        }
    }
    left
}
