//! Who wakes whom, and how often.

use super::*;

#[test]
fn a_batch_costs_one_notification_and_none_while_the_backend_looks() {
    let (mut lab, mut front, link) = one();
    let before = lab.backs[0].events_received();
    for _ in 0..64 {
        front
            .transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN)
            .unwrap();
    }
    front.flush();
    assert_eq!(lab.backs[0].events_received(), before + 1);
    front
        .transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN)
        .unwrap();
    front.flush();
    assert_eq!(
        lab.backs[0].events_received(),
        before + 1,
        "it has not asked again"
    );
    assert_eq!(lab.backs[0].receive().len(), 65);
    front
        .transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN)
        .unwrap();
    front.flush();
    assert_eq!(lab.backs[0].events_received(), before + 2);
    lab.end(vec![(front, link)]);
}

#[test]
fn the_backend_is_asked_for_an_event_before_sleeping_only() {
    let (mut lab, mut front, link) = one();
    assert_eq!(front.park(), Pending::Nothing);
    let before = lab.backs[0].notifications;
    for _ in 0..10 {
        lab.backs[0].deliver(&[&[1; 60]], 0, 0, &[]);
    }
    assert_eq!(lab.backs[0].notifications, before + 1);
    assert_eq!(front.park(), Pending::Work);
    while let Some(frame) = front.receive() {
        front.recycle_frame(frame);
    }
    assert_eq!(front.park(), Pending::Nothing);
    lab.end(vec![(front, link)]);
}

#[test]
fn answers_to_half_of_what_was_sent_wake_a_sleeper_whose_ring_is_half_full() {
    for (frames, wakes) in [(10, 0), (128, 0), (130, 1)] {
        let (mut lab, mut front, link) = one();
        lab.backs[0].hold_answers = true;
        for _ in 0..frames {
            front
                .transmit(&[1; 60], &mut heapless::Vec::new(), PLAIN)
                .unwrap();
        }
        front.flush();
        let sent = lab.backs[0].receive();
        assert_eq!(front.park(), Pending::Nothing);
        let before = lab.backs[0].notifications;
        for frame in &sent[..frames / 2] {
            lab.backs[0].answer(frame.requests[0].id, NETIF_RSP_OKAY);
        }
        assert_eq!(lab.backs[0].notifications, before);
        for frame in &sent[frames / 2..] {
            lab.backs[0].answer(frame.requests[0].id, NETIF_RSP_OKAY);
        }
        assert_eq!(
            lab.backs[0].notifications,
            before + wakes,
            "{frames} frames"
        );
        lab.end(vec![(front, link)]);
    }
}

#[test]
fn many_lent_pages_wake_a_sleeper_once_when_half_of_them_are_answered() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, mut outside) = (lab.connect(0), lab.connect(1));
    lab.backs[1].hold_answers = true;
    for (pages, wake, wakes) in [
        (40, Wake::FirstSlot, 0),
        (42, Wake::FirstSlot, 1),
        (60, Wake::Slots(8), 0),
        // More than half of the ring, with the headers.
        (66, Wake::Slots(8), 1),
    ] {
        let mut sent = Vec::new();
        for _ in 0..pages {
            lab.backs[0].deliver(&[&[7; 1000]], 0, 0, &[]);
            let frame = inside.0.receive().unwrap();
            let mut head = [0; 128];
            frame.read(0, &mut head);
            let mut tail = tail_of(frame);
            tail[0].advance(128);
            outside.0.transmit(&head, &mut tail, PLAIN).unwrap();
            outside.0.flush();
            sent.extend(lab.backs[1].receive());
        }
        assert_eq!(outside.0.park_until(wake), Pending::Nothing);
        let before = lab.backs[1].notifications;
        // Header and payload: two answers for each frame.
        for (number, frame) in sent.into_iter().enumerate() {
            for request in frame.requests {
                lab.backs[1].answer(request.id, NETIF_RSP_OKAY);
            }
            let due = if number < pages / 2 { 0 } else { wakes };
            let told = lab.backs[1].notifications - before;
            assert_eq!(told, due, "{number} of {pages}, {wake:?}");
        }
        while let Some(buffer) = outside.0.completed() {
            inside.0.recycle(buffer);
        }
        inside.0.flush();
    }
    lab.end(vec![inside, outside]);
}

#[test]
fn a_moderated_sleeper_is_woken_by_as_many_slots_as_it_asked_for() {
    let (mut lab, mut front, link) = one();
    for (asked, wakes_at) in [(1, 1), (32, 32), (300, 129)] {
        assert_eq!(front.park_until(Wake::Slots(asked)), Pending::Nothing);
        let before = lab.backs[0].notifications;
        for number in 1..=wakes_at {
            assert_eq!(lab.backs[0].notifications, before, "{number} of {asked}");
            lab.backs[0].deliver(&[&[1; 60]], 0, 0, &[]);
        }
        assert_eq!(lab.backs[0].notifications, before + 1, "asked for {asked}");
        while let Some(frame) = front.receive() {
            front.recycle_frame(frame);
        }
        front.flush();
    }
    lab.end(vec![(front, link)]);
}
