//! The column CONNLIMIT: how many connections an address or prefix has at once.

use crate::packet::Tuple;
use crate::policy::ConnectionLimit;
use crate::time::Instant;
use alloc::vec;
use alloc::vec::Vec;

/// The connections that a limit has seen, by whom they are counted for. A connection is forgotten
/// when its flow is no longer there, which is asked when its address is counted next.
pub(super) struct Connections {
    pub(super) limit: ConnectionLimit,
    /// Heads of lists through `seen`, plus one, by hash of the address; 0: none.
    heads: Vec<u32>,
    seen: Vec<Seen>,
    free: u32,
    most: usize,
    swept: Instant,
}

#[derive(Clone, Copy)]
struct Seen {
    tuple: Tuple,
    address: u32,
    /// The next of the list, plus one.
    next: u32,
}

impl Connections {
    const MOST: usize = 16_384;
    /// How often all are looked through when there is no place, in nanoseconds.
    const SWEEP_NS: u64 = 1_000_000_000;

    /// For at most `flows` flows.
    pub(super) fn new(limit: ConnectionLimit, flows: usize) -> Self {
        let most = flows.clamp(1, Self::MOST);
        Self {
            limit,
            heads: vec![0; most / 4 + 1],
            seen: Vec::new(),
            free: 0,
            most,
            swept: Instant(0),
        }
    }

    /// Notes a connection of `address` and says whether it is within the limit. Where there is no
    /// place for another, it is not.
    pub(super) fn count(
        &mut self,
        now: Instant,
        address: u32,
        hash: u64,
        tuple: Tuple,
        mut is_open: impl FnMut(Tuple) -> bool,
    ) -> bool {
        let list = (hash % self.heads.len() as u64) as usize;
        let mut open = self.count_list(list, address, tuple, &mut is_open);
        if !self.has_place() && now.0.saturating_sub(self.swept.0) >= Self::SWEEP_NS {
            self.swept = now;
            for list in 0..self.heads.len() {
                self.count_list(list, 0, tuple, &mut is_open);
            }
        }
        if !self.has_place() {
            return false;
        }
        self.add(list, address, tuple);
        open += 1;
        open <= self.limit.count
    }

    /// How many connections of `address` are open, `tuple` apart; takes those that are not off the
    /// list, and `tuple`.
    fn count_list(
        &mut self,
        list: usize,
        address: u32,
        tuple: Tuple,
        is_open: &mut impl FnMut(Tuple) -> bool,
    ) -> u32 {
        let mut open = 0;
        let mut before: Option<usize> = None;
        let mut at = self.heads[list];
        while let Some(number) = (at as usize).checked_sub(1) {
            let seen = self.seen[number];
            at = seen.next;
            if seen.tuple != tuple && is_open(seen.tuple) {
                open += u32::from(seen.address == address);
                before = Some(number);
                continue;
            }
            match before {
                Some(before) => self.seen[before].next = seen.next,
                None => self.heads[list] = seen.next,
            }
            self.seen[number].next = self.free;
            self.free = number as u32 + 1;
        }
        open
    }

    fn has_place(&self) -> bool {
        self.free != 0 || self.seen.len() < self.most
    }

    fn add(&mut self, list: usize, address: u32, tuple: Tuple) {
        let entry = Seen {
            tuple,
            address,
            next: self.heads[list],
        };
        let number = match (self.free as usize).checked_sub(1) {
            Some(number) => {
                self.free = self.seen[number].next;
                self.seen[number] = entry;
                number
            }
            None => {
                self.seen.push(entry);
                self.seen.len() - 1
            }
        };
        self.heads[list] = number as u32 + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::ConnectionKey;

    fn connections(count: u32, flows: usize) -> Connections {
        let limit = ConnectionLimit {
            count,
            key: ConnectionKey::Source(32),
        };
        Connections::new(limit, flows)
    }

    fn tuple(source: u32, port: u16) -> Tuple {
        Tuple {
            source,
            source_port: port,
            ..Tuple::default()
        }
    }

    #[test]
    fn each_address_has_so_many_and_no_more_until_one_closes() {
        let mut limit = connections(2, 100);
        let mut try_port = |source, port, closed: u16| {
            let open = |tuple: Tuple| tuple.source_port != closed;
            limit.count(Instant(1), source, 1, tuple(source, port), open)
        };
        assert!(try_port(7, 1, 0));
        assert!(try_port(7, 2, 0));
        assert!(!try_port(7, 3, 0));
        assert!(try_port(8, 1, 0), "another address on the same list");
        // Asked again about a connection that it knows, it does not count it twice.
        assert!(try_port(8, 1, 0));
        assert!(try_port(8, 2, 0));
        // The refused one is no connection once its flow is not there.
        assert!(try_port(7, 1, 3));
        assert!(try_port(7, 4, 1));
    }

    #[test]
    fn memory_is_bounded_and_what_is_closed_makes_room() {
        let mut limit = connections(1, 64);
        let at = Instant(10 * Connections::SWEEP_NS);
        for source in 1..1000 {
            limit.count(at, source, u64::from(source), tuple(source, 1), |_| true);
        }
        assert_eq!(limit.seen.len(), 64);
        assert!(!limit.count(at, 5000, 9, tuple(5000, 1), |_| true));
        let later = Instant(at.0 + Connections::SWEEP_NS);
        assert!(limit.count(later, 5000, 9, tuple(5000, 1), |_| false));
        assert_eq!(limit.seen.len(), 64);
    }
}
