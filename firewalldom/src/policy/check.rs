//! What the engine relies on in a policy, checked once when it is loaded.

use super::{
    Action, AddressRange, Addresses, Chain, ClampMss, ConnectionKey, DestinationTarget,
    InterfaceId, Limits, MAX_RECENT_HITS, Match, Origin, Policy, PortRange, Ports, Prefix,
    Protocol, RateKey, RecentOperation, Rule, SourceTarget, TimeWindow, ZoneId,
};
use alloc::vec::Vec;
use core::borrow::Borrow;

/// Most interfaces of a domain: one event channel each, SCHEDOP_poll takes 128, and the console and
/// xenstore have theirs.
pub const MAX_INTERFACES: usize = 126;

/// Most lists within lists that rules may call: what judging a packet takes of the stack is bounded.
pub const MAX_CALL_DEPTH: usize = 8;

/// Smallest maximum segment size: what IPv4's smallest MTU of 68 leaves for a segment.
pub const MIN_MSS: u16 = 28;

/// A policy that decodes but cannot be meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Nonsense {
    /// No interface, or more than [`MAX_INTERFACES`].
    #[error("number of interfaces is not 1 to 126")]
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
    /// Addresses that ARP is answered for are not in ascending order.
    #[error("addresses that ARP is answered for are out of order")]
    Proxied,
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
    /// A maximum segment size below what IPv4's minimum MTU leaves.
    #[error("maximum segment size below 28")]
    Mss,
    /// A rule calls its own list or a later one, or lists are called too deep.
    #[error("a rule calls a list in a circle, or more than 8 deep")]
    Call,
    /// A rate, a limit of connections or a list of sources of nothing.
    #[error("a limit of nothing")]
    Limit,
    /// A time of day, day or month that does not exist, or offsets from UTC out of order.
    #[error("a time that does not exist")]
    Time,
}

fn ensure(holds: bool, otherwise: Nonsense) -> Result<(), Nonsense> {
    if holds { Ok(()) } else { Err(otherwise) }
}

/// Checks everything the engine indexes or assumes.
///
/// # Errors
/// The first thing found wrong.
pub fn check(policy: &Policy) -> Result<(), Nonsense> {
    check_all_but_rules(policy)?;
    let mut checker = RuleChecker::new(policy);
    for list in &policy.rule_lists {
        checker.check_list(&list.rules)?;
    }
    let mut chains = policy.chains.iter();
    chains
        .try_for_each(|chain| checker.check_chain(chain.rules.iter().chain(&chain.default_action)))
}

