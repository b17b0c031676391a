//! What a packet does to the flow it belongs to.

use super::Direction;
use super::entry::{ASSURED, Flow, REPLIED};
use crate::packet::{GRE, ICMP, UDP, UDP_LITE};
use crate::tcp::{self, Segment};
use crate::time::{Deadline, Tick};
use crate::timeout::Timeouts;

/// Ticks after which an answered UDP flow that is still in use is a stream.
pub(super) const STREAM_AFTER: u32 = 20;

/// Ticks left below which a connection that seems to close is left alone.
const END_MATTERS: i32 = 1200;

/// Whether a flow goes on.
pub(super) enum Course {
    Goes,
    /// Reset before anything came back.
    Unbegun,
}

/// Why a segment is none of the flow's.
pub(super) enum Misfit {
    Invalid,
    Reopens,
}

/// A segment, its flags plausible; `timeouts` in ticks.
pub(super) fn follow_segment(
    flow: &mut Flow,
    now: Tick,
    direction: Direction,
    segment: &Segment<'_>,
    timeouts: &Timeouts,
) -> Result<Course, Misfit> {
    let before = flow.state();
    let mut state = before;
    let progress = flow.progress();
    let fate = flow
        .tcp
        .follow(&mut state, progress, direction, segment, timeouts);
    let mut lifetime = match fate {
        tcp::Fate::Follows { lifetime } => lifetime,
        tcp::Fate::Passes => return Ok(Course::Goes),
        tcp::Fate::Invalid => return Err(Misfit::Invalid),
        tcp::Fate::Reopens => return Err(Misfit::Reopens),
        tcp::Fate::InvalidAtTheEnd => {
            let left = flow.deadline().left(now);
            if left >= END_MATTERS && left > timeouts.unacknowledged as i32 {
                flow.expire_at(Deadline::at(now.after(timeouts.unacknowledged)));
            }
            return Err(Misfit::Invalid);
        }
    };
    flow.set_state(state);
    match progress {
        tcp::Progress::Unanswered => match segment.kind() {
            tcp::Kind::Reset => return Ok(Course::Unbegun),
            // Else whoever only repeats it could keep the flow for ever.
            tcp::Kind::Syn if before == tcp::State::SynSent => return Ok(Course::Goes),
            _ if state == tcp::State::Established => {
                lifetime = lifetime.min(timeouts.unacknowledged);
            }
            _ => {}
        },
        tcp::Progress::Answered
            if matches!(before, tcp::State::SynReceived | tcp::State::Established)
                && state == tcp::State::Established =>
        {
            flow.mark(ASSURED);
        }
        _ => {}
    }
    flow.expire_at(Deadline::at(now.after(lifetime)));
    Ok(Course::Goes)
}

/// What a datagram says of its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Udp {
    /// Both sides have talked for a while.
    Stream,
    Other,
}

/// A datagram.
#[inline(always)]
pub(super) fn follow_udp(flow: &mut Flow, now: Tick) -> Udp {
    if flow.is(REPLIED) && now.is_after(flow.stream_from()) {
        flow.mark(ASSURED);
        Udp::Stream
    } else {
        Udp::Other
    }
}

/// A packet of any protocol but TCP; `timeouts` in ticks.
pub(super) fn follow_datagram(flow: &mut Flow, now: Tick, timeouts: &Timeouts) {
    let replied = flow.is(REPLIED);
    let lifetime = match flow.protocol() {
        UDP | UDP_LITE => match follow_udp(flow, now) {
            Udp::Stream => timeouts.udp_stream,
            Udp::Other => timeouts.udp,
        },
        ICMP => timeouts.icmp,
        GRE if replied => {
            flow.mark(ASSURED);
            timeouts.gre_stream
        }
        GRE => timeouts.gre,
        _ => timeouts.generic,
    };
    flow.expire_at(Deadline::at(now.after(lifetime)));
}
