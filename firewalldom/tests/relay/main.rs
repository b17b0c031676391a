//! The relay between real rings and the engine, with simulated backends and guests, each in a domain of
//! its own.

mod backends;
mod guests;
mod packet;

use minios_rs::fake::Domain;
use minios_rs::fake::World;
use minios_rs::fake::netback::Netback;
use minios_rs::xen::DomId;
use minios_rs::xenstore::Client;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const FIREWALL: DomId = DomId(7);
/// The domain of the outside's backend.
const OUTSIDE: DomId = DomId(3);

const SERVER: [u8; 4] = [192, 0, 2, 1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
/// The firewall's own address outside, which masquerading uses.
const PUBLIC: [u8; 4] = [192, 0, 2, 2];

/// Turns of the world until a future has ended.
fn run<T>(
    store: &Client<Domain>,
    world: &World,
    backs: &mut [Netback],
    future: impl Future<Output = T>,
) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..500 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        store.pump();
        world.serve_xenstore();
        store.pump();
        backs.iter_mut().for_each(Netback::step);
    }
    panic!("it does not end")
}
