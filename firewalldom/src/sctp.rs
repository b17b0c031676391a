//! SCTP as a tracker in the middle sees it (RFC 9260): which chunks make an association what, as
//! netfilter has it, and whose verification tags they must carry (8.5).

use crate::checksum::get32;
use crate::flow::Direction;
use crate::frame::Frame;
use crate::packet::Packet;
use crate::timeout::Timeouts;

/// Length of the common header: ports, verification tag, checksum.
const HEADER: usize = 12;
/// Offset of the checksum in it.
pub(crate) const CHECKSUM: usize = 8;
/// Length of what INIT and INIT ACK say before their parameters.
const INIT_LEN: usize = 16;

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const HEARTBEAT: u8 = 4;
const HEARTBEAT_ACK: u8 = 5;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

/// Of ABORT and SHUTDOWN COMPLETE: the tag is the peer's, reflected.
const FLAG_T: u8 = 1;

/// Chunks that end an association, or answer one: they begin none (8.4).
const NEVER_FIRST: [u8; 3] = [ABORT, SHUTDOWN_COMPLETE, COOKIE_ACK];

/// Chunks whose tag has rules of its own (8.5.1).
const OWN_RULES: [u8; 7] = [
    INIT,
    SHUTDOWN_COMPLETE,
    COOKIE_ECHO,
    ABORT,
    SHUTDOWN_ACK,
    HEARTBEAT,
    HEARTBEAT_ACK,
];

/// State of a tracked association.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    #[default]
    None,
    Closed,
    CookieWait,
    CookieEchoed,
    Established,
    ShutdownSent,
    ShutdownReceived,
    ShutdownAckSent,
    HeartbeatSent,
}

impl State {
    const ALL: [Self; 9] = [
        Self::None,
        Self::Closed,
        Self::CookieWait,
        Self::CookieEchoed,
        Self::Established,
        Self::ShutdownSent,
        Self::ShutdownReceived,
        Self::ShutdownAckSent,
        Self::HeartbeatSent,
    ];

    /// The state that `state as u8` was.
    pub(crate) fn from_number(number: u8) -> Self {
        Self::ALL
            .get(usize::from(number))
            .copied()
            .unwrap_or_default()
    }

    const fn lifetime(self, timeouts: &Timeouts) -> u32 {
        let timeouts = &timeouts.sctp;
        match self {
            Self::None | Self::Closed => timeouts.closed,
            Self::CookieWait => timeouts.cookie_wait,
            Self::CookieEchoed => timeouts.cookie_echoed,
            Self::Established => timeouts.established,
            Self::ShutdownSent => timeouts.shutdown_sent,
            Self::ShutdownReceived => timeouts.shutdown_received,
            Self::ShutdownAckSent => timeouts.shutdown_ack_sent,
            Self::HeartbeatSent => timeouts.heartbeat_sent,
        }
    }
}

/// A chunk as far as tracking needs it.
#[derive(Clone, Copy, Debug)]
struct Chunk {
    kind: u8,
    flags: u8,
    /// Initiate tag, of INIT and INIT ACK that are not cut.
    initiates: Option<u32>,
}

/// The chunks of a packet.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    /// Verification tag.
    tag: u32,
    list: heapless::Vec<Chunk, { Self::MOST }>,
}

impl Chunks {
    /// Most chunks of a packet that is tracked: more of the smallest than fit in 1,500 bytes.
    const MOST: usize = 96;

    /// Reads the chunks of a packet; `None` if it has none, too many, or some where they must not be.
    pub(crate) fn of(frame: &Frame<'_>, packet: &Packet) -> Option<Self> {
        let mut at = packet.transport + HEADER;
        let end = packet.transport + usize::from(packet.payload_len());
        let mut header = [0; HEADER];
        frame.read(packet.transport, &mut header).ok()?;
        let mut chunks = Self {
            tag: get32(&header, 4),
            list: heapless::Vec::new(),
        };
        let mut is_alone = false;
        while at + 4 <= end {
            let mut bytes = [0; 4 + INIT_LEN];
            let have = (end - at).min(bytes.len());
            frame.read(at, &mut bytes[..have]).ok()?;
            let [kind, flags, high, low, ..] = bytes;
            let length = u16::from_be_bytes([high, low]);
            is_alone |= matches!(kind, INIT | INIT_ACK | SHUTDOWN_COMPLETE);
            let is_first = is_alone || matches!(kind, COOKIE_ACK | COOKIE_ECHO);
            if length == 0 || is_first && !chunks.list.is_empty() {
                return None;
            }
            let initiates = (have == bytes.len()).then(|| get32(&bytes, 4));
            let chunk = Chunk {
                kind,
                flags,
                initiates,
            };
            chunks.list.push(chunk).ok()?;
            at += usize::from(length).next_multiple_of(4);
        }
        (!chunks.list.is_empty()).then_some(chunks)
    }

