//! What the engine relies on in a policy, checked once when it is loaded.

use super::{
    AddressRange, Addresses, Chain, DestinationTarget, InterfaceId, Match, Origin, Policy,
    PortRange, Ports, Prefix, Protocol, Rule, SourceTarget, ZoneId,
};

/// Most interfaces of a domain: one event channel each, SCHEDOP_poll takes 128, and the console and
/// xenstore have theirs.
pub const MAX_INTERFACES: usize = 126;

/// A policy that decodes but cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Nonsense {
    /// No interface, or more than [`MAX_INTERFACES`].
    #[error("number of interfaces is not 1 to 128")]
    Interfaces,
    /// No zone, or more than a matrix of u16 can index.
    #[error("number of zones is not 1 to 1000")]
    Zones,
    /// A name is empty.
    #[error("a name is empty")]
    Name,
    /// The matrix of zone pairs has not one entry for each pair.
    #[error("matrix of zone pairs has the wrong size")]
    Pairs,
    /// More chains, or more origins, than can be indexed.
    #[error("too many chains")]
    Chains,
    /// An index beyond its table.
    #[error("{0} is out of range")]
    Index(&'static str),
    /// A prefix longer than 32 bits, or with bits beyond its length.
    #[error("a prefix has bits beyond its length")]
    Prefix,
    /// An address that no interface can have.
    #[error("an interface's address is not a unicast address")]
    Address,
    /// A range whose last is below its first.
    #[error("a range ends before it begins")]
    Range,
    /// No bit, or an unknown one, in a set of states.
    #[error("a rule has no state, or an unknown one")]
    States,
    /// LOGLIMIT without a rate or burst.
    #[error("log limit of nothing")]
    LogLimit,
    /// A log level beyond debug.
    #[error("log level beyond 7")]
    LogLevel,
    /// An MTU below IPv4's minimum of 68.
    #[error("MTU below 68")]
    Mtu,
}

fn ensure(holds: bool, otherwise: Nonsense) -> Result<(), Nonsense> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// Checks everything the engine indexes or assumes.
///
/// # Errors
/// The first thing found wrong.
pub fn check(policy: &Policy) -> Result<(), Nonsense> {
    ensure(
        (1..=MAX_INTERFACES).contains(&policy.interfaces.len()),
        Nonsense::Interfaces,
    )?;
    ensure((1..=1000).contains(&policy.zones.len()), Nonsense::Zones)?;
    ensure(
        policy.chains.len() <= usize::from(u16::MAX),
        Nonsense::Chains,
    )?;
    ensure(
        policy.files.iter().all(|file| !file.is_empty()),
        Nonsense::Name,
    )?;
    let side = policy.zones.len() + 1;
    ensure(policy.pairs.len() == side * side, Nonsense::Pairs)?;
    let settings = &policy.settings;
    if let Some(limit) = settings.log_limit {
        ensure(
            limit.rate > 0 && limit.period_ms > 0 && limit.burst > 0,
            Nonsense::LogLimit,
        )?;
    }
    let fixed = [&settings.tcp_flags, &settings.smurfs, &settings.hairpin];
    let optional = [&settings.related, &settings.invalid, &settings.untracked];
    for exception in fixed.into_iter().chain(optional.into_iter().flatten()) {
        ensure(
            exception.log.as_ref().is_none_or(|log| log.level <= 7),
            Nonsense::LogLevel,
        )?;
    }
    for &chain in &policy.pairs {
        ensure(
            usize::from(chain) < policy.chains.len(),
            Nonsense::Index("chain of a zone pair"),
        )?;
    }
    for interface in &policy.interfaces {
        ensure(!interface.name.is_empty(), Nonsense::Name)?;
        ensure(interface.mtu.is_none_or(|mtu| mtu >= 68), Nonsense::Mtu)?;
        policy.check_origin(interface.origin)?;
        for address in &interface.addresses {
            ensure(address.length <= 32, Nonsense::Prefix)?;
            let ip = address.address;
            let unicast = !(ip.is_unspecified() || ip.is_loopback() || ip.octets()[0] >= 224);
            ensure(unicast, Nonsense::Address)?;
        }
    }
    for route in &policy.routes {
        check_prefix(route.destination)?;
        policy.check_interface(route.interface)?;
    }
    for zone in &policy.zones {
        ensure(!zone.name.is_empty(), Nonsense::Name)?;
        policy.check_origin(zone.origin)?;
        for &parent in &zone.parents {
            policy.check_zone(parent)?;
        }
    }
    for host in &policy.hosts {
        policy.check_zone(host.zone)?;
        policy.check_interface(host.interface)?;
        check_prefix(host.prefix)?;
    }
    for chain in &policy.chains {
        policy.check_chain(chain)?;
    }
    for nat in &policy.destination_nat {
        policy.check_zone(nat.source_zone)?;
        policy.check_match(&nat.matches)?;
        policy.check_origin(nat.origin)?;
        ensure(
            nat.log.as_ref().is_none_or(|log| log.level <= 7),
            Nonsense::LogLevel,
        )?;
        if let DestinationTarget::Server { addresses, ports } = &nat.target {
            check_addresses(core::slice::from_ref(addresses))?;
            check_port(*ports)?;
        }
    }
    for nat in &policy.source_nat {
        policy.check_interface(nat.egress)?;
        policy.check_match(&nat.matches)?;
        policy.check_origin(nat.origin)?;
        match &nat.target {
            SourceTarget::Masquerade { ports } => check_port(*ports)?,
            SourceTarget::Address { addresses, ports } => {
                check_addresses(core::slice::from_ref(addresses))?;
                check_port(*ports)?;
            }
            SourceTarget::Exempt => {}
        }
    }
    Ok(())
}

