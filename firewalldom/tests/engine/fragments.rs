//! Fragments: put together, judged as one, taken apart again; and those that fit no packet.

use crate::support::*;
use firewalldom::{Checksum, Gso, GsoKind, Reason, Verdict};
use proptest::prelude::*;

/// A fragment of a whole frame: `len` bytes of its payload from `offset`.
fn fragment(whole: &[u8], offset: usize, len: usize) -> Vec<u8> {
    let mut frame = whole[..34].to_vec();
    let end = (34 + offset + len).min(whole.len());
    frame.extend(&whole[34 + offset..end]);
    let total = (frame.len() - 14) as u16;
    frame[16..18].copy_from_slice(&total.to_be_bytes());
    let more = if end < whole.len() { 0x2000 } else { 0 };
    frame[20..22].copy_from_slice(&(more | (offset / 8) as u16).to_be_bytes());
    fix_header(&mut frame);
    frame
}

/// A datagram of 3000 bytes from the client, and its fragments of 1480 bytes.
fn datagram() -> (Vec<u8>, [Vec<u8>; 3]) {
    let data: Vec<u8> = (0..2992u32).map(|n| n as u8).collect();
    let whole = udp(LOC, (CLIENT, 5000), (FAR, 53), &data);
    let pieces = [(0, 1480), (1480, 1480), (2960, 1480)];
    let pieces = pieces.map(|(offset, len)| fragment(&whole, offset, len));
    (whole, pieces)
}

fn held(outcome: Outcome) {
    assert_eq!(outcome, Outcome::Other(Verdict::Parked));
}

/// Payload of fragments as they went out, put together; headers and order checked.
fn assembled(pieces: &[Vec<u8>]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        assert_eq!(usize::from(word(piece, 16)), piece.len() - 14);
        assert_eq!(checksum(&[&piece[14..34]]), 0);
        let flags = word(piece, 20);
        assert_eq!(usize::from(flags & 0x1fff) * 8, payload.len());
        assert_eq!(flags & 0x2000 != 0, number + 1 < pieces.len());
        payload.extend(&piece[34..]);
    }
    payload
}

fn sent(site: &mut Site) -> Vec<Vec<u8>> {
    site.outputs()
        .into_iter()
        .map(|(interface, frame)| {
            assert_eq!(interface, NET);
            frame.bytes
        })
        .collect()
}

#[test]
fn a_duplicate_that_says_where_the_packet_ends_is_believed() {
    let (_, [first, second, third]) = datagram();
    let mut site = Site::new(policy());
    held(site.send(LOC, &first));
    held(site.send(LOC, &second));
    let mut last = second.clone();
    last[20] &= !0x20;
    fix_header(&mut last);
    site.send(LOC, &last).dropped(Reason::FragmentDuplicate);
    // So this one is beyond the end, and the packet is given up.
    site.send(LOC, &third).dropped(Reason::Fragment);
    held(site.send(LOC, &first));
}

#[test]
fn fragments_in_any_order_leave_translated_as_they_came() {
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0], [0, 2, 1]] {
        let (whole, pieces) = datagram();
        let mut site = Site::new(policy());
        for number in order {
            held(site.send(LOC, &pieces[number]));
        }
        let out = sent(&mut site);
        let lengths: Vec<usize> = out.iter().map(Vec::len).collect();
        assert_eq!(lengths, pieces.each_ref().map(Vec::len));
        let payload = assembled(&out);
        assert_eq!(payload[8..], whole[42..]);
        assert!(
            out.iter()
                .all(|piece| source_of(piece) == FW_NET && piece[22] == 62)
        );
        let mut one = out[0][..34].to_vec();
        one.extend(payload);
        let total = (one.len() - 14) as u16;
        one[16..18].copy_from_slice(&total.to_be_bytes());
        one[20..22].fill(0);
        fix_header(&mut one);
        assert_checksums(&one);
        // The flow is known: an answer comes back.
        site.send(NET, &udp(NET, (FAR, 53), (FW_NET, 5000), b"!"))
            .forwarded(LOC);
    }
}

