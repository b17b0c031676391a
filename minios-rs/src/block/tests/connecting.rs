//! Handshakes.

use super::*;

#[test]
fn a_disk_is_what_its_backend_says_and_leaves_nothing() {
    let (mut lab, disk) = plain();
    let info = disk.info().expect("it is connected");
    assert_eq!((info.sectors, info.sector_size), (SECTORS as u64, 512));
    assert!(info.flush && !info.read_only);
    assert_eq!(info.discard.map(|discard| discard.granularity), Some(4096));
    assert_eq!(disk.state(), State::Open);
    assert_eq!(
        lab.back.state(lab.back.frontend_node()),
        XenbusState::CONNECTED
    );
    lab.detach(disk);
}

#[test]
fn a_ring_has_as_many_pages_as_both_ends_take() {
    for (order, pages_max, entries) in [
        (None, 4, 32),
        (Some(0), 4, 32),
        (Some(1), 4, 64),
        (Some(2), 4, 128),
        (Some(4), 100, 128),
        (Some(4), 3, 64),
        (Some(4), 0, 32),
        (Some(99), 4, 128),
    ] {
        let offers = Offers {
            ring_order: order,
            ..Offers::default()
        };
        let mut lab = Lab::new(offers);
        let config = Config {
            ring_pages_max: pages_max,
            ..Config::default()
        };
        let disk = lab.connect_with(config).expect("it connects");
        assert_eq!(lab.back.ring_entries(), entries, "{order:?} {pages_max}");
        let written = bytes(128 * 1024, 1);
        assert_eq!(lab.write(&disk, 0, &written), Ok(()));
        assert_eq!(lab.read(&disk, 0, written.len()), written);
        lab.detach(disk);
    }
}

#[test]
fn what_cannot_be_had_is_an_error_that_the_administrator_sees_and_leaves_nothing() {
    for fault in [Fault::Page, Fault::Grant, Fault::Port] {
        for skip in 0..4 {
            let mut lab = Lab::new(Offers::default());
            lab.world.fail(fault, skip);
            let outcome = lab.connect_with(Config::default());
            if lab.world.clear_fault(fault) {
                lab.detach(outcome.expect("nothing failed"));
                continue;
            }
            assert!(matches!(outcome, Err(Error::Resource(_))), "{fault:?}");
            let error = "/local/domain/7/error/device/vbd/51712/error";
            assert!(lab.world.node(error).is_some(), "{fault:?}");
            let closed = lab.back.state(lab.back.frontend_node());
            assert_eq!(closed, XenbusState::CLOSED);
            assert_eq!(lab.guest.usage(), lab.before);
        }
    }
}

#[test]
fn a_backend_that_says_what_cannot_be_is_refused_by_name() {
    let mut lab = Lab::new(Offers {
        sector_size: 8192,
        ..Offers::default()
    });
    let outcome = lab.connect_with(Config::default());
    assert_eq!(outcome.err(), Some(Error::Malformed("sector-size")));
    let error = lab
        .world
        .node("/local/domain/7/error/device/vbd/51712/error");
    assert!(error.is_some_and(|text| text.contains("the backend's sector-size cannot be")));
    lab.turns();
    assert_eq!(lab.guest.usage(), lab.before);
}

#[test]
fn a_disk_that_was_never_attached_is_gone() {
    let mut lab = Lab::new(Offers::default());
    let node = lab.back.frontend_node().to_owned();
    lab.world.remove_node(&node);
    let outcome = lab.connect_with(Config::default());
    let gone = Error::Xenbus(xenbus::Error::Gone);
    assert_eq!(outcome.err(), Some(gone));
}

#[test]
fn whoever_connects_can_give_up_half_way() {
    let mut lab = Lab::new(Offers::default());
    for turns in 0..40 {
        let (guest, store) = (lab.guest.clone(), lab.store.clone());
        let executor = lab.executor.clone();
        let mut future = alloc::boxed::Box::pin(async move {
            connect(&guest, &store, &executor, INDEX, Config::default())
                .await
                .map(drop)
        });
        let waker = core::task::Waker::noop();
        let mut context = core::task::Context::from_waker(waker);
        for _ in 0..turns {
            if future.as_mut().poll(&mut context).is_ready() {
                break;
            }
            lab.turn();
        }
        drop(future);
        // The backend is not as quick as to look meanwhile.
        lab.back.disconnect();
        for _ in 0..20 {
            lab.store.pump();
            lab.world.serve_xenstore();
        }
        lab.store.pump();
        // What was mapped comes back with the next grants.
        let mut granted = Vec::new();
        for _ in 0..8 {
            let access = crate::xen::Access::ReadOnly;
            granted.push(crate::xen::Granted::allocate(&lab.guest, HOST, access));
        }
        drop(granted);
        assert_eq!(lab.guest.usage(), lab.before, "after {turns} turns");
        lab.back.attach(HOST);
    }
}

#[test]
fn a_disk_grows_and_shrinks() {
    let (mut lab, disk) = plain();
    assert_eq!(
        lab.write(&disk, SECTORS as u64, &[1; 512]),
        Err(Failure::OutOfRange)
    );
    lab.back.resize(2 * SECTORS);
    lab.turns();
    assert_eq!(
        disk.info().map(|info| info.sectors),
        Some(2 * SECTORS as u64)
    );
    assert_eq!(lab.write(&disk, SECTORS as u64, &[1; 512]), Ok(()));
    lab.back.resize(8);
    lab.turns();
    assert_eq!(disk.info().map(|info| info.sectors), Some(8));
    assert_eq!(lab.write(&disk, 8, &[1; 512]), Err(Failure::OutOfRange));
    // What makes no sense is not believed.
    let node = alloc::format!("{}/sectors", lab.back.node());
    lab.world.write_node(&node, "many");
    lab.back.switch_to(XenbusState::CONNECTED);
    lab.turns();
    assert_eq!(disk.info().map(|info| info.sectors), Some(8));
    lab.detach(disk);
}
