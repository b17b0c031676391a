//! What a frontend does not take as it is: it gets the same bytes in another form, or nothing.

use super::*;
use crate::net::back::finish::SEGMENTS_MAX;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// A frame for a back, TCP or UDP, whose checksum is left to others.
fn packet(to: usize, is_ipv4: bool, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let transport_len = payload.len() + if protocol == TCP { 20 } else { 8 };
    let mut frame = vec![0; 12];
    frame[0] = to as u8;
    if is_ipv4 {
        let total = (20 + transport_len) as u16;
        frame.extend([8, 0, 0x45, 0]);
        frame.extend(total.to_be_bytes());
        frame.extend([0xff, 0xfe, 0x40, 0, 64, protocol, 0, 0]);
        frame.extend([10, 0, 3, 2, 10, 0, 3, 3]);
        let sum = sum(&frame[14..34]);
        frame[24..26].copy_from_slice(&(!sum).to_be_bytes());
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((transport_len as u16).to_be_bytes());
        frame.extend([protocol, 64]);
        frame.extend((0..32).map(|byte| byte * 7));
    }
    let start = frame.len();
    frame.extend([0x9c, 0x40, 0, 80]);
    match protocol {
        // With CWR, PSH and FIN, just before its number begins again.
        TCP => frame.extend([
            0xff, 0xff, 0xff, 0, 0, 0, 0, 9, 0x50, 0x99, 1, 0, 0, 0, 0, 0,
        ]),
        _ => {
            frame.extend((transport_len as u16).to_be_bytes());
            frame.extend([0, 0]);
        }
    }
    let sum = sum(&pseudo(&frame, is_ipv4, protocol, transport_len));
    let place = start + if protocol == TCP { 16 } else { 6 };
    frame[place..place + 2].copy_from_slice(&sum.to_be_bytes());
    frame.extend(payload);
    frame
}

fn pseudo(frame: &[u8], is_ipv4: bool, protocol: u8, len: usize) -> Vec<u8> {
    let addresses = if is_ipv4 { 26..34 } else { 22..54 };
    let mut bytes = frame[addresses].to_vec();
    bytes.extend([0, protocol]);
    bytes.extend((len as u16).to_be_bytes());
    bytes
}

/// The sum of pairs of bytes, in ones' complement.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// What is said of frames in the ring.
fn gso(is_ipv4: bool, size: u16) -> ExtraInfo {
    let gso_type = match is_ipv4 {
        true => XEN_NETIF_GSO_TYPE_TCPV4,
        false => XEN_NETIF_GSO_TYPE_TCPV6,
    };
    ExtraInfo {
        gso_type,
        ..gso_info(size)
    }
}

/// The same of frames over IPv4 as they are passed on.
fn to_be_cut(size: u16) -> Offload {
    let kind = GsoKind::TcpV4;
    Offload {
        checksum: Checksum::Blank,
        gso: Some(Gso { kind, size }),
    }
}

/// A frontend that takes this and no more.
fn connect_with(lab: &mut Lab, front: DomId, takes: &[(&str, &str)], buffers: usize) -> usize {
    let number = lab.announce(front, &[]);
    lab.fronts[number].publish(Shape::default(), &[("request-rx-copy", "1")]);
    for (key, value) in takes {
        lab.fronts[number].write(key, value);
    }
    lab.fronts[number].post(0, buffers);
    lab.fronts[number].switch_to(XenbusState::CONNECTED);
    lab.settle();
    assert_eq!(lab.backs.len(), number + 1);
    number
}

const BARE: [(&str, &str); 1] = [("feature-no-csum-offload", "1")];