#[test]
fn a_narrower_link_gets_smaller_pieces() {
    let mut narrow = policy();
    narrow.interfaces[0].mtu = Some(800);
    let (whole, pieces) = datagram();
    let mut site = Site::new(narrow);
    for piece in &pieces {
        held(site.send(LOC, piece));
    }
    let out = sent(&mut site);
    assert_eq!(out[0].len(), 14 + 20 + 776);
    assert_eq!(assembled(&out)[8..], whole[42..]);
}

#[test]
fn no_piece_is_empty() {
    // 3,000 bytes are three times what an MTU of 1,020 carries.
    let mut narrow = policy();
    narrow.interfaces[0].mtu = Some(1020);
    let (whole, pieces) = datagram();
    let mut site = Site::new(narrow);
    for piece in &pieces {
        held(site.send(LOC, piece));
    }
    let out = sent(&mut site);
    assert_eq!(out.len(), 3);
    assert_eq!(assembled(&out)[8..], whole[42..]);
}

#[test]
fn an_answer_of_two_full_pieces_is_no_third() {
    // An echo request of 2,960 bytes: twice what an MTU of 1,500 carries.
    let mut request = echo(LOC, CLIENT, FW_LOC, 8, 1);
    let so_far = request.len() - 34;
    request.extend(vec![7; 2960 - so_far]);
    request[36..38].fill(0);
    let sum = checksum(&[&request[34..]]);
    request[36..38].copy_from_slice(&sum.to_be_bytes());
    let mut site = Site::new(policy());
    held(site.send(LOC, &fragment(&request, 0, 1480)));
    site.send(LOC, &fragment(&request, 1480, 1480));
    let out: Vec<_> = site
        .outputs()
        .into_iter()
        .map(|(_, frame)| frame.bytes)
        .collect();
    assert_eq!(out.len(), 2);
    assert_eq!(assembled(&out).len(), 2960);
}

#[test]
fn what_must_not_be_cut_keeps_its_size_or_is_refused() {
    let (_, pieces) = datagram();
    let kept = pieces.map(|mut piece| {
        piece[20] |= 0x40;
        fix_header(&mut piece);
        piece
    });
    let mut site = Site::new(policy());
    for piece in &kept {
        held(site.send(LOC, piece));
    }
    assert_eq!(sent(&mut site).len(), 3);
    let mut narrow = policy();
    narrow.interfaces[0].mtu = Some(800);
    let mut site = Site::new(narrow);
    held(site.send(LOC, &kept[0]));
    held(site.send(LOC, &kept[1]));
    site.send(LOC, &kept[2]).dropped(Reason::TooBig);
    let error = site.output(LOC);
    assert_eq!((error[34], error[35], word(&error, 40)), (3, 4, 800));
}

#[test]
fn a_packet_is_judged_whole_and_by_all_its_bytes() {
    // Port 69 is refused, and only the first fragment says it.
    let whole = udp(LOC, (CLIENT, 5000), (FAR, 69), &[1; 2000]);
    let mut site = Site::new(policy());
    held(site.send(LOC, &fragment(&whole, 1480, 1480)));
    site.send(LOC, &fragment(&whole, 0, 1480))
        .dropped(Reason::Rejected);
    // One wrong byte in the second fragment: INVALID, and so untranslated.
    let (_, mut pieces) = datagram();
    pieces[1][100] ^= 1;
    let mut site = Site::new(policy());
    for piece in &pieces {
        held(site.send(LOC, piece));
    }
    assert!(
        sent(&mut site)
            .iter()
            .all(|piece| source_of(piece) == CLIENT)
    );
    assert_eq!(site.firewall.flows().now, 0);
}

