use super::*;
use crate::abi::errno::{EINVAL, ENOMEM};
use crate::xen::{BoundPort, Granted, SharedPage};

const A: DomId = DomId(1);
const B: DomId = DomId(2);

fn two() -> (World, Domain, Domain) {
    let world = World::new();
    let (a, b) = (world.domain(A), world.domain(B));
    (world, a, b)
}

#[test]
fn a_granted_page_can_be_used_by_the_one_it_was_granted_to_and_as_granted_only() {
    let (world, a, b) = two();
    let page = a.allocate_page().unwrap();
    page.write(7, b"hello");
    let read_only = a.grant(B, &page, Access::ReadOnly).unwrap();
    let mut into = [0; 5];
    b.copy_from(A, read_only, 7, &mut into).unwrap();
    assert_eq!(&into, b"hello");
    assert_eq!(b.copy_to(A, read_only, 7, b"x"), Err(EACCES));
    assert_eq!(b.map(A, read_only, Access::ReadWrite).err(), Some(EACCES));
    assert_eq!(
        world.domain(DomId(3)).copy_from(A, read_only, 0, &mut into),
        Err(EACCES)
    );
    assert_eq!(b.copy_from(A, read_only, 4093, &mut into), Err(EFAULT));
    a.end_access(read_only).unwrap();
    assert_eq!(b.copy_from(A, read_only, 7, &mut into), Err(ENOENT));
}

#[test]
fn a_mapped_grant_does_not_end() {
    let (_, a, b) = two();
    let granted = Granted::allocate(&a, B, Access::ReadWrite).unwrap();
    let mapping = b.map(A, granted.reference(), Access::ReadWrite).unwrap();
    mapping.write(4090, b"abcdef");
    let other = mapping.clone();
    drop(mapping);
    let Err(granted) = granted.end() else {
        panic!("still mapped")
    };
    drop(other);
    let page = granted.end().unwrap_or_else(|_| panic!("no longer mapped"));
    let mut into = [0; 6];
    page.read(4090, &mut into);
    assert_eq!(&into, b"abcdef");
    drop(page);
    assert_eq!(a.usage(), Usage::default());
}

#[test]
fn a_granted_page_that_is_dropped_while_mapped_is_lost_rather_than_used_again() {
    let (_, a, b) = two();
    let granted = Granted::allocate(&a, B, Access::ReadWrite).unwrap();
    let mapping = b.map(A, granted.reference(), Access::ReadWrite).unwrap();
    drop(granted);
    drop(mapping);
    assert_eq!((a.usage().pages, a.usage().grants), (1, 1));
}

#[test]
#[should_panic(expected = "may still use")]
fn freeing_a_granted_page_panics() {
    let (_, a, _) = two();
    let page = a.allocate_page().unwrap();
    a.grant(B, &page, Access::ReadOnly).unwrap();
    drop(page);
}

#[test]
#[should_panic(expected = "ended once")]
fn ending_a_grant_twice_panics() {
    let (_, a, _) = two();
    let page = a.allocate_page().unwrap();
    let reference = a.grant(B, &page, Access::ReadOnly).unwrap();
    a.end_access(reference).unwrap();
    let _ = a.end_access(reference);
}

#[test]
#[should_panic(expected = "read-only")]
fn writing_through_a_read_only_mapping_panics() {
    let (_, a, b) = two();
    let granted = Granted::allocate(&a, B, Access::ReadOnly).unwrap();
    b.map(A, granted.reference(), Access::ReadOnly)
        .unwrap()
        .write(0, &[1]);
}

#[test]
fn events_reach_the_other_end_until_a_port_is_closed() {
    let (_, a, b) = two();
    let ours = BoundPort::allocate(&a, B).unwrap();
    ours.notify().unwrap();
    assert_eq!(b.bind_port(DomId(3), ours.number()), Err(EINVAL));
    let theirs = b.bind_port(A, ours.number()).unwrap();
    assert_eq!(b.bind_port(A, ours.number()), Err(EINVAL), "taken");
    assert!(b.take_event(theirs), "Xen raises one when binding");
    assert!(!b.take_event(theirs));
    ours.notify().unwrap();
    ours.notify().unwrap();
    assert!(b.take_event(theirs));
    assert_eq!(b.events_received(theirs), 2);
    drop(ours);
    b.notify(theirs).unwrap();
    b.close_port(theirs);
    assert_eq!((a.usage(), b.usage()), (Usage::default(), Usage::default()));
}

#[test]
fn the_call_that_was_chosen_fails_and_no_other() {
    let (world, a, _) = two();
    world.fail(Fault::Page, 2);
    let pages: alloc::vec::Vec<_> = (0..4).map(|_| a.allocate_page()).collect();
    let failed: alloc::vec::Vec<bool> = pages.iter().map(Result::is_err).collect();
    assert_eq!(failed, [false, false, true, false]);
    world.fail(Fault::Port, 0);
    assert_eq!(a.allocate_port(B), Err(ENOMEM));
    assert!(!world.clear_fault(Fault::Port));
}

#[test]
fn the_clock_stands_still_until_it_is_moved() {
    let (world, a, b) = two();
    assert_eq!(a.now(), Instant(0));
    world.advance(Duration::from_micros(3));
    assert_eq!((a.now(), b.now()), (Instant(3000), Instant(3000)));
}

#[test]
fn each_call_into_xen_is_counted_and_memory_writes_are_not() {
    let (_, a, b) = two();
    let port = BoundPort::allocate(&a, B).unwrap();
    let page = Granted::allocate(&a, B, Access::ReadOnly).unwrap();
    port.notify().unwrap();
    port.notify().unwrap();
    drop((port, page));
    let calls = a.hypercalls();
    assert_eq!(
        calls.of(nr::EVENT_CHANNEL_OP),
        4,
        "allocated, sent twice, closed"
    );
    assert_eq!(calls.total(), 4);
    assert_eq!(calls.of(nr::COUNT), 0, "no such number");
    assert!(calls.iter().eq([("event_channel_op", 4)]));
    assert_eq!(b.hypercalls().total(), 0);
}
