//! A vif whose backend ends, and comes back.

use super::*;
use crate::net::Error;
use alloc::string::ToString;
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

    /// The backend ends what it began, and both ends let go of everything.
    fn closed_by_backend(&mut self, mut front: Front<Domain>, link: &mut Link<Domain>) {
        self.backs[0].switch_to(XenbusState::CLOSING);
        self.run(link.backend_ending()).unwrap();
        front.close();
        self.run(link.close()).unwrap();
        assert_eq!(front.release(), Ok(()));
    }

    /// What the toolstack does when it takes a vif away.
    fn detached(&mut self, back: usize, front: Front<Domain>, link: &mut Link<Domain>) {
        let own = self.backs[back].node().to_string();
        self.world.write_node(&alloc::format!("{own}/online"), "0");
        self.closed_by_backend(front, link);
        let gone = self.backs.remove(back);
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
    let (mut front, anew) = lab.poll(&mut again).expect("it ends").expect("it connects");
    assert_ne!(front.id(), id, "tokens of the one before are strangers");
    assert_eq!(front.mac(), mac);
    lab.frames_pass(&mut front);
    drop(again);
    drop(link);
    lab.end(vec![(front, anew)]);
}

#[test]
fn a_vif_attached_in_its_place_is_the_interface_in_another_domain_too() {
    let (mut lab, front, mut link) = one();
    lab.detached(0, front, &mut link);
    let mut again = lab.again(&mut link);
    assert!(lab.poll(&mut again).is_none(), "nothing is there");
    let back = Netback::announce(&lab.world, OTHER, GUEST, 0, &OFFERS);
    lab.backs.push(back);
    let (mut front, anew) = lab.poll(&mut again).expect("it ends").expect("it connects");
    assert_eq!(front.backend(), OTHER);
    lab.frames_pass(&mut front);
    drop(again);
    drop(link);
    lab.end(vec![(front, anew)]);
}

#[test]
fn under_another_number_it_is_known_by_its_address() {
    let (mut lab, front, mut link) = one();
    lab.detached(0, front, &mut link);
    let mut again = lab.again(&mut link);
    // Somebody else's.
    let stranger = Netback::announce(&lab.world, HOST, GUEST, 1, &OFFERS);
    assert!(lab.poll(&mut again).is_none(), "that has another address");
    let back = Netback::announce(&lab.world, HOST, GUEST, 2, &OFFERS);
    let mac = alloc::format!("{}/mac", back.frontend_node());
    lab.world.write_node(&mac, "00:16:3E:00:00:00");
    lab.backs.push(back);
    let (mut front, anew) = lab.poll(&mut again).expect("it ends").expect("it connects");
    assert_eq!(anew.node(), "device/vif/2");
    lab.frames_pass(&mut front);
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
    let (mut front, anew) = lab.poll(&mut again).expect("it ends").expect("it connects");
    lab.frames_pass(&mut front);
    drop(again);
    drop(link);
    lab.end(vec![(front, anew)]);
}

#[test]
fn a_vif_that_is_being_taken_away_is_not_started_anew() {
    let (mut lab, front, mut link) = one();
    let online = alloc::format!("{}/online", lab.backs[0].node());
    lab.world.write_node(&online, "0");
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
    let (mut front, anew) = lab.poll(&mut again).expect("it ends").expect("it connects");
    lab.frames_pass(&mut front);
    drop(again);
    drop(link);
    lab.end(vec![(front, anew)]);
}

#[test]
fn a_front_that_cannot_be_made_is_not_tried_for_ever() {
    let (mut lab, front, mut link) = one();
    let mac = "/local/domain/7/device/vif/0/mac";
    lab.closed_by_backend(front, &mut link);
    lab.world.write_node(mac, "none");
    let mut again = lab.again(&mut link);
    let outcome = lab.poll(&mut again).expect("it ends");
    assert_eq!(
        outcome.map(drop),
        Err(Error::BadMac(crate::net::BadMacAddress))
    );
    drop(again);
    let mut again = lab.again(&mut link);
    assert!(lab.poll(&mut again).is_none());
    drop(again);
    drop(link);
    lab.end(vec![]);
}
