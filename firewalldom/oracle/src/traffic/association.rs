//! SCTP associations (RFC 9260): those that behave, and those that do not.

use super::{Script, Way};
use crate::packet::{Packet, Transport};
use crate::step::Answer;

const DATA: u8 = 0;
const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const SACK: u8 = 3;
const HEARTBEAT: u8 = 4;
const HEARTBEAT_ACK: u8 = 5;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const ERROR: u8 = 9;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

/// Every chunk of a kind that trackers look at, and one they do not.
const KINDS: [u8; 13] = [
    DATA,
    INIT,
    INIT_ACK,
    SACK,
    HEARTBEAT,
    HEARTBEAT_ACK,
    ABORT,
    SHUTDOWN,
    SHUTDOWN_ACK,
    ERROR,
    COOKIE_ECHO,
    COOKIE_ACK,
    SHUTDOWN_COMPLETE,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

/// An association with both ends' verification tags.
struct Association {
    way: Way,
    /// The step whose output the server saw first.
    first: usize,
    /// What packets to the client carry, and to the server.
    to_client: u32,
    to_server: u32,
}

impl Association {
    fn new(script: &mut Script<'_>, way: Way) -> Self {
        Self {
            way,
            first: script.steps.len(),
            to_client: script.rng.u32(1..),
            to_server: script.rng.u32(1..),
        }
    }

    fn put(&self, script: &mut Script<'_>, side: Side, tag: u32, chunks: Vec<u8>) {
        match side {
            Side::Client => {
                let transport = Transport::Sctp(self.way.ports, tag, chunks);
                let packet = Packet::new(self.way.source, self.way.destination, transport);
                script.send(self.way.link, &packet);
            }
            Side::Server => {
                script.answer(self.first, Answer::Sctp(tag, chunks));
            }
        }
    }

    /// The tag that packets of a side carry.
    fn tag_of(&self, side: Side) -> u32 {
        match side {
            Side::Client => self.to_server,
            Side::Server => self.to_client,
        }
    }

    /// Says one chunk as it should be.
    fn say(&self, script: &mut Script<'_>, side: Side, kind: u8) {
        let tag = match kind {
            INIT => 0,
            _ => self.tag_of(side),
        };
        self.put(script, side, tag, self.chunk(side, kind));
    }

    fn chunk(&self, side: Side, kind: u8) -> Vec<u8> {
        let body = match kind {
            // The tag that the other side is to use, window, streams, first number.
            INIT | INIT_ACK => {
                let own = match side {
                    Side::Client => self.to_client,
                    Side::Server => self.to_server,
                };
                let mut body = own.to_be_bytes().to_vec();
                body.extend([0, 1, 0, 0, 0, 10, 0, 10, 0, 0, 0, 1]);
                if kind == INIT_ACK {
                    // State cookie.
                    body.extend([0, 7, 0, 8, 1, 2, 3, 4]);
                }
                body
            }
            COOKIE_ECHO => vec![1, 2, 3, 4],
            DATA => [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0][..], b"hello"].concat(),
            SACK => vec![0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0],
            HEARTBEAT | HEARTBEAT_ACK => vec![0, 1, 0, 8, 5, 6, 7, 8],
            SHUTDOWN => vec![0, 0, 0, 1],
            _ => vec![],
        };
        // Of data: begins and ends here.
        let flags = if kind == DATA { 3 } else { 0 };
        chunk(kind, flags, &body)
    }

    fn open(&self, script: &mut Script<'_>) {
        self.say(script, Side::Client, INIT);
        self.say(script, Side::Server, INIT_ACK);
        self.say(script, Side::Client, COOKIE_ECHO);
        self.say(script, Side::Server, COOKIE_ACK);
    }

    fn exchange(&self, script: &mut Script<'_>) {
        for _ in 0..script.rng.u32(1..3) {
            let (one, other) = sides(script);
            let (asks, answers) = script.choose(&[(DATA, SACK), (HEARTBEAT, HEARTBEAT_ACK)]);
            self.say(script, one, asks);
            self.say(script, other, answers);
        }
    }

    fn close(&self, script: &mut Script<'_>) {
        let (one, other) = sides(script);
        if script.one_in(3) {
            self.say(script, one, ABORT);
            return;
        }
        self.say(script, one, SHUTDOWN);
        self.say(script, other, SHUTDOWN_ACK);
        self.say(script, one, SHUTDOWN_COMPLETE);
    }

    /// Something at the wrong time, or under the wrong tag.
    fn stray(&self, script: &mut Script<'_>) {
        let (side, _) = sides(script);
        let kind = script.choose(&KINDS);
        let tag = match script.rng.u32(0..4) {
            0 => 0,
            1 => self.tag_of(side).wrapping_add(1),
            _ => self.tag_of(side),
        };
        let mut chunks = self.chunk(side, kind);
        if script.one_in(4) {
            // The tag is the peer's, reflected.
            chunks[1] |= 1;
        }
        if script.one_in(4) {
            chunks.extend(self.chunk(side, script.choose(&KINDS)));
        }
        self.put(script, side, tag, chunks);
    }
}

fn sides(script: &mut Script<'_>) -> (Side, Side) {
    match script.rng.bool() {
        true => (Side::Client, Side::Server),
        false => (Side::Server, Side::Client),
    }
}

/// A chunk, filled up to four bytes.
fn chunk(kind: u8, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, flags];
    bytes.extend(((4 + body.len()) as u16).to_be_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

pub(super) fn association(script: &mut Script<'_>) {
    let way = script.way();
    let association = Association::new(script, way);
    match script.rng.u32(0..8) {
        // Picked up in the middle, as after another way was chosen.
        0 => association.say(script, Side::Client, HEARTBEAT),
        1 => association.say(script, Side::Client, INIT),
        _ => association.open(script),
    }
    association.exchange(script);
    for _ in 0..script.rng.u32(0..3) {
        association.stray(script);
    }
    if script.rng.bool() {
        association.close(script);
    }
    if script.one_in(4) {
        let idle = script.choose(&[1, 5, 20, 40]);
        script.elapse(idle);
    }
    association.exchange(script);
}
