//! What is next in a vif's life: from the frontend's state, `online` and the time.

#![forbid(unsafe_code)]

use crate::time::Instant;
use crate::xenbus::XenbusState;
use core::time::Duration;

/// How long a frontend may take to close when the toolstack detaches it: the toolstack itself waits for 10 s.
const DETACH_GRACE: Duration = Duration::from_secs(5);

/// How long a frontend waits for another connection, since its last began or failed: it cannot have us do
/// nothing else. As long waits whoever has us start on a vif again that we could not go on with.
pub(super) const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// How far our side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// InitWait: for the frontend's keys.
    Waiting,
    /// Connected.
    Connected,
    /// Closing: for the frontend to close.
    Closing,
    /// Closed.
    Closed,
}

impl Phase {
    pub(super) fn state(self) -> XenbusState {
        match self {
            Self::Waiting => XenbusState::INIT_WAIT,
            Self::Connected => XenbusState::CONNECTED,
            Self::Closing => XenbusState::CLOSING,
            Self::Closed => XenbusState::CLOSED,
        }
    }
}

/// What time asks of a vif.
#[derive(Default)]
pub(super) struct Timers {
    now: Instant,
    /// When a frontend that is detached is not waited for any longer.
    detach: Option<Instant>,
    /// When the frontend may have another connection.
    resume: Option<Instant>,
}

impl Timers {
    /// Lets a frontend wait whose connection has just begun or failed.
    pub(super) fn pause(&mut self, now: Instant) {
        self.resume = Some(now.after(RECONNECT_PAUSE));
    }

    /// Takes the time, and starts or ends what depends on `online`.
    pub(super) fn look(&mut self, is_online: bool, now: Instant) {
        self.now = now;
        self.detach = match is_online {
            true => None,
            false => self.detach.or(Some(now.after(DETACH_GRACE))),
        };
        self.resume = self.resume.filter(|resume| *resume > now);
    }

    /// The phase to go to, if it is another one.
    pub(super) fn next(&self, phase: Phase, peer: XenbusState, is_online: bool) -> Option<Phase> {
        let is_late = self.detach.is_some_and(|detach| detach <= self.now);
        let next = match peer {
            // Detached before it ever connected: nobody else will close it.
            _ if !is_online && phase == Phase::Waiting => Phase::Closed,
            _ if is_late => Phase::Closed,
            XenbusState::INITIALISING if is_online && self.resume.is_none() => Phase::Waiting,
            // It has let go of its rings.
            XenbusState::INITIALISING if phase == Phase::Connected => Phase::Closed,
            XenbusState::CONNECTED if phase == Phase::Waiting => Phase::Connected,
            XenbusState::CLOSING if phase != Phase::Closed => Phase::Closing,
            XenbusState::CLOSED | XenbusState::UNKNOWN => Phase::Closed,
            _ => phase,
        };
        (next != phase).then_some(next)
    }

    /// When to look again if nothing else happens.
    pub(super) fn first(&self) -> Option<Instant> {
        let timers = [self.detach, self.resume];
        timers.into_iter().flatten().min()
    }
}