    fn has(&self, kinds: &[u8]) -> bool {
        self.list.iter().any(|chunk| kinds.contains(&chunk.kind))
    }
}

/// What is remembered of an association besides its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Association {
    /// Verification tags of packets in either direction; 0: not known.
    pub(crate) tags: [u32; 2],
    /// [`Association::INITIATED`] and the others.
    pub(crate) notes: u8,
}

/// What became of a packet of an association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It fits; the association is to be remembered for so many tenths of a second.
    Follows {
        lifetime: u32,
    },
    /// It passes, and the association lives no longer for it.
    Passes,
    Invalid,
}

impl Association {
    /// An INIT was seen in the original direction; one bit higher: in the reply direction.
    const INITIATED: u8 = 1;
    /// A heartbeat had another tag: the answer may show that it is the new one.
    const TAG_FAILED: u8 = 4;
    /// That heartbeat was one of the reply direction.
    const FAILED_REPLY: u8 = 8;

    /// A new association's, from its first packet: what is remembered, its state, and for how many
    /// tenths of a second. `None`: such a packet begins none.
    pub(crate) fn open(chunks: &Chunks, timeouts: &Timeouts) -> Option<(Self, State, u32)> {
        if chunks.has(&NEVER_FIRST) {
            return None;
        }
        let mut association = Self::default();
        for chunk in &chunks.list {
            match (chunk.kind, chunk.initiates) {
                (INIT, Some(tag)) if chunks.tag == 0 => association.tags[1] = tag,
                (INIT, _) => return None,
                (HEARTBEAT, _) => association.tags[0] = chunks.tag,
                (SHUTDOWN_ACK, _) => association.tags[1] = chunks.tag,
                _ => {}
            }
            let begins = step(State::None, Direction::Original, chunk.kind);
            if matches!(begins, None | Some(State::None)) {
                return None;
            }
        }
        let mut state = State::None;
        match association.follow(&mut state, Direction::Original, chunks, timeouts) {
            Fate::Follows { lifetime } => Some((association, state, lifetime)),
            _ => None,
        }
    }

    /// Takes a packet. What its first chunks changed stays, even if a later one is invalid.
    pub(crate) fn follow(
        &mut self,
        state: &mut State,
        direction: Direction,
        chunks: &Chunks,
        timeouts: &Timeouts,
    ) -> Fate {
        if !chunks.has(&OWN_RULES) && chunks.tag != self.tags[direction as usize] {
            return Fate::Invalid;
        }
        let mut passes = false;
        for chunk in &chunks.list {
            match self.take(state, direction, chunks, chunk, passes) {
                Some(Taken::Followed) => {}
                Some(Taken::Passed) => passes = true,
                None => return Fate::Invalid,
            }
        }
        if passes {
            return Fate::Passes;
        }
        Fate::Follows {
            lifetime: state.lifetime(timeouts),
        }
    }

