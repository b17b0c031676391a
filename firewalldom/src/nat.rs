//! Address translation: which flows, to what, and on which port; and the rewriting of headers.

use crate::checksum::{Difference, get16, put16, put32};
use crate::crc32c;
use crate::flow::{self, Ends};
use crate::frame::{Checksum, Head};
use crate::headers::{self, Headers};
use crate::packet::{
    DCCP, GRE, ICMP, Inner, Packet, SCTP, TCP, Tuple, UDP, UDP_LITE, gre_is_translatable,
};
use crate::policy::{
    self, AddressRange, DestinationTarget, InterfaceId, Limits, Log, PortRange, SourceTarget,
    ZoneId,
};
use crate::rule::{Condition, Facts, Matcher, NamedSets, Origins, has_ports};
use crate::sctp;
use crate::time::Tick;
use alloc::vec::Vec;

/// A DNAT or REDIRECT rule.
#[derive(Clone, Debug)]
pub(crate) struct Destination {
    zone: ZoneId,
    matcher: Matcher,
    limits: Limits,
    pub(crate) target: DestinationTarget,
    pub(crate) log: Option<Log>,
    pub(crate) origin: u32,
}

/// An SNAT or MASQUERADE rule.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    egress: InterfaceId,
    matcher: Matcher,
    target: SourceTarget,
    pub(crate) origin: u32,
}

/// A site's translation rules, in order.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    destination: Vec<Destination>,
    source: Vec<Source>,
}

/// No port is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhausted;

impl Rules {
    pub(crate) fn new(policy: &policy::Policy, named: &NamedSets, origins: &mut Origins) -> Self {
        let destination = policy.destination_nat.iter().map(|nat| Destination {
            zone: nat.source_zone,
            matcher: Matcher::new(&nat.matches, named),
            limits: nat.limits.clone(),
            target: nat.target.clone(),
            log: nat.log.clone(),
            origin: origins.number(nat.origin),
        });
        let destination = destination.collect();
        let source = policy.source_nat.iter().map(|nat| Source {
            egress: nat.egress,
            matcher: Matcher::new(&nat.matches, named),
            target: nat.target.clone(),
            origin: origins.number(nat.origin),
        });
        Self {
            destination,
            source: source.collect(),
        }
    }

    /// Whether any rule is about the destinations of flows from `zone`.
    pub(crate) fn looks_at(&self, zone: ZoneId) -> bool {
        self.destination.iter().any(|rule| rule.zone == zone)
    }

    /// The rule for the destination of a new flow from `zone`; `holds` says whether its limits do.
    pub(crate) fn destination(
        &self,
        zone: ZoneId,
        facts: &Facts<'_>,
        mut holds: impl FnMut(&Limits) -> bool,
    ) -> Option<&Destination> {
        let mut rules = self.destination.iter();
        rules.find(|rule| rule.unlike(zone, facts).is_none() && holds(&rule.limits))
    }

    /// All rules for destinations, in the order they are tried.
    #[cfg(feature = "trace")]
    pub(crate) fn destinations(&self) -> &[Destination] {
        &self.destination
    }

    /// All rules for sources, in the order they are tried.
    #[cfg(feature = "trace")]
    pub(crate) fn sources(&self) -> &[Source] {
        &self.source
    }

    /// The rule for the source of a new flow that leaves by `egress`.
    pub(crate) fn source(&self, egress: InterfaceId, facts: &Facts<'_>) -> Option<&Source> {
        let mut rules = self.source.iter();
        rules.find(|rule| rule.unlike(egress, facts).is_none())
    }
}

/// Masquerade on an interface that has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoAddress;

impl Destination {
    /// The first thing that it asks and a new flow from `zone` is not; its limits apart.
    pub(crate) fn unlike(&self, zone: ZoneId, facts: &Facts<'_>) -> Option<Condition> {
        if self.zone != zone {
            return Some(Condition::Zone);
        }
        self.matcher.unlike(facts)
    }
}

impl Source {
    /// The first thing that it asks and a new flow that leaves by `egress` is not.
    pub(crate) fn unlike(&self, egress: InterfaceId, facts: &Facts<'_>) -> Option<Condition> {
        if self.egress != egress {
            return Some(Condition::Egress);
        }
        self.matcher.unlike(facts)
    }

    /// New source addresses and ports; `masquerade` is the egress interface's address. `None`: the
    /// source stays.
    pub(crate) fn wanted(
        &self,
        masquerade: Option<u32>,
    ) -> Result<Option<(AddressRange, Option<PortRange>)>, NoAddress> {
        Ok(match &self.target {
            SourceTarget::Exempt => None,
            SourceTarget::Address { addresses, ports } => Some((*addresses, *ports)),
            SourceTarget::Masquerade { ports } => {
                let address = core::net::Ipv4Addr::from_bits(masquerade.ok_or(NoAddress)?);
                Some((
                    AddressRange {
                        first: address,
                        last: address,
                    },
                    *ports,
                ))
            }
        })
    }
}

