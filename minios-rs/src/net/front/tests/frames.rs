//! Frames, both ways.

use super::*;

#[test]
fn frames_go_both_ways() {
    let (mut lab, mut front, link) = one();
    let frame = bytes(60, 1);
    assert!(lab.backs[0].deliver(&[&frame], 64, NETRXF_DATA_VALIDATED, &[]));
    let received = front.receive().expect("a frame came");
    assert_eq!(whole(&received), frame);
    assert_eq!(
        (received.checksum, received.gso, received.slots.len()),
        (Checksum::Validated, None, 1)
    );
    front.recycle_frame(received);
    assert!(front.receive().is_none());

    front
        .transmit(&frame, &mut heapless::Vec::new(), BLANK)
        .unwrap();
    assert!(lab.backs[0].receive().is_empty(), "not before the flush");
    front.flush();
    let sent = lab.backs[0].receive();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (&sent[0].bytes, sent[0].flags),
        (&frame, NETTXF_CSUM_BLANK | NETTXF_DATA_VALIDATED)
    );
    assert!(
        front.completed().is_none(),
        "a header is nobody else's page"
    );
    lab.end(vec![(front, link)]);
}

#[test]
fn frames_of_our_own_may_fill_a_page() {
    let (mut lab, mut front, link) = one();
    for round in 0..50_u8 {
        let frame = bytes(4096, round);
        front.transmit_bytes(&frame, PLAIN).unwrap();
        front.flush();
        assert_eq!(lab.backs[0].receive()[0].bytes, frame);
        assert!(front.completed().is_none());
    }
    lab.end(vec![(front, link)]);
}

#[test]
fn a_frame_of_our_own_of_any_length_leaves_whole_and_the_next_when_there_are_pages() {
    let (mut lab, mut front, link) = one();
    let gso = Offload {
        checksum: Checksum::Blank,
        gso: Some(Gso {
            kind: GsoKind::TcpV4,
            size: 1448,
        }),
    };
    for len in [4097, 4096 + HEAD_MAX, 4097 + HEAD_MAX, 30_000, 65_535] {
        let frame = bytes(len, len as u8);
        assert_eq!(front.transmit_bytes(&frame, gso), Ok(()));
        front.flush();
        let sent = lab.backs[0].receive();
        assert_eq!(sent.len(), 1);
        assert!(sent[0].bytes == frame, "{len}");
        assert_eq!(sent[0].gso, Some((XEN_NETIF_GSO_TYPE_TCPV4, 1448)));
    }
    lab.backs[0].hold_answers = true;
    let frame = bytes(65_535, 1);
    assert_eq!(front.transmit_bytes(&frame, gso), Ok(()));
    assert_eq!(front.transmit_bytes(&frame, gso), Err(TransmitError::Full));
    // Those that need none of these pages go on.
    assert_eq!(front.transmit_bytes(&bytes(HEAD_MAX, 1), PLAIN), Ok(()));
    front.flush();
    assert_eq!(lab.backs[0].receive().len(), 2);
    lab.backs[0].answer_all();
    assert_eq!(front.transmit_bytes(&frame, gso), Ok(()));
    let longer = bytes(65_536, 1);
    assert_eq!(front.transmit_bytes(&longer, gso), Err(TransmitError::Size));
    front.flush();
    assert_eq!(lab.backs[0].receive().len(), 1);
    lab.backs[0].answer_all();
    lab.end(vec![(front, link)]);
}

