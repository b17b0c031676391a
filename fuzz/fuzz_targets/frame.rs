//! Frames into the engine of the example site, at any time, from either side: nothing panics or
//! grows, and what goes out is a sound packet whose checksums are right if they were on arrival.
//!
//! The input is a row of records, see [`arrival`]. A few hosts on either side answer when they are
//! asked for, so that what is forwarded leaves; all others are silent.

#![no_main]

use firewalldom::policy::InterfaceId;
use firewalldom::time::Instant;
use firewalldom::{Checksum, Firewall, Frame, Gso, GsoKind, Head, OwnedFrame, Verdict};
use fuzz::engine::{FLOWS, MACS, sum};
use fuzz::packet::{Transport, answer, arp, seal, transport, word};
use libfuzzer_sys::fuzz_target;

/// Frames of one input; more teach the fuzzer nothing and slow it down.
const FRAMES_MAX: usize = 40;

/// The firewall's own addresses, by interface.
const OWN: [[u8; 4]; 2] = [[192, 0, 2, 2], [10, 0, 3, 1]];
/// Who answers ARP, and by which interface: the gateway, a client, and the example's server.
const NEIGHBOURS: [(u8, [u8; 4]); 3] =
    [(0, [192, 0, 2, 1]), (1, [10, 0, 3, 7]), (1, [10, 0, 3, 9])];
/// Sources of repaired packets, by the interface they come in on and the lowest bits of the input's last
/// byte of the address, which stands where a last byte is 0 here.
const SOURCES: [[[u8; 4]; 4]; 2] = [
    [
        [198, 51, 100, 7],
        [198, 51, 100, 0],
        [192, 0, 2, 1],
        [192, 0, 2, 0],
    ],
    [[10, 0, 3, 7], [10, 0, 3, 9], [10, 0, 3, 7], [10, 0, 3, 0]],
];
/// The same of destinations.
const DESTINATIONS: [[[u8; 4]; 4]; 2] = [
    [OWN[0], [10, 0, 3, 9], [10, 0, 3, 0], [192, 0, 2, 0]],
    [[198, 51, 100, 7], [198, 51, 100, 0], [192, 0, 2, 0], OWN[1]],
];

struct Arrival<'a> {
    from: InterfaceId,
    repair: Repair,
    transport_sum: TransportSum,
    checksum: Checksum,
    gso: Option<Gso>,
    seconds_later: u8,
    /// Of an answer, in its IPv4 header.
    identification: u16,
    /// Bytes of the frame that are copied to its head.
    copied: usize,
    bytes: &'a [u8],
}

/// Random bytes rarely have a right checksum or destination.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Repair {
    Nothing,
    /// To us, and with the right IPv4 header checksum.
    Header,
    /// The same, with addresses of the site's own networks.
    Addresses,
    /// Not the bytes, but the answer with these data to what left last.
    Answer,
}

/// What becomes of the checksum of TCP, UDP and ICMP when a packet is repaired.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TransportSum {
    Repaired,
    AsItIs,
}

