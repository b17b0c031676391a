//! virtio-net.

use super::*;
use crate::nic::model::checksum;
use crate::nic::virtio_model::{MAC, OFFERS, VirtioNet};
use minios_rs::net::{Gso, GsoKind};

fn one() -> (Lab, Card<VirtioNet>, Driver) {
    super::one()
}

/// Headers of TCP over IPv4, of 54 bytes.
fn tcp() -> Vec<u8> {
    let mut frame = vec![0; 54];
    frame[12] = 8;
    frame[14] = 0x45;
    frame[23] = 6;
    frame[46] = 0x50;
    frame
}

#[test]
fn it_comes_up_and_says_what_it_is() {
    let (lab, card, driver) = one();
    assert_eq!(driver.mac(), MacAddress(MAC));
    assert_eq!((driver.state(), driver.link()), (State::Up, Link::Up(0)));
    assert_eq!(driver.interrupt_kind(), InterruptKind::MsiX);
    assert_eq!(card.with(|model, _| model.driver_features), OFFERS);
    lab.end(vec![driver]);
}

#[test]
fn a_card_without_a_table_of_messages_has_its_line() {
    let mut model = VirtioNet::new();
    model.has_table = false;
    let (mut lab, cards) = Lab::new(vec![model]);
    let mut driver = lab.bring_up(0, Config::default()).unwrap();
    assert_eq!(driver.interrupt_kind(), InterruptKind::Line);
    for number in 0..10 {
        assert!(deliver(&cards[0], &bytes(60, number)));
        driver.poll(lab.now());
        assert_eq!(receive(&mut driver), Some(bytes(60, number)));
        assert_eq!(driver.park_until(Wake::FirstSlot), Pending::Nothing);
    }
    assert!(driver.statistics().interrupts >= 10);
    lab.end(vec![driver]);
}

#[test]
fn frames_go_both_ways_many_times_around_the_rings() {
    let (lab, card, mut driver) = one();
    for number in 0..70_000 {
        let len = 14 + number * 7 % 1487;
        if number % 16 == 0 {
            assert!(deliver(&card, &bytes(len, number as u8)));
            assert_eq!(receive(&mut driver), Some(bytes(len, number as u8)));
        }
        let frame = bytes(20, number as u8);
        assert_eq!(send(&mut driver, &frame, PLAIN), Ok(()));
        assert_eq!(sent(&card), Some(frame));
    }
    assert_eq!(receive(&mut driver), None);
    lab.end(vec![driver]);
}

#[test]
fn large_segments_go_through_whole_from_page_to_page() {
    let (mut lab, cards) = Lab::new(vec![VirtioNet::new(), VirtioNet::new()]);
    let mut left = lab.bring_up(0, Config::default()).unwrap();
    let mut right = lab.bring_up(1, Config::default()).unwrap();
    for round in 0..20 {
        let mut whole = tcp();
        whole.extend(bytes(60_000, round));
        let came = cards[0].with(|model, bus| model.receive(&whole, (1, 1, 1448), bus));
        assert!(came);
        let mut frame = Received::default();
        assert!(left.receive_into(&mut frame));
        let gso = Some(Gso {
            kind: GsoKind::TcpV4,
            size: 1448,
        });
        assert_eq!((frame.checksum, frame.gso), (Checksum::Blank, gso));
        assert_eq!(frame.len as usize, whole.len());
        let mut head = [0; 128];
        frame.read(0, &mut head);
        frame.slots[0].advance(128);
        let offload = Offload {
            checksum: Checksum::Blank,
            gso,
        };
        right
            .transmit_slots(&head, frame.slots.as_mut_view(), offload)
            .unwrap();
        right.flush();
        let (said, frame) = cards[1].with(|model, _| model.sent.pop()).unwrap();
        assert_eq!(frame, whole);
        assert_eq!(said, [1, 1, 54, 0, 0xa8, 5, 34, 0, 16, 0, 0, 0]);
        let mut count = 0;
        while let Some(buffer) = right.completed() {
            left.recycle(buffer);
            count += 1;
        }
        assert_eq!(count, 15);
        left.flush();
    }
    lab.end(vec![left, right]);
}

