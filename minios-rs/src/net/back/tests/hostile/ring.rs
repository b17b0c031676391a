//! What is written into the rings: indices, chains of slots, extra infos.

use super::*;

#[test]
fn headers_strewn_over_many_slots_are_gathered() {
    // XSA-423 and XSA-432: frames of tiny slots, and a first slot without a whole header.
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    for len in [18, 100, 700, 5000] {
        let frame = frame_for(to, len, 5);
        let mut slots: Vec<&[u8]> = frame[..17].chunks(1).collect();
        if len > 4096 + 17 {
            slots.truncate(15);
            slots.push(&frame[15..4000]);
            slots.push(&frame[4000..]);
        } else {
            slots.push(&frame[17..]);
        }
        assert!(slots.len() <= FRAME_SLOTS_MAX);
        assert!(lab.fronts[from].send(0, &slots, 0, &[]));
        relay(&mut lab.backs);
        assert_eq!(lab.fronts[to].receive(0)[0].bytes, frame, "{len}");
        assert_eq!(lab.fronts[from].answers(0).len(), slots.len());
        lab.fronts[to].post(0, 256);
    }
    lab.end();
}

/// Sends these entries and says what became of the frontend's connection.
fn breach(entries: impl FnOnce(&mut Netfront)) -> Option<State> {
    let mut lab = Lab::new();
    let (number, honest) = (lab.connect(GUEST), lab.connect(OTHER));
    entries(&mut lab.fronts[number]);
    lab.fronts[number].show(0);
    assert!(lab.fronts[honest].send(0, &[&frame_for(honest, 100, 1)], 0, &[]));
    relay(&mut lab.backs);
    let state = lab.backs[number].state();
    assert_eq!(
        lab.backs[honest].counters().transmitted_frames,
        1,
        "nobody else's trouble"
    );
    lab.settle();
    if matches!(state, State::Broken(_)) {
        assert_eq!(lab.backs.len(), 1, "the connection is gone");
        assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSING);
        let place = "/local/domain/1/error/backend/vif/5/0/error";
        assert!(lab.world.node(place).is_some(), "and it says why");
    }
    lab.end();
    Some(state)
}

fn request(front: &mut Netfront, len: usize) -> TxRequest {
    front.requests(0, &[&vec![0; len]], 0, 0)[0]
}

#[test]
fn lies_about_the_ring_cost_the_connection() {
    let broken = |breach| Some(State::Broken(breach));
    let lie = |index: u32| breach(|front| front.poke(0, Which::Tx, REQ_PROD, index));
    assert_eq!(lie(257), broken(Breach::TransmitIndex));
    assert_eq!(lie(u32::MAX), broken(Breach::TransmitIndex));
    assert_eq!(lie(1 << 31), broken(Breach::TransmitIndex));

    // The same of the ring of buffers, found out when there is a frame for it.
    let lie_of_buffers = |index: u32| {
        breach(|front| {
            front.poke(0, Which::Rx, REQ_PROD, index);
            assert!(front.send(0, &[&frame_for(0, 100, 1)], 0, &[]));
        })
    };
    assert_eq!(lie_of_buffers(257), broken(Breach::ReceiveIndex));
    assert_eq!(lie_of_buffers(u32::MAX), broken(Breach::ReceiveIndex));

    // A chain that goes on behind what was published.
    let endless = breach(|front| {
        let flags = NETTXF_MORE_DATA;
        let request = TxRequest {
            flags,
            ..request(front, 100)
        };
        front.push(0, &request);
    });
    assert_eq!(endless, broken(Breach::Truncated));
    let missing_extra = breach(|front| {
        let flags = NETTXF_EXTRA_INFO;
        let request = TxRequest {
            flags,
            ..request(front, 100)
        };
        front.push(0, &request);
    });
    assert_eq!(missing_extra, broken(Breach::Truncated));

    // A slot that reaches beyond its page, first or later.
    let crossing = breach(|front| {
        let request = TxRequest {
            offset: 4000,
            ..request(front, 100)
        };
        front.push(0, &request);
    });
    assert_eq!(crossing, broken(Breach::CrossesPage));
    let crossing_later = breach(|front| {
        let requests = front.requests(0, &[&[1; 100], &[2; 100]], 0, 0);
        front.push(0, &requests[0]);
        front.push(
            0,
            &TxRequest {
                offset: u16::MAX,
                ..requests[1]
            },
        );
    });
    assert_eq!(crossing_later, broken(Breach::CrossesPage));

    // 22 slots.
    let long = breach(|front| {
        let requests = front.requests(0, &[&[1; 50][..]; 22], 0, 0);
        requests.iter().for_each(|request| front.push(0, request));
    });
    assert_eq!(long, broken(Breach::TooManySlots));
}

