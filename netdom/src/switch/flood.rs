//! How much a port may have copied to all others: broadcasts and the like cost a copy for each.

use core::time::Duration;
use minios_rs::time::Instant;

/// Those of so long may come at once.
const BURST: Duration = Duration::from_millis(200);

/// What one port has caused: the time at which all of it is paid for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Floods(Option<Instant>);

impl Floods {
    /// Whether one more frame may be copied now.
    pub(super) fn may(&self, now: Instant) -> bool {
        self.0.is_none_or(|paid| paid.since(now) < BURST)
    }

    /// Counts the copies that were made, of which there may be so many a second.
    pub(super) fn count(&mut self, now: Instant, copies: usize, rate: u32) {
        let from = self.0.filter(|paid| *paid > now).unwrap_or(now);
        self.0 = Some(from.after(Duration::from_secs(copies as u64) / rate));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let mut floods = Floods::default();
        let mut now = Instant(5_000_000_000);
        let frames = |floods: &mut Floods, now: Instant| {
            let mut frames = 0;
            while floods.may(now) && frames < 100_000 {
                floods.count(now, 10, 50_000);
                frames += 1;
            }
            frames
        };
        assert_eq!(frames(&mut floods, now), 1000);
        for _ in 0..100 {
            now = now.after(Duration::from_millis(10));
            assert_eq!(frames(&mut floods, now), 50);
        }
        // Nothing is saved up beyond a burst.
        now = now.after(Duration::from_secs(100));
        assert_eq!(frames(&mut floods, now), 1000);
    }
}