/// The same, but for the rules of chains and lists.
pub(super) fn check_all_but_rules(policy: &Policy) -> Result<(), Nonsense> {
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
    let fixed = [
        &settings.tcp_flags,
        &settings.smurfs,
        &settings.hairpin,
        &settings.rpfilter,
    ];
    let optional = [&settings.related, &settings.invalid, &settings.untracked];
    for exception in fixed.into_iter().chain(optional.into_iter().flatten()) {
        ensure(
            exception.log.as_ref().is_none_or(|log| log.level <= 7),
            Nonsense::LogLevel,
        )?;
    }
    if let Some(ClampMss::At(mss)) = settings.clamp_mss {
        check_mss(Some(mss))?;
    }
    let offsets = &settings.utc_offsets;
    ensure(
        offsets.is_sorted_by(|earlier, later| earlier.from_s < later.from_s)
            && offsets
                .iter()
                .all(|offset| offset.ahead_s.abs() <= DAY_S as i32),
        Nonsense::Time,
    )?;
    for &chain in &policy.pairs {
        ensure(
            usize::from(chain) < policy.chains.len(),
            Nonsense::Index("chain of a zone pair"),
        )?;
    }
    for interface in &policy.interfaces {
        ensure(!interface.name.is_empty(), Nonsense::Name)?;
        ensure(interface.mtu.is_none_or(|mtu| mtu >= 68), Nonsense::Mtu)?;
        check_mss(interface.mss)?;
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
    ensure(policy.proxied.is_sorted(), Nonsense::Proxied)?;
    for proxied in &policy.proxied {
        policy.check_interface(proxied.interface)?;
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
        check_mss(host.mss)?;
    }
    policy.check_tables()?;
    policy.check_lists()?;
    for chain in &policy.chains {
        policy.check_chain(chain)?;
    }
    for raw in &policy.raw {
        policy.check_zone_or_none(raw.source_zone)?;
        policy.check_match(&raw.matches)?;
        policy.check_origin(raw.origin)?;
    }
    for nat in &policy.destination_nat {
        policy.check_zone_or_none(nat.source_zone)?;
        policy.check_match(&nat.matches)?;
        policy.check_limits(&nat.limits)?;
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

    /// One past the last stands for hosts of no zone.
    fn check_zone_or_none(&self, zone: ZoneId) -> Result<(), Nonsense> {
        ensure(
            usize::from(zone.0) <= self.zones.len(),
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
        chain.blacklist.map_or(Ok(()), |list| self.check_list(list))
    }

    fn check_list(&self, list: u16) -> Result<(), Nonsense> {
        ensure(
            usize::from(list) < self.rule_lists.len(),
            Nonsense::Index("a list of rules"),
        )
    }

    fn check_lists(&self) -> Result<(), Nonsense> {
        ensure(
            self.rule_lists.len() <= usize::from(u16::MAX),
            Nonsense::Chains,
        )?;
        let mut chains = self
            .rule_lists
            .iter()
            .filter_map(|list| list.log_chain.as_ref());
        ensure(chains.all(|name| !name.is_empty()), Nonsense::Name)
    }

    /// What limits and sets of addresses refer to.
    fn check_tables(&self) -> Result<(), Nonsense> {
        for rate in &self.rates {
            let (RateKey::Source(length) | RateKey::Destination(length)) = rate.key else {
                continue;
            };
            ensure(length <= 32, Nonsense::Prefix)?;
        }
        let rates = self.rates.iter();
        ensure(
            { rates }.all(|rate| rate.packets > 0 && rate.period_ms > 0 && rate.burst > 0),
            Nonsense::Limit,
        )?;
        for limit in &self.connection_limits {
            let (ConnectionKey::Source(length) | ConnectionKey::Destination(length)) = limit.key;
            ensure(length <= 32, Nonsense::Prefix)?;
        }
        for set in &self.address_sets {
            ensure(!set.name.is_empty(), Nonsense::Name)?;
            check_addresses(&set.ranges)?;
        }
        self.times.iter().try_for_each(check_time)
    }

    fn check_limits(&self, limits: &Limits) -> Result<(), Nonsense> {
        let within =
            |index: u16, len: usize, what| ensure(usize::from(index) < len, Nonsense::Index(what));
        if let Some(time) = limits.time {
            within(time, self.times.len(), "a time")?;
        }
        for rate in &limits.rates {
            within(rate.rate, self.rates.len(), "a rate")?;
        }
        if let Some(connections) = limits.connections {
            let count = self.connection_limits.len();
            within(connections.limit, count, "a limit of connections")?;
        }
        if let Some(recent) = limits.recent {
            let count = usize::from(self.recent_lists);
            within(recent.list, count, "a list of sources")?;
            if let RecentOperation::Check(seen) | RecentOperation::Update(seen) = recent.operation {
                ensure((1..=MAX_RECENT_HITS).contains(&seen.hits), Nonsense::Limit)?;
            }
        }
        Ok(())
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
        self.check_limits(&rule.limits)?;
        self.check_match(&rule.matches)
    }

    fn check_match(&self, matches: &Match) -> Result<(), Nonsense> {
        for interface in [matches.ingress, matches.egress].into_iter().flatten() {
            self.check_interface(interface)?;
        }
        for Addresses {
            ranges,
            except,
            sets,
        } in [
            &matches.source,
            &matches.destination,
            &matches.original_destination,
        ] {
            check_addresses(ranges)?;
            check_addresses(except)?;
            for set in sets {
                ensure(
                    usize::from(set.set) < self.address_sets.len(),
                    Nonsense::Index("a set of addresses"),
                )?;
            }
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

/// Checks rules, wherever they are kept: those of lists first, in the order of the lists.
pub(super) struct RuleChecker<'p> {
    policy: &'p Policy,
    /// Of the lists checked so far: how deep lists within lists go.
    depths: Vec<u8>,
}

impl<'p> RuleChecker<'p> {
    pub(super) const fn new(policy: &'p Policy) -> Self {
        Self {
            policy,
            depths: Vec::new(),
        }
    }

    /// The next list: it calls only lists before it, and not too deep.
    pub(super) fn check_list(
        &mut self,
        rules: impl IntoIterator<Item: Borrow<Rule>>,
    ) -> Result<(), Nonsense> {
        let mut depth = 1;
        for rule in rules {
            let rule = rule.borrow();
            if let Action::Call(called) = rule.action {
                let below = self.depths.get(usize::from(called)).ok_or(Nonsense::Call)?;
                depth = depth.max(below + 1);
            }
            self.policy.check_rule(rule)?;
        }
        ensure(usize::from(depth) <= MAX_CALL_DEPTH, Nonsense::Call)?;
        self.depths.push(depth);
        Ok(())
    }

    /// The rules of a chain.
    pub(super) fn check_chain(
        &self,
        rules: impl IntoIterator<Item: Borrow<Rule>>,
    ) -> Result<(), Nonsense> {
        for rule in rules {
            let rule = rule.borrow();
            if let Action::Call(list) = rule.action {
                self.policy.check_list(list)?;
            }
            self.policy.check_rule(rule)?;
        }
        Ok(())
    }
}

/// Seconds of a day.
const DAY_S: u32 = 86_400;

fn check_time(time: &TimeWindow) -> Result<(), Nonsense> {
    ensure(
        time.day_start_s < DAY_S
            && time.day_stop_s < DAY_S
            && time.week_days & 0x80 == 0
            && time.month_days & 1 == 0,
        Nonsense::Time,
    )
}

fn check_mss(mss: Option<u16>) -> Result<(), Nonsense> {
    ensure(mss.is_none_or(|mss| mss >= MIN_MSS), Nonsense::Mss)
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
