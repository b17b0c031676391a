//! Single packets: those that some rule may meet, and those that nobody should send.

use super::{Script, Way, icmp, tcp, udp};
use crate::packet::{ETHERNET, Packet, Ports, Transport, fix_header};
use crate::step::{Answer, Step};

pub(super) fn probes(script: &mut Script<'_>) {
    for _ in 0..script.rng.u32(1..5) {
        let way = script.way();
        match script.rng.u32(0..12) {
            0..=5 => tcp::probe(script, way),
            6..=8 => udp::probe(script, way),
            9..=10 => icmp::probe(script, way),
            _ => other(script, way),
        }
    }
}

/// IGMP, IPIP, GRE, ESP, AH, OSPF, SCTP, and a number nobody has. (DCCP and UDP-Lite are tracked by
/// their ports in Debian's kernels and no longer in new ones.)
const PROTOCOLS: [u8; 8] = [2, 4, 47, 50, 51, 89, 132, 200];

fn other(script: &mut Script<'_>, way: Way) {
    let protocol = script.choose(&PROTOCOLS);
    let mut bytes = vec![0; 40];
    bytes[..2].copy_from_slice(&way.ports.source.to_be_bytes());
    bytes[2..4].copy_from_slice(&way.ports.destination.to_be_bytes());
    let transport = Transport::Other(protocol, bytes);
    let packet = Packet::new(way.source, way.destination, transport);
    let first = script.send(way.link, &packet);
    if script.rng.bool() {
        script.answer(first, Answer::Mirror);
    }
}

pub(super) fn odd(script: &mut Script<'_>) {
    let way = script.way();
    let mut packet = Packet::new(
        way.source,
        way.destination,
        Transport::Udp(way.ports, vec![1, 2, 3, 4]),
    );
    match script.rng.u32(0..8) {
        0 => packet.ttl = script.choose(&[0, 1, 2]),
        1 => packet.options = options(script),
        2 => {
            packet.destination = packet.source;
            packet.transport = Transport::Udp(
                Ports {
                    source: 7,
                    destination: 7,
                },
                vec![],
            );
        }
        3 => packet.transport = Transport::Other(script.choose(&[1, 6, 17]), vec![9; 7]),
        4 => {
            // Says something else of its length than is true.
            let mut bytes = vec![0, 53, 0, 53, 0, 200, 0, 0];
            bytes.extend([0; 4]);
            packet.transport = Transport::Other(17, bytes);
        }
        5 => packet.source = script.choose(script.stations.own()),
        _ => {}
    }
    let mut bytes = script.stations.frame(way.link, &packet);
    match script.rng.u32(0..8) {
        // A header's checksum, a payload's, a length, a version, padding, another station.
        0 => bytes[ETHERNET + 10] ^= 0x55,
        1 => *bytes.last_mut().unwrap_or(&mut 0) ^= 0x55,
        2 => {
            let length = script.choose(&[0, 19, 20, 28, 33, 1500]);
            bytes[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&u16::to_be_bytes(length));
            fix_header(&mut bytes);
        }
        3 => bytes[ETHERNET] = script.choose(&[0x44, 0x46, 0x55, 0x65, 0x4f]),
        4 => bytes.extend([0xaa; 18]),
        5 => bytes[5] ^= 1,
        _ => {}
    }
    script.push(Step::Send {
        link: way.link,
        bytes,
    });
    script.udp(way, b"after");
}

/// Loose source route, record route, timestamp, router alert, no-operation, one too long (RFC 791).
fn options(script: &mut Script<'_>) -> Vec<u8> {
    let via = script.stations.anybody(script.rng).octets();
    match script.rng.u32(0..6) {
        0 => [&[131, 7, 4], &via[..], &[0]].concat(),
        1 => [&[7, 7, 4], &[0; 4][..], &[0]].concat(),
        2 => [&[68, 12, 5, 0], &[0; 8][..]].concat(),
        3 => vec![148, 4, 0, 0],
        4 => vec![1, 1, 1, 0],
        _ => vec![7, 40, 4, 0],
    }
}
