//! Whose pages a backend sees, and until when.

use super::*;

#[test]
fn a_backend_sees_only_the_bytes_that_were_sent_to_it() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    lab.backs[1].hold_answers = true;
    // A long secret first fills every receive buffer to its end.
    for _ in 0..256 {
        assert!(lab.backs[0].deliver(&[&[0x55; 4096]], 0, 0, &[]));
        let frame = inside.receive().expect("a frame came");
        inside.recycle_frame(frame);
        inside.flush();
    }
    assert!(lab.backs[0].deliver(&[&[1; 60], &[0xaa; 500]], 300, 0, &[]));
    let mut frame = inside.receive().expect("a frame came");
    let mut tail = heapless::Vec::new();
    tail.push(frame.slots.pop().expect("two slots"))
        .expect("there is room");
    outside
        .transmit(&[1; 60], &mut tail, PLAIN)
        .expect("it is sent");
    inside.recycle_frame(frame);
    outside.flush();
    let sent = lab.backs[1].receive();
    // It reads all that is granted to it, as one who guesses would.
    for reference in lab.backs[1].domain().readable_grants(GUEST) {
        let mut page = [0; 4096];
        lab.backs[1]
            .domain()
            .copy_from(GUEST, reference, 0, &mut page)
            .expect("it is granted");
        assert!(
            !page.windows(16).any(|part| part == [0x55; 16]),
            "a secret in {reference:?}"
        );
        if reference.0 == sent[0].requests[1].gref {
            assert!(
                page[..300].iter().all(|byte| *byte == 0)
                    && page[800..].iter().all(|byte| *byte == 0)
            );
            assert!(page[300..800].iter().all(|byte| *byte == 0xaa));
        }
    }
    lab.backs[1].answer_all();
    let gref = sent[0].requests[1].gref;
    inside.recycle(outside.completed().expect("answered"));
    assert!(lab.backs[1].map(gref).is_err(), "revoked with the answer");
    lab.end(vec![(inside, inside_link), (outside, outside_link)]);
}

#[test]
fn between_vifs_of_one_backend_nothing_is_zeroed() {
    let mut lab = Lab::new(&[HOST, HOST]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    lab.backs[1].hold_answers = true;
    assert!(lab.backs[0].deliver(&[&[7; 4096]], 0, 0, &[]));
    let frame = inside.receive().expect("a frame came");
    let mut tail = tail_of(frame);
    tail[0].advance(4000);
    outside
        .transmit(&[1; 60], &mut tail, PLAIN)
        .expect("it is sent");
    outside.flush();
    let sent = lab.backs[1].receive();
    let mut page = [0; 4096];
    lab.backs[1]
        .map(sent[0].requests[1].gref)
        .expect("granted")
        .read(0, &mut page);
    assert_eq!(page, [7; 4096]);
    lab.backs[1].answer_all();
    inside.recycle(outside.completed().expect("answered"));
    lab.end(vec![(inside, inside_link), (outside, outside_link)]);
}

#[test]
fn a_page_still_mapped_after_its_answer_is_kept_in_quarantine() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    lab.backs[1].hold_answers = true;
    let sent = forward(&mut lab, &mut inside, &mut outside, 3);
    let mapping = lab.backs[1].map(sent[0].requests[1].gref).expect("granted");
    lab.backs[1].answer_all();
    assert!(outside.completed().is_none());
    assert_eq!(
        (
            outside.counters().quarantined,
            outside.counters().in_quarantine
        ),
        (1, 1)
    );
    (0..100).for_each(|_| outside.flush());
    assert!(outside.completed().is_none());
    assert_eq!(outside.counters().quarantined, 1, "counted once");
    drop(mapping);
    outside.flush();
    inside.recycle(outside.completed().expect("the backend let go"));
    assert_eq!(outside.counters().in_quarantine, 0);
    lab.end(vec![(inside, inside_link), (outside, outside_link)]);
}

#[test]
fn a_backend_that_never_answers_takes_a_bounded_number_of_pages() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    lab.backs[1].hold_answers = true;
    let mut refused = 0;
    for _ in 0..1000 {
        assert!(
            lab.backs[0].deliver(&[&[1; 200]], 0, 0, &[]),
            "receiving goes on"
        );
        let mut tail = tail_of(inside.receive().expect("receiving goes on"));
        tail[0].advance(100);
        if outside.transmit(&[1; 100], &mut tail, PLAIN).is_err() {
            refused += 1;
        }
        for slice in tail {
            inside.recycle(slice.buffer);
        }
        outside.flush();
        inside.flush();
        lab.backs[1].receive();
    }
    let taken = Config::default().tail_pages_max.min(128);
    assert_eq!(outside.counters().tail_pages, taken, "two slots a frame");
    assert_eq!(refused, 1000 - u32::from(taken));
    lab.backs[1].answer_all();
    while let Some(buffer) = outside.completed() {
        inside.recycle(buffer);
    }
    lab.end(vec![(inside, inside_link), (outside, outside_link)]);
}

#[test]
fn a_full_grant_table_refuses_the_frame_and_loses_no_page() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (mut inside, inside_link) = lab.connect(0);
    let (mut outside, outside_link) = lab.connect(1);
    assert!(lab.backs[0].deliver(&[&[1; 4000][..]; 10], 0, 0, &[]));
    let mut tail = tail_of(inside.receive().expect("a frame came"));
    lab.guest.limit_grants(lab.guest.usage().grants + 4);
    assert_eq!(
        outside.transmit(&[1; 60], &mut tail, PLAIN),
        Err(TransmitError::NoGrant)
    );
    assert_eq!(tail.len(), 6);
    assert_eq!(tail[0].offset, 0);
    let mut back = tail.len();
    for slice in tail {
        inside.recycle(slice.buffer);
    }
    while let Some(buffer) = outside.completed() {
        inside.recycle(buffer);
        back += 1;
    }
    assert_eq!(back, 10);
    inside.flush();
    assert_eq!(lab.backs[0].posted(), 256);
    lab.end(vec![(inside, inside_link), (outside, outside_link)]);
}
