//! Interrupt moderation: when frames come fast, one look for many of them.
//!
//! Every look has a price of its own, however little it finds: two hypercalls, a notification, and Xen's switch to
//! this domain and back, after which the processor's caches and translations are somebody else's. Above [`RATE_ON`]
//! the backends and frontends are therefore asked for an event only once many slots have come, and the domain looks
//! after a delay in any case. A frame is delayed by that at the most, and only at such rates: below, each is told
//! of at once.
//!
//! How long the delay is depends on what a look costs here, which is measured: [`DELAY_MIN`] where it costs
//! microseconds, up to [`DELAY_MAX`] where it costs hundreds of them. Large frames never wait longer than the former.

use crate::time::Instant;
use core::ops::AddAssign;
use core::time::Duration;
use minios_rs::net::{FRAME_SLOTS_MAX, Wake};

/// Slots a second, of all interfaces, from which on events are moderated. A small frame takes one, the largest
/// eighteen.
pub const RATE_ON: u32 = 5_000;

/// Slots a second below which they no longer are.
pub const RATE_OFF: u32 = 4_000;

/// How long a frame may lie in its ring before it is looked at, where a look costs little.
pub const DELAY_MIN: Duration = Duration::from_millis(1);

/// How long it may at the most, whatever a look costs.
pub const DELAY_MAX: Duration = Duration::from_millis(4);

/// Slots that end the wait early if frames take one each: three eighths of a ring.
pub const SLOTS_SMALL: u16 = 96;

/// Slots that end the wait early if they take several: one more than the largest frame with its extra info, so that it
/// takes a second one. A sender's TCP does not always hand out more of them before it hears of the first.
pub const SLOTS_LARGE: u16 = FRAME_SLOTS_MAX as u16 + 2;

/// How long slots are counted before the rate is known.
const WINDOW: Duration = Duration::from_millis(5);

/// Who answers frame by frame is slowed down by the delay: each look finds something, but little, and the rate is below
/// what called for it. How long it is left alone then.
const HOLD_OFF: Duration = Duration::from_millis(100);

/// What a look costs by itself, in slots passed on: as much as so many of them.
const FIXED_SLOTS: u64 = 32;

/// The share of the time that looks may take by themselves: one in so many parts.
const SHARE: u64 = 16;

/// What a look found.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Found {
    pub(crate) frames: usize,
    /// Slots of the rings that they took.
    pub(crate) slots: usize,
}

impl AddAssign for Found {
    fn add_assign(&mut self, other: Self) {
        self.frames += other.frames;
        self.slots += other.slots;
    }
}

/// The rate of slots, and what follows from it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moderation {
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
    /// What a slot takes in a look of which each slot, and so many more for the look itself, has its part: a moving
    /// average, in nanoseconds.
    slot_ns: u64,
}

impl Moderation {
    /// Counts what a look at `now` found.
    pub(crate) fn count(&mut self, now: Instant, found: Found) {
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
        if was_moderated && !is_fast && self.frames >= self.looks {
            self.held_off = now + HOLD_OFF;
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
    pub(crate) fn took(&mut self, time: Duration) {
        if self.last == 0 {
            return;
        }
        let slot_ns = time.as_nanos() as u64 / (u64::from(self.last) + FIXED_SLOTS);
        self.slot_ns = (15 * self.slot_ns + slot_ns) / 16;
    }

    /// How long a frame may lie in its ring now. Who sends large ones waits for what becomes of them.
    fn delay(&self) -> Duration {
        if self.wake == Wake::Slots(SLOTS_LARGE) {
            return DELAY_MIN;
        }
        let look_ns = self.slot_ns.saturating_mul(FIXED_SLOTS);
        Duration::from_nanos(look_ns.saturating_mul(SHARE)).clamp(DELAY_MIN, DELAY_MAX)
    }

    /// What is to wake the domain.
    pub(crate) fn wake(&self) -> Wake {
        self.wake
    }

    /// When to look without having been woken.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        (self.wake != Wake::FirstSlot).then(|| now + self.delay())
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
        (0..200).for_each(|_| moderation.took(Duration::from_millis(1)));
        assert_eq!(moderation.deadline(Instant(0)), Some(Instant(MS)));
        look(&mut moderation, 5, 5, 4, 7);
        assert_eq!(moderation.wake(), Wake::Slots(SLOTS_SMALL));
    }

    #[test]
    fn who_was_slowed_down_is_left_alone_for_a_while() {
        let mut moderation = Moderation::default();
        look(&mut moderation, 0, 5, 9, 9);
        assert_ne!(moderation.wake(), Wake::FirstSlot);
        look(&mut moderation, 5, 5, 1, 1);
        look(&mut moderation, 10, 99, 9, 9);
        assert_eq!(moderation.wake(), Wake::FirstSlot);
        look(&mut moderation, 109, 6, 9, 9);
        assert_ne!(moderation.wake(), Wake::FirstSlot);
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
