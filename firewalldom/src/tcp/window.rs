//! Which sequence numbers a connection's next segment may have, after Guido van Rooij, "Real Stateful
//! TCP Packet Filtering in IP Filter" (2001), with what Linux made of it since.
//!
//! Four bounds hold for a segment from a sender to a receiver:
//!
//! 1. it begins no later than where the receiver's window ends,
//! 2. it ends no earlier than a window before the sender's highest sequence number,
//! 3. it acknowledges nothing that the receiver has not sent,
//! 4. it acknowledges no less than a window before the receiver's highest sequence number.
//!
//! Beyond 1 and 3 lies what an attacker would have to guess: such a segment is invalid. Short of 2
//! and 4 is what came late or twice: it passes, and teaches nothing.

use super::history::{Agreed, Annotated, Both, Course, Last};
use super::{Kind, Segment, State, after};
use crate::flow::Direction;
use crate::packet::flags::{ACK, RST, SYN};
use crate::timeout::Timeouts;

/// How far back an acknowledgement may reach, whatever the window: 64 KiB and a segment.
const ACKNOWLEDGED_BACK_MIN: u32 = 66_000;

/// The largest window there is, in bytes; what a sender may add to it by ignoring it ends there, well
/// before sequence numbers come around.
const WINDOW_MAX: u32 = 1 << 30;

/// One side of a connection, as a sender. All are sequence numbers but the window, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Side {
    /// After the highest that it sent.
    pub(super) end: u32,
    /// After the highest that it may send.
    pub(super) limit: u32,
    /// The largest window it announced; 0: nothing of this side was seen.
    pub(super) window: u32,
    /// The highest it acknowledged.
    pub(super) acknowledged: u32,
}

/// What a tracked connection remembers besides its state, in 48 bytes. What others keep in it comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Connection {
    pub(super) last: Last,
    pub(super) sides: [Side; 2],
    pub(super) agreed: [Agreed; 2],
    pub(super) annotated: Annotated,
    pub(super) course: Course,
}

/// What the window says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// In it; learned from.
    Within,
    /// Late, repeated, or more than the receiver allowed: nothing was learned.
    Stale,
    /// Neither sender nor receiver can have meant it.
    Beyond,
}

/// What waits for its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outstanding {
    Nothing,
    Data,
}

/// The numbers a segment is judged by, once what it leaves open was filled in.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    sequence: u32,
    end: u32,
    acknowledgement: u32,
    /// With selective acknowledgements.
    highest: u32,
    /// Scaled.
    window: u32,
}

impl Connection {
    /// Nothing known.
    pub(crate) const NONE: Self = Self {
        sides: [Side {
            end: 0,
            limit: 0,
            window: 0,
            acknowledged: 0,
        }; 2],
        last: Last::NONE,
        agreed: [Agreed(0); 2],
        annotated: Annotated::NONE,
        course: Course::NONE,
    };

    /// A word for whoever has no connection to keep here.
    pub(crate) const fn spare(&self) -> u32 {
        self.last.sequence()
    }

    pub(crate) fn set_spare(&mut self, word: u32) {
        self.last.set_sequence(word);
    }

    /// Two words of each side's and one more, for what is no connection of TCP's.
    pub(crate) fn keep(&mut self, of_sides: [u32; 2], word: u32) {
        [self.sides[0].end, self.sides[1].end] = of_sides;
        self.set_spare(word);
    }

    /// What [`Connection::keep`] kept.
    pub(crate) const fn kept(&self) -> ([u32; 2], u32) {
        ([self.sides[0].end, self.sides[1].end], self.spare())
    }

    /// What the first segment of a flow tells: a SYN all there is to know, any other very little.
    pub(super) fn begin(segment: &Segment<'_>) -> Self {
        let mut connection = Self::default();
        let [side, _] = &mut connection.sides;
        side.end = segment.end();
        side.window = u32::from(segment.window).max(1);
        side.limit = side.end;
        if segment.has(SYN) {
            connection.agreed[0] = Agreed::offered(segment.offer());
        } else {
            side.limit = side.end.wrapping_add(side.window);
            connection.agreed = [Agreed(Agreed::SACK | Agreed::LIBERAL); 2];
        }
        connection
    }

