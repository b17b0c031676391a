//! Intel's cards.

use super::*;
use crate::nic::model::{E1000, MAC, checksum};
use minios_rs::net::{Gso, GsoKind};

fn one() -> (Lab, Card<E1000>, Driver) {
    super::one()
}

#[test]
fn it_comes_up_and_says_what_it_is() {
    let (lab, _card, driver) = one();
    assert_eq!(driver.mac(), MacAddress(MAC));
    assert_eq!(driver.state(), State::Up);
    assert_eq!(driver.link(), Link::Up(1000));
    assert_eq!(driver.interrupt_kind(), InterruptKind::Line);
    assert_eq!(driver.statistics().resets, 0);
    lab.end(vec![driver]);
}

#[test]
fn frames_go_both_ways_many_times_around_the_rings() {
    let (lab, card, mut driver) = one();
    for number in 0..1000 {
        let len = 14 + number * 7 % 1487;
        let frame = bytes(len, number as u8);
        assert!(deliver(&card, &frame));
        assert_eq!(receive(&mut driver), Some(frame));
        let mut frame = bytes(len.min(512), number as u8);
        assert_eq!(send(&mut driver, &frame, PLAIN), Ok(()));
        frame.resize(frame.len().max(60), 0);
        assert_eq!(card.with(|model, _| model.sent.pop()), Some(frame));
    }
    assert_eq!(receive(&mut driver), None);
    let statistics = driver.statistics();
    assert_eq!(statistics.received_frames, 1000);
    assert_eq!(statistics.transmitted_frames, 1000);
    lab.end(vec![driver]);
}

#[test]
fn the_one_with_a_table_sends_messages_and_is_asked_for_the_next_each_time() {
    let (mut lab, cards) = Lab::new(vec![E1000::express()]);
    let mut driver = lab.bring_up(0, Config::default()).unwrap();
    let card = &cards[0];
    assert_eq!(driver.interrupt_kind(), InterruptKind::MsiX);
    assert_eq!(
        (driver.mac(), driver.link()),
        (MacAddress(MAC), Link::Up(1000))
    );
    driver.poll(lab.now());
    let _ = driver.park_until(Wake::FirstSlot);
    let before = driver.statistics().interrupts;
    for number in 0..300 {
        assert!(deliver(card, &bytes(100, number as u8)));
        driver.poll(lab.now());
        assert_eq!(receive(&mut driver), Some(bytes(100, number as u8)));
        assert!(deliver(card, &bytes(60, number as u8)));
        assert_eq!(driver.park_until(Wake::FirstSlot), Pending::Work);
        driver.poll(lab.now());
        assert_eq!(receive(&mut driver), Some(bytes(60, number as u8)));
        assert_eq!(driver.park_until(Wake::FirstSlot), Pending::Nothing);
        assert_eq!(send(&mut driver, &bytes(70, 3), PLAIN), Ok(()));
        assert_eq!(card.with(|model, _| model.sent.pop()), Some(bytes(70, 3)));
    }
    assert_eq!(driver.statistics().interrupts, before + 600);
    card.with(|model, bus| model.cable(false, bus));
    driver.poll(lab.now());
    assert_eq!(driver.link(), Link::Down);
    driver.reset(lab.now());
    card.with(|model, bus| model.cable(true, bus));
    lab.pass(&mut driver, Duration::from_millis(100));
    assert_eq!((driver.state(), driver.link()), (State::Up, Link::Up(1000)));
    lab.end(vec![driver]);
}

#[test]
fn a_frame_is_sent_on_from_the_pages_it_came_in() {
    let (mut lab, cards) = Lab::new(vec![E1000::new(), E1000::new()]);
    let mut left = lab.bring_up(0, Config::default()).unwrap();
    let mut right = lab.bring_up(1, Config::default()).unwrap();
    for number in 0..600 {
        let whole = bytes(1400, number as u8);
        assert!(deliver(&cards[0], &whole));
        let mut frame = Received::default();
        assert!(left.receive_into(&mut frame));
        let mut head = [0; 128];
        frame.read(0, &mut head);
        frame.slots[0].advance(128);
        right
            .transmit_slots(&head, frame.slots.as_mut_view(), PLAIN)
            .unwrap();
        assert!(frame.slots.is_empty());
        right.flush();
        assert_eq!(cards[1].with(|model, _| model.sent.pop()), Some(whole));
        let buffer = right.completed().expect("it was sent");
        assert!(right.completed().is_none());
        left.recycle(buffer);
        left.flush();
    }
    lab.end(vec![left, right]);
}

