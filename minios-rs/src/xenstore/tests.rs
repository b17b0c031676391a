use super::*;
use crate::abi::io::xs_wire::*;
use crate::abi::xen::nr;
use crate::fake::{Domain, Fault, Quirks, World};
use crate::xen::{DomId, SharedPage, Xen};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::future::Future;
use core::mem::offset_of;
use core::sync::atomic::Ordering;
use core::task::{Context, Poll, Waker};
use proptest::prelude::*;
use zerocopy::IntoBytes;

const GUEST: DomId = DomId(4);

fn connect() -> (World, Client<Domain>) {
    let world = World::new();
    let client = world.connect_xenstore(&world.domain(GUEST));
    (world, client)
}

fn poll<T>(future: &mut core::pin::Pin<Box<impl Future<Output = T>>>) -> Poll<T> {
    future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
}

fn run<T>(world: &World, client: &Client<Domain>, future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    for _ in 0..2000 {
        if let Poll::Ready(value) = poll(&mut future) {
            return value;
        }
        client.pump();
        world.serve_xenstore();
        client.pump();
    }
    panic!("it does not end");
}

#[test]
fn what_is_written_is_read_back_relative_and_absolute() {
    let (world, client) = connect();
    run(&world, &client, async {
        client.write("data/a", "5").await.unwrap();
        assert_eq!(client.read("data/a").await.unwrap(), b"5");
        assert_eq!(
            client.read_text("/local/domain/4/data/a").await.unwrap(),
            "5"
        );
        assert_eq!(client.read_number::<u8>("data/a").await, Ok(5));
        client.mkdir("data/b").await.unwrap();
        assert_eq!(client.directory("data").await.unwrap(), ["a", "b"]);
        client.rm("data/a").await.unwrap();
        client.rm("data/a").await.unwrap();
        assert_eq!(client.read_number_if_any::<u8>("data/a").await, Ok(None));
        assert!(client.directory("data/b").await.unwrap().is_empty());
    });
}

#[test]
fn each_name_of_xsd_errors_is_its_own_refusal() {
    for (name, refusal) in [
        ("EINVAL", Refusal::Invalid),
        ("EACCES", Refusal::AccessDenied),
        ("EEXIST", Refusal::Exists),
        ("ENOENT", Refusal::NotFound),
        ("ENOSPC", Refusal::NoSpace),
        ("EQUOTA", Refusal::NoSpace),
        ("EAGAIN", Refusal::Conflict),
        ("E2BIG", Refusal::TooBig),
        ("EROFS", Refusal::ReadOnly),
        ("EPERM", Refusal::NotPermitted),
        ("EIO", Refusal::Other),
        ("", Refusal::Other),
    ] {
        assert_eq!(Refusal::from_name(name.as_bytes()), refusal, "{name}");
    }
}

#[test]
fn refusals_have_names() {
    let (world, client) = connect();
    world.write_node("/local/domain/4/name", [0xff, 0xfe]);
    world.set_quirks(Quirks {
        nodes_max: 3,
        ..Quirks::default()
    });
    run(&world, &client, async {
        assert!(client.read("nothing").await.unwrap_err().is_not_found());
        assert_eq!(
            client.write("/local/domain/0/x", "").await,
            Err(Error::Refused(Refusal::AccessDenied))
        );
        assert_eq!(client.read("a b").await, Err(Error::BadPath));
        assert_eq!(client.read_text("name").await, Err(Error::BadValue));
        assert_eq!(
            client.read_number::<u32>("name").await,
            Err(Error::BadValue)
        );
        assert_eq!(client.write("data/x", [0; 5000]).await, Err(Error::TooLong));
        client.write("a", "").await.unwrap();
        assert_eq!(
            client.write("b", "").await,
            Err(Error::Refused(Refusal::NoSpace))
        );
    });
    world.fail(Fault::Xenstore, 0);
    assert_eq!(
        run(&world, &client, client.read("a")),
        Err(Error::Refused(Refusal::Other))
    );
    assert_eq!(client.dead(), None, "a refusal is no reason to hang up");
}

#[test]
fn a_value_larger_than_the_ring_goes_through_in_parts() {
    let (world, client) = connect();
    let value = "x".repeat(4000);
    run(&world, &client, async {
        client.write("data/long", &value).await.unwrap();
        assert_eq!(client.read_text("data/long").await.unwrap(), value);
    });
}

