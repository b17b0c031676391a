//! Interrupt moderation: when frames come fast, one look for many of them.
//!
//! Every look has a price of its own, however little it finds: two hypercalls, a notification, and Xen's switch to
//! this domain and back, after which the processor's caches and translations are somebody else's. Above [`RATE_ON`]
//! the backends and frontends are therefore asked for an event only once many slots have come, and the domain looks
//! after a delay in any case. A frame is delayed by that at the most, and only at such rates: below, each is told
//! of at once.
//!
//! How long the delay is depends on what a look costs here, which is measured: [`DELAY_MIN`] where it costs
//! microseconds, up to [`DELAY_MAX`] where it costs hundreds of them, or [`DELAY_LARGE_MAX`] for large frames. After a
//! look that found nothing, the first frame is told of at once: nobody looks again and again while nothing comes.

use super::{FRAME_SLOTS_MAX, Wake};
use crate::time::Instant;
use core::ops::AddAssign;
use core::time::Duration;

/// Slots a second, of all interfaces, from which on events are moderated. A small frame takes one, the largest
/// eighteen.
pub const RATE_ON: u32 = 5_000;

/// Slots a second below which they no longer are.
pub const RATE_OFF: u32 = 4_000;

/// How long a frame may lie in its ring before it is looked at, where a look costs little.
pub const DELAY_MIN: Duration = Duration::from_millis(1);

/// How long it may at the most, whatever a look costs.
pub const DELAY_MAX: Duration = Duration::from_millis(4);

/// The same of frames that take several slots: their sender waits for what becomes of them.
pub const DELAY_LARGE_MAX: Duration = Duration::from_millis(2);

/// Slots that end the wait early if frames take one each: three eighths of a ring.
pub const SLOTS_SMALL: u16 = 96;

/// Slots that end the wait early if they take several: one more than the largest frame with its extra info, so that it
/// takes a second one. A sender's TCP does not always hand out more of them before it hears of the first.
pub const SLOTS_LARGE: u16 = FRAME_SLOTS_MAX as u16 + 2;

/// How long slots are counted before the rate is known.
const WINDOW: Duration = Duration::from_millis(5);

/// Who answers frame by frame is slowed down by the delay: each look finds something, but little, and the rate is below
/// what called for it. How long it is left alone then. A stream that was held up by something else looks the same for a
/// moment, and so the first time is short; each is twice as long as the one before, up to [`HOLD_OFF_MAX`].
const HOLD_OFF_MIN: Duration = Duration::from_millis(10);

/// How long at the most.
const HOLD_OFF_MAX: Duration = Duration::from_millis(100);

/// Who was moderated for so long is a stream.
const STREAM: Duration = Duration::from_millis(40);

/// What a look costs by itself, in slots passed on: as much as so many of them.
const FIXED_SLOTS: u64 = 32;

/// The share of the time that looks may take by themselves: one in so many parts.
const SHARE: u64 = 16;

/// What a look found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Frames.
    pub frames: usize,
    /// Slots of the rings that they took.
    pub slots: usize,
}

impl AddAssign for Found {
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.slots += other.slots;
    }
}

/// The rate of slots, and what follows from it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Moderation {
    since: Instant,
    looks: u32,
    frames: u32,
    slots: u32,
    /// Those of the last look.
    last: u32,
    /// What the rings are to be parked with.
    wake: Wake,
    /// Not moderated before.
    held_off: Instant,
    /// For how long it was held off the last time.
    hold_off: Duration,
    /// Moderated since then, if it is.
    moderated_since: Instant,
    /// What a slot takes in a look of which each slot, and so many more for the look itself, has its part: a moving
    /// average, in nanoseconds.
    slot_ns: u64,
}

impl Moderation {
    /// Counts what a look at `now` found.
    pub fn count(&mut self, now: Instant, found: Found) {
        self.last = found.slots as u32;
        self.looks = self.looks.saturating_add(1);
        self.frames = self.frames.saturating_add(found.frames as u32);
        self.slots = self.slots.saturating_add(found.slots as u32);
        let elapsed = now.since(self.since);
        if elapsed < WINDOW {
            return;
        }
        let reaches = |bound: u32| {
            u128::from(self.slots) * 1_000_000_000 >= u128::from(bound) * elapsed.as_nanos()
        };
        let was_moderated = self.wake != Wake::FirstSlot;
        let is_fast = match was_moderated {
            false => now >= self.held_off && reaches(RATE_ON),
            true => reaches(RATE_OFF),
        };
        if is_fast && !was_moderated {
            self.moderated_since = now;
        }
        if was_moderated && !is_fast && self.frames >= self.looks {
            self.hold_off = match now.since(self.moderated_since) < STREAM {
                true => (2 * self.hold_off).clamp(HOLD_OFF_MIN, HOLD_OFF_MAX),
                false => HOLD_OFF_MIN,
            };
            self.held_off = now.after(self.hold_off);
        }
        self.wake = match (is_fast, self.slots >= 2 * self.frames) {
            (false, _) => Wake::FirstSlot,
            (true, true) => Wake::Slots(SLOTS_LARGE),
            (true, false) => Wake::Slots(SLOTS_SMALL),
        };
        self.since = now;
        self.looks = 0;
        self.frames = 0;
        self.slots = 0;
    }

    /// What the last look took, from being woken to going to sleep.
    pub fn took(&mut self, time: Duration) {
        if self.last == 0 {
            return;
        }
        let slot_ns = time.as_nanos() as u64 / (u64::from(self.last) + FIXED_SLOTS);
        self.slot_ns = (15 * self.slot_ns + slot_ns) / 16;
    }

