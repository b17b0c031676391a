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

/// Tenths of a second: what a flow's time-out is counted in. Wraps after 13 years of uptime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tick(pub(crate) u32);

impl Tick {
    /// Length of a tick in nanoseconds.
    pub(crate) const NANOS: u64 = 100_000_000;

    /// The tick that `now` lies in.
    pub(crate) const fn of(now: Instant) -> Self {
        Self((now.0 / Self::NANOS) as u32)
    }

    /// `seconds` later.
    pub(crate) const fn after(self, seconds: u32) -> Self {
        Self(self.0.wrapping_add(seconds.saturating_mul(10)))
    }

    /// Whether `self` is at or past `deadline`, on the circle of u32.
    pub(crate) const fn reached(self, deadline: Self) -> bool {
        (self.0.wrapping_sub(deadline.0) as i32) >= 0
    }
}