#[test]
fn many_requests_at_a_time_find_their_own_answers_in_any_order() {
    for reversed in [false, true] {
        let (world, client) = connect();
        world.set_quirks(Quirks {
            reversed,
            ..Quirks::default()
        });
        for number in 0..200 {
            world.write_node(
                &format!("/local/domain/4/data/{number}"),
                number.to_string(),
            );
        }
        let mut reads: Vec<_> = (0..200)
            .map(|number| {
                let client = client.clone();
                Box::pin(async move { client.read_number::<u32>(&format!("data/{number}")).await })
            })
            .collect();
        let mut answers = alloc::vec![None; reads.len()];
        for _ in 0..100 {
            for (read, answer) in reads.iter_mut().zip(&mut answers) {
                if answer.is_none()
                    && let Poll::Ready(value) = poll(read)
                {
                    *answer = Some(value);
                }
            }
            world.serve_xenstore();
            client.pump();
        }
        for (number, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer, Some(Ok(number as u32)));
        }
    }
}

#[test]
fn more_requests_than_the_table_holds_are_refused_and_a_dropped_one_frees_its_place() {
    let (world, client) = connect();
    let mut reads: Vec<_> = (0..REQUESTS_MAX)
        .map(|_| Box::pin(client.read("x")))
        .collect();
    for read in &mut reads {
        assert!(poll(read).is_pending());
    }
    assert_eq!(
        poll(&mut Box::pin(client.read("x"))),
        Poll::Ready(Err(Error::TooManyRequests))
    );
    drop(reads);
    for _ in 0..50 {
        world.serve_xenstore();
        client.pump();
    }
    assert!(
        run(&world, &client, client.read("x"))
            .unwrap_err()
            .is_not_found()
    );
}

#[test]
fn a_watch_tells_of_what_changes_below_it() {
    let (world, client) = connect();
    run(&world, &client, async {
        let mut relative = client.watch("device").await.unwrap();
        let mut absolute = client.watch("/local/domain/0/backend").await.unwrap();
        assert_eq!(relative.next().await.unwrap(), "device");
        assert_eq!(absolute.next().await.unwrap(), "/local/domain/0/backend");
        world.write_node("/local/domain/4/device/vif/0/state", "1");
        world.write_node("/local/domain/0/backend/x", "1");
        world.write_node("/local/domain/4/devices", "not below");
        assert_eq!(relative.next().await.unwrap(), "device/vif/0/state");
        assert_eq!(absolute.next().await.unwrap(), "/local/domain/0/backend/x");
        let mut none = Box::pin(relative.next());
        assert!(poll(&mut none).is_pending());
    });
}

#[test]
fn watches_that_are_dropped_are_removed() {
    let (world, client) = connect();
    let guest = world.domain(GUEST);
    for _ in 0..2000 {
        run(&world, &client, async {
            let mut watch = client.watch("a").await.unwrap();
            watch.add("b").await.unwrap();
            watch.remove("a");
        });
    }
    for _ in 0..10 {
        client.pump();
        world.serve_xenstore();
    }
    assert_eq!(guest.usage().watches, 0);
}

#[test]
fn a_storm_of_events_is_bounded_and_the_last_state_is_told_of() {
    let (world, client) = connect();
    let mut watch = run(&world, &client, client.watch("data")).unwrap();
    for number in 0..10_000 {
        world.write_node(&format!("/local/domain/4/data/{}", number % 500), "");
        client.pump();
        world.serve_xenstore();
        client.pump();
    }
    let events = run(&world, &client, async {
        let mut events = Vec::new();
        loop {
            match poll(&mut Box::pin(watch.next())) {
                Poll::Ready(event) => events.push(event.unwrap()),
                Poll::Pending => return events,
            }
        }
    });
    assert!(events.len() <= EVENTS_MAX);
    assert!(
        events.iter().any(|event| event == "data"),
        "the watched node stands for all below it"
    );
}

