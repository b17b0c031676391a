//! Who answers to which addresses, and that Xen knows it.

use crate::hypervisor::{Errno, Hypervisor, Range};
use heapless::Vec;

/// Ranges that the device model has at once, at most: Xen takes 256 of each kind.
const CLAIMS_MAX: usize = 64;

/// Addresses, and who answers to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim<T> {
    /// Which.
    pub range: Range,
    /// Who.
    pub target: T,
}

/// The claims that Xen agreed to. No two of them overlap: where a driver puts a BAR over another
/// device, whoever was there first stays, and the BAR answers when the place is free.
#[derive(Clone, Debug)]
pub struct Claims<T> {
    held: Vec<Claim<T>, CLAIMS_MAX>,
}

impl<T> Default for Claims<T> {
    fn default() -> Self {
        Self { held: Vec::new() }
    }
}

impl<T: Copy + PartialEq> Claims<T> {
    /// Holds what is wanted now, and nothing else. What comes first goes first.
    ///
    /// # Errors
    /// Xen's, of the last claim that it refused; all others are held.
    pub fn hold(
        &mut self,
        wanted: &[Claim<T>],
        hypervisor: &mut impl Hypervisor,
    ) -> Result<(), Errno> {
        let mut result = Ok(());
        let mut at = 0;
        while let Some(claim) = self.held.get(at) {
            if wanted.contains(claim) {
                at += 1;
                continue;
            }
            // What Xen does not let go of is not asked for again either.
            result = hypervisor.unmap_io_range(claim.range).and(result);
            self.held.swap_remove(at);
        }
        for claim in wanted {
            let is_free = self
                .held
                .iter()
                .all(|held| !overlap(held.range, claim.range));
            if is_free && !self.held.is_full() {
                match hypervisor.map_io_range(claim.range) {
                    // There is room: it was just asked for.
                    Ok(()) => drop(self.held.push(*claim)),
                    Err(error) => result = Err(error),
                }
            }
        }
        result
    }

    /// Who answers at a port, and the first and the last of the ports that are his.
    pub fn port(&self, port: u16) -> Option<(T, u16, u16)> {
        self.held.iter().find_map(|claim| match claim.range {
            Range::Port(first, last) if (first..=last).contains(&port) => {
                Some((claim.target, first, last))
            }
            _ => None,
        })
    }

    /// The same of physical addresses.
    pub fn memory(&self, address: u64) -> Option<(T, u64, u64)> {
        self.held.iter().find_map(|claim| match claim.range {
            Range::Memory(first, last) if (first..=last).contains(&address) => {
                Some((claim.target, first, last))
            }
            _ => None,
        })
    }
}

fn overlap(one: Range, other: Range) -> bool {
    match (one, other) {
        (Range::Port(first, last), Range::Port(from, to)) => first <= to && from <= last,
        (Range::Memory(first, last), Range::Memory(from, to)) => first <= to && from <= last,
        (Range::Function(one), Range::Function(other)) => one == other,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::fake::Fake;

    fn claim(first: u16, last: u16, target: u8) -> Claim<u8> {
        Claim {
            range: Range::Port(first, last),
            target,
        }
    }

    #[test]
    fn what_moves_is_let_go_and_claimed_where_it_is_now() {
        let mut xen = Fake::default();
        let mut claims = Claims::default();
        claims
            .hold(&[claim(0x10, 0x1f, 1), claim(0xc000, 0xc00f, 2)], &mut xen)
            .unwrap();
        assert_eq!(claims.port(0xc00f), Some((2, 0xc000, 0xc00f)));
        claims
            .hold(&[claim(0x10, 0x1f, 1), claim(0xd000, 0xd00f, 2)], &mut xen)
            .unwrap();
        assert_eq!((claims.port(0xc00f), claims.port(0xd010)), (None, None));
        assert_eq!(claims.port(0xd000), Some((2, 0xd000, 0xd00f)));
        assert_eq!(
            xen.ranges,
            [Range::Port(0x10, 0x1f), Range::Port(0xd000, 0xd00f)]
        );
        assert_eq!(claims.memory(0x10), None);
    }

    #[test]
    fn who_comes_late_waits_until_the_place_is_free() {
        let mut xen = Fake::default();
        let mut claims = Claims::default();
        let (first, late) = (claim(0x3f8, 0x3ff, 1), claim(0x3f0, 0x3ff, 2));
        claims.hold(&[first, late], &mut xen).unwrap();
        assert_eq!(claims.port(0x3f8), Some((1, 0x3f8, 0x3ff)));
        assert_eq!(claims.port(0x3f0), None);
        claims.hold(&[late], &mut xen).unwrap();
        assert_eq!(claims.port(0x3f8), Some((2, 0x3f0, 0x3ff)));
    }

    #[test]
    fn memory_overlaps_as_ports_do() {
        let memory = |first, last, target| Claim {
            range: Range::Memory(first, last),
            target,
        };
        let mut xen = Fake::default();
        let mut claims: Claims<u8> = Claims::default();
        let wanted = [
            memory(0x2000, 0x2fff, 1),
            memory(0x1000, 0x1fff, 2),
            memory(0x3000, 0x3fff, 3),
            memory(0x3fff, 0x4000, 4),
            memory(0x0, 0x1000, 5),
        ];
        claims.hold(&wanted, &mut xen).unwrap();
        let held = [0x2000, 0x1000, 0x3000, 0x4000, 0x0]
            .map(|address| claims.memory(address).map(|(target, ..)| target));
        assert_eq!(held, [Some(1), Some(2), Some(3), None, None]);
    }

    #[test]
    fn what_xen_refuses_is_not_held() {
        let mut xen = Fake {
            refused: Some(Range::Port(0x60, 0x60)),
            ..Fake::default()
        };
        let mut claims = Claims::default();
        let wanted = [claim(0x60, 0x60, 1), claim(0x64, 0x64, 2)];
        assert!(claims.hold(&wanted, &mut xen).is_err());
        assert_eq!(
            (claims.port(0x60), claims.port(0x64)),
            (None, Some((2, 0x64, 0x64)))
        );
        xen.refused = None;
        claims.hold(&wanted, &mut xen).unwrap();
        assert!(claims.port(0x60).is_some());
    }
}
