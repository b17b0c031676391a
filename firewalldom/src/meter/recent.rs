//! Sources seen lately, as netfilter's `recent` keeps them for the actions Limit and AutoBL.

use crate::policy::{MAX_RECENT_HITS, RecentOperation, Seen};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec;

/// A list of sources, each with when it was seen. A source has a place in the group that its hash
/// says; the one that was seen longest ago makes room.
pub(super) struct Recent {
    groups: Box<[[Source; Self::PLACES]]>,
}

#[derive(Clone, Copy)]
struct Source {
    address: u32,
    /// How many of `seen` are valid; 0: nobody's place.
    count: u8,
    /// Where the next goes.
    next: u8,
    /// In seconds of uptime.
    seen: [u32; MAX_RECENT_HITS as usize],
}

impl Source {
    const NOBODY: Self = Self {
        address: 0,
        count: 0,
        next: 0,
        seen: [0; MAX_RECENT_HITS as usize],
    };

    fn see(&mut self, now: u32) {
        self.seen[usize::from(self.next)] = now;
        self.next = (self.next + 1) % MAX_RECENT_HITS;
        self.count = (self.count + 1).min(MAX_RECENT_HITS);
    }

    /// When it was seen last.
    fn last(&self) -> u32 {
        self.seen[usize::from((self.next + MAX_RECENT_HITS - 1) % MAX_RECENT_HITS)]
    }

    fn was(&self, now: u32, wanted: Seen) -> bool {
        let valid = self.seen[..usize::from(self.count)].iter();
        let hits = valid.filter(|&&seen| wanted.seconds == 0 || now - seen <= wanted.seconds);
        hits.count() >= usize::from(wanted.hits)
    }
}

impl Recent {
    const PLACES: usize = 8;
    const GROUPS: usize = 64;

    pub(super) fn new() -> Self {
        Self {
            groups: vec![[Source::NOBODY; Self::PLACES]; Self::GROUPS].into(),
        }
    }

    /// Asks about a source whose secret hash is `hash`, or notes it.
    pub(super) fn ask(
        &mut self,
        now: Instant,
        address: u32,
        hash: u64,
        operation: RecentOperation,
    ) -> bool {
        let now = now.since(Instant(0)).as_secs() as u32;
        let group = &mut self.groups[(hash % Self::GROUPS as u64) as usize];
        let known = group
            .iter_mut()
            .find(|source| source.count > 0 && source.address == address);
        match (operation, known) {
            (RecentOperation::Set, Some(source)) => {
                source.see(now);
                true
            }
            (RecentOperation::Set, None) => {
                let oldest = |source: &&mut Source| (source.count > 0, source.last());
                if let Some(place) = group.iter_mut().min_by_key(oldest) {
                    *place = Source {
                        address,
                        ..Source::NOBODY
                    };
                    place.see(now);
                }
                true
            }
            (RecentOperation::Check(wanted), Some(source)) => source.was(now, wanted),
            (RecentOperation::Update(wanted), Some(source)) => {
                let was = source.was(now, wanted);
                if was {
                    source.see(now);
                }
                was
            }
            (RecentOperation::Remove, Some(source)) => {
                source.count = 0;
                true
            }
            (_, None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant(seconds * 1_000_000_000)
    }

    fn seen(hits: u8) -> RecentOperation {
        RecentOperation::Check(Seen { seconds: 60, hits })
    }

    #[test]
    fn a_source_is_known_for_as_long_as_is_asked_and_until_it_is_removed() {
        let mut list = Recent::new();
        assert!(!list.ask(at(100), 7, 1, seen(1)));
        for second in [100, 110, 120] {
            assert!(list.ask(at(second), 7, 1, RecentOperation::Set));
        }
        assert!(list.ask(at(160), 7, 1, seen(3)));
        assert!(!list.ask(at(161), 7, 1, seen(3)));
        assert!(list.ask(at(161), 7, 1, seen(2)));
        assert!(!list.ask(at(161), 8, 1, seen(1)));
        assert!(list.ask(at(161), 7, 1, RecentOperation::Remove));
        assert!(!list.ask(at(161), 7, 1, RecentOperation::Remove));
        assert!(!list.ask(at(161), 7, 1, seen(1)));
    }

    #[test]
    fn an_update_that_holds_counts_as_seen() {
        let mut list = Recent::new();
        let update = RecentOperation::Update(Seen {
            seconds: 60,
            hits: 2,
        });
        list.ask(at(100), 7, 1, RecentOperation::Set);
        assert!(!list.ask(at(101), 7, 1, update));
        list.ask(at(102), 7, 1, RecentOperation::Set);
        for second in [130, 160, 185] {
            assert!(list.ask(at(second), 7, 1, update), "{second}");
        }
        assert!(!list.ask(at(400), 7, 1, update));
    }

    #[test]
    fn who_was_seen_longest_ago_makes_room() {
        let mut list = Recent::new();
        for address in 1..=9 {
            list.ask(at(u64::from(address)), address, 3, RecentOperation::Set);
        }
        assert!(!list.ask(at(10), 1, 3, seen(1)));
        assert!(list.ask(at(10), 2, 3, seen(1)) && list.ask(at(10), 9, 3, seen(1)));
    }
}
