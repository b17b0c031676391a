//! What fails around a vif: xenstored that cannot answer, pages and ports that are not to be had.

use super::*;
use crate::abi::errno::{EIO, ENOMEM};

/// Where the administrator looks.
const ERROR: &str = "/local/domain/1/error/backend/vif/5/0/error";

#[test]
fn what_xenstored_cannot_answer_once_costs_no_other_vif_its_place() {
    for skip in 0..60 {
        let mut lab = Lab::new();
        lab.world.fail(Fault::Xenstore, skip);
        let first = lab.announce(GUEST, &[]);
        let failed = !lab.world.clear_fault(Fault::Xenstore);
        lab.advance(Duration::from_secs(1));
        lab.advance(Duration::from_secs(1));
        let state = lab.fronts[first].backend_state();
        let answered = [XenbusState::INIT_WAIT, XenbusState::CLOSING];
        assert!(answered.contains(&state), "{skip}: {state:?}");
        let second = lab.announce(OTHER, &[]);
        let state = lab.fronts[second].backend_state();
        assert_eq!(state, XenbusState::INIT_WAIT, "{skip}");
        lab.end();
        if !failed {
            assert!(skip > 20, "{skip}");
            break;
        }
    }
}

#[test]
fn connecting_survives_conflicts_and_answers_out_of_order() {
    let mut lab = Lab::new();
    lab.world.set_quirks(Quirks {
        reversed: true,
        conflicts: 5,
        ..Quirks::default()
    });
    lab.connect(GUEST);
    lab.end();
}

#[test]
fn what_xenstored_cannot_answer_while_connecting_leaves_no_rings_behind() {
    for skip in 0..80 {
        let mut lab = Lab::new();
        let number = lab.announce(GUEST, &[]);
        lab.fronts[number].publish(Shape::default(), &TAKES);
        lab.world.fail(Fault::Xenstore, skip);
        lab.fronts[number].switch_to(XenbusState::CONNECTED);
        lab.settle();
        let failed = !lab.world.clear_fault(Fault::Xenstore);
        assert_eq!(lab.host.usage().mapped, 2 * lab.backs.len(), "{skip}");
        if lab.fronts[number].backend_state() == XenbusState::CLOSING {
            assert!(lab.backs.is_empty(), "{skip}");
            let error = lab.world.node(ERROR).expect("it says why");
            assert!(error.starts_with(&format!("{} ", EIO.0)), "{error}");
        }
        lab.end();
        if !failed {
            assert!(skip > 20, "{skip}");
            break;
        }
    }
}

#[test]
fn what_xenstored_cannot_answer_costs_no_connection_that_there_is() {
    for skip in 0..40 {
        let mut lab = Lab::new();
        let number = lab.announce(GUEST, &[("rate", "200000,50000")]);
        lab.fronts[number].connect(Shape::default());
        lab.settle();
        lab.advance(Duration::from_secs(2));
        lab.world.fail(Fault::Xenstore, skip);
        let rate = format!("{}/rate", lab.fronts[number].backend_node());
        lab.world.write_node(&rate, "400000,50000");
        lab.settle();
        let failed = !lab.world.clear_fault(Fault::Xenstore);
        assert_eq!(lab.backs.len(), 1, "{skip}");
        let state = lab.fronts[number].backend_state();
        assert_eq!(state, XenbusState::CONNECTED, "{skip}");
        // Nor is what was written lost.
        lab.advance(Duration::from_secs(1));
        assert_eq!(lab.backs[0].park(), Pending::Work, "{skip}");
        let rate = lab.backs[0].settings().rate.map(|rate| rate.bytes);
        assert_eq!(rate, Some(400_000), "{skip}");
        // Whoever has nothing to look at again rests.
        let calls = lab.host.usage_hypercalls();
        lab.advance(Duration::from_secs(3));
        assert_eq!(lab.host.usage_hypercalls(), calls, "{skip}");
        lab.end();
        if !failed {
            assert!(skip > 3, "{skip}");
            break;
        }
    }
}

#[test]
fn what_xenstored_cannot_answer_does_not_keep_a_vif_that_is_taken_away() {
    let refused = [("mac", "no address")];
    for (settings, skip) in (0..80).flat_map(|skip| [(&[][..], skip), (&refused, skip)]) {
        let mut lab = Lab::new();
        let number = lab.announce(GUEST, settings);
        lab.fronts[number].connect(Shape::default());
        lab.settle();
        lab.world.fail(Fault::Xenstore, skip);
        lab.fronts[number].detach();
        lab.settle();
        lab.fronts[number].switch_to(XenbusState::CLOSED);
        (0..4).for_each(|_| lab.advance(Duration::from_secs(1)));
        assert_eq!(lab.node(number, "state"), None, "{settings:?} {skip}");
        assert_eq!((lab.backs.len(), lab.host.usage().mapped), (0, 0));
        if lab.world.clear_fault(Fault::Xenstore) && settings.is_empty() {
            assert!(skip > 10, "{skip}");
            return;
        }
    }
    panic!("it asks xenstored without end");
}

#[test]
fn where_xenstored_is_lost_nobody_is_served_any_more_and_nobody_waits() {
    let mut lab = Lab::new();
    lab.connect(GUEST);
    lab.announce(OTHER, &[]);
    lab.world.inject_xenstore(HOST, &[0xff; 64]);
    lab.settle();
    assert_eq!((lab.backs.len(), lab.host.usage().mapped), (0, 0));
    assert_eq!(lab.executor.tasks(), 0);
    assert_eq!(lab.executor.next_deadline(), None);
}

#[test]
fn whatever_fails_while_connecting_nothing_is_left() {
    for fault in [Fault::Page, Fault::Map, Fault::Bind] {
        for skip in 0..64 {
            let mut lab = Lab::new();
            let number = lab.announce(GUEST, &[]);
            lab.fronts[number].publish(Shape::default(), &TAKES);
            lab.world.fail(fault, skip);
            lab.fronts[number].switch_to(XenbusState::CONNECTED);
            lab.settle();
            let failed = !lab.world.clear_fault(fault);
            if !failed {
                assert_eq!(lab.backs.len(), 1);
                lab.end();
                break;
            }
            assert!(lab.backs.is_empty(), "{fault:?} {skip}");
            assert_eq!(lab.fronts[number].backend_state(), XenbusState::CLOSING);
            let error = lab.world.node(ERROR).expect("it says why");
            assert!(error.starts_with(&format!("{} ", ENOMEM.0)), "{error}");
            lab.end();
        }
    }
}
