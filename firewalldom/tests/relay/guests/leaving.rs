//! Guests that may not come, and guests that go.

use super::*;

#[test]
fn a_vif_that_cannot_be_served_is_closed_and_the_toolstack_told() {
    let mut lab = Lab::new();
    let (_, address, _) = GUESTS[A];
    lab.announce(DomId(13), address, [0, 0x16, 0x3e, 0, 0, 0xc]);
    lab.fronts[2].connect(Shape::default());
    assert_eq!(lab.settle(), [GuestError::AddressTaken]);
    assert_eq!(lab.fronts[2].backend_state(), XenbusState::CLOSING);
    let place = "/local/domain/7/error/backend/vif/13/0/error";
    let reason = lab.world.node(place).expect("it says why");
    assert!(reason.contains("ip= is another guest's"), "{reason}");
    assert_eq!(lab.relay.guests().count(), 2);
}

#[test]
fn a_guest_that_leaves_gives_everything_back_and_may_come_again() {
    let mut lab = Lab::new();
    let payload = pattern(60_000);
    let frame = lab.segment(Some(A), Some(B), &payload);
    for round in 0..3 {
        // It goes with frames under way: its neighbour takes none of them.
        for _ in 0..10 {
            lab.send(A, &frame, &[GSO]);
        }
        lab.turn();
        lab.fronts[A].vanish();
        lab.settle();
        assert_eq!(lab.relay.guests().count(), 1, "round {round}");
        lab.fronts[A].detach();
        for _ in 0..30 {
            lab.now = lab.now + Duration::from_millis(500);
            lab.turn();
        }
        let (domain, address, mac) = GUESTS[A];
        lab.fronts[B].receive(0);
        lab.fronts[B].post(0, 256);
        lab.announce(domain, address, mac);
        let again = lab.fronts.pop().expect("just announced");
        lab.fronts[A] = again;
        lab.fronts[A].connect(Shape::default());
        assert_eq!(lab.settle(), []);
        assert_eq!(lab.relay.guests().count(), 2, "round {round}");
    }
    lab.fronts[B].receive(0);
    assert!(lab.send(A, &frame, &[GSO]));
    lab.turn();
    assert_eq!(lab.fronts[B].receive(0).len(), 1);
}