    /// How long a frame may lie in its ring now.
    fn delay(&self) -> Duration {
        let max = match self.wake == Wake::Slots(SLOTS_LARGE) {
            true => DELAY_LARGE_MAX,
            false => DELAY_MAX,
        };
        let look_ns = self.slot_ns.saturating_mul(FIXED_SLOTS);
        Duration::from_nanos(look_ns.saturating_mul(SHARE)).clamp(DELAY_MIN, max)
    }

    /// What is to wake the domain.
    pub fn wake(&self) -> Wake {
        match self.last {
            0 => Wake::FirstSlot,
            _ => self.wake,
        }
    }

    /// When to look without having been woken.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        (self.wake() != Wake::FirstSlot).then(|| now.after(self.delay()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Looks once a millisecond from `start` on, for `count` milliseconds.
    fn look(moderation: &mut Moderation, start: u64, count: u64, frames: usize, slots: usize) {
        for step in 1..=count {
            moderation.count(Instant((start + step) * MS), Found { frames, slots });
        }
    }

    #[test]
    fn fast_frames_are_moderated_and_slow_ones_are_not() {
        let mut moderation = Moderation::default();
        look(&mut moderation, 0, 20, 4, 4);
        assert_eq!(moderation.wake(), Wake::FirstSlot);
        assert_eq!(moderation.deadline(Instant(0)), None);
        look(&mut moderation, 20, 5, 5, 5);
        assert_eq!(moderation.wake(), Wake::Slots(SLOTS_SMALL));
        assert_eq!(moderation.deadline(Instant(7)), Some(Instant(MS + 7)));
        look(&mut moderation, 25, 20, 4, 4);
        assert_eq!(moderation.wake(), Wake::Slots(SLOTS_SMALL), "hysteresis");
        look(&mut moderation, 45, 5, 3, 3);
        assert_eq!(moderation.wake(), Wake::FirstSlot);
    }

    #[test]
    fn frames_of_several_slots_are_waited_for_less_long() {
        let mut moderation = Moderation::default();
        // A data segment of a page and a half for each acknowledgement.
        look(&mut moderation, 0, 5, 4, 9);
        assert_eq!(moderation.wake(), Wake::Slots(SLOTS_LARGE));
        assert_eq!(moderation.deadline(Instant(0)), Some(Instant(MS)));
        (0..200).for_each(|_| moderation.took(Duration::from_millis(1)));
        assert_eq!(moderation.deadline(Instant(0)), Some(Instant(2 * MS)));
        look(&mut moderation, 5, 5, 4, 7);
        assert_eq!(moderation.wake(), Wake::Slots(SLOTS_SMALL));
    }

    #[test]
    fn nobody_looks_again_and_again_while_nothing_comes() {
        let mut moderation = Moderation::default();
        look(&mut moderation, 0, 5, 20, 20);
        let wake = moderation.wake();
        assert_ne!(wake, Wake::FirstSlot);
        look(&mut moderation, 5, 1, 0, 0);
        assert_eq!(moderation.wake(), Wake::FirstSlot);
        assert_eq!(moderation.deadline(Instant(0)), None);
        look(&mut moderation, 6, 1, 1, 1);
        assert_eq!(moderation.wake(), wake, "it was a gap");
    }

    /// How many milliseconds, from `start` on, until what comes fast is moderated again.
    fn held_off(moderation: &mut Moderation, start: u64) -> u64 {
        let ms = (1..).find(|ms| {
            look(moderation, start + ms - 1, 1, 9, 9);
            moderation.wake() != Wake::FirstSlot
        });
        ms.expect("it is fast")
    }

    #[test]
    fn who_is_slowed_down_is_left_alone_for_longer_and_longer() {
        let mut moderation = Moderation::default();
        let mut now = held_off(&mut moderation, 0);
        for expected in [10, 20, 40, 80, 100, 100] {
            // It waits for each answer.
            look(&mut moderation, now, 5, 1, 1);
            let held_off = held_off(&mut moderation, now + 5);
            assert!(
                (expected..expected + 10).contains(&held_off),
                "{held_off} for {expected}"
            );
            now += 5 + held_off;
        }
    }

    #[test]
    fn a_stream_that_stops_for_a_moment_is_left_alone_for_a_moment() {
        let mut moderation = Moderation::default();
        let mut now = held_off(&mut moderation, 0);
        for _ in 0..5 {
            look(&mut moderation, now, 50, 9, 9);
            look(&mut moderation, now + 50, 5, 1, 1);
            let held_off = held_off(&mut moderation, now + 55);
            assert!(held_off < 20, "{held_off}");
            now += 55 + held_off;
        }
    }

    #[test]
    fn the_delay_follows_what_a_look_costs() {
        let mut moderation = Moderation::default();
        look(&mut moderation, 0, 5, 20, 20);
        let delay_after = |moderation: &mut Moderation, look: Duration| {
            (0..200).for_each(|_| moderation.took(look));
            moderation.delay()
        };
        let us = Duration::from_micros;
        assert_eq!(delay_after(&mut moderation, us(10)), DELAY_MIN);
        // 32 of 52 parts of it are the look's own, and those are to be a sixteenth of the time.
        let delay = delay_after(&mut moderation, us(300));
        assert!(delay > us(2900) && delay < us(2960), "{delay:?}");
        assert_eq!(delay_after(&mut moderation, us(900)), DELAY_MAX);
        // A look that finds nothing says nothing of what frames cost.
        moderation.count(Instant(0), Found::default());
        assert_eq!(delay_after(&mut moderation, us(1)), DELAY_MAX);
    }

    #[test]
    fn a_burst_after_a_long_silence_is_no_rate() {
        let mut moderation = Moderation::default();
        let (frames, slots) = (60, 60);
        moderation.count(Instant(60_000 * MS), Found { frames, slots });
        assert_eq!(moderation.wake(), Wake::FirstSlot);
    }
}
