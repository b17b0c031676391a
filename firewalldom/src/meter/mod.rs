//! What rules ask besides the packet: rates, connections at once, the time, sources seen lately. All
//! of it is bounded, and keyed by a secret where strangers could aim at it.

mod clock;
mod connection;
mod recent;

use crate::flow;
use crate::limit::{Bucket, Buckets, Limiter, Tokens};
use crate::packet::Tuple;
use crate::policy::{ConnectionKey, Limits, Policy, Rate, RateKey, Side};
use crate::ranges::prefix_bounds;
use crate::time::{Instant, Tick};
use alloc::boxed::Box;
pub(crate) use clock::WallClock;
use connection::Connections;
use recent::Recent;

/// The state of a policy's limits.
pub(crate) struct Meters {
    rates: Box<[(RateKey, Limiter)]>,
    connections: Box<[Connections]>,
    recent: Box<[Recent]>,
    pub(crate) clock: WallClock,
}

impl Meters {
    /// Bytes of all buckets of all rates.
    const BUCKETS: usize = 512 * 1024;
    /// Most and fewest buckets of one rate.
    const MOST: usize = 4096;
    const FEWEST: usize = 64;

    /// The limits of `policy`, for at most `flows` flows.
    pub(crate) fn new(policy: &Policy, flows: usize, now: Instant) -> Self {
        let keyed = policy
            .rates
            .iter()
            .filter(|rate| rate.key != RateKey::All)
            .count();
        let each = Self::BUCKETS / (Buckets::BYTES * keyed.max(1));
        let each = each.clamp(Self::FEWEST, Self::MOST);
        let rates = policy.rates.iter().map(|rate| metered(rate, each));
        let limits = policy.connection_limits.iter();
        Self {
            rates: rates.collect(),
            connections: limits
                .map(|limit| Connections::new(*limit, flows))
                .collect(),
            recent: (0..policy.recent_lists).map(|_| Recent::new()).collect(),
            clock: WallClock::new(policy, now),
        }
    }

    /// Whether a packet that came as `arrived` and goes on as `tuple` is on the right side of every
    /// limit. Tokens are taken from those that are asked.
    pub(crate) fn hold(
        &mut self,
        limits: &Limits,
        now: Instant,
        arrived: Tuple,
        tuple: Tuple,
        flows: &mut flow::Table,
    ) -> bool {
        if let Some(time) = limits.time
            && !self.clock.is_within(time, now)
        {
            return false;
        }
        for wanted in &limits.rates {
            let (key, limiter) = &mut self.rates[usize::from(wanted.rate)];
            let address = match *key {
                RateKey::Source(length) => prefix_bounds(tuple.source, length).0,
                RateKey::Destination(length) => prefix_bounds(tuple.destination, length).0,
                RateKey::All => 0,
            };
            let within = limiter.take(now, address, flows.spread(address, 0));
            if within != (wanted.side == Side::Within) {
                return false;
            }
        }
        if let Some(wanted) = limits.connections {
            let connections = &mut self.connections[usize::from(wanted.limit)];
            let address = match connections.limit.key {
                ConnectionKey::Source(length) => prefix_bounds(tuple.source, length).0,
                ConnectionKey::Destination(length) => prefix_bounds(tuple.destination, length).0,
            };
            let hash = flows.spread(address, 0);
            let tick = Tick::of(now);
            let is_open = |tuple| {
                let flow = flows.find(tick, tuple);
                flow.is_some_and(|handle| !flows.is_closed(handle))
            };
            let within = connections.count(now, address, hash, arrived, is_open);
            if within != (wanted.side == Side::Within) {
                return false;
            }
        }
        limits.recent.is_none_or(|wanted| {
            let hash = flows.spread(tuple.source, 0);
            let list = &mut self.recent[usize::from(wanted.list)];
            list.ask(now, tuple.source, hash, wanted.operation)
        })
    }
}

fn metered(rate: &Rate, buckets: usize) -> (RateKey, Limiter) {
    let period_ns = u64::from(rate.period_ms) * 1_000_000;
    let tokens = Tokens::new(rate.packets, period_ns, rate.burst);
    let limiter = match rate.key {
        RateKey::All => Limiter::All(Bucket::new(tokens)),
        _ => Limiter::Each(Buckets::new(tokens, buckets)),
    };
    (rate.key, limiter)
}