/// The next record, and the rest of the input: a byte of control (bit 0: from loc; 1 and 2: repair; 3
/// and 4: offload; 5: the transport checksum stays as it is), seconds since the last, how many bytes the
/// head has beyond 128, the size of segments and an answer's identification (two bytes), the length of
/// the frame (two bytes), and that.
fn arrival(input: &[u8]) -> Option<(Arrival<'_>, &[u8])> {
    let [
        control,
        seconds_later,
        copied,
        size_high,
        size_low,
        high,
        low,
        rest @ ..,
    ] = input
    else {
        return None;
    };
    let len = usize::from(u16::from_be_bytes([*high, *low]) & 0x7ff);
    let (bytes, rest) = rest.split_at(len.min(rest.len()));
    let identification = u16::from_be_bytes([*size_high, *size_low]);
    let size = identification;
    let kind = match size & 1 {
        0 => GsoKind::TcpV4,
        _ => GsoKind::TcpV6,
    };
    let size = size.max(1);
    let (checksum, gso) = match control >> 3 & 3 {
        0 => (Checksum::Unknown, None),
        1 => (Checksum::Validated, None),
        2 => (Checksum::Blank, None),
        _ => (Checksum::Blank, Some(Gso { kind, size })),
    };
    let arrival = Arrival {
        from: InterfaceId(control & 1),
        repair: match control >> 1 & 3 {
            0 => Repair::Nothing,
            1 => Repair::Header,
            2 => Repair::Addresses,
            _ => Repair::Answer,
        },
        transport_sum: match control >> 5 & 1 {
            0 => TransportSum::Repaired,
            _ => TransportSum::AsItIs,
        },
        checksum,
        gso,
        seconds_later: *seconds_later,
        identification,
        // The data path copies 128 bytes or more of a longer frame.
        copied: (128 + usize::from(*copied)).min(Head::CAPACITY),
        bytes,
    };
    Some((arrival, rest))
}

fn repair(arrival: &Arrival<'_>, frame: &mut [u8]) {
    if frame.len() < 34 || arrival.repair == Repair::Nothing {
        return;
    }
    let from = usize::from(arrival.from.0);
    frame[..6].copy_from_slice(&MACS[from]);
    frame[6] &= 0xfe;
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x40 | (frame[14] & 15).max(5);
    let total = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    if arrival.repair == Repair::Addresses {
        for (at, choices) in [(26, &SOURCES[from]), (30, &DESTINATIONS[from])] {
            let input = frame[at + 3];
            let mut address = choices[usize::from(input & 3)];
            if address[3] == 0 {
                address[3] = input;
            }
            frame[at..at + 4].copy_from_slice(&address);
        }
    }
    let end = 14 + usize::from(frame[14] & 15) * 4;
    if frame.len() >= end {
        frame[24..26].fill(0);
        let right = sum(&frame[14..end]);
        frame[24..26].copy_from_slice(&right.to_be_bytes());
    }
    if arrival.transport_sum == TransportSum::Repaired {
        seal(frame, arrival.checksum);
    }
}

/// What must hold of every frame that leaves.
fn assert_sound(bytes: &[u8]) {
    assert!(bytes.len() >= 34, "{} bytes", bytes.len());
    if bytes[12..14] == [8, 0] {
        let total = usize::from(word(bytes, 16));
        assert_eq!(bytes.len(), 14 + total, "the length is the packet's own");
        let end = 14 + usize::from(bytes[14] & 15) * 4;
        assert_eq!(sum(&bytes[14..end]), 0, "the header's checksum is right");
    } else {
        assert_eq!((&bytes[12..14], bytes.len()), (&[8, 6][..], 42));
    }
}

fuzz_target!(|input: &[u8]| {
    let now = Instant(1_000_000_000);
    fuzz::engine::with_firewall(now, |firewall| {
        let mut world = World {
            firewall,
            now,
            left: None,
            all_right: true,
        };
        world.run(input);
    });
});

/// The firewall, and what is known of what it did.
struct World<'a> {
    firewall: &'a mut Firewall,
    now: Instant,
    /// The last packet that left, and by which interface.
    left: Option<(InterfaceId, Vec<u8>)>,
    /// Whether every transport checksum so far was right on arrival.
    all_right: bool,
}