#[test]
fn jumbo_frames_take_several_pages_where_they_are_allowed() {
    let (mut lab, cards) = Lab::new(vec![E1000::new()]);
    let config = Config {
        mtu: 9000,
        ..Config::default()
    };
    let mut driver = lab.bring_up(0, config).unwrap();
    let frame = bytes(9014, 3);
    assert!(deliver(&cards[0], &frame));
    assert_eq!(receive(&mut driver), Some(frame));
    assert!(deliver(&cards[0], &bytes(9019, 3)));
    assert_eq!(receive(&mut driver), None);
    assert_eq!(driver.statistics().dropped_size, 1);
    lab.end(vec![driver]);
}

#[test]
fn a_blank_checksum_is_filled_in_by_the_card() {
    let (lab, card, mut driver) = one();
    let mut frame = bytes(60, 9);
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[20..22].copy_from_slice(&[0, 0]);
    frame[23] = 17;
    assert_eq!(send(&mut driver, &frame, BLANK), Ok(()));
    let sent = card.with(|model, _| model.sent.pop()).unwrap();
    assert_eq!(checksum(&frame[34..]).to_be_bytes(), sent[40..42]);
    assert_eq!(
        send(&mut driver, &bytes(60, 9), BLANK),
        Err(TransmitError::NotOffered)
    );
    lab.end(vec![driver]);
}

