//! What leaves for a backend, and what it can see of it.

use super::*;
use minios_rs::xen::{Access, SharedPage};

#[test]
fn a_large_frame_passes_with_its_payload_where_it_lies() {
    let mut lab = Lab::new();
    lab.connect();
    let payload = pattern(60_000);
    let frame = lab.tcp(LOC, 16, 1001, 5001, &payload);
    lab.deliver(LOC, &frame, BLANK, &[GSO]);
    let out = lab.receive(NET);
    assert_eq!(out.len(), 1);
    let sent = &out[0];
    assert_eq!(sent.bytes.len(), frame.len());
    assert_eq!(
        sent.bytes[PAYLOAD..],
        payload[..],
        "the payload is what it was"
    );
    assert_eq!(sent.bytes[..6], SERVER_MAC);
    assert_eq!(sent.bytes[IP + 12..IP + 16], PUBLIC, "masqueraded");
    assert_eq!(sent.bytes[IP + 8], 63, "one hop less");
    assert_eq!(
        sum(&sent.bytes[IP..TCP]),
        0xffff,
        "the header's checksum is right"
    );
    assert_ne!(sent.flags & NETTXF_CSUM_BLANK, 0);
    assert_eq!(sent.gso, Some((XEN_NETIF_GSO_TYPE_TCPV4, 1448)));
    let checksum = u16::from_be_bytes([sent.bytes[TCP + 16], sent.bytes[TCP + 17]]);
    assert_eq!(
        checksum,
        pseudo_header(&sent.bytes),
        "still blank, of the new addresses"
    );
    // 54 bytes of headers and 60,000 of payload came in 15 pages; they leave behind one header slot.
    assert_eq!(sent.requests.len(), 16);
    lab.end();
}

#[test]
fn a_frame_of_as_many_slots_as_there_may_be_passes() {
    let mut lab = Lab::new();
    lab.connect();
    let payload = pattern(18 * 3000 - PAYLOAD);
    let frame = lab.tcp(LOC, 16, 1001, 5001, &payload);
    let slots: Vec<&[u8]> = frame.chunks(3000).collect();
    assert_eq!(slots.len(), 18);
    assert!(lab.backs[LOC].deliver(&slots, 0, BLANK, &[GSO]));
    lab.turn();
    let out = lab.receive(NET);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].requests.len(), 18);
    assert_eq!(out[0].bytes[PAYLOAD..], payload[..]);
    assert_eq!(out[0].bytes[IP + 12..IP + 16], PUBLIC);
    lab.end();
}

#[test]
fn nothing_behind_the_packet_leaves_with_it_however_many_slots_it_came_in() {
    let mut lab = Lab::new();
    lab.connect();
    for len in [60, 200, 1500, 5000] {
        let frame = lab.tcp(LOC, 16, 1001, 5001, &pattern(len - PAYLOAD));
        let mut padded = frame.clone();
        padded.resize(18 * 3000, 0xee);
        let slots: Vec<&[u8]> = padded.chunks(3000).collect();
        assert!(lab.backs[LOC].deliver(&slots, 0, BLANK, &[]));
        lab.turn();
        let out = lab.receive(NET);
        // One longer than the MTU is refused: it may not be cut.
        assert_eq!(out.len(), usize::from(len < 1514), "{len}");
        for sent in out {
            assert_eq!(sent.bytes.len(), len);
            assert_eq!(sent.bytes[PAYLOAD..], frame[PAYLOAD..]);
        }
    }
    lab.end();
}

#[test]
fn replies_find_their_way_back() {
    let mut lab = Lab::new();
    lab.connect();
    let frame = lab.tcp(NET, 16, 5001, 1001, &pattern(3000));
    lab.deliver(NET, &frame, BLANK, &[GSO]);
    let out = lab.receive(LOC);
    assert_eq!(out.len(), 1);
    assert_eq!(out[0].bytes[IP + 16..IP + 20], CLIENT);
    assert_eq!(out[0].bytes[PAYLOAD..], pattern(3000)[..]);
    lab.end();
}

#[test]
fn what_nobody_asked_for_is_dropped_and_its_pages_go_back() {
    let mut lab = Lab::new();
    let posted = lab.backs[NET].posted();
    for number in 0..300 {
        let frame = lab.tcp(NET, 2, number, 0, &pattern(2000));
        lab.deliver(NET, &frame, BLANK, &[]);
    }
    assert!(lab.receive(LOC).is_empty());
    assert_eq!(
        lab.backs[NET].posted(),
        posted,
        "every buffer is posted again"
    );
    assert_eq!(lab.relay.firewall().counters().drops.total(), 300);
    lab.end();
}

/// Everything the outside's backend may read, while frames of the inside are on their way to it.
fn readable(lab: &Lab) -> Vec<u8> {
    let outside = lab.world.domain(OUTSIDE);
    let mut bytes = Vec::new();
    for reference in outside.readable_grants(FIREWALL) {
        let page = outside.map(FIREWALL, reference, Access::ReadOnly).unwrap();
        let mut copy = vec![0; 4096];
        page.read(0, &mut copy);
        bytes.extend(copy);
    }
    bytes
}

#[test]
fn a_backend_reads_nothing_that_was_not_sent_to_it() {
    const SECRET: &[u8] = b"for the inside only";
    let mut lab = Lab::new();
    lab.connect();
    // The inside fills every buffer with what never leaves: a broadcast that is dropped here.
    let mut secret = [&[0xff; 6][..], &CLIENT_MAC, &[0x88, 0xb5]].concat();
    while secret.len() < 4096 {
        secret.extend_from_slice(SECRET);
    }
    secret.truncate(4096);
    for _ in 0..600 {
        lab.deliver(LOC, &secret, 0, &[]);
    }
    // Short payloads in the same pages: the rest of each page still held the secret.
    lab.backs[NET].hold_answers = true;
    for number in 0..40 {
        let frame = lab.tcp(LOC, 16, 1001 + number * 300, 5001, &pattern(300));
        lab.deliver(LOC, &frame, BLANK, &[]);
    }
    let passed = lab.receive(NET);
    assert_eq!(passed.len(), 40);
    let seen = readable(&lab);
    assert!(
        seen.windows(40)
            .any(|window| window == &pattern(300)[256..296]),
        "the payload is there"
    );
    assert!(
        !seen.windows(SECRET.len()).any(|window| window == SECRET),
        "and nothing else"
    );
    lab.end();
}
