//! What waits for room in an egress ring, and how much may.

use crate::Head;
use minios_rs::net::queue::{self, Room};

pub(super) use minios_rs::net::queue::Payload;

/// Judged frames that wait for room in one interface's ring, in their order.
pub(super) type Queue<X> = queue::Queue<X, Head>;

/// What Linux' queue of a network device holds: a backend that shares its processor with the sender is
/// not run for that long. No more pages are lent than there may be payloads.
pub(super) const FRONT_ROOM: Room = Room {
    frames: 1_000,
    payloads: 192,
    pages: usize::MAX,
};
