//! What a frontend can do to its rings, its grants and its event channel.
//!
//! | what it does | where it was somebody's hole | what shows that it is none here |
//! |---|---|---|
//! | indices that cannot be, chains without end, across a page's, across the ring's | | `lies_about_the_ring_cost_the_connection` |
//! | extra infos without end, twice, of no kind; segments of no size | | `lies_in_extra_infos_cost_the_connection` |
//! | headers in pieces, frames in as many pieces as there may be | XSA-423, XSA-432 | `headers_strewn_over_many_slots_are_gathered`, `however_a_frame_is_cut_up_it_arrives_whole_or_not_at_all` |
//! | a request that is another when it is read again | XSA-155 | `requests_that_change_while_they_are_read_never_reach_beyond_a_page` |
//! | a frame that is another when it was judged | XSA-155 | `what_was_judged_is_what_arrives` |
//! | grants that never were, are revoked before or after the header was read | | `grants_revoked_…`, `who_never_stops_giving_bad_grants_loses_its_connection` |
//! | events without end | CVE-2021-28711 to 28713 | `events_without_end_cost_no_memory` |
//! | buffers that cannot be written, or none at all | CVE-2021-28714, 28715 | `buffers_that_cannot_be_written_are_the_receivers_fault`, `a_guest_that_posts_no_buffers_…` |
//! | all of it in any order | | `whatever_a_frontend_writes_it_harms_nobody_but_itself` |

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

#[test]
fn a_guest_that_posts_no_buffers_is_told_of_by_name_and_holds_nobody_up() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    let third = lab.connect(THIRD);
    let mut through = 0;
    for round in 0..1000 {
        // One for the guest that stands still, one for another.
        assert!(lab.fronts[from].send(0, &[&frame_for(to, 1000, 1)], 0, &[]));
        assert!(lab.fronts[from].send(0, &[&frame_for(third, 1000, round as u8)], 0, &[]));
        relay(&mut lab.backs);
        through += lab.fronts[third].receive(0).len();
        assert_eq!(lab.fronts[from].answers(0).len(), 2);
        lab.fronts[third].post(0, 256);
    }
    assert_eq!(through, 1000);
    let counters = lab.backs[to].counters();
    assert_eq!(
        (counters.transmitted_frames, counters.refused_full),
        (256, 744)
    );
    assert_eq!(
        lab.backs[to].transmit_bytes(&[1; 60], PLAIN),
        Err(TransmitError::Full)
    );
    let since = lab.now;
    lab.advance(Duration::from_secs(3));
    assert_eq!(lab.backs[to].stalled_for(lab.now), lab.now.since(since));
    assert_eq!(lab.backs[from].stalled_for(lab.now), Duration::ZERO);
    // Asked for now: an event for the next buffer.
    assert_eq!(lab.backs[to].park(), Pending::Nothing);
    assert_eq!(lab.fronts[to].receive(0).len(), 256);
    lab.fronts[to].post(0, 256);
    assert_eq!(lab.backs[to].park(), Pending::Work);
    assert_eq!(lab.backs[to].stalled_for(lab.now), Duration::ZERO);
    assert_eq!(lab.backs[to].transmit_bytes(&[1; 60], PLAIN), Ok(()));
    lab.end();
}

#[test]
fn what_was_judged_is_what_arrives() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    let frame = frame_for(to, 200, 1);
    assert!(lab.fronts[from].send(0, &[&frame], 0, &[]));
    let received = lab.backs[from].receive().expect("a frame came");
    lab.fronts[from].scribble_sent(0, 0xee);
    let mut head = [0; HEAD_MAX];
    let read = received.read(0, &mut head);
    lab.backs[to]
        .transmit(
            &head[..read],
            heapless::Vec::<_, 1>::new().as_mut_view(),
            PLAIN,
        )
        .expect("there is room");
    lab.backs[from].recycle_frame(received);
    give_back(&mut lab.backs);
    assert_eq!(lab.fronts[to].receive(0)[0].bytes, frame);
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
    // Shorter than a header; a part longer than the whole; as long as it; an empty part; 19 slots; segments
    // without a blank checksum; a wish that was not offered.
    assert!(front.send(0, &[&[1; 13]], 0, &[]));
    for (first, second) in [(100, 200), (200, 200), (200, 0)] {
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
    let good = frame_for(to, 100, 1);
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
        (1, 4, 1, 1, 1)
    );
    let answers = lab.fronts[number].answers(0);
    let of = |status| {
        answers
            .iter()
            .filter(|answer| answer.status == status)
            .count()
    };
    assert_eq!((of(NETIF_RSP_OKAY), of(NETIF_RSP_NULL)), (1, 2));
    assert_eq!(of(NETIF_RSP_ERROR), 1 + 6 + 19 + 1 + 1);
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

