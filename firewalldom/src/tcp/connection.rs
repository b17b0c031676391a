//! What a segment makes of a tracked connection: netfilter's answer to every case where the tracker
//! and the two ends may disagree.

use super::history::{Agreed, Annotated, Course, Last};
use super::window::{Connection, Fit};
use super::{Kind, Segment, State, Step, after, step};
use crate::flow::Direction;
use crate::timeout::Timeouts;

/// What becomes of a segment of a known connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It fits; the connection is to be remembered for so many tenths of a second.
    Follows { lifetime: u32 },
    /// It passes, and the connection is as it was.
    Passes,
    /// It is no segment of this connection.
    Invalid,
    /// The same; but both sides seem to close, so the connection need not be remembered for days.
    InvalidAtTheEnd,
    /// It begins a new connection in the place of this one.
    Reopens,
}

/// What the flow's packets so far have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing came back yet.
    Unanswered,
    /// Both directions were seen.
    Answered,
    /// Both, and long enough to be real.
    Assured,
}

/// A reset's consequence.
enum Reset {
    /// It may end the connection if it is in the window.
    Judge,
    /// It answers something that was let through unjudged: no window to be in.
    Answer,
    /// It passes if it is in the window, but a challenge may follow (RFC 5961, 3.2).
    Doubt,
    Invalid,
}

/// What the exceptions to the table of states say.
enum Case {
    /// Nothing; the window decides, on the way to this state.
    Window(State),
    /// The connection goes to this state, whatever the window.
    Go(State),
    Done(Fate),
}

impl Connection {
    /// A new connection's, from its first segment; its state, and how long it is remembered.
    /// `None`: such a segment begins none.
    pub(crate) fn open(segment: &Segment<'_>, timeouts: &Timeouts) -> Option<(Self, State, u32)> {
        if !super::starts(segment.kind()) {
            return None;
        }
        let mut connection = Self::begin(segment);
        let mut state = State::None;
        let (direction, progress) = (Direction::Original, Progress::Unanswered);
        match connection.follow(&mut state, progress, direction, segment, timeouts) {
            Fate::Follows { lifetime } if state == State::Established => {
                Some((connection, state, lifetime.min(timeouts.unacknowledged)))
            }
            Fate::Follows { lifetime } => Some((connection, state, lifetime)),
            _ => None,
        }
    }

    /// Takes a segment with plausible flags.
    pub(crate) fn follow(
        &mut self,
        state: &mut State,
        progress: Progress,
        direction: Direction,
        segment: &Segment<'_>,
        timeouts: &Timeouts,
    ) -> Fate {
        let kind = segment.kind();
        let mut before = *state;
        let case = match step(before, direction, kind) {
            Step::Invalid => Case::Done(Fate::Invalid),
            Step::Ignore => self.ignore(before, direction, segment),
            Step::To(next) => self.except(before, next, progress, direction, segment),
        };
        let next = match case {
            Case::Done(fate) => return fate,
            Case::Go(next) => next,
            Case::Window(next) => {
                match self.fit(before, direction, segment) {
                    Fit::Within => {}
                    Fit::Stale => return Fate::Passes,
                    Fit::Beyond => return self.refuse(progress, direction, kind),
                }
                next
            }
        };
        if matches!(step(before, direction, kind), Step::Ignore) {
            // In step again: as if the ignored SYN had been believed.
            before = State::SynSent;
        }
        self.course.note(kind, direction as usize);
        *state = next;
        if before != next && next == State::FinWait {
            self.course.set(Course::CLOSING, true);
        }
        Fate::Follows {
            lifetime: self.lifetime(next, kind, timeouts),
        }
    }

    /// The cases that the table of states is too coarse for.
    fn except(
        &mut self,
        before: State,
        next: State,
        progress: Progress,
        direction: Direction,
        segment: &Segment<'_>,
    ) -> Case {
        let kind = segment.kind();
        let from_other_side = !self.course.is_last_of(direction as usize);
        match next {
            State::SynSent if matches!(before, State::TimeWait | State::Close) => {
                let reset = !from_other_side && self.course.is_last(Kind::Reset);
                if self.course.has(Course::CLOSING) || reset {
                    Case::Done(Fate::Reopens)
                } else {
                    self.ignore(before, direction, segment)
                }
            }
            State::SynSent2 => {
                self.annotated.set(Annotated::SIMULTANEOUS, true);
                Case::Window(next)
            }
            State::SynReceived
                if direction == Direction::Reply
                    && kind == Kind::Ack
                    && self.annotated.has(Annotated::SIMULTANEOUS) =>
            {
                Case::Window(State::Established)
            }
            State::TimeWait
                if before == State::LastAck
                    && kind == Kind::Ack
                    && from_other_side
                    && self.course.is_last(Kind::Syn)
                    && self.annotated.has(Annotated::CHALLENGE) =>
            {
                self.annotated.set(Annotated::CHALLENGE, false);
                Case::Done(Fate::Passes)
            }
            State::Close if kind == Kind::Reset => {
                match self.reset(before, progress, direction, segment) {
                    Reset::Judge => Case::Window(next),
                    Reset::Answer => Case::Go(next),
                    Reset::Doubt => Case::Window(before),
                    Reset::Invalid => Case::Done(Fate::Invalid),
                }
            }
            _ => Case::Window(next),
        }
    }

