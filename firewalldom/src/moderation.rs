//! Interrupt moderation: when frames come fast, one look for many of them.
//!
//! Every sleep costs a hypercall, and so does every notification of what the look found; a packet
//! in which a domain is woken by itself pays for both. Above [`RATE_ON`] frames a second the backends
//! are therefore asked for an event only once [`SLOTS`] slots have come, and the domain looks after
//! [`DELAY`] in any case. A frame is delayed by that at the most, and only at such rates: below, each
//! is told of at once.

use crate::time::Instant;
use core::time::Duration;
use minios_rs::net::Wake;

/// Frames a second, of all interfaces, from which on events are moderated.
pub const RATE_ON: u32 = 10_000;

/// Frames a second below which they no longer are.
pub const RATE_OFF: u32 = 8_000;

/// How long a frame may lie in its ring before it is looked at.
pub const DELAY: Duration = Duration::from_millis(1);

/// Slots that end the wait early: an eighth of a ring.
pub const SLOTS: u16 = 32;

/// How long frames are counted before the rate is known.
const WINDOW: Duration = Duration::from_millis(5);

/// The rate of frames, and what follows from it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moderation {
    since: Instant,
    frames: u32,
    /// What the rings are to be parked with.
    wake: Wake,
}

impl Default for Moderation {
    fn default() -> Self {
        Self {
            since: Instant(0),
            frames: 0,
            wake: Wake::FirstSlot,
        }
    }
}

impl Moderation {
    /// Counts frames that a look at `now` found.
    pub(crate) fn count(&mut self, now: Instant, frames: usize) {
        self.frames = self.frames.saturating_add(frames as u32);
        let elapsed = now.since(self.since);
        if elapsed < WINDOW {
            return;
        }
        let bound = match self.wake {
            Wake::FirstSlot => RATE_ON,
            Wake::Slots(_) => RATE_OFF,
        };
        let is_fast =
            u128::from(self.frames) * 1_000_000_000 >= u128::from(bound) * elapsed.as_nanos();
        self.wake = if is_fast {
            Wake::Slots(SLOTS)
        } else {
            Wake::FirstSlot
        };
        self.since = now;
        self.frames = 0;
    }

    /// What is to wake the domain.
    pub(crate) fn wake(&self) -> Wake {
        self.wake
    }

    /// When to look without having been woken.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        (self.wake != Wake::FirstSlot).then(|| now + DELAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Looks once a millisecond from `start` on, for `count` milliseconds.
    fn look(moderation: &mut Moderation, start: u64, count: u64, frames: usize) {
        for step in 1..=count {
            moderation.count(Instant((start + step) * MS), frames);
        }
    }

    #[test]
    fn fast_frames_are_moderated_and_slow_ones_are_not() {
        let mut moderation = Moderation::default();
        look(&mut moderation, 0, 20, 9);
        assert_eq!(moderation.wake(), Wake::FirstSlot);
        assert_eq!(moderation.deadline(Instant(0)), None);
        look(&mut moderation, 20, 5, 10);
        assert_eq!(moderation.wake(), Wake::Slots(SLOTS));
        assert_eq!(moderation.deadline(Instant(7)), Some(Instant(MS + 7)));
        look(&mut moderation, 25, 20, 8);
        assert_eq!(moderation.wake(), Wake::Slots(SLOTS), "hysteresis");
        look(&mut moderation, 45, 5, 7);
        assert_eq!(moderation.wake(), Wake::FirstSlot);
    }

    #[test]
    fn a_burst_after_a_long_silence_is_no_rate() {
        let mut moderation = Moderation::default();
        moderation.count(Instant(60_000 * MS), 60);
        assert_eq!(moderation.wake(), Wake::FirstSlot);
    }
}
