//! Backends that lie.

use super::*;

#[test]
fn a_frame_that_never_ends_gives_its_buffers_back_as_it_comes() {
    let (mut lab, mut front, link) = one();
    let part = RxResponse {
        flags: NETRXF_MORE_DATA,
        status: 100,
        ..RxResponse::default()
    };
    for _ in 0..4 {
        assert_eq!(lab.backs[0].respond(&[(None, part); 256]), 256);
        assert!(front.receive().is_none());
        front.flush();
        assert_eq!(lab.backs[0].posted(), 256);
        assert_eq!(front.park(), Pending::Nothing);
    }
    lab.end(vec![(front, link)]);
}

#[test]
fn a_frame_whose_end_has_not_come_is_neither_taken_nor_a_reason_to_spin() {
    let (mut lab, mut front, link) = one();
    let part = RxResponse {
        flags: NETRXF_MORE_DATA,
        status: 100,
        ..RxResponse::default()
    };
    lab.backs[0].respond(&[(None, part)]);
    assert!(front.receive().is_none());
    assert_eq!(front.park(), Pending::Nothing);
    let before = lab.backs[0].notifications;
    lab.backs[0].respond(&[(None, RxResponse { flags: 0, ..part })]);
    assert_eq!(lab.backs[0].notifications, before + 1, "the end is told of");
    assert_eq!(front.park(), Pending::Work);
    let frame = front.receive().expect("it is whole");
    assert_eq!((frame.len, frame.slots.len()), (200, 2));
    front.recycle_frame(frame);
    lab.end(vec![(front, link)]);
}

#[test]
fn lies_about_a_frame_cost_the_frame_and_are_counted_by_reason() {
    let (mut lab, mut front, link) = one();
    type Raw = (Option<u16>, RxResponse);
    type Count = fn(Counters) -> u64;
    let ok: Raw = (
        None,
        RxResponse {
            status: 100,
            ..RxResponse::default()
        },
    );
    let with = |flags, offset, status| -> Raw {
        (
            None,
            RxResponse {
                flags,
                offset,
                status,
                id: 0,
            },
        )
    };
    // An extra info lies over the id.
    let extra = |kind, flags| -> Raw {
        let info = ExtraInfo {
            kind,
            flags,
            ..gso_info(1448)
        };
        let raw: RxResponse = FromBytes::read_from_bytes(info.as_bytes()).expect("same size");
        (Some(raw.id), raw)
    };
    let more = with(NETRXF_MORE_DATA, 0, 100);
    let with_extra = with(NETRXF_EXTRA_INFO | NETRXF_CSUM_BLANK, 0, 100);
    let overlong: Vec<Raw> = core::iter::repeat_n(more, 60).chain([ok]).collect();
    let extras: Vec<Raw> = [with_extra]
        .into_iter()
        .chain((0..40).map(|_| extra(4, 1)))
        .chain([extra(4, 0)])
        .collect();
    let lies: Vec<(Vec<Raw>, Count)> = vec![
        (vec![with(0, 0, -1)], |c| c.dropped_error),
        (vec![with(0, 0, i16::MIN)], |c| c.dropped_error),
        (vec![more, with(0, 0, -2)], |c| c.dropped_error),
        (vec![with(0, 0, 0)], |c| c.dropped_malformed),
        (vec![with(0, 4000, 100)], |c| c.dropped_malformed),
        (vec![with(0, 3997, 100)], |c| c.dropped_malformed),
        (vec![with(0, u16::MAX, i16::MAX)], |c| c.dropped_malformed),
        (vec![with(NETRXF_GSO_PREFIX, 0, 100)], |c| {
            c.dropped_malformed
        }),
        (vec![more, with_extra], |c| c.dropped_malformed),
        (vec![with(0, 0, 13)], |c| c.dropped_runt),
        (vec![with_extra, extra(0, 0)], |c| c.dropped_extra),
        (vec![with_extra, extra(5, 0)], |c| c.dropped_extra),
        (vec![with_extra, extra(1, 1), extra(1, 0)], |c| {
            c.dropped_extra
        }),
        (vec![with(NETRXF_EXTRA_INFO, 0, 100), extra(1, 0)], |c| {
            c.dropped_malformed
        }),
        (vec![(Some(9999), ok.1)], |c| c.dropped_id),
        (overlong, |c| c.dropped_slots),
        (extras, |c| c.dropped_extra),
    ];
    for (number, (raw, count)) in lies.iter().enumerate() {
        let before = count(front.counters());
        // In two bursts, so that a frame's end may come after its start was looked at.
        let half = raw.len() / 2;
        assert_eq!(lab.backs[0].respond(&raw[..half]), half);
        assert!(front.receive().is_none());
        assert_eq!(lab.backs[0].respond(&raw[half..]), raw.len() - half);
        assert!(front.receive().is_none(), "lie {number}");
        assert_eq!(
            count(front.counters()),
            before + 1,
            "lie {number}: {:?}",
            front.counters()
        );
        assert_eq!(front.state(), State::Open);
        front.flush();
        assert_eq!(
            lab.backs[0].posted(),
            256,
            "lie {number}: every buffer is posted again"
        );
        // To the page's last byte.
        assert!(lab.backs[0].deliver(&[&[1; 60]], 4036, 0, &[]));
        let frame = front
            .receive()
            .expect("the next frame starts where it should");
        assert_eq!(whole(&frame), [1; 60]);
        front.recycle_frame(frame);
        front.flush();
    }
    lab.end(vec![(front, link)]);
}