#[test]
fn a_storm_of_long_names_is_bounded_in_bytes() {
    let (world, client) = connect();
    let mut watch = run(&world, &client, client.watch("data")).unwrap();
    let long = "x".repeat(2000);
    for number in 0..40 {
        world.write_node(&format!("/local/domain/4/data/{long}{number}"), "");
        for _ in 0..4 {
            world.serve_xenstore();
            client.pump();
        }
    }
    let mut events = Vec::new();
    while let Poll::Ready(event) = poll(&mut Box::pin(watch.next())) {
        events.push(event.unwrap());
    }
    let bytes: usize = events.iter().map(String::len).sum();
    assert!(bytes <= EVENT_BYTES_MAX, "{bytes}");
    assert!(events.iter().any(|event| event == "data"));
}

#[test]
fn of_several_values_those_that_are_no_short_text_are_nothing_else() {
    let (world, client) = connect();
    let home = "/local/domain/4/data";
    world.write_node(&format!("{home}/short"), "7");
    world.write_node(&format!("{home}/longest"), "7".repeat(TEXT_MAX));
    world.write_node(&format!("{home}/long"), "7".repeat(TEXT_MAX + 1));
    world.write_node(&format!("{home}/bytes"), b"7\xff");
    run(&world, &client, async {
        let keys = ["short", "longest", "long", "bytes", "none"];
        let values = client.read_all("data", &keys).await.unwrap();
        let longest = "7".repeat(TEXT_MAX);
        let expected = [
            Some("7"),
            Some(&longest),
            Some("\u{fffd}"),
            Some("\u{fffd}"),
            None,
        ];
        assert_eq!(
            values.iter().map(Option::as_deref).collect::<Vec<_>>(),
            expected
        );
    });
}

#[test]
fn the_same_event_is_kept_once() {
    let (world, client) = connect();
    let mut watch = run(&world, &client, client.watch("data")).unwrap();
    for _ in 0..10 {
        world.write_node("/local/domain/4/data/x", "");
    }
    for _ in 0..10 {
        world.serve_xenstore();
        client.pump();
    }
    run(&world, &client, async {
        assert_eq!(watch.next().await.unwrap(), "data");
        assert_eq!(watch.next().await.unwrap(), "data/x");
        assert!(poll(&mut Box::pin(watch.next())).is_pending());
    });
}

#[test]
fn a_transaction_happens_whole_or_not_at_all() {
    let (world, client) = connect();
    run(&world, &client, async {
        let outcome = client
            .transaction(async |transaction| {
                transaction.write("data/a", "1").await?;
                assert!(
                    client.read("data/a").await.is_err(),
                    "not visible before the end"
                );
                assert_eq!(transaction.read_number::<u32>("data/a").await?, 1);
                transaction.mkdir("data/folder").await?;
                transaction.write("data/gone", "1").await?;
                transaction.rm("data/gone").await?;
                assert_eq!(transaction.directory("data").await?, ["a", "folder"]);
                Ok(7)
            })
            .await;
        assert_eq!(outcome, Ok(7));
        assert_eq!(client.directory("data").await.unwrap(), ["a", "folder"]);
        assert_eq!(client.read_text("data/a").await.unwrap(), "1");
        let failed: Result<(), Error> = client
            .transaction(async |transaction| {
                transaction.write("data/a", "2").await?;
                Err(Error::BadValue)
            })
            .await;
        assert_eq!(failed, Err(Error::BadValue));
        assert_eq!(client.read_text("data/a").await.unwrap(), "1");
    });
}

/// xenstored lets a domain have ten at a time, and calls any two that touch the same a conflict.
#[test]
fn transactions_of_one_connection_take_turns() {
    let (world, client) = connect();
    let (world, client) = (&world, &client);
    let mut all: Vec<_> = (0..64)
        .map(|number| {
            Box::pin(client.transaction(async move |transaction| {
                let count = transaction.read_number::<u32>("data/count").await;
                let count = count.unwrap_or(0);
                transaction
                    .write("data/count", (count + 1).to_string())
                    .await?;
                transaction.write(&format!("data/{number}"), "1").await?;
                // Who is tried again counts itself once all the same.
                Ok(count)
            }))
        })
        .collect();
    // Some give up, one of them in the middle of its turn.
    let mut before: Vec<u32> = Vec::new();
    for round in 0..4000 {
        if round == 3 {
            drop(all.remove(0));
            drop(all.pop());
        }
        all.retain_mut(|one| match poll(one) {
            Poll::Ready(count) => {
                before.push(count.expect("nobody is in the way"));
                false
            }
            Poll::Pending => true,
        });
        client.pump();
        world.serve_xenstore();
        client.pump();
    }
    assert!(all.is_empty(), "nobody waits for ever");
    assert_eq!(before, (0..62).collect::<Vec<_>>(), "one after the other");
}

