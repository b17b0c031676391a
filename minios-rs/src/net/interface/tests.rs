use super::*;
use crate::abi::io::netif::{NETIF_RSP_OKAY, NETRXF_CSUM_BLANK};
use crate::fake::netback::{Netback, OFFERS};
use crate::fake::netfront::{Netfront, Shape};
use crate::fake::{Domain, World};
use crate::net::back::{Backends, HEAD_MAX};
use crate::net::front::Config;
use crate::task::Executor;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::future::Future;
use core::task::{Context, Poll, Waker};

const FIREWALL: DomId = DomId(1);
const HOST: DomId = DomId(0);
const GUEST: DomId = DomId(5);

/// The relay of the trait's own example.
fn forward(ingress: &mut dyn Interface<Domain>, egress: &mut dyn Interface<Domain>) {
    let mut frame = Received::default();
    while ingress.receive_into(&mut frame) {
        let mut head = [0; HEAD_MAX];
        let read = frame.read(0, &mut head);
        let offload = Offload {
            checksum: frame.checksum,
            gso: frame.gso,
        };
        let used = read.min(usize::from(frame.slots[0].len));
        if used == usize::from(frame.slots[0].len) {
            ingress.recycle(frame.slots.remove(0).buffer);
        } else {
            frame.slots[0].advance(used as u16);
        }
        let fetched = match egress.egress() {
            Egress::Lends => ingress.fetch(frame.slots.as_mut_view()),
            Egress::Copies => Ok(()),
        };
        if fetched.is_ok() {
            let _ = egress.transmit_slots(&head[..used], frame.slots.as_mut_view(), offload);
        }
        while let Some(slice) = frame.slots.pop() {
            ingress.recycle(slice.buffer);
        }
    }
    egress.flush();
    while let Some(buffer) = egress.completed() {
        ingress.recycle(buffer);
    }
    ingress.flush();
}

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed))
        .collect()
}

#[test]
fn a_relay_need_not_know_which_end_of_a_vif_it_has() {
    let world = World::new();
    let domain = world.domain(FIREWALL);
    let store = world.connect_xenstore(&domain);
    let executor = Executor::new(8);
    let backends =
        Backends::start(&domain, &store, &executor, Default::default()).expect("it fits");
    let mut netback = Netback::announce(&world, HOST, FIREWALL, 0, &OFFERS);
    let mut netfront = Netfront::announce(&world, FIREWALL, GUEST, 0, &[]);
    let mut connect = Box::pin({
        let (domain, store) = (domain.clone(), store.clone());
        async move { Front::connect(&domain, &store, 0, Config::default()).await }
    });
    let (mut front, mut back) = (None, None);
    for round in 0..400 {
        if round == 100 {
            netfront.connect(Shape::default());
        }
        if front.is_none()
            && let Poll::Ready(connected) = connect
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
        {
            front = Some(connected.expect("it connects"));
        }
        store.pump();
        world.serve_xenstore();
        store.pump();
        executor.run_ready(Instant(0));
        netback.step();
        back = back.or(backends.arrived());
    }
    let (mut front, mut link) = front.expect("it connects");
    let mut back = back.expect("it connects");
    for (round, len) in [60, 200, 256, 257, 1514, 9000, 60_000]
        .into_iter()
        .enumerate()
    {
        // Out: from the guest's pages into ours, and those are lent.
        let frame = bytes(len, round as u8);
        let slots: Vec<&[u8]> = frame.chunks(4096).collect();
        assert!(netfront.send(0, &slots, 0, &[]));
        forward(&mut back, &mut front);
        let sent = netback.receive();
        assert_eq!(sent[0].bytes, frame, "{len}");
        assert!(
            netfront
                .answers(0)
                .iter()
                .all(|answer| answer.status == NETIF_RSP_OKAY)
        );
        assert_eq!(netfront.outstanding(0), 0);
        // In: from the backend's buffers straight to the guest's.
        assert!(netback.deliver(&slots, 0, NETRXF_CSUM_BLANK, &[]));
        forward(&mut front, &mut back);
        assert_eq!(netfront.receive(0)[0].bytes, frame, "{len}");
        netfront.post(0, 256);
        while let Some(buffer) = Interface::completed(&mut front) {
            assert_eq!(buffer.owner(), Interface::id(&back));
            Interface::recycle(&mut back, buffer);
        }
    }
    // No page of ours holds anything for the backend but what it was sent.
    assert_eq!(
        (back.egress(), front.egress()),
        (Egress::Copies, Egress::Lends)
    );
    assert_eq!(
        (Interface::peer(&back), Interface::peer(&front)),
        (GUEST, HOST)
    );
    front.close();
    drop(back);
    netback.vanish();
    let mut closing = Box::pin(async move { link.close().await });
    let mut is_closed = false;
    for _ in 0..50 {
        is_closed = is_closed
            || closing
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_ready();
        store.pump();
        world.serve_xenstore();
    }
    assert!(is_closed);
    assert!(front.release().is_ok());
}
