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
        name: "MSS",
        what: "CLAMPMSS and mss= change the option of a SYN on Linux; the engine does not yet",
        applies: is_clamped,
    },
    Pending {
        name: "fragments",
        what: "Linux puts fragments together before the rules see them; the engine drops them",
        applies: is_fragment,
    },
];

/// The known fault that a difference comes from, given the frame that went in.
#[must_use]
pub fn pending(frame: &[u8], difference: &Difference) -> Option<&'static Pending> {
    PENDING
        .iter()
        .find(|pending| (pending.applies)(frame, difference))
}

/// One SYN by each, the same up to its options.
fn is_clamped(_: &[u8], difference: &Difference) -> bool {
    let ([linux], [engine]) = (&difference.linux[..], &difference.engine[..]) else {
        return false;
    };
    let views = [&linux.bytes, &engine.bytes].map(|bytes| View::of_frame(bytes));
    let [Some(linux), Some(engine)] = views else {
        return false;
    };
    let (theirs, ours) = (linux.payload(), engine.payload());
    linux.protocol() == 6
        && theirs.len() >= ours.len()
        && ours.len() >= 20
        && theirs[13] & flag::SYN != 0
        && theirs[..12] == ours[..12]
        && (linux.source(), linux.destination()) == (engine.source(), engine.destination())
}

/// A fragment that the engine swallows.
fn is_fragment(frame: &[u8], difference: &Difference) -> bool {
    let view = View::of_frame(frame);
    difference.engine.is_empty() && view.is_some_and(|view| view.fragment() & 0x3fff != 0)
}
