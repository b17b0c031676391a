use super::*;
use crate::abi::errno::ENODEV;
use crate::fake::{Domain, Fault, Quirks, World};
use alloc::boxed::Box;
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

const GUEST: DomId = DomId(4);
const FRONT: &str = "/local/domain/4/device/vbd/51712";
const BACK: &str = "/local/domain/0/backend/vbd/4/51712";

fn connect() -> (World, Client<Domain>) {
    let world = World::new();
    let client = world.connect_xenstore(&world.domain(GUEST));
    make(&world, FRONT, BACK);
    (world, client)
}

fn make(world: &World, front: &str, back: &str) {
    world.write_node(&format!("{front}/backend"), back);
    world.write_node(&format!("{front}/backend-id"), "0");
    world.write_node(&format!("{front}/state"), "1");
    world.write_node(&format!("{back}/state"), "2");
}

fn poll<T>(future: &mut Pin<Box<impl Future<Output = T>>>) -> Poll<T> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

/// Polls until nothing moves any more.
fn settle<T>(
    world: &World,
    client: &Client<Domain>,
    future: &mut Pin<Box<impl Future<Output = T>>>,
) -> Poll<T> {
    for _ in 0..200 {
        if let Poll::Ready(value) = poll(future) {
            return Poll::Ready(value);
        }
        client.pump();
        world.serve_xenstore();
        client.pump();
    }
    Poll::Pending
}

fn run<T>(world: &World, client: &Client<Domain>, future: impl Future<Output = T>) -> T {
    match settle(world, client, &mut Box::pin(future)) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it does not end"),
    }
}

#[test]
fn a_device_is_found_and_knows_its_other_end() {
    let (world, client) = connect();
    world.write_node("/local/domain/4/device/suspend/event-channel", "");
    make(
        &world,
        "/local/domain/4/device/9pfs/0",
        "/local/domain/0/backend/9pfs/4/0",
    );
    let found = run(&world, &client, devices(&client)).unwrap();
    let names: Vec<String> = found.iter().map(DeviceId::node).collect();
    assert_eq!(names, ["device/9pfs/0", "device/vbd/51712"]);
    let device = run(&world, &client, Device::frontend(&client, "vbd", 51712)).unwrap();
    assert_eq!((device.other(), device.other_id()), (BACK, DomId(0)));
    let none = run(&world, &client, Device::frontend(&client, "vbd", 1));
    assert_eq!(none.err(), Some(Error::Gone));
}

#[test]
fn no_device_directory_means_no_devices() {
    let world = World::new();
    let client = world.connect_xenstore(&world.domain(GUEST));
    assert_eq!(run(&world, &client, devices(&client)), Ok(Vec::new()));
}

#[test]
fn waiting_ends_with_the_state_waited_for() {
    let (world, client) = connect();
    world.write_node(&format!("{BACK}/state"), "1");
    let mut device = run(&world, &client, Device::frontend(&client, "vbd", 51712)).unwrap();
    let mut wait = Box::pin(device.wait_for(&[XenbusState::INIT_WAIT, XenbusState::CONNECTED]));
    assert!(settle(&world, &client, &mut wait).is_pending());
    world.write_node(&format!("{BACK}/state"), "4");
    assert_eq!(
        settle(&world, &client, &mut wait),
        Poll::Ready(Ok(XenbusState::CONNECTED))
    );
}

#[test]
fn waiting_ends_when_the_other_end_closes_or_goes() {
    for (change, error) in [
        (Some("5"), Error::Closing),
        (Some("6"), Error::Closing),
        (Some("x"), Error::Gone),
        (None, Error::Gone),
    ] {
        let (world, client) = connect();
        let mut device = run(&world, &client, Device::frontend(&client, "vbd", 51712)).unwrap();
        let mut wait = Box::pin(device.wait_for(&[XenbusState::CONNECTED]));
        assert!(settle(&world, &client, &mut wait).is_pending());
        match change {
            Some(state) => world.write_node(&format!("{BACK}/state"), state),
            None => world.remove_node("/local/domain/0/backend/vbd/4"),
        }
        assert_eq!(
            settle(&world, &client, &mut wait),
            Poll::Ready(Err(error)),
            "{change:?}"
        );
    }
}

/// As xenstored answers when a backend's domain was destroyed: there is nothing, and nobody may know.
#[test]
fn waiting_ends_when_the_domain_of_the_other_end_is_gone() {
    let (world, client) = connect();
    let mut device = run(&world, &client, Device::frontend(&client, "vbd", 51712)).unwrap();
    let mut wait = Box::pin(device.wait_for_end());
    assert!(settle(&world, &client, &mut wait).is_pending());
    world.set_quirks(Quirks {
        unreadable: Some("/local/domain/0/backend/vbd/4/51712/state"),
        ..Quirks::default()
    });
    world.remove_node("/local/domain/0/backend");
    assert_eq!(settle(&world, &client, &mut wait), Poll::Ready(Ok(())));
    drop(wait);
    let mut close = Box::pin(device.close());
    assert_eq!(settle(&world, &client, &mut close), Poll::Ready(Ok(())));
    drop(close);
    assert_eq!(world.node(&format!("{FRONT}/state")).as_deref(), Some("6"));
}