    /// Compares a segment with what is known, and learns from it if it fits. `state` is that before
    /// the segment.
    pub(super) fn fit(&mut self, state: State, direction: Direction, segment: &Segment<'_>) -> Fit {
        let (from, to) = (direction as usize, direction.other() as usize);
        let end = segment.end();
        let highest = if self.agreed[to].has(Agreed::SACK) {
            segment.highest_acknowledged()
        } else {
            segment.acknowledgement
        };
        let starts_over = segment.has(SYN)
            && (self.sides[from].window == 0
                || matches!(state, State::SynSent | State::SynReceived)
                    && after(end, self.sides[from].end));
        if starts_over {
            self.synchronize(direction, segment);
            if direction == Direction::Reply && !segment.has(ACK) {
                // Both sides opened at once.
                return Fit::Within;
            }
        } else if self.sides[from].window == 0 {
            self.pick_up(direction, segment, highest);
        }
        let mut numbers = Numbers {
            sequence: segment.sequence,
            end,
            acknowledgement: segment.acknowledgement,
            highest,
            window: u32::from(segment.window),
        };
        let receiver_end = self.sides[to].end;
        if !segment.has(ACK) || segment.has(RST) && segment.acknowledgement == 0 {
            numbers.acknowledgement = receiver_end;
            numbers.highest = receiver_end;
        }
        if segment.has(RST) && segment.sequence == 0 && state == State::SynSent {
            numbers.sequence = self.sides[from].end;
            numbers.end = numbers.sequence;
        }
        if let Some(misfit) = self.misfit(direction, &numbers) {
            return if self.agreed[from].has(Agreed::LIBERAL) {
                Fit::Within
            } else {
                misfit
            };
        }
        if !segment.has(SYN) {
            numbers.window <<= self.agreed[from].scale();
        }
        self.learn(from, &numbers, segment.has(ACK));
        if segment.kind() == Kind::Ack {
            self.compare(from, Last::of(segment, segment.acknowledgement));
        }
        Fit::Within
    }

    /// A SYN says where its sender begins and what it offers.
    fn synchronize(&mut self, direction: Direction, segment: &Segment<'_>) {
        let end = segment.end();
        let side = &mut self.sides[direction as usize];
        side.end = end;
        side.limit = end;
        side.window = u32::from(segment.window).max(1);
        if segment.has_options() {
            self.agreed[direction as usize].renew(segment.offer());
        }
        let both_scale = self.agreed.iter().all(|side| side.offers_scale());
        if direction == Direction::Reply && !both_scale {
            // RFC 7323, 2.2: windows are scaled only if both sides offer it.
            self.agreed.iter_mut().for_each(Agreed::forget_scale);
        }
    }

    /// The first that is seen of a side in the middle of a connection.
    fn pick_up(&mut self, direction: Direction, segment: &Segment<'_>, highest: u32) {
        let scale = self.agreed[direction as usize].scale();
        let side = &mut self.sides[direction as usize];
        side.end = segment.end();
        side.window = (u32::from(segment.window) << scale).max(1);
        side.limit = side.end.wrapping_add(side.window);
        let receiver = &mut self.sides[direction.other() as usize];
        if receiver.window == 0 {
            receiver.end = highest;
            receiver.limit = highest;
        } else if highest == receiver.end.wrapping_add(1) {
            // The answer to a keepalive, which repeats an octet that was never sent.
            receiver.end = highest;
        }
    }