/// One of a range's addresses, always the same for the same peers.
pub(crate) fn spread(table: &flow::Table, range: AddressRange, tuple: Tuple) -> u32 {
    let (first, last) = (range.first.to_bits(), range.last.to_bits());
    if first == last {
        return first;
    }
    let count = u64::from(last.saturating_sub(first)) + 1;
    let hash = table.spread(tuple.source, tuple.destination);
    first + ((u128::from(hash) * u128::from(count)) >> 64) as u32
}

/// Rounds of the search for a free port, each from another random start, each half as long.
const FIRST_ROUND: u32 = 128;

/// The reply tuple of a flow that leaves as `leaving`, with a source port such that no other
/// flow has it. The port stays if it is within `ports` (or none are given) and free; else one of
/// `ports`, or of the port's class: below 512, 512 to 1023, 1024 and above.
pub(crate) fn unique_reply(
    table: &mut flow::Table,
    now: Tick,
    leaving: Tuple,
    ports: Option<PortRange>,
) -> Result<Tuple, Exhausted> {
    let port = leaving.source_port;
    let within = ports.is_none_or(|range| (range.first..=range.last).contains(&port));
    let movable = has_ports(leaving.protocol) || leaving.protocol == ICMP;
    if within || !movable {
        let reply = leaving.reversed();
        if table.find(now, reply).is_none() {
            return Ok(reply);
        }
    }
    if !movable {
        return Err(Exhausted);
    }
    let (first, last) = match (ports, leaving.protocol, port) {
        (Some(range), ..) => (range.first, range.last),
        (None, ICMP, _) => (0, u16::MAX),
        (None, _, ..512) => (1, 511),
        (None, _, 512..1024) => (600, 1023),
        (None, ..) => (1024, u16::MAX),
    };
    let count = u32::from(last - first) + 1;
    let mut attempts = count.min(FIRST_ROUND);
    loop {
        let start = table.random_below(u64::from(count)) as u32;
        for step in 0..attempts {
            let port = first + ((start + step) % count) as u16;
            let reply = Tuple {
                source_port: port,
                ..leaving
            }
            .reversed();
            if table.find(now, reply).is_none() {
                return Ok(reply);
            }
        }
        if attempts >= count || attempts < 16 {
            return Err(Exhausted);
        }
        attempts /= 2;
    }
}

/// Whether a packet can get the addresses and ports `new`: netfilter drops what it cannot rewrite.
#[inline(always)]
pub(crate) fn can_rewrite(head: &[u8], packet: &Packet, new: Tuple) -> bool {
    packet.tuple.protocol != GRE || can_rewrite_gre(head, packet, new)
}

fn can_rewrite_gre(head: &[u8], packet: &Packet, new: Tuple) -> bool {
    let old = packet.tuple;
    if old == new {
        return true;
    }
    let gre = &head[packet.transport..];
    let length = gre.len().min(packet.payload_len().into());
    gre_is_translatable(&gre[..length], old.destination != new.destination)
}

/// The same of the packet inside an ICMP error.
pub(crate) fn can_rewrite_inner(head: &[u8], inner: &Inner, new: Tuple) -> bool {
    let old = inner.tuple;
    old.protocol != GRE
        || old == new
        || gre_is_translatable(&head[inner.transport..], old.destination != new.destination)
}

/// Makes the headers of a packet that came as `packet.tuple` read `new`, checksums included.
#[inline(always)]
pub(crate) fn rewrite(head: &mut Head, packet: &Packet, new: Tuple, checksum: Checksum) {
    if packet.tuple != new {
        rewrite_all(head, packet, new, checksum);
    }
}

fn rewrite_all(head: &mut Head, packet: &Packet, new: Tuple, checksum: Checksum) {
    let old = packet.tuple;
    if packet.transport == headers::TRANSPORT {
        let head: &mut Headers = head.first_mut();
        let sum = u16::from_ne_bytes(headers::bytes(head, headers::at::SUM));
        match old.protocol {
            TCP => return headers::readdress::<TCP>(head, Ends::of(new), sum, checksum),
            UDP => return headers::readdress::<UDP>(head, Ends::of(new), sum, checksum),
            _ => {}
        }
    }
    let head = head.bytes_mut();
    let addresses = Difference::default()
        .address(old.source, new.source)
        .address(old.destination, new.destination);
    rewrite_addresses(head, crate::frame::ETHERNET, new, addresses);
    let transport = &mut head[packet.transport..];
    let ports = rewrite_ports(transport, old, new);
    if old.protocol == SCTP {
        let length = usize::from(packet.payload_len());
        return update_crc(transport, old, new, length);
    }
    let Some(field) = checksum_field(old.protocol) else {
        return;
    };
    let value = get16(transport, field);
    match (old.protocol, checksum) {
        (UDP, Checksum::Unknown | Checksum::Validated) if value == 0 => {}
        // The field holds the pseudo-header's sum: it does not cover the ports.
        (_, Checksum::Blank) => put16(transport, field, addresses.apply_to_sum(value)),
        (ICMP, _) => put16(transport, field, ports.apply(value)),
        (protocol, _) => {
            let new = addresses.and(ports).apply(value);
            put16(
                transport,
                field,
                if new == 0 && protocol == UDP {
                    0xffff
                } else {
                    new
                },
            );
        }
    }
}

