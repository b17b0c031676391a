//! Fragments of a few packets, in any order, at any time: nothing panics, and what leaves is a packet
//! whose every byte somebody sent there.
//!
//! The input is a row of records: a byte of control (bits 0 and 1: which packet; 2: more follow; 3: must
//! not be fragmented; 4 to 7: seconds since the last), the offset in eights of bytes (two bytes), the
//! length of the payload (one), and that.

#![no_main]

use firewalldom::policy::InterfaceId;
use firewalldom::time::Instant;
use firewalldom::{Checksum, Firewall, Frame, Head, Verdict};
use fuzz::engine::{FLOWS, MACS, sum};
use fuzz::packet::arp;
use libfuzzer_sys::fuzz_target;

const NET: InterfaceId = InterfaceId(0);
const LOC: InterfaceId = InterfaceId(1);
const GATEWAY: [u8; 4] = [192, 0, 2, 1];
const FIREWALL: [u8; 4] = [192, 0, 2, 2];
const CLIENT: [u8; 4] = [10, 0, 3, 7];
const SERVER: [u8; 4] = [198, 51, 100, 7];
/// For experiments (RFC 3692): nothing in it is read.
const PROTOCOL: u8 = 253;
const PIECES_MAX: usize = 300;

struct Piece<'a> {
    packet: u8,
    more: bool,
    must_not: bool,
    seconds_later: u8,
    /// In eights of bytes.
    offset: u16,
    payload: &'a [u8],
}

impl Piece<'_> {
    /// Its packet's, in the IPv4 header.
    fn identification(&self) -> u16 {
        1 + u16::from(self.packet)
    }
}

/// The next record, and the rest of the input.
fn piece(input: &[u8]) -> Option<(Piece<'_>, &[u8])> {
    let [control, high, low, len, rest @ ..] = input else {
        return None;
    };
    let (payload, rest) = rest.split_at(usize::from(*len).min(rest.len()));
    let piece = Piece {
        packet: control & 3,
        more: control & 4 != 0,
        must_not: control & 8 != 0,
        seconds_later: control >> 4,
        offset: u16::from_be_bytes([*high, *low]) & 0x1fff,
        payload,
    };
    Some((piece, rest))
}

fn frame(piece: &Piece<'_>) -> Vec<u8> {
    let total = (20 + piece.payload.len()) as u16;
    let flags = u16::from(piece.more) << 13 | u16::from(piece.must_not) << 14 | piece.offset;
    let mut frame = Vec::with_capacity(14 + usize::from(total));
    frame.extend(MACS[1]);
    frame.extend([2, 0, 0, 0, 0, 0x21, 8, 0, 0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend(piece.identification().to_be_bytes());
    frame.extend(flags.to_be_bytes());
    frame.extend([64, PROTOCOL, 0, 0]);
    frame.extend(CLIENT);
    frame.extend(SERVER);
    let right = sum(&frame[14..34]);
    frame[24..26].copy_from_slice(&right.to_be_bytes());
    frame.extend(piece.payload);
    frame
}

/// Checks a packet or fragment that left: each byte of it is at its place in a piece of the packet.
fn assert_was_sent(bytes: &[u8], sent: &[Piece<'_>]) {
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    assert_eq!(
        bytes.len(),
        14 + usize::from(word(16)),
        "its length is its own"
    );
    assert_eq!(sum(&bytes[14..34]), 0, "the header's checksum is right");
    assert_eq!(bytes[23], PROTOCOL);
    let offset = usize::from(word(20) & 0x1fff) * 8;
    assert!(
        offset + bytes.len() - 14 <= 65_535,
        "it ends within a packet"
    );
    let payload = &bytes[34..];
    let mut was_sent = vec![false; payload.len()];
    for piece in sent
        .iter()
        .filter(|piece| piece.identification() == word(18))
    {
        let start = usize::from(piece.offset) * 8;
        // What of the one lies before the other.
        let (before, ahead) = (start.saturating_sub(offset), offset.saturating_sub(start));
        let left = payload.iter().zip(&mut was_sent).skip(before);
        for ((byte, was_sent), there) in left.zip(piece.payload.iter().skip(ahead)) {
            *was_sent |= byte == there;
        }
    }
    if let Some(at) = was_sent.iter().position(|was_sent| !was_sent) {
        panic!("byte {} came from nowhere", offset + at);
    }
}

fn inject(
    firewall: &mut Firewall,
    now: Instant,
    from: InterfaceId,
    bytes: &[u8],
) -> Option<Vec<u8>> {
    let mut head = Head::new();
    head.load(&bytes[..bytes.len().min(128)]);
    let mut frame = Frame {
        head: &mut head,
        len: bytes.len(),
        tail: &bytes,
        checksum: Checksum::Unknown,
        gso: None,
    };
    match firewall.ingress(now, from, &mut frame) {
        Verdict::Forward { egress } => {
            assert_eq!(egress, NET);
            let rest = &bytes[frame.tail_offset()..frame.len];
            Some([frame.head.bytes(), rest].concat())
        }
        _ => None,
    }
}

fuzz_target!(|input: &[u8]| {
    let now = Instant(1_000_000_000);
    fuzz::engine::with_firewall(now, |firewall| run(firewall, now, input));
});

fn run(firewall: &mut Firewall, mut now: Instant, input: &[u8]) {
    // So that nothing waits.
    inject(firewall, now, NET, &arp(GATEWAY, FIREWALL));
    while firewall.take_output().is_some() {}
    let mut sent = Vec::new();
    let mut rest = input;
    for _ in 0..PIECES_MAX {
        let Some((piece, next)) = piece(rest) else {
            break;
        };
        rest = next;
        now = Instant(now.0 + u64::from(piece.seconds_later) * 1_000_000_000);
        let bytes = frame(&piece);
        sent.push(piece);
        if let Some(bytes) = inject(firewall, now, LOC, &bytes) {
            assert_was_sent(&bytes, &sent);
        }
        firewall.poll(now);
        while let Some((egress, output)) = firewall.take_output() {
            if egress == NET && output.bytes[12..14] == [8, 0] {
                assert_was_sent(&output.bytes, &sent);
            }
        }
        assert!(firewall.flows().now <= FLOWS);
    }
}
