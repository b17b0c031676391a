//! TCP: connections that behave, and those that do not.

use super::{Script, Way};
use crate::packet::flag::{ACK, FIN, PSH, RST, SYN, URG};
use crate::packet::{Packet, Segment, Transport};
use crate::step::Answer;

/// A connection with both ends' sequence numbers.
pub(super) struct Connection {
    way: Way,
    /// The step whose output the server saw first.
    first: usize,
    client: u32,
    server: u32,
    window: u16,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

impl Connection {
    pub(super) fn new(script: &mut Script<'_>, way: Way) -> Self {
        Self {
            way,
            first: script.steps.len(),
            client: script.rng.u32(..),
            server: script.rng.u32(..),
            window: script.choose(&[0x2000, 0x2000, 1000, 65535, 0, 1]),
        }
    }

    fn segment(&self, side: Side, flags: u8, payload: Vec<u8>) -> Segment {
        let (sequence, acknowledgement) = match side {
            Side::Client => (self.client, self.server),
            Side::Server => (self.server, self.client),
        };
        Segment {
            sequence,
            acknowledgement: if flags & ACK == 0 { 0 } else { acknowledgement },
            flags,
            window: self.window,
            options: Vec::new(),
            payload,
        }
    }

    fn put(&self, script: &mut Script<'_>, side: Side, segment: Segment) -> usize {
        match side {
            Side::Client => {
                let transport = Transport::Tcp(self.way.ports, segment);
                let packet = Packet::new(self.way.source, self.way.destination, transport);
                script.send(self.way.link, &packet)
            }
            Side::Server => script.answer(self.first, Answer::Tcp(segment)),
        }
    }

    /// Sends what the side has to say next, and counts it.
    pub(super) fn say(
        &mut self,
        script: &mut Script<'_>,
        side: Side,
        flags: u8,
        payload: Vec<u8>,
    ) -> usize {
        let counted = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
        let mut segment = self.segment(side, flags, payload);
        if flags & SYN != 0 {
            segment.options = options(script);
        }
        let step = self.put(script, side, segment);
        match side {
            Side::Client => self.client = self.client.wrapping_add(counted),
            Side::Server => self.server = self.server.wrapping_add(counted),
        }
        step
    }

    pub(super) fn open(&mut self, script: &mut Script<'_>) {
        self.say(script, Side::Client, SYN, vec![]);
        self.say(script, Side::Server, SYN | ACK, vec![]);
        self.say(script, Side::Client, ACK, vec![]);
    }

    fn exchange(&mut self, script: &mut Script<'_>) {
        for _ in 0..script.rng.u32(1..4) {
            let side = script.choose(&[Side::Client, Side::Server]);
            let data = script.data();
            self.say(script, side, ACK | PSH, data);
        }
        self.say(script, Side::Client, ACK, vec![]);
        self.say(script, Side::Server, ACK, vec![]);
    }