#[test]
fn grants_revoked_before_the_header_is_read_cost_the_frame() {
    let mut lab = Lab::new();
    let (number, to) = (lab.connect(GUEST), lab.connect(OTHER));
    assert!(lab.fronts[number].send(0, &[&frame_for(to, 100, 1)], 0, &[]));
    lab.fronts[number].revoke_sent(0);
    assert!(lab.fronts[number].send(0, &[&frame_for(to, 100, 2)], 0, &[]));
    relay(&mut lab.backs);
    assert_eq!(lab.fronts[to].receive(0).len(), 1);
    let statuses: Vec<i16> = lab.fronts[number]
        .answers(0)
        .iter()
        .map(|answer| answer.status)
        .collect();
    assert_eq!(statuses, [NETIF_RSP_ERROR, NETIF_RSP_OKAY]);
    assert_eq!(lab.backs[number].counters().dropped_grant, 1);
    lab.end();
}

#[test]
fn grants_revoked_in_flight_are_the_senders_fault_and_cost_the_receiver_nothing_else() {
    let mut lab = Lab::new();
    let (liar, to) = (lab.connect(GUEST), lab.connect(OTHER));
    let honest = lab.connect(THIRD);
    assert!(lab.fronts[liar].send(0, &[&frame_for(to, 3000, 1)], 0, &[]));
    assert!(lab.fronts[honest].send(0, &[&frame_for(to, 3000, 2)], 0, &[]));
    for number in [liar, honest] {
        let mut frame = lab.backs[number].receive().expect("a frame came");
        let mut head = [0; HEAD_MAX];
        frame.read(0, &mut head);
        let first = frame.slots.remove(0);
        lab.backs[number].recycle(first.buffer);
        lab.backs[to]
            .transmit(&head, frame.slots.as_mut_view(), PLAIN)
            .expect("there is room");
    }
    lab.fronts[liar].revoke_sent(0);
    give_back(&mut lab.backs);
    let frames = lab.fronts[to].receive(0);
    assert_eq!(frames.len(), 2);
    assert!(frames[0].is_error && !frames[1].is_error);
    assert_eq!(frames[1].bytes, frame_for(to, 3000, 2));
    let counters = lab.backs[to].counters();
    assert_eq!(
        (
            counters.lost_sender,
            counters.lost_grant,
            counters.transmitted_frames
        ),
        (1, 0, 1)
    );
    assert_eq!(lab.backs[liar].counters().dropped_grant, 1);
    assert_eq!(lab.fronts[liar].answers(0)[0].status, NETIF_RSP_ERROR);
    assert_eq!(lab.fronts[honest].answers(0)[0].status, NETIF_RSP_OKAY);
    lab.end();
}

#[test]
fn buffers_that_cannot_be_written_are_the_receivers_fault() {
    let mut lab = Lab::new();
    let (from, to) = (lab.connect(GUEST), lab.connect(OTHER));
    lab.fronts[to].revoke_posted(0);
    assert!(lab.fronts[from].send(0, &[&frame_for(to, 3000, 1)], 0, &[]));
    relay(&mut lab.backs);
    assert!(lab.fronts[to].receive(0)[0].is_error);
    assert_eq!(lab.backs[to].counters().lost_grant, 1);
    assert_eq!(lab.backs[from].counters().dropped_grant, 0);
    assert_eq!(lab.fronts[from].answers(0)[0].status, NETIF_RSP_OKAY);
    lab.end();
}

#[test]
fn who_never_stops_giving_bad_grants_loses_its_connection() {
    let mut lab = Lab::new();
    let (number, honest) = (lab.connect(GUEST), lab.connect(OTHER));
    for round in 0..GRANT_FAULTS_MAX + 300 {
        let (id, size) = (round as u16, 100);
        let request = TxRequest {
            gref: 7_000_000,
            id,
            size,
            ..TxRequest::default()
        };
        lab.fronts[number].push(0, &request);
        lab.fronts[number].show(0);
        relay(&mut lab.backs);
        lab.turn();
        if lab.backs.len() == 1 {
            break;
        }
        lab.fronts[number].answers(0);
    }
    lab.settle();
    assert_eq!(lab.backs.len(), 1);
    assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSING);
    assert_eq!(lab.fronts[honest].backend_state(), XenbusState::CONNECTED);
    lab.end();
}