#[test]
fn keys_and_state_appear_together_and_never_for_a_device_that_is_gone() {
    let (world, client) = connect();
    let device = run(&world, &client, Device::frontend(&client, "vbd", 51712)).unwrap();
    run(
        &world,
        &client,
        device.publish(&[("ring-ref", "9")], XenbusState::INITIALISED),
    )
    .unwrap();
    assert_eq!(
        world.node(&format!("{FRONT}/ring-ref")).as_deref(),
        Some("9")
    );
    assert_eq!(world.node(&format!("{FRONT}/state")).as_deref(), Some("3"));
    world.remove_node(FRONT);
    assert_eq!(
        run(&world, &client, device.switch_to(XenbusState::CLOSED)),
        Err(Error::Gone)
    );
    assert_eq!(world.node(&format!("{FRONT}/state")), None);
}

#[test]
fn a_fatal_error_is_written_where_the_administrator_looks() {
    let (world, client) = connect();
    let mut device = run(&world, &client, Device::frontend(&client, "vbd", 51712)).unwrap();
    run(&world, &client, device.fatal(ENODEV, "no such luck")).unwrap();
    let text = world.node("/local/domain/4/error/device/vbd/51712/error");
    assert_eq!(text.as_deref(), Some("19 no such luck"));
    assert_eq!(world.node(&format!("{FRONT}/state")).as_deref(), Some("5"));
    let mut close = Box::pin(device.close());
    assert!(settle(&world, &client, &mut close).is_pending());
    world.write_node(&format!("{BACK}/state"), "5");
    assert!(
        settle(&world, &client, &mut close).is_pending(),
        "it may still map something"
    );
    assert_eq!(world.node(&format!("{FRONT}/state")).as_deref(), Some("6"));
    world.write_node(&format!("{BACK}/state"), "6");
    assert_eq!(settle(&world, &client, &mut close), Poll::Ready(Ok(())));
}

#[test]
fn devices_of_unknown_classes_are_closed_when_their_backends_close_and_known_ones_left_alone() {
    let (world, client) = connect();
    make(
        &world,
        "/local/domain/4/device/vkbd/0",
        "/local/domain/0/backend/vkbd/4/0",
    );
    let mut task = Box::pin(refuse_unknown(client.clone(), &["vbd"]));
    assert!(settle(&world, &client, &mut task).is_pending());
    // One more appears later.
    make(
        &world,
        "/local/domain/4/device/vfb/0",
        "/local/domain/0/backend/vfb/4/0",
    );
    assert!(settle(&world, &client, &mut task).is_pending());
    let state = |front: &str| world.node(&format!("/local/domain/4/device/{front}/state"));
    assert_eq!(state("vkbd/0").as_deref(), Some("1"));
    for backend in ["vkbd/4/0", "vfb/4/0", "vbd/4/51712"] {
        world.write_node(&format!("/local/domain/0/backend/{backend}/state"), "5");
    }
    assert!(settle(&world, &client, &mut task).is_pending());
    assert_eq!(state("vkbd/0").as_deref(), Some("6"));
    assert_eq!(state("vfb/0").as_deref(), Some("6"));
    assert_eq!(state("vbd/51712").as_deref(), Some("1"));
    // Gone devices are no longer watched, nor brought back.
    for front in ["vkbd", "vfb"] {
        world.remove_node(&format!("/local/domain/4/device/{front}"));
    }
    assert!(settle(&world, &client, &mut task).is_pending());
    assert_eq!(world.domain(GUEST).usage().watches, 1);
    assert_eq!(state("vfb/0"), None);
    client.disconnect();
    assert!(matches!(
        settle(&world, &client, &mut task),
        Poll::Ready(Err(Error::Xenstore(_)))
    ));
}

#[test]
fn a_failing_xenstore_is_not_taken_for_an_absent_node() {
    let (world, client) = connect();
    world.fail(Fault::Xenstore, 0);
    assert!(run(&world, &client, devices(&client)).is_err());
    let device = run(&world, &client, Device::frontend(&client, "vbd", 51712)).unwrap();
    world.fail(Fault::Xenstore, 0);
    assert!(run(&world, &client, device.other_state()).is_err());
    world.fail(Fault::Xenstore, 0);
    assert!(run(&world, &client, device.own_state()).is_err());
}

#[test]
fn a_state_that_is_absent_or_no_number_is_unknown() {
    let (world, client) = connect();
    let device = run(&world, &client, Device::frontend(&client, "vbd", 51712)).unwrap();
    for text in [&b"connected"[..], b"", b"\xff"] {
        world.write_node(&format!("{BACK}/state"), text);
        let state = run(&world, &client, device.other_state());
        assert_eq!(state, Ok(XenbusState::UNKNOWN));
    }
    world.remove_node(BACK);
    let state = run(&world, &client, device.other_state());
    assert_eq!(state, Ok(XenbusState::UNKNOWN));
}
