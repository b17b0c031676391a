//! Differences that are known faults: explained, not wanted, and not repaired yet. The fewer the
//! better; each goes when its repair comes, and a test of its own stays.

use crate::compare::Difference;
use crate::packet::{View, flag};

/// A fault that is known.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// Its name, in reports.
    pub name: &'static str,
    /// What Linux does, and what the engine does instead.
    pub what: &'static str,
    /// Whether a difference is one of those.
    applies: fn(&[u8], &Difference) -> bool,
}

/// All of them.
pub const PENDING: [Pending; 2] = [
    Pending {
        name: "answer to INVALID",
        what: "REJECT's answer to a packet of no connection meets the rules of OUTPUT on Linux, and \
               often ends there; the engine sends it",
        applies: is_answer,
    },
    Pending {
        name: "own reply's header",
        what: "DF, type of service and quoted identification of what the firewall itself says",
        applies: is_own_reply,
    },
];

/// The known fault that a difference comes from, given the frame that went in.
#[must_use]
pub fn pending(frame: &[u8], difference: &Difference) -> Option<&'static Pending> {
    PENDING
        .iter()
        .find(|pending| (pending.applies)(frame, difference))
}

/// One reset or ICMP error by the engine, and silence by Linux.
fn is_answer(_: &[u8], difference: &Difference) -> bool {
    let [answer] = &difference.engine[..] else {
        return false;
    };
    let Some(view) = View::of_frame(&answer.bytes) else {
        return false;
    };
    let is_reset = view.protocol() == 6
        && view
            .payload()
            .get(13)
            .is_some_and(|flags| flags & flag::RST != 0);
    difference.linux.is_empty() && (is_reset || view.quoted().is_some())
}

/// One packet by each, from the firewall to whoever sent the frame, and of the same ICMP type.
fn is_own_reply(frame: &[u8], difference: &Difference) -> bool {
    let ([linux], [engine]) = (&difference.linux[..], &difference.engine[..]) else {
        return false;
    };
    let views = [frame, &linux.bytes, &engine.bytes].map(View::of_frame);
    let [Some(sent), Some(linux), Some(engine)] = views else {
        return false;
    };
    linux.protocol() == 1
        && engine.protocol() == 1
        && linux.destination() == sent.source()
        && (linux.source(), linux.destination()) == (engine.source(), engine.destination())
        && linux.payload().first() == engine.payload().first()
        && linux.payload().len() == engine.payload().len()
}