/// SCTP's checksum covers the ports, and nothing outside the packet.
fn update_crc(transport: &mut [u8], old: Tuple, new: Tuple, length: usize) {
    let ports =
        |tuple: Tuple| u32::from(tuple.source_port) << 16 | u32::from(tuple.destination_port);
    let Some(field) = transport
        .get_mut(sctp::CHECKSUM..)
        .and_then(<[u8]>::first_chunk_mut)
    else {
        return;
    };
    let changed = crc32c::difference((ports(old) ^ ports(new)).to_be_bytes(), length);
    *field = (u32::from_le_bytes(*field) ^ changed).to_le_bytes();
}

/// Offset of the checksum in a transport header, if it covers what NAT changes.
const fn checksum_field(protocol: u8) -> Option<usize> {
    match protocol {
        TCP => Some(16),
        UDP | UDP_LITE | DCCP => Some(6),
        ICMP => Some(2),
        _ => None,
    }
}

/// Writes both addresses and adjusts the header's checksum; `at` is the offset of the IPv4 header.
fn rewrite_addresses(head: &mut [u8], at: usize, new: Tuple, difference: Difference) {
    put32(head, at + 12, new.source);
    put32(head, at + 16, new.destination);
    let checksum = get16(head, at + 10);
    put16(head, at + 10, difference.apply(checksum));
}

/// Writes ports, or an ICMP query's identifier, and says what changed.
fn rewrite_ports(transport: &mut [u8], old: Tuple, new: Tuple) -> Difference {
    let mut changed = Difference::default();
    if old.protocol == ICMP {
        if old.source_port != new.source_port {
            put16(transport, 4, new.source_port);
            changed = changed.word(old.source_port, new.source_port);
        }
    } else if has_ports(old.protocol) {
        put16(transport, 0, new.source_port);
        put16(transport, 2, new.destination_port);
        changed = changed
            .word(old.source_port, new.source_port)
            .word(old.destination_port, new.destination_port);
    }
    changed
}

/// Translates an ICMP error about a flow: the packet inside becomes what its sender had sent, the
/// error's own addresses follow, and its checksum covers all of it again.
///
/// `arriving` is how packets in the error's direction arrive, `leaving` how they leave.
pub(crate) fn rewrite_error(
    head: &mut [u8],
    packet: &Packet,
    inner: &Inner,
    arriving: Tuple,
    leaving: Tuple,
) -> Tuple {
    if arriving == leaving {
        return packet.tuple;
    }
    let changed = rewrite_inner(head, inner, leaving.reversed());
    let field = packet.transport + 2;
    let checksum = get16(head, field);
    put16(head, field, changed.apply(checksum));
    let new = error_tuple(packet.tuple, arriving, leaving);
    let addresses = Difference::default()
        .address(packet.tuple.source, new.source)
        .address(packet.tuple.destination, new.destination);
    rewrite_addresses(head, crate::frame::ETHERNET, new, addresses);
    new
}

/// The addresses an error leaves with: those of its flow where the flow's are translated, even if
/// a router on the way sent it.
pub(crate) fn error_tuple(error: Tuple, arriving: Tuple, leaving: Tuple) -> Tuple {
    // An ICMP query's identifier is in both directions' source port: it tells nothing.
    let moved = |old: (u32, u16), new: (u32, u16)| {
        old.0 != new.0 || (arriving.protocol != ICMP && old.1 != new.1)
    };
    let mut tuple = error;
    if moved(
        (arriving.source, arriving.source_port),
        (leaving.source, leaving.source_port),
    ) {
        tuple.source = leaving.source;
    }
    let old = (arriving.destination, arriving.destination_port);
    if moved(old, (leaving.destination, leaving.destination_port)) {
        tuple.destination = leaving.destination;
    }
    tuple
}

/// Rewrites the packet inside an error; what changed among all its bytes.
fn rewrite_inner(head: &mut [u8], inner: &Inner, new: Tuple) -> Difference {
    let old = inner.tuple;
    let addresses = Difference::default()
        .address(old.source, new.source)
        .address(old.destination, new.destination);
    let header_checksum = get16(head, inner.header + 10);
    rewrite_addresses(head, inner.header, new, addresses);
    let mut changed = addresses.word(header_checksum, get16(head, inner.header + 10));
    let transport = &mut head[inner.transport..];
    let ports = rewrite_ports(transport, old, new);
    changed = changed.and(ports);
    let Some(field) = checksum_field(old.protocol) else {
        return changed;
    };
    // TCP's checksum lies beyond the 8 bytes that are always there.
    if old.protocol == TCP && transport.len() < 20 {
        return changed;
    }
    let value = get16(transport, field);
    if old.protocol == UDP && value == 0 {
        return changed;
    }
    let covered = if old.protocol == ICMP {
        ports
    } else {
        addresses.and(ports)
    };
    let mut updated = covered.apply(value);
    if updated == 0 && old.protocol == UDP {
        updated = 0xffff;
    }
    put16(transport, field, updated);
    changed.word(value, updated)
}