#[test]
fn a_lie_about_an_index_is_found_out_before_we_sleep_as_well() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    lab.fronts[number].poke(0, Which::Tx, REQ_PROD, 257);
    assert_eq!(lab.backs[0].park(), Pending::Work);
    assert_eq!(lab.backs[0].state(), State::Broken(Breach::TransmitIndex));
    lab.end();
    // The same of the ring of buffers, when one is waited for.
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    for _ in 0..256 {
        assert_eq!(lab.backs[0].transmit_bytes(&[1; 60], PLAIN), Ok(()));
    }
    let more = lab.backs[0].transmit_bytes(&[1; 60], PLAIN);
    assert_eq!(more, Err(TransmitError::Full));
    lab.backs[0].flush();
    lab.fronts[number].poke(0, Which::Rx, REQ_PROD, 256 + 257);
    assert_eq!(lab.backs[0].park(), Pending::Work);
    assert_eq!(lab.backs[0].state(), State::Broken(Breach::ReceiveIndex));
    lab.end();
}

#[test]
fn frames_taken_back_while_they_wait_for_credit_are_not_waited_for() {
    let mut lab = Lab::new();
    let number = lab.announce(GUEST, &[("rate", "200000,50000")]);
    lab.fronts[number].connect(Shape::default());
    lab.settle();
    for _ in 0..250 {
        assert!(lab.fronts[number].send(0, &[&[1; 1000]], 0, &[]));
    }
    let take = |lab: &mut Lab| {
        let mut count = 0;
        while let Some(frame) = lab.backs[0].receive() {
            lab.backs[0].recycle_frame(frame);
            count += 1;
        }
        count
    };
    assert_eq!(take(&mut lab), 200);
    assert!(lab.backs[0].next_credit().is_some());
    // Back to what was taken: an index that can be.
    lab.fronts[number].poke(0, Which::Tx, REQ_PROD, 200);
    lab.advance(Duration::from_millis(100));
    assert_eq!(take(&mut lab), 0);
    assert_eq!(lab.backs[0].next_credit(), None, "or it is past for ever");
    assert_eq!(lab.backs[0].park(), Pending::Nothing);
    lab.fronts[number].poke(0, Which::Tx, REQ_PROD, 250);
    assert_eq!(lab.backs[0].park(), Pending::Work);
    assert_eq!(take(&mut lab), 50);
    lab.end();
}

#[test]
fn who_sends_wrong_frames_as_fast_as_they_are_refused_is_not_served_without_end() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    let front = &mut lab.fronts[number];
    for _ in 0..255 {
        let request = request(front, 13);
        front.push(0, &request);
    }
    // The ring is gone through in the middle of this one, whose end is not looked for at its beginning.
    let last = front.requests(0, &[&[1; 100], &[2; 100]], 0, 0)[0];
    front.push(0, &last);
    front.send_without_end(0);
    assert!(lab.backs[0].receive().is_none());
    assert_eq!(lab.backs[0].counters().dropped_runt, 255);
    assert_eq!(lab.backs[0].state(), State::Open);
    assert_eq!(lab.backs[0].park(), Pending::Work, "there is more");
    lab.end();
}

#[test]
fn a_frame_that_finds_too_few_buffers_takes_none_of_them() {
    let mut lab = Lab::new();
    let number = lab.announce(GUEST, &[]);
    lab.fronts[number].publish(Shape::default(), &TAKES);
    lab.fronts[number].post(0, 1);
    lab.fronts[number].switch_to(XenbusState::CONNECTED);
    lab.settle();
    let gso = Some(Gso {
        kind: GsoKind::TcpV4,
        size: 1448,
    });
    let offload = Offload {
        checksum: Checksum::Blank,
        gso,
    };
    // A buffer, and one in whose place the segmentation is described.
    let sent = lab.backs[0].transmit_bytes(&[1; 3000], offload);
    assert_eq!(sent, Err(TransmitError::Full));
    assert_eq!(lab.backs[0].counters().refused_full, 1);
    assert_eq!(lab.backs[0].transmit_bytes(&[2; 60], PLAIN), Ok(()));
    lab.backs[0].flush();
    assert_eq!(lab.fronts[number].receive(0)[0].bytes, [2; 60]);
    lab.end();
}