#[test]
fn what_the_card_does_not_offer_is_not_asked_of_it() {
    let mut model = VirtioNet::new();
    // No checksums, but segmentation, which stands on them.
    model.offers = 1 << 5 | 3 << 7 | 3 << 11 | 1 << 32;
    let (mut lab, cards) = Lab::new(vec![model]);
    let mut driver = lab.bring_up(0, Config::default()).unwrap();
    let features = cards[0].with(|model, _| model.driver_features);
    assert_eq!(features, 1 << 5 | 1 << 32);
    let segments = Offload {
        checksum: Checksum::Blank,
        gso: Some(Gso {
            kind: GsoKind::TcpV4,
            size: 1448,
        }),
    };
    assert_eq!(
        send(&mut driver, &tcp(), segments),
        Err(TransmitError::NotOffered)
    );
    assert_eq!(
        send(&mut driver, &bytes(60, 1), BLANK),
        Err(TransmitError::NotOffered)
    );
    assert_eq!(send(&mut driver, &tcp(), PLAIN), Ok(()));
    lab.end(vec![driver]);

    let mut old = VirtioNet::new();
    old.offers &= !(1 << 32);
    let (mut lab, _cards) = Lab::new(vec![old]);
    assert_eq!(
        lab.bring_up(0, Config::default()).map(drop),
        Err(Error::Silent)
    );
    lab.end(vec![]);
}

#[test]
fn checksums_that_the_card_does_not_fill_in_are_filled_in_here() {
    let mut model = VirtioNet::new();
    model.offers = 1 << 5 | 1 << 32;
    let (mut lab, cards) = Lab::new(vec![model]);
    let mut driver = lab.bring_up(0, Config::default()).unwrap();
    for payload in [0, 1, 2, 100, 701, 1000] {
        // Headers from here, payload from the page it came in, and padding that is not summed.
        let mut whole = tcp();
        whole.extend(bytes(payload, 5));
        let total = (whole.len() - 14) as u16;
        whole[16..18].copy_from_slice(&total.to_be_bytes());
        let end = whole.len();
        whole.extend([0x77; 8]);
        assert!(deliver(&cards[0], &whole));
        let mut frame = Received::default();
        assert!(driver.receive_into(&mut frame));
        let head = whole[..57].to_vec();
        frame.slots[0].advance(57);
        driver
            .transmit_slots(&head, frame.slots.as_mut_view(), BLANK)
            .unwrap();
        driver.flush();
        let sent = sent(&cards[0]).unwrap();
        let buffer = driver.completed().unwrap();
        driver.recycle(buffer);
        let sum = checksum(&whole[34..end]);
        whole[50..52].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(sent, whole, "{payload}");
    }
    // A packet that is longer than its frame has none.
    let mut short = tcp();
    short[16..18].copy_from_slice(&500u16.to_be_bytes());
    assert_eq!(
        send(&mut driver, &short, BLANK),
        Err(TransmitError::NotOffered)
    );
    lab.end(vec![driver]);
}

