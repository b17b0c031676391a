//! ICMP: queries, and errors about flows.

use super::tcp::{Connection, Side};
use super::{Script, Way};
use crate::packet::flag::{ACK, SYN};
use crate::packet::{Packet, Ports, Transport};
use crate::step::Answer;

pub(super) fn echo(script: &mut Script<'_>) {
    let way = script.way();
    // Timestamp and address mask besides echo (RFC 792, RFC 950).
    let (ask, reply) = script.choose(&[(8, 0), (8, 0), (8, 0), (13, 14), (17, 18)]);
    let first = query(script, way, ask);
    for _ in 0..script.rng.u32(1..4) {
        match script.rng.u32(0..4) {
            0 => {
                query(script, way, ask);
            }
            1 => {
                // An answer nobody asked for.
                query(script, way, reply);
            }
            _ => {
                script.answer(first, Answer::Echo(reply, 0));
            }
        }
    }
}

fn query(script: &mut Script<'_>, way: Way, kind: u8) -> usize {
    let [a, b] = way.ports.source.to_be_bytes();
    let length = if kind == 8 { 26 } else { 12 };
    let data = vec![b'a'; length];
    let packet = Packet::new(
        way.source,
        way.destination,
        Transport::Icmp(kind, 0, [a, b, 0, 1], data),
    );
    script.send(way.link, &packet)
}

/// Types and codes of errors (RFC 792, RFC 1812), some of them unknown.
const ERRORS: [(u8, u8); 16] = [
    (3, 0),
    (3, 1),
    (3, 2),
    (3, 3),
    (3, 4),
    (3, 9),
    (3, 10),
    (3, 13),
    (3, 99),
    (4, 0),
    (5, 1),
    (11, 0),
    (11, 1),
    (12, 0),
    (12, 1),
    (3, 3),
];

pub(super) fn errors(script: &mut Script<'_>) {
    let way = script.way();
    let first = match script.rng.u32(0..5) {
        0 => query(script, way, 8),
        1 | 2 => {
            let mut connection = Connection::new(script, way);
            let first = connection.say(script, Side::Client, SYN, vec![]);
            if script.rng.bool() {
                connection.say(script, Side::Server, SYN | ACK, vec![]);
                connection.say(script, Side::Client, ACK, vec![]);
            }
            first
        }
        3 => {
            let packet = Packet::new(
                way.source,
                way.destination,
                Transport::Other(47, vec![0; 32]),
            );
            script.send(way.link, &packet)
        }
        _ => script.udp(way, b"who is there?"),
    };
    for _ in 0..script.rng.u32(1..4) {
        let (kind, code) = script.choose(&ERRORS);
        let rest = match (kind, code) {
            (3, 4) => [0, 0, 5, 0x14],
            (5, _) => way.source.octets(),
            _ => [0; 4],
        };
        let from = script
            .rng
            .bool()
            .then(|| script.stations.anybody(script.rng));
        let quoted = script.choose(&[8, 8, 20, 28, 64, 548, 0, 4]);
        script.answer(
            first,
            Answer::Error {
                from,
                kind,
                code,
                rest,
                quoted,
            },
        );
    }
    if script.rng.bool() {
        unasked(script, way);
    }
}

/// An error about a packet that was never sent.
fn unasked(script: &mut Script<'_>, way: Way) {
    let ports = Ports {
        source: way.ports.destination,
        destination: way.ports.source.wrapping_add(1),
    };
    let about = Packet::new(
        way.destination,
        way.source,
        Transport::Udp(ports, b"never".to_vec()),
    );
    let about = about.frame([0; 6], [0; 6]);
    let packet = Packet::new(
        way.source,
        way.destination,
        Transport::Icmp(3, 3, [0; 4], about[14..].to_vec()),
    );
    script.send(way.link, &packet);
}

/// A message that may meet a rule.
pub(super) fn probe(script: &mut Script<'_>, way: Way) {
    let kind = script.choose(&[8, 8, 8, 0, 3, 4, 5, 9, 10, 11, 12, 13, 14, 15, 17, 18, 30]);
    let code = script.choose(&[0, 0, 0, 1, 3, 4]);
    let [a, b] = way.ports.source.to_be_bytes();
    let packet = Packet::new(
        way.source,
        way.destination,
        Transport::Icmp(kind, code, [a, b, 0, 1], vec![b'p'; 26]),
    );
    script.send(way.link, &packet);
}
