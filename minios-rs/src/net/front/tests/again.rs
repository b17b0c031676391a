//! A vif whose backend ends, and comes back.

use super::*;
use crate::net::Error;
use core::pin::Pin;

type Connected = Result<(Front<Domain>, Link<Domain>), Error>;

fn poll_once<T>(future: &mut Pin<Box<dyn Future<Output = T> + '_>>) -> Option<T> {
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

impl Lab {
    fn again<'a>(
        &self,
        link: &'a mut Link<Domain>,
    ) -> Pin<Box<dyn Future<Output = Connected> + 'a>> {
        let guest = self.guest.clone();
        Box::pin(async move { link.again(&guest, Config::default()).await })
    }

    /// Whether it ends before long.
    fn poll<T>(&mut self, future: &mut Pin<Box<dyn Future<Output = T> + '_>>) -> Option<T> {
        (0..100).find_map(|_| {
            let outcome = poll_once(future);
            self.turn();
            outcome
        })
    }

    /// It is connected again, and frames pass.
    fn goes_on(
        &mut self,
        again: &mut Pin<Box<dyn Future<Output = Connected> + '_>>,
    ) -> (Front<Domain>, Link<Domain>) {
        let connected = self.poll(again).expect("it ends");
        let (mut front, link) = connected.expect("it connects");
        self.frames_pass(&mut front);
        (front, link)
    }

    /// A node of the first backend.
    fn write(&self, key: &str, value: &str) {
        let place = alloc::format!("{}/{key}", self.backs[0].node());
        self.world.write_node(&place, value);
    }

    /// The backend ends what it began, and both ends let go of everything.
    fn closed_by_backend(&mut self, mut front: Front<Domain>, link: &mut Link<Domain>) {
        self.backs[0].switch_to(XenbusState::CLOSING);
        self.run(link.backend_ending()).unwrap();
        front.close();
        self.run(link.close()).unwrap();
        assert_eq!(front.release(), Ok(()));
    }

    /// What the toolstack does when it takes a vif away.
    fn detached(&mut self, front: Front<Domain>, link: &mut Link<Domain>) {
        self.write("online", "0");
        self.closed_by_backend(front, link);
        let gone = self.backs.remove(0);
        self.world.remove_node(gone.node());
        self.world.remove_node(gone.frontend_node());
    }

    fn frames_pass(&mut self, front: &mut Front<Domain>) {
        assert!(self.backs[0].deliver(&[&bytes(60, 9)], 0, 0, &[]));
        let frame = front.receive().expect("a frame came");
        assert_eq!(whole(&frame), bytes(60, 9));
        front.recycle_frame(frame);
        front
            .transmit(&bytes(60, 4), &mut heapless::Vec::new(), PLAIN)
            .unwrap();
        front.flush();
        let sent = self.backs[0].receive();
        assert_eq!(sent[0].bytes, bytes(60, 4));
        while front.completed().is_some() {}
    }
}

#[test]
fn a_backend_that_closed_is_asked_to_start_anew() {
    let (mut lab, front, mut link) = one();
    let (id, mac) = (front.id(), front.mac());
    lab.closed_by_backend(front, &mut link);
    let mut again = lab.again(&mut link);
    let (front, anew) = lab.goes_on(&mut again);
    assert_ne!(front.id(), id, "tokens of the one before are strangers");
    assert_eq!(front.mac(), mac);
    drop(again);
    drop(link);
    lab.end(vec![(front, anew)]);
}

#[test]
fn a_vif_attached_in_its_place_is_the_interface_in_another_domain_too() {
    let (mut lab, front, mut link) = one();
    lab.detached(front, &mut link);
    let mut again = lab.again(&mut link);
    assert!(lab.poll(&mut again).is_none(), "nothing is there");
    let back = Netback::announce(&lab.world, OTHER, GUEST, 0, &OFFERS);
    lab.backs.push(back);
    let (front, anew) = lab.goes_on(&mut again);
    assert_eq!(front.backend(), OTHER);
    drop(again);
    drop(link);
    lab.end(vec![(front, anew)]);
}

#[test]
fn under_another_number_it_is_known_by_its_address() {
    let (mut lab, front, mut link) = one();
    lab.detached(front, &mut link);
    let mut again = lab.again(&mut link);
    // Somebody else's.
    let stranger = Netback::announce(&lab.world, HOST, GUEST, 1, &OFFERS);
    assert!(lab.poll(&mut again).is_none(), "that has another address");
    let back = Netback::announce(&lab.world, HOST, GUEST, 2, &OFFERS);
    let mac = alloc::format!("{}/mac", back.frontend_node());
    lab.world.write_node(&mac, "00:16:3E:00:00:00");
    lab.backs.push(back);
    let (front, anew) = lab.goes_on(&mut again);
    assert_eq!(anew.node(), "device/vif/2");
    drop(again);
    let untouched = alloc::format!("{}/state", stranger.frontend_node());
    assert_eq!(lab.world.node(&untouched).as_deref(), Some("1"));
    drop(link);
    lab.end(vec![(front, anew)]);
}

#[test]
fn what_this_end_gave_up_stays_closed_until_a_vif_is_attached_anew() {
    let (mut lab, mut front, mut link) = one();
    lab.run(link.fatal("the ring is impossible")).unwrap();
    front.close();
    lab.run(link.close()).unwrap();
    assert_eq!(front.release(), Ok(()));
    drop(front);
    let mut again = lab.again(&mut link);
    assert!(lab.poll(&mut again).is_none(), "it lied, and would again");
    let state = "/local/domain/7/device/vif/0/state";
    assert_eq!(lab.world.node(state).as_deref(), Some("6"));
    lab.backs.clear();
    let back = Netback::announce(&lab.world, HOST, GUEST, 0, &OFFERS);
    lab.backs.push(back);
    let (front, anew) = lab.goes_on(&mut again);
    drop(again);
    drop(link);
    lab.end(vec![(front, anew)]);
}