#[test]
fn an_overlap_takes_the_whole_packet_with_it_and_a_duplicate_only_itself() {
    let (whole, pieces) = datagram();
    // Teardrop: the second lies partly in the first.
    let mut site = Site::new(policy());
    held(site.send(LOC, &pieces[0]));
    site.send(LOC, &fragment(&whole, 1472, 1480))
        .dropped(Reason::FragmentOverlap);
    let drops = &site.firewall.counters().drops;
    assert_eq!(drops.of(Reason::FragmentOverlap), 2);
    held(site.send(LOC, &pieces[1]));
    held(site.send(LOC, &pieces[2]));
    assert!(sent(&mut site).is_empty());

    let mut site = Site::new(policy());
    held(site.send(LOC, &pieces[0]));
    held(site.send(LOC, &pieces[1]));
    for again in [fragment(&whole, 0, 1480), fragment(&whole, 800, 1000)] {
        site.send(LOC, &again).dropped(Reason::FragmentDuplicate);
    }
    held(site.send(LOC, &pieces[2]));
    assert_eq!(sent(&mut site).len(), 3);
}

#[test]
fn ends_that_contradict_each_other_and_empty_pieces_are_refused() {
    let (whole, pieces) = datagram();
    let mut site = Site::new(policy());
    held(site.send(LOC, &pieces[2]));
    let mut beyond = fragment(&whole, 1480, 1480);
    beyond[20..22].copy_from_slice(&(0x2000u16 | 400).to_be_bytes());
    fix_header(&mut beyond);
    site.send(LOC, &beyond).dropped(Reason::Fragment);
    let mut site = Site::new(policy());
    site.send(LOC, &fragment(&whole, 1480, 0))
        .dropped(Reason::Fragment);
}

#[test]
fn a_packet_longer_than_any_may_be_is_refused() {
    let (_, pieces) = datagram();
    let mut site = Site::new(policy());
    held(site.send(LOC, &pieces[0]));
    // Ping of death: the last piece ends beyond 65,535.
    let mut last = pieces[1].clone();
    last[20..22].copy_from_slice(&8189u16.to_be_bytes());
    fix_header(&mut last);
    site.send(LOC, &last).dropped(Reason::FragmentTooLong);
}

#[test]
fn what_stays_incomplete_is_gone_after_thirty_seconds() {
    let (_, pieces) = datagram();
    for (seconds, complete) in [(29, true), (30, false)] {
        let mut site = Site::new(policy());
        held(site.send(LOC, &pieces[0]));
        held(site.send(LOC, &pieces[1]));
        site.wait(seconds);
        site.hear_neighbours();
        site.firewall.poll(site.now);
        held(site.send(LOC, &pieces[2]));
        assert_eq!(!sent(&mut site).is_empty(), complete);
        let lost = site.firewall.counters().drops.of(Reason::FragmentTimeout);
        assert_eq!(lost, if complete { 0 } else { 2 });
    }
}

#[test]
fn a_flood_of_fragments_holds_a_bounded_amount_and_the_newest_packet_still_gets_through() {
    let (whole, pieces) = datagram();
    let mut site = Site::new(policy());
    for ident in 0..2000u16 {
        let mut stray = fragment(&whole, 1480, 1480);
        stray[18..20].copy_from_slice(&(ident + 0x2000).to_be_bytes());
        fix_header(&mut stray);
        held(site.send(LOC, &stray));
    }
    let lost = site.firewall.counters().drops.of(Reason::FragmentsFull);
    assert!((1600..1700).contains(&lost), "{lost}");
    for piece in &pieces {
        held(site.send(LOC, piece));
    }
    assert_eq!(sent(&mut site).len(), 3);
}