#[test]
fn impossible_ring_indices_break_the_interface_and_nothing_else() {
    for (which, breach) in [
        (Which::Rx, Breach::ReceiveIndex),
        (Which::Tx, Breach::TransmitIndex),
    ] {
        for lie in [257, 1 << 31, u32::MAX] {
            let (mut lab, mut front, link) = one();
            lab.backs[0].poke(which, RSP_PROD, lie);
            assert!(front.receive().is_none());
            assert!(front.completed().is_none());
            assert_eq!(front.state(), State::Broken(breach));
            assert_eq!(
                front.transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN),
                Err(TransmitError::NotOpen)
            );
            front.flush();
            assert_eq!(front.park(), Pending::Nothing);
            lab.end(vec![(front, link)]);
        }
    }
}

#[test]
fn answers_to_what_was_not_asked_break_the_interface() {
    for (id, status) in [(256, 0), (u16::MAX, 0), (5, 0), (0, NETIF_RSP_NULL)] {
        let (mut lab, mut front, link) = one();
        lab.backs[0].hold_answers = true;
        front
            .transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN)
            .unwrap();
        front.flush();
        assert_eq!(lab.backs[0].receive()[0].requests[0].id, 0);
        lab.backs[0].answer(id, status);
        assert!(front.completed().is_none());
        assert_eq!(
            front.state(),
            State::Broken(Breach::WildResponse),
            "{id} {status}"
        );
        lab.end(vec![(front, link)]);
    }
}

#[test]
fn an_error_as_answer_is_counted_and_gives_the_page_back() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    lab.backs[1].hold_answers = true;
    let sent = forward(&mut lab, &mut inside, &mut outside, 1);
    lab.backs[1].answer(sent[0].requests[0].id, NETIF_RSP_ERROR);
    lab.backs[1].answer(sent[0].requests[1].id, NETIF_RSP_DROPPED);
    inside.recycle(outside.completed().expect("answered"));
    let counters = outside.counters();
    assert_eq!((counters.answered_error, counters.answered_dropped), (1, 1));
    assert_eq!(outside.state(), State::Open);
    lab.end(vec![(inside, inside_link), (outside, outside_link)]);
}

#[derive(Clone, Debug)]
enum Step {
    Respond(Vec<RxResponse>),
    Deliver(usize, u16, u16),
    PokeIndex(Which, u32),
    PokeEntry(Which, u16, u32),
    Answer(u16, i16),
    Receive,
    Forward,
    Turn,
}

