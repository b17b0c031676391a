use super::*;
use crate::fake::vchan::Client as Dom0;
use crate::fake::{Domain, World};
use crate::task::Executor;
use crate::xen::Port;
use alloc::vec;
use alloc::vec::Vec;
use proptest::prelude::*;

const SERVER: DomId = DomId(4);
const NODE: &str = "/local/domain/4/device-model/3/qmp-vchan";

fn lab() -> (World, Domain, Server<Domain>) {
    let world = World::new();
    let domain = world.domain(SERVER);
    let server = Server::new(&domain, DomId(0)).unwrap();
    world.write_node(
        &format!("{NODE}/ring-ref"),
        server.page.reference().0.to_string(),
    );
    world.write_node(
        &format!("{NODE}/event-channel"),
        port(&server).0.to_string(),
    );
    (world, domain, server)
}

fn port(server: &Server<Domain>) -> Port {
    server.port.number()
}

fn connect(world: &World) -> Dom0 {
    Dom0::connect(world, SERVER, NODE).expect("published")
}

fn read_all(server: &mut Server<Domain>) -> Vec<u8> {
    let mut bytes = vec![0; LEFT_SIZE];
    let count = server.read(&mut bytes).unwrap();
    bytes.truncate(count);
    bytes
}

#[test]
fn a_client_finds_it_by_its_nodes() {
    let world = World::new();
    let domain = world.domain(SERVER);
    let store = world.connect_xenstore(&domain);
    let server = Server::new(&domain, DomId(0)).unwrap();
    let executor = Executor::new(1);
    let (other, published) = (
        store.clone(),
        alloc::rc::Rc::new(core::cell::Cell::new(false)),
    );
    let done = published.clone();
    executor
        .spawn(async move {
            server
                .publish(&other, "device-model/3/qmp-vchan")
                .await
                .unwrap();
            done.set(true);
            core::mem::forget(server);
        })
        .unwrap();
    for _ in 0..20 {
        executor.run_ready(domain.now());
        store.pump();
        world.serve_xenstore();
        store.pump();
    }
    assert!(published.get());
    assert!(connect(&world).is_open());
}

#[test]
fn bytes_go_both_ways_and_each_brings_an_event() {
    let (world, domain, mut server) = lab();
    assert_eq!(server.poll(), Peer::Absent);
    let client = connect(&world);
    assert!(domain.take_event(port(&server)), "it came");
    client.take_event();
    assert_eq!(
        (server.poll(), server.poll()),
        (Peer::Arrived, Peer::Present)
    );
    assert_eq!(server.write(b"greeting"), Ok(8));
    assert!(client.take_event());
    assert_eq!(client.read(), b"greeting");
    for _ in 0..3 {
        client.write(b"command");
        assert!(domain.take_event(port(&server)), "asked for each time");
        assert_eq!(read_all(&mut server), b"command");
        assert_eq!(read_all(&mut server), b"");
    }
}

#[test]
fn what_does_not_fit_waits_for_an_event_of_the_client() {
    let (world, domain, mut server) = lab();
    let client = connect(&world);
    server.poll();
    domain.take_event(port(&server));
    let long: Vec<u8> = (0..3000).map(|index| index as u8).collect();
    assert_eq!(server.write(&long), Ok(RIGHT_SIZE));
    assert_eq!(server.write(&long[RIGHT_SIZE..]), Ok(0));
    let mut read = client.read();
    assert!(domain.take_event(port(&server)), "there is room again");
    assert_eq!(
        server.write(&long[RIGHT_SIZE..]),
        Ok(long.len() - RIGHT_SIZE)
    );
    read.extend(client.read());
    assert_eq!(read, long);
    client.write(&[1; 2000]);
    client.take_event();
    assert_eq!(read_all(&mut server).len(), LEFT_SIZE);
    assert!(client.take_event(), "it waits for room as well");
}

#[test]
fn a_client_that_comes_in_anothers_place_unseen_is_another() {
    let (world, _, mut server) = lab();
    let first = connect(&world);
    assert_eq!(server.poll(), Peer::Arrived);
    server.write(b"an answer nobody reads").unwrap();
    first.write(b"half a comm");
    drop(first);
    let second = connect(&world);
    assert_eq!(server.poll(), Peer::Arrived, "never seen to go");
    assert_eq!(read_all(&mut server), b"");
    assert_eq!(second.read(), b"");
    server.write(b"greeting").unwrap();
    assert_eq!(second.read(), b"greeting");
    assert_eq!(server.poll(), Peer::Present);
}

#[test]
fn what_a_client_that_left_did_not_read_is_gone_before_the_next_one_looks() {
    let (world, _, mut server) = lab();
    let first = connect(&world);
    server.poll();
    server.write(b"late").unwrap();
    drop(first);
    assert_eq!(server.poll(), Peer::Absent);
    let second = connect(&world);
    assert_eq!(second.read(), b"");
    assert_eq!(server.poll(), Peer::Arrived);
}

#[test]
fn one_that_broke_the_rings_does_no_harm_to_the_next() {
    let (world, _, mut server) = lab();
    let client = connect(&world);
    server.poll();
    for offset in [LEFT.prod, RIGHT.cons] {
        let word = client.page().word(offset);
        word.fetch_add(5000, Ordering::SeqCst);
    }
    assert_eq!(server.read(&mut [0; 8]), Err(Corrupt));
    assert_eq!(server.write(b"x"), Err(Corrupt));
    drop(client);
    let next = connect(&world);
    assert_eq!(server.poll(), Peer::Arrived);
    server.write(b"greeting").unwrap();
    assert_eq!(next.read(), b"greeting");
    next.write(b"fine");
    assert_eq!(read_all(&mut server), b"fine");
}

#[test]
fn everything_is_given_back_once_nobody_uses_it() {
    let (world, domain, mut server) = lab();
    let client = connect(&world);
    server.poll();
    drop(server);
    assert!(!client.is_open());
    assert!(client.take_event());
    drop(client);
    // What a client still had mapped comes back with the next grant.
    let page = domain.allocate_page().unwrap();
    let reference = domain.grant(DomId(0), &page, Access::ReadOnly).unwrap();
    domain.end_access(reference).unwrap();
    drop(page);
    assert_eq!(domain.usage(), crate::fake::Usage::default());
}

proptest! {
    #[test]
    fn whatever_a_client_writes_there_is_no_panic_and_the_next_is_served(
        scribbles in prop::collection::vec((0..6_usize, any::<u32>(), any::<bool>()), 0..40),
    ) {
        let (world, _, mut server) = lab();
        let client = connect(&world);
        let mut bytes = [0; 64];
        for (word, value, poll) in scribbles {
            client.page().word(word * 4).store(value, Ordering::SeqCst);
            if poll {
                let _ = server.poll();
            }
            prop_assert!(server.read(&mut bytes).unwrap_or(0) <= 64);
            prop_assert!(server.write(&bytes).unwrap_or(0) <= 64);
        }
        // A sound client looks at the orders and goes away again if they are wrong.
        let orders = u32::from(LEFT_ORDER) | u32::from(RIGHT_ORDER) << 16;
        client.page().word(ORDERS).store(orders, Ordering::SeqCst);
        drop(client);
        let next = connect(&world);
        prop_assert_eq!(server.poll(), Peer::Arrived);
        server.write(b"greeting").unwrap();
        prop_assert_eq!(next.read(), b"greeting");
    }
}