    /// A segment that is the ends' affair: it passes, and is noted for what comes next.
    fn ignore(&mut self, state: State, direction: Direction, segment: &Segment<'_>) -> Case {
        let kind = segment.kind();
        let answers_ignored_syn = kind == Kind::SynAck
            && self.course.is_last(Kind::Syn)
            && !self.course.is_last_of(direction as usize)
            && segment.acknowledgement == self.last.end();
        if answers_ignored_syn {
            // Both ends agree on a new connection: what was noted of its SYN is all true.
            let other = direction.other() as usize;
            let end = self.last.end();
            let side = &mut self.sides[other];
            side.end = end;
            side.limit = end;
            side.window = u32::from(self.last.window()).max(1);
            self.annotated.set(Annotated::CHALLENGE, false);
            self.agreed[other] = self.annotated.agreed();
            self.sides[direction as usize] = Default::default();
            self.agreed[direction as usize].forget();
            self.course.set(Course::CLOSING, false);
            return Case::Window(State::SynReceived);
        }
        self.course.note(kind, direction as usize);
        self.last = Last::of(segment, self.last.acknowledgement());
        if kind == Kind::Syn && direction == Direction::Original {
            self.annotated = Annotated::ignored(segment.offer());
            let closing = state == State::LastAck;
            self.annotated.set(Annotated::CHALLENGE, closing);
        }
        if state == State::SynSent && kind == Kind::Ack && direction == Direction::Reply {
            // Perhaps the challenge to a SYN: a reset may follow that fits it.
            self.last.set_acknowledgement(segment.acknowledgement);
        }
        Case::Done(Fate::Passes)
    }

    fn reset(
        &self,
        before: State,
        progress: Progress,
        direction: Direction,
        segment: &Segment<'_>,
    ) -> Reset {
        let closing = matches!(
            before,
            State::FinWait | State::CloseWait | State::LastAck | State::TimeWait | State::Close
        );
        if closing {
            // The ends may use the ports again already: nothing that is known here needs to hold.
            return Reset::Answer;
        }
        let open = before == State::Established && progress == Progress::Assured;
        let other = direction.other() as usize;
        if self.agreed[other].has(Agreed::ACKNOWLEDGES) && !self.course.is_last(Kind::Syn) {
            let expected = self.sides[other].acknowledged;
            if segment.sequence == 0 && !open {
                return Reset::Judge;
            }
            if after(expected, segment.sequence) {
                return Reset::Invalid;
            }
            let follows = self.course.is_last(Kind::Ack)
                && self.course.is_last_of(direction as usize)
                && segment.sequence == self.last.end();
            return if !open || segment.sequence == expected || follows {
                Reset::Judge
            } else {
                Reset::Doubt
            };
        }
        // Of an acknowledgement netfilter does not ask whose it was.
        let after_syn =
            self.course.is_last(Kind::Syn) && !self.course.is_last_of(direction as usize);
        let answers = match progress {
            Progress::Unanswered => self.course.is_last(Kind::Ack),
            Progress::Answered => self.course.is_last(Kind::Ack) || after_syn,
            Progress::Assured => after_syn,
        };
        let answers_challenge = before == State::SynSent
            && self.course.is_last(Kind::Ack)
            && self.course.is_last_of(Direction::Reply as usize)
            && segment.sequence == self.last.acknowledgement();
        if answers && segment.acknowledgement == self.last.end() || answers_challenge {
            Reset::Answer
        } else {
            Reset::Judge
        }
    }

    /// A segment outside the window. One that answers the other side's end with its own says that
    /// ends and tracker disagree: then days are too long to remember the connection.
    fn refuse(&mut self, progress: Progress, direction: Direction, kind: Kind) -> Fate {
        if progress != Progress::Assured || !matches!(kind, Kind::Reset | Kind::Fin) {
            return Fate::Invalid;
        }
        let ended = self.course.is_last(Kind::Fin) || self.course.is_last(Kind::Reset);
        if ended && !self.course.is_last_of(direction as usize) {
            return Fate::InvalidAtTheEnd;
        }
        self.course.note(kind, direction as usize);
        Fate::Invalid
    }
}

#[cfg(test)]
mod tests;