impl Policy {
    fn check_interface(&self, interface: InterfaceId) -> Result<(), Nonsense> {
        ensure(
            usize::from(interface.0) < self.interfaces.len(),
            Nonsense::Index("an interface"),
        )
    }

    fn check_zone(&self, zone: ZoneId) -> Result<(), Nonsense> {
        ensure(
            usize::from(zone.0) < self.zones.len(),
            Nonsense::Index("a zone"),
        )
    }

    fn check_origin(&self, origin: Origin) -> Result<(), Nonsense> {
        let known = origin.line == 0 || usize::from(origin.file) < self.files.len();
        ensure(known, Nonsense::Index("the file of an origin"))
    }

    fn check_chain(&self, chain: &Chain) -> Result<(), Nonsense> {
        ensure(!chain.name.is_empty(), Nonsense::Name)?;
        ensure(
            chain.policy_log.as_ref().is_none_or(|log| log.level <= 7),
            Nonsense::LogLevel,
        )?;
        self.check_origin(chain.origin)?;
        chain
            .rules
            .iter()
            .chain(&chain.default_action)
            .try_for_each(|rule| self.check_rule(rule))
    }

    fn check_rule(&self, rule: &Rule) -> Result<(), Nonsense> {
        ensure(
            rule.states.0 != 0 && rule.states.0 <= super::States::ALL.0,
            Nonsense::States,
        )?;
        ensure(
            rule.log.as_ref().is_none_or(|log| log.level <= 7),
            Nonsense::LogLevel,
        )?;
        self.check_origin(rule.origin)?;
        self.check_match(&rule.matches)
    }

    fn check_match(&self, matches: &Match) -> Result<(), Nonsense> {
        for interface in [matches.ingress, matches.egress].into_iter().flatten() {
            self.check_interface(interface)?;
        }
        for Addresses { ranges, except } in [
            &matches.source,
            &matches.destination,
            &matches.original_destination,
        ] {
            check_addresses(ranges)?;
            check_addresses(except)?;
        }
        for Ports { ranges, .. } in [
            &matches.original_port,
            &matches.source_port,
            &matches.destination_port,
        ] {
            ranges
                .iter()
                .try_for_each(|&range| check_port(Some(range)))?;
        }
        if let Protocol::OneOf(numbers) = &matches.protocol {
            ensure(!numbers.is_empty(), Nonsense::Range)?;
        }
        Ok(())
    }
}

fn check_prefix(prefix: Prefix) -> Result<(), Nonsense> {
    let host_bits = u32::MAX.checked_shr(u32::from(prefix.length)).unwrap_or(0);
    ensure(
        prefix.length <= 32 && prefix.address.to_bits() & host_bits == 0,
        Nonsense::Prefix,
    )
}

fn check_addresses(ranges: &[AddressRange]) -> Result<(), Nonsense> {
    ensure(
        ranges.iter().all(|range| range.first <= range.last),
        Nonsense::Range,
    )
}

fn check_port(range: Option<PortRange>) -> Result<(), Nonsense> {
    ensure(
        range.is_none_or(|range| range.first <= range.last),
        Nonsense::Range,
    )
}