#[test]
fn a_gso_frame_of_64_kib_is_received_with_its_extra_info_and_forwarded_untouched() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    let payload = bytes(65_000, 9);
    let parts: Vec<&[u8]> = payload.chunks(4096).collect();
    assert_eq!(parts.len(), 16);
    assert!(lab.backs[0].deliver(
        &parts,
        0,
        NETRXF_CSUM_BLANK | NETRXF_DATA_VALIDATED,
        &[gso_info(1448)]
    ));
    let received = inside.receive().expect("a frame came");
    assert_eq!(
        received.gso,
        Some(Gso {
            kind: GsoKind::TcpV4,
            size: 1448
        })
    );
    assert_eq!((received.checksum, received.len), (Checksum::Blank, 65_000));
    assert_eq!(whole(&received), payload);

    // The first 66 bytes are rewritten and sent from a header slice of our own.
    let offload = Offload {
        checksum: received.checksum,
        gso: received.gso,
    };
    let mut tail = tail_of(received);
    tail[0].advance(66);
    let head = bytes(66, 200);
    outside.transmit(&head, &mut tail, offload).unwrap();
    assert!(tail.is_empty());
    outside.flush();
    let sent = lab.backs[1].receive();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].gso, Some((XEN_NETIF_GSO_TYPE_TCPV4, 1448)));
    assert_eq!(sent[0].bytes[..66], head);
    assert_eq!(sent[0].bytes[66..], payload[66..]);
    let mut back = 0;
    while let Some(buffer) = outside.completed() {
        assert_eq!(buffer.owner(), inside.id());
        inside.recycle(buffer);
        back += 1;
    }
    assert_eq!((back, outside.counters().tail_pages), (16, 0));
    inside.flush();
    assert_eq!(
        lab.backs[0].posted(),
        256,
        "the buffer under the extra info as well"
    );
    lab.end(vec![(inside, inside_link), (outside, outside_link)]);
}

#[test]
fn what_cannot_be_sent_is_refused_and_stays_the_callers() {
    let (mut lab, mut front, link) = one();
    let mut none = heapless::Vec::new();
    let gso = Some(Gso {
        kind: GsoKind::TcpV4,
        size: 1448,
    });
    assert_eq!(
        front.transmit(&[1; 13], &mut none, PLAIN),
        Err(TransmitError::Size)
    );
    assert_eq!(
        front.transmit(&[1; 4097], &mut none, PLAIN),
        Err(TransmitError::Size)
    );
    let unblank = Offload {
        checksum: Checksum::Validated,
        gso,
    };
    assert_eq!(
        front.transmit(&[1; 60], &mut none, unblank),
        Err(TransmitError::Invalid)
    );
    assert!(lab.backs[0].deliver(&[&[1; 4096][..]; 17], 0, 0, &[]));
    let mut tail = tail_of(front.receive().expect("a frame came"));
    assert_eq!(
        front.transmit(&[1; 60], &mut tail, PLAIN),
        Err(TransmitError::Size),
        "more than a u16 says"
    );
    assert_eq!(tail.len(), 17);
    tail[0].offset = 1;
    tail.truncate(1);
    assert_eq!(
        front.transmit(&[1; 60], &mut tail, PLAIN),
        Err(TransmitError::Invalid)
    );
    tail[0].offset = 0;
    front.transmit(&[1; 60], &mut tail, PLAIN).unwrap();
    front.flush();
    assert_eq!(lab.backs[0].receive()[0].bytes.len(), 60 + 4096);
    lab.end(vec![(front, link)]);
}

#[test]
fn a_backend_without_scatter_gather_gets_frames_of_one_slot_only() {
    let mut lab = Lab::new(&[]);
    lab.backs.push(Netback::announce(
        &lab.world,
        HOST,
        GUEST,
        0,
        &["feature-rx-copy"],
    ));
    let (mut front, link) = lab.connect(0);
    let gso = Some(Gso {
        kind: GsoKind::TcpV4,
        size: 1448,
    });
    let mut none = heapless::Vec::new();
    let offload = Offload {
        checksum: Checksum::Blank,
        gso,
    };
    assert_eq!(
        front.transmit(&[1; 60], &mut none, offload),
        Err(TransmitError::NotOffered)
    );
    assert!(lab.backs[0].deliver(&[&[1; 100]], 0, 0, &[]));
    let frame = front.receive().expect("a frame came");
    let mut tail = tail_of(frame);
    assert_eq!(
        front.transmit(&[1; 60], &mut tail, PLAIN),
        Err(TransmitError::NotOffered)
    );
    for slice in tail {
        front.recycle(slice.buffer);
    }
    lab.end(vec![(front, link)]);
}