    fn close(&mut self, script: &mut Script<'_>) {
        let (one, other) = match script.rng.bool() {
            true => (Side::Client, Side::Server),
            false => (Side::Server, Side::Client),
        };
        self.say(script, one, FIN | ACK, vec![]);
        self.say(script, other, ACK, vec![]);
        self.say(script, other, FIN | ACK, vec![]);
        self.say(script, one, ACK, vec![]);
    }
}

/// Options as hosts send them with a SYN: MSS, window scale, SACK permitted, timestamps.
fn options(script: &mut Script<'_>) -> Vec<u8> {
    let mut options = Vec::new();
    if !script.one_in(4) {
        let mss: u16 = script.choose(&[1460, 1452, 1400, 536, 8960, 0]);
        options.extend([2, 4]);
        options.extend(mss.to_be_bytes());
    }
    if script.rng.bool() {
        options.extend([1, 3, 3, script.choose(&[0, 2, 7, 14])]);
    }
    if script.one_in(3) {
        options.extend([1, 1, 4, 2]);
    }
    if script.one_in(4) {
        options.extend([1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0]);
    }
    options
}

pub(super) fn connection(script: &mut Script<'_>) {
    let way = script.way();
    let mut connection = Connection::new(script, way);
    connection.window = 0x2000;
    connection.open(script);
    connection.exchange(script);
    if script.rng.bool() {
        connection.close(script);
    }
}

/// How far off a segment may be, around the window's edges.
const OFF: [i64; 14] = [
    0,
    1,
    -1,
    2,
    -2,
    1000,
    -1000,
    0x1fff,
    0x2000,
    0x2001,
    65_535,
    -65_536,
    66_000,
    1 << 30,
];

pub(super) fn windows(script: &mut Script<'_>) {
    let way = script.way();
    let mut connection = Connection::new(script, way);
    if script.one_in(6) {
        simultaneous(script, &mut connection);
    } else if script.one_in(6) {
        // Picked up in the middle.
        connection.say(script, Side::Client, ACK, vec![7]);
        connection.say(script, Side::Server, ACK, vec![8]);
    } else {
        connection.open(script);
        connection.exchange(script);
    }
    for _ in 0..script.rng.u32(1..5) {
        let side = script.choose(&[Side::Client, Side::Server]);
        let flags = script.choose(&[ACK, ACK | PSH, RST, RST | ACK, FIN | ACK, SYN, SYN | ACK]);
        let data = if flags & (RST | SYN) == 0 {
            script.data()
        } else {
            vec![]
        };
        let mut segment = connection.segment(side, flags, data);
        let off = script.choose(&OFF) as u32;
        match script.rng.u32(0..3) {
            0 => segment.sequence = segment.sequence.wrapping_add(off),
            1 => segment.acknowledgement = segment.acknowledgement.wrapping_add(off),
            _ => {}
        }
        connection.put(script, side, segment.clone());
        if script.one_in(4) {
            // Again, as it was.
            connection.put(script, side, segment);
        }
    }
    // Does it still live?
    connection.say(script, Side::Server, ACK, vec![1, 2]);
    connection.say(script, Side::Client, ACK, vec![3]);
}

fn simultaneous(script: &mut Script<'_>, connection: &mut Connection) {
    connection.say(script, Side::Client, SYN, vec![]);
    connection.say(script, Side::Server, SYN, vec![]);
    let (client, server) = (connection.client, connection.server);
    connection.client = client.wrapping_sub(1);
    connection.say(script, Side::Client, SYN | ACK, vec![]);
    connection.server = server.wrapping_sub(1);
    connection.say(script, Side::Server, SYN | ACK, vec![]);
}

pub(super) fn reopened(script: &mut Script<'_>) {
    let way = script.way();
    let mut connection = Connection::new(script, way);
    match script.rng.u32(0..4) {
        0 => {
            connection.open(script);
            connection.close(script);
        }
        1 => {
            connection.open(script);
            let side = script.choose(&[Side::Client, Side::Server]);
            connection.say(script, side, RST, vec![]);
        }
        2 => {
            connection.say(script, Side::Client, SYN, vec![]);
            connection.say(script, Side::Server, RST | ACK, vec![]);
        }
        _ => connection.open(script),
    }
    if script.rng.bool() {
        let seconds = script.choose(&[5, 15, 40, 70, 130]);
        script.elapse(seconds);
    }
    connection.client = match script.rng.u32(0..3) {
        0 => connection.client.wrapping_add(1 << 20),
        1 => connection.client,
        _ => script.rng.u32(..),
    };
    connection.server = script.rng.u32(..);
    connection.first = script.steps.len();
    connection.open(script);
    connection.exchange(script);
}

/// A segment that opens nothing, or opens it in a way of its own.
pub(super) fn probe(script: &mut Script<'_>, way: Way) {
    let flags = match script.rng.u32(0..10) {
        0 => ACK,
        1 => RST,
        2 => FIN | ACK,
        3 => SYN | ACK,
        4 => script.choose(&[
            0,
            FIN | URG | PSH,
            SYN | FIN,
            SYN | RST,
            FIN | RST,
            FIN | PSH,
            SYN | URG,
            FIN,
        ]),
        _ => SYN,
    };
    let mut connection = Connection::new(script, way);
    connection.say(script, Side::Client, flags, vec![]);
    if script.one_in(3) {
        connection.say(script, Side::Server, ACK | (SYN & flags), vec![]);
    }
}