#[test]
fn a_copy_that_is_busy_is_tried_again_and_not_for_ever() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    assert!(lab.fronts[number].send(0, &[&[1; 60]], 0, &[]));
    lab.world.fail(Fault::CopyBusy, 0);
    let frame = lab.backs[0].receive().expect("the second try is right");
    lab.backs[0].recycle_frame(frame);
    assert!(lab.fronts[number].send(0, &[&[1; 60]], 0, &[]));
    lab.world.fail(Fault::Copy, 0);
    assert!(lab.backs[0].receive().is_none());
    assert_eq!(lab.backs[0].counters().dropped_grant, 1);
    lab.end();
}

#[test]
fn events_without_end_cost_no_memory() {
    let mut lab = Lab::new();
    let number = lab.connect(GUEST);
    let before = lab.host.usage();
    for round in 0..2000_u32 {
        lab.fronts[number].notify(0);
        lab.fronts[number].write("state", if round % 2 == 0 { "4" } else { "04" });
        lab.turn();
    }
    assert_eq!(lab.host.usage(), before);
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

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<(u16, u16, u16)>, u16),
    SendExtra(u8, u8, u16, u8),
    Raw(u32, u16, u16, u16, u16),
    PostRaw(u16, u32),
    Poke(Which, u16, u32),
    PokeIndex(Which, u32),
    RevokeSent,
    RevokePosted,
    Scribble(u8),
    State(u32),
    Key(u8, u32),
    Reconnect,
    Notify,
    Relay,
    Hold,
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let which = prop_oneof![Just(Which::Tx), Just(Which::Rx)];
    let slot = (0..4097_u16, 0..4097_u16, 0..16_u16);
    prop_oneof![
        6 => (prop::collection::vec(slot, 1..20), 0..8_u16).prop_map(|(slots, flags)| Step::Send(slots, flags)),
        2 => (0..7_u8, 0..3_u8, any::<u16>(), 0..4_u8).prop_map(|(kind, flags, size, gso)| Step::SendExtra(kind, flags, size, gso)),
        2 => (0..64_u32, any::<u16>(), 0..16_u16, any::<u16>(), any::<u16>())
            .prop_map(|(gref, offset, flags, id, size)| Step::Raw(gref, offset, flags, id, size)),
        1 => (any::<u16>(), 0..64_u32).prop_map(|(id, gref)| Step::PostRaw(id, gref)),
        2 => (which.clone(), 0..1024_u16, any::<u32>()).prop_map(|(which, at, value)| Step::Poke(which, at, value)),
        1 => (which, any::<u32>()).prop_map(|(which, value)| Step::PokeIndex(which, value)),
        1 => Just(Step::RevokeSent),
        1 => Just(Step::RevokePosted),
        1 => any::<u8>().prop_map(Step::Scribble),
        1 => (0..9_u32).prop_map(Step::State),
        1 => (0..6_u8, any::<u32>()).prop_map(|(key, value)| Step::Key(key, value)),
        1 => Just(Step::Reconnect),
        1 => Just(Step::Notify),
        8 => Just(Step::Relay),
        2 => Just(Step::Hold),
        2 => Just(Step::Settle),
    ]
}