fn step() -> impl Strategy<Value = Step> {
    let response = (any::<u16>(), 0..6000_u16, 0..32_u16, -3..5000_i16).prop_map(
        |(id, offset, flags, status)| RxResponse {
            id,
            offset,
            flags,
            status,
        },
    );
    let which = prop_oneof![Just(Which::Tx), Just(Which::Rx)];
    prop_oneof![
        3 => prop::collection::vec(response, 1..30).prop_map(Step::Respond),
        6 => (1..19_usize, 0..32_u16, 0..2000_u16).prop_map(|(slots, flags, offset)| Step::Deliver(slots, flags, offset)),
        1 => (which.clone(), any::<u32>()).prop_map(|(which, value)| Step::PokeIndex(which, value)),
        2 => (which, 0..256_u16, any::<u32>()).prop_map(|(which, at, value)| Step::PokeEntry(which, at, value)),
        1 => (0..300_u16, -3..3_i16).prop_map(|(id, status)| Step::Answer(id, status)),
        4 => Just(Step::Receive),
        4 => Just(Step::Forward),
        8 => Just(Step::Turn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 300 }, ..ProptestConfig::default() })]
    #[test]
    fn whatever_a_backend_writes_nothing_panics_and_nothing_leaks(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut lab = Lab::new(&[HOST, OTHER]);
        let (mut inside, inside_link) = lab.connect(0);
        let (mut outside, outside_link) = lab.connect(1);
        // Backend 0 lies, and is the one the others forward to as well.
        lab.backs[0].hold_answers = true;
        lab.backs[0].hostile = true;
        let mut honest = 0;
        for step in steps {
            match step {
                Step::Respond(responses) => {
                    let raw: Vec<_> = responses.iter().map(|response| {
                        (if response.id % 8 == 0 { Some(response.id) } else { None }, *response)
                    }).collect();
                    lab.backs[0].respond(&raw);
                }
                Step::Deliver(slots, flags, offset) => {
                    let slots = vec![&[1_u8; 2000][..]; slots];
                    let flags = flags & !NETRXF_MORE_DATA & !NETRXF_EXTRA_INFO;
                    lab.backs[0].deliver(&slots, offset, flags, &[]);
                }
                Step::PokeIndex(which, value) => lab.backs[0].poke(which, RSP_PROD, value),
                Step::PokeEntry(which, at, value) => lab.backs[0].poke(which, RING + usize::from(at) * 4, value),
                // Only what was asked can be answered through the ring's own interface.
                Step::Answer(..) if inside.state() != State::Open => {}
                Step::Answer(id, status) => {
                    front_sends(&mut inside, &mut lab);
                    lab.backs[0].answer(id, status);
                }
                Step::Receive => {
                    while let Some(frame) = inside.receive() {
                        let mut all = vec![0; frame.len as usize];
                        prop_assert_eq!(frame.read(0, &mut all), all.len());
                        inside.recycle_frame(frame);
                    }
                }
                Step::Forward => {
                    if let Some(frame) = inside.receive() {
                        let offload = Offload { checksum: frame.checksum, gso: frame.gso };
                        let mut slots = frame.slots.into_iter();
                        let first = slots.next().expect("a frame has a slot");
                        let mut tail: heapless::Vec<_, TAIL_MAX> = slots.collect();
                        let _ = outside.transmit(&[3; 128], &mut tail, offload);
                        inside.recycle(first.buffer);
                        for slice in tail {
                            inside.recycle(slice.buffer);
                        }
                    }
                }
                Step::Turn => {
                    inside.flush();
                    outside.flush();
                    honest += lab.backs[1].receive().len();
                    while let Some(buffer) = outside.completed() {
                        inside.recycle(buffer);
                    }
                    let _ = inside.completed();
                    let _ = inside.park();
                }
            }
        }
        prop_assert_eq!(outside.state(), State::Open, "the honest backend's interface works on");
        outside.flush();
        honest += lab.backs[1].receive().len();
        prop_assert_eq!(outside.counters().transmitted_frames, honest as u64);
        while let Some(buffer) = outside.completed() {
            inside.recycle(buffer);
        }
        lab.end(vec![(inside, inside_link), (outside, outside_link)]);
    }
}

fn front_sends(front: &mut Front<Domain>, lab: &mut Lab) {
    let _ = front.transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN);
    front.flush();
    lab.backs[0].receive();
}
