//! Token buckets: how often something may happen, in all and for each source.

use crate::policy::LogLimit;
use crate::time::Instant;
use alloc::vec;
use alloc::vec::Vec;

/// One bucket; its credit is kept as time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// Nanoseconds that one token takes to come.
    cost: u64,
    /// Most credit.
    limit: u64,
    credit: u64,
    last: Instant,
}

impl Bucket {
    /// `rate` tokens every `period_ns`, at most `burst` saved; full at first.
    pub(crate) fn new(rate: u32, period_ns: u64, burst: u32) -> Self {
        let cost = period_ns / u64::from(rate.max(1));
        let limit = cost.saturating_mul(u64::from(burst.max(1)));
        Self {
            cost,
            limit,
            credit: limit,
            last: Instant(0),
        }
    }

    fn refill(&mut self, now: Instant) {
        let gone = now.0.saturating_sub(self.last.0);
        self.credit = self.credit.saturating_add(gone).min(self.limit);
        self.last = now;
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.refill(now);
        let allowed = self.credit >= self.cost;
        if allowed {
            self.credit -= self.cost;
        }
        allowed
    }
}

/// LOGLIMIT: one bucket, or one for each source. Sources are many and buckets are not: those that
/// fall on the same bucket share it, so the total stays bounded whatever sources a flood invents.
#[derive(Clone, Debug)]
pub(crate) struct LogLimiter {
    buckets: Vec<(u32, Bucket)>,
    fresh: Bucket,
}

impl LogLimiter {
    const SOURCES: usize = 1024;

    pub(crate) fn new(limit: LogLimit) -> Self {
        let fresh = Bucket::new(
            limit.rate,
            u64::from(limit.period_ms) * 1_000_000,
            limit.burst,
        );
        let count = if limit.per_source { Self::SOURCES } else { 1 };
        Self {
            buckets: vec![(0, fresh); count],
            fresh,
        }
    }

    /// Whether `source`, of this hash, may have a line now.
    pub(crate) fn allow(&mut self, now: Instant, source: u32, hash: u64) -> bool {
        let number = (hash % self.buckets.len() as u64) as usize;
        let (owner, bucket) = &mut self.buckets[number];
        bucket.refill(now);
        if *owner != source && bucket.credit == bucket.limit {
            *owner = source;
            *bucket = Bucket {
                last: now,
                ..self.fresh
            };
        }
        bucket.take(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(1, 1_000_000_000, 10);
        let at = |seconds: u64| Instant(seconds * 1_000_000_000);
        assert_eq!((0..20).filter(|_| bucket.take(at(1))).count(), 10);
        assert_eq!((0..20).filter(|_| bucket.take(at(4))).count(), 3);
        assert_eq!((0..20).filter(|_| bucket.take(at(100))).count(), 10);
    }

    #[test]
    fn a_flood_of_sources_gets_no_more_lines_than_there_are_buckets() {
        let limit = LogLimit {
            rate: 1,
            period_ms: 1000,
            burst: 1,
            per_source: true,
        };
        let mut limiter = LogLimiter::new(limit);
        let lines = (0..100_000u32)
            .filter(|&n| limiter.allow(Instant(1), n, u64::from(n) * 7))
            .count();
        assert!(lines <= LogLimiter::SOURCES);
    }
}