    /// Whether the segment lies outside one of the four bounds.
    fn misfit(&mut self, direction: Direction, numbers: &Numbers) -> Option<Fit> {
        let (sender, receiver) = self.both(direction);
        let past_limit = after(numbers.sequence, sender.limit);
        let past_sent = after(numbers.highest, receiver.end);
        let back = receiver
            .end
            .wrapping_sub(sender.window.max(ACKNOWLEDGED_BACK_MIN));
        let too_old = !after(numbers.highest, back.wrapping_sub(1));
        let lowest = sender.end.wrapping_sub(receiver.window).wrapping_sub(1);
        let in_window = after(numbers.end, lowest);
        if past_limit {
            let excess = numbers.end.wrapping_sub(sender.limit).wrapping_add(1);
            let sent_too_much = receiver.window != 0
                && in_window
                && !past_sent
                && !too_old
                && excess <= receiver.window;
            if !sent_too_much {
                return Some(Fit::Beyond);
            }
            // More than the receiver said it would take, which it may take all the same: then what
            // it acknowledges next must not seem to be never sent.
            self.sides[direction as usize].end = numbers.end;
            self.agreed[direction as usize].set(Agreed::UNACKNOWLEDGED, true);
            return Some(Fit::Stale);
        }
        if past_sent {
            return Some(Fit::Beyond);
        }
        let repeats = receiver.window != 0 && !in_window;
        (repeats || too_old).then_some(Fit::Stale)
    }

    const fn both(&self, direction: Direction) -> (Side, Side) {
        match direction {
            Direction::Original => (self.sides[0], self.sides[1]),
            Direction::Reply => (self.sides[1], self.sides[0]),
        }
    }

    /// Moves the bounds by a segment within them.
    #[inline(always)]
    fn learn(&mut self, side: usize, numbers: &Numbers, acknowledges: bool) {
        let (from, to) = (side & 1, side & 1 ^ 1);
        let (sender, receiver) = (self.sides[from], self.sides[to]);
        let selective = numbers.highest.wrapping_sub(numbers.acknowledgement);
        let window = numbers.window.wrapping_add(selective);
        if window > sender.window {
            self.sides[from].window = window.min(WINDOW_MAX);
        }
        if after(numbers.end, sender.end) {
            self.sides[from].end = numbers.end;
            self.agreed[from].0 |= Agreed::UNACKNOWLEDGED;
        }
        if acknowledges {
            let first_time = !self.agreed[from].has(Agreed::ACKNOWLEDGES);
            if first_time || after(numbers.acknowledgement, sender.acknowledged) {
                self.sides[from].acknowledged = numbers.acknowledgement;
                self.agreed[from].0 |= Agreed::ACKNOWLEDGES;
            }
        }
        if receiver.window != 0 && after(numbers.end, sender.limit) {
            let excess = numbers.end.wrapping_sub(sender.limit);
            self.sides[to].window = receiver.window.wrapping_add(excess).min(WINDOW_MAX);
        }
        let limit = numbers.highest.wrapping_add(numbers.window);
        if after(limit, receiver.limit.wrapping_sub(1)) {
            // A closed window still lets a probe of one octet in.
            self.sides[to].limit = limit.wrapping_add(u32::from(numbers.window == 0));
        }
        if numbers.acknowledgement == receiver.end {
            self.agreed[to].0 &= !Agreed::UNACKNOWLEDGED;
        }
    }

    /// Counts segments that only repeat the one before.
    fn compare(&mut self, side: usize, next: Last) {
        if self.last == next && self.course.is_last_of(side) {
            self.course.repeat();
        } else {
            self.last = next;
            self.course.go_on(side);
        }
    }

    /// Tenths of a second that a connection in `state` is remembered after a segment of `kind`.
    pub(super) fn lifetime(&self, state: State, kind: Kind, timeouts: &Timeouts) -> u32 {
        let usual = timeouts.tcp(state);
        let unacknowledged = self.is_unacknowledged();
        if self.course.is_given_up() && usual > timeouts.max_retrans {
            timeouts.max_retrans
        } else if matches!(kind, Kind::Reset) {
            timeouts.close
        } else if unacknowledged && usual > timeouts.unacknowledged {
            timeouts.unacknowledged
        } else if self.last.window() == 0 && usual > timeouts.max_retrans {
            timeouts.max_retrans
        } else {
            usual
        }
    }