#[test]
fn lies_in_extra_infos_cost_the_connection() {
    let with = |infos: &[ExtraInfo]| {
        breach(|front| {
            let flags = NETTXF_EXTRA_INFO | NETTXF_CSUM_BLANK;
            let request = TxRequest {
                flags,
                ..request(front, 100)
            };
            front.push(0, &request);
            infos.iter().for_each(|info| front.push_extra(0, *info));
        })
    };
    let broken = |breach| Some(State::Broken(breach));
    let more = XEN_NETIF_EXTRA_FLAG_MORE;
    let kind = |kind| ExtraInfo {
        kind,
        flags: more,
        ..ExtraInfo::default()
    };
    assert_eq!(with(&[gso_info(1448)]), Some(State::Open));
    assert_eq!(with(&[kind(0)]), broken(Breach::ExtraInfo));
    assert_eq!(
        with(&[kind(XEN_NETIF_EXTRA_TYPE_MAX)]),
        broken(Breach::ExtraInfo)
    );
    let again = ExtraInfo {
        flags: more,
        ..gso_info(1448)
    };
    assert_eq!(with(&[again, gso_info(9)]), broken(Breach::ExtraInfo));
    let loops = vec![kind(XEN_NETIF_EXTRA_TYPE_HASH); 200];
    assert_eq!(with(&loops), broken(Breach::ExtraInfo));
    assert_eq!(
        with(&[kind(XEN_NETIF_EXTRA_TYPE_HASH)]),
        broken(Breach::Truncated)
    );
    assert_eq!(with(&[gso_info(0)]), broken(Breach::Gso));
    let unknown = ExtraInfo {
        gso_type: 7,
        ..gso_info(1448)
    };
    assert_eq!(with(&[unknown]), broken(Breach::Gso));
}

#[test]
fn lies_about_one_frame_cost_that_frame() {
    let mut lab = Lab::new();
    let (number, to) = (lab.connect(GUEST), lab.connect(OTHER));
    let front = &mut lab.fronts[number];
    // Shorter than a header; a part longer than the whole; as long as it; an empty part; extra infos of a part;
    // 19 slots; segments without a blank checksum; a wish that was not offered.
    assert!(front.send(0, &[&[1; 13]], 0, &[]));
    for (first, second, flags) in [
        (100, 200, 0),
        (200, 200, 0),
        (200, 0, 0),
        (200, 100, NETTXF_EXTRA_INFO),
    ] {
        let requests = front.requests(0, &[&[1; 100], &[2; 100]], 0, 0);
        front.push(
            0,
            &TxRequest {
                size: first,
                ..requests[0]
            },
        );
        front.push(
            0,
            &TxRequest {
                size: second,
                flags,
                ..requests[1]
            },
        );
    }
    front.show(0);
    assert!(front.send(0, &[&[1; 50][..]; 19], 0, &[]));
    assert!(front.send(0, &[&[1; 100]], NETTXF_DATA_VALIDATED, &[gso_info(1448)]));
    let kind = XEN_NETIF_EXTRA_TYPE_MCAST_ADD;
    let join = ExtraInfo {
        kind,
        ..ExtraInfo::default()
    };
    assert!(front.send(0, &[&[1; 100]], 0, &[join]));
    // The shortest there is.
    let good = frame_for(to, ETHERNET_HEADER, 1);
    assert!(front.send(0, &[&good], 0, &[]));
    relay(&mut lab.backs);
    assert_eq!(lab.fronts[to].receive(0)[0].bytes, good);
    let counters = lab.backs[number].counters();
    assert_eq!(
        (
            counters.dropped_runt,
            counters.dropped_malformed,
            counters.dropped_slots,
            counters.dropped_extra,
            counters.received_frames
        ),
        (1, 5, 1, 1, 1)
    );
    let answers = lab.fronts[number].answers(0);
    let of = |status| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    assert_eq!((of(NETIF_RSP_OKAY), of(NETIF_RSP_NULL)), (1, 2));
    assert_eq!(of(NETIF_RSP_ERROR), 1 + 8 + 19 + 1 + 1);
    assert_eq!(
        lab.fronts[number].outstanding(0),
        0,
        "every request has its answer"
    );
    lab.end();
}