/// TCP over IPv4 or IPv6 with a pseudo-header's sum where the checksum is to be.
fn tcp(is_ipv4: bool, payload: &[u8]) -> Vec<u8> {
    let mut frame = bytes(12, 1);
    let said = (20 + payload.len()) as u16;
    let addresses = match is_ipv4 {
        true => {
            frame.extend([8, 0, 0x45, 0]);
            frame.extend((said + 20).to_be_bytes());
            frame.extend([0xff, 0xff, 0, 0, 64, 6, 0, 0, 10, 0, 3, 2, 192, 0, 2, 1]);
            26..34
        }
        false => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(said.to_be_bytes());
            frame.extend([6, 64]);
            frame.extend(bytes(32, 77));
            22..54
        }
    };
    let pseudo = [&frame[addresses], &[0, 6], &said.to_be_bytes()[..]].concat();
    frame.extend([
        0x12, 0x34, 0, 80, 0xff, 0xff, 0xfc, 0, 0, 0, 0, 9, 0x50, 0x19, 1, 2,
    ]);
    frame.extend((!checksum(&pseudo)).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

#[test]
fn what_is_longer_than_a_packet_is_cut_by_the_card() {
    let (lab, card, mut driver) = one();
    for (is_ipv4, len) in [
        (true, 400),
        (true, 450),
        (false, 400),
        (false, 100),
        (true, 1),
    ] {
        let payload = bytes(len, 3);
        let whole = tcp(is_ipv4, &payload);
        let offload = |kind, size| Offload {
            checksum: Checksum::Blank,
            gso: Some(Gso { kind, size }),
        };
        let (kind, other) = match is_ipv4 {
            true => (GsoKind::TcpV4, GsoKind::TcpV6),
            false => (GsoKind::TcpV6, GsoKind::TcpV4),
        };
        assert_eq!(send(&mut driver, &whole, offload(kind, 100)), Ok(()));
        let refused = send(&mut driver, &whole, offload(kind, 1461));
        assert_eq!(
            refused,
            Err(TransmitError::Size),
            "no packet may be so long"
        );
        assert_eq!(
            send(&mut driver, &whole, offload(kind, 0)),
            Err(TransmitError::Invalid)
        );
        assert_eq!(
            send(&mut driver, &whole, offload(other, 100)),
            Err(TransmitError::Invalid)
        );
        let plain = Offload {
            checksum: Checksum::Unknown,
            ..offload(kind, 100)
        };
        assert_eq!(
            send(&mut driver, &whole, plain),
            Err(TransmitError::Invalid)
        );
        let segments = card.with(|model, _| core::mem::take(&mut model.sent));
        assert_eq!(segments.len(), len.div_ceil(100));
        let (start, headers) = if is_ipv4 { (34, 54) } else { (54, 74) };
        let mut came: Vec<u8> = Vec::new();
        for (number, segment) in segments.iter().enumerate() {
            let part = (len - came.len()).min(100);
            let word = |at: usize| usize::from(u16::from_be_bytes([segment[at], segment[at + 1]]));
            let pseudo = match is_ipv4 {
                true => {
                    assert_eq!(checksum(&segment[14..34]), 0, "the header's own");
                    assert_eq!(word(16), 40 + part);
                    assert_eq!(word(18), (0xffff + number) & 0xffff);
                    &segment[26..34]
                }
                false => {
                    assert_eq!(word(18), 20 + part);
                    &segment[22..54]
                }
            };
            let said = (20 + part) as u16;
            let end = headers + part;
            let summed = [pseudo, &[0, 6], &said.to_be_bytes(), &segment[start..end]].concat();
            assert_eq!(checksum(&summed), 0, "{number}");
            let sequence = u32::from_be_bytes(segment[start + 4..start + 8].try_into().unwrap());
            assert_eq!(sequence, 0xffff_fc00 + came.len() as u32);
            let is_last = number + 1 == segments.len();
            assert_eq!(segment[start + 13], if is_last { 0x19 } else { 0x10 });
            came.extend(&segment[headers..end]);
        }
        assert_eq!(came, payload);
    }
    lab.end(vec![driver]);
}

#[test]
fn what_cannot_be_sent_is_refused_and_stays_the_callers() {
    let (lab, card, mut driver) = one();
    assert_eq!(send(&mut driver, &[], PLAIN), Err(TransmitError::Size));
    assert_eq!(
        send(&mut driver, &bytes(13, 0), PLAIN),
        Err(TransmitError::Size)
    );
    assert_eq!(
        send(&mut driver, &bytes(513, 0), PLAIN),
        Err(TransmitError::Size)
    );
    assert!(deliver(&card, &bytes(1500, 0)));
    let mut frame = Received::default();
    assert!(driver.receive_into(&mut frame));
    frame.slots[0].offset = 3000;
    let refused = driver.transmit_slots(&bytes(14, 0), frame.slots.as_mut_view(), PLAIN);
    assert_eq!(refused, Err(TransmitError::Invalid));
    frame.slots[0].offset = 0;
    let head = bytes(100, 0);
    let refused = driver.transmit_slots(&head, frame.slots.as_mut_view(), PLAIN);
    assert_eq!(
        refused,
        Err(TransmitError::Size),
        "longer than the network takes"
    );
    assert_eq!(frame.slots.len(), 1);
    driver.recycle(frame.slots.remove(0).buffer);
    lab.end(vec![driver]);
}

#[test]
fn a_card_that_never_comes_up_or_has_no_address_is_given_up() {
    let (mut lab, cards) = Lab::new(vec![E1000::new()]);
    cards[0].with(|model, _| model.stays_in_reset = true);
    assert_eq!(
        lab.bring_up(0, Config::default()).map(drop),
        Err(Error::Silent)
    );
    cards[0].with(|model, _| {
        model.stays_in_reset = false;
        model.mac = [0; 6];
    });
    assert_eq!(
        lab.bring_up(0, Config::default()).map(drop),
        Err(Error::NoAddress)
    );
    let faults = lab.world.dma_faults(cards[0].number());
    assert_eq!(faults, 0, "it reached nothing that was not its own");
    lab.end(vec![]);
}

#[test]
fn short_of_anything_it_gives_back_what_it_has() {
    for (fault, skips) in [
        (Fault::Page, vec![0, 1, 2, 100, 190, 200]),
        (Fault::Registers, vec![0]),
        (Fault::Interrupt, vec![0]),
    ] {
        for skip in skips {
            let (mut lab, _cards) = Lab::new(vec![E1000::new()]);
            let before = lab.guest.usage();
            lab.world.fail(fault, skip);
            assert!(
                lab.bring_up(0, Config::default()).is_err(),
                "{fault:?} {skip}"
            );
            assert_eq!(lab.guest.usage(), before, "{fault:?} {skip}");
            lab.end(vec![]);
        }
    }
}

#[test]
fn lies_about_a_frame_cost_the_frame() {
    // Words 2 and 3, and whether it counts as malformed, damaged, of no size.
    let lies: [([u32; 2], [u64; 3]); 6] = [
        ([0, 3], [1, 0, 0]),
        ([4097, 3], [1, 0, 0]),
        ([0xffff, 3], [1, 0, 0]),
        ([13, 3], [0, 0, 1]),
        ([2000, 3], [0, 0, 1]),
        ([100, 3 | 1 << 8], [0, 1, 0]),
    ];
    for (lie, counted) in lies {
        let (lab, card, mut driver) = one();
        card.with(|model, _| model.tamper = Some(Box::new(move |words| *words = lie)));
        assert!(deliver(&card, &bytes(100, 1)));
        assert_eq!(receive(&mut driver), None);
        let now = driver.statistics();
        let seen = [now.dropped_malformed, now.dropped_error, now.dropped_size];
        assert_eq!(seen, counted, "{lie:?}");
        card.with(|model, _| model.tamper = None);
        // And every buffer is there for what comes then.
        for number in 0..500 {
            driver.flush();
            assert!(deliver(&card, &bytes(100, number as u8)));
            assert!(receive(&mut driver).is_some());
        }
        lab.end(vec![driver]);
    }
}

#[test]
fn a_frame_without_an_end_is_dropped_until_one_comes() {
    let (lab, card, mut driver) = one();
    card.with(|model, _| {
        model.tamper = Some(Box::new(|words| words[1] &= !2));
    });
    for _ in 0..50 {
        assert!(deliver(&card, &bytes(100, 1)));
        assert_eq!(receive(&mut driver), None);
        driver.flush();
    }
    card.with(|model, _| model.tamper = None);
    assert!(deliver(&card, &bytes(100, 1)));
    assert_eq!(receive(&mut driver), None);
    assert_eq!(driver.statistics().dropped_size, 1);
    driver.flush();
    assert!(deliver(&card, &bytes(100, 2)));
    assert_eq!(receive(&mut driver), Some(bytes(100, 2)));
    lab.end(vec![driver]);
}

#[test]
fn frames_that_find_no_room_are_counted_by_the_card() {
    let (lab, card, mut driver) = one();
    let mut came = 0;
    while deliver(&card, &bytes(60, 0)) {
        came += 1;
        assert!(came < RING);
    }
    assert_eq!(came, usize::from(Config::default().buffers));
    lab.pass(&mut driver, Duration::from_secs(2));
    assert_eq!(driver.statistics().missed, 1);
    let mut left = 0;
    while receive(&mut driver).is_some() {
        left += 1;
    }
    assert_eq!(left, came);
    lab.end(vec![driver]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a card writes into its rings: no panic, no page lost, no frame longer than it may be.
    #[test]
    fn a_card_gone_mad_does_no_harm(
        scribbles in proptest::collection::vec(
            (any::<bool>(), 0u32..256, any::<u32>(), prop_oneof![Just(1u32), Just(3), any::<u32>()], 0u8..4),
            1..200,
        ),
    ) {
        let (lab, card, mut driver) = one();
        for (is_receive, index, length, status, what) in scribbles {
            let ring = if is_receive { 0x2800 } else { 0x3800 };
            card.with(|model, bus| {
                model.scribble(ring, index, [length, status, length, status], bus);
            });
            go_on(&lab, &card, &mut driver, what, 1518);
        }
        // A reset makes it a card again.
        driver.reset(lab.now());
        lab.pass(&mut driver, Duration::from_secs(1));
        works(&card, &mut driver);
        lab.end(vec![driver]);
    }
}