/// What a liar does; false if it has no rings to do it to.
fn lie(front: &mut Netfront, step: &Step) {
    match step {
        Step::Send(slots, flags) => {
            let total: usize = slots.iter().map(|slot| usize::from(slot.1)).sum();
            for (number, (offset, len, more)) in slots.iter().enumerate() {
                let mut request = front.requests(0, &[&[3; 64]], 0, 0)[0];
                request.offset = *offset;
                request.size = if number == 0 { total as u16 } else { *len };
                // Mostly a proper chain.
                let is_last = number + 1 == slots.len();
                request.flags = if number == 0 { *flags & 3 } else { 0 };
                if !is_last || more % 16 == 7 {
                    request.flags |= NETTXF_MORE_DATA;
                }
                front.push(0, &request);
            }
            front.show(0);
        }
        Step::SendExtra(kind, flags, gso_size, gso_type) => {
            let mut request = front.requests(0, &[&[3; 64]], 0, 0)[0];
            request.flags = NETTXF_EXTRA_INFO | NETTXF_CSUM_BLANK;
            front.push(0, &request);
            let (kind, flags, gso_size, gso_type) = (*kind, *flags, *gso_size, *gso_type);
            front.push_extra(
                0,
                ExtraInfo {
                    kind,
                    flags,
                    gso_size,
                    gso_type,
                    ..ExtraInfo::default()
                },
            );
            front.show(0);
        }
        Step::Raw(gref, offset, flags, id, size) => {
            let (gref, offset, flags, id, size) = (*gref, *offset, *flags, *id, *size);
            front.push(
                0,
                &TxRequest {
                    gref,
                    offset,
                    flags,
                    id,
                    size,
                },
            );
            front.show(0);
        }
        Step::PostRaw(id, gref) => front.post_raw(
            0,
            RxRequest {
                id: *id,
                pad: 0,
                gref: *gref,
            },
        ),
        Step::Poke(which, at, value) => front.poke(0, *which, usize::from(*at) * 4, *value),
        Step::PokeIndex(which, value) => front.poke(0, *which, REQ_PROD, *value),
        Step::RevokeSent => front.revoke_sent(0),
        Step::RevokePosted => front.revoke_posted(0),
        Step::Scribble(byte) => front.scribble_sent(0, *byte),
        Step::State(state) => front.switch_to(XenbusState(*state)),
        Step::Key(key, value) => {
            let key = [
                "tx-ring-ref",
                "rx-ring-ref",
                "event-channel",
                "event-channel-tx",
                "multi-queue-num-queues",
                "request-rx-copy",
            ][usize::from(*key)];
            front.write(key, format!("{value}"));
        }
        Step::Reconnect => {
            front.drop_rings();
            front.write("multi-queue-num-queues", "1");
            front.write("event-channel-tx", "x");
            front.switch_to(XenbusState::INITIALISING);
            front.connect(Shape::default());
        }
        Step::Notify => front.notify(0),
        Step::Relay | Step::Hold | Step::Settle => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 200 }, ..ProptestConfig::default() })]

    #[test]
    fn requests_that_change_while_they_are_read_never_reach_beyond_a_page(
        words in prop::collection::vec(any::<u32>(), 768),
    ) {
        let world = World::new();
        let page = world.domain(HOST).builder_page();
        for (at, word) in words.iter().enumerate() {
            page.word(RING + at * 4).store(*word, core::sync::atomic::Ordering::Relaxed);
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

    #[test]
    fn whatever_a_frontend_writes_it_harms_nobody_but_itself(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut lab = Lab::new();
        let (one, two) = (lab.connect(OTHER), lab.connect(THIRD));
        let liar = lab.connect(GUEST);
        let ids = [lab.backs[one].id(), lab.backs[two].id()];
        let limit = lab.host.usage();
        let (mut sent, mut received) = (0_u64, 0_u64);
        let mut held = Vec::new();
        for (round, step) in steps.iter().enumerate() {
            lie(&mut lab.fronts[liar], step);
            // Two others speak with each other all the time.
            for (from, to) in [(0, 1), (1, 0)] {
                let frame = frame_for(to, 1200, round as u8);
                prop_assert!(lab.fronts[from].send(0, &[&frame], 0, &[]));
                sent += 1;
            }
            match step {
                Step::Relay => relay(&mut lab.backs),
                Step::Hold => {
                    for back in &mut lab.backs {
                        if !ids.contains(&back.id()) && let Some(frame) = back.receive() {
                            held.push(frame);
                        }
                    }
                }
                Step::Settle => lab.advance(Duration::from_secs(1)),
                _ => lab.turn(),
            }
            let honest = |lab: &Lab, id| lab.backs.iter().position(|back| back.id() == id);
            prop_assert_eq!(honest(&lab, ids[0]), Some(0));
            prop_assert_eq!(honest(&lab, ids[1]), Some(1));
            // Frames that were held go on later, when their sender has had time to change them.
            if held.len() > 3 {
                let frame = held.remove(0);
                let mut slots = frame.slots;
                let _ = lab.backs[0].transmit(&[0; 64], slots.as_mut_view(), PLAIN);
                drop(slots);
            }
            relay(&mut lab.backs);
            for number in [0, 1] {
                for frame in lab.fronts[number].receive(0) {
                    // The liar may send to anybody; what the other sent has its mark.
                    if frame.bytes.len() == 1200 && !frame.is_error && frame.bytes[1..] == frame_for(number, 1200, round as u8)[1..] {
                        received += 1;
                    }
                }
                lab.fronts[number].post(0, 256);
                for answer in lab.fronts[number].answers(0) {
                    prop_assert_eq!(answer.status, NETIF_RSP_OKAY);
                }
            }
            let usage = lab.host.usage();
            prop_assert!(usage.pages <= limit.pages + held.len() && usage.mapped <= limit.mapped, "it grows: {:?}", usage);
            prop_assert!(usage.ports <= limit.ports && usage.watches <= limit.watches);
        }
        prop_assert_eq!(received, sent, "nobody else loses a frame");
        drop(held);
        lab.end();
    }
}