proptest! {
    /// Whatever a frontend takes or does not, all that was sent to it arrives, and nothing that it did not say it takes.
    #[test]
    fn every_frontend_gets_what_it_takes(
        says in any::<[bool; 5]>(),
        is_ipv4 in any::<bool>(),
        is_tcp in any::<bool>(),
        cut in prop::option::of(500_u16..5000),
        len in 1_usize..60_000,
        seed in any::<u8>(),
    ) {
        let [sg, gso4, gso6, no_sum4, sum6] = says;
        let protocol = if is_tcp { TCP } else { UDP };
        let cut = cut.filter(|_| is_tcp);
        let payload = bytes(len.min(if cut.is_some() { 60_000 } else { 1400 }), seed);
        let flag = |flag| if flag { "1" } else { "0" };
        let mut lab = Lab::new();
        let from = lab.connect(GUEST);
        let takes = [
            ("feature-sg", flag(sg)),
            ("feature-gso-tcpv4", flag(gso4)),
            ("feature-gso-tcpv6", flag(gso6)),
            ("feature-no-csum-offload", flag(no_sum4)),
            ("feature-ipv6-csum-offload", flag(sum6)),
        ];
        let to = connect_with(&mut lab, OTHER, &takes, 256);
        let frame = packet(to, is_ipv4, protocol, &payload);
        let extras: Vec<_> = cut.map(|size| gso(is_ipv4, size)).into_iter().collect();
        let slots: Vec<&[u8]> = frame.chunks(4096).collect();
        prop_assert!(lab.fronts[from].send(0, &slots, NETTXF_CSUM_BLANK, &extras));
        relay(&mut lab.backs);
        let arrived = lab.fronts[to].receive(0);
        let takes_sum = if is_ipv4 { !no_sum4 } else { sum6 };
        let takes_cut = sg && if is_ipv4 { gso4 } else { gso6 };
        let headers = frame.len() - payload.len();
        let as_it_is = takes_sum && (cut.is_none() || takes_cut);
        let longest = headers + cut.map_or(payload.len(), usize::from).min(payload.len());
        // Answered, whatever became of it.
        prop_assert_eq!(lab.fronts[from].answers(0).len(), slots.len() + extras.len());
        if as_it_is {
            prop_assert_eq!(arrived.len(), 1);
            prop_assert!(arrived[0].bytes == frame);
            prop_assert_eq!(arrived[0].gso.map(|gso| gso.1), cut);
            prop_assert!(arrived[0].flags & NETRXF_CSUM_BLANK != 0);
        } else if longest > 4096 && !sg {
            prop_assert_eq!(arrived.len(), 0, "it has no place in a buffer");
        } else {
            let each = cut.map_or(payload.len(), usize::from);
            prop_assert_eq!(arrived.len(), payload.len().div_ceil(each));
            let start = if is_ipv4 { 34 } else { 54 };
            let mut got: Vec<u8> = Vec::new();
            for (number, segment) in arrived.iter().enumerate() {
                let bytes = &segment.bytes;
                prop_assert!(segment.gso.is_none() && segment.flags & NETRXF_CSUM_BLANK == 0);
                prop_assert!(segment.slots == 1 || sg);
                // Its lengths, its sums, its place in the stream.
                let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
                let said = if is_ipv4 { usize::from(word(16)) + 14 } else { usize::from(word(18)) + 54 };
                prop_assert_eq!(said, bytes.len());
                if is_ipv4 {
                    prop_assert_eq!(sum(&bytes[14..34]), 0xffff);
                    prop_assert_eq!(word(18), 0xfffe_u16.wrapping_add(number as u16));
                }
                let transport = &bytes[start..];
                let mut summed = pseudo(bytes, is_ipv4, protocol, transport.len());
                summed.extend(transport);
                prop_assert_eq!(sum(&summed), 0xffff);
                if is_tcp {
                    let sequence = u32::from_be_bytes([transport[4], transport[5], transport[6], transport[7]]);
                    prop_assert_eq!(sequence, 0xffff_ff00_u32.wrapping_add(got.len() as u32));
                    let (is_first, is_last) = (number == 0, number + 1 == arrived.len());
                    let flags = 0x10 | if is_first { 0x80 } else { 0 } | if is_last { 0x09 } else { 0 };
                    prop_assert_eq!(transport[13], flags);
                }
                got.extend(&bytes[headers..]);
            }
            prop_assert!(got == payload);
        }
        lab.end();
    }
}