#[test]
fn lies_about_a_frame_cost_the_frame() {
    type Lie = fn(&mut [u8; 12]);
    let lies: [Lie; 6] = [
        |header| header[10] = 0,
        |header| header[10] = 2,
        |header| header[10] = 200,
        |header| header[11] = 0xff,
        |header| header[1] = 3,
        // Segments of a frame whose checksum is not blank.
        |header| header[1] = 1,
    ];
    for lie in lies {
        let (lab, card, mut driver) = one();
        card.with(|model, _| model.tamper_header = Some(Box::new(lie)));
        assert!(deliver(&card, &bytes(100, 1)));
        assert_eq!(receive(&mut driver), None);
        assert_eq!(driver.statistics().dropped_malformed, 1);
        card.with(|model, _| model.tamper_header = None);
        for number in 0..500 {
            driver.flush();
            assert!(deliver(&card, &bytes(100, number as u8)));
            assert!(receive(&mut driver).is_some());
        }
        lab.end(vec![driver]);
    }
    for len in [0, 11, 12, 4097, u32::MAX] {
        let (lab, card, mut driver) = one();
        card.with(|model, _| model.tamper_used = Some(Box::new(move |entry| entry[1] = len)));
        assert!(deliver(&card, &bytes(100, 1)));
        assert_eq!(receive(&mut driver), None);
        assert_eq!(driver.statistics().dropped_malformed, 1);
        lab.end(vec![driver]);
    }
}

#[test]
fn a_buffer_that_the_card_has_not_got_ends_in_a_reset() {
    for id in [255, 256, u32::MAX] {
        let (lab, card, mut driver) = one();
        card.with(|model, _| model.tamper_used = Some(Box::new(move |entry| entry[0] = id)));
        assert!(deliver(&card, &bytes(100, 1)));
        assert_eq!(receive(&mut driver), None);
        assert_eq!(driver.state(), State::Resetting);
        card.with(|model, _| model.tamper_used = None);
        lab.pass(&mut driver, Duration::from_millis(100));
        assert_eq!(driver.state(), State::Up);
        assert!(deliver(&card, &bytes(100, 1)));
        assert_eq!(receive(&mut driver), Some(bytes(100, 1)));
        lab.end(vec![driver]);
    }
}

#[test]
fn a_card_that_never_comes_up_or_has_no_address_is_given_up() {
    let (mut lab, cards) = Lab::new(vec![VirtioNet::new()]);
    cards[0].with(|model, _| model.mac = [0; 6]);
    assert_eq!(
        lab.bring_up(0, Config::default()).map(drop),
        Err(Error::NoAddress)
    );
    cards[0].with(|model, _| model.offers &= !(1 << 5));
    assert_eq!(
        lab.bring_up(0, Config::default()).map(drop),
        Err(Error::NoAddress)
    );
    for skip in [0, 3, 100, 198, 210] {
        lab.world.fail(Fault::Page, skip);
        assert!(lab.bring_up(0, Config::default()).is_err());
        assert!(!lab.world.clear_fault(Fault::Page), "{skip}");
    }
    lab.end(vec![]);
}

#[test]
fn registers_that_are_not_there_are_not_used() {
    // In the second of its capabilities: BAR, offset, length.
    for (at, value) in [(0x58, 3), (0x5c, 2), (0x5f, 0xff), (0x61, 0), (0x63, 0xff)] {
        let (mut lab, cards) = Lab::new(vec![VirtioNet::new()]);
        cards[0].set_config(at, value);
        assert!(lab.bring_up(0, Config::default()).is_err(), "{at:x}");
        lab.end(vec![]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a card writes into its rings: no panic, no page lost, no frame longer than it may be.
    #[test]
    fn a_card_gone_mad_does_no_harm(
        scribbles in proptest::collection::vec(
            (0usize..2, 0usize..3, prop_oneof![0u64..4, any::<u64>()], prop_oneof![any::<u32>(), 0u32..300, (0u32..9).prop_map(|index| index << 16)], 0u8..4),
            1..200,
        ),
    ) {
        let (lab, card, mut driver) = one();
        for (queue, page, at, word, what) in scribbles {
            if driver.state() == State::Up {
                card.with(|model, bus| model.scribble(queue, page, at, word, bus));
            }
            go_on(&lab, &card, &mut driver, what, 0xffff);
        }
        // A reset makes it a card again.
        driver.reset(lab.now());
        lab.pass(&mut driver, Duration::from_secs(1));
        works(&card, &mut driver);
        lab.end(vec![driver]);
    }
}
