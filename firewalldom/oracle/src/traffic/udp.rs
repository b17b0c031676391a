//! UDP, idle flows, and source ports that are taken.

use super::tcp::{Connection, Side};
use super::{Script, Way};
use crate::packet::flag::{ACK, FIN, RST, SYN};
use crate::packet::{Packet, Ports, Transport};
use crate::step::{Answer, Step};

pub(super) fn datagrams(script: &mut Script<'_>) {
    let way = script.way();
    let data = script.data();
    let first = script.udp(way, &data);
    for _ in 0..script.rng.u32(1..5) {
        match script.rng.u32(0..4) {
            0 => {
                let data = script.data();
                script.udp(way, &data);
            }
            1 => {
                // Somebody else sends to where the flow came from.
                let mut other = way;
                other.ports.destination = other.ports.destination.wrapping_add(1);
                script.udp(other, b"other");
            }
            _ => {
                let data = script.data();
                script.answer(first, Answer::Udp(data));
            }
        }
    }
}

/// Idle times around netfilter's time-outs, two seconds off: both sides count in whole ones.
const IDLE_S: [u32; 16] = [
    8, 12, 27, 28, 32, 33, 58, 62, 117, 118, 122, 123, 297, 303, 597, 603,
];

pub(super) fn time_out(script: &mut Script<'_>) {
    let way = script.way();
    let idle = script.choose(&IDLE_S);
    if script.rng.bool() {
        let first = script.udp(way, b"one");
        for _ in 0..script.rng.u32(0..3) {
            script.answer(first, Answer::Udp(b"two".to_vec()));
            script.udp(way, b"three");
        }
        if script.one_in(32) {
            // What goes on for two seconds is a stream; that clock cannot be moved.
            script.push(Step::Pause(2_100_000));
            script.udp(way, b"four");
        }
        script.elapse(idle);
        script.answer(first, Answer::Udp(b"late".to_vec()));
        script.udp(way, b"last");
        return;
    }
    let mut connection = Connection::new(script, way);
    match script.rng.u32(0..7) {
        0 => {
            connection.say(script, Side::Client, SYN, vec![]);
        }
        1 => {
            connection.say(script, Side::Client, SYN, vec![]);
            connection.say(script, Side::Server, SYN | ACK, vec![]);
        }
        2 => {
            connection.open(script);
            connection.say(script, Side::Client, FIN | ACK, vec![]);
        }
        3 => {
            connection.open(script);
            connection.say(script, Side::Client, FIN | ACK, vec![]);
            connection.say(script, Side::Server, ACK, vec![]);
        }
        4 => {
            connection.open(script);
            connection.say(script, Side::Server, FIN | ACK, vec![]);
            connection.say(script, Side::Client, FIN | ACK, vec![]);
        }
        5 => {
            connection.open(script);
            connection.say(script, Side::Server, RST, vec![]);
        }
        _ => {
            connection.say(script, Side::Client, ACK, vec![]);
        }
    }
    script.elapse(idle);
    connection.say(script, Side::Server, ACK, vec![]);
    connection.say(script, Side::Client, ACK, vec![]);
}

pub(super) fn collision(script: &mut Script<'_>) {
    let way = script.way();
    let is_tcp = script.rng.bool();
    let mut firsts = Vec::new();
    for _ in 0..script.rng.u32(2..5) {
        // What only one side lets pass would take a port on that side alone.
        let source = script.stations.host(script.rng, way.link);
        if source == way.destination {
            continue;
        }
        let way = Way { source, ..way };
        if is_tcp {
            let mut connection = Connection::new(script, way);
            connection.open(script);
        } else {
            firsts.push(script.udp(way, b"?"));
        }
        if script.one_in(4) {
            // The same host from another port: which may be the one NAT chose.
            let source = script.stations.source_port(script.rng);
            let ports = Ports {
                source,
                ..way.ports
            };
            firsts.push(script.udp(Way { ports, ..way }, b"!"));
        }
    }
    for first in firsts {
        script.answer(first, Answer::Udp(b"!".to_vec()));
    }
}

/// A datagram that may meet a rule.
pub(super) fn probe(script: &mut Script<'_>, way: Way) {
    let data = script.data();
    let mut packet = Packet::new(way.source, way.destination, Transport::Udp(way.ports, data));
    packet.tos = script.choose(&[0, 0, 0x10, 0xb8]);
    let first = script.send(way.link, &packet);
    if script.one_in(3) {
        script.answer(first, Answer::Udp(b"yes".to_vec()));
    }
    if script.one_in(12) {
        script.answer(first, Answer::Tcp(reset()));
    }
}

fn reset() -> crate::packet::Segment {
    crate::packet::Segment {
        sequence: 0,
        acknowledgement: 0,
        flags: RST,
        window: 0,
        options: vec![],
        payload: vec![],
    }
}