#[test]
fn what_went_on_no_longer_counts_as_held() {
    let (whole, pieces) = datagram();
    let numbered = |piece: &[u8], ident: u16| {
        let mut piece = piece.to_vec();
        piece[18..20].copy_from_slice(&ident.to_be_bytes());
        fix_header(&mut piece);
        piece
    };
    let mut site = Site::new(policy());
    held(site.send(LOC, &numbered(&fragment(&whole, 1480, 1480), 1)));
    // More than is ever held, but never at a time.
    for ident in 2..302 {
        for piece in &pieces {
            held(site.send(LOC, &numbered(piece, ident)));
        }
        assert_eq!(sent(&mut site).len(), 3);
    }
    held(site.send(LOC, &numbered(&pieces[0], 1)));
    held(site.send(LOC, &numbered(&pieces[2], 1)));
    assert_eq!(sent(&mut site).len(), 3);
}

#[test]
fn a_piece_that_ends_where_the_last_one_did_is_only_a_duplicate() {
    // The packet ends at a multiple of eight, and its end comes again as if more followed.
    let (whole, pieces) = datagram();
    let mut again = fragment(&whole, 2960, 40);
    again[20] |= 0x20;
    fix_header(&mut again);
    let mut site = Site::new(policy());
    held(site.send(LOC, &pieces[2]));
    site.send(LOC, &again).dropped(Reason::FragmentDuplicate);
    held(site.send(LOC, &pieces[0]));
    held(site.send(LOC, &pieces[1]));
    assert_eq!(sent(&mut site).len(), 3);
}

#[test]
fn a_fragment_has_no_offload() {
    let (_, pieces) = datagram();
    let gso = Some(Gso {
        kind: GsoKind::TcpV4,
        size: 1000,
    });
    for (checksum, gso) in [(Checksum::Blank, None), (Checksum::Unknown, gso)] {
        let mut site = Site::new(policy());
        site.send_with(LOC, &pieces[0], checksum, gso)
            .dropped(Reason::BadOffload);
    }
}

#[test]
fn congestion_that_one_fragment_met_is_told_for_the_whole() {
    let (_, pieces) = datagram();
    let marked = |marks: [u8; 3]| {
        let mut site = Site::new(policy());
        for (piece, mark) in pieces.iter().zip(marks) {
            let mut piece = piece.clone();
            piece[15] = mark;
            fix_header(&mut piece);
            site.send(LOC, &piece);
        }
        sent(&mut site).first().map(|piece| piece[15])
    };
    assert_eq!(marked([2, 3, 2]), Some(3));
    assert_eq!(marked([2, 2, 2]), Some(2));
    assert_eq!(marked([0, 2, 0]), None);
}

proptest! {
    #[test]
    fn any_pieces_of_a_packet_make_it_or_are_dropped(
        len in 1usize..6000,
        cuts in proptest::collection::vec(1usize..200, 0..20),
        order in any::<[prop::sample::Index; 8]>(),
    ) {
        let data: Vec<u8> = (0..len as u32).map(|n| (n / 3) as u8).collect();
        let whole = udp(LOC, (CLIENT, 5000), (FAR, 53), &data);
        let payload = whole.len() - 34;
        let mut offsets: Vec<usize> = cuts.iter().map(|cut| cut * 8).filter(|&at| at < payload).collect();
        offsets.push(0);
        offsets.sort_unstable();
        offsets.dedup();
        let ends = offsets[1..].iter().copied().chain([payload]);
        let mut pieces: Vec<Vec<u8>> = offsets
            .iter()
            .zip(ends)
            .map(|(&offset, end)| fragment(&whole, offset, end - offset))
            .collect();
        for swap in order {
            let at = swap.index(pieces.len());
            pieces.swap(0, at);
        }
        prop_assume!(pieces.len() > 1);
        let mut site = Site::new(policy());
        for piece in &pieces {
            held(site.send(LOC, piece));
        }
        let out = sent(&mut site);
        prop_assert_eq!(&assembled(&out)[8..], &whole[42..]);
        if out[0].len() <= 1514 {
            let mut came: Vec<usize> = pieces.iter().map(Vec::len).collect();
            let mut left: Vec<usize> = out.iter().map(Vec::len).collect();
            came.sort_unstable();
            left.sort_unstable();
            prop_assert!(came == left || pieces.iter().any(|piece| piece.len() > 1514));
        }
    }
}
