//! Token buckets: how often something may happen, in all and for each address.

use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec;

/// How fast tokens come and how many are saved. Credit is kept as time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokens {
    /// Nanoseconds that one token takes to come.
    cost: u64,
    /// Most credit.
    limit: u64,
}

impl Tokens {
    /// `rate` tokens every `period_ns`, at most `burst` saved.
    pub(crate) fn new(rate: u32, period_ns: u64, burst: u32) -> Self {
        let cost = period_ns / u64::from(rate.max(1));
        Self {
            cost,
            limit: cost.saturating_mul(u64::from(burst.max(1))),
        }
    }
}

/// What a bucket holds; full at first.
#[derive(Clone, Copy, Debug)]
struct Credit {
    credit: u64,
    last: Instant,
}

impl Credit {
    /// Full whenever it is looked at first.
    const FULL: Self = Self {
        credit: u64::MAX,
        last: Instant(0),
    };

    fn refill(&mut self, tokens: Tokens, now: Instant) {
        let gone = now.0.saturating_sub(self.last.0);
        self.credit = self.credit.saturating_add(gone).min(tokens.limit);
        self.last = now;
    }

    fn take(&mut self, tokens: Tokens, now: Instant) -> bool {
        self.refill(tokens, now);
        let allowed = self.credit >= tokens.cost;
        if allowed {
            self.credit -= tokens.cost;
        }
        allowed
    }
}

/// One bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens: Tokens,
    credit: Credit,
}

impl Bucket {
    pub(crate) fn new(tokens: Tokens) -> Self {
        Self {
            tokens,
            credit: Credit::FULL,
        }
    }

    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        self.credit.take(self.tokens, now)
    }
}

/// A bucket for each address. Addresses are many and buckets are not: an address has its own as long
/// as its group has a place for it, and a place is free again once its bucket is full, which is as
/// good as a new one. Those that find no place share their group's last bucket. So no address ever
/// gets more than its tokens by pushing others out, the total stays bounded whatever sources a flood
/// invents, and what others do costs an address that has its place nothing.
#[derive(Clone, Debug)]
pub(crate) struct Buckets {
    tokens: Tokens,
    groups: Box<[[(u32, Credit); Self::PLACES]]>,
}

impl Buckets {
    /// Places of a group, the shared one included.
    const PLACES: usize = 8;
    /// Bytes of a bucket.
    pub(crate) const BYTES: usize = size_of::<(u32, Credit)>();

    /// About `count` buckets, all memory taken now.
    pub(crate) fn new(tokens: Tokens, count: usize) -> Self {
        let groups = count.div_ceil(Self::PLACES).max(1);
        Self {
            tokens,
            groups: vec![[(0, Credit::FULL); Self::PLACES]; groups].into(),
        }
    }

    /// Takes a token of `address`, whose secret hash is `hash`, if there is one.
    pub(crate) fn take(&mut self, now: Instant, address: u32, hash: u64) -> bool {
        let number = (hash % self.groups.len() as u64) as usize;
        let tokens = self.tokens;
        let [places @ .., shared] = &mut self.groups[number];
        let mut free = None;
        for place in places {
            place.1.refill(tokens, now);
            // A full bucket belongs to nobody.
            if place.1.credit == tokens.limit {
                free = Some(place);
            } else if place.0 == address {
                return place.1.take(tokens, now);
            }
        }
        match free {
            Some(place) => {
                place.0 = address;
                place.1.take(tokens, now)
            }
            None => shared.1.take(tokens, now),
        }
    }
}

/// One bucket for all, or one for each address.
#[derive(Clone, Debug)]
pub(crate) enum Limiter {
    All(Bucket),
    Each(Buckets),
}

impl Limiter {
    /// Takes a token of `address`, whose secret hash is `hash`, if there is one.
    pub(crate) fn take(&mut self, now: Instant, address: u32, hash: u64) -> bool {
        match self {
            Self::All(bucket) => bucket.take(now),
            Self::Each(buckets) => buckets.take(now, address, hash),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(Tokens::new(1, 1_000_000_000, 10));
        assert_eq!((0..20).filter(|_| bucket.take(at(1))).count(), 10);
        assert_eq!((0..20).filter(|_| bucket.take(at(4))).count(), 3);
        assert_eq!((0..20).filter(|_| bucket.take(at(100))).count(), 10);
    }

    #[test]
    fn each_address_has_a_bucket_of_its_own() {
        let mut buckets = Buckets::new(Tokens::new(1, 1_000_000_000, 3), 64);
        for address in 1..6u32 {
            let taken = (0..9).filter(|_| buckets.take(at(5), address, 1));
            assert_eq!(taken.count(), 3, "address {address}");
        }
    }

    #[test]
    fn a_flood_of_sources_gets_no_more_than_there_are_buckets() {
        let mut buckets = Buckets::new(Tokens::new(1, 1_000_000_000, 1), 1024);
        let allowed = (0..100_000u32)
            .filter(|&n| buckets.take(Instant(1), n, u64::from(n) * 7))
            .count();
        assert!(allowed <= 1024, "{allowed}");
    }

    #[test]
    fn a_flood_neither_renews_nor_takes_what_an_address_has() {
        let mut buckets = Buckets::new(Tokens::new(1, 60_000_000_000, 4), 8);
        let mine = 7;
        assert!(buckets.take(at(1), mine, 0));
        for stranger in 100..1100 {
            buckets.take(at(1), stranger, 0);
        }
        // Three of four are left, no more and no less.
        assert_eq!((0..9).filter(|_| buckets.take(at(1), mine, 0)).count(), 3);
    }
}