#[test]
fn a_datagram_whose_sum_is_nothing_says_so_in_the_other_way() {
    let mut lab = Lab::new();
    let from = lab.connect(GUEST);
    let to = connect_with(&mut lab, OTHER, &BARE, 256);
    let mut frame = packet(to, true, UDP, &[0; 2]);
    // What its sum lacks to be all ones.
    let mut summed = pseudo(&frame, true, UDP, 10);
    summed.extend(&frame[34..40]);
    let lacks = !sum(&summed);
    frame[42..44].copy_from_slice(&lacks.to_be_bytes());
    assert!(lab.fronts[from].send(0, &[&frame], NETTXF_CSUM_BLANK, &[]));
    relay(&mut lab.backs);
    assert_eq!(lab.fronts[to].receive(0)[0].bytes[40..42], [0xff, 0xff]);
    lab.fronts[from].answers(0);
    lab.end();
}

#[test]
fn a_ring_that_is_short_gets_the_first_segments_and_one_that_is_full_none_of_them() {
    let mut lab = Lab::new();
    let from = lab.connect(GUEST);
    for (buffers, segments) in [(15, 0), (16, 16), (40, 40), (200, 41)] {
        let to = connect_with(&mut lab, OTHER, &BARE, buffers);
        let frame = packet(to, true, TCP, &bytes(59_000, 3));
        let slots: Vec<&[u8]> = frame.chunks(4096).collect();
        assert!(lab.fronts[from].send(0, &slots, NETTXF_CSUM_BLANK, &[gso(true, 1448)]));
        relay(&mut lab.backs);
        assert_eq!(lab.fronts[to].receive(0).len(), segments, "{buffers}");
        assert_eq!(lab.fronts[from].answers(0).len(), slots.len() + 1);
    }
    lab.end();
}

#[test]
fn a_frame_is_sent_once_its_first_segments_are() {
    let mut lab = Lab::new();
    let full = Err(TransmitError::Full);
    let several = [BARE[0], ("feature-sg", "1")];
    // Segments of one buffer, of which sixteen have to go, and eight of two buffers.
    for (takes, size, buffers, sent, segments) in [
        (&BARE[..], 1448, 15, full, 0),
        (&BARE, 1448, 16, Ok(()), 16),
        (&BARE, 1448, 27, Ok(()), 27),
        (&several, 5000, 15, full, 0),
        (&several, 5000, 16, Ok(()), 8),
    ] {
        let to = connect_with(&mut lab, OTHER, takes, buffers);
        let frame = packet(to, true, TCP, &bytes(40_000, 3));
        let taken = lab.backs[to].transmit_bytes(&frame, to_be_cut(size));
        assert_eq!(taken, sent);
        lab.backs[to].flush();
        assert_eq!(lab.fronts[to].receive(0).len(), segments, "{buffers}");
    }
    lab.end();
}

#[test]
fn a_frame_for_which_there_are_too_few_pages_is_refused_whole_until_there_are() {
    let mut lab = Lab::with(Config {
        fetch_pages_max: 20,
        ..Config::default()
    });
    let from = lab.connect(GUEST);
    let takes = [BARE[0], ("feature-sg", "1")];
    let to = connect_with(&mut lab, OTHER, &takes, 256);
    let frame = packet(to, true, TCP, &bytes(40_000, 3));
    let slots: Vec<&[u8]> = frame.chunks(4096).collect();
    let mut sent = Vec::new();
    for _ in 0..2 {
        assert!(lab.fronts[from].send(0, &slots, NETTXF_CSUM_BLANK, &[gso(true, 5000)]));
        let (head, mut slots) = take(&mut lab.backs[from]);
        let offload = to_be_cut(5000);
        sent.push(lab.backs[to].transmit(&head, slots.as_mut_view(), offload));
        for slice in slots {
            lab.backs[from].recycle(slice.buffer);
        }
    }
    // The second while the first one's pages are not copied yet.
    assert_eq!(sent, [Ok(()), Err(TransmitError::Full)]);
    give_back(&mut lab.backs);
    assert_eq!(lab.fronts[to].receive(0).len(), 8);
    assert_eq!(lab.fronts[from].answers(0).len(), 2 * (slots.len() + 1));
    assert!(lab.fronts[from].send(0, &slots, NETTXF_CSUM_BLANK, &[gso(true, 5000)]));
    relay(&mut lab.backs);
    assert_eq!(lab.fronts[to].receive(0).len(), 8);
    lab.fronts[from].answers(0);
    lab.end();
}

