//! What holds for every card.

use super::*;
use crate::nic::model::E1000;
use crate::nic::virtio_model::VirtioNet;

fn interrupts<M: Wired>() {
    let (lab, card, mut driver) = one::<M>();
    let _ = driver.park_until(Wake::FirstSlot);
    let before = driver.statistics().interrupts;
    for number in 0..10 {
        assert!(deliver(&card, &bytes(100, number)));
        driver.poll(lab.now());
        assert_eq!(receive(&mut driver), Some(bytes(100, number)));
        // Another one, before the first is ended.
        assert!(deliver(&card, &bytes(60, number)));
        assert_eq!(driver.park_until(Wake::FirstSlot), Pending::Work);
        driver.poll(lab.now());
        assert_eq!(receive(&mut driver), Some(bytes(60, number)));
        assert_eq!(driver.park_until(Wake::FirstSlot), Pending::Nothing);
    }
    assert_eq!(driver.statistics().interrupts, before + 20);
    lab.end(vec![driver]);
}

#[test]
fn an_interrupt_comes_for_each_frame_and_none_is_lost() {
    interrupts::<E1000>();
    interrupts::<VirtioNet>();
}

fn hangs<M: Wired>() {
    let (lab, card, mut driver) = one::<M>();
    card.with(|model, _| *model.hangs() = true);
    let mut count = 0;
    while send(&mut driver, &bytes(60, 1), PLAIN) == Ok(()) {
        count += 1;
        assert!(count <= RING);
    }
    assert_eq!(
        send(&mut driver, &bytes(60, 1), PLAIN),
        Err(TransmitError::Full)
    );
    assert!(count > 100);
    lab.pass(&mut driver, Duration::from_secs(4));
    assert_eq!(driver.statistics().resets, 0);
    card.with(|model, _| *model.hangs() = false);
    lab.pass(&mut driver, Duration::from_secs(3));
    let statistics = driver.statistics();
    assert_eq!((statistics.resets, statistics.lost), (1, count as u64));
    assert_eq!(driver.state(), State::Up);
    works(&card, &mut driver);
    lab.end(vec![driver]);
}

#[test]
fn a_full_ring_says_so_and_a_card_that_hangs_is_reset() {
    hangs::<E1000>();
    hangs::<VirtioNet>();
}

fn is_gone<M: Wired>() {
    let (lab, card, mut driver) = one::<M>();
    card.with(|model, _| *model.hangs() = true);
    assert_eq!(send(&mut driver, &bytes(60, 1), PLAIN), Ok(()));
    card.pull();
    lab.pass(&mut driver, Duration::from_secs(2));
    assert_eq!((driver.state(), driver.link()), (State::Silent, Link::Down));
    assert_eq!(driver.statistics().lost, 1);
    assert_eq!(
        send(&mut driver, &bytes(60, 1), PLAIN),
        Err(TransmitError::NotOpen)
    );
    assert_eq!(receive(&mut driver), None);
    // It is tried again, and again it is not there.
    lab.pass(&mut driver, Duration::from_secs(25));
    assert!(driver.statistics().resets >= 2);
    lab.end(vec![driver]);
}

#[test]
fn a_card_that_is_gone_is_left_alone_and_its_pages_come_back() {
    is_gone::<E1000>();
    is_gone::<VirtioNet>();
}

fn loses_its_link<M: Wired>() {
    let (lab, card, mut driver) = one::<M>();
    let (up, changes) = (driver.link(), driver.statistics().link_changes);
    card.with(|model, bus| model.cable(false, bus));
    driver.poll(lab.now());
    assert_eq!(driver.link(), Link::Down);
    let _ = driver.park_until(Wake::FirstSlot);
    assert_eq!(send(&mut driver, &bytes(60, 1), PLAIN), Ok(()));
    lab.pass(&mut driver, Duration::from_secs(20));
    assert_eq!(driver.statistics().resets, 0);
    card.with(|model, bus| model.cable(true, bus));
    driver.poll(lab.now());
    assert_eq!(driver.link(), up);
    assert_eq!(driver.statistics().link_changes, changes + 2);
    lab.end(vec![driver]);
}

#[test]
fn a_lost_link_is_told_and_what_waits_for_it_is_no_hang() {
    loses_its_link::<E1000>();
    loses_its_link::<VirtioNet>();
}