#[test]
fn a_transaction_in_conflict_is_tried_again_but_not_for_ever() {
    let (world, client) = connect();
    let attempts = core::cell::Cell::new(0);
    let outcome = run(
        &world,
        &client,
        client.transaction(async |transaction| {
            attempts.set(attempts.get() + 1);
            if attempts.get() < 4 {
                world.write_node("/local/domain/0/other", attempts.get().to_string());
            }
            transaction.write("data/a", "1").await
        }),
    );
    assert_eq!((outcome, attempts.get()), (Ok(()), 4));
    world.set_quirks(Quirks {
        conflicts: u32::MAX,
        ..Quirks::default()
    });
    let outcome = run(
        &world,
        &client,
        client.transaction(async |transaction| transaction.rm("data").await),
    );
    assert_eq!(outcome, Err(Error::Contended));
}

fn message(kind: u32, req_id: u32, len: u32, payload: &[u8]) -> Vec<u8> {
    [
        Header {
            kind,
            req_id,
            tx_id: 0,
            len,
        }
        .as_bytes(),
        payload,
    ]
    .concat()
}

#[test]
fn impossible_messages_end_the_connection_for_all_who_wait() {
    let lies = [
        message(XS_READ, 999, 0, b""),
        message(XS_WRITE, 1, 3, b"OK\0"),
        message(XS_READ, 1, 4097, b""),
        message(XS_READ, 1, u32::MAX, b""),
        message(XS_WATCH_EVENT, 0, 1, b"\0"),
        message(XS_WATCH_EVENT, 0, 3, b"abc"),
        message(XS_WATCH_EVENT, 0, 4, b"\xff\0\xff\0"),
        [message(XS_READ, 1, 1, b"a"), message(XS_READ, 1, 1, b"a")].concat(),
        [0xff; 64].to_vec(),
    ];
    for (number, lie) in lies.iter().enumerate() {
        let (world, client) = connect();
        let mut first = Box::pin(client.read("a"));
        let mut second = Box::pin(client.read("b"));
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        world.inject_xenstore(GUEST, lie);
        client.pump();
        assert_eq!(client.dead(), Some(Error::Protocol), "lie {number}");
        assert_eq!(poll(&mut second), Poll::Ready(Err(Error::Protocol)));
        assert!(poll(&mut first).is_ready());
        assert_eq!(
            poll(&mut Box::pin(client.read("c"))),
            Poll::Ready(Err(Error::Protocol))
        );
        assert_eq!(
            poll(&mut Box::pin(client.watch("c"))).map(Result::err),
            Poll::Ready(Some(Error::Protocol))
        );
    }
}

#[test]
fn impossible_indices_end_the_connection() {
    for offset in [
        offset_of!(DomainInterface, rsp_prod),
        offset_of!(DomainInterface, req_cons),
    ] {
        let (world, client) = connect();
        let mut watch = run(&world, &client, client.watch("a")).unwrap();
        let page = world.xenstore_page(GUEST).unwrap();
        page.word(offset).store(0x4000_0000, Ordering::Relaxed);
        let outcome = poll(&mut Box::pin(client.read("a")));
        assert_eq!(outcome, Poll::Ready(Err(Error::Protocol)));
        run(&world, &client, async {
            while watch.next().await.is_ok() {}
        });
        assert_eq!(
            poll(&mut Box::pin(watch.next())),
            Poll::Ready(Err(Error::Protocol))
        );
        drop(watch);
    }
}