impl World<'_> {
    fn run(&mut self, input: &[u8]) {
        for (interface, address) in NEIGHBOURS {
            self.greet(interface, address);
        }
        let mut rest = input;
        for _ in 0..FRAMES_MAX {
            let Some((arrival, next)) = arrival(rest) else {
                break;
            };
            rest = next;
            self.now = Instant(self.now.0 + u64::from(arrival.seconds_later) * 1_000_000_000);
            self.take(&arrival);
            self.firewall.poll(self.now);
            self.drain();
            let flows = self.firewall.flows();
            assert!(flows.now <= FLOWS && flows.peak <= FLOWS);
        }
        assert!(std::iter::from_fn(|| self.firewall.take_log()).count() <= 256);
    }

    /// A neighbour asks for the firewall, and so makes itself known.
    fn greet(&mut self, interface: u8, address: [u8; 4]) {
        let asked = OWN[usize::from(interface)];
        let bytes = arp(address, asked);
        self.inject(
            InterfaceId(interface),
            &bytes,
            Checksum::Validated,
            None,
            bytes.len(),
        );
    }

    fn take(&mut self, arrival: &Arrival<'_>) {
        let (from, bytes) = match (&self.left, arrival.repair) {
            (Some((interface, left)), Repair::Answer) => {
                let mut bytes = answer(
                    left,
                    MACS[usize::from(interface.0)],
                    arrival.identification,
                    arrival.bytes,
                );
                if arrival.transport_sum == TransportSum::Repaired {
                    seal(&mut bytes, arrival.checksum);
                }
                (*interface, bytes)
            }
            (None, Repair::Answer) => return,
            _ => {
                let mut bytes = arrival.bytes.to_vec();
                repair(arrival, &mut bytes);
                (arrival.from, bytes)
            }
        };
        let arrived = transport(&bytes, arrival.checksum);
        self.all_right &= matches!(arrived, Transport::Right | Transport::Other);
        let (checksum, gso) = (arrival.checksum, arrival.gso);
        let Some((egress, sent)) = self.inject(from, &bytes, checksum, gso, arrival.copied) else {
            return;
        };
        assert_sound(&sent.bytes);
        assert_eq!(
            sent.bytes[22],
            bytes[22] - 1,
            "the time to live is one less"
        );
        if arrived == Transport::Right {
            let leaving = transport(&sent.bytes, sent.checksum);
            assert_eq!(leaving, Transport::Right, "as it was on arrival");
        }
        self.left = Some((egress, sent.bytes));
    }

    /// A frame comes in; what is forwarded of it, and where.
    fn inject(
        &mut self,
        from: InterfaceId,
        bytes: &[u8],
        checksum: Checksum,
        gso: Option<Gso>,
        copied: usize,
    ) -> Option<(InterfaceId, OwnedFrame)> {
        let mut head = Head::new();
        head.load(&bytes[..copied.min(bytes.len())]);
        let mut frame = Frame {
            head: &mut head,
            len: bytes.len(),
            tail: &bytes,
            checksum,
            gso,
        };
        let Verdict::Forward { egress } = self.firewall.ingress(self.now, from, &mut frame) else {
            return None;
        };
        assert!(egress.0 < 2);
        assert!(frame.len <= bytes.len());
        let rest = &bytes[frame.tail_offset()..frame.len];
        let sent = OwnedFrame {
            bytes: [frame.head.bytes(), rest].concat(),
            checksum: frame.checksum,
            gso: frame.gso,
        };
        Some((egress, sent))
    }

    /// Takes what the engine made or kept, and lets those who are asked for answer.
    fn drain(&mut self) {
        let mut taken = 0;
        while let Some((egress, output)) = self.firewall.take_output() {
            taken += 1;
            assert!(taken <= 256, "of one frame comes no flood");
            let OwnedFrame {
                bytes, checksum, ..
            } = output;
            assert_sound(&bytes);
            if bytes[12..14] == [8, 0] {
                let leaving = transport(&bytes, checksum);
                assert!(
                    !self.all_right || leaving != Transport::Wrong,
                    "nobody sent a wrong one"
                );
                self.left = Some((egress, bytes));
            } else if word(&bytes, 20) == 1
                && let Some((interface, address)) = NEIGHBOURS
                    .into_iter()
                    .find(|neighbour| bytes[38..42] == neighbour.1)
            {
                self.greet(interface, address);
            }
        }
    }
}
