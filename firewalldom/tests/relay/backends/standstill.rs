//! A backend that does nothing for a while, or never again.

use super::*;

#[test]
fn a_backend_that_answers_nothing_costs_the_others_nothing() {
    let mut lab = Lab::new();
    lab.connect();
    lab.backs[NET].hold_answers = true;
    const SENT: u32 = 400;
    for number in 0..SENT {
        let frame = lab.tcp(LOC, 16, 1001 + number * 6000, 5001, &pattern(6000));
        lab.deliver(LOC, &frame, BLANK, &[GSO]);
    }
    assert!(
        lab.backs[LOC].posted() >= 64,
        "the sender's other frames still find buffers"
    );
    let held = lab.receive(NET).len();
    lab.backs[NET].hold_answers = false;
    lab.backs[NET].answer_all();
    let mut passed = held;
    for _ in 0..50 {
        lab.turn();
        passed += lab.receive(NET).len();
    }
    let lost = lab.relay.losses().egress_full;
    assert!(lost > 0, "no queue holds them all");
    assert_eq!(
        passed as u64 + lost,
        u64::from(SENT),
        "each frame passed, or was counted as lost"
    );
    // And what was on loan is counted back: all of it can be lent again.
    for number in 0..100 {
        let frame = lab.tcp(LOC, 16, 3_000_000 + number * 6000, 5001, &pattern(6000));
        lab.deliver(LOC, &frame, BLANK, &[GSO]);
        assert_eq!(lab.receive(NET).len(), 1);
    }
    lab.end();
}

#[test]
fn a_backend_that_vanishes_takes_nothing_with_it() {
    let mut lab = Lab::new();
    lab.connect();
    lab.backs[NET].hold_answers = true;
    for number in 0..20 {
        let frame = lab.tcp(LOC, 16, 1001 + number * 6000, 5001, &pattern(6000));
        lab.deliver(LOC, &frame, BLANK, &[GSO]);
    }
    lab.receive(NET);
    // The other side goes on while this one closes with frames in flight.
    lab.end();
}

/// The same interface in the place of one that closed with frames in flight.
#[test]
fn an_interface_whose_backend_comes_back_goes_on_with_its_flows() {
    let mut lab = Lab::new();
    lab.connect();
    // In flight both ways: pages of each side lie in the other's ring, and in its queue.
    for side in [NET, LOC] {
        lab.backs[side].hold_answers = true;
    }
    for number in 0..100 {
        let frame = lab.tcp(LOC, 16, 1001 + number * 6000, 5001, &pattern(6000));
        lab.deliver(LOC, &frame, BLANK, &[GSO]);
        let frame = lab.tcp(NET, 16, 5001 + number * 6000, 1001, &pattern(6000));
        lab.deliver(NET, &frame, BLANK, &[GSO]);
    }
    lab.receive(NET);
    lab.receive(LOC);
    for round in 0..3 {
        lab.replace_net(round);
        lab.backs[LOC].hold_answers = false;
        lab.backs[LOC].answer_all();
        lab.turn();
        // Whoever is there is told who has the address now.
        let told = lab.backs[NET].receive();
        assert!(told.iter().any(|frame| is_arp(&frame.bytes)
            && frame.bytes[22..28] == lab.mac(NET)
            && frame.bytes[28..32] == PUBLIC));
        // Both ways at once, without a handshake: by the flow that there was.
        let answer = lab.tcp(NET, 16, 5001, 1001, &pattern(6000));
        lab.deliver(NET, &answer, BLANK, &[GSO]);
        let came = lab.receive(LOC);
        assert_eq!(came.len(), 1);
        assert!(came[0].bytes.ends_with(&pattern(6000)));
        let frame = lab.tcp(LOC, 16, 1001, 5001, &pattern(6000));
        lab.deliver(LOC, &frame, BLANK, &[GSO]);
        let went = lab.receive(NET);
        assert_eq!(went.len(), 1);
        assert_eq!(went[0].bytes[6..12], lab.mac(NET));
        // And all of its pages can be lent again.
        for number in 0..100 {
            let frame = lab.tcp(NET, 16, 5001 + number, 1001, &pattern(6000));
            lab.deliver(NET, &frame, BLANK, &[GSO]);
            assert_eq!(lab.receive(LOC).len(), 1);
        }
    }
    lab.end();
}

#[test]
fn a_burst_waits_for_a_backend_that_is_not_run_and_keeps_its_order() {
    const RING: usize = 256;
    const QUEUE: usize = 1_000;
    /// Every so many frames one has its payload in pages.
    const PAGES_EACH: usize = 50;
    let mut lab = Lab::new();
    lab.connect();
    let losses = lab.relay.losses();
    let mut lengths = Vec::new();
    for number in 0.. {
        // A length tells which frame it is.
        let len = match number % PAGES_EACH {
            0 => 1_400 + number / PAGES_EACH,
            place => place,
        };
        let frame = lab.tcp(LOC, 16, 1001, 5001, &pattern(len));
        lab.deliver(LOC, &frame, BLANK, &[]);
        if lab.relay.losses() != losses {
            break;
        }
        lengths.push(frame.len());
    }
    // A frame with pages takes two slots of the ring.
    let in_ring = RING - RING.div_ceil(PAGES_EACH);
    assert_eq!(lengths.len(), in_ring + QUEUE);
    assert_eq!(lab.relay.losses().egress_full, losses.egress_full + 1);
    let mut received = Vec::new();
    loop {
        let frames = lab.receive(NET);
        if frames.is_empty() {
            break;
        }
        received.extend(frames.iter().map(|frame| frame.bytes.len()));
    }
    assert_eq!(received, lengths);
    lab.end();
}
