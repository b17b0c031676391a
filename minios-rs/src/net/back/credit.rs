//! How much a guest may send: `rate=` of its vif.

#![forbid(unsafe_code)]

use super::Rate;
use crate::time::Instant;

/// What may be saved up at least: two frames of 64 KiB, or none could ever pass a slow rate.
const BURST_MIN: u64 = 2 * 65_536;

/// Bytes that may be sent now, and when there will be more.
#[derive(Debug)]
pub(super) struct Credit {
    rate: Rate,
    left: u64,
    /// When the present interval ends.
    ends: Instant,
    /// A frame waits for it.
    is_awaited: bool,
}

impl Credit {
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            left: rate.bytes.max(BURST_MIN),
            ends: now.after(rate.interval),
            is_awaited: false,
        }
    }

    /// Takes the credit for a frame, if there is enough.
    pub(super) fn take(&mut self, bytes: u64, now: Instant) -> bool {
        if now >= self.ends {
            self.left = self
                .left
                .saturating_add(self.rate.bytes)
                .min(self.rate.bytes.max(BURST_MIN));
            self.ends = now.after(self.rate.interval);
        }
        self.is_awaited = self.left < bytes;
        if !self.is_awaited {
            self.left -= bytes;
        }
        !self.is_awaited
    }

    /// Goes on with another rate: what was saved up is no more than that one lets be, and what waits does so no
    /// longer than its interval.
    pub(super) fn change(&mut self, rate: Rate, now: Instant) {
        self.rate = rate;
        self.left = self.left.min(rate.bytes.max(BURST_MIN));
        self.ends = self.ends.min(now.after(rate.interval));
    }

    /// Nothing waits: what did was taken back, which only a frontend that lies about its ring does. Its time
    /// would stay past, and whoever sleeps until then would not.
    pub(super) fn forget(&mut self) {
        self.is_awaited = false;
    }

    /// When the frame that waits can be tried again.
    pub(super) fn awaited(&self) -> Option<Instant> {
        self.is_awaited.then_some(self.ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn no_more_is_sent_than_the_rate_allows_and_a_wait_has_an_end() {
        let rate = Rate {
            bytes: 100_000,
            interval: Duration::from_millis(50),
        };
        let mut credit = Credit::new(rate, Instant(0));
        let (mut now, mut sent) = (Instant(0), 0_u64);
        while now < Instant(10_000_000_000) {
            if credit.take(1500, now) {
                assert_eq!(credit.awaited(), None);
                sent += 1500;
            } else {
                now = credit.awaited().expect("a refusal has its end").max(now);
            }
        }
        let allowed = 100_000 * 200 + BURST_MIN;
        assert!(sent <= allowed && sent > allowed * 9 / 10, "{sent}");
    }

    #[test]
    fn another_rate_takes_what_was_saved_beyond_it_and_no_wait_is_longer_than_its_interval() {
        let rate = |bytes, interval| Rate {
            bytes,
            interval: Duration::from_millis(interval),
        };
        let mut credit = Credit::new(rate(1_000_000, 10_000), Instant(0));
        credit.change(rate(200_000, 50), Instant(0));
        assert!(!credit.take(200_001, Instant(0)) && credit.take(200_000, Instant(0)));
        assert!(!credit.take(1, Instant(0)));
        assert_eq!(credit.awaited(), Some(Instant(50_000_000)));
        // One that is slower does not have a frame wait longer than it was told.
        credit.change(rate(200_000, 60_000), Instant(1));
        assert_eq!(credit.awaited(), Some(Instant(50_000_000)));
        assert!(credit.take(200_000, Instant(50_000_000)));
    }

    #[test]
    fn a_rate_below_one_frame_lets_frames_pass_all_the_same() {
        let rate = Rate {
            bytes: 1,
            interval: Duration::from_millis(50),
        };
        let mut credit = Credit::new(rate, Instant(0));
        for passes in [true, true, false] {
            assert_eq!(credit.take(65_535, Instant(0)), passes);
        }
    }
}
