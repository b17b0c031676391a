//! Bounds that hold for the processor's guesses too.
//!
//! A bounds check is a branch, and a processor that guesses it wrong may read beyond the end of what
//! was checked before it notices; where the index is a peer's, the peer chooses what is read, and
//! what the caches hold afterwards tells (Spectre variant 1, CVE-2017-5753). Here the checked value
//! passes a mask that is computed from the comparison without a branch: on a wrong guess it is 0.
//!
//! For values that a peer sent and that choose where in our memory something is read or written.
//! Numbers of our own making, and those that a power of two already cuts off (ring indices), need
//! none of this. The repository's SECURITY.md names every use.
#![cfg_attr(
    not(miri),
    expect(
        unsafe_code,
        reason = "a compiler may turn any other formulation back into a branch"
    )
)]

/// All ones if `index < len`, else 0, and no branch on the way.
#[cfg(not(miri))]
#[inline(always)]
fn mask(index: usize, len: usize) -> usize {
    let mask: usize;
    // SAFETY: registers only. `cmp` borrows exactly if index < len, and `sbb` spreads the borrow.
    unsafe {
        core::arch::asm!(
            "cmp {index}, {len}",
            "sbb {mask}, {mask}",
            index = in(reg) index,
            len = in(reg) len,
            mask = out(reg) mask,
            options(pure, nomem, nostack),
        );
    }
    mask
}

/// An interpreter does not speculate, and knows no assembly.
#[cfg(miri)]
fn mask(index: usize, len: usize) -> usize {
    usize::from(index < len).wrapping_neg()
}

/// `value` if it is less than `limit`, else 0, for guesses as well. It is no check: whoever must
/// tell 0 from what is too large compares first.
#[inline(always)]
pub fn below(value: usize, limit: usize) -> usize {
    value & mask(value, limit)
}

/// `value` as an index into `len` elements; `None` beyond the end, and 0 for a guess beyond it.
#[inline(always)]
pub fn index(value: usize, len: usize) -> Option<usize> {
    (value < len).then(|| below(value, len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_edges_are_where_they_should_be() {
        for (value, limit, expected) in [
            (0, 0, 0),
            (0, 1, 0),
            (1, 1, 0),
            (255, 256, 255),
            (256, 256, 0),
            (usize::MAX, 256, 0),
            (usize::MAX - 1, usize::MAX, usize::MAX - 1),
            (usize::MAX, usize::MAX, 0),
            // The sign bit is a bit like any other.
            (1 << 63, 1, 0),
            (1, 1 << 63, 1),
        ] {
            assert_eq!(below(value, limit), expected, "{value} below {limit}");
        }
    }

    #[test]
    fn an_index_is_within_or_none() {
        assert_eq!(index(0, 3), Some(0));
        assert_eq!(index(2, 3), Some(2));
        assert_eq!(index(3, 3), None);
        assert_eq!(index(usize::MAX, 3), None);
        assert_eq!(index(0, 0), None);
    }

    proptest! {
        #[test]
        fn it_is_the_branch_it_replaces(value: usize, limit: usize) {
            prop_assert_eq!(below(value, limit), if value < limit { value } else { 0 });
        }
    }
}
