//! Time as the engine sees it: a parameter, never read from a clock.

use core::ops::Add;
use core::time::Duration;

/// Nanoseconds since some fixed moment; never goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(pub u64);

impl Instant {
    /// Nanoseconds from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// Whole milliseconds since the fixed moment.
    pub const fn millis(self) -> u64 {
        self.0 / 1_000_000
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// Tenths of a second: what a flow's time-outs are counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tick(pub(crate) u32);

impl Tick {
    /// Length of a tick in nanoseconds.
    pub(crate) const NANOS: u64 = 100_000_000;

    /// The tick that `now` lies in.
    pub(crate) const fn of(now: Instant) -> Self {
        Self((now.0 / Self::NANOS) as u32)
    }

    /// `ticks` later.
    pub(crate) const fn after(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }

    /// Whether `self` is past `earlier`, on the circle of u32.
    pub(crate) const fn is_after(self, earlier: Self) -> bool {
        (self.0.wrapping_sub(earlier.0) as i32) > 0
    }
}

/// When a flow is forgotten: the low 28 bits of a [`Tick`], enough for any time-out twice over, in the
/// upper ones of a word, where they go round as the word does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Deadline(u32);

impl Deadline {
    const BITS: u32 = 28;
    /// Bits of the word that are always 0: the lowest.
    pub(crate) const FREE_BITS: u32 = u32::BITS - Self::BITS;
    /// The longest that one can be ahead: 155 days.
    pub(crate) const MAX_TICKS: u32 = (1 << (Self::BITS - 1)) - 1;

    pub(crate) const fn at(tick: Tick) -> Self {
        Self(tick.0 << Self::FREE_BITS)
    }

    /// That of a word, whatever its lowest bits.
    pub(crate) const fn of_word(word: u32) -> Self {
        Self(word >> Self::FREE_BITS << Self::FREE_BITS)
    }

    pub(crate) const fn word(self) -> u32 {
        self.0
    }

    /// Ticks from `now` to the deadline; negative if it has passed.
    pub(crate) const fn left(self, now: Tick) -> i32 {
        self.0.wrapping_sub(Self::at(now).0) as i32 >> Self::FREE_BITS
    }

    pub(crate) const fn is_reached(self, now: Tick) -> bool {
        self.left(now) <= 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_told_from_the_past_across_the_end_of_the_circle() {
        for start in [0, 5, (1 << 28) - 3, u32::MAX - 3] {
            let now = Tick(start);
            let deadline = Deadline::at(now.after(10));
            assert_eq!((deadline.left(now), deadline.is_reached(now)), (10, false));
            assert!(!deadline.is_reached(now.after(9)));
            assert!(deadline.is_reached(now.after(10)));
            assert!(deadline.is_reached(now.after(1_000_000)));
            let far = Deadline::at(now.after(Deadline::MAX_TICKS));
            assert_eq!(far.left(now), Deadline::MAX_TICKS as i32);
        }
    }
}