#[test]
fn what_is_finished_needs_room_for_its_slices_and_for_as_many_as_a_frame_has() {
    // Behind its first page it has nine.
    let wanted = 9 + FRAME_SLOTS_MAX;
    for (room, sent) in [(wanted - 1, Err(TransmitError::Full)), (wanted, Ok(()))] {
        let mut lab = Lab::new();
        let senders = [GUEST, THIRD, DomId(8)].map(|guest| lab.connect(guest));
        let to = connect_with(&mut lab, OTHER, &BARE, 256);
        let mut left = 512 - room;
        for from in senders.into_iter().cycle() {
            let slots = [&[1; 100][..]; FRAME_SLOTS_MAX];
            assert!(lab.fronts[from].send(0, &slots, 0, &[]));
            let (head, mut slots) = take(&mut lab.backs[from]);
            for _ in left..slots.len() {
                let spare = slots.pop().expect("there are more");
                lab.backs[from].recycle(spare.buffer);
            }
            left -= slots.len();
            let held = lab.backs[to].transmit(&head, slots.as_mut_view(), PLAIN);
            assert_eq!(held, Ok(()));
            if left == 0 {
                break;
            }
        }
        let frame = packet(to, true, TCP, &bytes(40_000, 3));
        let finished = lab.backs[to].transmit_bytes(&frame, to_be_cut(1448));
        assert_eq!(finished, sent);
        give_back(&mut lab.backs);
        for from in senders {
            lab.fronts[from].answers(0);
        }
        lab.end();
    }
}

#[test]
fn who_asks_for_very_short_segments_gets_none() {
    let mut lab = Lab::new();
    let from = lab.connect(GUEST);
    let to = connect_with(&mut lab, OTHER, &BARE, 256);
    for (len, segments) in [
        (SEGMENTS_MAX * 10, SEGMENTS_MAX),
        (SEGMENTS_MAX * 10 + 1, 0),
    ] {
        let frame = packet(to, true, TCP, &bytes(len, 3));
        assert!(lab.fronts[from].send(0, &[&frame], NETTXF_CSUM_BLANK, &[gso(true, 10)]));
        relay(&mut lab.backs);
        assert_eq!(lab.fronts[to].receive(0).len(), segments);
        assert_eq!(lab.fronts[from].answers(0).len(), 2);
    }
    lab.end();
}

#[test]
fn what_cannot_be_read_to_be_finished_is_its_senders_fault() {
    let mut lab = Lab::new();
    let from = lab.connect(GUEST);
    let to = connect_with(&mut lab, OTHER, &BARE, 256);
    let frame = packet(to, true, TCP, &bytes(1400, 3));
    assert!(lab.fronts[from].send(0, &[&frame], NETTXF_CSUM_BLANK, &[]));
    let (head, mut slots) = take(&mut lab.backs[from]);
    lab.fronts[from].revoke_sent(0);
    let blank = Offload {
        checksum: Checksum::Blank,
        gso: None,
    };
    let sent = lab.backs[to].transmit(&head, slots.as_mut_view(), blank);
    assert_eq!((sent, slots.len()), (Err(TransmitError::Invalid), 1));
    for slice in slots {
        lab.backs[from].recycle(slice.buffer);
    }
    give_back(&mut lab.backs);
    let counters = lab.backs[to].counters();
    assert_eq!((counters.copies, counters.lost_sender), (1, 1));
    assert_eq!(lab.backs[from].counters().dropped_grant, 1);
    assert!(lab.fronts[to].receive(0).is_empty());
    // A frame that is none of what it says is not made one.
    let mut lie = packet(to, true, TCP, &bytes(100, 3));
    lie[17] += 1;
    for kind in [None, Some(GsoKind::TcpV4)] {
        let offload = Offload {
            gso: kind.map(|kind| Gso { kind, size: 50 }),
            ..blank
        };
        let sent = lab.backs[to].transmit_bytes(&lie, offload);
        assert_eq!(sent, Err(TransmitError::Invalid));
    }
    lab.fronts[from].answers(0);
    lab.end();
}