#[test]
fn a_frame_with_one_slice_too_many_is_dropped_whole() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    // A first slot longer than what is copied of it, and all the others there can be.
    let mut slots = vec![&[1; 1000][..]];
    slots.extend([&[2; 100][..]; FRAME_SLOTS_MAX - 1]);
    assert!(lab.fronts[number].send(0, &slots, 0, &[]));
    assert!(lab.backs[0].receive().is_none());
    lab.backs[0].flush();
    assert_eq!(lab.backs[0].counters().dropped_slots, 1);
    assert_eq!(lab.fronts[number].answers(0).len(), FRAME_SLOTS_MAX);
    lab.end();
}

/// Memory in which every word reads differently each time, as a frontend that races us can make it.
struct Restless(Page);

impl crate::ring::RingMemory for Restless {
    fn ring_word(&self, offset: usize) -> &core::sync::atomic::AtomicU32 {
        let word = self.0.word(offset);
        word.fetch_add(0x0001_0101, core::sync::atomic::Ordering::Relaxed);
        word
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 200 }, ..ProptestConfig::default() })]

    #[test]
    fn requests_that_change_while_they_are_read_never_reach_beyond_a_page(
        requests in prop::collection::vec(
            (any::<u32>(), 0..2500_u32, 0..8_u32, any::<u16>(), 0..2000_u32), 256,
        ),
        // Mostly such as could be, or nothing is read behind the first.
        others in prop::collection::vec((0..768_usize, any::<u32>()), 0..4),
    ) {
        let world = World::new();
        let page = world.domain(HOST).builder_page();
        let words = requests.iter().flat_map(|(gref, offset, flags, id, size)| {
            [*gref, offset | flags << 16, u32::from(*id) | size << 16]
        });
        for (at, word) in words.enumerate().chain(others) {
            page.word(RING + at * 4).store(word, core::sync::atomic::Ordering::Relaxed);
        }
        parse::parse_restless(Restless(page));
    }

    /// XSA-423 and XSA-432: headers in pieces, however small, and frames in as many as there may be.
    #[test]
    fn however_a_frame_is_cut_up_it_arrives_whole_or_not_at_all(
        len in 14..9000_usize,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..FRAME_SLOTS_MAX + 2),
        seed in any::<u8>(),
    ) {
        let mut lab = Lab::new();
        let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
        let frame = frame_for(to, len, seed);
        // A page's end is a cut as well, and no slot is empty.
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(len)).collect();
        ends.extend((0..len).step_by(PAGE_SIZE));
        ends.push(len);
        ends.sort_unstable();
        ends.dedup();
        ends.retain(|end| *end > 0);
        let mut slots: Vec<&[u8]> = Vec::new();
        let mut start = 0;
        for end in ends {
            slots.extend(frame[start..end].chunks(PAGE_SIZE));
            start = end;
        }
        prop_assume!(slots.len() <= 21);
        // What is left of them behind the header goes along with its slice.
        let mut header = HEAD_MAX.min(len);
        let behind = slots.iter().filter(|slot| {
            let used = header.min(slot.len());
            header -= used;
            used < slot.len()
        });
        let fits = slots.len() <= FRAME_SLOTS_MAX && behind.count() < FRAME_SLOTS_MAX;
        prop_assert!(lab.fronts[from].send(0, &slots, 0, &[]));
        relay(&mut lab.backs);
        let arrived = lab.fronts[to].receive(0);
        let arrived: Vec<&[u8]> = arrived.iter().map(|frame| &frame.bytes[..]).collect();
        let expected: &[&[u8]] = if fits { &[&frame] } else { &[] };
        prop_assert_eq!(&arrived[..], expected);
        prop_assert_eq!(lab.backs[from].counters().dropped_slots, u64::from(!fits));
        prop_assert_eq!(lab.fronts[from].answers(0).len(), slots.len());
        lab.end();
    }
}
