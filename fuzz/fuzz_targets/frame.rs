//! Frames into the engine of the example site, at any time, from either side: nothing panics or
//! grows, and what goes out is a sound packet.

#![no_main]

use arbitrary::Arbitrary;
use firewalldom::policy::InterfaceId;
use firewalldom::time::Instant;
use firewalldom::{Checksum, Firewall, Frame, Gso, GsoKind, Head, Verdict};
use fuzz::engine::{FLOWS, MACS, sum};
use libfuzzer_sys::fuzz_target;

/// Frames of one input; more teach the fuzzer nothing and slow it down.
const FRAMES_MAX: usize = 40;

#[derive(Arbitrary, Debug)]
struct Arrival<'a> {
    from: Side,
    repair: Repair,
    offload: Offload,
    seconds_later: u8,
    /// Bytes of the frame that are copied to its head.
    copied: u8,
    bytes: &'a [u8],
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Side {
    Net,
    Loc,
}

/// Random bytes rarely have a right checksum or destination.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Repair {
    Nothing,
    /// To us, and with the right IPv4 header checksum.
    Header,
    /// The same, with addresses of the site's own networks.
    Addresses,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Offload {
    Unknown,
    Validated,
    Blank,
    Gso(u16),
}

fn repair(arrival: &Arrival<'_>, frame: &mut [u8]) {
    if frame.len() < 34 || matches!(arrival.repair, Repair::Nothing) {
        return;
    }
    frame[..6].copy_from_slice(&MACS[arrival.from as usize]);
    frame[6] &= 0xfe;
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x40 | (frame[14] & 15).max(5);
    let end = 14 + usize::from(frame[14] & 15) * 4;
    let total = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    if matches!(arrival.repair, Repair::Addresses) {
        // 192.0.2.0/24 is outside, 10.0.3.0/24 inside.
        let (net, loc) = ([192, 0, 2], [10, 0, 3]);
        let (source, destination) = match arrival.from {
            Side::Net => (net, if frame[33] & 1 == 0 { net } else { loc }),
            Side::Loc => (loc, if frame[33] & 1 == 0 { net } else { loc }),
        };
        frame[26..29].copy_from_slice(&source);
        frame[30..33].copy_from_slice(&destination);
    }
    if frame.len() >= end {
        frame[24..26].fill(0);
        let right = sum(&frame[14..end]);
        frame[24..26].copy_from_slice(&right.to_be_bytes());
    }
}

/// What must hold of every frame that leaves.
fn assert_sound(bytes: &[u8]) {
    assert!(bytes.len() >= 34, "{} bytes", bytes.len());
    if bytes[12..14] == [8, 0] {
        let total = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
        assert_eq!(bytes.len(), 14 + total, "the length is the packet's own");
        let end = 14 + usize::from(bytes[14] & 15) * 4;
        assert_eq!(sum(&bytes[14..end]), 0, "the header's checksum is right");
    } else {
        assert_eq!((&bytes[12..14], bytes.len()), (&[8, 6][..], 42));
    }
}

fuzz_target!(|arrivals: Vec<Arrival<'_>>| {
    let now = Instant(1_000_000_000);
    fuzz::engine::with_firewall(now, |firewall| run(firewall, now, &arrivals));
});

fn run(firewall: &mut Firewall, mut now: Instant, arrivals: &[Arrival<'_>]) {
    for arrival in arrivals.iter().take(FRAMES_MAX) {
        now = Instant(now.0 + u64::from(arrival.seconds_later) * 1_000_000_000);
        let mut bytes = arrival.bytes.to_vec();
        repair(arrival, &mut bytes);
        let (checksum, gso) = match arrival.offload {
            Offload::Unknown => (Checksum::Unknown, None),
            Offload::Validated => (Checksum::Validated, None),
            Offload::Blank => (Checksum::Blank, None),
            Offload::Gso(size) => {
                let kind = if size & 1 == 0 {
                    GsoKind::TcpV4
                } else {
                    GsoKind::TcpV6
                };
                (
                    Checksum::Blank,
                    Some(Gso {
                        kind,
                        size: size.max(1),
                    }),
                )
            }
        };
        // The data path copies 128 bytes or more of a longer frame.
        let copied = (128 + usize::from(arrival.copied)).min(Head::CAPACITY);
        let mut head = Head::new();
        head.load(&bytes[..copied.min(bytes.len())]);
        let tail: &[u8] = &bytes;
        let mut frame = Frame {
            head: &mut head,
            len: bytes.len(),
            tail: &tail,
            checksum,
            gso,
        };
        let interface = InterfaceId(arrival.from as u8);
        if let Verdict::Forward { egress } = firewall.ingress(now, interface, &mut frame) {
            assert!(egress.0 < 2);
            assert!(frame.len <= bytes.len());
            let rest = &bytes[frame.tail_offset()..frame.len];
            assert_sound(&[frame.head.bytes(), rest].concat());
        }
        firewall.poll(now);
        let flows = firewall.flows();
        assert!(flows.now <= FLOWS && flows.peak <= FLOWS);
    }
    let outputs: Vec<_> = std::iter::from_fn(|| firewall.take_output()).collect();
    assert!(outputs.len() <= 256);
    for (_, output) in outputs {
        assert_sound(&output.bytes);
    }
    assert!(std::iter::from_fn(|| firewall.take_log()).count() <= 256);
}