    fn take(
        &mut self,
        state: &mut State,
        direction: Direction,
        chunks: &Chunks,
        chunk: &Chunk,
        passes: bool,
    ) -> Option<Taken> {
        let (side, other) = (direction as usize, direction.other() as usize);
        let own = chunks.tag == self.tags[side];
        let is_whose = |reflected| chunks.tag == self.tags[if reflected { other } else { side }];
        match chunk.kind {
            INIT if chunks.tag != 0 => return None,
            ABORT | SHUTDOWN_COMPLETE if !is_whose(chunk.flags & FLAG_T != 0) => return None,
            COOKIE_ECHO if !own => return None,
            COOKIE_ACK => self.notes &= !(Self::INITIATED | Self::INITIATED << 1),
            HEARTBEAT | HEARTBEAT_ACK if self.tags[side] == 0 => self.tags[side] = chunks.tag,
            HEARTBEAT | HEARTBEAT_ACK if own => self.notes &= !Self::TAG_FAILED,
            HEARTBEAT | HEARTBEAT_ACK if passes || chunks.has(&[DATA]) => return None,
            HEARTBEAT => {
                let reply = u8::from(direction == Direction::Reply) * Self::FAILED_REPLY;
                self.notes = self.notes & !Self::FAILED_REPLY | Self::TAG_FAILED | reply;
                return Some(Taken::Passed);
            }
            HEARTBEAT_ACK => {
                let failed_here =
                    (self.notes & Self::FAILED_REPLY != 0) == (direction == Direction::Reply);
                if self.notes & Self::TAG_FAILED == 0 || failed_here {
                    return None;
                }
                self.notes &= !Self::TAG_FAILED;
                self.tags[side] = chunks.tag;
                self.tags[other] = 0;
            }
            _ => {}
        }
        let before = *state;
        let next = step(before, direction, chunk.kind)?;
        match chunk.kind {
            INIT => {
                let tag = chunk.initiates?;
                // One that only repeats what is known is no second INIT.
                if before == State::None || self.tags[other] != tag {
                    if self.notes & 3 == 3 {
                        self.notes &= !(Self::INITIATED << other);
                    }
                    self.notes |= Self::INITIATED << side;
                }
                self.tags[other] = tag;
            }
            INIT_ACK => {
                let tag = chunk.initiates?;
                let known = self.tags[other];
                let answers = self.notes & Self::INITIATED << other != 0;
                let collides = self.notes & 3 == 3;
                if known != tag && (collides || !answers && known != 0) {
                    return None;
                }
                self.tags[other] = tag;
            }
            _ => {}
        }
        *state = next;
        // Else whoever only repeats it could keep the flow for ever.
        let repeats = chunk.kind == INIT && (before, next) == (State::Closed, State::Closed);
        Some(if repeats {
            Taken::Passed
        } else {
            Taken::Followed
        })
    }
}

/// What became of a chunk.
enum Taken {
    Followed,
    /// It keeps the association from being remembered longer.
    Passed,
}

/// The state that a chunk leads to; `None`: it is invalid in this one.
fn step(state: State, direction: Direction, chunk: u8) -> Option<State> {
    use Direction::{Original, Reply};
    use State::{
        Closed, CookieEchoed, CookieWait, Established, HeartbeatSent, None, ShutdownAckSent,
        ShutdownReceived, ShutdownSent,
    };
    let tells = matches!(
        chunk,
        INIT | INIT_ACK
            | ABORT
            | SHUTDOWN
            | SHUTDOWN_ACK
            | ERROR
            | COOKIE_ECHO
            | COOKIE_ACK
            | SHUTDOWN_COMPLETE
            | HEARTBEAT
            | HEARTBEAT_ACK
    );
    if !tells {
        // Data, and what acknowledges it.
        return Some(state);
    }
    Some(match (direction, chunk, state) {
        (Reply, _, None) => return Option::None,
        (Reply, HEARTBEAT, HeartbeatSent) => HeartbeatSent,
        (Reply, HEARTBEAT_ACK, HeartbeatSent) => Established,
        (Reply, _, HeartbeatSent) => return Option::None,
        (_, ABORT, _) => Closed,
        (Original, HEARTBEAT, None) | (Original, HEARTBEAT | HEARTBEAT_ACK, HeartbeatSent) => {
            HeartbeatSent
        }
        (Original, SHUTDOWN_ACK, None | HeartbeatSent) => ShutdownAckSent,
        (Original, INIT, HeartbeatSent) => CookieWait,
        (Original, _, None | HeartbeatSent) => Closed,
        (Original, INIT, ShutdownSent | ShutdownReceived) => Closed,
        (Reply, INIT_ACK, Closed) => CookieWait,
        (Original, SHUTDOWN, Established) => ShutdownSent,
        (Reply, SHUTDOWN, Established) => ShutdownReceived,
        (_, SHUTDOWN_ACK, ShutdownSent | ShutdownReceived) => ShutdownAckSent,
        (Reply, ERROR, CookieEchoed) => Closed,
        (_, COOKIE_ECHO, CookieWait) => CookieEchoed,
        (_, COOKIE_ACK, CookieEchoed) => Established,
        (_, SHUTDOWN_COMPLETE, ShutdownAckSent) => Closed,
        (_, _, state) => state,
    })
}

#[cfg(test)]
mod tests;