#[test]
fn a_full_ring_is_read_and_one_byte_more_is_impossible() {
    // One message that fills the ring: an event for a watch that nobody has.
    let payload = [&[b'a'; 1003][..], b"\0999\0"].concat();
    let event = message(XS_WATCH_EVENT, 0, payload.len() as u32, &payload);
    assert_eq!(event.len(), 1024);
    for (more, dead) in [(0, None), (1, Some(Error::Protocol))] {
        let (world, client) = connect();
        let page = world.xenstore_page(GUEST).unwrap();
        let start = page
            .word(offset_of!(DomainInterface, rsp_cons))
            .load(Ordering::Relaxed);
        for (number, byte) in event.iter().enumerate() {
            let at = (start as usize + number) % 1024;
            page.write(offset_of!(DomainInterface, rsp) + at, &[*byte]);
        }
        page.word(offset_of!(DomainInterface, rsp_prod))
            .store(start + 1024 + more, Ordering::Relaxed);
        client.pump();
        assert_eq!(client.dead(), dead);
    }
}

#[test]
fn a_message_may_have_4096_bytes_of_payload_and_no_more() {
    for (len, wanted) in [(4096, Ok(4096)), (4097, Err(Error::Protocol))] {
        let mut assembler = wire::Assembler::default();
        assembler.feed(&message(XS_READ, 1, len, &[]));
        assert_eq!(assembler.wanted(), wanted);
    }
}

#[test]
fn xenstored_gets_an_event_when_bytes_moved_and_only_then() {
    let world = World::new();
    let guest = world.domain(GUEST);
    let client = world.connect_xenstore(&guest);
    let events = || guest.hypercalls().of(nr::EVENT_CHANNEL_OP);
    let before = events();
    let mut read = Box::pin(client.read("a"));
    assert!(poll(&mut read).is_pending());
    client.pump();
    assert_eq!(events(), before + 1, "a request is there");
    client.pump();
    assert_eq!(events(), before + 1, "nothing happened");
    world.serve_xenstore();
    client.pump();
    assert_eq!(events(), before + 2, "there is room again");

    let value = "x".repeat(3000);
    let mut write = Box::pin(client.write("a", &value));
    assert!(poll(&mut write).is_pending());
    client.pump();
    assert_eq!(events(), before + 3, "as much as the ring holds");
    client.pump();
    assert_eq!(events(), before + 3, "no room for the rest");
}

#[test]
fn a_connection_ended_from_this_side_says_so() {
    let (_, client) = connect();
    let mut read = Box::pin(client.read("a"));
    assert!(poll(&mut read).is_pending());
    client.disconnect();
    assert_eq!(poll(&mut read), Poll::Ready(Err(Error::Disconnected)));
}

#[test]
fn late_answers_and_events_find_nobody_and_do_no_harm() {
    let (world, client) = connect();
    let mut watch = Box::pin(client.watch("a"));
    assert!(poll(&mut watch).is_pending());
    drop(watch);
    let mut transaction =
        Box::pin(client.transaction(async |transaction| transaction.read("a").await));
    for _ in 0..2 {
        assert!(poll(&mut transaction).is_pending());
        world.serve_xenstore();
        client.pump();
    }
    drop(transaction);
    world.write_node("/local/domain/4/a", "x");
    assert_eq!(
        run(&world, &client, client.read_text("a")),
        Ok(String::from("x"))
    );
    assert_eq!(world.domain(GUEST).usage().watches, 0);
}

proptest! {
    #[test]
    fn whatever_xenstored_sends_nothing_panics_and_everyone_is_answered(
        bursts in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..200), 0..30_u32, 0..6_u32, 0..300_u32), 1..12),
        prod in prop::option::of(any::<u32>()),
    ) {
        let (world, client) = connect();
        let mut watch = run(&world, &client, client.watch("a")).unwrap();
        let mut reads: Vec<_> = (0..5).map(|_| Box::pin(client.read("a"))).collect();
        for read in &mut reads {
            let _ = poll(read);
        }
        for (framed, bytes, kind, req_id, len) in bursts {
            let bytes = if framed { message(kind, req_id, len, &bytes) } else { bytes };
            world.inject_xenstore(GUEST, &bytes);
            client.pump();
            let _ = poll(&mut Box::pin(watch.next()));
        }
        if let Some(prod) = prod {
            let page = world.xenstore_page(GUEST).unwrap();
            page.word(offset_of!(DomainInterface, rsp_prod)).store(prod, Ordering::Relaxed);
            client.pump();
        }
        if client.dead().is_some() {
            for read in &mut reads {
                prop_assert!(poll(read).is_ready());
            }
        }
    }
}
