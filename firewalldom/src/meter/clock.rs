//! The column TIME, as netfilter's `time` reads it.

use crate::policy::{Clock, Policy, TimeWindow, UtcOffset};
use crate::time::Instant;
use alloc::boxed::Box;

/// What the time is, and whether that is when a rule holds.
pub(crate) struct WallClock {
    windows: Box<[TimeWindow]>,
    offsets: Box<[UtcOffset]>,
    /// Seconds from 1970, UTC, at the moment beside it.
    set: (u64, Instant),
}

/// Seconds of a day.
const DAY: i64 = 86_400;

impl WallClock {
    /// `now` is 1970 until somebody says better.
    pub(crate) fn new(policy: &Policy, now: Instant) -> Self {
        Self {
            windows: policy.times.as_slice().into(),
            offsets: policy.settings.utc_offsets.as_slice().into(),
            set: (0, now),
        }
    }

    /// At `now` it is `unix` seconds after 1970, UTC.
    pub(crate) fn set(&mut self, now: Instant, unix: u64) {
        self.set = (unix, now);
    }

    /// Milliseconds since midnight UTC, as an ICMP timestamp has it; with its highest bit set, from
    /// another moment, as long as nobody said what time it is (RFC 792).
    pub(crate) fn timestamp(&self, now: Instant) -> u32 {
        const NOT_OF_DAY: u32 = 1 << 31;
        const DAY_MS: u128 = DAY as u128 * 1000;
        let (unix, moment) = self.set;
        let ms = u128::from(unix) * 1000 + now.since(moment).as_millis();
        (ms % DAY_MS) as u32 | if unix == 0 { NOT_OF_DAY } else { 0 }
    }

    /// Whether `now` is in a window of the policy.
    pub(crate) fn is_within(&self, window: u16, now: Instant) -> bool {
        let (unix, moment) = self.set;
        let utc = unix.saturating_add(now.since(moment).as_secs());
        let utc = i64::try_from(utc).unwrap_or(i64::MAX / 2);
        let window = &self.windows[usize::from(window)];
        let seconds = match window.clock {
            Clock::Utc => utc,
            Clock::Local => utc + self.ahead(utc),
        };
        is_within(window, seconds)
    }

    /// Seconds that the site's clock is ahead of UTC.
    fn ahead(&self, utc: i64) -> i64 {
        let begun = self.offsets.partition_point(|offset| offset.from_s <= utc);
        // Before the first entry, the first is as good a guess as any.
        let offset = self.offsets.get(begun.saturating_sub(1));
        offset.map_or(0, |offset| i64::from(offset.ahead_s))
    }
}

fn is_within(window: &TimeWindow, seconds: i64) -> bool {
    let before = |stop: Option<u32>| stop.is_none_or(|stop| seconds <= i64::from(stop));
    let after = |start: Option<u32>| start.is_none_or(|start| seconds >= i64::from(start));
    let of_day = seconds.rem_euclid(DAY) as u32;
    let (start, stop) = (window.day_start_s, window.day_stop_s);
    let in_day = if start < stop {
        (start..=stop).contains(&of_day)
    } else {
        of_day >= start || of_day <= stop
    };
    let days = seconds.div_euclid(DAY);
    // 1970 began on a Thursday.
    let week_day = (days + 3).rem_euclid(7);
    after(window.date_start_s)
        && before(window.date_stop_s)
        && in_day
        && window.week_days >> week_day & 1 == 1
        && window.month_days >> day_of_month(days) & 1 == 1
}

/// Day of the month, from 1, so many days after 1970-01-01, in the Gregorian calendar.
///
/// Counted in years that begin in March, so that a leap day is a year's last, and in the 400 years
/// after which the calendar repeats.
fn day_of_month(days: i64) -> u32 {
    const ERA: i64 = 146_097;
    // 0000-03-01 is 719,468 days before 1970-01-01.
    let day = (days + 719_468).rem_euclid(ERA);
    let leap_days = day / 1_460 - day / 36_524 + day / (ERA - 1);
    let year = (day - leap_days) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    // Five months from March on have 153 days, and so have the next five.
    let month = (5 * of_year + 2) / 153;
    (of_year - (153 * month + 2) / 5 + 1) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: TimeWindow = TimeWindow {
        day_start_s: 0,
        day_stop_s: 86_399,
        week_days: 0x7f,
        month_days: 0xffff_fffe,
        date_start_s: None,
        date_stop_s: None,
        clock: Clock::Utc,
    };

    /// 2026-11-21 07:30:00 UTC, a Saturday.
    const SATURDAY: i64 = 1_795_246_200;

    #[test]
    fn days_of_months_are_those_of_the_calendar() {
        let mut days = 0;
        for year in 1970..2500 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let february = if leap { 29 } else { 28 };
            for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
                for day in 1..=length {
                    assert_eq!(day_of_month(days), day, "{days} days after 1970");
                    days += 1;
                }
            }
        }
    }

    #[test]
    fn a_window_is_days_hours_and_dates() {
        assert!(is_within(&ALWAYS, SATURDAY));
        let mut window = ALWAYS;
        window.week_days = 1 << 5;
        assert!(is_within(&window, SATURDAY));
        assert!(!is_within(&window, SATURDAY + DAY));
        window = ALWAYS;
        window.month_days = 1 << 21;
        assert!(is_within(&window, SATURDAY));
        assert!(!is_within(&window, SATURDAY - DAY));
        window = ALWAYS;
        (window.day_start_s, window.day_stop_s) = (7 * 3600, 8 * 3600);
        assert!(is_within(&window, SATURDAY));
        assert!(is_within(&window, SATURDAY + 1800));
        assert!(!is_within(&window, SATURDAY + 1801));
        // Over midnight.
        (window.day_start_s, window.day_stop_s) = (22 * 3600, 6 * 3600);
        assert!(!is_within(&window, SATURDAY));
        assert!(is_within(&window, SATURDAY - 2 * 3600));
        assert!(is_within(&window, SATURDAY + 15 * 3600));
        window = ALWAYS;
        window.date_start_s = Some(SATURDAY as u32);
        window.date_stop_s = Some(SATURDAY as u32 + 1);
        assert!(is_within(&window, SATURDAY) && is_within(&window, SATURDAY + 1));
        assert!(!is_within(&window, SATURDAY - 1) && !is_within(&window, SATURDAY + 2));
    }

    #[test]
    fn local_time_follows_the_offsets() {
        let offset = |from_s, ahead_s| UtcOffset { from_s, ahead_s };
        let mut policy = Policy {
            times: alloc::vec![TimeWindow {
                day_start_s: 9 * 3600,
                day_stop_s: 9 * 3600 + 59,
                clock: Clock::Local,
                ..ALWAYS
            }],
            ..Policy::default()
        };
        policy.settings.utc_offsets = alloc::vec![
            offset(0, 7200),
            offset(SATURDAY, 5400),
            offset(SATURDAY + 60, 0)
        ];
        let mut clock = WallClock::new(&policy, Instant(0));
        let now = Instant(5_000_000_000);
        clock.set(now, SATURDAY as u64);
        assert!(clock.is_within(0, now));
        assert!(!clock.is_within(0, Instant(now.0 + 60_000_000_000)));
        clock.set(now, SATURDAY as u64 - 1800);
        assert!(clock.is_within(0, now));
    }
}