#[test]
fn a_vif_that_is_being_taken_away_is_not_started_anew() {
    let (mut lab, front, mut link) = one();
    lab.write("online", "0");
    lab.closed_by_backend(front, &mut link);
    let mut again = lab.again(&mut link);
    assert!(lab.poll(&mut again).is_none());
    let state = "/local/domain/7/device/vif/0/state";
    assert_eq!(lab.world.node(state).as_deref(), Some("6"));
    drop(again);
    drop(link);
    lab.end(vec![]);
}

#[test]
fn a_backend_that_refuses_again_is_tried_again() {
    let (mut lab, front, mut link) = one();
    lab.closed_by_backend(front, &mut link);
    // It waits for a frontend, and closes when one comes.
    let back = lab.backs.remove(0);
    let theirs = alloc::format!("{}/state", back.frontend_node());
    let mut seen = None;
    for _ in 0..3 {
        let mut again = lab.again(&mut link);
        let outcome = (0..200).find_map(|_| {
            let outcome = poll_once(&mut again);
            lab.turn();
            let state = lab.world.node(&theirs);
            if state != seen {
                back.switch_to(match state.as_deref() {
                    Some("1") => XenbusState::INIT_WAIT,
                    _ => XenbusState::CLOSED,
                });
                seen = state;
            }
            outcome
        });
        assert_eq!(
            outcome.expect("it ends").map(drop),
            Err(Error::Xenbus(crate::xenbus::Error::Closing))
        );
    }
    lab.backs.push(back);
    let mut again = lab.again(&mut link);
    let (front, anew) = lab.goes_on(&mut again);
    drop(again);
    drop(link);
    lab.end(vec![(front, anew)]);
}

#[test]
fn what_cannot_be_connected_is_not_tried_for_ever() {
    let (mut lab, front, mut link) = one();
    lab.closed_by_backend(front, &mut link);
    lab.write("feature-rx-copy", "0");
    let mut again = lab.again(&mut link);
    let outcome = lab.poll(&mut again).expect("it ends");
    assert_eq!(outcome.map(drop), Err(Error::NoRxCopy));
    drop(again);
    let mut again = lab.again(&mut link);
    assert!(lab.poll(&mut again).is_none());
    drop(again);
    drop(link);
    lab.end(vec![]);
}

/// With both gone, the first to be attached gets number 0, whichever it was before.
#[test]
fn interfaces_do_not_change_places() {
    let mut lab = Lab::new(&[HOST, OTHER]);
    let (outside, mut outside_link) = lab.connect(0);
    let (inside, mut inside_link) = lab.connect(1);
    lab.detached(outside, &mut outside_link);
    lab.detached(inside, &mut inside_link);
    let back = Netback::announce(&lab.world, OTHER, GUEST, 0, &OFFERS);
    let mac = alloc::format!("{}/mac", back.frontend_node());
    lab.world.write_node(&mac, "00:16:3e:00:00:01");
    lab.backs.push(back);
    let mut again = lab.again(&mut outside_link);
    assert!(lab.poll(&mut again).is_none(), "it is the other one's");
    drop(again);
    let mut again = lab.again(&mut inside_link);
    let (front, anew) = lab.goes_on(&mut again);
    assert_eq!(front.mac().0, [0, 0x16, 0x3e, 0, 0, 1]);
    drop(again);
    drop((outside_link, inside_link));
    lab.end(vec![(front, anew)]);
}

/// What a backend, or whoever else may, writes to a node of its own.
fn written() -> impl Strategy<Value = (&'static str, &'static str)> {
    let keys = prop_oneof![Just("state"), Just("online"), Just("feature-rx-copy")];
    let long = concat!("1111111111111111111111111111111111111111", "\u{fffd}");
    let values = prop_oneof![
        prop::sample::select(vec!["0", "1", "2", "3", "4", "5", "6", "7", "8"]),
        prop::sample::select(vec!["", "x", "-1", "99999999999", "4 ", long]),
    ];
    (keys, values)
}

proptest! {
    /// However a backend flaps, the interface is not connected twice, and is when a vif is attached anew.
    #[test]
    fn whatever_a_closed_backend_writes_a_new_vif_is_connected(
        steps in prop::collection::vec((written(), 0..4_usize), 0..40),
    ) {
        let (mut lab, front, mut link) = one();
        lab.closed_by_backend(front, &mut link);
        for ((key, value), turns) in steps {
            let mut again = lab.again(&mut link);
            lab.write(key, value);
            for _ in 0..turns {
                match poll_once(&mut again) {
                    Some(Ok((mut front, anew))) => {
                        front.close();
                        drop((again, anew));
                        lab.backs[0].disconnect();
                        prop_assert_eq!(front.release(), Ok(()));
                        break;
                    }
                    Some(Err(_)) => break,
                    None => lab.turn(),
                }
            }
        }
        // The toolstack has had enough of it.
        lab.backs[0].disconnect();
        let gone = lab.backs.remove(0);
        lab.world.remove_node(gone.node());
        lab.world.remove_node(gone.frontend_node());
        (0..20).for_each(|_| lab.turn());
        let mut again = lab.again(&mut link);
        prop_assert!(lab.poll(&mut again).is_none());
        lab.backs.push(Netback::announce(&lab.world, OTHER, GUEST, 0, &OFFERS));
        let (front, anew) = lab.goes_on(&mut again);
        drop(again);
        drop(link);
        lab.end(vec![(front, anew)]);
    }
}
