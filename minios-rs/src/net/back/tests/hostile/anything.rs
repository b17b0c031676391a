//! All of it in any order, while two others speak with each other.

use super::*;

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
            // And one to the liar, which may lose it.
            prop_assert!(lab.fronts[0].send(0, &[&frame_for(2, 1200, round as u8 + 100)], 0, &[]));
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
