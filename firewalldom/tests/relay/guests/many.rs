//! As many guests as there may be.

use super::*;
use firewalldom::GUESTS_MAX;
use minios_rs::net::back::NODES_MAX;

#[test]
fn sixty_four_guests_speak_with_each_other_within_xenstores_quotas() {
    let mut lab = Lab::without_guests();
    let before = lab.domain.usage();
    let guest = |number: usize| {
        let number = number as u8;
        (
            DomId(100 + u16::from(number)),
            [10, 0, 3, 2 + number],
            [0, 0x16, 0x3e, 1, 0, number],
        )
    };
    for number in 0..GUESTS_MAX {
        let (domain, address, mac) = guest(number);
        let name = format!("vif-{number}");
        let more = [("vifname", name.as_str()), ("mtu", "1500")];
        lab.announce_with(domain, address, mac, &more);
    }
    let is_waiting = |front: &Netfront| front.backend_state() == XenbusState::INIT_WAIT;
    for _ in 0..100 {
        if lab.fronts.iter().all(is_waiting) {
            break;
        }
        lab.settle();
    }
    assert!(lab.fronts.iter().all(is_waiting));
    for front in &mut lab.fronts {
        front.connect(Shape::default());
    }
    for _ in 0..100 {
        if lab.relay.guests().count() == GUESTS_MAX {
            break;
        }
        assert_eq!(lab.settle(), []);
    }
    assert_eq!(lab.relay.guests().count(), GUESTS_MAX);
    lab.settle();

    let nodes = lab.world.nodes_below("/local/domain/7/backend/vif");
    assert!(nodes <= NODES_MAX * GUESTS_MAX, "{nodes} nodes");
    const { assert!(NODES_MAX == 13) };
    let usage = lab.domain.usage();
    assert!(usage.watches < 90, "{usage:?}");
    // Two rings each, and one port.
    assert_eq!(usage.mapped, 2 * GUESTS_MAX);
    assert_eq!(usage.ports - before.ports, GUESTS_MAX);
    // Of our own pages: where headers are judged, and where they wait to be copied.
    assert_eq!(usage.pages - before.pages, 20 * GUESTS_MAX);
    assert_eq!(usage.grants, before.grants);

    for from in 0..GUESTS_MAX {
        let to = (from + 1) % GUESTS_MAX;
        let ((_, source, mac), (_, destination, _)) = (guest(from), guest(to));
        let frame = established(
            [BACKEND_MAC, mac],
            [source, destination],
            &[from as u8; 900],
        );
        assert!(lab.send(from, &frame, &[]));
    }
    lab.turn();
    for to in 0..GUESTS_MAX {
        let from = (to + GUESTS_MAX - 1) % GUESTS_MAX;
        let got = lab.fronts[to].receive(0);
        assert_eq!(got.len(), 1, "guest {to}");
        assert_eq!(got[0].bytes[PAYLOAD..], [from as u8; 900]);
    }
    assert_eq!(lab.relay.losses(), Default::default());
}