    /// A plain acknowledgement of an established connection, with data or without, as nearly all
    /// segments are: what it leaves unacknowledged. `None`, and nothing has changed, if there is more
    /// to it, or this is no connection: then [`Connection::fit`] tells.
    #[inline(always)]
    pub(crate) fn acknowledge<const SIDE: usize>(
        &mut self,
        plain: Plain<'_>,
    ) -> Option<Outstanding> {
        let (from, to) = const { (SIDE & 1, SIDE & 1 ^ 1) };
        if self.agreed[0].0 & self.agreed[1].0 & Agreed::ACKNOWLEDGES == 0 {
            return None;
        }
        debug_assert!(
            self.sides.iter().all(|side| side.window != 0),
            "who acknowledged something was seen"
        );
        let mut agreed = Both::new(self.agreed);
        let next = plain.last();
        let repeats =
            self.last.has_numbers_of(&next) && self.last == next && self.course.is_last_of(SIDE);
        // Of one that closes the window, or repeats the segment before it, more is to be said.
        if next.window() == 0 || repeats {
            return None;
        }
        let (end, acknowledgement) = (next.end(), next.acknowledgement());
        // No window reaches half around the circle: an acknowledgement of what was never sent is
        // further back than any.
        let unacknowledged = self.sides[to].end.wrapping_sub(acknowledgement);
        if unacknowledged > ACKNOWLEDGED_BACK_MIN {
            seldom();
            if unacknowledged > self.sides[from].window {
                return None;
            }
        }
        // If it ends so far within the limit, it begins there, too.
        const ROOM_MAX: u32 = i32::MAX as u32 - u16::MAX as u32;
        if self.sides[from].limit.wrapping_sub(end) > ROOM_MAX {
            return None;
        }
        let back = self.sides[from].end.wrapping_sub(end);
        if (self.sides[to].window.wrapping_sub(back) as i32) < 0 {
            return None;
        }
        self.last = next;
        self.course.go_on(SIDE);
        let window = u32::from(next.window()) << self.agreed[from].scale();
        if window > self.sides[from].window {
            self.sides[from].window = window;
        }
        if (back as i32) < 0 {
            self.sides[from].end = end;
            agreed.set(from, Agreed::UNACKNOWLEDGED);
        }
        if after(acknowledgement, self.sides[from].acknowledged) {
            self.sides[from].acknowledged = acknowledgement;
        }
        let limit = acknowledgement.wrapping_add(window);
        if limit.wrapping_sub(self.sides[to].limit) as i32 >= 0 {
            self.sides[to].limit = limit;
        }
        if unacknowledged == 0 {
            agreed.clear(to, Agreed::UNACKNOWLEDGED);
        }
        self.agreed = agreed.each();
        Some(if agreed.has_one(Agreed::UNACKNOWLEDGED) {
            Outstanding::Data
        } else {
            Outstanding::Nothing
        })
    }

    /// Whether data of either side waits for its acknowledgement.
    #[inline(always)]
    const fn is_unacknowledged(&self) -> bool {
        (self.agreed[0].0 | self.agreed[1].0) & Agreed::UNACKNOWLEDGED != 0
    }

    /// Whether the selective acknowledgements of segments in this direction count.
    #[inline(always)]
    pub(crate) const fn takes_sack(&self, side: usize) -> bool {
        self.agreed[side & 1 ^ 1].has(Agreed::SACK)
    }
}

/// Tells the compiler that a branch is hardly ever taken: it is not to be computed beforehand.
#[cold]
#[inline(always)]
const fn seldom() {}

/// A segment that has no flag but ACK and PSH.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain<'a> {
    pub(crate) header: &'a [u8; 20],
    /// Bytes of payload.
    pub(crate) length: u16,
}

impl Plain<'_> {
    #[inline(always)]
    fn last(self) -> Last {
        let [_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, _, _, w0, w1, ..] = *self.header;
        let numbers = u64::from_be_bytes([s0, s1, s2, s3, a0, a1, a2, a3]);
        Last::new(
            (numbers >> 32) as u32,
            numbers as u32,
            self.length,
            u16::from_be_bytes([w0, w1]),
        )
    }
}
