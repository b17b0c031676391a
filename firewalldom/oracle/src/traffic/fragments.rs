//! Fragments (RFC 791, 3.2): whole packets in pieces, and pieces that make no packet.

use super::{Script, Way};
use crate::packet::{ETHERNET, Packet, Transport, fix_header};
use crate::step::{Answer, Step};

const MORE: u16 = 0x2000;

pub(super) fn fragments(script: &mut Script<'_>) {
    let way = script.way();
    let length = script.choose(&[40, 100, 1400, 2000, 4000]);
    let payload: Vec<u8> = (0..length).map(|n: usize| n as u8).collect();
    let [a, b] = way.ports.source.to_be_bytes();
    let transport = match script.rng.u32(0..3) {
        0 => Transport::Icmp(8, 0, [a, b, 0, 1], payload),
        _ => Transport::Udp(way.ports, payload),
    };
    let mut packet = Packet::new(way.source, way.destination, transport);
    packet.ident = script.rng.u16(..);
    packet.fragment = 0;
    let mut pieces = cut(script, way, &packet);
    match script.rng.u32(0..8) {
        0 => script.rng.shuffle(&mut pieces),
        1 => pieces.reverse(),
        2 => {
            // One comes twice.
            let again = pieces[script.rng.usize(0..pieces.len())].clone();
            pieces.push(again);
        }
        3 => overlap(script, &mut pieces),
        4 => {
            // One never comes. (Nothing else may use its identification: it waits for long.)
            let lost = script.rng.usize(0..pieces.len());
            pieces.remove(lost);
        }
        _ => {}
    }
    let first = script.steps.len();
    for bytes in pieces {
        script.push(Step::Send {
            link: way.link,
            bytes,
        });
    }
    let last = script.steps.len().saturating_sub(1);
    script.answer(last, Answer::Udp(b"got it".to_vec()));
    script.answer(
        first,
        Answer::Error {
            from: None,
            kind: 11,
            code: 1,
            rest: [0; 4],
            quoted: 8,
        },
    );
}

/// The packet in pieces of a multiple of eight bytes.
fn cut(script: &mut Script<'_>, way: Way, packet: &Packet) -> Vec<Vec<u8>> {
    let whole = {
        let station = script.stations.frame(way.link, &small(packet));
        let (to, from) = (&station[..6], &station[6..12]);
        packet.frame(
            from.try_into().unwrap_or_default(),
            to.try_into().unwrap_or_default(),
        )
    };
    let (header, payload) = whole.split_at(ETHERNET + 20);
    let size = script.choose(&[8, 16, 24, 64, 512, 1024, 1480]);
    // Not more than Linux keeps of one packet without limits of its own.
    let size = size.max((payload.len() / 24).next_multiple_of(8));
    let pieces = payload.chunks(size).enumerate();
    pieces
        .map(|(number, piece)| {
            let offset = number * size;
            let more = if offset + piece.len() < payload.len() {
                MORE
            } else {
                0
            };
            fragment(header, piece, (offset / 8) as u16 | more)
        })
        .collect()
}

fn small(packet: &Packet) -> Packet {
    let transport = Transport::Other(packet.transport.protocol(), vec![]);
    Packet::new(packet.source, packet.destination, transport)
}

fn fragment(header: &[u8], piece: &[u8], field: u16) -> Vec<u8> {
    let mut frame = header.to_vec();
    let total = (20 + piece.len()) as u16;
    frame[ETHERNET + 2..ETHERNET + 4].copy_from_slice(&total.to_be_bytes());
    frame[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&field.to_be_bytes());
    fix_header(&mut frame);
    frame.extend(piece);
    frame
}

/// Adds a piece that covers part of another (RFC 1858, RFC 5722's reasons).
fn overlap(script: &mut Script<'_>, pieces: &mut Vec<Vec<u8>>) {
    let mut other = pieces[script.rng.usize(0..pieces.len())].clone();
    let field = u16::from_be_bytes([other[ETHERNET + 6], other[ETHERNET + 7]]);
    let moved = match field & 0x1fff {
        0 => field + 1,
        _ => field - 1,
    };
    other[ETHERNET + 6..ETHERNET + 8].copy_from_slice(&moved.to_be_bytes());
    fix_header(&mut other);
    let at = script.rng.usize(0..=pieces.len());
    pieces.insert(at, other);
}
